package dashscope

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// MaxEvent is the size up to which an event is read as a whole: without
// incremental_output each holds all that was said before, and the usage behind it.
const MaxEvent = 4 << 20

// Stream observes and patches the answer of one upstream attempt, streamed or whole.
// The zero value is not ready: call Reset. It may be pooled; it keeps no reference to
// the bytes it is given.
type Stream struct {
	cfg      protocol.StreamConfig
	buffered bool

	count    meter.Count
	reader   usage.Reader
	hidden   bool
	began    bool
	grows    bool   // events hold what is new, not all so far
	seen     uint64 // choices, a bit for each index
	finished uint64 // those that have a reason for their end
	texts    [8]said
	class    protocol.Class
	lex      meter.Lexer // of an event that passes in pieces

	joined, patched []byte // for events whose data stands on several lines, and errors
}

// said is one text of the answer so far: an event that repeats it begins with the same
// bytes.
type said struct {
	key uint32 // what text it is, 0 = free
	n   int
	sum xxhash.Digest
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	joined, patched := s.joined[:0], s.patched[:0]
	*s = Stream{cfg: *cfg, joined: joined, patched: patched}
	s.reader.Reset(usage.FormDashScope)
}

// Event takes one complete upstream event (as sse.Next gives it, or the rest of the
// stream at EOF) and appends to dst what the client gets: the same bytes but for D8's
// list. An ErrorEvent is appended as it would be passed on; the caller cuts dst back to
// write its own, see ErrorClass.
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
	case string(e.Name) == "error":
		return s.failure(dst, ev, &e), protocol.ErrorEvent
	case e.Datas == 1 && (s.cfg.Pinned || statusOnly(ev)):
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data))
		switch {
		case !ok:
			return append(dst, ev...), s.unreadable(e.Data)
		case k == protocol.ErrorEvent:
			return s.failure(dst, ev, &e), k
		}
		return out, k
	}
	s.joined = sse.Join(s.joined[:0], ev)
	data := s.joined
	var ok bool
	s.patched, k, ok = s.json(s.patched[:0], s.joined, 0, len(s.joined))
	switch {
	case !ok:
		k = s.unreadable(s.joined)
	case k == protocol.ErrorEvent:
		return s.failure(dst, ev, &e), k
	default:
		data = s.patched
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), k
}

// statusOnly reports whether all comments of an event are the status that DashScope
// writes into each.
func statusOnly(ev []byte) bool {
	for len(ev) > 0 {
		line, _, rest := sse.Line(ev)
		if len(line) > 0 && line[0] == ':' && !protocol.StatusComment(line) {
			return false
		}
		ev = rest
	}
	return true
}

// failure appends an error of the stream as it may be passed on, and classifies it by
// its body and by the status that stands in the event.
func (s *Stream) failure(dst, ev []byte, e *sse.Event) []byte {
	status := 0
	for rest := ev; len(rest) > 0; {
		var line []byte
		if line, _, rest = sse.Line(rest); protocol.StatusComment(line) {
			n, _, _ := walk.Count(line[len(":HTTP_STATUS/"):])
			status = int(min(n, 599))
		}
	}
	s.joined = sse.Join(s.joined[:0], ev)
	if status < 400 {
		status = 0
	}
	s.class = ErrorClass(status, nil, s.joined)
	s.patched = AppendPassedError(s.patched[:0], s.joined, &s.cfg, requestID(s.joined))
	return protocol.AppendLines(dst, ev, s.patched, e.DataAt, s.cfg.Pinned)
}

// requestID is the id that an error of the upstream carries, as all its events do.
func requestID(body []byte) []byte {
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return nil
	}
	id := walk.TextOf(body[at:], "request_id")
	for _, c := range id {
		if c == '\\' || c < ' ' {
			return nil
		}
	}
	return id
}

// unreadable counts data that is no JSON object: it passes as it is, and its bytes are
// taken for output (C7).
func (s *Stream) unreadable(data []byte) protocol.Kind {
	if len(bytes.TrimSpace(data)) == 0 {
		return protocol.Other
	}
	s.count.AddBytes(data)
	s.began = true
	return protocol.Output
}

// found is what one event held.
type found struct {
	output, finish, answer, code bool
}

// json observes the object at src[at:end] and appends all of src, patched. ok is false
// if it is no readable object; then nothing was appended.
func (s *Stream) json(dst, src []byte, at, end int) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	if e := walk.Skip(b, at); e < 0 || walk.Space(b, e) < end {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	before, seen, finished := s.count, s.seen, s.finished
	f := found{}
	it := walk.Object(b, at)
	good := true
	for good && it.Next() {
		switch string(it.Key) {
		case "output":
			if it.Byte() == '{' {
				f.answer = true
				good = s.output(b, &it, &p, &f)
			}
		case "code":
			v := it.Value()
			f.code = walk.Truthy(v) && string(v) != `"200"` && string(v) != "200"
		case "model":
			s.cfg.PatchModel(&p, &it)
		}
	}
	if !good || it.Bad {
		s.count, s.seen, s.finished = before, seen, finished
		return dst, protocol.Other, false
	}
	s.reader.Event(b[at:])
	if s.reader.Notes().Reasoning > 0 {
		s.hidden = true
	}
	if f.code && !f.answer {
		s.class = ErrorClass(0, nil, b[at:end])
		return dst, protocol.ErrorEvent, true
	}
	return p.Finish(), s.kind(&f), true
}

// kind decides what a read event is.
func (s *Stream) kind(f *found) protocol.Kind {
	switch {
	case s.buffered:
		s.began = f.answer
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

// output reads the member output: one text, or choices with messages.
func (s *Stream) output(b []byte, it *walk.Iter, p *walk.Patch, f *found) bool {
	in := walk.Object(b, it.Val)
	for in.Next() {
		switch string(in.Key) {
		case "text":
			s.seen |= 1
			s.text(keyText, in.Value(), f)
		case "finish_reason":
			s.seen |= 1
			s.finish(0, in.Value(), f)
		case "choices":
			if in.Byte() == '[' && !s.choices(b, &in, f) {
				return false
			}
		case "model_name", "model":
			s.cfg.PatchModel(p, &in)
		case "tool_info":
			s.hidden = true // tools of the provider: what they wrote is not shown
		}
	}
	if in.Bad {
		return false
	}
	it.Resume(in.End())
	return true
}

func (s *Stream) finish(index int64, v []byte, f *found) {
	reason, ok := walk.Text(v)
	if ok && len(reason) > 0 && string(reason) != "null" {
		f.finish = true
		s.finished |= 1 << index
	}
}

func (s *Stream) choices(b []byte, it *walk.Iter, f *found) bool {
	list := walk.Array(b, it.Val)
	for at := int64(0); list.Next(); at++ {
		if list.Byte() != '{' {
			continue
		}
		v := list.Value()
		if v == nil {
			return false
		}
		index := at
		if n, ok, _ := walk.Count(walk.Get(v, "index")); ok {
			index = n
		}
		index = min(index, 63)
		s.seen |= 1 << index
		c := walk.Object(v, 0)
		for c.Next() {
			switch string(c.Key) {
			case "finish_reason":
				s.finish(index, c.Value(), f)
			case "message":
				s.message(uint32(index)<<16, c.Value(), f)
			}
		}
	}
	if list.Bad {
		return false
	}
	it.Resume(list.End())
	return true
}

// The texts of a choice; calls follow from keyCall on.
const (
	keyText = iota + 1
	keyThought
	keyCall
)

// message counts what a message says.
func (s *Stream) message(key uint32, v []byte, f *found) {
	if len(v) == 0 || v[0] != '{' {
		return
	}
	it := walk.Object(v, 0)
	for it.Next() {
		switch string(it.Key) {
		case "content":
			if it.Byte() != '[' {
				s.text(key+keyText, it.Value(), f)
				continue
			}
			parts := walk.Array(v, it.Val)
			for i := uint32(0); parts.Next(); i++ {
				s.text(key+keyText+min(i, 15)<<12, walk.Get(parts.Value(), "text"), f)
			}
		case "reasoning_content":
			s.text(key+keyThought, it.Value(), f)
		case "tool_calls":
			if it.Byte() != '[' {
				continue
			}
			calls := walk.Array(v, it.Val)
			for at := int64(0); calls.Next(); at++ {
				s.call(key+keyCall, at, calls.Value(), f)
			}
		}
	}
}

// call counts a tool call, a piece or a whole.
func (s *Stream) call(key uint32, at int64, v []byte, f *found) {
	if n, ok, _ := walk.Count(walk.Get(v, "index")); ok {
		at = n
	}
	function := walk.Get(v, "function")
	if name := walk.TextOf(function, "name"); len(name) > 0 {
		f.output = true
		if s.known(key+uint32(min(at, 2000))) == nil {
			s.count.Calls++
			s.count.AddJSON(name)
		}
	}
	s.text(key+uint32(min(at, 2000)), walk.Get(function, "arguments"), f)
}

// known is what was said of a text, nil if nothing was.
func (s *Stream) known(key uint32) *said {
	for i := range s.texts {
		if s.texts[i].key == key {
			return &s.texts[i]
		}
	}
	return nil
}

// text counts what is new in a text. Without incremental_output each event repeats what
// was said: then it begins with the same bytes. What is not followed (there are more
// texts than places) is counted as it comes.
func (s *Stream) text(key uint32, v []byte, f *found) {
	raw, ok := walk.Text(v)
	if !ok || len(raw) == 0 {
		return
	}
	f.output = true
	t := s.known(key)
	switch {
	case s.buffered:
	case t == nil:
		for i := range s.texts {
			if s.texts[i].key == 0 {
				t = &s.texts[i]
				t.key = key
				t.sum.Reset()
				break
			}
		}
	case s.grows || t.n == 0:
	case len(raw) >= t.n && xxhash.Sum64(raw[:t.n]) == t.sum.Sum64():
		raw = raw[t.n:]
	default:
		s.grows = true
	}
	s.count.AddJSON(raw)
	if t != nil && !s.grows {
		_, _ = t.sum.Write(raw)
		t.n += len(raw)
	}
}

// Partial takes the next piece of an event too large to be read as a whole: the first
// piece has first set, the last one last. Pieces pass, their text is counted as it
// passes.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	s.began, s.hidden = true, true
	if first {
		s.lex = meter.Lexer{}
	}
	s.lex.Count(&s.count, chunk)
	for _, end := range [...]string{`"finish_reason":"stop"`, `"finish_reason":"length"`, `"finish_reason":"tool_calls"`} {
		if walk.Contains(chunk, end) {
			s.seen, s.finished = s.seen|1, s.finished|1
		}
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
// truncation (C6): every choice has a reason for its end.
func (s *Stream) Terminated() bool { return s.buffered || s.seen != 0 && s.seen == s.finished }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.began }

// Fill completes what the stream knows for meter.Final: Reported, Source, Impossible,
// Counted, Family, Hidden, OutputBegan.
func (s *Stream) Fill(e *meter.End) {
	e.Reported, e.Source = s.Usage()
	e.Impossible, e.Counted, e.Family = s.reader.Notes().Impossible, s.count, s.cfg.Family
	e.Hidden, e.OutputBegan = s.hidden, s.began
}

// ErrorClass classifies the in-stream error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return s.class }
