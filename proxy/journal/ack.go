package journal

import (
	"errors"
	"fmt"
	"os"

	"tokenrelay/shared/journalfile"
)

// ackFile keeps the acknowledged position in two places that are written in turn,
// so that a torn write leaves the other one. The file is never made larger: a full
// disk cannot hit it.
type ackFile struct {
	f   *os.File
	gen uint64
}

// openAck opens the file and returns the last position and the one before it:
// segments before the latter may be gone. known is false if there is none yet.
func openAck(path string) (a *ackFile, last, before Position, known bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, last, before, false, fmt.Errorf("cannot open ack file: %w", err)
	}
	a = &ackFile{f: f}
	var buf [journalfile.AckStride + journalfile.AckSlot]byte
	n, _ := f.ReadAt(buf[:], 0)
	if n < len(buf) {
		err := errors.Join(writeZeros(f, int64(n), 2*journalfile.AckStride), f.Sync())
		if err != nil {
			_ = f.Close()
			return nil, last, before, false, fmt.Errorf("cannot write ack file: %w", err)
		}
	}
	p0, gen0 := journalfile.ParseAck(buf[:journalfile.AckSlot])
	p1, gen1 := journalfile.ParseAck(buf[journalfile.AckStride:])
	if gen1 > gen0 {
		p0, p1, gen0, gen1 = p1, p0, gen1, gen0
	}
	if gen1 == 0 {
		p1 = Position{} // the first ack: nothing was retired before it
	}
	a.gen = gen0
	return a, p0, p1, gen0 > 0, nil
}

// write makes p durable.
func (a *ackFile) write(p Position) error {
	a.gen++
	b := journalfile.AppendAck(make([]byte, 0, journalfile.AckSlot), p, a.gen)
	if err := pwriteAll(int(a.f.Fd()), b, int64(a.gen%2)*journalfile.AckStride); err != nil {
		return fmt.Errorf("cannot write ack file: %w", err)
	}
	if err := datasync(int(a.f.Fd())); err != nil {
		return fmt.Errorf("cannot sync ack file: %w", err)
	}
	return nil
}
