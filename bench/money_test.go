//go:build !race

package bench

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/embedpg"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// till is what a request's money passes: the gate and its lease, an in-flight slot, the
// journal, all as in production.
type till struct {
	k     *proxytest.Kit
	key   *catalog.Key
	model *catalog.Model
	group *catalog.Group
}

func newTill(tb testing.TB) *till {
	tb.Helper()
	k := proxytest.New(tb, proxytest.Options{
		Balance:   1_000_000 * money.USD,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", BaseURL: "http://127.0.0.1:1/v1", Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	key, err := k.Catalog.Key(context.Background(), &k.Digest)
	if err != nil {
		tb.Fatal(err)
	}
	// A wallet that has been spending has a lease that lasts: the first requests of a new
	// one wait for the database, which is not what is measured here.
	held, refusal := k.Leases.Hold(context.Background(), k.Leases.Wallet(1), 10_000*money.USD)
	if held == nil {
		tb.Fatal(refusal)
	}
	held.Void(10_000 * money.USD)
	s := k.Catalog.Snapshot()
	t := &till{k: k, key: key, model: s.Models["gpt-a"], group: s.Groups[1]}
	// The cache of price rules takes an entry in its own time.
	rule := func() *price.Rule { return k.Catalog.Rule(key, t.model, time.Now().UnixMilli()) }
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if first := rule(); first == rule() {
			break
		}
		if time.Now().After(end) {
			tb.Fatal("the price rule is never cached")
		}
	}
	return t
}

// cashier is one goroutine's memory.
type cashier struct {
	in     admit.Input
	ticket admit.Ticket
	rec    usage.Record
	now    time.Time
	id     reqid.ID
	rule   *price.Rule
}

// begin is what a request has before its money is asked for: its id and its price.
func (t *till) begin(c *cashier) {
	c.now = time.Now()
	c.id = reqid.New(c.now)
	c.rule = t.k.Catalog.Rule(t.key, t.model, c.now.UnixMilli())
}

// pass is all that the money of one stream of two flushes costs: hold, slot, progress,
// charge, journal, settle.
func (t *till) pass(c *cashier) error {
	now, rule := c.now, c.rule
	c.in = admit.Input{Key: t.key, Group: t.group, Model: t.model, Rule: rule, ClientCap: true, BodyBytes: 2000, Now: lease.Now(), Milli: now.UnixMilli()}
	c.in.Bound.InputTokens, c.in.Bound.OutputTokens = 2000, 500
	f := t.k.Journal.Flights().Acquire()
	if err := t.k.Gate.Admit(&c.in, &c.ticket); err != nil {
		return err
	}
	r := &c.rec
	*r = usage.Record{ID: c.id, ProxySlot: 1, AdmittedMicros: now.UnixMicro(), ClientID: 1, WalletID: 1, KeyID: 1, Model: "gpt-a", RequestedModel: "gpt-a"}
	r.Hold, r.PriceID, r.ModelPPM, r.GroupPPM, r.ClientPPM = c.ticket.Hold(), rule.Version.ID, rule.ModelPPM, rule.GroupPPM, rule.ClientPPM
	r.WalletLease, r.MonthLease, r.TotalLease = c.ticket.Leases()
	f.Begin(r)
	f.Sent(1000, 100, 50)
	u := usage.Units{usage.Input: 400}
	for range 2 {
		u[usage.Output] += 60
		charge, err := rule.Charge(&u)
		if err != nil {
			return err
		}
		f.Progress(charge, &u)
	}
	r.Units, r.Source = u, usage.SourceReported
	r.Charge, _ = rule.Charge(&u)
	if err := t.k.Journal.Append(r); err != nil {
		return err
	}
	c.ticket.Settle(r.Charge, 520)
	f.Release()
	return nil
}

// G-7: what the money of a request costs on the hot path, and that it allocates nothing.
func TestMoneyAllocatesNothingG7(t *testing.T) {
	x := newTill(t)
	var c cashier
	for range 100 {
		x.begin(&c)
		if err := x.pass(&c); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(2000, func() { x.begin(&c); _ = x.pass(&c) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkMoneyG7 is hold, slot, two notes of progress, charge, journal and settle of
// one request, with its percentiles, alone and with four requests per processor.
func BenchmarkMoneyG7(b *testing.B) {
	report := func(b *testing.B, took []time.Duration) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	}
	b.Run("one", func(b *testing.B) {
		x := newTill(b)
		var c cashier
		took := make([]time.Duration, 0, 1<<20)
		b.ReportAllocs()
		for b.Loop() {
			x.begin(&c)
			at := time.Now()
			if err := x.pass(&c); err != nil {
				b.Fatal(err)
			}
			if len(took) < cap(took) {
				took = append(took, time.Since(at))
			}
		}
		report(b, took)
	})
	b.Run("parallel", func(b *testing.B) {
		x := newTill(b)
		var mu sync.Mutex
		var all []time.Duration
		b.SetParallelism(4)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var c cashier
			took := make([]time.Duration, 0, 1<<18)
			for pb.Next() {
				x.begin(&c)
				at := time.Now()
				if err := x.pass(&c); err != nil {
					b.Error(err)
					return
				}
				if len(took) < cap(took) {
					took = append(took, time.Since(at))
				}
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
		report(b, all)
	})
}

// G-9: requests of one hot wallet through leases, against the row lock per request that
// they replace (check, debit, commit), both from 16 callers in the same run.
func TestHotWalletG9(t *testing.T) {
	const callers = 16
	run := func(span time.Duration, one func() error) float64 {
		var n atomic.Int64
		var all sync.WaitGroup
		began := time.Now()
		for range callers {
			all.Go(func() {
				for time.Since(began) < span {
					if err := one(); err != nil {
						t.Error(err)
						return
					}
					n.Add(1)
				}
			})
		}
		all.Wait()
		return float64(n.Load()) / time.Since(began).Seconds()
	}
	x := newTill(t)
	var pool sync.Pool
	pool.New = func() any { return new(cashier) }
	leased := run(500*time.Millisecond, func() error {
		c := pool.Get().(*cashier)
		defer pool.Put(c)
		x.begin(c)
		return x.pass(c)
	})
	// A server that keeps its promises, as production's does: fsync at each commit. A
	// request takes the lock twice, for its hold and for its charge.
	pg, err := embedpg.Start(t.Context(), embedpg.Options{Dir: filepath.Join(t.TempDir(), "pg"), Install: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.StopNow() }()
	url := pg.URL("")
	storetest.Exec(t, url, `CREATE TABLE hot (id int PRIMARY KEY, balance bigint)`)
	storetest.Exec(t, url, `INSERT INTO hot VALUES (1, 1000000000000)`)
	locked := storetest.Hammer(t, url, callers, time.Second, `UPDATE hot SET balance = balance - 1 WHERE id = 1 AND balance >= 1`) / 2
	t.Logf("%d callers, one wallet: %.0f requests/s through a lease, slot and journal; %.0f/s by a row lock each: %.0f times", callers, leased, locked, leased/locked)
	if leased < 20*locked {
		t.Errorf("only %.1f times", leased/locked)
	}
}
