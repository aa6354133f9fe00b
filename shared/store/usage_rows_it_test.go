package store_test

import (
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// whole is a record with something in every field, and texts that no row can have.
func (b *books) whole(p *party, lease int64) usage.Record {
	r := b.record(p, lease, 120, 17)
	r.Endpoint, r.RequestedModel, r.Code = 3, "klein\x00é\xff", "upstream_error"
	r.Flags, r.Source, r.HTTPStatus = 1<<30|1, usage.SourceEstimated, -1
	for c := range r.Units {
		r.Units[c] = int64(c)
	}
	r.Hold, r.Cost, r.Overrun, r.CostPriceID = r.Charge+5, 9, 8, math.MaxInt64
	r.ModelPPM, r.GroupPPM, r.ClientPPM = 1, 2, 1_000_000_000
	r.MonthLease, r.TotalLease = math.MaxInt64-1, math.MinInt64
	r.AdmittedMicros, r.EndMicros, r.FirstTokenMicros = math.MaxInt64-2, math.MaxInt64-1, math.MaxInt32
	r.BytesIn, r.BytesOut, r.NumAttempts = math.MaxInt64/4, 1, usage.MaxAttempts
	for i := range r.Attempts {
		r.Attempts[i] = usage.Attempt{RouteID: int64(i), ProviderKeyID: -1, HTTPStatus: 200, Outcome: usage.OutcomeOK, StartMicros: int32(i), EndMicros: math.MaxInt32}
	}
	return r
}

// A row that is copied into the partition of its month is the row that usage itself would
// have got, in every column; months without a partition go that way.
func TestRowsOfPartitionsAndOfUsageAreTheSame(t *testing.T) {
	b := newBooks(t)
	p := b.party(10 * money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD, 0)
	const columns = `to_jsonb(u) - 'month' - 'request_id'`
	far := time.Date(2031, 5, 31, 23, 59, 59, 999e6, time.UTC) // no partition is made so far ahead
	for _, make := range []func() usage.Record{
		func() usage.Record { return b.whole(p, lease) },
		func() usage.Record { return b.record(p, lease, 1, 0) },
		func() usage.Record {
			r := b.record(p, lease, 0, 0)
			r.NumAttempts, r.Units, r.Charge = 0, usage.Units{}, 0
			return r
		},
	} {
		near := make()
		away := near
		away.ID = reqid.New(far)
		if got := b.settle(x.ID, near, away); got.Inserted != 2 || len(got.Rejected) > 0 {
			t.Fatalf("%+v", got)
		}
		row := func(r usage.Record, table string) string {
			return storetest.Value[string](t, b.url, "SELECT ("+columns+")::text FROM "+table+" u WHERE request_id = $1", [16]byte(r.ID))
		}
		a, z := row(near, "usage_"+near.ID.Time().Format("200601")), row(away, "usage_default")
		if a != z {
			t.Errorf("the partition has\n%s\nusage has\n%s", a, z)
		}
	}
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage_default"); n != 3 {
		t.Errorf("%d rows without a partition", n)
	}
	// Midnight between two months is where the ids of one end.
	next := time.Now().UTC()
	next = time.Date(next.Year(), next.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	before, after := b.record(p, lease, 1, 1), b.record(p, lease, 1, 1)
	before.ID, after.ID = reqid.New(next.Add(-time.Millisecond)), reqid.New(next)
	if got := b.settle(x.ID, after, before); got.Inserted != 2 {
		t.Fatalf("%+v", got)
	}
	for id, table := range map[reqid.ID]string{before.ID: next.AddDate(0, 0, -1).Format("usage_200601"), after.ID: next.Format("usage_200601")} {
		if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM "+table+" WHERE request_id = $1", [16]byte(id)); n != 1 {
			t.Errorf("%s has %d rows of %s", table, n, id)
		}
	}
}

// A partition that has been taken out of usage, or that is gone, gets no rows any more: they
// would be out of the books. Nothing is charged twice on the way.
func TestPartitionsTakenOut(t *testing.T) {
	for _, how := range []string{"ALTER TABLE usage DETACH PARTITION usage_", "DROP TABLE usage_"} {
		b := newBooks(t)
		p := b.party(10 * money.USD)
		x := b.proxy("p1")
		lease, _ := x.grant(p.wallet(), money.USD, 0)
		first := b.record(p, lease, 100, 10)
		table := first.ID.Time().Format("200601")
		exec(t, b.conn, how+table)
		second := b.record(p, lease, 100, 10)
		if got := b.settle(x.ID, first, second); got.Inserted != 2 || got.Charged != first.Charge+second.Charge {
			t.Fatalf("%s: %+v", how, got)
		}
		if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage"); n != 2 {
			t.Errorf("%s: %d rows", how, n)
		}
		if got := b.settle(x.ID, second, b.record(p, lease, 1, 1)); got.Inserted != 1 || got.Duplicates != 1 {
			t.Errorf("%s: %+v", how, got)
		}
		b.clean()
	}
}

// A user who may only write to usage itself writes there.
func TestNoRightToPartitions(t *testing.T) {
	b := newBooks(t)
	p := b.party(10 * money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD, 0)
	r := b.record(p, lease, 100, 10)
	role := "writer_" + strings.ToLower(r.ID.String()[20:])
	exec(t, b.conn, "CREATE ROLE "+role+" LOGIN PASSWORD 'writes-only'")
	exec(t, b.conn, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role)
	exec(t, b.conn, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "+role)
	exec(t, b.conn, "REVOKE ALL ON "+r.ID.Time().Format("usage_200601")+" FROM "+role)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "writes-only")
	as := open(t, u.String())
	for range 2 { // the second one is known
		got, err := as.SettleBatch(t.Context(), x.ID, []usage.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		if got.Inserted+got.Duplicates != 1 {
			t.Errorf("%+v", got)
		}
	}
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage"); n != 1 {
		t.Errorf("%d rows", n)
	}
	b.clean()
	as.Close()
	exec(t, b.conn, "DROP OWNED BY "+role)
	exec(t, b.conn, "DROP ROLE "+role)
}

// What is sent again is found by the index, whoever else writes meanwhile: every record is in
// the books once, and each sender hears how many were new.
func TestSentAgainBySeveral(t *testing.T) {
	b := newBooks(t)
	p := b.party(10 * money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD, 0)
	recs := make([]usage.Record, 200)
	var want money.Amount
	for i := range recs {
		recs[i] = b.record(p, lease, 10, 1)
		want += recs[i].Charge
	}
	type answer struct {
		store.SettleResult
		err error
	}
	answers := make(chan answer)
	for i := range 4 {
		go func() {
			got, err := b.SettleBatch(t.Context(), x.ID, recs[50*i:]) // all have the last fifty
			answers <- answer{got, err}
		}()
	}
	inserted, charged := 0, money.Amount(0)
	for range 4 {
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		inserted, charged = inserted+a.Inserted, charged+a.Charged
	}
	if inserted != len(recs) || charged != want {
		t.Errorf("%d records and %s, want %d and %s", inserted, charged, len(recs), want)
	}
	b.clean()
}

// A row of another month than that of its id is refused by every partition.
func TestRowsOfOtherMonthsAreRefused(t *testing.T) {
	b := newBooks(t)
	p := b.party(10 * money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD, 0)
	r := b.record(p, lease, 100, 10)
	b.settle(x.ID, r)
	const again = `INSERT INTO usage SELECT (jsonb_populate_record(u, jsonb_build_object('month', $1::integer, 'request_id', $2::uuid))).* FROM usage u`
	this := r.ID.Time()
	for name, c := range map[string]struct {
		month int32
		id    reqid.ID
	}{
		"an id of the month before":  {r.ID.Month(), reqid.New(this.AddDate(0, -1, 0))},
		"an id of the month after":   {r.ID.Month(), reqid.New(this.AddDate(0, 1, 3))},
		"a month without partition":  {203105, r.ID},
		"an id of no month's millis": {r.ID.Month(), reqid.ID{}},
	} {
		var pg *pgconn.PgError
		if _, err := b.conn.Exec(t.Context(), again, c.month, [16]byte(c.id)); !errors.As(err, &pg) || pg.Code != "23514" { // check_violation
			t.Errorf("%s: %v", name, err)
		}
	}
}
