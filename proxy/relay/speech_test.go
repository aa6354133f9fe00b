package relay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/usage"
)

func speech(model, input, more string) string {
	q, _ := json.Marshal(input)
	return `{"model":"` + model + `","input":` + string(q) + `,"voice":"alloy"` + more + `}`
}

// Sound passes byte for byte, with its own media type; characters are counted as the
// customer sees them, whatever they are in bytes or escapes.
func TestSpeechByCharacters(t *testing.T) {
	k, _ := beside(t)
	for i, c := range []struct {
		input string
		n     int
	}{{"hello, world", 12}, {"Grüße aus 東京 😀", 14}, {strings.Repeat("many words ", 300), 3300}} {
		r := post(t, k, "/v1/audio/speech", speech("tts-c", c.input, ""))
		if r.status != 200 || r.err != nil || r.header.Get("Content-Type") != "audio/mpeg" || len(r.body) != 3000*((len(c.input)+14)/15) {
			t.Fatalf("%d: %d, %s, %d bytes", i, r.status, r.header.Get("Content-Type"), len(r.body))
		}
		for n, b := range r.body {
			if n >= len("ID3\x04......") && b != byte(n%3000*7+n/3000) {
				t.Fatalf("byte %d was changed", n)
			}
		}
		check(t, c.input[:5], last(t, k, i+1), units(usage.Characters, c.n), usage.SourceEstimated, due(int64(c.n), 15_000_000))
	}
	r := post(t, k, "/v1/audio/speech", `{"model":"tts-c","input":"a\u00e9\ud83d\ude00\n","response_format":"opus","voice":"alloy"}`)
	if r.header.Get("Content-Type") != "audio/opus" {
		t.Error(r.header)
	}
	check(t, "escapes", last(t, k, 4), units(usage.Characters, 4), usage.SourceEstimated, due(4, 15_000_000))
	k.AtRest(t)
}

// A model priced by tokens: events carry the usage; sound as it is does not, and is
// estimated by its length where its size tells that, by its words where not.
func TestSpeechByTokens(t *testing.T) {
	k, m := beside(t)
	text := "a sentence of thirty characters" // 31 characters: three pieces
	r := post(t, k, "/v1/audio/speech", speech("tts-t", text, `,"stream_format":"sse"`))
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") || strings.Count(string(r.body), "speech.audio.delta") != 3 || !strings.Contains(string(r.body), `"speech.audio.done"`) {
		t.Fatalf("%d %s %s", r.status, r.header.Get("Content-Type"), tail(r.body))
	}
	check(t, "events", last(t, k, 1), units(usage.Input, 8, usage.AudioOut, 60), usage.SourceReported, due(8, 600_000, 60, 12_000_000))
	if u := ended(m, mockFilter)[0].Usage; u == nil || u.Output != 60 {
		t.Errorf("the mock says %+v", u)
	}

	r = post(t, k, "/v1/audio/speech", speech("tts-t", text, `,"response_format":"pcm"`))
	if r.status != 200 || len(r.body) != 9000 {
		t.Fatalf("%d, %d bytes", r.status, len(r.body))
	}
	rec := last(t, k, 2)
	if rec.Source != usage.SourceEstimated || rec.Units[usage.AudioOut] != (9000*20+47_999)/48_000 || rec.Units[usage.Input] == 0 || rec.Charge == 0 {
		t.Errorf("pcm: %+v", rec.Units)
	}
	r = post(t, k, "/v1/audio/speech", speech("tts-t", text, ""))
	if r.status != 200 {
		t.Fatal(r.status)
	}
	rec = last(t, k, 3)
	if n := rec.Units[usage.AudioOut]; rec.Source != usage.SourceEstimated || n < 30 || n > 60 {
		t.Errorf("mp3: %+v", rec.Units)
	}
	for script, source := range map[string]usage.Source{"usage=huge": usage.SourceEstimated, "usage=negative": usage.SourceEstimated, "usage=none": usage.SourceEstimated} {
		n := len(k.Records(t))
		r = post(t, k, "/v1/audio/speech", speech("tts-t", text+" mock:"+script, `,"stream_format":"sse"`))
		rec = last(t, k, n+1)
		if r.status != 200 || rec.Source != source || rec.Charge == 0 || rec.Charge > rec.Hold || rec.Charge > due(100, 600_000, 300, 12_000_000) {
			t.Errorf("%s: %d %s charged %s of %s", script, r.status, rec.Source, rec.Charge, rec.Hold)
		}
	}
	k.AtRest(t)
}

// Faults before the sound fail over; a cut amid it breaks the connection, and what is due is
// charged.
func TestSpeechFaults(t *testing.T) {
	k, _ := beside(t)
	r := post(t, k, "/v1/audio/speech", speech("tts-c", "hello mock:first.status=500", ""))
	if r.status != 200 || len(r.body) != 6000 {
		t.Fatalf("%d %s", r.status, tail(r.body))
	}
	check(t, "failover", last(t, k, 1), units(usage.Characters, 27), usage.SourceEstimated, due(27, 15_000_000))
	if rec := last(t, k, 1); rec.NumAttempts != 2 {
		t.Errorf("%d attempts", rec.NumAttempts)
	}
	k.HealAll()
	r = post(t, k, "/v1/audio/speech", speech("tts-c", strings.Repeat("long ", 2000)+"mock:cut_bytes=20000", ""))
	if r.status != 200 || r.err == nil || len(r.body) != 20000 {
		t.Errorf("cut: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	if rec := last(t, k, 2); rec.Status != usage.Failed || rec.Charge == 0 {
		t.Errorf("cut: %s, charged %s", rec.Status, rec.Charge)
	}
	k.HealAll()
	r = post(t, k, "/v1/audio/speech", speech("tts-c", "hello mock:error=bad_request", ""))
	if r.status != 400 || !strings.Contains(string(r.body), `"error"`) || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if rec := last(t, k, 3); rec.Charge != 0 {
		t.Errorf("a refused request costs %s", rec.Charge)
	}
	k.AtRest(t)
}

func TestSpeechRefused(t *testing.T) {
	k, m := beside(t)
	for body, param := range map[string]string{
		`{"model":"tts-c"}`:                                                "input",
		`{"input":"a"}`:                                                    "model",
		`{"model":"tts-c","input":""}`:                                     "input",
		`{"model":"tts-c","input":["a"]}`:                                  "input",
		`{"model":"tts-c","input":"a","input":"b"}`:                        "input",
		`{"model":"tts-c","input":"a","Input":"b"}`:                        "input",
		`{"model":"tts-c","input":"a","speed":9}`:                          "speed",
		`{"model":"tts-c","input":"a","speed":0.01}`:                       "speed",
		`{"model":"tts-c","input":"a","speed":"1"}`:                        "speed",
		`{"model":"tts-c","input":"a","stream_format":"x"}`:                "stream_format",
		`{"model":"tts-c","input":"` + strings.Repeat("x", 100_001) + `"}`: "input",
		`{"model":"claude-a","input":"a"}`:                                 "",
	} {
		r := post(t, k, "/v1/audio/speech", body)
		if param == "" {
			if r.status != 400 {
				t.Errorf("%s: %d", body, r.status)
			}
			continue
		}
		refused(t, r, 400, "invalid_request", param)
	}
	refused(t, post(t, k, "/v1/audio/speech", `{"model":"tts-c","input":"a","voice":{"id":"voice_1"}}`), 404, "not_found", "")
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
