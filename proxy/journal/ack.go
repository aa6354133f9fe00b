package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Position is a place in the journal: everything before it has been read.
type Position struct {
	Segment uint64
	Offset  int64
	Seq     uint64 // last record before the position
}

// ackFile keeps the acknowledged position in two places that are written in turn,
// so that a torn write leaves the other one. The file is never made larger: a full
// disk cannot hit it.
type ackFile struct {
	f   *os.File
	gen uint64
}

const (
	ackMagic  = "TRACKPOS"
	ackSlot   = 44
	ackStride = 4096
)

// openAck opens the file and returns the last position and the one before it:
// segments before the latter may be gone. known is false if there is none yet.
func openAck(path string) (a *ackFile, last, before Position, known bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, last, before, false, fmt.Errorf("cannot open ack file: %w", err)
	}
	a = &ackFile{f: f}
	var buf [ackStride + ackSlot]byte
	n, _ := f.ReadAt(buf[:], 0)
	if n < len(buf) {
		err := errors.Join(writeZeros(f, int64(n), 2*ackStride), f.Sync())
		if err != nil {
			_ = f.Close()
			return nil, last, before, false, fmt.Errorf("cannot write ack file: %w", err)
		}
	}
	p0, gen0 := parseAck(buf[:ackSlot])
	p1, gen1 := parseAck(buf[ackStride:])
	if gen1 > gen0 {
		p0, p1, gen0, gen1 = p1, p0, gen1, gen0
	}
	if gen1 == 0 {
		p1 = Position{} // the first ack: nothing was retired before it
	}
	a.gen = gen0
	return a, p0, p1, gen0 > 0, nil
}

func parseAck(b []byte) (p Position, gen uint64) {
	le := binary.LittleEndian
	if string(b[:8]) != ackMagic || le.Uint32(b[40:]) != crc(b[:40]) {
		return Position{}, 0 // never written, or torn: the other place counts
	}
	p = Position{Segment: le.Uint64(b[16:]), Offset: int64(le.Uint64(b[24:])), Seq: le.Uint64(b[32:])}
	return p, le.Uint64(b[8:])
}

// write makes p durable.
func (a *ackFile) write(p Position) error {
	le := binary.LittleEndian
	b := make([]byte, 0, ackSlot)
	a.gen++
	b = append(b, ackMagic...)
	b = le.AppendUint64(b, a.gen)
	b = le.AppendUint64(b, p.Segment)
	b = le.AppendUint64(b, uint64(p.Offset))
	b = le.AppendUint64(b, p.Seq)
	b = le.AppendUint32(b, crc(b))
	if err := pwriteAll(int(a.f.Fd()), b, int64(a.gen%2)*ackStride); err != nil {
		return fmt.Errorf("cannot write ack file: %w", err)
	}
	if err := datasync(int(a.f.Fd())); err != nil {
		return fmt.Errorf("cannot sync ack file: %w", err)
	}
	return nil
}
