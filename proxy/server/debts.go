package server

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/shared/apierr"
)

// debts bounds what a customer's unusable bodies cost the others.
//
// A megabyte that turns out to be no request (it is compressed, nested without end, no JSON,
// for no model) has been carried and read all the same, and as it is refused no limit of the
// key counts it. Such bodies are owed for: from some megabytes on the customer's next large
// bodies are read only as fast as that is paid off, each in its turn, and whoever stands too
// far behind is refused unread. Small bodies, and other customers, wait for nothing.
type debts struct {
	waiters
	of sync.Map // client id → *debt; only those who ever sent such bodies
}

// debt is up to when, ns of Server.start, what is owed will be paid.
type debt struct{ until atomic.Int64 }

const (
	debtRate = 1 << 20         // bytes that are paid off in a second
	debtFree = 4 * time.Second // what may be owed without consequences
	debtMost = 5 * time.Second // the longest that a turn is waited for
)

// worth is the time that so many bytes take to be paid off; below 0 = not known.
func worth(n int) int64 {
	if n < 0 {
		n = coldBody
	}
	return int64(n) * (int64(time.Second) / debtRate)
}

// add notes a body of n bytes that was of no use; now is ns of Server.start.
func (d *debts) add(client int64, n int, now int64) {
	v, ok := d.of.Load(client)
	if !ok {
		v, _ = d.of.LoadOrStore(client, new(debt))
	}
	b := v.(*debt)
	for {
		until := b.until.Load()
		if b.until.CompareAndSwap(until, max(until, now)+worth(n)) {
			return
		}
	}
}

// forgive takes back what turn took: the body was a request.
func (d *debts) forgive(client, paid int64) {
	if v, ok := d.of.Load(client); ok {
		v.(*debt).until.Add(-paid)
	}
}

// turn waits until a body of n bytes may be read, and takes what it costs if it is of no
// use, which is 0 for a customer who owes little. An error refuses the request.
func (d *debts) turn(client int64, n int, now int64) (paid int64, err *apierr.Error) {
	v, ok := d.of.Load(client)
	if !ok {
		return 0, nil
	}
	b := v.(*debt)
	if b.until.Load()-now <= int64(debtFree) {
		return 0, nil
	}
	paid = worth(n)
	wait := time.Duration(b.until.Add(paid) - paid - int64(debtFree) - now)
	if wait > debtMost {
		b.until.Add(-paid)
		paid, err = 0, apierr.New(apierr.RateLimitedConc, errInDebt).WithRetryAfter(int(wait/time.Second)+1)
		wait = time.Second + rand.N(time.Second) // whoever is refused comes again
	}
	d.wait(func(int64) time.Duration { return wait }) // too many: they are not slowed down further
	return paid, err
}

const errInDebt = "Large request bodies of this account could not be used (not JSON, compressed, nested too deep, or without a known model), and are taken more slowly for a while."
