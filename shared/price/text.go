package price

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// perMillion are the classes whose decimal price is USD per million units; those
// of the others is USD per unit (interface 4).
const perMillion = usage.InputSide | usage.OutputSide | 1<<usage.Characters

// ParseRate reads a decimal price in the unit of its class: USD per million for
// tokens and characters, USD each for the rest. A price finer than one pico-USD
// per unit, negative, or above 1 USD per unit is refused.
func ParseRate(c usage.Class, text string) (Rate, error) {
	scale := places(c)
	// An amount has nine places; a price of a single unit has three more.
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > scale {
		if strings.Trim(fraction[scale:], "0") != "" {
			return 0, fmt.Errorf("cannot read the price %.40q of %q: finer than 1 pico-USD per unit", text, c)
		}
		fraction = fraction[:scale]
	}
	digits := whole + fraction + strings.Repeat("0", scale-len(fraction))
	if whole == "" || strings.HasSuffix(text, ".") {
		return 0, fmt.Errorf("cannot read the price %.40q of %q: want a decimal number such as 1.25", text, c)
	}
	var v int64
	for i := range len(digits) {
		d := digits[i]
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("cannot read the price %.40q of %q: want a decimal number such as 1.25", text, c)
		}
		if v = v*10 + int64(d-'0'); v > int64(MaxRate) {
			return 0, fmt.Errorf("cannot use the price %.40q of %q: above 1 USD per unit", text, c)
		}
	}
	return Rate(v), nil
}

// places is the number of decimal places that a class's price can have.
func places(c usage.Class) int {
	if usage.ClassSet(perMillion).Has(c) {
		return 6 // pico-USD per token = micro-USD per million tokens
	}
	return 12
}

// FormatRate is the decimal price in the unit of its class, without trailing zeros.
func FormatRate(c usage.Class, r Rate) string {
	n := places(c)
	text := fmt.Sprintf("%0*d", n+1, int64(r))
	text = text[:len(text)-n] + "." + text[len(text)-n:]
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// ParseTable reads decimal prices by class name, in interface 4's units, and
// returns them resolved. "0" is accepted only for a class listed in free; a class
// listed there needs no price.
func ParseTable(prices map[string]string, free []string) (Table, error) {
	var t Table
	for _, name := range free {
		c, ok := usage.ParseClass(name)
		if !ok {
			return Table{}, fmt.Errorf("cannot make %.40q free: no such class", name)
		}
		t.Free |= 1 << c
	}
	for name, text := range prices {
		c, ok := usage.ParseClass(name)
		if !ok {
			return Table{}, fmt.Errorf("cannot price %.40q: no such class", name)
		}
		rate, err := ParseRate(c, text)
		if err != nil {
			return Table{}, err
		}
		t.Rates[c] = rate
		t.Set |= 1 << c
	}
	if err := t.validate(); err != nil {
		return Table{}, err
	}
	return *t.Resolve(), nil
}

// Prices is the table as ParseTable reads it: the stated prices and the classes
// that are free.
func (t *Table) Prices() (prices map[string]string, free []string) {
	prices = make(map[string]string)
	for c := range usage.NumClasses {
		if t.Set>>c&1 != 0 {
			prices[c.String()] = FormatRate(c, t.Rates[c])
		}
		if t.Free>>c&1 != 0 {
			free = append(free, c.String())
		}
	}
	return prices, free
}

// ParsePPM reads a decimal multiplier of at most six places, between 0 and 1000.
func ParsePPM(text string) (int64, error) {
	a, err := money.ParseUSD(text)
	if err != nil {
		return 0, fmt.Errorf("cannot read the multiplier %.40q: want a decimal number such as 1.25", text)
	}
	ppm := int64(a) / 1000
	switch {
	case int64(a)%1000 != 0:
		return 0, fmt.Errorf("cannot read the multiplier %.40q: more than 6 decimal places", text)
	case ppm < 0 || ppm > MaxPPM:
		return 0, fmt.Errorf("cannot use the multiplier %.40q: want 0 to 1000", text)
	}
	return ppm, nil
}

// FormatPPM is the decimal multiplier without trailing zeros, "1" for a million.
func FormatPPM(ppm int64) string { return money.Amount(ppm * 1000).String() }

// VersionString is the price version that a customer sees (interface 8): the time
// from which the price holds and eight hex digits of the customer's effective
// price, never a row id. Rules that charge alike have equal digits, however their
// multipliers are split.
func VersionString(r *Rule) string { return string(AppendVersion(nil, r)) }

// AppendVersion appends VersionString without other memory.
func AppendVersion(dst []byte, r *Rule) []byte {
	// Table after table, each hashed with the sum of those before it: one buffer on
	// the stack is enough for any number of tiers.
	var sum [sha256.Size]byte
	var text [sha256.Size + 8 + 32*int(usage.NumClasses)]byte
	for i := -1; i < len(r.Version.Tiers); i++ {
		t := r.Version.table(i)
		buf := append(text[:0], sum[:]...)
		above := int64(-1)
		if i >= 0 {
			above = r.Version.Tiers[i].AboveInput
		}
		buf = binary.BigEndian.AppendUint64(buf, uint64(above))
		for c := range usage.NumClasses {
			effective := u256{3: 1 << 63} // no price
			if t.Priced(c) {
				effective = u256{}
				effective.addProduct3(uint64(t.Rates[c]), uint64(r.ModelPPM), uint64(r.GroupPPM))
				effective.mul(uint64(r.ClientPPM))
			}
			for _, w := range effective {
				buf = binary.BigEndian.AppendUint64(buf, w)
			}
		}
		sum = sha256.Sum256(buf)
	}
	dst = time.UnixMilli(r.Version.EffectiveAt).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999Z")
	dst = append(dst, '-')
	return hex.AppendEncode(dst, sum[:4])
}
