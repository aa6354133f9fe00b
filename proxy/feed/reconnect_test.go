package feed

import (
	"context"
	"errors"
	"fmt"
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

// Whoever else asks for the newest revision as often spares the feed its polls: what it saw
// is fetched at once, and when nobody asks any more the feed does.
func TestSeenSparesPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.model("one")
		f, _ := start(t, b, Options{})
		synctest.Wait()
		b.set(func() { b.silent = true })
		beat := func() {
			t.Helper()
			sent := time.Now()
			rev, _ := b.Revision(t.Context())
			time.Sleep(2 * time.Millisecond)
			f.Seen(rev, sent)
			if synctest.Wait(); f.Applied() != rev {
				t.Errorf("applied %d behind a beat that saw %d", f.Applied(), rev)
			}
			time.Sleep(500*time.Millisecond - time.Since(sent))
		}
		beat()
		polls := b.get(func() int { return b.polls })
		for range 10 {
			beat()
		}
		if n := b.get(func() int { return b.polls }); n != polls {
			t.Errorf("%d polls in 5 s in which somebody else asked", n-polls)
		}
		for i := range 3 { // of which no notice came
			b.model(fmt.Sprint("more", i))
			beat()
		}
		polls = b.get(func() int { return b.polls })
		time.Sleep(5 * time.Second) // nobody asks
		if n := b.get(func() int { return b.polls }); n < polls+8 {
			t.Errorf("%d polls in 5 s in which nobody else asked", n-polls)
		}
		rev := b.model("last")
		time.Sleep(600 * time.Millisecond)
		if synctest.Wait(); f.Applied() != rev {
			t.Error("a change was not applied")
		}
	})
}

// No poll is spared that something waits for: a load of the catalogue that was put off, and
// the news that the database is back.
func TestSeenDoesNotSpareWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.model("one")
		f, _ := start(t, b, Options{})
		synctest.Wait()
		time.Sleep(time.Second)
		b.model("two")
		synctest.Wait()
		f.Seen(f.Applied(), time.Now())
		rev := b.model("three")
		time.Sleep(2 * spacing)
		if synctest.Wait(); f.Applied() != rev {
			t.Errorf("applied %d, %v behind %d", f.Applied(), 2*spacing, rev)
		}

		b.set(func() { b.err = errAway })
		f.Wake()
		synctest.Wait()
		b.set(func() { b.err = nil })
		for at := time.Now(); f.failing.Load(); time.Sleep(100 * time.Millisecond) {
			f.Seen(f.Applied(), time.Now())
			if time.Since(at) > 2*lastBackoff {
				t.Fatal("the feed has not seen that the database is back")
			}
		}
	})
}
