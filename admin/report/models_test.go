package report

import (
	"math/big"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

func mustTable(t *testing.T, prices map[string]string, free ...string) price.Table {
	t.Helper()
	table, err := price.ParseTable(prices, free)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// S2-6: the price shown is the customer's own, after multipliers, exact.
func TestCustomerPriceIsAfterMultipliers(t *testing.T) {
	v := &price.Version{ID: 7, EffectiveAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), Base: mustTable(t,
		map[string]string{"input": "1.75", "output": "14", "images": "0.04", "searches": "0.01"}, "request")}
	v.Tiers = []price.Tier{{AboveInput: 272000, Table: mustTable(t,
		map[string]string{"input": "3.5", "output": "21", "images": "0.04", "searches": "0.01"}, "request")}}
	p := customerPrice(&price.Rule{Version: v, ModelPPM: 1_200_000, GroupPPM: 900_000, ClientPPM: 333_333})
	for class, want := range map[string]string{
		"input": "0.62999937", "output": "5.03999496", "images": "0.0143999856", "searches": "0.0035999964",
	} {
		if p.Prices[class] != want {
			t.Errorf("%s costs %q, want %q", class, p.Prices[class], want)
		}
	}
	if len(p.Prices) != 4 || len(p.Free) != 1 || p.Free[0] != "request" {
		t.Errorf("prices %v, free %v", p.Prices, p.Free)
	}
	if len(p.Tiers) != 1 || p.Tiers[0].AboveInputTokens != 272000 || p.Tiers[0].Prices["input"] != "1.25999874" {
		t.Errorf("tiers %+v", p.Tiers)
	}
}

// What is shown is what is charged: a million units of a class cost its shown price.
func TestShownPriceIsTheChargedPrice(t *testing.T) {
	v := &price.Version{Base: mustTable(t, map[string]string{"input": "0.27", "output": "1.1"})}
	rule := &price.Rule{Version: v, ModelPPM: 1_000_000, GroupPPM: 850_000, ClientPPM: 1_050_000}
	shown, err := money.ParseUSD(customerPrice(rule).Prices["output"])
	if err != nil {
		t.Fatal(err)
	}
	var u usage.Units
	u[usage.Output] = 1_000_000
	charge, err := rule.Charge(&u)
	if err != nil {
		t.Fatal(err)
	}
	if charge != shown {
		t.Errorf("shown %s, charged %s", shown, charge)
	}
}

func TestDecimal(t *testing.T) {
	for _, tc := range []struct {
		v      int64
		places int
		want   string
	}{{0, 6, "0"}, {1, 6, "0.000001"}, {1_000_000, 6, "1"}, {1_750_000, 6, "1.75"}, {123, 2, "1.23"}, {5, 0, "5"}} {
		if got := decimal(big.NewInt(tc.v), tc.places); got != tc.want {
			t.Errorf("decimal(%d, %d) = %q, want %q", tc.v, tc.places, got, tc.want)
		}
	}
}

// A customer sees what its group is entitled to, what can be served, and what has
// a price now; nothing else exists for it.
func TestVisible(t *testing.T) {
	now := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	base := mustTable(t, map[string]string{"input": "1", "output": "2"})
	priceRow := func(model int64, at time.Time) store.PriceRow {
		return store.PriceRow{ModelID: model, Version: price.Version{ID: model, EffectiveAt: at.UnixMilli(), Base: base}}
	}
	c := newCatalogue(&store.CatalogRows{
		Groups: []store.GroupRow{{ID: 1, Name: "all", AllModels: true, PPM: 1e6}, {ID: 2, Name: "few", Models: []string{"sold"}, PPM: 1e6}},
		Models: []store.ModelRow{
			{ID: 1, PublicID: "sold", Aliases: []string{"sold-alias"}, PPM: 1e6},
			{ID: 2, PublicID: "unpriced", PPM: 1e6},
			{ID: 3, PublicID: "unrouted", PPM: 1e6},
			{ID: 4, PublicID: "priced-tomorrow", PPM: 1e6},
			{ID: 5, PublicID: "auto-good", AutoStrategy: "balanced", AutoModels: []string{"unpriced", "sold-alias"}},
			{ID: 6, PublicID: "auto-empty", AutoStrategy: "balanced", AutoModels: []string{"unpriced", "auto-good"}},
		},
		Routes: []store.RouteRow{{ID: 1, ModelID: 1}, {ID: 2, ModelID: 2}, {ID: 4, ModelID: 4}},
		Prices: []store.PriceRow{priceRow(1, now.Add(-time.Hour)), priceRow(3, now.Add(-time.Hour)), priceRow(4, now.Add(time.Hour))},
	})
	for _, tc := range []struct {
		model string
		group int64
		want  bool
	}{
		{"sold", 1, true},
		{"sold-alias", 1, true},
		{"unpriced", 1, false},
		{"unrouted", 1, false},
		{"priced-tomorrow", 1, false},
		{"auto-good", 1, true},
		{"auto-empty", 1, false},
		{"sold", 2, true},
		{"auto-good", 2, false},
		{"sold", 3, false},
	} {
		if got := c.Visible(c.Find(tc.model), tc.group, now); got != tc.want {
			t.Errorf("model %s for group %d: visible %v, want %v", tc.model, tc.group, got, tc.want)
		}
	}
	if !c.Visible(c.Find("priced-tomorrow"), 1, now.Add(2*time.Hour)) {
		t.Error("a price that has come into force does not count")
	}
}
