package peek

import (
	"unicode/utf8"

	"tokenrelay/shared/apierr"
)

// like finds the name that some parser may read the key raw as: after unescaping, and
// with letters that fold to each other taken as equal. exact says that the key is the
// name byte for byte; n is -1 where it is none of the names.
func like(raw []byte, escaped bool, names []string) (n int, exact bool) {
	if !escaped {
		for n, name := range names {
			if string(raw) == name {
				return n, true
			}
		}
	}
	var folded [maxKey]byte
	nf := 0
	for i := 0; i < len(raw); {
		r, size := rune(raw[i]), 1
		switch {
		case r == '\\':
			r, size = unescape(raw[i:])
		case r >= utf8.RuneSelf:
			r, size = utf8.DecodeRune(raw[i:])
		}
		i += size
		switch {
		case r == '\u017f': // long s
			r = 's'
		case r == '\u212a': // kelvin sign
			r = 'k'
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		}
		if nf+utf8.UTFMax > maxKey {
			return -1, false
		}
		nf += utf8.EncodeRune(folded[nf:], r)
	}
	for n, name := range names {
		if foldsTo(folded[:nf], name) {
			return n, false
		}
	}
	return -1, false
}

// object reads the object at s.i, at a depth of so many objects and arrays around it. Of
// its members those with one of the names are given to take, which reads the value at
// s.i; each of them occurs once and is spelled plainly. at is where the object stands,
// for errors. seen has a bit per name.
func (s *scanner) object(depth int, at string, names []string, take func(n, depth int) bool) (seen uint64, ok bool) {
	if s.next() != '{' {
		return 0, s.fail("expected an object")
	}
	if !s.open(depth) {
		return 0, false
	}
	for first := true; ; first = false {
		start, end, escaped, more := s.member(first)
		if !more {
			return seen, s.err == nil
		}
		n, exact := like(s.b[start:end], escaped, names)
		if n >= 0 {
			name := names[n]
			switch {
			case seen&(1<<n) != 0:
				return seen, s.refuse(at+name, "The field '"+at+name+"' occurs more than once.")
			case !exact:
				return seen, s.refuse(at+name, "A field is spelled like '"+at+name+"' but not plainly; use the exact name.")
			}
			seen |= 1 << n
		}
		s.ws()
		ok := false
		if n >= 0 {
			ok = take(n, depth+1)
		} else {
			ok = s.value(depth + 1)
		}
		if !ok {
			return seen, false
		}
	}
}

// body reads a whole body that is one object; see object.
func (s *scanner) body(names []string, take func(n, depth int) bool) (seen uint64, err *apierr.Error) {
	if len(s.b) >= 3 && string(s.b[:3]) == "\xef\xbb\xbf" {
		s.fail("byte order mark")
		return 0, s.err
	}
	seen, ok := s.object(0, "", names, take)
	if ok {
		if s.next(); s.i != len(s.b) {
			s.fail("data after the object")
		}
	}
	return seen, s.err
}

// plain reads a string that has no escapes, of at most so many bytes, or null (nil).
func (s *scanner) plain(name string, most int, v *[]byte) bool {
	switch s.next() {
	case 'n':
		return s.literal("null")
	case '"':
		start, end, escaped, ok := s.str()
		if !ok {
			return false
		}
		if escaped || end-start > most {
			return s.refuse(name, "The field '"+name+"' has an unknown value.")
		}
		*v = s.b[start:end]
		return true
	}
	return s.refuse(name, "The field '"+name+"' must be a string.")
}

// missing refuses a body without a field.
func missing(name string) *apierr.Error {
	return apierr.Invalid(name, "The field '"+name+"' is missing.")
}

// characters is the number of characters of a JSON string's content: an escape is one,
// and so is a pair of surrogates.
func characters(raw []byte) (n int64) {
	for i := 0; i < len(raw); n++ {
		switch c := raw[i]; {
		case c == '\\':
			_, size := unescape(raw[i:])
			i += size
		case c < utf8.RuneSelf:
			i++
		default:
			_, size := utf8.DecodeRune(raw[i:])
			i += size
		}
	}
	return n
}
