package protocol

import (
	"bytes"

	"tokenrelay/shared/apierr"
)

// State says what becomes of a path.
type State uint8

// The states.
const (
	Forward      State = iota // not an inference path: customer API, operator API, people; to admin
	Serve                     // a served endpoint
	NotServed                 // a known endpoint that is not implemented: 501 not_implemented
	NotFound                  // nobody's path: 404 not_found
	WrongMethod               // 405 method_not_allowed, Match.Allow says what is allowed
	RefusedTrick              // a path no front and no upstream reads alike (//, .., ;, %2f): 404, never forwarded
)

// Match is what Lookup found. Its slices point into the path.
type Match struct {
	State    State
	Endpoint Endpoint
	Family   Family
	Pinned   bool   // /v1/{provider}/…
	Provider []byte // the provider slug when Pinned
	Param    []byte // model id or object id of the path, where the endpoint has one
	Allow    string // the endpoint's methods, for 405
}

// Shape is the error shape of the match's family.
func (m *Match) Shape() apierr.Shape {
	if m.Endpoint == OpenAIResponses {
		return apierr.ShapeResponses
	}
	return m.Family.Shape()
}

// Shape is the family's error shape.
func (f Family) Shape() apierr.Shape {
	switch f {
	case FamilyAnthropic:
		return apierr.ShapeAnthropic
	case FamilyDashScope:
		return apierr.ShapeDashScope
	case FamilyGemini:
		return apierr.ShapeGemini
	case FamilyOpenAI:
		return apierr.ShapeOpenAI
	}
	return apierr.ShapeEnvelope
}

// Reserved reports whether seg can never be a provider slug, because it is the
// first segment of paths of its own.
func Reserved(seg []byte) bool {
	switch string(seg) {
	case "chat", "completions", "messages", "responses", "embeddings", "audio", "images",
		"models", "moderations", "rerank", "files", "batches", "realtime", "streams", "dashboard":
		return true
	}
	return false
}

// Lookup matches the raw path of a request target, without its query. Nothing is
// decoded, cleaned or folded: a path either is a line of the table byte for byte
// or it is not. anthropic says that the request carries anthropic-version, which
// turns /v1/models into Anthropic's. isProvider tells whether a slug is a
// configured provider; it is called at most once. Lookup does not allocate.
func Lookup(method, path []byte, anthropic bool, isProvider func(slug []byte) bool) Match {
	switch string(path) { // what nearly all ask for is found without a walk through the table
	case "/v1/chat/completions":
		return found(FamilyOpenAI, OpenAIChat, method, post, nil)
	case "/v1/messages":
		return found(FamilyAnthropic, AnthropicMessages, method, post, nil)
	case "/v1/responses":
		return found(FamilyOpenAI, OpenAIResponses, method, post, nil)
	case "/v1/embeddings":
		return found(FamilyOpenAI, OpenAIEmbeddings, method, post, nil)
	}
	if tricky(path) {
		return Match{State: RefusedTrick, Endpoint: Unknown, Family: familyOf(path)}
	}
	switch {
	case cut(path, "/v1/") != nil:
		rest := cut(path, "/v1/")
		if m := v1(method, rest, anthropic); m.State != NotFound {
			return m
		}
		if i := bytes.IndexByte(rest, '/'); i > 0 && !Reserved(rest[:i]) && isProvider(rest[:i]) {
			slug, sub := rest[:i], rest[i+1:]
			if s := cut(sub, "v1/"); s != nil {
				sub = s
			}
			m := v1(method, sub, anthropic)
			if g := geminiPath(method, trimBeta(rest[i+1:])); g.State != NotFound && m.State == NotFound {
				m = g
			}
			if m.State == Forward {
				m.State = NotServed // kept responses are no provider's
			}
			if m.State == NotFound {
				if d := dashScopePath(method, trimAPI(sub)); d.State != NotFound {
					m = d
				}
			}
			m.Pinned, m.Provider = true, slug
			return m
		}
		return Match{State: NotFound, Family: familyOf(path)}
	case cut(path, "/anthropic/") != nil:
		m := Match{State: NotFound, Family: FamilyAnthropic}
		if rest := cut(path, "/anthropic/v1/"); rest != nil {
			if a := anthropicPath(method, rest, true); a.State != NotFound {
				m = a
			}
		}
		return m
	case cut(path, "/api/v1/") != nil:
		return dashScopePath(method, cut(path, "/api/v1/"))
	case cut(path, "/v1beta/") != nil:
		return geminiPath(method, cut(path, "/v1beta/"))
	case cut(path, "/upload/v1beta/") != nil, cut(path, "/v1alpha/") != nil:
		return found(FamilyGemini, Account, method, anyMethod, nil)
	}
	switch string(path) {
	case "/v1", "/anthropic", "/v1beta", "/api/v1":
		return Match{State: NotFound, Family: familyOf(path)}
	}
	return Match{State: Forward}
}

// v1 matches what follows /v1/, or /v1/{provider}/.
func v1(method, rest []byte, anthropic bool) Match {
	if m := anthropicPath(method, rest, anthropic); m.State != NotFound {
		return m
	}
	return openAIPath(method, rest)
}

const (
	get       = "GET"
	post      = "POST"
	getDelete = "GET, DELETE"
	anyMethod = ""
)

// found makes the match of a known endpoint.
func found(f Family, e Endpoint, method []byte, allow string, param []byte) Match {
	m := Match{State: NotServed, Endpoint: e, Family: f, Param: param, Allow: allow}
	ok := false
	switch allow {
	case anyMethod:
		ok = true
	case getDelete:
		ok = string(method) == "GET" || string(method) == "DELETE"
	default:
		ok = string(method) == allow
	}
	switch {
	case !ok:
		m.State = WrongMethod
	case e == OpenAIResponse:
		m.State = Forward // admin has the responses that were kept
	case e.Served():
		m.State = Serve
	}
	return m
}

func openAIPath(method, rest []byte) Match {
	const f = FamilyOpenAI
	switch string(rest) {
	case "chat/completions":
		return found(f, OpenAIChat, method, post, nil)
	case "models":
		return found(f, OpenAIModels, method, get, nil)
	case "completions":
		return found(f, OpenAICompletions, method, post, nil)
	case "responses":
		return found(f, OpenAIResponses, method, post, nil)
	case "responses/input_tokens":
		return found(f, OpenAIResponsesTokens, method, post, nil)
	case "responses/compact":
		return found(f, OpenAIResponsesCompact, method, post, nil)
	case "embeddings":
		return found(f, OpenAIEmbeddings, method, post, nil)
	case "audio/speech":
		return found(f, OpenAISpeech, method, post, nil)
	case "audio/transcriptions":
		return found(f, OpenAITranscriptions, method, post, nil)
	case "audio/translations":
		return found(f, OpenAITranslations, method, post, nil)
	case "images/generations":
		return found(f, OpenAIImageGenerations, method, post, nil)
	case "images/edits":
		return found(f, OpenAIImageEdits, method, post, nil)
	case "images/variations":
		return found(f, OpenAIImageVariations, method, post, nil)
	case "moderations":
		return found(f, OpenAIModerations, method, post, nil)
	case "rerank":
		return found(f, Rerank, method, post, nil)
	}
	if id := cut(rest, "models/"); plainParam(id) {
		return found(f, OpenAIModel, method, get, id)
	}
	if id := cut(rest, "responses/"); id != nil {
		if i := bytes.IndexByte(id, '/'); i > 0 {
			switch string(id[i+1:]) {
			case "cancel":
				return found(f, OpenAIResponse, method, post, id[:i])
			case "input_items":
				return found(f, OpenAIResponse, method, get, id[:i])
			}
		} else if plainParam(id) {
			return found(f, OpenAIResponse, method, getDelete, id)
		}
	}
	switch string(rest) {
	case "audio/voices", "audio/voice_consents":
		return found(f, Account, method, anyMethod, nil)
	}
	if plainParam(cut(rest, "chat/completions/")) { // stored chat completions
		return found(f, Account, method, anyMethod, nil)
	}
	first := rest
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		first = rest[:i]
	}
	switch string(first) {
	case "files", "batches", "fine_tuning", "vector_stores", "assistants", "threads", "uploads",
		"realtime", "containers", "conversations", "evals", "organization", "projects", "videos", "skills", "chatkit",
		"fine-tunes", "edits", "engines": // the last three are retired
		return found(f, Account, method, anyMethod, nil)
	}
	return Match{State: NotFound, Family: f}
}

// anthropicPath matches what follows /v1/ in Anthropic's API. models decides
// whether the models list is Anthropic's here.
func anthropicPath(method, rest []byte, models bool) Match {
	const f = FamilyAnthropic
	switch string(rest) {
	case "messages":
		return found(f, AnthropicMessages, method, post, nil)
	case "messages/count_tokens":
		return found(f, AnthropicCountTokens, method, post, nil)
	case "messages/batches", "complete":
		return found(f, Account, method, anyMethod, nil)
	}
	if cut(rest, "messages/batches/") != nil || cut(rest, "organizations/") != nil || cut(rest, "experimental/") != nil {
		return found(f, Account, method, anyMethod, nil)
	}
	if models {
		if string(rest) == "models" {
			return found(f, AnthropicModels, method, get, nil)
		}
		if id := cut(rest, "models/"); plainParam(id) {
			return found(f, AnthropicModel, method, get, id)
		}
		first, _, _ := bytes.Cut(rest, []byte("/"))
		switch string(first) {
		case "files", "skills", "agents", "sessions", "environments", "vaults", "memory_stores", "user_profiles":
			return found(f, Account, method, anyMethod, nil)
		}
	}
	return Match{State: NotFound, Family: f}
}

func dashScopePath(method, rest []byte) Match {
	const f = FamilyDashScope
	switch string(rest) {
	case "services/aigc/text-generation/generation":
		return found(f, DashScopeText, method, post, nil)
	case "services/aigc/multimodal-generation/generation":
		return found(f, DashScopeMultimodal, method, post, nil)
	case "services/embeddings/text-embedding/text-embedding":
		return found(f, DashScopeEmbeddings, method, post, nil)
	case "services/rerank/text-rerank/text-rerank":
		return found(f, DashScopeRerank, method, post, nil)
	}
	first, more, _ := bytes.Cut(rest, []byte("/"))
	switch string(first) {
	case "tokenizer", "tasks", "files", "uploads", "fine-tunes", "deployments", "models", "apps", "indices":
		return found(f, Account, method, anyMethod, nil)
	case "services": // tasks that run on, and models for which there is no price
		group, more, _ := bytes.Cut(more, []byte("/"))
		switch string(group) {
		case "aigc", "audio", "embeddings", "rerank", "vision", "nlp":
			if len(more) > 0 {
				return found(f, Account, method, post, nil)
			}
		}
	}
	return Match{State: NotFound, Family: f}
}

func geminiPath(method, rest []byte) Match {
	const f = FamilyGemini
	if string(rest) == "models" {
		return found(f, GeminiModels, method, get, nil)
	}
	if id := cut(rest, "models/"); plainParam(id) {
		i := bytes.LastIndexByte(id, ':')
		if i < 0 {
			return found(f, GeminiModel, method, get, id)
		}
		e := Unknown
		switch string(id[i+1:]) {
		case "generateContent":
			e = GeminiGenerate
		case "streamGenerateContent":
			e = GeminiStream
		case "countTokens":
			e = GeminiCountTokens
		case "embedContent":
			e = GeminiEmbed
		case "batchEmbedContents":
			e = GeminiBatchEmbed
		case "predict", "predictLongRunning", "batchGenerateContent", "asyncBatchEmbedContent", "generateAnswer",
			"computeTokens", "countMessageTokens", "generateMessage", "generateText", "embedText", "batchEmbedText", "bidiGenerateContent":
			return found(f, Account, method, post, nil)
		}
		if e != Unknown && i > 0 {
			return found(f, e, method, post, id[:i])
		}
		return Match{State: NotFound, Family: f}
	}
	for _, p := range [...]string{
		"files", "cachedContents", "tunedModels", "batches", "operations", "corpora", "fileSearchStores",
		"interactions", "generatedFiles", "dynamic", "auth_tokens", "authTokens", "openai",
	} {
		if string(rest) == p || len(rest) > len(p) && rest[len(p)] == '/' && string(rest[:len(p)]) == p {
			return found(f, Account, method, anyMethod, nil)
		}
	}
	return Match{State: NotFound, Family: f}
}

// trimBeta drops the version of Gemini's own paths below a pinned provider, and
// returns nil where there is none: only versioned paths are Gemini's there.
func trimBeta(rest []byte) []byte { return cut(rest, "v1beta/") }

// trimAPI drops what DashScope's own paths begin with, where a pinned provider's path
// has it.
func trimAPI(rest []byte) []byte {
	if s := cut(rest, "api/v1/"); s != nil {
		return s
	}
	return rest
}

// familyOf names the family whose shape answers an unknown path.
func familyOf(path []byte) Family {
	switch {
	case under(path, "/anthropic"), under(path, "/v1/messages"):
		return FamilyAnthropic
	case under(path, "/v1beta"), under(path, "/upload/v1beta"), under(path, "/v1alpha"):
		return FamilyGemini
	case under(path, "/api/v1"):
		return FamilyDashScope
	case under(path, "/v1"):
		return FamilyOpenAI
	}
	return FamilyNone
}

// under reports whether path is prefix or lies below it.
func under(path []byte, prefix string) bool {
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix &&
		(len(path) == len(prefix) || path[len(prefix)] == '/')
}

// cut returns what follows prefix in path, nil if path does not start with it.
func cut(path []byte, prefix string) []byte {
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return nil
	}
	return path[len(prefix):]
}

// plainParam reports whether p can be a name in a path: not empty, and free of
// what would have to be decoded.
func plainParam(p []byte) bool {
	return len(p) > 0 && bytes.IndexByte(p, '%') < 0 && p[0] != '/' && p[len(p)-1] != '/'
}

// tricky reports what two readers of a path could read in two ways: an empty or
// dot segment, a backslash, a path parameter, a control or non-ASCII byte, and
// their escaped forms.
func tricky(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return true
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f || c == '\\' || c == ';' || c == '?' || c == '#':
			return true
		case c == '/':
			if dotSegment(path[i+1:]) || i+1 < len(path) && path[i+1] == '/' {
				return true
			}
		case c == '%':
			if i+2 >= len(path) {
				return true
			}
			v, ok := hex2(path[i+1], path[i+2])
			if !ok || v < ' ' || v >= 0x7f || v == '/' || v == '\\' || v == '.' || v == ';' || v == '%' {
				return true
			}
		}
	}
	return false
}

// dotSegment reports whether the segment that starts p is "." or "..".
func dotSegment(p []byte) bool {
	n := 0
	for n < len(p) && p[n] == '.' {
		n++
	}
	return (n == 1 || n == 2) && (n == len(p) || p[n] == '/')
}

func hex2(a, b byte) (byte, bool) {
	x, ok1 := hex1(a)
	y, ok2 := hex1(b)
	return x<<4 | y, ok1 && ok2
}

func hex1(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
