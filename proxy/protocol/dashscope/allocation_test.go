//go:build !race

package dashscope

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

func TestAllocations(t *testing.T) {
	cfg := protocol.StreamConfig{ClientModel: "qwen-mt", UpstreamModel: "qwen-mt-plus"}
	chunk := []byte(event(1, `{"model_name":"qwen-mt-plus","choices":[{"index":0,"finish_reason":"null","message":{"role":"assistant","content":" Paris","reasoning_content":"x","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}`))
	last := []byte(event(2, `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":""}}]}`))
	var s Stream
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		s.Reset(&cfg)
		buf, _ = s.Event(buf[:0], chunk)
		buf, _ = s.Event(buf, last)
		s.Progress()
	}); n != 0 {
		t.Errorf("an event: %v allocations", n)
	}
	whole := []byte(`{"output":{"text":"a","finish_reason":"stop"},"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`)
	if n := testing.AllocsPerRun(1000, func() {
		s.Reset(&cfg)
		buf, _, _ = s.Buffered(buf[:0], whole)
	}); n != 0 {
		t.Errorf("a whole answer: %v allocations", n)
	}
	var r peek.Request
	body := []byte(`{"model":"qwen-mt","input":{"messages":[{"role":"system","content":"be\u0020brief"},{"role":"user","content":[{"text":"hi"}]}]},"parameters":{"result_format":"message","enable_search":false,"search_options":{"search_strategy":"max"}}}`)
	edit := protocol.Edit{Model: "qwen-mt-plus", MaxTokens: 1024, MaxTokensField: "max_tokens"}
	if n := testing.AllocsPerRun(1000, func() {
		if peek.Scan(body, peek.DashScopeText, &r) != nil {
			t.Fatal("refused")
		}
		buf = AppendRequest(buf[:0], body, &r, &edit)
	}); n != 0 {
		t.Errorf("a request: %v allocations", n)
	}
	failed := []byte(`{"code":"Throttling","message":"Requests rate limit exceeded","request_id":"r"}`)
	id := []byte("req_1")
	if n := testing.AllocsPerRun(1000, func() {
		ErrorClass(429, []byte("20"), failed)
		buf = AppendPassedError(buf[:0], failed, &cfg, id)
	}); n != 0 {
		t.Errorf("an error: %v allocations", n)
	}
}
