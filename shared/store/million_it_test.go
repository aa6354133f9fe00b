package store_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// long says that the slow form of a test is wanted: RELAY_LONG=1.
func long() bool { return os.Getenv("RELAY_LONG") == "1" }

// crowd fills the books with customers, each with a key, a closed lease and calls
// spread evenly over the days before now: the worst case for roll-ups, since hardly
// two calls share an hour.
func (b *books) crowd(wallets, rows, days int) {
	b.t.Helper()
	b.party(1) // the crowd is modelled on nobody, but ids begin behind a real one
	x := b.proxy("crowd")
	var in, out, charge []int64
	for i := range 10 {
		var u usage.Units
		u[usage.Input], u[usage.Output] = int64(20+i*30), int64(3+i)
		c, err := b.rule.Charge(&u)
		if err != nil {
			b.t.Fatal(err)
		}
		in, out, charge = append(in, u[usage.Input]), append(out, u[usage.Output]), append(charge, int64(c))
	}
	to := time.Now().Add(-time.Second).UnixMilli()
	from := to - int64(days)*86_400_000
	for m := from; m < to; m += 20 * 86_400_000 { // partitions as the months had them
		exec(b.t, b.conn, fmt.Sprintf("CREATE TABLE IF NOT EXISTS usage_%[1]s PARTITION OF usage FOR VALUES IN (%[1]s)", time.UnixMilli(m).UTC().Format("200601")))
	}
	each := rows / wallets
	run := func(sql string, args ...any) {
		b.t.Helper()
		exec(b.t, b.conn, sql, args...)
	}
	run("SET synchronous_commit = off")
	run("CREATE TEMP TABLE person AS SELECT g AS n, 1000 + g AS id, 1000000 + g AS lease FROM generate_series(1, $1::integer) AS g", wallets)
	run("INSERT INTO wallet (id, balance) OVERRIDING SYSTEM VALUE SELECT id, 0 FROM person")
	run("INSERT INTO client (id, name, group_id, wallet_id) OVERRIDING SYSTEM VALUE SELECT id, 'person ' || n, 1, id FROM person")
	run(`INSERT INTO api_key (id, client_id, public_id, digest, last4, name) OVERRIDING SYSTEM VALUE
		SELECT id, id, 'person' || n, sha256(('person' || n)::bytea), 'abcd', 'main' FROM person`)
	run(`CREATE TEMP TABLE call AS SELECT p.id, p.lease, 1 + (g * 7 + p.n) % 10 AS kind,
			($1::bigint + ((g - 1) * ($2::bigint - $1::bigint) / $3::bigint) + p.n % (($2::bigint - $1::bigint) / $3::bigint)) AS ms, g
		FROM person p, generate_series(1, $3::integer) AS g`, from, to, each)
	run(`INSERT INTO usage SELECT to_char(to_timestamp(ms / 1000) AT TIME ZONE 'UTC', 'YYYYMM')::integer,
			(lpad(to_hex(ms), 12, '0') || substr(md5(id || '-' || g), 1, 20))::uuid, $1, id, id, id, 1, 'small', 'small', '', 1, 200, '', 0, 1,
			ARRAY[($2::bigint[])[kind], 0, 0, 0, ($3::bigint[])[kind]], 2 * ($4::bigint[])[kind], ($4::bigint[])[kind], ($4::bigint[])[kind], 0, $5, 0,
			1000000, 1000000, 1000000, lease, 0, 0, 0, ms * 1000, 1500, ms * 1000 + 5000, 10, 20, '{1,1,200,1,0,4000}'
		FROM call`, x.ID, in, out, charge, b.priceID)
	run("CREATE TEMP TABLE paid AS SELECT c.id, c.lease, sum(($1::bigint[])[kind])::bigint AS amount FROM call c GROUP BY 1, 2", charge)
	run(`INSERT INTO lease (id, wallet_id, slot, epoch, granted, settled, last_grant, open, expires_at, opened_at, closed_at)
		SELECT lease, id, $1, 1, amount, amount, amount, false, now(), to_timestamp($2::bigint / 1000), now() FROM paid`, x.ID, from)
	run("INSERT INTO entry (wallet_id, kind, amount, ref, actor, created_at) SELECT id, 'recharge', amount + 1000000000, 'crowd ' || id, 'test', to_timestamp($1::bigint / 1000) FROM paid", from)
	run("UPDATE wallet w SET balance = 1000000000 FROM paid p WHERE w.id = p.id")
	run("INSERT INTO budget (key_id, period, posted) SELECT id, 0, amount FROM paid")
	run("INSERT INTO budget (key_id, period, posted) SELECT key_id, month, sum(charge) FROM usage WHERE wallet_id > 1000 GROUP BY 1, 2")
	run(`INSERT INTO usage_hourly SELECT (ms_of(request_id) / 3600000)::integer, client_id, key_id, model, slot, count(*), 0, 0, 0, 0,
			ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out),
			ARRAY[0, 0, 0, count(*)], ARRAY[0, count(*)]
		FROM usage WHERE wallet_id > 1000 GROUP BY 1, 2, 3, 4, 5`)
	run("DROP TABLE call, paid, person")
	run("VACUUM ANALYZE")
}

// G-13: the audit of a crowd while traffic runs.
func TestAuditOfACrowdG13(t *testing.T) {
	wallets, rows := 500, 20_000
	if long() {
		wallets, rows = 10_000, 1_000_000
	}
	b := newBooks(t)
	start := time.Now()
	b.crowd(wallets, rows, 40)
	t.Logf("%d calls of %d customers made in %s", rows, wallets, time.Since(start))
	for _, o := range []store.AuditOptions{{}, {Deep: true}} {
		start = time.Now()
		r, err := b.Audit(t.Context(), o)
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range r.Lines {
			if l.Broken > 0 {
				t.Errorf("%+v", l)
			}
			t.Logf("%-4s %d checked", l.ID, l.Checked)
		}
		t.Logf("deep %v: audited in %s", o.Deep, took)
	}
}
