package translate

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"tokenrelay/proxy/protocol"
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

// pair is a way of an answer: from an upstream's format to a customer's.
type pair struct{ from, to chat.Protocol }

// pairs are all ways of an answer, and those to one customer if only names it.
func pairs(only ...chat.Protocol) (list []pair) {
	for _, from := range upstreamFormats() {
		for _, to := range customers(from) {
			if len(only) == 0 || to == only[0] {
				list = append(list, pair{from, to})
			}
		}
	}
	return list
}

// ways adds the seeds of every pair: the files that end in suffix behind the upstream's name.
func ways(f *testing.F, list []pair, suffix string) {
	f.Helper()
	for i, p := range list {
		for _, b := range seeds(f, "testdata/*."+short[p.from]+suffix) {
			f.Add(b, uint8(i))
		}
	}
}

// fuzzed is a translation of an answer of whatever bytes. s may have served other answers:
// what is made of this one must not show it.
func fuzzed(s *Stream, p pair, body []byte, size int) []byte {
	cfg := protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up", Dialect: uint8(openai.Custom), AskedUsage: true, InputEstimate: 3}
	s.Begin(p.from, p.to, &cfg, &chat.Config{ID: []byte("01TEST"), Model: "shown", Created: 1_760_000_000, AskedUsage: true, InputEstimate: 3})
	out, _ := feed(s, body, size)
	return out
}

// Streams: whatever an upstream sends, the client's stream is made of events that
// are valid JSON each and keeps the grammar of its format, and does not depend on how
// the bytes arrive or on what the translation has served before.
func FuzzStream(f *testing.F) {
	list := pairs()
	ways(f, list, ".sse")
	var kept Stream
	f.Fuzz(func(t *testing.T, body []byte, way uint8) {
		checkStream(t, list[int(way)%len(list)], &kept, body)
	})
}

func checkStream(t *testing.T, p pair, kept *Stream, body []byte) {
	out, again := fuzzed(new(Stream), p, body, 0), fuzzed(kept, p, body, 7)
	if !bytes.Equal(out, again) {
		t.Fatalf("%q\nor\n%q", out, again)
	}
	_, datas := events(t, out)
	for _, d := range datas {
		if string(d) != "[DONE]" && (!json.Valid(d) || !utf8.Valid(d)) {
			t.Fatalf("no JSON: %q", d)
		}
	}
	switch p.to {
	case chat.Messages:
		readMessages(t, out, true)
	case chat.Responses:
		readResponses(t, out, true)
	}
}

// FuzzResponsesStream is FuzzStream for the customers of Responses alone, whose streams
// have the most rules.
func FuzzResponsesStream(f *testing.F) {
	list := pairs(chat.Responses)
	ways(f, list, ".sse")
	var kept Stream
	f.Fuzz(func(t *testing.T, body []byte, way uint8) {
		checkStream(t, list[int(way)%len(list)], &kept, body)
	})
}

// Whole answers.
func FuzzAnswer(f *testing.F) {
	list := pairs()
	ways(f, list, ".answer.json")
	var kept Stream
	f.Fuzz(func(t *testing.T, body []byte, way uint8) {
		checkAnswer(t, list[int(way)%len(list)], &kept, body)
	})
}

func checkAnswer(t *testing.T, p pair, s *Stream, body []byte) {
	s.Begin(p.from, p.to, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &chat.Config{ID: []byte("01TEST"), Model: "shown"})
	out, _, err := s.Buffered(nil, body)
	if err == nil && len(out) > 0 && (!json.Valid(out) || !utf8.Valid(out) && utf8.Valid(body)) {
		t.Fatalf("no JSON: %q", out)
	}
}

// FuzzResponsesAnswer is FuzzAnswer for the customers of Responses alone.
func FuzzResponsesAnswer(f *testing.F) {
	list := pairs(chat.Responses)
	ways(f, list, ".answer.json")
	var kept Stream
	f.Fuzz(func(t *testing.T, body []byte, way uint8) {
		checkAnswer(t, list[int(way)%len(list)], &kept, body)
	})
}
