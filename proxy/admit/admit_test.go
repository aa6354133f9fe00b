package admit

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

const usd = money.USD

func (d *desk) admit(in *Input) (*Ticket, *apierr.Error) {
	t := new(Ticket)
	return t, d.gate.Admit(in, t)
}

func (d *desk) ok(in *Input) *Ticket {
	d.t.Helper()
	t, err := d.admit(in)
	if err != nil {
		d.t.Fatalf("refused: %v", err)
	}
	return t
}

func (d *desk) refused(in *Input, code apierr.Code) *apierr.Error {
	d.t.Helper()
	t, err := d.admit(in)
	if err == nil || err.Code != code {
		d.t.Fatalf("got %v, want %s", err, code)
	}
	if t.Open() || t.Hold() != 0 {
		d.t.Fatalf("a refused ticket is open or holds %s", t.Hold())
	}
	return err
}

// held is what the wallet's lease says is held.
func (d *desk) held() money.Amount { return d.key.Live.Wallet.Held() }

// TestHoldAndSettle: the ceiling is held, the charge is spent, the rest is free
// again; void frees all.
func TestHoldAndSettle(t *testing.T) {
	d := newDesk(t, 10*usd)
	a := d.ok(d.input(1000))
	if a.Hold() != ceiling(1000) || d.held() != a.Hold() || a.OutputCap != 1000 || a.Clamped {
		t.Fatalf("hold %s, held %s, cap %d, clamped %v", a.Hold(), d.held(), a.OutputCap, a.Clamped)
	}
	wallet, month, total := a.Leases()
	if wallet == 0 || month != 0 || total != 0 {
		t.Fatalf("leases %d %d %d", wallet, month, total)
	}
	b := d.ok(d.input(500))
	a.Settle(123, 10)
	b.Void()
	if d.held() != 0 || d.key.Live.Running() != 0 {
		t.Fatalf("held %s, running %d", d.held(), d.key.Live.Running())
	}
	if s := d.m.Leases()[0]; s.Spent != 123 || s.Granted-s.Spent != s.Free {
		t.Fatalf("%+v", s)
	}
	if d.key.Live.Spent(d.milli/dayMilli) != 123 {
		t.Fatal("the day's spend is not counted")
	}
}

// TestEndedOnce: the second end of a ticket does nothing, and panics where a bug is to
// be found.
func TestEndedOnce(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.gate.o.Strict = false
	a := d.ok(d.input(1000))
	a.Settle(100, 5)
	a.Settle(100, 5)
	a.Void()
	if n := d.gate.Count.ClosedTwice.Load(); n != 2 || d.held() != 0 || d.m.Leases()[0].Spent != 100 {
		t.Fatalf("counted %d, held %s, %+v", n, d.held(), d.m.Leases())
	}
	b := d.ok(d.input(10))
	b.Settle(b.Hold()+1, 5) // C17: never above the hold
	if d.gate.Count.AboveHold.Load() != 1 || d.m.Leases()[0].Spent != 100+ceiling(10) {
		t.Fatalf("%+v", d.m.Leases())
	}
	d.gate.o.Strict = true
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	b.Void()
}

// TestRefusals is C7, C8, C9, C11: code, text and that nothing stays taken.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*desk, *Input)
		code   apierr.Code
		text   string
	}{
		"key scope": {
			func(d *desk, _ *Input) { d.key.Models = map[string]struct{}{"other": {}} }, apierr.ModelNotAllowed,
			"This API key is not allowed to use the model 'm'.",
		},
		"group scope": {
			func(d *desk, _ *Input) { d.group.AllModels = false }, apierr.GroupNotAllowed,
			"The current group has no access to the model 'm'.",
		},
		"no group": {
			func(_ *desk, in *Input) { in.Group = nil }, apierr.GroupNotAllowed,
			"The current group has no access to the model 'm'.",
		},
		"balance": {
			func(_ *desk, in *Input) { in.Bound.OutputTokens = 2_000_000 }, apierr.InsufficientBalance,
			"Insufficient credit balance: balance too low for this request's reservation ceiling (need $20.001, available $10).",
		},
		"monthly cap": {
			func(d *desk, _ *Input) { d.capMonth(usd / 1000) }, apierr.MonthlyCapReached,
			"This API key is blocked: monthly spend cap reached. It works again next calendar month (UTC), or when its cap is raised.",
		},
		"total quota": {
			func(d *desk, _ *Input) { d.capMonth(usd); d.capTotal(0) }, apierr.KeyQuotaReached,
			"This API key is blocked: total quota reached. It works again when its quota is raised.",
		},
		"daily": {
			func(d *desk, _ *Input) { d.key.DailyUSD = 5; d.key.Live.AddSpent(d.milli/dayMilli, 5) }, apierr.RateLimitedDaily,
			"Rate limit exceeded (daily). Retry after 43200s.",
		},
		"concurrency": {
			func(d *desk, _ *Input) { d.key.MaxConcurrency = 1; d.key.Live.Enter(0) }, apierr.RateLimitedConc,
			"Rate limit exceeded (concurrency). Retry after 1s.",
		},
		"group rpm": {func(d *desk, _ *Input) { d.group.RPM = 1; d.live.Group(5).RPM.Take(1, d.now) }, apierr.RateLimitedGroup, ""},
		"group tpm": {
			func(d *desk, _ *Input) { d.group.TPM = 1; d.live.Group(5).TPM.Take(1, 1, d.now) }, apierr.RateLimitedGroup,
			"Rate limit exceeded (group). Retry after 60s.",
		},
		"group daily": {
			func(d *desk, _ *Input) { d.group.DailyUSD = 5; d.live.Group(5).AddSpent(d.milli/dayMilli, 5) }, apierr.RateLimitedDaily,
			"Rate limit exceeded (daily). Retry after 43200s.",
		},
		"group concurrency": {
			func(d *desk, _ *Input) { d.group.MaxConcurrency = 1; d.live.Group(5).Enter(0) }, apierr.RateLimitedGroup,
			"Rate limit exceeded (group). Retry after 1s.",
		},
		"tpm": {
			func(d *desk, _ *Input) { d.key.TPM = 10; d.key.Live.TPM.Take(10, 10, d.now) }, apierr.RateLimitedTPM,
			"Rate limit exceeded (tpm). Retry after 60s.",
		},
		"unpriced": {func(d *desk, in *Input) { in.Bound.Images = 1 }, apierr.UnknownModelPricing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 10*usd)
			d.key.RPM, d.key.TPM = 100, 1_000_000
			in := d.input(1000)
			c.change(d, in)
			running := d.key.Live.Running()
			tokens, _ := d.key.Live.TPM.Left(d.key.TPM, d.now)
			err := d.refused(in, c.code)
			if text := string(err.AppendMessage(nil, nil)); c.text != "" && text != c.text {
				t.Errorf("text %q\nwant %q", text, c.text)
			}
			if err.Status == 429 && err.RetryAfter < 1 {
				t.Error("no Retry-After")
			}
			if left, _ := d.key.Live.RPM.Left(100, d.now); left != 100 {
				t.Errorf("the request stayed counted: %d left", left)
			}
			if left, _ := d.key.Live.TPM.Left(d.key.TPM, d.now); left != tokens {
				t.Errorf("tokens stayed drawn: %d left of %d", left, tokens)
			}
			if d.key.Live.Running() != running || d.held() != 0 {
				t.Errorf("running %d, held %s", d.key.Live.Running(), d.held())
			}
		})
	}
}

func (d *desk) capMonth(cap money.Amount) {
	d.key.MonthlyCap = cap
	d.books.have[store.Escrow{KeyID: 3, Period: 202611}] = &ledger.Wallet{Balance: cap}
}

func (d *desk) capTotal(cap money.Amount) {
	d.key.TotalQuota = cap
	d.books.have[store.Escrow{KeyID: 3}] = &ledger.Wallet{Balance: cap}
}

// TestRPM is S2-12: exactly the cap passes, and who waits the told seconds is let
// through.
func TestRPM(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.key.RPM = 5
	for i := range int64(5) {
		a := d.ok(d.input(10))
		if l := a.Limits(); l.Requests != 5 || l.RequestsLeft != 4-i || l.RequestsReset <= 0 || l.Tokens != 0 {
			t.Fatalf("limits %+v", *l)
		}
		a.Settle(1, 1)
		d.now += int64(time.Second)
	}
	err := d.refused(d.input(10), apierr.RateLimitedRPM)
	d.now += int64(err.RetryAfter) * int64(time.Second)
	d.ok(d.input(10)).Void()
}

// TestTPM is rulings 1.14: bytes/4 + the client's cap, or 1,024, corrected at the end.
func TestTPM(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.key.TPM = 10_000
	left := func() int64 { n, _ := d.key.Live.TPM.Left(10_000, d.now); return n }
	a := d.ok(d.input(3000)) // 1000 + 3000
	if left() != 6000 || a.Limits().TokensLeft != 6000 {
		t.Fatalf("%d left", left())
	}
	a.Settle(1, 500)
	if left() != 9500 {
		t.Fatalf("%d left after correction", left())
	}
	in := d.input(128_000)
	in.ClientCap = false
	b := d.ok(in) // 1000 + 1024
	if left() != 9500-2024 {
		t.Fatalf("%d left without a cap", left())
	}
	b.Settle(1, 20_000) // far more than drawn: overdrawn
	if left() != 0 {
		t.Fatalf("%d left", left())
	}
	err := d.refused(d.input(10), apierr.RateLimitedTPM)
	d.now += int64(err.RetryAfter) * int64(time.Second)
	c := d.ok(d.input(10))
	c.Void()
	d.now += int64(10 * time.Minute)
	big := d.ok(d.input(50_000)) // larger than the bucket: passes when it is full
	big.Settle(1, -1)            // usage not known: what was drawn stays drawn
	if left() != 0 {
		t.Fatalf("%d left", left())
	}
}

// TestConcurrency: max_concurrency requests at once, a finished one makes room.
func TestConcurrency(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.key.MaxConcurrency = 2
	a, b := d.ok(d.input(10)), d.ok(d.input(10))
	d.refused(d.input(10), apierr.RateLimitedConc)
	a.Void()
	c := d.ok(d.input(10))
	d.refused(d.input(10), apierr.RateLimitedConc)
	b.Settle(1, 1)
	c.Settle(1, 1)
	if d.key.Live.Running() != 0 {
		t.Fatal(d.key.Live.Running())
	}
}

// TestDaily: what was charged today counts, tomorrow is another day.
func TestDaily(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.key.DailyUSD = 100
	d.ok(d.input(10)).Settle(60, 1)
	d.ok(d.input(10)).Settle(60, 1) // overshoots by what was running, stated
	err := d.refused(d.input(10), apierr.RateLimitedDaily)
	d.milli += int64(err.RetryAfter) * 1000
	d.ok(d.input(10)).Settle(60, 1)
}

// TestGroup: the limits of a group are shared by its keys, and its day adds up.
func TestGroup(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.group.MaxConcurrency, d.group.DailyUSD, d.group.RPM = 2, 100, 4
	other := *d.key
	other.ID, other.Live = 4, d.live.Key(4, 9)
	a := d.ok(d.input(10))
	in := d.input(10)
	in.Key = &other
	b := d.ok(in)
	d.refused(d.input(10), apierr.RateLimitedGroup)
	a.Settle(60, 1)
	b.Settle(60, 1)
	if g := d.live.Group(5); g.Running() != 0 || g.Spent(d.milli/dayMilli) != 120 {
		t.Fatalf("running %d, spent %d", g.Running(), g.Spent(d.milli/dayMilli))
	}
	d.refused(in, apierr.RateLimitedDaily)
	d.group.DailyUSD = -1
	d.ok(in).Void()
	d.ok(in).Void()
	err := d.refused(in, apierr.RateLimitedGroup)
	in.Now += int64(err.RetryAfter) * int64(time.Second)
	d.ok(in).Void()
}

// TestClamp is D3: no cap given, the cap is lowered to what the money covers, at least
// 1,024 tokens; a client's own cap is never lowered.
func TestClamp(t *testing.T) {
	d := newDesk(t, ceiling(5000))
	in := d.input(128_000)
	in.ClientCap = false
	a := d.ok(in)
	if !a.Clamped || a.OutputCap != 5000 || a.Hold() != ceiling(5000) {
		t.Fatalf("clamped %v to %d, hold %s", a.Clamped, a.OutputCap, a.Hold())
	}
	a.Void()
	if got := d.refused(d.input(128_000), apierr.InsufficientBalance); got.Need != ceiling(128_000) || got.Available != ceiling(5000) {
		t.Fatalf("need %s available %s", got.Need, got.Available)
	}
	in = d.input(128_000)
	in.ClientCap, in.NoClamp = false, true
	d.refused(in, apierr.InsufficientBalance)

	d = newDesk(t, ceiling(MinOutput)-1)
	in = d.input(128_000)
	in.ClientCap = false
	d.refused(in, apierr.InsufficientBalance)
	d = newDesk(t, ceiling(MinOutput))
	in = d.input(128_000)
	in.ClientCap = false
	if a := d.ok(in); a.OutputCap != MinOutput {
		t.Fatalf("cap %d", a.OutputCap)
	}
	// The key's month covers less than the wallet.
	d = newDesk(t, 10*usd)
	d.capMonth(ceiling(3000))
	in = d.input(128_000)
	in.ClientCap = false
	a = d.ok(in)
	if _, month, _ := a.Leases(); a.OutputCap != 3000 || month == 0 {
		t.Fatalf("cap %d, month lease %d", a.OutputCap, month)
	}
	a.Settle(ceiling(3000), 4000)
	in = d.input(128_000)
	in.ClientCap = false
	d.refused(in, apierr.MonthlyCapReached)
}

// TestMoneyAway: without the database and with the lease used up it is 503 and never
// 402 by guess; what the lease has is spent on.
func TestMoneyAway(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.books.err = context.DeadlineExceeded
	err := d.refused(d.input(10), apierr.MoneyUnavailable)
	if err.Status != 503 || err.RetryAfter < 1 {
		t.Fatalf("%+v", err)
	}
	d = newDesk(t, 10*usd)
	d.ok(d.input(1000)).Void()
	d.books.mu.Lock()
	d.books.err = context.DeadlineExceeded
	d.books.mu.Unlock()
	d.ok(d.input(1000)).Void()
	d.refused(d.input(900_000), apierr.MoneyUnavailable)
}

// TestRefusalRemembered is rulings 3.12: a broke client's loop is one statement a
// second, and the feed's word ends it.
func TestRefusalRemembered(t *testing.T) {
	d := newDesk(t, ceiling(10))
	for range 50 {
		d.refused(d.input(1000), apierr.InsufficientBalance)
	}
	if d.books.grants != 1 {
		t.Fatalf("%d statements", d.books.grants)
	}
	d.ok(d.input(10)).Void() // what fits is served
	d.books.mu.Lock()
	d.books.have[store.Escrow{WalletID: 9}].Balance += usd
	d.books.mu.Unlock()
	d.refused(d.input(1000), apierr.InsufficientBalance)
	d.m.OnWallet(9)
	d.ok(d.input(1000)).Void()
}

// TestMonthOfAdmission is F9: the month comes from the request's id, its end in the
// next month changes nothing.
func TestMonthOfAdmission(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.capMonth(usd)
	d.books.have[store.Escrow{KeyID: 3, Period: 202612}] = &ledger.Wallet{Balance: usd}
	d.milli = time.Date(2026, 11, 30, 23, 59, 59, 999e6, time.UTC).UnixMilli()
	a := d.ok(d.input(100))
	d.milli++
	b := d.ok(d.input(100))
	_, november, _ := a.Leases()
	_, december, _ := b.Leases()
	if november == 0 || december == 0 || november == december {
		t.Fatalf("leases %d and %d", november, december)
	}
	a.Settle(7, 1)
	b.Settle(9, 1)
	for _, s := range d.m.Leases() {
		if want := map[int32]money.Amount{202611: 7, 202612: 9}[s.Period]; s.KeyID != 0 && s.Spent != want {
			t.Errorf("%+v: spent %d, want %d", s.Escrow, s.Spent, want)
		}
	}
}

// TestLegsAllOrNone is F8: over random holds, ends and refusals, every leg of a ticket
// carries the same hold and charge, and nothing is left held.
func TestLegsAllOrNone(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		d := newDesk(t, 3*usd)
		d.capMonth(2 * usd)
		d.capTotal(usd)
		var open []*Ticket
		charged := money.Amount(0)
		for range 300 {
			if rng.IntN(2) == 0 {
				if a, err := d.admit(d.input(rng.Int64N(20_000))); err == nil {
					w, m, q := a.Leases()
					if w == 0 || m == 0 || q == 0 {
						t.Fatalf("seed %d: legs %d %d %d", seed, w, m, q)
					}
					open = append(open, a)
				}
			} else if len(open) > 0 {
				i := rng.IntN(len(open))
				if c := money.Amount(rng.Int64N(int64(open[i].Hold()) / 20)); rng.IntN(3) > 0 {
					charged += c
					open[i].Settle(c, 1)
				} else {
					open[i].Void()
				}
				open = append(open[:i], open[i+1:]...)
			}
			held := money.Amount(0)
			for _, a := range open {
				held += a.Hold()
			}
			for _, s := range d.m.Leases() {
				if s.Held != held || s.Spent != charged || s.Free < 0 {
					t.Fatalf("seed %d: %+v, want held %d spent %d", seed, s, held, charged)
				}
			}
		}
	}
}

// TestIP is the IP limit of C11 at the gate.
func TestIP(t *testing.T) {
	d := newDesk(t, usd)
	ip := netip.MustParseAddr("198.51.100.7")
	for range 300 {
		if err := d.gate.AllowIP(ip, d.now); err != nil {
			t.Fatal(err)
		}
	}
	err := d.gate.AllowIP(ip, d.now)
	if err == nil || err.Code != apierr.RateLimitedIP || err.RetryAfter < 1 || err.RetryAfter > 61 {
		t.Fatalf("%+v", err)
	}
	if err := d.gate.AllowIP(ip, d.now+int64(err.RetryAfter)*int64(time.Second)); err != nil {
		t.Fatal("waited and refused")
	}
}

// TestFree: a request that can cost nothing needs no money.
func TestFree(t *testing.T) {
	d := newDesk(t, 0)
	d.rule.ClientPPM = 0
	a := d.ok(d.input(1000))
	a.Settle(0, 10)
	if w, _, _ := a.Leases(); w != 0 || d.books.grants != 0 {
		t.Fatal("a free request drew on the wallet")
	}
}

var _ lease.DB = (*books)(nil)
