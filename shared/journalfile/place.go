package journalfile

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
)

// Subdir holds all files of the journal inside the data folder, which others use too.
const Subdir = "journal"

// Ident is the identity of a data folder. It is made once and survives restarts.
type Ident struct {
	JournalID string // 32 hex digits, random
	Name      string // host name at creation + "-" + 8 hex digits: the proxy's default name
}

// ReadIdentity reads an identity file.
func ReadIdentity(path string) (Ident, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Ident{}, err
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) != 4 || lines[0] != "token relay proxy" || lines[3] != "" {
		return Ident{}, &DamageError{File: path, Reason: "not an identity file"}
	}
	jid, ok1 := strings.CutPrefix(lines[1], "journal ")
	name, ok2 := strings.CutPrefix(lines[2], "name ")
	raw, err := hex.DecodeString(jid)
	if !ok1 || !ok2 || err != nil || len(raw) != 16 || name == "" {
		return Ident{}, &DamageError{File: path, Reason: "not an identity file"}
	}
	return Ident{JournalID: jid, Name: name}, nil
}

// Position is a place in the journal: everything before it has been read.
type Position struct {
	Segment uint64
	Offset  int64
	Seq     uint64 // last record before the position
}

// The acknowledged position is kept in two places of the ack file that are written
// in turn, so that a torn write leaves the other one.
const (
	AckMagic  = "TRACKPOS"
	AckSlot   = 44   // bytes of one place
	AckStride = 4096 // between the places
)

// ParseAck reads one place of the ack file. gen is 0 where it was never written, or
// is torn: the other place counts.
func ParseAck(b []byte) (p Position, gen uint64) {
	le := binary.LittleEndian
	if string(b[:8]) != AckMagic || le.Uint32(b[40:]) != CRC(b[:40]) {
		return Position{}, 0
	}
	p = Position{Segment: le.Uint64(b[16:]), Offset: int64(le.Uint64(b[24:])), Seq: le.Uint64(b[32:])}
	return p, le.Uint64(b[8:])
}

// newerAck picks the last position and the one before it of a whole ack file.
func newerAck(b []byte) (last, before Position, known bool) {
	p0, gen0 := ParseAck(b[:AckSlot])
	p1, gen1 := ParseAck(b[AckStride : AckStride+AckSlot])
	if gen1 > gen0 {
		p0, p1, gen0, gen1 = p1, p0, gen1, gen0
	}
	if gen1 == 0 {
		p1 = Position{} // the first ack: nothing was retired before it
	}
	return p0, p1, gen0 > 0
}

// AppendAck appends one place of the ack file; gen counts them.
func AppendAck(dst []byte, p Position, gen uint64) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, AckMagic...)
	dst = le.AppendUint64(dst, gen)
	dst = le.AppendUint64(dst, p.Segment)
	dst = le.AppendUint64(dst, uint64(p.Offset))
	dst = le.AppendUint64(dst, p.Seq)
	return le.AppendUint32(dst, CRC(dst[start:]))
}
