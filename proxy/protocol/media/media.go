// Package media is the lane of the endpoints beside the conversations: speech,
// transcripts, pictures, judgements, ranks and embeddings. Their answers pass byte for byte
// but for what D8 lists; what they consumed is read by usage.Reader, and what passed is
// counted for those that do not say.
package media

import (
	"bytes"
	"errors"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

// ErrUnreadable means that a whole answer is not the JSON object that was asked for.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// MaxEvent is the size up to which an event is read as a whole, in bytes: a picture comes
// in one event, with the usage behind it.
const MaxEvent = 16 << 20

// Stream observes and patches the answer of one upstream attempt. Call Form and then Reset
// before each.
// It keeps no reference to the bytes it is given.
type Stream struct {
	cfg    protocol.StreamConfig
	form   usage.Form
	plain  bool        // the answer is no JSON: sound, or text of a format of its own
	guess  usage.Units // of Progress, until the provider reports
	reader usage.Reader

	count    meter.Count
	bytes    int64 // of sound, after base64
	pictures int64
	began    bool
	finished bool // the event that ends the output was seen
	done     bool
	class    protocol.Class

	joined, patched []byte
}

// Form says in which form the answer reports usage. plain says that it is passed without
// being read as JSON or events; guess is what Progress tells until the provider reports.
func (s *Stream) Form(form usage.Form, plain bool, guess *usage.Units) {
	s.form, s.plain, s.guess = form, plain, *guess
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) {
	*s = Stream{cfg: *cfg, form: s.form, plain: s.plain, guess: s.guess, joined: s.joined[:0], patched: s.patched[:0]}
	s.reader.Reset(s.form)
}

// Event takes one whole event of a stream (or, of a plain answer, the bytes that have
// come) and appends what the client gets.
func (s *Stream) Event(dst, ev []byte) ([]byte, protocol.Kind) {
	if s.plain {
		s.began = true
		s.bytes += int64(len(ev))
		return append(dst, ev...), protocol.Output
	}
	e := sse.Parse(ev)
	switch {
	case e.Datas == 0 && e.Comment == 0:
		return append(dst, ev...), protocol.Other
	case e.Datas == 0 && s.cfg.Pinned:
		return append(dst, ev...), protocol.Comment
	case e.Datas == 0:
		return protocol.AppendComments(dst, ev), protocol.Comment
	}
	if e.Datas == 1 && (e.Comment == 0 || s.cfg.Pinned) {
		if string(e.Data) == "[DONE]" {
			s.done = true
			return append(dst, ev...), protocol.Terminator
		}
		out, k, ok := s.json(dst, ev, e.DataAt, e.DataAt+len(e.Data), false)
		if !ok {
			s.began = true
			return append(dst, ev...), s.named(e.Name, protocol.Output)
		}
		return out, s.named(e.Name, k)
	}
	s.joined = sse.Join(s.joined[:0], ev)
	data, k := s.joined, protocol.Output
	if string(data) == "[DONE]" {
		s.done, k = true, protocol.Terminator
	} else if out, kind, ok := s.json(s.patched[:0], s.joined, 0, len(s.joined), false); ok {
		s.patched, data, k = out, out, kind
	} else {
		s.began = true
	}
	return protocol.AppendLines(dst, ev, data, e.DataAt, s.cfg.Pinned), s.named(e.Name, k)
}

// named lets the event's name say that it is an error.
func (s *Stream) named(name []byte, k protocol.Kind) protocol.Kind {
	if k != protocol.ErrorEvent && string(name) == "error" {
		p := protocol.Problem{}
		s.class = protocol.Classify(500, nil, &p)
		return protocol.ErrorEvent
	}
	return k
}

// Partial passes a piece of an event that is too large to be read.
func (s *Stream) Partial(dst, chunk []byte, _, _ bool) ([]byte, protocol.Kind) {
	s.began = true
	s.bytes += int64(len(chunk))
	return append(dst, chunk...), protocol.Output
}

// Buffered takes a whole answer with status 200 and appends what the client gets. kind is
// Output, or ErrorEvent for an error in the body. ErrUnreadable: it is no JSON object.
func (s *Stream) Buffered(dst, body []byte) ([]byte, protocol.Kind, error) {
	if s.plain {
		if p := protocol.ReadProblem(body); p.Readable && walk.Space(body, 0) < len(body) && walk.Contains(body, `"error"`) {
			s.class = protocol.Classify(0, nil, &p)
			return append(dst, body...), protocol.ErrorEvent, nil
		}
		s.began, s.done = true, true
		s.count.AddBytes(body)
		return append(dst, body...), protocol.Output, nil
	}
	out, k, ok := s.json(dst, body, 0, len(body), true)
	if !ok {
		return dst, protocol.Other, ErrUnreadable
	}
	if k != protocol.ErrorEvent {
		s.began, s.done, k = true, true, protocol.Output
	}
	return out, k, nil
}

// json observes the object at src[at:end] and appends all of src, patched.
func (s *Stream) json(dst, src []byte, at, end int, whole bool) (out []byte, k protocol.Kind, ok bool) {
	b := src[:end]
	at = walk.Space(b, at)
	if at >= end || b[at] != '{' {
		return dst, protocol.Other, false
	}
	p := walk.Patch{Dst: dst, Src: src}
	it := walk.Object(b, at)
	var cut walk.Cutter
	var kind []byte
	var sound, text []byte
	pictures := int64(0)
	failed := false
	for it.Next() {
		switch key := string(it.Key); key {
		case "provider", "cost", "cost_in_usd_ticks":
			if !s.cfg.Pinned || key != "provider" {
				if !cut.Drop(&p, &it) {
					return dst, protocol.Other, false
				}
				continue
			}
		case "model":
			cut.Stay(&p, &it)
			s.cfg.PatchModel(&p, &it)
			continue
		case "usage":
			cut.Stay(&p, &it)
			if it.Byte() == '{' && !withoutCosts(&p, b, &it) {
				return dst, protocol.Other, false
			}
			continue
		case "type":
			kind, _ = walk.Text(it.Value())
		case "error":
			failed = walk.Truthy(it.Value())
		case "delta", "text":
			text, _ = walk.Text(it.Value())
		case "audio":
			sound, _ = walk.Text(it.Value())
		case "data":
			if whole && it.Byte() == '[' {
				list := walk.Array(b, it.Val)
				for list.Next() {
					pictures++
				}
				if list.Bad {
					return dst, protocol.Other, false
				}
				it.Resume(list.End())
			}
		}
		cut.Stay(&p, &it)
	}
	if it.Bad || whole && walk.Space(b, it.End()) < end {
		return dst, protocol.Other, false
	}
	cut.Done(&p, it.End())
	if failed || !whole && string(kind) == "error" {
		problem := protocol.ReadProblem(b[at:end])
		s.class = protocol.Classify(0, nil, &problem)
		return p.Finish(), protocol.ErrorEvent, true
	}
	s.reader.Event(b[at:end])
	s.pictures += pictures
	s.bytes += int64(len(sound)) / 4 * 3
	k = s.kind(kind)
	if whole || k == protocol.Output {
		s.count.AddJSON(text)
	}
	return p.Finish(), k, true
}

// kind says what an event of that type is.
func (s *Stream) kind(name []byte) protocol.Kind {
	switch {
	case bytes.HasSuffix(name, []byte(".completed")): // image_generation, image_edit
		s.pictures++
	case bytes.HasSuffix(name, []byte(".done")): // transcript.text, speech.audio
	case bytes.HasSuffix(name, []byte(".delta")), bytes.HasSuffix(name, []byte(".segment")), bytes.HasSuffix(name, []byte(".partial_image")):
		s.began = true
		return protocol.Output
	default:
		if s.began {
			return protocol.Output
		}
		return protocol.Other
	}
	s.began, s.finished = true, true
	return protocol.Final
}

// withoutCosts cuts what names the supplier's price out of the usage that it stands at.
func withoutCosts(p *walk.Patch, b []byte, it *walk.Iter) bool {
	in := walk.Object(b, it.Val)
	var cut walk.Cutter
	for in.Next() {
		if bytes.HasPrefix(in.Key, []byte("cost")) {
			if !cut.Drop(p, &in) {
				return false
			}
			continue
		}
		cut.Stay(p, &in)
	}
	if in.Bad {
		return false
	}
	cut.Done(p, in.End())
	it.Resume(in.End())
	return true
}

// Usage is what the provider reported, else the guess.
func (s *Stream) Usage() (usage.Units, usage.Source) {
	if u, source := s.reader.Units(); source != usage.SourceNone {
		return u, source
	}
	return s.guess, usage.SourceEstimated
}

// Notes is what was reported beside the classes.
func (s *Stream) Notes() usage.Notes { return s.reader.Notes() }

// Progress is what is owed so far, for the in-flight slot.
func (s *Stream) Progress() usage.Units { return s.guess }

// Sound is the number of bytes of sound that passed, Pictures that of pictures, Text what
// text passed.
func (s *Stream) Sound() int64 { return s.bytes }

// Pictures is the number of pictures that were made.
func (s *Stream) Pictures() int64 { return s.pictures }

// Text counts the text that passed.
func (s *Stream) Text() *meter.Count { return &s.count }

// Terminated reports whether the answer reached its own end, so that EOF is no truncation.
// Sound has no end but the response's.
func (s *Stream) Terminated() bool { return s.done || s.finished || s.plain && s.began }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return s.began }

// Fill completes what the stream knows for meter.Final.
func (s *Stream) Fill(e *meter.End) {
	e.Reported, e.Source = s.Usage()
	e.Impossible, e.Counted, e.Family = s.Notes().Impossible, meter.Count{}, s.cfg.Family
	e.Hidden, e.OutputBegan = true, s.began
}

// ErrorClass classifies the error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return s.class }
