package live

import "testing"

func BenchmarkWindow(b *testing.B) {
	var w Window
	now := 100 * minute
	b.ReportAllocs()
	for b.Loop() {
		now += 1e6
		w.Take(MaxCount, now)
	}
}

func BenchmarkBucket(b *testing.B) {
	var w Bucket
	now := 100 * minute
	b.ReportAllocs()
	for b.Loop() {
		now += 1e6
		w.Take(100, 1<<40, now)
	}
}

func BenchmarkCut(b *testing.B) {
	k := registry().Key(1, 1)
	for b.Loop() {
		if k.Cut() != CutNone {
			b.Fatal("cut")
		}
	}
}
