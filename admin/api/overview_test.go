package api

import (
	"strconv"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// What operators read adds up to what was booked.
func TestOperatorOverview(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", 10*money.USD), w.tenant("Tenant B", "", 10*money.USD)
	now := time.Now().UTC()
	var charge, cost money.Amount
	for i, n := range []*tenant{a, a, b} {
		r := w.used(n, "alpha", usage.Success, "", now.Add(-time.Duration(i)*24*time.Hour), 1000, 100)
		charge, cost = charge+r.Charge, cost+r.Cost
	}
	w.used(b, "vendor/beta", usage.Failed, "upstream_error", now, 10, 10)
	w.used(b, "alpha", usage.Success, "", now.Add(-40*24*time.Hour), 1000, 100) // longer ago

	var o report.Whole
	w.expect(w.operate("GET", "/admin/v1/overview", ""), 200, &o)
	if o.Total.Calls != 4 || o.Total.Success != 3 || o.Total.Charge != charge || o.Total.Cost != cost || o.Total.Margin != charge-cost {
		t.Errorf("total %+v, want %s for %s", o.Total, charge, cost)
	}
	var sum money.Amount
	for _, d := range o.Days {
		sum += d.Charge
	}
	if len(o.Days) != 30 || sum != charge || o.Days[29].Date != now.Format(time.DateOnly) || o.Days[29].Calls != 2 {
		t.Errorf("%d days of %s: %+v", len(o.Days), sum, o.Days)
	}
	if len(o.Clients) != 2 || o.Clients[0].Name != "Tenant A" || o.Clients[0].Calls != 2 || o.Clients[1].Calls != 2 {
		t.Errorf("clients %+v", o.Clients)
	}
	if len(o.Models) != 2 || o.Models[0].Model != "alpha" || o.Models[0].Charge != charge {
		t.Errorf("models %+v", o.Models)
	}
	if len(o.Errors) != 1 || o.Errors[0] != (report.CodeCount{Code: "upstream_error", Count: 1}) {
		t.Errorf("errors %+v", o.Errors)
	}
	w.expect(w.operate("GET", "/admin/v1/overview?days=1", ""), 200, &o)
	if o.Total.Calls != 2 || len(o.Days) != 1 {
		t.Errorf("today %+v", o.Total)
	}
}

func TestOperatorListsClients(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", 10*money.USD), w.tenant("Tenant B", "small", 0)
	var list operatorClients
	w.expect(w.operate("GET", "/admin/v1/clients?limit=1", ""), 200, &list)
	if len(list.Items) != 1 || list.Items[0].Name != a.Name || list.Items[0].Balance != 10*money.USD || list.NextCursor == nil {
		t.Fatalf("%+v", list)
	}
	next := *list.NextCursor
	list = operatorClients{}
	w.expect(w.operate("GET", "/admin/v1/clients?limit=1&cursor="+next, ""), 200, &list)
	if len(list.Items) != 1 || list.Items[0].Name != b.Name || list.Items[0].Group != "small" || list.NextCursor != nil {
		t.Errorf("%+v", list)
	}
	w.expect(w.operate("POST", "/admin/v1/clients/Tenant%20A/credit", `{"amount":"-2.5","note":"a mistake"}`), 201, nil)
	var entries operatorEntries
	w.expect(w.operate("GET", "/admin/v1/clients/Tenant%20A/entries", ""), 200, &entries)
	if len(entries.Items) != 2 || entries.Items[0].Amount != -5*money.USD/2 || entries.Items[0].Note != "a mistake" || entries.Items[1].Kind != "recharge" {
		t.Errorf("%+v", entries)
	}
	var keys keyList
	w.expect(w.operate("GET", "/admin/v1/clients/Tenant%20B/api-keys", ""), 200, &keys)
	if len(keys.Items) != 1 || keys.Items[0].ID != b.key.PublicID {
		t.Errorf("%+v", keys)
	}
	if r := w.operate("GET", "/admin/v1/clients/nobody/entries", ""); r.Status != 404 {
		t.Errorf("nobody's entries: %d", r.Status)
	}
}

func TestOperatorListsPricesAndCosts(t *testing.T) {
	w := newWorld(t)
	var list operatorModels
	w.expect(w.operate("GET", "/admin/v1/models", ""), 200, &list)
	at := map[string]report.OperatorModel{}
	for _, m := range list.Items {
		at[m.ID] = m
	}
	alpha, beta := at["alpha"], at["vendor/beta"]
	if len(at) != 4 || alpha.Prices["input"] != "2" || alpha.PriceID == 0 || len(alpha.Routes) != 1 || !alpha.Routes[0].Own || alpha.Routes[0].Prices["input"] != "0.123457" {
		t.Errorf("alpha %+v", alpha)
	}
	if len(beta.Routes) != 1 || beta.Routes[0].Own || beta.Routes[0].Prices["output"] != "4" || beta.Routes[0].Provider != "hidden-supplier" {
		t.Errorf("beta %+v", beta)
	}
	if at["unpriced"].PriceID != 0 || at["auto-chat-balanced"].Auto != "balanced" {
		t.Errorf("%+v, %+v", at["unpriced"], at["auto-chat-balanced"])
	}
	w.expect(w.operate("POST", "/admin/v1/models/alpha/price", `{"price":{"input":"3","output":"11"},"seen":`+strconv.FormatInt(alpha.PriceID, 10)+`,"effective_at":"2099-01-01T00:00:00Z"}`), 201, nil)
	w.expect(w.operate("GET", "/admin/v1/models", ""), 200, &list)
	for _, m := range list.Items {
		if m.ID == "alpha" && (m.PriceID != alpha.PriceID || m.Next == nil || m.Next.Year() != 2099) {
			t.Errorf("with a price to come: %+v", m)
		}
	}
}
