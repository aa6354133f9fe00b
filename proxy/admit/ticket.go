package admit

import (
	"context"
	"sync/atomic"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
)

// The legs of a hold, in the order in which they are taken (rulings 3.15).
const (
	legWallet = iota
	legMonth
	legTotal
	maxLegs
)

// What a ticket has taken, in the order of taking.
const (
	tookRPM = 1 << iota
	tookTPM
	tookGroupRPM
	tookGroupTPM
	tookPlace
	tookGroupPlace
	tookGroupDay // nothing taken: the charge is to be added to the group's day
)

// Ticket is what an admitted request has taken. It is part of its exchange and is
// not copied while open; Settle or Void ends it, once.
type Ticket struct {
	OutputCap int64 // output tokens per choice that the hold covers
	Clamped   bool  // OutputCap was lowered below the model's maximum and must be sent upstream

	gate  *Gate
	key   *live.Key
	group *live.Group
	open  uint32 // 1 = to be settled or voided
	took  uint32

	rpmBegan, groupBegan    int64
	rpmPart, groupPart      *live.Part  // counted by all proxies together: what it was taken of
	tpmShare, groupTPMShare *live.Share // the same for tokens
	tokens                  int64       // drawn from token limits
	tpm, groupTPM           int64       // the limits they were drawn under, 0 = none
	day                     int64       // of admission, since 1970

	amount money.Amount
	legs   [maxLegs]*lease.Lease
	limits Limits
}

// Hold is what is reserved.
func (t *Ticket) Hold() money.Amount { return t.amount }

// Leases are the ids of the leases that the hold is on, 0 = none: wallet, monthly
// cap, total quota. They go into the record.
func (t *Ticket) Leases() (wallet, month, total int64) {
	return t.legs[legWallet].IDOrZero(), t.legs[legMonth].IDOrZero(), t.legs[legTotal].IDOrZero()
}

// Open says that the ticket waits to be settled or voided.
func (t *Ticket) Open() bool { return atomic.LoadUint32(&t.open) == 1 }

// Settle ends the request with its charge and the tokens it really used (of all
// classes, a negative number if that is not known). 0 ≤ charge ≤ Hold.
func (t *Ticket) Settle(charge money.Amount, tokens int64) {
	if !t.end() {
		return
	}
	if charge < 0 || charge > t.amount {
		t.gate.Count.AboveHold.Add(1)
		if t.gate.o.Strict {
			obs.Bug("charge %s of a hold of %s", charge, t.amount)
		}
		charge = min(max(0, charge), t.amount)
	}
	if charge > 0 {
		t.key.AddSpent(t.day, charge)
		if t.took&tookGroupDay != 0 {
			t.group.AddSpent(t.day, charge)
		}
	}
	if tokens >= 0 && t.took&(tookTPM|tookGroupTPM) != 0 {
		t.correct(tokens - t.tokens)
	}
	t.leave()
	for i := len(t.legs) - 1; i >= 0; i-- {
		if l := t.legs[i]; l != nil {
			l.Settle(t.amount, charge)
		}
	}
}

// Void ends the request without a charge: nothing was delivered. It stays counted as
// a request, but not for tokens.
func (t *Ticket) Void() {
	if !t.end() {
		return
	}
	t.correct(-t.tokens)
	t.leave()
	t.giveMoneyBack()
}

func (t *Ticket) end() bool {
	if atomic.CompareAndSwapUint32(&t.open, 1, 0) {
		return true
	}
	if t.gate == nil {
		obs.Bug("a ticket was ended that was never given")
	}
	t.gate.Count.ClosedTwice.Add(1)
	if t.gate.o.Strict {
		obs.Bug("a ticket was ended twice")
	}
	return false
}

// leave gives the places of a running request back.
func (t *Ticket) leave() {
	if t.took&tookGroupPlace != 0 {
		t.group.Leave()
	}
	if t.took&tookPlace != 0 {
		t.key.Leave()
	}
}

// correct moves the token limits to what was really used.
func (t *Ticket) correct(delta int64) {
	if t.took&tookTPM != 0 {
		correct(&t.key.TPM, t.tpmShare, delta, t.tpm)
	}
	if t.took&tookGroupTPM != 0 {
		correct(&t.group.TPM, t.groupTPMShare, delta, t.groupTPM)
	}
}

func correct(b *live.Bucket, s *live.Share, delta, limit int64) {
	b.Correct(delta, limit)
	if s != nil {
		s.Correct(delta)
	}
}

func back(w *live.Window, p *live.Part, began int64) {
	w.Back(began)
	if p != nil {
		p.Back(1)
	}
}

// take holds amount on all legs at once, or on none.
func (t *Ticket) take(wallets *[maxLegs]*lease.Wallet, amount money.Amount, now int64) bool {
	t.amount = amount
	for i, w := range wallets {
		if w == nil {
			continue
		}
		l, ok := w.Take(amount, now)
		if !ok {
			t.giveMoneyBack()
			return false
		}
		t.legs[i] = l
	}
	return true
}

// takeWaiting is take that waits for grants. A refused leg is named; the others have
// been given back.
func (t *Ticket) takeWaiting(ctx context.Context, m *lease.Manager, wallets *[maxLegs]*lease.Wallet, amount money.Amount) (int, lease.Refusal) {
	t.amount = amount
	for i, w := range wallets {
		if w == nil {
			continue
		}
		l, refusal := m.Hold(ctx, w, amount)
		if refusal.Kind != 0 {
			t.giveMoneyBack()
			return i, refusal
		}
		t.legs[i] = l
	}
	return 0, lease.Refusal{}
}

// giveMoneyBack frees the legs that are held, last first.
func (t *Ticket) giveMoneyBack() {
	for i := len(t.legs) - 1; i >= 0; i-- {
		if l := t.legs[i]; l != nil {
			l.Void(t.amount)
			t.legs[i] = nil
		}
	}
	t.amount = 0
}

// refuse gives back everything that was taken, in reverse, and passes on why.
func (t *Ticket) refuse(err *apierr.Error) *apierr.Error {
	t.giveMoneyBack()
	t.leave()
	if t.took&tookGroupTPM != 0 {
		correct(&t.group.TPM, t.groupTPMShare, -t.tokens, t.groupTPM)
	}
	if t.took&tookGroupRPM != 0 {
		back(&t.group.RPM, t.groupPart, t.groupBegan)
	}
	if t.took&tookTPM != 0 {
		correct(&t.key.TPM, t.tpmShare, -t.tokens, t.tpm)
	}
	if t.took&tookRPM != 0 {
		back(&t.key.RPM, t.rpmPart, t.rpmBegan)
	}
	t.took = 0
	return err
}

// Limits are the key's rate limits for the x-ratelimit-* headers; a limit of 0 is
// none. Resets are ns from the admission on.
type Limits struct {
	Requests, RequestsLeft, RequestsReset int64
	Tokens, TokensLeft, TokensReset       int64
}

// Limits are the limits as they stood right after the request was admitted or refused.
func (t *Ticket) Limits() *Limits { return &t.limits }

func (t *Ticket) note(k *catalog.Key, now int64) {
	if k.RPM > 0 {
		t.limits.Requests = k.RPM
		t.limits.RequestsLeft, t.limits.RequestsReset = k.Live.RPM.Left(k.RPM, now)
		if left, reset, ok := t.gate.shared(&k.Live.RPMShare, now); ok {
			t.limits.RequestsLeft, t.limits.RequestsReset = left, reset
		}
	}
	if k.TPM > 0 {
		t.limits.Tokens = k.TPM
		t.limits.TokensLeft, t.limits.TokensReset = k.Live.TPM.Left(k.TPM, now)
		if left, reset, ok := t.gate.shared(&k.Live.TPMShare, now); ok {
			t.limits.TokensLeft, t.limits.TokensReset = min(k.TPM, left), min(reset, int64(float64(k.TPM-min(k.TPM, left))/float64(k.TPM)*60e9))
		}
	}
}

// shared is what is left of a limit that all proxies share, as this one knows.
func (g *Gate) shared(share *atomic.Pointer[live.Share], now int64) (left, reset int64, ok bool) {
	s := share.Load()
	if s == nil || g.o.Limits.Lone() {
		return 0, 0, false
	}
	if wait, refused := s.Refused(now); refused {
		return 0, wait, true
	}
	left, reset = s.Left(now)
	return left, reset, true
}
