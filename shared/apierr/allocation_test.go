//go:build !race

package apierr

import (
	"testing"

	"tokenrelay/shared/money"
)

func TestRefusalsAllocateNothing(t *testing.T) {
	buf, id := make([]byte, 0, 1024), []byte("req_01ARYZ6S41TSV4RRFFQ69G5FAV")
	var own Error
	if n := testing.AllocsPerRun(1000, func() {
		for shape := ShapeOpenAI; shape <= ShapeEnvelope; shape++ {
			buf = Append(buf[:0], shape, RateLimit(RateLimitedRPM, 12), id)
			buf = Append(buf[:0], shape, ErrInvalidAPIKey, id)
			buf = Append(buf[:0], shape, ErrProxyError, id)
			own.SetNotEnough(3*money.USD, money.USD)
			buf = Append(buf[:0], shape, &own, id)
			buf = AppendStreamError(buf[:0], shape, ErrUpstreamError, id)
		}
	}); n != 0 {
		t.Errorf("%v allocations for refusals", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	buf, id := make([]byte, 0, 1024), []byte("req_01ARYZ6S41TSV4RRFFQ69G5FAV")
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], ShapeOpenAI, RateLimit(RateLimitedRPM, 12), id)
	}
}
