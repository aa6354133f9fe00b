package anthropic

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's Messages answer, streamed or whole, into events
// of the common form. Blocks of tools that the provider ran are left out. The zero
// value is ready after Reset.
type AnswerDecoder struct {
	began   bool
	calls   int
	open    []block // blocks that have begun and not ended
	scratch []byte
}

// block is an open block of the answer.
type block struct {
	index int64
	call  int // -1 = no tool call
}

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() { *d = AnswerDecoder{open: d.open[:0], scratch: d.scratch[:0]} }

// Event appends what one event's data holds.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	d.scratch = d.scratch[:0]
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return list
	}
	var kind, content, delta []byte
	index := int64(0)
	it := walk.Object(data, at)
	for it.Next() {
		v := it.Value()
		switch string(it.Key) {
		case "type":
			kind, _ = walk.Text(v)
		case "index":
			index, _, _ = walk.Count(v)
		case "content_block":
			content = v
		case "delta":
			delta = v
		}
	}
	switch string(kind) {
	case "message_start":
		if !d.began {
			d.began = true
			list = append(list, chat.Event{Kind: chat.Start})
		}
	case "content_block_start":
		if len(d.open) < maxOpen {
			d.open = append(d.open, block{index: index, call: -1})
			list = d.block(list, content, &d.open[len(d.open)-1])
		}
	case "content_block_delta":
		list = d.delta(list, delta, index)
	case "content_block_stop":
		for i := range d.open {
			if d.open[i].index == index {
				d.open = append(d.open[:i], d.open[i+1:]...)
				list = append(list, chat.Event{Kind: chat.Block})
				break
			}
		}
	case "message_delta":
		list = finish(list, delta)
	}
	return list
}

// maxOpen bounds the blocks that are open at once.
const maxOpen = 64

// finish reads the reason of the end.
func finish(list []chat.Event, v []byte) []chat.Event {
	s := walk.TextOf(v, "stop_reason")
	if len(s) == 0 {
		return list
	}
	e := chat.Event{Kind: chat.Finish}
	switch string(s) {
	case "max_tokens", "model_context_window_exceeded":
		e.Reason = chat.Length
	case "tool_use":
		e.Reason = chat.ToolCalls
	case "refusal":
		e.Reason = chat.Filtered
	case "stop_sequence":
		e.Reason, e.Text = chat.StopSequence, walk.TextOf(v, "stop_sequence")
	case "pause_turn":
		e.Reason = chat.Paused
	}
	return append(list, e)
}

// block reads a block, at its start or whole.
func (d *AnswerDecoder) block(list []chat.Event, v []byte, b *block) []chat.Event {
	switch string(walk.TextOf(v, "type")) {
	case "text":
		if s := walk.TextOf(v, "text"); len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Text, Text: s})
		}
		if c := walk.Get(v, "citations"); len(c) > 0 && c[0] == '[' {
			it := walk.Array(c, 0)
			for it.Next() {
				list = citation(list, it.Value())
			}
		}
	case "thinking":
		if s := walk.TextOf(v, "thinking"); len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Thinking, Text: s})
		}
		if s := walk.TextOf(v, "signature"); len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Signature, Text: s, Signer: chat.Anthropic})
		}
	case "redacted_thinking":
		if s := walk.TextOf(v, "data"); len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Redacted, Text: s, Signer: chat.Anthropic})
		}
	case "tool_use":
		b.call = d.calls
		d.calls++
		list = append(list, chat.Event{Kind: chat.CallStart, Call: b.call, ID: walk.TextOf(v, "id"), Name: walk.TextOf(v, "name")})
		if in := walk.Get(v, "input"); len(in) > 0 && in[0] == '{' && walk.Truthy(in) {
			at := len(d.scratch)
			d.scratch = chat.Escape(d.scratch, in)
			list = append(list, chat.Event{Kind: chat.CallArgs, Call: b.call, Text: d.scratch[at:]})
		}
	}
	return list
}

func citation(list []chat.Event, v []byte) []chat.Event {
	if url := walk.TextOf(v, "url"); len(url) > 0 {
		list = append(list, chat.Event{Kind: chat.Citation, URL: url, Title: walk.TextOf(v, "title")})
	}
	return list
}

func (d *AnswerDecoder) delta(list []chat.Event, v []byte, index int64) []chat.Event {
	call := -1
	for i := range d.open {
		if d.open[i].index == index {
			call = d.open[i].call
		}
	}
	var kind chat.EventKind
	var s []byte
	switch string(walk.TextOf(v, "type")) {
	case "text_delta":
		kind, s = chat.Text, walk.TextOf(v, "text")
	case "thinking_delta":
		kind, s = chat.Thinking, walk.TextOf(v, "thinking")
	case "signature_delta":
		kind, s = chat.Signature, walk.TextOf(v, "signature")
	case "input_json_delta":
		if call < 0 {
			return list // of a tool that the provider runs
		}
		kind, s = chat.CallArgs, walk.TextOf(v, "partial_json")
	case "citations_delta":
		return citation(list, walk.Get(v, "citation"))
	}
	if len(s) > 0 {
		e := chat.Event{Kind: kind, Call: max(0, call), Text: s}
		if kind == chat.Signature {
			e.Signer = chat.Anthropic
		}
		list = append(list, e)
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
	list = append(list, chat.Event{Kind: chat.Start})
	if c := walk.Get(body[at:], "content"); len(c) > 0 && c[0] == '[' {
		it := walk.Array(c, 0)
		for it.Next() {
			list = d.block(list, it.Value(), &block{})
			list = append(list, chat.Event{Kind: chat.Block})
		}
	}
	return finish(list, body[at:])
}
