package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

func codes(list []report.Reason) string {
	var out []string
	for _, r := range list {
		out = append(out, r.Code)
	}
	return strings.Join(out, " ")
}

// S1-24, S1-B10: where to call, and every reason that stands against it.
func TestPreflightS124(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	var p report.Preflight
	w.get(acme, "/openapi/v1/models/alpha-1.0/preflight", &p)
	if !p.Ready || len(p.BlockingReasons) != 0 || p.Model != "alpha" || p.Available != 10*money.USD || p.PriceVersion == nil ||
		p.Endpoints.OpenAI != "POST http://relay.example/v1/chat/completions" || p.Endpoints.Anthropic != "POST http://relay.example/v1/messages" ||
		p.Endpoints.DashScope != "POST http://relay.example/api/v1/services/aigc/text-generation/generation" {
		t.Errorf("%+v", p)
	}
	// The links lead somewhere.
	for _, link := range []string{p.BillingDetailURL, p.MonthlyStatementURL} {
		path, ok := strings.CutPrefix(link, "http://relay.example")
		if r := w.call(acme, "GET", path, ""); !ok || r.Status != 200 {
			t.Errorf("%s: %d %s", link, r.Status, r.Raw)
		}
	}
	if w.get(acme, "/openapi/v1/models/auto-chat-balanced/preflight", &p); !p.Ready || p.PriceVersion != nil { // S1-B9
		t.Errorf("the virtual model: %+v", p)
	}
	if w.get(acme, "/openapi/v1/models/vendor%2Fbeta/preflight", &p); !p.Ready || !strings.HasSuffix(p.BillingDetailURL, "?model=vendor%2Fbeta") {
		t.Errorf("a model with a slash: %+v", p)
	}
	limits := store.Unlimited()
	limits.Models, limits.MonthlyCap, limits.TotalQuota = []string{"vendor/beta"}, money.USD/1000, money.USD/1000
	capped := *acme
	capped.key, capped.token = w.key(acme, limits)
	w.used(&capped, "alpha", usage.Success, "", time.Now(), 1000, 50)
	if w.get(&capped, "/openapi/v1/models/alpha/preflight", &p); p.Ready || codes(p.BlockingReasons) != "monthly_cap_reached key_quota_reached model_not_allowed" {
		t.Errorf("a spent key of another scope: %+v", p.BlockingReasons)
	}
	poor := w.tenant("Poor", "small", 0)
	if w.get(poor, "/openapi/v1/models/alpha/preflight", &p); p.Ready || codes(p.BlockingReasons) != "insufficient_balance" {
		t.Errorf("no money: %+v", p.BlockingReasons)
	}
	for n, name := range map[*tenant]string{acme: "unpriced", poor: "vendor%2Fbeta", &capped: "nothing"} {
		if r := w.call(n, "GET", "/openapi/v1/models/"+name+"/preflight", ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", name, r.Status, r.Raw)
		}
	}
	if err := w.db.PauseProvider(t.Context(), "test", "hidden-supplier", true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alpha", "auto-chat-balanced"} {
		if w.get(acme, "/openapi/v1/models/"+name+"/preflight", &p); p.Ready || codes(p.BlockingReasons) != "provider_paused" || p.BlockingReasons[0].HTTPStatus != 429 {
			t.Errorf("%s while all is paused: %+v", name, p.BlockingReasons)
		}
	}
}

// S1-25.
func TestModelTagsS125(t *testing.T) {
	w := newWorld(t)
	var list tagList
	if w.get(w.tenant("Acme", "", 0), "/openapi/v1/model-tags", &list); len(list.Items) != 1 || list.Items[0] != (report.ModelTag{Tag: "chat", Models: 1}) {
		t.Errorf("tags %+v", list.Items)
	}
	w.expect(w.operate("POST", "/admin/v1/catalog", strings.Replace(testCatalogue, "  - id: vendor/beta\n", "  - id: vendor/beta\n    tags: [vision, chat]\n", 1)), 200, nil)
	w.get(w.tenant("Other", "", 0), "/openapi/v1/model-tags", &list)
	if want := []report.ModelTag{{Tag: "chat", Models: 2}, {Tag: "vision", Models: 1}}; !slices.Equal(list.Items, want) {
		t.Errorf("tags %+v, want %+v", list.Items, want)
	}
	if w.get(w.tenant("Small", "small", 0), "/openapi/v1/model-tags", &list); len(list.Items) != 1 {
		t.Errorf("tags of a group without beta: %+v", list.Items)
	}
}

// S1-19, S1-20, S1-21.
func TestResourcesS119S120S121(t *testing.T) {
	w := newWorld(t)
	acme, small := w.tenant("Acme", "", 0), w.tenant("Small", "small", 0)
	var got []string
	for path := "/openapi/v1/resources?limit=2"; path != ""; {
		var p resourceList
		w.get(acme, path, &p)
		for _, r := range p.Items {
			got = append(got, r.ID)
			var one report.Resource
			if w.get(acme, "/openapi/v1/resources/"+strings.ReplaceAll(r.ID, "/", "%2F"), &one); one.ID != r.ID || one.Name != r.Name || one.Type != "model" {
				t.Errorf("%+v, listed as %+v", one, r)
			}
		}
		path = ""
		if p.NextCursor != nil {
			path = "/openapi/v1/resources?limit=2&cursor=" + *p.NextCursor
		}
	}
	if want := []string{"model:alpha", "model:auto-chat-balanced", "model:vendor/beta"}; !slices.Equal(got, want) {
		t.Errorf("resources %v, want %v", got, want)
	}
	for kind, want := range map[string]int{"model": 3, "mcp": 0, "skill": 0, "agent": 0} {
		var p resourceList
		if w.get(acme, "/openapi/v1/resources?type="+kind, &p); len(p.Items) != want || p.NextCursor != nil {
			t.Errorf("%d resources of type %s, want %d", len(p.Items), kind, want)
		}
	}
	if r := w.call(acme, "GET", "/openapi/v1/resources?type=tool", ""); r.Status != 400 {
		t.Errorf("an unknown type: %d %s", r.Status, r.Raw)
	}
	for _, id := range []string{"model:vendor%2Fbeta", "model:nothing", "alpha", "mcp:x"} {
		if r := w.call(small, "GET", "/openapi/v1/resources/"+id, ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", id, r.Status, r.Raw)
		}
	}
	var kinds resourceTypes
	w.get(small, "/openapi/v1/resource-types", &kinds)
	if len(kinds.Items) != 4 || kinds.Items[0] != (report.ResourceType{Type: "model", Name: "Models", Count: 1}) || kinds.Items[1].Count != 0 {
		t.Errorf("types %+v", kinds.Items)
	}
}

// S1-29.
func TestBalanceCheckS129(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	if err := w.db.ReportReserved(t.Context(), w.slot.ID, w.slot.Epoch, map[int64]money.Amount{acme.WalletID: money.USD / 2}); err != nil {
		t.Fatal(err)
	}
	for amount, missing := range map[string]money.Amount{"0": 0, "9.5": 0, "9.500000001": 1, "10": money.USD / 2, "0.000000001": 0, "999999999": 999_999_999*money.USD - 19*money.USD/2} {
		var c report.BalanceCheck
		w.expect(w.call(acme, "POST", "/openapi/v1/balance/check", `{"amount":"`+amount+`"}`), 200, &c)
		if c.Amount.String() != amount || c.Covered != (missing == 0) || c.Missing != missing || c.Available != 19*money.USD/2 {
			t.Errorf("%s: %+v, want %s missing", amount, c, missing)
		}
	}
	for body, names := range map[string]string{
		"": "amount", `{}`: "amount", `{"amount":"1,5"}`: "amount", `{"amount":"-1"}`: "amount", `{"amount":"0.0000000001"}`: "amount", `{"amount":null}`: "amount",
		`{"amount":"1","currency":"EUR"}`: "currency",
	} {
		if r := w.call(acme, "POST", "/openapi/v1/balance/check", body); r.Status != 400 || !strings.Contains(*r.Body.Message, names) {
			t.Errorf("%s: %d %s, want 400 that names %s", body, r.Status, r.Raw, names)
		}
	}
}

// S1-36.
func TestModelAccessS136(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	access := func(key store.Key, query string) (list accessList, got []string) {
		w.get(acme, "/openapi/v1/api-keys/"+key.PublicID+"/model-access"+query, &list)
		for _, m := range list.Items {
			got = append(got, m.Model+":"+codes(m.Blocked))
			if m.Callable != (len(m.Blocked) == 0) {
				t.Errorf("%+v", m)
			}
		}
		return list, got
	}
	if list, got := access(acme.key, ""); !slices.Equal(got, []string{"alpha:", "auto-chat-balanced:", "vendor/beta:"}) || list.ModelScope != "automatic" || list.KeyID != acme.key.PublicID {
		t.Errorf("an automatic key: %v", got)
	}
	limits := store.Unlimited()
	limits.Models = []string{"alpha"}
	scoped, _ := w.key(acme, limits)
	if list, got := access(scoped, ""); !slices.Equal(got, []string{"alpha:", "auto-chat-balanced:model_not_allowed", "vendor/beta:model_not_allowed"}) || list.ModelScope != "single" {
		t.Errorf("a scoped key: %v", got)
	}
	list, got := access(scoped, "?limit=1")
	if len(got) != 1 || list.NextCursor == nil {
		t.Fatalf("a page of one: %v", got)
	}
	if _, got := access(scoped, "?cursor="+*list.NextCursor); len(got) != 2 {
		t.Errorf("the page behind it: %v", got)
	}
	w.expect(w.call(acme, "POST", "/openapi/v1/api-keys/"+scoped.PublicID+"/disable", ""), 200, nil)
	if _, got := access(scoped, ""); got[0] != "alpha:key_disabled" {
		t.Errorf("a disabled key: %v", got)
	}
}

// S1-48, S1-49, S1-B7: the rule is the price that the customer pays, and nothing of how it
// came about.
func TestBillingRulesS148S149(t *testing.T) {
	w := newWorld(t)
	acme, small := w.tenant("Acme", "", 0), w.tenant("Small", "small", 0)
	var list ruleList
	w.get(acme, "/openapi/v1/billing/rules?limit=2", &list)
	if len(list.Items) != 2 || list.NextCursor == nil || list.Items[0].Model != "alpha" || list.Items[0].Price.Prices["input"] != "2" || list.Items[1].Price != nil || list.Items[1].Auto == nil {
		t.Fatalf("rules %+v", list)
	}
	if w.get(acme, "/openapi/v1/billing/rules?cursor="+*list.NextCursor, &list); len(list.Items) != 1 || list.Items[0].Model != "vendor/beta" || list.NextCursor != nil {
		t.Errorf("the page behind: %+v", list)
	}
	var rule report.BillingRule
	var m report.CustomerModel
	w.get(small, "/openapi/v1/billing/rules/alpha-1.0", &rule)
	if w.get(small, "/openapi/v1/models/alpha", &m); rule.Price.Prices["input"] != "3" || rule.Price.Version != m.Price.Version {
		t.Errorf("the rule of a group with a multiplier: %+v, the model says %+v", rule.Price, m.Price)
	}
	r := w.call(small, "GET", "/openapi/v1/billing/rules", "")
	for _, word := range []string{`"1.5"`, "multiplier", "0.123457", "hidden-supplier", "upstream", "rule_id", "price_id"} {
		if strings.Contains(r.Raw, word) {
			t.Errorf("the rules show %q: %s", word, r.Raw)
		}
	}
	for _, name := range []string{"vendor%2Fbeta", "unpriced", "nothing"} {
		if r := w.call(small, "GET", "/openapi/v1/billing/rules/"+name, ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", name, r.Status, r.Raw)
		}
	}
}

// S4-23.
// S1-40, S1-41, S1-B8: the new key has the old one's limits and models, its token is shown
// once; a rotated key is refused from then on, a copied one is not.
func TestCopyAndRotateS140S141(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	limits := store.Unlimited()
	limits.Models, limits.MonthlyCap, limits.RPM = []string{"alpha", "vendor/beta"}, 25*money.USD, 60
	old, oldToken := w.key(acme, limits)
	base := "/openapi/v1/api-keys/" + old.PublicID
	for _, tc := range []struct{ action, body, name, oldStatus string }{
		{"copy", `{"name":"second"}`, "second", "active"}, {"copy", "", old.Name, "active"}, {"rotate", "{}", old.Name, "revoked"},
	} {
		var made createdKey
		w.expect(w.call(acme, "POST", base+"/"+tc.action, tc.body), 201, &made)
		if made.ID == old.PublicID || made.Name != tc.name || made.ModelScope != "selected" || !slices.Equal(made.AllowedModelIDs, limits.Models) ||
			made.MonthlyCap == nil || *made.MonthlyCap != 25*money.USD || made.RPM != 60 || made.Status != "active" || made.Token == oldToken {
			t.Errorf("%s: %+v", tc.action, made)
		}
		if r := send(t, w.app, "GET", "/openapi/v1/client", made.Token, ""); r.Status != 200 {
			t.Errorf("%s: the new token is answered %d %s", tc.action, r.Status, r.Raw)
		}
		if r := w.call(acme, "GET", "/openapi/v1/api-keys/"+made.ID, ""); strings.Contains(r.Raw, made.Token) || strings.Contains(r.Raw, `"token"`) {
			t.Errorf("%s: the token is shown again: %s", tc.action, r.Raw)
		}
		var k report.APIKey
		if w.get(acme, base, &k); k.Status != tc.oldStatus {
			t.Errorf("%s: the old key is %s, want %s", tc.action, k.Status, tc.oldStatus)
		}
		want := map[bool]int{true: 200, false: 401}[tc.oldStatus == "active"]
		if r := send(t, w.app, "GET", "/openapi/v1/client", oldToken, ""); r.Status != want {
			t.Errorf("%s: the old token is answered %d %s, want %d", tc.action, r.Status, r.Raw, want)
		}
	}
	if r := w.call(acme, "POST", base+"/rotate", ""); r.Status != 400 { // it is no longer active
		t.Errorf("rotated twice: %d %s", r.Status, r.Raw)
	}
	for body, names := range map[string]string{`{"name":""}`: "name", `{"names":"x"}`: "names", `{"name":1}`: "name"} {
		for _, action := range []string{"copy", "rotate"} {
			if r := w.call(acme, "POST", "/openapi/v1/api-keys/"+acme.key.PublicID+"/"+action, body); r.Status != 400 || !strings.Contains(*r.Body.Message, names) {
				t.Errorf("%s %s: %d %s", action, body, r.Status, r.Raw)
			}
		}
	}
	// G9: a scoped key cannot copy or rotate itself out of its scope.
	limits.Models = []string{"alpha"}
	_, scoped := w.key(acme, limits)
	wide, _ := w.key(acme, store.Unlimited())
	for _, action := range []string{"copy", "rotate"} {
		if r := send(t, w.app, "POST", "/openapi/v1/api-keys/"+wide.PublicID+"/"+action, scoped, ""); r.Status != 403 || r.code() != "model_not_allowed" {
			t.Errorf("%s of an automatic key by a scoped one: %d %s", action, r.Status, r.Raw)
		}
	}
	var k report.APIKey
	if w.get(acme, "/openapi/v1/api-keys/"+wide.PublicID, &k); k.Status != "active" {
		t.Errorf("the automatic key is %s", k.Status)
	}
}
