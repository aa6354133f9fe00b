package usage

// Form is the form in which a provider's answers report usage. It is told by the
// endpoint that was called; what differs between providers of one form is told from
// the figures themselves, so that a provider behind another one's name counts right
// too. FormGeminiChat is the exception: its answers look like any other's.
type Form uint8

// The forms.
const (
	FormChat          Form = iota // Chat Completions and Completions, of OpenAI and every provider of that shape
	FormGeminiChat                // Gemini behind the Chat shape: thinking stands in the total only
	FormEmbeddings                // embeddings of OpenAI's shape, Voyage's total alone too
	FormResponses                 // OpenAI Responses
	FormTranscription             // audio to text, by tokens or by seconds
	FormSpeech                    // text to audio, as events; a binary answer reports nothing
	FormImages                    // image generations and edits
	FormMessages                  // Anthropic Messages
	FormGemini                    // generateContent, streamGenerateContent, embedContent
	FormDashScope                 // DashScope's own: text, multimodal, embeddings, rerank
	FormConverse                  // Bedrock Converse; the payloads of its stream's frames, see Frame
	FormCohere                    // Cohere Chat
	FormRerank                    // rerank of Cohere, Jina, Voyage
	numForms
)

// taker takes one member of an object: its name as it is written, and its value.
type taker func(r *Reader, key, v []byte)

// top are the takers of an answer's or an event's own members.
var top = [numForms]taker{
	FormChat: chatTop, FormGeminiChat: chatTop, FormEmbeddings: chatTop, FormResponses: responsesTop,
	FormTranscription: audioTop, FormSpeech: audioTop, FormImages: imagesTop, FormMessages: messagesTop,
	FormGemini: geminiTop, FormDashScope: dashScopeTop, FormConverse: converseTop,
	FormCohere: cohereTop, FormRerank: cohereTop,
}

// Notes is what a provider reported beside what is billed by class. None of it is
// counted in Units.
type Notes struct {
	Reasoning     int64 // tokens of reasoning that are inside the output
	AudioSeconds  int64 // length of the audio whose tokens Units counts: for models priced by the second instead
	Fetches       int64 // pages that the provider fetched
	FileSearches  int64 // searches in the customer's own files
	ImageSearches int64 // searches for images
	CodeRuns      int64 // runs of the provider's code interpreter

	// Impossible: a figure came that can be no count (negative, a fraction, text, too
	// large), or an output that only grows has shrunk (C9).
	Impossible bool
	// Mismatch: the provider's own total is not the sum of what was read.
	Mismatch bool
}

// figures is one usage object as the provider wrote it. Absent figures are -1.
type figures struct {
	in, out, total                       int64
	read, write, write5m, write1h        int64
	audioIn, imageIn, audioOut, imageOut int64
	cachedAudio, cachedImage             int64 // inside read
	toolIn                               int64 // input beside in
	reasoning                            int64
	hit, miss                            int64
	billedIn, billedOut, searchUnits     int64
	seconds                              int64
	searches, fetches, fileSearches      int64
	imageSearches, codeRuns              int64
}

var noFigures = figures{
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
}

// any says that the object counted something.
func (f *figures) any() bool {
	return f.in >= 0 || f.out >= 0 || f.total >= 0 || f.billedIn >= 0 || f.billedOut >= 0 || f.searchUnits >= 0 || f.seconds >= 0 || f.reasoning >= 0
}

// maxOthers is the most models that an answer can name beside its own.
const maxOthers = 4

// other is what ran on a model that is not the answer's.
type other struct {
	model    [64]byte
	modelLen int
	units    Units
}

// state is all that was read of an answer. It is copied before each event, so that a
// broken one leaves nothing behind.
type state struct {
	figures
	seen       bool  // a usage object with figures
	started    bool  // Messages: of the opening event
	last       int64 // the output it said, to see it shrink
	impossible bool

	images   int64 // images made
	told     int64 // searches that Responses tells beside its usage; -1 = not told
	queries  int64 // searches counted in the answer itself: of a whole one or the last event
	done     int64 // the same, counted as its items passed
	files    int64
	runs     int64
	duration int64 // seconds of audio, said beside the text; -1 = not said

	extra     Units // iterations beside the served ones, all models
	others    [maxOthers]other
	numOthers int
}

// Reader reads what the provider reports of one answer, whole or event by event. The
// zero value reads FormChat; Reset makes it ready for another answer. It keeps no
// reference to the bytes it is given, and allocates nothing.
type Reader struct {
	form   Form
	ready  bool
	kept   state
	work   state
	broken bool

	// Of the event at hand, cleared when it is read: views of the caller's bytes.
	held  []byte // choices, looked at when nothing else held the usage
	found bool   // something else did
	kind  []byte // its type
	item  item
}

// Reset makes r ready for one answer of the form. A form out of range is FormChat.
func (r *Reader) Reset(form Form) {
	if form >= numForms {
		form = FormChat
	}
	r.form, r.ready = form, true
	r.kept = state{figures: noFigures, told: -1, duration: -1}
}

// Whole takes a whole JSON answer. false: the body is no readable JSON object (for
// FormGemini also an array of them, the stream that is not one of events), and
// nothing of it was taken.
func (r *Reader) Whole(body []byte) bool {
	if i := space(body, 0); r.form == FormGemini && i < len(body) && body[i] == '[' {
		return r.list(body, i)
	}
	return r.Event(body)
}

func (r *Reader) list(body []byte, i int) bool {
	before := r.kept
	m := inside(body, i)
	for m.next() {
		if v := m.value(); v == nil || v[0] == '{' && !r.Event(v) {
			r.kept = before
			return false
		}
	}
	if m.bad || space(body, m.end) < len(body) {
		r.kept = before
		return false
	}
	return true
}

// Event takes the data of one event of a stream. false: it is no readable JSON object
// (as [DONE] is none), and nothing of it was taken.
func (r *Reader) Event(data []byte) bool {
	if !r.ready {
		r.Reset(r.form)
	}
	i := space(data, 0)
	if i >= len(data) || data[i] != '{' {
		return false
	}
	r.work, r.broken, r.found = r.kept, false, false
	m := inside(data, i)
	take := top[r.form]
	for m.next() {
		take(r, m.key, m.value())
	}
	if !m.bad && !r.broken {
		r.finish()
	}
	r.held, r.kind, r.item = nil, nil, item{}
	if m.bad || r.broken || space(data, m.end) < len(data) {
		return false
	}
	r.kept = r.work
	return true
}

// finish does what can be done only when all of an event is known.
func (r *Reader) finish() {
	switch r.form {
	case FormChat, FormGeminiChat:
		r.choices()
	case FormResponses:
		if string(r.kind) == "response.output_item.done" {
			r.item.add(&r.work.done, &r.work.files, &r.work.runs)
		}
	case FormImages:
		if k := string(r.kind); k == "image_generation.completed" || k == "image_edit.completed" {
			r.work.images++
		}
	}
}

// each takes the members of an object; another value has none.
func (r *Reader) each(v []byte, take taker) {
	if len(v) == 0 || v[0] != '{' {
		return
	}
	m := inside(v, 0)
	for m.next() {
		take(r, m.key, m.value())
	}
	r.broken = r.broken || m.bad
}

// object takes a usage object that stands for all before it. One that says nothing
// leaves what was said.
func (r *Reader) object(v []byte, take taker) {
	if len(v) == 0 || v[0] != '{' {
		r.work.impossible = r.work.impossible || string(v) != "null"
		return
	}
	s := &r.work
	before, seen := s.figures, s.seen
	s.figures, s.seen = noFigures, true
	r.each(v, take)
	if _, ok := r.own(s); !ok || !s.any() {
		s.figures, s.seen = before, seen
		return
	}
	// Later usage objects of one answer never say less output than earlier ones, but
	// for Gemini's, which begin anew after its own tools.
	s.impossible = s.impossible || seen && s.out < s.last && r.form != FormGemini
	s.last = s.out
}

// count takes a figure.
func (r *Reader) count(v []byte, n *int64) {
	x, ok, bad := whole(v)
	if ok {
		*n = x
	}
	r.work.impossible = r.work.impossible || bad
}

// note takes a figure that nothing is billed by: what is no count is none.
func note(v []byte, n *int64) {
	if x, ok, _ := whole(v); ok {
		*n = x
	}
}

// more adds a figure to one that may be absent.
func (r *Reader) more(v []byte, n *int64) {
	x := int64(-1)
	if r.count(v, &x); x >= 0 {
		*n = max(0, *n) + x
	}
}

// Units is what the answer consumed, in disjoint classes, and whose figures these
// are: SourceReported after the provider's usage, SourcePartial while only the input
// is known (Output is 0 then, and left to whoever counts what passed), SourceNone
// before. Iterations on other models are inside; see Other.
//
// Searches counts the provider's own web searches: from the usage where it tells
// them, else from the answer (queries of Gemini's grounding, searches of Responses).
// Class Request is never counted here: the caller knows what was a request.
func (r *Reader) Units() (Units, Source) {
	if !r.ready {
		return Units{}, SourceNone
	}
	s := &r.kept
	u, ok := r.own(s)
	switch {
	case r.form == FormMessages && !s.seen:
		if !s.started {
			return Units{}, SourceNone
		}
		u.Add(&s.extra)
		u[Output] = 0
		return u, SourcePartial
	case !ok:
		return Units{}, SourceNone
	}
	u.Add(&s.extra)
	return u, SourceReported
}

// Others is the number of models beside the answer's own that ran for it.
func (r *Reader) Others() int { return r.kept.numOthers }

// Other is what the i-th other model consumed, and its name at the provider. It is
// a part of Units, and is billed at that model's own price (protocols 5). The name is
// a view of the reader, good until Reset.
func (r *Reader) Other(i int) (model []byte, units Units) {
	o := &r.kept.others[i]
	return o.model[:o.modelLen], o.units
}

// Notes is what was reported beside the classes.
func (r *Reader) Notes() Notes {
	s := &r.kept
	n := Notes{
		Reasoning: max(0, s.reasoning), Fetches: max(0, s.fetches), FileSearches: max(0, s.fileSearches, s.files),
		ImageSearches: max(0, s.imageSearches), CodeRuns: max(0, s.codeRuns, s.runs), Impossible: s.impossible,
	}
	if u, ok := r.own(s); ok && r.ready {
		if u[Seconds] == 0 {
			n.AudioSeconds = max(0, s.seconds)
		}
		n.Mismatch = s.total >= 0 && s.total != u.TotalInput()+u.TotalOutput()
	}
	return n
}

// own brings the figures into classes, iterations left out.
func (r *Reader) own(s *state) (u Units, ok bool) {
	switch r.form {
	case FormChat, FormGeminiChat:
		ok = s.chat(&u, r.form == FormGeminiChat)
	case FormEmbeddings:
		ok = s.embeddings(&u)
	case FormResponses:
		ok = s.responses(&u)
	case FormTranscription:
		ok = s.transcription(&u)
	case FormSpeech:
		ok = s.speech(&u)
	case FormImages:
		ok = s.pictures(&u)
	case FormMessages:
		ok = s.messages(&u)
	case FormGemini:
		ok = s.gemini(&u)
	case FormDashScope:
		ok = s.dashScope(&u)
	case FormConverse:
		ok = s.converse(&u)
	case FormCohere, FormRerank:
		ok = s.cohere(&u)
	}
	return u, ok
}

// split puts input and output into classes: each part at most what is left of its
// side, so that no figure of a provider counts a token twice or makes a rest
// negative. audioIn and imageIn leave out what is cached.
func (f *figures) split(u *Units, in, out, read, write, write1h int64) {
	in, out = max(0, in), max(0, out)
	read = min(max(0, read), in)
	write = min(max(0, write), in)
	if read+write > in {
		// The same tokens are written and read (OpenRouter with Gemini). They are
		// counted once, as read; the fee for storing them is the house'f.
		write = max(0, write-read)
	}
	rest := in - read - write
	audio := min(max(0, max(0, f.audioIn)-max(0, f.cachedAudio)), rest)
	rest -= audio
	image := min(max(0, max(0, f.imageIn)-max(0, f.cachedImage)), rest)
	rest -= image
	write1h = min(max(0, write1h), write)
	u[Input], u[CacheRead], u[CacheWrite], u[CacheWrite1h], u[AudioIn], u[ImageIn] = rest, read, write-write1h, write1h, audio, image
	audio = min(max(0, f.audioOut), out)
	image = min(max(0, f.imageOut), out-audio)
	u[Output], u[AudioOut], u[ImageOut] = out-audio-image, audio, image
	u[Searches] = max(0, f.searches)
}
