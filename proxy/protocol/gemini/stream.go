package gemini

import (
	"bytes"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// Stream observes and patches the answer of one upstream attempt, streamed or whole.
// The zero value is not ready: call Reset. It may be pooled; it keeps no reference to
// the bytes it is given.
type Stream struct {
	cfg      protocol.StreamConfig
	buffered bool

	count      meter.Count
	reader     usage.Reader
	impossible bool
	hidden     bool
	began      bool
	blocked    bool   // the prompt was refused: there is no candidate
	seen       uint64 // candidates, a bit for each index
	finished   uint64 // those that have a reason for their end
	class      protocol.Class
	lex        meter.Lexer // of an event that passes in pieces
	elements   int         // of the JSON array so far

	joined, patched []byte // for events whose data stands on several lines
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	joined, patched := s.joined[:0], s.patched[:0]
	*s = Stream{cfg: *cfg, joined: joined, patched: patched}
	s.reader.Reset(usage.FormGemini)
}

// Event takes one complete upstream event (as sse.Next gives it, or the rest of the
// stream at EOF) and appends to dst what the client gets: the same bytes but for D8's
// list, or, where it wants a JSON array, the event's data as its next element. An
// ErrorEvent is appended as it would be passed on; the caller cuts dst back to write
// its own, see ErrorClass.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	e := sse.Parse(ev)
	switch {
	case e.Datas == 0 && s.cfg.Array:
		return dst, protocol.Comment
	case e.Datas == 0 && e.Comment == 0:
		return append(dst, ev...), protocol.Other
	case e.Datas == 0:
		if s.cfg.Pinned {
			return append(dst, ev...), protocol.Comment
		}
		return protocol.AppendComments(dst, ev), protocol.Comment
	case s.cfg.Array:
		return s.element(dst, ev, &e)
	case e.Datas == 1 && (e.Comment == 0 || s.cfg.Pinned):
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data))
		if !ok {
			return append(dst, ev...), s.unreadable(e.Data, e.Name)
		}
		return out, k
	}
	s.joined = sse.Join(s.joined[:0], ev)
	data := s.joined
	var ok bool
	s.patched, k, ok = s.json(s.patched[:0], s.joined, 0, len(s.joined))
	if ok {
		data = s.patched
	} else {
		k = s.unreadable(s.joined, e.Name)
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), k
}

// element appends an event's data as the next element of the client's array. Data that
// is no JSON would break the array: it ends the answer.
func (s *Stream) element(dst, ev []byte, e *sse.Event) ([]byte, protocol.Kind) {
	data := e.Data
	if e.Datas > 1 {
		s.joined = sse.Join(s.joined[:0], ev)
		data = s.joined
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return dst, protocol.Other
	}
	out, k, ok := s.json(AppendSeparator(dst, s.elements), data, 0, len(data))
	if !ok {
		s.class = protocol.Class{Fault: protocol.FaultServer, Failover: true}
		return dst, protocol.ErrorEvent
	}
	s.elements++
	return out, k
}

// AppendSeparator appends what stands before the next element of a JSON array of which
// n have been written.
func AppendSeparator(dst []byte, n int) []byte {
	if n == 0 {
		return append(dst, '[')
	}
	return append(dst, "\n,\r\n"...)
}

// ArrayEnd stands behind the last element of a JSON array.
const ArrayEnd = "\n]\n"

// unreadable counts data that is no JSON object: it passes as it is, and its bytes are
// taken for output (C7), unless the event is named an error.
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
	candidate, output, finish, failed bool
}

// json observes the object at src[at:end] and appends all of src, patched. ok is false
// if it is no readable object; then nothing was appended or counted.
func (s *Stream) json(dst, src []byte, at, end int) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	before, seen, finished := s.count, s.seen, s.finished
	f := found{}
	it := walk.Object(b, at)
	good := true
	for good && it.Next() {
		switch string(it.Key) {
		case "candidates":
			good = s.candidates(b, &it, &f)
		case "usageMetadata":
			if it.Byte() != '{' && !walk.Null(it.Value()) {
				s.impossible = true
			}
		case "promptFeedback":
			if v := it.Value(); len(walk.TextOf(v, "blockReason")) > 0 {
				s.blocked, f.finish = true, true
			}
		case "modelVersion":
			s.cfg.PatchModel(&p, &it)
		case "error":
			if v := it.Value(); walk.Truthy(v) {
				f.failed = true
				s.class = ErrorClass(0, nil, b[at:end])
			}
		}
	}
	if !good || it.Bad || walk.Space(b, it.End()) < end {
		s.count, s.seen, s.finished = before, seen, finished
		return dst, protocol.Other, false
	}
	s.reader.Event(b[at:])
	if s.reader.Notes().Reasoning > 0 {
		s.hidden = true
	}
	return p.Finish(), s.kind(&f), true
}

// kind decides what a read event is.
func (s *Stream) kind(f *found) protocol.Kind {
	switch {
	case f.failed:
		return protocol.ErrorEvent
	case s.buffered:
		s.began = f.candidate
		return protocol.Output
	case f.output:
		s.began = true
		return protocol.Output
	case f.finish:
		return protocol.Final
	case s.began:
		return protocol.Output
	}
	return protocol.Preamble
}

func (s *Stream) candidates(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '[' {
		return it.ValueEnd() >= 0
	}
	list := walk.Array(b, it.Val)
	for list.Next() {
		if list.Byte() != '{' {
			continue
		}
		f.candidate = true
		index, finish := int64(0), false
		c := walk.Object(b, list.Val)
		for c.Next() {
			switch string(c.Key) {
			case "index":
				index, _, _ = walk.Count(c.Value())
			case "finishReason":
				v, _ := walk.Text(c.Value())
				finish = len(v) > 0 && string(v) != "FINISH_REASON_UNSPECIFIED"
			case "content":
				if !s.content(b, &c, f) {
					return false
				}
			}
		}
		if c.Bad {
			return false
		}
		list.Resume(c.End())
		bit := uint64(1) << min(index, 63)
		s.seen |= bit
		if finish {
			f.finish = true
			s.finished |= bit
		}
	}
	if list.Bad {
		return false
	}
	it.Resume(list.End())
	return true
}

// content counts the parts of a candidate.
func (s *Stream) content(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '{' {
		return it.ValueEnd() >= 0
	}
	c := walk.Object(b, it.Val)
	for c.Next() {
		if string(c.Key) != "parts" || c.Byte() != '[' {
			continue
		}
		parts := walk.Array(b, c.Val)
		for parts.Next() {
			if parts.Byte() != '{' {
				continue
			}
			p := walk.Object(b, parts.Val)
			for p.Next() {
				s.part(&p, f)
			}
			if p.Bad {
				return false
			}
			parts.Resume(p.End())
		}
		if parts.Bad {
			return false
		}
		c.Resume(parts.End())
	}
	if c.Bad {
		return false
	}
	it.Resume(c.End())
	return true
}

// part counts one member of a part.
func (s *Stream) part(it *walk.Iter, f *found) {
	switch string(it.Key) {
	case "text":
		if v, ok := walk.Text(it.Value()); ok && len(v) > 0 {
			s.count.AddJSON(v)
			f.output = true
		}
	case "functionCall":
		v := it.Value()
		if name := walk.TextOf(v, "name"); len(name) > 0 {
			s.count.Calls++
			s.count.AddJSON(name)
		}
		s.count.AddJSON(walk.Get(v, "args"))
		s.count.AddJSON(walk.Get(v, "partialArgs"))
		f.output = true
	case "executableCode", "codeExecutionResult", "inlineData", "fileData", "toolCall", "toolResponse":
		f.output, s.hidden = true, true
	case "thoughtSignature", "thought":
		s.hidden = true // what is shown may be a summary
	}
}

// Partial takes the next piece of an event too large to be read as a whole: the first
// piece has first set, the last one last. Pieces pass, their text is counted as it
// passes. In a JSON array they cannot: the answer ends.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	s.began, s.hidden = true, true
	if first {
		s.lex = meter.Lexer{}
	}
	s.lex.Count(&s.count, chunk)
	if s.cfg.Array {
		s.class = protocol.Class{Fault: protocol.FaultServer, Failover: true}
		return dst, protocol.ErrorEvent
	}
	if walk.Contains(chunk, `"finishReason"`) {
		s.seen, s.finished = s.seen|1, s.finished|1
	}
	return append(dst, chunk...), protocol.Output
}

// Buffered takes a whole JSON answer with status 200 and appends what the client gets.
// kind is Output, or ErrorEvent for an error in the body (C11). ErrUnreadable: the body
// is no JSON object, nothing was appended.
func (s *Stream) Buffered(dst, body []byte) (out []byte, k protocol.Kind, err error) {
	s.buffered = true
	out, k, ok := s.json(dst, body, 0, len(body))
	if !ok {
		return dst, protocol.Other, ErrUnreadable
	}
	return out, k, nil
}

// Usage is what is known now and where it comes from: SourceReported after the
// provider's usage, else SourceEstimated with the configured input estimate and the
// output counted so far.
func (s *Stream) Usage() (usage.Units, usage.Source) {
	if u, source := s.reader.Units(); source != usage.SourceNone {
		return u, source
	}
	if s.Terminated() && !s.began {
		return usage.Units{}, usage.SourceEstimated // a refused prompt of which nothing is billed
	}
	return s.Progress(), usage.SourceEstimated
}

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (s *Stream) Progress() (u usage.Units) {
	if u, source := s.reader.Units(); source != usage.SourceNone {
		u[usage.Output] = max(u[usage.Output], s.cfg.Family.Tokens(&s.count))
		return u
	}
	u[usage.Input] = s.cfg.InputEstimate
	u[usage.Output] = s.cfg.Family.Tokens(&s.count)
	return u
}

// Reasoning is the number of tokens of thought that the provider reported, for
// information: they are inside the output.
func (s *Stream) Reasoning() int64 { return s.reader.Notes().Reasoning }

// Terminated reports whether the answer reached its own end, so that EOF is no
// truncation (C6): every candidate has a reason for its end, or the prompt was refused.
func (s *Stream) Terminated() bool {
	return s.buffered || s.blocked || s.seen != 0 && s.seen == s.finished
}

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.began }

// Fill completes what the stream knows for meter.Final: Reported, Source, Impossible,
// Counted, Family, Hidden, OutputBegan.
func (s *Stream) Fill(e *meter.End) {
	e.Reported, e.Source = s.Usage()
	e.Impossible, e.Counted, e.Family = s.impossible || s.reader.Notes().Impossible, s.count, s.cfg.Family
	e.Hidden, e.OutputBegan = s.hidden, s.began
}

// ErrorClass classifies the in-stream error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return s.class }
