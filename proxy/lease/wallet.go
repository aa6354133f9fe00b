package lease

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Wallet is where holds take their money from: the wallet of a client, or the room
// under a key's cap. There is one object per escrow, made by Manager.Wallet or
// Manager.Budget.
type Wallet struct {
	m      *Manager
	escrow store.Escrow
	cur    atomic.Pointer[Lease] // the open lease, nil = none
	kicked atomic.Bool           // a refill was asked for and not yet looked at

	mu      sync.Mutex
	serving bool          // a goroutine does the wallet's database actions
	nudge   chan struct{} // ends that goroutine's sleep

	act      action // under way, or to be repeated because its answer was lost
	inFlight bool   // act's answer is awaited
	retryAt  int64  // act is not repeated before
	failures int    // in a row, of act

	waiters []*waiter // requests that wait for money, oldest first
	round   int       // refusals in a row of what they wait for
	recall  int64     // number of the recall that others must answer before these refusals are believed
	graceAt int64     // other proxies give back until then; no grant before
	freed   bool      // one of them did since the latest grant was asked for: it is asked again at once

	// A refusal is remembered until refusedUntil: what could still be granted then,
	// the amount above which it holds, and what sat with proxies that did not answer.
	// What is free here comes on top.
	refusedUntil int64
	refusedHave  money.Amount
	refusedAbove money.Amount
	unanswered   store.Unanswered

	brokenUntil   int64 // the database refused for a reason that waiting does not mend
	recalled      bool  // somebody else was refused and is to be answered
	heard         int64 // number of the newest recall that was heard of
	scarceUntil   int64 // what comes free goes back until then
	refill        bool
	noRefillUntil int64
	dry           int // refills in a row that got less than asked
	lastUse       int64
	lastReturn    int64
	plentySince   int64 // free has been above twice the target since, 0 = it is not

	size sizing
}

// WalletID is the client's wallet, 0 for a budget.
func (w *Wallet) WalletID() int64 { return w.escrow.WalletID }

// Period is the month (yyyymm) of a monthly budget, 0 otherwise.
func (w *Wallet) Period() int32 { return w.escrow.Period }

type actionKind uint8

const (
	nothing  actionKind = iota
	grant               // borrow
	giveBack            // return amount
	renew               // a lease past its stop
	look                // find out how much is with proxies that do not answer
)

// action is one call to the database. Its numbers do not change while it is
// repeated: the database takes it once (gseq, rseq).
type action struct {
	kind         actionKind
	lease        *Lease
	seq          int64
	need, target money.Amount // grant
	amount       money.Amount // giveBack: already out of free
	recall       int64        // look: that others must have answered; giveBack: the newest that this answers
	early        bool         // grant: because money came back, before graceAt
	close        bool
	sent         int64 // Now() before this attempt
}

type result struct {
	grant      store.Grant
	open       bool // renew
	unanswered store.Unanswered
	err        error
}

// waiter is a request that waits for money.
type waiter struct {
	amount money.Amount
	done   bool
	answer chan verdict // room for one
}

type verdict struct {
	lease   *Lease
	refusal Refusal
}

func (w *Wallet) answer(t *waiter, v verdict) {
	t.done = true
	t.answer <- v
}

// serveWaiters lets those who wait take what is free, oldest first.
func (w *Wallet) serveWaiters(now int64) {
	l := w.cur.Load()
	if l == nil {
		return
	}
	w.refuseWaiters(func(t *waiter) (verdict, bool) {
		if l.take(t.amount, now) {
			w.lastUse = now
			return verdict{lease: l}, true
		}
		return verdict{}, false
	})
}

// refuseWaiters answers the waiters for which f has an answer.
func (w *Wallet) refuseWaiters(f func(*waiter) (verdict, bool)) {
	kept := w.waiters[:0]
	for _, t := range w.waiters {
		if v, ok := f(t); ok {
			w.answer(t, v)
		} else {
			kept = append(kept, t)
		}
	}
	clear(w.waiters[len(kept):])
	w.waiters = kept
	if len(kept) == 0 {
		w.waiters, w.round, w.recall, w.graceAt, w.freed = nil, 0, 0, 0, false
	}
}

func (w *Wallet) failWaiters(r Refusal) {
	w.refuseWaiters(func(*waiter) (verdict, bool) { return verdict{refusal: r}, true })
}

// refusal is the remembered answer to a hold of amount, Kind 0 if there is none.
func (w *Wallet) refusal(amount money.Amount, now int64) Refusal {
	if now >= w.refusedUntil {
		return Refusal{}
	}
	free := w.free()
	if w.act.kind == giveBack {
		free += w.act.amount // on its way back: not refused, and nobody else's yet
	}
	switch {
	case amount <= w.refusedAbove+free:
		return Refusal{}
	case amount <= w.refusedAbove+w.unanswered.Slow+free:
		return slow
	case amount <= w.refusedAbove+w.unanswered.Slow+w.unanswered.Silent+free:
		return stuck
	}
	return Refusal{Kind: Short, Available: w.refusedHave + free, Reach: w.refusedAbove + free}
}

func (w *Wallet) free() money.Amount {
	if l := w.cur.Load(); l != nil {
		return money.Amount(l.free.Load())
	}
	return 0
}

// next is the database action that is due at now, marked as under way; nil if none
// is, with the time at which to ask again (0: when something happens).
func (w *Wallet) next(now int64) (*action, int64) {
	if w.inFlight {
		return nil, 0
	}
	w.serveWaiters(now)
	if w.m.fenced.Load() {
		w.failWaiters(away)
		w.act = action{}
		return nil, 0
	}
	if w.act.kind == grant && w.m.draining.Load() {
		w.act = action{} // if it was done after all, Drain closes it
	}
	if w.act.kind != nothing {
		if now < w.retryAt {
			return nil, w.retryAt
		}
		return w.send(w.act, now), 0
	}
	l := w.cur.Load()
	o := &w.m.o
	if w.recalled {
		w.recalled = false
		if l != nil {
			w.scarceUntil = now + int64(o.Scarce)
			l.scarce.Store(true)
			l.refillBelow.Store(0)
			return w.send(w.back(l, money.Max), now), 0
		}
	}
	if w.m.draining.Load() {
		w.failWaiters(away)
		return w.nextDraining(l, now)
	}
	if len(w.waiters) > 0 {
		switch {
		case now < w.graceAt && !w.freed:
			return nil, w.graceAt
		case l != nil && now >= l.stop.Load():
			// Its time is over, but as far as we know it is still open.
			return w.send(action{kind: renew, lease: l}, now), 0
		case w.round > recallTries && !w.freed:
			return w.send(action{kind: look, recall: w.recall}, now), 0
		}
		a := w.borrow(l)
		a.early, w.freed = now < w.graceAt, false
		return w.send(a, now), 0
	}
	if l == nil {
		return nil, 0
	}
	free := money.Amount(l.free.Load())
	if now < w.scarceUntil {
		switch gap := w.lastReturn + int64(o.ScarceGap); {
		case free <= 0:
			return nil, w.scarceUntil // the end of a hold wakes
		case now < gap:
			return nil, min(w.scarceUntil, gap)
		}
		return w.send(w.back(l, money.Max), now), 0
	}
	l.scarce.Store(false)
	if free > 0 && now-w.lastUse >= int64(o.IdleAfter) {
		return w.send(w.back(l, money.Max), now), 0
	}
	target := w.size.target()
	if w.plentySince != 0 && now-w.plentySince >= int64(o.IdleAfter) && free > 2*target {
		w.plentySince = 0
		return w.send(w.back(l, free-target), now), 0
	}
	if w.refill && now >= w.noRefillUntil {
		w.refill = false
		if free < low(target) && now < l.stop.Load() {
			return w.send(action{kind: grant, lease: l, seq: l.gseq + 1, target: target - free}, now), 0
		}
	}
	return nil, 0
}

func (w *Wallet) nextDraining(l *Lease, now int64) (*action, int64) {
	if l == nil {
		return nil, 0
	}
	a := w.back(l, money.Max)
	// Only what nobody holds can be closed: a later charge of a closed lease would
	// take the late path.
	a.close = l.held(a.amount) == 0
	if a.amount == 0 && !a.close {
		return nil, now + int64(w.m.o.ScarceGap)
	}
	return w.send(a, now), 0
}

func (w *Wallet) send(a action, now int64) *action {
	a.sent = now
	w.act, w.inFlight = a, true
	w.m.underWay.Add(1)
	return &w.act
}

// back takes at most limit out of the lease, to be returned.
func (w *Wallet) back(l *Lease, limit money.Amount) action {
	a := action{kind: giveBack, lease: l, seq: l.rseq + 1}
	if limit == money.Max {
		a.recall = w.heard // what comes free from here on, a later return answers for
	}
	a.amount = l.drain(limit)
	return a
}

// borrow asks for what the oldest waiter lacks, and for all of them if there is
// plenty.
func (w *Wallet) borrow(l *Lease) action {
	head := w.waiters[0].amount
	w.size.need(head)
	sum := money.Amount(0)
	for _, t := range w.waiters {
		if sum += t.amount; sum < 0 {
			sum = money.Max
			break
		}
	}
	if l == nil {
		l = w.m.newLease(w)
	}
	free := money.Amount(l.free.Load())
	// At least 1: a request may have ended just now and freed enough.
	need := max(1, head-free)
	return action{kind: grant, lease: l, seq: l.gseq + 1, need: need, target: max(need, w.size.target(), sum-free)}
}

// apply takes the answer to the action under way.
func (w *Wallet) apply(r result, now int64) {
	a := w.act
	w.inFlight = false
	w.m.underWay.Add(-1)
	switch {
	case r.err == nil:
		w.act, w.failures = action{}, 0
		switch a.kind {
		case grant:
			w.granted(&a, &r.grant, now)
		case giveBack:
			w.returned(&a, now)
		case renew:
			w.m.count.Expired.Add(1)
			if r.open {
				a.lease.extend(a.sent, w.m.o.TTL)
			} else {
				w.m.count.Lost.Add(1)
				w.kill(a.lease)
			}
		case look:
			w.looked(r.unanswered, now)
		}
	case errors.Is(r.err, store.ErrFenced):
		w.act = action{}
		w.m.fence()
		w.kill(a.lease)
		w.failWaiters(away)
	case errors.Is(r.err, store.ErrLeaseClosed):
		// Reclaimed: what was free of it is back in the wallet, what is held of it
		// will be charged on the late path. A waiter gets a new lease.
		w.act = action{}
		w.kill(a.lease)
		w.m.count.Lost.Add(1)
		if w.failures++; w.failures > 3 {
			w.failures = 0
			w.failWaiters(away)
		}
	case !final(r.err):
		// Perhaps it was done and perhaps not: the same again until it is known.
		w.m.failed(now, r.err)
		w.retryAt = now + w.m.o.backoff(w.failures)
		w.failures++
		w.failWaiters(away)
		if a.kind == look || a.kind == renew {
			w.act = action{} // changed nothing, need not be repeated
		}
	default:
		// The database says no for good. A lease whose sequence is not ours any more
		// is left to be reclaimed.
		w.act, w.failures = action{}, 0
		w.m.refusedForGood(w, &a, r.err)
		if errors.Is(r.err, store.ErrSequence) || a.kind == giveBack {
			w.kill(a.lease)
		}
		w.noRefillUntil = now + int64(time.Second)
		w.brokenUntil = now + int64(w.m.o.Remember)
		w.failWaiters(away)
	}
}

func (w *Wallet) granted(a *action, g *store.Grant, now int64) {
	w.m.count.Grants.Add(1)
	w.m.up()
	l := a.lease
	if g.Refused || g.Granted <= 0 {
		w.m.count.Refused.Add(1)
		w.runDry(now)
		l.refillBelow.Store(0)
		if a.need > 0 {
			w.refused(a, g, now)
		}
		return
	}
	if w.cur.Load() != l {
		w.size.begin(now, l.id)
		l.scarce.Store(now < w.scarceUntil)
		w.cur.Store(l)
		w.m.activate(w)
		w.lastUse = now
	}
	l.gseq = a.seq
	l.granted += g.Granted
	// The money first, the time second: nobody takes from a lease past its stop.
	l.free.Add(int64(g.Granted))
	l.extend(a.sent, g.ExpiresAt.Sub(g.Now))
	// What a remembered refusal said of larger amounts still holds.
	w.refusedHave = max(0, g.Available)
	w.refusedAbove = max(w.refusedHave, w.refusedAbove-g.Granted)
	w.round, w.recall, w.graceAt = 0, 0, 0
	if g.Granted < a.target {
		w.runDry(now)
	} else {
		w.dry = 0
	}
	w.setRefill(l, now)
	w.serveWaiters(now)
}

// runDry puts off refills: there is less than the sizing asks for, and asking again
// at once would only cost statements.
func (w *Wallet) runDry(now int64) {
	w.noRefillUntil = now + int64(time.Second)<<min(w.dry, 4)
	w.dry++
}

// refused decides about those who wait. A refusal is final at once where even all
// the money that other proxies hold would not do; else these have been asked to
// give back what nobody uses, and it is tried again.
//
// A grant that was asked for early, because something came back, changes nothing about
// when the others' time is over.
func (w *Wallet) refused(a *action, g *store.Grant, now int64) {
	w.refusedUntil = now + int64(w.m.o.Remember)
	w.refusedHave, w.unanswered = max(0, g.Available), store.Unanswered{}
	w.refusedAbove = w.refusedHave + max(0, g.Others)
	have := w.refusedHave + w.free()
	w.refuseWaiters(func(t *waiter) (verdict, bool) {
		r := w.refusal(t.amount, now)
		return verdict{refusal: r}, r.Kind != 0
	})
	if len(w.waiters) == 0 || w.waiters[0].amount <= have {
		return // those that were refused are gone, the next can be served
	}
	if a.early && (g.Recall < w.recall || w.round > 0) {
		return
	}
	first := w.recall == 0
	if first {
		w.recall = g.Recall
		if g.RecallIn < store.RecallGap {
			// Made before this refusal: it may have been answered before the money went
			// where it is now. The next one counts.
			w.recall++
		}
	}
	soon := int64(w.m.o.Recall) * recallShare[0] / 100
	switch {
	case g.Recall < w.recall && first:
		w.graceAt = now + min(int64(g.RecallIn), soon) // who was asked before may still be giving back
	case g.Recall < w.recall:
		w.graceAt = now + int64(g.RecallIn)
	default:
		if w.round++; w.round <= recallTries {
			w.graceAt = now + int64(w.m.o.Recall)*recallShare[w.round-1]/100
		}
	}
}

// recallTries is how often a refused grant is repeated while other proxies give
// back, and recallShare when, in percent of Options.Recall: soon, because they
// usually answer at once, and at the end.
const recallTries = 2

var recallShare = [recallTries]int64{20, 80}

// looked ends the wait for other proxies: what is missing is held by running
// requests there, or is with proxies that have not answered.
//
// What came back between the refusal and the look is there to be had: whom it is
// enough for asks once more, and is not told 402.
func (w *Wallet) looked(u store.Unanswered, now int64) {
	w.refusedHave = max(0, u.Available)
	w.unanswered, w.refusedAbove = u, w.refusedHave
	w.refusedUntil = now + int64(w.m.o.Remember)
	w.round, w.recall, w.graceAt = 0, 0, 0
	w.refuseWaiters(func(t *waiter) (verdict, bool) {
		r := w.refusal(t.amount, now)
		return verdict{refusal: r}, r.Kind != 0
	})
}

func (w *Wallet) returned(a *action, now int64) {
	w.m.count.Returns.Add(1)
	w.m.up()
	l := a.lease
	l.rseq = a.seq
	l.returned += a.amount
	w.refusedHave += a.amount // it moved from free, which comes on top
	w.refusedAbove += a.amount
	w.lastReturn = now
	if a.close {
		w.kill(l)
	}
}

// kill ends a lease in this proxy. Holds on it stay what they are.
func (w *Wallet) kill(l *Lease) {
	if l == nil {
		return
	}
	l.stop.Store(0)
	if w.cur.CompareAndSwap(l, nil) {
		w.m.deactivate(w)
	}
}

// extend moves the lease's stop to what the database granted, counted from before
// the call was sent, less 1 % for clocks that run apart (reliability 5.5). A stop
// never moves back, and a dead lease stays dead.
func (l *Lease) extend(sent int64, ttl time.Duration) {
	stop := sent + int64(ttl) - int64(ttl)/100
	if stop > l.stop.Load() {
		l.stop.Store(stop)
	}
}

// setRefill arms the hot path's question for more.
func (w *Wallet) setRefill(l *Lease, now int64) {
	if now < w.scarceUntil || now < w.noRefillUntil {
		l.refillBelow.Store(0)
		return
	}
	l.refillBelow.Store(int64(low(w.size.target())))
}

// tick brings the sizing up to date, once a second, and says whether the wallet has
// something to do.
func (w *Wallet) tick(now int64) (due bool) {
	l := w.cur.Load()
	if l == nil {
		return w.act.kind != nothing || len(w.waiters) > 0
	}
	if l.used.Swap(false) {
		w.lastUse = now
	}
	taken := money.Amount(0)
	if w.act.kind == giveBack {
		taken = w.act.amount
	}
	held := l.held(taken)
	w.size.tick(now, money.Amount(l.spent.Load()), held, l.id)
	free := money.Amount(l.free.Load())
	switch {
	case free <= 2*w.size.target():
		w.plentySince = 0
	case w.plentySince == 0:
		w.plentySince = now
	}
	w.setRefill(l, now)
	if free < money.Amount(l.refillBelow.Load()) && held > 0 {
		w.refill = true
	}
	if held == 0 && free == 0 && w.act.kind == nothing && now-w.lastUse > int64(w.m.o.ForgetAfter) {
		// Nothing is out and everything must have been shipped long ago: the row
		// expires by itself.
		w.kill(l)
		return false
	}
	return w.act.kind != nothing || len(w.waiters) > 0 || w.refill || w.recalled || w.m.draining.Load() ||
		(free > 0 && (now-w.lastUse >= int64(w.m.o.IdleAfter) || now < w.scarceUntil)) ||
		(w.plentySince != 0 && now-w.plentySince >= int64(w.m.o.IdleAfter))
}
