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
// room for 65,536 addresses in exactly 1 MiB, made at once and never grown: under a
// spray of addresses the ones with the fewest requests are forgotten first, so that
// an address that is at its limit stays there. No locks, no allocation.
type IPs struct {
	seed uint64
	sets [ipSets][ipWays]ipEntry
}

type ipEntry struct {
	key    atomic.Uint64 // 0 = empty
	window Window
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
	_, wait, ok = t.window(ipKey(ip), now).Take(limit, now)
	return wait, ok
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

// window finds the address's window or takes the least used one of its set for it.
func (t *IPs) window(key uint64, now int64) *Window {
	h := (key ^ t.seed) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	set := &t.sets[h%ipSets]
	for {
		for i := range set {
			if set[i].key.Load() == key {
				return &set[i].window
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
		e.key.Store(key)
		return &e.window
	}
}
