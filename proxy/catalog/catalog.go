package catalog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"tokenrelay/proxy/live"
	"tokenrelay/shared/store"
)

// KeyStore is where keys are read from when the cache does not have them.
type KeyStore interface {
	// LoadKey reads one key in one statement, with the revision of the change feed
	// that it saw; store.ErrNotFound if there is none.
	LoadKey(ctx context.Context, digest [32]byte) (*store.KeyRow, error)
}

// Options configures a Catalog. Zero values take the defaults.
type Options struct {
	Store KeyStore
	// Live finds or begins the live side of a key: its counters, its wallet. It is
	// called when a key is loaded, never on a hit.
	Live func(keyID, walletID int64) *live.Key
	// Secret opens the secrets of webhooks; nil: policies with one cannot be obeyed.
	Secret OpenSecret

	CachedKeys  int64 // most keys kept, default 200,000
	CachedRules int64 // most price rules (client × model) kept, default 200,000

	ColdAtOnce  int           // look-ups of cold keys at a time, default 8
	ColdQueue   int           // cold keys waiting or under way, default 1,024
	ColdRate    int           // look-ups of cold keys a second, default 1,000
	ColdTimeout time.Duration // for one look-up with its wait, default 5 s
	NegativeTTL time.Duration // how long an unknown key is remembered, default 10 s
}

// Catalog is the proxy's knowledge of the configuration, safe for any number of
// readers.
type Catalog struct {
	o        Options
	snapshot atomic.Pointer[Snapshot]
	applied  atomic.Int64 // newest revision whose marks are all set

	keys   *ristretto.Cache[uint64, *Key]
	rules  *ristretto.Cache[uint64, *ruleEntry]
	health *ristretto.Cache[uint64, *healthEntry]
	marks  marks

	policies policies

	negative [negativeSlots]atomic.Pointer[negativeEntry]

	mu      sync.Mutex // guards flights and bucket
	flights map[[32]byte]*flight
	bucket  bucket
	cold    chan struct{} // a place per look-up under way
	running sync.WaitGroup

	stats stats
}

type stats struct {
	coldLoads, notFound, overloaded, failed, stale atomic.Int64
}

// Stats counts what the slow path did since the start.
type Stats struct {
	ColdLoads  int64 // look-ups sent to the store
	NotFound   int64 // of these: no such key
	Failed     int64 // of these: the store did not answer
	Overloaded int64 // refused without a look-up
	Stale      int64 // cached keys thrown away because something newer was recorded
	Revoked    int   // members of the revoked set
}

// New makes a catalogue with an empty snapshot of revision 0.
func New(o Options) (*Catalog, error) {
	setDefault(&o.CachedKeys, 200_000)
	setDefault(&o.CachedRules, 200_000)
	setDefault(&o.ColdAtOnce, 8)
	setDefault(&o.ColdQueue, 1024)
	setDefault(&o.ColdRate, 1000)
	setDefault(&o.ColdTimeout, 5*time.Second)
	setDefault(&o.NegativeTTL, 10*time.Second)
	c := &Catalog{o: o, flights: make(map[[32]byte]*flight), cold: make(chan struct{}, o.ColdAtOnce)}
	c.bucket = bucket{rate: float64(o.ColdRate), tokens: float64(o.ColdRate)}
	var err error
	if c.keys, err = newCache[*Key](o.CachedKeys); err != nil {
		return nil, err
	}
	if c.rules, err = newCache[*ruleEntry](o.CachedRules); err != nil {
		return nil, err
	}
	if c.health, err = newCache[*healthEntry](10_000); err != nil {
		return nil, err
	}
	c.Publish(&Snapshot{Models: map[string]*Model{}, Providers: map[string]*Provider{}, Groups: map[int64]*Group{}})
	return c, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func newCache[V any](entries int64) (*ristretto.Cache[uint64, V], error) {
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, V]{
		NumCounters: 10 * entries, MaxCost: entries, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make a cache: %w", err)
	}
	return cache, nil
}

// Close waits for look-ups under way and stops the caches' goroutines. Nobody may
// use the catalogue afterwards.
func (c *Catalog) Close() {
	c.running.Wait()
	c.keys.Close()
	c.rules.Close()
	c.health.Close()
}

// Snapshot is the configuration as it stands; never nil. A request takes it once
// and keeps it.
func (c *Catalog) Snapshot() *Snapshot { return c.snapshot.Load() }

// Publish swaps the snapshot in.
func (c *Catalog) Publish(s *Snapshot) {
	if s.tiers == nil { // made by hand
		s.tiers = &tiers{s.Revision, s.Groups}
	}
	c.snapshot.Store(s)
}

// MarkKey records that the key with this digest changed (or came to be) with
// revision rev: what is cached from before is not used any more.
func (c *Catalog) MarkKey(digest *[32]byte, rev int64) { raise(c.marks.keySlot(digest), rev) }

// MarkClient records that a client changed: all its keys are read again.
func (c *Catalog) MarkClient(id, rev int64) { raise(c.marks.clientSlot(id), rev) }

// MarkAll records that anything may have changed up to rev, after a gap in the
// feed: every key is read again.
func (c *Catalog) MarkAll(rev int64) { raise(&c.marks.floor, rev) }

// Restart forgets every key and every mark, for a feed whose revisions went back:
// what was read at revisions that never came to be must not pass for new. The
// revoked set stays.
func (c *Catalog) Restart() {
	c.applied.Store(0)
	c.marks.era.Add(1)
	c.marks.floor.Store(0)
	for i := range c.marks.keys {
		c.marks.keys[i].Store(0)
		c.marks.clients[i].Store(0)
	}
	for i := range c.negative {
		c.negative[i].Store(nil)
	}
}

// Revoke adds a key to the revoked set, for ever.
func (c *Catalog) Revoke(keyID int64) { c.marks.revoked.add(keyID) }

// Applied tells the catalogue that every mark up to rev is set.
func (c *Catalog) Applied(rev int64) { raise(&c.applied, rev) }

// Stats counts what the slow path did.
func (c *Catalog) Stats() Stats {
	return Stats{
		ColdLoads: c.stats.coldLoads.Load(), NotFound: c.stats.notFound.Load(), Failed: c.stats.failed.Load(),
		Overloaded: c.stats.overloaded.Load(), Stale: c.stats.stale.Load(), Revoked: c.marks.revoked.len(),
	}
}
