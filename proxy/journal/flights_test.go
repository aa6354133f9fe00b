package journal

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// TestFlightsFull: no more cells are given than there are; a released one is given again.
func TestFlightsFull(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	fl := j.Flights()
	var all []*Flight
	for f := fl.Acquire(); f != nil; f = fl.Acquire() {
		all = append(all, f)
	}
	if len(all) != 64 || fl.InUse() != 64 || fl.Cap() != 64 {
		t.Fatalf("%d cells, %d in use", len(all), fl.InUse())
	}
	all[13].Release()
	if fl.Acquire() != all[13] || fl.Acquire() != nil {
		t.Fatal("the released cell is not the next")
	}
	for _, f := range all {
		f.Release()
	}
	if fl.InUse() != 0 {
		t.Fatalf("%d in use", fl.InUse())
	}
	defer func() {
		if r := recover(); r == nil {
			t.Fatal("a second release is not noticed")
		}
	}()
	all[0].Release()
}

// TestFlightsParallel: a cell never has two owners.
func TestFlightsParallel(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	fl := j.Flights()
	var owners [64]atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var mine []*Flight
			for i := range 20000 {
				if f := fl.Acquire(); f != nil {
					if owners[f.index].Add(1) != 1 {
						t.Error("two owners")
						return
					}
					mine = append(mine, f)
				}
				if len(mine) > 12 || i%3 == 0 && len(mine) > 0 {
					f := mine[0]
					mine = mine[1:]
					owners[f.index].Add(-1)
					f.Release()
				}
			}
			for _, f := range mine {
				owners[f.index].Add(-1)
				f.Release()
			}
		})
	}
	wg.Wait()
	if fl.InUse() != 0 {
		t.Fatalf("%d in use", fl.InUse())
	}
	n := 0
	for fl.Acquire() != nil {
		n++
	}
	if n != 64 {
		t.Fatalf("%d cells left", n)
	}
}

// TestRecoveryChargeWithinHoldM8: whatever progress was noted, the recovered
// charge lies between 0 and the hold, and nothing of it gets lost.
func TestRecoveryChargeWithinHoldM8(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		j, _, err := Open(dir, small())
		if err != nil {
			rt.Fatal(err)
		}
		rec := record(n)
		rec.Hold = money.Amount(rapid.Int64Range(0, 1<<40).Draw(rt, "hold"))
		rec.Model = rapid.StringN(0, 128, 128).Draw(rt, "model")
		rec.RequestedModel = rapid.StringN(0, 128, 128).Draw(rt, "requested")
		charge := money.Amount(rapid.Int64Range(-10, 1<<41).Draw(rt, "charge"))
		f := j.Flights().Acquire()
		f.Begin(rec)
		f.Sent(1, 2, 3)
		f.Progress(charge, &usage.Units{usage.Output: rapid.Int64Range(-5, 1<<33).Draw(rt, "output")})
		crash(j)
		j, got, err := Open(dir, small())
		if err != nil {
			rt.Fatal(err)
		}
		defer crash(j)
		if len(got.Interrupted) != 1 {
			rt.Fatalf("%+v", got)
		}
		r := got.Interrupted[0]
		if r.Charge < 0 || r.Charge > rec.Hold || r.Charge+r.Overrun != max(charge, 0) || r.Units[usage.Output] < 0 {
			rt.Fatalf("noted %d of %d, got %+v", charge, rec.Hold, r)
		}
		if r.Model != rec.Model {
			rt.Fatalf("model %q, want %q", r.Model, rec.Model)
		}
	})
}

// TestFlightLongNames: names that do not fit into a cell are cut, the least needed first.
func TestFlightLongNames(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, small())
	rec := record(1)
	rec.Model, rec.RequestedModel, rec.ClientRequestID = strings.Repeat("m", 128), strings.Repeat("r", 128), strings.Repeat("c", 128)
	f := j.Flights().Acquire()
	f.Begin(rec)
	f.Progress(5, &usage.Units{})
	crash(j)
	_, got := mustOpen(t, dir, small())
	if len(got.Interrupted) != 1 {
		t.Fatalf("%+v", got)
	}
	r := got.Interrupted[0]
	if r.Model != rec.Model || !strings.HasPrefix(rec.RequestedModel, r.RequestedModel) || r.WalletLease != rec.WalletLease {
		t.Fatalf("%+v", r)
	}
}

// TestRecoveryManyCells: every running request of a dead process is charged once,
// also when the next start has fewer cells; unreadable cells are counted.
func TestRecoveryManyCells(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, small())
	for n := range 40 {
		f := j.Flights().Acquire()
		f.Begin(record(n))
		if n%4 > 0 {
			f.Sent(1, 2, 3)
		}
		if n%4 > 1 {
			f.Progress(money.Amount(n), &usage.Units{usage.Output: int64(n)})
		}
		if n%4 == 3 {
			appendN(t, j, n, n+1) // and no Release
		}
		if n == 2 {
			f.c.head[20] ^= 0xff
		}
	}
	crash(j)
	o := small()
	o.Cells = 16
	j, rec := mustOpen(t, dir, o)
	if rec.Voided != 10 || rec.SentUnknown != 10 || len(rec.Interrupted) != 9 || rec.Seen != 10 || rec.BadCells != 1 || rec.Pending != 19 {
		t.Fatalf("%+v", rec)
	}
	seen := map[reqid.ID]bool{}
	for _, r := range read(t, j) {
		if seen[r.ID] {
			t.Fatal("charged twice")
		}
		seen[r.ID] = true
	}
	if len(seen) != 19 || j.Flights().Cap() != 16 {
		t.Fatalf("%d records, %d cells", len(seen), j.Flights().Cap())
	}
}

// TestFlightsFileRefused: a file of cells that cannot be read is named.
func TestFlightsFileRefused(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"version 9": func(b []byte) []byte {
			b[8] = 9
			putCRC(b[20:24], b[:20])
			return b
		},
		"not a file of in-flight slots": func(b []byte) []byte { b[13]++; return b },
		"ends early":                    func(b []byte) []byte { return b[:len(b)-1] },
	} {
		dir := t.TempDir()
		j, _ := mustOpen(t, dir, small())
		path := j.dir.file("flights")
		crash(j)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err = Open(dir, small()); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProgressNotTorn: a progress never touches the one that counts until it is
// whole, so that a kill between two stores leaves a consistent pair of charge and units.
func TestProgressNotTorn(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	f := j.Flights().Acquire()
	defer f.Release()
	f.Begin(record(1))
	for n := int64(1); n < 5; n++ {
		counts := f.c.state.Load() & flipBit / flipBit
		before := f.c.progress[counts]
		f.Progress(money.Amount(n), &usage.Units{usage.Output: n})
		if f.c.progress[counts] != before {
			t.Fatal("the progress that counted was overwritten")
		}
		if now := f.c.progress[f.c.state.Load()&flipBit/flipBit]; now.charge != n || now.units[usage.Output] != uint32(n) {
			t.Fatalf("%+v", now)
		}
	}
}

// TestFreeListTag: a cell that comes back is never taken for one that never left.
func TestFreeListTag(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	fl := j.Flights()
	seen := map[uint64]bool{}
	for range 100 {
		seen[fl.head.Load()] = true
		f := fl.Acquire()
		seen[fl.head.Load()] = true
		f.Release()
	}
	if len(seen) != 200 {
		t.Fatalf("%d different heads after 200 changes", len(seen))
	}
}

// M6: the running requests are counted one by one from their cells, while others begin
// and end.
func TestFlightsRunning(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	f := j.Flights()
	sum := func() (n int, held money.Amount) {
		f.Running(func(r *usage.Record) {
			if r.WalletLease != 7 {
				t.Errorf("lease %d", r.WalletLease)
			}
			n++
			held += r.Hold
		})
		return n, held
	}
	begin := func(hold money.Amount) *Flight {
		fl := f.Acquire()
		fl.Begin(&usage.Record{ID: reqid.New(time.Now()), Model: "m", Hold: hold, WalletLease: 7})
		return fl
	}
	fl := f.Acquire() // taken, nothing stored
	a, b := begin(100), begin(23)
	b.Sent(1, 2, 3)
	b.Progress(5, &usage.Units{})
	if n, held := sum(); n != 2 || held != 123 {
		t.Errorf("%d hold %d", n, held)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 2000 {
				x := begin(1000)
				x.Release()
			}
		})
	}
	for range 200 {
		if n, held := sum(); n < 2 || n > 6 || held != 123+money.Amount(n-2)*1000 {
			t.Errorf("%d hold %d", n, held)
		}
	}
	group.Wait()
	a.Release()
	b.Release()
	fl.Release()
	if n, held := sum(); n != 0 || held != 0 {
		t.Errorf("at rest %d hold %d", n, held)
	}
}
