package store_test

import (
	"strings"
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// What explains no charge stands beside the row: read as one with it, found by its
// conversation, and not written where there is nothing to tell. Rows of earlier builds,
// which have it in themselves, are read as they were.
func TestDetailStandsBesideTheRow(t *testing.T) {
	b := newBooks(t)
	p, other, x := b.party(money.USD), b.party(money.USD), b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	foreign, _ := x.grant(other.wallet(), money.USD/2, 0)
	plain, asked, found := b.record(p, lease, 10, 10), b.record(p, lease, 10, 10), b.record(p, lease, 10, 10)
	asked.ClientRequestID = "mine"
	found.Flags = usage.FlagStream | usage.FlagEmail | usage.FlagMasked | usage.FlagUnjudged
	var talk []usage.Record
	for i := range 5 {
		r := b.record(p, lease, 10, 10)
		r.ID, r.ConversationID = reqid.NewMilli(plain.ID.UnixMilli()+int64(i)), "trip"
		talk = append(talk, r)
	}
	theirs := b.record(other, foreign, 10, 10)
	theirs.ConversationID = "trip"
	b.settle(x.ID, append([]usage.Record{plain, asked, found, theirs}, talk...)...)
	b.settle(x.ID, append([]usage.Record{asked}, talk...)...) // again
	b.clean()
	one := func(r usage.Record) usage.Record {
		t.Helper()
		rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: r.WalletID, RequestID: r.ID})
		if err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		return rows[0].Record
	}
	for name, want := range map[string]usage.Record{"plain": plain, "asked": asked, "found": found, "talk": talk[0]} {
		want.ProxySlot = x.ID
		if got := one(want); got != want {
			t.Errorf("%s: %+v\nwant %+v", name, got, want)
		}
	}
	count := func(sql string, args ...any) int64 {
		t.Helper()
		return storetest.Value[int64](t, b.url, "SELECT count(*) FROM "+sql, args...)
	}
	if n := count("usage_detail"); n != 8 {
		t.Errorf("%d rows of detail, want 1 + 1 + 5 + 1", n)
	}
	if n := count("usage WHERE client_request_id <> '' OR flags NOT IN (0, 1)"); n != 0 {
		t.Errorf("%d rows of usage have what stands beside them", n)
	}

	// By pages, newest first, with the other filters.
	var got []reqid.ID
	f := store.UsageFilter{WalletID: p.client.WalletID, Conversation: "trip", Limit: 2, Refusals: true}
	for {
		rows, err := b.Usage(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			got = append(got, r.ID)
		}
		f.Before = rows[len(rows)-1].ID
	}
	if len(got) != 5 {
		t.Fatalf("%d calls of the conversation", len(got))
	}
	for i, id := range got {
		if id != talk[4-i].ID {
			t.Errorf("place %d has another call", i)
		}
	}
	for name, c := range map[string]struct {
		f store.UsageFilter
		n int
	}{
		"all":        {store.UsageFilter{}, 5},
		"model":      {store.UsageFilter{Model: "small", Limit: 3}, 3},
		"no model":   {store.UsageFilter{Model: "none"}, 0},
		"status":     {store.UsageFilter{Statuses: []usage.Status{usage.Success, usage.Failed}}, 5},
		"no status":  {store.UsageFilter{Statuses: []usage.Status{usage.Refused}}, 0},
		"request":    {store.UsageFilter{RequestID: talk[2].ID}, 1},
		"other call": {store.UsageFilter{RequestID: plain.ID}, 0},
		"until":      {store.UsageFilter{To: talk[0].ID.Time()}, 0},
	} {
		c.f.WalletID, c.f.Conversation = p.client.WalletID, "trip"
		if rows, err := b.Usage(t.Context(), c.f); err != nil || len(rows) != c.n {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
	if _, err := b.Usage(t.Context(), store.UsageFilter{All: true, Conversation: "trip"}); err == nil {
		t.Error("a conversation of nobody is listed")
	}
	s, err := b.ConversationSum(t.Context(), p.client.ID, "trip")
	if err != nil || s.Calls != 5 || s.Charge != 5*talk[0].Charge || s.First.UnixMilli() != talk[0].ID.UnixMilli() || s.Last.UnixMilli() != talk[4].ID.UnixMilli() {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := b.ConversationSum(t.Context(), p.client.ID, ""); err != nil || s != (store.ConversationSum{}) {
		t.Errorf("of no conversation: %+v, %v", s, err)
	}

	// As an earlier build has written it.
	old := reqid.NewMilli(plain.ID.UnixMilli())
	exec(t, b.conn, "CREATE TEMP TABLE old AS SELECT * FROM usage WHERE request_id = $1", [16]byte(plain.ID))
	exec(t, b.conn, "UPDATE old SET request_id = $1, client_request_id = 'older', flags = $2, charge = 0", [16]byte(old), int32(usage.FlagStream|usage.FlagCard))
	exec(t, b.conn, "INSERT INTO usage SELECT * FROM old")
	plain.ID = old
	if r := one(plain); r.ClientRequestID != "older" || r.ConversationID != "" || !strings.Contains(r.Flags.String(), "card") || r.Flags&usage.FlagStream == 0 {
		t.Errorf("%+v", r)
	}
}
