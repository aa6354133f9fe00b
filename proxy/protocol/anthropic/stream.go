package anthropic

import (
	"bytes"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// Stream observes and patches the answer of one upstream attempt, streamed or
// whole. The zero value is not ready: call Reset. It may be pooled; it keeps no
// reference to the bytes it is given.
type Stream struct {
	cfg      protocol.StreamConfig
	buffered bool

	count      meter.Count
	counts     counts
	started    bool // message_start's usage was seen: the input is the provider's
	reported   bool // message_delta's usage was seen, or that of a whole answer
	deltaOut   int64
	impossible bool
	hidden     bool
	began      bool
	done       bool // message_stop was seen
	class      protocol.Class
	lex        meter.Lexer
	skipCount  bool // the event that passes in pieces is no output of the model

	joined, patched []byte // for events whose data stands on several lines
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	joined, patched := s.joined[:0], s.patched[:0]
	*s = Stream{cfg: *cfg, joined: joined, patched: patched}
	s.counts.reset()
}

// Event takes one complete upstream event (as sse.Next gives it, or the rest of
// the stream at EOF) and appends to dst what the client gets: the same bytes but
// for D8's list. Nothing is ever withheld. An ErrorEvent is appended as it would be
// passed on; the caller cuts dst back to write its own, see ErrorClass.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	e := sse.Parse(ev)
	switch {
	case e.Datas == 0 && e.Comment == 0:
		return append(dst, ev...), protocol.Other
	case e.Datas == 0:
		if s.cfg.Pinned {
			return append(dst, ev...), protocol.Comment
		}
		return protocol.AppendComments(dst, ev), protocol.Comment
	case e.Datas == 1 && (e.Comment == 0 || s.cfg.Pinned):
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data), e.Name)
		if !ok {
			return append(dst, ev...), s.unreadable(e.Data, e.Name)
		}
		return out, k
	}
	s.joined = sse.Join(s.joined[:0], ev)
	data := s.joined
	var ok bool
	s.patched, k, ok = s.json(s.patched[:0], s.joined, 0, len(s.joined), e.Name)
	if ok {
		data = s.patched
	} else {
		k = s.unreadable(s.joined, e.Name)
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), k
}

// unreadable counts data that is no JSON object: it passes as it is, and its bytes
// are taken for output (C7), unless the event is named an error.
func (s *Stream) unreadable(data, name []byte) protocol.Kind {
	switch {
	case string(name) == "error":
		s.class = ErrorClass(500, nil, nil)
		return protocol.ErrorEvent
	case len(bytes.TrimSpace(data)) == 0:
		return protocol.Other
	}
	s.count.AddBytes(data)
	s.began = true
	return protocol.Output
}

// found is what one event held.
type found struct {
	kind   []byte // its type
	output bool
	finish bool
	failed bool
}

// json observes the object at src[at:end] and appends all of src, patched. ok is
// false if it is no readable object; then nothing was appended or counted.
func (s *Stream) json(dst, src []byte, at, end int, name []byte) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	before := s.count
	f := found{}
	it := walk.Object(b, at)
	var cut walk.Cutter
	for it.Next() {
		if string(it.Key) == "provider" && !s.cfg.Pinned {
			if !cut.Drop(&p, &it) {
				s.count = before
				return dst, protocol.Other, false
			}
			continue
		}
		cut.Stay(&p, &it)
		good := true
		switch string(it.Key) {
		case "type":
			f.kind, _ = walk.Text(it.Value())
		case "model":
			if s.buffered {
				s.cfg.PatchModel(&p, &it)
			}
		case "message":
			good = s.message(&p, b, &it)
		case "content_block":
			good = s.block(b, &it, &f)
		case "delta":
			good = s.delta(b, &it, &f)
		case "content":
			if s.buffered {
				good = s.content(b, &it, &f)
			}
		case "usage":
			if it.Byte() == '{' {
				started := s.counts.output
				s.counts.output = -1
				e := s.counts.read(&p, b, it.Val)
				if good = e >= 0; good {
					it.Resume(e)
					s.took(started)
				}
			} else if !walk.Null(it.Value()) {
				s.impossible = true
			}
		case "error":
			if v := it.Value(); walk.Truthy(v) {
				f.failed = true
				s.class = ErrorClass(0, nil, b[at:end])
			}
		}
		if !good {
			s.count = before
			return dst, protocol.Other, false
		}
	}
	if it.Bad || s.buffered && walk.Space(b, it.End()) < end {
		s.count = before
		return dst, protocol.Other, false
	}
	cut.Done(&p, it.End())
	return p.Finish(), s.kind(&f, name), true
}

// kind decides what a read event is.
func (s *Stream) kind(f *found, name []byte) protocol.Kind {
	kind := f.kind
	if len(kind) == 0 {
		kind = name
	}
	if f.failed || string(kind) == "error" || string(name) == "error" {
		if !f.failed {
			s.class = ErrorClass(500, nil, nil)
		}
		return protocol.ErrorEvent
	}
	if s.buffered {
		s.began = true
		return protocol.Output
	}
	switch string(kind) {
	case "message_start", "ping", "content_block_stop", "content_block_start", "content_block_delta":
		if f.output {
			s.began = true
		}
		if s.began {
			return protocol.Output
		}
		return protocol.Preamble
	case "message_delta":
		return protocol.Final
	case "message_stop":
		s.done = true
		return protocol.Terminator
	}
	return protocol.Other
}

// took follows the usage of a message_delta or of a whole answer. Without a figure
// for the output it is none: message_start's is a running one.
func (s *Stream) took(before int64) {
	if s.counts.output < 0 {
		s.counts.output = before
	} else {
		if s.reported && s.counts.output < s.deltaOut {
			s.impossible = true // shrinking (C9)
		}
		s.reported, s.deltaOut = true, s.counts.output
	}
	if s.counts.thinking > 0 || s.counts.more > 0 || s.counts.searches > 0 {
		s.hidden = true
	}
	s.impossible = s.impossible || s.counts.bad
}

// message reads the message of message_start.
func (s *Stream) message(p *walk.Patch, b []byte, it *walk.Iter) bool {
	if it.Byte() != '{' {
		return it.ValueEnd() >= 0
	}
	m := walk.Object(b, it.Val)
	var cut walk.Cutter
	for m.Next() {
		if string(m.Key) == "provider" && !s.cfg.Pinned {
			if !cut.Drop(p, &m) {
				return false
			}
			continue
		}
		cut.Stay(p, &m)
		switch string(m.Key) {
		case "model":
			s.cfg.PatchModel(p, &m)
		case "usage":
			if m.Byte() == '{' {
				e := s.counts.read(p, b, m.Val)
				if e < 0 {
					return false
				}
				m.Resume(e)
				s.started = s.counts.input >= 0
				s.impossible = s.impossible || s.counts.bad
			}
		}
	}
	if m.Bad {
		return false
	}
	cut.Done(p, m.End())
	it.Resume(m.End())
	return true
}

// block reads a content block, at its start in a stream or whole.
func (s *Stream) block(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '{' {
		return it.ValueEnd() >= 0
	}
	c := walk.Object(b, it.Val)
	var kind []byte
	for c.Next() {
		switch string(c.Key) {
		case "type":
			kind, _ = walk.Text(c.Value())
			switch string(kind) {
			case "text":
			case "thinking":
				s.hidden = true // what is shown may be a summary
			case "tool_use":
				s.count.Calls++
				f.output = true
			default:
				f.output, s.hidden = true, true
			}
		case "text", "thinking", "name":
			if v, ok := walk.Text(c.Value()); ok && len(v) > 0 {
				s.count.AddJSON(v)
				f.output = true
			}
		case "input":
			if v := c.Value(); len(v) > 2 { // a whole answer's tool call
				s.count.AddJSON(v)
				f.output = true
			}
		}
	}
	if c.Bad {
		return false
	}
	it.Resume(c.End())
	return true
}

// content reads the blocks of a whole answer.
func (s *Stream) content(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '[' {
		return it.ValueEnd() >= 0
	}
	list := walk.Array(b, it.Val)
	for list.Next() {
		if !s.block(b, &list, f) {
			return false
		}
	}
	if list.Bad {
		return false
	}
	it.Resume(list.End())
	return true
}

// delta reads the delta of a block or of the message.
func (s *Stream) delta(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '{' {
		return it.ValueEnd() >= 0
	}
	d := walk.Object(b, it.Val)
	for d.Next() {
		switch string(d.Key) {
		case "text", "thinking", "partial_json":
			if v, ok := walk.Text(d.Value()); ok && len(v) > 0 {
				s.count.AddJSON(v)
				f.output = true
			}
		case "signature":
			f.output, s.hidden = true, true
		case "citation":
			f.output = true
		case "stop_reason":
			f.finish = f.finish || !walk.Null(d.Value())
		}
	}
	if d.Bad {
		return false
	}
	it.Resume(d.End())
	return true
}

// Partial takes the next piece of an event too large to be read as a whole
// (protocol.MaxEvent): the first piece has first set, the last one last. Pieces
// pass; text is counted as it passes, unless the event is the result of a tool that
// the provider ran.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	s.began = true
	if first {
		s.lex = meter.Lexer{}
		s.skipCount = walk.Contains(chunk[:min(len(chunk), 1024)], `_tool_result"`)
		s.hidden = true
	}
	if !s.skipCount {
		s.lex.Count(&s.count, chunk)
	}
	if !first {
		return append(dst, chunk...), protocol.Output
	}
	p := walk.Patch{Dst: dst, Src: chunk}
	if at := bytes.IndexByte(chunk, '{'); at >= 0 {
		it := walk.Object(chunk, at)
		for it.Next() {
			if string(it.Key) == "message" && it.Byte() == '{' {
				m := walk.Object(chunk, it.Val)
				for m.Next() {
					if string(m.Key) == "model" {
						s.cfg.PatchModel(&p, &m)
					}
				}
			}
		}
	}
	return p.Finish(), protocol.Output
}

// Buffered takes a whole JSON answer with status 200 and appends what the client
// gets. kind is Output, or ErrorEvent for an error in the body (C11). ErrUnreadable:
// the body is no JSON object, nothing was appended.
func (s *Stream) Buffered(dst, body []byte) (out []byte, k protocol.Kind, err error) {
	s.buffered = true
	out, k, ok := s.json(dst, body, 0, len(body), nil)
	if !ok {
		return dst, protocol.Other, ErrUnreadable
	}
	s.done = k == protocol.Output
	return out, k, nil
}

// Usage is what is known now and where it comes from: SourceReported after the
// final usage, SourcePartial while only the input is the provider's, else
// SourceEstimated with the configured input estimate and the output counted so
// far. Iterations beside the served ones are inside, at the rates of the served
// model; see Extra.
func (s *Stream) Usage() (usage.Units, usage.Source) {
	switch {
	case s.reported:
		u := s.counts.units()
		add(&u, &s.counts.extra)
		return u, usage.SourceReported
	case s.started:
		return s.Progress(), usage.SourcePartial
	}
	return s.Progress(), usage.SourceEstimated
}

// Extra are the units of iterations that the top-level counts leave out
// (compaction, advisor, fallback), and how many of those there were.
func (s *Stream) Extra() (usage.Units, int) { return s.counts.extra, s.counts.more }

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (s *Stream) Progress() (u usage.Units) {
	if s.started || s.reported {
		u = s.counts.units()
		add(&u, &s.counts.extra)
		if s.reported {
			return u
		}
	} else {
		u[usage.Input] = s.cfg.InputEstimate
	}
	u[usage.Output] = s.cfg.Family.Tokens(&s.count)
	return u
}

// OutputBytes is the UTF-8 length of the output text that has passed.
func (s *Stream) OutputBytes() int64 { return s.count.Bytes() }

// Reasoning is the number of thinking tokens that the provider reported inside its
// output, for information.
func (s *Stream) Reasoning() int64 { return max(0, s.counts.thinking) }

// Terminated reports whether the answer reached its own end, so that EOF is no
// truncation (C6).
func (s *Stream) Terminated() bool { return s.done }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.began }

// Fill completes what the stream knows for meter.Final: Reported, Source,
// Impossible, Counted, Family, Hidden, OutputBegan.
func (s *Stream) Fill(e *meter.End) {
	e.Reported, e.Source = s.Usage()
	e.Impossible, e.Counted, e.Family = s.impossible, s.count, s.cfg.Family
	e.Hidden, e.OutputBegan = s.hidden, s.began
}

// ErrorClass classifies the in-stream error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return s.class }
