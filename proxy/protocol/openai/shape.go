package openai

import (
	"bytes"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
)

// maxFrame bounds what is remembered of the events of a stream.
const maxFrame = 512

// shape is what events of a stream have in common. Nearly all of them add one piece of
// text and are alike but for it: such an event is compared with the one before instead of
// being walked through, and means what that one meant, whatever came in between.
//
// frame holds, one behind the other: the start of the last chunk up to its choices, which an
// event of any kind may share; from there to the text's opening quote; from its closing quote
// to the end, or to the opening quote of the padding (OpenAI's obfuscation, of a random
// length); from the padding's closing quote to the end.
type shape struct {
	frame   [maxFrame]byte
	choices int // where they start
	model   int // where the model's value starts, 0 = nothing to patch
	modelE  int
	text    int // where the text starts, 0 = only the start of the chunk is known
	middle  int // where what stands between text and padding ends in frame
	end     int // of frame; middle = no padding
}

// forget makes the next event one that nothing came before.
func (h *shape) forget() { h.choices, h.text = 0, 0 }

// begin remembers the start of a chunk up to its choices; the model of it stands from model
// to modelE and is replaced, 0 = it is not.
func (h *shape) begin(start []byte, model, modelE int) {
	h.choices, h.model, h.modelE, h.text = copy(h.frame[:], start), model, modelE, 0
}

// begins reports whether b starts as the last chunk did, up to its choices.
func (h *shape) begins(b []byte) bool {
	n := h.choices
	return n > 0 && n < len(b) && bytes.Equal(b[:n], h.frame[:n])
}

// holes are the places of an event in which the next one may differ from it without meaning
// anything else; the zero value is none.
type holes struct {
	text, textE int // the text, without its quotes
	pad, padE   int // the padding behind it
}

// learn remembers the whole event, of which the start is known already, if there is room.
func (h *shape) learn(ev []byte, o *holes) {
	mid, end := ev[o.textE:], []byte(nil)
	if o.pad > o.textE {
		mid, end = ev[o.textE:o.pad], ev[o.padE:]
	}
	if o.text+len(mid)+len(end) > maxFrame {
		return
	}
	n := h.choices
	n += copy(h.frame[n:], ev[n:o.text])
	n += copy(h.frame[n:], mid)
	h.text, h.middle = o.text, n
	h.end = n + copy(h.frame[n:], end)
}

// textOf returns the text of ev, still escaped, if ev is the last event but for that.
func (h *shape) textOf(ev []byte) (text []byte, ok bool) {
	n := h.text
	if n == 0 || len(ev) < n || !bytes.Equal(ev[:n], h.frame[:n]) {
		return nil, false
	}
	e := walk.Closing(ev, n)
	if e <= n { // no text adds nothing
		return nil, false
	}
	rest, ok := bytes.CutPrefix(ev[e:], h.frame[n:h.middle])
	if !ok {
		return nil, false
	}
	if h.middle < h.end {
		p := walk.Closing(rest, 0)
		if p < 0 {
			return nil, false
		}
		rest = rest[p:]
	}
	return ev[n:e], bytes.Equal(rest, h.frame[h.middle:h.end])
}

// again takes an event that is the last one but for its text, and is output as that was. ok
// is false if it is not; then nothing was appended or counted.
func (s *Stream) again(dst, ev []byte) (out []byte, ok bool) {
	text, ok := s.shape.textOf(ev)
	if !ok {
		return dst, false
	}
	s.count.AddJSON(text)
	if s.shape.model > 0 {
		dst = append(dst, ev[:s.shape.model]...)
		dst = protocol.AppendString(dst, s.cfg.ClientModel)
		ev = ev[s.shape.modelE:]
	}
	return append(dst, ev...), true
}

// alone reports whether the event that f was found in, counted from before on, added the
// text of one string and nothing else that would be more for being said twice, and nothing
// behind its start is changed in it: another with another text is then the same.
func (s *Stream) alone(b []byte, p *walk.Patch, before meter.Count, f *found) bool {
	o := &f.holes
	if o.text == 0 || f.usage || p.Pos() != s.shape.modelE {
		return false
	}
	before.AddJSON(b[o.text:o.textE])
	return before == s.count
}
