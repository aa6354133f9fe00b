package ship

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// TestShipsAll: everything that is journaled arrives, in batches, under the slot,
// and the lease manager is told of each record.
func TestShipsAll(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	o := fast()
	o.Batch = 50
	var mu sync.Mutex
	told := map[reqid.ID]int{}
	o.OnShipped = func(recs []usage.Record) {
		mu.Lock()
		defer mu.Unlock()
		for i := range recs {
			told[recs[i].ID]++
		}
	}
	s := New(j, sink, o)
	run(t, s)
	appendN(t, j, 0, 500)
	waitFor(t, "all records", func() bool { return sink.count() == 500 && j.Lag() == 0 })
	if sink.largest > 50 || sink.slot != 3 || sink.dup != 0 {
		t.Fatalf("largest batch %d, slot %d, %d sent twice", sink.largest, sink.slot, sink.dup)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 500 {
		t.Fatalf("told of %d", len(told))
	}
	if got := sink.booked[record(77).ID]; got.Charge != 77 || got.Model != "gpt-5-mini" || got.Units[usage.Output] != 77 {
		t.Fatalf("%+v", got)
	}
}

// TestCommitThenErrorB4K9: the transaction is committed, its answer is lost: the
// records are sent again and nothing is booked twice.
func TestCommitThenErrorB4K9(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	sink.after = func(call int) error {
		if call <= 3 {
			return errAway
		}
		return nil
	}
	run(t, New(j, sink, fast()))
	appendN(t, j, 0, 100)
	waitFor(t, "acknowledged", func() bool { return j.Lag() == 0 })
	if sink.count() != 100 || sink.dup == 0 || sink.sum() != 99*100/2 {
		t.Fatalf("%d booked, %d sent again, sum %d", sink.count(), sink.dup, sink.sum())
	}
}

// TestSumsUnderFaultsM7: whatever faults happen in whatever order, with restarts
// between them, what is booked is what was journaled.
func TestSumsUnderFaultsM7(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		sink := newSink()
		faults := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "away", "lost answer", "timeout", "deadlock"}), 0, 12).Draw(rt, "faults")
		at := func(call int) string {
			if call-1 < len(faults) {
				return faults[call-1]
			}
			return ""
		}
		sink.before = func(call int, _ []usage.Record) error {
			switch at(call) {
			case "away":
				return errAway
			case "timeout":
				return context.DeadlineExceeded
			case "deadlock":
				return sqlState("40P01")
			}
			return nil
		}
		sink.after = func(call int) error {
			if at(call) == "lost answer" {
				return errAway
			}
			return nil
		}
		var want money.Amount
		n := 0
		for range rapid.IntRange(1, 3).Draw(rt, "restarts") {
			j, _, err := journal.Open(dir, journal.Options{SegmentBytes: 32 << 10, Cells: 4, MinFree: 1, Log: quiet()})
			if err != nil {
				rt.Fatal(err)
			}
			o := fast()
			o.Batch = rapid.IntRange(1, 40).Draw(rt, "batch")
			s := New(j, sink, o)
			for range rapid.IntRange(0, 120).Draw(rt, "records") {
				rec := record(n)
				n++
				want += rec.Charge
				if err := j.Append(rec); err != nil {
					rt.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rapid.IntRange(0, 5).Draw(rt, "ms"))*time.Millisecond)
			_ = s.Run(ctx)
			cancel()
			if err := j.Close(); err != nil {
				rt.Fatal(err)
			}
		}
		j, _, err := journal.Open(dir, journal.Options{SegmentBytes: 32 << 10, Cells: 4, MinFree: 1, Log: quiet()})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := New(j, sink, fast()).Drain(ctx); err != nil {
			rt.Fatal(err)
		}
		if sink.count() != n || sink.sum() != want {
			rt.Fatalf("%d records and %d booked, want %d and %d", sink.count(), sink.sum(), n, want)
		}
	})
}

// sqlState is an error of Postgres.
type sqlState string

func (e sqlState) Error() string    { return "SQLSTATE " + string(e) }
func (e sqlState) SQLState() string { return string(e) }

// TestPostgresAwayB2: nothing is lost and nothing is refused while Postgres is away;
// attempts are spaced out.
func TestPostgresAwayB2(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	away := true
	sink.before = func(int, []usage.Record) error {
		if away {
			return errAway
		}
		return nil
	}
	o := fast()
	o.MaxWait = time.Second
	o.Metrics = obs.NewMetrics(false)
	s := New(j, sink, o)
	run(t, s)
	appendN(t, j, 0, 300)
	time.Sleep(200 * time.Millisecond)
	sink.mu.Lock()
	calls := sink.calls
	away = false
	sink.mu.Unlock()
	if calls < 1 || calls > 6 {
		t.Fatalf("%d attempts in 200 ms, want 50, 100, 200 ms between them", calls)
	}
	if s.age() < 0.1 || j.Lag() != 300 {
		t.Fatalf("age %v, lag %d", s.age(), j.Lag())
	}
	waitFor(t, "all records", func() bool { return j.Lag() == 0 })
	if sink.count() != 300 || s.age() != 0 {
		t.Fatalf("%d booked, age %v", sink.count(), s.age())
	}
	var b strings.Builder
	o.Metrics.WriteMetrics(&b)
	for _, line := range []string{"relay_ship_records_total 300\n", "relay_ship_dead_records_total 0\n", "relay_ship_oldest_seconds 0\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}

// TestHangingPostgresB5: a transaction that does not answer is given up.
func TestHangingPostgresB5(t *testing.T) {
	j := open(t, t.TempDir())
	o := fast()
	o.Timeout = 20 * time.Millisecond
	calls := 0
	sink := newSink()
	s := New(j, sinkFunc(func(ctx context.Context, slot int16, recs []usage.Record) (store.SettleResult, error) {
		if calls++; calls == 1 {
			<-ctx.Done()
			return store.SettleResult{}, ctx.Err()
		}
		return sink.SettleBatch(ctx, slot, recs)
	}), o)
	appendN(t, j, 0, 5)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil || sink.count() != 5 {
		t.Fatalf("%v, %d booked", err, sink.count())
	}
}

type sinkFunc func(context.Context, int16, []usage.Record) (store.SettleResult, error)

func (f sinkFunc) SettleBatch(ctx context.Context, slot int16, recs []usage.Record) (store.SettleResult, error) {
	return f(ctx, slot, recs)
}

// TestDrain: at shutdown everything goes out; what cannot is counted, kept, and
// shipped by the next start.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	sink := newSink()
	s := New(j, sink, fast())
	stop := run(t, s)
	appendN(t, j, 0, 50)
	stop()
	if err := s.Drain(context.Background()); err != nil || sink.count() != 50 {
		t.Fatalf("%v, %d booked", err, sink.count())
	}
	sink.before = func(int, []usage.Record) error { return errAway }
	appendN(t, j, 50, 80)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	err := s.Drain(ctx)
	var left *LeftError
	if !errors.As(err, &left) || left.Records != 30 || left.Lost != 0 || !strings.Contains(err.Error(), "journal kept: 30 records") || !errors.Is(err, errAway) {
		t.Fatalf("%v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	sink.before = nil
	j = open(t, dir)
	s = New(j, sink, fast())
	select {
	case <-s.CaughtUp():
		t.Fatal("caught up before anything was shipped")
	default:
	}
	appendN(t, j, 80, 81)
	run(t, s)
	select {
	case <-s.CaughtUp():
	case <-time.After(5 * time.Second):
		t.Fatal("never caught up")
	}
	if sink.count() < 80 {
		t.Fatalf("caught up with %d booked", sink.count())
	}
}

// TestCaughtUpEmpty: with nothing to ship there is nothing to wait for.
func TestCaughtUpEmpty(t *testing.T) {
	s := New(open(t, t.TempDir()), newSink(), fast())
	<-s.CaughtUp()
}

// TestDirectA8: records that the journal cannot take are copied, bounded, and
// booked straight; what is left at the end is told as lost.
func TestDirectA8(t *testing.T) {
	j := open(t, t.TempDir())
	sink := newSink()
	o := fast()
	o.MaxDirect = 20
	o.Batch = 7
	s := New(j, sink, o)
	name := []byte("gpt-5-mini")
	rec := record(0)
	for n := range 20 {
		*rec = *record(n)
		rec.Model = unsafe.String(&name[0], len(name)) // memory of a pooled exchange
		if err := s.Direct(rec); err != nil {
			t.Fatal(err)
		}
	}
	copy(name, "XXXXXXXXXX") // the exchange serves another request
	if err := s.Direct(record(20)); !errors.Is(err, ErrDirectFull) {
		t.Fatalf("%v", err)
	}
	sink.before = func(int, []usage.Record) error { return errAway }
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	err := s.Drain(ctx)
	cancel()
	var left *LeftError
	if !errors.As(err, &left) || left.Lost != 20 {
		t.Fatalf("%v", err)
	}
	sink.before = nil
	if err := s.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sink.count() != 20 || sink.sum() != 19*20/2 || sink.dup != 0 {
		t.Fatalf("%d booked", sink.count())
	}
	if err := s.Direct(record(21)); !errors.Is(err, ErrDrained) {
		t.Fatalf("taken after the end: %v", err)
	}
	if got := sink.booked[record(3).ID].Model; got != "gpt-5-mini" {
		t.Fatalf("model %q: the exchange's memory was kept", got)
	}
}

// TestClock: the offset follows Postgres, small errors slowly, large ones at once.
func TestClock(t *testing.T) {
	var c Clock
	at := time.Now()
	for _, step := range []struct{ ahead, took, want time.Duration }{
		{time.Hour, 10 * time.Millisecond, time.Hour},
		{time.Hour + 100*time.Millisecond, 10 * time.Millisecond, time.Hour + 50*time.Millisecond},
		{0, 5 * time.Second, time.Hour + 50*time.Millisecond}, // too slow to say anything
		{-time.Minute, 0, -time.Minute},
		{-time.Minute, -1, -time.Minute},
	} {
		sent := at
		c.Observe(sent.Add(step.took/2).Add(step.ahead), sent, sent.Add(step.took))
		if got := c.Offset(); got != step.want {
			t.Fatalf("%+v: offset %v", step, got)
		}
	}
	if d := time.Until(c.Now()); d > -59*time.Second {
		t.Fatalf("now is %v away", d)
	}
}

// TestSlowPostgresIsGivenLessB5: what does not end in its time comes in smaller pieces, and in
// whole ones again when it does.
func TestSlowPostgresIsGivenLessB5(t *testing.T) {
	j := open(t, t.TempDir())
	o := fast()
	o.Timeout = 10 * time.Millisecond
	sink := newSink()
	var sizes []int
	const most = 300 // records that end in their time
	slow := true
	s := New(j, sinkFunc(func(ctx context.Context, slot int16, recs []usage.Record) (store.SettleResult, error) {
		sizes = append(sizes, len(recs))
		if slow && len(recs) > most {
			<-ctx.Done()
			return store.SettleResult{}, ctx.Err()
		}
		return sink.SettleBatch(ctx, slot, recs)
	}), o)
	appendN(t, j, 0, 2*store.MaxBatch)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for sink.count() < store.MaxBatch {
		_, _ = s.step(ctx)
	}
	slow = false
	if err := s.Drain(ctx); err != nil || sink.count() != 2*store.MaxBatch || sink.dup != 0 {
		t.Fatalf("%v, %d booked, %d twice", err, sink.count(), sink.dup)
	}
	if sizes[0] != store.MaxBatch || slices.Max(sizes[len(sizes)-3:]) <= most {
		t.Errorf("batches of %v records", sizes)
	}
}
