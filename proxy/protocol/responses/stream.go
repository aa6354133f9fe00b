package responses

import (
	"bytes"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/openai"
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
	units      usage.Units
	output     int64 // of the last usage, to see it shrink
	reasoning  int64 // reasoning tokens inside it, for information
	searches   int64 // searches of the web that have been seen
	reported   bool
	impossible bool
	hidden     bool
	began      bool
	done       bool // the response is complete
	class      protocol.Class

	lex    meter.Lexer // of an event that passes in pieces
	final  bool        // and is the last one
	pieces bool        // and is counted

	joined, patched []byte // for events whose data stands on several lines
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	joined, patched := s.joined[:0], s.patched[:0]
	*s = Stream{cfg: *cfg, joined: joined, patched: patched}
	s.hidden = cfg.HiddenOutput
}

// endsWithDone reports whether the provider writes Chat's terminator behind the
// protocol's own.
func (s *Stream) endsWithDone() bool { return openai.Dialect(s.cfg.Dialect) == openai.OpenRouter }

// Event takes one complete upstream event and appends to dst what the client gets:
// the same bytes but for D8's list. An ErrorEvent is appended as it would be passed
// on; the caller cuts dst back to write its own, see ErrorClass.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	e := sse.Parse(ev)
	if e.Datas == 0 {
		if e.Comment == 0 {
			return append(dst, ev...), protocol.Other
		}
		if s.cfg.Pinned {
			return append(dst, ev...), protocol.Comment
		}
		return protocol.AppendComments(dst, ev), protocol.Comment
	}
	if e.Datas == 1 && (e.Comment == 0 || s.cfg.Pinned) {
		if string(e.Data) == "[DONE]" {
			return append(dst, ev...), s.mark()
		}
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data))
		if !ok {
			return append(dst, ev...), s.named(e.Name, s.unreadable(e.Data))
		}
		return out, s.named(e.Name, k)
	}
	return s.lines(dst, ev, &e)
}

// mark takes [DONE]: the end where the response is complete, else nothing.
func (s *Stream) mark() protocol.Kind {
	if !s.done {
		return protocol.Other
	}
	return protocol.Terminator
}

// named lets the event's name say that it is an error.
func (s *Stream) named(name []byte, k protocol.Kind) protocol.Kind {
	if k != protocol.ErrorEvent && string(name) == "error" {
		s.class = ErrorClass(500, nil, nil)
		return protocol.ErrorEvent
	}
	return k
}

// unreadable counts data that is no JSON object: it passes as it is, and its bytes
// are taken for output (C7).
func (s *Stream) unreadable(data []byte) protocol.Kind {
	if len(bytes.TrimSpace(data)) == 0 {
		return protocol.Other
	}
	s.count.AddBytes(data)
	s.began = true
	return protocol.Output
}

// lines is the slow way, for events with several data: lines or with comments
// beside the data: the JSON is joined, patched, and split again.
func (s *Stream) lines(dst, ev []byte, e *sse.Event) (out []byte, k protocol.Kind) {
	s.joined = sse.Join(s.joined[:0], ev)
	data := s.joined
	if string(data) == "[DONE]" {
		k = s.mark()
	} else {
		var ok bool
		s.patched, k, ok = s.json(s.patched[:0], s.joined, 0, len(s.joined))
		if ok {
			data = s.patched
		} else {
			k = s.unreadable(s.joined)
		}
		k = s.named(e.Name, k)
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), k
}

// found is what one event held.
type found struct {
	kind     []byte // its type
	text     []byte // delta, still escaped
	item     []byte // the item's type
	output   bool   // the item itself is output
	response bool
	status   []byte
	failure  []byte // error, where it says something
	usage    bool
	counts   counts
}

// json observes the object at src[at:end] and appends all of src, patched. ok is
// false if it is no readable object; then nothing was appended or counted.
func (s *Stream) json(dst, src []byte, at, end int) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	f := found{}
	before, searches := s.count, s.searches
	if s.buffered {
		f.response = true
		e := s.object(&p, b, at, &f)
		if e < 0 || walk.Space(b, e) < end {
			return dst, protocol.Other, s.revert(before, searches)
		}
		return s.whole(&p, &f, b[at:end])
	}
	it := walk.Object(b, at)
	var cut walk.Cutter
	for it.Next() {
		switch string(it.Key) {
		case "provider":
			if !s.cfg.Pinned {
				if !cut.Drop(&p, &it) {
					return dst, protocol.Other, s.revert(before, searches)
				}
				continue
			}
		case "type":
			f.kind, _ = walk.Text(it.Value())
		case "delta":
			f.text, _ = walk.Text(it.Value())
		case "error":
			if v := it.Value(); walk.Truthy(v) {
				f.failure = b[at:end]
			}
		case "item":
			if it.Byte() == '{' {
				cut.Stay(&p, &it)
				if e := s.item(b, it.Val, &f, bytes.HasSuffix(f.kind, doneSuffix)); e >= 0 {
					it.Resume(e)
					continue
				}
				return dst, protocol.Other, s.revert(before, searches)
			}
		case "response":
			if it.Byte() == '{' {
				cut.Stay(&p, &it)
				f.response = true
				e := s.object(&p, b, it.Val, &f)
				if e < 0 {
					return dst, protocol.Other, s.revert(before, searches)
				}
				it.Resume(e)
				continue
			}
		}
		cut.Stay(&p, &it)
	}
	if it.Bad {
		return dst, protocol.Other, s.revert(before, searches)
	}
	cut.Done(&p, it.End())
	k = s.verdict(&f, b[at:end])
	return p.Finish(), k, true
}

var doneSuffix = []byte(".done")

// revert takes back what a broken event had counted.
func (s *Stream) revert(before meter.Count, searches int64) bool {
	s.count, s.searches = before, searches
	return false
}

// object reads a response, and returns its end, -1 if it is broken.
func (s *Stream) object(p *walk.Patch, b []byte, at int, f *found) int {
	it := walk.Object(b, at)
	var cut walk.Cutter
	for it.Next() {
		switch string(it.Key) {
		case "provider", "native_finish_reason", "cost", "cost_in_usd_ticks":
			if !s.cfg.Pinned || it.Key[0] == 'c' {
				if !cut.Drop(p, &it) {
					return -1
				}
				continue
			}
			cut.Stay(p, &it)
		case "model":
			cut.Stay(p, &it)
			s.cfg.PatchModel(p, &it)
		case "status":
			cut.Stay(p, &it)
			f.status, _ = walk.Text(it.Value())
		case "error":
			cut.Stay(p, &it)
			if v := it.Value(); walk.Truthy(v) {
				f.failure = b[at:]
			}
		case "usage":
			cut.Stay(p, &it)
			if it.Byte() == '{' {
				e := f.counts.read(p, b, it.Val)
				if e < 0 {
					return -1
				}
				f.usage = true
				it.Resume(e)
			} else if !walk.Null(it.Value()) {
				s.impossible = true
			}
		case "output":
			cut.Stay(p, &it)
			if s.buffered && it.Byte() == '[' {
				list := walk.Array(b, it.Val)
				for list.Next() {
					if list.Byte() != '{' {
						continue
					}
					e := s.item(b, list.Val, f, true)
					if e < 0 {
						return -1
					}
					list.Resume(e)
				}
				if list.Bad {
					return -1
				}
				it.Resume(list.End())
			}
		default:
			cut.Stay(p, &it)
		}
	}
	if it.Bad {
		return -1
	}
	cut.Done(p, it.End())
	if f.failure != nil {
		f.failure = b[at:it.End()]
	}
	return it.End()
}

// item reads an item of the output, whole or at its start, and returns its end. Texts
// are counted here only where no delta has told them: in a whole answer, and the names
// of tools, which no delta tells.
func (s *Stream) item(b []byte, at int, f *found, whole bool) int {
	it := walk.Object(b, at)
	var kind, action []byte
	for it.Next() {
		switch string(it.Key) {
		case "type":
			kind, _ = walk.Text(it.Value())
		case "name":
			if v, ok := walk.Text(it.Value()); ok && (!whole || s.buffered) {
				s.count.AddJSON(v)
				s.count.Calls++
				f.output = true
			}
		case "arguments", "input", "code":
			if v, ok := walk.Text(it.Value()); ok && s.buffered {
				s.count.AddJSON(v)
			}
		case "content", "summary":
			if s.buffered && it.Byte() == '[' {
				s.texts(b, it.Val)
			}
		case "encrypted_content":
			s.hidden = s.hidden || !walk.Null(it.Value())
		case "action":
			action = it.Value()
		}
	}
	if it.Bad {
		return -1
	}
	f.item = kind
	switch string(kind) {
	case "message", "":
	case "function_call", "custom_tool_call":
		f.output = true
	case "reasoning":
		s.hidden = true
	default:
		f.output, s.hidden = true, true
	}
	if whole && string(kind) == "web_search_call" && searched(action) {
		s.searches++
	}
	return it.End()
}

// searched reports whether an action of the web search is a search: opening a page
// that was found costs nothing besides its tokens.
func searched(action []byte) bool {
	if len(action) == 0 || action[0] != '{' {
		return true
	}
	it := walk.Object(action, 0)
	for it.Next() {
		if string(it.Key) == "type" {
			return string(it.Value()) == `"search"`
		}
	}
	return true
}

// texts counts the texts of a list of parts.
func (s *Stream) texts(b []byte, at int) {
	list := walk.Array(b, at)
	for list.Next() {
		if list.Byte() != '{' {
			continue
		}
		it := walk.Object(b, list.Val)
		for it.Next() {
			switch string(it.Key) {
			case "text", "refusal":
				if v, ok := walk.Text(it.Value()); ok {
					s.count.AddJSON(v)
				}
			}
		}
		if it.Bad {
			return
		}
		list.Resume(it.End())
	}
}

// whole judges a whole answer.
func (s *Stream) whole(p *walk.Patch, f *found, body []byte) ([]byte, protocol.Kind, bool) {
	s.take(f)
	if f.failure != nil || string(f.status) == "failed" {
		s.class = ErrorClass(0, nil, failure(f, body))
		return p.Finish(), protocol.ErrorEvent, true
	}
	s.began = true
	return p.Finish(), protocol.Output, true
}

func failure(f *found, body []byte) []byte {
	if f.failure != nil {
		return f.failure
	}
	return body
}

// verdict says what an event of a stream is.
func (s *Stream) verdict(f *found, data []byte) protocol.Kind {
	switch string(f.kind) {
	case "response.completed", "response.incomplete":
		s.take(f)
		s.done = true
		if s.endsWithDone() {
			return protocol.Final
		}
		return protocol.Terminator
	case "response.failed":
		s.take(f)
		s.class = ErrorClass(0, nil, failure(f, data))
		return protocol.ErrorEvent
	case "error":
		s.class = ErrorClass(0, nil, data)
		return protocol.ErrorEvent
	case "response.created", "response.in_progress", "response.queued":
		return s.quiet()
	case "":
		if f.failure != nil {
			s.class = ErrorClass(0, nil, f.failure)
			return protocol.ErrorEvent
		}
		return protocol.Other
	}
	switch {
	case bytes.HasSuffix(f.kind, deltaSuffix):
		if len(f.text) > 0 {
			s.count.AddJSON(f.text)
		}
		if bytes.HasPrefix(f.kind, reasoningPrefix) || bytes.HasPrefix(f.kind, audioPrefix) {
			s.hidden = true
		}
		s.began = true
		return protocol.Output
	case f.output:
		s.began = true
		return protocol.Output
	case bytes.HasSuffix(f.kind, addedSuffix), bytes.HasSuffix(f.kind, doneSuffix):
		return s.quiet()
	}
	// A step of a tool that the provider runs, or an event that is not known.
	s.hidden, s.began = true, true
	return protocol.Output
}

var (
	deltaSuffix     = []byte(".delta")
	addedSuffix     = []byte(".added")
	reasoningPrefix = []byte("response.reasoning")
	audioPrefix     = []byte("response.audio")
)

// quiet is the kind of an event that adds nothing.
func (s *Stream) quiet() protocol.Kind {
	if s.began {
		return protocol.Output
	}
	return protocol.Preamble
}

// take reads the usage of an event: the last one counts.
func (s *Stream) take(f *found) {
	if !f.usage {
		return
	}
	c := &f.counts
	s.impossible = s.impossible || c.bad
	u, ok := c.units()
	if !ok {
		return
	}
	if s.reported && c.output < s.output {
		s.impossible = true // shrinking (C9)
	}
	s.output = c.output
	s.units, s.reported = u, true
	s.reasoning = max(0, c.reasoning)
	if c.reasoning > 0 || u[usage.AudioOut] > 0 || u[usage.ImageOut] > 0 {
		s.hidden = true
	}
}

// Partial takes the next piece of an event too large to be read as a whole
// (MaxEvent): the first piece has first set, the last one last. Pieces pass; the
// model is patched where it stands in the first piece. Text is counted as it passes
// but for events that repeat what was told before.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	if first {
		s.lex = meter.Lexer{}
		head := chunk[:min(len(chunk), 256)]
		s.final = walk.Contains(head, `"response.completed"`) || walk.Contains(head, `"response.incomplete"`)
		s.pieces = walk.Contains(head, `.delta"`)
		s.hidden = true
	}
	if s.pieces {
		s.began = true
		s.lex.Count(&s.count, chunk)
	}
	k = s.quiet()
	if s.final && last {
		s.done, k = true, protocol.Terminator
		if s.endsWithDone() {
			k = protocol.Final
		}
	}
	if !first {
		return append(dst, chunk...), k
	}
	p := walk.Patch{Dst: dst, Src: chunk}
	if at := bytes.IndexByte(chunk, '{'); at >= 0 {
		it := walk.Object(chunk, at)
		for it.Next() {
			if string(it.Key) == "response" && it.Byte() == '{' {
				in := walk.Object(chunk, it.Val)
				for in.Next() {
					if string(in.Key) == "model" {
						s.cfg.PatchModel(&p, &in)
					}
				}
				break
			}
		}
	}
	return p.Finish(), k
}

// Buffered takes a whole JSON answer with status 200 and appends what the client
// gets. kind is Output, or ErrorEvent for a response that failed (C11).
// ErrUnreadable: the body is no JSON object, nothing was appended.
func (s *Stream) Buffered(dst, body []byte) (out []byte, k protocol.Kind, err error) {
	s.buffered = true
	out, k, ok := s.json(dst, body, 0, len(body))
	if !ok {
		return dst, protocol.Other, ErrUnreadable
	}
	s.done = k == protocol.Output
	return out, k, nil
}

// Usage is what is known now and where it comes from: SourceReported after the
// provider's usage, else SourceEstimated with the configured input estimate and
// the output counted so far. Searches of the web are counted by their items: no
// usage tells them.
func (s *Stream) Usage() (usage.Units, usage.Source) {
	if s.reported {
		u := s.units
		u[usage.Searches] = s.searches
		return u, usage.SourceReported
	}
	return s.Progress(), usage.SourceEstimated
}

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (s *Stream) Progress() (u usage.Units) {
	if s.reported {
		u = s.units
		u[usage.Output] = max(u[usage.Output], s.cfg.Family.Tokens(&s.count))
	} else {
		u[usage.Input] = s.cfg.InputEstimate
		u[usage.Output] = s.cfg.Family.Tokens(&s.count)
	}
	u[usage.Searches] = s.searches
	return u
}

// OutputBytes is the UTF-8 length of the output text that has passed.
func (s *Stream) OutputBytes() int64 { return s.count.Bytes() }

// Reasoning is the number of reasoning tokens that the provider reported inside
// its output, for information.
func (s *Stream) Reasoning() int64 { return s.reasoning }

// Terminated reports whether the answer reached its own end, so that EOF is no
// truncation (C6).
func (s *Stream) Terminated() bool { return s.done }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.began }

// Fill completes what the stream knows for meter.Final.
func (s *Stream) Fill(e *meter.End) {
	e.Reported, e.Source = s.Usage()
	e.Impossible, e.Counted, e.Family = s.impossible, s.count, s.cfg.Family
	e.Hidden, e.OutputBegan = s.hidden, s.began
}

// ErrorClass classifies the in-stream error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return s.class }
