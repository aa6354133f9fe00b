package mockllm

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/bytedance/sonic"
)

// messages is Anthropic Messages.
type messages struct{}

// dialectAnthropic stands where an OpenAI dialect would: errors and meter need a name.
var dialectAnthropic = &dialect{name: "anthropic", contentType: eventStream + "; charset=utf-8", nl: "\n"}

func (messages) anthropic() bool { return true }

func (messages) parse(a *ask, body []byte) error {
	var r struct {
		Model    string `json:"model"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		System    json.RawMessage `json:"system"`
		Stream    bool            `json:"stream"`
		MaxTokens *int64          `json:"max_tokens"`
		Metadata  struct {
			UserID string `json:"user_id"`
		} `json:"metadata"`
		Tools      json.RawMessage `json:"tools"`
		ToolChoice struct {
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"tool_choice"`
		Thinking struct {
			Type string `json:"type"`
		} `json:"thinking"`
		OutputConfig struct {
			Format struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"format"`
		} `json:"output_config"`
	}
	if err := sonic.UnmarshalString(view(body), &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	if r.Model == "" || len(r.Messages) == 0 {
		return fmt.Errorf("model and messages: Field required")
	}
	a.model, a.stream = r.Model, r.Stream
	a.userIDs[0] = r.Metadata.UserID
	if r.MaxTokens != nil {
		a.maxTokens = *r.MaxTokens
	}
	a.thinking = r.Thinking.Type == "enabled" || r.Thinking.Type == "adaptive"
	a.schema = r.OutputConfig.Format.Schema
	if len(r.System) > 0 {
		s, images, _, err := text(r.System)
		if err != nil {
			return fmt.Errorf("cannot read system: %w", short(err))
		}
		a.countMessage(s, images)
	}
	for i, m := range r.Messages {
		s, images, toolResult, err := text(m.Content)
		if err != nil {
			return fmt.Errorf("cannot read messages.%d: %w", i, short(err))
		}
		a.countMessage(s, images)
		if m.Role == "user" {
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		}
		a.lastIsTool = toolResult
	}
	if len(r.Tools) > 2 {
		a.prompt += (int64(len(r.Tools)) + 3) / 4
		var tools []struct {
			Name        string          `json:"name"`
			InputSchema json.RawMessage `json:"input_schema"`
		}
		if err := sonic.Unmarshal(r.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read tools: %w", short(err))
		}
		for _, t := range tools {
			if t.InputSchema != nil {
				a.tools = append(a.tools, tool{t.Name, t.InputSchema})
			}
		}
	}
	switch r.ToolChoice.Type {
	case "none", "auto":
		a.toolChoice = r.ToolChoice.Type
	case "any":
		a.toolChoice = "required"
	case "tool":
		a.toolChoice = r.ToolChoice.Name
	}
	return nil
}

// stopReason is the finish in Anthropic's words.
func (w *answer) stopReason() string {
	if w.scripted {
		return w.finish
	}
	switch w.finish {
	case "length":
		return "max_tokens"
	case "tool_calls":
		return "tool_use"
	}
	return "end_turn"
}

func (messages) buffered(o *out, w *answer) error {
	b := o.c.scratch[:0]
	b = append(b, `{"id":"msg_`...)
	b = append(b, w.id...)
	b = append(b, `","type":"message","role":"assistant","model":`...)
	b = appendQuoted(b, w.a.model)
	b = append(b, `,"content":[`...)
	comma := false
	block := func() {
		if comma {
			b = append(b, ',')
		}
		comma = true
	}
	if len(w.reasoning) > 0 {
		block()
		b = append(b, `{"type":"thinking","thinking":`...)
		b = appendQuoted(b, joined(w.reasoning))
		b = append(b, `,"signature":"bW9jaw=="}`...)
	}
	if len(w.pieces) > 0 {
		block()
		b = append(b, `{"type":"text","text":"`...)
		for _, p := range w.pieces {
			b = appendEscaped(b, p)
		}
		b = append(b, `"}`...)
	}
	for _, c := range w.calls {
		block()
		b = append(b, `{"type":"tool_use","id":"toolu_`...)
		b = append(b, c.ID...)
		b = append(b, `","name":`...)
		b = appendQuoted(b, c.Name)
		b = append(b, `,"input":`...)
		b = append(b, c.Args...)
		b = append(b, '}')
	}
	b = append(b, `],"stop_reason":`...)
	b = appendQuoted(b, w.stopReason())
	b = append(b, `,"stop_sequence":null`...)
	if o.sc.Usage != "none" {
		b = append(b, `,"usage":{`...)
		b = o.anthropicUsage(b, w.units, w.units.Output, true)
		b = append(b, '}')
		o.state(w.units)
	}
	b = append(b, '}')
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

func (messages) stream(o *out, w *answer) error {
	if err := o.begin(statusOr200(o.sc.Status), dialectAnthropic.contentType, -1, ""); err != nil {
		return err
	}
	number := 0
	// emit writes one event: payload is the JSON object without its last brace,
	// before which Anthropic puts blanks.
	emit := func(name string, payload []byte, tokens, think int64) error {
		b := append(o.c.scratch[:0], "event: "...)
		b = append(b, name...)
		b = append(b, "\ndata: "...)
		b = append(b, payload...)
		number++
		for range (number * 5) % 13 {
			b = append(b, ' ')
		}
		b = append(b, "}\n\n"...)
		o.c.scratch = b
		return o.event(b, tokens, think)
	}
	show := o.sc.Usage != "none"
	p := make([]byte, 0, 512)
	p = append(p, `{"type":"message_start","message":{"id":"msg_`...)
	p = append(p, w.id...)
	p = append(p, `","type":"message","role":"assistant","model":`...)
	p = appendQuoted(p, w.a.model)
	p = append(p, `,"content":[],"stop_reason":null,"stop_sequence":null`...)
	if show {
		started := w.units
		started.Output, started.Reasoning = min(1, w.units.Output), 0
		if o.sc.Usage == "shrink" {
			started.Output = w.units.Output * 10
		}
		p = append(p, `,"usage":{`...)
		p = o.anthropicUsage(p, started, started.Output, true)
		p = append(p, '}')
		o.state(started)
	}
	p = append(p, '}')
	for range max(o.sc.Comments, 0) {
		if err := o.comment(": keep-alive"); err != nil {
			return err
		}
	}
	if err := emit("message_start", p, 0, 0); err != nil {
		return err
	}
	index, pinged := 0, o.sc.Ping == "0"
	open := func(block string) error {
		p = append(p[:0], `{"type":"content_block_start","index":`...)
		p = strconv.AppendInt(p, int64(index), 10)
		p = append(append(p, `,"content_block":`...), block...)
		if err := emit("content_block_start", p, 0, 0); err != nil || pinged {
			return err
		}
		pinged = true
		return o.event([]byte("event: ping\ndata: {\"type\": \"ping\"}\n\n"), 0, 0)
	}
	delta := func(kind, member, value string, tokens, think int64) error {
		p = append(p[:0], `{"type":"content_block_delta","index":`...)
		p = strconv.AppendInt(p, int64(index), 10)
		p = append(append(append(append(append(p, `,"delta":{"type":"`...), kind...), `","`...), member...), `":`...)
		p = appendQuoted(p, value)
		p = append(p, '}')
		return emit("content_block_delta", p, tokens, think)
	}
	shut := func() error {
		p = append(p[:0], `{"type":"content_block_stop","index":`...)
		p = strconv.AppendInt(p, int64(index), 10)
		index++
		return emit("content_block_stop", p, 0, 0)
	}
	parts := func(pieces []string, kind, member string, thinking bool) error {
		for at := 0; at < len(pieces); at += w.perChunk {
			part := pieces[at:min(at+w.perChunk, len(pieces))]
			value := part[0]
			if len(part) > 1 {
				value = joined(part)
			}
			tokens, think := int64(len(part)), int64(0)
			if thinking {
				tokens, think = 0, tokens
			}
			if err := delta(kind, member, value, tokens, think); err != nil {
				return err
			}
		}
		return nil
	}
	if len(w.reasoning) > 0 {
		if err := open(`{"type":"thinking","thinking":"","signature":""}`); err != nil {
			return err
		}
		if err := parts(w.reasoning, "thinking_delta", "thinking", true); err != nil {
			return err
		}
		if err := delta("signature_delta", "signature", "bW9jaw==", 0, 0); err != nil {
			return err
		}
		if err := shut(); err != nil {
			return err
		}
	}
	if len(w.pieces) > 0 || len(w.calls) == 0 {
		if err := open(`{"type":"text","text":""}`); err != nil {
			return err
		}
		if err := parts(w.pieces, "text_delta", "text", false); err != nil {
			return err
		}
		if err := shut(); err != nil {
			return err
		}
	}
	for _, c := range w.calls {
		if err := open(`{"type":"tool_use","id":"toolu_` + c.ID + `","name":` + quoted(c.Name) + `,"input":{}}`); err != nil {
			return err
		}
		if err := delta("input_json_delta", "partial_json", "", 2+int64(len(c.Name)+len(c.Args)+3)/4, 0); err != nil {
			return err
		}
		for args := c.Args; args != "" && args != "{}"; {
			n := min(len(args), 7)
			if err := delta("input_json_delta", "partial_json", args[:n], 0, 0); err != nil {
				return err
			}
			args = args[n:]
		}
		if err := shut(); err != nil {
			return err
		}
	}
	deltas := []Units{w.units}
	switch o.sc.Usage {
	case "twice":
		deltas = append(deltas, w.units)
	case "grow":
		half := w.units
		half.Output /= 2
		deltas = []Units{half, w.units}
	}
	for _, u := range deltas {
		p = append(p[:0], `{"type":"message_delta","delta":{"stop_reason":`...)
		p = appendQuoted(p, w.stopReason())
		p = append(p, `,"stop_sequence":null}`...)
		if show {
			p = append(p, `,"usage":{`...)
			p = o.anthropicUsage(p, u, u.Output, false)
			p = append(p, '}')
			o.state(u)
		}
		if err := emit("message_delta", p, 0, 0); err != nil {
			return err
		}
	}
	if err := emit("message_stop", append(p[:0], `{"type":"message_stop"`...), 0, 0); err != nil {
		return err
	}
	return o.finish()
}
