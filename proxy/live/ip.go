package live

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

const (
	ipWays = 8
	ipSets = 8192
)

// IPs limits requests per minute and client address, IPv6 by its /64. The table has
// room for 65,536 addresses in exactly 1.5 MiB, made at once and never grown: under a
// spray of addresses the ones with the fewest requests are forgotten first, so that
// an address that is at its limit stays there. No locks, no allocation.
type IPs struct {
	seed uint64
	sets [ipSets][ipWays]ipEntry
}

type ipEntry struct {
	key    atomic.Uint64 // 0 = empty
	window Window
	share  atomic.Pointer[Share] // of addresses that several proxies count together
}

const ipBusy = ^uint64(0) // the entry is changing hands

// NewIPs makes an empty table. Places in it cannot be foreseen from outside.
func NewIPs() *IPs { return &IPs{seed: rand.Uint64()} }

// Allow counts a request of an address at now. A refused one gets the time in ns
// after which a lone client will be let through. limit ≤ 0 lets everything pass.
func (t *IPs) Allow(ip netip.Addr, limit, now int64) (wait int64, ok bool) {
	if limit <= 0 {
		return 0, true
	}
	_, wait, ok = t.entry(ipKey(ip), now).window.Take(limit, now)
	return wait, ok
}

// Counted is an address's place in the table, for as long as it is looked at.
type Counted struct {
	ID    int64 // of the limit
	entry *ipEntry
}

// Counted finds an address.
func (t *IPs) Counted(ip netip.Addr, now int64) Counted {
	key := ipKey(ip)
	return Counted{int64(key), t.entry(key, now)}
}

// Window counts the requests that passed here.
func (c Counted) Window() *Window { return &c.entry.window }

// Share is the proxy's part of the address's limit; nil if it was never asked for.
func (c Counted) Share() *atomic.Pointer[Share] { return &c.entry.share }

// Each calls f with every address that has counted anything at now.
func (t *IPs) Each(now int64, f func(id int64, w *Window)) {
	for i := range t.sets {
		for j := range t.sets[i] {
			e := &t.sets[i][j]
			if key := e.key.Load(); key != 0 && key != ipBusy && e.window.count(now) > 0 {
				f(int64(key), &e.window)
			}
		}
	}
}

// ipKey is an IPv4 address or the first 64 bits of an IPv6 one. IPv4 is put where no
// routed IPv6 network is (::ffff:a.b.c.d shifted into the upper half).
func ipKey(ip netip.Addr) uint64 {
	ip = ip.Unmap()
	var key uint64
	if ip.Is4() {
		a := ip.As4()
		key = 0xffff<<32 | uint64(binary.BigEndian.Uint32(a[:]))
	} else {
		a := ip.As16()
		key = binary.BigEndian.Uint64(a[:8])
	}
	if key == 0 || key == ipBusy {
		key = 1
	}
	return key
}

// entry finds the address's entry or takes the least used one of its set for it.
func (t *IPs) entry(key uint64, now int64) *ipEntry {
	h := (key ^ t.seed) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	set := &t.sets[h%ipSets]
	for {
		for i := range set {
			if set[i].key.Load() == key {
				return &set[i]
			}
		}
		victim, least := 0, int64(1)<<62
		for i := range set {
			n := int64(-1)
			if set[i].key.Load() != 0 {
				n = set[i].window.count(now)
			}
			if n < least {
				victim, least = i, n
			}
		}
		e := &set[victim]
		old := e.key.Load()
		if old == ipBusy || !e.key.CompareAndSwap(old, ipBusy) {
			continue // somebody else is at it
		}
		// Two requests of a new address may each get an entry; the first one found
		// counts from then on.
		e.window.word.Store(0)
		e.share.Store(nil)
		e.key.Store(key)
		return e
	}
}
