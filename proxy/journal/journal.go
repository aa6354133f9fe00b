// Package journal keeps finished requests on the proxy's own disk until Postgres
// has them, and the state of running ones in a memory-mapped file, so that a
// killed proxy neither loses nor doubles a charge.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/usage"
)

// Mode says what Append promises when it returns.
type Mode uint8

// The modes. All of them survive a kill of the process.
const (
	ModeGroup   Mode = iota // default: fdatasync within Options.SyncEvery, nobody waits; power loss costs at most that window
	ModeProcess             // left to the kernel; power loss costs what the kernel had not written back
	ModeSync                // Append waits for the fdatasync that covers it
)

// ParseMode reads "group", "process" or "sync".
func ParseMode(s string) (Mode, error) {
	switch s {
	case "group":
		return ModeGroup, nil
	case "process":
		return ModeProcess, nil
	case "sync":
		return ModeSync, nil
	}
	return 0, fmt.Errorf("journal mode %q: want process, group or sync", s)
}

// Options of Open. The zero value is the default everywhere.
type Options struct {
	Mode         Mode
	Dir          *Dir          // folder already claimed; nil = Open claims it, without waiting
	Slot         int16         // proxy slot and epoch, for the segment headers
	Epoch        int64         //
	SegmentBytes int64         // 64 MiB
	SyncEvery    time.Duration // 5 ms
	SyncBytes    int64         // 64 KiB
	Cells        int           // in-flight slots, 65,536
	Reserve      int64         // bytes that running requests may still need; default 512 per cell, at most half a segment
	MinFree      int64         // bytes that a new segment must leave free on the disk, default one segment
	Watch        time.Duration // how often disk space is looked at, 250 ms
	Keep         time.Duration // how long segments are kept after Postgres has them, 0 = not at all
	Metrics      *obs.Metrics  // nil = none
	Log          *slog.Logger  // nil = slog.Default()

	Faults *Faults // nil = none; tests and simulations only

	mapped bool // records are stored into mapped pages
	waits  bool // the syncer waits for the disk itself
	asker  func() asker
}

// Faults replaces system calls where a disk's faults are simulated; nil = the real one.
type Faults struct {
	Datasync func(fd int) error
	Pwrite   func(fd int, b []byte, off int64) error // all of b or an error; without it records are stored into mapped pages
	Free     func(path string) (int64, error)        // bytes of disk space
}

func (o *Options) fill() {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.SegmentBytes, 64<<20)
	def(&o.SyncBytes, 64<<10)
	def(&o.MinFree, o.SegmentBytes)
	if o.Cells == 0 {
		o.Cells = 65536
	}
	def(&o.Reserve, min(o.SegmentBytes/2, int64(o.Cells)*512))
	if o.SyncEvery == 0 {
		o.SyncEvery = 5 * time.Millisecond
	}
	if o.Watch == 0 {
		o.Watch = 250 * time.Millisecond
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewMetrics(false)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.mapped = o.Faults == nil || o.Faults.Pwrite == nil
	if o.asker == nil {
		o.asker = newAsker
	}
	o.waits = o.waits || o.Faults != nil && o.Faults.Datasync != nil
	f := Faults{Datasync: datasync, Pwrite: pwriteAll, Free: freeBytes}
	if g := o.Faults; g != nil {
		if g.Datasync != nil {
			f.Datasync = g.Datasync
		}
		if g.Pwrite != nil {
			f.Pwrite = g.Pwrite
		}
		if g.Free != nil {
			f.Free = g.Free
		}
	}
	o.Faults = &f
}

// minSegment has room for the header, the largest record and the seal.
const minSegment = int64(journalfile.HeaderSize + journalfile.FrameExtra + MaxRecord + journalfile.SealSize)

// segment is an open segment file.
type segment struct {
	f      *os.File
	fd     int
	number uint64
}

// Journal is one data folder's journal. All methods are safe for concurrent use.
//
// Append takes one mutex and writes under it: a lock-free reservation would leave
// holes after a kill, and holes are what a start refuses.
type Journal struct {
	dir      *Dir
	o        Options
	jid      [16]byte
	flights  *Flights
	fallback atomic.Pointer[func(*usage.Record) error]

	healthy atomic.Bool
	dead    atomic.Bool
	touched atomic.Bool  // since the last sync began
	free    atomic.Int64 // disk space at the last look, bytes

	mu      sync.Mutex
	cur     segment
	window  window // of cur
	off     int64  // behind the last record of cur
	count   int64  // records in cur
	seq     uint64
	hash    xxhash.Digest
	buf     []byte // record being written
	spare   *os.File
	closed  bool
	dirty   bool      // the syncer was told
	dueAt   int64     // by mono, from when on Append begins the sync, with an asker
	since   int64     // unsynced bytes
	many    bool      // the sync before covered so many records that one comes in any tenth of SyncEvery
	alone   bool      // or at most one
	begun   uint64    // the last record of the sync before
	pending []segment // sealed segments that are not synced yet
	newDir  bool      // the folder must be synced
	synced  Position  // everything before it is on the disk
	syncing *sync.Cond
	segs    []sealed // sealed segments that are not retired, ascending

	syncMu     sync.Mutex // one sync at a time
	asker      asker      // does fdatasync without a thread that waits; nil = the syncer waits
	asked      covered    // by the sync that the asker has under way
	asking     atomic.Bool
	alarm      *alarm
	wake, kick chan struct{}
	refill     chan struct{}
	stop       chan struct{}
	done       sync.WaitGroup

	ackMu  sync.Mutex
	ack    *ackFile
	acked  Position // guarded by ackMu
	before Position // the ack before that
	ackSeq atomic.Uint64

	dirtyAt atomic.Int64 // unix ns when the oldest unsynced record was noticed, 0 = all synced
	m       meters
}

// sealed is a full segment.
type sealed struct {
	number uint64
}

// Append journals one finished request. When it returns nil the record survives
// the death of the process (or the fallback has it). rec is not kept. After an
// error the request's in-flight slot must not be released: the next start charges
// what it says.
func (j *Journal) Append(rec *usage.Record) error {
	if j.dead.Load() {
		return j.divert(rec, ErrDead)
	}
	j.mu.Lock()
	j.buf = AppendRecord(j.buf[:journalfile.FrameHead], rec)
	seq, err := j.write()
	if err == nil && j.o.Mode == ModeSync {
		for j.synced.Seq < seq && !j.dead.Load() {
			j.syncing.Wait()
		}
		if j.synced.Seq < seq {
			err = ErrDead
		}
	}
	due := j.asker != nil && j.dirty && mono() >= j.dueAt
	j.mu.Unlock()
	if due {
		j.hurry()
	}
	if errors.Is(err, ErrClosed) {
		// The fallback ends with the process. An error leaves the in-flight slot to
		// the next start.
		return fmt.Errorf("cannot journal request: %w", err)
	}
	if err != nil {
		return j.divert(rec, err)
	}
	return nil
}

// touchBytes is how far from the end of the journal a request's record reaches, mostly.
const touchBytes = 256

// Touch readies the journal for the next record, which a sync has made dear: the page it
// goes to may not be written to, and the fault is 10 µs of a request that comes alone. It
// is for moments in which there is nothing else to do, and does nothing if somebody is
// at the journal.
func (j *Journal) Touch() {
	if j.touched.Load() || !j.o.mapped || !j.mu.TryLock() {
		return
	}
	if !j.closed && !j.dead.Load() {
		j.touched.Store(true)
		j.window.touch(j.off, touchBytes)
	}
	j.mu.Unlock()
}

// write puts the payload in j.buf into the journal; j.mu is held.
func (j *Journal) write() (seq uint64, err error) {
	if j.closed {
		return 0, ErrClosed
	}
	if j.dead.Load() {
		return 0, ErrDead
	}
	n := int64(len(j.buf)) + 1
	if j.off+n+journalfile.SealSize > j.o.SegmentBytes {
		if err := j.rotate(); err != nil {
			return 0, err
		}
	}
	var synced int64
	if j.synced.Segment == j.cur.number {
		synced = j.synced.Offset
	}
	j.buf = journalfile.FinishFrame(j.buf, journalfile.TypeUsage, j.seq+1, synced)
	if err := j.put(j.buf); err != nil {
		j.die(fmt.Errorf("cannot write journal: %w", err))
		return 0, ErrDead
	}
	_, _ = j.hash.Write(j.buf)
	j.off += n
	j.count++
	j.seq++
	j.since += n
	if j.spare == nil && j.o.SegmentBytes-j.off < j.o.Reserve {
		j.healthy.Store(false)
	}
	if j.o.Mode != ModeProcess {
		if !j.dirty {
			j.dirty = true
			if j.asker == nil {
				poke(j.wake)
			} else {
				now := time.Now()
				j.dirtyAt.CompareAndSwap(0, now.UnixNano())
				early := j.o.SyncEvery * 2 / 5 // before the alarm, so that a record comes between
				if j.many {
					early = j.o.SyncEvery / 10
				}
				j.dueAt = int64(now.Sub(began) + j.o.SyncEvery - early)
				j.alarm.set(j.o.SyncEvery)
			}
		}
		if j.since >= j.o.SyncBytes {
			poke(j.kick)
			if j.since-n < j.o.SyncBytes {
				j.dueAt = 0
			}
		}
	}
	j.m.appended.Inc()
	return j.seq, nil
}

// put writes b behind the last record.
func (j *Journal) put(b []byte) error {
	if j.o.mapped {
		return j.window.store(j.cur.fd, j.o.SegmentBytes, b, j.off)
	}
	return j.o.Faults.Pwrite(j.cur.fd, b, j.off)
}

var began = time.Now()

// mono is the monotonic clock of syncs, ns: half the price of one that knows the date.
func mono() int64 { return int64(time.Since(began)) }

// poke wakes a goroutine that is, or will be, waiting for c.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// divert hands a record that cannot be journaled to the fallback.
func (j *Journal) divert(rec *usage.Record, cause error) error {
	f := j.fallback.Load()
	if f == nil {
		return fmt.Errorf("cannot journal request: %w", cause)
	}
	if err := (*f)(rec); err != nil {
		return fmt.Errorf("cannot journal request: %w", errors.Join(cause, err))
	}
	j.m.diverted.Inc()
	return nil
}

// SetFallback gives the function that takes records while the journal cannot
// (ship.Shipper.Direct). It must copy what it keeps.
func (j *Journal) SetFallback(f func(*usage.Record) error) { j.fallback.Store(&f) }

// Healthy is false when new requests must not be admitted: the disk is nearly full
// or the journal is dead. One atomic load.
func (j *Journal) Healthy() bool { return j.healthy.Load() }

// Dead says that the disk failed: records go to the fallback until a restart.
func (j *Journal) Dead() bool { return j.dead.Load() }

// Flights returns the in-flight slots.
func (j *Journal) Flights() *Flights { return j.flights }

// Ident returns the folder's identity.
func (j *Journal) Ident() Ident { return j.dir.Ident }

// Folder returns the path of the journal's own folder.
func (j *Journal) Folder() string { return j.dir.file("") }

// Lag returns how many records Postgres has not acknowledged.
func (j *Journal) Lag() int64 {
	acked := j.ackSeq.Load() // first: it never passes the last record
	return int64(j.Last() - acked)
}

// judge sets the health; j.mu is held.
func (j *Journal) judge() {
	room := j.spare != nil || j.o.SegmentBytes-j.off >= j.o.Reserve
	j.healthy.Store(room && !j.dead.Load() && !j.closed)
}

// die ends the journal's life after the disk failed. An fsync that failed is never
// asked again: the kernel may have dropped the pages and would answer yes.
func (j *Journal) die(cause error) {
	if j.dead.Swap(true) {
		return
	}
	j.healthy.Store(false)
	j.syncing.Broadcast()
	j.o.Log.Error("usage journal is dead, new requests are refused, running ones are settled straight to Postgres", "error", cause)
}

// rotate seals the current segment and goes on in the next one; j.mu is held. The
// old one is left as it is if there is no next one.
func (j *Journal) rotate() error {
	f := j.spare
	if f == nil {
		// Writing faster than the keeper zeroes: allocated space reads as zeros too,
		// it only costs the file system more later.
		var err error
		if f, err = j.makeFile("next.tmp", false); err != nil {
			j.healthy.Store(false)
			poke(j.refill)
			return ErrFull
		}
	}
	j.spare = nil
	poke(j.refill)
	if err := j.seal(); err != nil {
		_ = f.Close()
		j.die(err)
		return ErrDead
	}
	old := j.cur
	if err := j.begin(f, old.number, j.hash.Sum64()); err != nil {
		_ = f.Close()
		j.die(err)
		return ErrDead
	}
	j.pending = append(j.pending, old)
	j.segs = append(j.segs, sealed{number: old.number})
	j.judge()
	return nil
}

// seal ends the current segment.
func (j *Journal) seal() error {
	var b [journalfile.SealSize]byte
	s := journalfile.AppendSeal(b[:0], j.hash.Sum64(), j.count, j.seq)
	if err := j.put(s); err != nil {
		return fmt.Errorf("cannot seal segment: %w", err)
	}
	return nil
}

// begin makes f, a zeroed file, the current segment, which follows the segment prev.
func (j *Journal) begin(f *os.File, prev uint64, prevHash uint64) error {
	h := journalfile.Header{
		Slot: j.o.Slot, Mode: uint8(j.o.Mode), Epoch: j.o.Epoch, Number: prev + 1, FirstSeq: j.seq + 1,
		PrevNumber: prev, PrevHash: prevHash, Made: time.Now().UnixMicro(), Size: j.o.SegmentBytes, JournalID: j.jid,
	}
	b := h.Append(make([]byte, 0, journalfile.HeaderSize))
	fd := int(f.Fd())
	if err := j.o.Faults.Pwrite(fd, b, 0); err != nil {
		return fmt.Errorf("cannot write segment header: %w", err)
	}
	if err := os.Rename(f.Name(), j.dir.file(journalfile.SegName(h.Number))); err != nil {
		return fmt.Errorf("cannot name segment: %w", err)
	}
	j.window.close()
	j.cur = segment{f: f, fd: fd, number: h.Number}
	j.off = journalfile.HeaderSize
	j.count = 0
	j.newDir = true
	j.hash.Reset()
	_, _ = j.hash.Write(b)
	return nil
}

// makeFile makes a segment file with its disk space. With zero it is also written
// once, so that later writes change no file system structures.
func (j *Journal) makeFile(name string, zero bool) (f *os.File, err error) {
	free, err := j.o.Faults.Free(j.dir.file(""))
	if err != nil {
		return nil, fmt.Errorf("cannot read disk space: %w", err)
	}
	j.free.Store(free)
	if free < j.o.SegmentBytes+j.o.MinFree {
		return nil, fmt.Errorf("cannot make segment: %d bytes free, %d needed: %w", free, j.o.SegmentBytes+j.o.MinFree, ErrFull)
	}
	f, err = os.OpenFile(j.dir.file(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot make segment: %w", err)
	}
	err = allocate(f, j.o.SegmentBytes)
	if err == nil && zero {
		if err = writeZeros(f, 0, j.o.SegmentBytes); err == nil {
			err = j.o.Faults.Datasync(int(f.Fd()))
		}
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(j.dir.file(name))
		return nil, fmt.Errorf("cannot make segment: %w", err)
	}
	return f, nil
}

// Synced is the place up to which everything is on the disk: what a loss of power
// leaves at least.
func (j *Journal) Synced() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.synced
}

// Close syncs, stops the background work and unlocks the folder. The in-flight
// slots stay mapped until the process ends: a request that outlives a shutdown
// still writes to its cell, and the next start charges it.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.healthy.Store(false)
	j.mu.Unlock()
	close(j.stop)
	if j.asker != nil {
		j.alarm.set(0)
	}
	j.done.Wait()
	err := j.sync()
	j.unask()
	j.mu.Lock()
	spare := j.spare
	j.spare = nil
	j.window.close()
	j.syncing.Broadcast()
	j.mu.Unlock()
	if spare != nil {
		err = errors.Join(err, spare.Close())
	}
	j.ackMu.Lock()
	defer j.ackMu.Unlock()
	return errors.Join(err, j.cur.f.Close(), j.ack.f.Close(), j.dir.Close())
}

// Unmap gives the memory of the in-flight slots back, after Close. No slot may be
// used any more: it is for who opens many journals in one process, a proxy never does.
func (j *Journal) Unmap() error { return j.flights.close() }
