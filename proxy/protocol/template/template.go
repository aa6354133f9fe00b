// Package template recognises an answer that is an earlier one but for what stands in a few
// known places: its text, its id, its counts. Such an answer is compared with the earlier one
// instead of being walked through, and means what that one meant.
package template

import (
	"bytes"
	"sync/atomic"

	"tokenrelay/proxy/protocol/walk"
)

// MaxHoles bounds the places of a template.
const MaxHoles = 32

// maxFixed bounds what a template remembers, in bytes.
const maxFixed = 2048

// Kind is what may stand in a place.
type Kind uint8

// The kinds.
const (
	Text   Kind = iota // anything between two quotes
	Count              // digits
	Number             // whatever a JSON number is made of
)

// Hole is a place in which other answers may hold something else. Tag is the maker's.
type Hole struct {
	At, End int // of a text: without its quotes
	Kind    Kind
	Tag     uint8
}

// Place is where something stands in an answer that was recognised.
type Place struct{ At, End int }

// Places are those of an answer's holes, in the order of the answer.
type Places [MaxHoles]Place

// Template is what answers have in common. It does not change.
type Template struct {
	fixed []byte // what stands before, between and behind the holes, one behind the other
	holes []hole
	tag   uint8
}

type hole struct {
	upTo int // where what stands before it ends in fixed
	kind Kind
	tag  uint8
}

// Of makes a template of an answer, of which nothing is kept, with the holes in their order. It
// returns nil if there are too many, if they overlap or if too much is fixed. tag is the maker's.
func Of(answer []byte, holes []Hole, tag uint8) *Template {
	if len(holes) > MaxHoles {
		return nil
	}
	t := &Template{tag: tag}
	pos := 0
	for _, h := range holes {
		if h.At < pos || h.End < h.At || h.End > len(answer) {
			return nil
		}
		t.fixed = append(t.fixed, answer[pos:h.At]...)
		t.holes = append(t.holes, hole{len(t.fixed), h.Kind, h.Tag})
		pos = h.End
	}
	if t.fixed = append(t.fixed, answer[pos:]...); len(t.fixed) > maxFixed {
		return nil
	}
	return t
}

// Tag is what the template was made with.
func (t *Template) Tag() uint8 { return t.tag }

// Holes is how many places there are, Hole the tag of the one i, from 0 on.
func (t *Template) Holes() int             { return len(t.holes) }
func (t *Template) Hole(i int) (tag uint8) { return t.holes[i].tag }

// Match reports whether b is like the template, and where in it its holes are.
func (t *Template) Match(b []byte, at *Places) bool {
	i, from := 0, 0
	for n := range t.holes {
		h := &t.holes[n]
		fixed := t.fixed[from:h.upTo]
		if len(b)-i < len(fixed) || !bytes.Equal(b[i:i+len(fixed)], fixed) {
			return false
		}
		i, from = i+len(fixed), h.upTo
		at[n].At = i
		switch h.kind {
		case Text:
			if i = walk.Closing(b, i); i < 0 {
				return false
			}
		case Count:
			for i < len(b) && b[i]-'0' <= 9 {
				i++
			}
		case Number:
			for i < len(b) && (b[i]-'0' <= 9 || b[i] == '.' || b[i]|0x20 == 'e' || b[i] == '-' || b[i] == '+') {
				i++
			}
		}
		if at[n].End = i; i == at[n].At && h.kind != Text {
			return false
		}
	}
	return bytes.Equal(b[i:], t.fixed[from:])
}

// Kept is the template of one route's answers, for all requests; the zero value has none.
type Kept struct{ last atomic.Pointer[Template] }

// Get is the template, nil = none yet.
func (k *Kept) Get() *Template { return k.last.Load() }

// Set puts another in its place.
func (k *Kept) Set(t *Template) { k.last.Store(t) }
