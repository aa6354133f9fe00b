package price

import (
	"testing"

	"tokenrelay/shared/usage"
)

// FuzzCharge: no count makes the charge panic, leave its ceiling, or shrink.
func FuzzCharge(f *testing.F) {
	f.Add(int64(1250000), int64(10000000), int64(1000000), int64(1200), int64(300), int64(200000))
	f.Add(int64(1), int64(1<<40), int64(999999999), int64(1)<<62, int64(1)<<62, int64(0))
	f.Fuzz(func(t *testing.T, in, out, ppm, inputs, outputs, above int64) {
		in, out, ppm = in&(1<<39-1), out&(1<<39-1), ppm&(1<<29-1)
		table := Table{Set: 1<<usage.Input | 1<<usage.Output}
		table.Rates[usage.Input], table.Rates[usage.Output] = Rate(in), Rate(out)
		table.Resolve()
		dear := table
		dear.Rates[usage.Input] *= 2
		dear.Resolve()
		r := &Rule{
			Version:  &Version{Base: table, Tiers: []Tier{{AboveInput: above & (1<<62 - 1), Table: dear}}},
			ModelPPM: ppm, GroupPPM: PPM, ClientPPM: PPM + ppm%7,
		}
		var u usage.Units
		u[usage.Input], u[usage.Output] = inputs, outputs
		charge, err := r.Charge(&u)
		if inputs < 0 || outputs < 0 {
			if err == nil {
				t.Fatalf("negative units cost %s", charge)
			}
			return
		}
		ceiling, cErr := r.Ceiling(&Bound{InputTokens: inputs, OutputTokens: outputs})
		switch {
		case cErr == nil && (err != nil || charge > ceiling):
			t.Fatalf("charge %s, %v above the ceiling %s", charge, err, ceiling)
		case err == nil && charge < 0:
			t.Fatalf("charge %s", charge)
		}
	})
}

// FuzzParseRate: a price that is read is the one that is written.
func FuzzParseRate(f *testing.F) {
	f.Add(uint8(0), "1.25")
	f.Add(uint8(12), "0.04")
	f.Fuzz(func(t *testing.T, class uint8, text string) {
		c := usage.Class(class) % usage.NumClasses
		r, err := ParseRate(c, text)
		if err != nil {
			return
		}
		if r < 0 || r > MaxRate {
			t.Fatalf("%q is %d", text, r)
		}
		if back, err := ParseRate(c, FormatRate(c, r)); err != nil || back != r {
			t.Fatalf("%q is %d, written %q, read %d, %v", text, r, FormatRate(c, r), back, err)
		}
	})
}
