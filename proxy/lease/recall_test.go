package lease

import (
	"testing"
	"time"

	"tokenrelay/shared/money"
)

// waitForLook lets a proxy ask for money of the first wallet that another one has, up to
// the look which decides about 402: it is left on its way.
func (p *simProxy) waitForLook(t *testing.T, amount money.Amount) {
	t.Helper()
	s, w := p.sim, p.wallet(simEscrows[0])
	p.ask(amount, simEscrows[0])
	p.collect()
	for range 100 {
		p.send(w)
		if len(p.flights) == 1 && p.flights[0].act.kind == look {
			return
		}
		for len(p.flights) > 0 {
			p.land(0, 0)
		}
		s.clock += int64(10 * time.Millisecond)
	}
	t.Fatal("no look came")
}

// TestReturnBeforeTheLook: what comes back after the last refused grant and before the
// look is not missed. It was a 402 on an account with money.
func TestReturnBeforeTheLook(t *testing.T) {
	s := newSim(t, 1, 2)
	s.books.Pay(simEscrows[0], 1000)
	a, b := s.proxies[0], s.proxies[1]
	a.ask(900, simEscrows[0])
	a.collect()
	a.send(a.wallet(simEscrows[0]))
	a.land(0, 0)
	a.collect()
	b.waitForLook(t, 800)
	s.deliver(false)
	a.tickets[0].finish(a, 1, true)
	a.tickets = nil
	a.send(a.wallet(simEscrows[0]))
	a.land(0, 0) // the money is back, and the call is answered
	b.land(0, 0) // the look
	b.send(b.wallet(simEscrows[0]))
	for len(b.flights) > 0 {
		b.land(0, 0)
	}
	b.collect()
	if s.refused[Short] != 0 || len(b.tickets) != 1 {
		t.Errorf("refused %v, %d served", s.refused, len(b.tickets))
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

// TestReturnFromBeforeTheCall: a return that was on its way when a call came does not
// answer it: a request may have ended since, and its money is free and not in it.
func TestReturnFromBeforeTheCall(t *testing.T) {
	s := newSim(t, 1, 2)
	s.books.Pay(simEscrows[0], 1000)
	a, b := s.proxies[0], s.proxies[1]
	w := a.wallet(simEscrows[0])
	for _, amount := range []money.Amount{800, 100} {
		a.ask(amount, simEscrows[0])
		a.collect()
		a.send(w)
		a.land(0, 0)
		a.collect()
	}
	w.mu.Lock()
	w.scarceUntil = s.clock + int64(time.Minute) // somebody was short before
	w.mu.Unlock()
	a.tickets[1].finish(a, 0, false)
	a.tickets = a.tickets[:1]
	a.send(w) // 100 are on their way
	if len(a.flights) != 1 || a.flights[0].act.kind != giveBack {
		t.Fatalf("%+v", a.flights)
	}
	a.tickets[0].finish(a, 1, true) // and now the rest is free
	a.tickets = nil
	b.waitForLook(t, 700)
	a.land(0, 0)
	b.land(0, 0)
	b.collect()
	if s.refused[Short] != 0 {
		t.Errorf("402 although the other proxy has %d free", w.free())
	}
}

// TestRefusalWhileMoneyGoesBack: a remembered refusal does not forget what is on its way
// back and neither free here nor in the books yet. It was a 402 on an account with money.
func TestRefusalWhileMoneyGoesBack(t *testing.T) {
	s := newSim(t, 1, 2)
	s.books.Pay(simEscrows[0], 1000)
	a, b := s.proxies[0], s.proxies[1]
	w := a.wallet(simEscrows[0])
	b.ask(600, simEscrows[0])
	b.collect()
	b.send(b.wallet(simEscrows[0]))
	b.land(0, 0)
	b.collect()
	b.tickets[0].finish(b, 0, false)
	b.tickets = nil
	a.ask(600, simEscrows[0]) // refused, remembered, and then served
	a.collect()
	for len(a.tickets) == 0 {
		for _, p := range s.proxies {
			p.send(p.wallet(simEscrows[0]))
			for len(p.flights) > 0 {
				p.land(0, 0)
			}
			p.collect()
		}
		s.deliver(false)
		s.clock += int64(time.Millisecond)
	}
	w.mu.Lock()
	w.scarceUntil = s.clock + int64(time.Minute)
	if w.refusedUntil == 0 {
		w.refusedUntil = s.clock + int64(time.Minute) // as if the notice that forgets it was lost
	}
	w.mu.Unlock()
	a.tickets[0].finish(a, 0, false)
	a.tickets = nil
	a.send(w)
	if len(a.flights) != 1 || a.flights[0].act.kind != giveBack {
		t.Fatalf("%+v", a.flights)
	}
	a.ask(600, simEscrows[0])
	a.collect()
	if s.refused[Short] != 0 || len(a.asks) != 1 {
		t.Errorf("refused %v although %d are on their way back", s.refused, a.flights[0].act.amount)
	}
}
