package live

import (
	"runtime"
	"sync"
	"testing"

	"tokenrelay/proxy/lease"
	"tokenrelay/shared/store"
)

func registry() *Registry {
	return NewRegistry(lease.New(nil, store.ProxySlot{ID: 1, Epoch: 1}, lease.Options{}))
}

// TestKeyOutlivesReload: a key that is loaded again meets its counters while anybody
// refers to it or they matter, and is forgotten afterwards.
func TestKeyOutlivesReload(t *testing.T) {
	r := registry()
	now, day := 50*minute, int64(20000)
	use := func() {
		k := r.Key(1, 10)
		k.RPM.Take(5, now)
		k.Keep()
	}
	use()
	for range 3 {
		runtime.GC()
		r.Sweep(now, day)
	}
	if left, _ := r.Key(1, 10).RPM.Left(5, now); left != 4 {
		t.Fatalf("the counter was forgotten: %d left", left)
	}
	// Idle: let go, but the same object as long as it is referred to.
	now += 10 * minute
	held := r.Key(1, 10)
	r.Sweep(now, day)
	runtime.GC()
	if r.Key(1, 10) != held || r.Find(1) != held {
		t.Fatal("two objects of one key")
	}
	runtime.KeepAlive(held)
	for range 3 {
		runtime.GC()
		r.Sweep(now, day)
	}
	if n := r.Keys(); n != 0 {
		t.Fatalf("%d keys remembered", n)
	}
	if r.Find(1) != nil {
		t.Fatal("found a forgotten key")
	}
}

// TestKeySpentToday: what a key spent today survives idleness, yesterday's does not
// block it.
func TestKeySpentToday(t *testing.T) {
	r := registry()
	const day = 20000
	k := r.Key(2, 10)
	k.SetOthers(day, 1000)
	k.AddSpent(day, 30)
	k.SetOthers(day, 70) // replaces
	if k.SpentHere(day) != 30 || k.Spent(day+2) != 0 || k.Spent(day-2) != 0 {
		t.Fatalf("days mixed up: %d %d", k.SpentHere(day), k.Spent(day+2))
	}
	k.Keep()
	k = nil
	r.Sweep(minute, day)
	runtime.GC()
	k = r.Key(2, 10)
	if got := k.Spent(day); got != 100 {
		t.Fatalf("spent %d, want 100", got)
	}
	k.AddSpent(day+1, 5)
	if k.SpentHere(day) != 30 || k.SpentHere(day+1) != 5 || k.SpentHere(day+2) != 0 {
		t.Fatalf("days mixed up: %d %d %d", k.SpentHere(day), k.SpentHere(day+1), k.SpentHere(day+2))
	}
	k.AddSpent(day+2, 7)
	k.AddSpent(day, 1) // too late to matter
	if k.SpentHere(day+2) != 7 || k.SpentHere(day) != 0 {
		t.Fatalf("a late charge moved another day: %d %d", k.SpentHere(day+2), k.SpentHere(day))
	}
	r.Sweep(1000*minute, day+9)
}

// TestKeyConcurrent: places are exact under contention, day roll-over loses nothing.
func TestKeyConcurrent(t *testing.T) {
	k := registry().Key(3, 10)
	var group sync.WaitGroup
	var mu sync.Mutex
	entered := 0
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if k.Enter(4) {
					k.AddSpent(20001, 1)
					mu.Lock()
					if entered++; entered > 4 {
						t.Error("more than four at once")
					}
					mu.Unlock()
					mu.Lock()
					entered--
					mu.Unlock()
					k.Leave()
				}
				k.AddSpent(20003, 1)
			}
		})
	}
	group.Wait()
	if k.Running() != 0 || k.Spent(20003) != 8000 {
		t.Fatalf("running %d, spent %d", k.Running(), k.Spent(20003))
	}
}

func TestCut(t *testing.T) {
	k := registry().Key(4, 10)
	for _, c := range []Cut{CutNone, CutNow, CutDrain, CutNone} {
		if k.SetCut(c); k.Cut() != c {
			t.Fatalf("cut %d, want %d", k.Cut(), c)
		}
	}
}

func TestGroups(t *testing.T) {
	r := registry()
	if one, again := r.Group(1), r.Group(1); one != again || one == r.Group(2) {
		t.Fatal("groups mixed up")
	}
}
