package protocol

import (
	"strings"
	"unicode/utf8"
)

// Hidden is what no client may read of who serves it, in whatever an upstream says. The
// strings must outlive the attempt.
type Hidden struct {
	// Host is the provider's domain or address, in lower case: each host name that it is
	// a part of goes. One of a single word goes only where a port follows, because it may
	// be any word.
	Host string
	// Parts are the provider key's secret and its pieces, each too long to be a word.
	Parts []string
	// Token is what a service account was exchanged for, "" = the key is sent itself.
	Token string
}

const removed = "[removed]"

// AppendClean appends the JSON-escaped text raw as a JSON string that a client may
// read: the upstream's model name becomes the client's, and what cfg hides or what looks
// like a key, an account, an organisation, a project or a link is taken out.
func AppendClean(dst, raw []byte, cfg *StreamConfig) []byte {
	dst = append(dst, '"')
	start := true // no word goes on here
	for i := 0; i < len(raw); {
		if n := cfg.Hidden.part(raw[i:]); n > 0 {
			dst = append(dst, removed...)
			i, start = i+n, false
			continue
		}
		if start {
			if n := eat(raw[i:], cfg.UpstreamModel, false); n > 0 && cfg.UpstreamModel != cfg.ClientModel && !nameGoesOn(raw[i+n:]) {
				s := AppendString(dst, cfg.ClientModel) // quotes go
				dst = append(s[:len(dst)], s[len(dst)+1:len(s)-1]...)
				i, start = i+n, false
				continue
			}
			n := secret(raw[i:])
			if n == 0 {
				n = cfg.Hidden.host(raw[i:])
			}
			if n > 0 {
				dst = append(dst, removed...)
				i, start = i+n, false
				continue
			}
		}
		c, n := char(raw[i:])
		start = !wordByte(c)
		switch b := raw[i]; {
		case b == '\\' && n == 1, b == '"', b < 0x20, b == 0x7f:
			dst = append(dst, ' ')
		case b < utf8.RuneSelf:
			dst = append(dst, raw[i:i+n]...)
		default:
			var r rune
			if r, n = utf8.DecodeRune(raw[i:]); r == utf8.RuneError && n == 1 {
				dst = append(dst, "\ufffd"...)
			} else {
				dst = append(dst, raw[i:i+n]...)
			}
		}
		i += n
	}
	return append(dst, '"')
}

// AppendCleanEvent appends an error event of a stream, or several lines of one, with its
// texts cleaned: those inside a member error, and those that stand in the event's own
// object. What the model said stays as it is.
func AppendCleanEvent(dst, ev []byte, cfg *StreamConfig) []byte {
	depth, within := 0, 0 // within: the depth of the error that is being read
	var key []byte
	for i := 0; i < len(ev); {
		switch c := ev[i]; c {
		case '"':
			n := 1
			for i+n < len(ev) && ev[i+n] != '"' && ev[i+n] != '\n' {
				if ev[i+n] == '\\' {
					n++
				}
				n++
			}
			if i+n >= len(ev) || ev[i+n] != '"' { // a comment, or no JSON
				n = min(n, len(ev)-i)
				dst = append(dst, ev[i:i+n]...)
				i += n
				continue
			}
			text := ev[i+1 : i+n]
			i += n + 1
			after := i
			for after < len(ev) && (ev[after] == ' ' || ev[after] == '\t') {
				after++
			}
			if after < len(ev) && ev[after] == ':' {
				key = text
				dst = append(append(append(dst, '"'), text...), '"')
				continue
			}
			if within > 0 || string(key) == "error" || depth == 1 && string(key) != "model" {
				dst = AppendClean(dst, text, cfg)
			} else {
				dst = append(append(append(dst, '"'), text...), '"')
			}
			continue
		case '{', '[':
			if depth++; within == 0 && string(key) == "error" {
				within = depth
			}
			key = nil
		case '}', ']':
			if depth--; depth < within {
				within = 0
			}
			key = nil
		}
		dst = append(dst, ev[i])
		i++
	}
	return dst
}

// char is the character that the escaped text b, which is not empty, begins with, and how
// many bytes stand for it. An ASCII character comes as itself, one of several bytes by its
// first, any other escape as a byte that is no part of a word. What is no escape is a
// backslash alone.
func char(b []byte) (c byte, n int) {
	if b[0] != '\\' {
		return b[0], 1
	}
	if !validEscape(b) {
		return ' ', 1
	}
	switch b[1] {
	case '/', '\\', '"':
		return b[1], 2
	case 'u':
		code := 0
		for _, h := range b[2:6] {
			d, _ := hex1(h)
			code = code<<4 | int(d)
		}
		if code < utf8.RuneSelf {
			return byte(code), 6
		}
		return utf8.RuneSelf, 6
	}
	return ' ', 2
}

// eat is how many bytes of the escaped text b stand for p, 0 if it does not begin with
// it. With fold p is in lower case, and the text's case does not matter.
func eat(b []byte, p string, fold bool) int {
	i := 0
	for j := range len(p) {
		if i >= len(b) {
			return 0
		}
		c, n := char(b[i:])
		if fold && c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != p[j] {
			return 0
		}
		i += n
	}
	return i
}

// part is the length of a piece of the key, or of its token, at the start of b.
func (h *Hidden) part(b []byte) int {
	if h == nil {
		return 0
	}
	for _, p := range h.Parts {
		if n := eat(b, p, false); n > 0 {
			return n
		}
	}
	return eat(b, h.Token, false)
}

// host is the length of the host name, and of what follows it as a link's path, at the
// start of the word b, if the provider's is a part of it.
func (h *Hidden) host(b []byte) int {
	if h == nil || h.Host == "" {
		return 0
	}
	if strings.IndexByte(h.Host, ':') >= 0 { // an address of IPv6
		n := eat(b, h.Host, true)
		if n == 0 || goesOn(b[n:]) {
			return 0
		}
		return linkEnd(b, n)
	}
	i, label, found := 0, true, false
	for i < len(b) {
		c, n := char(b[i:])
		if !wordByte(c) && c != '-' && c != '.' {
			break
		}
		if label && !found {
			m := eat(b[i:], h.Host, true)
			found = m > 0 && !goesOn(b[i+m:])
		}
		label = c == '.'
		i += n
	}
	if !found || strings.IndexByte(h.Host, '.') < 0 && !port(b[i:]) {
		return 0
	}
	return linkEnd(b, 0)
}

// goesOn reports whether a label or a number goes on with b.
func goesOn(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	c, _ := char(b)
	return wordByte(c) || c == '-'
}

// port reports whether b begins with one.
func port(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	c, n := char(b)
	if c != ':' || n >= len(b) {
		return false
	}
	c, _ = char(b[n:])
	return c >= '0' && c <= '9'
}

// linkEnd is where a link ends that has gone on to n: the sentence's own marks are not
// its own.
func linkEnd(b []byte, n int) int {
	end := n
	for n < len(b) {
		c, m := char(b[n:])
		if !wordByte(c) && strings.IndexByte("-.*/:#?=&%@+~", c) < 0 {
			break
		}
		if n += m; c != '.' && c != ':' && c != '?' {
			end = n
		}
	}
	return end
}

func validEscape(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if len(b) < 6 {
			return false
		}
		for _, c := range b[2:6] {
			if _, ok := hex1(c); !ok {
				return false
			}
		}
		return true
	}
	return false
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

// nameGoesOn reports whether a name goes on with b: a dot or dash counts only when a
// word follows it.
func nameGoesOn(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	c, n := char(b)
	if wordByte(c) {
		return true
	}
	if (c == '-' || c == '.' || c == ':') && n < len(b) {
		c, _ = char(b[n:])
		return wordByte(c)
	}
	return false
}

// secret returns the length of the word at the start of b if it looks like a key,
// an account or a link, else 0.
func secret(b []byte) int {
	for _, p := range [...]string{
		"sk-", "sk_", "org-", "org_", "proj_", "proj-", "AIza", "gsk_", "xai-", "pplx-", "nvapi-", "acct_",
		"acc-", "key-", "key_", "req_", "https://", "http://", "arn:", "projects/", "Bearer ",
	} {
		n := eat(b, p, false)
		if n == 0 || len(b) < n+3 {
			continue
		}
		return linkEnd(b, n)
	}
	return 0
}
