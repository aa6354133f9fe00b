package api

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// S1-26, interface 8: the balance moves by exactly the charges.
func TestBalance(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	var b report.CustomerBalance
	w.get(acme, "/openapi/v1/balance", &b)
	if b.Balance != 10*money.USD || b.Reserved != 0 || b.Available != 10*money.USD || b.Currency != "USD" {
		t.Errorf("balance %+v", b)
	}
	rec := w.used(acme, "alpha", usage.Success, "", time.Now(), 1000, 137)
	if rec.Charge != 3_370_000 { // 1000 × $2/M + 137 × $10/M
		t.Fatalf("charge %s", rec.Charge)
	}
	if w.get(acme, "/openapi/v1/balance", &b); b.Balance != 10*money.USD-rec.Charge || b.Available != b.Balance-b.Reserved {
		t.Errorf("after a call of %s: %+v", rec.Charge, b)
	}
	r := w.call(acme, "GET", "/openapi/v1/balance", "")
	if !strings.Contains(r.Raw, `"balance":"9.99663"`) || strings.Contains(r.Raw, "leased") || strings.Contains(r.Raw, "escrow") {
		t.Errorf("balance as JSON: %s", r.Raw)
	}
	// What running requests hold is reported by the proxies.
	if err := w.db.ReportReserved(t.Context(), w.slot.ID, w.slot.Epoch, map[int64]money.Amount{acme.WalletID: money.USD / 2}); err != nil {
		t.Fatal(err)
	}
	if w.get(acme, "/openapi/v1/balance", &b); b.Reserved != money.USD/2 || b.Available != b.Balance-money.USD/2 {
		t.Errorf("with half a dollar held: %+v", b)
	}
}

// S4-10.
// S1-44, S0-18, D13: every call has its row, failed and refused ones too.
func TestBillingDetail(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	now := time.Now()
	ok := w.used(acme, "alpha-1.0", usage.Success, "", now.Add(-3*time.Second), 1000, 50)
	failed := w.used(acme, "vendor/beta", usage.Failed, "upstream_error", now.Add(-2*time.Second), 0, 0)
	refused := w.used(acme, "alpha", usage.Refused, "rate_limited_rpm", now.Add(-time.Second), 0, 0)
	other := w.tenant("Other", "", 10*money.USD)
	w.used(other, "alpha", usage.Success, "", now, 10, 10)

	var page billingPage
	w.get(acme, "/openapi/v1/billing/detail", &page)
	if len(page.Items) != 3 || page.NextCursor != nil {
		t.Fatalf("%d rows, next %v", len(page.Items), page.NextCursor)
	}
	for i, want := range []string{refused.ID.String(), failed.ID.String(), ok.ID.String()} {
		if page.Items[i].RequestID != want {
			t.Errorf("row %d is %s, want %s (newest first)", i, page.Items[i].RequestID, want)
		}
	}
	row := page.Items[2]
	if row.Model != "alpha" || row.RequestedModel != "alpha-1.0" || row.Status != "success" || row.HTTPStatus != 200 || row.InputTokens != 1000 ||
		row.OutputTokens != 50 || row.Usage["input"] != 1000 || row.Usage["output"] != 50 || row.Charge != ok.Charge || row.Reserved != ok.Hold ||
		row.KeyID != acme.key.PublicID || row.KeyName != acme.key.Name || row.LatencyMS != 900 || row.FirstTokenMS == nil || *row.FirstTokenMS != 120 ||
		row.PriceVersion == "" || row.UsageSource != "reported" {
		t.Errorf("row of the successful call: %+v", row)
	}
	if r := page.Items[1]; r.Status != "failed" || r.Charge != 0 || r.Code != "upstream_error" || r.FirstTokenMS != nil {
		t.Errorf("row of the failed call: %+v", r)
	}
	if r := page.Items[0]; r.Status != "refused" || r.Charge != 0 || r.Code != "rate_limited_rpm" || r.HTTPStatus != 429 {
		t.Errorf("row of the refused call: %+v", r)
	}

	rfc := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	for query, want := range map[string]int{
		"":                                  3,
		"status=success":                    1,
		"status=failed":                     1,
		"status=refused":                    1,
		"status=timeout":                    0,
		"model=alpha":                       2,
		"model=alpha-1.0":                   2,
		"model=vendor/beta":                 1,
		"model=nothing":                     0,
		"key_id=" + acme.key.PublicID:       3,
		"request_id=" + ok.ID.String():      1,
		"request_id=" + refused.ID.String(): 1,
		"from=" + rfc(now.Add(-2500*time.Millisecond)): 2,
		"to=" + rfc(now.Add(-2500*time.Millisecond)):   1,
		"from=2001-01-01&to=2001-01-02":                0,
		"from=2001-01-01":                              3,
		"model=alpha&status=success":                   1,
	} {
		if w.get(acme, "/openapi/v1/billing/detail?"+query, &page); len(page.Items) != want {
			t.Errorf("?%s: %d rows, want %d", query, len(page.Items), want)
		}
	}
	for _, query := range []string{"status=bogus", "from=yesterday", "to=1", "request_id=abc", "limit=0", "limit=201", "cursor=abc", "unknown=1", "model=a&model=b", "wallet_id=1"} {
		if r := w.call(acme, "GET", "/openapi/v1/billing/detail?"+query, ""); r.Status != 400 {
			t.Errorf("?%s: %d %s, want 400", query, r.Status, r.Raw)
		}
	}
	// G8: rows of another customer do not exist, whatever is asked for.
	if r := w.call(acme, "GET", "/openapi/v1/billing/detail?key_id="+other.key.PublicID, ""); r.Status != 404 {
		t.Errorf("another customer's key as a filter: %d %s, want 404", r.Status, r.Raw)
	}
}

// S1-B7, G-26: nothing of the supplier in anything that a customer reads.
func TestNoSupplierData(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	rec := w.used(acme, "alpha", usage.Success, "", time.Now(), 1000, 50)
	for _, path := range []string{
		"/openapi/v1/client", "/openapi/v1/models", "/openapi/v1/api-keys", "/openapi/v1/balance", "/openapi/v1/billing/detail",
		"/openapi/v1/billing/detail.csv", "/openapi/v1/traces/" + rec.ID.String(), "/openapi/v1/balance-transactions?kind=charge",
		"/openapi/v1/balance-transactions.csv?kind=charge", "/openapi/v1/usage/breakdown", "/openapi/v1/billing/cost-breakdown",
		"/openapi/v1/billing/monthly-statement", "/openapi/v1/billing/monthly-statement.csv", "/openapi/v1/cost/overview", "/openapi/v1/cost/trend",
		"/openapi/v1/cost/models", "/openapi/v1/cost/models/alpha", "/openapi/v1/observation/metrics", "/openapi/v1/observation/charts",
		"/openapi/v1/observation/logs", "/openapi/v1/models/alpha/preflight", "/openapi/v1/billing/rules", "/openapi/v1/resources",
		"/openapi/v1/api-keys/" + acme.key.PublicID + "/model-access",
	} {
		r := w.call(acme, "GET", path, "")
		if r.Status != 200 {
			t.Errorf("%s: %d %s", path, r.Status, r.Raw)
		}
		lower := strings.ToLower(r.Raw)
		for _, word := range []string{"hidden-supplier", "upstream-", "supplier", "cost", "margin", "route", "provider", "price_id", "lease", "secret", "digest"} {
			if strings.Contains(lower, word) {
				t.Errorf("%s holds %q: %s", path, word, r.Raw)
			}
		}
	}
}

// S1-45, G-14: the CSV has the same rows and the same sum, through all pages.
func TestBillingCSV(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	var sum money.Amount
	start := time.Now()
	for i := range int64(7) {
		sum += w.used(acme, "alpha", usage.Success, "", start.Add(time.Duration(i-10)*time.Second), 100+i, i).Charge
	}
	next := w.report.BillingPages(mustKey(w, acme), report.BillingFilter{}, 3)
	pages := 0
	for {
		records, err := next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		pages++
	}
	if pages != 3 {
		t.Errorf("7 rows came on %d pages of 3", pages)
	}
	r := w.call(acme, "GET", "/openapi/v1/billing/detail.csv", "")
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/csv") || !strings.Contains(r.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("headers %v", r.Header)
	}
	rows, err := csv.NewReader(strings.NewReader(r.Raw)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var csvSum money.Amount
	for _, row := range rows[1:] {
		a, err := money.ParseUSD(row[15])
		if err != nil {
			t.Fatal(err)
		}
		csvSum += a
	}
	var b report.CustomerBalance
	w.get(acme, "/openapi/v1/balance", &b)
	if len(rows) != 8 || rows[0][15] != "charge_usd" || csvSum != sum || b.Balance != 10*money.USD-sum {
		t.Errorf("%d lines, column %s, sum %s, balance %s; charged %s", len(rows), rows[0][15], csvSum, b.Balance, sum)
	}
	if r := w.call(acme, "GET", "/openapi/v1/billing/detail.csv?status=bogus", ""); r.Status != 400 || r.code() != "invalid_request" {
		t.Errorf("a refused CSV: %d %s", r.Status, r.Raw)
	}
}

// Keyset paging: every row once, in order, while new rows arrive.
func TestBillingPaging(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	start := time.Now()
	for i := range 5 {
		w.used(acme, "alpha", usage.Success, "", start.Add(time.Duration(i-10)*time.Second), 10, 1)
	}
	var got []string
	path := "/openapi/v1/billing/detail?limit=2"
	for path != "" {
		var page billingPage
		w.get(acme, path, &page)
		for _, row := range page.Items {
			got = append(got, row.RequestID)
		}
		path = ""
		if page.NextCursor != nil {
			w.used(acme, "alpha", usage.Success, "", time.Now(), 10, 1) // arrives meanwhile
			path = "/openapi/v1/billing/detail?limit=2&cursor=" + *page.NextCursor
		}
	}
	if len(got) != 5 {
		t.Errorf("%d rows, want the 5 that were there: %v", len(got), got)
	}
	for i := 1; i < len(got); i++ {
		if got[i] >= got[i-1] {
			t.Errorf("rows out of order: %v", got)
		}
	}
}

// S1-57.
func TestTrace(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	rec := w.used(acme, "alpha", usage.Success, "", time.Now(), 1000, 50)
	var trace report.Trace
	w.get(acme, "/openapi/v1/traces/"+rec.ID.String(), &trace)
	if trace.RequestID != rec.ID.String() || trace.Charge != rec.Charge || len(trace.Attempts) != 1 || trace.Attempts[0].Outcome != "ok" || trace.Attempts[0].DurationMS != 900 {
		t.Errorf("trace %+v", trace)
	}
	for _, id := range []string{"req_01JD4M4M4M4M4M4M4M4M4M4M4M", "nonsense"} {
		if r := w.call(acme, "GET", "/openapi/v1/traces/"+id, ""); r.Status != 404 {
			t.Errorf("trace %s: %d %s, want 404", id, r.Status, r.Raw)
		}
	}
}

// A call keeps the price version that it was charged at, also when the price has
// changed since.
func TestPriceVersionOfOldCalls(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	before := w.used(acme, "alpha", usage.Success, "", time.Now().Add(-time.Second), 1000, 50)
	var page billingPage
	w.get(acme, "/openapi/v1/billing/detail", &page)
	old := page.Items[0].PriceVersion
	w.expect(w.operate("POST", "/admin/v1/catalog", strings.Replace(testCatalogue, `price: {input: "2"`, `price: {input: "3"`, 1)), 200, nil)
	after := w.used(acme, "alpha", usage.Success, "", time.Now(), 1000, 50)
	var m report.CustomerModel
	w.get(acme, "/openapi/v1/models/alpha", &m)
	w.get(acme, "/openapi/v1/billing/detail", &page)
	if page.Items[1].RequestID != before.ID.String() || page.Items[1].PriceVersion != old || old == "" {
		t.Errorf("the old call's price version was %q and is %q", old, page.Items[1].PriceVersion)
	}
	if page.Items[0].RequestID != after.ID.String() || page.Items[0].PriceVersion != m.Price.Version || m.Price.Version == old {
		t.Errorf("the new call's price version is %q, the model's %q, the old one %q", page.Items[0].PriceVersion, m.Price.Version, old)
	}
	if after.Charge != before.Charge+money.USD/1000 {
		t.Errorf("charges %s and %s", before.Charge, after.Charge)
	}
}
