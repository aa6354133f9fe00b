package live

import (
	"math/bits"
	"sync/atomic"
)

const (
	minute = int64(60e9)
	tick   = int64(500e6) // resolution of a window's start
	span   = minute / tick

	startBits = 24
	countBits = 20
	startMask = 1<<startBits - 1
)

// MaxCount is the highest limit that a Window can hold; a higher one is held to it.
const MaxCount = 1<<countBits - 1

// Window limits events per minute: a sliding window counter in one atomic word.
//
// The window begins with the first event (rounded up to half a second), so the
// first minute lets exactly the limit pass. Later the count of the window before
// weighs in with the share of it that is still within the last minute. The zero
// value is ready.
//
// The word is start (24 bits, half seconds, wraps after 97 days) | count of the
// window before (20) | count (20). A key that was idle for exactly those 97 days
// meets its old counts for a minute, which can only refuse.
type Window struct{ word atomic.Uint64 }

type cell struct {
	start     int64 // in ticks, of startMask
	prev, cur int64
}

func unpack(word uint64) cell {
	return cell{int64(word >> (2 * countBits)), int64(word >> countBits & MaxCount), int64(word & MaxCount)}
}

func (c *cell) pack() uint64 {
	return uint64(c.start)<<(2*countBits) | uint64(c.prev)<<countBits | uint64(c.cur)
}

// roll brings c to the window of now and returns the time since its start in ns,
// negative by less than a tick if it is just about to begin.
func (c *cell) roll(now int64) (elapsed int64) {
	if c.prev != 0 || c.cur != 0 {
		d := (now/tick - c.start) & startMask
		if d == startMask {
			return now%tick - tick // start was rounded up
		}
		switch {
		case d < span:
			return d*tick + now%tick
		case d < 2*span && c.cur != 0:
			c.start = (c.start + span) & startMask
			c.prev, c.cur = c.cur, 0
			return (d-span)*tick + now%tick
		}
	}
	*c = cell{start: (now + tick - 1) / tick & startMask}
	if now%tick == 0 {
		return 0
	}
	return now%tick - tick
}

// weight is how much of the window before counts.
func (c *cell) weight(elapsed int64) int64 {
	return c.prev * (minute - max(0, elapsed)) / minute
}

// wait is the time until one more event is let through, 0 = now.
func (c *cell) wait(limit, elapsed int64) int64 {
	if c.weight(elapsed)+c.cur+1 <= limit {
		return 0
	}
	if room := limit - 1 - c.cur; room >= 0 {
		// Until prev × (minute − e)/minute < room + 1.
		return minute - (room+1)*minute/c.prev + 1 - elapsed
	}
	// The window has to end, and then its own count to fade.
	if limit <= 0 {
		return 2*minute - elapsed
	}
	return minute - elapsed + max(0, minute-limit*minute/c.cur) + 1
}

// Take counts one event at now, unless limit (> 0) of them were counted in the last
// minute. began identifies the window for Back; a refused event gets the time in ns
// after which a lone caller will be let through.
func (w *Window) Take(limit, now int64) (began int64, wait int64, ok bool) {
	limit = min(limit, MaxCount)
	for {
		word := w.word.Load()
		c := unpack(word)
		elapsed := c.roll(now)
		if wait := c.wait(limit, elapsed); wait > 0 {
			return 0, wait, false
		}
		c.cur++
		if w.word.CompareAndSwap(word, c.pack()) {
			return c.start, 0, true
		}
	}
}

// Count counts one event at now without asking: somebody else let it through.
func (w *Window) Count(now int64) (began int64) {
	for {
		word := w.word.Load()
		c := unpack(word)
		c.roll(now)
		c.cur = min(c.cur+1, MaxCount)
		if w.word.CompareAndSwap(word, c.pack()) {
			return c.start
		}
	}
}

// State is what is counted at now: the time in ns since the window began (negative if
// it is about to), the count of the window before, and its own.
func (w *Window) State(now int64) (elapsed, prev, cur int64) {
	c := unpack(w.word.Load())
	elapsed = c.roll(now)
	return elapsed, c.prev, c.cur
}

// Back takes back an event that Take counted in the window began.
func (w *Window) Back(began int64) {
	for {
		word := w.word.Load()
		c := unpack(word)
		switch {
		case c.start == began && c.cur > 0:
			c.cur--
		case c.start == (began+span)&startMask && c.prev > 0:
			c.prev--
		default:
			return
		}
		if w.word.CompareAndSwap(word, c.pack()) {
			return
		}
	}
}

// Left is how many events would be let through at now, and the time in ns until
// none of those counted weighs any more.
func (w *Window) Left(limit, now int64) (left, reset int64) {
	limit = min(limit, MaxCount)
	c := unpack(w.word.Load())
	elapsed := c.roll(now)
	left = max(0, limit-c.weight(elapsed)-c.cur)
	switch {
	case c.cur > 0:
		reset = 2*minute - elapsed
	case c.prev > 0:
		reset = minute - elapsed
	}
	return left, reset
}

// count is how much weighs at now.
func (w *Window) count(now int64) int64 {
	c := unpack(w.word.Load())
	elapsed := c.roll(now)
	return c.weight(elapsed) + c.cur
}

func (w *Window) idle(now int64) bool {
	c := unpack(w.word.Load())
	c.roll(now)
	return c.cur == 0 && c.prev == 0
}

// Bucket limits tokens per minute: a bucket that holds one minute's limit and is
// refilled evenly, as one atomic word: the time at which it will be full. It may be
// overdrawn by Correct. The zero value is a full bucket.
type Bucket struct{ full atomic.Int64 }

// cost is the time in which n tokens flow in.
func cost(n, limit int64) int64 {
	if n <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(minute))
	if hi >= uint64(limit) {
		return 1 << 60
	}
	q, _ := bits.Div64(hi, lo, uint64(limit))
	return int64(min(q, 1<<60))
}

// Take draws n tokens at now if the bucket has them; more than a full bucket holds
// is let through when it is full, and overdraws it. limit > 0. A refused draw gets
// the time in ns after which a lone caller will be let through.
func (b *Bucket) Take(n, limit, now int64) (wait int64, ok bool) {
	c := cost(n, limit)
	for {
		full := b.full.Load()
		missing := max(0, full-now)
		if missing > 0 && missing+c > minute {
			return missing - max(0, minute-c), false
		}
		if b.full.CompareAndSwap(full, max(full, now)+c) {
			return 0, true
		}
	}
}

// Draw draws n tokens at now without asking: somebody else let them through.
func (b *Bucket) Draw(n, limit, now int64) {
	c := cost(n, limit)
	for {
		full := b.full.Load()
		if b.full.CompareAndSwap(full, max(full, now)+c) {
			return
		}
	}
}

// Missing is the time in ns until the bucket is full.
func (b *Bucket) Missing(now int64) int64 { return max(0, b.full.Load()-now) }

// Correct draws n more tokens, or gives −n back, without asking: what a request
// really used, less what it drew.
func (b *Bucket) Correct(n, limit int64) {
	switch {
	case limit <= 0:
	case n > 0:
		b.full.Add(cost(n, limit))
	case n < 0:
		b.full.Add(-cost(-n, limit))
	}
}

// Left is how many tokens the bucket holds at now, and the time in ns until it is
// full.
func (b *Bucket) Left(limit, now int64) (left, reset int64) {
	missing := max(0, b.full.Load()-now)
	if missing >= minute {
		return 0, missing
	}
	hi, lo := bits.Mul64(uint64(minute-missing), uint64(limit))
	q, _ := bits.Div64(hi, lo, uint64(minute))
	return int64(q), missing
}

func (b *Bucket) idle(now int64) bool { return b.full.Load() <= now }
