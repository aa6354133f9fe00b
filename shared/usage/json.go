package usage

import (
	"encoding/binary"
	"math/bits"
)

// What stands here walks the JSON of an answer in place: no tree, no copies, nothing
// allocated. It is tolerant where tolerance harms nobody and says so when it cannot
// go on. Names of members are compared as they are written, escapes unread.

// members goes over the members of an object or the elements of an array.
type members struct {
	b     []byte
	at    int // end of the value before, -1 = not known yet
	array bool
	first bool

	key []byte // the name, as it is written; nil in an array
	val int    // start of the value
	end int    // place after the closing bracket, once next has returned false
	bad bool   // the JSON is broken
}

// inside starts at b[i], which is '{' or '['.
func inside(b []byte, i int) members {
	return members{b: b, at: i + 1, array: b[i] == '[', first: true}
}

// next goes to the next member. It returns false after the last one, and when the
// JSON is broken.
func (m *members) next() bool {
	if m.at < 0 {
		if m.at = skip(m.b, m.val); m.at < 0 {
			m.bad = true
			return false
		}
	}
	i := space(m.b, m.at)
	if i < len(m.b) && (m.b[i] == '}' && !m.array || m.b[i] == ']' && m.array) {
		m.end = i + 1
		return false
	}
	if !m.first {
		if i >= len(m.b) || m.b[i] != ',' {
			m.bad = true
			return false
		}
		i = space(m.b, i+1)
	}
	m.first = false
	if !m.array {
		if i >= len(m.b) || m.b[i] != '"' {
			m.bad = true
			return false
		}
		e := text(m.b, i)
		if e < 0 {
			m.bad = true
			return false
		}
		m.key = m.b[i+1 : e-1]
		if i = space(m.b, e); i >= len(m.b) || m.b[i] != ':' {
			m.bad = true
			return false
		}
		i = space(m.b, i+1)
	}
	if i >= len(m.b) {
		m.bad = true
		return false
	}
	m.val, m.at = i, -1
	return true
}

// value returns the value's bytes, nil if it is broken.
func (m *members) value() []byte {
	if m.at < 0 {
		if m.at = skip(m.b, m.val); m.at < 0 {
			return nil
		}
	}
	return m.b[m.val:m.at]
}

// space returns the first place at or after i that is no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// text returns the place after the string that starts at b[i] == '"', or -1. Eight
// bytes are looked at in a step: a quote or a backslash makes one of them zero.
func text(b []byte, i int) int {
	i++
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			q, e := x^(ones*'"'), x^(ones*'\\')
			if stop := ((q-ones)&^q | (e-ones)&^e) & highs; stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		switch {
		case i >= len(b):
			return -1
		case b[i] == '"':
			return i + 1
		case b[i] == '\\':
			i += 2
		default:
			i++
		}
	}
}

// skip returns the end of the value that starts at i, or -1. Inside objects and
// arrays only strings and brackets are looked at.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return text(b, i)
	case '{', '[':
		for depth := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				if i = text(b, i); i < 0 {
					return -1
				}
				i--
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return -1
	}
	start := i
	for ; i < len(b); i++ {
		switch b[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t':
			if i == start {
				return -1
			}
			return i
		case '"', '{', '[', ':':
			return -1
		}
	}
	return i
}

// word returns the content of a string value, still escaped; nil if it is none.
func word(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	return v[1 : len(v)-1]
}

// maxCount is the largest figure taken as a count, whatever it counts.
const maxCount = 1 << 40

// whole reads a count: digits only. null is no count and not bad; everything else is
// bad: a sign, a fraction, an exponent, text, a figure beyond maxCount (C9).
func whole(v []byte) (n int64, ok, bad bool) {
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
	if n > maxCount {
		return 0, false, true
	}
	return n, true, false
}

// upTo reads a figure that may have a fraction, quoted or not, and rounds it up to a
// whole one: lengths of audio are billed by the second begun.
func upTo(v []byte) (n int64, ok, bad bool) {
	if w := word(v); w != nil {
		v = w
	}
	i := 0
	for i < len(v) && v[i] != '.' {
		i++
	}
	n, ok, bad = whole(v[:i])
	if !ok || i == len(v) {
		return n, ok, bad
	}
	if i+1 == len(v) {
		return 0, false, true
	}
	var rest bool
	for _, c := range v[i+1:] {
		if c < '0' || c > '9' {
			return 0, false, true
		}
		rest = rest || c != '0'
	}
	if rest {
		n++
	}
	return n, true, false
}
