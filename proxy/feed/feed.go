// Package feed brings what managers change to this proxy (D7): it loads the
// catalogue, listens and polls for changes, applies them in revision order, and
// knows the revision that is applied.
package feed

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
)

// Store is what the feed reads; *store.DB is one.
type Store interface {
	Revision(ctx context.Context) (int64, error)
	Changes(ctx context.Context, after int64, max int) ([]store.Change, error)
	LoadCatalog(ctx context.Context) (*store.CatalogRows, error)
	RefreshCatalog(ctx context.Context) (*store.CatalogRows, error) // LoadCatalog of what changed
	RevokedKeys(ctx context.Context, afterID int64, max int) ([]store.RevokedKey, error)
	Listen(ctx context.Context, ready func(), notify func(channel, payload string)) error
}

// Options configures a Feed. Hooks run on the feed's goroutines, one at a time
// each, and must not wait for anything.
type Options struct {
	Store   Store
	Catalog *catalog.Catalog
	// Open opens the sealed secret of a provider key.
	Open func(*store.ProviderKeyRow) (string, error)

	// Live finds the live side of a key, nil if nobody uses it: disable and revoke
	// cut its running streams, rotate lets them finish. (*live.Registry).Find is one.
	Live func(keyID int64) *live.Key
	// Key is told of every change of a key, by its row id and a detail of
	// package store.
	Key func(keyID int64, detail string)
	// Client is told of every change of a client.
	Client func(clientID int64)
	// Wallet is told when money came or went by an entry: refusals remembered for
	// the wallet are out of date; 0 = for any wallet.
	Wallet func(walletID int64)
	// Recall is told of every notice on store.ChannelRecall.
	Recall func(payload string)
	// Setting is told which setting changed.
	Setting func(name string)

	Metrics *obs.Metrics
	Log     *slog.Logger
	Poll    time.Duration // default 500 ms: the bound for what a lost notice hides
}

const (
	batch        = 1000 // changes read at a time
	page         = 10_000
	spacing      = 50 * time.Millisecond // between loads of the catalogue, for writers in a loop
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// Feed follows the change feed of Postgres.
type Feed struct {
	o    Options
	wake chan struct{}

	// Of the goroutine that applies.
	fetched   int64     // every change up to it is marked
	dirty     int64     // oldest catalogue change that no published snapshot holds, 0 = none
	loadAfter time.Time // after a snapshot that could not be built: not before
	loadWait  time.Duration
	spaced    time.Time // after a load: not before

	applied   atomic.Int64
	seenAt    atomic.Int64 // when what is applied was last said to be the newest, ns since begun
	begun     time.Time
	recheck   atomic.Bool // the connection was new: the revision may have gone back
	listening atomic.Bool
	failing   atomic.Bool

	stop    context.CancelFunc
	running sync.WaitGroup

	errChanges, errLoad, errBuild, errListen, gaps, reloads, changes *metrics.Counter
}

// New makes a feed; Start sets it going.
func New(o Options) *Feed {
	if o.Poll <= 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewMetrics(false)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	f := &Feed{o: o, wake: make(chan struct{}, 1), begun: time.Now()}
	f.seenAt.Store(math.MinInt64 / 2) // never
	m := o.Metrics
	f.errChanges = m.Counter(`relay_feed_errors_total{what="changes"}`)
	f.errLoad = m.Counter(`relay_feed_errors_total{what="load"}`)
	f.errBuild = m.Counter(`relay_feed_errors_total{what="build"}`)
	f.errListen = m.Counter(`relay_feed_errors_total{what="listen"}`)
	f.gaps = m.Counter("relay_feed_gaps_total")
	f.reloads = m.Counter("relay_feed_snapshots_total")
	f.changes = m.Counter("relay_feed_changes_total")
	m.Gauge("relay_feed_applied_revision", func() float64 { return float64(f.Applied()) })
	m.Gauge("relay_feed_snapshot_revision", func() float64 { return float64(o.Catalog.Snapshot().Revision) })
	m.Gauge("relay_feed_snapshot_problems", func() float64 { return float64(len(o.Catalog.Snapshot().Problems)) })
	m.Gauge("relay_feed_listening", func() float64 {
		if f.listening.Load() {
			return 1
		}
		return 0
	})
	return f
}

// Start loads the catalogue and the revoked keys, waiting for Postgres for as long
// as ctx allows, and then follows the changes until Stop. Keys are not loaded: they
// are cold by design (ruling 3.31).
func (f *Feed) Start(ctx context.Context) error {
	wait := firstBackoff
	for said := false; ; said = true {
		err := f.reload(ctx)
		if err == nil {
			break
		}
		if !said {
			f.o.Log.Warn("the catalogue cannot be loaded yet", "err", err)
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("cannot load the catalogue: %w", err)
		}
		wait = min(2*wait, lastBackoff)
	}
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.running.Add(2)
	go f.follow(ctx)
	go f.listen(ctx)
	return nil
}

// Stop ends the feed and waits for its goroutines.
func (f *Feed) Stop() {
	if f.stop != nil {
		f.stop()
		f.running.Wait()
	}
}

// Applied is the revision that this proxy has applied in full: what a heartbeat
// reports.
func (f *Feed) Applied() int64 { return f.applied.Load() }

// Seen tells what somebody else read as the newest revision, in a question sent at: a newer
// one than is applied is fetched at once, and none spares the next poll.
func (f *Feed) Seen(revision int64, at time.Time) {
	if revision > f.Applied() {
		f.Wake()
		return
	}
	f.seenAt.Store(int64(at.Sub(f.begun)))
}

// spared reports whether somebody else has asked since about the last poll, and there was
// nothing new. Then a notice that was lost is found by the next to ask, as soon as by a poll.
func (f *Feed) spared() bool {
	ago := time.Since(f.begun) - time.Duration(f.seenAt.Load())
	return f.dirty == 0 && !f.failing.Load() && ago <= f.o.Poll+f.o.Poll/5
}

// Wake makes the feed poll at once.
func (f *Feed) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow polls when woken and every Poll, with backoff while Postgres is away.
func (f *Feed) follow(ctx context.Context) {
	defer f.running.Done()
	wait := f.o.Poll
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
			if f.spared() {
				timer.Reset(tempo.Until(f.o.Poll))
				continue
			}
		}
		switch err := f.catchUp(ctx); {
		case err == nil:
			wait = f.wait()
			if f.failing.Swap(false) {
				f.o.Log.Info("the change feed is back", "revision", f.Applied())
			}
		case ctx.Err() != nil:
			return
		default:
			f.errChanges.Inc()
			if !f.failing.Swap(true) {
				f.o.Log.Warn("the change feed cannot be read", "err", err)
			}
			wait = min(max(f.o.Poll, 2*wait), lastBackoff)
		}
		if wait == f.o.Poll && !f.failing.Load() {
			timer.Reset(tempo.Until(wait))
		} else {
			timer.Reset(jitter(wait))
		}
	}
}

// wait is how long to sleep without a notice: to the next poll, or less if a load of
// the catalogue is due before.
func (f *Feed) wait() time.Duration {
	if f.dirty == 0 {
		return f.o.Poll
	}
	due := f.spaced
	if f.loadAfter.After(due) {
		due = f.loadAfter
	}
	return max(time.Millisecond, min(f.o.Poll, time.Until(due)))
}

// listen keeps one listening connection and wakes follow at every notice.
func (f *Feed) listen(ctx context.Context) {
	defer f.running.Done()
	wait := firstBackoff
	for {
		err := f.o.Store.Listen(ctx, func() {
			wait = firstBackoff
			f.listening.Store(true)
			f.recheck.Store(true) // whatever was changed before has no notice
			f.Wake()
		}, func(channel, payload string) {
			switch {
			case channel == store.ChannelConfig:
				f.Wake()
			case channel == store.ChannelRecall && f.o.Recall != nil:
				f.o.Recall(payload)
			}
		})
		f.listening.Store(false)
		if ctx.Err() != nil {
			return
		}
		f.errListen.Inc()
		f.o.Log.Warn("the change feed is not notified, polling only", "err", err)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastBackoff)
	}
}

func jitter(d time.Duration) time.Duration { return d - d/8 + rand.N(d/4+1) }

// pause waits for about d; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
