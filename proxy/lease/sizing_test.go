package lease

import (
	"testing"
	"time"

	"tokenrelay/shared/money"
)

// D2, B1: a wallet that has spent for a few seconds has a lease that outlives an outage
// of minutes; one request alone does not borrow a fortune; in the long run the target
// is 1,000 s of spending.
func TestTargetOfAYoungWallet(t *testing.T) {
	const perSecond = money.Amount(100_000_000)
	run := func(seconds int, spent func(second int) money.Amount) money.Amount {
		var s sizing
		s.begin(int64(time.Second), 7)
		sum := money.Amount(0)
		for i := 1; i <= seconds; i++ {
			sum += spent(i)
			s.tick(int64(i+1)*int64(time.Second), sum, 0, 7)
		}
		return s.target()
	}
	steady := func(int) money.Amount { return perSecond }
	for _, tt := range []struct {
		name        string
		got         money.Amount
		least, most money.Amount
	}{
		{"one second", run(1, steady), 60 * perSecond, 110 * perSecond},
		{"three seconds", run(3, steady), 200 * perSecond, 330 * perSecond},
		{"a minute", run(60, steady), 930 * perSecond, 1001 * perSecond},
		{"a burst, then nothing", run(60, func(i int) money.Amount { return perSecond * money.Amount(1/i) }), 5 * perSecond, 20 * perSecond},
		{"five minutes, then silence for two", run(420, func(i int) money.Amount { return perSecond * money.Amount(min(1, 300/i)) }), 50 * perSecond, 150 * perSecond},
	} {
		if tt.got < tt.least || tt.got > tt.most {
			t.Errorf("%s: %s, want %s … %s", tt.name, tt.got, tt.least, tt.most)
		}
	}
}
