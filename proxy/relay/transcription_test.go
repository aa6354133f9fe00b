package relay_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// Every format of a transcript by the second, with and without the provider's own figure:
// what it says counts, else the length of the file.
func TestTranscriptionBySeconds(t *testing.T) {
	k, m := beside(t)
	file := tone(7)
	for i, c := range []struct {
		path, format, contentType string
		source                    usage.Source
	}{
		{"/v1/audio/transcriptions", "", "application/json", usage.SourceReported},
		{"/v1/audio/transcriptions", "json", "application/json", usage.SourceReported},
		{"/v1/audio/transcriptions", "verbose_json", "application/json", usage.SourceReported},
		{"/v1/audio/transcriptions", "text", "text/plain", usage.SourceEstimated},
		{"/v1/audio/transcriptions", "srt", "text/plain", usage.SourceEstimated},
		{"/v1/audio/transcriptions", "vtt", "text/plain", usage.SourceEstimated},
		{"/v1/audio/translations", "", "application/json", usage.SourceEstimated},
		{"/v1/audio/translations", "verbose_json", "application/json", usage.SourceReported},
		{"/v1/openai/audio/transcriptions", "", "application/json", usage.SourceReported},
	} {
		pairs := []string{"file", "@a.wav", "model", "whisper-a", "language", "en"}
		if c.format != "" {
			pairs = append(pairs, "response_format", c.format)
		}
		body, kind := form(t, file, pairs...)
		r := post(t, k, c.path, body, "Content-Type", kind)
		if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), c.contentType) || len(r.body) == 0 {
			t.Fatalf("%d: %d %s %s", i, r.status, r.header.Get("Content-Type"), tail(r.body))
		}
		check(t, c.path+" "+c.format, last(t, k, i+1), units(usage.Seconds, 7), c.source, due(7, 100_000_000))
		if rec := last(t, k, i+1); rec.Hold != due(8, 100_000_000) {
			t.Errorf("held %s", rec.Hold)
		}
	}
	for _, r := range m.Requests(mockFilter) {
		if r.Model != "up-whisper" {
			t.Errorf("the provider was asked for %q", r.Model)
		}
	}
	k.AtRest(t)
}

// The form reaches the provider byte for byte but for the model, wherever that stands and
// whatever its length, on one connection after another and after a failover.
func TestTranscriptionForm(t *testing.T) {
	k, m := beside(t)
	file := append([]byte("RIFF"), tone(1)[4:]...)
	file = append(file, "\r\n--almost\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nevil\r\n"...)
	for i, pairs := range [][]string{
		{"model", "whisper-a", "file", "@a.wav", "prompt", "keep mock:keep=1", "user", "x"},
		{"file", "@a.wav", "prompt", "keep mock:keep=1", "model", "whisper-a"},
		{"timestamp_granularities[]", "word", "file", "@a \"quoted\".wav", "model", "whisper-a", "timestamp_granularities[]", "segment", "prompt", "keep mock:keep=1;first.status=500"},
	} {
		k.HealAll()
		body, kind := form(t, file, pairs...)
		r := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
		if r.status != 200 {
			t.Fatalf("%d: %d %s", i, r.status, r.body)
		}
		recs := ended(m, mockllm.Filter{})
		rec := recs[len(recs)-1]
		want := strings.Replace(body, "\r\n\r\nwhisper-a\r\n", "\r\n\r\n"+rec.Model+"\r\n", 1)
		if d := rec.Extra; d == nil || !bytes.Equal(d.Body, []byte(want)) {
			t.Errorf("%d: the body was changed", i)
		}
	}
	k.AtRest(t)
}

// By tokens, whole and as events.
func TestTranscriptionByTokens(t *testing.T) {
	k, _ := beside(t)
	body, kind := form(t, tone(10), "model", "scribe-a", "file", "@a.wav", "prompt", "abcd mock:out=5")
	r := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
	var a struct {
		Text  string
		Usage struct {
			In  int64 `json:"input_tokens"`
			Out int64 `json:"output_tokens"`
		}
	}
	if err := json.Unmarshal(r.body, &a); err != nil || r.status != 200 || a.Text == "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	check(t, "json", last(t, k, 1), units(usage.Input, int(a.Usage.In)-100, usage.AudioIn, 100, usage.Output, 5), usage.SourceReported,
		due(a.Usage.In-100, 2_500_000, 100, 6_000_000, 5, 10_000_000))

	body, kind = form(t, tone(10), "model", "scribe-a", "file", "@a.wav", "stream", "true", "prompt", "abcd mock:out=5")
	r = post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
	if r.status != 200 || strings.Count(string(r.body), "transcript.text.delta") != 5 || !strings.HasSuffix(string(r.body), "data: [DONE]\r\n\r\n") {
		t.Fatalf("%d %q", r.status, tail(r.body))
	}
	check(t, "events", last(t, k, 2), units(usage.Input, int(a.Usage.In)-100, usage.AudioIn, 100, usage.Output, 5), usage.SourceReported,
		due(a.Usage.In-100, 2_500_000, 100, 6_000_000, 5, 10_000_000))

	// Without the provider's figures: from the file and the words.
	for i, pairs := range [][]string{
		{"model", "scribe-a", "file", "@a.wav", "response_format", "text", "prompt", "mock:out=40"},
		{"model", "scribe-a", "file", "@a.wav", "prompt", "mock:out=40;usage=none"},
		{"model", "scribe-a", "file", "@a.wav", "prompt", "mock:out=40;usage_in=huge"},
		{"model", "scribe-a", "file", "@a.wav", "stream", "true", "prompt", "mock:out=40;cut=20"},
	} {
		body, kind = form(t, tone(10), pairs...)
		r = post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
		rec := last(t, k, i+3)
		if r.status != 200 || rec.Source != usage.SourceEstimated || rec.Units[usage.AudioIn] != 100 || rec.Units[usage.Output] == 0 || rec.Charge == 0 || rec.Charge > rec.Hold {
			t.Errorf("%d: %d %v %s charged %s of %s", i, r.status, rec.Units, rec.Source, rec.Charge, rec.Hold)
		}
	}
	k.AtRest(t)
}

func TestTranscriptionRefused(t *testing.T) {
	k, m := beside(t)
	for i, c := range []struct {
		file  string
		pairs []string
		param string
	}{
		{"RIFF", []string{"model", "whisper-a", "file", "@a.wav"}, "file"},
		{"not any sound at all, but words", []string{"model", "whisper-a", "file", "@a.wav"}, "file"},
		{"", []string{"model", "whisper-a", "file", "@a.wav"}, "file"},
		{string(tone(1)), []string{"file", "@a.wav"}, "model"},
		{string(tone(1)), []string{"model", "whisper-a"}, "file"},
		{string(tone(1)), []string{"model", "whisper-a", "model", "cheap", "file", "@a.wav"}, "model"},
		{string(tone(1)), []string{"model", "whisper-a", "Model", "cheap", "file", "@a.wav"}, "model"},
		{string(tone(1)), []string{"model", "whisper-a", "file", "@a.wav", "file", "@b.wav"}, "file"},
		{string(tone(1)), []string{"model", "whisper-a", "url", "https://example.com/a.wav"}, "url"},
		{string(tone(1)), []string{"model", "whisper-a", "file", "@a.wav", "stream", "maybe"}, "stream"},
		{string(tone(1)), []string{"model", "@whisper-a", "file", "@a.wav"}, "model"},
	} {
		body, kind := form(t, []byte(c.file), c.pairs...)
		r := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
		if r.status != 400 {
			t.Errorf("%d: %d", i, r.status)
		}
		refused(t, r, 400, "invalid_request", c.param)
	}
	refused(t, post(t, k, "/v1/audio/transcriptions", `{"model":"whisper-a"}`), 400, "invalid_request", "")
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}

// An Idempotency-Key works for forms and for plain answers as for any other.
func TestTranscriptionTwice(t *testing.T) {
	k, m := beside(t, proxytest.Options{Balance: 1 << 40, Now: time.Now})
	body, kind := form(t, tone(2), "model", "whisper-a", "file", "@a.wav", "response_format", "text")
	a := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind, "Idempotency-Key", "k1")
	b := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind, "Idempotency-Key", "k1")
	if a.status != 200 || b.status != 200 || !bytes.Equal(a.body, b.body) || b.header.Get("Content-Type") != a.header.Get("Content-Type") || b.header.Get("X-Relay-Replayed") == "" {
		t.Errorf("%d %q, then %d %q %v", a.status, a.body, b.status, b.body, b.header)
	}
	if n := len(m.Requests(mockFilter)); n != 1 {
		t.Errorf("%d upstream calls", n)
	}
	k.AtRest(t)
}
