// Package walk walks JSON that an upstream sent, in place: no tree, no copies,
// nothing allocated. It is tolerant where tolerance harms nobody (the bytes pass
// on as they are), and says so when it cannot go on.
package walk

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"tokenrelay/shared/textrun"
)

// Space returns the first place at or after i that is no white space.
func Space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// String returns the end of the string that starts at b[i] == '"', after its
// closing quote, or -1.
func String(b []byte, i int) int {
	i++
	if i+16 > len(b) {
		return text(b, i, 0)
	}
	// A name, mostly.
	at := textrun.Stop(binary.LittleEndian.Uint64(b[i:]))
	if at == 0 {
		i += 8
		if at = textrun.Stop(binary.LittleEndian.Uint64(b[i:])); at == 0 {
			return text(b, i+8, 2)
		}
	}
	i += bits.TrailingZeros64(at) / 8
	if b[i] == '"' {
		return i + 1
	}
	return text(b, i, 0)
}

// text is String from i on, inside of the string, of which n words of 8 bytes have been looked at.
func text(b []byte, i, n int) int {
	for ; ; n = 0 {
		for ; i+8 <= len(b); n++ {
			if n == 2 && i+32 <= len(b) { // no name but a text
				m, _ := textrun.Plain(b[i:])
				i += m
				continue
			}
			if stop := textrun.Stop(binary.LittleEndian.Uint64(b[i:])); stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return -1
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
}

// Closing returns where the quote stands that closes the string whose content starts at
// b[i], or -1 if there is none, or a control character before it: a line may end there.
func Closing(b []byte, i int) int {
	for n := 0; i+8 <= len(b); {
		stop := textrun.Stop(binary.LittleEndian.Uint64(b[i:]))
		if stop == 0 {
			if i += 8; n < 2 {
				n++
			} else {
				m, _ := textrun.Plain(b[i:])
				i += m
			}
			continue
		}
		i += bits.TrailingZeros64(stop) / 8
		if b[i] != '\\' {
			break
		}
		if i+1 < len(b) && b[i+1] < ' ' {
			return -1
		}
		i += 2
	}
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i
		case c < ' ':
			return -1
		case c == '\\':
			if i++; i < len(b) && b[i] < ' ' {
				return -1
			}
		}
	}
	return -1
}

// Skip returns the end of the value that starts at or after i, or -1. Inside
// objects and arrays only strings and brackets are looked at.
func Skip(b []byte, i int) int {
	i = Space(b, i)
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return String(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = String(b, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	}
	start := i
	for i < len(b) {
		switch b[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t':
			if i == start {
				return -1
			}
			return i
		case '"', '{', '[', ':':
			return -1
		}
		i++
	}
	return i
}

// Iter goes over the members of an object or the elements of an array. After Next
// the caller may look at the value from Val on, and may call Resume with its end
// if it has found it; otherwise the next Next skips the value.
type Iter struct {
	b     []byte
	i     int
	array bool
	first bool

	Comma int    // place of the comma before the member, -1 before the first
	Start int    // place of the member's name, or of the element
	Key   []byte // the name, as it is written
	Val   int    // start of the value
	end   int    // end of the value, -1 = not known yet
	Bad   bool   // the JSON is broken
}

// Object starts at b[i] == '{'.
func Object(b []byte, i int) Iter { return Iter{b: b, i: i + 1, first: true, end: i + 1} }

// Array starts at b[i] == '['.
func Array(b []byte, i int) Iter { return Iter{b: b, i: i + 1, first: true, array: true, end: i + 1} }

// Next goes to the next member. It returns false after the last one, and when the
// JSON is broken (Bad).
func (it *Iter) Next() bool {
	b := it.b
	if it.end < 0 {
		if it.end = Skip(b, it.Val); it.end < 0 {
			return it.bad()
		}
	}
	i := Space(b, it.end)
	if i >= len(b) {
		return it.bad()
	}
	c := b[i]
	if c == '}' && !it.array || c == ']' && it.array {
		it.i = i + 1
		return false
	}
	it.Comma = -1
	if !it.first {
		if c != ',' {
			return it.bad()
		}
		it.Comma = i
		if i = Space(b, i+1); i >= len(b) {
			return it.bad()
		}
	}
	it.first = false
	it.Start = i
	if !it.array {
		if b[i] != '"' {
			return it.bad()
		}
		e := String(b, i)
		if e < 0 {
			return it.bad()
		}
		it.Key = b[i+1 : e-1]
		if i = Space(b, e); i >= len(b) || b[i] != ':' {
			return it.bad()
		}
		if i = Space(b, i+1); i >= len(b) {
			return it.bad()
		}
	}
	it.Val, it.end = i, -1
	return true
}

func (it *Iter) bad() bool {
	it.Bad = true
	return false
}

// Byte is the first byte of the value.
func (it *Iter) Byte() byte { return it.b[it.Val] }

// Value returns the value's bytes, nil if it is broken.
func (it *Iter) Value() []byte {
	e := it.ValueEnd()
	if e <= it.Val { // broken: also where a comma stands in the place of a value
		return nil
	}
	return it.b[it.Val:e]
}

// ValueEnd is the place after the value, -1 if it is broken.
func (it *Iter) ValueEnd() int {
	if it.end < 0 {
		it.end = Skip(it.b, it.Val)
	}
	return it.end
}

// Resume tells where the value ends, once another Iter has gone over it.
func (it *Iter) Resume(end int) { it.end = end }

// ResumeAt sets the iteration to the value at val of a member whose place is known
// to be the same as in an object walked before. Comma, Start and Key are not set.
func (it *Iter) ResumeAt(val int) { it.first, it.Val, it.end = false, val, -1 }

// End is the place after the object or array, once Next has returned false and
// Bad is not set.
func (it *Iter) End() int { return it.i }

// Text returns the content of a string value, still escaped, and whether the value
// is a string.
func Text(v []byte) ([]byte, bool) {
	if len(v) < 2 || v[0] != '"' {
		return nil, false
	}
	return v[1 : len(v)-1], true
}

// MaxCount is the largest figure taken as a count.
const MaxCount = 1 << 40

// Count reads a count: digits only, nothing else. null is no count and not bad;
// everything else is bad (C9): a sign, a fraction, an exponent, text, a figure
// beyond MaxCount.
func Count(v []byte) (n int64, ok, bad bool) {
	if string(v) == "null" {
		return 0, false, false
	}
	if len(v) == 0 || len(v) > 13 {
		return 0, false, true
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false, true
		}
		n = n*10 + int64(c-'0')
	}
	if n > MaxCount {
		return 0, false, true
	}
	return n, true, false
}

// Null reports whether the value is null.
func Null(v []byte) bool { return string(v) == "null" }

// Truthy reports whether the value is neither null, false, 0, "" nor empty.
func Truthy(v []byte) bool {
	switch string(v) {
	case "null", "false", "0", `""`, "{}", "[]", "":
		return false
	}
	return true
}

// Patch copies a source to a destination with changes, in the order in which they
// stand in the source.
type Patch struct {
	Dst []byte
	Src []byte
	pos int
}

// Keep copies up to (not including) place to.
func (p *Patch) Keep(to int) {
	if to > p.pos {
		p.Dst = append(p.Dst, p.Src[p.pos:to]...)
		p.pos = to
	}
}

// Replace puts s in the place of the source from start to end.
func (p *Patch) Replace(start, end int, s []byte) {
	p.Keep(start)
	p.Dst = append(p.Dst, s...)
	p.pos = max(p.pos, end)
}

// Cut leaves the source from start to end out.
func (p *Patch) Cut(start, end int) {
	p.Keep(start)
	p.pos = max(p.pos, end)
}

// Pos is the place in the source behind what was changed last, 0 = nothing was.
func (p *Patch) Pos() int { return p.pos }

// Finish copies the rest and returns the destination.
func (p *Patch) Finish() []byte {
	p.Keep(len(p.Src))
	return p.Dst
}

// Cutter cuts members out of one object, commas right: the comma before a member
// goes with it, or, while nothing before it stays, the comma after it.
type Cutter struct {
	kept    bool
	pending bool // the member before was cut with nothing kept before it
	from    int
}

// Stay is called for each member that stays, before anything inside it is
// changed; Drop for each that goes; Done at the object's end with the place of its
// closing bracket.
func (c *Cutter) Stay(p *Patch, it *Iter) {
	if c.pending {
		p.Cut(c.from, it.Start)
		c.pending = false
	}
	c.kept = true
}

// Drop cuts the member that it stands at. It returns false if the JSON is broken.
func (c *Cutter) Drop(p *Patch, it *Iter) bool {
	end := it.ValueEnd()
	if end < 0 {
		return false
	}
	switch {
	case c.kept:
		p.Cut(it.Comma, end)
	case !c.pending:
		c.pending, c.from = true, it.Start
		p.Keep(it.Start)
	}
	return true
}

// Done ends the object whose closing bracket stands before end.
func (c *Cutter) Done(p *Patch, end int) {
	if c.pending {
		p.Cut(c.from, end-1)
		c.pending = false
	}
}

// Contains reports whether b holds word as a substring.
func Contains(b []byte, word string) bool {
	n := len(word)
	if n == 0 {
		return true
	}
	for i := 0; ; {
		j := bytes.IndexByte(b[i:], word[0])
		if j < 0 || i+j+n > len(b) {
			return false
		}
		i += j
		if string(b[i:i+n]) == word {
			return true
		}
		i++
	}
}

// Get is the value of one member of the object v, nil if it has none or that is null.
func Get(v []byte, name string) (found []byte) {
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	it := Object(v, 0)
	for it.Next() {
		if string(it.Key) == name {
			if found = it.Value(); Null(found) {
				found = nil
			}
		}
	}
	return found
}

// TextOf is the text of one member of the object v, nil if it is none.
func TextOf(v []byte, name string) []byte {
	s, _ := Text(Get(v, name))
	return s
}
