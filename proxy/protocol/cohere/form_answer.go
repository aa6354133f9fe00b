package cohere

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's answer, streamed or whole, into events of the
// common form. What the model plans before it calls a tool is a text; of a citation
// the sources are told that have an address. The zero value is ready after Reset.
type AnswerDecoder struct {
	began   bool
	calls   int            // so far
	open    int            // the call under way, -1 = none
	last    chat.EventKind // of the text before, Block = none
	scratch []byte
}

// maxCalls bounds the tool calls of one answer.
const maxCalls = 1024

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() {
	*d = AnswerDecoder{scratch: d.scratch[:0], open: -1, last: chat.Block}
}

func (d *AnswerDecoder) begin(list []chat.Event) []chat.Event {
	if d.began {
		return list
	}
	d.began = true
	return append(list, chat.Event{Kind: chat.Start})
}

// Event appends what one event's data holds.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return list
	}
	v := data[at:]
	delta := walk.Get(v, "delta")
	m := walk.Get(delta, "message")
	switch string(walk.TextOf(v, "type")) {
	case "message-start":
		return d.begin(list)
	case "content-start", "content-delta":
		list = d.begin(list)
		each(walk.Get(m, "content"), func(c []byte) { list = d.content(list, c) })
	case "content-end":
		d.last = chat.Block
		return append(d.begin(list), chat.Event{Kind: chat.Block})
	case "tool-plan-delta":
		return d.text(d.begin(list), chat.Text, walk.TextOf(m, "tool_plan"))
	case "tool-call-start":
		list = d.begin(list)
		each(walk.Get(m, "tool_calls"), func(c []byte) { list = d.call(list, c) })
	case "tool-call-delta":
		each(walk.Get(m, "tool_calls"), func(c []byte) { list = d.args(list, walk.Get(c, "function")) })
	case "tool-call-end":
		d.open = -1
		return append(d.begin(list), chat.Event{Kind: chat.Block})
	case "citation-start":
		each(walk.Get(m, "citations"), func(c []byte) { list = cited(d.begin(list), c) })
	case "message-end":
		return append(d.begin(list), d.finish(delta))
	}
	return list
}

// Whole appends what a whole answer holds.
func (d *AnswerDecoder) Whole(list []chat.Event, body []byte) []chat.Event {
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return list
	}
	v := body[at:]
	m := walk.Get(v, "message")
	if m == nil {
		return list
	}
	list = d.begin(list)
	list = d.text(list, chat.Text, walk.TextOf(m, "tool_plan"))
	d.last = chat.Block
	each(walk.Get(m, "content"), func(c []byte) { list = d.content(list, c) })
	each(walk.Get(m, "tool_calls"), func(c []byte) {
		list = append(d.call(list, c), chat.Event{Kind: chat.Block})
		d.open = -1
	})
	each(walk.Get(m, "citations"), func(c []byte) { list = cited(list, c) })
	return append(list, d.finish(v))
}

func (d *AnswerDecoder) text(list []chat.Event, kind chat.EventKind, said []byte) []chat.Event {
	if len(said) == 0 {
		return list
	}
	if d.last != kind && d.last != chat.Block {
		list = append(list, chat.Event{Kind: chat.Block})
	}
	d.last = kind
	return append(list, chat.Event{Kind: kind, Text: said})
}

func (d *AnswerDecoder) content(list []chat.Event, c []byte) []chat.Event {
	list = d.text(list, chat.Thinking, walk.TextOf(c, "thinking"))
	return d.text(list, chat.Text, walk.TextOf(c, "text"))
}

func (d *AnswerDecoder) call(list []chat.Event, c []byte) []chat.Event {
	f := walk.Get(c, "function")
	name := walk.TextOf(f, "name")
	if len(name) == 0 || d.calls >= maxCalls {
		d.open = -1
		return list
	}
	if d.last != chat.Block {
		d.last = chat.Block
		list = append(list, chat.Event{Kind: chat.Block})
	}
	d.open = d.calls
	d.calls++
	list = append(list, chat.Event{Kind: chat.CallStart, Call: d.open, ID: walk.TextOf(c, "id"), Name: name})
	return d.args(list, f)
}

func (d *AnswerDecoder) args(list []chat.Event, f []byte) []chat.Event {
	if s := walk.TextOf(f, "arguments"); len(s) > 0 && d.open >= 0 {
		list = append(list, chat.Event{Kind: chat.CallArgs, Call: d.open, Text: s})
	}
	return list
}

// cited appends the sources of a citation that have an address.
func cited(list []chat.Event, c []byte) []chat.Event {
	sources := walk.Get(c, "sources")
	if len(sources) == 0 || sources[0] != '[' {
		return list
	}
	it := walk.Array(sources, 0)
	for it.Next() {
		doc := walk.Get(it.Value(), "document")
		if url := walk.TextOf(doc, "url"); len(url) > 0 {
			list = append(list, chat.Event{Kind: chat.Citation, URL: url, Title: walk.TextOf(doc, "title")})
		}
	}
	return list
}

// finish is the reason for the end, in a whole answer or in the last delta. Which of
// several stop sequences was met is not told, so that it is an ordinary end.
func (d *AnswerDecoder) finish(v []byte) chat.Event {
	e := chat.Event{Kind: chat.Finish}
	switch string(walk.TextOf(v, "finish_reason")) {
	case "MAX_TOKENS":
		e.Reason = chat.Length
	case "TOOL_CALL":
		e.Reason = chat.ToolCalls
	}
	if e.Reason == chat.Stop && d.calls > 0 {
		e.Reason = chat.ToolCalls
	}
	return e
}
