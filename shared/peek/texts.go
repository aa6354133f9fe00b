package peek

import "strconv"

// prompts reads what a request for completions wants completed.
func (s *scanner) prompts() bool {
	n, ok := s.texts("prompt")
	if ok && n > MaxPrompts {
		return s.refuse("prompt", "The field 'prompt' has more than "+strconv.Itoa(MaxPrompts)+" prompts.")
	}
	s.r.Prompts = int64(n)
	return ok
}

// texts reads one text or several: a string, an array of strings, of whole numbers
// (tokens, one text), or of arrays of those. Each text and each token has at least one
// byte, so the body's size bounds them; parts of any other kind (images of multimodal
// models) have no such bound and are refused, as is an empty list.
func (s *scanner) texts(name string) (n int, ok bool) {
	if s.next() == '"' {
		start, end, _, ok := s.str()
		if ok && start == end {
			return 0, s.badText(name)
		}
		return 1, ok
	}
	n, flat, ok := s.list(name, 1)
	if flat {
		n = 1
	}
	return n, ok
}

func (s *scanner) badText(name string) bool {
	return s.refuse(name, "The field '"+name+"' must be a string, tokens, or a list of strings or of tokens, and not empty.")
}

// list reads an array of texts, or of tokens (flat).
func (s *scanner) list(name string, depth int) (n int, flat, ok bool) {
	if s.next() != '[' {
		return 0, false, s.badText(name)
	}
	if !s.open(depth) {
		return 0, false, false
	}
	var kind byte // of all elements
	for ; s.element(n == 0); n++ {
		c := s.next()
		if c >= '0' && c <= '9' {
			c = '0'
		}
		if kind == 0 {
			kind = c
		}
		switch {
		case c != kind:
			return 0, false, s.badText(name)
		case c == '"' && depth == 1:
			if _, _, _, ok := s.str(); !ok {
				return 0, false, false
			}
		case c == '0':
			if at := s.i; !s.number() || digits(s.b, at) != s.i {
				return 0, false, s.badText(name)
			}
		case c == '[' && depth == 1:
			if _, _, ok := s.list(name, 2); !ok {
				return 0, false, false
			}
		default:
			return 0, false, s.badText(name)
		}
	}
	if s.err == nil && n == 0 {
		return 0, false, s.badText(name)
	}
	return n, kind == '0', s.err == nil
}
