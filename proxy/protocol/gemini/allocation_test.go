//go:build !race

package gemini

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

func TestAllocations(t *testing.T) {
	var s Stream
	buf := make([]byte, 0, 8192)
	one, end := []byte(event(said)), []byte(event(last))
	for _, array := range []bool{false, true} {
		cfg := protocol.StreamConfig{ClientModel: "gemini-shown", UpstreamModel: "gemini-up", Array: array}
		if n := testing.AllocsPerRun(1000, func() {
			s.Reset(&cfg)
			buf, _ = s.Event(buf[:0], one)
			buf, _ = s.Event(buf, end)
			s.Progress()
		}); n != 0 {
			t.Errorf("events (array: %v): %v allocations", array, n)
		}
	}
	body := []byte(`{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"topK":1}}`)
	var r peek.Request
	edit := protocol.Edit{Model: "gemini-up", MaxTokens: 4}
	if n := testing.AllocsPerRun(1000, func() {
		if peek.Scan(body, peek.GeminiGenerate, &r) != nil {
			t.Fatal("refused")
		}
		buf = AppendRequest(buf[:0], body, &r, &edit)
	}); n != 0 {
		t.Errorf("a request: %v allocations", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	var s Stream
	s.Reset(&protocol.StreamConfig{ClientModel: "gemini-shown", UpstreamModel: "gemini-up"})
	buf, ev := make([]byte, 0, 4096), []byte(event(said))
	b.ReportAllocs()
	b.SetBytes(int64(len(ev)))
	for b.Loop() {
		buf, _ = s.Event(buf[:0], ev)
	}
}
