package ship

import (
	"sync/atomic"
	"time"
)

// Clock is this machine's clock corrected to Postgres's: request ids follow it, so
// that all proxies agree on the month of a request however wrong their clocks are.
// The zero value has no correction. All methods are safe for concurrent use.
type Clock struct {
	offset atomic.Int64 // ns
	known  atomic.Bool
}

// clockStep is the error from which on the clock jumps; smaller ones are halved, as
// they may be delay on one way of the question.
const clockStep = 500 * time.Millisecond

// Observe notes that Postgres said dbNow to a question that was sent at sent and
// answered at got. Slow answers say too little and are ignored.
func (c *Clock) Observe(dbNow, sent, got time.Time) {
	took := got.Sub(sent)
	if took < 0 || took > time.Second {
		return
	}
	now := dbNow.Sub(sent.Add(took / 2))
	old := time.Duration(c.offset.Load())
	if diff := now - old; c.known.Swap(true) && diff.Abs() < clockStep {
		now = old + diff/2
	}
	c.offset.Store(int64(now))
}

// Offset is what Postgres's clock is ahead.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// Now returns the corrected time.
func (c *Clock) Now() time.Time { return time.Now().Add(c.Offset()) }
