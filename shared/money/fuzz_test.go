package money

import "testing"

func FuzzParseUSD(f *testing.F) {
	for _, s := range []string{"1.25", "-0.000000001", "9223372036.854775807", "1e5", "..", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseUSD(s)
		if err != nil {
			return
		}
		if back, err := ParseUSD(a.String()); err != nil || back != a {
			t.Fatalf("%q is %d, its text %q is %d, %v", s, a, a.String(), back, err)
		}
	})
}
