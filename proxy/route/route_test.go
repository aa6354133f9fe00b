package route

import (
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
)

type direct struct{}

func (direct) Health(r *catalog.Route) *catalog.Health { return r.Health }

func provider(slug string, keys int) *catalog.Provider {
	p := &catalog.Provider{Slug: slug, Wires: catalog.WireChat}
	for i := range keys {
		p.Keys = append(p.Keys, &catalog.ProviderKey{ID: int64(i + 1), Health: new(catalog.Health)})
	}
	return p
}

var ids int64

func add(m *catalog.Model, p *catalog.Provider, priority, weight int32) *catalog.Route {
	ids++
	r := &catalog.Route{ID: ids, Model: m, Provider: p, Priority: priority, Weight: weight, Health: new(catalog.Health)}
	m.Routes = append(m.Routes, r)
	return r
}

var openai = Filter{Wires: catalog.WireChat}

// rng is a small deterministic source.
type rng uint64

func (r *rng) next() uint64 {
	*r ^= *r << 13
	*r ^= *r >> 7
	*r ^= *r << 17
	return uint64(*r)
}

func TestLowerPriorityOnlyWhenHigherIsOut(t *testing.T) {
	m := &catalog.Model{}
	a := add(m, provider("a", 1), 0, 1)
	b := add(m, provider("b", 1), 1, 1)
	var tried Tried
	var c Choice
	r := rng(1)
	for range 100 {
		if why, _ := Pick(m, &openai, &tried, false, direct{}, 1, r.next(), &c); why != Chosen || c.Route != a {
			t.Fatalf("got %v, %+v", why, c)
		}
	}
	tried.Add(a.ID)
	if why, _ := Pick(m, &openai, &tried, false, direct{}, 1, r.next(), &c); why != Chosen || c.Route != b {
		t.Fatalf("after a failed: %v", why)
	}
	tried.Add(b.ID)
	if why, _ := Pick(m, &openai, &tried, false, direct{}, 1, r.next(), &c); why != Exhausted {
		t.Fatalf("after both failed: %v", why)
	}
	if why, _ := Pick(m, &openai, &tried, true, direct{}, 1, r.next(), &c); why != Chosen || c.Route != a {
		t.Fatalf("again: %v", why)
	}
}

// Weights: with equal latency and nothing in flight, a route of weight 3 among
// weight-1 routes is chosen more often than any of them.
func TestWeightAndLatency(t *testing.T) {
	m := &catalog.Model{}
	heavy := add(m, provider("a", 1), 0, 3)
	light := add(m, provider("b", 1), 0, 1)
	slow := add(m, provider("c", 1), 0, 1)
	slow.Health.LatencyMicros.Store(50_000)
	var tried Tried
	got := map[*catalog.Route]int{}
	r := rng(7)
	for range 10_000 {
		var c Choice
		if why, _ := Pick(m, &openai, &tried, false, direct{}, 1, r.next(), &c); why != Chosen {
			t.Fatal(why)
		}
		got[c.Route]++
	}
	if got[heavy] <= got[light] || got[light] <= got[slow] {
		t.Fatalf("heavy %d, light %d, slow %d", got[heavy], got[light], got[slow])
	}
}

// The reasons of interface 7 and C12.
func TestWhyNothingWasChosen(t *testing.T) {
	f := func(want Why, build func(m *catalog.Model)) {
		t.Helper()
		m := &catalog.Model{}
		build(m)
		var tried Tried
		var c Choice
		if why, _ := Pick(m, &openai, &tried, false, direct{}, 1000, 5, &c); why != want {
			t.Fatalf("got %v; want %v", why, want)
		}
		if why, _, _ := Peek(m, &openai, direct{}, 1000); why != want {
			t.Fatalf("Peek: got %v; want %v", why, want)
		}
	}
	paused := func() *catalog.Provider { p := provider("p", 1); p.Paused = true; return p }
	open := func(r *catalog.Route) { r.Health.OpenUntilNanos.Store(5000) }
	f(NoRoute, func(*catalog.Model) {})
	f(NoRoute, func(m *catalog.Model) {
		p := provider("x", 1)
		p.Wires = catalog.WireMessages
		add(m, p, 0, 1)
	})
	f(NoKeys, func(m *catalog.Model) { add(m, provider("x", 0), 0, 1); add(m, provider("y", 0), 1, 1) })
	f(Paused, func(m *catalog.Model) { add(m, paused(), 0, 1); add(m, paused(), 1, 1) })
	f(Down, func(m *catalog.Model) { open(add(m, provider("x", 1), 0, 1)) })
	f(Down, func(m *catalog.Model) { open(add(m, provider("x", 1), 0, 1)); add(m, paused(), 0, 1) })
	f(Down, func(m *catalog.Model) {
		p := provider("x", 1)
		p.Keys[0].Health.OpenUntilNanos.Store(5000)
		add(m, p, 0, 1)
	})
	f(Chosen, func(m *catalog.Model) { open(add(m, provider("x", 1), 0, 1)); add(m, provider("y", 1), 1, 1) })
}

// The breaker opens after five failures in a row, lets one probe through when its
// time is up, and closes or opens for longer by the probe's outcome.
func TestBreakerAndProbe(t *testing.T) {
	m := &catalog.Model{}
	route := add(m, provider("a", 1), 0, 1)
	var tried Tried
	pick := func(now int64) (Choice, Why) {
		var c Choice
		why, _ := Pick(m, &openai, &tried, false, direct{}, now, 3, &c)
		return c, why
	}
	now := int64(1)
	for range openAfter {
		c, why := pick(now)
		if why != Chosen {
			t.Fatalf("open too early: %v", why)
		}
		c.Begin()
		c.Bad(now)
		c.End()
	}
	if _, why := pick(now); why != Down {
		t.Fatalf("still closed: %v", why)
	}
	now += int64(openFirst) + 1
	probe, why := pick(now)
	if why != Chosen || !probe.probe {
		t.Fatalf("no probe: %v", why)
	}
	if _, why := pick(now); why != Down {
		t.Fatalf("a second probe at the same time: %v", why)
	}
	probe.Begin()
	probe.Bad(now)
	probe.End()
	if route.Health.OpenUntilNanos.Load() < now+2*int64(openFirst) {
		t.Fatal("a failed probe must open for longer")
	}
	now += int64(openMost) + 1
	probe, _ = pick(now)
	probe.Begin()
	probe.Good(100)
	probe.End()
	if c, why := pick(now); why != Chosen || c.probe {
		t.Fatalf("not closed after a good probe: %v", why)
	}
	if n := route.Health.Inflight.Load(); n != 0 {
		t.Fatalf("%d in flight at rest", n)
	}
}

// Permanent and transient key failures are kept apart (D11), and a second key takes
// over at once.
func TestKeys(t *testing.T) {
	m := &catalog.Model{}
	p := provider("a", 2)
	add(m, p, 0, 1)
	var tried Tried
	now := int64(1)
	pick := func() *catalog.ProviderKey {
		var c Choice
		why, _ := Pick(m, &openai, &tried, false, direct{}, now, 3, &c)
		if why != Chosen {
			return nil
		}
		return c.Key
	}
	first := pick()
	(&Choice{Key: first}).Cool(now, 3*time.Second)
	second := pick()
	if second == nil || second == first {
		t.Fatal("the other key does not take over")
	}
	(&Choice{Key: second}).Park(now)
	if pick() != nil {
		t.Fatal("a cooled and a parked key are both out")
	}
	now += int64(3*time.Second) + 1
	if pick() != first {
		t.Fatal("the cooled key is back after what the provider asked for")
	}
	if second.Health.Dead.Load() == 0 {
		t.Fatal("a parked key is marked")
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	m := &catalog.Model{}
	for i := range 4 {
		add(m, provider("a", 2), int32(i/2), 1)
	}
	var tried Tried
	var c Choice
	var hs Health = direct{}
	if n := testing.AllocsPerRun(1000, func() { Pick(m, &openai, &tried, false, hs, 1, 9, &c) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkPick(b *testing.B) {
	m := &catalog.Model{}
	for range 4 {
		add(m, provider("a", 2), 0, 1)
	}
	var tried Tried
	var c Choice
	var hs Health = direct{}
	r := rng(3)
	b.ReportAllocs()
	for b.Loop() {
		Pick(m, &openai, &tried, false, hs, 1, r.next(), &c)
	}
}

// A key that is asked for is the only one; without it there is no route.
func TestOneKeyOnly(t *testing.T) {
	m := &catalog.Model{}
	add(m, provider("none", 0), 0, 1)
	b := add(m, provider("b", 3), 1, 1)
	var tried Tried
	var c Choice
	r := rng(1)
	for range 50 {
		f := Filter{Wires: catalog.WireChat, KeyID: 2}
		if why, _ := Pick(m, &f, &tried, false, direct{}, 1, r.next(), &c); why != Chosen || c.Route != b || c.Key.ID != 2 {
			t.Fatalf("got %v, %+v", why, c)
		}
	}
	f := Filter{Wires: catalog.WireChat, KeyID: 9}
	if why, _ := Pick(m, &f, &tried, false, direct{}, 1, r.next(), &c); why != NoKeys {
		t.Errorf("a key that nobody has: %v", why)
	}
	b.Provider.Keys[1].Health.OpenUntilNanos.Store(1 << 60)
	f.KeyID = 2
	if why, _ := Pick(m, &f, &tried, false, direct{}, 1, r.next(), &c); why != Down {
		t.Errorf("a key that rests: %v", why)
	}
}
