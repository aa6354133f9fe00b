package live

import (
	"net/netip"
	"testing"
	"unsafe"
)

// TestIPs is the per-IP half of C11: each address its own limit, IPv6 by /64,
// mapped IPv4 as IPv4, 0 = off, an honest wait.
func TestIPs(t *testing.T) {
	table := NewIPs()
	now := 100 * minute
	use := func(ip string, limit int64) bool {
		_, ok := table.Allow(netip.MustParseAddr(ip), limit, now)
		return ok
	}
	for range 3 {
		if !use("192.0.2.1", 3) {
			t.Fatal("refused below the limit")
		}
	}
	for ip, want := range map[string]bool{
		"192.0.2.1": false, "::ffff:192.0.2.1": false, "192.0.2.2": true, "2001:db8::1": true, "::1": true, "0.0.0.0": true,
		"ffff:ffff:ffff:ffff::": true,
	} {
		if use(ip, 3) != want {
			t.Errorf("%s: want %v", ip, want)
		}
	}
	use("2001:db8::2", 3)
	use("2001:db8::3", 3)
	if use("2001:db8::4", 3) {
		t.Error("the fourth request of one /64 passed")
	}
	if !use("2001:db8:0:1::4", 3) {
		t.Error("another /64 was refused")
	}
	if !use("192.0.2.1", 0) {
		t.Error("limit 0 is not off")
	}
	wait, ok := table.Allow(netip.MustParseAddr("192.0.2.1"), 3, now)
	if ok {
		t.Fatal("passed")
	}
	now += (wait + second - 1) / second * second
	if !use("192.0.2.1", 3) {
		t.Errorf("waited %d ns and was refused", wait)
	}
}

// TestIPsSpray: 300,000 addresses cost no memory and do not free an address that is at
// its limit.
func TestIPsSpray(t *testing.T) {
	if size := unsafe.Sizeof(IPs{}); size > 3<<19+64 {
		t.Fatalf("the table takes %d bytes", size)
	}
	table := NewIPs()
	now := 100 * minute
	bad := netip.MustParseAddr("203.0.113.9")
	for range 300 {
		table.Allow(bad, 300, now)
	}
	allocs := testing.AllocsPerRun(1, func() {
		for i := range 300_000 {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if _, ok := table.Allow(a, 300, now); !ok {
				t.Fatalf("%s refused", a)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if _, ok := table.Allow(bad, 300, now+second); ok {
		t.Error("the spray freed an address that was at its limit")
	}
}
