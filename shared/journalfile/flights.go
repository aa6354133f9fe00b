package journalfile

import (
	"encoding/binary"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// The file of in-flight slots: a page of header, then cells of CellSize bytes in the
// machine's byte order. It belongs to one machine: it is read again only after the
// process that wrote it died.
//
//	cell: state 4 | length of head 4 | CRC32C of head 4 | price row of the cost 4 | two times progress 72 | cost 8 |
//	      bytes out 8 | route 8 | provider key 8 | sent µs 4 | first token µs 4 | 0 4 | attempts 4 | head 304
//	progress: charge 8 | units 16 × 4
const (
	FlightsMagic   = "TRFLIGHT"
	FlightsVersion = 1
	FlightsHeader  = 4096
	FlightsClock   = 64 // offset of the last beat, unix µs
	CellSize       = 512
	CellHead       = 304 // bytes for what Begin stores
	CellUnits      = 16  // unit counts of a progress

	cellProgress = 16
	cellCost     = cellProgress + 2*(8+4*CellUnits)
	cellText     = CellSize - CellHead
)

// Phases of a cell; bit 8 of the state says which progress counts.
const (
	PhaseFree = iota
	PhaseAdmitted
	PhaseSent
	PhaseStreaming

	PhaseMask = 0xff
	FlipBit   = 1 << 8
)

// InFlight is what a dead process left in a cell.
type InFlight struct {
	Index  int
	Phase  uint32
	Record usage.Record // as interrupted, with what had been relayed
}

// Leftovers reads the cells that were in use, and lists those that are unreadable.
// The process that wrote them must be dead.
func Leftovers(data []byte) (all []InFlight, bad []int) {
	ne := binary.NativeEndian
	beat := int64(ne.Uint64(data[FlightsClock:]))
	for i := range (len(data) - FlightsHeader) / CellSize {
		b := data[FlightsHeader+i*CellSize:][:CellSize]
		state := ne.Uint32(b)
		if state == PhaseFree {
			continue
		}
		f := InFlight{Index: i, Phase: state & PhaseMask}
		if !readCell(b, state, beat, &f.Record) {
			bad = append(bad, i)
			continue
		}
		all = append(all, f)
	}
	return all, bad
}

// readCell makes the record of a request that ended with its process.
func readCell(b []byte, state uint32, beat int64, rec *usage.Record) bool {
	ne := binary.NativeEndian
	headLen := ne.Uint32(b[4:])
	if state&PhaseMask > PhaseStreaming || headLen > CellHead {
		return false
	}
	head := b[cellText:][:headLen]
	if CRC(head) != ne.Uint32(b[8:]) || DecodeRecord(head, rec) != nil {
		return false
	}
	p := b[cellProgress:]
	if state&FlipBit != 0 {
		p = p[8+4*CellUnits:]
	}
	rec.Status = usage.Interrupted
	rec.HTTPStatus = 200
	rec.Code = ""
	for i := range rec.Units {
		rec.Units[i] = int64(ne.Uint32(p[8+4*i:]))
	}
	// Never more than was reserved, whatever the cell says; the rest is the house's.
	owed := max(money.Amount(ne.Uint64(p)), 0)
	rec.Charge = min(owed, max(rec.Hold, 0))
	rec.Overrun = owed - rec.Charge
	if rec.Overrun > 0 {
		rec.Flags |= usage.FlagOverrun
	}
	rest := b[cellCost:]
	rec.Cost = max(money.Amount(ne.Uint64(rest)), 0)
	rec.CostPriceID = int64(ne.Uint32(b[12:]))
	rec.BytesOut = max(int64(ne.Uint64(rest[8:])), 0)
	rec.FirstTokenMicros = max(int32(ne.Uint32(rest[36:])), 0)
	rec.Source = usage.SourceEstimated
	rec.EndMicros = max(beat, rec.AdmittedMicros+int64(rec.FirstTokenMicros))
	if ne.Uint32(rest[44:]) > 0 {
		rec.NumAttempts = 1 // the last one; the earlier ones died with the process
		rec.Attempts[0] = usage.Attempt{
			RouteID: int64(ne.Uint64(rest[16:])), ProviderKeyID: int64(ne.Uint64(rest[24:])), HTTPStatus: 200, Outcome: usage.OutcomeCut,
			StartMicros: int32(ne.Uint32(rest[32:])), EndMicros: int32(min(rec.EndMicros-rec.AdmittedMicros, 1<<31-1)),
		}
	}
	return true
}

// CheckFlightsHeader returns the number of cells, 0 for a file that was never
// finished. b is the beginning of the file, 24 bytes.
func CheckFlightsHeader(b []byte, size int64, path string) (int, error) {
	if len(b) < 24 || AllZero(b[:8]) {
		return 0, nil
	}
	le := binary.LittleEndian
	if string(b[:8]) != FlightsMagic || le.Uint32(b[20:]) != CRC(b[:20]) {
		return 0, &DamageError{File: path, Reason: "not a file of in-flight slots"}
	}
	if v := int(le.Uint32(b[8:])); v != FlightsVersion || le.Uint32(b[12:]) != CellSize {
		return 0, &VersionError{File: path, What: "in-flight slots", Version: v, Known: FlightsVersion}
	}
	cells := int(le.Uint32(b[16:]))
	if size < FlightsHeader+int64(cells)*CellSize {
		return 0, &DamageError{File: path, Offset: size, Reason: "file of in-flight slots ends early"}
	}
	return cells, nil
}
