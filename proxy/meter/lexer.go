package meter

import "unicode/utf8"

// Lexer counts the text of JSON that passes in pieces too large to be read as a
// whole: every string value, names left out. The zero value starts at the start of
// an event. Pieces may be cut anywhere.
type Lexer struct {
	before  byte // last byte outside strings that is no space
	inText  bool
	value   bool // the string is a value
	escaped bool // the byte before was a backslash
	hex     int8 // digits of \uXXXX still to come
	code    rune
}

// Count adds the string values of chunk to c.
func (l *Lexer) Count(c *Count, chunk []byte) {
	for _, b := range chunk {
		switch {
		case !l.inText:
			switch b {
			case '"':
				l.inText = true
				l.value = l.before == ':' || l.before == '['
			case ' ', '\n', '\r', '\t':
			default:
				l.before = b
			}
		case l.hex > 0:
			l.code = l.code<<4 | hex4([]byte{b})
			if l.hex--; l.hex == 0 && l.value && (l.code < 0xdc00 || l.code >= 0xe000) {
				c.addRune(l.code)
			}
		case l.escaped:
			l.escaped = false
			if b == 'u' {
				l.hex, l.code = 4, 0
			} else if l.value {
				c.ASCII++
			}
		case b == '\\':
			l.escaped = true
		case b == '"':
			l.inText = false
			l.before = '"'
		case !l.value:
		case b < utf8.RuneSelf:
			c.ASCII++
		case b >= 0xf0:
			c.Four++
		case b >= 0xe0:
			c.Three++
		case b >= 0xc0:
			c.Two++
		}
	}
}
