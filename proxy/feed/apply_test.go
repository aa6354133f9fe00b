package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

func TestStartLoadsTheCatalogueAndNoKeys(t *testing.T) { // ruling 3.31
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.model("one")
		b.key(1, store.KeyCreated, nil)
		b.key(2, store.KeyRevokedOp, func(r *store.KeyRow) { r.Status = store.KeyRevoked })
		f, c := start(t, b, Options{})
		if c.Snapshot().Models["one"] == nil || f.Applied() != 3 || c.Stats().ColdLoads != 0 || c.Stats().Revoked != 1 {
			t.Errorf("applied %d, %+v", f.Applied(), c.Stats())
		}
	})
}

// D7: a notice brings a change at once, a lost one within a poll.
func TestChangesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		f, c := start(t, b, Options{})
		synctest.Wait()
		rev := b.model("noticed")
		synctest.Wait()
		if c.Snapshot().Models["noticed"] == nil || f.Applied() != rev {
			t.Fatalf("applied %d, want %d at once", f.Applied(), rev)
		}
		b.set(func() { b.silent = true })
		rev = b.model("polled")
		synctest.Wait()
		if c.Snapshot().Models["polled"] != nil {
			t.Fatal("the notice was not lost")
		}
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if c.Snapshot().Models["polled"] == nil || f.Applied() != rev {
			t.Fatalf("applied %d, want %d after a poll", f.Applied(), rev)
		}
	})
}

// Many changes that are waiting cost one load of the catalogue.
func TestCatalogueChangesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		f, c := start(t, b, Options{})
		synctest.Wait()
		release := make(chan struct{})
		b.set(func() {
			b.stuck = func() { <-release }
			b.loads = 0
		})
		b.model("first")
		synctest.Wait() // its load is under way
		for i := range 2500 {
			b.model("waiting " + strconv.Itoa(i))
		}
		b.set(func() { b.stuck = nil })
		close(release)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := b.get(func() int { return b.loads }); n != 2 || f.Applied() != 2501 || c.Snapshot().Revision != 2501 {
			t.Errorf("%d loads, applied %d, snapshot %d", n, f.Applied(), c.Snapshot().Revision)
		}
		// A writer in a loop: at most one load in 50 ms, and the last change is in.
		b.set(func() { b.loads = 0 })
		for i := range 100 {
			b.model("looped " + strconv.Itoa(i))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := b.get(func() int { return b.loads }); n > 22 || f.Applied() != 2601 {
			t.Errorf("%d loads in a second, applied %d", n, f.Applied())
		}
		loads := b.get(func() int { return b.loads })
		b.key(1, store.KeyCreated, nil)
		synctest.Wait()
		if b.get(func() int { return b.loads }) != loads {
			t.Error("a change of a key loaded the catalogue")
		}
	})
}

// G1, ruling 1.8: disable and revoke cut running streams, rotate lets them finish,
// enable lets new ones in; nobody is admitted after the change.
func TestKeyChangesCutAndMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		lives := map[int64]*live.Key{}
		for n := range 4 {
			b.key(n+1, store.KeyCreated, nil)
			lives[int64(n+1)] = new(live.Key)
		}
		var told []string
		_, c := start(t, b, Options{
			Live: func(id int64) *live.Key { return lives[id] },
			Key:  func(id int64, detail string) { told = append(told, detail) },
		})
		synctest.Wait()
		status := func(n int) any {
			d := digestOf(n)
			k, err := c.Key(context.Background(), &d)
			var e *apierr.Error
			if errors.As(err, &e) {
				return e.Code
			}
			return k.Status
		}
		for n := range 4 {
			if got := status(n + 1); got != catalog.KeyActive {
				t.Fatalf("key %d is %v", n+1, got)
			}
		}
		b.key(1, store.KeyDisabledOp, func(r *store.KeyRow) { r.Status = store.KeyDisabled })
		b.key(2, store.KeyRevokedOp, func(r *store.KeyRow) { r.Status = store.KeyRevoked })
		b.key(3, store.KeyRotated, func(r *store.KeyRow) { r.Status = store.KeyRevoked })
		b.key(4, store.KeyPatched, func(r *store.KeyRow) { r.RPM = 5 })
		b.key(5, store.KeyCreated, nil) // nobody uses it: no live side
		synctest.Wait()
		for n, want := range map[int]any{1: catalog.KeyDisabled, 2: apierr.KeyDisabled, 3: apierr.KeyDisabled, 4: catalog.KeyActive, 5: catalog.KeyActive} {
			if got := status(n); got != want {
				t.Errorf("key %d is %v, want %v", n, got, want)
			}
		}
		for id, want := range map[int64]live.Cut{1: live.CutNow, 2: live.CutNow, 3: live.CutDrain, 4: live.CutNone} {
			if got := lives[id].Cut(); got != want {
				t.Errorf("streams of key %d: %d, want %d", id, got, want)
			}
		}
		b.key(1, store.KeyEnabled, func(r *store.KeyRow) { r.Status = store.KeyActive })
		synctest.Wait()
		if got := status(1); got != catalog.KeyActive || lives[1].Cut() != live.CutNone {
			t.Errorf("enabled again, key 1 is %v, its streams %d", got, lives[1].Cut())
		}
		if !slices.Equal(told, []string{"disable", "revoke", "rotate", "patch", "create", "enable"}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestClientWalletAndSettingChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.key(1, store.KeyCreated, nil)
		var mu sync.Mutex
		var wallets, clients []int64
		var settings, recalls []string
		_, c := start(t, b, Options{
			Wallet:  func(id int64) { wallets = append(wallets, id) },
			Client:  func(id int64) { clients = append(clients, id) },
			Setting: func(name string) { settings = append(settings, name) },
			Recall: func(payload string) {
				mu.Lock()
				recalls = append(recalls, payload)
				mu.Unlock()
			},
		})
		synctest.Wait()
		d := digestOf(1)
		if k, err := c.Key(context.Background(), &d); err != nil || !k.ClientActive {
			t.Fatal(err)
		}
		b.write(store.Change{Kind: store.KindWallet, ID: 9}, nil)
		b.write(store.Change{Kind: store.KindSetting, Detail: "brand"}, nil)
		b.write(store.Change{Kind: store.KindUser, ID: 3}, nil)
		b.write(store.Change{Kind: "something new"}, nil)
		b.write(store.Change{Kind: store.KindClient, ID: 101}, func() {
			row := b.keys[d]
			row.ClientActive = false
			b.keys[d] = row
		})
		b.get(func() int { b.listens[0](store.ChannelRecall, "w 9 2"); return 0 })
		synctest.Wait()
		if k, err := c.Key(context.Background(), &d); err != nil || k.ClientActive {
			t.Errorf("the client's key is still active: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(wallets, []int64{9}) || !slices.Equal(clients, []int64{101}) ||
			!slices.Equal(settings, []string{"brand"}) || !slices.Equal(recalls, []string{"w 9 2"}) {
			t.Errorf("wallets %v, clients %v, settings %v, recalls %v", wallets, clients, settings, recalls)
		}
	})
}

// D6: a bad update leaves the last good snapshot and a metric; keys are still
// applied, and the revision that is reported stays before the bad one.
func TestBadCatalogueKeepsTheLastGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		good := b.model("good")
		f, c := start(t, b, Options{})
		synctest.Wait()
		b.model("good") // the same name twice cannot be built
		b.key(1, store.KeyCreated, nil)
		synctest.Wait()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		d := digestOf(1)
		if _, err := c.Key(context.Background(), &d); err != nil {
			t.Errorf("keys are held up: %v", err)
		}
		if c.Snapshot().Revision != good || f.Applied() != good {
			t.Errorf("snapshot %d, applied %d, want %d", c.Snapshot().Revision, f.Applied(), good)
		}
		if metric(f, `relay_feed_errors_total{what="build"}`) == "0" {
			t.Error("no metric tells of the bad update")
		}
		if n := b.get(func() int { return b.loads }); n > 12 {
			t.Errorf("%d loads of a catalogue that cannot be built in 5 s", n)
		}
		b.write(store.Change{Kind: store.KindCatalog}, func() { b.rows.Models = b.rows.Models[:1] })
		synctest.Wait()
		if f.Applied() != 4 || c.Snapshot().Revision != 4 {
			t.Errorf("mended: snapshot %d, applied %d, want 4", c.Snapshot().Revision, f.Applied())
		}
	})
}

// A row that cannot be used is told of once, not with every snapshot that it is missing in.
func TestRowsLeftOutAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		var log bytes.Buffer
		start(t, b, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		text := func() string {
			synctest.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			defer log.Reset()
			return log.String()
		}
		lines := func(what string) int { return strings.Count(text(), what) }
		odd := func(n int) {
			b.write(store.Change{Kind: store.KindCatalog}, func() {
				b.rows.Providers = nil
				for i := range n {
					b.rows.Providers = append(b.rows.Providers, store.ProviderRow{ID: int64(i + 1), Slug: fmt.Sprint("p", i), Protocol: "smoke"})
				}
			})
		}
		odd(1)
		if n := lines("a row of the catalogue was left out"); n != 1 {
			t.Errorf("%d lines of a row that is left out", n)
		}
		b.model("m")
		if n := lines("left out"); n != 0 {
			t.Errorf("%d lines of a row that was told of", n)
		}
		odd(2)
		if n := lines("a row of the catalogue was left out"); n != 1 {
			t.Errorf("%d lines of one more", n)
		}
		odd(mostTold + 5)
		if all := text(); strings.Count(all, "a row of the catalogue was left out") != mostTold || !strings.Contains(all, "count=3") {
			t.Errorf("of %d more:\n%s", mostTold+3, all)
		}
		odd(0)
		if n := lines("any more"); n != 1 {
			t.Errorf("%d lines of the end", n)
		}
		odd(1)
		if n := lines("a row of the catalogue was left out"); n != 1 {
			t.Errorf("%d lines of a row that is left out again", n)
		}
	})
}

// Changes that were pruned before they were read: everything is read again.
func TestGapReloadsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.key(1, store.KeyCreated, nil)
		b.key(2, store.KeyCreated, nil)
		var wallets []int64
		f, c := start(t, b, Options{Wallet: func(id int64) { wallets = append(wallets, id) }})
		synctest.Wait()
		d1, d2 := digestOf(1), digestOf(2)
		for _, d := range [][32]byte{d1, d2} {
			if _, err := c.Key(context.Background(), &d); err != nil {
				t.Fatal(err)
			}
		}
		b.set(func() { b.silent = true })
		b.key(1, store.KeyDisabledOp, func(r *store.KeyRow) { r.Status = store.KeyDisabled })
		b.key(2, store.KeyRevokedOp, func(r *store.KeyRow) { r.Status = store.KeyRevoked })
		b.model("new")
		b.set(func() { b.first = 5 }) // 3 and 4 are pruned
		time.Sleep(time.Second)
		synctest.Wait()
		if k, err := c.Key(context.Background(), &d1); err != nil || k.Status != catalog.KeyDisabled {
			t.Errorf("key 1: %v %v", k, err)
		}
		if _, err := c.Key(context.Background(), &d2); err == nil {
			t.Error("the revoked key lives")
		}
		if c.Snapshot().Models["new"] == nil || f.Applied() != 5 || !slices.Equal(wallets, []int64{0}) {
			t.Errorf("applied %d, wallets %v", f.Applied(), wallets)
		}
		if metric(f, "relay_feed_gaps_total") != "1" {
			t.Errorf("%s gaps", metric(f, "relay_feed_gaps_total"))
		}
	})
}

// All of them were pruned while nobody listened: the revision tells.
func TestGapWithoutAnyChangeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		f, c := start(t, b, Options{})
		synctest.Wait()
		b.set(func() { b.silent = true })
		b.model("new")
		b.set(func() { b.log = nil })
		b.cut <- errAway
		time.Sleep(time.Second)
		synctest.Wait()
		if c.Snapshot().Models["new"] == nil || f.Applied() != 1 {
			t.Errorf("applied %d", f.Applied())
		}
	})
}
