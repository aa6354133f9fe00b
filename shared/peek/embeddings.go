package peek

import "tokenrelay/shared/apierr"

// embeddings refuses what a request for embeddings cannot have.
func (r *Request) embeddings(seen uint64) *apierr.Error {
	switch {
	case seen&(1<<fInput) == 0:
		return apierr.Invalid("input", "The field 'input' is missing.")
	case r.Stream:
		return apierr.Invalid("stream", "Embeddings are not streamed: leave 'stream' out.")
	case r.N > 0 || r.BestOf > 0:
		return apierr.Invalid("n", "Embeddings have no choices: leave 'n' and 'best_of' out.")
	case r.OutputCap() > 0:
		return apierr.Invalid("max_tokens", "Embeddings have no output tokens: leave 'max_tokens' and 'max_completion_tokens' out.")
	}
	return nil
}

const inputForms = "The field 'input' must be a string, tokens, or a list of strings or of tokens, and not empty."

// embeddingInput reads the texts or tokens to embed: a string, an array of strings,
// of whole numbers (tokens), or of arrays of those. Each text and each token has at
// least one byte, so the body's size bounds them; parts of any other kind (images of
// multimodal models) have no such bound and are refused.
func (s *scanner) embeddingInput() bool {
	if s.next() == '"' {
		start, end, _, ok := s.str()
		if ok && start == end {
			return s.refuse("input", inputForms)
		}
		return ok
	}
	return s.inputs(1)
}

func (s *scanner) inputs(depth int) bool {
	if s.next() != '[' {
		return s.refuse("input", inputForms)
	}
	if !s.open(depth) {
		return false
	}
	first := true
	var kind byte // of all elements
	for ; s.element(first); first = false {
		c := s.next()
		if c >= '0' && c <= '9' {
			c = '0'
		}
		if kind == 0 {
			kind = c
		}
		switch {
		case c != kind:
			return s.refuse("input", inputForms)
		case c == '"' && depth == 1:
			if _, _, _, ok := s.str(); !ok {
				return false
			}
		case c == '0':
			if at := s.i; !s.number() || digits(s.b, at) != s.i {
				return s.refuse("input", inputForms)
			}
		case c == '[' && depth == 1:
			if !s.inputs(2) {
				return false
			}
		default:
			return s.refuse("input", inputForms)
		}
	}
	if s.err == nil && first {
		return s.refuse("input", inputForms)
	}
	return s.err == nil
}
