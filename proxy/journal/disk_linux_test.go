package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDiskFullA7: on a real small file system that somebody fills, new requests are
// refused before space runs out, all running ones are still journaled, and space
// that comes back heals it.
func TestDiskFullA7(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Logf("not root: a full disk is only simulated (%v)", err)
		return
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	o := small()
	o.SegmentBytes = 128 << 10
	o.Cells = 64
	o.MinFree = 64 << 10
	j, _, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	waitFor(t, "healthy with a spare segment", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })

	// Somebody fills the disk.
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size >= 4096; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	_ = f.Close()

	// Requests are admitted while Healthy, so many that it ends.
	n := 0
	for j.Healthy() {
		appendN(t, j, n, n+1)
		if n++; n > 5000 {
			t.Fatal("healthy for ever on a full disk")
		}
	}
	if free, _ := freeBytes(dir); free > 64<<10 {
		t.Fatalf("the disk is not full: %d bytes", free)
	}
	// Those that run, one for each cell, are all journaled.
	appendN(t, j, n, n+64)
	n += 64

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "healed", j.Healthy)
	appendN(t, j, n, n+300)
	wantCharges(t, charges(t, j), numbers(0, n+300))
}

// TestSyncOfOneRecord: what a sync writes is the page that the record is in, and not a
// piece of the kernel's cache of many pages.
func TestSyncOfOneRecord(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), Options{MinFree: 1, SegmentBytes: 4 << 20, SyncEvery: time.Hour})
	waitFor(t, "a spare segment", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	written := func() (n int64) {
		b, err := os.ReadFile("/proc/self/io")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(b), "\nwrite_bytes: ")
		if _, err := fmt.Sscan(after, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const n = 50
	before := written()
	for i := range n {
		if err := j.Append(record(i)); err != nil {
			t.Fatal(err)
		}
		if err := j.sync(); err != nil {
			t.Fatal(err)
		}
	}
	each := (written() - before) / n
	t.Logf("%d bytes for each record (none where files are not on a disk)", each)
	if each > 4*pageSize {
		t.Errorf("%d bytes are written for each record", each)
	}
}
