package lease

import (
	"sync"
	"testing"
	"time"
)

// The clock is the kernel's, whatever the wall has done meanwhile: what was known of it
// before a suspend, or before somebody set the wall, is not used any more.
func TestNowIsTheKernelsClock(t *testing.T) {
	check := func(when string) {
		t.Helper()
		least := int64(1 << 62)
		for range 20 { // a thread may have to wait between the two
			before := boottime()
			now := Now()
			after := boottime()
			if now < before-int64(50*time.Microsecond) || now > after+int64(50*time.Microsecond) {
				least = min(least, max(before-now, now-after))
				continue
			}
			return
		}
		t.Errorf("%s: %s off", when, time.Duration(least))
	}
	check("at first")
	k := *known.Load()
	for when, d := range map[string]distances{
		"behind a suspend of an hour":      {k.clock - int64(time.Hour), k.wall - int64(time.Hour)},
		"behind a suspend of 2 ms":         {k.clock - int64(2*time.Millisecond), k.wall - int64(2*time.Millisecond)},
		"when the wall was set back":       {k.clock, k.wall + int64(time.Minute)},
		"when the wall was set forth":      {k.clock, k.wall - int64(time.Minute)},
		"when nothing is known of it":      {0, 0},
		"when the wall has crept by 20 µs": {k.clock, k.wall - 20_000},
	} {
		known.Store(&d)
		check(when)
		check(when + ", again")
	}
}

// Threads that find the clock old at once leave it right.
func TestNowByManyThreads(t *testing.T) {
	for range 200 {
		k := *known.Load()
		known.Store(&distances{k.clock - int64(time.Hour), k.wall - int64(time.Hour)})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				before := boottime()
				if now := Now(); now < before-int64(time.Millisecond) {
					t.Errorf("%s behind", time.Duration(before-now))
				}
			})
		}
		all.Wait()
	}
}

func BenchmarkKernelsClock(b *testing.B) {
	for b.Loop() {
		boottime()
	}
}
