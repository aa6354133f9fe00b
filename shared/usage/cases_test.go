package usage_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/usage"
)

// forms says how the answers of each protocol are read. The free ones report nothing
// that is billed.
var forms = map[string]usage.Form{
	"openai.chat": usage.FormChat, "openai.completions": usage.FormChat, "openai.embeddings": usage.FormEmbeddings,
	"openai.responses": usage.FormResponses, "openai.transcription": usage.FormTranscription,
	"openai.translation": usage.FormTranscription, "openai.speech": usage.FormSpeech,
	"openai.images": usage.FormImages, "openai.images_edit": usage.FormImages,
	"anthropic.messages": usage.FormMessages, "anthropic.count_tokens": usage.FormMessages,
	"gemini.generate": usage.FormGemini, "gemini.stream": usage.FormGemini, "gemini.embed": usage.FormGemini,
	"gemini.count_tokens": usage.FormGemini, "dashscope.text": usage.FormDashScope,
	"dashscope.multimodal": usage.FormDashScope, "dashscope.embeddings": usage.FormDashScope,
	"dashscope.rerank": usage.FormDashScope, "bedrock.converse": usage.FormConverse,
	"bedrock.converse_stream": usage.FormConverse, "cohere.chat": usage.FormCohere, "rerank": usage.FormRerank,
	"openai.models": usage.FormChat, "openai.moderations": usage.FormChat,
}

func formOf(t testing.TB, c *fixtures.Case) usage.Form {
	t.Helper()
	form, ok := forms[c.Protocol]
	if !ok {
		t.Fatalf("%s: nobody reads protocol %s", c.ID, c.Protocol)
	}
	if c.Protocol == "openai.chat" && c.Provider == "gemini-compat" {
		return usage.FormGeminiChat
	}
	return form
}

// place is a folder of cases.
type place struct {
	dir      string
	recorded bool
	common   bool // written for other packages too: its cases need not say what was searched
}

// places are the project's own cases and, where there is a folder of them, recordings.
func places(t *testing.T) []place {
	list := []place{{dir: "../apptest/fixtures/cases", common: true}, {dir: "testdata/cases"}}
	if dir, ok := fixtures.Recordings(); ok {
		return append(list, place{dir: dir, recorded: true})
	}
	fmt.Printf("usage: no folder of recordings here (RECORDINGS names one): %s reads the project's own cases only\n", t.Name())
	return list
}

func load(t *testing.T, p place) []*fixtures.Case {
	t.Helper()
	list, err := fixtures.Load(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// normal is usage.expected of a case, all of it: what the fixtures package reads is a
// part.
type normal struct {
	InputTotal    int64            `json:"input_total"`
	InputUncached int64            `json:"input_uncached"`
	CacheRead     int64            `json:"cache_read"`
	CacheWrite    int64            `json:"cache_write"`
	CacheWrite1h  int64            `json:"cache_write_1h"`
	OutputTotal   int64            `json:"output_total"`
	HiddenOutput  int64            `json:"hidden_output"`
	Reasoning     int64            `json:"reasoning"`
	InputAudio    int64            `json:"input_audio"`
	OutputAudio   int64            `json:"output_audio"`
	InputImage    int64            `json:"input_image"`
	OutputImage   int64            `json:"output_image"`
	Seconds       int64            `json:"seconds"`
	ToolInput     int64            `json:"tool_use_prompt"`
	Billed        map[string]int64 `json:"billed_units"`
	Tools         map[string]int64 `json:"server_tool_use"`
	Extra         []struct {
		Model      string
		Input      int64 `json:"input_uncached"`
		CacheRead  int64 `json:"cache_read"`
		CacheWrite int64 `json:"cache_write"`
		Output     int64
	} `json:"extra_iterations"`
}

// raw is what of the provider's own object the normal form leaves out.
type raw struct {
	Cached []struct {
		Modality string
		Tokens   int64 `json:"tokenCount"`
	} `json:"cacheTokensDetails"`
}

// told is what case.json says beside what the fixtures package reads.
type told struct {
	Usage struct {
		Raw      json.RawMessage
		Expected *normal
	}
	Expect struct{ Items int64 }
}

func tellOf(t *testing.T, p place, c *fixtures.Case) (x told) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, c.ID, "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	return x
}

// want brings the normal form into our classes.
func (n *normal) want(r *raw) (u usage.Units) {
	if n.Billed != nil {
		u[usage.Input], u[usage.Output], u[usage.Searches] = n.Billed["input_tokens"], n.Billed["output_tokens"], n.Billed["search_units"]
		return u
	}
	audio, image := n.InputAudio, n.InputImage
	for _, m := range r.Cached { // the normal form counts audio that was cached as audio and as cached
		switch m.Modality {
		case "AUDIO":
			audio -= m.Tokens
		case "IMAGE":
			image -= m.Tokens
		}
	}
	u[usage.AudioIn], u[usage.ImageIn] = audio, image
	uncached := n.InputUncached
	if uncached == 0 && n.InputTotal > n.CacheRead+n.CacheWrite {
		uncached = n.InputTotal - n.CacheRead - n.CacheWrite
	}
	u[usage.Input] = uncached - audio - image
	u[usage.CacheRead], u[usage.CacheWrite], u[usage.CacheWrite1h] = n.CacheRead, n.CacheWrite-n.CacheWrite1h, n.CacheWrite1h
	u[usage.AudioOut], u[usage.ImageOut] = n.OutputAudio, n.OutputImage
	u[usage.Output] = n.OutputTotal + n.HiddenOutput - n.OutputAudio - n.OutputImage
	if n.InputTotal == 0 && n.OutputTotal == 0 {
		u[usage.Seconds] = n.Seconds
	}
	for _, x := range n.Extra {
		u[usage.Input] += x.Input
		u[usage.CacheRead] += x.CacheRead
		u[usage.CacheWrite] += x.CacheWrite
		u[usage.Output] += x.Output
	}
	u[usage.Searches] = n.Tools["web_search_requests"]
	return u
}

// beside holds what recorded answers consumed that the normal form has no word for,
// counted by hand in their bodies.
var beside = map[string]map[usage.Class]int64{
	// plugins.search.count
	"dashscope.multimodal--dashscope--multimodal-generation-with-websearch-nosse": {usage.Searches: 1},
	"dashscope.text--dashscope--single-generation-message-search-nosse":           {usage.Searches: 1},
	// webSearchQueries of the grounding: of the first one's two, one is empty
	"gemini.generate--gemini--test-native-output-with-function-and-builtin-tools":           {usage.Searches: 1},
	"gemini.generate--vertex--test-google-vertex-tool-combination-omits-include-server-sid": {usage.Searches: 1},
	// web_search_call items whose action is a search
	"openai.responses--deepseek--chat-web-search-with-deepseek-deepseek-v4-flash-searches-ser": {usage.Searches: 1},
	"openai.responses--openai--test-openai-include-raw-annotations-streaming":                  {usage.Searches: 1},
	"openai.responses--openai--test-openai-responses-model-web-search-tool":                    {usage.Searches: 1},
	"openai.responses--openai--test-openai-responses-model-web-search-tool-without-external":   {usage.Searches: 1},
	// server_side_tool_usage_details
	"openai.responses--xai--chat-web-search-with-xai-grok-4-3-searches-cites-and-counts": {usage.Searches: 2},
	// images in data, where no tokens are told
	"openai.images--xai--image-basic-functionality-xai-grok-imagine-image-can-paint-i": {usage.Images: 1},
	"openai.images--xai--two": {usage.Images: 2},
}

// unsaid holds answers that case.json calls without usage, and that say something all
// the same.
var unsaid = map[string]map[usage.Class]int64{
	"anthropic.messages--anthropic--stream-error":                                        {usage.Input: 10}, // its opening event, then the error
	"gemini.embed--gemini--embedding-multimodal-embeddings-gemini-gemini-embedding-2-em": {usage.Input: 3, usage.ImageIn: 258},
	"openai.images--openai--image-generation-basic":                                      {usage.Images: 1},
}

// The kinds that must be compared, protocol and provider: one that is gone fails.
var (
	ownKinds = []string{
		"anthropic.messages/anthropic", "bedrock.converse/bedrock", "bedrock.converse_stream/bedrock", "cohere.chat/cohere",
		"dashscope.embeddings/dashscope", "dashscope.multimodal/dashscope", "dashscope.rerank/dashscope", "dashscope.text/dashscope",
		"gemini.embed/gemini", "gemini.generate/gemini", "gemini.generate/vertex", "gemini.stream/gemini",
		"openai.chat/azure", "openai.chat/deepseek", "openai.chat/gemini-compat", "openai.chat/gpustack", "openai.chat/groq",
		"openai.chat/huggingface", "openai.chat/kimi", "openai.chat/mistral", "openai.chat/ollama", "openai.chat/openai",
		"openai.chat/openrouter", "openai.chat/perplexity", "openai.chat/qwen-compat", "openai.chat/xai", "openai.chat/zai-glm",
		"openai.completions/openai", "openai.embeddings/mistral", "openai.embeddings/openai", "openai.embeddings/voyage",
		"openai.images/openai", "openai.images/xai", "openai.images_edit/openai", "openai.responses/openai", "openai.responses/openrouter", "openai.responses/xai",
		"openai.speech/openai", "openai.transcription/mistral", "openai.transcription/openai", "rerank/cohere", "rerank/jina",
	}
	recordedKinds = []string{
		"anthropic.messages/anthropic", "bedrock.converse/bedrock", "bedrock.converse_stream/bedrock", "cohere.chat/cohere",
		"dashscope.multimodal/dashscope", "dashscope.text/dashscope", "gemini.generate/gemini", "gemini.generate/vertex",
		"gemini.stream/gemini", "gemini.stream/vertex", "openai.chat/azure", "openai.chat/cerebras", "openai.chat/deepseek",
		"openai.chat/gemini-compat", "openai.chat/groq", "openai.chat/huggingface", "openai.chat/mistral", "openai.chat/ollama",
		"openai.chat/openai", "openai.chat/openrouter", "openai.chat/perplexity", "openai.chat/qwen-compat", "openai.chat/zai-glm",
		"openai.completions/openai", "openai.embeddings/mistral", "openai.embeddings/openai", "openai.embeddings/qwen-compat",
		"openai.images/xai", "openai.responses/azure", "openai.responses/deepseek", "openai.responses/openai",
		"openai.responses/openrouter", "openai.responses/xai", "openai.transcription/mistral", "openai.transcription/openai",
	}
)

// C9, protocols 12.8 and 13.1: what every provider reports is read into the classes
// that its case expects, and nothing is read where nothing was said.
func TestEveryDialectIsRead(t *testing.T) {
	compared := map[bool]map[string]int{false: {}, true: {}}
	silent := 0
	rows := maps.Clone(beside)
	maps.Copy(rows, unsaid)
	recorded := false
	for _, p := range places(t) {
		recorded = recorded || p.recorded
		for _, c := range load(t, p) {
			x := tellOf(t, p, c)
			delete(rows, c.ID)
			var r usage.Reader
			r.Reset(formOf(t, c))
			feed(t, &r, c)
			got, source := r.Units()
			var want usage.Units
			if x.Usage.Expected != nil {
				var rest raw
				if len(x.Usage.Raw) > 0 {
					if err := json.Unmarshal(x.Usage.Raw, &rest); err != nil {
						t.Fatalf("%s: %v", c.ID, err)
					}
				}
				want = x.Usage.Expected.want(&rest)
				compared[p.recorded][c.Protocol+"/"+c.Provider]++
				notes(t, c, x.Usage.Expected, &r)
			} else {
				silent++
			}
			for _, more := range []map[string]map[usage.Class]int64{beside, unsaid} {
				for class, n := range more[c.ID] {
					want[class] += n
				}
			}
			if p.common && want[usage.Searches] == 0 {
				want[usage.Searches] = got[usage.Searches]
			}
			if got != want {
				t.Errorf("%s: %s", c.ID, difference(&got, &want))
			}
			wantSource := usage.SourceReported
			switch {
			case want.IsZero():
				wantSource = usage.SourceNone
			case c.Protocol == "anthropic.messages" && x.Usage.Expected == nil:
				wantSource = usage.SourcePartial
			}
			if source != wantSource {
				t.Errorf("%s: source %s, want %s", c.ID, source, wantSource)
			}
		}
	}
	for id := range rows {
		if _, err := os.Stat(filepath.Join("testdata/cases", id)); recorded || err == nil {
			t.Errorf("%s stands in a table and is no case any more", id)
		}
	}
	count(t, "own", compared[false], ownKinds)
	if recorded {
		count(t, "recorded", compared[true], recordedKinds)
	}
	fmt.Printf("usage: %d answers that say nothing read as nothing\n", silent)
}

func count(t *testing.T, what string, compared map[string]int, kinds []string) {
	t.Helper()
	total := 0
	var text []string
	for _, kind := range slices.Sorted(maps.Keys(compared)) {
		total += compared[kind]
		text = append(text, fmt.Sprintf("%s %d", kind, compared[kind]))
	}
	for _, kind := range kinds {
		if compared[kind] == 0 {
			t.Errorf("%s: no case of %s was compared", what, kind)
		}
	}
	fmt.Printf("usage: %d %s cases compared: %s\n", total, what, strings.Join(text, ", "))
}

// notes compares what is reported beside the classes.
func notes(t *testing.T, c *fixtures.Case, want *normal, r *usage.Reader) {
	t.Helper()
	got := r.Notes()
	// Gemini in the Chat shape does not say that what its total hides is reasoning.
	if got.Reasoning != want.Reasoning && c.Provider != "gemini-compat" {
		t.Errorf("%s: %d reasoning tokens, want %d", c.ID, got.Reasoning, want.Reasoning)
	}
	if n := want.Tools["web_fetch_requests"]; got.Fetches != n {
		t.Errorf("%s: %d fetches, want %d", c.ID, got.Fetches, n)
	}
	if got.Impossible || got.Mismatch {
		t.Errorf("%s: impossible %v, mismatch %v of an honest provider", c.ID, got.Impossible, got.Mismatch)
	}
	if units, _ := r.Units(); units[usage.Seconds]+got.AudioSeconds < want.Seconds {
		t.Errorf("%s: %d seconds of audio, want %d", c.ID, units[usage.Seconds]+got.AudioSeconds, want.Seconds)
	}
	others := map[string]usage.Units{}
	for _, x := range want.Extra {
		if x.Model == "" {
			continue
		}
		u := others[x.Model]
		u[usage.Input] += x.Input
		u[usage.CacheRead] += x.CacheRead
		u[usage.CacheWrite] += x.CacheWrite
		u[usage.Output] += x.Output
		others[x.Model] = u
	}
	for i := range r.Others() {
		model, units := r.Other(i)
		if others[string(model)] != units {
			t.Errorf("%s: %s consumed %v, want %v", c.ID, model, units, others[string(model)])
		}
		delete(others, string(model))
	}
	if len(others) > 0 {
		t.Errorf("%s: not read: %v", c.ID, others)
	}
}

func difference(got, want *usage.Units) string {
	var parts []string
	for c := range usage.NumClasses {
		if got[c] != want[c] {
			parts = append(parts, fmt.Sprintf("%s %d, want %d", c, got[c], want[c]))
		}
	}
	return strings.Join(parts, "; ")
}

// feed gives an answer to the reader as its transport would.
func feed(t testing.TB, r *usage.Reader, c *fixtures.Case) {
	t.Helper()
	switch {
	case c.Status != 200:
		r.Whole(c.Body)
	case c.Protocol == "bedrock.converse_stream":
		for rest := c.Body; len(rest) > 0; {
			n, payload, ok := usage.Frame(rest)
			if !ok || n == 0 {
				t.Fatalf("%s: no frame at byte %d", c.ID, len(c.Body)-len(rest))
			}
			if !r.Event(payload) {
				t.Fatalf("%s: payload %q was not read", c.ID, payload)
			}
			rest = rest[n:]
		}
	case c.IsStream() || c.Stream && bytes.Contains(c.Body, []byte("data:")):
		for _, data := range events(c.Body) {
			r.Event(data)
		}
	default:
		if !r.Whole(c.Body) && json.Valid(c.Body) {
			t.Errorf("%s: the answer was not read", c.ID)
		}
	}
}

// events splits an event stream the plain way.
func events(body []byte) (list [][]byte) {
	body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	for _, ev := range bytes.Split(body, []byte("\n\n")) {
		var data [][]byte
		for _, line := range bytes.Split(ev, []byte("\n")) {
			if v, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				data = append(data, bytes.TrimPrefix(v, []byte(" ")))
			}
		}
		if data != nil {
			list = append(list, bytes.Join(data, []byte("\n")))
		}
	}
	return list
}
