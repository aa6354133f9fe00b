package server

import (
	"testing"
	"time"

	"tokenrelay/shared/apierr"
)

// What is owed is paid off by the second, what is little costs nothing, and each waits for
// those before it.
func TestDebtsTurns(t *testing.T) {
	d := debts{waiters: waiters{end: make(chan struct{})}}
	close(d.end) // nobody waits: what is looked at is the account
	const mib = 1 << 20
	now := int64(time.Hour)
	owes := func() time.Duration {
		v, ok := d.of.Load(int64(7))
		if !ok {
			return 0
		}
		return time.Duration(max(0, v.(*debt).until.Load()-now)).Round(100 * time.Millisecond)
	}
	if paid, err := d.turn(7, mib, now); paid != 0 || err != nil {
		t.Fatalf("one who owes nothing: %d %v", paid, err)
	}
	for range 4 {
		d.add(7, mib, now)
	}
	if paid, err := d.turn(7, mib, now); paid != 0 || err != nil || owes() != 4*time.Second {
		t.Fatalf("one who owes little: %d %v %v", paid, err, owes())
	}
	d.add(7, mib, now)
	// It owes 5 s, a second of which is not free. Five more have a turn within 5 s, and
	// nobody behind them.
	for i := range 5 {
		if paid, err := d.turn(7, mib, now); paid != worth(mib) || err != nil {
			t.Fatalf("turn %d: %d %v", i, paid, err)
		}
	}
	if paid, err := d.turn(7, mib, now); paid != 0 || err == nil || err.Code != apierr.RateLimitedConc || err.RetryAfter < 5 || err.RetryAfter > 7 || owes() != 10*time.Second {
		t.Fatalf("one too many: %d %+v, owes %v", paid, err, owes())
	}
	if d.Slowed.Load() != 6 || d.waiting.Load() != 0 {
		t.Errorf("%d waited and %d wait", d.Slowed.Load(), d.waiting.Load())
	}
	d.forgive(7, worth(mib))
	if owes() != 9*time.Second {
		t.Errorf("it owes %v", owes())
	}
	if paid, err := d.turn(8, mib, now); paid != 0 || err != nil {
		t.Errorf("another customer: %d %v", paid, err)
	}
	now += int64(6 * time.Second)
	if paid, err := d.turn(7, mib, now); paid != 0 || err != nil {
		t.Errorf("one who has paid: %d %v", paid, err)
	}
	now += int64(time.Hour)
	d.add(7, -1, now) // of unknown size
	if owes() != time.Second {
		t.Errorf("it owes %v behind an hour", owes())
	}
}
