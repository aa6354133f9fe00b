package admit

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// books lends from balances: Postgres as the gate sees it.
type books struct {
	mu     sync.Mutex
	have   map[store.Escrow]*ledger.Wallet
	others money.Amount // told to be with other proxies
	err    error
	grants int
}

func (b *books) Grant(_ context.Context, r store.GrantRequest) (store.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return store.Grant{}, b.err
	}
	b.grants++
	w := b.have[r.Escrow]
	if w == nil {
		return store.Grant{}, store.ErrNotFound
	}
	g := store.Grant{Now: time.Unix(1, 0), ExpiresAt: time.Unix(1, 0).Add(store.LeaseTTL), Others: b.others}
	size, ok := ledger.GrantSize(r.Need, r.Target, w.Spendable(), 1)
	if g.Refused = !ok; ok {
		g.Granted = size
		w.Leased += size
	}
	g.Available, g.Balance, g.Leased = w.Spendable(), w.Balance, w.Leased
	return g, nil
}

func (b *books) ReturnLease(context.Context, int64, int64, money.Amount, int64, bool) error {
	return b.err
}

func (b *books) RenewLeases(_ context.Context, _ int16, _ int64, ids []int64) (time.Time, []int64, error) {
	return time.Time{}, ids, b.err
}

func (b *books) CloseOldLeases(context.Context, int16, int64) (store.Closed, error) {
	return store.Closed{}, b.err
}

func (b *books) Heartbeat(context.Context, int16, int64, int64) (store.Beat, error) {
	return store.Beat{}, b.err
}

func (b *books) ReportReserved(context.Context, int16, int64, map[int64]money.Amount) error {
	return b.err
}

func (b *books) Unanswered(context.Context, store.Escrow, int16, int64, time.Duration) (store.Unanswered, error) {
	return store.Unanswered{}, b.err
}

var quiet = slog.New(slog.DiscardHandler)

// desk is a gate with one customer and one model: input 1 USD and output 10 USD per
// million tokens.
type desk struct {
	t     testing.TB
	books *books
	m     *lease.Manager
	live  *live.Registry
	gate  *Gate
	key   *catalog.Key
	group *catalog.Group
	model *catalog.Model
	rule  *price.Rule
	now   int64
	milli int64
}

func newDesk(t testing.TB, balance money.Amount) *desk {
	d := &desk{t: t, now: lease.Now(), milli: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixMilli()}
	d.books = &books{have: map[store.Escrow]*ledger.Wallet{{WalletID: 9}: {Balance: balance}}}
	d.m = lease.New(d.books, store.ProxySlot{ID: 1, Epoch: 1}, lease.Options{Log: quiet})
	d.live = live.NewRegistry(d.m)
	d.gate = NewGate(Options{Leases: d.m, Live: d.live, IPRPM: 300, Strict: true})
	d.group = &catalog.Group{ID: 5, Name: "default", AllModels: true, DailyUSD: -1, TotalQuota: -1}
	d.model = &catalog.Model{ID: "m", MaxOutput: 128_000}
	version := &price.Version{ID: 1}
	version.Base.Set = 1<<usage.Input | 1<<usage.Output
	version.Base.Rates[usage.Input], version.Base.Rates[usage.Output] = 1_000_000, 10_000_000
	version.Base.Resolve()
	d.rule = &price.Rule{Version: version, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	d.key = &catalog.Key{
		ID: 3, Status: catalog.KeyActive, ClientActive: true, WalletID: 9, GroupID: 5,
		MonthlyCap: -1, TotalQuota: -1, DailyUSD: -1, Live: d.live.Key(3, 9),
	}
	return d
}

// input is a request of 1,000 input and n output tokens: ceiling 0.001 + n × 0.00001 USD.
func (d *desk) input(output int64) *Input {
	return &Input{
		Key: d.key, Group: d.group, Model: d.model, Rule: d.rule,
		Bound: price.Bound{InputTokens: 1000, OutputTokens: output, TextOutput: true}, ClientCap: true,
		BodyBytes: 4000, Now: d.now, Milli: d.milli,
	}
}

// ceiling is what a request of n output tokens holds.
func ceiling(n int64) money.Amount { return 1_000_000 + money.Amount(n)*10_000 }
