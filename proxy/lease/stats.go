package lease

import (
	"sync/atomic"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Counters count what the manager did since its start.
type Counters struct {
	Grants      atomic.Uint64 // answered grants, refused ones included
	Refused     atomic.Uint64 // grants refused
	Returns     atomic.Uint64
	Renewals    atomic.Uint64 // statements
	Recalls     atomic.Uint64 // received for a wallet of ours
	SlowHolds   atomic.Uint64 // holds that the lease alone could not cover
	Short       atomic.Uint64 // of these: the money is not there
	Unavailable atomic.Uint64 // of these: nobody could tell
	Expired     atomic.Uint64 // holds on a lease past its stop, renewed first
	Lost        atomic.Uint64 // leases found closed by somebody else
	Errors      atomic.Uint64 // failed database calls
}

func (c *Counters) refused(r Refusal) {
	switch r.Kind {
	case Short:
		c.Short.Add(1)
	case Unavailable:
		c.Unavailable.Add(1)
	}
}

// Stats is the state of the manager for metrics; amounts are of wallets only,
// budgets mirror them.
type Stats struct {
	*Counters
	Leases     int
	Free, Held money.Amount
	Fenced     bool
}

// Stats reads the counters and adds up the open leases.
func (m *Manager) Stats() Stats {
	s := Stats{Counters: &m.count, Fenced: m.fenced.Load()}
	for _, l := range m.Leases() {
		s.Leases++
		if l.WalletID != 0 {
			s.Free += l.Free
			s.Held += l.Held
		}
	}
	return s
}

// State is one open lease as this proxy sees it (M6):
// Granted − Returned − Spent = Free + Held + Returning.
type State struct {
	ID int64
	store.Escrow
	Granted, Returned, Returning money.Amount // Returning: on its way back
	Spent                        money.Amount // settled here, shipped or not
	Free, Held                   money.Amount
	Stop                         int64 // Now() at which it ends
}

// Leases lists the open leases, for /debug and audits.
func (m *Manager) Leases() []State {
	var list []State
	for _, w := range m.list() {
		w.mu.Lock()
		if l := w.cur.Load(); l != nil {
			s := State{
				ID: l.id, Escrow: w.escrow, Granted: l.granted, Returned: l.returned, Returning: w.returning(l),
				Stop: l.stop.Load(),
			}
			s.Free, s.Spent = money.Amount(l.free.Load()), money.Amount(l.spent.Load())
			s.Held = s.Granted - s.Returned - s.Returning - s.Spent - s.Free
			list = append(list, s)
		}
		w.mu.Unlock()
	}
	return list
}

// returning is what is out of free on its way to the database.
func (w *Wallet) returning(l *Lease) money.Amount {
	if w.act.kind == giveBack && w.act.lease == l {
		return w.act.amount
	}
	return 0
}

// Held is what running requests hold of the wallet in this proxy.
func (w *Wallet) Held() money.Amount {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.cur.Load(); l != nil {
		return l.held(w.returning(l))
	}
	return 0
}
