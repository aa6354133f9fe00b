package journal

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// heldAsker lets a test say when, and how, the kernel answers.
type heldAsker struct {
	asker
	asked atomic.Int64
	hold  atomic.Bool
	fail  atomic.Bool
}

func (a *heldAsker) ask(fd int) error {
	a.asked.Add(1)
	return a.asker.ask(fd)
}

func (a *heldAsker) answer(wait bool) (bool, error) {
	if a.hold.Load() && !wait {
		return false, nil
	}
	done, err := a.asker.answer(wait)
	if done && a.fail.Load() {
		return true, syscall.EIO
	}
	return done, err
}

func openHeld(t *testing.T, dir string) (*Journal, *heldAsker) {
	t.Helper()
	a := &heldAsker{asker: newAsker()}
	if a.asker == nil {
		t.Fatal("this kernel has no AIO: the group mode is not what is tested here")
	}
	o := small()
	o.SegmentBytes = 1 << 20
	o.asker = func() asker { return a }
	j, _ := mustOpen(t, dir, o)
	waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	return j, a
}

// G10: the kernel is asked once for many records, within the window, and not at all
// when nothing was written; what became of it is learned though no record follows.
func TestAskedWindowG10(t *testing.T) {
	j, a := openHeld(t, t.TempDir())
	appendN(t, j, 0, 50)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 50 })
	appendN(t, j, 50, 51)
	waitFor(t, "sync of one", func() bool { return syncedSeq(j) == 51 })
	n := a.asked.Load()
	if n < 1 || n > 10 {
		t.Fatalf("asked %d times for 51 records", n)
	}
	time.Sleep(60 * time.Millisecond)
	if m := a.asked.Load(); m != n || j.asking.Load() || j.dirtyAt.Load() != 0 {
		t.Fatalf("asked %d times without a record, under way %v, the window is open since %d", m-n, j.asking.Load(), j.dirtyAt.Load())
	}
}

// A9: while the kernel does not answer, records are taken at once, nothing counts as
// being on the disk, no second question is asked, and the window is told.
func TestAskedSlowDiskA9(t *testing.T) {
	j, a := openHeld(t, t.TempDir())
	appendN(t, j, 0, 10)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 10 && !j.asking.Load() })
	a.hold.Store(true)
	before := a.asked.Load()
	began := time.Now()
	for n := 10; n < 500; n++ {
		appendN(t, j, n, n+1)
		if n%100 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Fatalf("490 records took %v", took)
	}
	if n := a.asked.Load() - before; n != 1 || syncedSeq(j) != 10 || j.dirtyAt.Load() == 0 {
		t.Fatalf("%d questions under way, %d records count as synced, the window is open since %d", n, syncedSeq(j), j.dirtyAt.Load())
	}
	a.hold.Store(false)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 500 })
}

// A8: after an answer that is an error the journal is dead, the disk is never asked
// again, and records of the window and all later ones go to the fallback.
func TestAskedErrorA8(t *testing.T) {
	dir := t.TempDir()
	j, a := openHeld(t, dir)
	var mu sync.Mutex
	got := map[reqid.ID]bool{}
	j.SetFallback(func(r *usage.Record) error {
		mu.Lock()
		defer mu.Unlock()
		got[r.ID] = true
		return nil
	})
	appendN(t, j, 0, 10)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 10 && !j.asking.Load() })
	before := a.asked.Load()
	a.fail.Store(true)
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
	time.Sleep(20 * time.Millisecond)
	if n := a.asked.Load() - before; n != 1 || j.Healthy() {
		t.Fatalf("asked %d times, healthy %v", n, j.Healthy())
	}
}

// Close ends what is under way, also while others append and the kernel is slow.
func TestCloseWhileAsked(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		j, a := openHeld(t, dir)
		a.hold.Store(true)
		var all sync.WaitGroup
		var written atomic.Int64
		for i := range 4 {
			all.Go(func() {
				for n := 0; j.Append(record(1000*i+n)) == nil; n++ {
					written.Add(1)
				}
			})
		}
		time.Sleep(8 * time.Millisecond)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if got := syncedSeq(j); got != uint64(written.Load()) {
			t.Fatalf("%d of %d records are on the disk behind Close", got, written.Load())
		}
	}
}

// G10: a sync that a record began puts the alarm off; nobody is woken for records whose sync
// is under way. A record that comes behind it sets the alarm for itself.
func TestAskedByRecordPutsTheAlarmOff(t *testing.T) {
	j, a := openHeld(t, t.TempDir())
	appendN(t, j, 0, 1)
	waitFor(t, "sync", func() bool { return syncedSeq(j) == 1 && !j.asking.Load() })
	left := func() time.Duration {
		t.Helper()
		var spec unix.ItimerSpec
		if err := unix.TimerfdGettime(j.alarm.fd, &spec); err != nil {
			t.Fatal(err)
		}
		return time.Duration(spec.Value.Nano())
	}
	// A slow machine may look when most of the time has passed already: the round is no evidence.
	for round := 1; ; round++ {
		n, asked := 2*round-1, a.asked.Load()
		appendN(t, j, n, n+1)
		j.mu.Lock()
		j.dueAt = 0
		j.mu.Unlock()
		appendN(t, j, n+1, n+2)
		if d := left(); d > j.o.SyncEvery && a.asked.Load() == asked+1 {
			break
		}
		if round == 200 {
			t.Fatal("the alarm never was put off")
		}
		waitFor(t, "sync", func() bool { return syncedSeq(j) == uint64(n+2) && !j.asking.Load() })
	}
	asked := a.asked.Load()
	appendN(t, j, 5000, 5001)
	if d := left(); d > j.o.SyncEvery && a.asked.Load() == asked {
		t.Fatalf("the alarm rings in %v for a record", d)
	}
}
