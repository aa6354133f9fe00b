//go:build !race

package price

import (
	"testing"

	"tokenrelay/shared/usage"
)

func example(tb testing.TB) (*Rule, *usage.Units, *Bound) {
	tb.Helper()
	table, err := ParseTable(map[string]string{"input": "1.25", "cache_read": "0.125", "output": "10"}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r := &Rule{
		Version:  &Version{ID: 1, Base: table, Tiers: []Tier{{AboveInput: 200_000, Table: table}}},
		ModelPPM: PPM, GroupPPM: 900_000, ClientPPM: 1_100_000,
	}
	u := new(usage.Units)
	u[usage.Input], u[usage.CacheRead], u[usage.Output], u[usage.Request] = 200, 1000, 300, 1
	return r, u, &Bound{InputTokens: 300_000, OutputTokens: 4096}
}

func TestChargeAndCeilingAllocateNothing(t *testing.T) {
	r, u, b := example(t)
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Charge(u); err != nil {
			t.Fail()
		}
		ceiling, err := r.Ceiling(b)
		if err != nil || r.OutputFor(b, ceiling) != b.OutputTokens {
			t.Fail()
		}
		_ = r.Unpriced(u)
		buf = AppendVersion(buf[:0], r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCharge(b *testing.B) {
	r, u, _ := example(b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Charge(u)
	}
}

func BenchmarkCeiling(b *testing.B) {
	r, _, bound := example(b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Ceiling(bound)
	}
}

func BenchmarkOutputFor(b *testing.B) {
	r, _, bound := example(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = r.OutputFor(bound, 40_000_000)
	}
}
