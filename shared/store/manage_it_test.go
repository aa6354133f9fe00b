package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// A key's whole life, and what the proxies are told of it.
func TestKeyLife(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD, func(l *store.KeyLimits) {
		l.Models, l.RPM, l.MonthlyCap = []string{"small"}, 60, money.USD
		l.IPAllow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		l.ExpiresAt = time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	})
	before := b.Statements()
	row, err := b.LoadKey(t.Context(), p.digest)
	if err != nil {
		t.Fatal(err)
	}
	if n := b.Statements() - before; n != 1 {
		t.Errorf("a cold key took %d statements", n)
	}
	if row.ID != p.key.ID || row.PublicID != p.key.PublicID || row.Digest != p.digest || row.Status != store.KeyActive || !row.ClientActive ||
		row.WalletID != p.client.WalletID || row.GroupID != p.client.GroupID || row.ClientPPM != price.PPM || row.RPM != 60 || row.MonthlyCap != money.USD ||
		row.TotalQuota != store.None || !slices.Equal(row.Models, []string{"small"}) || len(row.IPAllow) != 1 || row.ExpiresAt.IsZero() {
		t.Errorf("%+v", row)
	}
	rev, err := b.Revision(t.Context())
	if err != nil || row.Revision != rev {
		t.Errorf("revision %d, want %d, %v", row.Revision, rev, err)
	}
	if _, err := b.LoadKey(t.Context(), [32]byte{1}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown key: %v", err)
	}

	// S1-B3: an empty list clears to automatic; what is left out stays.
	empty := []string{}
	k, err := b.PatchKey(t.Context(), "test", p.client.ID, p.key.PublicID, store.KeyPatch{Models: &empty})
	if err != nil || len(k.Models) != 0 || k.RPM != 60 || k.MonthlyCap != money.USD {
		t.Fatalf("%+v, %v", k, err)
	}
	status := func(s store.KeyStatus, want error) {
		t.Helper()
		if _, err := b.SetKeyStatus(t.Context(), "test", p.client.ID, p.key.PublicID, s); !errors.Is(err, want) {
			t.Fatalf("status %d: %v, want %v", s, err, want)
		}
	}
	status(store.KeyDisabled, nil)
	status(store.KeyDisabled, nil) // nothing new
	status(store.KeyActive, nil)
	next := store.NewKey{PublicID: "next" + p.key.PublicID, Digest: sha256.Sum256([]byte(p.key.PublicID)), Last4: "wxyz"}
	successor, err := b.RotateKey(t.Context(), "test", p.client.ID, p.key.PublicID, next)
	if err != nil || successor.RPM != 60 || successor.Name != "main" || successor.ClientID != p.client.ID || successor.Status != store.KeyActive {
		t.Fatalf("%+v, %v", successor, err)
	}
	status(store.KeyActive, store.ErrConflict)
	status(store.KeyRevoked, nil)
	if _, err := b.PatchKey(t.Context(), "test", 0, p.key.PublicID, store.KeyPatch{RPM: new(int64)}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a revoked key was changed: %v", err)
	}
	if _, err := b.RotateKey(t.Context(), "test", 0, p.key.PublicID, next); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a revoked key was rotated: %v", err)
	}
	if _, err := b.conn.Exec(t.Context(), "UPDATE api_key SET status = 1 WHERE id = $1", p.key.ID); err == nil {
		t.Error("SQL brought a revoked key back")
	}
	revoked, err := b.RevokedKeys(t.Context(), 0, 100)
	if err != nil || len(revoked) != 1 || revoked[0].Digest != p.digest {
		t.Errorf("revoked %+v, %v", revoked, err)
	}

	changes, err := b.Changes(t.Context(), row.Revision, 100)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for i, c := range changes {
		if c.Rev != row.Revision+int64(i)+1 {
			t.Errorf("revision %d at place %d", c.Rev, i)
		}
		if c.Kind != store.KindKey || c.Digest == [32]byte{} {
			t.Errorf("change %+v", c)
		}
		told = append(told, c.Detail)
	}
	want := []string{store.KeyPatched, store.KeyDisabledOp, store.KeyEnabled, store.KeyRotated, store.KeyCreated}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}

	// G8: another client's key is not there.
	other := b.party(0)
	if _, err := b.KeyByPublicID(t.Context(), other.client.ID, successor.PublicID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	if _, err := b.SetKeyStatus(t.Context(), "test", other.client.ID, successor.PublicID, store.KeyRevoked); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoke: %v", err)
	}
	if _, err := b.PatchKey(t.Context(), "test", other.client.ID, successor.PublicID, store.KeyPatch{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("patch: %v", err)
	}
	if list, err := b.ListKeys(t.Context(), p.client.ID, 0, 10); err != nil || len(list) != 2 {
		t.Errorf("%d keys, %v", len(list), err)
	}
	if list, err := b.ListKeys(t.Context(), 0, successor.ID, 10); err != nil || len(list) != 1 || list[0].ClientID != other.client.ID {
		t.Errorf("page %+v, %v", list, err)
	}
}

// F6: what the schema refuses, whoever asks.
func TestImpossibleValues(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	for name, limits := range map[string]store.KeyLimits{
		"rpm": {RPM: -1}, "cap": {MonthlyCap: -5}, "quota": {TotalQuota: -2}, "concurrency": {MaxConcurrency: -1},
	} {
		_, err := b.CreateKey(t.Context(), "test", store.NewKey{ClientID: p.client.ID, PublicID: name, Digest: sha256.Sum256([]byte(name)), Name: "x", KeyLimits: limits})
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := b.CreateKey(t.Context(), "test", store.NewKey{ClientID: p.client.ID, PublicID: p.key.PublicID, Digest: sha256.Sum256([]byte("y")), Name: "x"})
	if !errors.Is(err, store.ErrExists) {
		t.Errorf("taken public id: %v", err)
	}
	_, err = b.CreateKey(t.Context(), "test", store.NewKey{ClientID: 1 << 40, PublicID: "z", Digest: sha256.Sum256([]byte("z")), Name: "x"})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such client: %v", err)
	}
	for name, c := range map[string]store.NewClient{
		"ppm": {Name: "n1", PPM: 2_000_000_000}, "negative credit": {Name: "n2", Credit: -5}, "": {Name: ""},
	} {
		if _, err := b.CreateClient(t.Context(), "test", c); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("client %q: %v", name, err)
		}
	}
	if _, err := b.CreateClient(t.Context(), "test", store.NewClient{Name: p.client.Name}); !errors.Is(err, store.ErrExists) {
		t.Errorf("taken name: %v", err)
	}
	if _, err := b.CreateClient(t.Context(), "test", store.NewClient{Name: "n3", Group: "nobody"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown group: %v", err)
	}
	for _, sql := range []string{ // M4, M8, M13: the last belt
		"UPDATE wallet SET leased = balance + 1",
		"UPDATE wallet SET leased = -1",
		"UPDATE wallet SET floor = 1",
		"UPDATE entry SET amount = 5",
		"DELETE FROM entry",
		"TRUNCATE entry",
		"UPDATE audit_log SET actor = 'x'",
		"DELETE FROM price",
		"UPDATE price SET free = 1",
		"INSERT INTO price (model_id, rates) VALUES (1, '{1000000000001}')",
		"INSERT INTO price (model_id, rates) VALUES (1, '{0}')",
		"INSERT INTO price (model_id, rates) VALUES (1, '{-1}')",
		"INSERT INTO price (rates) VALUES ('{1}')",
		"INSERT INTO price_tier (price_id, above_input, base, rates) VALUES (1, 10, '{1,2}', '{1,null}')",
		"UPDATE config_rev SET one = false",
		"INSERT INTO entry (wallet_id, kind, amount, ref, actor) VALUES (1, 'recharge', -5, 'q', 'x')",
		"INSERT INTO entry (wallet_id, kind, amount, ref, actor) VALUES (1, 'bad_debt', 5, 'q', 'x')",
	} {
		if _, err := b.conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("the schema takes: %s", sql)
		}
	}
}

func TestClients(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	rev, _ := b.Revision(t.Context())
	off, ppm, floor := false, int64(2_500_000), -money.USD
	c, err := b.UpdateClient(t.Context(), "test", p.client.ID, store.ClientPatch{Active: &off, PPM: &ppm, Floor: &floor, Profile: map[string]string{"city": "Köln"}})
	if err != nil || c.Active || c.PPM != ppm || c.Profile["city"] != "Köln" || c.Name != p.client.Name {
		t.Fatalf("%+v, %v", c, err)
	}
	if again, err := b.ClientByName(t.Context(), p.client.Name); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%+v, %v", again, err)
	}
	if again, err := b.ClientByID(t.Context(), p.client.ID); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%+v, %v", again, err)
	}
	if row, err := b.LoadKey(t.Context(), p.digest); err != nil || row.ClientActive || row.ClientPPM != ppm {
		t.Errorf("%+v, %v", row, err)
	}
	if w := b.balance(p); w.Floor != floor {
		t.Errorf("%+v", w)
	}
	x := b.proxy("p1") // a credit line is lent, too
	if _, g := x.grant(p.wallet(), 2*money.USD, 0); g.Refused {
		t.Errorf("%+v", g)
	}
	changes, err := b.Changes(t.Context(), rev, 10)
	if err != nil || len(changes) != 2 || changes[0].Kind != store.KindClient || changes[0].ID != p.client.ID || changes[1].Kind != store.KindWallet {
		t.Errorf("%+v, %v", changes, err)
	}
	if list, err := b.ListClients(t.Context(), 0, 10); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	log, err := b.AuditLog(t.Context(), store.AuditFilter{Limit: 2})
	if err != nil || len(log) != 2 || log[0].Action != "update" || log[0].Actor != "test" {
		t.Errorf("%+v, %v", log, err)
	}
	if older, err := b.AuditLog(t.Context(), store.AuditFilter{BeforeID: log[1].ID, Limit: 100}); err != nil || len(older) == 0 || older[0].ID >= log[1].ID {
		t.Errorf("older %+v, %v", older, err)
	}
	b.clean()
}

// Interface 4: applying is idempotent, tells what changed, and changes it.
func TestApplyCatalog(t *testing.T) {
	b := newBooks(t)
	apply := func(text string, dry bool) store.Applied {
		t.Helper()
		f, err := catalogfile.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		a, err := b.ApplyCatalog(t.Context(), "test", f, b.box, dry)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	rev, _ := b.Revision(t.Context())
	if a := apply(catalogue, false); len(a.Changes) != 0 || a.Revision != rev {
		t.Fatalf("again: %+v", a)
	}
	changed := strings.NewReplacer(`"15"`, `"16"`, "sk-canary-1", "sk-canary-2", "aliases: [small-1]", "aliases: [small-2]", "small-upstream}",
		"small-upstream, weight: 3}, {provider: demo, model: other, cost: {input: \"1\", output: \"0\"}}").Replace(catalogue)
	want := []string{
		"provider demo: key main has another secret",
		"model small: alias small-2", "model small: alias small-1 gone", "model small: price",
		"model small: route demo/small-upstream changed", "model small: route demo/other new", "model small: cost of route demo/other",
	}
	if a := apply(changed, true); !slices.Equal(a.Changes, want) || !a.DryRun {
		t.Fatalf("dry: %q", a.Changes)
	}
	if now, _ := b.Revision(t.Context()); now != rev {
		t.Fatal("a dry run took a revision")
	}
	if a := apply(changed, false); !slices.Equal(a.Changes, want) || a.Revision != rev+1 {
		t.Fatalf("%+v", a)
	}
	if a := apply(changed, false); len(a.Changes) != 0 {
		t.Fatalf("again: %q", a.Changes)
	}
	c, err := b.LoadCatalog(t.Context())
	if err != nil || c.Revision != rev+1 || len(c.Routes) != 2 || c.Routes[0].Weight != 3 || c.Routes[0].ID != b.catalog.Routes[0].ID {
		t.Fatalf("%+v, %v", c, err)
	}
	if secret, err := store.OpenSecret(b.box, &c.ProviderKeys[0]); err != nil || secret != "sk-canary-2" || c.ProviderKeys[0].ID != b.catalog.ProviderKeys[0].ID {
		t.Errorf("secret %v", err)
	}
	if !slices.Equal(c.Models[0].Aliases, []string{"small-2"}) || c.Prices[1].Version.ID == b.priceID {
		t.Errorf("%+v", c.Models[0])
	}
	// An unknown secret keeps the stored one; a key left out is disabled.
	if a := apply(strings.Replace(changed, `, secret: "sk-canary-2"`, "", 1), false); len(a.Changes) != 0 {
		t.Errorf("no secret: %q", a.Changes)
	}
	// A route that goes and comes back is the same row: its health and history stay.
	apply(catalogue, false)
	apply(changed, false)
	if again, err := b.LoadCatalog(t.Context()); err != nil || again.Routes[1].ID != c.Routes[1].ID || len(again.Prices) != 2 {
		t.Errorf("%+v, %v", again.Routes, err)
	}

	// The export applies to nothing new, and holds no secret.
	f, err := b.ExportCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := catalogfile.Marshal(f)
	if bytes.Contains(text, []byte("canary")) {
		t.Error("the export shows a secret")
	}
	if a := apply(string(text), false); len(a.Changes) != 0 {
		t.Errorf("export applied: %q\n%s", a.Changes, text)
	}
	var dump string // G12: nor does the table
	if err := b.conn.QueryRow(t.Context(), "SELECT string_agg(encode(sealed, 'escape'), '') FROM provider_key").Scan(&dump); err != nil || strings.Contains(dump, "canary") {
		t.Errorf("stored in clear (%v)", err)
	}
	if err := b.PauseProvider(t.Context(), "test", "demo", true); err != nil {
		t.Fatal(err)
	}
	if c, _ := b.LoadCatalog(t.Context()); !c.Providers[0].Paused {
		t.Error("not paused")
	}
	apply(changed, false)
	if c, _ := b.LoadCatalog(t.Context()); !c.Providers[0].Paused {
		t.Error("apply resumed a paused provider")
	}
	if err := b.PauseProvider(t.Context(), "test", "nobody", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown provider: %v", err)
	}
}

// The shipped catalogue fits the schema, applies in time and comes out as it went in.
func TestShippedCatalogue(t *testing.T) {
	b := newBooks(t)
	f := catalogfile.Default()
	if _, err := f.ResolveSecrets(func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := b.ApplyCatalog(t.Context(), "test", f, b.box, false); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d models applied in %s", len(f.Models), time.Since(start))
	if a, err := b.ApplyCatalog(t.Context(), "test", f, b.box, false); err != nil || len(a.Changes) != 0 {
		t.Fatalf("again: %q, %v", a.Changes, err)
	}
	c, err := b.LoadCatalog(t.Context())
	if err != nil || len(c.Models) != len(f.Models)+1 {
		t.Fatalf("%d models, %v", len(c.Models), err)
	}
	exported, err := b.ExportCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := catalogfile.Parse(catalogfile.Marshal(exported))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := b.ApplyCatalog(t.Context(), "test", again, b.box, false); err != nil || len(a.Changes) != 0 {
		t.Fatalf("export: %q, %v", a.Changes, err)
	}
}

// D15, G12: a sealed secret moved to another row does not open.
func TestSwappedSecrets(t *testing.T) {
	b := newBooks(t)
	f, err := catalogfile.Parse([]byte(strings.Replace(catalogue, `keys: [`, `keys: [{name: second, secret: "sk-canary-9"}, `, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ApplyCatalog(t.Context(), "test", f, b.box, false); err != nil {
		t.Fatal(err)
	}
	exec(t, b.conn, "UPDATE provider_key SET sealed = (SELECT sealed FROM provider_key WHERE name = 'main') WHERE name = 'second'")
	c, err := b.LoadCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.ProviderKeys {
		k := &c.ProviderKeys[i]
		if _, err := store.OpenSecret(b.box, k); (k.Name == "main") != (err == nil) || err != nil && !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
}

// Architecture 5: a price change is a new row, made from the version its editor saw.
func TestSetPrice(t *testing.T) {
	b := newBooks(t)
	v := *b.rule.Version
	v.Tiers = nil
	v.Base.Rates[0] = 4_000_000
	id, err := b.SetPrice(t.Context(), "test", "small", b.priceID, &v, time.Time{})
	if err != nil || id == b.priceID {
		t.Fatalf("%d, %v", id, err)
	}
	if _, err := b.SetPrice(t.Context(), "test", "small", b.priceID, &v, time.Time{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an outdated edit: %v", err)
	}
	if _, err := b.SetPrice(t.Context(), "test", "nothing", 0, &v, time.Time{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown model: %v", err)
	}
	if _, err := b.SetPrice(t.Context(), "test", "small", id, &v, time.Now().Add(-time.Hour)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a price in the past: %v", err)
	}
	later := v
	later.Base.Rates[0] = 5_000_000
	next, err := b.SetPrice(t.Context(), "test", "small", id, &later, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.LoadCatalog(t.Context())
	if err != nil || len(c.Prices) != 2 || c.Prices[0].Version.ID != next || c.Prices[1].Version.ID != id {
		t.Fatalf("%+v, %v", c.Prices, err)
	}
	vs := []*price.Version{&c.Prices[0].Version, &c.Prices[1].Version}
	if got := price.Pick(vs, c.Now.UnixMilli()); got.ID != id || got.Base.Rates[0] != 4_000_000 {
		t.Errorf("now: %+v", got)
	}
	if got := price.Pick(vs, c.Now.Add(2*time.Hour).UnixMilli()); got.ID != next {
		t.Errorf("later: %+v", got)
	}
	// F7, M9: charges by the old row stay right.
	p, x := b.party(money.USD), b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	b.settle(x.ID, b.record(p, lease, 100, 10))
	b.clean()
}

// D7: revisions are consecutive and become visible in order, whoever writes; every
// listener hears of the newest.
func TestRevisionOrder(t *testing.T) {
	b := newBooks(t)
	rev, _ := b.Revision(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan string, 1000)
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- b.Listen(ctx, func() { close(ready) }, func(channel, payload string) {
			if channel == store.ChannelConfig {
				heard <- payload
			}
		})
	}()
	<-ready
	const writers, each = 4, 25
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := b.SetSetting(context.Background(), "test", fmt.Sprintf("s%d", w), fmt.Appendf(nil, "%d", i)); err != nil {
					t.Errorf("set: %v", err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { group.Wait(); close(finished) }()
	for after, over := rev, false; ; {
		select {
		case <-finished:
			over = true
		default:
		}
		changes, err := b.Changes(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Rev != after+1 {
				t.Fatalf("revision %d after %d", c.Rev, after)
			}
			after = c.Rev
		}
		if over && len(changes) == 0 {
			if after != rev+writers*each {
				t.Fatalf("%d revisions, want %d", after-rev, writers*each)
			}
			break
		}
	}
	last := fmt.Sprint(rev + writers*each)
	for end := time.After(3 * time.Second); ; {
		select {
		case got := <-heard:
			if got == last {
				cancel()
				<-done
				return
			}
		case <-end:
			t.Fatal("no notice of the last revision")
		}
	}
}

func TestUsersAndSettings(t *testing.T) {
	b := newBooks(t)
	p := b.party(0)
	u, err := b.CreateUser(t.Context(), "test", store.User{Email: " Ann@Example.com ", PasswordHash: "$argon2id$1", ClientID: p.client.ID})
	if err != nil || u.Email != "ann@example.com" || !u.Active {
		t.Fatalf("%+v, %v", u, err)
	}
	if _, err := b.CreateUser(t.Context(), "test", store.User{Email: "ANN@example.com", PasswordHash: "x"}); !errors.Is(err, store.ErrExists) {
		t.Errorf("taken address: %v", err)
	}
	if got, err := b.UserByEmail(t.Context(), "ann@EXAMPLE.com"); err != nil || got != u {
		t.Errorf("%+v, %v", got, err)
	}
	digest := [32]byte{7}
	if err := b.CreateSession(t.Context(), digest, u.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, err := b.SessionUser(t.Context(), digest); err != nil || got.ID != u.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if err := b.SetPassword(t.Context(), "test", u.ID, "$argon2id$2"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SessionUser(t.Context(), digest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session outlives the password: %v", err)
	}
	if err := b.SetPassword(t.Context(), "test", 1<<40, "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such user: %v", err)
	}
	if err := b.CreateSession(t.Context(), digest, u.ID, -time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SessionUser(t.Context(), digest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an ended session: %v", err)
	}
	if err := b.EndSession(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if _, err := b.Setting(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unset: %v", err)
	}
	if err := b.SetSetting(t.Context(), "test", "x", []byte(`{"a": 1}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Setting(t.Context(), "x"); err != nil || string(got) != `{"a": 1}` {
		t.Errorf("%s, %v", got, err)
	}
	log, err := b.AuditLog(t.Context(), store.AuditFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range log {
		if bytes.Contains(r.Detail, []byte("argon2id")) {
			t.Errorf("the audit log shows a hash: %s", r.Detail)
		}
	}
}

// Rulings 3.33: a job runs on one admin at a time.
func TestLocked(t *testing.T) {
	b := newBooks(t)
	other := open(t, b.url)
	inside := 0
	got, err := b.Locked(t.Context(), "partitions", func(ctx context.Context) error {
		inside++
		if got, err := other.Locked(ctx, "partitions", func(context.Context) error { inside++; return nil }); got || err != nil {
			t.Errorf("a second one: %v, %v", got, err)
		}
		got, err := other.Locked(ctx, "another", func(context.Context) error { inside++; return nil })
		if !got || err != nil {
			t.Errorf("another job: %v, %v", got, err)
		}
		return nil
	})
	if !got || err != nil || inside != 2 {
		t.Errorf("%v, %v, %d", got, err, inside)
	}
	if got, err := other.Locked(t.Context(), "partitions", func(context.Context) error { return nil }); !got || err != nil {
		t.Errorf("afterwards: %v, %v", got, err)
	}
}

func TestSessionsOfAPerson(t *testing.T) {
	b := newBooks(t)
	u, err := b.CreateUser(t.Context(), "test", store.User{Email: "ann@example.com", PasswordHash: "x", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, ttl := range []time.Duration{time.Hour, -time.Second, time.Hour} {
		if err := b.CreateSession(t.Context(), [32]byte{byte(i + 1)}, u.ID, ttl); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.DescribeSession(t.Context(), [32]byte{3}, "192.0.2.1", "a browser"); err != nil {
		t.Fatal(err)
	}
	list, err := b.Sessions(t.Context(), u.ID)
	if err != nil || len(list) != 2 || list[0].Digest != [32]byte{3} || list[0].IP != "192.0.2.1" || list[0].Agent != "a browser" || list[1].Agent != "" {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := b.EndSessionOf(t.Context(), u.ID+1, list[0].ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	if err := b.EndOtherSessions(t.Context(), u.ID, [32]byte{3}); err != nil {
		t.Fatal(err)
	}
	if list, err = b.Sessions(t.Context(), u.ID); err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := b.EndSessionOf(t.Context(), u.ID, list[0].ID); err != nil {
		t.Error(err)
	}
}
