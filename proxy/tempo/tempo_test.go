package tempo

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Two periods that began at different times meet at their common instants, whatever their
// work takes, and none is left out for longer than 9/8 of its period.
func TestPeriodsMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		seen := make([]map[time.Time]bool, 2)
		for i, d := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond} {
			seen[i] = map[time.Time]bool{}
			go func() {
				time.Sleep(time.Duration(i+1) * 7 * time.Millisecond)
				last := time.Now()
				for Wait(ctx, d) {
					if gap := time.Since(last); gap > d+d/8 || gap <= 0 {
						t.Errorf("a wait of %v for %v", gap, d)
					}
					last = time.Now()
					seen[i][last] = true
					time.Sleep(3 * time.Millisecond) // its work
				}
			}()
		}
		time.Sleep(10*time.Second + time.Millisecond)
		cancel()
		time.Sleep(time.Second) // their ends
		if len(seen[0]) < 39 || len(seen[1]) < 19 {
			t.Fatalf("%d and %d turns", len(seen[0]), len(seen[1]))
		}
		for at := range seen[1] {
			if !seen[0][at] {
				t.Errorf("alone at %v", at)
			}
		}
	})
}

// A phase moves the instants.
func TestPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer SetPhase(0)
		before := Until(time.Second)
		SetPhase(400 * time.Millisecond)
		if got := Until(time.Second); got != before-400*time.Millisecond {
			t.Errorf("%v, without a phase %v", got, before)
		}
	})
}
