package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/obs"
)

// syncer brings records to the disk: at once in ModeSync (those that arrive during
// one fdatasync share the next), SyncEvery after the first or after SyncBytes in
// ModeGroup. It sleeps while nothing was written.
func (j *Journal) syncer() {
	defer j.done.Done()
	t := time.NewTimer(time.Hour)
	t.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-j.wake:
		}
		j.dirtyAt.CompareAndSwap(0, time.Now().UnixNano())
		if j.o.Mode == ModeGroup {
			t.Reset(j.o.SyncEvery)
			select {
			case <-j.stop:
				return
			case <-j.kick:
			case <-t.C:
			}
			t.Stop()
		}
		_ = j.sync() // it has told about an error, and the journal is dead
		if j.dead.Load() {
			return
		}
	}
}

// sync brings everything that is written to the disk. After an error the journal
// is dead and what may not be on the disk has gone to the fallback.
func (j *Journal) sync() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if j.dead.Load() {
		return ErrDead
	}
	j.mu.Lock()
	olds := j.pending
	j.pending = nil
	cur, newDir := j.cur, j.newDir
	to := Position{Segment: cur.number, Offset: j.off, Seq: j.seq}
	from := j.synced
	j.newDir, j.dirty, j.since = false, false, 0
	select {
	case <-j.kick: // its bytes are in this sync
	default:
	}
	j.mu.Unlock()
	if to == from && !newDir {
		return nil
	}
	began := time.Now()
	var err error
	for _, s := range olds {
		if err == nil {
			err = j.o.Faults.Datasync(s.fd)
		}
		_ = s.f.Close()
	}
	if err == nil {
		err = j.o.Faults.Datasync(cur.fd)
	}
	if err == nil && newDir {
		err = syncDir(j.dir.file(""))
	}
	if err != nil {
		j.die(fmt.Errorf("cannot sync journal: %w", err))
	}
	j.mu.Lock()
	if err == nil {
		j.synced = to
	}
	if !j.dirty {
		j.dirtyAt.Store(0)
	} else {
		j.dirtyAt.Store(began.UnixNano())
	}
	j.syncing.Broadcast()
	j.mu.Unlock()
	j.m.sync.UpdateDuration(began)
	failpoint.Hit(failpoint.K8)
	if err != nil {
		j.rescue(from)
	}
	return err
}

// rescue hands to the fallback what was written after from and may not be on the
// disk. It is still in the page cache, for a while.
func (j *Journal) rescue(from Position) {
	f := j.fallback.Load()
	if f == nil {
		return // the reader may still find it
	}
	r := &Reader{j: j, pos: from}
	defer r.Close()
	for {
		recs, _, err := r.Next(256)
		if err != nil {
			j.o.Log.Error("cannot read back unsynced records", "error", err)
			return
		}
		if len(recs) == 0 {
			return
		}
		for i := range recs {
			if err := (*f)(&recs[i]); err != nil {
				j.o.Log.Error("cannot hand over unsynced record", "request", recs[i].ID.String(), "error", err)
				continue
			}
			j.m.diverted.Inc()
		}
	}
}

// keeper looks at the disk space, keeps a zeroed segment ready, notes the time for
// a recovery, and deletes what was kept long enough.
func (j *Journal) keeper() {
	defer j.done.Done()
	t := time.NewTicker(j.o.Watch)
	defer t.Stop()
	var full bool
	for {
		select {
		case <-j.stop:
			return
		case <-j.refill:
		case <-t.C:
		}
		j.flights.beat(time.Now().UnixMicro())
		j.expire()
		if free, err := j.o.Faults.Free(j.dir.file("")); err == nil {
			j.free.Store(free)
		}
		err := j.prepare()
		if err != nil && !full {
			j.o.Log.Warn("cannot prepare the next journal segment", "error", err)
		}
		full = err != nil
		j.mu.Lock()
		j.judge()
		j.mu.Unlock()
	}
}

// prepare makes the spare segment if there is none.
func (j *Journal) prepare() error {
	j.mu.Lock()
	need := j.spare == nil && !j.closed && !j.dead.Load()
	j.mu.Unlock()
	if !need {
		return nil
	}
	f, err := j.makeFile("spare.tmp", true)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.spare = f
	j.judge()
	j.mu.Unlock()
	return nil
}

// retire removes segments that Postgres has, all before the given one. With
// Options.Keep they are renamed and deleted later by expire.
func (j *Journal) retire(before uint64) {
	j.mu.Lock()
	var gone []sealed
	for len(j.segs) > 0 && j.segs[0].number < before {
		gone = append(gone, j.segs[0])
		j.segs = j.segs[1:]
	}
	j.mu.Unlock()
	for _, s := range gone {
		path := j.dir.file(journalfile.SegName(s.number))
		var err error
		if j.o.Keep > 0 {
			err = os.Rename(path, path+".old")
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			j.o.Log.Warn("cannot retire segment", "error", err)
		}
	}
	if len(gone) > 0 {
		poke(j.refill) // there may be space again
	}
}

// expire deletes kept segments that are old enough.
func (j *Journal) expire() {
	if j.o.Keep == 0 {
		return
	}
	old, _ := filepath.Glob(j.dir.file("*.seg.old"))
	for _, path := range old {
		if st, err := os.Stat(path); err == nil && time.Since(st.ModTime()) > j.o.Keep {
			_ = os.Remove(path)
		}
	}
}

// meters are the journal's metrics.
type meters struct {
	appended, diverted, torn  *metrics.Counter
	interrupted, voided, lost *metrics.Counter
	sync                      *metrics.Histogram
}

// gauges registers what is read from an open journal.
func (j *Journal) gauges(m *obs.Metrics) {
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	m.Gauge("relay_journal_healthy", func() float64 { return flag(j.Healthy()) })
	m.Gauge("relay_journal_dead", func() float64 { return flag(j.Dead()) })
	m.Gauge("relay_journal_lag_records", func() float64 { return float64(j.Lag()) })
	m.Gauge("relay_journal_disk_free_bytes", func() float64 { return float64(j.free.Load()) })
	m.Gauge("relay_journal_unsynced_seconds", func() float64 {
		at := j.dirtyAt.Load()
		if at == 0 {
			return 0
		}
		return time.Since(time.Unix(0, at)).Seconds()
	})
	m.Gauge("relay_flights_in_use", func() float64 { return float64(j.flights.InUse()) })
	m.Gauge("relay_flights_cells", func() float64 { return float64(len(j.flights.all)) })
}

func newMeters(m *obs.Metrics) meters {
	return meters{
		appended:    m.Counter("relay_journal_records_total"),
		diverted:    m.Counter("relay_journal_diverted_records_total"),
		torn:        m.Counter("relay_journal_torn_bytes_total"),
		interrupted: m.Counter(`relay_flights_recovered_total{as="interrupted"}`),
		voided:      m.Counter(`relay_flights_recovered_total{as="void"}`),
		lost:        m.Counter(`relay_flights_recovered_total{as="unreadable"}`),
		sync:        m.Histogram("relay_journal_sync_seconds"),
	}
}
