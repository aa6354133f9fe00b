package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/probe"
	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// S4-11.
// Groups, providers, keys of providers, models, aliases, routes and auto models are changed
// one by one under the rules of a file, and the audit log says who, what, before and after.
func TestCatalogueByTheAPI(t *testing.T) {
	w := newWorld(t)
	var g report.Group
	w.expect(w.operate("POST", "/admin/v1/groups", `{"name":"gold","models":["alpha"],"rpm":600,"daily_usd":"1000"}`), 201, &g)
	if g.RPM != 600 || *g.DailyUSD != 1000*money.USD || g.Models[0] != "alpha" {
		t.Errorf("group %+v", g)
	}
	w.expect(w.operate("PATCH", "/admin/v1/groups/gold", `{"rpm":60,"daily_usd":null,"models":["*"]}`), 200, &g)
	if g.RPM != 60 || g.DailyUSD != nil || g.Models[0] != "*" {
		t.Errorf("changed group %+v", g)
	}
	w.tenant("Golden", "gold", 0)
	if r := w.operate("DELETE", "/admin/v1/groups/gold", ""); r.Status != 400 {
		t.Errorf("a group with customers goes: %d %s", r.Status, r.Raw)
	}
	w.expect(w.operate("POST", "/admin/v1/groups", `{"name":"empty"}`), 201, nil)
	w.expect(w.operate("DELETE", "/admin/v1/groups/empty", ""), 200, nil)
	if r := w.operate("GET", "/admin/v1/groups/empty", ""); r.Status != 404 {
		t.Errorf("a removed group: %d", r.Status)
	}

	var p report.Provider
	w.expect(w.operate("POST", "/admin/v1/providers", `{"name":"second","protocol":"openai","base_url":"http://127.0.0.1:9/v1","daily_stop":"50"}`), 201, &p)
	for _, step := range []struct{ method, path, body, want string }{
		{"POST", "/keys", `{"name":"main","secret":"sk-canary-one"}`, "main v1 on"},
		{"POST", "/keys/main/rotate", `{"secret":"sk-canary-two"}`, "main v2 on"},
		{"POST", "/keys/main/disable", ``, "main v2 off"},
		{"POST", "/keys/main/enable", ``, "main v2 on"},
	} {
		r := w.operate(step.method, "/admin/v1/providers/second"+step.path, step.body)
		if r.Status/100 != 2 || strings.Contains(r.Raw, "canary") {
			t.Fatalf("%s: %d %s", step.path, r.Status, r.Raw)
		}
		w.expect(r, r.Status, &p)
		k := p.Keys[0]
		if got := k.Name + " v" + string(rune('0'+k.Version)) + map[bool]string{true: " on", false: " off"}[k.Enabled]; got != step.want || len(p.Keys) != 1 {
			t.Errorf("%s: %s, want %s", step.path, got, step.want)
		}
	}
	if r := w.operate("POST", "/admin/v1/providers/second/keys", `{"name":"x","secret":"env:HOME"}`); r.Status != 400 {
		t.Errorf("a secret that names a variable of the machine: %d %s", r.Status, r.Raw)
	}
	w.expect(w.operate("PATCH", "/admin/v1/providers/second", `{"daily_stop":null}`), 200, &p)
	if p.DailyStop != nil || len(p.Keys) != 1 || !p.Keys[0].Enabled {
		t.Errorf("a change of the provider touched its keys: %+v", p)
	}

	var m report.OperatorModel
	w.expect(w.operate("POST", "/admin/v1/models", `{"id":"gamma","aliases":["gamma-1"],"tags":["chat"],"context_tokens":1000,
		"routes":[{"provider":"second","upstream_model":"g-upstream","weight":3}],"price":{"input":"1","output":"2"}}`), 201, &m)
	if m.PriceID == 0 || len(m.Routes) != 1 || m.Routes[0].Weight != 3 || m.Aliases[0] != "gamma-1" {
		t.Errorf("model %+v", m)
	}
	price := m.PriceID
	w.expect(w.operate("PATCH", "/admin/v1/models/gamma-1", `{"aliases":["gamma-2"],"multiplier":"1.25"}`), 200, &m)
	if m.Aliases[0] != "gamma-2" || len(m.Aliases) != 1 || m.Multiplier != "1.25" || m.PriceID != price {
		t.Errorf("changed model %+v", m)
	}
	w.expect(w.operate("POST", "/admin/v1/models/gamma/routes", `{"provider":"hidden-supplier","upstream_model":"g2","priority":1,"cost":{"input":"0.5","output":"1"}}`), 201, &m)
	if len(m.Routes) != 2 || !m.Routes[1].Own {
		t.Fatalf("routes %+v", m.Routes)
	}
	id := json.Number(string(must(json.Marshal(m.Routes[1].ID)))).String()
	w.expect(w.operate("PATCH", "/admin/v1/routes/"+id, `{"weight":7}`), 200, &m)
	if m.Routes[1].Weight != 7 || m.Routes[1].Prices["input"] != "0.5" {
		t.Errorf("route %+v", m.Routes[1])
	}
	w.expect(w.operate("DELETE", "/admin/v1/routes/"+id, ""), 200, &m)
	if len(m.Routes) != 1 {
		t.Errorf("routes %+v", m.Routes)
	}
	w.expect(w.operate("POST", "/admin/v1/models", `{"id":"auto-two","auto":{"strategy":"cheapest","models":["gamma","alpha"]}}`), 201, &m)
	if r := w.operate("DELETE", "/admin/v1/models/gamma", ""); r.Status != 400 {
		t.Errorf("a model that an auto model names goes: %d %s", r.Status, r.Raw)
	}
	if r := w.operate("PATCH", "/admin/v1/models/auto-two", `{"auto":{"strategy":"cheapest","models":["nothing"]}}`); r.Status != 400 || !strings.Contains(r.Raw, "nothing") || strings.Contains(r.Raw, "line ") {
		t.Errorf("an auto model of nothing: %d %s", r.Status, r.Raw)
	}
	w.expect(w.operate("DELETE", "/admin/v1/models/auto-two", ""), 200, nil)
	w.expect(w.operate("DELETE", "/admin/v1/models/gamma", ""), 200, nil)
	if r := w.operate("GET", "/admin/v1/models/gamma", ""); r.Status != 404 {
		t.Errorf("a model that was taken out: %d", r.Status)
	}
	var aliases aliasList
	w.expect(w.operate("GET", "/admin/v1/aliases", ""), 200, &aliases)
	if len(aliases.Items) != 1 || aliases.Items[0] != (aliasOf{Alias: "alpha-1.0", Model: "alpha"}) {
		t.Errorf("aliases %+v", aliases)
	}

	// Nothing else was touched by all this.
	var exported struct{ Models, Providers []json.RawMessage }
	w.expect(w.operate("GET", "/admin/v1/catalog", ""), 200, &exported)
	if len(exported.Models) != 4 || len(exported.Providers) != 2 {
		t.Errorf("the catalogue has %d models and %d providers", len(exported.Models), len(exported.Providers))
	}

	var log auditEntries
	w.expect(w.operate("GET", "/admin/v1/audit-log?object=group&object_id=gold&action=update", ""), 200, &log)
	if len(log.Items) != 1 {
		t.Fatalf("audit log %+v", log)
	}
	e := log.Items[0]
	if e.Actor != "operator" || e.IP == "" || e.RequestID == "" || len(e.Changes) != 1 ||
		!strings.Contains(string(e.Changes[0].Before), `"rpm":600`) && !strings.Contains(string(e.Changes[0].Before), `"rpm": 600`) || !strings.Contains(string(e.Changes[0].After), "60") ||
		strings.Contains(string(e.Changes[0].Before), "name") {
		t.Errorf("the change of the group is %+v %s → %s", e, e.Changes[0].Before, e.Changes[0].After)
	}
	all := w.operate("GET", "/admin/v1/audit-log?limit=200", "")
	if strings.Contains(all.Raw, "canary") || !strings.Contains(all.Raw, "rotate key") {
		t.Errorf("the audit log shows a secret, or not that it changed")
	}
	var one auditEntry
	w.expect(w.operate("GET", "/admin/v1/audit-log/"+json.Number(string(must(json.Marshal(e.ID)))).String(), ""), 200, &one)
	if one.ID != e.ID || one.RequestID != e.RequestID {
		t.Errorf("one entry is %+v", one)
	}
	var first, second auditEntries
	w.expect(w.operate("GET", "/admin/v1/audit-log?limit=2", ""), 200, &first)
	w.expect(w.operate("GET", "/admin/v1/audit-log?limit=2&cursor="+*first.NextCursor, ""), 200, &second)
	if second.Items[0].ID >= first.Items[1].ID {
		t.Errorf("pages overlap: %d, %d", first.Items[1].ID, second.Items[0].ID)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A credential is tried with one token, and what the provider says is told without it.
func TestProviderKeyTest(t *testing.T) {
	w := newWorld(t)
	secret := "sk-canary-probe"
	provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var body struct {
			Model     string `json:"model"`
			MaxTokens int    `json:"max_tokens"`
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil || r.URL.Path != "/v1/chat/completions" || body.MaxTokens != 1 {
			http.Error(rw, `{"error":{"message":"unexpected"}}`, 400)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+secret || body.Model == "broken" {
			rw.WriteHeader(401)
			_, _ = rw.Write([]byte(`{"error":{"message":"Incorrect API key provided: ` + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + `"}}`))
			return
		}
		_, _ = rw.Write([]byte(`{"choices":[]}`))
	}))
	defer provider.Close()
	w.expect(w.operate("POST", "/admin/v1/providers", `{"name":"live","protocol":"openai","dialect":"deepseek","base_url":"`+provider.URL+`/v1"}`), 201, nil)
	w.expect(w.operate("POST", "/admin/v1/providers/live/keys", `{"name":"main","secret":"`+secret+`"}`), 201, nil)
	var got probe.Result
	w.expect(w.operate("POST", "/admin/v1/providers/live/keys/main/test", `{"model":"m"}`), 200, &got)
	if !got.OK || got.HTTPStatus != 200 {
		t.Errorf("a good key: %+v", got)
	}
	r := w.operate("POST", "/admin/v1/providers/live/keys/main/test", `{"model":"broken"}`)
	w.expect(r, 200, &got)
	if got.OK || got.HTTPStatus != 401 || strings.Contains(r.Raw, secret) || !strings.Contains(got.Message, "***") {
		t.Errorf("a refused key: %s", r.Raw)
	}
	if r := w.operate("POST", "/admin/v1/providers/live/keys/other/test", `{"model":"m"}`); r.Status != 404 {
		t.Errorf("a key that is not there: %d %s", r.Status, r.Raw)
	}
}

// A price is previewed on given usage and on what was really used, set for later, and has
// a history.
func TestPricesByTheAPI(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 100*money.USD)
	w.used(acme, "alpha", usage.Success, "", time.Now(), 1_000_000, 100_000) // 2 + 1 USD
	var p pricePreviewed
	w.expect(w.operate("POST", "/admin/v1/models/alpha/price-preview", `{"price":{"input":"3","output":"10"},"usage":{"input":1000000,"output":100000}}`), 200, &p)
	if *p.Before != 3*money.USD || p.After != 4*money.USD || *p.Difference != money.USD || p.Past != nil {
		t.Errorf("preview %+v", p)
	}
	w.expect(w.operate("POST", "/admin/v1/models/alpha/price-preview", `{"price":{"input":"0.1","output":"10"}}`), 200, &p)
	if p.Past == nil || p.Past.Calls != 1 || p.Past.Charged != 3*money.USD || p.Past.Cost != 3*money.USD/2 || p.After != 11*money.USD/10 {
		t.Errorf("preview of the past %+v %+v", p, p.Past)
	}
	if len(p.BelowCost) != 1 || p.BelowCost[0] != "hidden-supplier upstream-alpha input" {
		t.Errorf("below cost: %q", p.BelowCost)
	}
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.expect(w.operate("POST", "/admin/v1/models/alpha/price", `{"price":{"input":"3","output":"10"},"seen":`+string(must(json.Marshal(p.PriceID)))+`,"effective_at":"`+later.Format(time.RFC3339)+`"}`), 201, nil)
	var h priceHistory
	w.expect(w.operate("GET", "/admin/v1/models/alpha/prices", ""), 200, &h)
	if len(h.Items) != 2 || h.Items[0].State != "to_come" || !h.Items[0].EffectiveAt.Equal(later) || h.Items[0].Actor != "operator" || h.Items[0].Prices["input"] != "3" ||
		h.Items[1].State != "in_force" || h.Items[1].Actor != "test" {
		t.Errorf("history %+v", h.Items)
	}
}

// Calls, attempts and their sums: a call that failed over has every attempt as a row, the
// failed one too, and what providers cost adds up to what calls cost.
func TestTrafficForOperators(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("A", "", 100*money.USD), w.tenant("B", "", 100*money.USD)
	rows, err := w.db.LoadCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	route, key := rows.Routes[0].ID, rows.ProviderKeys[0].ID
	w.attempts = []usage.Attempt{
		{RouteID: route, ProviderKeyID: key, HTTPStatus: 503, Outcome: usage.OutcomeStatus, EndMicros: 1000},
		{RouteID: route, ProviderKeyID: key, HTTPStatus: 200, Outcome: usage.OutcomeOK, StartMicros: 2000, EndMicros: 900_000},
	}
	today := time.Now().Add(-2 * time.Second) // both calls are of one day, also at midnight
	first := w.used(a, "alpha", usage.Success, "", today, 1000, 100)
	w.attempts = []usage.Attempt{{RouteID: route, ProviderKeyID: key, Outcome: usage.OutcomeTimeout, EndMicros: 1000}}
	w.used(b, "alpha", usage.Failed, "upstream_error", today.Add(time.Millisecond), 10, 10)

	var calls callList
	w.expect(w.operate("GET", "/admin/v1/calls", ""), 200, &calls)
	if len(calls.Items) != 2 || calls.Items[1].RequestID != first.ID.String() || len(calls.Items[1].Attempts) != 2 || calls.Items[1].Attempts[0].Cost != 0 ||
		calls.Items[1].Attempts[1].Cost != first.Cost || calls.Items[1].Attempts[0].Provider != "hidden-supplier" || calls.Items[1].Attempts[0].ProviderKey != "main" {
		t.Errorf("calls %+v", calls.Items)
	}
	w.expect(w.operate("GET", "/admin/v1/calls?limit=1&client_id="+report.ClientID(a.ID), ""), 200, &calls)
	if len(calls.Items) != 1 || calls.Items[0].ClientID != report.ClientID(a.ID) || calls.NextCursor != nil {
		t.Errorf("calls of A %+v", calls)
	}
	csv := w.operate("GET", "/admin/v1/calls.csv", "")
	if n := strings.Count(csv.Raw, "\r\n"); csv.Status != 200 || n != 3 {
		t.Errorf("CSV of %d lines: %d %s", n, csv.Status, csv.Raw)
	}
	var attempts attemptList
	w.expect(w.operate("GET", "/admin/v1/attempts?failed=true&provider=hidden-supplier", ""), 200, &attempts)
	if len(attempts.Items) != 2 || attempts.Items[0].Outcome != "timeout" || attempts.Items[1].Outcome != "status" || attempts.Items[1].HTTPStatus != 503 || attempts.NextCursor != nil {
		t.Errorf("failed attempts %+v", attempts)
	}
	w.expect(w.operate("GET", "/admin/v1/attempts?limit=1", ""), 200, &attempts)
	if len(attempts.Items) != 1 || attempts.NextCursor == nil {
		t.Fatalf("first page of attempts %+v", attempts)
	}
	w.expect(w.operate("GET", "/admin/v1/attempts?limit=1&cursor="+*attempts.NextCursor, ""), 200, &attempts)
	if len(attempts.Items) != 2 || attempts.Items[1].N != 2 || attempts.Items[1].Cost != first.Cost {
		t.Errorf("second page of attempts %+v", attempts)
	}
	var sums providerReport
	w.expect(w.operate("GET", "/admin/v1/reports/providers?by=route&daily=true", ""), 200, &sums)
	if len(sums.Items) != 1 || sums.Items[0].Attempts != 3 || sums.Items[0].OK != 1 || sums.Items[0].Timeout != 1 || sums.Items[0].ServerError != 1 || sums.Items[0].Cost != first.Cost {
		t.Errorf("providers %+v", sums.Items)
	}
	var margins marginReport
	w.expect(w.operate("GET", "/admin/v1/reports/margin?by=client,model&limit=1", ""), 200, &margins)
	if len(margins.Items) != 1 || *margins.Items[0].ClientID != report.ClientID(a.ID) || margins.Items[0].Margin != first.Charge-first.Cost || margins.NextCursor == nil {
		t.Fatalf("margins %+v", margins)
	}
	w.expect(w.operate("GET", "/admin/v1/reports/margin?by=client,model&limit=1&cursor="+*margins.NextCursor, ""), 200, &margins)
	if len(margins.Items) != 1 || *margins.Items[0].ClientID != report.ClientID(b.ID) || margins.NextCursor != nil {
		t.Errorf("the second page of margins %+v", margins)
	}
	var live report.Live
	w.expect(w.operate("GET", "/admin/v1/live", ""), 200, &live)
	n := int64(0)
	for _, s := range live.Steps {
		n += s.Calls
	}
	if n < 1 || len(live.Calls) != 2 || len(live.Proxies) != 1 {
		t.Errorf("live %+v", live)
	}
}

// A route is switched off and on again under its number, with the cost that it had, and a
// refusal names the field at fault for the form that sent it.
func TestRoutesAreSwitchedOffAndOn(t *testing.T) {
	w := newWorld(t)
	var m report.OperatorModel
	w.expect(w.operate("POST", "/admin/v1/models/alpha/routes", `{"provider":"hidden-supplier","upstream_model":"spare","priority":2,"weight":3,"region":"eu","cost":{"input":"0.5","output":"1"}}`), 201, &m)
	if len(m.Routes) < 2 || len(m.OffRoutes) != 0 {
		t.Fatalf("model %+v", m)
	}
	had := m.Routes[len(m.Routes)-1]
	path := "/admin/v1/routes/" + string(rowText(had.ID))
	w.expect(w.operate("PATCH", path, `{"enabled":false}`), 200, &m)
	if len(m.OffRoutes) != 1 || m.OffRoutes[0].ID != had.ID || m.OffRoutes[0].Prices["input"] != "0.5" || !m.OffRoutes[0].Own {
		t.Errorf("off %+v", m.OffRoutes)
	}
	if r := w.operate("PATCH", path, `{"weight":9}`); r.Status != 404 {
		t.Errorf("a route that is off changes: %d %s", r.Status, r.Raw)
	}
	w.expect(w.operate("PATCH", path, `{"enabled":true,"weight":5}`), 200, &m)
	if len(m.OffRoutes) != 0 || len(m.Routes) < 2 {
		t.Fatalf("on again %+v", m)
	}
	got, want := m.Routes[len(m.Routes)-1], had
	want.Weight = 5
	if got.ID != want.ID || got.Weight != 5 || got.Priority != 2 || got.Region != "eu" || !got.Own || got.Prices["output"] != "1" {
		t.Errorf("on again %+v, was %+v", got, had)
	}
	w.expect(w.operate("PATCH", path, `{"region":"us"}`), 200, &m)
	if len(m.OffRoutes) != 1 || m.OffRoutes[0].Region != "eu" || m.Routes[len(m.Routes)-1].Region != "us" || m.Routes[len(m.Routes)-1].Prices["input"] != "0.5" {
		t.Errorf("moved %+v, off %+v", m.Routes, m.OffRoutes)
	}
	if r := w.operate("PATCH", "/admin/v1/routes/999999", `{"enabled":true}`); r.Status != 404 {
		t.Errorf("no such route: %d", r.Status)
	}
	for body, field := range map[string]string{`{"multiplier":"x"}`: "multiplier", `{"context_tokens":-1}`: "context_tokens", `{"aliases":["alpha-1.0","alpha-1.0"]}`: "aliases", `{"tag":[]}`: "tag", `{"t\u00e4g\n":[]}`: ""} {
		r := w.operate("PATCH", "/admin/v1/models/alpha", body)
		if got := r.Header.Get("X-Relay-Param"); r.Status != 400 || got != field {
			t.Errorf("%s: %d at %q, want %q: %s", body, r.Status, got, field, r.Raw)
		}
	}
}
