package money

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseUSDSuccess(t *testing.T) {
	for text, want := range map[string]Amount{
		"0": 0, "-0": 0, "0.0": 0, "10": 10 * USD, "0.003375": 3_375_000, "-1.5": -1_500_000_000,
		"0.000000001": 1, "00012.50": 12_500_000_000, "9223372036.854775807": math.MaxInt64,
		"-9223372036.854775808": math.MinInt64,
	} {
		got, err := ParseUSD(text)
		if err != nil || got != want {
			t.Errorf("ParseUSD(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseUSDFailure(t *testing.T) {
	for _, text := range []string{
		"", "-", ".", "1.", ".5", "-.5", "+1", " 1", "1 ", "1e3", "0x1", "1,5", "1.0000000001", "1.0000000000",
		"1..2", "1.2.3", "--1", "9223372036.854775808", "-9223372036.854775809", "99999999999999999999999999", "NaN", "١",
	} {
		if got, err := ParseUSD(text); err == nil {
			t.Errorf("ParseUSD(%q) = %d, want an error", text, got)
		}
	}
}

func TestStringHasNoExponentAndNoTrailingZeros(t *testing.T) {
	for a, want := range map[Amount]string{
		0: "0", 10 * USD: "10", 3_375_000: "0.003375", -1: "-0.000000001", -500_000_000: "-0.5",
		math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		if got := a.String(); got != want {
			t.Errorf("Amount(%d).String() = %q, want %q", int64(a), got, want)
		}
	}
}

func TestEveryAmountSurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Amount(rapid.Int64().Draw(t, "a"))
		if got, err := ParseUSD(a.String()); err != nil || got != a {
			t.Fatalf("%d became %d by %q: %v", int64(a), int64(got), a.String(), err)
		}
		data, err := json.Marshal(struct{ A Amount }{a})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), `"A":"`) {
			t.Fatalf("money is no string in %s", data)
		}
		var back struct{ A Amount }
		if err := json.Unmarshal(data, &back); err != nil || back.A != a {
			t.Fatalf("%s became %d: %v", data, back.A, err)
		}
		v, err := a.Value()
		var scanned Amount
		if err != nil || scanned.Scan(v) != nil || scanned != a {
			t.Fatalf("column value %v became %d: %v", v, scanned, err)
		}
	})
}

func TestUnmarshalJSONReadsDigitsNotFloats(t *testing.T) {
	var a Amount
	if err := json.Unmarshal([]byte("9007199.254740993"), &a); err != nil || a != 9007199254740993 {
		t.Errorf("bare number became %d, %v", a, err)
	}
	if err := json.Unmarshal([]byte("null"), &a); err != nil || a != 9007199254740993 {
		t.Errorf("null changed the amount to %d, %v", a, err)
	}
	for _, bad := range []string{`1e9`, `"1e9"`, `true`, `{}`, `""`, `"1.0000000001"`} {
		if err := json.Unmarshal([]byte(bad), &a); err == nil {
			t.Errorf("%s was read as %s USD", bad, a)
		}
	}
	if err := a.Scan("12"); err == nil {
		t.Error("a text column was scanned as money")
	}
}

func TestAddSubMulAreExactOrRefuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		check := func(name string, got Amount, err error, want *big.Int) {
			if want.IsInt64() && (err != nil || int64(got) != want.Int64()) {
				t.Fatalf("%s of %d and %d = %d, %v; want %s", name, a, b, got, err, want)
			}
			if !want.IsInt64() && !errors.Is(err, ErrOverflow) {
				t.Fatalf("%s of %d and %d = %d, want overflow", name, a, b, got)
			}
		}
		x, y := big.NewInt(a), big.NewInt(b)
		sum, err := Amount(a).Add(Amount(b))
		check("sum", sum, err, new(big.Int).Add(x, y))
		diff, err := Amount(a).Sub(Amount(b))
		check("difference", diff, err, new(big.Int).Sub(x, y))
		if a >= 0 && b >= 0 {
			product, err := Amount(a).Mul(b)
			check("product", product, err, new(big.Int).Mul(x, y))
		}
	})
	if _, err := Amount(math.MinInt64).Add(-1); err == nil {
		t.Error("the smallest amount minus one was accepted")
	}
	if _, err := Amount(0).Sub(math.MinInt64); err == nil {
		t.Error("0 minus the smallest amount was accepted")
	}
}
