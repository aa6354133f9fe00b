package usage

// chatTop takes the members of a Chat answer or chunk. Usage stands at the top, in a
// choice (Kimi) or in Groq's own member; choices are long and nearly never hold it, so
// they are looked into only when nothing else did.
func chatTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "usage":
		r.chatObject(v)
	case "x_groq":
		r.each(v, groq)
	case "choices":
		r.held = v
	}
}

// chatObject takes a usage object that makes looking into the choices needless.
func (r *Reader) chatObject(v []byte) {
	r.object(v, chatUsage)
	r.found = r.found || len(v) > 0 && v[0] == '{'
}

func groq(r *Reader, key, v []byte) {
	if string(key) == "usage" {
		r.chatObject(v)
	}
}

// choices looks for the usage that Kimi puts into a choice.
func (r *Reader) choices() {
	if r.found || len(r.held) == 0 || r.held[0] != '[' {
		return
	}
	m := inside(r.held, 0)
	for m.next() {
		r.each(m.value(), choice)
	}
	r.broken = r.broken || m.bad
}

func choice(r *Reader, key, v []byte) {
	if string(key) == "usage" && len(v) > 0 && v[0] == '{' {
		r.object(v, chatUsage)
	}
}

func chatUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "prompt_tokens":
		r.count(v, &f.in)
	case "completion_tokens":
		r.count(v, &f.out)
	case "total_tokens":
		r.count(v, &f.total)
	case "cached_tokens", "num_cached_tokens": // Kimi; Mistral, older
		r.count(v, &f.read)
	case "prompt_cache_hit_tokens": // DeepSeek
		r.count(v, &f.hit)
	case "prompt_cache_miss_tokens":
		r.count(v, &f.miss)
	case "reasoning_tokens": // Perplexity
		r.count(v, &f.reasoning)
	case "prompt_tokens_details":
		r.each(v, inputDetails)
	case "completion_tokens_details":
		r.each(v, outputDetails)
	case "num_search_queries", "num_sources_used": // Perplexity; xAI
		r.count(v, &f.searches)
	case "server_tool_use": // OpenRouter
		r.each(v, serverTools)
	case "prompt_audio_seconds": // Mistral
		note(v, &f.seconds)
	}
}

func inputDetails(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "cached_tokens":
		r.count(v, &f.read)
	case "cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens":
		r.count(v, &f.write)
	case "audio_tokens":
		r.count(v, &f.audioIn)
	case "image_tokens":
		r.count(v, &f.imageIn)
	}
}

func outputDetails(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "reasoning_tokens":
		r.count(v, &f.reasoning)
	case "audio_tokens":
		r.count(v, &f.audioOut)
	case "image_tokens":
		r.count(v, &f.imageOut)
	}
}

func serverTools(r *Reader, key, v []byte) {
	switch string(key) {
	case "web_search_requests":
		r.count(v, &r.work.searches)
	case "web_fetch_requests":
		note(v, &r.work.fetches)
	}
}

// chat: uncached = prompt - cached - cache_write, output = completion. hidden: what
// the total says beyond both is output that the answer does not show.
func (s *state) chat(u *Units, hidden bool) bool {
	if !s.seen || s.in < 0 && s.out < 0 {
		return false
	}
	in, out := max(0, s.in), max(0, s.out)
	switch extra := s.total - in - out; {
	case extra <= 0:
	case hidden:
		out += extra
	case extra == s.reasoning:
		out += extra // xAI: reasoning beside completion
	case extra == s.audioIn:
		in += extra // Mistral: audio beside the prompt
	}
	read := s.read
	if s.hit >= 0 && s.miss >= 0 && s.hit+s.miss == in {
		read = s.hit
	}
	s.split(u, in, out, read, s.write, 0)
	return true
}

// embeddings: all is input, and a total alone is it (Voyage).
func (s *state) embeddings(u *Units) bool {
	in := s.in
	if in < 0 {
		in = s.total
	}
	if !s.seen || in < 0 {
		return false
	}
	s.split(u, in, s.out, s.read, s.write, 0)
	return true
}

// responsesTop takes the members of a Responses answer or event.
func responsesTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "type":
		r.kind = word(v)
	case "response":
		r.each(v, response)
	case "item":
		r.each(v, itemMember)
	default:
		response(r, key, v)
	}
}

func response(r *Reader, key, v []byte) {
	switch string(key) {
	case "usage":
		r.object(v, responsesUsage)
	case "output":
		r.output(v)
	case "tool_usage":
		r.each(v, toolUsage)
	}
}

func toolUsage(r *Reader, key, v []byte) {
	if string(key) == "web_search" {
		r.each(v, webSearch)
	}
}

func webSearch(r *Reader, key, v []byte) {
	if string(key) == "num_requests" {
		r.count(v, &r.work.told)
	}
}

// item is what of an output item tells which tool of the provider it was.
type item struct{ kind, action []byte }

// itemMember reads a member of an item.
func itemMember(r *Reader, key, v []byte) {
	switch string(key) {
	case "type":
		r.item.kind = word(v)
	case "action":
		r.each(v, itemAction)
	}
}

func itemAction(r *Reader, key, v []byte) {
	if string(key) == "type" {
		r.item.action = word(v)
	}
}

// add counts the item. Of the steps of a web search those that open a page or look
// into it cost nothing beside their tokens.
func (i *item) add(searches, files, runs *int64) {
	switch string(i.kind) {
	case "web_search_call":
		if len(i.action) == 0 || string(i.action) == "search" {
			*searches++
		}
	case "file_search_call":
		*files++
	case "code_interpreter_call":
		*runs++
	}
}

// output counts the items of a whole answer, or of the event that ends a stream.
func (r *Reader) output(v []byte) {
	if len(v) == 0 || v[0] != '[' {
		return
	}
	var searches, files, runs int64
	m := inside(v, 0)
	for m.next() {
		r.item = item{}
		r.each(m.value(), itemMember)
		r.item.add(&searches, &files, &runs)
	}
	r.item = item{}
	r.broken = r.broken || m.bad
	r.work.queries = max(r.work.queries, searches)
	r.work.files, r.work.runs = max(r.work.files, files), max(r.work.runs, runs)
}

func responsesUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "input_tokens":
		r.count(v, &f.in)
	case "output_tokens":
		r.count(v, &f.out)
	case "total_tokens":
		r.count(v, &f.total)
	case "input_tokens_details", "input_token_details": // the second: transcriptions
		r.each(v, inputDetails)
	case "output_tokens_details", "output_token_details":
		r.each(v, outputDetails)
	case "server_side_tool_usage_details": // xAI
		r.each(v, sideTools)
	}
}

func sideTools(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "web_search_calls", "x_search_calls", "document_search_calls":
		r.more(v, &f.searches)
	case "file_search_calls":
		note(v, &f.fileSearches)
	case "code_interpreter_calls":
		note(v, &f.codeRuns)
	}
}

// responses: uncached = input - cached - cache_write, output = output_tokens.
func (s *state) responses(u *Units) bool {
	if !s.seen || s.in < 0 && s.out < 0 {
		return false
	}
	s.split(u, s.in, s.out, s.read, s.write, 0)
	switch {
	case s.searches >= 0:
	case s.told >= 0:
		u[Searches] = s.told
	default:
		u[Searches] = max(s.queries, s.done)
	}
	return true
}

// audioTop takes the members of a transcription or of an event of speech.
func audioTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "usage":
		r.object(v, audioUsage)
	case "duration": // verbose_json
		if n, ok, _ := upTo(v); ok {
			r.work.duration = n
		}
	}
}

func audioUsage(r *Reader, key, v []byte) {
	switch string(key) {
	case "seconds":
		n, ok, bad := upTo(v)
		if ok {
			r.work.seconds = n
		}
		r.work.impossible = r.work.impossible || bad
	case "input_tokens", "output_tokens", "input_token_details", "input_tokens_details", "output_tokens_details", "output_token_details":
		responsesUsage(r, key, v)
	default:
		chatUsage(r, key, v) // Mistral
	}
}

// transcription: tokens where the provider says them, else seconds, never both: the
// same audio is counted once.
func (s *state) transcription(u *Units) bool {
	switch {
	case s.in >= 0 || s.out >= 0:
		return s.chat(u, false)
	case s.seconds >= 0:
		u[Seconds] = s.seconds
	case s.duration >= 0:
		u[Seconds] = s.duration
	default:
		return false
	}
	return true
}

// speech: what comes out is audio.
func (s *state) speech(u *Units) bool {
	if !s.seen || s.in < 0 && s.out < 0 {
		return false
	}
	f := s.figures
	f.audioOut = f.out
	f.split(u, f.in, f.out, f.read, f.write, 0)
	return true
}

// imagesTop takes the members of an answer with images, or of an event of one.
func imagesTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "type":
		r.kind = word(v)
	case "usage":
		r.object(v, responsesUsage)
	case "data":
		if len(v) == 0 || v[0] != '[' {
			return
		}
		n := int64(0)
		m := inside(v, 0)
		for m.next() {
			n++
		}
		r.broken = r.broken || m.bad
		r.work.images = max(r.work.images, n)
	}
}

// pictures: tokens where the provider says them, else images, never both. An output
// whose parts are not told is image.
func (s *state) pictures(u *Units) bool {
	if s.seen && (s.in >= 0 || s.out >= 0) {
		f := s.figures
		if f.imageOut < 0 {
			f.imageOut = f.out
		}
		f.split(u, f.in, f.out, f.read, f.write, 0)
		return true
	}
	u[Images] = s.images
	return s.images > 0
}
