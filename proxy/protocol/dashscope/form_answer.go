package dashscope

import (
	"bytes"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's answer, streamed or whole, into events of the common
// form. Of several choices one is read, the first if none is picked. The zero value is ready after Reset.
type AnswerDecoder struct {
	Repeats bool // events of a stream repeat all that was said before; kept by Reset

	choice int64
	began  bool
	whole  bool
	calls  int
	texts  []told // where events repeat
}

// told is a text that has been given on: what repeats it begins with it.
type told struct {
	key  int
	text []byte
}

var _ chat.Decoder = (*AnswerDecoder)(nil)

// maxCalls bounds the tool calls of one answer.
const maxCalls = 1024

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() {
	*d = AnswerDecoder{Repeats: d.Repeats, choice: d.choice, texts: d.texts[:0]}
}

// Pick says which choice is read.
func (d *AnswerDecoder) Pick(choice int64) { d.choice = choice }

// Event appends what one event holds.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	output := data[walk.Space(data, 0):]
	if output = walk.Get(output, "output"); len(output) == 0 || output[0] != '{' {
		return list
	}
	if !d.began {
		d.began = true
		list = append(list, chat.Event{Kind: chat.Start})
	}
	it := walk.Object(output, 0)
	var finish []byte
	for it.Next() {
		switch string(it.Key) {
		case "text":
			list = d.text(list, chat.Text, keyText, 0, it.Value())
		case "finish_reason":
			finish, _ = walk.Text(it.Value())
		case "choices":
			if it.Byte() != '[' {
				continue
			}
			choices := walk.Array(output, it.Val)
			for at := int64(0); choices.Next(); at++ {
				c := choices.Value()
				if chat.ChoiceOf(c, at) != d.choice {
					continue
				}
				if v := walk.Get(walk.Get(c, "logprobs"), "content"); len(v) > 2 && v[0] == '[' {
					list = append(list, chat.Event{Kind: chat.Logprobs, Text: v})
				}
				list = d.message(list, walk.Get(c, "message"))
				if s := walk.TextOf(c, "finish_reason"); len(s) > 0 {
					finish = s
				}
				break
			}
		}
	}
	if len(finish) > 0 && string(finish) != "null" {
		list = append(list, chat.Event{Kind: chat.Finish, Reason: reason(finish)})
	}
	return list
}

// Whole appends what a whole answer holds.
func (d *AnswerDecoder) Whole(list []chat.Event, body []byte) []chat.Event {
	d.whole = true
	return d.Event(list, body)
}

func reason(s []byte) chat.Reason {
	switch string(s) {
	case "length":
		return chat.Length
	case "tool_calls":
		return chat.ToolCalls
	case "content_filter":
		return chat.Filtered
	}
	return chat.Stop
}

// message reads a message: thoughts before text before calls, whatever the order of the
// members.
func (d *AnswerDecoder) message(list []chat.Event, v []byte) []chat.Event {
	list = d.text(list, chat.Thinking, keyThought, 0, walk.Get(v, "reasoning_content"))
	content := walk.Get(v, "content")
	if len(content) > 0 && content[0] == '[' {
		parts := walk.Array(content, 0)
		for i := 0; parts.Next(); i++ {
			list = d.text(list, chat.Text, keyText+i*maxCalls*4, 0, walk.Get(parts.Value(), "text"))
		}
	} else {
		list = d.text(list, chat.Text, keyText, 0, content)
	}
	calls := walk.Get(v, "tool_calls")
	if len(calls) == 0 || calls[0] != '[' {
		return list
	}
	in := walk.Array(calls, 0)
	for at := 0; in.Next(); at++ {
		list = d.call(list, at, in.Value())
	}
	return list
}

// call reads one entry of tool_calls, a piece or a whole. Later pieces have no name and
// an empty id; where events repeat, both come again.
func (d *AnswerDecoder) call(list []chat.Event, at int, v []byte) []chat.Event {
	if n, ok, _ := walk.Count(walk.Get(v, "index")); ok && !d.whole {
		at = int(min(n, maxCalls))
	}
	if at >= maxCalls {
		return list
	}
	function := walk.Get(v, "function")
	id, name := walk.TextOf(v, "id"), walk.TextOf(function, "name")
	if at >= d.calls || !d.Repeats && !d.whole && (len(id) > 0 || len(name) > 0) {
		list = append(list, chat.Event{Kind: chat.CallStart, Call: at, ID: id, Name: name})
		d.calls = max(d.calls, at+1)
	}
	return d.text(list, chat.CallArgs, keyCall+at, at, walk.Get(function, "arguments"))
}

// text appends what is new in a text. An event that should repeat what was said and does
// not says nothing: nobody can take back what the client has.
func (d *AnswerDecoder) text(list []chat.Event, kind chat.EventKind, key, call int, v []byte) []chat.Event {
	raw, _ := walk.Text(v)
	if len(raw) == 0 {
		return list
	}
	if d.Repeats && !d.whole {
		t := d.told(key)
		if !bytes.HasPrefix(raw, t.text) {
			return list
		}
		raw = raw[len(t.text):]
		t.text = append(t.text, raw...)
		if len(raw) == 0 {
			return list
		}
	}
	return append(list, chat.Event{Kind: kind, Call: call, Text: raw})
}

func (d *AnswerDecoder) told(key int) *told {
	for i := range d.texts {
		if d.texts[i].key == key {
			return &d.texts[i]
		}
	}
	if n := len(d.texts); n < cap(d.texts) { // keep the memory of earlier answers
		d.texts = d.texts[:n+1]
		d.texts[n] = told{key: key, text: d.texts[n].text[:0]}
	} else {
		d.texts = append(d.texts, told{key: key})
	}
	return &d.texts[len(d.texts)-1]
}
