package store_test

import (
	"fmt"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// M10: days, totals and attempts are the sums of the rows, whether the batch has written them or,
// for a writer that knows nothing of them, the triggers.
func TestSumsAreTheRows(t *testing.T) {
	b := newBooks(t)
	p := b.party(1000 * money.USD)
	x := b.proxy("p1")
	if err := store.GenerateKeys(t.Context(), b.url, p.client.ID, 3); err != nil {
		t.Fatal(err)
	}
	lease, _ := x.grant(p.wallet(), 100*money.USD, 0)
	agree := func(when string) {
		t.Helper()
		const zeros = " || array_fill(0::bigint, ARRAY[24]))[1:24]"
		const took = "(sum_counts(bucket_counts(end_us - admitted_us))" + zeros + ", (coalesce(sum_counts(bucket_counts(first_token_us)) FILTER (WHERE first_token_us > 0), '{}')" + zeros
		const summed = "(sum_counts(latency)" + zeros + ", (sum_counts(first_token)" + zeros
		const units = "coalesce(sum(units[1]), 0)::bigint, coalesce(sum(units[2]), 0)::bigint, coalesce(sum(units[5]), 0)::bigint, sum(charge)::bigint, sum(cost)::bigint, sum(overrun)::bigint, sum(bytes_in)::bigint, sum(bytes_out)::bigint"
		for what, sql := range map[string]string{
			"days": `WITH r AS (SELECT (ms_of(request_id) / 86400000)::integer * 24 AS hour, client_id, key_id, model, slot, count(*) FILTER (WHERE status = 1) AS ok, count(*) FILTER (WHERE status = 2) AS failed,
					count(*) FILTER (WHERE status = 4) AS cancelled, ` + units + ", " + took + ` FROM usage GROUP BY 1, 2, 3, 4, 5),
				d AS (SELECT hour, client_id, key_id, model, slot, sum(success)::bigint, sum(failed)::bigint, sum(cancelled)::bigint, ` + units + ", " + summed + ` FROM usage_daily GROUP BY 1, 2, 3, 4, 5)
				SELECT count(*) FROM ((TABLE r EXCEPT TABLE d) UNION ALL (TABLE d EXCEPT TABLE r)) x`,
			"totals": `WITH r AS (SELECT (ms_of(request_id) / 86400000)::integer * 24 AS hour, x.*, slot, count(*) FILTER (WHERE status = 1) AS ok, count(*) FILTER (WHERE status = 2) AS failed,
					count(*) FILTER (WHERE status = 4) AS cancelled, ` + units + ", " + took + ` FROM usage u, LATERAL (VALUES (u.client_id, ''), (0, u.model)) AS x (client_id, model) GROUP BY 1, 2, 3, 4),
				d AS (SELECT hour, client_id, model, slot, sum(success)::bigint, sum(failed)::bigint, sum(cancelled)::bigint, ` + units + ", " + summed + ` FROM usage_total GROUP BY 1, 2, 3, 4)
				SELECT count(*) FROM ((TABLE r EXCEPT TABLE d) UNION ALL (TABLE d EXCEPT TABLE r)) x`,
			"codes": `WITH r AS (SELECT (ms_of(request_id) / 86400000)::integer * 24 AS hour, slot, code, count(*) FROM usage WHERE code <> '' GROUP BY 1, 2, 3)
				SELECT count(*) FROM ((TABLE r EXCEPT TABLE code_total) UNION ALL (TABLE code_total EXCEPT TABLE r)) x`,
			"attempts": `WITH r AS (SELECT * FROM attempt_sums('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
				SELECT count(*) FROM ((TABLE r EXCEPT TABLE attempt_hourly) UNION ALL (TABLE attempt_hourly EXCEPT TABLE r)) x`,
		} {
			if n := storetest.Value[int64](t, b.url, sql); n != 0 {
				t.Errorf("%s: %d %s are not the sums of the rows", when, n, what)
			}
		}
	}
	for round := range 3 {
		var recs []usage.Record
		for i := range 60 {
			r := b.record(p, lease, int64(100+i), 10)
			r.ID = reqid.New(time.Now().Add(-time.Duration(i%3) * 20 * time.Hour))
			r.EndMicros = r.AdmittedMicros + 900<<(i%20)
			r.FirstTokenMicros = int32(i%4) * 1_000_000
			r.KeyID, r.Model = p.key.ID+int64(i%4), fmt.Sprint("model-", i%2)
			switch i % 5 {
			case 0:
				r.Status, r.Charge, r.Units, r.Code = usage.Failed, 0, usage.Units{}, fmt.Sprint("code_", i%2)
				r.Attempts[0].Outcome, r.Attempts[0].HTTPStatus = usage.OutcomeStatus, 503
			case 1:
				r.NumAttempts = 2
				r.Attempts[1] = r.Attempts[0]
				r.Attempts[0].Outcome, r.Attempts[0].HTTPStatus, r.Attempts[0].RouteID = usage.OutcomeTimeout, 0, 7
			case 2:
				r.NumAttempts = 0
			}
			recs = append(recs, r)
		}
		if res := b.settle(x.ID, recs...); res.Inserted != len(recs) {
			t.Fatalf("%+v", res)
		}
		if res := b.settle(x.ID, recs...); res.Duplicates != len(recs) {
			t.Fatalf("a batch that comes again: %+v", res)
		}
		agree(fmt.Sprint("batch ", round))
	}
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM attempt_hourly WHERE outcome = 3 AND cost = 0"); n == 0 {
		t.Error("no attempt before the last one was counted")
	}
	storetest.Exec(t, b.url, `CREATE TEMP TABLE more AS SELECT * FROM usage WHERE request_id IN (SELECT request_id FROM usage ORDER BY request_id LIMIT 20);
		UPDATE more SET request_id = (substr(request_id::text, 1, 24) || '0000000000' || substr(request_id::text, 35, 2))::uuid; INSERT INTO usage SELECT * FROM more;
		INSERT INTO code_hourly SELECT (ms_of(request_id) / 3600000)::integer, client_id, key_id, model, slot, code, count(*) FROM more WHERE code <> '' GROUP BY 1, 2, 3, 4, 5, 6
		ON CONFLICT (hour, client_id, key_id, model, slot, code) DO UPDATE SET n = code_hourly.n + excluded.n`) // codes come with the batch, not with a row
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage"); n != 200 {
		t.Fatalf("%d rows", n)
	}
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage WHERE code <> ''"); n == 0 {
		t.Error("no call has a code")
	}
	agree("another writer")

	// A proxy of the version before writes days, but without durations, and no totals.
	storetest.Exec(t, b.url, `CREATE TEMP TABLE more AS SELECT * FROM usage WHERE request_id IN (SELECT request_id FROM usage WHERE cardinality(attempts) = 0 AND status = 1 ORDER BY request_id DESC LIMIT 20);
		UPDATE more SET request_id = (substr(request_id::text, 1, 24) || '1111111111' || substr(request_id::text, 35, 2))::uuid;
		SELECT set_config('relay.sums', 'written', true); INSERT INTO usage SELECT * FROM more;
		INSERT INTO usage_daily AS d (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out)
		SELECT (ms_of(request_id) / 86400000)::integer * 24, client_id, key_id, model, slot, count(*), 0, 0, 0, 0, sum_counts(units), sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out)
		FROM more GROUP BY 1, 2, 3, 4, 5
		ON CONFLICT (hour, client_id, key_id, model, slot) DO UPDATE SET success = d.success + excluded.success, units = add_counts(d.units, excluded.units), charge = d.charge + excluded.charge,
			cost = d.cost + excluded.cost, overrun = d.overrun + excluded.overrun, bytes_in = d.bytes_in + excluded.bytes_in, bytes_out = d.bytes_out + excluded.bytes_out`)
	if n := storetest.Value[int64](t, b.url, "SELECT count(*) FROM usage"); n != 220 {
		t.Fatalf("%d rows", n)
	}
	agree("an earlier version")

	// What went wrong is found among what went well, newest first.
	failed, err := b.Usage(t.Context(), store.UsageFilter{All: true, Statuses: []usage.Status{usage.Failed, usage.Cancelled}, Limit: 1000})
	if err != nil || len(failed) < 36 {
		t.Fatalf("%d failed, %v", len(failed), err)
	}
	for i := range failed {
		if failed[i].Status != usage.Failed || i > 0 && string(failed[i].ID[:]) >= string(failed[i-1].ID[:]) {
			t.Errorf("row %d: %v %v", i, failed[i].ID, failed[i].Status)
		}
	}
	for _, f := range []store.UsageFilter{{WalletID: p.client.WalletID}, {All: true}, {All: true, KeyID: p.key.ID + 1}} {
		f.Model, f.Limit = "model-1", 7
		seen := 0
		for {
			page, err := b.Usage(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if seen += len(page); len(page) < f.Limit {
				break
			}
			f.Before = page[len(page)-1].ID
		}
		want := storetest.Value[int](t, b.url, "SELECT count(*) FROM usage WHERE model = 'model-1' AND ($1 = 0 OR key_id = $1)", f.KeyID)
		if seen != want || want == 0 {
			t.Errorf("pages of a model have %d rows, want %d", seen, want)
		}
	}
	attempts, _, _, err := b.Attempts(t.Context(), store.AttemptFilter{Failed: true, Calls: 200})
	if err != nil || len(attempts) < 72 {
		t.Errorf("%d failed attempts, %v", len(attempts), err)
	}
}
