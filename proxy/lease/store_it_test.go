package lease_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// These tests run managers against the real store on a private Postgres.

// bank is a database with a customer and a price of 1,000 nano-USD per input token.
type bank struct {
	*store.DB
	t      *testing.T
	url    string
	client store.Client
	key    store.Key
	price  store.PriceRow
}

const catalogue = `
providers:
  - {name: demo, protocol: openai, base_url: "http://127.0.0.1:1/v1", keys: [{name: main, secret: "x"}]}
models:
  - {id: small, context_tokens: 1000000, max_output_tokens: 100, routes: [{provider: demo, model: up}], price: {input: "1", output: "1"}}
groups:
  - {name: default, models: ["*"]}
`

// unit is the price of one token.
const unit = money.Amount(1000)

func newBank(t *testing.T, credit money.Amount, o store.Options, limits func(*store.KeyLimits)) *bank {
	t.Helper()
	b := &bank{t: t, url: pgtest.New(t)}
	b.DB = b.open(o)
	ctx := t.Context()
	box, err := seal.New(make([]byte, seal.KeySize))
	b.must(err)
	file, err := catalogfile.Parse([]byte(catalogue))
	b.must(err)
	_, err = b.ApplyCatalog(ctx, "test", file, box, false)
	b.must(err)
	rows, err := b.LoadCatalog(ctx)
	b.must(err)
	b.price = rows.Prices[0]
	b.client, err = b.CreateClient(ctx, "test", store.NewClient{Name: "customer", Credit: credit})
	b.must(err)
	key := store.NewKey{ClientID: b.client.ID, PublicID: "abc", Digest: sha256.Sum256([]byte("x")), Last4: "abcd", Name: "main", KeyLimits: store.Unlimited()}
	if limits != nil {
		limits(&key.KeyLimits)
	}
	b.key, err = b.CreateKey(ctx, "test", key)
	b.must(err)
	return b
}

func (b *bank) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bank) open(o store.Options) *store.DB {
	db, err := store.Open(context.Background(), b.url, o)
	b.must(err)
	b.t.Cleanup(db.Close)
	return db
}

// teller is one proxy: a manager, and the records it has yet to ship.
type teller struct {
	b    *bank
	m    *lease.Manager
	slot store.ProxySlot
	stop context.CancelFunc

	mu   sync.Mutex
	recs []usage.Record
}

var quiet = slog.New(slog.DiscardHandler)

func (b *bank) teller(name string, db lease.DB, o lease.Options, start bool) *teller {
	b.t.Helper()
	slot, err := b.ClaimSlot(b.t.Context(), name, "journal-"+name, "http://127.0.0.1:1")
	b.must(err)
	o.Log = quiet
	p := &teller{b: b, m: lease.New(db, slot, o), slot: slot, stop: func() {}}
	if !start {
		return p
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.m.Start(ctx)
	listening := make(chan struct{})
	var once sync.Once
	go func() {
		for ctx.Err() == nil {
			_ = b.Listen(ctx, func() { once.Do(func() { close(listening) }) }, func(channel, payload string) {
				if r, ok := store.ParseRecall(payload); ok && channel == store.ChannelRecall {
					p.m.OnRecall(r)
				}
			})
		}
	}()
	<-listening
	b.t.Cleanup(func() { cancel(); p.m.Wait() })
	return p
}

// record notes a finished request of so many tokens.
func (p *teller) record(hold money.Amount, tokens int64, wallet, month *lease.Lease) {
	now := time.Now()
	r := usage.Record{
		ID: reqid.New(now), ProxySlot: p.slot.ID, ClientID: p.b.client.ID, WalletID: p.b.client.WalletID, KeyID: p.b.key.ID, Endpoint: 1, Model: "small",
		RequestedModel: "small", Status: usage.Success, HTTPStatus: 200, Source: usage.SourceReported, PriceID: p.b.price.Version.ID,
		ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM, WalletLease: wallet.IDOrZero(), MonthLease: month.IDOrZero(),
		AdmittedMicros: now.UnixMicro(), EndMicros: now.UnixMicro() + 10, Hold: hold, Charge: money.Amount(tokens) * unit,
		Cost: money.Amount(tokens) * unit, NumAttempts: 1,
	}
	r.Attempts[0] = usage.Attempt{Outcome: usage.OutcomeOK, HTTPStatus: 200}
	r.Units[usage.Input] = tokens
	p.mu.Lock()
	p.recs = append(p.recs, r)
	p.mu.Unlock()
}

// ship books what is recorded.
func (p *teller) ship() {
	p.b.t.Helper()
	p.mu.Lock()
	recs := p.recs
	p.recs = nil
	p.mu.Unlock()
	for len(recs) > 0 {
		n := min(len(recs), store.MaxBatch)
		r, err := p.b.SettleBatch(context.Background(), p.slot.ID, recs[:n])
		p.b.must(err)
		if r.Inserted != n || r.Late != 0 || r.BadDebt != 0 || len(r.Rejected) != 0 {
			p.b.t.Fatalf("shipped %d: %+v", n, r)
		}
		recs = recs[n:]
	}
}

func (b *bank) balance() store.Balance {
	b.t.Helper()
	w, err := b.WalletBalance(context.Background(), b.client.WalletID)
	b.must(err)
	return w
}

// hold takes amount, by the fast way or the slow one.
func (p *teller) hold(w *lease.Wallet, amount money.Amount) (*lease.Lease, lease.Refusal) {
	if l, ok := w.Take(amount, lease.Now()); ok {
		return l, lease.Refusal{}
	}
	return p.m.Hold(context.Background(), w, amount)
}

// TestStoreRace is F1, F15, G-4, G-5: three proxies race for a wallet that covers 60 %
// of the requests. Not a unit too much is spent, 402 is said only when the money is
// gone, less than one hold per proxy is left, and everything goes back.
func TestStoreRace(t *testing.T) {
	const requests, most = 3000, 100
	b := newBank(t, requests*most*unit/2*6/10, store.Options{}, nil)
	var spent atomic.Int64
	var served, short, away atomic.Int64
	var tellers []*teller
	for i := range 3 {
		tellers = append(tellers, b.teller(fmt.Sprintf("p%d", i), b.open(store.Options{}), lease.Options{}, true))
	}
	var todo atomic.Int64
	todo.Store(requests)
	var group sync.WaitGroup
	for i, p := range tellers {
		w := p.m.Wallet(b.client.WalletID)
		for j := range 8 {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			group.Go(func() {
				for todo.Add(-1) >= 0 {
					tokens := rng.Int64N(most) + 1
					hold := money.Amount(tokens+rng.Int64N(tokens)) * unit
					l, refusal := p.hold(w, hold)
					switch refusal.Kind {
					case lease.Short:
						short.Add(1)
						time.Sleep(time.Millisecond) // the client hears of it
						continue
					case lease.Unavailable:
						away.Add(1)
						continue
					}
					p.record(hold, tokens, l, nil)
					spent.Add(int64(tokens) * int64(unit))
					l.Settle(hold, money.Amount(tokens)*unit)
					served.Add(1)
				}
			})
		}
	}
	group.Wait()
	for _, p := range tellers {
		p.ship()
	}
	got := b.balance()
	t.Logf("served %d, short %d, unavailable %d; left %s USD, leased %s", served.Load(), short.Load(), away.Load(), got.Balance, got.Leased)
	if got.Balance < 0 || got.Balance != requests*most*unit/2*6/10-money.Amount(spent.Load()) {
		t.Errorf("balance %s after charges of %s", got.Balance, money.Amount(spent.Load()))
	}
	if served.Load() == 0 || short.Load() == 0 {
		t.Error("the race met too little")
	}
	// What is left anywhere can be had by one that asks for it (M14, G-5).
	if got.Balance > 0 {
		p := tellers[1]
		time.Sleep(1100 * time.Millisecond) // refusals are remembered for a second
		l, refusal := p.hold(p.m.Wallet(b.client.WalletID), got.Balance)
		if l == nil {
			t.Errorf("the last %s cannot be had: %+v; %+v", got.Balance, refusal, b.balance())
		} else {
			l.Void(got.Balance)
		}
	}
	b.drained(tellers...)
}

// drained drains the proxies and wants every unit back.
func (b *bank) drained(tellers ...*teller) {
	b.t.Helper()
	for _, p := range tellers {
		p.ship()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		b.must(p.m.Drain(ctx))
		b.must(b.CloseSlot(ctx, p.slot.ID, p.slot.Epoch)) // with what its last heartbeat reported as held
		cancel()
		left, err := b.OpenLeases(context.Background(), p.slot.ID)
		b.must(err)
		if len(left) != 0 {
			b.t.Errorf("open after the drain: %+v", left)
		}
	}
	if got := b.balance(); got.Leased != 0 || got.Reserved != 0 {
		b.t.Errorf("after the drain: %+v", got)
	}
	audit, err := b.Audit(context.Background(), store.AuditOptions{})
	b.must(err)
	for _, line := range audit.Lines {
		if line.Broken != 0 {
			b.t.Errorf("audit: %+v", line)
		}
	}
}

// TestStoreBudgets is F8, M11: wallet and monthly cap are held together; the cap ends
// the spending, in the key's books and in the wallet's.
func TestStoreBudgets(t *testing.T) {
	b := newBank(t, 1000*unit, store.Options{}, func(l *store.KeyLimits) { l.MonthlyCap = 100 * unit })
	p := b.teller("p", b.DB, lease.Options{}, true)
	wallet, month := p.m.Wallet(b.client.WalletID), p.m.Budget(b.key.ID, reqid.MonthOf(time.Now().UnixMilli()))
	spent := money.Amount(0)
	for {
		l, refusal := p.hold(wallet, 15*unit)
		if l == nil {
			t.Fatalf("wallet: %+v", refusal)
		}
		k, refusal := p.hold(month, 15*unit)
		if k == nil {
			l.Void(15 * unit)
			if refusal.Kind != lease.Short || refusal.Available != 100*unit-spent {
				t.Fatalf("refused with %+v after %s", refusal, spent)
			}
			break
		}
		p.record(15*unit, 10, l, k)
		l.Settle(15*unit, 10*unit)
		k.Settle(15*unit, 10*unit)
		spent += 10 * unit
	}
	if spent != 90*unit { // 100 − 90 does not cover a hold of 15
		t.Errorf("spent %s", spent)
	}
	b.drained(p)
	key, err := b.KeyByPublicID(t.Context(), b.client.ID, "abc")
	b.must(err)
	if key.SpentMonth != spent || b.balance().Balance != 1000*unit-spent {
		t.Errorf("spent this month %s, balance %s", key.SpentMonth, b.balance().Balance)
	}
}

// flaky loses the answers of calls that were done, and calls that were not.
type flaky struct {
	*store.DB
	mu  sync.Mutex
	rng *rand.Rand
}

func (f *flaky) fault() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(6)
}

func (f *flaky) Grant(ctx context.Context, r store.GrantRequest) (store.Grant, error) {
	fault := f.fault()
	if fault == 0 {
		return store.Grant{}, context.DeadlineExceeded
	}
	g, err := f.DB.Grant(ctx, r)
	if fault == 1 {
		return store.Grant{}, context.DeadlineExceeded
	}
	return g, err
}

func (f *flaky) ReturnLease(ctx context.Context, id, rseq int64, amount money.Amount, answers int64, end bool) error {
	fault := f.fault()
	if fault == 0 {
		return context.DeadlineExceeded
	}
	err := f.DB.ReturnLease(ctx, id, rseq, amount, answers, end)
	if fault == 1 {
		return context.DeadlineExceeded
	}
	return err
}

// TestStoreLostAnswers is B4, K11, K13: calls whose answer was lost are repeated under
// the same numbers; nothing is lent or returned twice.
func TestStoreLostAnswers(t *testing.T) {
	b := newBank(t, 5000*unit, store.Options{}, nil)
	p := b.teller("p", &flaky{DB: b.DB, rng: rand.New(rand.NewPCG(1, 2))}, lease.Options{IdleAfter: 30 * time.Millisecond, Tick: 10 * time.Millisecond}, true)
	w := p.m.Wallet(b.client.WalletID)
	served := 0
	for i := range 150 {
		l, _ := p.hold(w, 20*unit)
		if l == nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		p.record(20*unit, 7, l, nil)
		l.Settle(20*unit, 7*unit)
		served++
		if i%20 == 0 {
			time.Sleep(60 * time.Millisecond) // idle: money goes back
		}
	}
	if s := p.m.Stats(); served < 50 || s.Returns.Load() < 2 || s.Errors.Load() < 2 {
		t.Errorf("served %d, returns %d, errors %d", served, s.Returns.Load(), s.Errors.Load())
	}
	b.drained(p)
	if got := b.balance().Balance; got != money.Amount(5000-7*served)*unit {
		t.Errorf("balance %s after %d requests", got, served)
	}
}

// TestStoreNewEpoch is A15 and the close at start: a new process of the same name
// fences the old one, ships its journal, and closes its leases.
func TestStoreNewEpoch(t *testing.T) {
	b := newBank(t, 1000*unit, store.Options{}, nil)
	fenced := make(chan struct{})
	old := b.teller("p", b.DB, lease.Options{Beat: 20 * time.Millisecond, OnFenced: func() { close(fenced) }}, true)
	l, refusal := old.hold(old.m.Wallet(b.client.WalletID), 100*unit)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	old.record(100*unit, 30, l, nil)

	p := b.teller("p", b.DB, lease.Options{}, true)
	if p.slot.ID != old.slot.ID || p.slot.Epoch != old.slot.Epoch+1 {
		t.Fatalf("slots %+v %+v", old.slot, p.slot)
	}
	select {
	case <-fenced:
	case <-time.After(5 * time.Second):
		t.Fatal("the old process did not notice")
	}
	if l, refusal := old.hold(old.m.Wallet(b.client.WalletID), unit); l != nil || refusal.Kind != lease.Unavailable {
		t.Fatalf("the old process still spends: %+v", refusal)
	}
	if b.balance().Leased == 0 {
		t.Fatal("closed before the journal was shipped")
	}
	old.ship() // its journal, recovered
	b.must(p.m.Recovered(t.Context()))
	if got := b.balance(); got.Leased != 0 || got.Balance != 970*unit {
		t.Fatalf("%+v", got)
	}
	if l, _ := p.hold(p.m.Wallet(b.client.WalletID), 970*unit); l == nil {
		t.Fatal("the new process cannot have the rest")
	} else {
		l.Void(970 * unit)
	}
	b.drained(p)
}

// TestStoreSilentProxy is D2 and rulings 3.14: money with a proxy that does not answer
// is 503 with the truth, never 402; when the proxy is declared lost it is there again.
func TestStoreSilentProxy(t *testing.T) {
	b := newBank(t, 1000*unit, store.Options{}, nil)
	dead := b.teller("dead", b.DB, lease.Options{}, false)
	l, refusal := dead.hold(dead.m.Wallet(b.client.WalletID), 900*unit)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	p := b.teller("p", b.DB, lease.Options{Silent: 50 * time.Millisecond, Remember: 50 * time.Millisecond}, true)
	w := p.m.Wallet(b.client.WalletID)
	if l, refusal := p.hold(w, 90*unit); l == nil {
		t.Fatalf("what is available is refused: %+v", refusal)
	} else {
		l.Void(90 * unit)
	}
	if l, refusal := p.hold(w, 500*unit); l != nil || refusal.Kind != lease.Unavailable || refusal.RetryAfter == 0 {
		t.Fatalf("money with a silent proxy: %+v", refusal)
	}
	if l, refusal := p.hold(w, 1001*unit); l != nil || refusal.Kind != lease.Short {
		t.Fatalf("more than the balance: %+v", refusal)
	}
	_, err := b.ProxyLost(t.Context(), "test", "dead")
	b.must(err)
	time.Sleep(60 * time.Millisecond)
	if l, refusal := p.hold(w, 500*unit); l == nil {
		t.Fatalf("after the proxy was declared lost: %+v", refusal)
	} else {
		l.Void(500 * unit)
	}
	b.drained(p)
}

// TestStoreExpiry is 5.5: without renewal nothing is admitted past the lease's time,
// with renewal it is; a lease that is past it is renewed by the next request.
func TestStoreExpiry(t *testing.T) {
	const ttl = 400 * time.Millisecond
	o := store.Options{LeaseTTL: ttl}
	b := newBank(t, 1000*unit, o, nil)
	p := b.teller("p", b.DB, lease.Options{TTL: ttl, Renew: 100 * time.Millisecond}, true)
	q := b.teller("q", b.DB, lease.Options{TTL: ttl}, false)
	for _, c := range []*teller{p, q} {
		l, refusal := c.hold(c.m.Wallet(b.client.WalletID), unit)
		if l == nil {
			t.Fatalf("%+v", refusal)
		}
		l.Void(unit)
	}
	time.Sleep(ttl + 100*time.Millisecond)
	if l, ok := p.m.Wallet(b.client.WalletID).Take(unit, lease.Now()); !ok {
		t.Error("renewed, but stopped")
	} else {
		l.Void(unit)
	}
	if _, ok := q.m.Wallet(b.client.WalletID).Take(unit, lease.Now()); ok {
		t.Error("spent past the lease's time")
	}
	if l, refusal := q.hold(q.m.Wallet(b.client.WalletID), unit); l == nil {
		t.Errorf("an expired lease cannot be renewed: %+v", refusal)
	} else {
		l.Void(unit)
	}
	b.drained(p, q)
}

// TestStoreRecall is F15, G-5: what one proxy hoards another gets, within the recall.
func TestStoreRecall(t *testing.T) {
	b := newBank(t, 1000*unit, store.Options{}, nil)
	a := b.teller("a", b.DB, lease.Options{}, true)
	c := b.teller("c", b.DB, lease.Options{}, true)
	if l, _ := a.hold(a.m.Wallet(b.client.WalletID), 990*unit); l == nil {
		t.Fatal("refused")
	} else {
		l.Void(990 * unit)
	}
	start := time.Now()
	l, refusal := c.hold(c.m.Wallet(b.client.WalletID), 800*unit)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	t.Logf("recalled in %v", time.Since(start))
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("recalled in %v", d)
	}
	l.Void(800 * unit)
	b.drained(a, c)
}

// TestStoreWarm is the hot path: no statement at all.
func TestStoreWarm(t *testing.T) {
	b := newBank(t, 1_000_000*unit, store.Options{}, nil)
	p := b.teller("p", b.DB, lease.Options{}, false)
	w := p.m.Wallet(b.client.WalletID)
	l, _ := p.hold(w, 100*unit)
	l.Void(100 * unit)
	before := b.Statements()
	for range 1000 {
		l, ok := w.Take(50*unit, lease.Now())
		if !ok {
			t.Fatal("not warm")
		}
		l.Settle(50*unit, 0)
	}
	if n := b.Statements() - before; n != 0 {
		t.Errorf("%d statements for 1,000 warm requests", n)
	}
}

var _ lease.DB = (*store.DB)(nil)
