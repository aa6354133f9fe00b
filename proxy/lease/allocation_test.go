//go:build !race

package lease

import "testing"

// TestNoAllocations: the hot path of money costs none.
func TestNoAllocations(t *testing.T) {
	w := warmWallet(t)
	if n := testing.AllocsPerRun(1000, func() {
		l, ok := w.Take(1000, Now())
		if !ok {
			t.Fatal("not warm")
		}
		l.Settle(1000, 10)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
