package translate

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/peek"
)

// Requests: whatever peek accepts becomes valid JSON or a 400 that names a member;
// what peek refuses makes nothing panic.
func FuzzRequest(f *testing.F) {
	for from, list := range samples {
		for _, s := range list {
			f.Add(overlay(f, bases[from], s), uint8(from))
		}
	}
	for i := range sources() { // broken off, as peek lets none through
		f.Add([]byte(`{"generationConfig":"`), uint8(i))
		f.Add([]byte(`{"generationConfig":{"thinkingConfig":,"responseSchema":}}`), uint8(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, source uint8) {
		from := sources()[int(source)%len(sources())]
		var p peek.Request
		accepted := peek.Scan(body, shapes[from], &p) == nil
		for _, to := range targets(from) {
			var r chat.Request
			err := Request(from, body, &r)
			if err == nil {
				r.MaxTokens = 5000
				var out []byte
				out, err = AppendRequest(nil, &r, to, "claude-gpt-5-gemini-3-flash", openai.OpenAI)
				if err == nil && accepted && !json.Valid(out) {
					t.Fatalf("no JSON: %s", out)
				}
			}
			if err != nil && (err.Status != 400 || err.Param == "") {
				t.Fatalf("%+v", err)
			}
			for _, c := range r.AppendDropped(nil) {
				if c <= ' ' || c >= 0x7f {
					t.Fatalf("the header would hold %q", r.AppendDropped(nil))
				}
			}
		}
	})
}

// Streams: whatever an upstream sends, the client's stream is made of events that
// are valid JSON each, and does not depend on how the bytes arrive.
func FuzzStream(f *testing.F) {
	for _, from := range upstreamFormats() {
		for _, b := range seeds(f, "testdata/*."+short[from]+".sse") {
			f.Add(b, uint8(from))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, source uint8) {
		from := upstreamFormats()[int(source)%len(upstreamFormats())]
		for _, to := range customers(from) {
			out, _, _ := run(t, from, to, openai.Custom, body, true, true, 0)
			again, _, _ := run(t, from, to, openai.Custom, body, true, true, 7)
			if string(out) != string(again) {
				t.Fatalf("%q\nor\n%q", out, again)
			}
			_, datas := events(t, out)
			for _, d := range datas {
				if string(d) != "[DONE]" && (!json.Valid(d) || !utf8.Valid(d)) {
					t.Fatalf("no JSON: %q", d)
				}
			}
		}
	})
}

// Whole answers.
func FuzzAnswer(f *testing.F) {
	for _, from := range upstreamFormats() {
		for _, b := range seeds(f, "testdata/*."+short[from]+".answer.json") {
			f.Add(b, uint8(from))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, source uint8) {
		from := upstreamFormats()[int(source)%len(upstreamFormats())]
		for _, to := range customers(from) {
			s := start(from, to)
			out, _, err := s.Buffered(nil, body)
			if err == nil && len(out) > 0 && !json.Valid(out) {
				t.Fatalf("no JSON: %q", out)
			}
		}
	})
}
