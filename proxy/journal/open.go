package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// Recovery says what Open found of an earlier process.
type Recovery struct {
	Pending     int64          // records that Postgres has not acknowledged, Interrupted included
	TornBytes   int64          // bytes cut from the tail of the last segment
	TornFile    string         //
	TornOffset  int64          //
	Salvaged    int            // whole records found behind a hole of the torn tail, kept
	Interrupted []usage.Record // running requests of the dead process, now journaled with what had been relayed
	Voided      int            // admitted, nothing sent upstream: no charge
	SentUnknown int            // sent upstream, nothing relayed: no charge, the house may pay the input
	Seen        int            // slots whose record was already in the journal
	BadCells    int            // slots that could not be read (power loss)
}

// Open opens or makes the journal in dir, repairs what a crash may leave, turns
// running requests of a dead process into records, and starts the background work.
// A damaged file is a *DamageError, an unknown version a *VersionError: both mean
// exit 78. ErrInUse: another process holds the folder.
func Open(dir string, o Options) (*Journal, *Recovery, error) {
	o.fill()
	if o.SegmentBytes < minSegment || o.SegmentBytes > 1<<31 {
		return nil, nil, fmt.Errorf("cannot open journal: segments of %d bytes, at least %d and at most %d are possible", o.SegmentBytes, minSegment, 1<<31)
	}
	d := o.Dir
	if d == nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		var err error
		if d, err = Claim(now, dir); err != nil {
			return nil, nil, err
		}
	}
	j := &Journal{
		dir: d, o: o, m: newMeters(o.Metrics),
		buf:  make([]byte, journalfile.FrameHead, journalfile.FrameExtra+MaxRecord),
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), refill: make(chan struct{}, 1),
		stop: make(chan struct{}),
	}
	j.syncing = sync.NewCond(&j.mu)
	if o.Mode == ModeGroup && !o.waits {
		j.canAsk()
	}
	rec, err := j.open()
	if err != nil {
		j.unask()
		if o.Dir == nil {
			_ = d.Close()
		}
		return nil, nil, err
	}
	j.gauges(o.Metrics)
	j.m.torn.AddInt64(rec.TornBytes)
	j.m.appended.Add(len(rec.Interrupted) + rec.Salvaged)
	j.m.interrupted.Add(len(rec.Interrupted))
	j.m.voided.Add(rec.Voided + rec.SentUnknown)
	j.m.lost.Add(rec.BadCells)
	j.judge()
	poke(j.refill)
	j.done.Add(1)
	go j.keeper()
	switch {
	case o.Mode == ModeProcess:
	case j.asker != nil:
		j.done.Add(1)
		go j.grouper()
	default:
		j.done.Add(1)
		go j.syncer()
	}
	return j, rec, nil
}

// canAsk finds out whether the kernel syncs by itself; without that the syncer waits.
func (j *Journal) canAsk() {
	asker := j.o.asker()
	if asker == nil {
		return
	}
	alarm, err := newAlarm()
	if err != nil {
		asker.close()
		return
	}
	j.asker, j.alarm = asker, alarm
}

// unask gives back what asking needs; no sync is under way.
func (j *Journal) unask() {
	if j.asker == nil {
		return
	}
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.asker.close()
	j.alarm.close()
}

func (j *Journal) open() (_ *Recovery, err error) {
	sub := j.dir.file("")
	if err := j.parseID(); err != nil {
		return nil, err
	}
	tmp, _ := filepath.Glob(filepath.Join(sub, "*.tmp"))
	for _, path := range tmp {
		_ = os.Remove(path) // prepared for the process that died
	}

	data, err := j.openFlights()
	if err != nil {
		return nil, err
	}
	unmap := &Flights{data: data}
	defer func() {
		if err != nil {
			_ = unmap.close()
		}
	}()
	running, bad := journalfile.Leftovers(data)
	waiting := make(map[reqid.ID]int, len(running))
	for i := range running {
		waiting[running[i].Record.ID] = i
	}

	ack, acked, before, known, err := openAck(j.dir.file("ack"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = ack.f.Close()
			if j.cur.f != nil {
				_ = j.cur.f.Close()
			}
		}
	}()
	rec := &Recovery{BadCells: len(bad)}
	salvage, err := j.openSegments(acked, known, rec, func(payload []byte) error {
		var r usage.Record
		if err := DecodeRecord(payload, &r); err != nil {
			return err
		}
		delete(waiting, r.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !known {
		first := j.cur.number
		if len(j.segs) > 0 {
			first = j.segs[0].number
		}
		acked = Position{Segment: first, Offset: journalfile.HeaderSize}
		if acked.Seq, err = j.firstSeq(first); err != nil {
			return nil, err
		}
	}
	j.ack, j.acked, j.before = ack, acked, before
	j.ackSeq.Store(acked.Seq)

	if err := j.settleLeftovers(running, waiting, salvage, rec); err != nil {
		return nil, err
	}
	if err := j.sync(); err != nil {
		return nil, fmt.Errorf("cannot sync journal: %w", err)
	}
	// Only now, with their records on the disk, are the cells free.
	for i := range (len(data) - flightsHeader) / cellSize {
		if c := cellAt(data, i); c.state.Load() != phaseFree {
			c.state.Store(phaseFree)
		}
	}
	if (len(data)-flightsHeader)/cellSize != j.o.Cells {
		if err := unmap.close(); err != nil {
			return nil, err
		}
		unmap.data = nil
		if err := os.Remove(j.dir.file("flights")); err != nil {
			return nil, fmt.Errorf("cannot replace in-flight slots: %w", err)
		}
		if data, err = j.openFlights(); err != nil {
			return nil, err
		}
		unmap.data = data
	}
	j.flights = newFlights(data)
	j.flights.beat(time.Now().UnixMicro())
	rec.Pending = j.Lag()
	return rec, nil
}

func (j *Journal) parseID() error {
	raw, err := hex.DecodeString(j.dir.Ident.JournalID)
	if err != nil || copy(j.jid[:], raw) != len(j.jid) {
		return &DamageError{File: j.dir.file("identity"), Reason: "not a journal id"}
	}
	return nil
}

// settleLeftovers journals what is owed for requests that were running, and whole
// records from a torn tail.
func (j *Journal) settleLeftovers(running []journalfile.InFlight, waiting map[reqid.ID]int, salvage [][]byte, rec *Recovery) error {
	put := func() error {
		_, err := j.write()
		return err
	}
	seen := make(map[reqid.ID]bool)
	for _, p := range salvage {
		j.buf = append(j.buf[:journalfile.FrameHead], p...)
		var r usage.Record
		if err := DecodeRecord(p, &r); err != nil {
			return err
		}
		seen[r.ID] = true
		if err := put(); err != nil {
			return fmt.Errorf("cannot keep salvaged record: %w", err)
		}
		rec.Salvaged++
	}
	for i := range running {
		f := &running[i]
		if _, open := waiting[f.Record.ID]; !open || seen[f.Record.ID] {
			rec.Seen++
			continue
		}
		seen[f.Record.ID] = true
		switch f.Phase {
		case phaseAdmitted:
			rec.Voided++
			continue
		case phaseSent:
			// A later attempt is sent only while nothing was relayed.
			rec.SentUnknown++
			continue
		}
		j.buf = AppendRecord(j.buf[:journalfile.FrameHead], &f.Record)
		if err := put(); err != nil {
			return fmt.Errorf("cannot journal interrupted request: %w", err)
		}
		rec.Interrupted = append(rec.Interrupted, f.Record)
	}
	return nil
}

// openFlights opens the file of in-flight slots, as it was left, or makes a new one.
func (j *Journal) openFlights() ([]byte, error) {
	path := j.dir.file("flights")
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err == nil {
		var head [24]byte
		n, _ := f.ReadAt(head[:], 0)
		st, err := f.Stat()
		cells := 0
		if err == nil {
			cells, err = journalfile.CheckFlightsHeader(head[:n], st.Size(), path)
		}
		var data []byte
		if err == nil && cells > 0 {
			if data, err = mapFlights(f, cells); err == nil {
				_ = f.Close() // the mapping stays
				return data, nil
			}
		}
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot open in-flight slots: %w", err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot open in-flight slots: %w", err)
	}
	// Space for all of it: a mapping of a hole on a full disk kills the process.
	tmp := path + ".tmp"
	if f, err = os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("cannot make in-flight slots: %w", err)
	}
	size := flightsHeader + int64(j.o.Cells)*cellSize
	err = allocate(f, size)
	var data []byte
	if err == nil {
		data, err = mapFlights(f, j.o.Cells)
	}
	if err == nil {
		putFlightsHeader(data, j.o.Cells)
		if err = f.Sync(); err == nil {
			err = os.Rename(tmp, path)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot make in-flight slots: %w", err)
	}
	_ = f.Close()
	return data, nil
}

// openSegments checks every segment, cuts the tail of the last one, seals it, and
// begins a new one. It returns whole records found behind a hole of the tail.
func (j *Journal) openSegments(acked Position, known bool, rec *Recovery, each func([]byte) error) (salvage [][]byte, err error) {
	entries, err := os.ReadDir(j.dir.file(""))
	if err != nil {
		return nil, fmt.Errorf("cannot read journal folder: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		if n, ok := journalfile.SegNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	// Everything from the acknowledged position on must be there.
	next := acked.Segment
	if len(numbers) > 0 && (!known || numbers[0] < next) {
		next = numbers[0]
	}
	for _, n := range numbers {
		if n != next {
			break
		}
		next++
	}
	if len(numbers) > 0 && next != numbers[len(numbers)-1]+1 || known && next <= acked.Segment {
		return nil, &DamageError{File: j.dir.file(journalfile.SegName(next)), Reason: "segment is missing"}
	}

	var prev journalfile.Scanned
	var buf []byte
	for i, n := range numbers {
		last := i == len(numbers)-1
		path := j.dir.file(journalfile.SegName(n))
		if buf, err = readInto(buf, path); err != nil {
			return nil, fmt.Errorf("cannot read segment: %w", err)
		}
		s, err := journalfile.Scan(buf, path, last, each)
		if err != nil {
			return nil, err
		}
		if s.Blank {
			// Its header never reached the disk: it begins where the one before ends.
			s.Header = journalfile.Header{Number: n, FirstSeq: prev.LastSeq + 1, PrevNumber: n - 1, PrevHash: prev.Hash}
			if i == 0 {
				s.Header.FirstSeq = acked.Seq + 1
			}
			s.LastSeq = s.Header.FirstSeq - 1
		} else if err := j.checkChain(&s, &prev, path, n, i > 0); err != nil {
			return nil, err
		}
		if s.Torn != nil {
			rec.TornBytes, rec.TornFile, rec.TornOffset = s.Torn.To-s.Torn.From, path, s.Torn.From
			salvage = s.Torn.Whole
			j.o.Log.Warn("cut the torn tail of the usage journal", "file", path, "offset", s.Torn.From,
				"bytes", rec.TornBytes, "whole_records_kept", len(salvage))
		}
		if last && !s.Sealed {
			if err := j.sealLast(path, &s); err != nil {
				return nil, err
			}
		}
		j.segs = append(j.segs, sealed{number: n})
		prev = s
	}
	j.seq = max(prev.LastSeq, acked.Seq)
	if known && acked.Seq > prev.LastSeq && len(numbers) > 0 {
		return nil, &DamageError{
			File: j.dir.file(journalfile.SegName(numbers[len(numbers)-1])), Offset: prev.End,
			Reason: fmt.Sprintf("journal ends at record %d, but record %d was acknowledged", prev.LastSeq, acked.Seq),
		}
	}
	f, err := j.makeFile("next.tmp", true)
	if err != nil {
		return nil, err
	}
	next = max(next, 1)
	if err := j.begin(f, next-1, prev.Hash); err != nil {
		_ = f.Close()
		return nil, err
	}
	return salvage, j.sync()
}

func (j *Journal) checkChain(s, prev *journalfile.Scanned, path string, number uint64, follows bool) error {
	return journalfile.CheckChain(s, prev, path, number, j.jid, follows)
}

// sealLast writes the end that the dead process could not write, and gives back
// the space behind it.
func (j *Journal) sealLast(path string, s *journalfile.Scanned) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot repair segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	end := s.End
	var b []byte
	if s.Blank {
		h := s.Header
		h.Slot, h.Mode, h.Epoch, h.Made, h.Size, h.JournalID = j.o.Slot, uint8(j.o.Mode), j.o.Epoch, time.Now().UnixMicro(), j.o.SegmentBytes, j.jid
		b = h.Append(nil)
		s.Hash = journalfile.HashOf(b)
		end = 0
	}
	b = journalfile.AppendSeal(b, s.Hash, s.Records, s.LastSeq)
	err = f.Truncate(end)
	if err == nil {
		err = pwriteAll(int(f.Fd()), b, end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("cannot repair segment: %w", err)
	}
	s.End = end + int64(len(b)) - journalfile.SealSize
	return nil
}

// firstSeq returns the number of the record before the first one of a segment.
func (j *Journal) firstSeq(number uint64) (uint64, error) {
	path := j.dir.file(journalfile.SegName(number))
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot open segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	var b [journalfile.HeaderSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, fmt.Errorf("cannot read segment: %w", err)
	}
	h, err := journalfile.ParseHeader(b[:], path)
	return h.FirstSeq - 1, err
}

func readInto(buf []byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return buf, err
	}
	b := bytes.NewBuffer(buf[:0])
	b.Grow(int(st.Size()) + bytes.MinRead)
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}
