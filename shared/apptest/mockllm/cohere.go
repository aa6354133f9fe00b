package mockllm

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/bytedance/sonic"
)

// cohere is Cohere's Chat, version 2. What is billed is said beside what the model
// read: the mock's own tokens are what is billed, the model reads some more.
type cohere struct{}

// dialectCohere stands where an OpenAI dialect would: errors and meter need a name.
var dialectCohere = &dialect{name: "cohere", contentType: eventStream, nl: "\n", done: true}

// coherePath is what the operation's path ends with.
const coherePath = "/v2/chat"

func (cohere) anthropic() bool { return false }

func (cohere) parse(a *ask, body []byte) error {
	var r struct {
		Model    string `json:"model"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
			Plan    string          `json:"tool_plan"`
		} `json:"messages"`
		Stream     bool            `json:"stream"`
		MaxTokens  *int64          `json:"max_tokens"`
		Tools      json.RawMessage `json:"tools"`
		ToolChoice string          `json:"tool_choice"`
		P          *float64        `json:"p"`
		Thinking   struct {
			Type string `json:"type"`
		} `json:"thinking"`
		Format struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"json_schema"`
		} `json:"response_format"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	if r.Model == "" || len(r.Messages) == 0 {
		return wording("invalid request: model and messages are required")
	}
	if r.P != nil && (*r.P < 0.01 || *r.P > 0.99) {
		return wording("invalid request: p must be between 0.01 and 0.99")
	}
	a.model, a.stream, a.thinking = r.Model, r.Stream, r.Thinking.Type == "enabled"
	if r.MaxTokens != nil {
		a.maxTokens = *r.MaxTokens
	}
	if r.Format.Type == "json_object" {
		if a.schema = r.Format.Schema; a.schema == nil {
			a.schema = json.RawMessage("{}")
		}
	}
	for i, m := range r.Messages {
		s, images, _, err := text(m.Content)
		if err != nil {
			return fmt.Errorf("cannot read messages.%d: %w", i, short(err))
		}
		a.countMessage(s+m.Plan, images)
		switch m.Role {
		case "user":
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		case "system", "assistant", "tool":
		default:
			return wording("invalid request: messages[" + strconv.Itoa(i) + "].role")
		}
		a.lastIsTool = m.Role == "tool"
	}
	switch r.ToolChoice {
	case "":
	case "REQUIRED":
		a.toolChoice = "required"
	case "NONE":
		a.toolChoice = "none"
	default:
		return wording("invalid request: tool_choice must be REQUIRED or NONE")
	}
	if len(r.Tools) > 2 {
		a.prompt += (int64(len(r.Tools)) + 3) / 4
		var tools []struct {
			Function struct {
				Name       string          `json:"name"`
				Parameters json.RawMessage `json:"parameters"`
			} `json:"function"`
		}
		if err := sonic.Unmarshal(r.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read tools: %w", short(err))
		}
		for _, t := range tools {
			a.tools = append(a.tools, tool{t.Function.Name, t.Function.Parameters})
		}
	}
	return nil
}

// more is how many tokens the model reads beside those that are billed.
const more = 500

func (o *out) cohereUsage(b []byte, u Units, cached int64) []byte {
	b = append(b, `"usage":{"billed_units":{`...)
	b = o.field(b, "input_tokens", u.Input, true)
	b = append(b, ',')
	b = o.field(b, "output_tokens", u.Output, false)
	b = append(b, `},"tokens":{`...)
	b = plain(b, "input_tokens", u.TotalInput()+more)
	b = append(b, ',')
	b = plain(b, "output_tokens", u.Output+more)
	b = append(b, `},`...)
	b = plain(b, "cached_tokens", cached)
	o.state(u)
	return append(b, '}')
}

// cohereReason is the finish in Cohere's words.
func (w *answer) cohereReason() string {
	if w.scripted {
		return w.finish
	}
	switch w.finish {
	case "length":
		return "MAX_TOKENS"
	case "tool_calls":
		return "TOOL_CALL"
	}
	return "COMPLETE"
}

func cohereCall(b []byte, c call, args string) []byte {
	b = append(b, `{"id":`...)
	b = appendQuoted(b, c.Name+"_"+c.ID)
	b = append(b, `,"type":"function","function":{"name":`...)
	b = appendQuoted(b, c.Name)
	b = append(b, `,"arguments":`...)
	b = appendQuoted(b, args)
	return append(b, "}}"...)
}

// bill makes what was read from the cache a part of what is billed: Cohere has no other
// price for it.
func (cohere) bill(o *out, w *answer) {
	w.units.Input, w.units.CacheRead = w.units.TotalInput(), 0
	w.units.CacheWrite, w.units.CacheWrite1h = 0, 0
	o.input = w.units
}

func (c cohere) buffered(o *out, w *answer) error {
	cached := w.units.CacheRead
	c.bill(o, w)
	b := append(o.c.scratch[:0], `{"id":"`...)
	b = append(b, w.id...)
	b = append(b, `","finish_reason":`...)
	b = appendQuoted(b, w.cohereReason())
	b = append(b, `,"message":{"role":"assistant"`...)
	comma := `,"content":[`
	for _, part := range [...]struct {
		kind   string
		pieces []string
	}{{"thinking", w.reasoning}, {"text", w.pieces}} {
		if len(part.pieces) > 0 {
			b = append(append(append(append(append(append(b, comma...), `{"type":"`...), part.kind...), `","`...), part.kind...), `":`...)
			b = appendQuoted(b, joined(part.pieces))
			b = append(b, '}')
			comma = ","
		}
	}
	if comma == "," {
		b = append(b, ']')
	}
	for i, c := range w.calls {
		if i == 0 {
			b = append(b, `,"tool_plan":"","tool_calls":[`...)
		} else {
			b = append(b, ',')
		}
		b = cohereCall(b, c, c.Args)
	}
	if len(w.calls) > 0 {
		b = append(b, ']')
	}
	b = append(b, '}')
	if o.sc.Usage != "none" {
		b = append(b, ',')
		b = o.cohereUsage(b, w.units, cached)
	}
	b = append(b, '}')
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

func (c cohere) stream(o *out, w *answer) error {
	cached := w.units.CacheRead
	c.bill(o, w)
	if err := o.begin(statusOr200(o.sc.Status), dialectCohere.contentType, -1, ""); err != nil {
		return err
	}
	for range max(o.sc.Comments, 0) {
		if err := o.comment(": keep-alive"); err != nil {
			return err
		}
	}
	index := 0
	var p []byte
	emit := func(kind string, tokens, think int64, rest ...string) error {
		b := append(o.c.scratch[:0], "event: "...)
		b = append(append(append(append(b, kind...), "\ndata: {\"type\":\""...), kind...), '"')
		for _, s := range rest {
			b = append(b, s...)
		}
		b = append(b, "}\n\n"...)
		o.c.scratch = b
		return o.event(b, tokens, think)
	}
	at := func() string { return `,"index":` + strconv.Itoa(index) }
	if err := emit("message-start", 0, 0, `,"id":"`, w.id, `","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}`); err != nil {
		return err
	}
	for _, part := range [...]struct {
		kind   string
		pieces []string
		think  int64
	}{{"thinking", w.reasoning, 1}, {"text", w.pieces, 0}} {
		if len(part.pieces) == 0 {
			continue
		}
		if err := emit("content-start", 0, 0, at(), `,"delta":{"message":{"content":{"type":"`, part.kind, `","`, part.kind, `":""}}}`); err != nil {
			return err
		}
		for i := 0; i < len(part.pieces); i += w.perChunk {
			pieces := part.pieces[i:min(i+w.perChunk, len(part.pieces))]
			n := int64(len(pieces))
			if err := emit("content-delta", n*(1-part.think), n*part.think, at(), `,"delta":{"message":{"content":{"`, part.kind, `":`, quoted(joined(pieces)), `}}}`); err != nil {
				return err
			}
		}
		if err := emit("content-end", 0, 0, at()); err != nil {
			return err
		}
		index++
	}
	for i, c := range w.calls {
		index = i
		p = cohereCall(p[:0], c, "")
		if err := emit("tool-call-start", 0, 0, at(), `,"delta":{"message":{"tool_calls":`, string(p), `}}`); err != nil {
			return err
		}
		half := len(c.Args) / 2
		for j, args := range [...]string{c.Args[:half], c.Args[half:]} {
			tokens := int64(j) * (2 + int64(len(c.Name)+len(c.Args)+3)/4)
			if err := emit("tool-call-delta", tokens, 0, at(), `,"delta":{"message":{"tool_calls":{"function":{"arguments":`, quoted(args), `}}}}`); err != nil {
				return err
			}
		}
		if err := emit("tool-call-end", 0, 0, at()); err != nil {
			return err
		}
	}
	p = append(p[:0], `,"delta":{"finish_reason":`...)
	p = appendQuoted(p, w.cohereReason())
	if o.sc.Usage != "none" {
		p = append(p, ',')
		p = o.cohereUsage(p, w.units, cached)
	}
	if err := emit("message-end", 0, 0, string(p), "}"); err != nil {
		return err
	}
	if err := o.event([]byte("data: [DONE]\n\n"), 0, 0); err != nil {
		return err
	}
	return o.finish()
}

// cohereError is errorFor in Cohere's shape.
func cohereError(name string, status, usual int, model string) (int, string, string) {
	message := "invalid request: temperature must be between 0 and 2."
	switch name {
	case "account_empty":
		usual, message = 402, "billing: acct-mockcanary has no valid payment method"
	case "invalid_key":
		message = "invalid api token of org-mockcanary"
	case "context_length":
		message = "too many tokens: size limit exceeded by 901 tokens. Try using shorter or fewer inputs."
	case "model_not_found":
		message = "model '" + model + "' not found, make sure the correct model ID was used and that you have access to the model."
	case "content_filter":
		message = "the request was blocked by our content_filter"
	case "rate_limit":
		message = "You are past the per minute request limit of org-mockcanary, please wait and try again later."
	case "overloaded", "timeout", "server":
		message = "internal server error, this has been reported to our developers. id req_mockcanary"
	case "permission":
		message = "org-mockcanary is not permitted to use this."
	}
	return orStatus(status, usual), "application/json", `{"id":"req_mockcanary","message":` + quoted(message) + `}`
}
