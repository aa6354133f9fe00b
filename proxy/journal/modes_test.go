package journal

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func syncedSeq(j *Journal) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.synced.Seq
}

// TestSyncModeWaits: in sync mode Append returns only after a datasync that began
// after its write, and those that wait share one.
func TestSyncModeWaits(t *testing.T) {
	o := small()
	o.Mode = ModeSync
	var gate atomic.Pointer[chan struct{}]
	var syncs atomic.Int64
	o.Faults = &Faults{Pwrite: pwriteAll, Free: freeBytes, Datasync: func(fd int) error {
		if g := gate.Load(); g != nil {
			syncs.Add(1)
			<-*g
		}
		return datasync(fd)
	}}
	j, _ := mustOpen(t, t.TempDir(), o)
	waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	g := make(chan struct{})
	gate.Store(&g)
	var done atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { appendN(t, j, 0, 1); done.Add(1) })
	waitFor(t, "first sync", func() bool { return syncs.Load() == 1 })
	for n := range 9 {
		wg.Go(func() { appendN(t, j, n+1, n+2); done.Add(1) })
	}
	waitFor(t, "all written", func() bool { return j.Last() == 10 })
	if done.Load() != 0 {
		t.Fatal("Append returned before the disk had the record")
	}
	g <- struct{}{}
	waitFor(t, "the first one", func() bool { return done.Load() == 1 })
	waitFor(t, "second sync", func() bool { return syncs.Load() == 2 })
	g <- struct{}{}
	wg.Wait()
	if syncs.Load() != 2 {
		t.Fatalf("%d syncs for 10 records, want 2", syncs.Load())
	}
	gate.Store(nil)
}

// TestGroupModeWindowG10: in group mode nobody waits, the disk is asked once for
// many records, within the window, and not at all when nothing was written.
func TestGroupModeWindowG10(t *testing.T) {
	o := small()
	o.SegmentBytes = 1 << 20
	var syncs atomic.Int64
	o.Faults = &Faults{Pwrite: pwriteAll, Free: freeBytes, Datasync: func(fd int) error {
		syncs.Add(1)
		return datasync(fd)
	}}
	j, _ := mustOpen(t, t.TempDir(), o)
	waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	before := syncs.Load()
	appendN(t, j, 0, 50)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 50 })
	n := syncs.Load() - before
	if n < 1 || n > 10 {
		t.Fatalf("%d syncs for 50 records at once", n)
	}
	before = syncs.Load()
	time.Sleep(50 * time.Millisecond)
	if n := syncs.Load() - before; n != 0 {
		t.Fatalf("%d syncs without a record", n)
	}
	if at := j.dirtyAt.Load(); at != 0 {
		t.Fatal("the window is not closed")
	}
}

// TestGroupModeSizeKick: 64 KiB do not wait for the time to pass.
func TestGroupModeSizeKick(t *testing.T) {
	o := small()
	o.SegmentBytes = 1 << 20
	o.SyncEvery = time.Hour
	o.SyncBytes = 4096
	j, _ := mustOpen(t, t.TempDir(), o)
	appendN(t, j, 0, 100)
	waitFor(t, "sync by size", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.begun > 50 })
	// Where the kernel does it by itself its answer is looked at with the next alarm, which
	// the record behind it has set to an hour.
	j.syncMu.Lock()
	_, err := j.learn(true)
	j.syncMu.Unlock()
	if synced := syncedSeq(j); err != nil || synced <= 50 {
		t.Fatalf("%d records are on the disk: %v", synced, err)
	}
	waitFor(t, "the rest to be told as unsynced", func() bool { return syncedSeq(j) == 100 || j.dirtyAt.Load() != 0 })
}

// TestSlowDiskA9: while a datasync takes long, records are still taken at once.
func TestSlowDiskA9(t *testing.T) {
	o := small()
	o.SegmentBytes = 1 << 20
	var slow atomic.Bool
	hold := make(chan struct{})
	o.Faults = &Faults{Pwrite: pwriteAll, Free: freeBytes, Datasync: func(fd int) error {
		if slow.Load() {
			<-hold
		}
		return datasync(fd)
	}}
	j, _ := mustOpen(t, t.TempDir(), o)
	waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	slow.Store(true)
	began := time.Now()
	appendN(t, j, 0, 1000)
	if took := time.Since(began); took > time.Second {
		t.Fatalf("1,000 records took %v", took)
	}
	waitFor(t, "window told", func() bool { return j.dirtyAt.Load() != 0 })
	slow.Store(false)
	close(hold)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 1000 })
}

// TestFsyncErrorA8: after one failed fsync the journal is dead: not healthy, the
// disk is never asked again, records of the window and all later ones go to the
// fallback.
func TestFsyncErrorA8(t *testing.T) {
	for _, mode := range []Mode{ModeGroup, ModeSync} {
		o := small()
		o.Mode = mode
		o.SegmentBytes = 1 << 20
		var broken atomic.Bool
		var asked atomic.Int64
		o.Faults = &Faults{Pwrite: pwriteAll, Free: freeBytes, Datasync: func(fd int) error {
			if broken.Load() {
				asked.Add(1)
				return syscall.EIO
			}
			return datasync(fd)
		}}
		dir := t.TempDir()
		j, _ := mustOpen(t, dir, o)
		waitFor(t, "healthy", j.Healthy)
		var mu sync.Mutex
		got := map[reqid.ID]bool{}
		j.SetFallback(func(r *usage.Record) error {
			mu.Lock()
			defer mu.Unlock()
			got[r.ID] = true
			return nil
		})
		appendN(t, j, 0, 10)
		waitFor(t, "sync", func() bool { return syncedSeq(j) == 10 })
		waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
		broken.Store(true)
		appendN(t, j, 10, 15)
		waitFor(t, "dead", j.Dead)
		appendN(t, j, 15, 20)
		waitFor(t, "the window in the fallback", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= 10 })
		for n := 10; n < 20; n++ {
			if mu.Lock(); !got[record(n).ID] {
				t.Errorf("record %d is nowhere", n)
			}
			mu.Unlock()
		}
		if j.Healthy() || asked.Load() != 1 {
			t.Fatalf("healthy %v, asked %d times", j.Healthy(), asked.Load())
		}
		if err := j.Close(); !errors.Is(err, ErrDead) {
			t.Fatalf("close: %v", err)
		}
		broken.Store(false)
		j, _ = mustOpen(t, dir, o) // another process, the disk is back
		if len(charges(t, j)) < 10 || !errors.Is(appendErr(j), nil) {
			t.Fatal("a restart does not heal")
		}
		_ = j.Close()
	}
}

func appendErr(j *Journal) error { return j.Append(record(99)) }

// TestWriteErrorA7: a write that fails in the middle of a record loses nothing: the
// record goes to the fallback, the next start cuts the part.
func TestWriteErrorA7(t *testing.T) {
	o := small()
	var broken atomic.Bool
	o.Faults = &Faults{Datasync: datasync, Free: freeBytes, Pwrite: func(fd int, b []byte, off int64) error {
		if broken.Load() {
			_ = pwriteAll(fd, b[:len(b)/2], off)
			return syscall.EIO
		}
		return pwriteAll(fd, b, off)
	}}
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	appendN(t, j, 0, 5)
	broken.Store(true)
	if err := j.Append(record(5)); !errors.Is(err, ErrDead) {
		t.Fatalf("without a fallback: %v", err)
	}
	var got []usage.Record
	j.SetFallback(func(r *usage.Record) error { got = append(got, *r); return nil })
	appendN(t, j, 6, 8)
	if len(got) != 2 || j.Healthy() {
		t.Fatalf("%d in the fallback", len(got))
	}
	crash(j)
	broken.Store(false)
	j, rec := mustOpen(t, dir, o)
	wantCharges(t, charges(t, j), numbers(0, 5))
	if rec.TornBytes == 0 {
		t.Fatal("no torn tail")
	}
}

// TestMetrics: what an operator is told.
func TestMetrics(t *testing.T) {
	o := small()
	o.Metrics = obs.NewMetrics(false)
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	f := j.Flights().Acquire()
	f.Begin(record(100))
	appendN(t, j, 0, 7)
	var b strings.Builder
	o.Metrics.WriteMetrics(&b)
	for _, line := range []string{
		"relay_journal_healthy 1", "relay_journal_dead 0", "relay_journal_lag_records 7",
		"relay_journal_records_total 7", "relay_flights_in_use 1", "relay_flights_cells 64",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
	crash(j)
	o.Metrics = obs.NewMetrics(false)
	_, _ = mustOpen(t, dir, o)
	b.Reset()
	o.Metrics.WriteMetrics(&b)
	if !strings.Contains(b.String(), `relay_flights_recovered_total{as="void"} 1`) {
		t.Error(b.String())
	}
}
