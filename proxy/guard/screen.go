package guard

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/sse"
)

// Screen rewrites the events of one streamed answer in the form in which the client gets
// them. Text that may be the beginning of a finding is kept back until what follows
// decides; it comes with the next event of the same text, or, at the text's end, in an
// event of its own before the one that ends it.
type Screen struct {
	Report Report

	look  *looking
	form  chat.Protocol
	array bool    // the client of a Gemini stream gets one JSON array
	text  *filter // the whole answer is one text, without any form

	channels []*channel
	reading
	shift    int64 // events that were put in, for Responses' sequence numbers
	sequence int64 // the last number given

	data, event, plain []byte
}

// maxChannels bounds how many texts of one answer may be open at a time.
const maxChannels = 256

// id names a text of an answer: a choice's content, a block, a part.
type id struct {
	choice, part int64
	kind         byte
}

// channel is one text on its way.
type channel struct {
	id     id
	filter filter
	half   []byte // an escaped half of a character
	said   []byte // all of the text so far, where events may repeat it (DashScope)
	grows  bool   // they do not

	// The last event with the text in it, to tell the rest with.
	template []byte
	framed   bool // template is an event with lines, not an object
	at       int  // the text's string in the template's data
	others   []piece
}

// piece is a string of an event's data that belongs to a text.
type piece struct {
	at, end int // with its quotes
	id      id
	closes  bool // the text ends with it
	blank   bool // none: it is taken out
}

// NewScreen makes a screen for one answer in this form; nil if nothing is looked for.
func (p *Policy) NewScreen(form chat.Protocol, array bool) *Screen {
	if p.responses == nil {
		return nil
	}
	return &Screen{look: p.responses, form: form, array: array}
}

// NewTextScreen makes a screen for an answer that is plain text, nil if nothing is looked
// for.
func (p *Policy) NewTextScreen() *Screen {
	if p.responses == nil {
		return nil
	}
	s := &Screen{look: p.responses, text: new(filter)}
	s.text.begin(p.responses)
	return s
}

// Append appends what the client gets for out, which holds whole events or elements of
// an array. With last nothing follows: what is kept back comes too. Once Report.Blocked
// is set nothing more may be shown.
func (s *Screen) Append(dst, out []byte, last bool) []byte {
	if s.text != nil {
		dst = s.text.append(dst, out, last)
		s.Report.Add(s.text.report())
		return dst
	}
	for len(out) > 0 && !s.Report.Blocked {
		if s.array {
			dst, out = s.element(dst, out)
			continue
		}
		n := sse.Next(out)
		if n == 0 {
			n = len(out)
		}
		dst = s.one(dst, out[:n])
		out = out[n:]
	}
	if last {
		dst = s.close(dst, func(*channel) bool { return true })
	}
	return dst
}

// element takes an element of an array, with what stands before it.
func (s *Screen) element(dst, out []byte) (_, rest []byte) {
	at := bytes.IndexByte(out, '{')
	if at < 0 {
		if bytes.IndexByte(out, ']') >= 0 {
			dst = s.close(dst, func(*channel) bool { return true })
		}
		return append(dst, out...), nil
	}
	end := walk.Skip(out, at)
	if end < 0 {
		end = len(out)
	}
	s.data = append(s.data[:0], out[at:end]...)
	s.read()
	dst = s.endsBefore(dst)
	dst = append(dst, out[:at]...)
	dst = s.rewrite(dst)
	s.keep(s.data, false)
	if rest = out[end:]; bytes.IndexByte(rest, '{') < 0 && bytes.IndexByte(rest, ']') < 0 {
		return append(dst, rest...), nil
	}
	return dst, rest
}

// one takes one event.
func (s *Screen) one(dst, ev []byte) []byte {
	e := sse.Parse(ev)
	if e.Datas == 0 {
		return append(dst, ev...)
	}
	s.data = sse.Join(s.data[:0], ev)
	s.read()
	dst = s.endsBefore(dst)
	s.event = s.rewrite(s.event[:0])
	dst = protocol.AppendLines(dst, ev, s.event, e.DataAt, true)
	s.keep(ev, true)
	return dst
}

// find is the open text of this id, made if there is none.
func (s *Screen) find(id id) *channel {
	for _, c := range s.channels {
		if c.id == id {
			return c
		}
	}
	if len(s.channels) >= maxChannels {
		s.Report.Blocked = true // no answer has so many; nothing is let past
		return s.channels[0]
	}
	c := &channel{id: id}
	c.filter.begin(s.look)
	s.channels = append(s.channels, c)
	return c
}

// endsBefore closes the texts that end before the event that was read.
func (s *Screen) endsBefore(dst []byte) []byte {
	before := s.ends
	if before == nil {
		return dst
	}
	return s.close(dst, func(c *channel) bool {
		for i := range s.pieces {
			if s.pieces[i].id == c.id && !s.pieces[i].blank {
				return false
			}
		}
		return before(c.id)
	})
}

// close ends texts: what is kept back of them is told in an event of its own.
func (s *Screen) close(dst []byte, which func(*channel) bool) []byte {
	open := s.channels[:0]
	for _, c := range s.channels {
		if !which(c) {
			open = append(open, c)
			continue
		}
		if c.filter.held() == 0 && len(c.half) == 0 {
			continue
		}
		s.plain = c.filter.append(s.plain[:0], chat.Unescape(nil, c.half), true)
		s.note(c)
		if len(s.plain) > 0 && !s.Report.Blocked {
			dst = s.tell(dst, c, s.plain)
		}
	}
	clear(s.channels[len(open):])
	s.channels = open
	return dst
}

func (s *Screen) note(c *channel) { s.Report.Add(c.filter.report()) }

// tell appends the last event of a text once more, with the rest of it.
func (s *Screen) tell(dst []byte, c *channel, text []byte) []byte {
	data := c.template
	if c.framed {
		data = sse.Join(nil, c.template)
	}
	p := walk.Patch{Src: data}
	for _, o := range c.others {
		if o.blank {
			p.Replace(o.at, o.end, nothing(data[o.at]))
			continue
		}
		p.Keep(o.at)
		if o.at == c.at {
			p.Dst = chat.AppendPlain(p.Dst, text)
		} else {
			p.Dst = append(p.Dst, '"', '"')
		}
		p.Cut(o.at, o.end)
	}
	event := p.Finish()
	s.shift++
	if s.form == chat.Responses {
		event = s.renumber(event, s.sequence+1)
	}
	if !c.framed {
		dst = append(dst, "\n,\r\n"...)
		return append(dst, event...)
	}
	e := sse.Parse(c.template)
	return protocol.AppendLines(dst, c.template, event, e.DataAt, true)
}

// renumber gives an event of Responses its number, and remembers it.
func (s *Screen) renumber(data []byte, n int64) []byte {
	at := walk.Space(data, 0)
	if at >= len(data) || data[at] != '{' {
		return data
	}
	it := walk.Object(data, at)
	for it.Next() {
		if string(it.Key) != "sequence_number" {
			continue
		}
		p := walk.Patch{Src: data}
		p.Replace(it.Val, it.ValueEnd(), strconv.AppendInt(nil, n, 10))
		s.sequence = n
		return p.Finish()
	}
	return data
}

// rewrite appends the data that was read, its texts as they may be shown.
func (s *Screen) rewrite(dst []byte) []byte {
	from := len(dst)
	if s.broken {
		s.Report.Blocked = true // what cannot be read cannot be judged
		return dst
	}
	if s.spells {
		w := whole{patch: walk.Patch{Dst: dst, Src: s.data}, answer: true}
		w.filter.look = s.look
		w.object(walk.Space(s.data, 0), 1)
		s.Report.Add(w.report)
		s.Report.Blocked = s.Report.Blocked || w.bad
		dst = w.patch.Finish()
	} else {
		p := walk.Patch{Dst: dst, Src: s.data}
		for i := range s.pieces {
			if o := &s.pieces[i]; o.blank {
				p.Replace(o.at, o.end, nothing(s.data[o.at]))
			} else {
				s.piece(&p, o)
			}
		}
		dst = p.Finish()
	}
	if s.form == chat.Responses && s.number >= 0 {
		if s.shift > 0 {
			event := s.renumber(append([]byte(nil), dst[from:]...), s.number+s.shift)
			dst = append(dst[:from], event...)
		}
		s.sequence = s.number + s.shift
	}
	return dst
}

// nothing is an empty value of the kind that begins with c.
func nothing(c byte) []byte {
	if c == '[' {
		return []byte("[]")
	}
	return []byte("null")
}

// piece puts into an event what may be shown of a text with its next piece.
func (s *Screen) piece(p *walk.Patch, o *piece) {
	c := s.find(o.id)
	raw := s.data[o.at+1 : o.end-1]
	before := c.filter.held() + len(c.half)
	if len(c.half) > 0 {
		raw = append(append([]byte(nil), c.half...), raw...)
		c.half = c.half[:0]
	}
	if n := len(raw) - 6; n >= 0 && !o.closes && raw[n] == '\\' && raw[n+1] == 'u' && raw[n+2]|0x20 == 'd' && (raw[n+3] == '8' || raw[n+3] == '9' || raw[n+3]|0x20 == 'a' || raw[n+3]|0x20 == 'b') {
		c.half = append(c.half[:0], raw[n:]...)
		raw = raw[:n]
	}
	plain := chat.Unescape(nil, raw)
	if s.form == chat.DashScope {
		plain = c.news(plain, s.look)
	}
	s.plain = c.filter.append(s.plain[:0], plain, o.closes)
	s.note(c)
	if before == 0 && c.filter.held() == 0 && len(c.half) == 0 && bytes.Equal(s.plain, plain) {
		return
	}
	p.Keep(o.at)
	p.Dst = chat.AppendPlain(p.Dst, s.plain)
	p.Cut(o.at, o.end)
}

// news is the text to look at: all of it where an event repeats all that was said before.
func (c *channel) news(plain []byte, l *looking) []byte {
	if len(c.said) > 0 && !c.grows {
		if bytes.HasPrefix(plain, c.said) {
			c.filter.begin(l)
		} else if len(plain) > 0 {
			c.grows, c.said = true, nil
		}
	}
	if !c.grows && len(plain) > 0 {
		c.said = append(c.said[:0], plain...)
	}
	return plain
}

// keep remembers the event for the texts in it of which something is kept back.
func (s *Screen) keep(ev []byte, framed bool) {
	for i := range s.pieces {
		o := &s.pieces[i]
		if o.blank {
			continue
		}
		c := s.find(o.id)
		if o.closes {
			s.drop(c)
			continue
		}
		if c.filter.held() == 0 && len(c.half) == 0 {
			continue
		}
		c.template, c.framed, c.at = append(c.template[:0], ev...), framed, o.at
		c.others = append(c.others[:0], s.pieces...)
	}
}

func (s *Screen) drop(c *channel) {
	for i := range s.channels {
		if s.channels[i] == c {
			s.channels = append(s.channels[:i], s.channels[i+1:]...)
			return
		}
	}
}
