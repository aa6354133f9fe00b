package journal

import (
	"os"
	"path/filepath"
	"testing"

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
