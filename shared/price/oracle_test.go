package price

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// drawCount draws counts of every size, small ones as often as huge ones.
func drawCount(t *rapid.T, name string, max int64) int64 {
	bits := rapid.IntRange(0, 63).Draw(t, name+" bits")
	limit := min(max, int64(1)<<min(bits, 62)-1+int64(1)<<min(bits, 62))
	return rapid.Int64Range(0, limit).Draw(t, name)
}

func drawTable(t *rapid.T, name string, set uint32) Table {
	table := Table{}
	for c := range usage.NumClasses {
		if set>>c&1 == 0 {
			continue
		}
		if rapid.IntRange(0, 9).Draw(t, "free") == 0 {
			table.Free |= 1 << c
			continue
		}
		table.Set |= 1 << c
		table.Rates[c] = Rate(1 + drawCount(t, name+" rate", int64(MaxRate)-1))
	}
	return *table.Resolve()
}

func drawRule(t *rapid.T) *Rule {
	set := rapid.Uint32Range(1, 1<<usage.NumClasses-1).Draw(t, "classes")
	if rapid.Bool().Draw(t, "with input and output") {
		set |= 1<<usage.Input | 1<<usage.Output
	}
	v := &Version{ID: 1, Base: drawTable(t, "base", set)}
	above := int64(0)
	for range rapid.IntRange(0, 3).Draw(t, "tiers") {
		above += rapid.Int64Range(1, 300_000).Draw(t, "above")
		v.Tiers = append(v.Tiers, Tier{AboveInput: above, Table: drawTable(t, "tier", set)})
	}
	if err := v.Validate(); err != nil {
		t.Fatalf("the drawn version is not valid: %v", err)
	}
	ppm := rapid.OneOf(rapid.Just(PPM), rapid.Int64Range(0, MaxPPM), rapid.Int64Range(900_000, 1_500_000))
	return &Rule{Version: v, ModelPPM: ppm.Draw(t, "model"), GroupPPM: ppm.Draw(t, "group"), ClientPPM: ppm.Draw(t, "client")}
}

func drawUnits(t *rapid.T, max int64) usage.Units {
	var u usage.Units
	for c := range u {
		if rapid.Bool().Draw(t, "used") {
			u[c] = drawCount(t, "units", max)
		}
	}
	return u
}

// oracle computes the charge with big rationals: nothing is shared with the code
// under test but the price table.
func oracle(r *Rule, u *usage.Units) *big.Int {
	input := new(big.Int)
	for _, c := range []usage.Class{usage.Input, usage.CacheRead, usage.CacheWrite, usage.CacheWrite1h, usage.AudioIn, usage.ImageIn} {
		input.Add(input, big.NewInt(u[c]))
	}
	table := r.Version.Base
	for _, tier := range r.Version.Tiers {
		if input.Cmp(big.NewInt(tier.AboveInput)) > 0 {
			table = tier.Table
		}
	}
	usd := new(big.Rat)
	for c := range usage.NumClasses {
		rate := big.NewRat(int64(table.Rates[c]), 1_000_000_000_000)
		usd.Add(usd, rate.Mul(rate, new(big.Rat).SetInt64(u[c])))
	}
	for _, ppm := range []int64{r.ModelPPM, r.GroupPPM, r.ClientPPM} {
		usd.Mul(usd, big.NewRat(ppm, 1_000_000))
	}
	nano := usd.Mul(usd, big.NewRat(1_000_000_000, 1))
	up, rest := new(big.Int).QuoRem(nano.Num(), nano.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		up.Add(up, big.NewInt(1))
	}
	return up
}

func TestChargeIsExact(t *testing.T) { // M9, S4-15
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		u := drawUnits(t, rapid.SampledFrom([]int64{1000, 1 << 20, 1 << 40, math.MaxInt64}).Draw(t, "size"))
		got, err := r.Charge(&u)
		want := oracle(r, &u)
		switch {
		case !want.IsInt64():
			if !errors.Is(err, money.ErrOverflow) {
				t.Fatalf("charge %d, %v; want overflow (%s)", got, err, want)
			}
		case err != nil || int64(got) != want.Int64():
			t.Fatalf("charge %d, %v; want %s", got, err, want)
		}
	})
}

func TestChargeIsMonotoneInEveryClassOfOneTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		r.Version.Tiers = nil
		u := drawUnits(t, 1<<30)
		before, err := r.Charge(&u)
		if err != nil {
			return
		}
		u[rapid.IntRange(0, int(usage.NumClasses)-1).Draw(t, "class")] += rapid.Int64Range(0, 1<<20).Draw(t, "more")
		if after, err := r.Charge(&u); err == nil && after < before {
			t.Fatalf("more units cost less: %d then %d", before, after)
		}
	})
}

func drawBound(t *rapid.T) *Bound {
	b := &Bound{
		InputTokens:  drawCount(t, "input", 1<<40),
		OutputTokens: drawCount(t, "output", 1<<40),
		Choices:      rapid.Int64Range(0, 128).Draw(t, "choices"),
		TextOutput:   rapid.Bool().Draw(t, "text"),
	}
	for _, field := range []*int64{&b.AudioTokens, &b.ImageTokens, &b.Characters, &b.Seconds, &b.Images, &b.Searches} {
		if rapid.IntRange(0, 3).Draw(t, "has") == 0 {
			*field = drawCount(t, "part", 1<<40)
		}
	}
	return b
}

// split draws counts of some classes that add up to at most total.
func split(t *rapid.T, u *usage.Units, total int64, classes ...usage.Class) {
	for _, c := range classes {
		n := rapid.Int64Range(0, total).Draw(t, "share of "+c.String())
		if rapid.IntRange(0, 2).Draw(t, "all of it") == 0 {
			n = total
		}
		u[c] += n
		total -= n
	}
}

// drawWithin draws units that keep the bound, its edges often.
func drawWithin(t *rapid.T, b *Bound) usage.Units {
	var u usage.Units
	text := []usage.Class{usage.Input, usage.CacheRead, usage.CacheWrite, usage.CacheWrite1h}
	split(t, &u, b.InputTokens, rapid.Permutation(text).Draw(t, "text order")...)
	split(t, &u, b.AudioTokens, rapid.Permutation(append([]usage.Class{usage.AudioIn}, text...)).Draw(t, "audio order")...)
	split(t, &u, b.ImageTokens, rapid.Permutation(append([]usage.Class{usage.ImageIn}, text...)).Draw(t, "image order")...)
	out := []usage.Class{usage.Output, usage.Reasoning}
	if !b.TextOutput {
		out = append(out, usage.AudioOut, usage.ImageOut)
	}
	split(t, &u, b.OutputTokens*b.choices(), rapid.Permutation(out).Draw(t, "output order")...)
	split(t, &u, b.Characters, usage.Characters)
	split(t, &u, b.Seconds, usage.Seconds)
	split(t, &u, b.Images, usage.Images)
	split(t, &u, b.Searches, usage.Searches)
	split(t, &u, 1, usage.Request)
	return u
}

// D3: whatever is consumed within the bound, it never costs more than was held.
func TestCeilingIsNeverBelowCharge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, b := drawRule(t), drawBound(t)
		ceiling, err := r.Ceiling(b)
		if err != nil {
			if !errors.Is(err, ErrUnpriced) && !errors.Is(err, money.ErrOverflow) {
				t.Fatal(err)
			}
			return
		}
		u := drawWithin(t, b)
		charge, err := r.Charge(&u)
		if err != nil || charge > ceiling {
			t.Fatalf("charge %s, %v is above the ceiling %s", charge, err, ceiling)
		}
		// Nothing that the bound allows is without a price, but for sides of which only
		// a special class is priced (a model of images, of speech).
		base, covered := &r.Version.Base, usage.ClassSet(0)
		if !base.Priced(usage.Input) {
			if b.InputTokens > 0 {
				t.Fatal("a ceiling was given although input has no price")
			}
			covered |= usage.InputSide
		}
		if !base.Priced(usage.Output) {
			covered |= usage.OutputSide
		}
		if set := r.Unpriced(&u) &^ covered; set != 0 {
			t.Fatalf("a ceiling was given although classes %b have no price", set)
		}
	})
}

func TestOutputForIsTheLargest(t *testing.T) { // D3's clamp
	rapid.Check(t, func(t *rapid.T) {
		r, b := drawRule(t), drawBound(t)
		budget := money.Amount(drawCount(t, "budget", math.MaxInt64))
		n := r.OutputFor(b, budget)
		if n < 0 {
			b.OutputTokens = 0
			if ceiling, err := r.Ceiling(b); err == nil && ceiling <= budget {
				t.Fatalf("nothing was allowed although %s are enough for no output (%s)", budget, ceiling)
			}
			return
		}
		b.OutputTokens = n
		if ceiling, err := r.Ceiling(b); err != nil || ceiling > budget {
			t.Fatalf("%d tokens cost %s, %v: more than %s", n, ceiling, err, budget)
		}
		if n == math.MaxInt64 {
			return
		}
		b.OutputTokens = n + 1
		if ceiling, err := r.Ceiling(b); err == nil && ceiling <= budget {
			t.Fatalf("%d tokens cost %s, within %s, but only %d were allowed", n+1, ceiling, budget, n)
		}
	})
}

func TestTableSurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t, "base", rapid.Uint32Range(0, 1<<usage.NumClasses-1).Draw(t, "classes"))
		prices, free := table.Prices()
		back, err := ParseTable(prices, free)
		if err != nil || back != table {
			t.Fatalf("%v %v became %v, %v", prices, free, back, err)
		}
	})
}

func TestPPMSurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ppm := rapid.Int64Range(0, MaxPPM).Draw(t, "ppm")
		if back, err := ParsePPM(FormatPPM(ppm)); err != nil || back != ppm {
			t.Fatalf("%d became %d by %q, %v", ppm, back, FormatPPM(ppm), err)
		}
	})
	for _, bad := range []string{"", "-1", "1000.000001", "1.0000001", "x", "1e3"} {
		if ppm, err := ParsePPM(bad); err == nil {
			t.Errorf("%q was read as %d", bad, ppm)
		}
	}
}

func TestVersionStringIsTheEffectivePrice(t *testing.T) { // interface 8
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		r.Version.EffectiveAt = 1_790_000_000_000
		other := *r
		v := *r.Version
		other.Version = &v
		v.ID = r.Version.ID + rapid.Int64Range(1, 99).Draw(t, "id")
		other.ModelPPM, other.ClientPPM = r.ClientPPM, r.ModelPPM
		if VersionString(r) != VersionString(&other) {
			t.Fatal("the same effective price has two names")
		}
		c := rapid.IntRange(0, int(usage.NumClasses)-1).Draw(t, "class")
		if !v.Base.Priced(usage.Class(c)) || r.ModelPPM*r.GroupPPM*r.ClientPPM == 0 || r.GroupPPM == 0 {
			return
		}
		v.Base.Rates[c]++
		if VersionString(r) == VersionString(&other) {
			t.Fatal("another price has the same name")
		}
	})
}
