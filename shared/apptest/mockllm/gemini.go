package mockllm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/bytedance/sonic"
)

// gemini is Google's generateContent and streamGenerateContent: model and kind of
// answer stand in the path. Each chunk says the usage so far; the last one has the
// reason for the end, and nothing follows it.
type gemini struct {
	model   string
	streams bool
	array   bool // a stream that is one JSON array, as without alt=sse
}

// dialectGemini stands where an OpenAI dialect would: errors and meter need a name.
var dialectGemini = &dialect{name: "gemini-native", contentType: eventStream, nl: "\r\n"}

// geminiPath reads what Gemini has in its path, below any base.
func geminiPath(path, query string) (g gemini, operation string, ok bool) {
	i := strings.LastIndex(path, "/models/")
	if i < 0 {
		return g, "", false
	}
	name := path[i+len("/models/"):]
	c := strings.LastIndexByte(name, ':')
	if c <= 0 {
		return g, "", false
	}
	model, err := url.PathUnescape(name[:c])
	if err != nil {
		return g, "", false
	}
	g.model, operation = model, name[c+1:]
	switch operation {
	case "streamGenerateContent":
		g.streams = true
		values, err := url.ParseQuery(query)
		g.array = err != nil || values.Get("alt") != "sse"
	case "generateContent", "countTokens":
	default:
		return g, "", false
	}
	return g, operation, true
}

func (gemini) anthropic() bool { return false }

type geminiPart struct {
	Text         string `json:"text"`
	Thought      bool   `json:"thought"`
	Signature    string `json:"thoughtSignature"`
	FunctionCall *struct {
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCall"`
	FunctionResponse *struct {
		Name     string          `json:"name"`
		Response json.RawMessage `json:"response"`
	} `json:"functionResponse"`
	InlineData *struct {
		MimeType string `json:"mimeType"`
		Data     string `json:"data"`
	} `json:"inlineData"`
	FileData *struct {
		FileURI string `json:"fileUri"`
	} `json:"fileData"`
}

func (g gemini) parse(a *ask, body []byte) error {
	type content struct {
		Role  string       `json:"role"`
		Parts []geminiPart `json:"parts"`
	}
	var r struct {
		Contents  []content       `json:"contents"`
		System    content         `json:"systemInstruction"`
		Model     json.RawMessage `json:"model"`
		Tools     json.RawMessage `json:"tools"`
		Generate  json.RawMessage `json:"generateContentRequest"`
		ToolChose struct {
			Calling struct {
				Mode    string   `json:"mode"`
				Allowed []string `json:"allowedFunctionNames"`
			} `json:"functionCallingConfig"`
		} `json:"toolConfig"`
		Config struct {
			MaxOutputTokens    *int64          `json:"maxOutputTokens"`
			CandidateCount     *int64          `json:"candidateCount"`
			ResponseLogprobs   bool            `json:"responseLogprobs"`
			Logprobs           int64           `json:"logprobs"`
			ResponseMimeType   string          `json:"responseMimeType"`
			ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
			ResponseSchema     json.RawMessage `json:"responseSchema"`
			Thinking           *struct {
				IncludeThoughts bool   `json:"includeThoughts"`
				Budget          *int64 `json:"thinkingBudget"`
			} `json:"thinkingConfig"`
		} `json:"generationConfig"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	a.model, a.stream = g.model, g.streams
	if r.Generate != nil {
		return g.parse(a, r.Generate)
	}
	if len(r.Contents) == 0 {
		return errors.New("contents is not specified")
	}
	if c := r.Config.CandidateCount; c != nil {
		a.n = *c
	}
	if r.Config.ResponseLogprobs {
		a.logprobs = r.Config.Logprobs
	}
	if r.Config.MaxOutputTokens != nil {
		a.maxTokens = *r.Config.MaxOutputTokens
	}
	if t := r.Config.Thinking; t != nil {
		a.thinking = t.IncludeThoughts && (t.Budget == nil || *t.Budget != 0)
	}
	if r.Config.ResponseMimeType == "application/json" {
		a.schema = json.RawMessage("{}")
		for _, s := range []json.RawMessage{r.Config.ResponseJSONSchema, r.Config.ResponseSchema} {
			if s != nil {
				a.schema = lowerTypes(s)
			}
		}
	}
	if len(r.System.Parts) > 0 {
		s, images, _ := geminiText(r.System.Parts)
		a.countMessage(s, images)
	}
	for i, c := range r.Contents {
		s, images, result := geminiText(c.Parts)
		if len(c.Parts) == 0 {
			return fmt.Errorf("contents[%d].parts must not be empty", i)
		}
		a.countMessage(s, images)
		switch c.Role {
		case "user", "function", "":
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		case "model":
			signed := false
			for _, p := range c.Parts {
				if p.FunctionCall == nil {
					continue
				}
				// What Gemini 3 does: of calls at once the first must have one.
				if signed = signed || p.Signature != ""; !signed && strings.Contains(g.model, "gemini-3") {
					return fmt.Errorf("function call is missing a thought_signature in functionCall parts of contents[%d]", i)
				}
			}
		default:
			return fmt.Errorf("please use a valid role: user, model")
		}
		a.lastIsTool = result
	}
	if len(r.Tools) > 2 {
		a.prompt += (int64(len(r.Tools)) + 3) / 4
		var tools []struct {
			Functions []struct {
				Name       string          `json:"name"`
				Parameters json.RawMessage `json:"parameters"`
				Schema     json.RawMessage `json:"parametersJsonSchema"`
			} `json:"functionDeclarations"`
		}
		if err := sonic.Unmarshal(r.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read tools: %w", short(err))
		}
		for _, t := range tools {
			for _, f := range t.Functions {
				schema := f.Schema
				if schema == nil {
					schema = lowerTypes(f.Parameters)
				}
				a.tools = append(a.tools, tool{f.Name, schema})
			}
		}
	}
	switch c := r.ToolChose.Calling; c.Mode {
	case "NONE":
		a.toolChoice = "none"
	case "ANY":
		if a.toolChoice = "required"; len(c.Allowed) == 1 {
			a.toolChoice = c.Allowed[0]
		}
	}
	return nil
}

// lowerTypes makes JSON Schema of Google's schemas as far as the mock needs it.
func lowerTypes(s json.RawMessage) json.RawMessage {
	for _, name := range [...]string{"OBJECT", "STRING", "INTEGER", "NUMBER", "BOOLEAN", "ARRAY"} {
		s = json.RawMessage(strings.ReplaceAll(string(s), `"`+name+`"`, `"`+strings.ToLower(name)+`"`))
	}
	return s
}

// geminiText gives the texts of parts, the number of pictures, and whether there is a
// function's result among them.
func geminiText(parts []geminiPart) (s string, images int64, result bool) {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
		if p.FunctionResponse != nil {
			result = true
			b.Write(p.FunctionResponse.Response)
		}
		if p.InlineData != nil || p.FileData != nil {
			images++
		}
	}
	return b.String(), images, result
}

// finishReason is the finish in Google's words.
func (w *answer) finishReason() string {
	if w.scripted {
		return w.finish
	}
	switch w.finish {
	case "length":
		return "MAX_TOKENS"
	case "content_filter":
		return "SAFETY"
	}
	return "STOP" // calls too
}

// geminiUsage appends the usageMetadata object.
func (o *out) geminiUsage(b []byte, u Units) []byte {
	prompt := u.TotalInput()
	b = append(b, '{')
	b = o.field(b, "promptTokenCount", prompt, true)
	if u.CacheRead > 0 {
		b = append(b, ',')
		b = plain(b, "cachedContentTokenCount", u.CacheRead)
	}
	if u.Output > u.Reasoning {
		b = append(b, ',')
		b = o.field(b, "candidatesTokenCount", u.Output-u.Reasoning, false)
	}
	if u.Reasoning > 0 {
		b = append(b, ',')
		b = plain(b, "thoughtsTokenCount", u.Reasoning)
	}
	b = append(b, ',')
	b = plain(b, "totalTokenCount", prompt+u.Output)
	b = append(b, `,"promptTokensDetails": [{"modality": "TEXT","tokenCount": `...)
	b = strconv.AppendInt(b, prompt, 10)
	return append(b, `}]}`...)
}

// geminiPartOf appends one part of text or thought.
func geminiPartOf(b []byte, value string, thought bool, signature string) []byte {
	b = append(b, `{"text": `...)
	b = appendQuoted(b, value)
	if thought {
		b = append(b, `,"thought": true`...)
	}
	if signature != "" {
		b = append(b, `,"thoughtSignature": `...)
		b = appendQuoted(b, signature)
	}
	return append(b, '}')
}

// mockSignature is what the mock signs its thoughts with.
const mockSignature = "bW9jaw=="

func geminiCall(b []byte, c call, signature string) []byte {
	b = append(b, `{"functionCall": {"name": `...)
	b = appendQuoted(b, c.Name)
	b = append(b, `,"args": `...)
	b = append(b, c.Args...)
	b = append(b, '}')
	if signature != "" {
		b = append(b, `,"thoughtSignature": `...)
		b = appendQuoted(b, signature)
	}
	return append(b, '}')
}

// tail appends what every answer and chunk ends with.
func (o *out) geminiTail(b []byte, w *answer, u Units) []byte {
	if o.sc.Usage != "none" {
		b = append(b, `,"usageMetadata": `...)
		b = o.geminiUsage(b, u)
		o.state(u)
	}
	b = append(b, `,"modelVersion": `...)
	b = appendQuoted(b, w.a.model)
	b = append(b, `,"responseId": "`...)
	b = append(b, w.id...)
	return append(b, `"}`...)
}

func (gemini) buffered(o *out, w *answer) error {
	b := append(o.c.scratch[:0], `{"candidates": [`...)
	for i := range w.a.n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"content": {"parts": [`...)
		comma := ""
		part := func() { b = append(b, comma...); comma = "," }
		if len(w.reasoning) > 0 {
			part()
			b = geminiPartOf(b, joined(w.reasoning), true, "")
		}
		signature := mockSignature
		for _, c := range w.calls {
			part()
			b = geminiCall(b, c, signature)
			signature = ""
		}
		if len(w.calls) == 0 {
			part()
			b = geminiPartOf(b, joined(w.pieces), false, "")
		}
		b = append(b, `],"role": "model"},"finishReason": `...)
		b = appendQuoted(b, w.finishReason())
		if w.a.logprobs >= 0 {
			b = w.a.geminiLogprobs(b, w.pieces)
		}
		b = append(b, `,"index": `...)
		b = strconv.AppendInt(b, i, 10)
		b = append(b, '}')
	}
	b = append(b, ']')
	b = o.geminiTail(b, w, w.units)
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json; charset=UTF-8", b, "")
}

func (g gemini) stream(o *out, w *answer) error {
	contentType := dialectGemini.contentType
	if g.array {
		contentType, o.nl = "application/json; charset=UTF-8", "\n"
	}
	if err := o.begin(statusOr200(o.sc.Status), contentType, -1, ""); err != nil {
		return err
	}
	for range max(o.sc.Comments, 0) {
		if err := o.comment(": keep-alive"); err != nil {
			return err
		}
	}
	so := w.units // usage so far
	so.Output, so.Reasoning = 0, 0
	first := true
	emit := func(parts []byte, pieces []string, tokens, think int64, finish bool) error {
		tokens, think = tokens*w.a.n, think*w.a.n
		so.Output += tokens + think
		so.Reasoning += think
		b := o.c.scratch[:0]
		switch {
		case !g.array:
			b = append(b, "data: "...)
		case first:
			b = append(b, '[')
		default:
			b = append(b, ",\r\n"...)
		}
		first = false
		b = append(b, `{"candidates": [`...)
		for i := range w.a.n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"content": {"parts": [`...)
			b = append(b, parts...)
			b = append(b, `],"role": "model"},`...)
			if finish {
				b = append(b, `"finishReason": `...)
				b = appendQuoted(b, w.finishReason())
				b = append(b, ',')
			}
			b = append(b, `"index": `...)
			b = strconv.AppendInt(b, i, 10)
			if w.a.logprobs >= 0 && len(pieces) > 0 {
				b = w.a.geminiLogprobs(b, pieces)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
		u := so
		switch {
		case finish:
			u = w.units
		case o.sc.Usage == "shrink":
			u.Output *= 10
		}
		b = o.geminiTail(b, w, u)
		if g.array {
			if b = append(b, '\n'); finish {
				b = append(b, ']')
			}
		} else {
			b = append(b, "\n\n"...)
		}
		o.c.scratch = b
		return o.event(b, tokens, think)
	}
	p := make([]byte, 0, 256)
	for _, run := range [...]struct {
		pieces  []string
		thought bool
	}{{w.reasoning, true}, {w.pieces, false}} {
		for at := 0; at < len(run.pieces); at += w.perChunk {
			part := run.pieces[at:min(at+w.perChunk, len(run.pieces))]
			p = geminiPartOf(p[:0], joined(part), run.thought, "")
			tokens, think := int64(len(part)), int64(0)
			if run.thought {
				tokens, think, part = 0, tokens, nil
			}
			if err := emit(p, part, tokens, think, false); err != nil {
				return err
			}
		}
	}
	signature := mockSignature
	for _, c := range w.calls {
		p = geminiCall(p[:0], c, signature)
		signature = ""
		if err := emit(p, nil, 2+int64(len(c.Name)+len(c.Args)+3)/4, 0, false); err != nil {
			return err
		}
	}
	if err := emit(geminiPartOf(p[:0], "", false, ""), nil, 0, 0, true); err != nil {
		return err
	}
	return o.finish()
}

// geminiError is errorFor in Google's shape.
func geminiError(name string, status, usual int, model string) (int, string, string) {
	kind, message, details := "INVALID_ARGUMENT", "* GenerateContentRequest.generation_config.temperature: invalid value.", ""
	switch name {
	case "account_empty":
		usual, kind, message = 429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to the billing of projects/proj_mockcanary."
	case "invalid_key":
		usual, message = 400, "API key not valid. Please pass a valid API key."
		details = `,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"mockllm-canary"}}]`
	case "context_length":
		message = "The input token count (9001) exceeds the maximum number of tokens allowed (8192)."
	case "model_not_found":
		kind, message = "NOT_FOUND", "models/"+model+" is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models."
	case "rate_limit":
		kind, message = "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details. * Quota exceeded for metric: generate_content_paid_tier_input_token_count, limit: 3, project: proj_mockcanary, model: "+model
		details = `,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2.9s"}]`
	case "overloaded":
		kind, message = "UNAVAILABLE", "The model is overloaded. Please try again later."
	case "permission":
		kind, message = "PERMISSION_DENIED", "Generative Language API has not been used in project proj_mockcanary before or it is disabled."
	case "timeout":
		kind, message = "DEADLINE_EXCEEDED", "The request timed out. Please try again."
	case "server":
		kind, message = "INTERNAL", "An internal error has occurred (req_mockcanary)."
	case "content_filter", "too_large", "unprocessable", "tool_use_failed", "bad_request":
		usual = 400
	}
	s := orStatus(status, usual)
	return s, "application/json; charset=UTF-8", `{"error":{"code":` + strconv.Itoa(s) + `,"message":` + quoted(message) + `,"status":"` + kind + `"` + details + `}}`
}
