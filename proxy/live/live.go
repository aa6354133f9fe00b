// Package live holds what outlives cache entries and snapshots: the counters of
// customer keys, groups and IP addresses, the switch that cuts a key's running
// streams, and the wallet that a key pays from.
//
// All times are lease.Now() in ns, passed in by the caller; days and months are
// UTC, by the clock that request ids follow.
package live

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live/pin"
	"tokenrelay/shared/money"
)

// line keeps what many cores write off the cache lines of what they only read.
type line [64]byte

// Cut says what becomes of a key's running streams.
type Cut uint32

// The states of the cut switch.
const (
	CutNone  Cut = iota // run on
	CutNow              // the key was disabled or revoked: end within 1 s
	CutDrain            // the key was rotated: running streams finish, new requests are refused
)

// Key is the live side of one customer key. There is one object per key as long as
// anybody refers to it or its counters matter.
type Key struct {
	ID     int64
	Wallet *lease.Wallet // of the client, for ever

	reg   *Registry
	month atomic.Pointer[lease.Wallet] // budget of the month last used
	total atomic.Pointer[lease.Wallet] // budget of the total quota
	cut   atomic.Uint32

	_    line
	RPM  Window
	TPM  Bucket
	kept atomic.Bool
	Use
	_ line

	Shared // read much more often than written
}

// Shared are the parts of limits that all proxies share; nil until they are asked for.
type Shared struct {
	RPMShare atomic.Pointer[Share]
	TPMShare atomic.Pointer[Share]
	Places   atomic.Pointer[Places]
	Daily    atomic.Int64 // the day (since 1970) that is exchanged with the other proxies
}

// Use counts running requests and what was charged per day.
type Use struct {
	running atomic.Int64
	days    [2]daySum // by the day's last bit
	others  [2]daySum // what others spent, by the day's last bit
}

// daySum is what was charged on one UTC day.
type daySum struct {
	day atomic.Int64 // since 1970, resetting = being replaced
	sum atomic.Int64
}

const resetting = -1

// Cut is the state of the cut switch: one atomic load, for every wait of a stream.
func (k *Key) Cut() Cut { return Cut(k.cut.Load()) }

// SetCut moves the switch; the feed does when a key changes.
func (k *Key) SetCut(c Cut) { k.cut.Store(uint32(c)) }

// Month is the budget of the key's monthly cap in a month (yyyymm).
func (k *Key) Month(period int32) *lease.Wallet {
	if w := k.month.Load(); w != nil && w.Period() == period {
		return w
	}
	w := k.reg.leases.Budget(k.ID, period)
	k.month.Store(w)
	return w
}

// Total is the budget of the key's total quota.
func (k *Key) Total() *lease.Wallet {
	if w := k.total.Load(); w != nil {
		return w
	}
	w := k.reg.leases.Budget(k.ID, 0)
	k.total.Store(w)
	return w
}

// Keep sees to it that the key's counters are not forgotten while they matter:
// called after counting, one atomic load when nothing is to be done.
func (k *Key) Keep() {
	if !k.kept.Load() {
		k.reg.keep(k)
	}
}

// idle says that nothing of the key's counters matters at now: a new object would
// behave the same.
func (k *Key) idle(now, day int64) bool {
	return k.running.Load() == 0 && k.RPM.idle(now) && k.TPM.idle(now) && k.Spent(day) == 0 && k.Spent(day-1) == 0
}

// Running is the number of requests that run here.
func (u *Use) Running() int64 { return u.running.Load() }

// Enter counts a request that starts, unless limit (> 0) of them are running. One
// that is refused is at no time counted.
func (u *Use) Enter(limit int64) bool {
	if limit <= 0 {
		u.running.Add(1)
		return true
	}
	for {
		n := u.running.Load()
		if n >= limit {
			return false
		}
		if u.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave counts a request that ends.
func (u *Use) Leave() { u.running.Add(-1) }

// AddSpent adds a charge to a day (since 1970). A day older than the one its place
// is taken by is forgotten.
func (u *Use) AddSpent(day int64, charge money.Amount) {
	s := &u.days[day&1]
	for {
		switch d := s.day.Load(); {
		case d == day:
			s.sum.Add(int64(charge))
			return
		case d > day:
			return
		case d != resetting && s.day.CompareAndSwap(d, resetting):
			s.sum.Store(int64(charge))
			s.day.Store(day)
			return
		}
	}
}

// Spent is what was charged on a day, here and by what SetOthers told of the others.
func (u *Use) Spent(day int64) money.Amount { return u.SpentHere(day) + u.others[day&1].of(day) }

// SpentHere is what was charged on a day for requests of this process.
func (u *Use) SpentHere(day int64) money.Amount { return u.days[day&1].of(day) }

func (s *daySum) of(day int64) money.Amount {
	if s.day.Load() != day {
		return 0
	}
	return money.Amount(s.sum.Load())
}

// SetOthers tells what others have charged on a day: other proxies, and earlier runs
// of this one. One goroutine calls it.
func (u *Use) SetOthers(day int64, spent money.Amount) {
	s := &u.others[day&1]
	if s.day.Load() != day {
		s.day.Store(resetting)
		s.sum.Store(int64(spent))
		s.day.Store(day)
		return
	}
	s.sum.Store(int64(spent))
}

// Group is the live side of a tier of customers. Its counters are shared by all
// requests of the tier on purpose: a limit is one number. Each is an atomic word on a
// cache line of its own, touched only if the group has that limit (see
// BenchmarkGroupShared).
type Group struct {
	_   line
	RPM Window
	_   line
	TPM Bucket
	_   line
	Use
	_ line
	Shared
}

// Registry finds the live objects. The tables inside are for slow paths (a key is
// loaded, a key changed); only groups are looked up per request, without a lock.
type Registry struct {
	leases *lease.Manager
	keys   pin.Table[int64, Key]
	mu     sync.Mutex // of changes to groups
	groups atomic.Pointer[map[int64]*Group]
}

// NewRegistry makes a registry whose keys pay from the manager's wallets.
func NewRegistry(leases *lease.Manager) *Registry {
	r := &Registry{leases: leases}
	r.groups.Store(new(map[int64]*Group))
	return r
}

// Key is the live side of a key, made if there is none.
func (r *Registry) Key(id, walletID int64) *Key {
	return r.keys.Get(id, false, func() *Key {
		return &Key{ID: id, reg: r, Wallet: r.leases.Wallet(walletID)}
	})
}

// Find is the live side of a key, nil if nobody uses it.
func (r *Registry) Find(id int64) *Key { return r.keys.Find(id) }

// Group is the live side of a group.
func (r *Registry) Group(id int64) *Group {
	if g := (*r.groups.Load())[id]; g != nil {
		return g
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.groups.Load()
	if g := old[id]; g != nil {
		return g
	}
	groups := make(map[int64]*Group, len(old)+1)
	for k, v := range old {
		groups[k] = v
	}
	g := new(Group)
	groups[id] = g
	r.groups.Store(&groups)
	return g
}

// Groups calls f with every group that was used.
func (r *Registry) Groups(f func(id int64, g *Group)) {
	for id, g := range *r.groups.Load() {
		f(id, g)
	}
}

// EachKey calls f with every key that has a live side. f must be quick and must not
// come back here: it runs under a lock.
func (r *Registry) EachKey(f func(*Key)) { r.keys.Each(f) }

func (r *Registry) keep(k *Key) {
	k.kept.Store(true)
	r.keys.Get(k.ID, true, func() *Key { return k })
}

// Sweep lets go of the keys whose counters do not matter any more; day is since
// 1970. A key that is counted at the same moment either is seen as counted here or
// sees itself let go in Keep.
func (r *Registry) Sweep(now, day int64) {
	r.keys.Sweep(func(k *Key) bool {
		k.kept.Store(false)
		if k.idle(now, day) {
			return false
		}
		k.kept.Store(true)
		return true
	})
}

// Run sweeps every minute until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := lease.Now()
			r.Sweep(now, r.leases.DBTime(now).Unix()/86400)
		}
	}
}

// Keys is the number of keys with a live side, for metrics.
func (r *Registry) Keys() int { return r.keys.Len() }
