package lease

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// books is Postgres as far as leases go: a small model over the pure ledger rules.
// A budget is a wallet whose balance is the room under its cap.
type books struct {
	mu       sync.Mutex
	now      func() int64
	ttl      time.Duration
	wallets  map[store.Escrow]*walletRow
	leases   map[int64]*leaseRow
	slots    map[int16]*slotRow
	charges  map[int64]bool // request ids booked
	charged  map[store.Escrow]money.Amount
	paidIn   map[store.Escrow]money.Amount
	badDebt  money.Amount
	notices  []store.Recall // sent, not yet delivered
	down     bool           // every call fails
	odd      error          // what a grant answers after being done
	grants   int
	calls    int
	reserved map[int16]map[int64]money.Amount
}

type walletRow struct {
	ledger.Wallet
	recall   int64
	notified int64
}

type leaseRow struct {
	ledger.Lease
	escrow    store.Escrow
	id        int64
	slot      int16
	epoch     int64
	expires   int64
	lastGrant money.Amount
	seen      int64
}

type slotRow struct {
	epoch     int64
	heartbeat int64
}

func newBooks(now func() int64) *books {
	return &books{
		now: now, ttl: store.LeaseTTL, wallets: map[store.Escrow]*walletRow{}, leases: map[int64]*leaseRow{}, slots: map[int16]*slotRow{},
		charges: map[int64]bool{}, charged: map[store.Escrow]money.Amount{}, paidIn: map[store.Escrow]money.Amount{},
		reserved: map[int16]map[int64]money.Amount{},
	}
}

func (b *books) pay(e store.Escrow, amount money.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.wallets[e]
	if w == nil {
		w = &walletRow{notified: -1 << 60}
		b.wallets[e] = w
	}
	if err := w.Book(ledger.Recharge, amount); err != nil {
		panic(err)
	}
	b.paidIn[e] += amount
}

func (b *books) claim(slot int16) store.ProxySlot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[slot]
	if s == nil {
		s = &slotRow{}
		b.slots[slot] = s
	}
	s.epoch++
	s.heartbeat = b.now()
	return store.ProxySlot{ID: slot, Epoch: s.epoch}
}

func (b *books) live() (n int) {
	for _, s := range b.slots {
		if b.now()-s.heartbeat < int64(store.LiveWindow) {
			n++
		}
	}
	return n
}

func (b *books) time(ns int64) time.Time { return time.Unix(1_700_000_000, ns) }

func (b *books) others(e store.Escrow, id int64) (sum money.Amount) {
	for _, l := range b.leases {
		if l.escrow == e && l.id != id {
			sum += l.Outstanding()
		}
	}
	return sum
}

func (b *books) Grant(_ context.Context, r store.GrantRequest) (store.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.down {
		return store.Grant{}, context.DeadlineExceeded
	}
	if s := b.slots[r.Slot]; s == nil || s.epoch != r.Epoch {
		return store.Grant{}, store.ErrFenced
	}
	w := b.wallets[r.Escrow]
	if w == nil {
		return store.Grant{}, store.ErrNotFound
	}
	answer := func(g store.Grant, l *leaseRow) (store.Grant, error) {
		g.Others, g.Available, g.Balance, g.Leased = b.others(r.Escrow, r.LeaseID), w.Spendable(), w.Balance, w.Leased
		g.Now, g.Recall = b.time(b.now()), w.recall
		g.RecallIn = max(0, store.RecallGap-time.Duration(b.now()-w.notified))
		if l != nil {
			g.ExpiresAt = b.time(l.expires)
		}
		return g, nil
	}
	l := b.leases[r.LeaseID]
	if l != nil && l.Closed {
		return store.Grant{}, store.ErrLeaseClosed
	}
	var seq int64
	if l != nil {
		seq = l.GSeq
	}
	switch {
	case r.Seq == seq && l != nil:
		return answer(store.Grant{Granted: l.lastGrant, Repeated: true}, l)
	case r.Seq != seq+1:
		return store.Grant{}, store.ErrSequence
	}
	size, ok := ledger.GrantSize(r.Need, r.Target, w.Spendable(), b.live())
	if !ok {
		if r.Need > 0 {
			if b.now()-w.notified >= int64(store.RecallGap) {
				w.recall++
				w.notified = b.now()
				b.notices = append(b.notices, store.Recall{Escrow: r.Escrow, Slot: r.Slot})
			}
		}
		return answer(store.Grant{Refused: true}, l)
	}
	if l == nil {
		l = &leaseRow{escrow: r.Escrow, id: r.LeaseID, slot: r.Slot, epoch: r.Epoch, seen: w.recall}
	}
	if err := w.Grant(&l.Lease, size, r.Seq); err != nil {
		panic(err)
	}
	b.leases[r.LeaseID] = l
	l.lastGrant, l.expires = size, b.now()+int64(b.ttl)
	b.grants++
	if b.odd != nil {
		return store.Grant{}, b.odd
	}
	return answer(store.Grant{Granted: size}, l)
}

func (b *books) ReturnLease(_ context.Context, id, rseq int64, amount money.Amount, end bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.down {
		return context.DeadlineExceeded
	}
	l := b.leases[id]
	switch {
	case l == nil:
		return store.ErrNotFound
	case rseq <= l.RSeq:
		return nil
	case l.Closed:
		return store.ErrLeaseClosed
	}
	w := b.wallets[l.escrow]
	if err := w.Return(&l.Lease, amount, rseq); err != nil {
		panic(fmt.Sprintf("return of lease %d: %v", id, err)) // the manager never gives back what it has not got
	}
	l.seen = w.recall
	if end {
		w.Reclaim(&l.Lease)
	}
	return nil
}

func (b *books) RenewLeases(_ context.Context, slot int16, epoch int64, ids []int64) (time.Time, []int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.down {
		return time.Time{}, nil, context.DeadlineExceeded
	}
	if s := b.slots[slot]; s == nil || s.epoch != epoch {
		return time.Time{}, nil, store.ErrFenced
	}
	var open []int64
	for _, id := range ids {
		if l := b.leases[id]; l != nil && !l.Closed && l.epoch == epoch {
			l.expires = b.now() + int64(b.ttl)
			open = append(open, id)
		}
	}
	return b.time(b.now() + int64(b.ttl)), open, nil
}

func (b *books) CloseOldLeases(_ context.Context, slot int16, epoch int64) (c store.Closed, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return c, context.DeadlineExceeded
	}
	for _, l := range b.leases {
		if l.slot == slot && l.epoch < epoch && !l.Closed {
			c.Leases++
			c.Reclaimed += b.wallets[l.escrow].Reclaim(&l.Lease)
		}
	}
	return c, nil
}

// reclaimExpired is the admin's job.
func (b *books) reclaimExpired() (n int) {
	for _, l := range b.leases {
		if !l.Closed && l.expires+int64(store.MaxRequest+store.ReclaimLag) < b.now() {
			b.wallets[l.escrow].Reclaim(&l.Lease)
			n++
		}
	}
	return n
}

func (b *books) Heartbeat(_ context.Context, slot int16, epoch, _ int64) (store.Beat, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return store.Beat{}, context.DeadlineExceeded
	}
	s := b.slots[slot]
	if s == nil || s.epoch != epoch {
		return store.Beat{}, store.ErrFenced
	}
	s.heartbeat = b.now()
	beat := store.Beat{Now: b.time(b.now()), Live: b.live()}
	for _, l := range b.leases {
		if l.slot == slot && l.epoch == epoch && !l.Closed && b.wallets[l.escrow].recall > l.seen {
			beat.Recalls = append(beat.Recalls, store.Recall{Escrow: l.escrow})
		}
	}
	return beat, nil
}

func (b *books) ReportReserved(_ context.Context, slot int16, _ int64, holds map[int64]money.Amount) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved[slot] = holds
	return nil
}

func (b *books) Unanswered(_ context.Context, e store.Escrow, slot int16, recall int64, silent time.Duration) (u store.Unanswered, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return u, context.DeadlineExceeded
	}
	for _, l := range b.leases {
		if l.Closed || l.slot == slot || l.escrow != e {
			continue
		}
		switch s := b.slots[l.slot]; {
		case s == nil || b.now()-s.heartbeat >= int64(silent):
			u.Silent += l.Outstanding()
		case l.seen < recall:
			u.Slow += l.Outstanding()
		}
	}
	return u, nil
}

// record is a usage row: a charge and the leases it was held on.
type record struct {
	id     int64
	charge money.Amount
	hold   money.Amount
	leases []int64
}

// ship books records as SettleBatch does: once each, late where the lease is closed.
func (b *books) ship(recs []record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return context.DeadlineExceeded
	}
	for _, r := range recs {
		if b.charges[r.id] {
			continue
		}
		b.charges[r.id] = true
		for _, id := range r.leases {
			l := b.leases[id]
			if l == nil {
				panic(fmt.Sprintf("record %d names lease %d, which was never granted", r.id, id))
			}
			w := b.wallets[l.escrow]
			b.charged[l.escrow] += r.charge
			if l.Closed {
				_, debt, err := w.Late(r.charge)
				if err != nil {
					panic(err)
				}
				b.badDebt += debt
				b.paidIn[l.escrow] += debt
				continue
			}
			if err := w.Settle(&l.Lease, r.charge); err != nil {
				panic(fmt.Sprintf("settle of %s on lease %d: %v", r.charge, id, err)) // M5
			}
		}
	}
	return nil
}

// check proves M1 to M5.
func (b *books) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	leased := map[store.Escrow]money.Amount{}
	for _, l := range b.leases {
		leased[l.escrow] += l.Outstanding()
		if l.Settled < 0 || l.Returned < 0 || l.Settled+l.Returned > l.Granted {
			return fmt.Errorf("M5: lease %d: granted %d settled %d returned %d", l.id, l.Granted, l.Settled, l.Returned)
		}
	}
	for e, w := range b.wallets {
		if w.Balance != b.paidIn[e]-b.charged[e] {
			return fmt.Errorf("M1: %+v: balance %d, paid in %d, charged %d", e, w.Balance, b.paidIn[e], b.charged[e])
		}
		if w.Leased != leased[e] {
			return fmt.Errorf("M2: %+v: leased %d, leases say %d", e, w.Leased, leased[e])
		}
		if w.Available() < w.Floor {
			return fmt.Errorf("M4: %+v: available %d", e, w.Available())
		}
	}
	return nil
}
