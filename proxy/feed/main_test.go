package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"tokenrelay/proxy/catalog"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// The test server outlives the tests: the goroutine that waits for it is not a leak.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("tokenrelay/shared/embedpg.reap"))
}

// book is a store with a change feed, as Postgres is one.
type book struct {
	mu      sync.Mutex
	rev     int64
	log     []store.Change // from revision first
	first   int64
	rows    store.CatalogRows
	keys    map[[32]byte]store.KeyRow
	err     error // of every call while set
	listens []func(channel, payload string)
	silent  bool // notices are lost

	loads, polls, listenCalls int
	cut                       chan error // ends Listen
	stuck                     func()     // runs in LoadCatalog
}

func newBook() *book {
	return &book{keys: make(map[[32]byte]store.KeyRow), cut: make(chan error), first: 1, rows: store.CatalogRows{
		Groups: []store.GroupRow{{ID: 1, Name: "default", AllModels: true, PPM: price.PPM}},
	}}
}

// write makes one change, as a transaction does.
func (b *book) write(c store.Change, f func()) int64 {
	b.mu.Lock()
	b.rev++
	c.Rev = b.rev
	b.log = append(b.log, c)
	if f != nil {
		f()
	}
	rev, notify := b.rev, b.listens
	if b.silent {
		notify = nil
	}
	b.mu.Unlock()
	for _, n := range notify {
		n(store.ChannelConfig, fmt.Sprint(rev))
	}
	return rev
}

func (b *book) model(name string) int64 {
	return b.write(store.Change{Kind: store.KindCatalog}, func() {
		b.rows.Models = append(b.rows.Models, store.ModelRow{ID: b.rev, PublicID: name, PPM: price.PPM})
	})
}

func digestOf(n int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "key %d", n)) }

func (b *book) key(n int, detail string, f func(*store.KeyRow)) int64 {
	d := digestOf(n)
	return b.write(store.Change{Kind: store.KindKey, ID: int64(n), Digest: d, Detail: detail}, func() {
		row, ok := b.keys[d]
		if !ok {
			row = store.KeyRow{ID: int64(n), Digest: d, Status: store.KeyActive, ClientActive: true, ClientID: int64(100 + n), KeyLimits: store.Unlimited()}
		}
		if f != nil {
			f(&row)
		}
		b.keys[d] = row
	})
}

func (b *book) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *book) get(f func() int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return f()
}

func (b *book) Revision(context.Context) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rev, b.err
}

func (b *book) Changes(_ context.Context, after int64, max int) ([]store.Change, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.polls++
	var out []store.Change
	for _, c := range b.log {
		if c.Rev > after && c.Rev >= b.first && len(out) < max {
			out = append(out, c)
		}
	}
	return out, b.err
}

func (b *book) LoadCatalog(context.Context) (*store.CatalogRows, error) {
	b.mu.Lock()
	b.loads++
	stuck := b.stuck
	rows := b.rows
	rows.Models = append([]store.ModelRow(nil), rows.Models...)
	rows.Revision = b.rev
	err := b.err
	b.mu.Unlock()
	if stuck != nil {
		stuck()
	}
	return &rows, err
}

func (b *book) RefreshCatalog(ctx context.Context) (*store.CatalogRows, error) {
	return b.LoadCatalog(ctx)
}

func (b *book) RevokedKeys(_ context.Context, after int64, max int) ([]store.RevokedKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []store.RevokedKey
	for id := after + 1; id <= int64(len(b.keys)) && len(out) < max; id++ {
		if row := b.keys[digestOf(int(id))]; row.Status == store.KeyRevoked {
			out = append(out, store.RevokedKey{ID: id, Digest: row.Digest})
		}
	}
	return out, b.err
}

func (b *book) Listen(ctx context.Context, ready func(), notify func(channel, payload string)) error {
	b.mu.Lock()
	b.listenCalls++
	err := b.err
	if err == nil {
		b.listens = []func(string, string){notify}
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	ready()
	defer b.set(func() { b.listens = nil })
	select {
	case err := <-b.cut:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *book) LoadKey(_ context.Context, digest [32]byte) (*store.KeyRow, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row, ok := b.keys[digest]
	if b.err != nil {
		return nil, b.err
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	row.Revision = b.rev
	return &row, nil
}

var errAway = errors.New("connection refused")

// start makes a catalogue and a started feed. Both end with the test's bubble.
func start(t *testing.T, b *book, o Options) (*Feed, *catalog.Catalog) {
	t.Helper()
	c, err := catalog.New(catalog.Options{Store: b, CachedKeys: 100, CachedRules: 100})
	if err != nil {
		t.Fatal(err)
	}
	o.Store, o.Catalog = b, c
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Open = func(*store.ProviderKeyRow) (string, error) { return "secret", nil }
	f := New(o)
	if err := f.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Stop()
		c.Close()
	})
	return f, c
}

func metric(f *Feed, name string) string {
	var text strings.Builder
	f.o.Metrics.WriteMetrics(&text)
	for _, line := range strings.Split(text.String(), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	return ""
}
