package api

import (
	"strconv"
	"strings"
	"testing"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
)

func (w *world) operate(method, path, body string) *reply {
	w.t.Helper()
	return send(w.t, w.app, method, path, operatorToken, body)
}

func TestOperatorCreatesClientKeyAndCredit(t *testing.T) {
	w := newWorld(t)
	var c operatorClient
	w.expect(w.operate("POST", "/admin/v1/clients", `{"name":"Acme","group":"small","credit":"10","multiplier":"1.25"}`), 201, &c)
	if c.Name != "Acme" || c.Group != "small" || c.Balance != 10*money.USD || c.Multiplier != "1.25" {
		t.Errorf("client %+v", c)
	}
	var credited creditResult
	for range 2 { // the same ref is booked once
		w.expect(w.operate("POST", "/admin/v1/clients/"+c.ID+"/credit", `{"amount":"2.5","note":"bank","ref":"tx-1"}`), 201, &credited)
	}
	if credited.Balance != 12_500_000_000 || credited.Kind != "recharge" {
		t.Errorf("credit %+v", credited)
	}
	w.expect(w.operate("POST", "/admin/v1/clients/Acme/credit", `{"amount":"-0.5"}`), 201, &credited)
	if credited.Balance != 12*money.USD || credited.Kind != "correction" {
		t.Errorf("correction %+v", credited)
	}
	var k createdKey
	w.expect(w.operate("POST", "/admin/v1/clients/"+c.ID+"/api-keys", `{"name":"first","monthly_cap":"5"}`), 201, &k)
	var b report.CustomerBalance
	w.expect(send(t, w.app, "GET", "/openapi/v1/balance", k.Token, ""), 200, &b)
	if b.Balance != 12*money.USD {
		t.Errorf("the customer sees %+v", b)
	}
	var state report.APIKey
	w.expect(w.operate("POST", "/admin/v1/api-keys/"+k.ID+"/disable", ""), 200, &state)
	if r := send(t, w.app, "GET", "/openapi/v1/balance", k.Token, ""); r.Status != 401 {
		t.Errorf("a disabled key: %d", r.Status)
	}
	w.expect(w.operate("POST", "/admin/v1/api-keys/"+k.ID+"/enable", ""), 200, &state)
	if r := send(t, w.app, "GET", "/openapi/v1/balance", k.Token, ""); r.Status != 200 {
		t.Errorf("a key that was enabled again: %d", r.Status)
	}
	for path, body := range map[string]string{
		"/admin/v1/clients":                        `{"name":"Acme"}`,
		"/admin/v1/clients?":                       `{"name":"B","credit":"-1"}`,
		"/admin/v1/clients?x=1":                    `{"name":"B"}`,
		"/admin/v1/clients/" + c.ID + "/credit":    `{"amount":"0"}`,
		"/admin/v1/clients/" + c.ID + "/credit?":   `{"amount":"2","ref":"tx-1"}`,
		"/admin/v1/clients/" + c.ID + "/api-keys":  `{"name":""}`,
		"/admin/v1/clients/" + c.ID + "/api-keys?": `{"name":"x","allowed_model_ids":["nope"]}`,
	} {
		if r := w.operate("POST", path, body); r.Status != 400 {
			t.Errorf("%s %s: %d %s, want 400", path, body, r.Status, r.Raw)
		}
	}
	if r := w.operate("POST", "/admin/v1/clients/client_99999/credit", `{"amount":"1"}`); r.Status != 404 {
		t.Errorf("credit for nobody: %d %s", r.Status, r.Raw)
	}
	// M4: a correction never takes more than is there.
	if r := w.operate("POST", "/admin/v1/clients/"+c.ID+"/credit", `{"amount":"-13"}`); r.Status != 402 {
		t.Errorf("a correction below zero: %d %s, want 402", r.Status, r.Raw)
	}
}

func TestOperatorProvidersAndCatalogue(t *testing.T) {
	w := newWorld(t)
	var p providerState
	w.expect(w.operate("POST", "/admin/v1/providers/hidden-supplier/pause", ""), 200, &p)
	rows, err := w.db.LoadCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !p.Paused || !rows.Providers[0].Paused {
		t.Errorf("paused %+v, row %+v", p, rows.Providers[0])
	}
	w.expect(w.operate("POST", "/admin/v1/providers/hidden-supplier/reactivate", ""), 200, &p)
	if r := w.operate("POST", "/admin/v1/providers/nobody/pause", ""); r.Status != 404 {
		t.Errorf("an unknown provider: %d %s", r.Status, r.Raw)
	}
	var done applied
	w.expect(w.operate("POST", "/admin/v1/catalog?dry_run=true", strings.Replace(testCatalogue, `price: {input: "2"`, `price: {input: "3"`, 1)), 200, &done)
	if len(done.Changes) == 0 || !done.DryRun {
		t.Errorf("dry run of a price change: %+v", done)
	}
	w.expect(w.operate("POST", "/admin/v1/catalog", testCatalogue), 200, &done)
	if len(done.Changes) != 0 {
		t.Errorf("applying the same file again changed %q", done.Changes)
	}
	r := w.operate("GET", "/admin/v1/catalog", "")
	if r.Status != 200 || strings.Contains(r.Raw, "supplier-secret-canary") || !strings.Contains(r.Raw, "upstream-alpha") {
		t.Errorf("export: %d %s", r.Status, r.Raw)
	}
	for _, body := range []string{"models: [{idd: x}]", "\x00", strings.Replace(testCatalogue, `"supplier-secret-canary"`, `"file:/etc/passwd"`, 1), strings.Replace(testCatalogue, `"supplier-secret-canary"`, `"env:PATH"`, 1)} {
		if r := w.operate("POST", "/admin/v1/catalog", body); r.Status != 400 {
			t.Errorf("a bad catalogue: %d %s, want 400", r.Status, r.Raw)
		}
	}
	var proxies report.Proxies
	w.expect(w.operate("GET", "/admin/v1/proxies", ""), 200, &proxies)
	if len(proxies.Proxies) != 1 || proxies.Proxies[0].Name != "test-proxy" || proxies.Live != 1 || proxies.Revision == 0 {
		t.Errorf("proxies %+v", proxies)
	}
}

// The operator API answers nobody without the token, for every route.
func TestOperatorNeedsTheToken(t *testing.T) {
	app := bare()
	for _, r := range Routes() {
		if r.audience != operator {
			continue
		}
		for _, token := range []string{"", "wrong", operatorToken + "x"} {
			if got := send(t, app, r.Method, r.Path, token, ""); got.Status != 401 {
				t.Errorf("%s %s with token %q: %d", r.Method, r.Path, token, got.Status)
			}
		}
	}
}

// Architecture 5: a price change names the row it was made from.
func TestOperatorSetsAPrice(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	const path = "/admin/v1/models/alpha-1.0/price"
	var now priceState
	w.expect(w.operate("GET", path, ""), 200, &now)
	body := `{"price":{"input":"4","output":"20"},"tiers":[{"above_input_tokens":1000,"price":{"input":"8","output":"40"}}],"seen":` + strconv.FormatInt(now.PriceID, 10) + `}`
	var set priceState
	w.expect(w.operate("POST", path, body), 201, &set)
	if set.Model != "alpha" || set.PriceID == now.PriceID {
		t.Errorf("set %+v, before %+v", set, now)
	}
	var m report.CustomerModel
	w.get(acme, "/openapi/v1/models/alpha", &m)
	if m.Price.Prices["input"] != "4" || len(m.Price.Tiers) != 1 || m.Price.Tiers[0].Prices["output"] != "40" {
		t.Errorf("the customer sees %+v", m.Price)
	}
	if r := w.operate("POST", path, body); r.Status != 409 || r.code() != "price_changed" {
		t.Errorf("the same change again: %d %s, want 409", r.Status, r.Raw)
	}
	for _, bad := range []string{
		`{}`, `{"price":{}}`, `{"price":{"input":"-1"}}`, `{"price":{"input":"0","output":"1"}}`, `{"price":{"tokens":"1"}}`, `{"price":{"input":1}}`,
		`{"price":{"input":"1","output":"2"},"effective_at":"2001-01-01T00:00:00Z"}`,
		`{"price":{"input":"1","output":"2"},"tiers":[{"above_input_tokens":5,"price":{"input":"1"}}]}`,
		`{"price":{"input":"1","output":"2"},"tiers":[{"above_input_tokens":5,"price":{"input":"1","output":"2"},"extra":1}]}`,
	} {
		bad = strings.Replace(bad, `{"price"`, `{"seen":`+strconv.FormatInt(set.PriceID, 10)+`,"price"`, 1)
		if r := w.operate("POST", path, bad); r.Status != 400 {
			t.Errorf("%s: %d %s, want 400", bad, r.Status, r.Raw)
		}
	}
	if r := w.operate("POST", "/admin/v1/models/nothing/price", body); r.Status != 404 {
		t.Errorf("an unknown model: %d %s", r.Status, r.Raw)
	}
}
