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
