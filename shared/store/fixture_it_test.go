package store_test

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// books is a database with a priced model, and what tests need to make charges.
type books struct {
	*store.DB
	t       testing.TB
	url     string
	conn    *pgx.Conn
	box     *seal.Box
	catalog *store.CatalogRows
	rule    price.Rule
	priceID int64
}

const catalogue = `
providers:
  - {name: demo, protocol: openai, base_url: "http://127.0.0.1:1/v1", keys: [{name: main, secret: "sk-canary-1"}]}
models:
  - id: small
    aliases: [small-1]
    context_tokens: 1000
    max_output_tokens: 100
    routes: [{provider: demo, model: small-upstream}]
    price: {input: "3", cache_read: "0.3", output: "15"}
    price_tiers: [{above_input_tokens: 200, input: "6", cache_read: "0.6", output: "22.5"}]
groups:
  - {name: default, models: ["*"]}
`

func newBooks(t testing.TB) *books {
	t.Helper()
	return booksOn(t, pgtest.New(t))
}

// booksOn is newBooks on a migrated database.
func booksOn(t testing.TB, url string) *books {
	t.Helper()
	b := &books{DB: open(t, url), t: t, url: url, conn: raw(t, url)}
	var err error
	if b.box, err = seal.New(make([]byte, seal.KeySize)); err != nil {
		t.Fatal(err)
	}
	f, err := catalogfile.Parse([]byte(catalogue))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ApplyCatalog(t.Context(), "test", f, b.box, false); err != nil {
		t.Fatal(err)
	}
	if b.catalog, err = b.LoadCatalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := b.catalog.Prices[0].Version
	b.priceID = v.ID
	b.rule = price.Rule{Version: &v, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	return b
}

// party is a customer with one key.
type party struct {
	client store.Client
	key    store.Key
	digest [32]byte
}

var serial atomic.Int64

func (b *books) party(credit money.Amount, limit ...func(*store.KeyLimits)) *party {
	b.t.Helper()
	n := serial.Add(1)
	c, err := b.CreateClient(b.t.Context(), "test", store.NewClient{Name: fmt.Sprintf("client-%d", n), Credit: credit})
	if err != nil {
		b.t.Fatal(err)
	}
	p := &party{client: c, digest: sha256.Sum256(fmt.Append(nil, n))}
	limits := store.Unlimited()
	for _, f := range limit {
		f(&limits)
	}
	p.key, err = b.CreateKey(b.t.Context(), "test", store.NewKey{
		ClientID: c.ID, PublicID: fmt.Sprintf("key%d", n), Digest: p.digest, Last4: "abcd", Name: "main", KeyLimits: limits,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// proxy is a proxy of the books.
type proxy struct {
	store.ProxySlot
	b    *books
	name string
	seq  int64
}

func (b *books) proxy(name string) *proxy {
	b.t.Helper()
	s, err := b.ClaimSlot(b.t.Context(), name, "journal-"+name, "http://127.0.0.1:8002")
	if err != nil {
		b.t.Fatal(err)
	}
	return &proxy{ProxySlot: s, b: b, name: name}
}

// grant opens a lease.
func (p *proxy) grant(e store.Escrow, need, target money.Amount) (int64, store.Grant) {
	p.b.t.Helper()
	p.seq++
	id := store.LeaseID(p.ID, p.Epoch, p.seq)
	g, err := p.b.Grant(p.b.t.Context(), store.GrantRequest{Slot: p.ID, Epoch: p.Epoch, LeaseID: id, Seq: 1, Escrow: e, Need: need, Target: target})
	if err != nil {
		p.b.t.Fatal(err)
	}
	return id, g
}

func (p *party) wallet() store.Escrow { return store.Escrow{WalletID: p.client.WalletID} }

// record makes a finished request whose charge is what its tokens cost.
func (b *books) record(p *party, lease int64, in, out int64) usage.Record {
	r := usage.Record{
		ID: reqid.New(time.Now()), ClientID: p.client.ID, WalletID: p.client.WalletID, KeyID: p.key.ID, Endpoint: 1, Model: "small",
		RequestedModel: "small-1", Status: usage.Success, HTTPStatus: 200, Source: usage.SourceReported, PriceID: b.priceID,
		ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM, WalletLease: lease, BytesIn: 10, BytesOut: 20, NumAttempts: 1,
	}
	r.Units[usage.Input], r.Units[usage.Output] = in, out
	var err error
	if r.Charge, err = b.rule.Charge(&r.Units); err != nil {
		b.t.Fatal(err)
	}
	r.Hold = 2 * r.Charge
	r.Cost = r.Charge
	r.AdmittedMicros = r.ID.UnixMilli() * 1000
	r.EndMicros = r.AdmittedMicros + 5000
	r.FirstTokenMicros = 1500
	r.Attempts[0] = usage.Attempt{RouteID: 1, ProviderKeyID: 1, HTTPStatus: 200, Outcome: usage.OutcomeOK, EndMicros: 4000}
	return r
}

func (b *books) settle(slot int16, recs ...usage.Record) store.SettleResult {
	b.t.Helper()
	res, err := b.SettleBatch(b.t.Context(), slot, recs)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

func (b *books) balance(p *party) store.Balance {
	b.t.Helper()
	w, err := b.WalletBalance(b.t.Context(), p.client.WalletID)
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// clean fails the test if the audit finds anything.
func (b *books) clean() {
	b.t.Helper()
	report, err := b.Audit(b.t.Context(), store.AuditOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range report.Lines {
		if l.Broken != 0 {
			b.t.Errorf("%s %s: %d of %d broken, worst %s: %v", l.ID, l.Name, l.Broken, l.Checked, l.Worst, l.Samples)
		}
	}
	if report.Lines == nil {
		b.t.Error("the audit checked nothing")
	}
}

func month() int32 { return reqid.MonthOf(time.Now().UnixMilli()) }
