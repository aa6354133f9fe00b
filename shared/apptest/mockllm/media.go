package mockllm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strconv"
	"strings"

	"github.com/bytedance/sonic"
)

// media is every endpoint that is no conversation and no embedding of OpenAI's: speech,
// transcripts, pictures, judgements, ranks, counted tokens, embeddings of Gemini's form.
//
// Speech is 200 bytes a character; in events it costs a token for each four bytes of input,
// and twenty of sound for each fifteen characters. A second of sound is 32,000 bytes of its
// file behind a head of 44; whisper models report seconds, others ten tokens a second. A
// picture costs 100 tokens, one given 50; dall-e models report nothing. A rank costs what
// query and document have, or a search for each hundred documents behind a path of cohere.
type media struct {
	kind  string // of mediaPaths, or dashscope
	c     *conn
	r     mediaAsk
	texts []string
	size  int64 // bytes of the file of a form
	given int64 // pictures of a request
	model string
}

type mediaAsk struct {
	Model    string          `json:"model"`
	Input    json.RawMessage `json:"input"`
	Prompt   string          `json:"prompt"`
	Query    string          `json:"query"`
	Docs     json.RawMessage `json:"documents"`
	Format   string          `json:"response_format"`
	Events   string          `json:"stream_format"`
	Stream   bool            `json:"stream"`
	N        int64           `json:"n"`
	Partial  int64           `json:"partial_images"`
	TopN     int             `json:"top_n"`
	Return   bool            `json:"return_documents"`
	User     string          `json:"user"`
	Images   []any           `json:"images"`
	Content  json.RawMessage `json:"content"`
	Requests []struct {
		Model   string          `json:"model"`
		Content json.RawMessage `json:"content"`
	} `json:"requests"`
	Parameters struct {
		TopN   int  `json:"top_n"`
		Return bool `json:"return_documents"`
	} `json:"parameters"`
}

var mediaPaths = []string{
	"/audio/speech", "/audio/transcriptions", "/audio/translations", "/images/generations", "/images/edits", "/images/variations",
	"/moderations", "/responses/input_tokens", ":embedContent", ":batchEmbedContents", "/services/rerank/text-rerank/text-rerank", "/rerank",
}

// newMedia is nil for a path that is none of these.
func newMedia(c *conn, path string) *media {
	for _, p := range mediaPaths {
		if !strings.HasSuffix(path, p) {
			continue
		}
		m := &media{kind: p, c: c}
		if i := strings.LastIndex(path, "/models/"); p[0] == ':' && i >= 0 {
			m.model, _ = url.PathUnescape(strings.TrimSuffix(path[i+len("/models/"):], p))
		}
		if strings.HasPrefix(p, "/services/") {
			m.kind = "dashscope"
		}
		return m
	}
	return nil
}

func (*media) anthropic() bool { return false }

func (m *media) parse(a *ask, body []byte) error {
	if kind, params, err := mime.ParseMediaType(m.c.header("content-type")); err == nil && kind == "multipart/form-data" {
		if err := m.form(body, params["boundary"]); err != nil {
			return err
		}
	} else if err := sonic.Unmarshal(body, &m.r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	r := &m.r
	if m.model != "" {
		r.Model = m.model
	}
	switch m.kind {
	case "/rerank":
		texts, err := readTexts(r.Docs)
		if err != nil {
			return err
		}
		m.texts = texts
		a.prompt = int64(len(texts)) * ((int64(len(r.Query)) + 3) / 4)
		a.firstUser = r.Query
	case "dashscope":
		if err := m.dashScopeInput(a); err != nil {
			return err
		}
	case ":embedContent", ":batchEmbedContents":
		for _, q := range r.Requests {
			if q.Model != "models/"+m.model {
				return errors.New("the model of a request is not that of the path: " + q.Model)
			}
			m.texts = append(m.texts, string(q.Content))
		}
		if len(r.Requests) == 0 {
			m.texts = []string{string(r.Content)}
		}
		a.firstUser = m.texts[0]
	case "/moderations":
		m.texts = []string{string(r.Input)}
		a.firstUser = string(r.Input)
	case "/responses/input_tokens":
		a.prompt, a.firstUser = 3+(int64(len(r.Input))+3)/4, string(r.Input)
	default:
		var input string
		_ = sonic.Unmarshal(r.Input, &input)
		m.texts = []string{input + r.Prompt}
		a.firstUser = m.texts[0]
	}
	if r.Model == "" {
		return errors.New("you must provide a model parameter")
	}
	a.model, a.stream, a.userIDs[0] = r.Model, r.Stream || r.Events == "sse", r.User
	for _, t := range m.texts {
		a.prompt += (int64(len(t)) + 3) / 4
	}
	return nil
}

func (m *media) dashScopeInput(a *ask) error {
	var in struct {
		Query     string   `json:"query"`
		Documents []string `json:"documents"`
	}
	if err := sonic.Unmarshal(m.r.Input, &in); err != nil || len(in.Documents) == 0 {
		return wording("Required parameter(s) missing or invalid, please check the request parameters.")
	}
	m.texts, a.firstUser = in.Documents, in.Query
	m.r.TopN, m.r.Return = m.r.Parameters.TopN, m.r.Parameters.Return
	a.prompt = int64(len(in.Documents)) * ((int64(len(in.Query)) + 3) / 4)
	return nil
}

// form reads the parts with a reader that has nothing in common with the relay's.
func (m *media) form(body []byte, boundary string) error {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the form: %w", err)
		}
		v, err := io.ReadAll(p)
		if err != nil {
			return fmt.Errorf("cannot read the form: %w", err)
		}
		switch name := strings.TrimSuffix(p.FormName(), "[]"); name {
		case "model":
			m.r.Model = string(v)
		case "prompt":
			m.r.Prompt = string(v)
		case "response_format":
			m.r.Format = string(v)
		case "stream":
			m.r.Stream = string(v) == "true"
		case "n":
			m.r.N, _ = strconv.ParseInt(string(v), 10, 64)
		case "partial_images":
			m.r.Partial, _ = strconv.ParseInt(string(v), 10, 64)
		case "file":
			m.size = int64(len(v))
		case "image", "mask":
			m.given++
		}
	}
}

// seconds of the sound of a form, rounded up.
func (m *media) seconds() int64 { return (max(0, m.size-44) + 31_999) / 32_000 }

func (m *media) buffered(o *out, w *answer) error {
	switch m.kind {
	case "/audio/speech":
		return m.sound(o, w)
	case "/audio/transcriptions", "/audio/translations":
		return m.transcript(o, w)
	case "/images/generations", "/images/edits", "/images/variations":
		b := []byte(`{"created":1760000000,"data":[`)
		for i := range max(1, m.r.N) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, `{"b64_json":"`...), m.picture(i)...), `"}`...)
		}
		b = append(b, ']')
		if o.sc.Usage != "none" && !strings.Contains(w.a.name, "dall") {
			b = m.pictureUsage(o, append(b, `,"usage":`...), w)
		}
		return o.whole(200, "application/json", append(b, '}'), "")
	case "/moderations":
		// Two phrases are flagged, so that a test can say what is.
		violence, hate := strings.Contains(m.texts[0], "I will hurt"), strings.Contains(m.texts[0], "I hate them all")
		return o.whole(200, "application/json", fmt.Appendf(nil, `{"id":"modr-mock","model":%s,"results":[{"flagged":%t,"categories":{"violence":%t,"hate":false,"hate/threatening":%t},"category_scores":{"violence":0.01,"hate":0,"hate/threatening":0}}]}`,
			quoted(w.a.name), violence || hate, violence, hate), "")
	case "/responses/input_tokens":
		return o.whole(200, "application/json", append(strconv.AppendInt([]byte(`{"object":"response.input_tokens","input_tokens":`), w.a.prompt, 10), '}'), "")
	case "/rerank", "dashscope":
		return m.ranks(o, w)
	}
	b := []byte(`{"embeddings":[`)
	if m.kind == ":embedContent" {
		b = []byte(`{"embedding":`)
	}
	for i, t := range m.texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendVector(append(b, `{"values":`...), vector(t, 8), false), '}')
	}
	if m.kind == ":batchEmbedContents" {
		b = append(b, ']')
	}
	return o.whole(200, "application/json; charset=UTF-8", append(b, '}'), "")
}

// piece is the n-th piece of speech, or a picture: 3,000 bytes, of speech for 15 characters.
func (m *media) piece(n int) []byte {
	b := make([]byte, 3000)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	if n == 0 {
		copy(b, "ID3\x04\x00\x00\x00\x00\x00\x00") // it sounds like nothing, and looks like MP3
	}
	return b
}

func (m *media) pieces() int { return (len(m.texts[0]) + 14) / 15 }

func (m *media) sound(o *out, w *answer) error {
	kind := "audio/mpeg"
	if f := m.r.Format; f != "" && f != "mp3" {
		kind = "audio/" + f
	}
	if err := o.begin(200, kind, -1, ""); err != nil {
		return err
	}
	for i := range m.pieces() {
		if err := o.write(m.piece(i)); err != nil {
			return err
		}
		if err := o.flush(); err != nil {
			return err
		}
		if o.sc.Gap > 0 {
			if err := o.wait(o.sc.Gap); err != nil {
				return err
			}
		}
	}
	return o.finish()
}

func (m *media) transcript(o *out, w *answer) error {
	text, seconds := joined(w.pieces), m.seconds()
	switch m.r.Format {
	case "text":
		return o.whole(200, "text/plain; charset=utf-8", []byte(text+"\n"), "")
	case "srt", "vtt":
		return o.whole(200, "text/plain; charset=utf-8", []byte("1\n00:00:00,000 --> 00:00:02,000\n"+text+"\n\n"), "")
	}
	b := append([]byte(`{"text":`), quoted(text)...)
	if m.r.Format == "verbose_json" {
		b = append(b, `,"task":"transcribe","language":"english","duration":`...)
		b = append(strconv.AppendInt(b, seconds, 10), ".0,\"segments\":[]"...)
	}
	if m.kind == "/audio/transcriptions" && o.sc.Usage != "none" {
		b = m.heard(o, append(b, `,"usage":`...), w)
	}
	return o.whole(200, "application/json", append(b, '}'), "")
}

// heard appends the usage of a transcript.
func (m *media) heard(o *out, b []byte, w *answer) []byte {
	seconds := m.seconds()
	if strings.Contains(w.a.name, "whisper") {
		b = o.num(append(b, `{"type":"duration","seconds":`...), seconds, true)
		return append(b, '}')
	}
	u := Units{Input: w.a.prompt + 10*seconds, Output: w.units.Output}
	o.state(u)
	b = o.field(append(b, `{"type":"tokens",`...), "input_tokens", u.Input, true)
	b = plain(append(b, `,"input_token_details":{`...), "text_tokens", w.a.prompt)
	b = plain(append(b, ','), "audio_tokens", 10*seconds)
	b = o.field(append(b, "},"...), "output_tokens", u.Output, false)
	return append(plain(append(b, ','), "total_tokens", u.Input+u.Output), '}')
}

func (m *media) picture(n int64) string {
	return base64.StdEncoding.EncodeToString(m.piece(int(n)))
}

func (m *media) pictureUsage(o *out, b []byte, w *answer) []byte {
	u := Units{Input: w.a.prompt + 50*(m.given+int64(len(m.r.Images))), Output: 100 * max(1, m.r.N)}
	o.state(u)
	b = o.field(append(b, '{'), "input_tokens", u.Input, true)
	b = plain(append(b, `,"input_tokens_details":{`...), "text_tokens", w.a.prompt)
	b = plain(append(b, ','), "image_tokens", u.Input-w.a.prompt)
	b = o.field(append(b, "},"...), "output_tokens", u.Output, false)
	return append(plain(append(b, ','), "total_tokens", u.Input+u.Output), '}')
}

// ranks orders the documents as they came, the last one first.
func (m *media) ranks(o *out, w *answer) error {
	b := []byte(`{"id":"mock-canary","model":` + quoted(w.a.name) + `,"results":[`)
	if m.kind == "dashscope" {
		b = []byte(`{"output":{"results":[`)
	}
	n := len(m.texts)
	if m.r.TopN > 0 {
		n = min(n, m.r.TopN)
	}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		at := len(m.texts) - 1 - i
		b = append(strconv.AppendInt(append(b, `{"index":`...), int64(at), 10), `,"relevance_score":0.`...)
		b = strconv.AppendInt(b, int64(99-i%90), 10)
		if m.r.Return {
			b = append(append(append(b, `,"document":{"text":`...), quoted(m.texts[at])...), '}')
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	u := Units{Input: w.a.prompt}
	switch {
	case m.kind == "dashscope":
		o.state(u)
		b = o.field(append(b, `},"usage":{`...), "total_tokens", u.Input, true)
		b = append(b, `},"request_id":"mock-canary"}`...)
		return o.whole(200, "application/json", b, "")
	case o.sc.Usage == "none":
		return o.whole(200, "application/json", append(b, '}'), "")
	case strings.Contains(o.l.rec.Path, "cohere"):
		b = o.field(append(b, `,"meta":{"api_version":{"version":"2"},"billed_units":{`...), "search_units", (int64(len(m.texts))+99)/100, true)
		return o.whole(200, "application/json", append(b, `}}}`...), "")
	}
	o.state(u)
	b = o.field(append(b, `,"usage":{`...), "total_tokens", u.Input, true)
	return o.whole(200, "application/json", append(b, `}}`...), "")
}

func (m *media) stream(o *out, w *answer) error {
	if err := o.begin(200, eventStream+"; charset=utf-8", -1, ""); err != nil {
		return err
	}
	done := false
	switch m.kind {
	case "/audio/speech":
		for i := range m.pieces() {
			ev := `data: {"type":"speech.audio.delta","audio":"` + m.picture(int64(i)) + "\"}\n\n"
			if err := o.event([]byte(ev), 0, 0); err != nil {
				return err
			}
		}
		b := []byte(`data: {"type":"speech.audio.done"`)
		if o.sc.Usage != "none" {
			u := Units{Input: w.a.prompt, Output: 20 * int64(m.pieces())}
			o.state(u)
			b = o.field(append(b, `,"usage":{`...), "input_tokens", u.Input, true)
			b = o.field(append(b, ','), "output_tokens", u.Output, false)
			b = append(plain(append(b, ','), "total_tokens", u.Input+u.Output), '}')
		}
		if err := o.event(append(b, "}\n\n"...), 0, 0); err != nil {
			return err
		}
	case "/audio/transcriptions", "/audio/translations":
		o.nl, done = "\r\n", true
		for _, p := range w.pieces {
			if err := o.event([]byte(`data: {"type":"transcript.text.delta","delta":`+quoted(p)+"}\n\n"), 1, 0); err != nil {
				return err
			}
		}
		b := append([]byte(`data: {"type":"transcript.text.done","text":`), quoted(joined(w.pieces))...)
		if o.sc.Usage != "none" {
			b = m.heard(o, append(b, `,"usage":`...), w)
		}
		if err := o.event(append(b, "}\n\n"...), 0, 0); err != nil {
			return err
		}
	default:
		name := "image_generation"
		if m.kind != "/images/generations" {
			name = "image_edit"
		}
		for i := range m.r.Partial {
			ev := "event: " + name + ".partial_image\ndata: {\"type\":\"" + name + `.partial_image","partial_image_index":` + strconv.FormatInt(i, 10) + `,"b64_json":"` + m.picture(i) + "\"}\n\n"
			if err := o.event([]byte(ev), 0, 0); err != nil {
				return err
			}
		}
		b := []byte("event: " + name + ".completed\ndata: {\"type\":\"" + name + `.completed","b64_json":"` + m.picture(9) + `"`)
		if o.sc.Usage != "none" {
			b = m.pictureUsage(o, append(b, `,"usage":`...), w)
		}
		if err := o.event(append(b, "}\n\n"...), 0, 0); err != nil {
			return err
		}
	}
	if done {
		if err := o.event([]byte("data: [DONE]\n\n"), 0, 0); err != nil {
			return err
		}
	}
	return o.finish()
}
