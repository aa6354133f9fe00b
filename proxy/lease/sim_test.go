package lease

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"tokenrelay/proxy/lease/model"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// The simulation runs several proxies' managers against one set of books, one step
// at a time, with every step, fault and pause drawn from a seed: the same seed is
// the same run. After every step the invariants of money hold (reliability 4).

type sim struct {
	t         testing.TB
	rng       *rand.Rand
	clock     int64
	books     *model.Books
	proxies   []*simProxy
	nextID    int64
	served    int
	refused   map[Kind]int
	reclaimed int
}

type simProxy struct {
	sim     *sim
	m       *Manager
	slot    int16
	wallets map[store.Escrow]*Wallet
	flights []flight
	asks    []*simAsk
	tickets []*simTicket
	journal []model.Record
	old     bool // leases of earlier epochs are not closed yet
	asleep  bool // stopped: does nothing for a while
}

// flight is a database call on its way.
type flight struct {
	w   *Wallet
	act action
}

// simAsk is a request that collects its legs.
type simAsk struct {
	amount money.Amount
	legs   []*Wallet
	leases []*Lease
	wait   *waiter
	since  int64
}

type simTicket struct {
	id     int64
	amount money.Amount
	leases []*Lease
	since  int64
}

func newSim(t testing.TB, seed uint64, proxies int) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: int64(time.Hour), refused: map[Kind]int{}}
	s.books = model.New(func() int64 { return s.clock })
	for i := range proxies {
		p := &simProxy{sim: s, slot: int16(i + 1)}
		p.boot()
		s.proxies = append(s.proxies, p)
	}
	return s
}

func (p *simProxy) boot() {
	s := p.sim
	p.m = New(s.books, s.books.Claim(p.slot), Options{
		Log: slog.New(slog.DiscardHandler), Now: func() int64 { return s.clock }, Jitter: s.rng.Int64N,
	})
	p.m.spawn = func(*Wallet) {}
	p.wallets = map[store.Escrow]*Wallet{}
	p.beat()
}

func (p *simProxy) wallet(e store.Escrow) *Wallet {
	w := p.wallets[e]
	if w == nil {
		w = p.m.wallet(e)
		p.wallets[e] = w
	}
	return w
}

func (p *simProxy) beat() { p.m.beat(context.Background()) }

func (p *simProxy) ask(amount money.Amount, es ...store.Escrow) *simAsk {
	a := &simAsk{amount: amount, since: p.sim.clock}
	for _, e := range es {
		a.legs = append(a.legs, p.wallet(e))
	}
	p.asks = append(p.asks, a)
	return a
}

// collect moves the requests that wait for legs.
func (p *simProxy) collect() {
	s := p.sim
	kept := p.asks[:0]
	for _, a := range p.asks {
		if done := p.advance(a); !done {
			kept = append(kept, a)
			continue
		}
		if len(a.leases) == len(a.legs) {
			s.nextID++
			s.served++
			p.tickets = append(p.tickets, &simTicket{s.nextID, a.amount, a.leases, s.clock})
		}
	}
	p.asks = kept
}

func (p *simProxy) advance(a *simAsk) (done bool) {
	for {
		var v verdict
		if a.wait == nil {
			w := a.legs[len(a.leases)]
			if l, ok := w.Take(a.amount, p.sim.clock); ok {
				v.lease = l
			} else if a.wait, v = w.ask(a.amount, p.sim.clock); a.wait != nil {
				return false
			}
		} else {
			select {
			case v = <-a.wait.answer:
			default:
				if p.sim.clock-a.since < int64(p.m.o.HoldTimeout) {
					return false
				}
				v = a.legs[len(a.leases)].leave(a.wait)
			}
		}
		a.wait = nil
		if v.lease == nil {
			p.sim.refused[v.refusal.Kind]++
			for i := len(a.leases) - 1; i >= 0; i-- {
				a.leases[i].Void(a.amount)
			}
			a.leases = nil
			return true
		}
		if row := p.sim.books.Leases[v.lease.id]; row == nil || row.Closed {
			p.sim.t.Fatalf("proxy %d spends from lease %d, which is closed or was never granted", p.slot, v.lease.id)
		}
		if a.leases = append(a.leases, v.lease); len(a.leases) == len(a.legs) {
			return true
		}
	}
}

func (t *simTicket) finish(p *simProxy, charge money.Amount, billed bool) {
	if billed {
		r := model.Record{Charge: charge}
		binary.BigEndian.PutUint64(r.ID[8:], uint64(t.id))
		for _, l := range t.leases {
			r.Leases = append(r.Leases, l.id)
		}
		p.journal = append(p.journal, r) // before the money is free again
	}
	for _, l := range t.leases {
		l.Settle(t.amount, charge)
	}
}

// send starts the due database actions of a wallet.
func (p *simProxy) send(w *Wallet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if act, _ := w.next(p.sim.clock); act != nil {
		p.flights = append(p.flights, flight{w, *act})
	}
}

// land ends a call: done and answered, not done, or done with the answer lost.
func (p *simProxy) land(i int, fault int) {
	f := p.flights[i]
	p.flights = append(p.flights[:i], p.flights[i+1:]...)
	r := result{err: context.DeadlineExceeded}
	if fault != 1 {
		r = p.m.do(context.Background(), f.w.escrow, &f.act)
		if fault == 2 {
			r = result{err: context.DeadlineExceeded}
		}
	}
	f.w.mu.Lock()
	f.w.apply(r, p.sim.clock)
	f.w.mu.Unlock()
}

func (p *simProxy) kicks() {
	for {
		select {
		case w := <-p.m.kicks:
			p.m.refillNow(w)
		default:
			return
		}
	}
}

// crash ends the process: calls under way are done or not, running requests leave
// what their in-flight slots say, and a new process claims the slot.
func (p *simProxy) crash() {
	s := p.sim
	for len(p.flights) > 0 {
		f := p.flights[0]
		p.flights = p.flights[1:]
		if s.rng.IntN(2) == 0 {
			p.m.do(context.Background(), f.w.escrow, &f.act)
		}
	}
	for _, t := range p.tickets {
		t.finish(p, money.Amount(s.rng.Int64N(int64(t.amount)+1)), s.rng.IntN(3) > 0)
	}
	p.tickets, p.asks, p.old, p.asleep = nil, nil, true, false
	p.boot()
}

func (p *simProxy) ship(all bool) {
	n := len(p.journal)
	if !all && n > 0 {
		n = p.sim.rng.IntN(n) + 1
	}
	if p.sim.books.Settle(p.journal[:n]) != nil {
		return
	}
	if !all && p.sim.rng.IntN(5) == 0 {
		return // the ack was lost: the same records again later
	}
	p.journal = p.journal[n:]
	if len(p.journal) == 0 && p.old {
		if _, err := p.m.db.CloseOldLeases(context.Background(), p.slot, p.m.slot.Epoch); err == nil {
			p.old = false
		}
	}
}

// check proves the invariants.
func (s *sim) check() error {
	if err := s.books.Check(); err != nil {
		return err
	}
	if s.books.BadDebt != 0 {
		return fmt.Errorf("overspend: bad debt of %d", s.books.BadDebt)
	}
	for _, p := range s.proxies {
		held := map[*Lease]money.Amount{}
		for _, t := range p.tickets {
			for _, l := range t.leases {
				held[l] += t.amount
			}
		}
		for _, a := range p.asks {
			for _, l := range a.leases {
				held[l] += a.amount
			}
			if a.wait != nil && a.wait.done {
				v := <-a.wait.answer // look and put back
				if v.lease != nil {
					held[v.lease] += a.amount
				}
				a.wait.answer <- v
			}
		}
		for _, st := range p.m.Leases() {
			l := p.wallets[st.Escrow].cur.Load()
			if st.Held != held[l] || st.Free < 0 {
				return fmt.Errorf("M6: proxy %d lease %d: %+v, requests hold %d", p.slot, st.ID, st, held[l])
			}
			row := s.books.Leases[st.ID]
			if row == nil {
				return fmt.Errorf("M2: proxy %d spends from lease %d, which was never granted", p.slot, st.ID)
			}
			unshipped := money.Amount(0)
			for _, r := range p.journal {
				for _, id := range r.Leases {
					if _, booked := s.books.Charges[r.ID]; id == st.ID && !booked {
						unshipped += r.Charge
					}
				}
			}
			if row.Closed {
				continue // reclaimed: the manager will find out
			}
			// What the books hold for the lease covers all that can still be charged to it.
			if out := row.Outstanding(); out < st.Free+st.Held+unshipped {
				return fmt.Errorf("M2: proxy %d lease %d: %d outstanding in the books, here free %d held %d unshipped %d", p.slot, st.ID, out, st.Free, st.Held, unshipped)
			}
		}
	}
	return nil
}

var simEscrows = []store.Escrow{{WalletID: 1}, {WalletID: 2}, {KeyID: 7, Period: 202611}, {KeyID: 7}}

func (s *sim) step() {
	s.clock += s.rng.Int64N(int64(8 * time.Millisecond))
	p := s.proxies[s.rng.IntN(len(s.proxies))]
	switch n := s.rng.IntN(100); {
	case n < 22:
		if p.asleep || len(p.asks) > 20 {
			return
		}
		amount := money.Amount(s.rng.Int64N(400) + 1)
		switch s.rng.IntN(4) {
		case 0:
			p.ask(amount, simEscrows[1])
		case 1:
			p.ask(amount, simEscrows[0], simEscrows[2], simEscrows[3])
		default:
			p.ask(amount, simEscrows[0])
		}
		p.collect()
	case n < 40 && len(p.tickets) > 0:
		i := s.rng.IntN(len(p.tickets))
		t := p.tickets[i]
		p.tickets = append(p.tickets[:i], p.tickets[i+1:]...)
		if s.rng.IntN(6) == 0 {
			t.finish(p, 0, false)
		} else {
			t.finish(p, money.Amount(s.rng.Int64N(int64(t.amount)+1)), true)
		}
	case n < 62:
		if p.asleep {
			return
		}
		p.kicks()
		for _, e := range simEscrows {
			if w := p.wallets[e]; w != nil {
				p.send(w)
			}
		}
	case n < 80 && len(p.flights) > 0:
		fault := 0
		if s.rng.IntN(20) == 0 {
			fault = 1 + s.rng.IntN(2)
		}
		p.land(s.rng.IntN(len(p.flights)), fault)
		p.collect()
	case n < 84:
		p.ship(false)
	case n < 88:
		s.deliver(s.rng.IntN(4) == 0)
	case n < 91:
		s.clock += s.rng.Int64N(int64(100 * time.Millisecond))
	case n < 94:
		s.clock += s.rng.Int64N(int64(300 * time.Millisecond))
		s.tend()
	case n < 95:
		if s.rng.IntN(4) == 0 {
			s.clock += s.rng.Int64N(int64(2 * time.Minute))
		}
		s.tend()
	case n < 96:
		s.books.Pay(simEscrows[s.rng.IntN(4)], money.Amount(s.rng.Int64N(600)+1))
	case n < 97:
		s.books.Down = s.rng.IntN(10) == 0
	case n < 98:
		p.asleep = s.rng.IntN(2) == 0
	case n < 99 && s.rng.IntN(4) == 0:
		p.crash()
	case s.rng.IntN(6) == 0:
		s.longPause()
	}
}

// longPause lets leases run out, and the admin reclaim what ran out long ago. No
// request lives that long, and what is journaled is shipped before. A proxy that
// slept through it must not spend what it still believes to have.
func (s *sim) longPause() {
	s.clock += int64(4 * time.Second) // waits end
	for _, p := range s.proxies {
		p.collect()
	}
	s.finishAll()
	s.books.Down = false
	for _, p := range s.proxies {
		for len(p.journal) > 0 {
			p.ship(true)
		}
	}
	s.clock += int64(store.LeaseTTL)
	if s.quiet() && s.rng.IntN(2) == 0 {
		s.clock += int64(store.MaxRequest + 2*store.ReclaimLag)
		s.reclaimed += s.books.ReclaimExpired()
	}
	if s.rng.IntN(2) == 0 {
		s.tend()
	}
}

// quiet says that no request holds anything.
func (s *sim) quiet() bool {
	for _, p := range s.proxies {
		if len(p.asks) > 0 || len(p.tickets) > 0 {
			return false
		}
	}
	return true
}

// deliver hands out the notices, or loses them.
func (s *sim) deliver(lose bool) {
	notices := s.books.Notices
	s.books.Notices = nil
	if lose {
		return
	}
	for _, r := range notices {
		for _, p := range s.proxies {
			if !p.asleep {
				p.m.OnRecall(r)
			}
		}
	}
}

// tend does what the managers' own loops do.
func (s *sim) tend() {
	for _, p := range s.proxies {
		if p.asleep {
			continue
		}
		p.beat()
		p.m.ticks(context.Background())
		if s.rng.IntN(20) > 0 {
			_ = p.m.renew(context.Background())
		}
		p.collect()
	}
}

// settleDown runs without faults until nothing moves for d of simulated time.
func (s *sim) settleDown(d time.Duration) {
	s.books.Down = false
	for end := s.clock + int64(d); s.clock < end; s.clock += int64(10 * time.Millisecond) {
		s.deliver(false)
		beat := s.clock/int64(500*time.Millisecond) != (s.clock-int64(10*time.Millisecond))/int64(500*time.Millisecond)
		for _, p := range s.proxies {
			p.asleep = false
			p.kicks()
			for _, e := range simEscrows {
				if w := p.wallets[e]; w != nil {
					p.send(w)
				}
			}
			for len(p.flights) > 0 {
				p.land(0, 0)
			}
			p.collect()
			if beat {
				p.beat()
				p.m.ticks(context.Background())
				p.ship(true)
			}
		}
	}
}

func (s *sim) finishAll() {
	for _, p := range s.proxies {
		for _, t := range p.tickets {
			t.finish(p, money.Amount(s.rng.Int64N(int64(t.amount)+1)), true)
		}
		p.tickets = nil
	}
}

// TestSimulation is M1–M6, M8 and M14, F1, F2, F8, F15, A2, A3, B4 and K11–K13 over
// random schedules.
func TestSimulation(t *testing.T) {
	seeds, steps := uint64(200), 2500
	if testing.Short() {
		seeds = 20
	}
	served, reclaimed, refused := 0, 0, map[Kind]int{}
	for seed := uint64(1); seed <= seeds; seed++ {
		s := newSim(t, seed, 3)
		s.books.Pay(simEscrows[0], 6000)
		s.books.Pay(simEscrows[1], 3000)
		s.books.Pay(simEscrows[2], 2500)
		s.books.Pay(simEscrows[3], 9000)
		for i := range steps {
			s.step()
			if err := s.check(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, i, err)
			}
		}
		if err := s.atRest(); err != nil {
			t.Fatalf("seed %d, at rest: %v", seed, err)
		}
		served += s.served
		reclaimed += s.reclaimed
		for k, n := range s.refused {
			refused[k] += n
		}
	}
	t.Logf("%d seeds, %d steps: %d requests served, %d refused for money, %d unavailable, %d leases reclaimed", seeds, steps, served, refused[Short], refused[Unavailable], reclaimed)
	if served == 0 || reclaimed == 0 || refused[Short] == 0 || refused[Unavailable] == 0 {
		t.Fatal("the schedules met too little")
	}
}

// atRest proves M14: money that nobody uses can be had by whoever asks, and goes
// back by itself.
func (s *sim) atRest() error {
	s.settleDown(12 * time.Second) // requests in their waits end
	s.finishAll()
	s.settleDown(time.Second)
	for _, p := range s.proxies {
		if len(p.journal) > 0 || len(p.flights) > 0 || len(p.asks) > 0 {
			return fmt.Errorf("proxy %d does not come to rest: %d records, %d calls, %d waits", p.slot, len(p.journal), len(p.flights), len(p.asks))
		}
	}
	if err := s.check(); err != nil {
		return err
	}
	// One proxy asks for all there is, wherever it lies.
	for _, e := range simEscrows[:2] {
		p := s.proxies[s.rng.IntN(len(s.proxies))]
		all := s.books.Wallets[e].Balance
		if all == 0 {
			continue
		}
		a := p.ask(all, e)
		p.collect()
		s.settleDown(1500 * time.Millisecond)
		if len(p.tickets) != 1 {
			return fmt.Errorf("stranded: proxy %d cannot get the whole balance %d of %+v: %+v, refused %v; waits %v", p.slot, all, e, s.books.Wallets[e].Wallet, s.refused, a.wait != nil)
		}
		if err := s.check(); err != nil {
			return err
		}
		s.finishAll()
		s.settleDown(100 * time.Millisecond)
	}
	s.settleDown(40 * time.Second)
	for e, w := range s.books.Wallets {
		if w.Leased != 0 {
			return fmt.Errorf("M14: %d of %+v still leased at rest", w.Leased, e)
		}
	}
	return s.check()
}

// TestSimulationCatches plants faults in the books: the simulation must see them.
func TestSimulationCatches(t *testing.T) {
	for name, plant := range map[string]func(*sim){
		"a unit too many in a lease": func(s *sim) {
			for _, p := range s.proxies {
				for _, w := range p.wallets {
					if l := w.cur.Load(); l != nil {
						l.free.Add(1)
						return
					}
				}
			}
		},
		"a charge outside the books": func(s *sim) { s.books.Wallets[simEscrows[0]].Balance-- },
		"leased and leases differ":   func(s *sim) { s.books.Wallets[simEscrows[0]].Leased++ },
	} {
		s := newSim(t, 3, 3)
		for _, e := range simEscrows {
			s.books.Pay(e, 5000)
		}
		for range 300 {
			s.step()
		}
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		plant(s)
		if s.check() == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
