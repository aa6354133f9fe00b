package api

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/store"
)

// S0-5, S1-33, S1-35, S2-3, S3-4.
// S1-34, S1-B8, S0-6: the token is in the answer to its making and nowhere else.
func TestCreateKeyShowsTheTokenOnce(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	r := w.call(acme, "POST", "/openapi/v1/api-keys", `{"name":"app","monthly_cap":"25.50","rpm":60,"tpm":1000,"allowed_model_ids":["alpha-1.0"],"ip_allow":["127.0.0.0/8","0.0.0.0"],"expires_at":"2099-01-01T00:00:00Z"}`)
	var made createdKey
	w.expect(r, 201, &made)
	if !strings.HasPrefix(made.Token, "tsk_") || apikey.Check([]byte(made.Token)) != apikey.Ours || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("token %q, Cache-Control %q", made.Token, r.Header.Get("Cache-Control"))
	}
	if made.Name != "app" || made.MonthlyCap.String() != "25.5" || made.RPM != 60 || made.TPM != 1000 || made.ModelScope != "single" ||
		made.AllowedModelIDs[0] != "alpha" || made.Last4 != made.Token[len(made.Token)-4:] || made.ExpiresAt == nil || made.Status != "active" {
		t.Errorf("made %+v", made)
	}
	if !strings.Contains(r.Raw, `"monthly_cap":"25.5"`) {
		t.Errorf("money is not a decimal string: %s", r.Raw)
	}
	if r := send(t, w.app, "GET", "/openapi/v1/client", made.Token, ""); r.Status != 200 {
		t.Errorf("the new key: %d %s", r.Status, r.Raw)
	}
	for _, path := range []string{"/openapi/v1/api-keys", "/openapi/v1/api-keys/" + made.ID} {
		if r := w.call(acme, "GET", path, ""); r.Status != 200 || strings.Contains(r.Raw, made.Token) || strings.Contains(r.Raw, `"token"`) {
			t.Errorf("%s: %d %s", path, r.Status, r.Raw)
		}
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	for _, body := range []string{
		``, `{}`, `{"name":""}`, `{"name":"x","unknown":1}`, `{"name":"x","client_id":"client_9"}`, `{"name":"x","role":"operator"}`, `{"name":"x","balance":"1"}`,
		`{"name":"x","rpm":-1}`, `{"name":"x","tpm":1.5}`, `{"name":"x","monthly_cap":"-1"}`, `{"name":"x","monthly_cap":"1e3"}`, `{"name":"x","monthly_cap":"0.0000000001"}`,
		`{"name":"x","total_quota":"99999999999"}`, `{"name":"x","allowed_model_ids":["nope"]}`, `{"name":"x","allowed_model_ids":["unpriced"]}`, `{"name":"x","allowed_model_ids":"alpha"}`,
		`{"name":"x","ip_allow":["300.1.1.1"]}`, `{"name":"x","expires_at":"2001-01-01T00:00:00Z"}`, `{"name":"x","expires_at":"soon"}`, `{"name":"a\nb"}`,
		`{"name":"` + strings.Repeat("n", 129) + `"}`, `[{"name":"x"}]`,
	} {
		if r := w.call(acme, "POST", "/openapi/v1/api-keys", body); r.Status != 400 || r.code() != "invalid_request" {
			t.Errorf("%s: %d %s, want 400", body, r.Status, r.Raw)
		}
	}
	var list keyList
	if w.get(acme, "/openapi/v1/api-keys", &list); len(list.Items) != 1 {
		t.Errorf("refused requests made %d keys", len(list.Items)-1)
	}
}

// S0-15, S1-37.
// S1-B3: [] on PATCH clears to automatic, absent leaves as it is.
func TestModelScope(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	var k report.APIKey
	make := func(models string) string {
		var made createdKey
		w.expect(w.call(acme, "POST", "/openapi/v1/api-keys", `{"name":"k","allowed_model_ids":`+models+`}`), 201, &made)
		return made.ID + " " + made.ModelScope
	}
	for models, want := range map[string]string{`[]`: "automatic", `null`: "automatic", `["alpha"]`: "single", `["alpha","alpha-1.0"]`: "single", `["alpha","vendor/beta"]`: "selected"} {
		if _, scope, _ := strings.Cut(make(models), " "); scope != want {
			t.Errorf("allowed_model_ids %s: %s, want %s", models, scope, want)
		}
	}
	id, _, _ := strings.Cut(make(`["alpha","vendor/beta"]`), " ")
	for _, step := range []struct{ body, scope string }{
		{`{"name":"renamed"}`, "selected"},
		{`{"allowed_model_ids":["alpha"]}`, "single"},
		{`{"rpm":5}`, "single"},
		{`{"allowed_model_ids":[]}`, "automatic"},
		{`{"monthly_cap":"7"}`, "automatic"},
	} {
		w.expect(w.call(acme, "PATCH", "/openapi/v1/api-keys/"+id, step.body), 200, &k)
		if k.ModelScope != step.scope {
			t.Errorf("PATCH %s: %s, want %s", step.body, k.ModelScope, step.scope)
		}
	}
	if k.Name != "renamed" || k.RPM != 5 || k.MonthlyCap.String() != "7" {
		t.Errorf("after the patches: %+v", k)
	}
	w.expect(w.call(acme, "PATCH", "/openapi/v1/api-keys/"+id, `{"monthly_cap":null}`), 200, &k)
	if k.MonthlyCap != nil {
		t.Errorf("monthly_cap null: %v", k.MonthlyCap)
	}
}

// S1-B4.
// G9: a key never gives away more models than it has.
func TestScopeIsNeverWidened(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	small := w.tenant("Small", "small", 0)
	limits := store.Unlimited()
	limits.Models = []string{"alpha"}
	k, scoped := w.key(acme, limits)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/openapi/v1/api-keys", `{"name":"x","allowed_model_ids":[]}`, 403, "model_not_allowed"},
		{"POST", "/openapi/v1/api-keys", `{"name":"x"}`, 403, "model_not_allowed"},
		{"POST", "/openapi/v1/api-keys", `{"name":"x","allowed_model_ids":["alpha","vendor/beta"]}`, 403, "model_not_allowed"},
		{"PATCH", "/openapi/v1/api-keys/" + k.PublicID, `{"allowed_model_ids":[]}`, 403, "model_not_allowed"},
		{"PATCH", "/openapi/v1/api-keys/" + k.PublicID, `{"allowed_model_ids":null}`, 403, "model_not_allowed"},
		{"PATCH", "/openapi/v1/api-keys/" + k.PublicID, `{"allowed_model_ids":["vendor/beta"]}`, 403, "model_not_allowed"},
		{"POST", "/openapi/v1/api-keys", `{"name":"x","allowed_model_ids":["alpha"]}`, 201, ""},
	} {
		if r := send(t, w.app, tc.method, tc.path, scoped, tc.body); r.Status != tc.status || r.code() != tc.code {
			t.Errorf("%s %s %s: %d %s, want %d %s", tc.method, tc.path, tc.body, r.Status, r.Raw, tc.status, tc.code)
		}
	}
	// What the group does not give does not exist for the customer.
	if r := w.call(small, "POST", "/openapi/v1/api-keys", `{"name":"x","allowed_model_ids":["vendor/beta"]}`); r.Status != 400 {
		t.Errorf("a model outside the group: %d %s, want 400", r.Status, r.Raw)
	}
}

// S1-38, S1-39, S2-4, C20: disable is repeatable, delete revokes for good and keeps the row.
func TestDisableAndDelete(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	second, token := w.key(acme, store.Unlimited())
	path := "/openapi/v1/api-keys/" + second.PublicID
	var k report.APIKey
	for range 2 {
		if w.expect(w.call(acme, "POST", path+"/disable", ""), 200, &k); k.Status != "disabled" {
			t.Errorf("disabled: %+v", k)
		}
	}
	if r := send(t, w.app, "GET", "/openapi/v1/client", token, ""); r.Status != 401 {
		t.Errorf("the disabled key: %d", r.Status)
	}
	for range 2 {
		if w.expect(w.call(acme, "DELETE", path, ""), 200, &k); k.Status != "revoked" {
			t.Errorf("deleted: %+v", k)
		}
	}
	if r := w.call(acme, "POST", path+"/disable", ""); r.Status != 400 {
		t.Errorf("disabling a revoked key: %d %s, want a refusal", r.Status, r.Raw)
	}
	if w.get(acme, path, &k); k.Status != "revoked" {
		t.Errorf("the row of a deleted key: %+v", k)
	}
	if _, err := w.manage.SetKeyStatus(t.Context(), "test", 0, second.PublicID, store.KeyActive); err == nil {
		t.Error("a revoked key was enabled again")
	}
}

func TestListKeysPages(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	for range 4 {
		w.key(acme, store.Unlimited())
	}
	seen := map[string]bool{}
	path, pages := "/openapi/v1/api-keys?limit=2", 0
	for path != "" {
		var list keyList
		w.get(acme, path, &list)
		pages++
		for _, k := range list.Items {
			seen[k.ID] = true
		}
		path = ""
		if list.NextCursor != nil {
			path = "/openapi/v1/api-keys?limit=2&cursor=" + *list.NextCursor
		}
	}
	if len(seen) != 5 || pages != 3 {
		t.Errorf("%d keys on %d pages, want 5 on 3", len(seen), pages)
	}
	for _, q := range []string{"?limit=0", "?limit=201", "?limit=1000000000", "?limit=x", "?cursor=-1", "?cursor=x", "?offset=3", "?limit=1&limit=2"} {
		if r := w.call(acme, "GET", "/openapi/v1/api-keys"+q, ""); r.Status != 400 {
			t.Errorf("%s: %d %s, want 400", q, r.Status, r.Raw)
		}
	}
}

// S0-7: neither the token nor anything it can be made from is in the database.
func TestTokenIsNotStored(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	var made createdKey
	w.expect(w.call(acme, "POST", "/openapi/v1/api-keys", `{"name":"app"}`), 201, &made)
	log, err := w.db.AuditLog(t.Context(), store.AuditFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	secret := made.Token[len("tsk_")+12 : len(made.Token)-6]
	for _, row := range log {
		if strings.Contains(string(row.Detail), secret) {
			t.Errorf("the audit log holds the token: %s", row.Detail)
		}
	}
	if len(log) == 0 || !strings.Contains(string(raw), "key:"+acme.key.PublicID) {
		t.Errorf("the audit log does not name the calling key: %s", raw)
	}
}
