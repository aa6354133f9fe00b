package feed

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// rig is a feed and a catalogue on a database of their own.
type rig struct {
	t    *testing.T
	db   *store.DB
	box  *seal.Box
	c    *catalog.Catalog
	f    *Feed
	paid atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	box, err := seal.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	// By TCP: a server that is started again has another socket but the same port.
	at, err := url.Parse(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, box: box}
	if r.db, err = store.Open(t.Context(), pgtest.Server(t).URL(strings.TrimPrefix(at.Path, "/")), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.db.Close)
	if r.c, err = catalog.New(catalog.Options{Store: r.db}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.c.Close)
	r.f = New(Options{
		Store: r.db, Catalog: r.c, Log: slog.New(slog.DiscardHandler),
		Open:   func(k *store.ProviderKeyRow) (string, error) { return store.OpenSecret(box, k) },
		Wallet: func(id int64) { r.paid.Store(id) },
	})
	if err := r.f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.f.Stop)
	return r
}

func (r *rig) eventually(what string, f func() bool) time.Duration {
	r.t.Helper()
	begin := time.Now()
	for !f() {
		if time.Since(begin) > 10*time.Second {
			r.t.Fatalf("%s: not after 10 s (applied %d)", what, r.f.Applied())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

func (r *rig) client() store.Client {
	r.t.Helper()
	c, err := r.db.CreateClient(r.t.Context(), "test", store.NewClient{Name: "acme", Credit: money.USD})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) key(client int64) (k store.Key, token []byte) {
	r.t.Helper()
	text, id, err := apikey.Generate("tsk_")
	if err != nil {
		r.t.Fatal(err)
	}
	k, err = r.db.CreateKey(r.t.Context(), "test", store.NewKey{
		ClientID: client, PublicID: id, Digest: apikey.Digest([]byte(text)), Last4: apikey.Last4(text), Name: "one", KeyLimits: store.Unlimited(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k, []byte(text)
}

// state is the key's status, or the code of the refusal.
func (r *rig) state(token []byte) any {
	d := apikey.Digest(token)
	k, err := r.c.Key(context.Background(), &d)
	var e *apierr.Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case !k.ClientActive:
		return "client inactive"
	}
	return k.Status
}

// G1, with a real Postgres: made, patched, disabled, enabled, revoked.
func TestKeyLifeThroughPostgres(t *testing.T) {
	r := newRig(t)
	client := r.client()
	k, token := r.key(client.ID)
	if got := r.state(token); got != catalog.KeyActive {
		t.Fatalf("a new key is %v", got)
	}
	set := func(s store.KeyStatus) {
		t.Helper()
		if _, err := r.db.SetKeyStatus(t.Context(), "test", client.ID, k.PublicID, s); err != nil {
			t.Fatal(err)
		}
	}
	set(store.KeyDisabled)
	took := r.eventually("disable", func() bool { return r.state(token) == catalog.KeyDisabled })
	if took > time.Second { // G1's hard bound
		t.Errorf("disabled after %v", took)
	}
	set(store.KeyActive)
	r.eventually("enable", func() bool { return r.state(token) == catalog.KeyActive })
	rpm := int64(7)
	if _, err := r.db.PatchKey(t.Context(), "test", client.ID, k.PublicID, store.KeyPatch{RPM: &rpm}); err != nil {
		t.Fatal(err)
	}
	d := apikey.Digest(token)
	r.eventually("patch", func() bool {
		k, err := r.c.Key(t.Context(), &d)
		return err == nil && k.RPM == 7 && k.WalletID == client.WalletID && k.MonthlyCap == store.None
	})
	inactive := false
	if _, err := r.db.UpdateClient(t.Context(), "test", client.ID, store.ClientPatch{Active: &inactive}); err != nil {
		t.Fatal(err)
	}
	r.eventually("client disabled", func() bool { return r.state(token) == "client inactive" })
	set(store.KeyRevoked)
	r.eventually("revoke", func() bool { return r.state(token) == apierr.KeyDisabled })

	// Rotation: old dead, new live (G4).
	old, oldToken := r.key(client.ID)
	if got := r.state(oldToken); got != "client inactive" {
		t.Fatalf("the second key is %v", got)
	}
	text, id, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.RotateKey(t.Context(), "test", client.ID, old.PublicID, store.NewKey{
		ClientID: client.ID, PublicID: id, Digest: apikey.Digest([]byte(text)), Last4: apikey.Last4(text), Name: "two", KeyLimits: store.Unlimited(),
	}); err != nil {
		t.Fatal(err)
	}
	r.eventually("rotate", func() bool {
		return r.state(oldToken) == apierr.KeyDisabled && r.state([]byte(text)) == "client inactive"
	})
	// Everything that was written is applied, and reported.
	rev, err := r.db.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("revision", func() bool { return r.f.Applied() == rev })
}

// A key that was asked for before it was made works at once, not after the 10 s for
// which unknown keys are remembered.
func TestKeyAskedForBeforeItWasMade(t *testing.T) {
	r := newRig(t)
	text, id, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.state([]byte(text)); got != apierr.InvalidAPIKey {
		t.Fatalf("an unknown key is %v", got)
	}
	if _, err := r.db.CreateKey(t.Context(), "test", store.NewKey{
		ClientID: r.client().ID, PublicID: id, Digest: apikey.Digest([]byte(text)), Last4: apikey.Last4(text), Name: "x", KeyLimits: store.Unlimited(),
	}); err != nil {
		t.Fatal(err)
	}
	if took := r.eventually("the new key", func() bool { return r.state([]byte(text)) == catalog.KeyActive }); took > 2*time.Second {
		t.Errorf("the new key works after %v", took)
	}
}

func TestRechargeIsTold(t *testing.T) {
	r := newRig(t)
	client := r.client()
	r.paid.Store(0)
	if _, err := r.db.AddEntry(t.Context(), "test", store.NewEntry{WalletID: client.WalletID, Kind: ledger.Recharge, Amount: money.USD}); err != nil {
		t.Fatal(err)
	}
	r.eventually("recharge", func() bool { return r.paid.Load() == client.WalletID })
}

const file = `
providers:
  - {name: openai, protocol: openai, base_url: "https://api.openai.com/v1", keys: [{name: main, secret: "sk-secret"}]}
models:
  - id: gpt-x
    aliases: [gpt-x-latest]
    context_tokens: 1000
    max_output_tokens: 100
    routes: [{provider: openai, model: gpt-x-1, priority: 0, weight: 1}]
    price: {input: "PRICE", cache_read: "0.125", output: "10"}
    price_tiers: [{above_input_tokens: 500, input: "2.5", cache_read: "0.25", output: "15"}]
groups:
  - {name: default, models: ["*"], multiplier: "1.5"}
`

// The whole way of a price change, but for the API: file → rows → revision → notice
// → snapshot → rule.
func TestCatalogueChangeThroughPostgres(t *testing.T) {
	r := newRig(t)
	apply := func(price string) {
		t.Helper()
		f, err := catalogfile.Parse(bytes.ReplaceAll([]byte(file), []byte("PRICE"), []byte(price)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.db.ApplyCatalog(t.Context(), "test", f, r.box, false); err != nil {
			t.Fatal(err)
		}
	}
	apply("1.25")
	r.eventually("the catalogue", func() bool { return r.c.Snapshot().Models["gpt-x-latest"] != nil })
	old := r.c.Snapshot()
	m := old.Models["gpt-x"]
	if len(old.Problems) != 0 || len(m.Routes) != 1 || m.Routes[0].Provider.Keys[0].Secret != "sk-secret" || m.Routes[0].UpstreamModel != "gpt-x-1" {
		t.Fatalf("%+v, problems %v", m, old.Problems)
	}
	_, token := r.key(r.client().ID)
	d := apikey.Digest(token)
	k, err := r.c.Key(t.Context(), &d)
	if err != nil {
		t.Fatal(err)
	}
	rule := r.c.Rule(k, m, time.Now().UnixMilli())
	if rule == nil || rule.GroupPPM != 1_500_000 || rule.Version.Base.Rates[0] != 1_250_000 || len(rule.Version.Tiers) != 1 {
		t.Fatalf("rule %+v", rule)
	}
	before := rule.Version.ID
	apply("2")
	r.eventually("the new price", func() bool {
		now := r.c.Rule(k, r.c.Snapshot().Models["gpt-x"], time.Now().UnixMilli())
		return now != nil && now.Version.Base.Rates[0] == 2_000_000 && now.Version.ID != before
	})
	if rule.Version.Base.Rates[0] != 1_250_000 {
		t.Error("a rule in use changed")
	}
	if r.c.Snapshot().Models["gpt-x"].Routes[0].Health != m.Routes[0].Health {
		t.Error("a route lost its state by a price change")
	}
	applied := r.f.Applied()
	apply("2") // nothing to do: no revision
	if rev, err := r.db.Revision(t.Context()); err != nil || rev != applied {
		t.Errorf("applying the same file again made revision %d of %d, %v", rev, applied, err)
	}
}

// B1: Postgres is killed and comes back: the last good state serves on, and what was
// changed afterwards arrives.
func TestPostgresKilled(t *testing.T) {
	r := newRig(t)
	client := r.client()
	k, token := r.key(client.ID)
	if got := r.state(token); got != catalog.KeyActive {
		t.Fatalf("the key is %v", got)
	}
	d := apikey.Digest(token)
	r.eventually("cached", func() bool {
		_, known, _ := r.c.Cached(&d)
		return known
	})
	// The test server commits asynchronously: give it the 0.6 s after which a kill
	// loses nothing. (Losing it is TestRevisionGoesBack.)
	time.Sleep(time.Second)
	server := pgtest.Server(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	if got := r.state(token); got != catalog.KeyActive {
		t.Errorf("without Postgres the warm key is %v", got)
	}
	if got := r.state([]byte("tsk_cold")); got != apierr.MoneyUnavailable {
		t.Errorf("without Postgres a cold key is %v", got)
	}
	var err error
	if err = server.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.eventually("Postgres back", func() bool {
		_, err = r.db.SetKeyStatus(t.Context(), "test", client.ID, k.PublicID, store.KeyDisabled)
		return err == nil
	})
	r.eventually("disabled after the restart", func() bool { return r.state(token) == catalog.KeyDisabled })
}
