// Package ship moves finished requests from the journal into Postgres, each
// exactly once in effect: what is sent again is recognised by its request id.
package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Sink books records in one transaction; a record that is there already is a no-op.
// *store.DB is one.
type Sink interface {
	SettleBatch(ctx context.Context, slot int16, recs []usage.Record) (store.SettleResult, error)
}

// Options of New. The zero values are the defaults.
type Options struct {
	Slot      int16                                   // proxy slot that the records belong to
	Batch     int                                     // records in one transaction, at most and by default store.MaxBatch
	Every     time.Duration                           // how long records wait to be sent together, 500 ms
	Timeout   time.Duration                           // of one transaction, 3 s
	MaxWait   time.Duration                           // longest wait between attempts, 5 s
	DeadPath  string                                  // file for records that Postgres never takes; default dead.jsonl in the journal's folder
	MaxDirect int                                     // records kept in memory while the journal is dead, 65,536
	Jitter    func(below time.Duration) time.Duration // nil = by chance; a simulation's own
	OnShipped func([]usage.Record)                    // called after records are in Postgres; must not keep the slice
	Metrics   *obs.Metrics                            // nil = none
	Log       *slog.Logger                            // nil = slog.Default()
}

// minWait is the first wait after a failed attempt.
const minWait = 50 * time.Millisecond

// leastBatch is to what a batch shrinks while transactions do not end in their time.
const leastBatch = 125

// poisonTries is how often a record must be refused alone, while others are taken,
// before it is put aside.
const poisonTries = 3

// Shipper is the loop.
type Shipper struct {
	j    *journal.Journal
	sink Sink
	o    Options

	running sync.Mutex // held by Run and Drain
	reader  *journal.Reader
	refused map[reqid.ID]int // how often a record was refused alone
	wait    time.Duration
	size    int // records in the next batch: fewer while a transaction does not end in its time

	target   uint64
	caughtUp chan struct{}
	once     sync.Once
	oldest   atomic.Int64 // unix µs of the oldest record that was read and not acknowledged, 0 = none

	directMu sync.Mutex
	direct   []usage.Record
	drained  bool // nothing is sent any more

	m meters
}

type meters struct {
	records, batches, errors, late, rejected, dead, badDebt *metrics.Counter

	seconds *metrics.Histogram
}

// New makes a shipper for a journal and makes itself the journal's fallback.
func New(j *journal.Journal, sink Sink, o Options) *Shipper {
	if o.Batch <= 0 || o.Batch > store.MaxBatch {
		o.Batch = store.MaxBatch
	}
	if o.Every == 0 {
		o.Every = 500 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.MaxWait == 0 {
		o.MaxWait = 5 * time.Second
	}
	if o.DeadPath == "" {
		o.DeadPath = filepath.Join(j.Folder(), "dead.jsonl")
	}
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	if o.MaxDirect == 0 {
		o.MaxDirect = 65536
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewMetrics(false)
	}
	s := &Shipper{
		j: j, sink: sink, o: o, size: o.Batch,
		reader: j.NewReader(), refused: make(map[reqid.ID]int),
		target: j.Last(), caughtUp: make(chan struct{}),
	}
	m := o.Metrics
	s.m = meters{
		records:  m.Counter("relay_ship_records_total"),
		batches:  m.Counter("relay_ship_batches_total"),
		errors:   m.Counter("relay_ship_errors_total"),
		late:     m.Counter("relay_ship_late_records_total"),
		rejected: m.Counter("relay_ship_rejected_records_total"),
		dead:     m.Counter("relay_ship_dead_records_total"),
		badDebt:  m.Counter("relay_ship_bad_debt_nanousd_total"),
		seconds:  m.Histogram("relay_ship_batch_seconds"),
	}
	m.Gauge("relay_ship_oldest_seconds", s.age)
	m.Gauge("relay_ship_direct_records", func() float64 { return float64(s.directLen()) })
	j.SetFallback(s.Direct)
	s.tell()
	return s
}

// CaughtUp is closed once everything that was in the journal when the shipper was
// made is in Postgres: then leases of older epochs may be closed.
func (s *Shipper) CaughtUp() <-chan struct{} { return s.caughtUp }

// tell closes caughtUp when it is time.
func (s *Shipper) tell() {
	if s.j.Acked().Seq >= s.target {
		s.once.Do(func() { close(s.caughtUp) })
	}
}

// age is how old the oldest record is that is not in Postgres, seconds.
func (s *Shipper) age() float64 {
	at := s.oldest.Load()
	if at == 0 {
		return 0
	}
	return max(time.Since(time.UnixMicro(at)).Seconds(), 0)
}

// Run ships until ctx ends. It returns nil then: what is left is for Drain, or for
// the next start.
func (s *Shipper) Run(ctx context.Context) error {
	s.running.Lock()
	defer s.running.Unlock()
	for {
		more, err := s.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && more {
			continue
		}
		var on bool
		if err != nil {
			on = sleep(ctx, s.backoff(err))
		} else {
			on = tempo.Wait(ctx, s.o.Every)
		}
		if !on {
			return nil
		}
	}
}

// LeftError says what could not be shipped before a shutdown. Exit code 3.
type LeftError struct {
	Records int64 // kept in the journal for the next start
	Lost    int   // only in memory because the journal is dead: gone with the process
	Cause   error
}

func (e *LeftError) Error() string {
	text := fmt.Sprintf("journal kept: %d records", e.Records)
	if e.Lost > 0 {
		text += fmt.Sprintf("; %d records lost with a dead journal", e.Lost)
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *LeftError) Unwrap() error { return e.Cause }

// Drain ships until nothing is left or ctx ends (then *LeftError). It waits for
// Run to return first.
func (s *Shipper) Drain(ctx context.Context) error {
	s.running.Lock()
	defer s.running.Unlock()
	s.wait = 0
	defer s.end()
	var last error
	for {
		more, err := s.step(ctx)
		if err == nil && !more && s.j.Lag() == 0 && s.directLen() == 0 {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if err != nil && !sleep(ctx, min(s.backoff(err), time.Second)) || ctx.Err() != nil {
			left := &LeftError{Records: s.j.Lag(), Lost: s.directLen(), Cause: last}
			if last == nil {
				left.Cause = ctx.Err()
			}
			return left
		}
	}
}

// end refuses records from now on: they would be gone with the process. Left in
// their in-flight slots they are found by the next start.
func (s *Shipper) end() {
	s.reader.Close()
	s.directMu.Lock()
	s.drained = true
	s.directMu.Unlock()
}

// ErrDrained says that the shipper has ended.
var ErrDrained = errors.New("shipping has ended")

// backoff tells about a failed attempt and returns how long to wait: 50 ms, then
// twice as long each time, up to MaxWait, half of it by chance so that several
// proxies do not come back together.
func (s *Shipper) backoff(err error) time.Duration {
	if s.wait == 0 {
		s.o.Log.Warn("cannot ship usage records, trying again", "records", s.j.Lag(), "error", err)
	}
	s.wait = min(max(2*s.wait, minWait), s.o.MaxWait)
	return s.wait/2 + s.o.Jitter(s.wait/2+1)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// step ships one batch of the journal and one from memory. more says that a batch
// was full, so that the next one need not wait.
func (s *Shipper) step(ctx context.Context) (more bool, err error) {
	more, err = s.stepJournal(ctx)
	if err != nil {
		// The next attempt reads again from what is acknowledged: with what came
		// since, so that one bad record is not alone for ever.
		s.reader.Rewind()
		s.m.errors.Inc()
	}
	moreDirect, errDirect := s.stepDirect(ctx)
	if err == nil && errDirect == nil {
		if s.wait > 0 {
			s.o.Log.Info("shipping usage records again")
		}
		s.wait = 0
	}
	return more || moreDirect, errors.Join(err, errDirect)
}

func (s *Shipper) stepJournal(ctx context.Context) (more bool, err error) {
	size := s.size
	recs, pos, err := s.reader.Next(size)
	if err != nil {
		return false, fmt.Errorf("cannot read journal: %w", err)
	}
	if len(recs) > 0 {
		s.oldest.Store(recs[0].EndMicros)
		if err := s.settle(ctx, recs); err != nil {
			return false, err
		}
	}
	if err := s.j.Ack(pos); err != nil {
		return false, fmt.Errorf("cannot acknowledge: %w", err)
	}
	s.oldest.Store(0)
	s.tell()
	return len(recs) == size, nil
}

// resize sets the size of the next batch by what became of one of n records. What Postgres
// cannot book within the timeout, as when its pages are still to be read, it is given in
// smaller pieces: the same batch again would never end.
func (s *Shipper) resize(n int, err error) {
	switch {
	case err == nil && n == s.size:
		s.size = min(2*s.size, s.o.Batch)
	case errors.Is(err, context.DeadlineExceeded):
		s.size = max(min(n, s.size)/2, min(leastBatch, s.o.Batch))
	}
}

// settle brings recs into Postgres. nil: every one is there, or put aside.
func (s *Shipper) settle(ctx context.Context, recs []usage.Record) error {
	err := s.send(ctx, recs)
	if ctx.Err() == nil {
		s.resize(len(recs), err)
	}
	if err == nil {
		clear(s.refused)
		return nil
	}
	if retryable(ctx, err) {
		return err
	}
	// The records themselves are refused: find out which.
	b := bisection{s: s, ctx: ctx, last: recs[len(recs)-1:]}
	b.halve(recs, err)
	if b.stopped != nil {
		return b.stopped
	}
	if b.taken == 0 && len(b.bad) > 0 {
		// Nothing at all is taken: that is not a bad record, something is wrong.
		return fmt.Errorf("cannot ship any of %d records: %w", len(recs), b.errs[0])
	}
	var waiting error
	for i, rec := range b.bad {
		s.refused[rec.ID]++
		if s.refused[rec.ID] < poisonTries {
			waiting = fmt.Errorf("cannot ship request %s: %w", rec.ID, b.errs[i])
			continue
		}
		if err := s.bury(rec, b.errs[i]); err != nil {
			waiting = err
		}
	}
	if waiting == nil {
		clear(s.refused)
	}
	return waiting
}

// send is one transaction.
func (s *Shipper) send(ctx context.Context, recs []usage.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	began := time.Now()
	res, err := s.sink.SettleBatch(ctx, s.o.Slot, recs)
	s.m.seconds.UpdateDuration(began)
	if err != nil {
		return fmt.Errorf("cannot settle %d records: %w", len(recs), err)
	}
	failpoint.Hit(failpoint.K9)
	s.m.batches.Inc()
	s.m.records.Add(res.Inserted)
	s.m.late.Add(res.Late)
	s.m.badDebt.AddInt64(int64(res.BadDebt))
	for _, r := range res.Rejected {
		s.m.rejected.Inc()
		id := ""
		if r.Index >= 0 && r.Index < len(recs) {
			id = recs[r.Index].ID.String()
		}
		s.o.Log.Error("usage record breaks a money rule, kept in settle_reject", "request", id, "reason", r.Reason)
	}
	if s.o.OnShipped != nil {
		s.o.OnShipped(recs)
	}
	return nil
}

// retryable says that err is about Postgres or the transaction, not about what is
// in the records: away, cancelled, deadlock, lock timeout, schema not ready.
func retryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil || store.Unavailable(err) {
		return true
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) && len(state.SQLState()) == 5 {
		switch state.SQLState()[:2] {
		case "08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "F0", "XX":
			return true
		}
	}
	return false
}

// bisection finds the records of a batch that Postgres refuses.
type bisection struct {
	s       *Shipper
	ctx     context.Context
	taken   int
	bad     []*usage.Record
	errs    []error
	last    []usage.Record
	stopped error // a fault that is not about a record
}

// allBad is how many records are refused, none being taken, before the search asks
// whether any would be.
const allBad = 32

// halve settles recs, which failed together with err.
func (b *bisection) halve(recs []usage.Record, err error) {
	if len(recs) == 1 {
		b.bad = append(b.bad, &recs[0])
		b.errs = append(b.errs, err)
		if b.taken == 0 && len(b.bad) == allBad {
			if err := b.s.send(b.ctx, b.last); err != nil {
				b.stopped = fmt.Errorf("cannot ship any record: %w", err)
			}
		}
		return
	}
	for _, part := range [][]usage.Record{recs[:len(recs)/2], recs[len(recs)/2:]} {
		if b.stopped != nil {
			return
		}
		switch err := b.s.send(b.ctx, part); {
		case err == nil:
			b.taken += len(part)
		case retryable(b.ctx, err):
			b.stopped = err
		default:
			b.halve(part, err)
		}
	}
}

// ErrDirectFull says that no more records fit into memory while the journal is dead.
var ErrDirectFull = errors.New("too many records in memory")

// Direct takes a record that the journal cannot take: it is kept in memory and
// sent with the next batch. It is the journal's fallback; rec is copied.
func (s *Shipper) Direct(rec *usage.Record) error {
	c := *rec
	c.Model = strings.Clone(c.Model)
	c.RequestedModel = strings.Clone(c.RequestedModel)
	c.ClientRequestID = strings.Clone(c.ClientRequestID)
	c.ConversationID = strings.Clone(c.ConversationID)
	c.Code = strings.Clone(c.Code)
	s.directMu.Lock()
	defer s.directMu.Unlock()
	if s.drained {
		return ErrDrained
	}
	if len(s.direct) >= s.o.MaxDirect {
		return ErrDirectFull
	}
	s.direct = append(s.direct, c)
	return nil
}

func (s *Shipper) directLen() int {
	s.directMu.Lock()
	defer s.directMu.Unlock()
	return len(s.direct)
}

func (s *Shipper) stepDirect(ctx context.Context) (more bool, err error) {
	s.directMu.Lock()
	n := min(len(s.direct), s.size)
	recs := s.direct[:n:n]
	s.directMu.Unlock()
	if len(recs) == 0 {
		return false, nil
	}
	if err := s.settle(ctx, recs); err != nil {
		s.m.errors.Inc()
		return false, err
	}
	s.directMu.Lock()
	s.direct = append([]usage.Record(nil), s.direct[len(recs):]...)
	more = len(s.direct) > 0
	s.directMu.Unlock()
	return more, nil
}
