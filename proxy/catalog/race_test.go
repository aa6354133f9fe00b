package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// G2: the race that left 1,641 of 3,000 revoked keys alive in a cache that was
// filled and deleted aside: look-ups racing a revoke whose change is applied 0 to 1
// ms later. Once the change is applied, no look-up may pass again.
func TestRevokeRacingAFillResurrectsNothing(t *testing.T) {
	const keys = 3000
	db := newTable()
	for n := 1; n <= keys; n++ {
		db.put(n, nil)
	}
	db.after = func() { time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond) }
	c := newCatalog(t, Options{Store: db, ColdAtOnce: 64, ColdRate: 1_000_000})
	var alive, filled atomic.Int64
	var wg sync.WaitGroup
	places := make(chan struct{}, 16)
	for n := 1; n <= keys; n++ {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			d := digestOf(n)
			var fills sync.WaitGroup
			for range 2 {
				fills.Go(func() {
					if k, err := c.Key(context.Background(), &d); err == nil && k.Status == KeyActive {
						filled.Add(1)
					}
				})
			}
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			rev := db.put(n, func(r *store.KeyRow) { r.Status = store.KeyRevoked })
			// Only the mark, as for a key that is disabled: the revoked set would make
			// the test pass by itself.
			c.MarkKey(&d, rev)
			for i := range 6 {
				if k, err := c.Key(context.Background(), &d); err == nil && k.Status == KeyActive {
					alive.Add(1)
				}
				if i == 2 {
					fills.Wait() // from here on no fill is under way any more
					c.keys.Wait()
				}
			}
		})
	}
	wg.Wait()
	if alive.Load() != 0 {
		t.Errorf("%d answers said that a revoked key is alive", alive.Load())
	}
	if filled.Load() < keys/10 {
		t.Errorf("only %d fills met a living key: the race was not run", filled.Load())
	}
}

// An eviction, a dropped Set, a wiped cache: never another answer than the table's.
func TestTinyCacheNeverChangesAnAnswer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := newTable()
		size := rapid.Int64Range(1, 4).Draw(rt, "cache size")
		c, err := New(Options{Store: db, CachedKeys: size, CachedRules: size, ColdRate: 1_000_000})
		if err != nil {
			rt.Fatal(err)
		}
		defer c.Close()
		drawKey := func(rt *rapid.T) int { return rapid.IntRange(1, 12).Draw(rt, "key") }
		change := func(rt *rapid.T, f func(*store.KeyRow)) {
			n := drawKey(rt)
			d := digestOf(n)
			if row, ok := db.rows[d]; ok && row.Status == store.KeyRevoked {
				return
			}
			rev := db.put(n, f)
			if db.rows[d].Status == store.KeyRevoked {
				c.Revoke(int64(n))
			}
			c.MarkKey(&d, rev)
			c.Applied(rev)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put":     func(rt *rapid.T) { change(rt, nil) },
			"limit":   func(rt *rapid.T) { change(rt, func(r *store.KeyRow) { r.RPM++ }) },
			"disable": func(rt *rapid.T) { change(rt, func(r *store.KeyRow) { r.Status = store.KeyDisabled }) },
			"enable":  func(rt *rapid.T) { change(rt, func(r *store.KeyRow) { r.Status = store.KeyActive }) },
			"revoke":  func(rt *rapid.T) { change(rt, func(r *store.KeyRow) { r.Status = store.KeyRevoked }) },
			"wipe":    func(*rapid.T) { c.keys.Clear() },
			"settle":  func(*rapid.T) { c.keys.Wait() },
			"ask": func(rt *rapid.T) {
				n := drawKey(rt)
				d := digestOf(n)
				k, err := c.Key(context.Background(), &d)
				row, ok := db.rows[d]
				var e *apierr.Error
				switch {
				case !ok:
					if !errors.As(err, &e) || e.Code != apierr.InvalidAPIKey {
						rt.Fatalf("unknown key %d: %v, %v", n, k, err)
					}
				case row.Status == store.KeyRevoked:
					if !errors.As(err, &e) || e.Code != apierr.KeyDisabled {
						rt.Fatalf("revoked key %d: %v, %v", n, k, err)
					}
				case err != nil:
					rt.Fatalf("key %d: %v", n, err)
				case int16(k.Status) != int16(row.Status) || k.RPM != row.RPM:
					rt.Fatalf("key %d: got %+v, the table has %+v", n, k, row)
				}
			},
		})
	})
}
