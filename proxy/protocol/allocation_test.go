//go:build !race

package protocol

import "testing"

func TestAllocations(t *testing.T) {
	method := []byte("POST")
	for _, path := range []string{"/v1/chat/completions", "/v1/openai/v1/chat/completions", "/anthropic/v1/messages", "/v1/nothing", "/openapi/v1/balance"} {
		p := []byte(path)
		if n := testing.AllocsPerRun(1000, func() { Lookup(method, p, false, providers) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	method, path := []byte("POST"), []byte("/v1/chat/completions")
	b.ReportAllocs()
	for b.Loop() {
		Lookup(method, path, false, providers)
	}
}
