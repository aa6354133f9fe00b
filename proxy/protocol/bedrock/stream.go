package bedrock

import (
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/observe"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// Stream observes the answer of one upstream attempt, streamed or whole. The zero
// value is not ready: call Reset. It may be pooled; it keeps no reference to the bytes
// it is given.
type Stream struct{ observe.Answer }

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) { s.Begin(cfg, usage.FormConverse) }

// Event takes one frame in the form of an event. Nothing of it passes: dst is returned
// as it is. Behind the reason for the end comes one frame more, with the usage: it ends
// the stream.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	e := sse.Parse(ev)
	data := e.Data
	at := walk.Space(data, 0)
	switch {
	case string(e.Name) == "error":
		return dst, s.Fail(ErrorClass(0, nil, nil, data))
	case e.Datas == 0 || at == len(data):
		return dst, protocol.Other
	case e.Datas > 1 || data[at] != '{' || walk.Skip(data, at) < 0:
		return dst, s.Broken()
	}
	it := walk.Object(data, at)
	if !it.Next() {
		return dst, protocol.Other
	}
	v := it.Value()
	switch string(it.Key) {
	case "contentBlockStart":
		if call := walk.Get(walk.Get(v, "start"), "toolUse"); call != nil {
			s.Call(walk.TextOf(call, "name"))
		}
	case "contentBlockDelta":
		s.delta(walk.Get(v, "delta"))
	case "messageStop":
		s.Finished = true
		return dst, protocol.Final
	case "metadata":
		s.Reader.Event(v)
		if s.Finished {
			return dst, protocol.Terminator
		}
	}
	return dst, s.Kind()
}

func (s *Stream) delta(v []byte) {
	if len(v) == 0 || v[0] != '{' {
		return
	}
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "text":
			said, _ := walk.Text(x)
			s.Text(said)
		case "toolUse":
			s.Text(walk.TextOf(x, "input"))
		case "reasoningContent":
			s.Text(walk.TextOf(x, "text"))
			s.Hidden, s.Output = true, true // what is shown may be a summary
		}
	}
}

// Buffered takes a whole JSON answer with status 200.
func (s *Stream) Buffered(dst, body []byte) (out []byte, k protocol.Kind, err error) {
	at := walk.Space(body, 0)
	if at == len(body) || body[at] != '{' || walk.Skip(body, at) < 0 {
		return dst, protocol.Other, observe.ErrUnreadable
	}
	s.Whole = true
	v := body[at:]
	s.Reader.Event(v)
	content := walk.Get(walk.Get(walk.Get(v, "output"), "message"), "content")
	if len(content) > 0 && content[0] == '[' {
		it := walk.Array(content, 0)
		for it.Next() {
			s.block(it.Value())
		}
	}
	s.Output = true
	return dst, protocol.Output, nil
}

// block counts a block of a whole answer.
func (s *Stream) block(v []byte) {
	if len(v) == 0 || v[0] != '{' {
		return
	}
	it := walk.Object(v, 0)
	for it.Next() {
		x := it.Value()
		switch string(it.Key) {
		case "text":
			said, _ := walk.Text(x)
			s.Text(said)
		case "toolUse":
			s.Call(walk.TextOf(x, "name"))
			s.Count.AddJSON(walk.Get(x, "input"))
		case "reasoningContent":
			s.Text(walk.TextOf(walk.Get(x, "reasoningText"), "text"))
			s.Hidden = true
		case "citationsContent":
			s.Hidden = true
			if c := walk.Get(x, "content"); len(c) > 0 && c[0] == '[' {
				in := walk.Array(c, 0)
				for in.Next() {
					s.Text(walk.TextOf(in.Value(), "text"))
				}
			}
		}
	}
}
