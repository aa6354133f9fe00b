//go:build !race

package anthropic

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

var (
	start = []byte(event("message_start", `{"type":"message_start","message":{"model":"claude-sonnet-4-5-20250929","id":"msg_01","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1128,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":2,"service_tier":"standard"}}}`))
	delta = []byte(event("content_block_delta", `{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" answer is **4**."}         }`))
	last  = []byte(event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":2411,"output_tokens":145,"iterations":[{"input_tokens":1128,"output_tokens":135,"type":"message"},{"input_tokens":2543,"output_tokens":18,"type":"advisor_message","model":"m"}]}}`))
	cfg   = protocol.StreamConfig{ClientModel: "claude-sonnet-4.5", UpstreamModel: "claude-sonnet-4-5-20250929"}
)

func TestAllocations(t *testing.T) {
	var s Stream
	buf := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(1000, func() {
		s.Reset(&cfg)
		buf, _ = s.Event(buf[:0], start)
		buf, _ = s.Event(buf, delta)
		buf, _ = s.Event(buf, last)
		s.Progress()
	}); n != 0 {
		t.Errorf("events: %v allocations", n)
	}
	body := []byte(`{"model":"claude-sonnet-4.5","max_tokens":5,"messages":[],"stream":true}`)
	var r peek.Request
	edit := protocol.Edit{Model: "claude-sonnet-4-5-20250929", MaxTokens: 4}
	if n := testing.AllocsPerRun(1000, func() {
		if peek.Scan(body, peek.AnthropicMessages, &r) != nil {
			t.Fatal("refused")
		}
		buf = AppendRequest(buf[:0], body, &r, &edit)
	}); n != 0 {
		t.Errorf("a request: %v allocations", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	var s Stream
	s.Reset(&cfg)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(delta)))
	for b.Loop() {
		buf, _ = s.Event(buf[:0], delta)
	}
}
