package journalfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// The layouts of an encoded usage.Record. A change of the layout takes the next number;
// DecodeRecord keeps reading the older ones. A record is written in the first layout that
// has a place for all of it, so that an earlier build reads whatever it could have written.
const (
	recordVersion      = 1
	recordConversation = 2 // a fifth string: the conversation
	lastRecordVersion  = recordConversation
)

// The strings of a record, at most.
const maxStrings = 5

// MaxText is the most of one string of a record that is kept. Every string is
// bounded long before (names at 128 bytes); the cut only makes sure that no
// record can be too large to be written down.
const MaxText = 1024

// MaxRecord is the largest encoding AppendRecord makes, bytes.
const MaxRecord = 2 + 16 + 40*binary.MaxVarintLen64 +
	(1+int(usage.NumClasses))*binary.MaxVarintLen64 + usage.MaxAttempts*6*binary.MaxVarintLen64 + maxStrings*(2+MaxText)

// HeadMax bounds what AppendLimited writes besides strings when it is not whole.
const HeadMax = 1 + 16 + 3 + 5 + 3 + 3 + 3*10 + 1 + 17*10 + 1 + maxStrings*2

// AppendRecord appends the encoding of rec to dst: a version byte, then the fields
// as varints, strings last. It does not allocate if dst has MaxRecord bytes to spare.
func AppendRecord(dst []byte, rec *usage.Record) []byte {
	return AppendLimited(dst, rec, MaxRecord, true)
}

// AppendLimited is AppendRecord within limit bytes: strings are cut where they do
// not fit, the least needed ones first. Without whole, units and attempts are left
// out; what remains besides the strings takes at most HeadMax bytes.
func AppendLimited(dst []byte, rec *usage.Record, limit int, whole bool) []byte {
	start := len(dst)
	version := byte(recordVersion)
	if rec.ConversationID != "" {
		version = recordConversation
	}
	head := [4 + len(rec.ID)]byte{0: version, 1 + len(rec.ID): rec.Endpoint, 2 + len(rec.ID): byte(rec.Status), 3 + len(rec.ID): byte(rec.Source)}
	copy(head[1:], rec.ID[:])
	dst = append(dst, head[:]...)
	dst = appendUint(dst, uint64(rec.Flags))
	dst = appendInts(dst, []int64{int64(rec.ProxySlot), int64(rec.HTTPStatus), rec.ClientID, rec.WalletID, rec.KeyID})

	var set uint64
	if whole {
		for i, n := range rec.Units {
			if n != 0 {
				set |= 1 << i
			}
		}
	}
	dst = appendUint(dst, set)
	for s := set; s != 0; s &= s - 1 {
		i := bits.TrailingZeros64(s)
		dst = appendInts(dst, rec.Units[i:i+1])
	}

	dst = appendInts(dst, []int64{
		int64(rec.Hold), int64(rec.Charge), int64(rec.Cost), int64(rec.Overrun), rec.PriceID, rec.CostPriceID,
		rec.ModelPPM, rec.GroupPPM, rec.ClientPPM, rec.WalletLease, rec.MonthLease, rec.TotalLease,
		rec.AdmittedMicros, int64(rec.FirstTokenMicros), rec.EndMicros - rec.AdmittedMicros, rec.BytesIn, rec.BytesOut,
	})

	n := 0
	if whole {
		n = min(int(rec.NumAttempts), usage.MaxAttempts)
	}
	dst = append(dst, byte(n))
	for i := range n {
		a := &rec.Attempts[i]
		dst = appendInts(dst, []int64{a.RouteID, a.ProviderKeyID, int64(a.HTTPStatus)})
		dst = append(dst, byte(a.Outcome))
		dst = appendInts(dst, []int64{int64(a.StartMicros), int64(a.EndMicros)})
	}

	// The lengths first, then the bytes, so that a reader makes one string of all.
	left := limit - (len(dst) - start) - maxStrings*2
	var space [maxStrings]string
	texts := append(space[:0], clip(rec.Model, &left), clip(rec.Code, &left), clip(rec.RequestedModel, &left), clip(rec.ClientRequestID, &left))
	if version >= recordConversation {
		conversation := rec.ConversationID
		if len(conversation) > min(left, MaxText) {
			conversation = "" // a part of it would be another one
		}
		texts = append(texts, conversation)
	}
	for _, t := range texts {
		dst = appendUint(dst, uint64(len(t)))
	}
	for _, t := range texts {
		dst = append(dst, t...)
	}
	return dst
}

// appendInts appends numbers as varints. A record has some thirty: one by one where they
// stand, they are 7 KB of code, which a request that comes alone fetches from memory. Room is
// asked for at ten bytes a number, as in HeadMax and MaxRecord: a dst with these moves nowhere.
//
//go:noinline
func appendInts(dst []byte, numbers []int64) []byte {
	at := len(dst)
	dst = slices.Grow(dst, len(numbers)*binary.MaxVarintLen64)
	dst = dst[:cap(dst)]
	for _, n := range numbers {
		u := uint64(n)<<1 ^ uint64(n>>63) // as binary.AppendVarint
		for u >= 0x80 {
			dst[at] = byte(u) | 0x80
			at++
			u >>= 7
		}
		dst[at] = byte(u)
		at++
	}
	return dst[:at]
}

// appendUint is binary.AppendUvarint, once.
//
//go:noinline
func appendUint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// clip cuts s to what is left (and to MaxText), never inside a character.
//
//go:noinline
func clip(s string, left *int) string {
	n := max(min(*left, MaxText), 0)
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	*left -= len(s)
	return s
}

var errShort = errors.New("record ends early")

// RecordVersionError is an encoding of a later build.
type RecordVersionError int

func (e RecordVersionError) Error() string {
	return fmt.Sprintf("record version %d is not known to this build (it reads up to %d)", int(e), lastRecordVersion)
}

// DecodeRecord reads what AppendRecord wrote, all of b, into rec. Strings are
// copied; b is not kept.
func DecodeRecord(b []byte, rec *usage.Record) error {
	if len(b) == 0 {
		return errShort
	}
	if b[0] < recordVersion || b[0] > lastRecordVersion {
		return RecordVersionError(b[0])
	}
	texts := maxStrings
	if b[0] < recordConversation {
		texts--
	}
	*rec = usage.Record{}
	d := decoder{b: b[1:]}
	copy(rec.ID[:], d.bytes(len(rec.ID)))
	rec.Endpoint = d.byte()
	rec.Status = usage.Status(d.byte())
	rec.Source = usage.Source(d.byte())
	rec.Flags = usage.Flags(d.uint(1<<32 - 1))
	rec.ProxySlot = int16(d.int(16))
	rec.HTTPStatus = int16(d.int(16))
	rec.ClientID = d.int(64)
	rec.WalletID = d.int(64)
	rec.KeyID = d.int(64)

	for s := d.uint(1<<usage.NumClasses - 1); s != 0; s &= s - 1 {
		rec.Units[bits.TrailingZeros64(s)] = d.int(64)
	}

	rec.Hold = money.Amount(d.int(64))
	rec.Charge = money.Amount(d.int(64))
	rec.Cost = money.Amount(d.int(64))
	rec.Overrun = money.Amount(d.int(64))
	rec.PriceID = d.int(64)
	rec.CostPriceID = d.int(64)
	rec.ModelPPM = d.int(64)
	rec.GroupPPM = d.int(64)
	rec.ClientPPM = d.int(64)
	rec.WalletLease = d.int(64)
	rec.MonthLease = d.int(64)
	rec.TotalLease = d.int(64)
	rec.AdmittedMicros = d.int(64)
	rec.FirstTokenMicros = int32(d.int(32))
	rec.EndMicros = rec.AdmittedMicros + d.int(64)
	rec.BytesIn = d.int(64)
	rec.BytesOut = d.int(64)

	rec.NumAttempts = d.byte()
	if rec.NumAttempts > usage.MaxAttempts {
		d.fail(fmt.Errorf("record has %d attempts, at most %d are possible", rec.NumAttempts, usage.MaxAttempts))
		rec.NumAttempts = 0
	}
	for i := range int(rec.NumAttempts) {
		a := &rec.Attempts[i]
		a.RouteID = d.int(64)
		a.ProviderKeyID = d.int(64)
		a.HTTPStatus = int32(d.int(32))
		a.Outcome = usage.Outcome(d.byte())
		a.StartMicros = int32(d.int(32))
		a.EndMicros = int32(d.int(32))
	}

	var n [maxStrings]int
	sum := 0
	for i := range texts {
		n[i] = int(d.uint(MaxText))
		sum += n[i]
	}
	if d.err == nil && sum != len(d.b) {
		d.fail(fmt.Errorf("record has %d bytes of text, %d announced", len(d.b), sum))
	}
	if d.err != nil {
		return d.err
	}
	text := string(d.b)
	rec.Model, text = text[:n[0]], text[n[0]:]
	rec.Code, text = text[:n[1]], text[n[1]:]
	rec.RequestedModel, text = text[:n[2]], text[n[2]:]
	rec.ClientRequestID, rec.ConversationID = text[:n[3]], text[n[3]:]
	return nil
}

// decoder reads fields until the first error, then zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) bytes(n int) []byte {
	if len(d.b) < n {
		d.fail(errShort)
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

// int reads a signed number that must fit into so many bits: a wrong record is
// named, never truncated into another number.
func (d *decoder) int(size uint) int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	if v<<(64-size)>>(64-size) != v {
		d.fail(fmt.Errorf("number %d does not fit into %d bits", v, size))
		return 0
	}
	return v
}

func (d *decoder) uint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	if v > most {
		d.fail(fmt.Errorf("number %d is above %d", v, most))
		return 0
	}
	return v
}
