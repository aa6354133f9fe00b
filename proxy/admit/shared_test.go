//go:build !race

package admit

import (
	"context"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/limit"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// generous grants everything; it is not alone.
type generous struct{ calls, exchanged atomic.Int64 }

func (g *generous) TakeLimits(_ context.Context, _ int16, _ int64, asks []store.LimitAsk) ([]store.LimitGrant, bool, error) {
	g.calls.Add(1)
	grants := make([]store.LimitGrant, len(asks))
	for i, a := range asks {
		grants[i] = store.LimitGrant{Granted: max(a.Need, a.Want), Spare: a.Cap, Start: 1, Remains: time.Minute}
	}
	return grants, false, nil
}
func (*generous) PostLimits(context.Context, []store.LimitCount) error  { return nil }
func (*generous) BeginLone(context.Context, int16, int64) (bool, error) { return false, nil }
func (*generous) EndLone(context.Context, int16, int64) error           { return nil }
func (*generous) SweepLimits(context.Context) error                     { return nil }
func (*generous) DayReached(context.Context, store.DaySubject, money.Amount, money.Amount) (bool, error) {
	return false, nil
}

func (g *generous) ExchangeDays(_ context.Context, _ int16, _ int64, mine []store.DaySpent) ([]money.Amount, error) {
	g.exchanged.Add(1)
	return make([]money.Amount, len(mine)), nil
}

// share lets the desk's limits be shared with another proxy.
func (d *desk) share() *generous {
	g := new(generous)
	// Its looks and exchanges are an hour away: what is counted here is what requests ask.
	x := limit.New(limit.Options{DB: g, Slot: store.ProxySlot{ID: 1, Epoch: 1}, Live: d.live, Tick: time.Hour, Days: time.Hour, Log: quiet})
	x.OnBeat(store.Beat{Live: 2})
	ctx, cancel := context.WithCancel(context.Background())
	d.t.Cleanup(cancel)
	go x.Run(ctx)
	d.gate.o.Limits = x
	return g
}

// TestNoAllocationsShared: with every limit shared, a warm request allocates nothing and
// asks nobody; a refusal neither.
func TestNoAllocationsShared(t *testing.T) {
	d := warm(t, true)
	g := d.share()
	d.group.MaxConcurrency, d.group.DailyUSD = 1000, 1<<60
	in, ticket := d.input(1000), new(Ticket)
	d.once(in, ticket)
	calls, days := g.calls.Load(), g.exchanged.Load()
	if calls == 0 || days != 2 {
		t.Fatalf("%d questions, %d exchanges", calls, days)
	}
	if n := testing.AllocsPerRun(1000, func() { d.once(in, ticket) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	ip := netip.MustParseAddr("2001:db8::77")
	for range 50 {
		d.gate.AllowIP(ip, lease.Now())
	}
	calls++ // beyond the allowance the address is asked for once
	if n := testing.AllocsPerRun(200, func() { d.gate.AllowIP(ip, lease.Now()) }); n != 0 {
		t.Errorf("AllowIP: %v allocations", n)
	}
	if g.calls.Load() != calls || g.exchanged.Load() != days {
		t.Errorf("%d questions, %d exchanges", g.calls.Load()-calls, g.exchanged.Load()-days)
	}
	d.key.Live.RPMShare.Load().Drain(0)
	d.key.Live.RPMShare.Load().Refuse(math.MaxInt64, math.MaxInt64)
	if n := testing.AllocsPerRun(1000, func() {
		in.Now = lease.Now()
		if err := d.gate.Admit(in, ticket); err == nil || err.Code != apierr.RateLimitedRPM {
			t.Fatal(err)
		}
	}); n > 1 { // the text of a wait of years is not prepared
		t.Errorf("refusal: %v allocations", n)
	}
}

// TestSharedGivenBack: what a refused request took of shared limits is there again.
func TestSharedGivenBack(t *testing.T) {
	d := newDesk(t, 10*usd)
	d.share()
	d.key.RPM, d.key.TPM, d.key.MaxConcurrency = 100, 1<<40, 5
	d.group.RPM, d.group.TPM = 100, 1<<40
	d.ok(d.input(1000)).Void()
	now := lease.Now()
	free := func() (all [4]int64) {
		group := d.live.Group(5)
		all[0], _ = d.key.Live.RPMShare.Load().Free(now)
		all[1], _ = d.key.Live.TPMShare.Load().Free(now)
		all[2], _ = group.RPMShare.Load().Free(now)
		all[3], _ = group.TPMShare.Load().Free(now)
		return all
	}
	before := free()
	in := d.input(2_000_000)
	in.Now = lease.Now()
	if err := d.gate.Admit(in, new(Ticket)); err == nil || err.Status != 402 {
		t.Fatal(err)
	}
	if after := free(); after != before {
		t.Errorf("%v before, %v after", before, after)
	}
	if d.key.Live.Running() != 0 {
		t.Error("a place stayed taken")
	}
	a := d.ok(d.input(1000))
	a.Settle(1, 500)
	if after := free(); after[0] != before[0]-1 || after[1] != before[1]-500 {
		t.Errorf("%v before, %v after", before, after)
	}
}

func BenchmarkAdmitShared(b *testing.B) {
	d := warm(b, true)
	d.share()
	d.key.RPM, d.group.RPM = 1<<50, 1<<50
	in, ticket := d.input(1000), new(Ticket)
	d.once(in, ticket)
	b.ReportAllocs()
	for b.Loop() {
		d.once(in, ticket)
	}
}
