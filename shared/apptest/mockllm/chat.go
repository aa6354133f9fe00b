package mockllm

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/bytedance/sonic"
)

// chat is OpenAI Chat Completions in all its dialects.
type chat struct{}

func (chat) anthropic() bool { return false }

func (chat) parse(a *ask, body []byte) error {
	var r struct {
		Model    string `json:"model"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Stream        bool `json:"stream"`
		StreamOptions *struct {
			IncludeUsage       bool  `json:"include_usage"`
			IncludeObfuscation *bool `json:"include_obfuscation"`
		} `json:"stream_options"`
		MaxTokens           *int64          `json:"max_tokens"`
		MaxCompletionTokens *int64          `json:"max_completion_tokens"`
		N                   *int64          `json:"n"`
		Logprobs            bool            `json:"logprobs"`
		TopLogprobs         int64           `json:"top_logprobs"`
		Tools               json.RawMessage `json:"tools"`
		ToolChoice          json.RawMessage `json:"tool_choice"`
		ResponseFormat      *struct {
			Type       string `json:"type"`
			JSONSchema struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"json_schema"`
		} `json:"response_format"`
		User             string `json:"user"`
		SafetyIdentifier string `json:"safety_identifier"`
		Metadata         struct {
			UserID string `json:"user_id"`
		} `json:"metadata"`
	}
	if err := sonic.UnmarshalString(view(body), &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	if r.Model == "" || len(r.Messages) == 0 {
		return fmt.Errorf("you must provide a model and messages")
	}
	a.model, a.stream = r.Model, r.Stream
	a.userIDs = [3]string{r.User, r.SafetyIdentifier, r.Metadata.UserID}
	if r.StreamOptions != nil {
		a.wantUsage = r.StreamOptions.IncludeUsage
		a.obfuscate = r.StreamOptions.IncludeObfuscation == nil || *r.StreamOptions.IncludeObfuscation
	}
	if r.MaxTokens != nil {
		a.maxTokens = *r.MaxTokens
	}
	if r.MaxCompletionTokens != nil {
		a.maxTokens = *r.MaxCompletionTokens
	}
	if r.Logprobs {
		a.logprobs = r.TopLogprobs
	}
	if r.N != nil {
		if a.n = *r.N; a.n < 1 || a.n > 128 {
			return fmt.Errorf("n must be from 1 to 128")
		}
	}
	for i, m := range r.Messages {
		s, images, _, err := text(m.Content)
		if err != nil {
			return fmt.Errorf("cannot read messages[%d]: %w", i, short(err))
		}
		a.countMessage(s, images)
		if m.Role == "user" {
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		}
		a.lastIsTool = m.Role == "tool" || m.Role == "function"
	}
	if len(r.Tools) > 2 {
		a.prompt += (int64(len(r.Tools)) + 3) / 4
		var tools []struct {
			Function struct {
				Name       string          `json:"name"`
				Parameters json.RawMessage `json:"parameters"`
			} `json:"function"`
			Custom struct {
				Name string `json:"name"`
			} `json:"custom"`
		}
		if err := sonic.Unmarshal(r.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read tools: %w", short(err))
		}
		for _, t := range tools {
			if t.Function.Name != "" {
				a.tools = append(a.tools, tool{t.Function.Name, t.Function.Parameters})
			} else if t.Custom.Name != "" {
				a.tools = append(a.tools, tool{t.Custom.Name, nil})
			}
		}
	}
	if len(r.ToolChoice) > 0 {
		var named struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}
		if json.Unmarshal(r.ToolChoice, &a.toolChoice) != nil && json.Unmarshal(r.ToolChoice, &named) == nil {
			a.toolChoice = named.Function.Name
		}
	}
	if f := r.ResponseFormat; f != nil {
		switch f.Type {
		case "json_object":
			a.schema = json.RawMessage(`{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}`)
		case "json_schema":
			a.schema = f.JSONSchema.Schema
		}
	}
	return nil
}

func short(err error) error {
	if s := err.Error(); len(s) > 200 {
		return fmt.Errorf("%s…", s[:200])
	}
	return err
}

func (chat) id(o *out, w *answer) string {
	if o.dial.name == "openrouter" {
		return "gen-mock-" + w.id
	}
	return "chatcmpl-" + w.id
}

func callID(o *out, c call) string {
	if o.dial.name == "mistral" { // nine letters or digits
		s := "000000000" + c.ID
		return s[len(s)-9:] // its end tells the calls of one answer apart
	}
	return "call_" + c.ID
}

func (h chat) buffered(o *out, w *answer) error {
	d := o.dial
	b := o.c.scratch[:0]
	b = append(b, `{"id":`...)
	b = appendQuoted(b, h.id(o, w))
	b = append(b, `,"object":"chat.completion","created":`...)
	b = strconv.AppendInt(b, created, 10)
	b = append(b, `,"model":`...)
	b = appendQuoted(b, w.a.model)
	b = append(b, ',')
	if d.name == "azure" {
		b = append(b, `"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],`...)
	}
	b = append(b, d.head...)
	b = append(b, `"choices":[`...)
	for i := range int(w.a.n) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"message":{"role":"assistant","content":`...)
		if len(w.calls) > 0 && len(w.pieces) == 0 {
			b = append(b, "null"...)
		} else {
			b = append(b, '"')
			for _, p := range w.pieces {
				b = appendEscaped(b, p)
			}
			b = append(b, '"')
		}
		if d.reasoning != "" && len(w.reasoning) > 0 {
			b = append(append(append(b, `,"`...), d.reasoning...), `":`...)
			b = appendQuoted(b, joined(w.reasoning))
		}
		if len(w.calls) > 0 {
			b = append(b, `,"tool_calls":[`...)
			for j, c := range w.calls {
				if j > 0 {
					b = append(b, ',')
				}
				b = append(b, `{"id":`...)
				b = appendQuoted(b, callID(o, c))
				b = append(b, `,"type":"function","function":{"name":`...)
				b = appendQuoted(b, c.Name)
				b = append(b, `,"arguments":`...)
				b = appendQuoted(b, c.Args)
				b = append(b, `}}`...)
			}
			b = append(b, ']')
		}
		if d.name == "openai" {
			b = append(b, `,"refusal":null,"annotations":[]`...)
		}
		b = append(b, '}')
		if w.a.logprobs >= 0 && len(w.pieces) > 0 {
			b = w.a.chatLogprobs(append(b, `,"logprobs":`...), w.pieces, true)
		} else if d.logprobs {
			b = append(b, `,"logprobs":null`...)
		}
		b = append(b, `,"finish_reason":`...)
		b = appendQuoted(b, w.finish)
		if d.name == "openrouter" {
			b = append(b, `,"native_finish_reason":"mockllm-canary"`...)
		}
		if d.name == "azure" {
			b = append(b, `,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}`...)
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	if o.sc.Usage != "none" {
		b = append(b, `,"usage":`...)
		b = o.chatUsage(b, w.units)
		o.state(w.units)
	}
	if d.name == "groq" {
		b = append(b, `,"x_groq":{"id":"req_mockcanary"}`...)
	}
	if d.name == "perplexity" {
		b = append(b, `,"citations":["https://example.com/"],"search_results":[{"title":"Example","url":"https://example.com/"}]`...)
	}
	b = append(b, '}')
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

func statusOr200(status int) int {
	if status == 0 {
		return 200
	}
	return status
}

// chunk is one stream chunk under construction.
type chunk struct {
	delta   string // members of the delta
	finish  string // JSON value, "" = the dialect's form of "not yet"
	choice  int
	more    string   // members after choices, with a leading comma
	inside  string   // members inside the choice, with a leading comma
	logs    []string // the tokens of the delta
	message string   // perplexity's whole message, JSON
}

func (h chat) stream(o *out, w *answer) error {
	d := o.dial
	if err := o.begin(statusOr200(o.sc.Status), d.contentType, -1, ""); err != nil {
		return err
	}
	id := h.id(o, w)
	var pre []byte
	pre = append(pre, `data: {"id":`...)
	pre = appendQuoted(pre, id)
	if d.usageAt == usageEveryChunk {
		pre = append(pre, `,"model":`...)
		pre = appendQuoted(pre, w.a.model)
		pre = append(pre, `,"created":`...)
		pre = strconv.AppendInt(pre, created, 10)
	} else {
		pre = append(pre, `,"object":"chat.completion.chunk","created":`...)
		pre = strconv.AppendInt(pre, created, 10)
		pre = append(pre, `,"model":`...)
		pre = appendQuoted(pre, w.a.model)
	}
	pre = append(pre, ',')
	pre = append(pre, d.head...)

	pad := 0
	said := Units{Input: w.units.Input, CacheRead: w.units.CacheRead, CacheWrite: w.units.CacheWrite, CacheWrite1h: w.units.CacheWrite1h}
	emit := func(c chunk, tokens, think int64) error {
		said.Output += tokens + think
		said.Reasoning += think
		b := append(o.c.scratch[:0], pre...)
		if d.usageAt == usageEveryChunk {
			if o.sc.Usage != "none" {
				b = append(b, `"usage":`...)
				b = o.chatUsage(b, said)
				b = append(b, ',')
				o.state(said)
			}
			b = append(b, `"citations":["https://example.com/"],"search_results":[{"title":"Example","url":"https://example.com/"}],"object":"chat.completion.`...)
			if c.finish != "" {
				b = append(b, `done",`...)
			} else {
				b = append(b, `chunk",`...)
			}
		}
		b = append(b, `"choices":[{"index":`...)
		b = strconv.AppendInt(b, int64(c.choice), 10)
		if c.message != "" {
			b = append(append(b, `,"message":`...), c.message...)
		}
		b = append(b, `,"delta":{`...)
		if d.roleAlways {
			b = append(b, `"role":"assistant"`...)
			if c.delta != "" {
				b = append(b, ',')
			}
		}
		b = append(append(b, c.delta...), '}')
		if w.a.logprobs >= 0 && len(c.logs) > 0 {
			b = w.a.chatLogprobs(append(b, `,"logprobs":`...), c.logs, true)
		} else if d.logprobs {
			b = append(b, `,"logprobs":null`...)
		}
		if c.finish != "" {
			b = append(append(b, `,"finish_reason":`...), c.finish...)
		} else if d.finishNull {
			b = append(b, `,"finish_reason":null`...)
		}
		if d.name == "openrouter" {
			b = append(b, `,"native_finish_reason":null`...)
		}
		if d.name == "azure" {
			b = append(b, `,"content_filter_results":{}`...)
		}
		b = append(append(b, c.inside...), '}', ']')
		if c.more != "" {
			b = append(b, c.more...)
		} else if d.nullAlways || d.usageNull && w.a.wantUsage {
			b = append(b, `,"usage":null`...)
		}
		b = o.padding(b, &pad)
		b = append(b, "}\n\n"...)
		o.c.scratch = b
		return o.event(b, tokens, think)
	}

	comments := o.sc.Comments
	if comments < 0 {
		comments = 0
		if d.comment != "" {
			comments = 1
		}
	}
	for range comments {
		line := d.comment
		if line == "" {
			line = ": keep-alive"
		}
		if err := o.comment(line); err != nil {
			return err
		}
	}
	if d.name == "azure" {
		if err := o.event([]byte(`data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"detected":false,"filtered":false}}}]}`+"\n\n"), 0, 0); err != nil {
			return err
		}
	}
	hidden := int64(0)
	if d.reasoning == "" {
		hidden = int64(len(w.reasoning))
	}
	n := int(w.a.n)
	if !d.roleAlways {
		for i := range n {
			c := chunk{choice: i, delta: `"role":"assistant","content":""`}
			if d.name == "openai" || d.name == "azure" {
				c.delta += `,"refusal":null`
			}
			if d.reasoning == "reasoning_content" && len(w.reasoning) > 0 {
				c.delta = `"role":"assistant","content":null,"reasoning_content":""`
			}
			if d.name == "groq" {
				c.more = `,"x_groq":{"id":"req_mockcanary","seed":1}`
			}
			if err := emit(c, 0, hidden); err != nil {
				return err
			}
		}
	} else if hidden > 0 {
		o.think += hidden * int64(n)
		said.Output, said.Reasoning = said.Output+hidden*int64(n), said.Reasoning+hidden*int64(n)
	}
	if d.reasoning != "" {
		for at := 0; at < len(w.reasoning); at += w.perChunk {
			part := w.reasoning[at:min(at+w.perChunk, len(w.reasoning))]
			for i := range n {
				delta := `"` + d.reasoning + `":` + quoted(joined(part))
				switch d.name {
				case "deepseek", "qwen":
					delta = `"content":null,` + delta
				case "groq":
					delta += `,"channel":"analysis"`
				case "openrouter":
					delta = `"content":"",` + delta + `,"reasoning_details":[{"type":"reasoning.text","text":` + quoted(joined(part)) + `,"format":"unknown","index":0}]`
				}
				if err := emit(chunk{choice: i, delta: delta}, 0, int64(len(part))); err != nil {
					return err
				}
			}
		}
	}
	finish := quoted(w.finish)
	merged := d.name == "mistral" && len(w.calls) == 0 // the last text comes with the finish
	last := ""
	lastTokens := int64(0)
	for at := 0; at < len(w.pieces); at += w.perChunk {
		end := min(at+w.perChunk, len(w.pieces))
		part := w.pieces[at:end]
		content := part[0]
		if len(part) > 1 {
			content = joined(part)
		}
		if merged && end == len(w.pieces) {
			last, lastTokens = content, int64(len(part))
			break
		}
		delta := `"content":` + quoted(content)
		for i := range n {
			if err := emit(chunk{choice: i, delta: delta, logs: part}, int64(len(part)), 0); err != nil {
				return err
			}
		}
	}
	for i := range n {
		for j, c := range w.calls {
			if err := h.toolCall(o, emit, i, j, c); err != nil {
				return err
			}
		}
	}
	// The end: finish reason, usage in the dialect's place, terminator.
	usage := func(u Units) string { return string(o.chatUsage(nil, u)) }
	u := w.units
	show := o.sc.Usage != "none"
	first := u // shrink, grow and twice say usage once more before
	switch o.sc.Usage {
	case "shrink":
		first.Output *= 10
	case "grow":
		first.Output /= 2
	}
	repeated := o.sc.Usage == "twice" || o.sc.Usage == "shrink" || o.sc.Usage == "grow"
	for i := range n {
		c := chunk{choice: i, finish: finish}
		if merged {
			c.delta = `"content":` + quoted(last)
		} else if d.roleAlways {
			c.delta = `"content":""`
		}
		if i == n-1 && show {
			switch d.usageAt {
			case usageFinishChunk:
				if repeated {
					if err := emit(chunk{choice: i, delta: `"content":""`, more: `,"usage":` + usage(first)}, 0, 0); err != nil {
						return err
					}
				}
				c.more = `,"usage":` + usage(u)
				o.state(u)
			case usageInChoice:
				c.inside = `,"usage":` + usage(u)
				o.state(u)
			case usageGroq:
				c.more = `,"x_groq":{"id":"req_mockcanary","usage":` + usage(u) + `}`
				if w.a.wantUsage {
					c.more += `,"usage":` + usage(u)
				}
				o.state(u)
			}
		}
		if d.usageAt == usageEveryChunk {
			c.message = `{"role":"assistant","content":` + quoted(joined(w.pieces)) + `}`
		}
		if err := emit(c, lastTokens, 0); err != nil {
			return err
		}
	}
	if show && (d.usageAt == usageExtraChunk && w.a.wantUsage || d.usageAt == usageEmptyDelta) {
		list := []Units{u}
		if repeated {
			list = []Units{first, u}
		}
		for _, u := range list {
			o.state(u)
			if d.usageAt == usageEmptyDelta {
				if err := emit(chunk{delta: `"content":""`, more: `,"usage":` + usage(u)}, 0, 0); err != nil {
					return err
				}
				continue
			}
			b := append(o.c.scratch[:0], pre...)
			b = append(b, `"choices":[],"usage":`...)
			b = o.chatUsage(b, u)
			b = o.padding(b, &pad)
			b = append(b, "}\n\n"...)
			o.c.scratch = b
			if err := o.event(b, 0, 0); err != nil {
				return err
			}
		}
	}
	if d.done {
		if err := o.event([]byte("data: [DONE]\n\n"), 0, 0); err != nil {
			return err
		}
	}
	return o.finish()
}

// padding appends the random-looking member that OpenAI and Mistral add against
// traffic analysis. Its length depends on the number of the chunk only.
func (o *out) padding(b []byte, n *int) []byte {
	const letters = "aB3dEf6hIjK9mNoP"
	if o.dial.pad == "" || !o.ask.obfuscate {
		return b
	}
	*n++
	b = append(append(append(b, `,"`...), o.dial.pad...), `":"`...)
	b = append(b, letters[:(*n*7)%len(letters)]...)
	return append(b, '"')
}

func (chat) toolCall(o *out, emit func(chunk, int64, int64) error, choice, index int, c call) error {
	d := o.dial
	tokens := 2 + int64(len(c.Name)+len(c.Args)+3)/4
	head := `"tool_calls":[{"index":` + strconv.Itoa(index) + `,"id":` + quoted(callID(o, c)) + `,"type":"function","function":{"name":` + quoted(c.Name) + `,"arguments":`
	if d.wholeTool {
		return emit(chunk{choice: choice, delta: head + quoted(c.Args) + `}}]`}, tokens, 0)
	}
	if err := emit(chunk{choice: choice, delta: head + `""}}]`}, tokens, 0); err != nil {
		return err
	}
	for args := c.Args; args != ""; {
		n := min(len(args), 5)
		again := ""
		if d.emptyToolID {
			again = `,"id":""`
		}
		if err := emit(chunk{choice: choice, delta: `"tool_calls":[{"index":` + strconv.Itoa(index) + again + `,"function":{"arguments":` + quoted(args[:n]) + `}}]`}, 0, 0); err != nil {
			return err
		}
		args = args[n:]
	}
	return nil
}
