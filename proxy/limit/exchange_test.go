package limit

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// schedules is how many random schedules each property is tried with.
func schedules(t testing.TB) int {
	if n, err := strconv.Atoi(os.Getenv("RELAY_TEST_SCHEDULES")); err == nil {
		return n
	}
	if testing.Short() {
		return 15
	}
	return 60
}

// world is a model with some proxies, in a bubble of virtual time.
type world struct {
	t     *testing.T
	ctx   context.Context
	m     *model
	r     *rand.Rand
	nodes []*node
}

type node struct {
	x    *Exchange
	k    *live.Key
	stop context.CancelFunc
	gone bool
}

func in(t *testing.T, seed uint64, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, ctx: ctx, m: newModel(), r: rand.New(rand.NewPCG(seed, 7))}
		w.m.recall = func(s store.LimitSubject, slot int16) {
			for _, n := range w.nodes {
				go n.x.OnRecall("l " + strconv.Itoa(int(s.Kind)) + " " + strconv.FormatInt(s.ID, 10) + " " + strconv.Itoa(int(slot)))
			}
		}
		f(w)
		cancel()
		time.Sleep(10 * time.Second) // whatever waits ends
	})
}

// join starts one more proxy; it is ready when join returns.
func (w *world) join() *node {
	id := int16(len(w.nodes) + 1)
	skew := w.r.Int64N(int64(1e15)) // clocks that have nothing to do with each other
	begun := time.Now()
	now := func() int64 { return skew + int64(time.Since(begun)) }
	ctx, stop := context.WithCancel(w.ctx)
	registry := live.NewRegistry(lease.New(nil, store.ProxySlot{ID: id, Epoch: 1}, lease.Options{}))
	n := &node{stop: stop, k: registry.Key(5, 1)}
	w.m.beat(id)
	n.x = New(Options{
		DB: w.m, Slot: store.ProxySlot{ID: id, Epoch: 1}, Log: slog.New(slog.DiscardHandler), now: now,
		IPs: new(live.IPs), Live: registry, DBTime: func() time.Time { return time.UnixMicro(w.m.now()) },
	})
	w.nodes = append(w.nodes, n)
	go n.x.Run(ctx)
	go func() {
		for ctx.Err() == nil {
			n.x.OnBeat(w.m.beat(id))
			sleep(ctx, 500*time.Millisecond)
		}
	}()
	sleep(ctx, 10*time.Millisecond)
	n.x.Ready(ctx)
	return n
}

func (n *node) leave() {
	n.gone = true
	n.stop()
	n.x.Drain(context.Background())
}

var subject = store.LimitSubject{Kind: store.LimitKeyRPM, ID: 5}

func (n *node) request(limit int64) (wait int64, ok bool) {
	_, _, wait, ok = n.x.Window(subject, &n.k.RPM, &n.k.RPMShare, limit, n.x.o.now())
	return wait, ok
}

// TestNeverAboveTheLimit is F16, rulings 1.13: whatever the number of proxies, their
// clocks, how they come and go, the latency of Postgres and lost recalls: what passes in
// a window never exceeds the limit, nor ever twice the limit in any minute.
func TestNeverAboveTheLimit(t *testing.T) {
	for seed := range uint64(schedules(t)) {
		in(t, seed, func(w *world) {
			limit := 1 + w.r.Int64N(90)
			if w.r.IntN(3) == 0 {
				w.m.see(func() { w.m.recall = func(store.LimitSubject, int16) {} }) // every notice is lost
			}
			latency := time.Duration(w.r.IntN(80)) * time.Millisecond
			w.m.latency = func() time.Duration { return latency }
			for range 1 + w.r.IntN(3) {
				w.join()
			}
			var passed []int64
			begun := w.m.now()
			for w.m.now()-begun < 5*minuteMicros {
				if w.r.IntN(400) == 0 && len(w.nodes) < 6 {
					w.join()
				}
				n := w.nodes[w.r.IntN(len(w.nodes))]
				switch {
				case n.gone:
				case w.r.IntN(800) == 0:
					n.leave()
				default:
					if _, ok := n.request(limit); ok {
						passed = append(passed, w.m.now())
					}
				}
				switch w.r.IntN(100) {
				case 0:
					time.Sleep(time.Duration(w.r.IntN(20)) * time.Second)
				default:
					time.Sleep(time.Duration(w.r.Int64N(int64(2*time.Minute) / limit / 4)))
				}
			}
			for _, n := range w.nodes {
				if c := n.x.Count.Alone.Load(); c > 0 {
					t.Fatalf("seed %d: %d requests judged alone", seed, c)
				}
			}
			var windows []window
			w.m.see(func() { windows = slices.Clone(w.m.windows[subject]) })
			for i, window := range windows {
				if window.own {
					continue
				}
				start, end := window.from, window.start+minuteMicros
				if i+1 < len(windows) {
					end = min(end, windows[i+1].from)
				}
				n := int64(0)
				for _, at := range passed {
					if at >= start && at < end {
						n++
					}
				}
				if n > limit {
					t.Fatalf("seed %d: %d of %d passed in window %d", seed, n, limit, i)
				}
			}
			for i, start := range passed {
				n := int64(0)
				for _, at := range passed[i:] {
					if at < start+minuteMicros {
						n++
					}
				}
				if i == 0 && n > limit || n > 2*limit {
					t.Fatalf("seed %d: %d of %d passed in a minute from request %d on", seed, n, limit, i)
				}
			}
		})
	}
}

// TestPolite: a lone client that waits the told whole seconds is never refused twice in
// a row, whichever proxy it meets, and gets as much as there is.
func TestPolite(t *testing.T) {
	for seed := range uint64(schedules(t)) {
		in(t, seed, func(w *world) {
			limit := 1 + w.r.Int64N(90)
			latency := time.Duration(w.r.IntN(80)) * time.Millisecond
			w.m.latency = func() time.Duration { return latency }
			for range 2 + w.r.IntN(2) {
				w.join()
			}
			gap := w.r.Int64N(int64(time.Minute) / limit * 2)
			refused, passed := false, int64(0)
			begun := w.m.now()
			for w.m.now()-begun < 5*minuteMicros {
				n := w.nodes[w.r.IntN(len(w.nodes))]
				wait, ok := n.request(limit)
				if ok {
					refused, passed = false, passed+1
					time.Sleep(time.Duration(gap))
					continue
				}
				if refused {
					t.Fatalf("seed %d, limit %d: refused twice in a row, %s", seed, limit, time.Duration(wait))
				}
				if wait <= 0 || wait > 2*minute {
					t.Fatalf("seed %d: told to wait %s", seed, time.Duration(wait))
				}
				refused = true
				time.Sleep((time.Duration(wait) + time.Second - 1) / time.Second * time.Second)
			}
			if gap < int64(time.Minute)/limit/2 && passed < limit {
				t.Fatalf("seed %d: only %d passed with a limit of %d", seed, passed, limit)
			}
		})
	}
}

// TestAway: without Postgres a proxy uses up what it has and then counts its even share;
// what passes in the first minute stays under twice the limit.
func TestAway(t *testing.T) {
	for seed := range uint64(schedules(t)) {
		in(t, seed, func(w *world) {
			limit := 3 + w.r.Int64N(90)
			for range 3 {
				w.join()
			}
			begun, passed := w.m.now(), int64(0)
			awayAt := begun + w.r.Int64N(minuteMicros)
			lost := w.r.IntN(2) == 0
			w.m.see(func() {
				w.m.fault = func() (bool, bool) { away := w.m.now() > awayAt; return away && !lost, away && lost }
			})
			for w.m.now()-begun < minuteMicros {
				if _, ok := w.nodes[w.r.IntN(3)].request(limit); ok {
					passed++
				}
				time.Sleep(time.Duration(w.r.Int64N(int64(time.Minute) / limit / 8)))
			}
			if passed > 2*limit || passed < limit/2 {
				t.Fatalf("seed %d: %d passed with a limit of %d", seed, passed, limit)
			}
			// What comes back counts again.
			w.m.see(func() { w.m.fault = func() (bool, bool) { return false, false } })
			time.Sleep(3 * time.Minute)
			begun, passed = w.m.now(), 0
			for w.m.now()-begun < minuteMicros {
				if _, ok := w.nodes[w.r.IntN(3)].request(limit); ok {
					passed++
				}
				time.Sleep(time.Duration(w.r.Int64N(int64(time.Minute) / limit / 8)))
			}
			if passed > limit {
				t.Fatalf("seed %d: afterwards %d passed with a limit of %d", seed, passed, limit)
			}
		})
	}
}

// TestPlaces: never more requests at once than the limit, over all proxies, and a place
// that is free somewhere is found within a second.
func TestPlaces(t *testing.T) {
	s := store.LimitSubject{Kind: store.LimitKeyPlaces, ID: 5}
	for seed := range uint64(schedules(t)) {
		in(t, seed, func(w *world) {
			limit := 1 + w.r.Int64N(6)
			latency := time.Duration(w.r.IntN(20)) * time.Millisecond
			w.m.latency = func() time.Duration { return latency }
			for range 3 {
				w.join()
			}
			var running, most, entered atomic.Int64
			for range 10 {
				r := rand.New(rand.NewPCG(w.r.Uint64(), 1))
				go func() {
					for w.ctx.Err() == nil {
						n := w.nodes[r.IntN(3)]
						if n.x.Enter(s, &n.k.Use, &n.k.Places, limit, n.x.o.now()) {
							entered.Add(1)
							most.Store(max(most.Load(), running.Add(1)))
							sleep(w.ctx, time.Duration(r.IntN(300))*time.Millisecond)
							running.Add(-1)
							n.k.Leave()
						} else {
							sleep(w.ctx, time.Duration(r.IntN(300))*time.Millisecond)
						}
					}
				}()
			}
			time.Sleep(time.Minute)
			if n := most.Load(); n > limit || n < min(limit, 2) {
				t.Fatalf("seed %d: %d at once with a limit of %d", seed, n, limit)
			}
			if n := entered.Load(); n < 60 {
				t.Fatalf("seed %d: only %d entered in a minute", seed, n)
			}
		})
	}
}

// TestPlacesFound: idle places of one proxy are there for another one.
func TestPlacesFound(t *testing.T) {
	s := store.LimitSubject{Kind: store.LimitGroupPlaces, ID: 5}
	in(t, 1, func(w *world) {
		a, b := w.join(), w.join()
		for range 4 {
			if !a.x.Enter(s, &a.k.Use, &a.k.Places, 4, a.x.o.now()) {
				t.Fatal("refused")
			}
		}
		if b.x.Enter(s, &b.k.Use, &b.k.Places, 4, b.x.o.now()) {
			t.Fatal("a fifth")
		}
		a.k.Leave()
		time.Sleep(time.Second)
		if !b.x.Enter(s, &b.k.Use, &b.k.Places, 4, b.x.o.now()) {
			t.Fatal("a free place was not found")
		}
	})
}

// TestTokens: never more tokens drawn than the bucket holds and what flowed in, over
// all proxies; corrections count for everybody.
func TestTokens(t *testing.T) {
	s := store.LimitSubject{Kind: store.LimitKeyTPM, ID: 5}
	for seed := range uint64(schedules(t)) {
		in(t, seed, func(w *world) {
			limit := 1000 + w.r.Int64N(100_000)
			for range 3 {
				w.join()
			}
			begun, drawn, short := w.m.now(), int64(0), int64(0)
			for w.m.now()-begun < 3*minuteMicros {
				n := w.nodes[w.r.IntN(3)]
				tokens := 1 + w.r.Int64N(limit/10)
				if share, wait, ok := n.x.Tokens(s, &n.k.TPM, &n.k.TPMShare, tokens, limit, n.x.o.now()); ok {
					delta := w.r.Int64N(tokens) - tokens/2
					share.Correct(delta)
					drawn += tokens
					short += max(0, delta)
					if delta < 0 {
						drawn += delta
					}
				} else if wait <= 0 || wait > 2*minute {
					t.Fatalf("seed %d: told to wait %s", seed, time.Duration(wait))
				}
				time.Sleep(time.Duration(w.r.IntN(1000)) * time.Millisecond)
				// What was drawn without corrections upwards, which ask nobody.
				if most := limit + limit*(w.m.now()-begun)/minuteMicros + 10; drawn > most {
					t.Fatalf("seed %d: %d drawn, at most %d with a limit of %d", seed, drawn, most, limit)
				}
			}
			if drawn < limit {
				t.Fatalf("seed %d: only %d drawn of %d", seed, drawn, limit)
			}
		})
	}
}

// TestAloneAsksNobody: a proxy that is alone behaves as if there were no others.
func TestAloneAsksNobody(t *testing.T) {
	in(t, 1, func(w *world) {
		n := w.join()
		synctest.Wait()
		if !n.x.Lone() {
			t.Fatal("not alone")
		}
		calls := w.m.done()
		for i := range 70 {
			if _, ok := n.request(60); ok != (i < 60) {
				t.Fatalf("request %d: %v", i, ok)
			}
		}
		time.Sleep(10 * time.Second)
		if n := w.m.done(); n != calls {
			t.Errorf("%d calls", n-calls)
		}
		// Another one comes and gets nothing of what was used up.
		b := w.join()
		if wait, ok := b.request(60); ok || wait < int64(48*time.Second) {
			t.Errorf("passed %v, wait %s", ok, time.Duration(wait))
		}
		if n.x.Lone() {
			t.Error("still alone")
		}
		// And goes again: not alone at once.
		b.leave()
		w.m.see(func() {
			delete(w.m.slots, 2)
			w.m.slots[9] = &slot{beat: time.Since(w.m.begun) - 40*time.Second}
		})
		time.Sleep(2 * time.Minute / 3)
		if n.x.Lone() {
			t.Error("alone too early")
		}
		time.Sleep(2 * time.Minute)
		if !n.x.Lone() {
			t.Error("not alone again")
		}
	})
}

// TestStatementsAreBounded: ten thousand limits in use cost a handful of statements a
// second, not one each.
func TestStatementsAreBounded(t *testing.T) {
	in(t, 1, func(w *world) {
		a := w.join()
		w.join()
		type key struct {
			w     live.Window
			share atomic.Pointer[live.Share]
		}
		keys := make([]key, 10_000)
		time.Sleep(time.Second)
		calls, passed := w.m.done(), atomic.Int64{}
		for range 4 {
			for i := range keys {
				go func() {
					if _, _, _, ok := a.x.Window(store.LimitSubject{Kind: store.LimitKeyRPM, ID: int64(i)}, &keys[i].w, &keys[i].share, 100, a.x.o.now()); ok {
						passed.Add(1)
					}
				}()
			}
			time.Sleep(time.Second)
		}
		if n := w.m.done() - calls; n > 60 {
			t.Errorf("%d statements for 10,000 keys in 4 s", n)
		} else {
			t.Logf("%d statements for %d requests of 10,000 keys in 4 s", n, passed.Load())
		}
		if passed.Load() != 40_000 {
			t.Errorf("%d passed", passed.Load())
		}
	})
}

// TestDailyStops: what each proxy spends the others know half a second later; the
// provider's stop is told once.
func TestDailyStops(t *testing.T) {
	in(t, 1, func(w *world) {
		a, b := w.join(), w.join()
		day := time.UnixMicro(w.m.now()).Unix() / 86400
		for _, n := range []*node{a, b} {
			n.x.Day(store.DayKey, 7, &n.k.Use, &n.k.Daily, day, 100)
			n.k.AddSpent(day, 40)
		}
		time.Sleep(1100 * time.Millisecond)
		if a.k.Spent(day) != 80 || b.k.Spent(day) != 80 || w.m.told(store.DaySubject{Kind: store.DayKey, ID: 7, Day: day}) {
			t.Fatalf("%d and %d", a.k.Spent(day), b.k.Spent(day))
		}
		a.k.AddSpent(day, 20)
		time.Sleep(1100 * time.Millisecond)
		if b.k.Spent(day) != 100 || !w.m.told(store.DaySubject{Kind: store.DayKey, ID: 7, Day: day}) {
			t.Fatalf("%d", b.k.Spent(day))
		}
		for range 100 {
			a.x.AddCost(3, 1000, 10, day*dayMilli)
			b.x.AddCost(3, 1000, 10, day*dayMilli)
			time.Sleep(50 * time.Millisecond)
		}
		if !w.m.told(store.DaySubject{Kind: store.DayProvider, ID: 3, Day: day}) {
			t.Fatal("the provider's stop was not told")
		}
		w.m.see(func() {
			if w.m.events > 4 {
				t.Errorf("%d events", w.m.events)
			}
		})
		c := w.join() // knows before its first request what was spent
		c.x.Day(store.DayKey, 7, &c.k.Use, &c.k.Daily, day, 100)
		if got := c.k.Spent(day); got != money.Amount(100) {
			t.Fatalf("a new proxy knows of %d", got)
		}
	})
}
