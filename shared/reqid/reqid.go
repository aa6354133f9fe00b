// Package reqid makes and reads request ids: ULIDs, shown as "req_" and 26
// characters of Crockford base32. The first 48 bits are milliseconds since 1970,
// so ids sort by time and name the month of their usage partition.
package reqid

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"
)

// ID is a request id: 48 bits of unix milliseconds, big endian, and 80 random bits.
type ID [16]byte

// Prefix stands before the ULID in the shown form.
const Prefix = "req_"

// Len is the length of the shown form in bytes.
const Len = len(Prefix) + 26

// ErrInvalid says that a text is no request id.
var ErrInvalid = errors.New("not a request id: want req_ and 26 characters of Crockford base32")

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// values maps a character to its five bits; 0xff = not in the alphabet. Lower
// case is read (ULIDs are case-insensitive), the look-alikes I, L, O, U are not.
var values = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(alphabet) {
		c := alphabet[i]
		t[c] = byte(i)
		if c >= 'A' {
			t[c|0x20] = byte(i)
		}
	}
	return t
}()

// New makes the id of a request that began at now. Its random bits come from the
// runtime's ChaCha8 generator, seeded by the operating system: ids are unique and
// not guessable in passing, but they are names, not secrets. A time outside
// 1970 … 10889 is clamped.
func New(now time.Time) ID { return NewMilli(now.UnixMilli()) }

// NewMilli is New for a time in unix milliseconds.
func NewMilli(ms int64) ID {
	id := Min(ms)
	binary.BigEndian.PutUint16(id[6:8], uint16(rand.Uint64()))
	binary.BigEndian.PutUint64(id[8:16], rand.Uint64())
	return id
}

// Min is the smallest id of a millisecond: the bound of range scans by time.
func Min(ms int64) ID {
	const last = 1<<48 - 1
	ms = max(0, min(ms, last))
	var id ID
	binary.BigEndian.PutUint16(id[0:2], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:6], uint32(ms))
	return id
}

// IsZero says that the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// UnixMilli is the time in the id.
func (id ID) UnixMilli() int64 {
	return int64(binary.BigEndian.Uint16(id[0:2]))<<32 | int64(binary.BigEndian.Uint32(id[2:6]))
}

// Time is the time in the id, UTC.
func (id ID) Time() time.Time { return time.UnixMilli(id.UnixMilli()).UTC() }

// Month is the calendar month (UTC) of the id as yyyymm: the name of the usage
// partition and of the period of a key's monthly cap (D13).
func (id ID) Month() int32 { return MonthOf(id.UnixMilli()) }

// MonthOf is the calendar month (UTC) of a time in unix milliseconds as yyyymm.
func MonthOf(ms int64) int32 {
	y, m, _ := time.UnixMilli(ms).UTC().Date()
	return int32(y)*100 + int32(m)
}

// AppendTo appends the shown form, Len bytes.
func (id ID) AppendTo(dst []byte) []byte {
	dst = append(dst, Prefix...)
	hi, lo := binary.BigEndian.Uint64(id[0:8]), binary.BigEndian.Uint64(id[8:16])
	// 26 characters carry 130 bits: the first one holds the top three, the 14th one bit of hi
	// and four of lo.
	var c [Len - len(Prefix)]byte
	c[0] = alphabet[hi>>61]
	c[13] = alphabet[hi&1<<4|lo>>60]
	hi >>= 1
	for i := 12; i > 0; i-- {
		c[i] = alphabet[hi&31]
		c[i+13] = alphabet[lo&31]
		hi, lo = hi>>5, lo>>5
	}
	return append(dst, c[:]...)
}

// String is the shown form.
func (id ID) String() string {
	var buf [Len]byte
	return string(id.AppendTo(buf[:0]))
}

// Parse reads the shown form.
func Parse[T string | []byte](s T) (ID, error) {
	if len(s) != Len || string(s[:len(Prefix)]) != Prefix {
		return ID{}, ErrInvalid
	}
	var hi, lo uint64
	for i := range 26 {
		v := values[s[len(Prefix)+i]]
		if v == 0xff || (i == 0 && v > 7) {
			return ID{}, ErrInvalid
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	var id ID
	binary.BigEndian.PutUint64(id[0:8], hi)
	binary.BigEndian.PutUint64(id[8:16], lo)
	return id, nil
}

// MarshalText writes the shown form.
func (id ID) MarshalText() ([]byte, error) { return id.AppendTo(make([]byte, 0, Len)), nil }

// UnmarshalText reads the shown form.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(text)
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
