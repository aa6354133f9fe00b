// Package journalfile is the format of the usage journal: written by proxies, read
// by whoever checks or saves one without running it.
package journalfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"tokenrelay/shared/usage"
)

// A segment is a file of fixed size, zeroed beforehand: a header, then records one
// behind the other, then a seal when the next segment takes over.
//
//	header: magic 8 | version 4 | slot 2 | mode 1 | 0 | epoch 8 | number 8 | first seq 8 |
//	        number of the previous 8 | hash of the previous 8 | made 8 (unix µs) | size 8 |
//	        journal id 16 | 0 4 | CRC32C 4
//	record: payload length 4 | type 1 | mark 1 | check 2 | seq 8 | synced 4 | CRC32C 4 | payload | trailer 1
//
// All numbers are little endian. The check covers the record's header, so that a
// wrong length is not followed; the trailer is never zero, so that a record whose
// end was not written is told from one that was changed afterwards; synced is the
// offset up to which this segment was known to be on the disk when the record was
// written, so that a hole in what may be missing after a power loss is told from a
// hole in what may not.
// The layout.
const (
	magic      = "TRJOURNL"
	version    = 1
	HeaderSize = 96

	FrameHead    = 24
	frameMark    = 0xA7
	FrameTrailer = 0xA5
	FrameExtra   = FrameHead + 1

	TypeUsage = 1 // payload: a usage.Record
	TypeSeal  = 2 // payload: xxHash64 of everything before it 8 | records in this segment 8; seq is the last record's

	SealSize = FrameExtra + 16

	MinFrame = FrameExtra + 1 + 16 + 3 + 29 // no usage record is shorter

	Sector = 512 // the least that a disk writes whole
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is the CRC32C of b.
func CRC(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Header is the beginning of a segment.
type Header struct {
	Version    int
	Slot       int16
	Mode       uint8
	Epoch      int64
	Number     uint64
	FirstSeq   uint64
	PrevNumber uint64
	PrevHash   uint64
	Made       int64
	Size       int64
	JournalID  [16]byte
}

// Append appends the header, HeaderSize bytes.
func (h *Header) Append(dst []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, magic...)
	dst = le.AppendUint32(dst, version)
	dst = le.AppendUint16(dst, uint16(h.Slot))
	dst = append(dst, byte(h.Mode), 0)
	dst = le.AppendUint64(dst, uint64(h.Epoch))
	dst = le.AppendUint64(dst, h.Number)
	dst = le.AppendUint64(dst, h.FirstSeq)
	dst = le.AppendUint64(dst, h.PrevNumber)
	dst = le.AppendUint64(dst, h.PrevHash)
	dst = le.AppendUint64(dst, uint64(h.Made))
	dst = le.AppendUint64(dst, uint64(h.Size))
	dst = append(dst, h.JournalID[:]...)
	dst = append(dst, 0, 0, 0, 0)
	return le.AppendUint32(dst, CRC(dst[start:]))
}

// ParseHeader reads a header. The version is looked at before the sum, so that
// a later format is named as such.
func ParseHeader(b []byte, path string) (h Header, err error) {
	damage := func(off int64, reason string) error {
		return &DamageError{File: path, Offset: off, Reason: reason}
	}
	if len(b) < HeaderSize {
		return h, damage(int64(len(b)), "segment header ends early")
	}
	b = b[:HeaderSize]
	le := binary.LittleEndian
	sum := le.Uint32(b[92:]) == CRC(b[:92])
	if string(b[:8]) != magic {
		return h, damage(0, "not a journal segment")
	}
	h.Version = int(le.Uint32(b[8:]))
	if h.Version != version && sum {
		return h, &VersionError{File: path, What: "segment", Version: h.Version, Known: version}
	}
	if !sum {
		return h, damage(0, "segment header does not match its checksum")
	}
	h.Slot = int16(le.Uint16(b[12:]))
	h.Mode = uint8(b[14])
	h.Epoch = int64(le.Uint64(b[16:]))
	h.Number = le.Uint64(b[24:])
	h.FirstSeq = le.Uint64(b[32:])
	h.PrevNumber = le.Uint64(b[40:])
	h.PrevHash = le.Uint64(b[48:])
	h.Made = int64(le.Uint64(b[56:]))
	h.Size = int64(le.Uint64(b[64:]))
	copy(h.JournalID[:], b[72:88])
	return h, nil
}

// SegName is the file name of a segment.
func SegName(number uint64) string { return fmt.Sprintf("%016d.seg", number) }

// SegNumber reads a segment's file name.
func SegNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(filepath.Base(name), ".seg")
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// FinishFrame completes a record in place: b is FrameHead bytes of space and the
// payload; the trailer is appended.
func FinishFrame(b []byte, typ byte, seq uint64, synced int64) []byte {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(len(b)-FrameHead))
	b[4], b[5] = typ, frameMark
	le.PutUint64(b[8:], seq)
	le.PutUint32(b[16:], uint32(synced))
	le.PutUint16(b[6:], headCheck(b))
	c := crc32.Update(CRC(b[:20]), castagnoli, b[FrameHead:])
	le.PutUint32(b[20:], c)
	return append(b, FrameTrailer)
}

// headCheck sums a record's header without the check itself and the CRC.
func headCheck(b []byte) uint16 {
	c := crc32.Update(CRC(b[0:6]), castagnoli, b[8:20])
	return uint16(c) ^ uint16(c>>16)
}

// AppendSeal appends the end of a segment: hash of everything before it, records in
// it, number of the last one.
func AppendSeal(dst []byte, hash uint64, count int64, seq uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, FrameHead)...)
	dst = binary.LittleEndian.AppendUint64(dst, hash)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(count))
	return append(dst[:start], FinishFrame(dst[start:], TypeSeal, seq, 0)...)
}

// FrameState says what ParseFrame found.
type FrameState uint8

// What there may be at a place of a segment.
const (
	FrameOK      FrameState = iota
	FrameZero               // the header is all zero: nothing was written here
	FrameShort              // data ends inside
	FrameBadHead            // the header is not a header
	FrameBad                // the header is right, the rest is not
)

// Frame is one record as it lies in a segment.
type Frame struct {
	Typ     byte
	Seq     uint64
	Synced  int64
	Payload []byte
	Size    int64 // with header and trailer
}

// AllZero says that b has only zeros.
func AllZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// ParseFrame reads the record at the beginning of b.
func ParseFrame(b []byte) (f Frame, s FrameState) {
	if len(b) < FrameHead {
		if AllZero(b) {
			return f, FrameZero
		}
		return f, FrameShort
	}
	if b[5] != frameMark && AllZero(b[:FrameHead]) {
		return f, FrameZero
	}
	le := binary.LittleEndian
	n := int64(le.Uint32(b))
	if b[5] != frameMark || le.Uint16(b[6:]) != headCheck(b) || n > int64(MaxRecord) {
		return f, FrameBadHead
	}
	f.Typ = b[4]
	f.Seq = le.Uint64(b[8:])
	f.Synced = int64(le.Uint32(b[16:]))
	f.Size = FrameExtra + n
	if int64(len(b)) < f.Size {
		return f, FrameShort
	}
	f.Payload = b[FrameHead : FrameHead+n]
	if le.Uint32(b[20:]) != crc32.Update(CRC(b[:20]), castagnoli, f.Payload) {
		return f, FrameBad
	}
	return f, FrameOK
}

// Scanned is what was found in a segment.
type Scanned struct {
	Header  Header
	Blank   bool   // last segment only: even the header was never written
	End     int64  // offset behind the last good record, before the seal
	Sealed  bool   //
	Hash    uint64 // of everything before end
	Records int64
	LastSeq uint64
	Torn    *Tear // last segment only
}

// Tear is the unfinished tail of the last segment.
type Tear struct {
	From, To int64    // bytes that were cut
	Whole    [][]byte // payloads of whole records behind a hole of it, copied
}

// scan reads a whole segment. Only in the last one may the tail be torn: what may
// be missing there after a crash is cut, what may not is a *DamageError like any
// damage in an older one. each gets every usage record; its payload is not kept.
func Scan(data []byte, path string, last bool, each func(payload []byte) error) (Scanned, error) {
	damage := func(off int64, reason string) error {
		return &DamageError{File: path, Offset: off, Reason: reason}
	}
	var s Scanned
	if last && AllZero(data[:min(len(data), HeaderSize)]) {
		// The file was renamed but its first write did not reach the disk, so
		// nothing of it can have been synced.
		s.Blank = true
		if end := LastByte(data, 0); end > 0 {
			var synced int64
			s.Torn = &Tear{To: end, Whole: wholeFrames(data, 0, func(_ int64, f *Frame) { synced = max(synced, f.Synced) })}
			if synced > 0 {
				return s, damage(0, "segment header is gone, and later records prove that it was on the disk")
			}
		}
		return s, nil
	}
	h, err := ParseHeader(data, path)
	if err != nil {
		return s, err
	}
	s.Header = h
	s.LastSeq = h.FirstSeq - 1
	off := int64(HeaderSize)
	for {
		s.End = off
		f, state := ParseFrame(data[off:])
		if state == FrameOK && f.Typ == TypeSeal {
			s.Hash = HashOf(data[:off])
			if len(f.Payload) != 16 || binary.LittleEndian.Uint64(f.Payload) != s.Hash ||
				int64(binary.LittleEndian.Uint64(f.Payload[8:])) != s.Records || f.Seq != s.LastSeq {
				return s, damage(off, "seal does not match the segment")
			}
			s.Sealed = true
			return s, nil
		}
		if state == FrameOK {
			if f.Seq != s.LastSeq+1 {
				return s, damage(off, fmt.Sprintf("record number %d where %d belongs", f.Seq, s.LastSeq+1))
			}
			if err := CheckPayload(&f, path, off, each); err != nil {
				return s, err
			}
			s.LastSeq++
			s.Records++
			off += f.Size
			continue
		}
		if !last {
			return s, damage(off, "record does not match its checksum")
		}
		s.Hash = HashOf(data[:off])
		end := LastByte(data, off)
		if end == off {
			return s, nil // nothing more was written
		}
		reason := ""
		if s.Torn, reason = judgeTail(data, off, end, &f, state); reason != "" {
			return s, damage(off, reason)
		}
		return s, nil
	}
}

// CheckPayload gives a usage record's payload to each and names what each refuses.
func CheckPayload(f *Frame, path string, off int64, each func([]byte) error) error {
	if f.Typ != TypeUsage {
		return &VersionError{File: path, What: "record type", Version: int(f.Typ), Known: TypeUsage}
	}
	if each == nil {
		return nil
	}
	if err := each(f.Payload); err != nil {
		if v, ok := err.(RecordVersionError); ok {
			return &VersionError{File: path, What: "record", Version: int(v), Known: lastRecordVersion}
		}
		return &DamageError{File: path, Offset: off, Reason: err.Error()}
	}
	return nil
}

// LastByte returns the offset behind the last byte from off on that is not zero,
// off if there is none.
func LastByte(data []byte, off int64) int64 {
	return off + int64(len(bytes.TrimRight(data[off:], "\x00")))
}

// judgeTail decides whether what lies at off in the last segment is the trace of a
// crash (returned as a Tear) or damage (a reason). end is behind the last byte that
// is not zero.
//
// A crash leaves a record out in part or whole: its end was not written, or, when
// the machine died, some of its sectors were not. So a record that has all its
// sectors and its trailer was complete once and was changed later; and a hole
// before a record that was written when the place of the hole was already synced
// is damage too.
func judgeTail(data []byte, off, end int64, f *Frame, state FrameState) (*Tear, string) {
	var synced int64
	first := int64(-1)
	t := &Tear{From: off, To: end}
	t.Whole = wholeFrames(data, off, func(at int64, g *Frame) {
		if first < 0 {
			first = at
		}
		synced = max(synced, g.Synced)
	})
	if synced > off {
		return nil, "record does not match its checksum, and later ones prove that it was on the disk"
	}
	extent := end
	switch {
	case state == FrameBad || (state == FrameShort && f.Size > 0):
		extent = off + f.Size
	case first >= 0:
		extent = first
	}
	if state != FrameZero && extent-off >= MinFrame && extent <= int64(len(data)) && data[extent-1] == FrameTrailer && !missesSector(data, off, extent) {
		return nil, "record does not match its checksum"
	}
	return t, ""
}

// missesSector says that a sector's share of data[from:to] is all zero.
func missesSector(data []byte, from, to int64) bool {
	for from < to {
		next := min((from/Sector+1)*Sector, to)
		if AllZero(data[from:next]) {
			return true
		}
		from = next
	}
	return false
}

// wholeFrames searches for usage records behind off, byte by byte, and returns
// copies of their payloads.
func wholeFrames(data []byte, off int64, found func(at int64, f *Frame)) (whole [][]byte) {
	for at := off + 1; at+FrameExtra <= int64(len(data)); {
		next := bytes.IndexByte(data[at+5:], frameMark)
		if next < 0 {
			break
		}
		at += int64(next)
		f, state := ParseFrame(data[at:])
		var rec usage.Record
		if state != FrameOK || f.Typ != TypeUsage || DecodeRecord(f.Payload, &rec) != nil {
			at++
			continue
		}
		if found != nil {
			found(at, &f)
		}
		whole = append(whole, bytes.Clone(f.Payload))
		at += f.Size
	}
	return whole
}

// HashOf is the hash that seals and headers carry.
func HashOf(b []byte) uint64 { return xxhash.Sum64(b) }

// CheckChain compares the header of a segment, found under the name of number, with
// its journal and, where it follows another one that was read, with that one.
func CheckChain(s, prev *Scanned, path string, number uint64, journalID [16]byte, follows bool) error {
	h := &s.Header
	switch {
	case h.Number != number:
		return &DamageError{File: path, Offset: 24, Reason: fmt.Sprintf("segment %d under the name of segment %d", h.Number, number)}
	case h.JournalID != journalID:
		return &DamageError{File: path, Offset: 72, Reason: "segment of another journal"}
	case follows && h.FirstSeq != prev.LastSeq+1:
		return &DamageError{File: path, Offset: 32, Reason: fmt.Sprintf("segment begins with record %d where %d belongs", h.FirstSeq, prev.LastSeq+1)}
	case follows && (h.PrevHash != prev.Hash || h.PrevNumber != prev.Header.Number):
		return &DamageError{File: path, Offset: 40, Reason: "segment does not follow the one before"}
	}
	return nil
}
