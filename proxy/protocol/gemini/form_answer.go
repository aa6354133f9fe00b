package gemini

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerDecoder reads an upstream's Gemini answer, streamed or whole, into events of
// the common form. Of several candidates one is read, the first if none is picked; what tools that the
// provider ran have left behind, and media that the model made, are left out. The zero
// value is ready after Reset.
type AnswerDecoder struct {
	began   bool
	calls   int
	last    chat.EventKind // of the part before: Text, Thinking, or Block = another or none
	scratch []byte
	choice  int64
}

// Reset makes d ready for one answer.
func (d *AnswerDecoder) Reset() {
	*d = AnswerDecoder{choice: d.choice, scratch: d.scratch[:0], last: chat.Block}
}

// Pick says which candidate is read.
func (d *AnswerDecoder) Pick(choice int64) { d.choice = choice }

// Whole appends what a whole answer holds.
func (d *AnswerDecoder) Whole(list []chat.Event, body []byte) []chat.Event {
	return d.Event(list, body)
}

// Event appends what one event's data holds.
func (d *AnswerDecoder) Event(list []chat.Event, data []byte) []chat.Event {
	d.scratch = d.scratch[:0]
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return list
	}
	it := walk.Object(data, at)
	for it.Next() {
		switch string(it.Key) {
		case "candidates":
			if it.Byte() != '[' {
				continue
			}
			in := walk.Array(data, it.Val)
			for at := int64(0); in.Next(); at++ {
				c := in.Value()
				if chat.ChoiceOf(c, at) != d.choice {
					continue
				}
				list = d.candidate(d.begin(list), c)
				break
			}
		case "promptFeedback":
			if len(walk.TextOf(it.Value(), "blockReason")) > 0 {
				list = append(d.begin(list), chat.Event{Kind: chat.Finish, Reason: chat.Filtered})
			}
		}
	}
	return list
}

func (d *AnswerDecoder) begin(list []chat.Event) []chat.Event {
	if d.began {
		return list
	}
	d.began = true
	return append(list, chat.Event{Kind: chat.Start})
}

// candidate reads the parts before the reason for the end, whatever their order.
func (d *AnswerDecoder) candidate(list []chat.Event, c []byte) []chat.Event {
	var content, grounding, finish, probable []byte
	it := walk.Object(c, 0)
	for it.Next() {
		switch string(it.Key) {
		case "content":
			content = it.Value()
		case "logprobsResult":
			probable = it.Value()
		case "groundingMetadata":
			grounding = it.Value()
		case "finishReason":
			finish, _ = walk.Text(it.Value())
		}
	}
	if at := len(d.scratch); len(probable) > 0 {
		if d.scratch = appendLogprobs(d.scratch, probable); len(d.scratch) > at+2 {
			list = append(list, chat.Event{Kind: chat.Logprobs, Text: d.scratch[at:]})
		}
	}
	if parts := walk.Get(content, "parts"); len(parts) > 0 && parts[0] == '[' {
		in := walk.Array(parts, 0)
		for in.Next() {
			if v := in.Value(); len(v) > 0 && v[0] == '{' {
				list = d.part(list, v)
			}
		}
	}
	if chunks := walk.Get(grounding, "groundingChunks"); len(chunks) > 0 && chunks[0] == '[' {
		in := walk.Array(chunks, 0)
		for in.Next() {
			web := walk.Get(in.Value(), "web")
			if uri := walk.TextOf(web, "uri"); len(uri) > 0 {
				list = append(list, chat.Event{Kind: chat.Citation, URL: uri, Title: walk.TextOf(web, "title")})
			}
		}
	}
	if len(finish) > 0 && string(finish) != "FINISH_REASON_UNSPECIFIED" {
		list = append(list, chat.Event{Kind: chat.Finish, Reason: d.reason(finish)})
	}
	return list
}

// reason is the reason for the end. Gemini has none for tool calls.
func (d *AnswerDecoder) reason(s []byte) chat.Reason {
	switch string(s) {
	case "MAX_TOKENS":
		return chat.Length
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return chat.Filtered
	}
	if d.calls > 0 {
		return chat.ToolCalls
	}
	return chat.Stop
}

// part reads one part. A signature stands before the text that it belongs to, and with
// the call; one that belongs to no text stands alone.
func (d *AnswerDecoder) part(list []chat.Event, v []byte) []chat.Event {
	var said, signature, call []byte
	thought := false
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "text":
			said, _ = walk.Text(x)
		case "thought":
			thought = string(x) == "true"
		case "thoughtSignature":
			signature, _ = walk.Text(x)
		case "functionCall":
			call = x
		}
	}
	if name := walk.TextOf(call, "name"); len(name) > 0 && d.calls < maxCalls {
		e := chat.Event{Kind: chat.CallStart, Call: d.calls, ID: walk.TextOf(call, "id"), Name: name}
		if len(signature) > 0 {
			e.Proof, e.Signer = signature, chat.Google
		}
		list = append(list, e)
		if args := walk.Get(call, "args"); len(args) > 0 && args[0] == '{' {
			at := len(d.scratch)
			d.scratch = appendCompact(d.scratch, args)
			if d.scratch[at:][1] != '}' {
				list = append(list, chat.Event{Kind: chat.CallArgs, Call: d.calls, Text: d.scratch[at:]})
			}
		}
		d.calls++
		d.last = chat.Block
		return append(list, chat.Event{Kind: chat.Block})
	}
	kind := chat.Text
	if thought {
		kind = chat.Thinking
	}
	if d.last != kind && d.last != chat.Block && len(said)+len(signature) > 0 {
		list = append(list, chat.Event{Kind: chat.Block})
		d.last = chat.Block
	}
	proof := chat.Event{Kind: chat.Signature, Text: signature, Signer: chat.Google}
	switch {
	case thought:
		if len(said) > 0 {
			list = append(list, chat.Event{Kind: kind, Text: said})
			d.last = kind
		}
		if len(signature) > 0 {
			list = append(list, proof, chat.Event{Kind: chat.Block})
			d.last = chat.Block
		}
	case len(signature) > 0:
		if d.last == chat.Text {
			list = append(list, chat.Event{Kind: chat.Block})
		}
		list = append(list, proof, chat.Event{Kind: chat.Block})
		d.last = chat.Block
		fallthrough
	default:
		if len(said) > 0 {
			list = append(list, chat.Event{Kind: kind, Text: said})
			d.last = kind
		}
	}
	return list
}

// maxCalls bounds the tool calls of one answer.
const maxCalls = 1024

// appendCompact appends a JSON text escaped, and without the white space between its
// tokens.
func appendCompact(dst, v []byte) []byte {
	from := 0
	for i := 0; i < len(v); {
		switch v[i] {
		case '"':
			n := walk.String(v, i)
			if n < 0 {
				n = len(v)
			}
			i = n
			continue
		case ' ', '\n', '\r', '\t':
			dst = chat.Escape(dst, v[from:i])
			from = i + 1
		}
		i++
	}
	return chat.Escape(dst, v[from:])
}
