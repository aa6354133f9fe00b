//go:build !race

package sse

import "testing"

var sample = []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\ndata: [DONE]\n\n")

func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() {
		var s Scanner
		for b := sample; ; {
			n := s.Next(b)
			if n == 0 {
				break
			}
			Parse(b[:n])
			b = b[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var s Scanner
		Parse(sample[:s.Next(sample)])
	}
}
