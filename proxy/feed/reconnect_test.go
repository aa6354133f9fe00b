package feed

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/shared/store"
)

// B1, D7: while Postgres is away the proxy keeps what it has and asks ever less
// often; once it is back, everything that happened meanwhile arrives.
func TestPostgresAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.model("one")
		f, c := start(t, b, Options{})
		synctest.Wait()
		b.set(func() { b.err = errAway })
		b.cut <- errAway
		time.Sleep(10 * time.Minute)
		b.set(func() {
			if b.polls > 300 || b.listenCalls > 300 {
				t.Errorf("%d polls and %d connects in 10 minutes", b.polls, b.listenCalls)
			}
			b.polls, b.listenCalls = 0, 0
			b.rows.Models = append(b.rows.Models, store.ModelRow{ID: 99, PublicID: "two"})
			b.rev++
			b.log = append(b.log, store.Change{Rev: b.rev, Kind: store.KindCatalog})
		})
		if c.Snapshot().Models["one"] == nil || f.Applied() != 1 || metric(f, "relay_feed_listening") != "0" {
			t.Errorf("applied %d", f.Applied())
		}
		b.set(func() { b.err = nil })
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if c.Snapshot().Models["two"] == nil || f.Applied() != 2 || metric(f, "relay_feed_listening") != "1" {
			t.Errorf("back: applied %d, listening %s", f.Applied(), metric(f, "relay_feed_listening"))
		}
		// And at its usual pace again.
		b.model("three")
		synctest.Wait()
		if f.Applied() != 3 {
			t.Errorf("applied %d", f.Applied())
		}
	})
}

// The listening connection breaks alone: polls go on, and what was changed between
// is applied when it listens again.
func TestListenBreaksAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		f, _ := start(t, b, Options{})
		synctest.Wait()
		b.cut <- errors.New("broken pipe")
		b.model("between")
		time.Sleep(time.Second)
		synctest.Wait()
		if f.Applied() != 1 || metric(f, `relay_feed_errors_total{what="listen"}`) != "1" {
			t.Errorf("applied %d", f.Applied())
		}
		if n := b.get(func() int { return b.listenCalls }); n != 2 {
			t.Errorf("%d connects", n)
		}
		b.model("noticed")
		synctest.Wait()
		if f.Applied() != 2 {
			t.Errorf("applied %d: it does not listen again", f.Applied())
		}
	})
}

// Start waits for Postgres (any start order), and no longer than it is told to.
func TestStartWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.err = errAway
		c, err := catalog.New(catalog.Options{Store: b, CachedKeys: 100, CachedRules: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f := New(Options{Store: b, Catalog: c, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.Start(ctx); !errors.Is(err, errAway) {
			t.Errorf("Start ended with %v", err)
		}
		f.Stop()
		go func() {
			time.Sleep(30 * time.Second)
			b.set(func() { b.err = nil })
		}()
		if err := f.Start(context.Background()); err != nil {
			t.Error(err)
		}
		f.Stop()
	})
}

// B7: a failover lost commits: the revision goes back, and the numbers that were
// seen are given to other changes.
func TestRevisionGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.key(1, store.KeyCreated, nil)
		b.model("kept")
		b.model("lost")
		b.key(1, store.KeyDisabledOp, func(r *store.KeyRow) { r.Status = store.KeyDisabled })
		f, c := start(t, b, Options{})
		synctest.Wait()
		d := digestOf(1)
		if k, err := c.Key(context.Background(), &d); err != nil || k.Status != catalog.KeyDisabled || f.Applied() != 4 {
			t.Fatalf("%v %v", k, err)
		}
		b.set(func() {
			b.rev, b.log, b.rows.Models = 2, b.log[:2], b.rows.Models[:1]
			row := b.keys[d]
			row.Status = store.KeyActive
			b.keys[d] = row
		})
		b.cut <- errAway
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.Snapshot().Models["lost"] != nil || c.Snapshot().Models["kept"] == nil || f.Applied() != 2 {
			t.Errorf("applied %d", f.Applied())
		}
		if k, err := c.Key(context.Background(), &d); err != nil || k.Status != catalog.KeyActive {
			t.Errorf("%+v %v", k, err)
		}
		b.key(1, store.KeyDisabledOp, func(r *store.KeyRow) { r.Status = store.KeyDisabled })
		synctest.Wait()
		if k, err := c.Key(context.Background(), &d); err != nil || k.Status != catalog.KeyDisabled || f.Applied() != 3 {
			t.Errorf("%+v %v, applied %d", k, err, f.Applied())
		}
	})
}
