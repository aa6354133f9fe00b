// Command proxy is the data plane of Token Relay: it serves inference and forwards
// everything else to the admin process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/claim"
	"tokenrelay/proxy/feed"
	"tokenrelay/proxy/guard/hook"
	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/limit"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/refusal"
	"tokenrelay/proxy/relay"
	"tokenrelay/proxy/respcache"
	"tokenrelay/proxy/server"
	"tokenrelay/proxy/ship"
	"tokenrelay/proxy/tempo"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/config"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitKept    = 3  // ended in order, but records are still in the journal
	exitDamaged = 78 // the journal is damaged or of another version
)

func main() {
	c, err := config.LoadProxy(os.Args[1:], os.LookupEnv)
	if err != nil {
		config.Fatal("proxy", err)
	}
	log := obs.NewLogger(os.Stderr, c.LogFormat, c.LogLevel)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tempo.SetPhase(rand.N(time.Second))
	p := &process{c: c, log: log, metrics: obs.NewMetrics(true), ready: obs.NewReady()}
	os.Exit(p.exit(p.run(ctx, stop)))
}

// process is a running proxy.
type process struct {
	c       *config.Proxy
	log     *slog.Logger
	metrics *obs.Metrics
	ready   *obs.Ready

	ident    journal.Ident
	db       *store.DB
	slot     store.ProxySlot
	journal  *journal.Journal
	ship     *ship.Shipper
	clock    ship.Clock
	leases   *lease.Manager
	limits   *limit.Exchange
	live     *live.Registry
	catalog  *catalog.Catalog
	feed     *feed.Feed
	upstream *upstream.Client
	refusals *refusal.Book
	claims   atomic.Pointer[claim.Book]
	relay    *relay.Relay
	server   *server.Server

	wired      atomic.Bool
	started    *obs.Condition
	fenced     chan struct{}
	fencedOnce sync.Once
}

// run brings the proxy up, serves until ctx ends, and takes it down in order.
func (p *process) run(ctx context.Context, stop func()) error {
	p.fenced = make(chan struct{})
	p.started = p.ready.Condition("started")
	inside := obs.Handler(p.metrics, p.ready)
	inside.HandleFunc("POST "+claim.Path, p.answers)
	p.debug(inside)
	internal, err := obs.ListenInternal(p.c.InternalListen, inside)
	if err != nil {
		return err
	}
	defer func() { _ = internal.Close() }()

	if err := p.open(ctx); err != nil {
		return err
	}
	defer p.db.Close()
	defer func() { _ = p.journal.Close() }()
	defer p.claims.Load().Close()
	p.wired.Store(true)

	// What an earlier process left goes first: its records into Postgres, then its
	// leases back (crash points K6 … K12).
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var running sync.WaitGroup
	shipCtx, endShip := context.WithCancel(background)
	defer endShip()
	running.Go(func() { _ = p.ship.Run(shipCtx) })
	p.leases.Start(background)
	running.Go(func() { p.live.Run(background) })
	running.Go(func() { p.limits.Run(shipCtx) })
	if err := p.feed.Start(ctx); err != nil {
		return err
	}
	defer p.feed.Stop()
	running.Go(func() {
		select {
		case <-p.ship.CaughtUp():
			if err := p.leases.Recovered(background); err != nil && background.Err() == nil {
				p.log.Error("cannot close the leases of an earlier run", "error", err)
			}
		case <-background.Done():
		}
	})
	running.Go(func() { p.refusals.Run(shipCtx) })

	// A proxy that was alone tells first what it has counted.
	join, cancelJoin := context.WithTimeout(ctx, 3*time.Second)
	p.limits.Ready(join)
	cancelJoin()

	public, err := server.Listen(p.c.Listen)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(public) }()
	p.started.Met()
	p.log.Info("serving", "listen", public.Addr().String(), "internal", internal.Addr(), "proxy", p.name(), "slot", p.slot.ID, "epoch", p.slot.Epoch)

	failure := error(nil)
	select {
	case <-ctx.Done():
	case <-p.fenced:
		failure = errFenced
	case err := <-served:
		return fmt.Errorf("cannot serve: %w", err)
	}
	stop() // a second signal ends the process at once
	return errors.Join(failure, p.drain(background, endShip, &running))
}

var errFenced = errors.New("another process has taken over this proxy's slot")

func (p *process) name() string {
	if p.c.Name != "" {
		return p.c.Name
	}
	return p.ident.Name
}

// open claims what is this process's own and wires the parts.
func (p *process) open(ctx context.Context) error {
	dir, err := p.claimFolder(ctx)
	if err != nil {
		return err
	}
	p.ident = dir.Ident
	name := p.name()
	p.db, err = store.Open(ctx, p.c.DatabaseURL, store.Options{ApplicationName: "relay-proxy " + name})
	if err != nil {
		return err
	}
	if err := p.waitForSchema(ctx); err != nil {
		return err
	}
	if err := p.claim(ctx, name); err != nil {
		return err
	}
	mode, err := journal.ParseMode(p.c.JournalSync)
	if err != nil {
		return err
	}
	var rec *journal.Recovery
	p.journal, rec, err = journal.Open(p.c.DataDir, journal.Options{Mode: mode, Dir: dir, Slot: p.slot.ID, Epoch: p.slot.Epoch, Metrics: p.metrics})
	if err != nil {
		return err
	}
	if rec.Pending > 0 || len(rec.Interrupted) > 0 || rec.TornBytes > 0 {
		p.log.Info("recovered the journal", "pending", rec.Pending, "interrupted", len(rec.Interrupted), "voided", rec.Voided,
			"sent_unknown", rec.SentUnknown, "torn_bytes", rec.TornBytes)
	}
	return p.wire()
}

// claimFolder takes the data folder, once a process that has it has ended.
func (p *process) claimFolder(ctx context.Context) (*journal.Dir, error) {
	once, cancel := context.WithCancel(ctx)
	cancel()
	dir, err := journal.Claim(once, p.c.DataDir)
	if errors.Is(err, journal.ErrInUse) {
		p.log.Warn("waiting for the data folder: another process is using it", "folder", p.c.DataDir)
		return journal.Claim(ctx, p.c.DataDir)
	}
	return dir, err
}

// waitForSchema waits for admin to migrate; proxies never do.
func (p *process) waitForSchema(ctx context.Context) error {
	said := time.Time{}
	for {
		state, err := p.db.Schema(ctx)
		switch {
		case err == nil && state == store.SchemaReady:
			return nil
		case err == nil && state == store.SchemaNewer:
			return errors.New("cannot use this database: the schema is newer than this program, use the version that migrated it")
		case err == nil && state == store.SchemaForeign:
			return errors.New("cannot use this database: it holds tables of something else, give Token Relay one of its own")
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			if err != nil {
				p.log.Warn("waiting for Postgres", "error", err)
			} else {
				p.log.Warn("waiting for the schema: run admin migrate", "state", state.String())
			}
		}
		if !wait(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// claim takes the proxy's slot: from here on an earlier process of the same name
// gets no more money.
func (p *process) claim(ctx context.Context, name string) error {
	internalURL := p.c.InternalURL
	for {
		slot, err := p.db.ClaimSlot(ctx, name, p.ident.JournalID, internalURL)
		switch {
		case err == nil:
			p.slot = slot
			return nil
		case !store.Unavailable(err):
			return fmt.Errorf("cannot claim the proxy slot %q: %w", name, err)
		}
		p.log.Warn("waiting for Postgres", "error", err)
		if !wait(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wire makes the parts and ties them together.
func (p *process) wire() error {
	box, err := seal.New(p.c.SecretKey)
	if err != nil {
		return err
	}
	p.ship = ship.New(p.journal, p.db, ship.Options{Slot: p.slot.ID, Metrics: p.metrics, Log: p.log})
	p.leases = lease.New(p.db, p.slot, lease.Options{
		AppliedRev: func() int64 { return p.feed.Applied() },
		OnFenced:   func() { p.fencedOnce.Do(func() { close(p.fenced) }) },
		OnBeat: func(b store.Beat, sent, got time.Time) {
			p.clock.Observe(b.Now, sent, got)
			p.limits.OnBeat(b)
			p.feed.Seen(b.Revision, sent)
		},
		Log: p.log,
	})
	p.live = live.NewRegistry(p.leases)
	ips := live.NewIPs()
	p.limits = limit.New(limit.Options{
		DB: p.db, Slot: p.slot, Live: p.live, IPs: ips, DBTime: func() time.Time { return p.leases.DBTime(lease.Now()) }, Log: p.log,
	})
	p.catalog, err = catalog.New(catalog.Options{
		Store: p.db, Live: p.live.Key,
		Secret: func(clientID int64, sealed string) ([]byte, error) { return policy.OpenSecret(box, clientID, sealed) },
	})
	if err != nil {
		return err
	}
	p.feed = feed.New(feed.Options{
		Store: p.db, Catalog: p.catalog,
		Open: func(k *store.ProviderKeyRow) (string, error) { return store.OpenSecret(box, k) },
		Live: p.live.Find,
		Key: func(id int64, _ string) { // a cap may have been raised
			p.leases.OnBudget(id, reqid.MonthOf(p.clock.Now().UnixMilli()))
			p.leases.OnBudget(id, 0)
		},
		Wallet: p.leases.OnWallet,
		Recall: func(payload string) {
			if r, ok := store.ParseRecall(payload); ok {
				p.leases.OnRecall(r)
				return
			}
			p.limits.OnRecall(payload)
		},
		Metrics: p.metrics, Log: p.log,
	})
	p.upstream = upstream.NewClient(upstream.Options{Meanwhile: p.journal.Touch})
	p.refusals = refusal.New(p.slot.ID, p.db, p.journal.Append, p.log)
	book, err := claim.New(claim.Options{
		Store: p.db, Slot: p.slot.ID, Epoch: p.slot.Epoch, Secret: p.c.SecretKey, Now: p.clock.Now, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.claims.Store(book)
	responses, err := stored.New(p.db, p.c.SecretKey)
	if err != nil {
		return err
	}
	answers, err := respcache.New(p.c.CacheMemory)
	if err != nil {
		return err
	}
	p.relay = relay.New(relay.Options{
		Claims:  book,
		Answers: answers,
		Hooks:   hook.New(p.c.PrivateWebhooks),
		Stored:  responses,
		Catalog: p.catalog, Gate: admit.NewGate(admit.Options{Leases: p.leases, Live: p.live, Limits: p.limits, IPs: ips, IPRPM: p.c.IPRPM}),
		Journal: p.journal, Upstream: p.upstream, Refusals: p.refusals, Clock: &p.clock, Log: p.log, Slot: p.slot.ID,
		FirstByteTimeout: p.c.FirstByteTimeout, StreamStartTimeout: p.c.StreamStartTimeout, IdleTimeout: p.c.IdleTimeout,
		MaxRequest: p.c.MaxRequest, MaxAttempts: int(p.c.MaxAttempts),
	})
	p.server, err = server.New(p.relay, server.Options{
		MaxBody: int(p.c.MaxBody), MaxHeader: int(p.c.MaxHeader), BodyBudget: p.c.BodyMemory, WriteStall: p.c.WriteStall,
		TrustedProxies: p.c.TrustedProxies, AdminURL: p.c.AdminURL, PublicOperator: p.c.PublicOperator, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.register()
	return nil
}

// answers serves the answers of idempotency keys to the other proxies.
func (p *process) answers(w http.ResponseWriter, r *http.Request) {
	book := p.claims.Load()
	if book == nil {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	book.ServeHTTP(w, r)
}

// lastWait bounds each of the two last steps of a drain: connections that do not end,
// and what is still to be shipped and returned.
const lastWait = 10 * time.Second

// drain is the end in order: load balancers are told and given time, new work is
// refused, running work finishes, what was recorded is shipped, what was borrowed
// is returned.
func (p *process) drain(ctx context.Context, endShip func(), running *sync.WaitGroup) error {
	p.started.Unmet("draining")
	p.log.Info("draining", "delay", p.c.DrainDelay, "grace", p.c.DrainGrace)
	wait(ctx, p.c.DrainDelay)
	p.server.Drain()
	grace, cancel := context.WithTimeout(ctx, p.c.DrainGrace)
	defer cancel()
	for p.relay.Running.Load() > 0 && wait(grace, 20*time.Millisecond) {
	}
	if n := p.relay.Running.Load(); n > 0 {
		p.log.Warn("requests were still running at the end of the grace time", "requests", n)
	}
	connections, cancelConnections := context.WithTimeout(ctx, lastWait)
	defer cancelConnections()
	if err := p.server.Shutdown(connections); err != nil {
		p.log.Warn("connections were still open", "error", err)
	}
	p.upstream.Close()
	// A time of its own: what connections took must not be missing for the money.
	last, cancelLast := context.WithTimeout(ctx, lastWait)
	defer cancelLast()
	if err := p.claims.Load().Drain(last); err != nil {
		p.log.Warn("not all answers of idempotency keys were stored", "error", err)
	}

	endShip()
	p.limits.Drain(last)
	err := p.ship.Drain(last)
	if err == nil {
		if err := p.leases.Drain(last); err != nil {
			p.log.Warn("leases were not all returned", "error", err)
		} else if err := p.db.CloseSlot(last, p.slot.ID, p.slot.Epoch); err != nil {
			p.log.Warn("the proxy slot was not closed", "error", err)
		}
	}
	return err
}

// exit says how it ended and gives the exit code.
func (p *process) exit(err error) int {
	var left *ship.LeftError
	var damage *journal.DamageError
	var version *journal.VersionError
	switch {
	case err == nil:
		p.log.Info("ended")
		return exitOK
	case errors.As(err, &left):
		p.log.Warn(fmt.Sprintf("journal kept: %d records", left.Records), "cause", left.Cause)
		return exitKept
	case errors.As(err, &damage), errors.As(err, &version):
		p.log.Error("the journal can not be used", "error", err)
		return exitDamaged
	case errors.Is(err, context.Canceled):
		return exitOK // ended while it was still starting
	}
	p.log.Error("ended", "error", err)
	return exitFailed
}
