package usage

// dashScopeTop takes the members of DashScope's own answers and events. The usage of
// each event holds all before it.
func dashScopeTop(r *Reader, key, v []byte) {
	if string(key) == "usage" {
		r.object(v, dashScopeUsage)
	}
}

func dashScopeUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "input_tokens":
		r.count(v, &f.in)
	case "output_tokens":
		r.count(v, &f.out)
	case "total_tokens":
		r.count(v, &f.total)
	case "image_tokens":
		r.count(v, &f.imageIn)
	case "audio_tokens":
		r.count(v, &f.audioIn)
	case "prompt_tokens_details", "input_tokens_details":
		r.each(v, inputDetails)
	case "output_tokens_details":
		r.each(v, outputDetails)
	case "plugins":
		r.each(v, plugins)
	}
}

func plugins(r *Reader, key, v []byte) {
	f := &r.work
	if len(v) == 0 || v[0] != '{' {
		return
	}
	n := orNull(member(v, "count"))
	switch string(key) {
	case "search":
		r.count(n, &f.searches)
	case "image_search":
		note(n, &f.imageSearches)
	case "code_interpreter":
		note(n, &f.codeRuns)
	}
}

// dashScope: uncached = input - cached - cache creation, output = output_tokens. A
// total alone is input (embeddings, rerank).
func (s *state) dashScope(u *Units) bool {
	in := s.in
	if in < 0 && s.out < 0 {
		in = s.total
	}
	if !s.seen || in < 0 && s.out < 0 {
		return false
	}
	s.split(u, in, s.out, s.read, s.write, 0)
	return true
}
