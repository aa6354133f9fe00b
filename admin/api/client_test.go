package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
)

// S1-05 … S1-07.
func TestClientAndProfile(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", money.USD)
	var c report.Customer
	w.get(acme, "/openapi/v1/client", &c)
	if c.Name != "Acme" || c.Group != "default" || c.Status != "active" || c.APIKey.ID != acme.key.PublicID || c.APIKey.ModelScope != "automatic" {
		t.Errorf("client %+v", c)
	}
	var p report.CustomerProfile
	w.expect(w.call(acme, "PATCH", "/openapi/v1/client/profile", `{"company":"Acme GmbH","country":"DE","timezone":"Europe/Berlin","contact_email":"a@example.com"}`), 200, nil)
	w.expect(w.call(acme, "PATCH", "/openapi/v1/client/profile", `{"phone":"+49 30 1","country":null}`), 200, &p)
	if p.Company != "Acme GmbH" || p.Country != "" || p.Phone != "+49 30 1" || p.Timezone != "Europe/Berlin" {
		t.Errorf("after two patches: %+v", p)
	}
	w.get(acme, "/openapi/v1/client/profile", &p)
	if p.Company != "Acme GmbH" || p.Name != "Acme" || p.ClientID != c.ClientID {
		t.Errorf("profile %+v", p)
	}
	for _, body := range []string{
		`{"balance":"100"}`, `{"name":"Other"}`, `{"client_id":"client_1"}`, `{"country":"Germany"}`, `{"timezone":"Mars/Base"}`,
		`{"contact_email":"nobody"}`, `{"company":"a\u0000b"}`, `{"company":" x"}`, `{"company":"` + strings.Repeat("x", 129) + `"}`, `{"company":"\u202egnp"}`,
	} {
		if r := w.call(acme, "PATCH", "/openapi/v1/client/profile", body); r.Status != 400 || r.code() != "invalid_request" {
			t.Errorf("%s: %d %s, want 400", body, r.Status, r.Raw)
		}
	}
}

// S0-13: disabled, revoked and expired keys, and keys of a disabled client, are 401.
func TestKeyStates(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	limits := store.Unlimited()
	limits.ExpiresAt = time.Now().Add(1500 * time.Millisecond)
	_, expiring := w.key(acme, limits)
	if r := send(t, w.app, "GET", "/openapi/v1/client", expiring, ""); r.Status != 200 {
		t.Fatalf("before it expires: %d %s", r.Status, r.Raw)
	}
	disabled, disabledToken := w.key(acme, store.Unlimited())
	revoked, revokedToken := w.key(acme, store.Unlimited())
	for id, to := range map[string]store.KeyStatus{disabled.PublicID: store.KeyDisabled, revoked.PublicID: store.KeyRevoked} {
		if _, err := w.manage.SetKeyStatus(t.Context(), "test", acme.ID, id, to); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1600 * time.Millisecond)
	for token, code := range map[string]string{
		expiring: "key_expired", disabledToken: "key_disabled", revokedToken: "key_disabled", acme.token + "x": "invalid_api_key",
		acme.token[:len(acme.token)-1]: "invalid_api_key", "sk-unknown": "invalid_api_key",
	} {
		r := send(t, w.app, "GET", "/openapi/v1/client", token, "")
		if r.Status != 401 || r.code() != code {
			t.Errorf("key %.8s…: %d %s, want 401 %s", token, r.Status, r.Raw, code)
		}
		if strings.Contains(r.Raw, token) {
			t.Errorf("the answer repeats the key: %s", r.Raw)
		}
	}
	off := false
	if _, err := w.db.UpdateClient(t.Context(), "test", acme.ID, store.ClientPatch{Active: &off}); err != nil {
		t.Fatal(err)
	}
	if r := w.call(acme, "GET", "/openapi/v1/client", ""); r.Status != 401 || r.code() != "key_disabled" {
		t.Errorf("key of a disabled client: %d %s", r.Status, r.Raw)
	}
}

// Two patches at once both count.
func TestProfilePatchesDoNotOverwriteEachOther(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	members := []string{"company", "phone", "display_name"}
	for round := range 5 {
		var wg sync.WaitGroup
		for _, m := range members {
			wg.Go(func() {
				r := w.call(acme, "PATCH", "/openapi/v1/client/profile", fmt.Sprintf(`{"%s":"%s %d"}`, m, m, round))
				if r.Status != 200 {
					t.Errorf("%d %s", r.Status, r.Raw)
				}
			})
		}
		wg.Wait()
		var p map[string]string
		w.get(acme, "/openapi/v1/client/profile", &p)
		for _, m := range members {
			if want := fmt.Sprintf("%s %d", m, round); p[m] != want {
				t.Errorf("%s is %q, want %q", m, p[m], want)
			}
		}
	}
}

// B5: with the database away a call is 503 with Retry-After, not 401 and not 500.
func TestDatabaseAway(t *testing.T) {
	db, err := store.Open(t.Context(), "postgres://nobody@127.0.0.1:1/none", store.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	app := New(Deps{
		DB: db, Manage: manage.New(db, nil, "tsk_", time.Now), Report: report.New(db, time.Now), Operator: session.NewOperator(operatorToken),
		Log: obs.Discard(), Metrics: obs.NewMetrics(false), Now: time.Now, Ready: func() bool { return true },
	})
	token, _, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	for key, path := range map[string]string{token: "/openapi/v1/balance", operatorToken: "/admin/v1/proxies"} {
		r := send(t, app, "GET", path, key, "")
		if r.Status != 503 || r.code() != "overloaded" || r.Header.Get("Retry-After") == "" || strings.Contains(r.Raw, "127.0.0.1") {
			t.Errorf("%s: %d %s, Retry-After %q", path, r.Status, r.Raw, r.Header.Get("Retry-After"))
		}
	}
}
