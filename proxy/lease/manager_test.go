package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenrelay/proxy/lease/model"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// bank is a manager with its loops running on the model books.
func bank(t *testing.T, balance money.Amount, o Options) (*model.Books, *Manager, *Wallet, func()) {
	t.Helper()
	b := model.New(Now)
	e := store.Escrow{WalletID: 1}
	b.Pay(e, balance)
	o.Log = slog.New(slog.DiscardHandler)
	m := New(b, b.Claim(1), o)
	ctx, cancel := context.WithCancel(context.Background())
	m.Start(ctx)
	return b, m, m.Wallet(1), func() { cancel(); m.Wait() }
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

// TestOutage is B2, B5: with the database away a wallet with a lease is served, a cold
// one is 503 at once and not asked for again and again; when it is back, so is
// everything.
func TestOutage(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1_000_000, Options{Beat: 10 * time.Millisecond})
	defer stop()
	b.Pay(store.Escrow{WalletID: 2}, 1000)
	l, refusal := m.Hold(t.Context(), w, 100)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	l.Void(100)
	b.SetDown(true)
	cold := m.Wallet(2)
	for range 3 {
		l, ok := w.Take(100, Now())
		if !ok {
			t.Fatal("a lease with money is not served")
		}
		l.Settle(100, 1)
		if l, refusal := m.Hold(t.Context(), cold, 10); l != nil || refusal.Kind != Unavailable || refusal.RetryAfter < 1 {
			t.Fatalf("cold wallet: %+v", refusal)
		}
	}
	var before int
	b.Read(func() { before = b.Calls })
	for range 1000 {
		if l, _ := m.Hold(t.Context(), cold, 10); l != nil {
			t.Fatal("lent without a database")
		}
	}
	b.Read(func() {
		if n := b.Calls - before; n > 60 {
			t.Errorf("1,000 refused requests made %d calls", n)
		}
	})
	b.SetDown(false)
	eventually(t, "the cold wallet is served", func() bool {
		l, _ := m.Hold(t.Context(), cold, 10)
		if l != nil {
			l.Void(10)
		}
		return l != nil
	})
	if err := b.Check(); err != nil {
		t.Error(err)
	}
}

// TestRefillAhead: the background refill keeps up, so that hardly a request waits.
func TestRefillAhead(t *testing.T) {
	defer goleak.VerifyNone(t)
	_, m, w, stop := bank(t, 100_000_000, Options{Tick: 5 * time.Millisecond})
	defer stop()
	var slow atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				l, ok := w.Take(1000, Now())
				if !ok {
					slow.Add(1)
					var refusal Refusal
					if l, refusal = m.Hold(t.Context(), w, 1000); l == nil {
						t.Errorf("%+v", refusal)
						return
					}
				}
				time.Sleep(100 * time.Microsecond)
				l.Settle(1000, 900)
			}
		})
	}
	group.Wait()
	if n := slow.Load(); n > 40 {
		t.Errorf("%d of 2,000 requests waited for a grant", n)
	}
}

// TestIdleGoesBack is M14: unused money goes back after IdleAfter, what is held stays,
// an empty lease is dropped in the end.
func TestIdleGoesBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1000, Options{Tick: 5 * time.Millisecond, IdleAfter: 30 * time.Millisecond, ForgetAfter: 60 * time.Millisecond})
	defer stop()
	l, _ := m.Hold(t.Context(), w, 100)
	leased := func() (sum money.Amount) {
		b.Read(func() { sum = b.Wallets[store.Escrow{WalletID: 1}].Leased })
		return sum
	}
	eventually(t, "all but the hold is back", func() bool { return leased() == 100 })
	if s := m.Stats(); s.Held != 100 || s.Free != 0 || s.Leases != 1 {
		t.Errorf("%+v", s)
	}
	l.Void(100)
	eventually(t, "all is back", func() bool { return leased() == 0 })
	eventually(t, "the empty lease is dropped", func() bool { return m.Stats().Leases == 0 })
	if l, refusal := m.Hold(t.Context(), w, 1000); l == nil {
		t.Errorf("%+v", refusal)
	}
}

// TestRecallAnswered: a recall that was only seen by the heartbeat gives back what is
// free, and keeps what is held.
func TestRecallAnswered(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1000, Options{Beat: 10 * time.Millisecond})
	defer stop()
	first, _ := m.Hold(t.Context(), w, 100)
	second := New(b, b.Claim(2), Options{Log: m.o.Log})
	second.beat(t.Context())
	if l, refusal := second.Hold(t.Context(), second.Wallet(1), 900); l == nil {
		t.Fatalf("%+v", refusal)
	}
	if l, refusal := second.Hold(t.Context(), second.Wallet(1), 1); l != nil || refusal.Kind != Short {
		t.Fatalf("what a running request holds was lent: %+v", refusal)
	}
	first.Settle(100, 60)
	time.Sleep(1100 * time.Millisecond) // a refusal is remembered for a second
	if l, refusal := second.Hold(t.Context(), second.Wallet(1), 40); l == nil {
		t.Fatalf("what came free was not given back: %+v", refusal)
	}
}

// TestDrain: everything goes back and closes; what is still held is named.
func TestDrain(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1000, Options{})
	defer stop()
	l, _ := m.Hold(t.Context(), w, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
	defer cancel()
	if err := m.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("drained with a hold: %v", err)
	}
	if l, refusal := m.Hold(t.Context(), w, 1); l != nil || refusal.Kind != Unavailable {
		t.Fatalf("lent while draining: %+v", refusal)
	}
	l.Void(100)
	if err := m.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Read(func() {
		if got := b.Wallets[store.Escrow{WalletID: 1}]; got.Leased != 0 || got.Balance != 1000 {
			t.Errorf("%+v", got)
		}
		for _, l := range b.Leases {
			if !l.Closed {
				t.Errorf("open: %+v", l)
			}
		}
	})
}

// TestHoldCancelled: a request that leaves its wait holds nothing.
func TestHoldCancelled(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1000, Options{})
	defer stop()
	b.Read(func() { // the database hangs
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if l, refusal := m.Hold(ctx, w, 100); l != nil || refusal.Kind != Unavailable {
			t.Errorf("%+v", refusal)
		}
	})
	eventually(t, "the grant arrives", func() bool { return m.Stats().Free > 0 })
	if s := m.Stats(); s.Held != 0 {
		t.Errorf("held %s", s.Held)
	}
}

// TestConcurrentHolds: takes, settles, grants, returns and recalls at once keep M6 and
// lend no unit twice.
func TestConcurrentHolds(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 50_000, Options{Tick: time.Millisecond, IdleAfter: 2 * time.Millisecond, Beat: time.Millisecond, Scarce: 5 * time.Millisecond, ScarceGap: time.Millisecond, Remember: time.Millisecond})
	defer stop()
	var spent, held, served atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 400 {
				amount := money.Amount(i*7+j%50) + 1
				l, ok := w.Take(amount, Now())
				if !ok {
					if l, _ = m.Hold(t.Context(), w, amount); l == nil {
						continue
					}
				}
				if held.Add(int64(amount)) > 50_000-spent.Load() {
					t.Error("more held than there is")
				}
				if j%64 == 0 {
					m.OnRecall(store.Recall{Escrow: store.Escrow{WalletID: 1}, Slot: 2})
				}
				held.Add(int64(-amount))
				served.Add(1)
				charge := amount / 4
				spent.Add(int64(charge))
				l.Settle(amount, charge)
			}
		})
	}
	group.Wait()
	if served.Load() < 500 {
		t.Errorf("only %d requests were served", served.Load())
	}
	eventually(t, "rest", func() bool {
		for _, s := range m.Leases() {
			if s.Held != 0 || s.Returning != 0 || s.Free < 0 {
				return false
			}
		}
		return true
	})
	b.Read(func() {
		var out money.Amount
		for _, l := range b.Leases {
			out += l.Outstanding()
		}
		if out > 50_000 {
			t.Errorf("%s lent of 50,000", out)
		}
	})
}

// TestUnforeseenErrors: an error that says nothing about whether the call was done is
// repeated; one that is final is not, and not asked for again at once.
func TestUnforeseenErrors(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, m, w, stop := bank(t, 1000, Options{})
	defer stop()
	b.Read(func() { b.Odd = errors.New("deadlock detected") })
	if l, refusal := m.Hold(t.Context(), w, 10); l != nil || refusal.Kind != Unavailable {
		t.Fatalf("%+v", refusal)
	}
	b.Read(func() { b.Odd = nil })
	eventually(t, "the repeated grant arrives", func() bool { return m.Stats().Free > 0 })
	if err := b.Check(); err != nil {
		t.Error(err)
	}
	nobody := m.Wallet(99)
	var before int
	b.Read(func() { before = b.Calls })
	for range 100 {
		if l, refusal := m.Hold(t.Context(), nobody, 10); l != nil || refusal.Kind != Unavailable {
			t.Fatalf("%+v", refusal)
		}
	}
	b.Read(func() {
		if n := b.Calls - before; n > 3 {
			t.Errorf("a wallet that does not exist was asked for %d times", n)
		}
	})
}

// TestMoneyComesBack is G-5: who waits for money that another proxy holds asks again as
// soon as it is told that some came back, not when the other's time is over; and what
// comes free goes back at once while others wait for it.
func TestMoneyComesBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	const never = 20 * time.Second // in which a wait would end by itself
	o := Options{Recall: never, HoldTimeout: never, Remember: time.Millisecond, Beat: never, Tick: never, ScarceGap: time.Millisecond}
	b, m, w, stop := bank(t, 1000, o)
	defer stop()
	o.Log = slog.New(slog.DiscardHandler)
	other := New(b, b.Claim(2), o)
	ctx, cancel := context.WithCancel(context.Background())
	other.Start(ctx)
	defer other.Wait()
	defer cancel()

	l, refusal := m.Hold(t.Context(), w, 900)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	type got struct {
		lease   *Lease
		refusal Refusal
	}
	answer := make(chan got, 1)
	go func() {
		l, refusal := other.Hold(context.Background(), other.Wallet(1), 800)
		answer <- got{l, refusal}
	}()
	deliver := func() (recalls, freed int) {
		var list []store.Recall
		b.Read(func() { list, b.Notices = b.Notices, nil })
		for _, r := range list {
			if r.Freed {
				freed++
			} else {
				recalls++
			}
			m.OnRecall(r)
			other.OnRecall(r)
		}
		return recalls, freed
	}
	eventually(t, "the first is asked", func() bool { n, _ := deliver(); return n > 0 })
	eventually(t, "it has nothing to give yet, and has answered", func() bool {
		l := m.Leases()
		return len(l) == 1 && l[0].Free == 0
	})
	select {
	case a := <-answer:
		t.Fatalf("%+v", a)
	case <-time.After(20 * time.Millisecond):
	}
	l.Settle(900, 1) // nobody looks: the end of the hold gives it back
	eventually(t, "the return is told", func() bool { _, n := deliver(); return n > 0 })
	select {
	case a := <-answer:
		if a.lease == nil {
			t.Fatalf("%+v", a.refusal)
		}
		a.lease.Void(800)
	case <-time.After(never / 2):
		t.Fatal("the one who waited was not told")
	}
}
