package openai

import (
	"github.com/cespare/xxhash/v2"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's Chat Completions answer, streamed or whole, into
// events of the common form. Of several choices one is read, the first if none is
// picked. The zero value is ready after Reset.
type AnswerDecoder struct {
	choice  int64
	began   bool
	calls   []call
	scratch []byte // arguments that came as an object, not as a text
}

// call is one tool call of the answer: an accumulator keys on the upstream's index,
// and on the id where a provider gives one index to all.
type call struct {
	index int64 // -1 = none given
	id    uint64
}

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() {
	*d = AnswerDecoder{choice: d.choice, calls: d.calls[:0], scratch: d.scratch[:0]}
}

// Pick says which choice is read.
func (d *AnswerDecoder) Pick(choice int64) { d.choice = choice }

// Event appends what one chunk holds.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	return d.read(list, data, "delta")
}

// Whole appends what a whole answer holds.
func (d *AnswerDecoder) Whole(list []chat.Event, body []byte) []chat.Event {
	return d.read(list, body, "message")
}

func (d *AnswerDecoder) read(list []chat.Event, data []byte, member string) []chat.Event {
	d.scratch = d.scratch[:0]
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return list
	}
	it := walk.Object(data, at)
	for it.Next() {
		if string(it.Key) != "choices" {
			continue
		}
		if it.Byte() != '[' {
			continue
		}
		choices := walk.Array(data, it.Val)
		for at := int64(0); choices.Next(); at++ {
			c := choices.Value()
			if chat.ChoiceOf(c, at) != d.choice {
				continue
			}
			if !d.began {
				d.began = true
				list = append(list, chat.Event{Kind: chat.Start})
			}
			list = d.answer(list, c, member)
			break
		}
	}
	return list
}

func (d *AnswerDecoder) answer(list []chat.Event, c []byte, member string) []chat.Event {
	it := walk.Object(c, 0)
	var finish, said []byte
	for it.Next() {
		switch string(it.Key) {
		case member:
			if it.Byte() == '{' {
				said = it.Value()
			}
		case "logprobs":
			if v := walk.Get(it.Value(), "content"); len(v) > 2 && v[0] == '[' {
				list = append(list, chat.Event{Kind: chat.Logprobs, Text: v})
			}
		case "finish_reason":
			finish, _ = walk.Text(it.Value())
		}
	}
	if said != nil {
		list = d.delta(list, said)
	}
	if len(finish) > 0 {
		list = append(list, chat.Event{Kind: chat.Finish, Reason: reason(finish)})
	}
	return list
}

func reason(s []byte) chat.Reason {
	switch string(s) {
	case "length", "model_length", "max_tokens":
		return chat.Length
	case "tool_calls", "function_call":
		return chat.ToolCalls
	case "content_filter", "sensitive":
		return chat.Filtered
	}
	return chat.Stop
}

// delta reads a delta or a message: thoughts before text before calls, whatever the
// order of the members.
func (d *AnswerDecoder) delta(list []chat.Event, v []byte) []chat.Event {
	var content, refusal, thought, calls, function, annotations []byte
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "content":
			content = x
		case "refusal":
			refusal, _ = walk.Text(x)
		case "reasoning_content", "reasoning": // some send the same under both names
			if s, ok := walk.Text(x); ok && len(s) > 0 && len(thought) == 0 {
				thought = s
			}
		case "tool_calls":
			calls = x
		case "function_call":
			function = x
		case "annotations":
			annotations = x
		}
	}
	if len(thought) > 0 {
		list = append(list, chat.Event{Kind: chat.Thinking, Text: thought})
	}
	list = d.content(list, content)
	if len(refusal) > 0 {
		list = append(list, chat.Event{Kind: chat.Refusal, Text: refusal})
	}
	if len(annotations) > 0 && annotations[0] == '[' {
		in := walk.Array(annotations, 0)
		for in.Next() {
			c := walk.Get(in.Value(), "url_citation")
			if url := walk.TextOf(c, "url"); len(url) > 0 {
				list = append(list, chat.Event{Kind: chat.Citation, URL: url, Title: walk.TextOf(c, "title")})
			}
		}
	}
	if len(calls) > 0 && calls[0] == '[' {
		in := walk.Array(calls, 0)
		for in.Next() {
			list = d.call(list, in.Value())
		}
	}
	if len(function) > 0 && function[0] == '{' {
		if len(d.calls) == 0 {
			d.calls = append(d.calls, call{index: -1})
			list = append(list, chat.Event{Kind: chat.CallStart, ID: []byte("call_function"), Name: walk.TextOf(function, "name")})
		}
		list = d.arguments(list, 0, walk.Get(function, "arguments"))
	}
	return list
}

// content reads a text, or a list of parts (Mistral).
func (d *AnswerDecoder) content(list []chat.Event, v []byte) []chat.Event {
	if s, ok := walk.Text(v); ok {
		if len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Text, Text: s})
		}
		return list
	}
	if len(v) == 0 || v[0] != '[' {
		return list
	}
	it := walk.Array(v, 0)
	for it.Next() {
		x := it.Value()
		if s := walk.TextOf(x, "text"); len(s) > 0 {
			list = append(list, chat.Event{Kind: chat.Text, Text: s})
		}
		thought := walk.Get(x, "thinking")
		if len(thought) == 0 || thought[0] != '[' {
			if s, _ := walk.Text(thought); len(s) > 0 {
				list = append(list, chat.Event{Kind: chat.Thinking, Text: s})
			}
			continue
		}
		in := walk.Array(thought, 0)
		for in.Next() {
			if s := walk.TextOf(in.Value(), "text"); len(s) > 0 {
				list = append(list, chat.Event{Kind: chat.Thinking, Text: s})
			}
		}
	}
	return list
}

// call reads one entry of tool_calls, a piece or a whole.
func (d *AnswerDecoder) call(list []chat.Event, v []byte) []chat.Event {
	if len(v) == 0 || v[0] != '{' {
		return list
	}
	id, f := walk.TextOf(v, "id"), walk.Get(v, "function")
	index, given, _ := walk.Count(walk.Get(v, "index"))
	if !given {
		index = -1
	}
	var h uint64
	if len(id) > 0 {
		h = xxhash.Sum64(id)
	}
	n := -1
	for i := len(d.calls) - 1; i >= 0; i-- {
		c := &d.calls[i]
		if given && c.index != index || !given && h != 0 && c.id != h {
			continue
		}
		if h == 0 || c.id == 0 || c.id == h {
			n = i
			break
		}
	}
	if n < 0 {
		if len(d.calls) >= maxCalls {
			return list
		}
		n = len(d.calls)
		d.calls = append(d.calls, call{index: index, id: h})
	} else if d.calls[n].id == 0 {
		d.calls[n].id = h
	}
	if name := walk.TextOf(f, "name"); len(id) > 0 || len(name) > 0 {
		e := chat.Event{Kind: chat.CallStart, Call: n, ID: id, Name: name}
		if s := walk.TextOf(walk.Get(walk.Get(v, "extra_content"), "google"), "thought_signature"); len(s) > 0 {
			e.Proof, e.Signer = s, chat.Google
		}
		list = append(list, e)
	}
	return d.arguments(list, n, walk.Get(f, "arguments"))
}

// maxCalls bounds the tool calls of one answer.
const maxCalls = 1024

func (d *AnswerDecoder) arguments(list []chat.Event, n int, v []byte) []chat.Event {
	s, ok := walk.Text(v)
	if !ok && len(v) > 0 && v[0] == '{' {
		at := len(d.scratch)
		d.scratch = chat.Escape(d.scratch, v)
		s = d.scratch[at:]
	}
	if len(s) > 0 {
		list = append(list, chat.Event{Kind: chat.CallArgs, Call: n, Text: s})
	}
	return list
}
