package guard

import (
	"bytes"
	"strings"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// reading is what the data of one event says about texts.
type reading struct {
	pieces []piece
	ends   func(id) bool // texts that end before the event, nil = none
	spells bool          // the event has whole texts
	broken bool          // the event cannot be read to its end
	number int64         // Responses' sequence number, -1 = none
}

// read reads the data of an event in s.data.
func (s *Screen) read() {
	s.reading = reading{pieces: s.pieces[:0], number: -1}
	at := walk.Space(s.data, 0)
	if at >= len(s.data) || s.data[at] != '{' {
		if bytes.Contains(s.data, []byte("[DONE]")) {
			s.ends = all
		}
		return
	}
	switch s.form {
	case chat.Messages:
		s.readMessages(at)
	case chat.Responses:
		s.readResponses(at)
	case chat.Gemini:
		s.readGemini(at)
	case chat.DashScope:
		s.readDashScope(at)
	default:
		s.readChat(at)
	}
}

func all(id) bool { return true }

// found adds a string that belongs to a text.
func (s *Screen) found(it *walk.Iter, id id) {
	end := it.ValueEnd()
	if end < 0 {
		s.broken = true
		return
	}
	s.pieces = append(s.pieces, piece{at: it.Val, end: end, id: id})
}

// blank takes a value out that spells a text once more.
func (s *Screen) blank(it *walk.Iter) {
	if end := it.ValueEnd(); end >= 0 && (it.Byte() == '{' || it.Byte() == '[') {
		s.pieces = append(s.pieces, piece{at: it.Val, end: end, blank: true})
	}
}

// strings adds a string, or the texts in a list of parts.
func (s *Screen) strings(it *walk.Iter, id id) {
	switch it.Byte() {
	case '"':
		s.found(it, id)
	case '[':
		parts := walk.Array(s.data, it.Val)
		for parts.Next() {
			if parts.Byte() == '{' {
				s.below(&parts, id)
			}
			id.part++
		}
	}
}

func (s *Screen) below(parts *walk.Iter, id id) {
	part := walk.Object(s.data, parts.Val)
	for part.Next() {
		switch string(part.Key) {
		case "text":
			s.strings(&part, id)
		case "thinking":
			thought := id
			thought.kind = 'k'
			s.strings(&part, thought)
		}
	}
}

// finish ends the texts of a choice: with their pieces in this event, or before it.
func (s *Screen) finish(choice int64) {
	for i := range s.pieces {
		if o := &s.pieces[i]; o.id.choice == choice {
			o.closes = true
			for j := range s.pieces[:i] {
				if s.pieces[j].id == o.id {
					s.pieces[j].closes = false // more of it stands behind
				}
			}
		}
	}
	s.endsChoice(func(o id) bool { return o.choice == choice })
}

func (s *Screen) endsChoice(f func(id) bool) {
	if before := s.ends; before != nil {
		s.ends = func(o id) bool { return before(o) || f(o) }
		return
	}
	s.ends = f
}

// turns ends the other texts of a choice once one goes on: a thought when the answer
// begins.
func (s *Screen) turns(choice int64, from int) {
	for i := range s.pieces[from:] {
		if o := s.pieces[from+i]; o.end-o.at > 2 {
			s.endsChoice(func(other id) bool { return other.choice == choice && other != o.id })
		}
	}
}

func count(v []byte) int64 {
	n, _, _ := walk.Count(v)
	return n
}

// readTranscript reads what is said in a recording.
func (s *Screen) readTranscript(at int, kind []byte) {
	if string(kind) != "transcript.text.delta" {
		s.ends, s.spells = all, true
		return
	}
	it := walk.Object(s.data, at)
	for it.Next() {
		switch string(it.Key) {
		case "delta":
			if it.Byte() == '"' {
				s.found(&it, id{kind: 'x'})
			}
		case "logprobs":
			s.blank(&it)
		}
	}
	s.broken = s.broken || it.Bad
}

func (s *Screen) readChat(at int) {
	if kind := walk.TextOf(s.data[at:], "type"); bytes.HasPrefix(kind, []byte("transcript.")) {
		s.readTranscript(at, kind)
		return
	}
	s.each(at, "choices", s.choice)
}

// each reads the objects of a list that is a member of the object at.
func (s *Screen) each(at int, member string, read func(at int)) {
	it := walk.Object(s.data, at)
	for it.Next() {
		if string(it.Key) != member || it.Byte() != '[' {
			continue
		}
		list := walk.Array(s.data, it.Val)
		for list.Next() {
			if list.Byte() == '{' {
				read(list.Val)
			}
		}
	}
	s.broken = s.broken || it.Bad
}

func (s *Screen) choice(at int) {
	index := count(walk.Get(s.data[at:], "index"))
	from, finished := len(s.pieces), false
	c := walk.Object(s.data, at)
	for c.Next() {
		switch string(c.Key) {
		case "text":
			s.strings(&c, id{choice: index, kind: 't'})
		case "finish_reason":
			v := c.Value()
			finished = finished || !walk.Null(v) && string(v) != `"null"`
		case "logprobs":
			s.blank(&c)
		case "delta":
			if c.Byte() != '{' {
				continue
			}
			d := walk.Object(s.data, c.Val)
			for d.Next() {
				switch string(d.Key) {
				case "content":
					s.strings(&d, id{choice: index, kind: 'c'})
				case "refusal":
					s.strings(&d, id{choice: index, kind: 'r'})
				case "reasoning_content", "reasoning":
					s.strings(&d, id{choice: index, part: int64(len(d.Key)), kind: 'm'})
				case "tool_calls", "function_call":
					finished = finished || walk.Truthy(d.Value())
				}
			}
		}
	}
	s.turns(index, from)
	if finished {
		s.finish(index)
	}
}

func (s *Screen) readMessages(at int) {
	obj := s.data[at:]
	index := count(walk.Get(obj, "index"))
	switch string(walk.TextOf(obj, "type")) {
	case "content_block_delta":
		it := walk.Object(s.data, at)
		for it.Next() {
			if string(it.Key) != "delta" || it.Byte() != '{' {
				continue
			}
			d := walk.Object(s.data, it.Val)
			for d.Next() {
				if key := string(d.Key); (key == "text" || key == "thinking") && d.Byte() == '"' {
					s.found(&d, id{choice: index, kind: key[1]})
				}
			}
		}
	case "content_block_start":
		s.spells = true
	case "content_block_stop":
		s.ends = func(o id) bool { return o.choice == index }
	case "message_delta", "message_stop":
		s.ends = all
	}
}

func (s *Screen) readResponses(at int) {
	obj := s.data[at:]
	if v := walk.Get(obj, "sequence_number"); v != nil {
		s.number = count(v)
	}
	output := walk.Get(obj, "output_index")
	n := count(output)
	kind := string(walk.TextOf(obj, "type"))
	text := id{choice: n, part: count(walk.Get(obj, "content_index")) + count(walk.Get(obj, "summary_index"))}
	switch kind {
	case "response.output_text.delta":
		text.kind = 't'
	case "response.refusal.delta":
		text.kind = 'r'
	case "response.reasoning_summary_text.delta":
		text.kind = 's'
	case "response.reasoning_text.delta":
		text.kind = 'm'
	default:
		s.spells = true
		switch {
		case output != nil && strings.HasSuffix(kind, ".done"):
			s.ends = func(o id) bool { return o.choice == n }
		case kind == "response.completed", kind == "response.incomplete", kind == "response.failed", kind == "error":
			s.ends = all
		}
		return
	}
	it := walk.Object(s.data, at)
	for it.Next() {
		switch string(it.Key) {
		case "delta":
			if it.Byte() == '"' {
				s.found(&it, text)
			}
		case "logprobs":
			s.blank(&it)
		}
	}
	s.broken = s.broken || it.Bad
}

func (s *Screen) readGemini(at int) {
	s.each(at, "candidates", s.candidate)
}

func (s *Screen) candidate(at int) {
	index := count(walk.Get(s.data[at:], "index"))
	from, finished := len(s.pieces), false
	c := walk.Object(s.data, at)
	for c.Next() {
		switch string(c.Key) {
		case "finishReason":
			finished = finished || walk.Truthy(c.Value())
		case "content":
			if c.Byte() != '{' {
				continue
			}
			content := walk.Object(s.data, c.Val)
			for content.Next() {
				if string(content.Key) != "parts" || content.Byte() != '[' {
					continue
				}
				parts := walk.Array(s.data, content.Val)
				for parts.Next() {
					if parts.Byte() == '{' && !s.part(parts.Val, index) {
						finished = true // a call, a picture: the text before is complete
					}
				}
			}
		}
	}
	s.turns(index, from)
	if finished {
		s.finish(index)
	}
}

// part reads a part of Gemini. It reports whether it is a text.
func (s *Screen) part(at int, index int64) (text bool) {
	kind := byte('c')
	if string(walk.Get(s.data[at:], "thought")) == "true" {
		kind = 'm'
	}
	p := walk.Object(s.data, at)
	for p.Next() {
		if string(p.Key) == "text" && p.Byte() == '"' {
			s.found(&p, id{choice: index, kind: kind})
			text = true
		}
	}
	return text
}

func (s *Screen) readDashScope(at int) {
	it := walk.Object(s.data, at)
	for it.Next() {
		if string(it.Key) != "output" || it.Byte() != '{' {
			continue
		}
		out := walk.Object(s.data, it.Val)
		finished := false
		for out.Next() {
			switch string(out.Key) {
			case "text":
				if out.Byte() == '"' {
					s.found(&out, id{kind: 't'})
				}
			case "finish_reason":
				v := out.Value()
				finished = finished || !walk.Null(v) && string(v) != `"null"`
			case "choices":
				if out.Byte() != '[' {
					continue
				}
				list := walk.Array(s.data, out.Val)
				for list.Next() {
					if list.Byte() == '{' {
						s.dashChoice(list.Val)
					}
				}
			}
		}
		if finished {
			s.finish(0)
		}
	}
	s.broken = s.broken || it.Bad
}

func (s *Screen) dashChoice(at int) {
	index := count(walk.Get(s.data[at:], "index"))
	finished := false
	c := walk.Object(s.data, at)
	for c.Next() {
		switch string(c.Key) {
		case "finish_reason":
			v := c.Value()
			finished = finished || !walk.Null(v) && string(v) != `"null"`
		case "logprobs":
			s.blank(&c)
		case "message":
			if c.Byte() != '{' {
				continue
			}
			m := walk.Object(s.data, c.Val)
			for m.Next() {
				switch string(m.Key) {
				case "content":
					s.strings(&m, id{choice: index, kind: 'c'})
				case "reasoning_content":
					s.strings(&m, id{choice: index, kind: 'm'})
				}
			}
		}
	}
	if finished {
		s.finish(index)
	}
}
