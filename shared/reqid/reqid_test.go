package reqid

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawID(t *rapid.T) ID {
	return ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
}

// The shown form is checked against arithmetic in base 32 of the whole number.
func TestStringIsTheULIDOfTheNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := drawID(t)
		n := new(big.Int).SetBytes(id[:])
		want := make([]byte, 26)
		for i := 25; i >= 0; i-- {
			want[i] = alphabet[new(big.Int).And(n, big.NewInt(31)).Int64()]
			n.Rsh(n, 5)
		}
		if got := id.String(); got != Prefix+string(want) {
			t.Fatalf("%x is %s, want %s", id, got, want)
		}
		back, err := Parse(id.String())
		if err != nil || back != id {
			t.Fatalf("%s became %x, %v", id, back, err)
		}
		if lower, err := Parse(Prefix + strings.ToLower(id.String()[4:])); err != nil || lower != id {
			t.Fatalf("lower case of %s became %x, %v", id, lower, err)
		}
	})
}

// A ULID of the specification's example time.
func TestKnownULID(t *testing.T) {
	id, err := Parse("req_01ARYZ6S41TSV4RRFFQ69G5FAV")
	if err != nil || id.UnixMilli() != 1469918176385 {
		t.Fatalf("time %d, %v; want 1469918176385", id.UnixMilli(), err)
	}
}

func TestIDsSortByTimeAndNameTheirMonth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(0, 1<<48-1).Draw(t, "a")
		b := rapid.Int64Range(0, 1<<48-1).Draw(t, "b")
		x, y := New(time.UnixMilli(a)), New(time.UnixMilli(b))
		if x.UnixMilli() != a {
			t.Fatalf("time %d became %d", a, x.UnixMilli())
		}
		if a < b && (bytes.Compare(x[:], y[:]) >= 0 || x.String() >= y.String()) {
			t.Fatalf("%s of %d does not sort before %s of %d", x, a, y, b)
		}
		at := time.UnixMilli(a).UTC()
		if want := int32(at.Year()*100 + int(at.Month())); x.Month() != want {
			t.Fatalf("month %d, want %d", x.Month(), want)
		}
		if low := Min(a); bytes.Compare(low[:], x[:]) > 0 {
			t.Fatalf("%s is below the smallest id %s of its time", x, low)
		}
	})
}

func TestMonthTurnsAtMidnightUTC(t *testing.T) {
	utc := time.Date(2026, 12, 31, 23, 59, 59, 999e6, time.UTC)
	if got := New(utc).Month(); got != 202612 {
		t.Errorf("last millisecond of 2026 is in %d", got)
	}
	if got := New(utc.Add(time.Millisecond)).Month(); got != 202701 {
		t.Errorf("first millisecond of 2027 is in %d", got)
	}
}

func TestTimesOutsideTheRangeAreClamped(t *testing.T) {
	if got := NewMilli(-5).UnixMilli(); got != 0 {
		t.Errorf("before 1970 became %d", got)
	}
	if got := NewMilli(1 << 50).UnixMilli(); got != 1<<48-1 {
		t.Errorf("far future became %d", got)
	}
}

func TestParseFailure(t *testing.T) {
	good := New(time.Now()).String()
	for _, s := range []string{
		"", "req_", good[4:], good[:len(good)-1], good + "0", "rek_" + good[4:], "REQ_" + good[4:],
		"req_8" + good[5:], "req_0I" + good[6:], "req_0L" + good[6:], "req_0O" + good[6:], "req_0U" + good[6:], "req_0-" + good[6:],
	} {
		if id, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", s, id)
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	seen := make(map[ID]bool)
	now := time.Now()
	for range 100_000 {
		id := New(now)
		if seen[id] {
			t.Fatalf("%s was made twice", id)
		}
		seen[id] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add("req_01ARYZ6S41TSV4RRFFQ69G5FAV")
	f.Add("req_7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err == nil && !strings.EqualFold(id.String(), s) {
			t.Fatalf("%q became %s", s, id)
		}
	})
}
