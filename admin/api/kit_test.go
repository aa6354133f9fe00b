package api

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/mail"
	"tokenrelay/admin/manage"
	"tokenrelay/admin/probe"
	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
	"tokenrelay/shared/usage"
)

const operatorToken = "an operator token for tests"

// world is an app on a database of its own.
type world struct {
	t        *testing.T
	url      string
	db       *store.DB
	manage   *manage.Service
	report   *report.Service
	stored   *stored.Book
	box      *seal.Box
	app      *fiber.App
	slot     store.ProxySlot
	seq      int64
	took     time.Duration   // by calls
	attempts []usage.Attempt // of calls, nil: one
	talk     string          // x-conversation-id of calls
	frozen   time.Time       // what the app's clock shows, zero: the real time
}

// now is the app's clock.
func (w *world) now() time.Time {
	if !w.frozen.IsZero() {
		return w.frozen
	}
	return time.Now()
}

// freeze stops the app's clock, so that a test may meet midnight.
func (w *world) freeze() time.Time {
	if w.frozen.IsZero() {
		w.frozen = time.Now()
	}
	return w.frozen
}

const testCatalogue = `
providers:
  - name: hidden-supplier
    protocol: openai
    base_url: http://127.0.0.1:9/v1
    keys: [{name: main, secret: "supplier-secret-canary"}]
models:
  - id: alpha
    aliases: [alpha-1.0]
    tags: [chat]
    context_tokens: 100000
    max_output_tokens: 4096
    routes: [{provider: hidden-supplier, model: upstream-alpha, cost: {input: "0.123457", output: "0.5"}}]
    price: {input: "2", output: "10"}
  - id: vendor/beta
    routes: [{provider: hidden-supplier, model: upstream-beta}]
    price: {input: "1", output: "4"}
  - id: unpriced
    routes: [{provider: hidden-supplier, model: upstream-unpriced}]
  - id: auto-chat-balanced
    auto: {strategy: balanced, models: [alpha, vendor/beta]}
groups:
  - {name: default, models: ["*"], multiplier: "1.0"}
  - {name: small, models: [alpha], multiplier: "1.5"}
`

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, pgtest.New(t))
}

// newWorldOn is newWorld on a migrated database.
func newWorldOn(t *testing.T, url string) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, url: url, took: 900 * time.Millisecond}
	var err error
	if w.db, err = store.Open(ctx, w.url, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	w.box = box
	w.manage = manage.New(w.db, box, "tsk_", time.Now)
	w.report = report.New(w.db, w.now)
	if w.stored, err = stored.New(w.db, make([]byte, seal.KeySize)); err != nil {
		t.Fatal(err)
	}
	w.app = New(Deps{
		Letters: &mail.Writer{Brand: "Token Relay", PublicURL: "http://relay.example"}, Mails: true, Box: box, Probe: probe.New(), People: session.NewPeople(w.db),
		Stored: w.stored,
		DB:     w.db, Manage: w.manage, Report: w.report, Operator: session.NewOperator(operatorToken), Log: obs.Discard(),
		Metrics: obs.NewMetrics(false), Brand: "Token Relay", PublicURL: "http://relay.example", Now: w.now, Ready: func() bool { return true },
	})
	file, err := catalogfile.Parse([]byte(testCatalogue))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.manage.Apply(ctx, "test", file, false); err != nil {
		t.Fatal(err)
	}
	if w.slot, err = w.db.ClaimSlot(ctx, "test-proxy", "journal", "http://127.0.0.1:9"); err != nil {
		t.Fatal(err)
	}
	// Money tests end with an audit: nothing that a test did may break the books.
	t.Cleanup(w.audit)
	return w
}

func (w *world) audit() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := w.db.Audit(ctx, store.AuditOptions{})
	if err != nil {
		w.t.Errorf("cannot audit: %v", err)
		return
	}
	for _, l := range r.Lines {
		if l.Broken != 0 {
			w.t.Errorf("audit: %s %s: %d broken, worst %s: %q", l.ID, l.Name, l.Broken, l.Worst, l.Samples)
		}
	}
}

// tenant is a customer with one key.
type tenant struct {
	store.Client
	key   store.Key
	token string
}

func (w *world) tenant(name, group string, credit money.Amount) *tenant {
	w.t.Helper()
	c, err := w.manage.CreateClient(w.t.Context(), "test", store.NewClient{Name: name, Group: group, Credit: credit})
	if err != nil {
		w.t.Fatal(err)
	}
	n := &tenant{Client: c}
	n.key, n.token = w.key(n, store.Unlimited())
	return n
}

func (w *world) key(n *tenant, limits store.KeyLimits) (store.Key, string) {
	w.t.Helper()
	k, token, err := w.manage.CreateKey(w.t.Context(), "test", manage.NewKey{ClientID: n.ID, Name: "key of " + n.Name, KeyLimits: limits})
	if err != nil {
		w.t.Fatal(err)
	}
	return k, token
}

// call sends one request with the tenant's key.
func (w *world) call(n *tenant, method, path, body string) *reply {
	w.t.Helper()
	return send(w.t, w.app, method, path, n.token, body)
}

// get reads the data of a successful call into out.
func (w *world) get(n *tenant, path string, out any) {
	w.t.Helper()
	w.expect(w.call(n, "GET", path, ""), 200, out)
}

func (w *world) expect(r *reply, status int, out any) {
	w.t.Helper()
	if r.Status != status {
		w.t.Fatalf("%d %s, want %d", r.Status, r.Raw, status)
	}
	if out != nil {
		if err := json.Unmarshal(r.Body.Data, out); err != nil {
			w.t.Fatalf("%s: %v", r.Raw, err)
		}
	}
}

// used books one call of a tenant as a proxy would: lease, settle, give back.
func (w *world) used(n *tenant, model string, status usage.Status, code string, at time.Time, input, output int64) usage.Record {
	w.t.Helper()
	ctx := w.t.Context()
	catalogue, err := w.report.Catalogue(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	m := catalogue.Find(model)
	rule := catalogue.Rule(m, n.GroupID, n.PPM, time.Now())
	var units usage.Units
	units[usage.Input], units[usage.Output] = input, output
	charge, err := rule.Charge(&units)
	if err != nil {
		w.t.Fatal(err)
	}
	if status != usage.Success {
		charge, units = 0, usage.Units{}
	}
	hold := max(10*charge, money.USD/1000)
	micros := at.UnixMicro()
	rec := usage.Record{
		ID: reqid.New(at), ProxySlot: w.slot.ID, ClientID: n.ID, WalletID: n.WalletID, KeyID: n.key.ID,
		ConversationID: w.talk, Model: m.PublicID, RequestedModel: model, Status: status, HTTPStatus: 200, Code: code, Source: usage.SourceReported,
		Units: units, Hold: hold, Charge: charge, Cost: charge / 2, PriceID: rule.Version.ID,
		ModelPPM: rule.ModelPPM, GroupPPM: rule.GroupPPM, ClientPPM: rule.ClientPPM,
		AdmittedMicros: micros, FirstTokenMicros: 120_000, EndMicros: micros + w.took.Microseconds(), BytesIn: 100, BytesOut: 400, NumAttempts: 1,
	}
	rec.Attempts[0] = usage.Attempt{HTTPStatus: 200, Outcome: usage.OutcomeOK, EndMicros: int32(w.took.Microseconds())}
	if w.attempts != nil {
		rec.NumAttempts = uint8(copy(rec.Attempts[:], w.attempts))
	}
	if status == usage.Refused {
		rec.HTTPStatus, rec.NumAttempts, rec.Hold, rec.PriceID = 429, 0, 0, 0
		rec.ModelPPM, rec.GroupPPM, rec.ClientPPM, rec.Source, rec.FirstTokenMicros = price.PPM, price.PPM, price.PPM, usage.SourceNone, 0
		w.settle(rec)
		return rec
	}
	if status != usage.Success {
		rec.HTTPStatus, rec.FirstTokenMicros, rec.Source = 502, 0, usage.SourceNone
	}
	w.seq++
	rec.WalletLease = store.LeaseID(w.slot.ID, w.slot.Epoch, w.seq)
	g, err := w.db.Grant(ctx, store.GrantRequest{
		Slot: w.slot.ID, Epoch: w.slot.Epoch, LeaseID: rec.WalletLease, Seq: 1, Escrow: store.Escrow{WalletID: n.WalletID}, Need: hold, Target: hold,
	})
	if err != nil || g.Refused {
		w.t.Fatalf("cannot take a lease: %v, %+v", err, g)
	}
	w.settle(rec)
	if err := w.db.ReturnLease(ctx, rec.WalletLease, 1, g.Granted-charge, 0, true); err != nil {
		w.t.Fatal(err)
	}
	return rec
}

func (w *world) settle(rec usage.Record) {
	w.t.Helper()
	r, err := w.db.SettleBatch(w.t.Context(), w.slot.ID, []usage.Record{rec})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Rejected) > 0 || r.Inserted+r.Refusals != 1 || r.Late > 0 {
		w.t.Fatalf("settled %+v", r)
	}
}

func mustKey(w *world, n *tenant) *store.KeyRow {
	w.t.Helper()
	k, err := w.db.LoadKey(w.t.Context(), apikey.Digest([]byte(n.token)))
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}
