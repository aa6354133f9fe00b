package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/usage"
)

// readChunk is how much of a segment is read at once; larger than any record.
const readChunk = 256 << 10

// Reader reads records in order, from the last acknowledged position on. One
// goroutine uses it.
type Reader struct {
	j    *Journal
	pos  Position
	f    *os.File
	num  uint64
	buf  []byte
	recs []usage.Record
}

// NewReader returns a reader that starts at the acknowledged position.
func (j *Journal) NewReader() *Reader {
	j.ackMu.Lock()
	defer j.ackMu.Unlock()
	return &Reader{j: j, pos: j.acked}
}

// Rewind goes back to the acknowledged position.
func (r *Reader) Rewind() {
	r.j.ackMu.Lock()
	defer r.j.ackMu.Unlock()
	r.pos = r.j.acked
}

// Close closes the reader's file.
func (r *Reader) Close() {
	if r.f != nil {
		_ = r.f.Close()
		r.f = nil
	}
}

// Next returns up to max records that follow, and the position behind them, also
// when there are none: then the end of the journal is reached. The slice is used
// again by the next call. After an error the reader stays where it was.
func (r *Reader) Next(max int) ([]usage.Record, Position, error) {
	r.recs = r.recs[:0]
	pos := r.pos
	for len(r.recs) < max {
		j := r.j
		j.mu.Lock()
		current, end := j.cur.number, j.off
		j.mu.Unlock()
		if pos.Segment == current && pos.Offset >= end {
			break
		}
		if pos.Segment != current {
			end = -1 // sealed: up to the seal
		}
		next, err := r.read(pos, end, max)
		if err != nil {
			return nil, r.pos, err
		}
		if next == pos {
			return nil, r.pos, &DamageError{File: j.dir.file(journalfile.SegName(pos.Segment)), Offset: pos.Offset, Reason: "segment ends without a seal"}
		}
		pos = next
	}
	r.pos = pos
	return r.recs, pos, nil
}

// read decodes one chunk of the segment at pos, up to end (-1: to the seal, behind
// which the next segment follows).
func (r *Reader) read(pos Position, end int64, max int) (Position, error) {
	path := r.j.dir.file(journalfile.SegName(pos.Segment))
	if r.f == nil || r.num != pos.Segment {
		r.Close()
		f, err := os.Open(path)
		if err != nil {
			return pos, fmt.Errorf("cannot open segment: %w", err)
		}
		r.f, r.num = f, pos.Segment
	}
	if r.buf == nil {
		r.buf = make([]byte, readChunk)
	}
	b := r.buf
	if end >= 0 && end-pos.Offset < int64(len(b)) {
		b = b[:end-pos.Offset]
	}
	n, err := r.f.ReadAt(b, pos.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return pos, fmt.Errorf("cannot read segment: %w", err)
	}
	b = b[:n]
	for len(r.recs) < max {
		f, state := journalfile.ParseFrame(b)
		if state == journalfile.FrameShort || (state == journalfile.FrameZero && len(b) < journalfile.FrameHead) {
			return pos, nil // the rest is in the next chunk
		}
		if state != journalfile.FrameOK {
			return pos, &DamageError{File: path, Offset: pos.Offset, Reason: "record does not match its checksum"}
		}
		if f.Typ == journalfile.TypeSeal {
			return Position{Segment: pos.Segment + 1, Offset: journalfile.HeaderSize, Seq: pos.Seq}, nil
		}
		r.recs = append(r.recs, usage.Record{})
		err := journalfile.CheckPayload(&f, path, pos.Offset, func(p []byte) error {
			return DecodeRecord(p, &r.recs[len(r.recs)-1])
		})
		if err != nil {
			r.recs = r.recs[:len(r.recs)-1]
			return pos, err
		}
		pos.Offset += f.Size
		pos.Seq = f.Seq
		b = b[f.Size:]
		if len(b) == 0 {
			break
		}
	}
	return pos, nil
}

// Acked returns the acknowledged position.
func (j *Journal) Acked() Position {
	j.ackMu.Lock()
	defer j.ackMu.Unlock()
	return j.acked
}

// Last returns the number of the last record.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}

// Ack makes durable that everything before p is in Postgres, and removes segments
// that are not needed any more.
//
// What is acknowledged must be on this disk first: otherwise, after a power loss,
// new records would be written at places that count as shipped.
func (j *Journal) Ack(p Position) error {
	j.ackMu.Lock()
	defer j.ackMu.Unlock()
	if p.Seq < j.acked.Seq || p == j.acked {
		return nil
	}
	j.mu.Lock()
	behind := p.Seq > j.synced.Seq || p.Segment > j.synced.Segment
	j.mu.Unlock()
	if behind {
		if err := j.sync(); err != nil && !errors.Is(err, ErrDead) {
			return err
		}
	}
	if j.dead.Load() {
		// Not durable: the next start offers these again, which changes nothing.
		j.acked = p
		j.ackSeq.Store(p.Seq)
		return nil
	}
	if err := j.ack.write(p); err != nil {
		return err
	}
	failpoint.Hit(failpoint.K10)
	j.before, j.acked = j.acked, p
	j.ackSeq.Store(p.Seq)
	// The position before is what counts if the file's newer half is lost.
	j.retire(j.before.Segment)
	return nil
}
