package bedrock

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's Converse answer, streamed or whole, into events of
// the common form. A proof of a thought is Anthropic's: no other maker on Bedrock signs.
// The zero value is ready after Reset.
type AnswerDecoder struct {
	began   bool
	calls   int
	open    []block // calls that have begun and not ended
	scratch []byte
}

// block is a call under way.
type block struct {
	index int64
	call  int
}

// maxOpen bounds the blocks that are open at once, maxCalls the calls of one answer.
const (
	maxOpen  = 64
	maxCalls = 1024
)

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() { *d = AnswerDecoder{open: d.open[:0], scratch: d.scratch[:0]} }

func (d *AnswerDecoder) begin(list []chat.Event) []chat.Event {
	if d.began {
		return list
	}
	d.began = true
	return append(list, chat.Event{Kind: chat.Start})
}

// Event appends what one frame holds, as an object with one member of its name.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	d.scratch = d.scratch[:0]
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return list
	}
	it := walk.Object(data, at)
	if !it.Next() {
		return list
	}
	v := it.Value()
	index, _, _ := walk.Count(walk.Get(v, "contentBlockIndex"))
	switch string(it.Key) {
	case "messageStart":
		list = d.begin(list)
	case "contentBlockStart":
		list = d.begin(list)
		if call := walk.Get(walk.Get(v, "start"), "toolUse"); call != nil && len(d.open) < maxOpen && d.calls < maxCalls {
			d.open = append(d.open, block{index, d.calls})
			list = append(list, chat.Event{Kind: chat.CallStart, Call: d.calls, ID: walk.TextOf(call, "toolUseId"), Name: walk.TextOf(call, "name")})
			d.calls++
		}
	case "contentBlockDelta":
		list = d.delta(d.begin(list), walk.Get(v, "delta"), index)
	case "contentBlockStop":
		for i := range d.open {
			if d.open[i].index == index {
				d.open = append(d.open[:i], d.open[i+1:]...)
				break
			}
		}
		list = append(d.begin(list), chat.Event{Kind: chat.Block})
	case "messageStop":
		list = append(d.begin(list), finish(v))
	}
	return list
}

func (d *AnswerDecoder) delta(list []chat.Event, v []byte, index int64) []chat.Event {
	if len(v) == 0 || v[0] != '{' {
		return list
	}
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "text":
			if said, _ := walk.Text(x); len(said) > 0 {
				list = append(list, chat.Event{Kind: chat.Text, Text: said})
			}
		case "toolUse":
			for i := range d.open {
				if s := walk.TextOf(x, "input"); d.open[i].index == index && len(s) > 0 {
					list = append(list, chat.Event{Kind: chat.CallArgs, Call: d.open[i].call, Text: s})
				}
			}
		case "reasoningContent":
			list = thought(list, x)
		case "citation":
			list = citation(list, x)
		}
	}
	return list
}

// thought reads a thought, whole or a piece of one.
func thought(list []chat.Event, v []byte) []chat.Event {
	if s := walk.TextOf(v, "text"); len(s) > 0 {
		list = append(list, chat.Event{Kind: chat.Thinking, Text: s})
	}
	if s := walk.TextOf(v, "signature"); len(s) > 0 {
		list = append(list, chat.Event{Kind: chat.Signature, Text: s, Signer: chat.Anthropic})
	}
	if s := walk.TextOf(v, "redactedContent"); len(s) > 0 {
		list = append(list, chat.Event{Kind: chat.Redacted, Text: s, Signer: chat.Anthropic})
	}
	return list
}

// citation reads a source that has an address.
func citation(list []chat.Event, v []byte) []chat.Event {
	if url := walk.TextOf(walk.Get(walk.Get(v, "location"), "web"), "url"); len(url) > 0 {
		list = append(list, chat.Event{Kind: chat.Citation, URL: url, Title: walk.TextOf(v, "title")})
	}
	return list
}

// Whole appends what a whole answer holds.
func (d *AnswerDecoder) Whole(list []chat.Event, body []byte) []chat.Event {
	d.scratch = d.scratch[:0]
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return list
	}
	v := body[at:]
	content := walk.Get(walk.Get(walk.Get(v, "output"), "message"), "content")
	if content == nil && len(walk.TextOf(v, "stopReason")) == 0 {
		return list
	}
	list = d.begin(list)
	if len(content) > 0 && content[0] == '[' {
		it := walk.Array(content, 0)
		for it.Next() {
			if b := it.Value(); len(b) > 0 && b[0] == '{' {
				list = append(d.block(list, b), chat.Event{Kind: chat.Block})
			}
		}
	}
	return append(list, finish(v))
}

func (d *AnswerDecoder) block(list []chat.Event, v []byte) []chat.Event {
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "text":
			if said, _ := walk.Text(x); len(said) > 0 {
				list = append(list, chat.Event{Kind: chat.Text, Text: said})
			}
		case "toolUse":
			if d.calls >= maxCalls {
				continue
			}
			list = append(list, chat.Event{Kind: chat.CallStart, Call: d.calls, ID: walk.TextOf(x, "toolUseId"), Name: walk.TextOf(x, "name")})
			if in := walk.Get(x, "input"); len(in) > 0 && in[0] == '{' && walk.Truthy(in) {
				from := len(d.scratch)
				d.scratch = chat.Escape(d.scratch, in)
				list = append(list, chat.Event{Kind: chat.CallArgs, Call: d.calls, Text: d.scratch[from:]})
			}
			d.calls++
		case "reasoningContent":
			list = thought(list, walk.Get(x, "reasoningText"))
			list = thought(list, x)
		case "citationsContent":
			list = cited(list, x)
		}
	}
	return list
}

// cited reads texts with their sources.
func cited(list []chat.Event, v []byte) []chat.Event {
	if c := walk.Get(v, "content"); len(c) > 0 && c[0] == '[' {
		it := walk.Array(c, 0)
		for it.Next() {
			if s := walk.TextOf(it.Value(), "text"); len(s) > 0 {
				list = append(list, chat.Event{Kind: chat.Text, Text: s})
			}
		}
	}
	if c := walk.Get(v, "citations"); len(c) > 0 && c[0] == '[' {
		it := walk.Array(c, 0)
		for it.Next() {
			list = citation(list, it.Value())
		}
	}
	return list
}

// finish is the reason for the end. Which stop sequence was met stands among the fields
// of the model itself, where it was asked for.
func finish(v []byte) chat.Event {
	e := chat.Event{Kind: chat.Finish}
	switch string(walk.TextOf(v, "stopReason")) {
	case "max_tokens", "model_context_window_exceeded":
		e.Reason = chat.Length
	case "tool_use":
		e.Reason = chat.ToolCalls
	case "guardrail_intervened", "content_filtered":
		e.Reason = chat.Filtered
	case "stop_sequence":
		if s := walk.TextOf(walk.Get(v, "additionalModelResponseFields"), "stop_sequence"); len(s) > 0 {
			e.Reason, e.Text = chat.StopSequence, s
		}
	}
	return e
}
