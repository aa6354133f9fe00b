// Package journal keeps finished requests on the proxy's own disk until Postgres
// has them, and the state of running ones in a memory-mapped file, so that a
// killed proxy neither loses nor doubles a charge.
package journal

import (
	"context"
	"errors"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// Mode says what Append promises when it returns.
type Mode uint8

// The modes. All of them survive a kill of the process.
const (
	ModeGroup   Mode = iota // default: fdatasync within Options.SyncEvery, nobody waits; power loss costs at most that window
	ModeProcess             // write(2) only; power loss costs what the kernel had not written back
	ModeSync                // Append waits for the fdatasync that covers it
)

// ParseMode reads "group", "process" or "sync".
func ParseMode(s string) (Mode, error) { return 0, errors.New("not yet") }

// Dir is a data folder locked by this process.
type Dir struct {
	Path  string
	Ident Ident
}

// Ident is the identity of a data folder. It is made once and survives restarts.
type Ident struct {
	JournalID string // 32 hex digits, random
	Name      string // host name at creation + "-" + 8 hex digits: the proxy's default name
}

// Identity returns the identity of a data folder and makes it if there is none.
func Identity(dir string) (Ident, error) { return Ident{}, errors.New("not yet") }

// Claim locks the data folder for this process (waiting until ctx ends while
// another one holds it) and reads its identity. Call it before claiming a proxy
// slot, so that a second process on the same folder never fences the first.
// Without a deadline and without waiting: pass an already ended context.
func Claim(ctx context.Context, dir string) (*Dir, error) { return nil, errors.New("not yet") }

// Close releases the lock. Journal.Close does it for a Dir given to Open.
func (d *Dir) Close() error { return nil }

// Options of Open. The zero value is the default everywhere.
type Options struct {
	Mode         Mode
	Dir          *Dir          // folder already claimed; nil = Open claims dir without waiting
	Slot         int16         // proxy slot and epoch, written into segment headers
	Epoch        int64         //
	SegmentBytes int64         // 64 MiB
	SyncEvery    time.Duration // 5 ms
	SyncBytes    int64         // 64 KiB
	Cells        int           // in-flight slots, 65,536
	MinFree      int64         // bytes that must stay free on the disk when a segment is preallocated, 64 MiB
	Keep         time.Duration // how long segments are kept after Postgres has them, 0 = not at all
	Metrics      *metrics.Set  // nil = none
}

// Journal is one data folder's journal. All methods are safe for concurrent use.
type Journal struct{}

// Recovery says what Open found of an earlier process.
type Recovery struct {
	Pending     int64          // records in the journal that were not acknowledged by Postgres
	TornBytes   int64          // bytes cut from the tail of the last segment
	TornFile    string         //
	TornOffset  int64          //
	Salvaged    int            // whole records found behind a hole of the unsynced tail, kept
	Interrupted []usage.Record // running requests of a dead process that are now journaled with what had been relayed
	Voided      int            // admitted, nothing sent upstream: no charge
	SentUnknown int            // sent upstream, nothing relayed: no charge, the house may pay the input
	Seen        int            // slots whose record was already in the journal
	BadCells    int            // slots that could not be read (power loss)
}

// Open opens or makes the journal in dir, repairs what may be repaired, turns
// running requests of a dead process into records, and starts the background
// work. A damaged file is a *DamageError, an unknown version a *VersionError:
// both mean exit 78.
func Open(dir string, o Options) (*Journal, *Recovery, error) { return nil, nil, errors.New("not yet") }

// DamageError names a byte of a file that is not what was written there.
type DamageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamageError) Error() string { return e.Reason }

// VersionError names a file written by a build with another format.
type VersionError struct {
	File    string
	What    string // "segment", "record", "flights"
	Version int
	Known   int
}

func (e *VersionError) Error() string { return e.What }

// ErrInUse: another process holds the data folder.
var ErrInUse = errors.New("data folder is used by another process")

// ErrDead: the journal cannot take records any more and there is no fallback.
var ErrDead = errors.New("journal is dead")

// Append journals one finished request. When it returns nil the record survives
// the death of the process (or the fallback has it). The record is not kept.
func (j *Journal) Append(rec *usage.Record) error { return nil }

// Healthy is false when new requests must not be admitted: disk nearly full, or
// the journal is dead. One atomic load.
func (j *Journal) Healthy() bool { return false }

// SetFallback gives the function that takes records when the journal cannot
// (ship.Shipper.Direct). It must copy what it keeps.
func (j *Journal) SetFallback(f func(*usage.Record) error) {}

// Flights returns the in-flight slots.
func (j *Journal) Flights() *Flights { return nil }

// Lag returns how many records Postgres has not acknowledged.
func (j *Journal) Lag() int64 { return 0 }

// Close syncs, stops the background work and unlocks the folder.
func (j *Journal) Close() error { return nil }

// Flights are the in-flight slots: one memory-mapped cell for each running
// request.
type Flights struct{}

// Flight is one cell, used by one goroutine at a time.
type Flight struct{}

// Acquire takes a free cell, nil when all are taken (503 overloaded). Lock-free.
func (f *Flights) Acquire() *Flight { return nil }

// Begin stores what recovery needs (everything of rec but units, attempts and
// end) before anything is sent upstream.
func (f *Flight) Begin(rec *usage.Record) {}

// Sent marks that a request is about to be written to an upstream. A later
// attempt of the same request calls it again. startMicros counts from admission.
func (f *Flight) Sent(routeID, providerKeyID int64, startMicros int32) {}

// Progress stores what the client owes so far, before the bytes go to the client.
func (f *Flight) Progress(charge money.Amount, u *usage.Units) {}

// FirstToken notes when the first output came, microseconds since admission.
func (f *Flight) FirstToken(micros int32) {}

// Details notes optional figures for the recovered record: the supplier's price
// so far, response bytes so far, where the units come from.
func (f *Flight) Details(cost money.Amount, bytesOut int64, src usage.Source) {}

// Release frees the cell. Call it after Append returned (or for a void).
func (f *Flight) Release() {}

// Position is a place in the journal: everything before it has been read.
type Position struct {
	Segment uint64
	Offset  int64
	Seq     uint64 // last record before the position
}

// Reader reads records in order, from the last acknowledged position on.
type Reader struct{}

// NewReader returns a reader that starts at the acknowledged position.
func (j *Journal) NewReader() *Reader { return nil }

// Next returns up to max records that follow, and the position behind them. No
// records and no error: the end of the journal. The slice is reused by the next call.
func (r *Reader) Next(max int) ([]usage.Record, Position, error) { return nil, Position{}, nil }

// Ack makes durable that everything before p is in Postgres.
func (j *Journal) Ack(p Position) error { return nil }
