package usage

// geminiTop takes the members of a Gemini answer or event. Each event's usage stands
// for all before it: no sum, no largest one (protocols 6).
func geminiTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "usageMetadata":
		r.object(v, geminiUsage)
	case "candidates":
		r.grounded(v)
	}
}

func geminiUsage(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "promptTokenCount":
		r.count(v, &f.in)
	case "candidatesTokenCount":
		r.count(v, &f.out)
	case "thoughtsTokenCount":
		r.count(v, &f.reasoning)
	case "toolUsePromptTokenCount":
		r.count(v, &f.toolIn)
	case "cachedContentTokenCount":
		r.count(v, &f.read)
	case "totalTokenCount":
		r.count(v, &f.total)
	case "promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails": // the second: embeddings
		r.modalities(v, &f.audioIn, &f.imageIn)
	case "cacheTokensDetails":
		r.modalities(v, &f.cachedAudio, &f.cachedImage)
	case "candidatesTokensDetails":
		r.modalities(v, &f.audioOut, &f.imageOut)
	}
}

// modalities adds up the audio and the images of a list of modalities. The rest is
// not read: the list need not add up to its count.
func (r *Reader) modalities(v []byte, audio, image *int64) {
	if len(v) == 0 || v[0] != '[' {
		return
	}
	m := inside(v, 0)
	for m.next() {
		t := m.value()
		if len(t) == 0 || t[0] != '{' {
			continue
		}
		n := orNull(member(t, "tokenCount"))
		switch string(word(member(t, "modality"))) {
		case "AUDIO":
			r.more(n, audio)
		case "IMAGE":
			r.more(n, image)
		}
	}
	r.broken = r.broken || m.bad
}

// orNull makes a member that is not there one that says nothing.
func orNull(v []byte) []byte {
	if v == nil {
		return null
	}
	return v
}

var null = []byte("null")

// grounded counts the queries with which candidates were grounded: each once, and
// not those without any text, as they are billed.
func (r *Reader) grounded(v []byte) {
	if len(v) == 0 || v[0] != '[' {
		return
	}
	n := int64(0)
	m := inside(v, 0)
	for m.next() {
		t := m.value()
		if len(t) == 0 || t[0] != '{' {
			continue
		}
		g := member(t, "groundingMetadata")
		if len(g) == 0 || g[0] != '{' {
			continue
		}
		list := member(g, "webSearchQueries")
		if len(list) == 0 || list[0] != '[' {
			continue
		}
		q := inside(list, 0)
		for at := 0; q.next(); at++ {
			if query := q.value(); len(word(query)) > 0 && !earlier(list, query, at) {
				n++
			}
		}
	}
	r.broken = r.broken || m.bad
	r.work.queries = max(r.work.queries, n)
}

// maxUnique is how many queries are compared: a list beyond it is no honest one, and
// costs no more time for it.
const maxUnique = 64

// earlier says that the query at place at of the list stands before it, too.
func earlier(list, query []byte, at int) bool {
	m := inside(list, 0)
	for i := 0; i < min(at, maxUnique) && m.next(); i++ {
		if string(m.value()) == string(query) {
			return true
		}
	}
	return false
}

// gemini: uncached = prompt + toolUsePrompt - cached, output = candidates + thoughts.
// Video is input like text: no price list sets it apart.
func (s *state) gemini(u *Units) bool {
	if !s.seen || s.in < 0 && s.out < 0 && s.reasoning < 0 {
		return false
	}
	s.split(u, max(0, s.in)+max(0, s.toolIn), max(0, s.out)+max(0, s.reasoning), s.read, 0, 0)
	u[Searches] = s.queries
	return true
}
