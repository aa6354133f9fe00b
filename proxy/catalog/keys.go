package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// Key finds the customer key with this digest. The error, if any, is always an
// *apierr.Error: invalid_api_key if there is no such key, key_disabled if it is
// revoked, overloaded or money_unavailable if it cannot be told; never a guess.
// The key may be disabled or expired: that is for the caller to see.
//
// A hit takes no lock but the cache's shard and allocates nothing. A miss waits
// for one look-up that all who ask for the same key share, at most until ctx ends.
func (c *Catalog) Key(ctx context.Context, digest *[32]byte) (*Key, error) {
	if k, ok := c.keys.Get(cacheKey(digest)); ok && k.Digest == *digest {
		if c.marks.fresh(k) {
			return c.admit(k)
		}
		c.stats.stale.Add(1)
	}
	return c.coldKey(ctx, digest)
}

// Cached is Key without the look-up: what can be told of a key before a request's
// body is read (ruling 3.11). known is false for a cold key.
func (c *Catalog) Cached(digest *[32]byte) (k *Key, known bool, err error) {
	if k, ok := c.keys.Get(cacheKey(digest)); ok && k.Digest == *digest && c.marks.fresh(k) {
		k, err := c.admit(k)
		return k, true, err
	}
	if c.isNegative(digest, time.Now()) {
		return nil, true, apierr.ErrInvalidAPIKey
	}
	return nil, false, nil
}

// Still is Cached for a key that the catalogue gave before: known is false if anything newer
// is recorded for it.
func (c *Catalog) Still(k *Key) (known bool, err error) {
	if !c.marks.fresh(k) {
		return false, nil
	}
	_, err = c.admit(k)
	return true, err
}

// admit is the last check: the revoked set, after the cache, so that no stale fill
// resurrects a key (G2).
func (c *Catalog) admit(k *Key) (*Key, error) {
	if c.marks.revoked.has(k.ID) {
		return nil, apierr.ErrKeyDisabled
	}
	return k, nil
}

// cacheKey is the plain uint64 that ristretto takes without hashing; the whole
// digest is compared in the value (ruling 3.8).
func cacheKey(digest *[32]byte) uint64 { return binary.LittleEndian.Uint64(digest[:8]) }

// flight is one look-up under way. key and err are written before done is closed.
type flight struct {
	done chan struct{}
	key  *Key
	err  error
}

// coldKey looks a key up behind the cache.
func (c *Catalog) coldKey(ctx context.Context, digest *[32]byte) (*Key, error) {
	// A change can be recorded while a look-up is under way; its result is then too
	// old. Two changes of one key within two look-ups do not happen by themselves.
	for range 3 {
		now := time.Now()
		if c.isNegative(digest, now) {
			return nil, apierr.ErrInvalidAPIKey
		}
		f := c.join(digest, now)
		if f == nil {
			c.stats.overloaded.Add(1)
			return nil, apierr.ErrOverloaded
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, apierr.ErrOverloaded.WithCause(ctx.Err())
		}
		if f.err != nil {
			return nil, f.err
		}
		if c.marks.fresh(f.key) {
			return c.admit(f.key)
		}
		c.stats.stale.Add(1)
	}
	c.stats.overloaded.Add(1)
	return nil, apierr.ErrOverloaded
}

// join returns the look-up of this digest that is under way, or begins one; nil
// if there are too many (ruling 3.10).
func (c *Catalog) join(digest *[32]byte, now time.Time) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[*digest]; f != nil {
		return f
	}
	if len(c.flights) >= c.o.ColdQueue || !c.bucket.take(now) {
		return nil
	}
	f := &flight{done: make(chan struct{})}
	c.flights[*digest] = f
	c.running.Add(1)
	go c.look(f, *digest)
	return f
}

// look runs one look-up, with a context of its own: whoever asked first may leave
// without failing the others.
func (c *Catalog) look(f *flight, digest [32]byte) {
	defer c.running.Done()
	ctx, cancel := context.WithTimeout(context.Background(), c.o.ColdTimeout)
	defer cancel()
	f.key, f.err = c.load(ctx, &digest)
	c.mu.Lock()
	delete(c.flights, digest)
	c.mu.Unlock()
	close(f.done)
}

func (c *Catalog) load(ctx context.Context, digest *[32]byte) (*Key, error) {
	select {
	case c.cold <- struct{}{}:
		defer func() { <-c.cold }()
	case <-ctx.Done():
		c.stats.overloaded.Add(1)
		return nil, apierr.ErrOverloaded.WithCause(ctx.Err())
	}
	// Read before the look-up: a key made after this revision leaves a mark newer
	// than the negative entry.
	revision, era := c.applied.Load(), c.marks.era.Load()
	c.stats.coldLoads.Add(1)
	row, err := c.o.Store.LoadKey(ctx, *digest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.stats.notFound.Add(1)
		c.remember(digest, revision, time.Now())
		return nil, apierr.ErrInvalidAPIKey
	case err != nil:
		c.stats.failed.Add(1)
		return nil, apierr.ErrMoneyUnavailable.WithCause(err)
	case row.Digest != *digest:
		c.stats.failed.Add(1)
		return nil, apierr.ErrProxyError.WithCause(errors.New("the store answered with another key"))
	}
	k := newKey(row)
	k.Policy, k.Unruled = c.policies.of(row.ClientID, row.Rules, c.o.Secret)
	k.era = era
	if c.o.Live != nil {
		k.Live = c.o.Live(k.ID, k.WalletID)
	}
	c.keys.Set(cacheKey(digest), k, 1)
	return k, nil
}

// negativeSlots bounds the memory of unknown keys: a newcomer takes the place of
// whoever has the same slot, so that a spray of random keys pushes out nothing but
// other unknown keys.
const negativeSlots = 1 << 13

type negativeEntry struct {
	digest   [32]byte
	revision int64
	until    time.Time
}

func (c *Catalog) isNegative(digest *[32]byte, now time.Time) bool {
	e := c.negative[cacheKey(digest)%negativeSlots].Load()
	return e != nil && e.digest == *digest && now.Before(e.until) && c.marks.freshDigest(digest, e.revision)
}

func (c *Catalog) remember(digest *[32]byte, revision int64, now time.Time) {
	c.negative[cacheKey(digest)%negativeSlots].Store(
		&negativeEntry{digest: *digest, revision: revision, until: now.Add(c.o.NegativeTTL)})
}

// bucket lets so many look-ups through a second, and as many at once. It is used
// under the catalogue's lock.
type bucket struct {
	rate, tokens float64
	last         time.Time
}

func (b *bucket) take(now time.Time) bool {
	if !b.last.IsZero() {
		b.tokens = min(b.rate, b.tokens+b.rate*max(0, now.Sub(b.last).Seconds()))
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
