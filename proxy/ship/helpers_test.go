package ship

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// fakeSink books records in memory as the store does in Postgres: by request id,
// all or nothing.
type fakeSink struct {
	mu      sync.Mutex
	booked  map[reqid.ID]usage.Record
	dup     int
	calls   int
	largest int
	slot    int16
	before  func(call int, recs []usage.Record) error // an error: nothing is booked
	after   func(call int) error                      // an error: booked, but the answer is lost
}

func newSink() *fakeSink { return &fakeSink{booked: map[reqid.ID]usage.Record{}} }

func (f *fakeSink) SettleBatch(ctx context.Context, slot int16, recs []usage.Record) (res store.SettleResult, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.slot = slot
	f.largest = max(f.largest, len(recs))
	if err := ctx.Err(); err != nil {
		return res, err
	}
	if f.before != nil {
		if err := f.before(f.calls, recs); err != nil {
			return res, err
		}
	}
	for _, r := range recs {
		if _, ok := f.booked[r.ID]; ok {
			f.dup++
			res.Duplicates++
			continue
		}
		f.booked[r.ID] = r
		res.Inserted++
	}
	if f.after != nil {
		if err := f.after(f.calls); err != nil {
			return store.SettleResult{}, err
		}
	}
	return res, nil
}

func (f *fakeSink) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.booked)
}

func (f *fakeSink) sum() (total money.Amount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.booked {
		total += r.Charge
	}
	return total
}

// errAway is what a Postgres that is not there looks like.
var errAway = &net.OpError{Op: "dial", Net: "tcp", Err: io.ErrUnexpectedEOF}

func record(n int) *usage.Record {
	rec := &usage.Record{
		ID: reqid.Min(1_700_000_000_000 + int64(n)), ProxySlot: 3, ClientID: 1, WalletID: 2, KeyID: 3,
		Model: "gpt-5-mini", Status: usage.Success, HTTPStatus: 200, Hold: 1 << 40, Charge: money.Amount(n),
		AdmittedMicros: time.Now().UnixMicro(), EndMicros: time.Now().UnixMicro(),
	}
	rec.Units[usage.Output] = int64(n)
	return rec
}

func open(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(dir, journal.Options{
		SegmentBytes: 32 << 10, Cells: 16, MinFree: 1, Log: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func fast() Options {
	return Options{Slot: 3, Every: time.Millisecond, MaxWait: 2 * time.Millisecond, Log: quiet()}
}

func appendN(t testing.TB, j *journal.Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Append(record(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a shipper until the test ends or stop is called.
func run(t testing.TB, s *Shipper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
