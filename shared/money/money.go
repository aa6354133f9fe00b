// Package money holds amounts of money as integers of nano-USD.
package money

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Amount is an amount of money in nano-USD (1 USD = 1,000,000,000).
type Amount int64

// USD is one US dollar.
const USD Amount = 1_000_000_000

// Max is the largest amount, about 9.2 billion USD.
const Max Amount = math.MaxInt64

// ErrOverflow says that a sum does not fit an Amount.
var ErrOverflow = errors.New("amount of money out of range")

// places is the number of decimal places of a nano-USD.
const places = 9

// ParseUSD reads an exact decimal number of USD: an optional minus sign, digits,
// and optionally a point with at most nine digits behind it. Anything else (an
// exponent, a plus sign, spaces, more places) is refused, never rounded.
func ParseUSD(s string) (Amount, error) {
	rest, negative := s, false
	if rest != "" && rest[0] == '-' {
		rest, negative = rest[1:], true
	}
	whole, fraction, digits, point := uint64(0), uint64(0), 0, -1
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c == '.' && point < 0 && digits > 0:
			point = digits
			continue
		case c < '0' || c > '9':
			return 0, fmt.Errorf("cannot read %.40q as USD: want a decimal number such as 12.5", s)
		}
		digits++
		if point >= 0 {
			if digits-point > places {
				return 0, fmt.Errorf("cannot read %.40q as USD: more than %d decimal places", s, places)
			}
			fraction = fraction*10 + uint64(c-'0')
			continue
		}
		whole = whole*10 + uint64(c-'0')
		if whole > uint64(Max/USD)+1 {
			return 0, fmt.Errorf("cannot read %.40q as USD: %w", s, ErrOverflow)
		}
	}
	if digits == 0 || point == digits {
		return 0, fmt.Errorf("cannot read %.40q as USD: want a decimal number such as 12.5", s)
	}
	if point >= 0 {
		for n := digits - point; n < places; n++ {
			fraction *= 10
		}
	}
	nano := whole*uint64(USD) + fraction
	switch {
	case !negative && nano <= math.MaxInt64:
		return Amount(nano), nil
	case negative && nano <= math.MaxInt64+1:
		return Amount(-nano), nil //nolint:gosec // two's complement: exact for 2^63 too
	}
	return 0, fmt.Errorf("cannot read %.40q as USD: %w", s, ErrOverflow)
}

// AppendUSD appends a as an exact decimal number of USD without exponent and
// without trailing zeros: "0.003375", "10", "-0.5".
func (a Amount) AppendUSD(dst []byte) []byte {
	nano := uint64(a)
	if a < 0 {
		dst = append(dst, '-')
		nano = -nano
	}
	var digits [20]byte
	i := len(digits)
	whole, fraction := nano/uint64(USD), nano%uint64(USD)
	for {
		i--
		digits[i] = byte('0' + whole%10)
		if whole /= 10; whole == 0 {
			break
		}
	}
	dst = append(dst, digits[i:]...)
	if fraction == 0 {
		return dst
	}
	var tail [places]byte
	for j := places - 1; j >= 0; j-- {
		tail[j] = byte('0' + fraction%10)
		fraction /= 10
	}
	n := places
	for tail[n-1] == '0' {
		n--
	}
	dst = append(dst, '.')
	return append(dst, tail[:n]...)
}

// String returns the decimal number of USD, see AppendUSD.
func (a Amount) String() string {
	var buf [32]byte
	return string(a.AppendUSD(buf[:0]))
}

// Add returns a + b, or ErrOverflow.
func (a Amount) Add(b Amount) (Amount, error) {
	sum := a + b
	if (a > 0 && b > 0 && sum < 0) || (a < 0 && b < 0 && sum >= 0) {
		return 0, ErrOverflow
	}
	return sum, nil
}

// Sub returns a - b, or ErrOverflow.
func (a Amount) Sub(b Amount) (Amount, error) {
	diff := a - b
	if (b > 0 && diff > a) || (b < 0 && diff < a) {
		return 0, ErrOverflow
	}
	return diff, nil
}

// Mul returns a × n for amounts that are not negative, or ErrOverflow.
func (a Amount) Mul(n int64) (Amount, error) {
	if a < 0 || n < 0 {
		return 0, ErrOverflow
	}
	hi, lo := bits.Mul64(uint64(a), uint64(n))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, ErrOverflow
	}
	return Amount(lo), nil
}

// MarshalJSON writes the amount as a string with a decimal number of USD, so that
// no reader turns it into a float.
func (a Amount) MarshalJSON() ([]byte, error) {
	buf := make([]byte, 0, 32)
	buf = append(buf, '"')
	buf = a.AppendUSD(buf)
	return append(buf, '"'), nil
}

// UnmarshalJSON reads a string with a decimal number of USD, or a bare decimal
// number by its digits as they stand; null changes nothing.
func (a *Amount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	text := data
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	parsed, err := ParseUSD(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// MarshalText writes the decimal number of USD.
func (a Amount) MarshalText() ([]byte, error) { return a.AppendUSD(nil), nil }

// UnmarshalText reads a decimal number of USD.
func (a *Amount) UnmarshalText(text []byte) error {
	parsed, err := ParseUSD(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// Scan reads a bigint column of nano-USD.
func (a *Amount) Scan(src any) error {
	v, ok := src.(int64)
	if !ok {
		return fmt.Errorf("cannot scan %T as an amount of money: want bigint nano-USD", src)
	}
	*a = Amount(v)
	return nil
}

// Value writes a bigint of nano-USD.
func (a Amount) Value() (driver.Value, error) { return int64(a), nil }
