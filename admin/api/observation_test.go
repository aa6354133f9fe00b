package api

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// observed is a customer with calls of every end in this hour and in the one before.
func (w *world) observed(name string) (n *tenant, calls []usage.Record) {
	w.t.Helper()
	n = w.tenant(name, "", 100*money.USD)
	for hour := range 2 {
		at := w.freeze().Add(-time.Duration(hour) * time.Hour)
		for i, took := range []time.Duration{100, 150, 200, 700, 3000} {
			w.took = took * time.Millisecond
			calls = append(calls, w.used(n, "alpha", usage.Success, "", at.Add(-time.Duration(i)*time.Millisecond), 1000, 50))
		}
		w.took = 900 * time.Millisecond
		calls = append(calls,
			w.used(n, "vendor/beta", usage.Failed, "upstream_error", at, 0, 0), w.used(n, "vendor/beta", usage.Failed, "upstream_error", at, 0, 0),
			w.used(n, "alpha", usage.Timeout, "upstream_timeout", at, 0, 0), w.used(n, "alpha", usage.Cancelled, "", at, 0, 0))
		w.used(n, "alpha", usage.Refused, "rate_limited_rpm", at, 0, 0)
	}
	return n, calls
}

// S1-54.
func TestObservationMetricsS154(t *testing.T) {
	w := newWorld(t)
	acme, _ := w.observed("Acme")
	w.observed("Other")
	var m report.Observation
	w.get(acme, "/openapi/v1/observation/metrics", &m)
	if m.Requests != 18 || m.Success != 10 || m.Failed != 4 || m.Timeout != 2 || m.Cancelled != 2 || m.InputTokens != 10_000 || m.OutputTokens != 500 {
		t.Errorf("metrics %+v", m)
	}
	if m.SuccessRate == nil || math.Abs(*m.SuccessRate-10.0/16) > 1e-12 {
		t.Errorf("success rate %v, want 10 of 16 (the cancelled ones tell nothing)", m.SuccessRate)
	}
	// Ten of 18 took 512 to 1024 ms, two 2048 to 4096 ms.
	if p := m.LatencyMS; *p.P50 < 512 || *p.P50 >= 1024 || *p.P99 < 2048 || *p.P99 >= 4096 || *p.P90 < *p.P50 || *p.P95 < *p.P90 {
		t.Errorf("latency %d %d %d %d", *p.P50, *p.P90, *p.P95, *p.P99)
	}
	if p := m.FirstTokenMS; *p.P50 < 64 || *p.P99 >= 128 { // all 120 ms
		t.Errorf("first token %d to %d", *p.P50, *p.P99)
	}
	want := []report.ErrorCount{
		{Code: "upstream_error", HTTPStatus: 502, Count: 4}, {Code: "rate_limited_rpm", HTTPStatus: 429, Count: 2}, {Code: "upstream_timeout", HTTPStatus: 504, Count: 2},
	}
	if !slices.Equal(m.Errors, want) {
		t.Errorf("errors %+v, want %+v", m.Errors, want)
	}
	if w.get(acme, "/openapi/v1/observation/metrics?model=vendor/beta", &m); m.Requests != 4 || *m.SuccessRate != 0 || m.FirstTokenMS.P50 != nil || len(m.Errors) != 1 {
		t.Errorf("of a model that only failed: %+v", m)
	}
	hour := w.now().UTC().Truncate(time.Hour).Format(time.RFC3339)
	if w.get(acme, "/openapi/v1/observation/metrics?from="+hour, &m); m.Requests != 9 {
		t.Errorf("of this hour: %+v", m)
	}
	if w.get(acme, "/openapi/v1/observation/metrics?to=2001-01-01", &m); m.Requests != 0 || m.SuccessRate != nil || m.LatencyMS.P50 != nil || len(m.Errors) != 0 {
		t.Errorf("of a day without calls: %+v", m)
	}
}

// S1-55: the series hold what the metrics hold, hour by hour and day by day.
func TestObservationChartsS155(t *testing.T) {
	w := newWorld(t)
	acme, calls := w.observed("Acme")
	w.observed("Other")
	var charge money.Amount
	for i := range calls {
		charge += calls[i].Charge
	}
	for query, want := range map[string]struct {
		interval string
		values   int
		step     time.Duration
	}{"": {"hour", 24, time.Hour}, "?interval=day": {"day", 30, 24 * time.Hour}, "?interval=hour&from=" + w.now().UTC().Add(-199*time.Hour).Format(time.RFC3339): {"hour", 200, time.Hour}} {
		var c report.Charts
		w.get(acme, "/openapi/v1/observation/charts"+query, &c)
		n := want.values
		if c.Interval != want.interval || len(c.Times) != n || len(c.Requests) != n || len(c.Success) != n || len(c.Failed) != n || len(c.Timeout) != n || len(c.Cancelled) != n ||
			len(c.Interrupted) != n || len(c.SuccessRate) != n || len(c.InputTokens) != n || len(c.OutputTokens) != n || len(c.Charge) != n || len(c.LatencyP50MS) != n ||
			len(c.LatencyP95MS) != n || len(c.FirstTokenP50MS) != n || len(c.FirstTokenP95MS) != n {
			t.Fatalf("%q: %s, %d times, want %d values everywhere: %+v", query, c.Interval, len(c.Times), n, c)
		}
		var requests, success int64
		var sum money.Amount
		for i := range n {
			requests, success, sum = requests+c.Requests[i], success+c.Success[i], sum+c.Charge[i]
			if (c.Requests[i] == 0) != (c.SuccessRate[i] == nil) || (c.Requests[i] == 0) != (c.LatencyP50MS[i] == nil) {
				t.Errorf("%q: value %d: %d requests, success rate %v, latency %v", query, i, c.Requests[i], c.SuccessRate[i], c.LatencyP50MS[i])
			}
			if i > 0 && c.Times[i].Sub(c.Times[i-1]) != want.step {
				t.Errorf("%q: %v after %v", query, c.Times[i], c.Times[i-1])
			}
		}
		if requests != 18 || success != 10 || sum != charge || c.Requests[n-1] < 9 {
			t.Errorf("%q: %d requests, %d successes, %s, the last value %d; want 18, 10, %s", query, requests, success, sum, c.Requests[n-1], charge)
		}
	}
	for _, query := range []string{"interval=minute", "from=2026-01-01&to=2026-01-31", "interval=day&from=2025-01-01&to=2026-01-01", "step=1"} {
		if r := w.call(acme, "GET", "/openapi/v1/observation/charts?"+query, ""); r.Status != 400 || !strings.Contains(*r.Body.Message, strings.Split(strings.TrimPrefix(query, "interval=day&"), "=")[0]) {
			t.Errorf("?%s: %d %s", query, r.Status, r.Raw)
		}
	}
}

// S1-56, S3-17.
func TestObservationLogsS156(t *testing.T) {
	w := newWorld(t)
	acme, calls := w.observed("Acme")
	other, _ := w.observed("Other")
	var p logPage
	w.get(acme, "/openapi/v1/observation/logs?limit=200", &p)
	if len(p.Items) != 20 || p.NextCursor != nil {
		t.Fatalf("%d rows", len(p.Items))
	}
	for i := range p.Items[1:] {
		if p.Items[i].RequestID <= p.Items[i+1].RequestID {
			t.Errorf("row %d is older than the one behind it", i)
		}
	}
	for status, want := range map[string]int{"Success": 10, "Failed": 8, "Timeout": 2} {
		var got []report.LogRow
		for path := "/openapi/v1/observation/logs?limit=3&status=" + status; path != ""; {
			w.get(acme, path, &p)
			got = append(got, p.Items...)
			path = ""
			if p.NextCursor != nil {
				path = "/openapi/v1/observation/logs?limit=3&status=" + status + "&cursor=" + *p.NextCursor
			}
		}
		if len(got) != want {
			t.Errorf("%d calls are %s, want %d", len(got), status, want)
		}
		for _, row := range got {
			if row.Status != status {
				t.Errorf("asked for %s: %+v", status, row)
			}
		}
	}
	w.get(acme, "/openapi/v1/observation/logs?request_id="+calls[4].ID.String(), &p)
	if row := p.Items[0]; len(p.Items) != 1 || row.Model != "alpha" || row.KeyName != acme.key.Name || row.InputTokens != 1000 || row.OutputTokens != 50 ||
		row.CreditsUsed != "0.0025" || row.CreditsUnit != "USD" || row.Charge != calls[4].Charge || row.Status != "Success" || row.LatencyMS != 3000 || *row.FirstTokenMS != 120 {
		t.Errorf("%+v", p.Items)
	}
	if w.get(acme, "/openapi/v1/observation/logs?model=vendor/beta&key_id="+acme.key.PublicID, &p); len(p.Items) != 4 || p.Items[0].Code != "upstream_error" || p.Items[0].Outcome != "failed" {
		t.Errorf("%d calls of beta: %+v", len(p.Items), p.Items)
	}
	if r := w.call(acme, "GET", "/openapi/v1/observation/logs?key_id="+other.key.PublicID, ""); r.Status != 404 {
		t.Errorf("another customer's key: %d %s", r.Status, r.Raw)
	}
	for _, query := range []string{"status=success", "status=refused", "limit=201", "name=x", "cursor=1"} {
		if r := w.call(acme, "GET", "/openapi/v1/observation/logs?"+query, ""); r.Status != 400 || !strings.Contains(*r.Body.Message, strings.Split(query, "=")[0]) {
			t.Errorf("?%s: %d %s", query, r.Status, r.Raw)
		}
	}
}

// S1-57: the timeline of a call that failed over, of one that failed and of a refused one.
func TestTimelineS157(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	events := func(id string) (list []string) {
		var trace report.Trace
		w.get(acme, "/openapi/v1/traces/"+id, &trace)
		for i, e := range trace.Timeline {
			text := e.Event
			if e.Outcome != nil {
				text += " " + *e.Outcome
			}
			list = append(list, text)
			if e.Time.Sub(trace.Time).Milliseconds() != e.AtMS || i > 0 && e.Time.Before(trace.Timeline[i-1].Time) {
				t.Errorf("%+v of a call at %v", e, trace.Time)
			}
			if strings.HasPrefix(e.Event, "attempt") != (e.Attempt != nil) {
				t.Errorf("%+v", e)
			}
		}
		return list
	}
	w.attempts = []usage.Attempt{
		{RouteID: 7, ProviderKeyID: 8, HTTPStatus: 503, Outcome: usage.OutcomeStatus, StartMicros: 1000, EndMicros: 20_000},
		{RouteID: 9, ProviderKeyID: 8, HTTPStatus: 200, Outcome: usage.OutcomeOK, StartMicros: 30_000, EndMicros: 900_000},
	}
	failedOver := w.used(acme, "alpha", usage.Success, "", time.Now(), 1000, 50)
	if got, want := events(failedOver.ID.String()), []string{
		"received", "attempt_started", "attempt_ended status", "attempt_started", "first_token", "attempt_ended ok", "ended success",
	}; !slices.Equal(got, want) {
		t.Errorf("a call that failed over: %q, want %q", got, want)
	}
	w.attempts = nil
	refused := w.used(acme, "alpha", usage.Refused, "rate_limited_rpm", time.Now(), 0, 0)
	if got, want := events(refused.ID.String()), []string{"received", "ended refused"}; !slices.Equal(got, want) {
		t.Errorf("a refused call: %q, want %q", got, want)
	}
	failed := w.used(acme, "alpha", usage.Failed, "upstream_error", time.Now(), 0, 0)
	if got, want := events(failed.ID.String()), []string{"received", "attempt_started", "attempt_ended ok", "ended failed"}; !slices.Equal(got, want) {
		t.Errorf("a failed call: %q, want %q", got, want)
	}
}
