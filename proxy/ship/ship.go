// Package ship moves finished requests from the journal into Postgres, each
// exactly once in effect: what is sent again is recognised by its request id.
package ship

import (
	"context"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/usage"
)

// Settle posts records in one transaction; what is already there is a no-op.
// store.DB.SettleBatch fits behind a one-line function.
type Settle func(ctx context.Context, slot int16, recs []usage.Record) error

// Options of New. Zero values are the defaults.
type Options struct {
	Slot      int16
	Batch     int                  // records per transaction, 2,000
	Every     time.Duration        // how long records wait to be sent together, 250 ms
	Timeout   time.Duration        // of one transaction, 3 s
	DeadPath  string               // file for records that Postgres refuses for ever
	Permanent func(error) bool     // says that an error is about the records, not the connection
	OnShipped func([]usage.Record) // called after a batch is in Postgres; must not keep the slice
	Metrics   *metrics.Set
}

// Shipper is the loop.
type Shipper struct{}

// New makes a shipper; Run starts it.
func New(j *journal.Journal, settle Settle, o Options) *Shipper { return &Shipper{} }

// Run ships until ctx ends.
func (s *Shipper) Run(ctx context.Context) error { return nil }

// Drain ships what is left, until nothing is left or ctx ends: then *LeftError.
// Call it when Run has returned.
func (s *Shipper) Drain(ctx context.Context) error { return nil }

// LeftError says how many records stay in the journal.
type LeftError struct {
	Records int64
	Cause   error
}

func (e *LeftError) Error() string { return "" }

// Direct takes a record that the journal cannot take: it is kept in memory and
// sent with the next batch. It is the journal's fallback.
func (s *Shipper) Direct(rec *usage.Record) error { return nil }

// Clock is this machine's clock corrected to Postgres's.
type Clock struct{}

// Observe notes that Postgres said dbNow to a question sent at sent and answered at got.
func (c *Clock) Observe(dbNow, sent, got time.Time) {}

// Now returns local time plus the offset.
func (c *Clock) Now() time.Time { return time.Now() }
