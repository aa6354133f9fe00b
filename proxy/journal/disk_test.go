package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"tokenrelay/shared/journalfile"
)

// TestDiskFullSimulatedA7: the same by what the file system tells, for every user.
func TestDiskFullSimulatedA7(t *testing.T) {
	o := small()
	o.SegmentBytes = 64 << 10
	var full atomic.Bool
	o.Faults = &Faults{Datasync: datasync, Pwrite: pwriteAll, Free: func(string) (int64, error) {
		if full.Load() {
			return 1000, nil
		}
		return 1 << 40, nil
	}}
	j, _ := mustOpen(t, t.TempDir(), o)
	waitFor(t, "spare", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.spare != nil })
	full.Store(true)
	n := 0
	for j.Healthy() {
		appendN(t, j, n, n+1)
		n++
	}
	j.mu.Lock()
	left := o.SegmentBytes - j.off
	j.mu.Unlock()
	if left < o.SegmentBytes/2-1000 {
		t.Fatalf("only %d bytes left for running requests", left)
	}
	// Beyond all reserves: refused with a name, the journal is not dead.
	var err error
	for i := 0; err == nil && i < 10000; i++ {
		if err = j.Append(record(n)); err == nil {
			n++
		}
	}
	if !errors.Is(err, ErrFull) || j.Dead() {
		t.Fatalf("%v", err)
	}
	full.Store(false)
	waitFor(t, "healed", j.Healthy)
	appendN(t, j, n, n+1)
	wantCharges(t, charges(t, j), numbers(0, n+1))
}

// TestRetire: segments go once the ack is two positions ahead, or are kept.
func TestRetire(t *testing.T) {
	for _, keep := range []bool{false, true} {
		o := small()
		if keep {
			o.Keep = 1 << 60
		}
		dir := t.TempDir()
		j, _ := mustOpen(t, dir, o)
		appendN(t, j, 0, 400)
		before := len(segments(t, dir))
		r := j.NewReader()
		acks := 0
		for {
			recs, pos, err := r.Next(40)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Ack(pos); err != nil {
				t.Fatal(err)
			}
			if len(recs) == 0 {
				break
			}
			acks++
		}
		r.Close()
		if got := len(segments(t, dir)); got != 1 || before < 4 {
			t.Fatalf("%d of %d segments left after %d acks", got, before, acks)
		}
		old, _ := filepath.Glob(filepath.Join(dir, subdir, "*.old"))
		if keep != (len(old) == before-1) {
			t.Fatalf("keep %v: %d kept", keep, len(old))
		}
		if j.Lag() != 0 {
			t.Fatalf("lag %d", j.Lag())
		}
		crash(j)
		o.Keep = 1 // ns: what is kept has expired
		j, rec := mustOpen(t, dir, o)
		if rec.Pending != 0 {
			t.Fatalf("%d pending", rec.Pending)
		}
		waitFor(t, "kept segments expire", func() bool {
			old, _ := filepath.Glob(filepath.Join(dir, subdir, "*.old"))
			return len(old) == 0
		})
		appendN(t, j, 400, 410)
		wantCharges(t, charges(t, j), numbers(400, 410))
	}
}

// TestAckDurableK9: what was acknowledged is not offered again after a kill; a torn
// ack file only offers more again, never less.
func TestAckDurableK9(t *testing.T) {
	o := small()
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, o)
	appendN(t, j, 0, 600)
	r := j.NewReader()
	for range 2 {
		_, pos, err := r.Next(250)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Ack(pos); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	crash(j)
	whole, err := os.ReadFile(filepath.Join(dir, subdir, "ack"))
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(whole) {
		if at%journalfile.AckStride >= journalfile.AckSlot+2 {
			continue
		}
		b := append([]byte(nil), whole...)
		b[at] ^= 0x55
		again := copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(again, subdir, "ack"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, _, err := Open(again, o)
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		got := charges(t, j)
		if len(got) != 100 && len(got) != 350 {
			t.Fatalf("byte %d: %d records offered", at, len(got))
		}
		wantCharges(t, got, numbers(600-len(got), 600))
		_ = j.Close()
	}
	j, rec := mustOpen(t, dir, o)
	if rec.Pending != 100 {
		t.Fatalf("%d pending", rec.Pending)
	}
	wantCharges(t, charges(t, j), numbers(500, 600))
}

// TestAckNeedsDisk: a position is acknowledged only when the disk has its records.
func TestAckNeedsDisk(t *testing.T) {
	o := small()
	o.Mode = ModeProcess // nothing syncs by itself
	j, _ := mustOpen(t, t.TempDir(), o)
	appendN(t, j, 0, 200)
	if syncedSeq(j) != 0 {
		t.Fatal("process mode synced")
	}
	r := j.NewReader()
	defer r.Close()
	_, pos, err := r.Next(150)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Ack(pos); err != nil {
		t.Fatal(err)
	}
	if syncedSeq(j) < 150 {
		t.Fatalf("acknowledged 150, the disk has %d", syncedSeq(j))
	}
}

// TestReaderFollows: a reader that follows a writer over many segments sees every
// record once and in order.
func TestReaderFollows(t *testing.T) {
	j, _ := mustOpen(t, t.TempDir(), small())
	const n = 3000
	go func() {
		for i := range n {
			if j.Append(record(i)) != nil {
				return
			}
		}
	}()
	r := j.NewReader()
	defer r.Close()
	next := 0
	waitFor(t, "all records", func() bool {
		recs, pos, err := r.Next(17)
		if err != nil {
			t.Fatal(err)
		}
		for i := range recs {
			if int(recs[i].Charge) != next {
				t.Fatalf("record %d where %d belongs", recs[i].Charge, next)
			}
			next++
		}
		if next%2 == 0 {
			if err := j.Ack(pos); err != nil {
				t.Fatal(err)
			}
		}
		return next == n
	})
	if pos := fmt.Sprint(r.pos.Seq); pos != "3000" {
		t.Fatal(pos)
	}
}

// TestSegmentsKeepTheirSize: whatever sizes records have, the seal fits into the
// space that was reserved: a full disk cannot hit it.
func TestSegmentsKeepTheirSize(t *testing.T) {
	dir := t.TempDir()
	o := small()
	o.SegmentBytes = minSegment
	j, _ := mustOpen(t, dir, o)
	appendN(t, j, 0, 5000)
	for _, path := range segments(t, dir) {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() != o.SegmentBytes {
			t.Fatalf("%s has %d bytes, %d were reserved", path, st.Size(), o.SegmentBytes)
		}
	}
}
