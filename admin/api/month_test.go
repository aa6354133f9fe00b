package api

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// M10, G-14: a whole month of several customers, of a group with a multiplier, of one with
// its own, with price changes amid it, failures, refusals, vouchers, refunds, corrections:
// statement, its file, ledger, its file, billing detail, its file, rows and both roll-ups
// say the same to the nano-dollar, and the audit of all rows finds nothing.
func TestMonthOfTraffic(t *testing.T) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, -1, 0)
	hours := int(month.AddDate(0, 1, 0).Sub(month).Hours())
	discounted, err := w.manage.CreateClient(t.Context(), "test", store.NewClient{Name: "Discounted", PPM: 873_001, Credit: 50 * money.USD})
	if err != nil {
		t.Fatal(err)
	}
	c := &tenant{Client: discounted}
	c.key, c.token = w.key(c, store.Unlimited())
	clients := []*tenant{w.tenant("Plain", "", 50*money.USD), w.tenant("Grouped", "small", 50*money.USD), c}
	type expected struct {
		charges, credits money.Amount
		calls, rows      int64
		charged          []usage.Record
	}
	want := map[*tenant]*expected{}
	for _, n := range clients {
		want[n] = &expected{credits: 50 * money.USD}
	}
	prices := []string{`{"input":"2.000001","output":"9.7"}`, `{"input":"0.333333","output":"11.000007"}`}
	for hour := 0; hour < hours; hour += 3 + rng.IntN(3) {
		if at := len(prices); at > 0 && hour > hours*(3-at)/3 {
			catalogue, err := w.report.Catalogue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen := catalogue.Rule(catalogue.Find("alpha"), clients[0].GroupID, clients[0].PPM, time.Now()).Version.ID
			w.expect(w.operate("POST", "/admin/v1/models/alpha/price", fmt.Sprintf(`{"price":%s,"seen":%d}`, prices[0], seen)), 201, nil)
			prices = prices[1:]
		}
		n := clients[rng.IntN(len(clients))]
		model := "alpha"
		if n != clients[1] && rng.IntN(3) == 0 {
			model = "vendor/beta"
		}
		status, code := usage.Success, ""
		switch rng.IntN(12) {
		case 0:
			status, code = usage.Failed, "upstream_error"
		case 1:
			status, code = usage.Refused, "rate_limited_rpm"
		}
		at := month.Add(time.Duration(hour)*time.Hour + time.Duration(rng.IntN(3_599_000))*time.Millisecond)
		rec := w.used(n, model, status, code, at, int64(1+rng.IntN(90_000)), int64(1+rng.IntN(5_000)))
		e := want[n]
		e.charges += rec.Charge
		e.rows++
		if status != usage.Refused {
			e.calls++
		}
		if rec.Charge > 0 {
			e.charged = append(e.charged, rec)
		}
	}
	for i, n := range clients {
		e := want[n]
		path := "/admin/v1/clients/" + n.Name
		for _, body := range []string{`{"amount":"3.000000001"}`, `{"amount":"-0.123456789","note":"too much"}`, `{"amount":"0.000000001","kind":"refund"}`} {
			w.expect(w.operate("POST", path+"/credit", body), 201, nil)
		}
		e.credits += 3_000_000_001 - 123_456_789 + 1
		back := e.charged[i]
		w.expect(w.operate("POST", path+"/refunds", fmt.Sprintf(`{"request_id":%q}`, back.ID)), 201, nil)
		e.credits += back.Charge
		var made voucherList
		w.expect(w.operate("POST", "/admin/v1/vouchers", `{"amount":"1.5"}`), 201, &made)
		w.expect(w.call(n, "POST", "/openapi/v1/redeem", fmt.Sprintf(`{"code":%q}`, made.Items[0].Code)), 200, nil)
		e.credits += 1_500_000_000
	}
	// What was booked today is booked over the month.
	storetest.Exec(t, w.url, "SET session_replication_role = replica; UPDATE entry SET created_at = '"+month.Format(time.RFC3339)+"'::timestamptz + interval '1 hour' * (id * 29 % "+strconv.Itoa(hours)+")")

	for _, n := range clients {
		e := want[n]
		var b report.CustomerBalance
		if w.get(n, "/openapi/v1/balance", &b); b.Balance != e.credits-e.charges || b.Reserved != 0 || e.calls < 20 {
			t.Errorf("%s: %d calls, balance %+v, want %s", n.Name, e.calls, b, e.credits-e.charges)
		}
		var st report.Statement
		w.get(n, "/openapi/v1/billing/monthly-statement?month="+month.Format("2006-01"), &st)
		var lines money.Amount
		for _, l := range st.Lines {
			lines += l.Charge
		}
		if st.Charges != e.charges || lines != e.charges || st.Credits != e.credits || st.Net != b.Balance || st.Calls != e.calls {
			t.Errorf("%s: the statement says %s, lines %s, credits %s, net %s, %d calls; want %s, %s, %d", n.Name, st.Charges, lines, st.Credits, st.Net, st.Calls, e.charges, e.credits, e.calls)
		}
		ledger := map[string]money.Amount{}
		for next := ""; ; {
			var p transactionPage
			w.get(n, "/openapi/v1/balance-transactions?limit=37"+next, &p)
			for _, m := range p.Items {
				ledger[m.Kind] += m.Amount
			}
			if p.NextCursor == nil {
				break
			}
			next = "&cursor=" + url.QueryEscape(*p.NextCursor)
		}
		paid := ledger["recharge"] + ledger["refund"] + ledger["correction"]
		if -ledger["charge"] != e.charges || ledger["reservation"]+ledger["release"] != 0 || paid != e.credits {
			t.Errorf("%s: the ledger says %v, want %s and %s", n.Name, ledger, e.charges, e.credits)
		}
		var detail money.Amount
		rows := int64(0)
		for next := ""; ; {
			var p billingPage
			w.get(n, "/openapi/v1/billing/detail?limit=23"+next, &p)
			for _, r := range p.Items {
				detail += r.Charge
				rows++
			}
			if p.NextCursor == nil {
				break
			}
			next = "&cursor=" + url.QueryEscape(*p.NextCursor)
		}
		if detail != e.charges || rows != e.rows {
			t.Errorf("%s: billing detail says %s in %d rows, want %s in %d", n.Name, detail, rows, e.charges, e.rows)
		}
		span := "from=" + st.From.Format(time.DateOnly) + "&to=" + st.To.Format(time.DateOnly)
		file := func(path, column, kind string) (sum money.Amount) {
			list, err := csv.NewReader(strings.NewReader(w.call(n, "GET", path, "").Raw)).ReadAll()
			if err != nil || len(list) < 2 {
				t.Fatalf("%s: %v, %d lines", path, err, len(list))
			}
			at := slices.Index(list[0], column)
			for _, row := range list[1:] {
				if kind != "" && !slices.Contains(row[:min(4, len(row))], kind) {
					continue
				}
				amount, err := money.ParseUSD(row[at])
				if err != nil {
					t.Fatal(err)
				}
				sum += amount
			}
			return sum
		}
		for what, got := range map[string]money.Amount{
			"the statement's file": file("/openapi/v1/billing/monthly-statement.csv?month="+month.Format("2006-01"), "amount_usd", "usage"),
			"the ledger's file":    -file("/openapi/v1/balance-transactions.csv?"+span, "amount_usd", "charge"),
			"the detail's file":    file("/openapi/v1/billing/detail.csv?"+span, "charge_usd", ""),
			"the rows":             storetest.Value[money.Amount](t, w.url, "SELECT sum(charge)::bigint FROM usage WHERE wallet_id = $1", n.WalletID),
			"the hours":            storetest.Value[money.Amount](t, w.url, "SELECT sum(charge)::bigint FROM usage_hourly WHERE client_id = $1", n.ID),
			"the days":             storetest.Value[money.Amount](t, w.url, "SELECT sum(charge)::bigint FROM usage_daily WHERE client_id = $1", n.ID),
		} {
			if got != e.charges {
				t.Errorf("%s: %s say %s, want %s", n.Name, what, got, e.charges)
			}
		}
	}
	r, err := w.db.Audit(t.Context(), store.AuditOptions{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Lines {
		if l.Broken != 0 {
			t.Errorf("audit of all rows: %s %s: %q", l.ID, l.Name, l.Samples)
		}
	}
}
