package api

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// history is two months of a customer with two keys and two models, and what was booked.
type history struct {
	*tenant
	second *tenant // the same customer with another key
	calls  []usage.Record
	now    time.Time
}

func (w *world) history(name string) *history {
	w.t.Helper()
	h := &history{now: w.freeze(), tenant: w.tenant(name, "", 100*money.USD)}
	second := *h.tenant
	second.key, second.token = w.key(h.tenant, store.Unlimited())
	h.second = &second
	for i, days := range []int{0, 0, 1, 1, 2, 6, 7, 20, 29, 30, 45} {
		at := h.now.AddDate(0, 0, -days).Add(-time.Duration(i) * time.Millisecond)
		for j, n := range []*tenant{h.tenant, h.second} {
			h.calls = append(h.calls, w.used(n, "alpha", usage.Success, "", at, int64(1000+100*i+j), int64(10+i)))
		}
		h.calls = append(h.calls,
			w.used(h.tenant, "vendor/beta", usage.Success, "", at, int64(7+i), 3),
			w.used(h.tenant, "vendor/beta", usage.Failed, "upstream_error", at, 0, 0))
		w.used(h.tenant, "alpha", usage.Refused, "rate_limited_rpm", at, 0, 0) // counts nowhere here
	}
	return h
}

// spend adds the calls up that match.
func (h *history) spend(match func(*usage.Record) bool) (s report.Spend) {
	for i := range h.calls {
		if r := &h.calls[i]; match(r) {
			s.Calls++
			s.InputTokens += r.Units.TotalInput()
			s.OutputTokens += r.Units.TotalOutput()
			s.Charge += r.Charge
			if r.Status == usage.Success {
				s.Success++
			}
		}
	}
	return s
}

// since is a match of calls that began on one of the last n days (UTC).
func (h *history) since(n int) func(*usage.Record) bool {
	first := h.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-n)
	return func(r *usage.Record) bool { return !r.ID.Time().Before(first) }
}

func spendOf(u *report.UsageSum) report.Spend {
	return report.Spend{Calls: u.Calls, Success: u.Success, InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, Charge: u.Charge}
}

// S1-42.
func TestUsageBreakdownS142(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	var b report.UsageBreakdown
	w.get(h.tenant, "/openapi/v1/usage/breakdown", &b)
	if want := h.spend(h.since(30)); spendOf(&b.Total) != want || b.Total.Failed != want.Calls-want.Success || b.Total.Usage["input"] != want.InputTokens {
		t.Errorf("total %+v, want %+v", b.Total, want)
	}
	if len(b.Daily) != 30 || b.Daily[0].Date != h.now.UTC().Format(time.DateOnly) || len(b.Recent) != 20 {
		t.Fatalf("%d days, %d recent calls", len(b.Daily), len(b.Recent))
	}
	for i := range b.Daily {
		want := h.spend(func(r *usage.Record) bool { return r.ID.Time().Format(time.DateOnly) == b.Daily[i].Date })
		if spendOf(&b.Daily[i].UsageSum) != want {
			t.Errorf("%s: %+v, want %+v", b.Daily[i].Date, b.Daily[i], want)
		}
	}
	w.get(h.tenant, "/openapi/v1/usage/breakdown?limit=2&model=alpha-1.0&key_id="+h.second.key.PublicID, &b)
	want := h.spend(func(r *usage.Record) bool { return h.since(30)(r) && r.KeyID == h.second.key.ID })
	if spendOf(&b.Total) != want || len(b.Recent) != 2 || b.Recent[0].KeyID != h.second.key.PublicID {
		t.Errorf("one key: %+v, want %+v", b.Total, want)
	}
	from := h.now.AddDate(0, 0, -2).UTC().Format(time.DateOnly)
	w.get(h.tenant, "/openapi/v1/usage/breakdown?limit=0&from="+from+"&to="+h.now.UTC().Format(time.DateOnly), &b)
	if len(b.Daily) != 2 || len(b.Recent) != 0 {
		t.Errorf("two days before today: %d days, %d recent calls", len(b.Daily), len(b.Recent))
	}
}

// What all reports over a time refuse, by the parameter's name.
func TestPeriods(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	other := w.tenant("Other", "", 0)
	for _, path := range []string{"/openapi/v1/usage/breakdown", "/openapi/v1/billing/cost-breakdown", "/openapi/v1/cost/trend", "/openapi/v1/cost/models", "/openapi/v1/cost/models/alpha"} {
		for query, names := range map[string]string{
			"from=2026-01-02&to=2026-01-01": "from", "from=2026-01-01&to=2026-01-01": "from", "from=2025-01-01&to=2026-01-01": "from",
			"from=x": "from", "to=12": "to", "days=3": "days", "client_id=client_1": "client_id",
		} {
			if r := w.call(acme, "GET", path+"?"+query, ""); r.Status != 400 || !strings.Contains(*r.Body.Message, names) {
				t.Errorf("%s?%s: %d %s, want 400 that names %s", path, query, r.Status, r.Raw, names)
			}
		}
		if r := w.call(acme, "GET", path+"?from=2026-01-01T22:15:00Z&to=2026-02-01T00:00:01Z", ""); r.Status != 200 || !strings.Contains(r.Raw, `"from":"2026-01-01T00:00:00Z","to":"2026-02-02T00:00:00Z"`) {
			t.Errorf("%s: %d %s, want whole days", path, r.Status, r.Raw)
		}
		if r := w.call(acme, "GET", path+"?key_id="+other.key.PublicID, ""); r.Status != 404 {
			t.Errorf("%s for another customer's key: %d %s", path, r.Status, r.Raw)
		}
	}
}

// S1-43, S0-18: charges by day, model and key, each once over pages of any size.
func TestChargeBreakdownS143(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	keys := map[string]int64{h.key.PublicID: h.key.ID, h.second.key.PublicID: h.second.key.ID}
	var first []string
	for _, size := range []int{200, 1, 2, 7} {
		var ids []string
		var sum report.Spend
		for path := fmt.Sprintf("/openapi/v1/billing/cost-breakdown?limit=%d", size); path != ""; {
			var p chargePage
			w.get(h.tenant, path, &p)
			for i := range p.Items {
				row := &p.Items[i]
				ids = append(ids, row.Date+" "+row.Model+" "+row.KeyID)
				want := h.spend(func(r *usage.Record) bool {
					return r.ID.Time().Format(time.DateOnly) == row.Date && r.Model == row.Model && r.KeyID == keys[row.KeyID]
				})
				if spendOf(&row.UsageSum) != want || want.Calls == 0 {
					t.Errorf("%+v, want %+v", row, want)
				}
				sum.Calls += row.Calls
				sum.Charge += row.Charge
			}
			path = ""
			if p.NextCursor != nil {
				path = fmt.Sprintf("/openapi/v1/billing/cost-breakdown?limit=%d&cursor=%s", size, *p.NextCursor)
			}
		}
		if want := h.spend(h.since(30)); sum.Calls != want.Calls || sum.Charge != want.Charge {
			t.Errorf("pages of %d: %+v, want %+v", size, sum, want)
		}
		if first == nil {
			first = ids
		} else if !slices.Equal(ids, first) {
			t.Errorf("pages of %d: %v, want %v", size, ids, first)
		}
	}
	other := w.tenant("Third", "", 0)
	for _, cursor := range []string{"x", "2026-01-01", "2026-01-01.none.alpha", "2026-01-01." + other.key.PublicID + ".alpha"} {
		if r := w.call(h.tenant, "GET", "/openapi/v1/billing/cost-breakdown?cursor="+cursor, ""); r.Status != 400 || !strings.Contains(*r.Body.Message, "cursor") {
			t.Errorf("cursor %s: %d %s", cursor, r.Status, r.Raw)
		}
	}
}

// S1-46, S1-47: the statement is the month's rows of billing detail, and the file says the
// same to the nano-dollar.
func TestMonthlyStatementS146S147(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	for _, month := range []string{h.now.UTC().Format("2006-01"), h.now.AddDate(0, 0, -30).UTC().Format("2006-01")} {
		var st report.Statement
		w.get(h.tenant, "/openapi/v1/billing/monthly-statement?month="+month, &st)
		want := h.spend(func(r *usage.Record) bool { return r.ID.Time().Format("2006-01") == month })
		if got := (report.Spend{Calls: st.Calls, Success: want.Success, InputTokens: st.InputTokens, OutputTokens: st.OutputTokens, Charge: st.Charges}); got != want || want.Calls == 0 {
			t.Errorf("%s: %+v, want %+v", month, got, want)
		}
		var lines money.Amount
		for _, l := range st.Lines {
			if l.Charge != h.spend(func(r *usage.Record) bool {
				return r.ID.Time().Format("2006-01") == month && r.Model == l.Model && (r.KeyID == h.key.ID) == (l.KeyID == h.key.PublicID)
			}).Charge {
				t.Errorf("%s: line %+v", month, l)
			}
			lines += l.Charge
		}
		var rows money.Amount
		for path := "/openapi/v1/billing/detail?limit=200&from=" + st.From.Format(time.RFC3339) + "&to=" + st.To.Format(time.RFC3339); path != ""; {
			var p billingPage
			w.get(h.tenant, path, &p)
			for _, r := range p.Items {
				rows += r.Charge
			}
			path = ""
		}
		if lines != st.Charges || rows != st.Charges || st.Net != st.Credits-st.Charges {
			t.Errorf("%s: lines %s, detail %s, charges %s, net %s", month, lines, rows, st.Charges, st.Net)
		}
		r := w.call(h.tenant, "GET", "/openapi/v1/billing/monthly-statement.csv?month="+month, "")
		file, err := csv.NewReader(strings.NewReader(r.Raw)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var fileSum, total, net money.Amount
		for _, row := range file[1:] {
			amount, err := money.ParseUSD(row[8])
			if err != nil {
				t.Fatal(err)
			}
			switch row[0] {
			case "usage":
				fileSum += amount
			case "total_charges":
				total = amount
			case "net":
				net = amount
			}
		}
		if fileSum != st.Charges || total != st.Charges || net != st.Net || len(file) != 1+len(st.Lines)+len(st.Transactions)+3 {
			t.Errorf("%s: the file says %s, %s and %s on %d lines, want %s and %s", month, fileSum, total, net, len(file), st.Charges, st.Net)
		}
	}
	if r := w.call(h.tenant, "GET", "/openapi/v1/billing/monthly-statement?month=2026-13", ""); r.Status != 400 || !strings.Contains(*r.Body.Message, "month") {
		t.Errorf("month 13: %d %s", r.Status, r.Raw)
	}
}

// S1-50.
func TestSpendOverviewS150(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	var o report.SpendOverview
	w.get(h.tenant, "/openapi/v1/cost/overview", &o)
	month := func(at time.Time) func(*usage.Record) bool {
		return func(r *usage.Record) bool { return r.ID.Time().Format("2006-01") == at.UTC().Format("2006-01") }
	}
	first := time.Date(h.now.UTC().Year(), h.now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		got  report.Spend
		want func(*usage.Record) bool
	}{
		"today": {o.Today, h.since(1)}, "yesterday": {o.Yesterday, func(r *usage.Record) bool { return h.since(2)(r) && !h.since(1)(r) }},
		"7 days": {o.Last7Days, h.since(7)}, "30 days": {o.Last30Days, h.since(30)},
		"this month": {o.ThisMonth, month(h.now)}, "last month": {o.LastMonth, month(first.AddDate(0, 0, -1))},
	} {
		if want := h.spend(tc.want); tc.got != want || want.Calls == 0 {
			t.Errorf("%s: %+v, want %+v", name, tc.got, want)
		}
	}
	var b report.CustomerBalance
	if w.get(h.tenant, "/openapi/v1/balance", &b); o.Available != b.Available || !o.AsOf.Equal(h.now) {
		t.Errorf("available %s, the balance says %s; as of %v", o.Available, b.Available, o.AsOf)
	}
	if len(o.TopModels) != 2 || o.TopModels[0].Model != "alpha" || o.TopModels[0].Charge+o.TopModels[1].Charge != o.ThisMonth.Charge {
		t.Errorf("models %+v", o.TopModels)
	}
	if len(o.TopKeys) != 2 || o.TopKeys[0].KeyID != h.key.PublicID || o.TopKeys[0].Charge+o.TopKeys[1].Charge != o.ThisMonth.Charge {
		t.Errorf("keys %+v", o.TopKeys)
	}
}

// S1-51.
func TestSpendTrendS151(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	var trend report.SpendTrend
	w.get(h.tenant, "/openapi/v1/cost/trend?model=vendor/beta", &trend)
	beta := func(r *usage.Record) bool { return r.Model == "vendor/beta" }
	if len(trend.Items) != 30 || trend.Items[29].Date != h.now.UTC().Format(time.DateOnly) ||
		trend.Total != h.spend(func(r *usage.Record) bool { return beta(r) && h.since(30)(r) }) {
		t.Errorf("%d days, total %+v", len(trend.Items), trend.Total)
	}
	for _, d := range trend.Items {
		if want := h.spend(func(r *usage.Record) bool { return beta(r) && r.ID.Time().Format(time.DateOnly) == d.Date }); d.Spend != want {
			t.Errorf("%s: %+v, want %+v", d.Date, d.Spend, want)
		}
	}
}

// S1-52.
func TestSpendModelsS152(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	w.history("Other")
	var got []report.ModelSpend
	for path := "/openapi/v1/cost/models?limit=1"; path != ""; {
		var p report.SpendModels
		w.get(h.tenant, path, &p)
		got = append(got, p.Items...)
		path = ""
		if p.NextCursor != nil {
			path = "/openapi/v1/cost/models?limit=1&cursor=" + *p.NextCursor
		}
	}
	if len(got) != 2 || got[0].Model != "alpha" || got[1].Model != "vendor/beta" {
		t.Fatalf("models %+v", got)
	}
	for _, m := range got {
		if want := h.spend(func(r *usage.Record) bool { return h.since(30)(r) && r.Model == m.Model }); m.Spend != want {
			t.Errorf("%s: %+v, want %+v", m.Model, m.Spend, want)
		}
	}
	if r := w.call(h.tenant, "GET", "/openapi/v1/cost/models?cursor=nothing", ""); r.Status != 400 {
		t.Errorf("a cursor of nothing: %d %s", r.Status, r.Raw)
	}
}

// S1-53.
func TestSpendModelS153(t *testing.T) {
	w := newWorld(t)
	h := w.history("Acme")
	for _, name := range []string{"alpha", "alpha-1.0"} {
		var m report.SpendModel
		w.get(h.tenant, "/openapi/v1/cost/models/"+name, &m)
		want := h.spend(func(r *usage.Record) bool { return h.since(30)(r) && r.Model == "alpha" })
		if m.Model != "alpha" || spendOf(&m.Total) != want || len(m.Daily) != 30 || len(m.Keys) != 2 || m.Keys[0].Charge+m.Keys[1].Charge != want.Charge {
			t.Errorf("%s: %+v, want %+v", name, m, want)
		}
	}
	var m report.SpendModel
	if w.get(h.tenant, "/openapi/v1/cost/models/vendor%2Fbeta?key_id="+h.second.key.PublicID, &m); m.Total.Calls != 0 || len(m.Keys) != 0 {
		t.Errorf("a key that did not call it: %+v", m)
	}
	small := w.tenant("Small", "small", 0)
	for n, path := range map[*tenant]string{h.tenant: "nothing", small: "vendor%2Fbeta"} {
		if r := w.call(n, "GET", "/openapi/v1/cost/models/"+path, ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", path, r.Status, r.Raw)
		}
	}
}
