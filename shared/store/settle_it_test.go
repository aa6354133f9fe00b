package store_test

import (
	"errors"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// One request's money: granted, settled, returned; the books agree at every step.
func TestGrantSettleReturn(t *testing.T) {
	b := newBooks(t)
	p := b.party(10 * money.USD)
	x := b.proxy("p1")
	b.clean()

	lease, g := x.grant(p.wallet(), money.USD/100, money.USD)
	if g.Granted != money.USD || g.Refused || g.Balance != 10*money.USD || g.Leased != money.USD || g.Available != 9*money.USD {
		t.Fatalf("grant %+v", g)
	}
	b.clean()

	rec := b.record(p, lease, 1000, 50)
	res := b.settle(x.ID, rec)
	if res.Inserted != 1 || res.Late != 0 || res.Charged != rec.Charge || rec.Charge == 0 {
		t.Fatalf("settle %+v, charge %s", res, rec.Charge)
	}
	if w := b.balance(p); w.Balance != 10*money.USD-rec.Charge || w.Leased != money.USD-rec.Charge {
		t.Fatalf("wallet %+v", w)
	}
	b.clean()

	// M7, K9, K10, F2: again, alone and in company, changes nothing.
	before := b.balance(p)
	if res := b.settle(x.ID, rec, rec); res.Inserted != 0 || res.Duplicates != 2 {
		t.Fatalf("again: %+v", res)
	}
	if b.balance(p) != before {
		t.Fatal("a replay moved money")
	}
	other := b.record(p, lease, 10, 10)
	if res := b.settle(x.ID, rec, other, other); res.Inserted != 1 || res.Duplicates != 2 {
		t.Fatalf("mixed: %+v", res)
	}
	b.clean()

	// K13: a return whose answer was lost is repeated.
	for range 2 {
		if err := b.ReturnLease(t.Context(), lease, 1, money.USD/2, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.ReturnLease(t.Context(), lease, 3, 1, 0, false); !errors.Is(err, store.ErrSequence) {
		t.Fatalf("a step left out: %v", err)
	}
	if err := b.ReturnLease(t.Context(), lease, 2, money.USD, 0, false); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("more than there is: %v", err)
	}
	b.clean()
	for range 2 {
		if err := b.ReturnLease(t.Context(), lease, 2, 0, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	if w := b.balance(p); w.Leased != 0 {
		t.Fatalf("closed, but %s leased", w.Leased)
	}
	b.clean()

	rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: p.client.WalletID})
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want := rec
	want.ProxySlot = x.ID
	if rows[1].Record != want {
		t.Errorf("stored %+v\nwant   %+v", rows[1].Record, want)
	}
	if rows[1].KeyPublicID != p.key.PublicID || rows[1].ProxyName != "p1" || rows[1].Late {
		t.Errorf("row %+v", rows[1])
	}
}

// K14, M4: a charge on a closed lease is paid by what is available, not by what other
// proxies hold, and the rest is bad debt.
func TestLateCharges(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x, y := b.proxy("p1"), b.proxy("p2")
	lease, _ := x.grant(p.wallet(), money.USD*6/10, 0)
	if _, err := b.ProxyLost(t.Context(), "test", "p1"); err != nil {
		t.Fatal(err)
	}
	b.clean()
	// Somebody else borrows nearly all of it.
	_, g := y.grant(p.wallet(), money.USD*9/10, 0)
	if g.Refused || g.Granted != money.USD*9/10 {
		t.Fatalf("grant %+v", g)
	}
	// The lost journal turns up: 0.6 USD of charges, 0.1 USD there.
	var recs []usage.Record
	var sum money.Amount
	for sum < money.USD*6/10 {
		r := b.record(p, lease, 0, 10_000)
		recs, sum = append(recs, r), sum+r.Charge
	}
	res := b.settle(x.ID, recs...)
	if res.Late != len(recs) || res.BadDebt != sum-money.USD/10 {
		t.Fatalf("late %+v of %s", res, sum)
	}
	w := b.balance(p)
	if w.Balance != money.USD*9/10 || w.Leased != money.USD*9/10 {
		t.Fatalf("wallet %+v", w)
	}
	b.clean()
	rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: p.client.WalletID})
	if err != nil || !rows[0].Late {
		t.Fatalf("row %+v, %v", rows[0], err)
	}
	entries, err := b.ListEntries(t.Context(), p.client.WalletID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var debt money.Amount
	for _, e := range entries {
		if e.Kind == "bad_debt" {
			debt += e.Amount
		}
	}
	if debt != res.BadDebt {
		t.Errorf("entries say %s", debt)
	}
	report, err := b.Audit(t.Context(), store.AuditOptions{WalletID: p.client.WalletID})
	if err != nil || !report.Clean() || report.WrittenOff != res.BadDebt || report.Leased != w.Leased {
		t.Errorf("report %+v, %v", report, err)
	}
}

// A record that claims more than its lease has left is late, not an error that stops
// the journal.
func TestChargeBeyondTheLease(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/1000, 0)
	r := b.record(p, lease, 0, 10_000)
	if res := b.settle(x.ID, r); res.Inserted != 1 || res.Late != 1 || res.BadDebt != 0 {
		t.Fatalf("%+v", res)
	}
	b.clean()
}

// Records that break a rule are set aside; the rest of the batch is booked.
func TestRecordsSetAside(t *testing.T) {
	b := newBooks(t)
	p, stranger := b.party(money.USD), b.party(money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	good := b.record(p, lease, 10, 10)
	spoil := func(f func(*usage.Record)) usage.Record {
		r := b.record(p, lease, 10, 10)
		f(&r)
		return r
	}
	bad := []usage.Record{
		spoil(func(r *usage.Record) { r.Charge = r.Hold + 1 }),
		spoil(func(r *usage.Record) { r.Charge = -1 }),
		spoil(func(r *usage.Record) { r.Units[usage.Output] = -5 }),
		spoil(func(r *usage.Record) { r.Cost = -5 }),
		spoil(func(r *usage.Record) { r.WalletID = stranger.client.WalletID }),
		spoil(func(r *usage.Record) { r.KeyID = 999_999 }),
		spoil(func(r *usage.Record) { r.Status = 99 }),
		spoil(func(r *usage.Record) { r.ID = reqid.NewMilli(0) }),
		spoil(func(r *usage.Record) { r.ModelPPM = -1 }),
	}
	for i := range bad {
		res := b.settle(x.ID, bad[i], good)
		if len(res.Rejected) != 1 || res.Rejected[0].Index != 0 || res.Inserted+res.Duplicates != 1 {
			t.Errorf("record %d: %+v", i, res)
		}
	}
	// What a client can send is no fault of the record.
	odd := spoil(func(r *usage.Record) { r.RequestedModel, r.ClientRequestID = "a\x00b\xff", "\xf0\x28" })
	if res := b.settle(x.ID, odd); res.Inserted != 1 {
		t.Errorf("odd text: %+v", res)
	}
	report, err := b.Audit(t.Context(), store.AuditOptions{})
	if err != nil || report.RejectedN != int64(len(bad)) {
		t.Errorf("%d set aside, %v", report.RejectedN, err)
	}
	b.clean()
}

// D13: at most 10 refusal rows per key, code and minute; all are counted.
func TestRefusals(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x := b.proxy("p1")
	now := time.Now().Truncate(time.Minute).Add(10 * time.Second).UnixMilli()
	refuse := func(code string) usage.Record {
		return usage.Record{
			ID: reqid.NewMilli(now), ClientID: p.client.ID, WalletID: p.client.WalletID, KeyID: p.key.ID, Model: "small", Status: usage.Refused,
			HTTPStatus: 429, Code: code,
		}
	}
	var recs []usage.Record
	for range 8 {
		recs = append(recs, refuse("rate_limited_rpm"))
	}
	if res := b.settle(x.ID, recs...); res.Refusals != 8 || res.Inserted != 0 {
		t.Fatalf("%+v", res)
	}
	if res := b.settle(x.ID, recs...); res.Refusals != 0 || res.Duplicates != 8 {
		t.Fatalf("again %+v", res)
	}
	recs = recs[:0]
	for range 5 {
		recs = append(recs, refuse("rate_limited_rpm"), refuse("insufficient_balance"))
	}
	if res := b.settle(x.ID, recs...); res.Refusals != 2+5 {
		t.Fatalf("%+v", res)
	}
	if err := b.CountRefusals(t.Context(), x.ID, []store.RefusalCount{{
		ClientID: p.client.ID, KeyID: p.key.ID, Model: "small", Code: "rate_limited_rpm", At: time.UnixMilli(now), N: 100,
	}}); err != nil {
		t.Fatal(err)
	}
	codes, err := b.Codes(t.Context(), store.HourlyFilter{ClientID: p.client.ID})
	if err != nil || len(codes) != 2 || codes[0].N != 5 || codes[1].N != 8+5+100 {
		t.Fatalf("%+v, %v", codes, err)
	}
	rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: p.client.WalletID, Refusals: true})
	if err != nil || len(rows) != 15 || rows[0].Status != usage.Refused || rows[0].HTTPStatus != 429 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: p.client.WalletID}); err != nil || len(rows) != 0 {
		t.Fatalf("%d usage rows, %v", len(rows), err)
	}
	b.clean()
}

// M10: the roll-ups of a batch, and of the next one on top.
func TestRollUps(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x, y := b.proxy("p1"), b.proxy("p2")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	var want store.HourRow
	for round := range 3 {
		var recs []usage.Record
		for i := range usage.Interrupted {
			r := b.record(p, lease, int64(10*round+1), int64(i))
			r.Status = i + 1
			if r.Status != usage.Success {
				r.Code = "upstream_error"
			}
			recs = append(recs, r)
			want.Units.Add(&r.Units)
			want.Charge += r.Charge
			want.Cost += r.Cost
		}
		slot := x.ID
		if round == 2 {
			slot = y.ID
		}
		b.settle(slot, recs...)
	}
	hours, err := b.Hourly(t.Context(), store.HourlyFilter{ClientID: p.client.ID})
	if err != nil {
		t.Fatal(err)
	}
	var got store.HourRow
	for _, h := range hours { // the test may cross an hour
		got.Units.Add(&h.Units)
		got.Charge += h.Charge
		got.Cost += h.Cost
		got.Success += h.Success
		got.Interrupt += h.Interrupt
		got.Latency[store.Bucket(5000)] += h.Latency[store.Bucket(5000)]
		got.FirstToken[1] += h.FirstToken[1]
	}
	if got.Units != want.Units || got.Charge != want.Charge || got.Cost != want.Cost || got.Success != 3 || got.Interrupt != 3 ||
		got.Latency[store.Bucket(5000)] != 15 || got.FirstToken[1] != 15 {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	b.clean()
}

// Pages of usage rows meet every row once, and filters hold.
func TestUsagePages(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	var recs []usage.Record
	for i := range 25 {
		r := b.record(p, lease, 1, 1)
		if i%5 == 0 {
			r.Status, r.HTTPStatus, r.Code = usage.Failed, 502, "upstream_error"
		}
		recs = append(recs, r)
	}
	b.settle(x.ID, recs...)
	seen := map[reqid.ID]bool{}
	f := store.UsageFilter{WalletID: p.client.WalletID, Limit: 7, Refusals: true}
	for {
		rows, err := b.Usage(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if seen[r.ID] {
				t.Fatalf("row %s twice", r.ID)
			}
			seen[r.ID] = true
			f.Before = r.ID
		}
		if len(rows) < 7 {
			break
		}
	}
	if len(seen) != 25 {
		t.Fatalf("%d rows on all pages", len(seen))
	}
	for name, c := range map[string]struct {
		f    store.UsageFilter
		want int
	}{
		"status":  {store.UsageFilter{Statuses: []usage.Status{usage.Failed}}, 5},
		"request": {store.UsageFilter{RequestID: recs[3].ID}, 1},
		"key":     {store.UsageFilter{KeyID: p.key.ID}, 25},
		"no key":  {store.UsageFilter{KeyID: p.key.ID + 1}, 0},
		"model":   {store.UsageFilter{Model: "other"}, 0},
		"from":    {store.UsageFilter{From: time.Now().Add(time.Hour)}, 0},
		"range":   {store.UsageFilter{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, 25},
	} {
		c.f.WalletID = p.client.WalletID
		if rows, err := b.Usage(t.Context(), c.f); err != nil || len(rows) != c.want {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
	if _, err := b.Usage(t.Context(), store.UsageFilter{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no wallet: %v", err)
	}
	// Another customer's wallet sees nothing of it, also by request id (G8).
	other := b.party(0)
	if rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: other.client.WalletID, RequestID: recs[3].ID}); err != nil || len(rows) != 0 {
		t.Errorf("a stranger sees %d rows, %v", len(rows), err)
	}
}
