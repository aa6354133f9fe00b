package ship

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// refuse makes the sink refuse every batch that has one of the given charges in it.
func refuse(bad ...int) func(int, []usage.Record) error {
	return func(_ int, recs []usage.Record) error {
		for i := range recs {
			if slices.Contains(bad, int(recs[i].Charge)) {
				return fmt.Errorf("%w: charge %d", store.ErrInvalid, recs[i].Charge)
			}
		}
		return nil
	}
}

// dead reads a dead file back.
func dead(t interface{ Fatal(...any) }, j *journal.Journal) (charges []int) {
	b, err := os.ReadFile(filepath.Join(j.Folder(), "dead.jsonl"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var d Dead
		var rec usage.Record
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatal(err)
		}
		if err := journal.DecodeRecord(d.Raw, &rec); err != nil {
			t.Fatal(err)
		}
		if rec != d.Record || d.RequestID != rec.ID.String() || d.Error == "" || d.At.IsZero() {
			t.Fatal(string(line))
		}
		charges = append(charges, int(rec.Charge))
	}
	return charges
}

// TestPoison: records that Postgres refuses for ever stop no other one; each is put
// aside once, whole, before it is acknowledged.
func TestPoison(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		j := open(t, dir)
		n := rapid.IntRange(2, 100).Draw(rt, "records")
		bad := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, min(n-1, 8), rapid.ID).Draw(rt, "bad")
		sink := newSink()
		sink.before = refuse(bad...)
		o := fast()
		o.Batch = rapid.IntRange(20, 100).Draw(rt, "batch")
		s := New(j, sink, o)
		appendN(t, j, 0, n)
		// A good one behind each batch, so that there is proof that others are taken.
		appendN(t, j, 1000, 1000+o.Batch)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			rt.Fatal(err)
		}
		got := dead(rt, j)
		slices.Sort(got)
		slices.Sort(bad)
		if !slices.Equal(got, bad) || sink.count() != n+o.Batch-len(bad) {
			rt.Fatalf("put aside %v, want %v; %d booked", got, bad, sink.count())
		}
		_ = j.Close()
	})
}

// TestAllRefusedKeepsAll: when nothing at all is taken, the fault is not in the
// records: none is put aside, all wait.
func TestAllRefusedKeepsAll(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	sink.before = func(int, []usage.Record) error { return store.ErrInvalid }
	s := New(j, sink, fast())
	stop := run(t, s)
	appendN(t, j, 0, 200)
	waitFor(t, "attempts", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return sink.calls > 100 })
	stop()
	if len(dead(t, j)) != 0 || j.Lag() != 200 {
		t.Fatalf("%d put aside, lag %d", len(dead(t, j)), j.Lag())
	}
	sink.before = nil
	if err := s.Drain(context.Background()); err != nil || sink.count() != 200 {
		t.Fatalf("%v, %d booked", err, sink.count())
	}
}

// TestLonePoisonWaits: a refused record alone proves nothing; the next good one does.
func TestLonePoisonWaits(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	sink.before = refuse(7)
	run(t, New(j, sink, fast()))
	appendN(t, j, 7, 8)
	waitFor(t, "attempts", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return sink.calls > 5 })
	if j.Lag() != 1 || len(dead(t, j)) != 0 {
		t.Fatal("put aside without proof")
	}
	appendN(t, j, 8, 9)
	waitFor(t, "both away", func() bool { return j.Lag() == 0 })
	if got := dead(t, j); !slices.Equal(got, []int{7}) || sink.count() != 1 {
		t.Fatalf("put aside %v", got)
	}
}

// TestSchemaNotReady: a missing table or a deadlock is never a record's fault.
func TestSchemaNotReady(t *testing.T) {
	for _, state := range []string{"42P01", "40001", "40P01", "55P03", "53100", "57P01"} {
		j := open(t, t.TempDir())
		sink := newSink()
		sink.before = func(call int, recs []usage.Record) error {
			if call%2 == 1 {
				return fmt.Errorf("cannot insert: %w", sqlState(state))
			}
			return nil
		}
		s := New(j, sink, fast())
		appendN(t, j, 0, 10)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if err := s.Drain(ctx); err != nil || sink.count() != 10 || len(dead(t, j)) != 0 || sink.calls != 2 {
			t.Fatalf("%s: %v, %d booked, %d calls", state, err, sink.count(), sink.calls)
		}
		cancel()
	}
}

// TestDeadFileNotWritable: what cannot be put aside is not acknowledged.
func TestDeadFileNotWritable(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	sink.before = refuse(3)
	o := fast()
	o.DeadPath = filepath.Join(t.TempDir(), "no", "such", "folder")
	s := New(j, sink, o)
	appendN(t, j, 0, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx); err == nil || j.Lag() != 10 {
		t.Fatalf("%v, lag %d", err, j.Lag())
	}
}
