// Package proxytest runs a whole proxy inside a test: the public port, the relay,
// leases, journal and catalogue as in production, over books kept in memory
// instead of Postgres. Tests of single behaviours, the replay of recordings,
// allocation tests and benchmarks use it; money over real books is tested with the
// real binaries.
package proxytest

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/claim"
	"tokenrelay/proxy/guard/hook"
	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/refusal"
	"tokenrelay/proxy/relay"
	"tokenrelay/proxy/respcache"
	"tokenrelay/proxy/server"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/price"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
	"tokenrelay/shared/usage"
)

// Provider is an upstream of the kit.
type Provider struct {
	Slug     string
	Protocol string
	Dialect  string
	BaseURL  string
	Keys     []string
	Options  map[string]string
}

// Model is a public model of the kit, with one route per provider named.
type Model struct {
	ID       string
	Aliases  []string
	Routes   []Route
	Prices   map[string]string // as in the catalogue file; default input 1, output 2
	Free     []string          // classes that are free on purpose
	Context  int64             // default 1,000,000
	Output   int64             // default 32,768
	Auto     []string
	Strategy string // of Auto, default balanced
	Tags     []string
}

// Route is one way to serve a model.
type Route struct {
	Provider string
	Model    string
	Priority int32
	Region   string
}

// Options of a kit.
type Options struct {
	Providers   []Provider
	Models      []Model
	Balance     money.Amount // of the one wallet, default $1,000
	Relay       relay.Options
	Server      server.Options
	Upstream    upstream.Options
	IPRPM       int64
	Now         func() time.Time    // clock of idempotency keys, default time.Now
	Key         func(*store.KeyRow) // edits the one key
	Quiet       bool
	Catalog     catalog.Options // sizes and rates; the store is the kit's
	Cells       int             // requests at once, default 4,096
	PublicHooks bool            // webhooks must stand on the Internet, as in production
	MoreKeys    int             // further keys, each with a wallet of its own (Kit.Tokens)
	Disk        *journal.Faults // the journal's, nil = the real one
}

// SealSecret seals the secret of a webhook for the kit's client, whose secret key is zeros.
func SealSecret(tb testing.TB, plain string) string {
	tb.Helper()
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	return policy.SealSecret(box, 1, plain)
}

// Kit is a running proxy.
type Kit struct {
	URL     string
	Addr    string
	Token   string
	Books   *Books
	Relay   *relay.Relay
	Server  *server.Server
	Catalog *catalog.Catalog
	Journal *journal.Journal
	Leases  *lease.Manager
	Live    *live.Registry
	Claims  *claim.Book
	Stored  *stored.Book
	Answers *respcache.Cache
	Gate    *admit.Gate
	Digest  [32]byte // of Token
	Tokens  []string // of the further keys

	reader *journal.Reader
	mu     sync.Mutex // guards seen
	seen   []usage.Record
}

type clock struct{}

func (clock) Offset() time.Duration { return 0 }

// New starts a proxy that ends with the test.
func New(tb testing.TB, o Options) *Kit {
	tb.Helper()
	k := &Kit{Books: newBooks(o.Balance)}
	token, publicID, err := apikey.Generate("tsk_")
	if err != nil {
		tb.Fatal(err)
	}
	k.Token, k.Digest = token, apikey.Digest([]byte(token))
	row := store.KeyRow{
		Revision: 1, ID: 1, PublicID: publicID, Name: "test", Digest: apikey.Digest([]byte(token)), Status: store.KeyActive,
		KeyLimits: store.Unlimited(), ClientID: 1, ClientName: "test", ClientActive: true, ClientPPM: price.PPM, WalletID: 1, GroupID: 1,
	}
	if o.Key != nil {
		o.Key(&row)
	}
	k.Books.key(&row)
	for i := range o.MoreKeys {
		token, publicID, err := apikey.Generate("tsk_")
		if err != nil {
			tb.Fatal(err)
		}
		more := row
		more.ID, more.WalletID, more.PublicID, more.Digest = int64(i)+2, int64(i)+2, publicID, apikey.Digest([]byte(token))
		k.Books.key(&more)
		k.Tokens = append(k.Tokens, token)
	}

	ctx, cancel := context.WithCancel(context.Background())
	k.Leases = lease.New(k.Books, store.ProxySlot{ID: 1, Epoch: 1}, lease.Options{Log: obs.Discard()})
	k.Live = live.NewRegistry(k.Leases)
	o.Catalog.Store, o.Catalog.Live = k.Books, k.Live.Key
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	o.Catalog.Secret = func(clientID int64, sealed string) ([]byte, error) { return policy.OpenSecret(box, clientID, sealed) }
	k.Catalog, err = catalog.New(o.Catalog)
	if err != nil {
		tb.Fatal(err)
	}
	k.Publish(tb, &o, 1)

	dir := tb.TempDir()
	k.Journal, _, err = journal.Open(dir, journal.Options{Slot: 1, Epoch: 1, SegmentBytes: 4 << 20, Cells: max(4096, o.Cells), Faults: o.Disk})
	if err != nil {
		tb.Fatal(err)
	}
	k.reader = k.Journal.NewReader()
	k.Leases.Start(ctx)
	o.Upstream.Meanwhile = k.Journal.Touch
	up := upstream.NewClient(o.Upstream)

	if o.Now == nil {
		o.Now = time.Now
	}
	k.Claims, err = claim.New(claim.Options{Store: k.Books, Slot: 1, Epoch: 1, Secret: make([]byte, seal.KeySize), Now: o.Now, Log: obs.Discard()})
	if err != nil {
		tb.Fatal(err)
	}
	ro := o.Relay
	ro.Claims = k.Claims
	k.Stored, err = stored.New(k.Books, make([]byte, seal.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	ro.Stored = k.Stored
	if k.Answers, err = respcache.New(16 << 20); err != nil {
		tb.Fatal(err)
	}
	ro.Answers = k.Answers
	hooks := hook.New(!o.PublicHooks)
	ro.Hooks = hooks
	ro.Catalog, ro.Journal, ro.Upstream, ro.Clock, ro.Slot = k.Catalog, k.Journal, up, clock{}, 1
	k.Gate = admit.NewGate(admit.Options{Leases: k.Leases, Live: k.Live, IPRPM: o.IPRPM, Strict: true})
	ro.Gate = k.Gate
	book := refusal.New(1, k.Books, k.Journal.Append, obs.Discard())
	ro.Refusals = book
	if ro.Log == nil {
		ro.Log = obs.Discard()
	}
	def(&ro.FirstByteTimeout, 20*time.Second)
	def(&ro.StreamStartTimeout, 20*time.Second)
	def(&ro.IdleTimeout, 20*time.Second)
	def(&ro.MaxRequest, time.Minute)
	if ro.MaxAttempts == 0 {
		ro.MaxAttempts = 3
	}
	k.Relay = relay.New(ro)
	so := o.Server
	if so.MaxBody == 0 {
		so.MaxBody = 32 << 20
	}
	if so.MaxHeader == 0 {
		so.MaxHeader = 8 << 10
	}
	if so.BodyBudget == 0 {
		so.BodyBudget = 1 << 30
	}
	def(&so.WriteStall, 30*time.Second)
	if so.AdminURL == "" {
		so.AdminURL = "http://127.0.0.1:1"
	}
	so.Log = obs.Discard()
	k.Server, err = server.New(k.Relay, so)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := server.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	k.Addr = l.Addr().String()
	k.URL = "http://" + k.Addr
	served := make(chan struct{})
	go func() { defer close(served); _ = k.Server.Serve(l) }()
	tb.Cleanup(func() {
		stop, end := context.WithTimeout(context.Background(), 2*time.Second)
		_ = k.Server.Shutdown(stop)
		end()
		<-served
		up.Close()
		hooks.Close()
		k.Claims.Close()
		k.Answers.Close()
		cancel()
		k.Leases.Wait()
		k.Catalog.Close()
		_ = k.Journal.Close()
	})
	return k
}

func def(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Another makes a key of another client, which shares the wallet, and returns its token.
func (k *Kit) Another(tb testing.TB, client int64, edit func(*store.KeyRow)) string {
	tb.Helper()
	token, publicID, err := apikey.Generate("tsk_")
	if err != nil {
		tb.Fatal(err)
	}
	row := store.KeyRow{
		Revision: 1, ID: 100 + client, PublicID: publicID, Name: "another", Digest: apikey.Digest([]byte(token)), Status: store.KeyActive,
		KeyLimits: store.Unlimited(), ClientID: client, ClientName: "another", ClientActive: true, ClientPPM: price.PPM, WalletID: 1, GroupID: 1,
	}
	edit(&row)
	k.Books.key(&row)
	return token
}

// Publish builds the catalogue anew.
func (k *Kit) Publish(tb testing.TB, o *Options, revision int64) {
	tb.Helper()
	rows := &store.CatalogRows{Revision: revision, Groups: []store.GroupRow{{
		ID: 1, Name: "default", AllModels: true, PPM: price.PPM, DailyUSD: store.None, TotalQuota: store.None,
	}}}
	ids := map[string]int64{}
	for i, p := range o.Providers {
		id := int64(i + 1)
		ids[p.Slug] = id
		rows.Providers = append(rows.Providers, store.ProviderRow{ID: id, Slug: p.Slug, Protocol: p.Protocol, Dialect: p.Dialect, BaseURL: p.BaseURL, Options: p.Options, DailyStop: store.None})
		for j, secret := range p.Keys {
			rows.ProviderKeys = append(rows.ProviderKeys, store.ProviderKeyRow{ID: id*100 + int64(j), ProviderID: id, Name: fmt.Sprint(j), Sealed: []byte(secret)})
		}
	}
	for i, m := range o.Models {
		id := int64(i + 1)
		row := store.ModelRow{ID: id, PublicID: m.ID, Aliases: m.Aliases, Tags: m.Tags, ContextTokens: m.Context, MaxOutput: m.Output, PPM: price.PPM}
		if row.ContextTokens == 0 {
			row.ContextTokens = 1_000_000
		}
		if row.MaxOutput == 0 {
			row.MaxOutput = 32_768
		}
		if m.Auto != nil {
			row.AutoStrategy, row.AutoModels = cmp.Or(m.Strategy, "balanced"), m.Auto
		}
		rows.Models = append(rows.Models, row)
		for j, r := range m.Routes {
			rows.Routes = append(rows.Routes, store.RouteRow{ID: id*1000 + int64(j), ModelID: id, ProviderID: ids[r.Provider], UpstreamModel: r.Model, Priority: r.Priority, Weight: 1, Region: r.Region})
		}
		prices := m.Prices
		if prices == nil {
			prices = map[string]string{"input": "1", "output": "2"}
		}
		if m.Auto == nil && len(prices) > 0 {
			t, err := price.ParseTable(prices, m.Free)
			if err != nil {
				tb.Fatal(err)
			}
			rows.Prices = append(rows.Prices, store.PriceRow{ModelID: id, Version: price.Version{ID: id, EffectiveAt: 1, Base: t}})
		}
	}
	s, err := catalog.Build(rows, k.Catalog.Snapshot(), func(r *store.ProviderKeyRow) (string, error) { return string(r.Sealed), nil })
	if err != nil {
		tb.Fatal(err)
	}
	if len(s.Problems) > 0 {
		tb.Fatal(s.Problems)
	}
	k.Catalog.Publish(s)
	k.Catalog.Applied(revision)
}

// HealAll forgets what the proxy learned of its upstreams: breakers close, keys are
// usable again.
func (k *Kit) HealAll() {
	for _, m := range k.Catalog.Snapshot().ModelList {
		for _, r := range m.Routes {
			r.Health.OpenUntilNanos.Store(0)
			r.Health.Failures.Store(0)
			for _, key := range r.Provider.Keys {
				key.Health.OpenUntilNanos.Store(0)
				key.Health.Dead.Store(0)
			}
		}
	}
}

// Records returns every record that the proxy has journaled so far.
func (k *Kit) Records(tb testing.TB) []usage.Record {
	tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		recs, pos, err := k.reader.Next(1000)
		if err != nil {
			tb.Fatal(err)
		}
		if len(recs) == 0 {
			return k.seen
		}
		for _, r := range recs {
			r.Model, r.RequestedModel, r.Code = clone(r.Model), clone(r.RequestedModel), clone(r.Code)
			k.seen = append(k.seen, r)
		}
		if err := k.Journal.Ack(pos); err != nil {
			tb.Fatal(err)
		}
	}
}

func clone(s string) string { return string([]byte(s)) }

// WaitRecords waits until n records are in the journal.
func (k *Kit) WaitRecords(tb testing.TB, n int) []usage.Record {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		recs := k.Records(tb)
		if len(recs) >= n {
			return recs
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d records after 10 s; want %d", len(recs), n)
		}
		time.Sleep(time.Millisecond)
	}
}

// AtRest checks that nothing is held and nothing runs, and that the wallet's free
// and settled money add up (M6).
func (k *Kit) AtRest(tb testing.TB) {
	tb.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for k.Relay.Running.Load() != 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := k.Relay.Running.Load(); n != 0 {
		tb.Fatalf("%d requests still run", n)
	}
	var spent money.Amount
	for _, l := range k.Leases.Leases() {
		if l.Held != 0 {
			tb.Fatalf("lease %d: %s held at rest", l.ID, l.Held)
		}
		if l.WalletID != 0 {
			spent += l.Spent
		}
	}
	var charged money.Amount
	for _, r := range k.Records(tb) {
		charged += r.Charge
		if r.Charge < 0 || r.Charge > r.Hold {
			tb.Fatalf("record %s: charge %s of a hold of %s (M8)", r.ID, r.Charge, r.Hold)
		}
	}
	if spent != charged {
		tb.Fatalf("leases spent %s, records charge %s", spent, charged)
	}
}
