package api

import (
	"encoding/csv"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/admin/prove"
	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// F10: a code races 100 times, from two customers: it is paid once, to one of them, and
// whoever got it reads the same booking again.
func TestRedeemRaceF10(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("A", "", money.USD), w.tenant("B", "", money.USD)
	var made voucherList
	w.expect(send(t, w.app, "POST", "/admin/v1/vouchers", operatorToken, `{"amount":"5","count":2,"note":"welcome"}`), 201, &made)
	if len(made.Items) != 2 || made.Items[0].Code == "" || made.Items[0].Code == made.Items[1].Code {
		t.Fatalf("%+v", made)
	}
	code := made.Items[0].Code
	var mu sync.Mutex
	var wg sync.WaitGroup
	paid, same, refused := map[*tenant]int{}, 0, 0
	for i := range 100 {
		wg.Go(func() {
			n := a
			if i%2 == 1 {
				n = b
			}
			key := mustKey(w, n)
			e, repeated, err := w.manage.Redeem(t.Context(), store.Actor("key:"+key.PublicID), n.WalletID, strings.ToLower(code))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				refused++
			case e.Amount != 5*money.USD:
				t.Errorf("booked %s", e.Amount)
			case repeated:
				same++
			default:
				paid[n]++
			}
		})
	}
	wg.Wait()
	if len(paid) != 1 || paid[a]+paid[b] != 1 || same != 49 || refused != 50 {
		t.Errorf("paid %v, the same again %d, refused %d", paid, same, refused)
	}
	sum := money.Amount(0)
	for _, n := range []*tenant{a, b} {
		var bal report.CustomerBalance
		w.get(n, "/openapi/v1/balance", &bal)
		sum += bal.Balance
	}
	if sum != 7*money.USD {
		t.Errorf("both have %s together, want 7", sum)
	}

	second := made.Items[1]
	w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"code":"`+second.Code+`x"}`), 404, nil)
	w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"code":""}`), 400, nil)
	w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"coupon":"x"}`), 400, nil)
	var got redeemed
	for i := range 2 {
		w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"code":" `+strings.ReplaceAll(second.Code, "-", " ")+`"}`), 200, &got)
		if got.Amount != 5*money.USD || got.Repeated != (i == 1) {
			t.Errorf("redeem %d: %+v", i, got)
		}
	}
	w.expect(w.call(b, "POST", "/openapi/v1/redeem", `{"code":"`+second.Code+`"}`), 400, nil)
	w.expect(send(t, w.app, "DELETE", fmt.Sprintf("/admin/v1/vouchers/%d", second.ID), operatorToken, ""), 400, nil)
	r := send(t, w.app, "GET", "/admin/v1/vouchers", operatorToken, "")
	var list voucherList
	w.expect(r, 200, &list)
	if len(list.Items) != 2 || list.Items[0].Status != "redeemed" || strings.Contains(r.Raw, second.Code) {
		t.Errorf("the list: %s", r.Raw)
	}

	// Expired and revoked ones.
	w.expect(send(t, w.app, "POST", "/admin/v1/vouchers", operatorToken, `{"amount":"1"}`), 201, &made)
	w.expect(send(t, w.app, "DELETE", fmt.Sprintf("/admin/v1/vouchers/%d", made.Items[0].ID), operatorToken, ""), 200, nil)
	w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"code":"`+made.Items[0].Code+`"}`), 400, nil)
	w.expect(send(t, w.app, "POST", "/admin/v1/vouchers", operatorToken, fmt.Sprintf(`{"amount":"1","expires_at":%q}`, time.Now().Add(300*time.Millisecond).Format(time.RFC3339Nano))), 201, &made)
	time.Sleep(350 * time.Millisecond)
	w.expect(w.call(a, "POST", "/openapi/v1/redeem", `{"code":"`+made.Items[0].Code+`"}`), 400, nil)
	for _, body := range []string{`{"amount":"0"}`, `{"amount":"-1"}`, `{"amount":"1","count":-1}`, `{"amount":"1","count":1001}`, `{}`, `{"amount":"1","expires_at":"2001-01-01T00:00:00Z"}`} {
		w.expect(send(t, w.app, "POST", "/admin/v1/vouchers", operatorToken, body), 400, nil)
	}
}

// Credits, corrections and refunds are booked once by their ref, whatever races.
func TestBookingsOnceByRef(t *testing.T) {
	w := newWorld(t)
	a := w.tenant("A", "", money.USD)
	for _, kind := range []string{"recharge", "correction", "refund"} {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				r := send(t, w.app, "POST", "/admin/v1/clients/A/credit", operatorToken, `{"amount":"0.5","kind":"`+kind+`","ref":"`+kind+`-1"}`)
				if r.Status != 201 {
					t.Errorf("%s: %d %s", kind, r.Status, r.Raw)
				}
			})
		}
		wg.Wait()
	}
	var b report.CustomerBalance
	if w.get(a, "/openapi/v1/balance", &b); b.Balance != money.USD*5/2 {
		t.Errorf("balance %s, want 2.5", b.Balance)
	}
	for _, body := range []string{
		`{"amount":"-0.5","kind":"refund"}`, `{"amount":"-1","kind":"recharge"}`, `{"amount":"1","kind":"bad_debt"}`, `{"amount":"0","kind":"refund"}`,
		`{"amount":"0.7","ref":"refund-1"}`,
	} {
		if r := send(t, w.app, "POST", "/admin/v1/clients/A/credit", operatorToken, body); r.Status != 400 {
			t.Errorf("%s: %d %s", body, r.Status, r.Raw)
		}
	}
}

// G-14: usage rows = ledger = statement = both CSVs, to the nano-dollar, month by month.
func TestAllSumsAreEqualG14(t *testing.T) {
	w := newWorld(t)
	a := w.tenant("A", "", 10*money.USD)
	other := w.tenant("B", "small", 10*money.USD)
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	want := money.Amount(0)
	calls := 0
	for i := range 25 {
		at := month.Add(time.Duration(i) * 17 * time.Minute)
		if at.After(now) {
			at = now.Add(-time.Duration(i) * time.Millisecond)
		}
		rec := w.used(a, []string{"alpha", "vendor/beta", "alpha-1.0"}[i%3], usage.Success, "", at, int64(7*i+1), int64(3*i+1))
		want += rec.Charge
		calls++
	}
	w.used(a, "alpha", usage.Failed, "upstream_error", now, 0, 0)
	w.used(a, "alpha", usage.Refused, "rate_limited_rpm", now, 0, 0)
	w.used(other, "alpha", usage.Success, "", now, 11, 7)
	w.expect(send(t, w.app, "POST", "/admin/v1/clients/A/credit", operatorToken, `{"amount":"0.000000001","kind":"refund","note":"one nano"}`), 201, nil)

	var b report.CustomerBalance
	w.get(a, "/openapi/v1/balance", &b)
	credits := 10*money.USD + 1
	if b.Balance != credits-want {
		t.Errorf("ledger: balance %s, want %s", b.Balance, credits-want)
	}
	path := "/openapi/v1/billing/monthly-statement?month=" + month.Format("2006-01")
	var st report.Statement
	w.get(a, path, &st)
	lines := money.Amount(0)
	for _, l := range st.Lines {
		lines += l.Charge
	}
	if st.Charges != want || lines != want || st.Credits != credits || st.Net != b.Balance || st.Calls != int64(calls)+1 || len(st.Lines) != 2 || len(st.Transactions) != 2 {
		t.Errorf("statement %+v, want charges %s", st, want)
	}
	sum := func(path, column string, only func([]string) bool) money.Amount {
		t.Helper()
		r := w.call(a, "GET", path, "")
		if r.Status != 200 {
			t.Fatalf("%s: %d %s", path, r.Status, r.Raw)
		}
		records, err := csv.NewReader(strings.NewReader(r.Raw)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		at, total := -1, money.Amount(0)
		for i, name := range records[0] {
			if name == column {
				at = i
			}
		}
		for _, record := range records[1:] {
			if only != nil && !only(record) {
				continue
			}
			amount, err := money.ParseUSD(record[at])
			if err != nil {
				t.Fatal(err)
			}
			total += amount
		}
		return total
	}
	detail := "/openapi/v1/billing/detail.csv?from=" + st.From.Format(time.DateOnly) + "&to=" + st.To.Format(time.DateOnly)
	if got := sum(detail, "charge_usd", nil); got != want {
		t.Errorf("detail CSV %s, want %s", got, want)
	}
	csvPath := strings.Replace(path, "monthly-statement?", "monthly-statement.csv?", 1)
	if got := sum(csvPath, "amount_usd", func(r []string) bool { return r[0] == "usage" }); got != want {
		t.Errorf("statement CSV %s, want %s", got, want)
	}
	if got := sum(csvPath, "amount_usd", func(r []string) bool { return r[0] == "net" }); got != b.Balance {
		t.Errorf("net of the statement CSV %s, want %s", got, b.Balance)
	}

	// The file that the customer holds is compared with the books; each edit is found.
	held := w.call(a, "GET", detail, "").Raw
	line, err := prove.Bill(t.Context(), w.db, a.WalletID, month, strings.NewReader(held))
	if err != nil || line.Broken != 0 || line.Checked != int64(calls)+1 {
		t.Errorf("the customer's file: %+v, %v", line, err)
	}
	rows := strings.SplitAfter(held, "\r\n")
	for name, edited := range map[string]string{
		"a line missing":  strings.Replace(held, rows[10], "", 1),
		"a line twice":    held + rows[10],
		"a nano more":     strings.Replace(held, ","+firstCharge(t, rows[10])+",", ",0.123456789,", 1),
		"another request": strings.Replace(held, rows[10][:30], "req_0000000000000000000000000Z", 1),
	} {
		if line, err := prove.Bill(t.Context(), w.db, a.WalletID, month, strings.NewReader(edited)); err != nil || line.Broken == 0 {
			t.Errorf("%s: %+v, %v", name, line, err)
		}
	}
	w.expect(w.call(a, "GET", "/openapi/v1/billing/monthly-statement?month=2026-13", ""), 400, nil)
	var empty report.Statement
	if w.get(a, "/openapi/v1/billing/monthly-statement?month=2020-01", &empty); empty.Charges != 0 || empty.Credits != 0 || empty.Lines == nil {
		t.Errorf("an empty month: %+v", empty)
	}
}

// firstCharge is the charge of a line of billing detail.
func firstCharge(t *testing.T, line string) string {
	t.Helper()
	record, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range report.BillingHeader {
		if name == "charge_usd" {
			return record[i]
		}
	}
	return ""
}
