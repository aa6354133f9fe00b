package journal

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
const (
	segMagic      = "TRJOURNL"
	segVersion    = 1
	segHeaderSize = 96

	frameHead    = 24
	frameMark    = 0xA7
	frameTrailer = 0xA5
	frameExtra   = frameHead + 1

	typeUsage = 1 // payload: a usage.Record
	typeSeal  = 2 // payload: xxHash64 of everything before it 8 | records in this segment 8; seq is the last record's

	sealSize = frameExtra + 16

	minFrame = frameExtra + 1 + 16 + 3 + 29 // no usage record is shorter

	sector = 512 // the least that a disk writes whole
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

type segHeader struct {
	version    int
	slot       int16
	mode       Mode
	epoch      int64
	number     uint64
	firstSeq   uint64
	prevNumber uint64
	prevHash   uint64
	made       int64
	size       int64
	journalID  [16]byte
}

func (h *segHeader) append(dst []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, segMagic...)
	dst = le.AppendUint32(dst, segVersion)
	dst = le.AppendUint16(dst, uint16(h.slot))
	dst = append(dst, byte(h.mode), 0)
	dst = le.AppendUint64(dst, uint64(h.epoch))
	dst = le.AppendUint64(dst, h.number)
	dst = le.AppendUint64(dst, h.firstSeq)
	dst = le.AppendUint64(dst, h.prevNumber)
	dst = le.AppendUint64(dst, h.prevHash)
	dst = le.AppendUint64(dst, uint64(h.made))
	dst = le.AppendUint64(dst, uint64(h.size))
	dst = append(dst, h.journalID[:]...)
	dst = append(dst, 0, 0, 0, 0)
	return le.AppendUint32(dst, crc(dst[start:]))
}

// parseSegHeader reads a header. The version is looked at before the sum, so that
// a later format is named as such.
func parseSegHeader(b []byte, path string) (h segHeader, err error) {
	damage := func(off int64, reason string) error {
		return &DamageError{File: path, Offset: off, Reason: reason}
	}
	if len(b) < segHeaderSize {
		return h, damage(int64(len(b)), "segment header ends early")
	}
	b = b[:segHeaderSize]
	le := binary.LittleEndian
	sum := le.Uint32(b[92:]) == crc(b[:92])
	if string(b[:8]) != segMagic {
		return h, damage(0, "not a journal segment")
	}
	h.version = int(le.Uint32(b[8:]))
	if h.version != segVersion && sum {
		return h, &VersionError{File: path, What: "segment", Version: h.version, Known: segVersion}
	}
	if !sum {
		return h, damage(0, "segment header does not match its checksum")
	}
	h.slot = int16(le.Uint16(b[12:]))
	h.mode = Mode(b[14])
	h.epoch = int64(le.Uint64(b[16:]))
	h.number = le.Uint64(b[24:])
	h.firstSeq = le.Uint64(b[32:])
	h.prevNumber = le.Uint64(b[40:])
	h.prevHash = le.Uint64(b[48:])
	h.made = int64(le.Uint64(b[56:]))
	h.size = int64(le.Uint64(b[64:]))
	copy(h.journalID[:], b[72:88])
	return h, nil
}

func segName(number uint64) string { return fmt.Sprintf("%016d.seg", number) }

// segNumber reads a segment's file name.
func segNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(filepath.Base(name), ".seg")
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// finishFrame completes a record in place: b is frameHead bytes of space and the
// payload; the trailer is appended.
func finishFrame(b []byte, typ byte, seq uint64, synced int64) []byte {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(len(b)-frameHead))
	b[4], b[5] = typ, frameMark
	le.PutUint64(b[8:], seq)
	le.PutUint32(b[16:], uint32(synced))
	le.PutUint16(b[6:], headCheck(b))
	c := crc32.Update(crc(b[:20]), castagnoli, b[frameHead:])
	le.PutUint32(b[20:], c)
	return append(b, frameTrailer)
}

// headCheck sums a record's header without the check itself and the CRC.
func headCheck(b []byte) uint16 {
	c := crc32.Update(crc(b[0:6]), castagnoli, b[8:20])
	return uint16(c) ^ uint16(c>>16)
}

type frameState uint8

const (
	frameOK      frameState = iota
	frameZero               // the header is all zero: nothing was written here
	frameShort              // data ends inside
	frameBadHead            // the header is not a header
	frameBad                // the header is right, the rest is not
)

// frame is one record as it lies in a segment.
type frame struct {
	typ     byte
	seq     uint64
	synced  int64
	payload []byte
	size    int64 // with header and trailer
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// parseFrame reads the record at the beginning of b.
func parseFrame(b []byte) (f frame, s frameState) {
	if len(b) < frameHead {
		if allZero(b) {
			return f, frameZero
		}
		return f, frameShort
	}
	if b[5] != frameMark && allZero(b[:frameHead]) {
		return f, frameZero
	}
	le := binary.LittleEndian
	n := int64(le.Uint32(b))
	if b[5] != frameMark || le.Uint16(b[6:]) != headCheck(b) || n > int64(MaxRecord) {
		return f, frameBadHead
	}
	f.typ = b[4]
	f.seq = le.Uint64(b[8:])
	f.synced = int64(le.Uint32(b[16:]))
	f.size = frameExtra + n
	if int64(len(b)) < f.size {
		return f, frameShort
	}
	f.payload = b[frameHead : frameHead+n]
	if le.Uint32(b[20:]) != crc32.Update(crc(b[:20]), castagnoli, f.payload) {
		return f, frameBad
	}
	return f, frameOK
}

// scanned is what was found in a segment.
type scanned struct {
	header  segHeader
	blank   bool   // last segment only: even the header was never written
	end     int64  // offset behind the last good record, before the seal
	sealed  bool   //
	hash    uint64 // of everything before end
	records int64
	lastSeq uint64
	torn    *tear // last segment only
}

// tear is the unfinished tail of the last segment.
type tear struct {
	from, to int64    // bytes that were cut
	whole    [][]byte // payloads of whole records behind a hole of it, copied
}

// scan reads a whole segment. Only in the last one may the tail be torn: what may
// be missing there after a crash is cut, what may not is a *DamageError like any
// damage in an older one. each gets every usage record; its payload is not kept.
func scan(data []byte, path string, last bool, each func(payload []byte) error) (scanned, error) {
	damage := func(off int64, reason string) error {
		return &DamageError{File: path, Offset: off, Reason: reason}
	}
	var s scanned
	if last && allZero(data[:min(len(data), segHeaderSize)]) {
		// The file was renamed but its first write did not reach the disk, so
		// nothing of it can have been synced.
		s.blank = true
		if end := lastByte(data, 0); end > 0 {
			s.torn = &tear{to: end, whole: wholeFrames(data, 0, nil)}
		}
		return s, nil
	}
	h, err := parseSegHeader(data, path)
	if err != nil {
		return s, err
	}
	s.header = h
	s.lastSeq = h.firstSeq - 1
	off := int64(segHeaderSize)
	for {
		s.end = off
		f, state := parseFrame(data[off:])
		if state == frameOK && f.typ == typeSeal {
			s.hash = hashOf(data[:off])
			if len(f.payload) != 16 || binary.LittleEndian.Uint64(f.payload) != s.hash ||
				int64(binary.LittleEndian.Uint64(f.payload[8:])) != s.records || f.seq != s.lastSeq {
				return s, damage(off, "seal does not match the segment")
			}
			s.sealed = true
			return s, nil
		}
		if state == frameOK {
			if f.seq != s.lastSeq+1 {
				return s, damage(off, fmt.Sprintf("record number %d where %d belongs", f.seq, s.lastSeq+1))
			}
			if err := checkPayload(&f, path, off, each); err != nil {
				return s, err
			}
			s.lastSeq++
			s.records++
			off += f.size
			continue
		}
		if !last {
			return s, damage(off, "record does not match its checksum")
		}
		s.hash = hashOf(data[:off])
		end := lastByte(data, off)
		if end == off {
			return s, nil // nothing more was written
		}
		reason := ""
		if s.torn, reason = judgeTail(data, off, end, &f, state); reason != "" {
			return s, damage(off, reason)
		}
		return s, nil
	}
}

func checkPayload(f *frame, path string, off int64, each func([]byte) error) error {
	if f.typ != typeUsage {
		return &VersionError{File: path, What: "record type", Version: int(f.typ), Known: typeUsage}
	}
	if each == nil {
		return nil
	}
	if err := each(f.payload); err != nil {
		if v, ok := err.(recordVersionError); ok {
			return &VersionError{File: path, What: "record", Version: int(v), Known: recordVersion}
		}
		return &DamageError{File: path, Offset: off, Reason: err.Error()}
	}
	return nil
}

// lastByte returns the offset behind the last byte from off on that is not zero,
// off if there is none.
func lastByte(data []byte, off int64) int64 {
	return off + int64(len(bytes.TrimRight(data[off:], "\x00")))
}

// judgeTail decides whether what lies at off in the last segment is the trace of a
// crash (returned as a tear) or damage (a reason). end is behind the last byte that
// is not zero.
//
// A crash leaves a record out in part or whole: its end was not written, or, when
// the machine died, some of its sectors were not. So a record that has all its
// sectors and its trailer was complete once and was changed later; and a hole
// before a record that was written when the place of the hole was already synced
// is damage too.
func judgeTail(data []byte, off, end int64, f *frame, state frameState) (*tear, string) {
	var synced int64
	first := int64(-1)
	t := &tear{from: off, to: end}
	t.whole = wholeFrames(data, off, func(at int64, g *frame) {
		if first < 0 {
			first = at
		}
		synced = max(synced, g.synced)
	})
	if synced > off {
		return nil, "record does not match its checksum, and later ones prove that it was on the disk"
	}
	extent := end
	switch {
	case state == frameBad || (state == frameShort && f.size > 0):
		extent = off + f.size
	case first >= 0:
		extent = first
	}
	if state != frameZero && extent-off >= minFrame && extent <= int64(len(data)) && data[extent-1] == frameTrailer && !missesSector(data, off, extent) {
		return nil, "record does not match its checksum"
	}
	return t, ""
}

// missesSector says that a sector's share of data[from:to] is all zero.
func missesSector(data []byte, from, to int64) bool {
	for from < to {
		next := min((from/sector+1)*sector, to)
		if allZero(data[from:next]) {
			return true
		}
		from = next
	}
	return false
}

// wholeFrames searches for usage records behind off, byte by byte, and returns
// copies of their payloads.
func wholeFrames(data []byte, off int64, found func(at int64, f *frame)) (whole [][]byte) {
	for at := off + 1; at+frameExtra <= int64(len(data)); {
		next := bytes.IndexByte(data[at+5:], frameMark)
		if next < 0 {
			break
		}
		at += int64(next)
		f, state := parseFrame(data[at:])
		var rec usage.Record
		if state != frameOK || f.typ != typeUsage || DecodeRecord(f.payload, &rec) != nil {
			at++
			continue
		}
		if found != nil {
			found(at, &f)
		}
		whole = append(whole, bytes.Clone(f.payload))
		at += f.size
	}
	return whole
}

func hashOf(b []byte) uint64 { return xxhash.Sum64(b) }
