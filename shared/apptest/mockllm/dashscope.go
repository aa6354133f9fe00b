package mockllm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bytedance/sonic"
)

// dashScope is DashScope's own text generation. A header asks for a stream; each event
// has a number, the name of what it is, the status as a comment, and the usage so far.
// Without incremental_output an event repeats all that was said before.
type dashScope struct {
	streams bool
	sees    bool  // the multimodal endpoint: contents are lists, asked and answered
	plain   *bool // result_format text; set by parse
	grows   *bool // incremental_output
}

// dialectDashScope stands where an OpenAI dialect would: errors and meter need a name.
var dialectDashScope = &dialect{name: "dashscope-native", contentType: "text/event-stream;charset=UTF-8", nl: "\n"}

// What the operation's path ends with, of text models and of those that see.
const (
	dashScopePath  = "/services/aigc/text-generation/generation"
	dashScopeSight = "/services/aigc/multimodal-generation/generation"
)

func newDashScope(c *conn, sees bool) dashScope {
	return dashScope{
		sees:    sees,
		streams: strings.EqualFold(c.header("x-dashscope-sse"), "enable") || strings.Contains(c.header("accept"), "text/event-stream"),
		plain:   new(bool), grows: new(bool),
	}
}

func (dashScope) anthropic() bool { return false }

// wording is an error in the provider's own words.
type wording string

func (w wording) Error() string { return string(w) }

func (d dashScope) parse(a *ask, body []byte) error {
	var r struct {
		Model string `json:"model"`
		Input struct {
			Prompt   string `json:"prompt"`
			Messages []struct {
				Role    string          `json:"role"`
				Content json.RawMessage `json:"content"`
			} `json:"messages"`
		} `json:"input"`
		Parameters struct {
			ResultFormat  string          `json:"result_format"`
			Incremental   bool            `json:"incremental_output"`
			MaxTokens     *int64          `json:"max_tokens"`
			MaxCompletion *int64          `json:"max_completion_tokens"`
			N             *int64          `json:"n"`
			Logprobs      bool            `json:"logprobs"`
			TopLogprobs   int64           `json:"top_logprobs"`
			Thinking      bool            `json:"enable_thinking"`
			Tools         json.RawMessage `json:"tools"`
			ToolChoice    json.RawMessage `json:"tool_choice"`
			Format        struct {
				Type   string `json:"type"`
				Schema struct {
					Schema json.RawMessage `json:"schema"`
				} `json:"json_schema"`
			} `json:"response_format"`
		} `json:"parameters"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	p := &r.Parameters
	a.model, a.stream, a.thinking = r.Model, d.streams, p.Thinking
	*d.grows = p.Incremental
	*d.plain = !d.sees && (p.ResultFormat == "text" || p.ResultFormat == "" && len(p.Tools) == 0 && !p.Thinking)
	if r.Model == "" {
		return wording("Required parameter(s) missing or invalid, please check the request parameters.")
	}
	for _, n := range []*int64{p.MaxTokens, p.MaxCompletion} {
		if n != nil {
			a.maxTokens = *n
		}
	}
	if p.Logprobs {
		a.logprobs = p.TopLogprobs
	}
	if p.N != nil {
		a.n = *p.N
	}
	if p.Format.Type == "json_object" || p.Format.Type == "json_schema" {
		if a.schema = p.Format.Schema.Schema; a.schema == nil {
			a.schema = json.RawMessage("{}")
		}
	}
	if p.Thinking && d.streams && !p.Incremental {
		return wording("This model only supports incremental_output set to True.")
	}
	if len(r.Input.Messages) == 0 {
		if r.Input.Prompt == "" {
			return wording("Role must be user or assistant and Content length must be greater than 0")
		}
		a.countMessage(r.Input.Prompt, 0)
		a.firstUser, a.lastUser = r.Input.Prompt, r.Input.Prompt
	}
	for i, m := range r.Input.Messages {
		s, images, _, err := text(m.Content)
		if err != nil {
			return fmt.Errorf("cannot read input.messages.%d.content: %w", i, short(err))
		}
		if d.sees && (len(m.Content) == 0 || m.Content[0] != '[') {
			return wording("Input should be a valid list: input.messages." + strconv.Itoa(i) + ".content")
		}
		a.countMessage(s, images)
		switch m.Role {
		case "user":
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		case "system", "assistant", "tool":
		default:
			return fmt.Errorf("%q is not one of ['system', 'assistant', 'user', 'tool'] - 'messages.[%d].role'", m.Role, i)
		}
		a.lastIsTool = m.Role == "tool"
	}
	if len(p.Tools) > 2 {
		a.prompt += (int64(len(p.Tools)) + 3) / 4
		var tools []struct {
			Function struct {
				Name       string          `json:"name"`
				Parameters json.RawMessage `json:"parameters"`
			} `json:"function"`
		}
		if err := sonic.Unmarshal(p.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read parameters.tools: %w", short(err))
		}
		for _, t := range tools {
			a.tools = append(a.tools, tool{t.Function.Name, t.Function.Parameters})
		}
	}
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(p.ToolChoice, &a.toolChoice) != nil && json.Unmarshal(p.ToolChoice, &named) == nil {
		a.toolChoice = named.Function.Name
	}
	return nil
}

// dashScopeUsage appends the usage object.
func (o *out) dashScopeUsage(b []byte, u Units) []byte {
	in := u.TotalInput()
	b = append(b, '{')
	b = plain(b, "total_tokens", in+u.Output)
	b = append(b, ',')
	b = o.field(b, "output_tokens", u.Output, false)
	b = append(b, ',')
	b = o.field(b, "input_tokens", in, true)
	if u.Reasoning > 0 {
		b = append(b, `,"output_tokens_details":{`...)
		b = plain(b, "reasoning_tokens", u.Reasoning)
		b = append(b, '}')
	}
	b = append(b, `,"prompt_tokens_details":{`...)
	b = plain(b, "cached_tokens", u.CacheRead)
	if written := u.CacheWrite + u.CacheWrite1h; written > 0 {
		b = append(b, ',')
		b = plain(b, "cache_creation_input_tokens", written)
	}
	return append(b, "}}"...)
}

// tail appends what every answer and event ends with.
func (o *out) dashScopeTail(b []byte, w *answer, u Units) []byte {
	if o.sc.Usage != "none" {
		b = append(b, `,"usage":`...)
		b = o.dashScopeUsage(b, u)
		o.state(u)
	}
	b = append(b, `,"request_id":"`...)
	b = append(b, w.id...)
	return append(b, `"}`...)
}

// dashScopeCall appends one entry of tool_calls; a later piece has no name and an empty
// id.
func dashScopeCall(b []byte, i int, c call, args string, later bool) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `,"id":`...)
	if later {
		b = append(b, `"","type":"function","function":{`...)
	} else {
		b = appendQuoted(b, "call_"+c.ID)
		b = append(b, `,"type":"function","function":{"name":`...)
		b = appendQuoted(b, c.Name)
		b = append(b, ',')
	}
	b = append(b, `"arguments":`...)
	b = appendQuoted(b, args)
	return append(b, "}}"...)
}

// message appends a choice's message; calls are written already.
func (d dashScope) message(b []byte, content, reasoning string, thinks bool, calls []byte) []byte {
	b = append(b, `{"role":"assistant","content":`...)
	switch {
	case d.sees && content == "":
		b = append(b, "[]"...)
	case d.sees:
		b = append(b, `[{"text":`...)
		b = appendQuoted(b, content)
		b = append(b, "}]"...)
	default:
		b = appendQuoted(b, content)
	}
	if thinks {
		b = append(b, `,"reasoning_content":`...)
		b = appendQuoted(b, reasoning)
	}
	if len(calls) > 0 {
		b = append(b, `,"tool_calls":[`...)
		b = append(b, calls...)
		b = append(b, ']')
	}
	return append(b, '}')
}

func (d dashScope) buffered(o *out, w *answer) error {
	b := append(o.c.scratch[:0], `{"output":{`...)
	content := joined(w.pieces)
	if len(w.calls) > 0 {
		content = ""
	}
	if *d.plain {
		b = append(b, `"text":`...)
		b = appendQuoted(b, content)
		b = append(b, `,"finish_reason":`...)
		b = appendQuoted(b, w.finish)
	} else {
		b = append(b, `"choices":[`...)
		var calls []byte
		for i, c := range w.calls {
			if i > 0 {
				calls = append(calls, ',')
			}
			calls = dashScopeCall(calls, i, c, c.Args, false)
		}
		for i := range w.a.n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"finish_reason":`...)
			b = appendQuoted(b, w.finish)
			b = append(b, `,"index":`...)
			b = strconv.AppendInt(b, i, 10)
			b = append(b, `,"message":`...)
			b = d.message(b, content, joined(w.reasoning), len(w.reasoning) > 0, calls)
			if w.a.logprobs >= 0 {
				b = w.a.chatLogprobs(append(b, `,"logprobs":`...), w.pieces, false)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, '}')
	b = o.dashScopeTail(b, w, w.units)
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

func (d dashScope) stream(o *out, w *answer) error {
	if err := o.begin(statusOr200(o.sc.Status), dialectDashScope.contentType, -1, ""); err != nil {
		return err
	}
	for range max(o.sc.Comments, 0) {
		if err := o.comment(":HTTP_STATUS/200"); err != nil {
			return err
		}
	}
	so := w.units // usage so far
	so.Output, so.Reasoning = 0, 0
	var content, thought string // of this event, or so far
	var callsSoFar []byte
	emit := func(text, think string, pieces []string, calls []byte, tokens, thinks int64, finish bool) error {
		tokens, thinks = tokens*w.a.n, thinks*w.a.n
		so.Output += tokens + thinks
		so.Reasoning += thinks
		if *d.grows {
			content, thought = text, think
		} else {
			content, thought = content+text, thought+think
			calls = callsSoFar
		}
		b := append(o.c.scratch[:0], "id:"...)
		b = strconv.AppendInt(b, o.events+1, 10)
		b = append(b, "\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{"...)
		reason := "null"
		u := so
		switch {
		case finish:
			reason, u = w.finish, w.units
		case o.sc.Usage == "shrink":
			u.Output *= 10
		}
		if *d.plain {
			b = append(b, `"finish_reason":`...)
			b = appendQuoted(b, reason)
			b = append(b, `,"text":`...)
			b = appendQuoted(b, content)
		} else {
			b = append(b, `"choices":[`...)
			for i := range w.a.n {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, `{"message":`...)
				b = d.message(b, content, thought, len(w.reasoning) > 0, calls)
				if w.a.logprobs >= 0 && len(pieces) > 0 {
					b = w.a.chatLogprobs(append(b, `,"logprobs":`...), pieces, false)
				}
				b = append(b, `,"index":`...)
				b = strconv.AppendInt(b, i, 10)
				b = append(b, `,"finish_reason":`...)
				b = appendQuoted(b, reason)
				b = append(b, '}')
			}
			b = append(b, ']')
		}
		b = append(b, '}')
		b = o.dashScopeTail(b, w, u)
		b = append(b, "\n\n"...)
		o.c.scratch = b
		return o.event(b, tokens, thinks)
	}
	for at := 0; at < len(w.reasoning); at += w.perChunk {
		part := w.reasoning[at:min(at+w.perChunk, len(w.reasoning))]
		if err := emit("", joined(part), nil, nil, 0, int64(len(part)), false); err != nil {
			return err
		}
	}
	for at := 0; at < len(w.pieces) && len(w.calls) == 0; at += w.perChunk {
		part := w.pieces[at:min(at+w.perChunk, len(w.pieces))]
		if err := emit(joined(part), "", part, nil, int64(len(part)), 0, false); err != nil {
			return err
		}
	}
	whole := []byte(nil)
	for i, c := range w.calls {
		half := len(c.Args) / 2
		for piece, args := range [...]string{c.Args[:half], c.Args[half:]} {
			one := dashScopeCall(nil, i, c, args, piece == 1)
			callsSoFar = append([]byte(nil), whole...)
			if len(whole) > 0 {
				callsSoFar = append(callsSoFar, ',')
			}
			tokens := int64(0)
			if piece == 1 {
				args, tokens = c.Args, 2+int64(len(c.Name)+len(c.Args)+3)/4
			}
			callsSoFar = dashScopeCall(callsSoFar, i, c, args, false)
			if err := emit("", "", nil, one, tokens, 0, false); err != nil {
				return err
			}
		}
		whole = callsSoFar
	}
	if err := emit("", "", nil, nil, 0, 0, true); err != nil {
		return err
	}
	return o.finish()
}

// dashScopeError is errorFor in DashScope's shape.
func dashScopeError(name string, status, usual int, model string) (int, string, string) {
	code, message := "InvalidParameter", "<400> InternalError.Algo.InvalidParameter: 'temperature' must be Float"
	switch name {
	case "account_empty":
		usual, code, message = 400, "Arrearage", "Access denied, please make sure your account acct-mockcanary is in good standing."
	case "invalid_key":
		code, message = "InvalidApiKey", "Invalid API-key provided."
	case "context_length":
		message = "Range of input length should be [1, 8192]"
	case "model_not_found":
		code, message = "ModelNotFound", "Model can not be found: "+model+"."
	case "content_filter":
		code, message = "DataInspectionFailed", "Input data may contain inappropriate content."
	case "rate_limit":
		code, message = "Throttling.RateQuota", "Requests rate limit exceeded of acct-mockcanary, please try again later."
	case "overloaded":
		code, message = "ServiceUnavailable", "Too many requests in route. Please try again later."
	case "permission":
		code, message = "AccessDenied", "Access denied for org-mockcanary."
	case "timeout":
		code, message = "RequestTimeOut", "Request timed out, please try again later."
	case "server":
		code, message = "InternalError", "An internal error has occurred, request id is req_mockcanary, please try again later."
	case "too_large", "unprocessable", "tool_use_failed", "bad_request":
		usual = 400
	}
	return orStatus(status, usual), "application/json", `{"code":` + quoted(code) + `,"message":` + quoted(message) + `,"request_id":"req_mockcanary"}`
}

// dashScopeErrorEvent is an error amid a stream.
func (o *out) dashScopeErrorEvent() []byte {
	status, _, body := errorFor(o.dial, false, o.sc.Error, 0, o.ask.name, "")
	return []byte("id:" + strconv.FormatInt(o.events+1, 10) + "\nevent:error\n:HTTP_STATUS/" + strconv.Itoa(status) + "\ndata:" + body + "\n\n")
}

// dashScopeLong is an event with a text of n bytes.
func dashScopeLong(text string) []byte {
	return []byte("event:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"" + text + "\"},\"finish_reason\":\"null\"}]},\"request_id\":\"long\"}\n\n")
}
