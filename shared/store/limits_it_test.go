package store_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

func (p *proxy) take(asks ...store.LimitAsk) []store.LimitGrant {
	p.b.t.Helper()
	grants, blocked, err := p.b.TakeLimits(p.b.t.Context(), p.ID, p.Epoch, asks)
	if err != nil || blocked {
		p.b.t.Fatalf("blocked %v, error %v", blocked, err)
	}
	return grants
}

func ask(kind store.LimitKind, id, limit, need, want int64) store.LimitAsk {
	return store.LimitAsk{LimitSubject: store.LimitSubject{Kind: kind, ID: id}, Cap: limit, Need: need, Want: want}
}

// TestLimitWindow is F16 at the books: parts add up to the limit, in one minute, over
// proxies; what is given back can be given again; an honest wait.
func TestLimitWindow(t *testing.T) {
	b := newBooks(t)
	p, q := b.proxy("a"), b.proxy("b")
	w := func(need, want int64) store.LimitAsk { return ask(store.LimitKeyRPM, 7, 60, need, want) }
	g := p.take(w(1, 60))[0]
	if g.Granted != 15 || g.Spare != 45 || g.Wait != 0 || g.Remains <= 0 || g.Remains > time.Minute+time.Second/2 {
		t.Fatalf("%+v", g) // half of an even share of two
	}
	if h := q.take(w(1, 60))[0]; h.Granted != 11 || h.Start != g.Start {
		t.Fatalf("%+v", h)
	}
	if h := q.take(w(100, 60))[0]; h.Granted != 34 || h.Spare != 0 || !h.Again {
		t.Fatalf("%+v", h) // all there is; others are asked to give back
	}
	h := p.take(w(1, 60))[0]
	if h.Granted != 0 || h.Again || h.Wait <= 50*time.Second || h.Wait > time.Minute+2*time.Second {
		t.Fatalf("%+v", h)
	}
	// In the background nothing is taken where little is left.
	back := w(0, 60)
	back.Back, back.Start = 5, g.Start
	if h := p.take(back)[0]; h.Granted != 1 || h.Spare != 4 {
		t.Fatalf("%+v", h)
	}
	if h := q.take(w(0, 60))[0]; h.Granted != 1 {
		t.Fatalf("%+v", h)
	}
	if h := q.take(w(0, 60))[0]; h.Granted != 0 || h.Wait != 0 {
		t.Fatalf("%+v", h)
	}
	// A minute later the count of the one before fades; at its end one passes.
	b.exec("UPDATE limit_count SET at = at - 60000000")
	if h := q.take(w(1, 60))[0]; h.Granted > 2 {
		t.Fatalf("%+v", h)
	}
	b.exec("UPDATE limit_count SET at = at - 30000000")
	if h := q.take(w(60, 0))[0]; h.Granted < 25 || h.Granted > 33 {
		t.Fatalf("%+v", h) // half a minute in, half of the last minute counts
	}
}

func (b *books) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.conn.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

// TestLimitWindowHonest: who waits as told gets through, whatever went before (the
// clock of Postgres is moved by moving the row).
func TestLimitWindowHonest(t *testing.T) {
	b := newBooks(t)
	p := b.proxy("a")
	for range 60 {
		limit := 1 + rand.Int64N(90)
		b.exec("DELETE FROM limit_count")
		for range 1 + rand.IntN(40) {
			g := p.take(ask(store.LimitGroupRPM, 1, limit, 1+rand.Int64N(limit), rand.Int64N(limit)))[0]
			if g.Granted > 0 || g.Wait == 0 {
				b.exec("UPDATE limit_count SET at = at - $1", rand.Int64N(20_000_000))
				continue
			}
			if g.Wait > 2*time.Minute {
				t.Fatalf("limit %d: told to wait %s", limit, g.Wait)
			}
			b.exec("UPDATE limit_count SET at = at - $1", g.Wait.Microseconds())
			if h := p.take(ask(store.LimitGroupRPM, 1, limit, 1, 0))[0]; h.Granted != 1 {
				t.Fatalf("limit %d: waited %s and got %+v", limit, g.Wait, h)
			}
		}
	}
}

// TestLimitRace: many proxies, many statements with many limits at once, in every order:
// no deadlock, and never more than the limit.
func TestLimitRace(t *testing.T) {
	b := newBooks(t)
	const limits, limit = 20, 50
	var granted [limits]atomic.Int64
	var places [limits]atomic.Int64
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		p := b.proxy(name)
		for range 2 {
			group.Go(func() {
				for range 40 {
					var asks []store.LimitAsk
					for _, i := range rand.Perm(limits) {
						asks = append(asks, ask(store.LimitKeyRPM, int64(i), limit, rand.Int64N(3), rand.Int64N(limit)))
					}
					grants, _, err := b.TakeLimits(t.Context(), p.ID, p.Epoch, asks)
					if err != nil {
						t.Error(err)
						return
					}
					for k, g := range grants {
						granted[asks[k].ID].Add(g.Granted)
					}
				}
			})
		}
		group.Go(func() {
			for i := range int64(limits) {
				g, _, err := b.TakeLimits(t.Context(), p.ID, p.Epoch, []store.LimitAsk{ask(store.LimitKeyPlaces, i, 4, 1+rand.Int64N(3), 0)})
				if err != nil {
					t.Error(err)
					return
				}
				places[i].Add(g[0].Granted)
			}
		})
	}
	group.Wait()
	for i := range limits {
		if n := granted[i].Load(); n > limit {
			t.Errorf("limit %d: %d of %d", i, n, limit)
		}
		if n := places[i].Load(); n > 4 || n < 3 {
			t.Errorf("limit %d: %d of 4 places", i, n)
		}
	}
}

// TestLimitBucket: one bucket for all; corrections draw and give back; more than it
// holds passes when it is full.
func TestLimitBucket(t *testing.T) {
	b := newBooks(t)
	p, q := b.proxy("a"), b.proxy("b")
	k := func(need, want int64) store.LimitAsk { return ask(store.LimitKeyTPM, 7, 6000, need, want) }
	if g := p.take(k(1000, 6000))[0]; g.Granted != 1500 || g.Spare < 4400 || g.Spare > 4600 {
		t.Fatalf("%+v", g)
	}
	used := k(0, 0)
	used.Used = 4000
	if g := q.take(used)[0]; g.Granted != 0 || g.Spare > 600 {
		t.Fatalf("%+v", g)
	}
	g := q.take(k(5000, 0))[0]
	if g.Granted != 0 || !g.Again {
		t.Fatalf("%+v", g)
	}
	g = q.take(k(5000, 0))[0]
	if g.Granted != 0 || g.Wait < 44*time.Second || g.Wait > 46*time.Second {
		t.Fatalf("%+v", g)
	}
	b.exec("UPDATE limit_count SET at = at - $1", g.Wait.Microseconds())
	if g = q.take(k(5000, 0))[0]; g.Granted != 5000 {
		t.Fatalf("%+v", g)
	}
	back := k(0, 0)
	back.Back = 5000
	if g = q.take(back)[0]; g.Spare < 4900 {
		t.Fatalf("%+v", g)
	}
	b.exec("UPDATE limit_count SET at = at - 60000000")
	if g = p.take(k(50_000, 0))[0]; g.Granted != 50_000 {
		t.Fatalf("%+v", g)
	}
}

// TestLimitPlaces: places of a dead proxy, and of an earlier run, are free again.
func TestLimitPlaces(t *testing.T) {
	b := newBooks(t)
	p, q := b.proxy("a"), b.proxy("b")
	at := func(used, need int64) store.LimitAsk {
		a := ask(store.LimitKeyPlaces, 7, 4, need, 0)
		a.Used = used
		return a
	}
	if g := p.take(at(0, 3))[0]; g.Granted != 3 {
		t.Fatalf("%+v", g)
	}
	if g := q.take(at(0, 3))[0]; g.Granted != 1 {
		t.Fatalf("%+v", g)
	}
	if g := q.take(at(1, 1))[0]; g.Granted != 1 || g.Wait == 0 && !g.Again {
		t.Fatalf("%+v", g)
	}
	p.take(at(1, 0)) // gives two back
	if g := q.take(at(1, 5))[0]; g.Granted != 3 {
		t.Fatalf("%+v", g)
	}
	b.exec("UPDATE proxy_slot SET heartbeat = clock_timestamp() - interval '31 s' WHERE id = $1", p.ID)
	if g := q.take(at(3, 5))[0]; g.Granted != 4 {
		t.Fatalf("%+v", g)
	}
	if _, blocked, err := b.TakeLimits(t.Context(), p.ID, p.Epoch, nil); err != nil || !blocked {
		t.Fatalf("a proxy that was not heard of was given something: %v", err)
	}
	next := b.proxy("b") // the next run of q
	if g := next.take(at(0, 4))[0]; g.Granted != 4 {
		t.Fatalf("%+v", g)
	}
	if _, _, err := b.TakeLimits(t.Context(), q.ID, q.Epoch, []store.LimitAsk{at(0, 1)}); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("the earlier run: %v", err)
	}
	if err := b.SweepLimits(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLimitLone: one proxy may count alone while it is; another one is given nothing
// until it has told what it counted.
func TestLimitLone(t *testing.T) {
	b := newBooks(t)
	p := b.proxy("a")
	if lone, err := b.BeginLone(t.Context(), p.ID, p.Epoch); err != nil || !lone {
		t.Fatal(lone, err)
	}
	q := b.proxy("b")
	if lone, _ := b.BeginLone(t.Context(), q.ID, q.Epoch); lone {
		t.Fatal("two are alone")
	}
	if _, blocked, err := b.TakeLimits(t.Context(), q.ID, q.Epoch, nil); err != nil || !blocked {
		t.Fatalf("blocked %v %v", blocked, err)
	}
	s := store.LimitSubject{Kind: store.LimitKeyRPM, ID: 7}
	if err := b.PostLimits(t.Context(), []store.LimitCount{
		{LimitSubject: s, Elapsed: 20 * time.Second, Prev: 3, Cur: 8},
		{LimitSubject: store.LimitSubject{Kind: store.LimitKeyTPM, ID: 7}, Elapsed: 30 * time.Second},
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.EndLone(t.Context(), p.ID, p.Epoch); err != nil {
		t.Fatal(err)
	}
	g := q.take(ask(store.LimitKeyRPM, 7, 12, 9, 0), ask(store.LimitKeyTPM, 7, 6000, 1, 0))
	if g[0].Granted != 3 || g[0].Remains > 40*time.Second || g[1].Spare < 2900 || g[1].Spare > 3100 {
		t.Fatalf("%+v", g) // 12 − 8 − ⌊3 × ⅔⌋
	}
	// The claim of a slot ends it too; one heard of lately keeps others from being alone.
	b.exec("UPDATE proxy_slot SET state = 'closed' WHERE id = $1", q.ID)
	if lone, _ := b.BeginLone(t.Context(), p.ID, p.Epoch); lone {
		t.Fatal("alone although another one was there a moment ago")
	}
	b.exec("UPDATE proxy_slot SET heartbeat = clock_timestamp() - interval '151 s' WHERE id = $1", q.ID)
	if lone, _ := b.BeginLone(t.Context(), p.ID, p.Epoch); !lone {
		t.Fatal("not alone after all")
	}
	b.proxy("a")
	q = b.proxy("b")
	q.take()
}

// TestDays: what a day has cost, over proxies and their restarts; repeated tellings
// change nothing.
func TestDays(t *testing.T) {
	b := newBooks(t)
	p, q := b.proxy("a"), b.proxy("b")
	s := store.DaySubject{Kind: store.DayKey, ID: 3, Day: 20000}
	tell := func(p *proxy, spent money.Amount) money.Amount {
		t.Helper()
		others, err := b.ExchangeDays(t.Context(), p.ID, p.Epoch, []store.DaySpent{{DaySubject: store.DaySubject{Kind: store.DayGroup, ID: 3, Day: 20000}}, {s, spent}})
		if err != nil || others[0] != 0 {
			t.Fatal(others, err)
		}
		return others[1]
	}
	for range 2 {
		tell(p, 70)
	}
	tell(p, 60) // late
	if got := tell(q, 5); got != 70 {
		t.Fatal(got)
	}
	p = b.proxy("a")
	if got := tell(p, 0); got != 75 {
		t.Fatalf("after a restart: %d", got)
	}
	if got := tell(p, 10); got != 75 {
		t.Fatal(got)
	}
	if got := tell(q, 5); got != 80 {
		t.Fatal(got)
	}
}

// TestProviderStop is S4-17, S4-18: at its daily stop the provider is paused, once, with
// audit row and revision; the operator's word stands until tomorrow, or until a higher
// stop is reached.
func TestProviderStop(t *testing.T) {
	b := newBooks(t)
	p, q := b.proxy("a"), b.proxy("b")
	provider := b.catalog.Providers[0]
	b.exec("UPDATE provider SET daily_stop = 100 WHERE id = $1", provider.ID)
	s := store.DaySubject{Kind: store.DayProvider, ID: provider.ID, Day: 20000}
	spend := func(p *proxy, n money.Amount) {
		if _, err := b.ExchangeDays(t.Context(), p.ID, p.Epoch, []store.DaySpent{{s, n}}); err != nil {
			t.Fatal(err)
		}
	}
	reached := func() bool {
		t.Helper()
		first, err := b.DayReached(t.Context(), s, 1<<40, 1)
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	paused := func() bool {
		t.Helper()
		rows, err := b.LoadCatalog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return rows.Providers[0].Paused
	}
	spend(p, 60)
	if reached() || paused() {
		t.Fatal("paused below the stop")
	}
	spend(q, 40)
	rev, _ := b.Revision(t.Context())
	var first atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if ok, err := b.DayReached(t.Context(), s, 0, 0); err == nil && ok {
				first.Add(1)
			}
		})
	}
	group.Wait()
	if after, _ := b.Revision(t.Context()); first.Load() != 1 || !paused() || after != rev+1 {
		t.Fatalf("%d events, paused %v, revision %d after %d", first.Load(), paused(), after, rev)
	}
	if err := b.PauseProvider(t.Context(), "test", provider.Slug, false); err != nil {
		t.Fatal(err)
	}
	if reached() || paused() {
		t.Fatal("the operator was overruled")
	}
	b.exec("UPDATE provider SET daily_stop = 150 WHERE id = $1", provider.ID)
	if reached() {
		t.Fatal("below the raised stop")
	}
	spend(p, 130)
	if !reached() || !paused() {
		t.Fatal("the raised stop did nothing")
	}
	events, err := b.DayEvents(t.Context(), 20000, 10)
	if err != nil || len(events) != 1 || events[0].Spent != 170 || events[0].Limit != 150 {
		t.Fatalf("%+v %v", events, err)
	}
	rows, err := b.AuditLog(t.Context(), store.AuditFilter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range rows {
		if r.Actor == "daily-limit" && r.Action == "pause" && r.Object == "provider" && r.Rev > 0 {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d audit rows", n)
	}
}
