package api

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// ledgerOf is a customer whose ledger has every kind of movement; calls is how many
// calls are in it.
func (w *world) ledgerOf(name string) (n *tenant, calls []usage.Record) {
	w.t.Helper()
	n = w.tenant(name, "", 10*money.USD)
	entry := func(kind store.EntryKind, amount money.Amount, ref, note string) {
		w.t.Helper()
		if _, err := w.db.AddEntry(w.t.Context(), "test", store.NewEntry{WalletID: n.WalletID, Kind: kind, Amount: amount, Ref: name + ref, Note: note}); err != nil {
			w.t.Fatal(err)
		}
	}
	start := time.Now()
	for i := range 3 {
		calls = append(calls, w.used(n, "alpha", usage.Success, "", start.Add(time.Duration(i-60)*time.Second), 1000+int64(i), 50))
	}
	entry("correction", -money.USD, "c", "=HYPERLINK(1)")
	entry("refund", money.USD/2, "r", "sorry")
	calls = append(calls, w.used(n, "vendor/beta", usage.Failed, "upstream_error", time.Now(), 0, 0))
	// A charge whose lease is gone, larger than what is there: the rest is bad debt.
	late := calls[0]
	late.ID = successorOf(calls[0])
	late.WalletLease, late.Hold, late.Charge, late.Cost = 0, 20*money.USD, 0, 0
	late.Units = usage.Units{usage.Input: 10_000_000}
	catalogue, err := w.report.Catalogue(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	rule := catalogue.Rule(catalogue.Find("alpha"), n.GroupID, n.PPM, time.Now())
	if late.Charge, err = rule.Charge(&late.Units); err != nil {
		w.t.Fatal(err)
	}
	r, err := w.db.SettleBatch(w.t.Context(), w.slot.ID, []usage.Record{late})
	if err != nil || r.Late != 1 || r.BadDebt == 0 {
		w.t.Fatalf("settled %+v: %v", r, err)
	}
	calls = append(calls, late)
	entry("recharge", 5*money.USD, "p", "top up")
	return n, calls
}

// successorOf is an id of the same millisecond as that of rec.
func successorOf(rec usage.Record) (id [16]byte) {
	id = rec.ID
	id[15]++
	return id
}

// S1-30, S1-B13, interface 8: every kind is listed, newest first, on pages that show each
// movement once, and all amounts add up to the balance.
func TestLedgerS130(t *testing.T) {
	w := newWorld(t)
	acme, calls := w.ledgerOf("Acme")
	w.ledgerOf("Other")
	var all transactionPage
	w.get(acme, "/openapi/v1/balance-transactions?limit=200", &all)
	var sum money.Amount
	kinds := map[string]int{}
	for i, m := range all.Items {
		sum += m.Amount
		kinds[m.Kind]++
		if i > 0 && m.Time.After(all.Items[i-1].Time) {
			t.Errorf("%s is listed after the older %s", m.ID, all.Items[i-1].ID)
		}
	}
	var b report.CustomerBalance
	if w.get(acme, "/openapi/v1/balance", &b); sum != b.Balance || all.NextCursor != nil {
		t.Errorf("movements add up to %s, the balance is %s, next %v", sum, b.Balance, all.NextCursor)
	}
	for kind, want := range map[string]int{"recharge": 2, "correction": 1, "refund": 1, "bad_debt": 1, "reservation": 5, "release": 5, "charge": 4} {
		if kinds[kind] != want {
			t.Errorf("%d movements of kind %s, want %d", kinds[kind], kind, want)
		}
		for _, size := range []string{"1", "2", "3", "200"} {
			var got []string
			for path := "/openapi/v1/balance-transactions?kind=" + kind + "&limit=" + size; path != ""; {
				var p transactionPage
				w.get(acme, path, &p)
				for _, m := range p.Items {
					got = append(got, m.ID)
				}
				path = ""
				if p.NextCursor != nil {
					path = "/openapi/v1/balance-transactions?kind=" + kind + "&limit=" + size + "&cursor=" + *p.NextCursor
				}
			}
			var listed []string
			for _, m := range all.Items {
				if m.Kind == kind {
					listed = append(listed, m.ID)
				}
			}
			if !slices.Equal(got, listed) {
				t.Errorf("kind %s by pages of %s: %v, want %v", kind, size, got, listed)
			}
		}
	}
	// Pages of every size cut calls and entries anywhere.
	for _, size := range []string{"1", "2", "3", "4", "5", "7"} {
		var got []report.Transaction
		for path := "/openapi/v1/balance-transactions?limit=" + size; path != ""; {
			var p transactionPage
			w.get(acme, path, &p)
			got = append(got, p.Items...)
			path = ""
			if p.NextCursor != nil {
				path = "/openapi/v1/balance-transactions?limit=" + size + "&cursor=" + *p.NextCursor
			}
		}
		if !slices.EqualFunc(got, all.Items, func(a, b report.Transaction) bool { return a.ID == b.ID }) {
			t.Errorf("pages of %s show %d movements, want %d", size, len(got), len(all.Items))
		}
	}
	// A call is three movements.
	var p transactionPage
	w.get(acme, "/openapi/v1/balance-transactions?request_id="+calls[0].ID.String(), &p)
	id := calls[0].ID.String()
	if len(p.Items) != 3 || p.Items[0].ID != id+"-c" || p.Items[0].Amount != -calls[0].Charge || p.Items[1].ID != id+"-l" || p.Items[1].Amount != calls[0].Hold ||
		p.Items[2].ID != id+"-r" || p.Items[2].Amount != -calls[0].Hold || *p.Items[0].Model != "alpha" || *p.Items[0].KeyName != acme.key.Name {
		t.Errorf("movements of one call: %+v", p.Items)
	}
	if w.get(acme, "/openapi/v1/balance-transactions?key_id="+acme.key.PublicID, &p); len(p.Items) != 14 {
		t.Errorf("%d movements of the key, want those of all calls", len(p.Items))
	}
	if w.get(acme, "/openapi/v1/balance-transactions?from="+time.Now().Add(-30*time.Second).UTC().Format(time.RFC3339), &p); len(p.Items) != 7 {
		t.Errorf("%d movements of the last half minute, want five entries and a failed call's two: %+v", len(p.Items), p.Items)
	}
	if w.get(acme, "/openapi/v1/balance-transactions?to=2001-01-01", &p); len(p.Items) != 0 {
		t.Errorf("%d movements before 2001", len(p.Items))
	}
	for _, query := range []string{"kind=hold", "cursor=1", "cursor=x.entry_1", "cursor=1.entry_x", "limit=201", "wallet_id=1", "to=never"} {
		if r := w.call(acme, "GET", "/openapi/v1/balance-transactions?"+query, ""); r.Status != 400 || !strings.Contains(r.Raw, strings.Split(query, "=")[0]) {
			t.Errorf("?%s: %d %s, want 400 that names it", query, r.Status, r.Raw)
		}
	}
}

// S1-31: the file has the rows of the list, and their sum.
func TestLedgerCSVS131(t *testing.T) {
	w := newWorld(t)
	acme, _ := w.ledgerOf("Acme")
	r := w.call(acme, "GET", "/openapi/v1/balance-transactions.csv", "")
	rows, err := csv.NewReader(strings.NewReader(r.Raw)).ReadAll()
	if err != nil || r.Status != 200 {
		t.Fatalf("%d %s: %v", r.Status, r.Raw, err)
	}
	var all transactionPage
	w.get(acme, "/openapi/v1/balance-transactions?limit=200", &all)
	var sum money.Amount
	for i, row := range rows[1:] {
		amount, err := money.ParseUSD(row[4])
		if err != nil {
			t.Fatal(err)
		}
		sum += amount
		if row[0] != all.Items[i].ID || row[3] != all.Items[i].Kind || amount != all.Items[i].Amount {
			t.Errorf("line %d is %v, want %+v", i, row, all.Items[i])
		}
	}
	var b report.CustomerBalance
	if w.get(acme, "/openapi/v1/balance", &b); sum != b.Balance || len(rows) != len(all.Items)+1 {
		t.Errorf("%d lines add up to %s, the balance is %s", len(rows), sum, b.Balance)
	}
	if !strings.Contains(r.Raw, ",'=HYPERLINK(1)\r\n") { // H2
		t.Errorf("a note that is a formula is not guarded: %s", r.Raw)
	}
	// Pages smaller than the whole.
	n := 0
	next := w.report.TransactionPages(mustKey(w, acme), report.TransactionFilter{}, 4)
	for {
		records, err := next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		for _, record := range records {
			if n++; !slices.Equal(record, rows[n]) {
				t.Errorf("record %d by pages: %v, want %v", n, record, rows[n])
			}
		}
	}
	if n != len(all.Items) {
		t.Errorf("%d records by pages", n)
	}
}

// S1-32: each listed movement by its id, and nobody else's.
func TestLedgerEntryS132(t *testing.T) {
	w := newWorld(t)
	acme, calls := w.ledgerOf("Acme")
	other := w.tenant("Other", "", money.USD)
	var all transactionPage
	w.get(acme, "/openapi/v1/balance-transactions?limit=200", &all)
	for _, want := range all.Items {
		var got report.Transaction
		if w.get(acme, "/openapi/v1/balance-transactions/"+want.ID, &got); got.ID != want.ID || got.Amount != want.Amount || got.Kind != want.Kind || !got.Time.Equal(want.Time) {
			t.Errorf("%+v, listed as %+v", got, want)
		}
		if r := w.call(other, "GET", "/openapi/v1/balance-transactions/"+want.ID, ""); r.Status != 404 {
			t.Errorf("%s of another customer: %d %s, want 404", want.ID, r.Status, r.Raw)
		}
	}
	failed := calls[3].ID.String()
	for _, id := range []string{failed + "-c", failed, failed + "-x", "entry_999999", "entry_0", "entry_-1", "1", "x"} { // a failed call has no charge
		if r := w.call(acme, "GET", "/openapi/v1/balance-transactions/"+id, ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", id, r.Status, r.Raw)
		}
	}
}
