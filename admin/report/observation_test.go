package report

import (
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// S1-54: an estimate lies in the class of the true value, and rises with the percentage.
func TestPercentile(t *testing.T) {
	if p := percentile(&store.Histogram{}, 50); p != nil {
		t.Errorf("of nothing: %d", *p)
	}
	durations := []int64{0, 1, 2, 3, 5, 9, 17, 100, 100, 100, 120, 130, 250, 260, 900, 900, 950, 1800, 70_000, 3_600_000}
	var h store.Histogram
	for _, ms := range durations {
		h[store.Bucket(ms*1000)]++
	}
	last := int64(0)
	for p := int64(1); p <= 100; p++ {
		got := *percentile(&h, p)
		want := durations[max(0, (int64(len(durations))*p+99)/100-1)]
		if store.Bucket(got*1000) != store.Bucket(want*1000) {
			t.Errorf("p%d is estimated as %d ms, the true one is %d ms", p, got, want)
		}
		if got < last {
			t.Errorf("p%d is %d ms, less than the one before, %d ms", p, got, last)
		}
		last = got
	}
}

// S3-17: the log's three words, and amounts in credits without a rounding.
func TestLogRow(t *testing.T) {
	for status, want := range map[string]string{
		"success": LogSuccess, "failed": LogFailed, "timeout": LogTimeout, "cancelled": LogFailed, "interrupted": LogFailed, "refused": LogFailed,
	} {
		if row := logRow(&BillingRow{Status: status}, 0); row.Status != want || row.Outcome != status {
			t.Errorf("%s is shown as %s, want %s", status, row.Status, want)
		}
	}
	for _, tc := range []struct {
		charge        money.Amount
		perUSD        int64
		credits, unit string
	}{
		{3_370_001, 0, "0.003370001", "USD"},
		{3_370_001, 1, "0.003370001", "credits"},
		{3_370_001, 500_000, "1685.0005", "credits"},
		{4_000_000_000 * money.USD, 1e9, "4000000000000000000", "credits"},
		{0, 100, "0", "credits"},
	} {
		if row := logRow(&BillingRow{Charge: tc.charge}, tc.perUSD); row.CreditsUsed != tc.credits || row.CreditsUnit != tc.unit || row.Charge != tc.charge {
			t.Errorf("%s at %d: %s %s, want %s %s", tc.charge, tc.perUSD, row.CreditsUsed, row.CreditsUnit, tc.credits, tc.unit)
		}
	}
}
