// Package words finds the words of a list in a text that comes in pieces, whatever their
// case. Where the text is cut changes nothing.
package words

import (
	"unicode"
	"unicode/utf8"
)

// List is a compiled list of words: a trie over folded characters. It is immutable and
// shared by all who look for the same words.
type List struct {
	nodes []node
	first [256]bool // bytes that a word may begin with
	long  int       // the most bytes that an occurrence may have
}

type node struct {
	next map[rune]int32
	word bool
}

// New compiles words; empty ones are left out.
func New(list []string) *List {
	l := &List{nodes: []node{{}}}
	for _, w := range list {
		at := int32(0)
		for _, r := range w {
			r = fold(r)
			next, ok := l.nodes[at].next[r]
			if !ok {
				next = int32(len(l.nodes))
				if l.nodes[at].next == nil {
					l.nodes[at].next = map[rune]int32{}
				}
				l.nodes[at].next[r] = next
				l.nodes = append(l.nodes, node{})
			}
			at = next
		}
		if at != 0 {
			l.nodes[at].word = true
			l.long = max(l.long, utf8.UTFMax*utf8.RuneCountInString(w))
		}
	}
	for r := range l.nodes[0].next {
		for other, more := r, true; more; { // every case of it
			var b [utf8.UTFMax]byte
			utf8.EncodeRune(b[:], other)
			l.first[b[0]] = true
			other = unicode.SimpleFold(other)
			more = other != r
		}
	}
	return l
}

// fold is the smallest of the characters that differ in case only.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r != 'k' && r != 's' && r != 'K' && r != 'S' {
			return r
		}
	}
	low := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		low = min(low, other)
	}
	return low
}

// MaxHeld is the most bytes that a Filter of the list keeps back.
func (l *List) MaxHeld() int { return l.long + utf8.UTFMax }

// Filter looks for a list's words in one text. A word of letters is found where no
// letter stands before or behind it, words of scripts without spaces anywhere.
type Filter struct {
	List  *List // nil: nothing is looked for
	Mask  bool  // words are replaced
	Found bool  // some word was found

	held []byte
	prev rune // the character before it, 0 at the text's beginning
}

// Reset makes f ready for another text; what was found stays.
func (f *Filter) Reset() { f.held, f.prev = f.held[:0], 0 }

// Held is how many bytes are kept back.
func (f *Filter) Held() int { return len(f.held) }

const shown = "[word]" // in the place of one

// Append appends to dst what of the text up to now may be shown. With last nothing
// follows, and nothing is kept.
func (f *Filter) Append(dst, text []byte, last bool) []byte {
	if f.List == nil {
		return append(dst, text...)
	}
	b := text
	joined := len(f.held) > 0
	if joined {
		f.held = append(f.held, text...)
		b = f.held
	}
	i, out := 0, 0
	for i < len(b) {
		if !last && !utf8.FullRune(b[i:]) {
			break
		}
		r, size := utf8.DecodeRune(b[i:])
		if f.List.first[b[i]] && (!joins(r) || !joins(f.prev)) {
			n, wait := f.List.at(b[i:], last)
			if wait {
				break
			}
			if n > 0 {
				f.Found = true
				if f.Mask {
					dst = append(dst, b[out:i]...)
					dst = append(dst, shown...)
					out = i + n
				}
				i += n
				f.prev, _ = utf8.DecodeLastRune(b[:i])
				continue
			}
		}
		f.prev = r
		i += size
	}
	dst = append(dst, b[out:i]...)
	if joined {
		f.held = f.held[:copy(f.held, b[i:])]
	} else {
		f.held = append(f.held[:0], b[i:]...)
	}
	return dst
}

// joins reports whether a letter belongs to a word of several: letters of scripts that
// write spaces between words, and digits.
func joins(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsDigit(r)) && !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// at is the length of the longest word at the beginning of b, 0 = none. wait: what
// follows decides.
func (l *List) at(b []byte, last bool) (n int, wait bool) {
	state := int32(0)
	for i := 0; ; {
		if i == len(b) || !last && !utf8.FullRune(b[i:]) {
			if !last {
				return 0, true
			}
			if l.nodes[state].word {
				n = i
			}
			return n, false
		}
		r, size := utf8.DecodeRune(b[i:])
		if l.nodes[state].word {
			if before, _ := utf8.DecodeLastRune(b[:i]); !joins(before) || !joins(r) {
				n = i
			}
		}
		next, ok := l.nodes[state].next[fold(r)]
		if !ok {
			return n, false
		}
		state = next
		i += size
	}
}
