//go:build !race

package admit

import (
	"net/netip"
	"testing"

	"tokenrelay/proxy/lease"
	"tokenrelay/shared/apierr"
)

// TestNoAllocations: a warm request costs none, and no statement (interface of the
// hot path, rulings 2.2); a refusal for its rate neither.
func TestNoAllocations(t *testing.T) {
	for _, limited := range []bool{false, true} {
		d := warm(t, limited)
		in, ticket := d.input(1000), new(Ticket)
		grants := d.books.grants
		if n := testing.AllocsPerRun(1000, func() { d.once(in, ticket) }); n != 0 {
			t.Errorf("limited %v: %v allocations", limited, n)
		}
		if n := testing.AllocsPerRun(1000, func() {
			in.Now = lease.Now()
			if d.gate.Admit(in, ticket) == nil {
				ticket.Void()
			}
		}); n != 0 {
			t.Errorf("void, limited %v: %v allocations", limited, n)
		}
		if d.books.grants != grants {
			t.Errorf("limited %v: %d statements", limited, d.books.grants-grants)
		}
	}
	d := newDesk(t, usd)
	in, ticket := d.input(10), new(Ticket)
	d.key.RPM = 1
	d.gate.Admit(in, ticket)
	in.Now += 5e9 // texts of waits up to a minute are prepared
	if n := testing.AllocsPerRun(1000, func() {
		if err := d.gate.Admit(in, ticket); err == nil || err.Code != apierr.RateLimitedRPM {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("refusal: %v allocations", n)
	}
	ip := netip.MustParseAddr("2001:db8::77")
	if n := testing.AllocsPerRun(1000, func() { d.gate.AllowIP(ip, d.now) }); n != 0 {
		t.Errorf("AllowIP: %v allocations", n)
	}
}
