// Package model is Postgres as far as money goes, in memory: wallets, leases, slots
// and charges over the pure ledger rules. Simulations run against it; that the real
// store does the same is tested there (proxy/lease, shared/store).
package model

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// Books hold the money. A budget is a wallet whose balance is the room under its cap.
// Fields are read and set by the one goroutine that steps a simulation; calls lock.
type Books struct {
	mu       sync.Mutex
	now      func() int64
	TTL      time.Duration // of leases
	Wallets  map[store.Escrow]*Wallet
	Leases   map[int64]*Lease
	slots    map[int16]*slot
	Charges  map[reqid.ID]money.Amount // booked requests
	charged  map[store.Escrow]money.Amount
	paidIn   map[store.Escrow]money.Amount
	BadDebt  money.Amount   // parts of late charges that nobody could pay
	Late     int            // charges of closed leases
	Notices  []store.Recall // sent, not yet delivered
	Down     bool           // every call fails
	Odd      error          // what a grant answers after being done
	Grants   int
	Calls    int
	Reserved map[int16]map[int64]money.Amount
}

// Wallet is a wallet's or a budget's row.
type Wallet struct {
	ledger.Wallet
	recall   int64
	notified int64
}

// Lease is a lease's row.
type Lease struct {
	ledger.Lease
	Escrow    store.Escrow
	ID        int64
	slot      int16
	epoch     int64
	expires   int64
	lastGrant money.Amount
	seen      int64
}

type slot struct {
	epoch     int64
	heartbeat int64
}

// New makes empty books; now is the clock that leases and heartbeats go by, in ns.
func New(now func() int64) *Books {
	return &Books{
		now: now, TTL: store.LeaseTTL, Wallets: map[store.Escrow]*Wallet{}, Leases: map[int64]*Lease{}, slots: map[int16]*slot{},
		Charges: map[reqid.ID]money.Amount{}, charged: map[store.Escrow]money.Amount{}, paidIn: map[store.Escrow]money.Amount{},
		Reserved: map[int16]map[int64]money.Amount{},
	}
}

// SetDown makes every call fail, or work again, while calls run.
func (b *Books) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Down = down
}

// Read runs f while no call changes anything.
func (b *Books) Read(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Pay adds money to a wallet or room to a budget, and makes it.
func (b *Books) Pay(e store.Escrow, amount money.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.Wallets[e]
	if w == nil {
		w = &Wallet{notified: -1 << 60}
		b.Wallets[e] = w
	}
	if err := w.Book(ledger.Recharge, amount); err != nil {
		obs.Bug("the model's books: %v", err)
	}
	b.paidIn[e] += amount
}

// Claim starts a new epoch of a slot.
func (b *Books) Claim(id int16) store.ProxySlot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[id]
	if s == nil {
		s = &slot{}
		b.slots[id] = s
	}
	s.epoch++
	s.heartbeat = b.now()
	return store.ProxySlot{ID: id, Epoch: s.epoch}
}

func (b *Books) live() (n int) {
	for _, s := range b.slots {
		if b.now()-s.heartbeat < int64(store.LiveWindow) {
			n++
		}
	}
	return n
}

func (b *Books) time(ns int64) time.Time { return time.Unix(1_700_000_000, ns) }

func (b *Books) others(e store.Escrow, id int64) (sum money.Amount) {
	for _, l := range b.Leases {
		if l.Escrow == e && l.ID != id {
			sum += l.Outstanding()
		}
	}
	return sum
}

// Grant is the store's.
func (b *Books) Grant(_ context.Context, r store.GrantRequest) (store.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Calls++
	if b.Down {
		return store.Grant{}, context.DeadlineExceeded
	}
	if s := b.slots[r.Slot]; s == nil || s.epoch != r.Epoch {
		return store.Grant{}, store.ErrFenced
	}
	w := b.Wallets[r.Escrow]
	if w == nil {
		return store.Grant{}, store.ErrNotFound
	}
	answer := func(g store.Grant, l *Lease) (store.Grant, error) {
		g.Others, g.Available, g.Balance, g.Leased = b.others(r.Escrow, r.LeaseID), w.Spendable(), w.Balance, w.Leased
		g.Now, g.Recall = b.time(b.now()), w.recall
		g.RecallIn = max(0, store.RecallGap-time.Duration(b.now()-w.notified))
		if l != nil {
			g.ExpiresAt = b.time(l.expires)
		}
		return g, nil
	}
	l := b.Leases[r.LeaseID]
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
				b.Notices = append(b.Notices, store.Recall{Escrow: r.Escrow, Slot: r.Slot, Number: w.recall})
			}
		}
		return answer(store.Grant{Refused: true}, l)
	}
	if l == nil {
		l = &Lease{Escrow: r.Escrow, ID: r.LeaseID, slot: r.Slot, epoch: r.Epoch, seen: w.recall}
	}
	if err := w.Grant(&l.Lease, size, r.Seq); err != nil {
		obs.Bug("the model's books: %v", err)
	}
	b.Leases[r.LeaseID] = l
	l.lastGrant, l.expires = size, b.now()+int64(b.TTL)
	b.Grants++
	if b.Odd != nil {
		return store.Grant{}, b.Odd
	}
	return answer(store.Grant{Granted: size}, l)
}

// ReturnLease is the store's.
func (b *Books) ReturnLease(_ context.Context, id, rseq int64, amount money.Amount, answers int64, end bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Calls++
	if b.Down {
		return context.DeadlineExceeded
	}
	l := b.Leases[id]
	switch {
	case l == nil:
		return store.ErrNotFound
	case rseq <= l.RSeq:
		return nil
	case l.Closed:
		return store.ErrLeaseClosed
	}
	w := b.Wallets[l.Escrow]
	if err := w.Return(&l.Lease, amount, rseq); err != nil {
		obs.Bug("return of lease %d: %v", id, err) // the manager never gives back what it has not got
	}
	l.seen = max(l.seen, answers)
	before := w.Leased + amount
	if end {
		w.Reclaim(&l.Lease)
	}
	if before > w.Leased && w.recall > 0 && b.now()-w.notified <= int64(store.FreedWindow) {
		b.Notices = append(b.Notices, store.Recall{Escrow: l.Escrow, Slot: l.slot, Freed: true})
	}
	return nil
}

// RenewLeases is the store's.
func (b *Books) RenewLeases(_ context.Context, slot int16, epoch int64, ids []int64) (time.Time, []int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Calls++
	if b.Down {
		return time.Time{}, nil, context.DeadlineExceeded
	}
	if s := b.slots[slot]; s == nil || s.epoch != epoch {
		return time.Time{}, nil, store.ErrFenced
	}
	var open []int64
	for _, id := range ids {
		if l := b.Leases[id]; l != nil && !l.Closed && l.epoch == epoch {
			l.expires = b.now() + int64(b.TTL)
			open = append(open, id)
		}
	}
	return b.time(b.now() + int64(b.TTL)), open, nil
}

// CloseOldLeases is the store's.
func (b *Books) CloseOldLeases(_ context.Context, slot int16, epoch int64) (c store.Closed, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return c, context.DeadlineExceeded
	}
	for _, l := range b.Leases {
		if l.slot == slot && l.epoch < epoch && !l.Closed {
			c.Leases++
			c.Reclaimed += b.Wallets[l.Escrow].Reclaim(&l.Lease)
		}
	}
	return c, nil
}

// Lost ends a slot's epoch and closes its leases, as `admin proxy lost` does.
func (b *Books) Lost(id int16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slots[id].epoch++
	for _, l := range b.Leases {
		if l.slot == id && !l.Closed {
			b.Wallets[l.Escrow].Reclaim(&l.Lease)
		}
	}
}

// ReclaimExpired is the admin's job.
func (b *Books) ReclaimExpired() (n int) {
	for _, l := range b.Leases {
		if !l.Closed && l.expires+int64(store.MaxRequest+store.ReclaimLag) < b.now() {
			b.Wallets[l.Escrow].Reclaim(&l.Lease)
			n++
		}
	}
	return n
}

// Heartbeat is the store's.
func (b *Books) Heartbeat(_ context.Context, slot int16, epoch, _ int64) (store.Beat, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return store.Beat{}, context.DeadlineExceeded
	}
	s := b.slots[slot]
	if s == nil || s.epoch != epoch {
		return store.Beat{}, store.ErrFenced
	}
	s.heartbeat = b.now()
	beat := store.Beat{Now: b.time(b.now()), Live: b.live()}
	for _, l := range b.Leases {
		if l.slot == slot && l.epoch == epoch && !l.Closed && b.Wallets[l.Escrow].recall > l.seen {
			beat.Recalls = append(beat.Recalls, store.Recall{Escrow: l.Escrow, Number: b.Wallets[l.Escrow].recall})
		}
	}
	return beat, nil
}

// ReportReserved is the store's.
func (b *Books) ReportReserved(_ context.Context, slot int16, _ int64, holds map[int64]money.Amount) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Reserved[slot] = holds
	return nil
}

// Unanswered is the store's.
func (b *Books) Unanswered(_ context.Context, e store.Escrow, slot int16, recall int64, silent time.Duration) (u store.Unanswered, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return u, context.DeadlineExceeded
	}
	for _, l := range b.Leases {
		if l.Closed || l.slot == slot || l.Escrow != e {
			continue
		}
		switch s := b.slots[l.slot]; {
		case s == nil || b.now()-s.heartbeat >= int64(silent):
			u.Silent += l.Outstanding()
		case l.seen < recall:
			u.Slow += l.Outstanding()
		}
	}
	u.Available = b.Wallets[e].Spendable()
	return u, nil
}

// Record is a usage row: a charge and the leases it was held on, 0 = none.
type Record struct {
	ID     reqid.ID
	Charge money.Amount
	Leases []int64
}

// Settle books records as SettleBatch does: once each, late where the lease is closed.
func (b *Books) Settle(recs []Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return context.DeadlineExceeded
	}
	for _, r := range recs {
		if _, booked := b.Charges[r.ID]; booked {
			continue
		}
		b.Charges[r.ID] = r.Charge
		for _, id := range r.Leases {
			if id == 0 {
				continue
			}
			l := b.Leases[id]
			if l == nil {
				obs.Bug("record %s names lease %d, which was never granted", r.ID, id)
			}
			w := b.Wallets[l.Escrow]
			b.charged[l.Escrow] += r.Charge
			if l.Closed {
				b.Late++
				_, debt, err := w.Late(r.Charge)
				if err != nil {
					obs.Bug("the model's books: %v", err)
				}
				b.BadDebt += debt
				b.paidIn[l.Escrow] += debt
				continue
			}
			if err := w.Settle(&l.Lease, r.Charge); err != nil {
				obs.Bug("settle of %s on lease %d: %v", r.Charge, id, err) // M5
			}
		}
	}
	return nil
}

// Check proves M1 to M5.
func (b *Books) Check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	leased := map[store.Escrow]money.Amount{}
	for _, l := range b.Leases {
		leased[l.Escrow] += l.Outstanding()
		if l.Settled < 0 || l.Returned < 0 || l.Settled+l.Returned > l.Granted {
			return fmt.Errorf("M5: lease %d: granted %d settled %d returned %d", l.ID, l.Granted, l.Settled, l.Returned)
		}
	}
	for e, w := range b.Wallets {
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
