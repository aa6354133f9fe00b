//go:build !race

package peek

import (
	"strings"
	"testing"

	"tokenrelay/shared/price"
)

func TestAllocations(t *testing.T) {
	body := []byte(`{"m\u006fdel":"gpt\u002d5","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"é"},{"type":"image_url","image_url":{"url":"data:x"}}]}],"tools":[{"type":"function"},{"type":"web_search_1","max_uses":2}]}`)
	var r Request
	var b price.Bound
	if n := testing.AllocsPerRun(1000, func() {
		if Scan(body, OpenAIChat, &r) != nil || !r.Bound(1000, &b) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	gemini := []byte(`{"contents":[{"role":"user","parts":[{"text":"é"},{"inline_data":{"mime_type":"image/png","data":"AAAA"}}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}],"generation_config":{"maxOutputTokens":5}}`)
	if n := testing.AllocsPerRun(1000, func() {
		if Scan(gemini, GeminiGenerate, &r) != nil || !r.Bound(1000, &b) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("Gemini: %v allocations", n)
	}
}

func BenchmarkScan(b *testing.B) {
	for name, text := range map[string]string{"1KiB": strings.Repeat("some prose, ", 80), "64KiB": strings.Repeat("some prose, ", 5400), "64KiBwide": strings.Repeat("一些文字", 5400)} {
		body := []byte(`{"model":"gpt-5","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"` + text + `"}],"temperature":0.5,"max_tokens":100,"stream":true}`)
		b.Run(name, func(b *testing.B) {
			var r Request
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_ = Scan(body, OpenAIChat, &r)
			}
		})
	}
}
