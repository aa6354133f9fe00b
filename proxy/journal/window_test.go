package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tokenrelay/shared/usage"
)

// TestWindowWrites: what is stored through the window is in the file, across its moves.
func TestWindowWrites(t *testing.T) {
	const size = 3*windowBytes + 100
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	var w window
	defer w.close()
	want := make([]byte, size)
	for off := int64(7); off < size; {
		b := bytes.Repeat([]byte{byte(off%250) + 1}, int(1+off*31%9000))
		b = b[:min(int64(len(b)), size-off)]
		if err := w.store(int(f.Fd()), size, b, off); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], b)
		off += int64(len(b))
	}
	if err := w.store(int(f.Fd()), size, []byte{1}, size); err == nil {
		t.Error("a byte behind the end was taken")
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs: %v", err)
	}
}

// TestPageThatTheDiskDoesNotGive is A10 for mapped pages: the journal dies, the process
// does not, and the record goes to the fallback.
func TestPageThatTheDiskDoesNotGive(t *testing.T) {
	dir := t.TempDir()
	j, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	var diverted []usage.Record
	j.SetFallback(func(r *usage.Record) error { diverted = append(diverted, *r); return nil })
	if err := j.Append(record(1)); err != nil || len(diverted) != 0 {
		t.Fatal(err, len(diverted))
	}
	if err := os.Truncate(filepath.Join(dir, subdir, "0000000000000001.seg"), 0); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(record(2)); err != nil {
		t.Fatal(err)
	}
	if !j.Dead() || j.Healthy() || len(diverted) != 1 || diverted[0].ID != record(2).ID {
		t.Errorf("dead %v, healthy %v, diverted %d", j.Dead(), j.Healthy(), len(diverted))
	}
	if err := j.Close(); err != nil && !errors.Is(err, ErrDead) {
		t.Error(err)
	}
}

// TestTouchChangesNothing: pages are made ready and what is in them stays, over the window's
// end too; a page that the disk does not give is no matter.
func TestTouchChangesNothing(t *testing.T) {
	const size = windowBytes + 3*4096
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i % 251)
	}
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	var w window
	defer w.close()
	w.touch(0, 10) // nothing is mapped
	if err := w.store(int(f.Fd()), size, want[:1], 0); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 1, 4095, 4096, windowBytes - 1, windowBytes, size} {
		w.touch(off, 3*4096+1)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs: %v", err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	w.touch(5000, 9000)
}

// TestTouchTakesTheFault: behind a sync the first to store takes a fault, which is nobody's
// who has touched before.
func TestTouchTakesTheFault(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	j, _ := mustOpen(t, t.TempDir(), Options{MinFree: 1, SyncEvery: time.Hour})
	faults := func(touch bool) (n int64) {
		for i := range 200 {
			if err := j.sync(); err != nil {
				t.Fatal(err)
			}
			if touch {
				j.Touch()
				j.Touch() // costs a look
			}
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &before)
			if err := j.Append(record(i)); err != nil {
				t.Fatal(err)
			}
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &after)
			n += after.Minflt - before.Minflt
		}
		return n
	}
	// The runtime takes faults of its own and the kernel writes pages back when it likes, so
	// the best of some rounds counts: without a touch none of them has fewer than 200 faults.
	for round := 1; ; round++ {
		without, with := faults(false), faults(true)
		t.Logf("%d faults of 200 records without and %d with", without, with)
		// A file system without a disk lets pages be written to behind a sync: none to take.
		if with < 100 {
			return
		}
		if round == 10 {
			t.Fatalf("%d faults of 200 records whose pages were touched", with)
		}
	}
}

// Touching and appending do not get in each other's way.
func TestTouchBesideAppend(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), Options{MinFree: 1, SyncEvery: time.Millisecond})
	stop := make(chan struct{})
	var touching sync.WaitGroup
	for range 2 {
		touching.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					j.Touch()
				}
			}
		})
	}
	const n = 5000
	for i := range n {
		if err := j.Append(record(i)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	touching.Wait()
	if err := j.sync(); err != nil {
		t.Fatal(err)
	}
	r := j.NewReader()
	defer r.Close()
	for got := 0; got < n; {
		recs, _, err := r.Next(256)
		if err != nil || len(recs) == 0 {
			t.Fatal(got, err)
		}
		for i := range recs {
			if recs[i].ID != record(got).ID {
				t.Fatalf("record %d is another", got)
			}
			got++
		}
	}
}
