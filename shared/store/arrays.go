package store

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// arrays encodes the slices that batches are sent as. pgx's own way asks a slice for each
// element as an interface: that is an allocation and a search for a plan per element, and
// a batch of 250 rows has ten thousand. What is sent is the same, byte for byte.
type arrays struct{ *pgtype.ArrayCodec }

// useArrays has a connection encode slices so.
func useArrays(m *pgtype.Map) {
	for _, oid := range []uint32{pgtype.Int2ArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID, pgtype.TextArrayOID, pgtype.UUIDArrayOID} {
		t, ok := m.TypeForOID(oid)
		if !ok {
			continue
		}
		if codec, ok := t.Codec.(*pgtype.ArrayCodec); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: arrays{codec}})
		}
	}
}

// PlanEncode is pgx's but for slices of the element's own type.
func (a arrays) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	var plan elements
	switch value.(type) {
	case pgtype.FlatArray[int16]:
		plan = elements{oid: pgtype.Int2OID, append: appendInt2s}
	case pgtype.FlatArray[int32]:
		plan = elements{oid: pgtype.Int4OID, append: appendInt4s}
	case pgtype.FlatArray[int64]:
		plan = elements{oid: pgtype.Int8OID, append: appendInt8s}
	case pgtype.FlatArray[string]:
		plan = elements{oid: pgtype.TextOID, append: appendTexts}
	case pgtype.FlatArray[[16]byte]:
		plan = elements{oid: pgtype.UUIDOID, append: appendUUIDs}
	}
	if format == pgtype.BinaryFormatCode && plan.oid != 0 && plan.oid == a.ElementType.OID {
		return plan
	}
	return a.ArrayCodec.PlanEncode(m, oid, format, value)
}

// PlanScan is pgx's but for integers of which some may be NULL: the rates of prices. Of a
// catalogue that is read there are thousands of rows with fifteen each.
func (a arrays) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*[]*int64); ok && format == pgtype.BinaryFormatCode && a.ElementType.OID == pgtype.Int8OID {
		return nullInts{}
	}
	return a.ArrayCodec.PlanScan(m, oid, format, target)
}

// nullInts reads an array of one dimension into two pieces of memory, whatever its length.
type nullInts struct{}

var errArray = errors.New("this is no bigint[] of one dimension")

// Scan reads src; NULL itself is nil.
func (nullInts) Scan(src []byte, target any) error {
	to := target.(*[]*int64)
	if src == nil {
		*to = nil
		return nil
	}
	if len(src) < 12 {
		return errArray
	}
	dimensions := binary.BigEndian.Uint32(src)
	src = src[12:]
	if dimensions == 0 {
		*to = []*int64{}
		return nil
	}
	if dimensions != 1 || len(src) < 8 || int64(binary.BigEndian.Uint32(src)) > int64(len(src)-8)/4 {
		return errArray
	}
	n := int(binary.BigEndian.Uint32(src))
	src = src[8:]
	list, values := make([]*int64, n), make([]int64, n)
	for i := range list {
		if len(src) < 4 {
			return errArray
		}
		size := int32(binary.BigEndian.Uint32(src))
		if src = src[4:]; size == -1 {
			continue
		}
		if size != 8 || len(src) < 8 {
			return errArray
		}
		values[i] = int64(binary.BigEndian.Uint64(src))
		list[i], src = &values[i], src[8:]
	}
	*to = list
	return nil
}

// elements is a plan for one type of element.
type elements struct {
	oid    uint32
	append func(buf []byte, oid uint32, value any) []byte
}

// Encode appends an array of one dimension that holds no NULL; nil is NULL itself.
func (p elements) Encode(value any, buf []byte) ([]byte, error) {
	return p.append(buf, p.oid, value), nil
}

// head begins an array of n elements that take so many bytes each, their lengths not
// counted. Behind a large one come more of its size: the buffer grows for them at once.
func head(buf []byte, oid uint32, n, bytes int) []byte {
	need := 20 + n*(4+bytes)
	if need > cap(buf)-len(buf) && n > 16 {
		need *= 16
	}
	buf = slices.Grow(buf, need)
	for _, v := range [5]uint32{1, 0, oid, uint32(n), 1} { // dimensions, no NULL, type, length, first index
		buf = binary.BigEndian.AppendUint32(buf, v)
	}
	return buf
}

// appendInts is for integers of size bytes.
func appendInts[T int16 | int32 | int64](size int) func([]byte, uint32, any) []byte {
	return func(buf []byte, oid uint32, value any) []byte {
		list := value.(pgtype.FlatArray[T])
		if list == nil {
			return nil
		}
		buf = head(buf, oid, len(list), size)
		for _, v := range list {
			buf = binary.BigEndian.AppendUint32(buf, uint32(size))
			switch size {
			case 2:
				buf = binary.BigEndian.AppendUint16(buf, uint16(v))
			case 4:
				buf = binary.BigEndian.AppendUint32(buf, uint32(v))
			default:
				buf = binary.BigEndian.AppendUint64(buf, uint64(v))
			}
		}
		return buf
	}
}

var appendInt2s, appendInt4s, appendInt8s = appendInts[int16](2), appendInts[int32](4), appendInts[int64](8)

func appendTexts(buf []byte, oid uint32, value any) []byte {
	list := value.(pgtype.FlatArray[string])
	if list == nil {
		return nil
	}
	buf = head(buf, oid, len(list), 16)
	for _, v := range list {
		buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(v))), v...)
	}
	return buf
}

func appendUUIDs(buf []byte, oid uint32, value any) []byte {
	list := value.(pgtype.FlatArray[[16]byte])
	if list == nil {
		return nil
	}
	buf = head(buf, oid, len(list), 16)
	for i := range list {
		buf = append(binary.BigEndian.AppendUint32(buf, 16), list[i][:]...)
	}
	return buf
}
