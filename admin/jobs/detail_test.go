package jobs

import (
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// S1-B14: what stands beside a client's calls goes after the client's days, and samples of
// its refusals; that of others stays. No row of usage changes, days that were chained
// before are what they were, and the deep audit is clean before and after.
func TestDetailGoesAfterTheClientsDays(t *testing.T) {
	url := pgtest.New(t)
	db, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	ctx := t.Context()
	slot, err := db.ClaimSlot(ctx, "p", "j", "http://127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var clients []store.Client
	for i, name := range []string{"week", "always", "month"} {
		c, err := db.CreateClient(ctx, "test", store.NewClient{Name: name, Credit: money.USD})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
		k, err := db.CreateKey(ctx, "test", store.NewKey{ClientID: c.ID, PublicID: name, Digest: [32]byte{byte(i + 1)}, Last4: "aaaa", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if days := []int{7, 0, 30}[i]; days > 0 {
			if _, err := db.PatchPolicy(ctx, "test", c.ID, store.PolicyPatch{DetailDays: &days}); err != nil {
				t.Fatal(err)
			}
		}
		var recs []usage.Record
		for _, age := range []int{0, 6, 8, 29, 31} {
			at := now.AddDate(0, 0, -age)
			r := usage.Record{
				ID: reqid.New(at), ClientID: c.ID, WalletID: c.WalletID, KeyID: k.ID, Endpoint: 1, Model: "m", RequestedModel: "m",
				ClientRequestID: "mine", ConversationID: "trip", Flags: usage.FlagStream | usage.FlagEmail, Status: usage.Failed, HTTPStatus: 502,
				Code: "upstream_error", Source: usage.SourceNone, ModelPPM: 1_000_000, GroupPPM: 1_000_000, ClientPPM: 1_000_000,
				AdmittedMicros: at.UnixMicro(), EndMicros: at.UnixMicro() + 1000,
			}
			no := r
			no.ID, no.Status, no.HTTPStatus, no.Code, no.Flags, no.ConversationID, no.ClientRequestID = reqid.New(at), usage.Refused, 400, "invalid_request", 0, "", ""
			recs = append(recs, r, no)
		}
		if res, err := db.SettleBatch(ctx, slot.ID, recs); err != nil || res.Inserted != 5 || res.Refusals != 5 {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	count := func(table string, client int) int64 {
		t.Helper()
		return storetest.Value[int64](t, url, "SELECT count(*) FROM "+table+" WHERE client_id = $1", clients[client].ID)
	}
	books := func() string {
		t.Helper()
		return storetest.Value[string](t, url, "SELECT md5(string_agg(usage_line(u), chr(10) ORDER BY u.request_id)) FROM usage u")
	}
	clean := func() {
		t.Helper()
		report, err := db.Audit(ctx, store.AuditOptions{Deep: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range report.Lines {
			if l.Broken != 0 {
				t.Errorf("%s: %d broken, %v", l.ID, l.Broken, l.Samples)
			}
		}
	}
	before := books()
	clean()
	if n, err := db.ChainDays(ctx, 0); err != nil || n == 0 {
		t.Fatalf("%d days chained, %v", n, err)
	}
	m := obs.NewMetrics(false)
	long := 100 * 24 * time.Hour
	r := New(db, obs.Discard(), m, store.Keep{Changes: long, Refusals: long, Leases: long}, Mailing{})
	for range 2 { // again: nothing more
		for i := range r.jobs {
			if r.jobs[i].Name == "prune" {
				r.once(ctx, &r.jobs[i])
			}
		}
		for i, want := range []int64{2, 5, 4} {
			if d, f, u := count("usage_detail", i), count("refusal", i), count("usage", i); d != want || f != want || u != 5 {
				t.Errorf("client %d has detail of %d calls, %d refusals, want %d; %d calls, want 5", i, d, f, want, u)
			}
		}
	}
	for _, want := range []string{`relay_pruned_rows_total{table="usage_detail"} 4`, `relay_pruned_rows_total{table="refusal"} 4`, `job="prune",outcome="ok"} 2`} {
		if !strings.Contains(exposition(m), want) {
			t.Errorf("no %s in:\n%s", want, exposition(m))
		}
	}
	if books() != before {
		t.Error("rows of usage have changed")
	}
	clean()
	rows, err := db.Usage(ctx, store.UsageFilter{WalletID: clients[0].WalletID})
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows {
		bare := row.ConversationID == "" && row.ClientRequestID == "" && row.Flags == usage.FlagStream
		if bare != (i >= 2) {
			t.Errorf("call %d is shown as %+v", i, row.Record)
		}
	}
}
