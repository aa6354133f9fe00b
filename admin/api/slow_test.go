package api

import (
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
)

// H3: a report whose statement takes longer than it may is ended and answered 503, and the
// next one works.
func TestSlowReportsAre503(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", money.USD)
	db, err := store.Open(t.Context(), w.url, store.Options{Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	app := New(Deps{
		DB: db, Manage: w.manage, Report: report.New(db, time.Now), Operator: session.NewOperator(operatorToken), Log: obs.Discard(),
		Metrics: obs.NewMetrics(false), Brand: "Token Relay", PublicURL: "http://relay.example", Now: time.Now, Ready: func() bool { return true },
	})
	release := storetest.Lock(t, w.url, "usage, usage_hourly, usage_daily, usage_total, entry")
	paths := []string{
		"/openapi/v1/balance-transactions", "/openapi/v1/balance-transactions.csv", "/openapi/v1/usage/breakdown", "/openapi/v1/billing/cost-breakdown",
		"/openapi/v1/billing/detail", "/openapi/v1/billing/monthly-statement.csv", "/openapi/v1/cost/overview", "/openapi/v1/cost/trend",
		"/openapi/v1/cost/models", "/openapi/v1/observation/metrics", "/openapi/v1/observation/charts", "/openapi/v1/observation/logs",
	}
	for _, path := range paths {
		r := send(t, app, "GET", path, acme.token, "")
		// On a busy machine the time may be over before there is a connection.
		said := r.Body.Message != nil && (strings.Contains(*r.Body.Message, "shorter time") || strings.Contains(*r.Body.Message, "not reachable"))
		if r.Status != 503 || r.code() != "overloaded" || r.Header.Get("Retry-After") == "" || !said {
			t.Errorf("%s: %d %s, Retry-After %q; want 503", path, r.Status, r.Raw, r.Header.Get("Retry-After"))
		}
	}
	release()
	for _, path := range paths {
		if r := send(t, app, "GET", path, acme.token, ""); r.Status != 200 {
			t.Errorf("%s afterwards: %d %s", path, r.Status, r.Raw)
		}
	}
}
