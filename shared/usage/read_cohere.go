package usage

// cohereTop takes the members of Cohere's answers and events, and of reranks: usage
// stands at the top, in the delta of the last event, or in meta.
func cohereTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "usage":
		r.object(v, cohereUsage)
	case "meta": // of others it may be anything
		if len(v) > 0 && v[0] == '{' {
			r.object(v, cohereUsage)
		}
	case "delta":
		r.each(v, cohereDelta)
	}
}

func cohereDelta(r *Reader, key, v []byte) {
	if string(key) == "usage" {
		r.object(v, cohereUsage)
	}
}

func cohereUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "billed_units":
		r.each(v, billed)
	case "tokens":
		r.each(v, cohereTokens)
	case "cached_tokens":
		r.count(v, &f.read)
	case "total_tokens": // Jina, Voyage
		r.count(v, &f.total)
	case "prompt_tokens":
		r.count(v, &f.in)
	}
}

func billed(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "input_tokens":
		r.double(v, &f.billedIn)
	case "output_tokens":
		r.double(v, &f.billedOut)
	case "search_units":
		r.double(v, &f.searchUnits)
	}
}

func cohereTokens(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "input_tokens":
		r.double(v, &f.in)
	case "output_tokens":
		r.double(v, &f.out)
	case "reasoning_tokens":
		r.double(v, &f.reasoning)
	}
}

// double takes a figure that Cohere's own description calls a floating-point number:
// a fraction of nothing but zeros is none.
func (r *Reader) double(v []byte, n *int64) {
	for i, c := range v {
		if c != '.' {
			continue
		}
		zeros := v[i+1:]
		for len(zeros) > 0 && zeros[0] == '0' {
			zeros = zeros[1:]
		}
		if len(zeros) == 0 && i+1 < len(v) {
			v = v[:i]
		}
		break
	}
	r.count(v, n)
}

// cohere: what is billed is what is said to be billed, not what the model read; a
// rerank is billed by the search, or by tokens where only those are told. Without
// billed units the tokens count.
func (s *state) cohere(u *Units) bool {
	if !s.seen {
		return false
	}
	switch {
	case s.billedIn >= 0 || s.billedOut >= 0 || s.searchUnits >= 0:
		u[Input], u[Output], u[Searches] = max(0, s.billedIn), max(0, s.billedOut), max(0, s.searchUnits)
	case s.in >= 0 || s.out >= 0:
		s.split(u, s.in, s.out, s.read, 0, 0)
	case s.total >= 0:
		u[Input] = s.total
	default:
		return false
	}
	return true
}
