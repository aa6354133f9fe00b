package cohere

import (
	"bytes"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/observe"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// Stream observes the answer of one upstream attempt, streamed or whole. The zero
// value is not ready: call Reset. It may be pooled; it keeps no reference to the bytes
// it is given.
type Stream struct {
	observe.Answer

	joined []byte // for events whose data stands on several lines
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) { s.Begin(cfg, usage.FormCohere) }

// Event takes one complete upstream event. Nothing of it passes: dst is returned as it
// is.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	e := sse.Parse(ev)
	data := e.Data
	if e.Datas > 1 {
		s.joined = sse.Join(s.joined[:0], ev)
		data = s.joined
	}
	at := walk.Space(data, 0)
	switch {
	case e.Datas == 0 && e.Comment > 0:
		return dst, protocol.Comment
	case at == len(data):
		return dst, protocol.Other
	case string(bytes.TrimSpace(data)) == "[DONE]":
		s.Finished = true
		return dst, protocol.Terminator
	case data[at] != '{':
		return dst, s.Broken()
	}
	return dst, s.json(data[at:])
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
	s.message(walk.Get(v, "message"))
	if reason := walk.TextOf(v, "finish_reason"); failed(reason) {
		return dst, s.Fail(ErrorClass(500, nil, nil)), nil
	}
	s.Output = true
	return dst, protocol.Output, nil
}

// failed says that an answer ended for no reason of the model's or of the client's.
func failed(reason []byte) bool {
	return string(reason) == "ERROR" || string(reason) == "TIMEOUT"
}

func (s *Stream) json(v []byte) protocol.Kind {
	if walk.Skip(v, 0) < 0 {
		return s.Broken()
	}
	delta := walk.Get(v, "delta")
	switch string(walk.TextOf(v, "type")) {
	case "message-end":
		s.Reader.Event(v)
		if failed(walk.TextOf(delta, "finish_reason")) {
			return s.Fail(ErrorClass(500, nil, nil))
		}
		s.Finished = true
		return protocol.Final
	case "":
		if walk.Get(v, "message") != nil || walk.Get(v, "error") != nil { // an error without a type
			return s.Fail(ErrorClass(0, nil, v))
		}
	}
	s.message(walk.Get(delta, "message"))
	return s.Kind()
}

// message counts the output of a message, whole or a piece of one.
func (s *Stream) message(m []byte) {
	if len(m) == 0 || m[0] != '{' {
		return
	}
	it := walk.Object(m, 0)
	for it.Next() {
		v := it.Value()
		switch string(it.Key) {
		case "content":
			each(v, s.content)
		case "tool_plan":
			said, _ := walk.Text(v)
			s.Text(said)
		case "tool_calls":
			each(v, s.call)
		case "citations":
			s.Hidden = true // found by reading its own answer again
		}
	}
}

func (s *Stream) content(v []byte) {
	s.Text(walk.TextOf(v, "text"))
	if s.Text(walk.TextOf(v, "thinking")) {
		s.Hidden = true
	}
}

func (s *Stream) call(v []byte) {
	f := walk.Get(v, "function")
	if name := walk.TextOf(f, "name"); len(name) > 0 {
		s.Call(name)
	}
	s.Text(walk.TextOf(f, "arguments"))
}

// each calls f for an object, or for every object of a list: whole answers have lists
// where pieces of a stream have one.
func each(v []byte, f func([]byte)) {
	switch {
	case len(v) == 0:
	case v[0] == '{':
		f(v)
	case v[0] == '[':
		it := walk.Array(v, 0)
		for it.Next() {
			if in := it.Value(); len(in) > 0 && in[0] == '{' {
				f(in)
			}
		}
	}
}
