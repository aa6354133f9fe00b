//go:build !race

package journal

import (
	"testing"
)

// TestAllocationsG7: the hot path of the journal does not allocate.
func TestAllocationsG7(t *testing.T) {
	o := small()
	o.SegmentBytes = 8 << 20
	j, _ := mustOpen(t, t.TempDir(), o)
	rec, talk := record(12345), record(1)
	u := rec.Units
	buf := make([]byte, 0, MaxRecord)
	f := j.Flights().Acquire()
	for name, fn := range map[string]func(){
		"AppendRecord": func() { buf = AppendRecord(buf[:0], rec) },
		"AppendRecord of a conversation": func() {
			if buf = AppendRecord(buf[:0], talk); buf[0] != 2 {
				t.Fatal("not of the second layout")
			}
		},
		"Append of a conversation": func() {
			if err := j.Append(talk); err != nil {
				t.Fatal(err)
			}
		},
		"Begin of a conversation": func() { f.Begin(talk) },
		"Append": func() {
			if err := j.Append(rec); err != nil {
				t.Fatal(err)
			}
		},
		"Healthy":          func() { _ = j.Healthy() },
		"Begin":            func() { f.Begin(rec) },
		"Sent":             func() { f.Sent(1, 2, 3) },
		"Progress":         func() { f.Progress(77, &u) },
		"Details":          func() { f.FirstToken(5); f.Details(1, 3, 2) },
		"Acquire, Release": func() { j.Flights().Acquire().Release() },
	} {
		if n := testing.AllocsPerRun(200, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f.Release()
}
