package lease

import (
	"sync/atomic"

	"tokenrelay/shared/money"
)

// line keeps what many cores write off the cache lines of what they only read.
type line [64]byte

// Lease is a slice of one wallet in the hands of this proxy. What is free of it can
// be taken until its stop.
type Lease struct {
	id int64
	w  *Wallet

	_           line
	free        atomic.Int64 // nano-USD that nobody holds
	spent       atomic.Int64 // Σ charges settled here, shipped or not
	stop        atomic.Int64 // Now() from which nothing may be admitted, 0 = dead
	refillBelow atomic.Int64 // free under which a refill is asked for
	used        atomic.Bool  // since the last tick
	scarce      atomic.Bool  // what comes free is waited for elsewhere
	_           line

	// Under the wallet's lock.
	granted, returned money.Amount
	gseq, rseq        int64
}

// ID is the lease's row.
func (l *Lease) ID() int64 { return l.id }

// Settle ends a hold of this lease: charge of it is spent, the rest free again.
// 0 ≤ charge ≤ hold is the caller's; it is called once per hold.
func (l *Lease) Settle(hold, charge money.Amount) {
	if charge != 0 {
		l.spent.Add(int64(charge))
	}
	if hold != charge {
		l.release(hold - charge)
	}
}

// Void ends a hold of this lease: all of it is free again.
func (l *Lease) Void(hold money.Amount) { l.release(hold) }

// release makes money free again, and sees to its return where others wait for it.
func (l *Lease) release(amount money.Amount) {
	l.free.Add(int64(amount))
	if l.scarce.Load() {
		l.w.m.kick(l.w)
	}
}

// Take holds amount (> 0) of the wallet's lease at now (see Now): one atomic step,
// no allocation. false means that the lease has not got it: ask Manager.Hold.
func (w *Wallet) Take(amount money.Amount, now int64) (*Lease, bool) {
	l := w.cur.Load()
	if l == nil || !l.take(amount, now) {
		return nil, false
	}
	return l, true
}

func (l *Lease) take(amount money.Amount, now int64) bool {
	if now >= l.stop.Load() {
		return false
	}
	for {
		free := l.free.Load()
		if free < int64(amount) {
			return false
		}
		if !l.free.CompareAndSwap(free, free-int64(amount)) {
			continue
		}
		if free-int64(amount) < l.refillBelow.Load() {
			l.w.m.kick(l.w)
		}
		if !l.used.Load() {
			l.used.Store(true)
		}
		return true
	}
}

// drain takes what is free, at most limit, out of the lease and returns it.
func (l *Lease) drain(limit money.Amount) money.Amount {
	for {
		free := l.free.Load()
		part := min(free, int64(limit))
		if part <= 0 {
			return 0
		}
		if l.free.CompareAndSwap(free, free-part) {
			return money.Amount(part)
		}
	}
}

// held is what running requests hold of the lease (M6). Under the wallet's lock;
// a settle that runs beside it makes it too high for a moment, never too low.
// taken is what is out of free on its way to the database.
func (l *Lease) held(taken money.Amount) money.Amount {
	free := l.free.Load()
	return l.granted - l.returned - taken - money.Amount(free) - money.Amount(l.spent.Load())
}
