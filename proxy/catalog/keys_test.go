package catalog

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/live"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

func TestWarmKeyIsNotLookedUpAgain(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	lives := map[int64]*live.Key{}
	c := newCatalog(t, Options{Store: db, Live: func(id, wallet int64) *live.Key {
		if wallet != 2001 {
			t.Errorf("wallet %d", wallet)
		}
		if lives[id] == nil {
			lives[id] = new(live.Key)
		}
		return lives[id]
	}})
	first := warm(t, c, 1)
	for range 100 {
		if k := get(t, c, 1); k != first || k.Live != lives[1] {
			t.Fatalf("got %p, want %p", k, first)
		}
	}
	if db.count() != 1 {
		t.Errorf("%d look-ups", db.count())
	}
	// Reloaded, the key keeps its counters.
	c.MarkKey(&first.Digest, db.put(1, func(r *store.KeyRow) { r.RPM = 5 }))
	if k := get(t, c, 1); k == first || k.RPM != 5 || k.Live != first.Live {
		t.Errorf("%+v", k)
	}
}

// Whatever is recorded as newer than a cached key makes it be read again.
func TestChangesReachCachedKeys(t *testing.T) {
	for name, change := range map[string]func(c *Catalog, rev int64){
		"key":    func(c *Catalog, rev int64) { d := digestOf(1); c.MarkKey(&d, rev) },
		"client": func(c *Catalog, rev int64) { c.MarkClient(1001, rev) },
		"all":    func(c *Catalog, rev int64) { c.MarkAll(rev) },
		"era":    func(c *Catalog, rev int64) { c.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			db := newTable()
			db.put(1, nil)
			c := newCatalog(t, Options{Store: db})
			warm(t, c, 1)
			rev := db.put(1, func(r *store.KeyRow) { r.Status = store.KeyDisabled; r.ClientPPM = 7 })
			change(c, rev)
			for range 3 {
				if k := warm(t, c, 1); k.Status != KeyDisabled || k.ClientPPM != 7 || k.Revision != rev {
					t.Fatalf("%+v", k)
				}
			}
			if db.count() != 2 {
				t.Errorf("%d look-ups, want 2", db.count())
			}
		})
	}
}

// After revisions went back, what was read at higher ones does not pass for new.
func TestRestartForgetsHigherRevisions(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	db.revision = 105
	c := newCatalog(t, Options{Store: db})
	d := digestOf(1)
	c.MarkKey(&d, 105)
	c.Applied(105)
	warm(t, c, 1)
	db.revision = 99
	db.put(1, func(r *store.KeyRow) { r.RPM = 3 })
	c.Restart()
	c.MarkAll(100)
	c.Applied(100)
	if k := warm(t, c, 1); k.RPM != 3 || k.Revision != 100 {
		t.Fatalf("%+v", k)
	}
	loads := db.count()
	if get(t, c, 1); db.count() != loads {
		t.Error("the key is not cached after the restart")
	}
}

func TestRevokedIsForEver(t *testing.T) { // G2: checked last, after the cache
	db := newTable()
	db.put(1, nil)
	c := newCatalog(t, Options{Store: db})
	first := warm(t, c, 1).Digest
	c.Revoke(1)
	refused(t, c, 1, apierr.KeyDisabled)
	if _, known, err := c.Cached(&first); !known || err == nil {
		t.Error("Cached lets a revoked key through")
	}
	// Even if everything else says that it is alive.
	c.Restart()
	refused(t, c, 1, apierr.KeyDisabled)
	if c.Stats().Revoked != 1 {
		t.Errorf("%+v", c.Stats())
	}
}

func TestUnknownKeyIsRememberedAndFoundOnceItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTable()
		c, err := New(Options{Store: db, CachedKeys: 100, CachedRules: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 50 {
			refused(t, c, 1, apierr.InvalidAPIKey)
		}
		if db.count() != 1 {
			t.Errorf("%d look-ups of an unknown key", db.count())
		}
		time.Sleep(10*time.Second + 1)
		refused(t, c, 1, apierr.InvalidAPIKey)
		if db.count() != 2 {
			t.Errorf("%d look-ups after 10 s", db.count())
		}
		// A new key works as soon as the feed has brought it, not 10 s later.
		d := digestOf(1)
		rev := db.put(1, nil)
		c.MarkKey(&d, rev)
		c.Applied(rev)
		get(t, c, 1)
	})
}

// The mark of a new key can be set before the look-up that missed it ends.
func TestKeyMadeDuringTheLookUpIsNotForgotten(t *testing.T) {
	db := newTable()
	c := newCatalog(t, Options{Store: db})
	d := digestOf(1)
	db.after = func() {
		db.after = nil
		rev := db.put(1, nil)
		c.MarkKey(&d, rev)
		c.Applied(rev)
	}
	refused(t, c, 1, apierr.InvalidAPIKey)
	get(t, c, 1)
}

// A change recorded while a look-up is under way: its result is not used.
func TestLookUpOvertakenByAChange(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	c := newCatalog(t, Options{Store: db})
	d := digestOf(1)
	db.after = func() {
		db.after = nil
		c.MarkKey(&d, db.put(1, func(r *store.KeyRow) { r.Status = store.KeyRevoked }))
	}
	if k := get(t, c, 1); k.Status != KeyRevoked {
		t.Fatalf("%+v", k)
	}
	// One that is overtaken again and again is refused for now, never guessed.
	db.after = func() { c.MarkKey(&d, db.put(1, nil)) }
	c.MarkKey(&d, db.put(1, nil))
	if e := refused(t, c, 1, apierr.Overloaded); e.RetryAfter < 1 {
		t.Errorf("%+v", e)
	}
}

func TestOneLookUpServesAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTable()
		db.put(1, nil)
		release := make(chan struct{})
		db.before = func() { <-release }
		c, err := New(Options{Store: db, CachedKeys: 100, CachedRules: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { get(t, c, 1) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if db.count() != 1 {
			t.Errorf("%d look-ups for one key", db.count())
		}
	})
}

// Whoever leaves does not fail the others, and the others' key is cached.
func TestCallerThatLeavesFailsNobodyElse(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	release := make(chan struct{})
	db.before = func() { <-release }
	c := newCatalog(t, Options{Store: db})
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error)
	d := digestOf(1)
	go func() {
		_, err := c.Key(ctx, &d)
		first <- err
	}()
	time.Sleep(10 * time.Millisecond)
	second := make(chan struct{})
	go func() { get(t, c, 1); close(second) }()
	cancel()
	var e *apierr.Error
	if err := <-first; !errors.As(err, &e) || e.Code != apierr.Overloaded {
		t.Errorf("who left got %v", err)
	}
	close(release)
	<-second
}

// Postgres away: 503, never 401 by guess; a warm key serves on (B5).
func TestStoreAwayIsNotUnknown(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	db.put(2, nil)
	c := newCatalog(t, Options{Store: db})
	warm(t, c, 1)
	cause := errors.New("connection refused")
	db.err = cause
	get(t, c, 1)
	if e := refused(t, c, 2, apierr.MoneyUnavailable); e.Status != 503 || e.RetryAfter < 1 || !errors.Is(e, cause) {
		t.Errorf("%+v", e)
	}
	db.err = nil
	get(t, c, 2)
}

func TestLookUpThatHangsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		db := newTable()
		db.before = func() { <-hang }
		c, err := New(Options{Store: db, CachedKeys: 100, CachedRules: 100, ColdAtOnce: 1, ColdTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan struct{})
		go func() {
			defer close(first)
			d := digestOf(1)
			if _, err := c.Key(context.Background(), &d); err == nil {
				t.Error("a look-up that hung gave a key")
			}
		}()
		synctest.Wait()
		// The second one does not get a place in time.
		refused(t, c, 2, apierr.Overloaded)
		close(hang)
		<-first
		c.Close()
	})
}

func TestCachedNeverLooksUp(t *testing.T) { // ruling 3.11
	db := newTable()
	db.put(1, nil)
	c := newCatalog(t, Options{Store: db})
	d, unknown := digestOf(1), digestOf(2)
	if _, known, err := c.Cached(&d); known || err != nil {
		t.Error("a cold key is known")
	}
	warm(t, c, 1)
	if k, known, err := c.Cached(&d); !known || err != nil || k.ID != 1 {
		t.Errorf("%v %v %v", k, known, err)
	}
	refused(t, c, 2, apierr.InvalidAPIKey)
	if _, known, err := c.Cached(&unknown); !known || err == nil {
		t.Error("an unknown key is not known to be unknown")
	}
	c.MarkKey(&d, 99)
	if _, known, _ := c.Cached(&d); known {
		t.Error("a stale key is known")
	}
	if db.count() != 2 {
		t.Errorf("%d look-ups", db.count())
	}
}

// A key that was given before is the same until anything newer is recorded, for it, for its
// client or for all; a revoked one is refused (G2).
func TestStill(t *testing.T) {
	for _, of := range []struct {
		name   string
		change func(c *Catalog, k *Key)
		known  bool
		err    error
	}{
		{"nothing", func(*Catalog, *Key) {}, true, nil},
		{"the key", func(c *Catalog, k *Key) { c.MarkKey(&k.Digest, k.Revision+1) }, false, nil},
		{"its client", func(c *Catalog, k *Key) { c.MarkClient(k.ClientID, k.Revision+1) }, false, nil},
		{"all", func(c *Catalog, _ *Key) { c.Restart() }, false, nil},
		{"revoked", func(c *Catalog, k *Key) { c.Revoke(k.ID) }, true, apierr.ErrKeyDisabled},
	} {
		db := newTable()
		db.put(1, nil)
		c := newCatalog(t, Options{Store: db})
		warm(t, c, 1)
		d := digestOf(1)
		k, _, _ := c.Cached(&d)
		of.change(c, k)
		if known, err := c.Still(k); known != of.known || err != of.err {
			t.Errorf("%s changed: %v %v", of.name, known, err)
		}
	}
}

// A store that answers with another key is not believed.
func TestAnswerForAnotherKeyIsRefused(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	db.put(2, nil)
	c := newCatalog(t, Options{Store: swapped{db}})
	refused(t, c, 1, apierr.ProxyError)
}

type swapped struct{ *table }

func (s swapped) LoadKey(ctx context.Context, _ [32]byte) (*store.KeyRow, error) {
	return s.table.LoadKey(ctx, digestOf(2))
}

// Two keys whose digests begin alike share a place in the cache, never an answer
// (ruling 3.8: ristretto does not compare uint64 keys further).
func TestEqualCacheKeysAreToldApart(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	d := digestOf(1)
	twin := d
	twin[31] ^= 1
	db.rows[twin] = store.KeyRow{ID: 77, Digest: twin, Status: store.KeyActive, ClientActive: true, KeyLimits: store.Unlimited()}
	c := newCatalog(t, Options{Store: db})
	for range 20 {
		a, err := c.Key(context.Background(), &d)
		if err != nil || a.ID != 1 {
			t.Fatalf("%v %v", a, err)
		}
		c.keys.Wait()
		b, err := c.Key(context.Background(), &twin)
		if err != nil || b.ID != 77 {
			t.Fatalf("%v %v", b, err)
		}
		c.keys.Wait()
	}
}
