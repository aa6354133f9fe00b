//go:build !race

package openai

import (
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/template"
	"tokenrelay/shared/peek"
)

var (
	chunk = []byte(`data: {"id":"chatcmpl-C4Hq5a6K3RaPMymUv70btQNYv6SvY","object":"chat.completion.chunk","created":1755137921,"model":"gpt-5-nano-2025-08-07","service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{"content":" Paris"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"WuQNX"}` + "\n\n")
	last  = []byte(`data: {"id":"chatcmpl-C4Hq5a6K3RaPMymUv70btQNYv6SvY","object":"chat.completion.chunk","created":1755137921,"model":"gpt-5-nano-2025-08-07","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":100,"total_tokens":112,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":100}}}` + "\n\n")
	whole = []byte(wholeAnswer("chatcmpl-C4Hq5a6K3RaPMymUv70btQNYv6SvY", 1755137921, "gpt-5-nano-2025-08-07", strings.Repeat("The quick brown fox. ", 25), 412, 100, 0, 0))
	cfg   = protocol.StreamConfig{ClientModel: "gpt-5-nano", UpstreamModel: "gpt-5-nano-2025-08-07", Dialect: uint8(OpenAI)}
	body  = []byte(`{"model":"gpt-5-nano","messages":[{"role":"user","content":"hi"}],"stream":true}`)
)

func TestAllocations(t *testing.T) {
	var s Stream
	s.Reset(&cfg)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		buf = buf[:0]
		buf, _ = s.Event(buf, chunk)
		buf, _ = s.Event(buf, last)
		s.Progress()
	}); n != 0 {
		t.Errorf("an event: %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		s.Reset(&cfg)
		buf, _, _ = s.Buffered(buf[:0], chunk[6:])
	}); n != 0 {
		t.Errorf("a whole answer: %v allocations", n)
	}
	learns := cfg
	learns.Answers = new(template.Kept)
	if n := testing.AllocsPerRun(1000, func() { // of which the first makes the template
		s.Reset(&learns)
		buf, _, _ = s.Buffered(buf[:0], whole)
	}); n != 0 || learns.Answers.Get() == nil {
		t.Errorf("a whole answer that is like the one before: %v allocations, template %v", n, learns.Answers.Get())
	}
	var r peek.Request
	edit := protocol.Edit{Model: "gpt-5-nano-2025-08-07", IncludeUsage: true, MaxTokens: 1024, MaxTokensField: "max_completion_tokens"}
	if n := testing.AllocsPerRun(1000, func() {
		if peek.Scan(body, peek.OpenAIChat, &r) != nil {
			t.Fatal("refused")
		}
		buf = AppendRequest(buf[:0], body, &r, &edit)
	}); n != 0 {
		t.Errorf("a request: %v allocations", n)
	}
	failed := []byte(`{"error":{"message":"Rate limit reached for up in organization org-abc","type":"requests","code":"rate_limit_exceeded"}}`)
	if n := testing.AllocsPerRun(1000, func() {
		ErrorClass(429, []byte("20"), failed, OpenAI)
		buf = AppendPassedError(buf[:0], failed, &cfg)
	}); n != 0 {
		t.Errorf("an error: %v allocations", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	var s Stream
	s.Reset(&cfg)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		buf, _ = s.Event(buf[:0], chunk)
	}
}

func BenchmarkAnswer(b *testing.B) {
	for name, kept := range map[string]*template.Kept{"walked": nil, "alike": new(template.Kept)} {
		b.Run(name, func(b *testing.B) {
			c := cfg
			c.Answers = kept
			var s Stream
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			b.SetBytes(int64(len(whole)))
			for b.Loop() {
				s.Reset(&c)
				buf, _, _ = s.Buffered(buf[:0], whole)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	var r peek.Request
	_ = peek.Scan(body, peek.OpenAIChat, &r)
	edit := protocol.Edit{Model: "gpt-5-nano-2025-08-07", IncludeUsage: true}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRequest(buf[:0], body, &r, &edit)
	}
}
