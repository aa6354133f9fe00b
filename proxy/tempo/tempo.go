// Package tempo has the background work of a proxy wake at common instants: heartbeat,
// feed, limits, shipping and the journal's keeper each have their own period, and a
// process that is woken once for all of them pays once for the waking, which costs more
// than most of what they do.
package tempo

import (
	"context"
	"sync/atomic"
	"time"
)

var phase atomic.Int64

// SetPhase shifts the instants of this process, so that those of several proxies with
// good clocks are not the same.
func SetPhase(d time.Duration) { phase.Store(int64(d)) }

// Until is the time to the next instant that is a multiple of d, above 0 and at most
// 9/8 of d: an instant that is nearly there, or was met a little too early, is let pass.
func Until(d time.Duration) time.Duration {
	left := d - time.Duration((time.Now().UnixNano()+phase.Load())%int64(d))
	if left < d/8 {
		left += d
	}
	return left
}

// Wait waits for the next instant of d; false if ctx ended.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(Until(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
