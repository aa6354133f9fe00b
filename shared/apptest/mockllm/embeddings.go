package mockllm

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/bytedance/sonic"
)

// embeddings is OpenAI Embeddings. A vector is made of its text: the same text gives
// the same vector, of the asked dimensions (256 without). An input costs a token for
// each four bytes begun, or what tokens it has.
type embeddings struct{}

func (embeddings) anthropic() bool { return false }

type embeddingAsk struct {
	Model      string          `json:"model"`
	Input      json.RawMessage `json:"input"`
	Dimensions int             `json:"dimensions"`
	Encoding   string          `json:"encoding_format"`
	User       string          `json:"user"`
}

func (r *embeddingAsk) read(body []byte) (texts []string, err error) {
	if err := sonic.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("cannot read the request: %w", short(err))
	}
	if r.Model == "" || len(r.Input) == 0 {
		return nil, errors.New("you must provide a model and input")
	}
	return readTexts(r.Input)
}

// readTexts reads a string, strings, tokens, or lists of tokens; a token counts as a
// text of its own that costs one.
func readTexts(v json.RawMessage) (texts []string, err error) {
	var one string
	var tokens []int
	var lists [][]int
	switch {
	case json.Unmarshal(v, &one) == nil:
		return []string{one}, nil
	case json.Unmarshal(v, &texts) == nil && len(texts) > 0:
		return texts, nil
	case json.Unmarshal(v, &tokens) == nil && len(tokens) > 0:
		lists = [][]int{tokens}
	case json.Unmarshal(v, &lists) != nil || len(lists) == 0:
		return nil, errors.New("neither text nor tokens: " + string(v[:min(len(v), 40)]))
	}
	texts = texts[:0]
	for _, l := range lists {
		text := ""
		for _, t := range l {
			text += string(rune('a'+t%26)) + "..." // four bytes, a token
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func (embeddings) parse(a *ask, body []byte) error {
	var r embeddingAsk
	texts, err := r.read(body)
	if err != nil {
		return err
	}
	a.model, a.userIDs[0], a.firstUser = r.Model, r.User, texts[0]
	for _, t := range texts {
		a.prompt += (int64(len(t)) + 3) / 4
	}
	return nil
}

func (embeddings) buffered(o *out, w *answer) error {
	var r embeddingAsk
	texts, err := r.read(w.a.raw)
	if err != nil {
		return err
	}
	if r.Dimensions <= 0 {
		r.Dimensions = 256
	}
	u := Units{Input: w.units.Input}
	o.input = u
	b := []byte(`{"object":"list","data":[`)
	for i, t := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"embedding":`...)
		b = appendVector(b, vector(t, r.Dimensions), r.Encoding == "base64")
		b = append(b, '}')
	}
	b = append(append(b, `],"model":`...), quoted(w.a.name)...)
	if o.sc.Usage == "none" {
		return o.whole(200, "application/json", append(b, '}'), "")
	}
	b = append(b, `,"usage":{`...)
	o.state(u)
	b = o.field(b, "prompt_tokens", u.Input, true)
	b = plain(append(b, ','), "total_tokens", u.Input)
	return o.whole(200, "application/json", append(b, `}}`...), "")
}

func (embeddings) stream(*out, *answer) error { return errors.New("embeddings are never streamed") }

// vector is a unit vector drawn from the text's hash.
func vector(text string, n int) []float32 {
	x := uint64(14695981039346656037)
	for i := range len(text) {
		x = (x ^ uint64(text[i])) * 1099511628211
	}
	v, sum := make([]float32, n), 0.0
	for i := range v {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		f := float64(int64(x)) / math.MaxInt64
		v[i], sum = float32(f), sum+f*f
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
	return v
}

func appendVector(b []byte, v []float32, packed bool) []byte {
	if packed {
		raw := make([]byte, 0, 4*len(v))
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, raw)
		return append(b, '"')
	}
	b = append(b, '[')
	for i, f := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(f), 'g', -1, 32)
	}
	return append(b, ']')
}
