// Package price computes what units cost: exact integers, one rounding up per
// request (S4-15), the same pure functions for holds, charges, previews and audits.
package price

import (
	"errors"
	"fmt"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// Rate is a price in pico-USD per unit (token, character, second, image, search,
// request).
type Rate int64

// The limits that a price row must keep (D1).
const (
	MaxRate Rate  = 1_000_000_000_000 // 1 USD per unit
	PPM     int64 = 1_000_000         // multiplier 1.0
	MaxPPM  int64 = 1_000_000_000     // multiplier 1000
)

// The ways in which a price cannot be computed.
var (
	// ErrUnpriced: units of a class that has no price, not even that of its side.
	// The request is refused (unknown_model_pricing), never served for free.
	ErrUnpriced = errors.New("no price for a class of units")
	// ErrNegative: a negative count, bound, rate or multiplier.
	ErrNegative = errors.New("negative units, price or multiplier")
)

// Table is the price of one unit of each class. The rates of a resolved table
// (see Resolve) hold what every class costs; Set and Free tell which of them were
// stated.
type Table struct {
	Rates [usage.NumClasses]Rate
	Set   uint32 // bit per class that is priced by itself
	Free  uint32 // bit per class that is free on purpose
}

// Tier replaces the base table for every token of a request whose total input is
// above AboveInput tokens.
type Tier struct {
	AboveInput int64
	Table      Table
}

// Version is one immutable price row. Its tables are resolved.
type Version struct {
	ID          int64
	EffectiveAt int64 // unix ms
	Base        Table
	Tiers       []Tier // ascending AboveInput
}

// Rule is a price version with the multipliers that apply to one customer, parts
// per million each, kept unmultiplied so that the only rounding is the charge's.
type Rule struct {
	Version                       *Version
	ModelPPM, GroupPPM, ClientPPM int64
}

// Bound is the most that a request can consume, known before it is sent. The
// zero value of a field means none of it, but for Choices (one).
type Bound struct {
	InputTokens  int64 // text and all else that may be billed as text or cache classes
	AudioTokens  int64 // input that may be billed as audio or as text
	ImageTokens  int64 // input that may be billed as images or as text
	OutputTokens int64 // per choice, reasoning inside
	Choices      int64 // n; 0 counts as 1
	Characters   int64
	Seconds      int64
	Images       int64
	Searches     int64
	// TextOutput says that the output can be neither audio nor images, so that
	// their dearer rates need not be held.
	TextOutput bool
}

// Resolve fills in the rates of classes that were not priced by themselves: an
// input-side class costs input, an output-side one output. It returns t.
func (t *Table) Resolve() *Table {
	for c := range usage.NumClasses {
		switch {
		case t.has(c):
		case c.InputSide() && t.has(usage.Input):
			t.Rates[c] = t.Rates[usage.Input]
		case c.OutputSide() && t.has(usage.Output):
			t.Rates[c] = t.Rates[usage.Output]
		default:
			t.Rates[c] = 0
		}
	}
	return t
}

// has says that the table states the class's price itself.
func (t *Table) has(c usage.Class) bool { return (t.Set|t.Free)>>c&1 != 0 }

// Priced says that units of the class cost something known: by their own price,
// by that of their side, or free on purpose. The request class needs no price.
func (t *Table) Priced(c usage.Class) bool {
	switch {
	case t.has(c), c == usage.Request:
		return true
	case c.InputSide():
		return t.has(usage.Input)
	case c.OutputSide():
		return t.has(usage.Output)
	}
	return false
}

// IsZero says that the table states no price at all.
func (t *Table) IsZero() bool { return t.Set|t.Free == 0 }

// at is the table that prices a request of so many input tokens (S4-15, rule 2 of
// the money facts: the whole request, not the excess).
func (v *Version) at(totalInput int64) *Table {
	for i := len(v.Tiers) - 1; i >= 0; i-- {
		if totalInput > v.Tiers[i].AboveInput {
			return &v.Tiers[i].Table
		}
	}
	return &v.Base
}

// Pick returns the version that is in force at now (unix ms): the newest
// effective_at that is not later, of equals the one with the highest id; nil if
// there is none. The order of vs does not matter.
func Pick(vs []*Version, now int64) *Version {
	var best *Version
	for _, v := range vs {
		if v.EffectiveAt > now {
			continue
		}
		if best == nil || v.EffectiveAt > best.EffectiveAt || (v.EffectiveAt == best.EffectiveAt && v.ID > best.ID) {
			best = v
		}
	}
	return best
}

// Validate checks the limits of D1: rates and tiers within range, tiers strictly
// ascending, and no tier that lacks a class the base prices.
func (v *Version) Validate() error {
	if v.Base.IsZero() {
		return fmt.Errorf("cannot use a price without any class: %w", ErrUnpriced)
	}
	if err := v.Base.validate(); err != nil {
		return err
	}
	last := int64(0)
	for i := range v.Tiers {
		t := &v.Tiers[i]
		if t.AboveInput <= last {
			return fmt.Errorf("cannot use a tier above %d input tokens: want positive, ascending limits", t.AboveInput)
		}
		last = t.AboveInput
		if err := t.Table.validate(); err != nil {
			return fmt.Errorf("cannot use the tier above %d input tokens: %w", t.AboveInput, err)
		}
		for c := range usage.NumClasses {
			if v.Base.has(c) && !t.Table.has(c) {
				return fmt.Errorf("cannot use the tier above %d input tokens: it lacks %q, which the base prices", t.AboveInput, c)
			}
		}
	}
	return nil
}

func (t *Table) validate() error {
	for c := range usage.NumClasses {
		switch r := t.Rates[c]; {
		case r < 0:
			return fmt.Errorf("cannot use the price of %q: %w", c, ErrNegative)
		case r > MaxRate:
			return fmt.Errorf("cannot use the price of %q: above 1 USD per unit", c)
		case r == 0 && t.Set>>c&1 != 0 && t.Free>>c&1 == 0:
			return fmt.Errorf("cannot use the price of %q: 0 without being listed as free", c)
		case r != 0 && t.Free>>c&1 != 0:
			return fmt.Errorf("cannot use the price of %q: listed as free and priced", c)
		}
	}
	return nil
}

// Charge is what the units cost: Σ units × rate × multipliers, exact, rounded up
// once to the next nano-USD. Units of a class without any price count 0 (their
// admission was refused, see Ceiling; Unpriced names them). An error says that
// the units are negative or the sum does not fit an Amount.
func (r *Rule) Charge(u *usage.Units) (money.Amount, error) {
	t := r.Version.at(u.TotalInput())
	var total u256
	for c := range usage.NumClasses {
		n := u[c]
		if n == 0 {
			continue
		}
		if n < 0 || t.Rates[c] < 0 {
			return 0, ErrNegative
		}
		total.addProduct(uint64(n), uint64(t.Rates[c]))
	}
	return r.round(&total)
}

// Unpriced is the set of classes of u that have no price at all.
func (r *Rule) Unpriced(u *usage.Units) (set usage.ClassSet) {
	t := r.Version.at(u.TotalInput())
	for c := range usage.NumClasses {
		if u[c] != 0 && !t.Priced(c) {
			set |= usage.SetOf(c)
		}
	}
	return set
}

// Ceiling is the most that a request within the bound can cost (D3): in the
// dearest table it can reach, the input bound at the dearest input-side class,
// the choices' output at the dearest output-side class, and the rest as counted.
// It is never below Charge for units within the bound.
func (r *Rule) Ceiling(b *Bound) (money.Amount, error) {
	if !b.valid() {
		return 0, ErrNegative
	}
	var dearest money.Amount
	for i := -1; i < len(r.Version.Tiers); i++ {
		t := r.Version.table(i)
		if i >= 0 && b.totalInput() <= r.Version.Tiers[i].AboveInput {
			break
		}
		total, err := t.fixed(b)
		if err != nil {
			return 0, err
		}
		if b.OutputTokens > 0 {
			rate, ok := t.dearestOutput(b)
			if !ok {
				return 0, ErrUnpriced
			}
			total.addProduct3(uint64(b.choices()), uint64(b.OutputTokens), uint64(rate))
		}
		cost, err := r.round(&total)
		if err != nil {
			return 0, err
		}
		dearest = max(dearest, cost)
	}
	return dearest, nil
}

// OutputFor is the largest number of output tokens per choice whose Ceiling, with
// the rest of the bound as it is, does not exceed the budget: what D3 lowers an
// output cap to. It is -1 if the rest alone exceeds the budget or has no price,
// and the largest int64 if output costs nothing.
func (r *Rule) OutputFor(b *Bound, budget money.Amount) int64 {
	if budget < 0 || !b.valid() || r.ModelPPM < 0 || r.GroupPPM < 0 || r.ClientPPM < 0 {
		return -1
	}
	least := int64(1<<63 - 1)
	for i := -1; i < len(r.Version.Tiers); i++ {
		t := r.Version.table(i)
		if i >= 0 && b.totalInput() <= r.Version.Tiers[i].AboveInput {
			break
		}
		fixed, err := t.fixed(b)
		if err != nil {
			return -1
		}
		rate, ok := t.dearestOutput(b)
		if !ok {
			// Whatever is asked for has no price: nothing can be, if the rest fits.
			rate = -1
		}
		n := r.outputFor(&fixed, b.choices(), rate, budget)
		if n < 0 {
			return -1
		}
		least = min(least, n)
	}
	return least
}

// outputFor solves ceil((fixed + choices × n × rate) × m / 10^21) ≤ budget for the
// largest n: the sum may be floor(budget × 10^21 / m). A negative rate means that
// output has no price.
func (r *Rule) outputFor(fixed *u256, choices int64, rate Rate, budget money.Amount) int64 {
	free := r.ModelPPM == 0 || r.GroupPPM == 0 || r.ClientPPM == 0
	var left u256
	if !free {
		left.addProduct3(uint64(budget), 1_000_000_000_000_000_000, 1000)
		left.div(uint64(r.ModelPPM))
		left.div(uint64(r.GroupPPM))
		left.div(uint64(r.ClientPPM))
		if !left.sub(fixed) {
			return -1
		}
	}
	switch {
	case rate < 0:
		return 0
	case rate == 0 || free:
		return 1<<63 - 1
	}
	left.div(uint64(choices))
	left.div(uint64(rate))
	if !left.fitsInt64() {
		return 1<<63 - 1
	}
	return int64(left[0])
}

func (v *Version) table(tier int) *Table {
	if tier < 0 {
		return &v.Base
	}
	return &v.Tiers[tier].Table
}

func (b *Bound) choices() int64 { return max(1, b.Choices) }

func (b *Bound) valid() bool {
	return b.InputTokens >= 0 && b.AudioTokens >= 0 && b.ImageTokens >= 0 && b.OutputTokens >= 0 && b.Choices >= 0 &&
		b.Characters >= 0 && b.Seconds >= 0 && b.Images >= 0 && b.Searches >= 0
}

// totalInput is the most input tokens, stopping at the largest int64.
func (b *Bound) totalInput() int64 {
	total := b.InputTokens
	for _, n := range [...]int64{b.AudioTokens, b.ImageTokens} {
		if total += n; total < 0 {
			return 1<<63 - 1
		}
	}
	return total
}

// fixed is the most that everything but output costs in this table, before
// multipliers.
func (t *Table) fixed(b *Bound) (total u256, err error) {
	text, _ := t.dearest(usage.SetOf(usage.Input, usage.CacheRead, usage.CacheWrite, usage.CacheWrite1h))
	for _, part := range [...]struct {
		n    int64
		c    usage.Class
		side bool // may also be billed at the text classes' rates
	}{
		{b.InputTokens, usage.Input, true},
		{b.AudioTokens, usage.AudioIn, true},
		{b.ImageTokens, usage.ImageIn, true},
		{b.Characters, usage.Characters, false},
		{b.Seconds, usage.Seconds, false},
		{b.Images, usage.Images, false},
		{b.Searches, usage.Searches, false},
		{1, usage.Request, false},
	} {
		if part.n == 0 {
			continue
		}
		if !t.Priced(part.c) {
			return u256{}, ErrUnpriced
		}
		rate := t.Rates[part.c]
		if part.side {
			rate = max(rate, text)
		}
		if rate < 0 {
			return u256{}, ErrNegative
		}
		total.addProduct(uint64(part.n), uint64(rate))
	}
	return total, nil
}

func (t *Table) dearestOutput(b *Bound) (Rate, bool) {
	if b.TextOutput {
		return t.dearest(usage.SetOf(usage.Output, usage.Reasoning))
	}
	return t.dearest(usage.OutputSide)
}

// dearest is the highest rate of the classes, false if none of them is priced.
func (t *Table) dearest(set usage.ClassSet) (rate Rate, priced bool) {
	for c := range usage.NumClasses {
		if set.Has(c) && t.Priced(c) {
			rate, priced = max(rate, t.Rates[c]), true
		}
	}
	return rate, priced
}

// round applies the multipliers and the one rounding: ceil(total × m / 10^21).
func (r *Rule) round(total *u256) (money.Amount, error) {
	if r.ModelPPM < 0 || r.GroupPPM < 0 || r.ClientPPM < 0 {
		return 0, ErrNegative
	}
	sum := *total
	// Multiplying and dividing by a million is the identity: the usual multiplier
	// 1.0 is left out on both sides.
	divisor := uint64(1)
	for _, ppm := range [...]int64{r.ModelPPM, r.GroupPPM, r.ClientPPM} {
		if ppm == PPM {
			continue
		}
		if !sum.mul(uint64(ppm)) {
			return 0, money.ErrOverflow
		}
		divisor *= uint64(PPM)
	}
	// ceil(ceil(x/a)/b) = ceil(x/(a·b)), so two divisions round once.
	rest := sum.div(divisor)
	if sum.div(1000) != 0 || rest != 0 {
		sum.inc()
	}
	if !sum.fitsInt64() {
		return 0, money.ErrOverflow
	}
	return money.Amount(sum[0]), nil
}
