package openai

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
	attempt
	shape shape // of the last event

	joined, patched []byte // for events whose data stands on several lines
	unlike          uint   // whole answers that were unlike the template, of all attempts
}

// attempt is what begins anew with each.
type attempt struct {
	cfg      protocol.StreamConfig
	facts    *dialectFacts
	buffered bool

	count      meter.Count
	units      usage.Units
	completion int64 // completion of the last usage, to see it shrink
	reasoning  int64 // reasoning tokens inside it, for information
	reported   bool
	impossible bool
	hidden     bool
	began      bool
	finished   bool // a finish reason was seen
	done       bool // [DONE] was seen
	class      protocol.Class
	lex        meter.Lexer // of an event that passes in pieces
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	s.attempt = attempt{cfg: *cfg, facts: dialectOf(cfg).facts()}
	s.hidden = s.facts.hidden || cfg.HiddenOutput
	s.shape.forget()
	s.joined, s.patched = s.joined[:0], s.patched[:0]
}

// Event takes one complete upstream event (as sse.Next gives it, or the rest of
// the stream at EOF) and appends to dst what the client gets: the same bytes but
// for D8's list. With kind Withheld dst comes back untouched. An ErrorEvent is
// appended as it would be passed on; the caller cuts dst back to write its own,
// see ErrorClass.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	if out, ok := s.again(dst, ev); ok {
		return out, protocol.Output
	}
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
			s.done = true
			return append(dst, ev...), protocol.Terminator
		}
		var f found
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data), &f)
		if !ok {
			return append(dst, ev...), s.named(e.Name, s.unreadable(e.Data))
		}
		k = s.named(e.Name, k)
		if f.alone && k == protocol.Output {
			s.shape.learn(ev, &f.holes)
		}
		return out, k
	}
	return s.lines(dst, ev, &e)
}

// named lets the event's name say that it is an error.
func (s *Stream) named(name []byte, k protocol.Kind) protocol.Kind {
	if k != protocol.ErrorEvent && string(name) == "error" {
		s.class = ErrorClass(500, nil, nil, dialectOf(&s.cfg))
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
		s.done, k = true, protocol.Terminator
	} else {
		var ok bool
		s.patched, k, ok = s.json(s.patched[:0], s.joined, 0, len(s.joined), &found{})
		if k == protocol.Withheld {
			return dst, k
		}
		if ok {
			data = s.patched
		} else {
			k = s.unreadable(s.joined)
		}
		k = s.named(e.Name, k)
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), k
}

// json observes the object at src[at:end] and appends all of src, patched. ok is
// false if it is no readable object; then nothing was appended or counted. f is what
// it held.
func (s *Stream) json(dst, src []byte, at, end int, f *found) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	before := s.count
	it := walk.Object(b, at)
	var cut walk.Cutter
	model, modelE, plain, known := 0, 0, true, false
	if known = s.shape.begins(b); known {
		// The same start as last time: its model is where it was.
		if model, modelE = s.shape.model, s.shape.modelE; model > 0 {
			p.Keep(model)
			p.Dst = protocol.AppendString(p.Dst, s.cfg.ClientModel)
			p.Cut(model, modelE)
		}
		it.ResumeAt(s.shape.choices)
		cut.Stay(&p, &it)
		if !s.choices(&p, &it, f) {
			return dst, protocol.Other, s.revert(before)
		}
	}
	for it.Next() {
		switch string(it.Key) {
		case "choices":
			cut.Stay(&p, &it)
			if plain && !f.choices && it.Val <= maxFrame {
				s.shape.begin(b[:it.Val], model, modelE)
				known = true
			}
			if !s.choices(&p, &it, f) {
				return dst, protocol.Other, s.revert(before)
			}
		case "model":
			cut.Stay(&p, &it)
			if s.cfg.PatchModel(&p, &it) {
				model, modelE = it.Val, it.ValueEnd()
			}
		case "usage":
			cut.Stay(&p, &it)
			if it.Byte() == '{' {
				plain = false
				e := s.usage(&p, b, it.Val, f)
				if e < 0 {
					return dst, protocol.Other, s.revert(before)
				}
				it.Resume(e)
			} else if !walk.Null(it.Value()) {
				s.impossible = true
			}
		case "error":
			cut.Stay(&p, &it)
			plain = false
			if v := it.Value(); walk.Truthy(v) {
				f.failed = true
				s.class = ErrorClass(0, nil, b[at:end], dialectOf(&s.cfg))
			}
		case "x_groq":
			plain = false
			s.groq(b, &it, f)
			if s.cfg.Pinned {
				cut.Stay(&p, &it)
			} else if !cut.Drop(&p, &it) {
				return dst, protocol.Other, s.revert(before)
			}
		case "provider", "native_finish_reason":
			plain = false
			if s.cfg.Pinned {
				cut.Stay(&p, &it)
			} else if !cut.Drop(&p, &it) {
				return dst, protocol.Other, s.revert(before)
			}
		case "cost", "cost_in_usd_ticks":
			plain = false
			if !cut.Drop(&p, &it) {
				return dst, protocol.Other, s.revert(before)
			}
		default:
			if string(it.Key) == "obfuscation" && it.Byte() == '"' {
				f.pad, f.padE = it.Val+1, it.ValueEnd()-1
			}
			cut.Stay(&p, &it)
		}
	}
	if it.Bad {
		return dst, protocol.Other, s.revert(before)
	}
	cut.Done(&p, it.End())
	if s.buffered && walk.Space(b, it.End()) < end {
		return dst, protocol.Other, s.revert(before)
	}
	f.alone = known && plain && s.alone(b, &p, before, f)
	return s.verdict(dst, &p, f)
}

// revert takes back what a broken event had counted.
func (s *Stream) revert(before meter.Count) bool {
	s.count = before
	s.shape.forget()
	return false
}

// found is what one event held.
type found struct {
	choices bool // the member is there
	empty   bool // and holds nothing
	output  bool
	finish  bool
	usage   bool
	failed  bool

	holes      // the one text and the padding
	alone bool // the text is all that the event says
}

// verdict decides what becomes of a read event.
func (s *Stream) verdict(dst []byte, p *walk.Patch, f *found) ([]byte, protocol.Kind, bool) {
	s.finished = s.finished || f.finish
	switch {
	case f.failed:
		return p.Finish(), protocol.ErrorEvent, true
	case s.buffered:
		s.began = true
		return p.Finish(), protocol.Output, true
	case f.empty || !f.choices && f.usage:
		if !s.cfg.AskedUsage {
			return dst, protocol.Withheld, true
		}
		if f.usage {
			return p.Finish(), protocol.Final, true
		}
		return p.Finish(), s.quiet(), true
	case f.output:
		s.began = true
		return p.Finish(), protocol.Output, true
	case f.finish:
		return p.Finish(), protocol.Final, true
	case !f.choices:
		return p.Finish(), protocol.Other, true
	}
	return p.Finish(), s.quiet(), true
}

// quiet is the kind of a chunk that adds nothing.
func (s *Stream) quiet() protocol.Kind {
	if s.began {
		return protocol.Output
	}
	return protocol.Preamble
}

// choices reads the array of choices that it stands at.
func (s *Stream) choices(p *walk.Patch, it *walk.Iter, f *found) bool {
	f.choices = true
	if it.Byte() != '[' {
		f.empty = walk.Null(it.Value())
		return it.ValueEnd() >= 0
	}
	b := p.Src
	list := walk.Array(b, it.Val)
	n := 0
	for list.Next() {
		n++
		if list.Byte() != '{' {
			continue
		}
		c := walk.Object(b, list.Val)
		var cut walk.Cutter
		for c.Next() {
			switch string(c.Key) {
			case "native_finish_reason":
				if !s.cfg.Pinned {
					if !cut.Drop(p, &c) {
						return false
					}
					continue
				}
			case "delta":
				if !s.buffered && !s.delta(b, &c, f) {
					return false
				}
			case "message":
				if s.buffered && !s.delta(b, &c, f) {
					return false
				}
			case "text": // Completions
				s.text(b, &c, f)
			case "finish_reason":
				if !walk.Null(c.Value()) {
					f.finish = true
				}
			case "usage": // Kimi
				if c.Byte() == '{' {
					cut.Stay(p, &c)
					e := s.usage(p, b, c.Val, f)
					if e < 0 {
						return false
					}
					c.Resume(e)
					continue
				}
			}
			cut.Stay(p, &c)
		}
		if c.Bad {
			return false
		}
		cut.Done(p, c.End())
		list.Resume(c.End())
	}
	if list.Bad {
		return false
	}
	it.Resume(list.End())
	f.empty = n == 0
	return true
}

// delta counts the output of one delta or message.
func (s *Stream) delta(b []byte, it *walk.Iter, f *found) bool {
	if it.Byte() != '{' {
		return it.ValueEnd() >= 0
	}
	d := walk.Object(b, it.Val)
	thought := false // the same reasoning may stand under two names
	for d.Next() {
		switch string(d.Key) {
		case "content", "refusal":
			s.text(b, &d, f)
		case "reasoning_content", "reasoning":
			if !thought {
				thought = s.text(b, &d, f)
			}
		case "reasoning_details":
			if v := d.Value(); walk.Truthy(v) {
				f.output, s.hidden = true, true
			}
		case "tool_calls", "function_call":
			if v := d.Value(); walk.Truthy(v) {
				f.output = true
				s.arguments(b, d.Val, f)
			}
		case "audio", "executed_tools", "images":
			if v := d.Value(); walk.Truthy(v) {
				f.output, s.hidden = true, true
			}
		}
	}
	if d.Bad {
		return false
	}
	it.Resume(d.End())
	return true
}

// text counts a string, or the strings in an array of parts (Mistral). It reports
// whether there was any text.
func (s *Stream) text(b []byte, it *walk.Iter, f *found) bool {
	switch it.Byte() {
	case '"':
		v, ok := walk.Text(it.Value())
		if ok && len(v) > 0 {
			s.count.AddJSON(v)
			f.output = true
			f.text, f.textE = it.Val+1, it.Val+1+len(v)
			return true
		}
	case '[':
		any := false
		parts := walk.Array(b, it.Val)
		for parts.Next() {
			if parts.Byte() != '{' {
				continue
			}
			part := walk.Object(b, parts.Val)
			for part.Next() {
				if k := string(part.Key); k == "text" || k == "thinking" {
					any = s.text(b, &part, f) || any
				}
			}
			if part.Bad {
				return any
			}
			parts.Resume(part.End())
		}
		return any
	}
	return false
}

// arguments counts names and arguments of tool calls.
func (s *Stream) arguments(b []byte, i int, f *found) int {
	var it walk.Iter
	switch b[i] {
	case '[':
		it = walk.Array(b, i)
	case '{':
		it = walk.Object(b, i)
	default:
		return walk.Skip(b, i)
	}
	for it.Next() {
		switch it.Byte() {
		case '[', '{':
			e := s.arguments(b, it.Val, f)
			if e < 0 {
				return -1
			}
			it.Resume(e)
		case '"':
			k := string(it.Key)
			if k != "name" && k != "arguments" && k != "input" {
				continue
			}
			v, _ := walk.Text(it.Value())
			s.count.AddJSON(v)
			f.text, f.textE = it.Val+1, it.Val+1+len(v)
			if k == "name" && len(v) > 0 {
				s.count.Calls++
			}
		}
	}
	if it.Bad {
		return -1
	}
	return it.End()
}

// usage reads a usage object: the last one counts.
func (s *Stream) usage(p *walk.Patch, b []byte, i int, f *found) int {
	var c counts
	e := readUsage(p, b, i, &c)
	if e < 0 {
		return -1
	}
	s.take(&c, f)
	return e
}

func (s *Stream) take(c *counts, f *found) {
	s.impossible = s.impossible || c.bad
	if s.cfg.InputOnly && c.prompt < 0 {
		c.prompt = c.total // Voyage
	}
	u, ok := c.units(dialectOf(&s.cfg))
	if !ok {
		return
	}
	if s.reported && c.completion < s.completion {
		s.impossible = true // shrinking (C9)
	}
	s.completion = c.completion
	s.units, s.reported, f.usage = u, true, true
	s.reasoning = max(0, c.reasoning)
	if c.reasoning > 0 || u[usage.AudioOut] > 0 || u[usage.ImageOut] > 0 {
		s.hidden = true
	}
}

// groq reads what Groq puts beside the answer.
func (s *Stream) groq(b []byte, it *walk.Iter, f *found) {
	if it.Byte() != '{' {
		return
	}
	x := walk.Object(b, it.Val)
	for x.Next() {
		switch string(x.Key) {
		case "usage":
			if x.Byte() == '{' {
				var c counts
				readUsage(nil, b, x.Val, &c)
				s.take(&c, f)
			}
		case "error":
			if walk.Truthy(x.Value()) {
				f.failed = true
				s.class = ErrorClass(0, nil, it.Value(), Groq)
			}
		}
	}
}

// Partial takes the next piece of an event too large to be read as a whole
// (protocol.MaxEvent): the first piece has first set, the last one last. Pieces
// pass; the model is patched where it stands in the first piece, and the text is
// counted as it passes.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	s.began = true
	if first {
		s.lex = meter.Lexer{}
	}
	s.lex.Count(&s.count, chunk)
	if !first {
		return append(dst, chunk...), protocol.Output
	}
	p := walk.Patch{Dst: dst, Src: chunk}
	if at := bytes.IndexByte(chunk, '{'); at >= 0 {
		it := walk.Object(chunk, at)
		for it.Next() {
			if string(it.Key) == "model" {
				s.cfg.PatchModel(&p, &it)
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
	if out, s.done = s.alike(dst, body); s.done {
		return out, protocol.Output, nil
	}
	var f found
	out, k, ok := s.json(dst, body, 0, len(body), &f)
	if !ok {
		return dst, protocol.Other, ErrUnreadable
	}
	if s.done = k == protocol.Output; s.done {
		s.learn(body, &f)
	}
	return out, k, nil
}

// Usage is what is known now and where it comes from: SourceReported after the
// provider's usage, else SourceEstimated with the configured input estimate and
// the output counted so far.
func (s *Stream) Usage() (usage.Units, usage.Source) {
	if s.reported {
		return s.units, usage.SourceReported
	}
	return s.Progress(), usage.SourceEstimated
}

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (s *Stream) Progress() (u usage.Units) {
	if s.reported {
		u = s.units
		u[usage.Output] = max(u[usage.Output], s.cfg.Family.Tokens(&s.count))
		return u
	}
	u[usage.Input] = s.cfg.InputEstimate
	u[usage.Output] = s.cfg.Family.Tokens(&s.count)
	return u
}

// OutputBytes is the UTF-8 length of the output text that has passed.
func (s *Stream) OutputBytes() int64 { return s.count.Bytes() }

// Reasoning is the number of reasoning tokens that the provider reported inside
// its output, for information.
func (s *Stream) Reasoning() int64 { return s.reasoning }

// Terminated reports whether the answer reached its own end, so that EOF is no
// truncation (C6).
func (s *Stream) Terminated() bool { return s.done || s.finished && s.facts.noDone }

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
