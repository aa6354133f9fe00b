package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a store of keys with a revision, as Postgres is one.
type table struct {
	mu       sync.Mutex
	revision int64
	rows     map[[32]byte]store.KeyRow

	loads   int
	running int
	most    int
	err     error
	before  func() // runs in every look-up before it reads
	after   func() // and after it has read
}

func newTable() *table { return &table{rows: make(map[[32]byte]store.KeyRow)} }

func (t *table) LoadKey(ctx context.Context, digest [32]byte) (*store.KeyRow, error) {
	t.mu.Lock()
	t.loads++
	t.running++
	t.most = max(t.most, t.running)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.running--
		t.mu.Unlock()
	}()
	if t.before != nil {
		t.before()
	}
	t.mu.Lock()
	row, ok := t.rows[digest]
	row.Revision = t.revision
	err := t.err
	t.mu.Unlock()
	if t.after != nil {
		t.after()
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("cannot load a key: %w", store.ErrNotFound)
	}
	return &row, nil
}

func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loads
}

func digestOf(n int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "key %d", n)) }

// put stores key n as one change and returns its revision.
func (t *table) put(n int, change func(*store.KeyRow)) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revision++
	d := digestOf(n)
	row, ok := t.rows[d]
	if !ok {
		row = store.KeyRow{
			ID: int64(n), PublicID: fmt.Sprint("k", n), Digest: d, Status: store.KeyActive, KeyLimits: store.Unlimited(),
			ClientID: int64(1000 + n), ClientActive: true, ClientPPM: price.PPM, WalletID: int64(2000 + n), GroupID: 1,
		}
	}
	if change != nil {
		change(&row)
	}
	t.rows[d] = row
	return t.revision
}

func newCatalog(t testing.TB, o Options) *Catalog {
	t.Helper()
	if o.CachedKeys == 0 {
		o.CachedKeys = 10_000
	}
	if o.CachedRules == 0 {
		o.CachedRules = 10_000
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func get(t testing.TB, c *Catalog, n int) *Key {
	t.Helper()
	d := digestOf(n)
	k, err := c.Key(context.Background(), &d)
	if err != nil {
		t.Fatalf("key %d: %v", n, err)
	}
	if k.ID != int64(n) || k.Digest != d {
		t.Fatalf("asked for key %d, got %d", n, k.ID)
	}
	return k
}

func refused(t testing.TB, c *Catalog, n int, want apierr.Code) *apierr.Error {
	t.Helper()
	d := digestOf(n)
	k, err := c.Key(context.Background(), &d)
	var e *apierr.Error
	if k != nil || !errors.As(err, &e) || e.Code != want {
		t.Fatalf("key %d: %v, %v; want %s", n, k, err, want)
	}
	return e
}

// warm loads the key and waits until the cache holds it.
func warm(t testing.TB, c *Catalog, n int) *Key {
	t.Helper()
	k := get(t, c, n)
	c.keys.Wait()
	return k
}
