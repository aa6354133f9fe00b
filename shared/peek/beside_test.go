package peek

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestBeside(t *testing.T) {
	var r Request
	scan := func(shape Shape, body string) *Media {
		t.Helper()
		if err := Scan([]byte(body), shape, &r); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return &r.Media
	}
	if m := scan(OpenAISpeech, `{"model":"a","input":"é\n\ud83d\ude00x","speed":0.5,"instructions":"slowly","response_format":"wav","voice":"v"}`); m.Characters != 4 || m.Slow != 2 || string(m.Format) != "wav" || r.Stream {
		t.Errorf("%+v", m)
	}
	for speed, slow := range map[string]int64{"1": 1, "4.0": 1, "0.25": 4, "0.3": 4, "0.75": 2, "0.9": 2, "null": 1} {
		if m := scan(OpenAISpeech, `{"model":"a","input":"x","speed":`+speed+`}`); m.Slow != slow {
			t.Errorf("speed %s: %d times as long", speed, m.Slow)
		}
	}
	if m := scan(OpenAIPictures, `{"model":"a","prompt":"xyz","n":2,"size":"1024x1536","partial_images":0,"stream":true,"quality":"high"}`); m.Pictures != 2 || m.Width != 1024 || m.Height != 1536 || m.Words != 5 || !r.Stream || string(m.Quality) != "high" {
		t.Errorf("%+v", m)
	}
	if m := scan(OpenAIPictures, `{"model":"a","prompt":"x","size":"2K","images":[{"image_url":"data:image/png;base64,AAAA"},"https://x"],"mask":{"image_url":"y"}}`); !m.OddSize || r.Images != 3 || r.MediaBytes < 40 {
		t.Errorf("%+v", m)
	}
	if m := scan(Ranks, `{"model":"a","query":"xy","documents":["1",{"text":"2"}],"top_n":1,"return_documents":true}`); m.Documents != 2 || m.Words != 4 || m.TopN != 1 || !m.Returned || m.DocumentBytes != int64(len(`["1",{"text":"2"}]`)) {
		t.Errorf("%+v", m)
	}
	scan(OpenAIModeration, `{"input":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x"}}]}`)
	if string(r.Model) != "omni-moderation-latest" || r.Images != 1 {
		t.Errorf("%+v", r)
	}
	if m := scan(GeminiEmbedBatch, `{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":8},{"content":{"parts":{"text":"a"}},"output_dimensionality":8}]}`); r.Prompts != 2 || m.Dimensions != 8 {
		t.Errorf("%+v", m)
	}
}

// FuzzBeside: what is admitted, encoding/json reads for the same (E2), and no text is
// longer to it than it is to us.
func FuzzBeside(f *testing.F) {
	for _, s := range []string{
		`{"model":"a","input":"é\ud83d\ude00","speed":0.5,"stream_format":"sse"}`, `{"model":"a","prompt":"b","n":3,"size":"1x2"}`,
		`{"model":"a","query":"b","documents":["x",{"text":"y"}],"top_n":2}`, `{"input":["x"]}`, `{"mod\u0065l":"a","input":"x"}`, `{"model":"a","n":1,"N":2,"prompt":"x"}`,
	} {
		for i := range 4 {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		shape := []Shape{OpenAISpeech, OpenAIPictures, Ranks, OpenAIModeration}[uint(which)%4]
		var r Request
		if err := Scan(body, shape, &r); err != nil {
			if err.Status != 400 {
				t.Fatalf("%+v", err)
			}
			return
		}
		switch shape {
		case OpenAISpeech:
			var s struct {
				Model, Input string
				Events       *string `json:"stream_format"`
			}
			if err := json.Unmarshal(body, &s); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if s.Model != string(r.Model) || int64(utf8.RuneCountInString(s.Input)) != r.Media.Characters || (s.Events != nil && *s.Events == "sse") != r.Stream {
				t.Fatalf("%q: %+v, we read %+v", body, s, r.Media)
			}
		case OpenAIPictures:
			var s struct {
				Model  string
				N      int64
				Stream bool
			}
			if err := json.Unmarshal(body, &s); err != nil || s.Model != string(r.Model) || s.N != r.Media.Pictures || s.Stream != r.Stream {
				t.Fatalf("%q: %+v (%v), we read %+v", body, s, err, r.Media)
			}
		case Ranks:
			var s struct {
				Model     string
				Documents []json.RawMessage
			}
			if err := json.Unmarshal(body, &s); err != nil || s.Model != string(r.Model) || int64(len(s.Documents)) != r.Media.Documents {
				t.Fatalf("%q: %+v (%v), we read %+v", body, s, err, r.Media)
			}
		default:
			var s struct{ Model *string }
			if err := json.Unmarshal(body, &s); err != nil || s.Model != nil && *s.Model != string(r.Model) {
				t.Fatalf("%q: %v", body, err)
			}
		}
		if r.TextBytes+r.MediaBytes != int64(len(body)) || r.MediaBytes < 0 || r.TextBytes < 0 {
			t.Fatalf("%q: %d + %d bytes", body, r.TextBytes, r.MediaBytes)
		}
	})
}
