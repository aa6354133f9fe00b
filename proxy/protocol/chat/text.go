package chat

import (
	"encoding/json"
	"unicode/utf8"
)

// AppendText appends an escaped text as a JSON string. Texts of an upstream are
// not trusted to be well formed: what is no valid escape, a control character, or
// no UTF-8 would break the frame that they are put into.
func AppendText(dst, raw []byte) []byte {
	dst = append(dst, '"')
	dst = AppendInner(dst, raw)
	return append(dst, '"')
}

// AppendInner is AppendText without the quotes.
func AppendInner(dst, raw []byte) []byte {
	start := 0
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '\\':
			if n := escape(raw[i:]); n > 0 {
				i += n
				continue
			}
			dst = append(dst, raw[start:i]...)
			i++
			start = i
		case c < 0x20 || c == '"':
			dst = append(dst, raw[start:i]...)
			dst = appendEscaped(dst, c)
			i++
			start = i
		case c < utf8.RuneSelf:
			i++
		default:
			_, n := utf8.DecodeRune(raw[i:])
			if n == 1 {
				dst = append(dst, raw[start:i]...)
				dst = append(dst, "\ufffd"...)
				start = i + 1
			}
			i += n
		}
	}
	return append(dst, raw[start:]...)
}

// escape is the length of the escape at the start of b, 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex4(b[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// Escape appends the escaped form of a plain text, without quotes.
func Escape(dst, plain []byte) []byte {
	start := 0
	for i, c := range plain {
		if c < 0x20 || c == '"' || c == '\\' {
			dst = append(dst, plain[start:i]...)
			dst = appendEscaped(dst, c)
			start = i + 1
		}
	}
	return append(dst, plain[start:]...)
}

// AppendPlain appends a plain text as a JSON string.
func AppendPlain(dst, plain []byte) []byte {
	dst = append(dst, '"')
	dst = Escape(dst, plain)
	return append(dst, '"')
}

// Unescape appends the plain form of an escaped text. It never fails: what is no
// valid escape stays as it is.
func Unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		n := escape(raw[i:])
		if n == 0 {
			dst = append(dst, raw[i])
			i++
			continue
		}
		switch raw[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i+2 : i+6])
			if r >= 0xd800 && r < 0xdc00 && i+12 <= len(raw) && raw[i+6] == '\\' && raw[i+7] == 'u' {
				if low := hex4(raw[i+8 : i+12]); low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
					n = 12
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, raw[i+1])
		}
		i += n
	}
	return dst
}

// Blank reports whether a text holds nothing but white space.
func Blank(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case ' ', '\n', '\r', '\t':
		case '\\':
			if i+1 >= len(raw) || raw[i+1] != 'n' && raw[i+1] != 'r' && raw[i+1] != 't' {
				return false
			}
			i++
		default:
			return false
		}
	}
	return true
}

// Runes counts the characters of an escaped text.
func Runes(raw []byte) (n int64) {
	for i := 0; i < len(raw); n++ {
		switch {
		case raw[i] == '\\':
			i += max(1, escape(raw[i:]))
		case raw[i] < utf8.RuneSelf:
			i++
		default:
			_, w := utf8.DecodeRune(raw[i:])
			i += w
		}
	}
	return n
}

// Args follows the pieces of a tool call's arguments and knows when their JSON is
// complete. The zero value is ready. Pieces are escaped, and cut at no escape.
type Args struct {
	depth   int
	text    bool // inside a string
	escaped bool
	begun   bool
}

// Complete reports whether an object has begun and ended.
func (a *Args) Complete() bool { return a.begun && a.depth == 0 && !a.text }

// Feed takes the next piece.
func (a *Args) Feed(raw []byte) {
	for i := 0; i < len(raw); {
		c, n := raw[i], 1
		if c == '\\' {
			if n = escape(raw[i:]); n == 0 {
				n = 1
			} else if c = raw[i+1]; c == 'u' {
				c = 'x'
				if r := hex4(raw[i+2 : i+6]); r < utf8.RuneSelf {
					c = byte(r)
				}
			} else if c != '"' && c != '\\' && c != '/' {
				c = ' '
			}
		}
		i += n
		switch {
		case a.escaped:
			a.escaped = false
		case a.text:
			a.escaped = c == '\\'
			a.text = c != '"'
		case c == '"':
			a.text = true
		case c == '{' || c == '[':
			a.depth++
			a.begun = true
		case c == '}' || c == ']':
			a.depth--
		}
	}
}

// Valid reports whether b is one JSON text, which is UTF-8 (RFC 8259, 8.1): it may stand in
// another one as it is.
func Valid(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }
