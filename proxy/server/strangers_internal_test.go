package server

import (
	"testing"
	"time"
)

// A hundred a second are answered at once, whenever they come, and as many in one moment.
func TestStrangersAtOnce(t *testing.T) {
	s := strangers{waiters: waiters{end: make(chan struct{})}}
	count := func(now time.Duration) (n int) {
		for s.quick(int64(now)) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 100}, {0, 0}, {10 * time.Millisecond, 1}, {500 * time.Millisecond, 49}, {time.Hour, 100}} {
		if got := count(c.at); got != c.want {
			t.Errorf("at %v: %d at once, want %d", c.at, got, c.want)
		}
	}
}

// Whoever comes when as many wait as may is answered at once and has to connect again.
func TestTooManyStrangers(t *testing.T) {
	s := strangers{waiters: waiters{end: make(chan struct{})}}
	for s.quick(0) {
	}
	waits := func() bool { return true }
	s.waiting.Store(waitersMost)
	if s.slow(0, waits) {
		t.Error("one more than may wait goes on")
	}
	if n := s.waiting.Load(); n != waitersMost {
		t.Errorf("%d wait", n)
	}
	s.waiting.Add(-1)
	close(s.end)
	if !s.slow(0, waits) || s.waiting.Load() != waitersMost-1 || s.Slowed.Load() != 1 {
		t.Error("one that may wait did not, or waits still")
	}
}

// Whoever has left is not waited for.
func TestStrangersWhoLeft(t *testing.T) {
	s := strangers{waiters: waiters{end: make(chan struct{})}}
	for s.quick(0) {
	}
	if s.slow(0, func() bool { return false }) || s.waiting.Load() != 0 || s.Slowed.Load() != 0 {
		t.Error("one who has left is waited for")
	}
}
