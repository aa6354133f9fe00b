package journal

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/usage"
)

// A cell of the file; see journalfile for its layout.
const (
	flightsHeader = journalfile.FlightsHeader
	cellSize      = journalfile.CellSize
	cellHead      = journalfile.CellHead
	unitSlots     = journalfile.CellUnits
)

// A cell has room for every unit class, and for the fixed part of a record with
// 60 bytes of names even in the worst case.
const (
	_ = uint(unitSlots - usage.NumClasses)
	_ = uint(cellHead - journalfile.HeadMax - 60)
	_ = uint(unsafe.Sizeof(cell{}) - cellSize)
	_ = uint(cellSize - unsafe.Sizeof(cell{}))
)

// Phases of a cell; bit 8 of the state says which progress counts.
const (
	phaseFree      = journalfile.PhaseFree
	phaseAdmitted  = journalfile.PhaseAdmitted
	phaseSent      = journalfile.PhaseSent
	phaseStreaming = journalfile.PhaseStreaming

	flipBit = journalfile.FlipBit
)

// progress is what the client owes so far. A cell has two of them, written in
// turn, so that a kill between two stores leaves the last whole one.
type progress struct {
	charge int64
	units  [unitSlots]uint32
}

// cell is one in-flight slot as it lies in the file.
type cell struct {
	state       atomic.Uint32
	headLen     uint32
	headCRC     uint32
	costPrice   uint32 // 0: that of the charge, or beyond 32 bits
	progress    [2]progress
	cost        int64
	bytesOut    int64
	routeID     int64
	keyID       int64
	sentMicros  int32
	firstMicros int32
	_           uint32
	attempts    uint32
	head        [cellHead]byte // an encoded record without units and attempts
}

// Flights are the in-flight slots: one memory-mapped cell for each running request.
type Flights struct {
	data []byte
	all  []Flight
	next []atomic.Uint32 // free list: index+1 of the following free cell
	head atomic.Uint64   // tag 32 | index+1 32; the tag makes a reused head another value
}

// Flight is one cell, used by one goroutine at a time.
type Flight struct {
	c     *cell
	set   *Flights
	index uint32
	flip  uint32
	held  atomic.Bool
}

// mapFlights maps an open file of cells.
func mapFlights(f *os.File, cells int) (data []byte, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, flightsHeader+cells*cellSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map in-flight slots: %w", err)
	}
	return data, nil
}

func cellAt(data []byte, i int) *cell {
	return (*cell)(unsafe.Pointer(&data[flightsHeader+i*cellSize]))
}

// newFlights makes the free list over cells that are all free.
func newFlights(data []byte) *Flights {
	n := (len(data) - flightsHeader) / cellSize
	f := &Flights{data: data, all: make([]Flight, n), next: make([]atomic.Uint32, n)}
	for i := range n {
		f.all[i] = Flight{c: cellAt(data, i), set: f, index: uint32(i)}
		if i+1 < n {
			f.next[i].Store(uint32(i) + 2)
		}
	}
	f.head.Store(1)
	return f
}

func (f *Flights) close() error {
	data := f.data
	f.data = nil
	return unix.Munmap(data)
}

func (f *Flights) clock() *atomic.Int64 { return flightsClock(f.data) }

func flightsClock(data []byte) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&data[journalfile.FlightsClock]))
}

// beat notes the time, which becomes the end of what a recovery finds.
func (f *Flights) beat(micros int64) { f.clock().Store(micros) }

// Acquire takes a free cell, nil when all are taken (503 overloaded). Lock-free.
func (f *Flights) Acquire() *Flight {
	for {
		h := f.head.Load()
		i := uint32(h)
		if i == 0 {
			return nil
		}
		next := uint64(f.next[i-1].Load())
		if f.head.CompareAndSwap(h, (h>>32+1)<<32|next) {
			fl := &f.all[i-1]
			fl.held.Store(true)
			return fl
		}
	}
}

// InUse counts the cells that are taken. It looks at all of them: for metrics.
func (f *Flights) InUse() int {
	n := 0
	for i := range f.all {
		if f.all[i].held.Load() {
			n++
		}
	}
	return n
}

// Running calls visit with what Begin stored of every running request. One that begins
// or ends meanwhile may be left out or not. It looks at all cells: for audits. rec is
// not kept.
func (f *Flights) Running(visit func(rec *usage.Record)) {
	var head [cellHead]byte
	var rec usage.Record
	for i := range f.all {
		fl := &f.all[i]
		c := fl.c
		if !fl.held.Load() || c.state.Load() == phaseFree {
			continue
		}
		n, crc := c.headLen, c.headCRC
		if n > cellHead {
			continue // just being written
		}
		copy(head[:], c.head[:n])
		// Changed meanwhile: the sum says so, or it is free again.
		if journalfile.CRC(head[:n]) != crc || c.state.Load() == phaseFree {
			continue
		}
		if rec = (usage.Record{}); journalfile.DecodeRecord(head[:n], &rec) == nil {
			visit(&rec)
		}
	}
}

// Cap is the number of cells.
func (f *Flights) Cap() int { return len(f.all) }

// Begin stores what a recovery needs, before anything is sent upstream: all of rec
// but units, attempts and end. Long names are cut to the cell; rec is not kept.
func (f *Flight) Begin(rec *usage.Record) {
	c := f.c
	head := journalfile.AppendLimited(c.head[:0], rec, cellHead, false)
	c.headLen = uint32(len(head))
	c.headCRC = journalfile.CRC(head)
	c.progress = [2]progress{}
	c.cost, c.bytesOut, c.costPrice = 0, 0, 0
	c.routeID, c.keyID = 0, 0
	c.sentMicros, c.firstMicros, c.attempts = 0, 0, 0
	f.flip = 0
	c.state.Store(phaseAdmitted)
}

// Restart is Begin for a request under way that goes on at another price: nothing of it
// has been sent to its client. A process that dies meanwhile leaves no trace of the
// request, as if it had ended without an answer.
func (f *Flight) Restart(rec *usage.Record) {
	f.c.state.Store(phaseFree)
	f.Begin(rec)
}

// Sent marks that the request is about to be written to an upstream. The next
// attempt of the same request calls it again. startMicros counts from admission.
func (f *Flight) Sent(routeID, providerKeyID int64, startMicros int32) {
	c := f.c
	c.routeID, c.keyID, c.sentMicros = routeID, providerKeyID, startMicros
	c.attempts++
	c.state.Store(phaseSent | f.flip*flipBit)
}

// Progress stores what the client owes so far. Call it before the bytes go to the
// client: a kill then never leaves more relayed than noted.
func (f *Flight) Progress(charge money.Amount, u *usage.Units) {
	f.flip ^= 1
	p := &f.c.progress[f.flip]
	p.charge = int64(charge)
	for i, n := range u {
		p.units[i] = uint32(min(max(n, 0), 1<<32-1))
	}
	f.c.state.Store(phaseStreaming | f.flip*flipBit)
}

// FirstToken notes when the first output came, microseconds since admission.
func (f *Flight) FirstToken(micros int32) { f.c.firstMicros = micros }

// Details notes figures of the recovered record that nobody pays by: what the supplier
// asks so far by price row priceID (0: the row of the charge), and response bytes so
// far. They may be one Progress ahead of the charge.
func (f *Flight) Details(cost money.Amount, priceID, bytesOut int64) {
	c := f.c
	c.cost, c.bytesOut, c.costPrice = int64(cost), bytesOut, 0
	if priceID == int64(uint32(priceID)) {
		c.costPrice = uint32(priceID)
	}
}

// Release frees the cell: after Append returned, or when the request is void.
func (f *Flight) Release() {
	if !f.held.Swap(false) {
		obs.Bug("in-flight slot %d released twice", f.index)
	}
	f.c.state.Store(phaseFree)
	set := f.set
	for {
		h := set.head.Load()
		set.next[f.index].Store(uint32(h))
		if set.head.CompareAndSwap(h, (h>>32+1)<<32|uint64(f.index+1)) {
			return
		}
	}
}

// putFlightsHeader writes the header of a new file.
func putFlightsHeader(data []byte, cells int) {
	le := binary.LittleEndian
	le.PutUint32(data[8:], journalfile.FlightsVersion)
	le.PutUint32(data[12:], cellSize)
	le.PutUint32(data[16:], uint32(cells))
	le.PutUint32(data[20:], journalfile.CRC(append([]byte(journalfile.FlightsMagic), data[8:20]...)))
	copy(data, journalfile.FlightsMagic) // last: a file without it was never finished
}
