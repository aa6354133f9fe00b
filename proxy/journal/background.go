package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/obs"
)

// syncer brings records to the disk where it waits for that itself: at once in ModeSync (those that arrive during
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
		j.Touch()
	}
}

// asker does fdatasync while nobody waits for it, one at a time; syncMu is held
// around all but close.
type asker interface {
	// ask begins the fdatasync of a file. An error says that it was not begun.
	ask(fd int) error
	// answer tells whether it is done, and how it ended. With wait it is.
	answer(wait bool) (done bool, err error)
	close()
}

// unasked is how long an answer of the kernel may lie there before anyone looks, when
// no record comes whose own time would be the occasion; soonAsked is as long where
// records come alone, so that the next one finds its page ready; retryAsk is the pause
// before an fdatasync that is not done yet is looked at again.
const (
	unasked   = 20 * time.Millisecond
	soonAsked = 1500 * time.Microsecond
	retryAsk  = time.Millisecond
)

// grouper is the syncer of ModeGroup where the kernel does the fdatasync by itself.
// The first record after a sync sets the alarm. When it rings the sync of all that
// have come by then is begun, and what became of the one before is learned; under
// load Append has mostly done both by then, on its own goroutine (hurry).
func (j *Journal) grouper() {
	defer j.done.Done()
	for {
		j.alarm.wait()
		select {
		case <-j.stop:
			j.syncMu.Lock()
			_, _ = j.learn(true)
			j.syncMu.Unlock()
			return
		default:
		}
		j.syncMu.Lock()
		done, err := j.turn()
		j.syncMu.Unlock()
		if err != nil || j.dead.Load() {
			return // it has been told
		}
		idle := false
		j.mu.Lock()
		switch {
		case !done:
			j.alarm.set(retryAsk)
		case j.dirty: // a record has set the alarm
		case !j.asking.Load():
			idle = true
		case j.alone:
			j.alarm.set(soonAsked)
		default:
			j.alarm.set(unasked)
		}
		j.mu.Unlock()
		if idle {
			j.Touch()
		}
	}
}

// hurry begins the sync that is about to be due, on a request's goroutine, unless
// somebody is at it or it would have to be waited for.
func (j *Journal) hurry() {
	if !j.syncMu.TryLock() {
		j.later()
		return
	}
	defer j.syncMu.Unlock()
	j.mu.Lock()
	closed, slow := j.closed, len(j.pending) > 0 || j.newDir
	j.mu.Unlock()
	switch {
	case closed:
	case slow:
		j.alarm.set(0)
	default:
		done, err := j.turn()
		if !done {
			j.later()
		} else if err == nil {
			j.rearm()
		}
	}
}

// rearm puts off the alarm of records whose sync has begun before it rang: the grouper is
// woken for nothing else. A record that came meanwhile has set it for itself.
func (j *Journal) rearm() {
	j.mu.Lock()
	if !j.dirty && j.asking.Load() && !j.closed {
		j.alarm.set(unasked)
	}
	j.mu.Unlock()
}

// later puts off a sync that cannot begin because one is under way.
func (j *Journal) later() {
	j.mu.Lock()
	j.dueAt = mono() + int64(retryAsk)
	j.alarm.set(retryAsk)
	j.mu.Unlock()
}

// turn ends the sync before, if it is done, and begins the next; syncMu is held.
func (j *Journal) turn() (done bool, err error) {
	if done, err = j.learn(false); !done || err != nil {
		return done, err
	}
	if j.dead.Load() {
		return true, ErrDead
	}
	return true, j.ask()
}

// covered is what one fdatasync brings to the disk.
type covered struct {
	from, to Position
	began    time.Time
}

// take says what is to be synced, and that the syncer knows of it.
func (j *Journal) take() (c covered, cur segment, olds []segment, newDir bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c = covered{from: j.synced, to: Position{Segment: j.cur.number, Offset: j.off, Seq: j.seq}, began: time.Now()}
	cur, olds, newDir = j.cur, j.pending, j.newDir
	j.many, j.alone = j.seq-j.begun >= 32, j.seq-j.begun <= 1
	if c.to != c.from {
		j.touched.Store(false)
	}
	j.pending, j.newDir, j.dirty, j.since, j.begun = nil, false, false, 0, j.seq
	select {
	case <-j.kick: // its bytes are in this sync
	default:
	}
	return c, cur, olds, newDir
}

// ask begins a sync; syncMu is held and none is under way. A segment that was left
// meanwhile, and a question that the kernel does not take, are waited for.
func (j *Journal) ask() error {
	c, cur, olds, newDir := j.take()
	if len(olds) > 0 || newDir {
		return j.wait(c, cur, olds, newDir)
	}
	if c.to == c.from {
		return nil
	}
	if err := j.asker.ask(cur.fd); err != nil {
		return j.wait(c, cur, nil, false)
	}
	j.asked = c
	j.asking.Store(true)
	return nil
}

// learn takes the kernel's answer to the sync under way, if there is one; syncMu is
// held. done is false while it has not answered.
func (j *Journal) learn(wait bool) (done bool, err error) {
	if !j.asking.Load() {
		return true, nil
	}
	done, err = j.asker.answer(wait)
	if !done {
		return false, nil
	}
	j.asking.Store(false)
	j.ended(j.asked, err)
	return true, err
}

// sync brings everything that is written to the disk. After an error the journal
// is dead and what may not be on the disk has gone to the fallback.
func (j *Journal) sync() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if _, err := j.learn(true); err != nil || j.dead.Load() {
		return ErrDead
	}
	c, cur, olds, newDir := j.take()
	if c.to == c.from && !newDir {
		return nil
	}
	return j.wait(c, cur, olds, newDir)
}

// wait syncs and waits for it; syncMu is held.
func (j *Journal) wait(c covered, cur segment, olds []segment, newDir bool) error {
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
	j.ended(c, err)
	return err
}

// ended notes how a sync ended; syncMu is held.
func (j *Journal) ended(c covered, err error) {
	if err != nil {
		j.die(fmt.Errorf("cannot sync journal: %w", err))
	}
	j.mu.Lock()
	if err == nil {
		j.synced = c.to
	}
	if !j.dirty {
		j.dirtyAt.Store(0)
	} else {
		j.dirtyAt.Store(c.began.UnixNano())
	}
	j.syncing.Broadcast()
	j.mu.Unlock()
	j.m.sync.UpdateDuration(c.began)
	failpoint.Hit(failpoint.K8)
	if err != nil {
		j.rescue(c.from)
	}
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
	t := time.NewTimer(tempo.Until(j.o.Watch))
	defer t.Stop()
	var full bool
	for {
		select {
		case <-j.stop:
			return
		case <-j.refill:
		case <-t.C:
			t.Reset(tempo.Until(j.o.Watch))
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
