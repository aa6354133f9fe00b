package journalfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// ErrNone says that a folder holds no journal.
var ErrNone = errors.New("there is no journal in this folder")

// Entry is one good record of a journal.
type Entry struct {
	Record usage.Record
	File   string
	Slot   int16  // the proxy's slot, from the segment; 0 where that could not be read
	Seq    uint64 // 0: found behind a hole of the last segment, or in an in-flight slot
	Acked  bool   // Postgres has acknowledged it
	Behind bool   // found behind damage
	Flight bool   // was running when its process died; the record says what it owes
}

// Report is what Read found.
type Report struct {
	Folder    string
	Name      string // of the proxy, as its folder was made
	JournalID string
	Acked     Position
	Segments  int
	Records   int64        // good ones, without Flights
	Charge    money.Amount // of them
	Pending   int64        // of Records: not acknowledged
	Owing     money.Amount // charges of these
	Behind    int64        // of Records: behind damage
	Missing   int64        // record numbers that are nowhere, as far as can be told
	Flights   int64        // requests that were running when the process died and owe something
	Running   bool         // a proxy has the folder: its in-flight slots were not read
	TornFile  string       // the last segment ends in the trace of a crash
	TornAt    int64        //
	TornBytes int64        //
	Problems  []error      // *DamageError and *VersionError, each with its file and place
}

// Whole says that nothing is damaged. A torn tail is no damage: a start cuts it.
func (r *Report) Whole() bool { return len(r.Problems) == 0 }

// files returns the journal's own folder inside dir, which may be it already.
func files(dir string) (string, error) {
	for _, sub := range []string{filepath.Join(dir, Subdir), dir} {
		if segs, err := filepath.Glob(filepath.Join(escape(sub), "*.seg")); err != nil {
			return "", fmt.Errorf("cannot read %s: %w", dir, err)
		} else if len(segs) > 0 {
			return sub, nil
		}
		if _, err := os.Stat(filepath.Join(sub, "identity")); err == nil {
			return sub, nil
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("cannot read the journal: %w", err)
	}
	return "", fmt.Errorf("cannot read %s: %w", dir, ErrNone)
}

// escape takes the meaning from what Glob reads as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Read reads all of a journal, changing nothing, and gives every good record to each
// (which may be nil), each request once: also those behind damage, which a proxy would
// not start over. dir is a data folder or the journal folder in it. A proxy may be
// running on it. An error is one of reading, or each's.
func Read(dir string, each func(*Entry) error) (*Report, error) {
	sub, err := files(dir)
	if err != nil {
		return nil, err
	}
	w := &walk{Report: Report{Folder: sub}, each: each, seen: make(map[reqid.ID]struct{})}
	w.identity()
	w.Running = held(filepath.Join(sub, "lock"))
	// Before the segments: what was acknowledged now is in them.
	known, err := w.acked()
	if err != nil {
		return nil, err
	}
	if err := w.segments(known); err != nil {
		return nil, err
	}
	if !w.Running {
		if err := w.flights(); err != nil {
			return nil, err
		}
	}
	return &w.Report, nil
}

// held says that a process has the folder's lock.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	return false // the lock goes with the file
}

// walk is one reading.
type walk struct {
	Report
	each   func(*Entry) error
	seen   map[reqid.ID]struct{}
	jid    [16]byte
	jidOK  bool
	first  uint64 // first record number seen
	last   uint64
	counts int64 // numbered records
	slot   int16 // of the last header read
}

func (w *walk) problem(err error) { w.Problems = append(w.Problems, err) }

func (w *walk) identity() {
	id, err := ReadIdentity(filepath.Join(w.Folder, "identity"))
	if err != nil {
		var damage *DamageError
		if !errors.As(err, &damage) {
			damage = &DamageError{File: filepath.Join(w.Folder, "identity"), Reason: "cannot be read"}
		}
		w.problem(damage)
		return
	}
	w.Name, w.JournalID = id.Name, id.JournalID
	raw, err := hex.DecodeString(id.JournalID)
	w.jidOK = err == nil && copy(w.jid[:], raw) == len(w.jid)
}

func (w *walk) acked() (known bool, err error) {
	path := filepath.Join(w.Folder, "ack")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the ack file: %w", err)
	}
	if len(b) < AckStride+AckSlot {
		return false, nil // never finished: nothing was acknowledged
	}
	w.Acked, _, known = newerAck(b)
	if !known && !AllZero(b) {
		w.problem(&DamageError{File: path, Reason: "neither place of the ack file can be read"})
	}
	return known, nil
}

func (w *walk) segments(known bool) error {
	entries, err := os.ReadDir(w.Folder)
	if err != nil {
		return fmt.Errorf("cannot read the journal folder: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		if n, ok := SegNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	missing := func(n uint64) {
		w.problem(&DamageError{File: filepath.Join(w.Folder, SegName(n)), Reason: "segment is missing"})
	}
	if known && (len(numbers) == 0 || numbers[0] > w.Acked.Segment) {
		missing(w.Acked.Segment)
	}
	var prev *Scanned
	for i, n := range numbers {
		if i > 0 && n != numbers[i-1]+1 {
			missing(numbers[i-1] + 1)
			prev = nil
		}
		s, err := w.segment(n, prev, i == len(numbers)-1)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			continue // retired while we were reading
		}
		if err != nil {
			return err
		}
		prev = s
	}
	switch {
	case known && len(numbers) > 0 && numbers[len(numbers)-1] < w.Acked.Segment:
		missing(w.Acked.Segment)
	case known && prev != nil && w.Acked.Seq > prev.LastSeq:
		w.problem(&DamageError{
			File: filepath.Join(w.Folder, SegName(numbers[len(numbers)-1])), Offset: prev.End,
			Reason: fmt.Sprintf("journal ends at record %d, but record %d was acknowledged", prev.LastSeq, w.Acked.Seq),
		})
	}
	if w.last >= w.first && w.first > 0 {
		w.Missing = max(int64(w.last-w.first)+1-w.counts, 0)
	}
	return nil
}

// segment reads one segment. The result is nil where the next one cannot be
// compared with it.
func (w *walk) segment(n uint64, prev *Scanned, last bool) (*Scanned, error) {
	path := filepath.Join(w.Folder, SegName(n))
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read segment: %w", err)
	}
	for range 3 {
		if !last || !w.Running {
			break
		}
		// A record that is just being written looks like a tear: look again.
		s, err := Scan(data, path, last, nil)
		if err == nil && s.Torn == nil {
			break
		}
		again, err := os.ReadFile(path)
		if err != nil || bytes.Equal(again, data) {
			break
		}
		data = again
	}
	w.Segments++
	var seq uint64
	if h, err := ParseHeader(data, path); err == nil {
		seq, w.slot = h.FirstSeq, h.Slot
		w.number(h.FirstSeq-1, false)
	}
	var failed error
	s, err := Scan(data, path, last, func(payload []byte) error {
		e := Entry{File: path, Seq: seq}
		if err := DecodeRecord(payload, &e.Record); err != nil {
			return err
		}
		seq++
		if failed == nil {
			failed = w.record(&e)
		}
		return nil
	})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		w.problem(err)
		return nil, w.behind(data, path, s.End)
	}
	if s.Blank {
		s.Header.Number = n
		if prev != nil {
			s.Header.FirstSeq, s.LastSeq = prev.LastSeq+1, prev.LastSeq
		} else {
			s.LastSeq = w.Acked.Seq
		}
	} else if w.jidOK {
		p := prev
		if p == nil {
			p = &Scanned{}
		}
		if err := CheckChain(&s, p, path, n, w.jid, prev != nil); err != nil {
			w.problem(err)
		}
	}
	if s.Torn != nil {
		w.TornFile, w.TornAt, w.TornBytes = path, s.Torn.From, s.Torn.To-s.Torn.From
		for _, payload := range s.Torn.Whole {
			e := Entry{File: path}
			if err := DecodeRecord(payload, &e.Record); err != nil {
				continue // wholeFrames decoded it before
			}
			if err := w.record(&e); err != nil {
				return nil, err
			}
		}
	}
	return &s, nil
}

// behind looks for good records from the damage at off on.
func (w *walk) behind(data []byte, path string, off int64) (err error) {
	wholeFrames(data, max(off, 0)-1, func(_ int64, f *Frame) {
		e := Entry{File: path, Seq: f.Seq, Behind: true}
		if err == nil && DecodeRecord(f.Payload, &e.Record) == nil {
			err = w.record(&e)
		}
	})
	return err
}

// number notes which record numbers the journal spans.
func (w *walk) number(seq uint64, record bool) {
	if record {
		w.counts++
		if w.first == 0 || seq < w.first {
			w.first = seq
		}
	}
	w.last = max(w.last, seq)
	if w.first == 0 {
		w.first = seq + 1
	}
}

func (w *walk) record(e *Entry) error {
	if _, twice := w.seen[e.Record.ID]; twice {
		return nil
	}
	w.seen[e.Record.ID] = struct{}{}
	if e.Slot = e.Record.ProxySlot; e.Slot == 0 {
		e.Slot = w.slot // a proxy keeps its slot for life
	}
	if e.Flight {
		w.Flights++
	} else {
		w.Records++
		w.Charge += e.Record.Charge
		if e.Seq > 0 {
			w.number(e.Seq, true)
			e.Acked = e.Seq <= w.Acked.Seq
		}
		if e.Behind {
			w.Behind++
		}
	}
	if !e.Acked {
		if !e.Flight {
			w.Pending++
		}
		w.Owing += e.Record.Charge
	}
	if w.each == nil {
		return nil
	}
	return w.each(e)
}

// flights reads the in-flight slots of a process that died.
func (w *walk) flights() error {
	path := filepath.Join(w.Folder, "flights")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read in-flight slots: %w", err)
	}
	cells, err := CheckFlightsHeader(data[:min(len(data), 24)], int64(len(data)), path)
	if err != nil {
		w.problem(err)
		return nil
	}
	if cells == 0 {
		return nil
	}
	running, bad := Leftovers(data[:FlightsHeader+cells*CellSize])
	for _, i := range bad {
		w.problem(&DamageError{File: path, Offset: FlightsHeader + int64(i)*CellSize, Reason: "in-flight slot cannot be read"})
	}
	for i := range running {
		if running[i].Phase != PhaseStreaming {
			continue // nothing was relayed: void
		}
		if err := w.record(&Entry{File: path, Record: running[i].Record, Flight: true}); err != nil {
			return err
		}
	}
	return nil
}
