package reqid

import (
	"testing"
	"time"
)

func BenchmarkNew(b *testing.B) {
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		_ = New(now)
	}
}

func BenchmarkAppendTo(b *testing.B) {
	id, buf := New(time.Now()), make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = id.AppendTo(buf[:0])
	}
}
