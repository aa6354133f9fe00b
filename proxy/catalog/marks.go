package catalog

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// marks remembers what changed, so that a cached value older than a change of its
// subject is never used, whatever the cache did with it (ruling 3.9: "used only if
// nothing newer is recorded for it").
//
// Each subject falls into one of 65,536 slots by its hash; a slot keeps the newest
// revision of all subjects in it. A value is fresh if it is as new as its slot.
// Two subjects in one slot cost a needless look-up once; nothing is ever forgotten
// or taken for fresh by mistake, which a ring of the last changes would need a
// floor for. Readers take no lock.
type marks struct {
	keys    [markSlots]atomic.Int64
	clients [markSlots]atomic.Int64
	floor   atomic.Int64 // everything older is stale: after a gap in the feed
	era     atomic.Int64 // everything of another one is stale: revisions went back
	revoked idSet
}

const markSlots = 1 << 16

func raise(to *atomic.Int64, rev int64) {
	for {
		old := to.Load()
		if rev <= old || to.CompareAndSwap(old, rev) {
			return
		}
	}
}

func (m *marks) keySlot(digest *[32]byte) *atomic.Int64 {
	return &m.keys[binary.LittleEndian.Uint64(digest[8:16])%markSlots]
}

func (m *marks) clientSlot(id int64) *atomic.Int64 {
	return &m.clients[mix(uint64(id))%markSlots]
}

// fresh says that nothing newer is recorded for the key or its client.
func (m *marks) fresh(k *Key) bool {
	rev := k.Revision
	return k.era == m.era.Load() && rev >= m.floor.Load() &&
		rev >= m.keySlot(&k.Digest).Load() && rev >= m.clientSlot(k.ClientID).Load()
}

// freshDigest is fresh for a digest that no key had.
func (m *marks) freshDigest(digest *[32]byte, rev int64) bool {
	return rev >= m.floor.Load() && rev >= m.keySlot(digest).Load()
}

// idSet is a growing set of row ids that readers look into without a lock: an open
// addressing table, at most half full, 16 bytes per member. 0 is no member.
type idSet struct {
	mu    sync.Mutex // held by writers
	count int
	table atomic.Pointer[[]atomic.Int64]
}

func (s *idSet) has(id int64) bool {
	t := s.table.Load()
	if t == nil {
		return false
	}
	table := *t
	mask := uint64(len(table) - 1)
	for i := mix(uint64(id)) & mask; ; i = (i + 1) & mask {
		switch table[i].Load() {
		case 0:
			return false
		case id:
			return true
		}
	}
}

func (s *idSet) add(id int64) {
	if id == 0 || s.has(id) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if t == nil || 2*(s.count+1) > len(*t) {
		size := 1024
		if t != nil {
			size = 2 * len(*t)
		}
		bigger := make([]atomic.Int64, size)
		if t != nil {
			for i := range *t {
				if old := (*t)[i].Load(); old != 0 {
					insert(bigger, old)
				}
			}
		}
		t = &bigger
		s.table.Store(t)
	}
	if insert(*t, id) {
		s.count++
	}
}

func (s *idSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func insert(table []atomic.Int64, id int64) bool {
	mask := uint64(len(table) - 1)
	for i := mix(uint64(id)) & mask; ; i = (i + 1) & mask {
		switch table[i].Load() {
		case id:
			return false
		case 0:
			table[i].Store(id)
			return true
		}
	}
}

// mix spreads the bits of a row id (splitmix64's finisher).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
