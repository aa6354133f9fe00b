package server

import (
	"sync/atomic"
	"time"
)

// waiters are requests that are made to wait: at most so many, and none beyond the server's end.
type waiters struct {
	waiting atomic.Int64
	end     chan struct{} // closed when the server ends

	Slowed atomic.Int64 // requests that waited
}

// waitersMost bounds what waiting costs, some 20 KiB each.
const waitersMost = 2048

// wait waits for as long as delay says for the nth of those who wait now; false: they are too
// many, and nobody waited.
func (w *waiters) wait(delay func(n int64) time.Duration) bool {
	defer w.waiting.Add(-1)
	n := w.waiting.Add(1)
	if n > waitersMost {
		return false
	}
	w.Slowed.Add(1)
	t := time.NewTimer(delay(n))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.end:
	}
	return true
}
