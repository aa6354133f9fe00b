package pin

import (
	"runtime"
	"sync"
	"testing"
)

type thing struct{ n [8]int64 }

// TestOneObject: while anybody has it, everybody gets the same one, also from many
// goroutines; when nobody has, it is forgotten.
func TestOneObject(t *testing.T) {
	var table Table[int64, thing]
	var group sync.WaitGroup
	got := make([]*thing, 16)
	made := 0
	for i := range got {
		group.Go(func() { got[i] = table.Get(7, false, func() *thing { made++; return new(thing) }) })
	}
	group.Wait()
	for _, g := range got {
		if g != got[0] || made != 1 {
			t.Fatalf("several objects, %d made", made)
		}
	}
	runtime.GC()
	if table.Find(7) != got[0] {
		t.Fatal("not found")
	}
	runtime.KeepAlive(got)
	clear(got)
	runtime.GC()
	runtime.GC()
	if table.Find(7) != nil {
		t.Fatal("nobody has it, and it is found")
	}
	table.Sweep(func(*thing) bool { t.Fatal("swept something dead"); return true })
	if table.Len() != 0 {
		t.Fatal(table.Len())
	}
}

// TestPinned: a pinned object stays, until a sweep lets go of it.
func TestPinned(t *testing.T) {
	var table Table[string, thing]
	table.Get("a", false, func() *thing { return new(thing) }).n[0] = 1
	table.Get("a", true, func() *thing { return new(thing) }).n[1] = 2
	keep := true
	for range 3 {
		runtime.GC()
		table.Sweep(func(*thing) bool { return keep })
	}
	if a := table.Find("a"); a == nil || a.n[1] != 2 {
		t.Fatalf("%+v", a)
	}
	keep = false
	for range 3 {
		table.Sweep(func(*thing) bool { return keep })
		runtime.GC()
	}
	if table.Find("a") != nil || table.Len() != 0 {
		t.Fatal("kept")
	}
}
