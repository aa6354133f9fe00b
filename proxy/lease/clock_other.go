//go:build !linux

package lease

import "time"

var started = time.Now()

// Now is the time in ns of a clock that never jumps, the one that leases and rate
// limits go by. Elsewhere than on Linux it does not count suspends: such machines
// are for development.
func Now() int64 { return At(time.Now()) }

// At is what Now was at t, which time.Now gave a moment ago.
func At(t time.Time) int64 { return int64(t.Sub(started)) + 1 }
