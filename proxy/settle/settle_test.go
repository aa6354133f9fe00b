package settle

import (
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

func rule(t *testing.T, ppm int64, in, out string) *price.Rule {
	t.Helper()
	tab, err := price.ParseTable(map[string]string{"input": in, "output": out}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &price.Version{ID: 1, Base: tab}
	return &price.Rule{Version: v, ModelPPM: ppm, GroupPPM: 1_000_000, ClientPPM: 1_000_000}
}

// M8: 0 <= charge <= hold; what is above is shown as the house's.
func TestPriceNeverAboveTheHold(t *testing.T) {
	r := rule(t, 1_500_000, "2", "10")
	u := usage.Units{}
	u[usage.Input], u[usage.Output] = 1000, 100
	f := func(hold, charge, overrun money.Amount) {
		t.Helper()
		b := Price(r, rule(t, 1_000_000, "2", "10"), &u, hold)
		if b.Charge != charge || b.Overrun != overrun || b.Cost != 3_000_000 {
			t.Fatalf("hold %d: %+v; want charge %d, overrun %d, cost 3000000", hold, b, charge, overrun)
		}
	}
	f(10_000_000, 4_500_000, 0) // (1000×2 + 100×10) $/M × 1.5
	f(4_500_000, 4_500_000, 0)
	f(4_000_000, 4_000_000, 500_000)
	f(0, 0, 4_500_000)
}

// An uncountable charge is the hold, not free.
func TestPriceOverflowIsTheHold(t *testing.T) {
	r := rule(t, 1_000_000_000, "1000000", "1000000")
	u := usage.Units{}
	u[usage.Output] = 1 << 62
	if b := Price(r, nil, &u, 7); b.Charge != 7 {
		t.Fatalf("charge %d; want the hold, 7", b.Charge)
	}
}

func TestPriceSupplierRule(t *testing.T) {
	u := usage.Units{}
	u[usage.Input] = 1_000_000
	if b := Price(rule(t, 1_000_000, "3", "3"), rule(t, 1_000_000, "1", "1"), &u, money.USD*10); b.Cost != money.USD || b.Charge != 3*money.USD {
		t.Fatalf("got %+v", b)
	}
}
