package store_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/money"
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
	start = time.Now()
	links := b.chain()
	t.Logf("%d links chained in %s", links, time.Since(start))

	p := b.party(1000 * money.USD)
	x := b.proxy("traffic")
	lease, _ := x.grant(p.wallet(), 500*money.USD, 0)
	stop, done := make(chan struct{}), make(chan time.Duration)
	go func() { // 2,000 rows a second, in batches of 100
		var worst time.Duration
		defer func() { done <- worst }()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			recs := make([]usage.Record, 100)
			for i := range recs {
				recs[i] = b.record(p, lease, int64(50+i), 5)
			}
			begin := time.Now()
			if _, err := b.SettleBatch(context.WithoutCancel(t.Context()), x.ID, recs); err != nil {
				t.Errorf("settle: %v", err)
				return
			}
			worst = max(worst, time.Since(begin))
		}
	}()
	for _, o := range []store.AuditOptions{{}, {Deep: true}} {
		start = time.Now()
		r, err := b.Audit(t.Context(), o)
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		var checked int64
		for _, l := range r.Lines {
			if l.Broken > 0 {
				t.Errorf("%+v", l)
			}
			checked += l.Checked
		}
		t.Logf("deep %v: %d things of %d wallets checked in %s", o.Deep, checked, r.Wallets, took)
		if long() && !o.Deep && took > 10*time.Second {
			t.Errorf("took %s, want at most 10 s", took)
		}
	}
	close(stop)
	t.Logf("slowest batch of the traffic: %s", <-done)
	b.cleanDeep()
}

// G-13: thirty corruptions of closed, chained days, planted past every trigger and check.
// Each is named by the default audit or, where only the rows themselves can tell, by
// --deep.
func TestThirtyCorruptionsOfClosedDaysG13(t *testing.T) {
	b := newBooks(t)
	b.crowd(10, 800, 10)
	b.chain()
	b.cleanDeep()
	exec(t, b.conn, "SET session_replication_role = replica")
	dropMonths(t, b.conn)
	for _, c := range [][2]string{{"usage", "usage_charge"}, {"wallet", "wallet_floor"}, {"wallet", "wallet_floor_sign"}, {"lease", "lease_sum"}, {"lease", "lease_closed"}} {
		exec(t, b.conn, "ALTER TABLE "+c[0]+" DROP CONSTRAINT "+c[1])
	}
	const one = "(SELECT request_id FROM usage WHERE wallet_id = 1003 ORDER BY 1 LIMIT 1)"
	planted := []struct {
		mode, lines, table, name, sql string
	}{
		{"default", "M1 M12", "wallet", "a balance one nano higher", "UPDATE wallet SET balance = balance + 1 WHERE id = 1003"},
		{"default", "M1", "wallet", "a nano moved to another customer", "UPDATE wallet SET balance = balance + CASE id WHEN 1003 THEN 1 ELSE -1 END WHERE id IN (1003, 1004)"},
		{"default", "M2", "wallet", "a nano leased to nobody", "UPDATE wallet SET leased = leased + 1 WHERE id = 1003"},
		{"default", "M4", "wallet", "a floor above the balance", "UPDATE wallet SET floor = balance + 1 WHERE id = 1003"},
		{"default", "M1 M12", "wallet", "a wallet gone", "DELETE FROM wallet WHERE id = 1003"},
		{"default", "M1 M12", "entry", "a recharge one nano higher", "UPDATE entry SET amount = amount + 1 WHERE wallet_id = 1003"},
		{"default", "M1 M12", "entry", "a recharge gone", "DELETE FROM entry WHERE wallet_id = 1003"},
		{"default", "M1 M12", "entry", "a recharge twice", "INSERT INTO entry (wallet_id, kind, amount, ref, actor) SELECT wallet_id, kind, amount, 'again', actor FROM entry WHERE wallet_id = 1003"},
		{"default", "M1", "entry", "a recharge of another wallet", "UPDATE entry SET wallet_id = 1004 WHERE wallet_id = 1003"},
		{"deep", "M13", "entry", "another note", "UPDATE entry SET note = 'x' WHERE wallet_id = 1003"},
		{"deep", "M1 M5 M9 M10 M13", "usage", "a charge one nano higher", "UPDATE usage SET charge = charge + 1 WHERE request_id = " + one},
		{"deep", "M1 M5 M10 M13", "usage", "a row gone", "DELETE FROM usage WHERE request_id = " + one},
		{"deep", "M1 M5 M10 M13", "usage", "a row added", "INSERT INTO usage SELECT month, (substr(request_id::text, 1, 24) || '000000000001')::uuid, " + rest + " FROM usage WHERE request_id = " + one},
		{"deep", "M1 M7 M13", "usage", "a row on another wallet", "UPDATE usage SET wallet_id = 1004 WHERE request_id = " + one},
		{"deep", "M7 M10 M13", "usage", "a row of another client", "UPDATE usage SET client_id = 1004 WHERE request_id = " + one},
		{"deep", "M10 M11 M13", "usage", "a row of another key", "UPDATE usage SET key_id = 1004 WHERE request_id = " + one},
		{"deep", "M7 M11", "usage", "a row in another month", "UPDATE usage SET month = 202001 WHERE request_id = " + one},
		{"deep", "M9 M10 M13", "usage", "one token more", "UPDATE usage SET units[1] = units[1] + 1 WHERE request_id = " + one},
		{"deep", "M9 M13", "usage", "another multiplier", "UPDATE usage SET client_ppm = 900000 WHERE request_id = " + one},
		{"deep", "M9 M13", "usage", "another price row", "UPDATE usage SET price_id = 0 WHERE request_id = " + one},
		{"deep", "M15 M13", "usage", "no attempt", "UPDATE usage SET attempts = '{}' WHERE request_id = " + one},
		{"deep", "M10 M13", "usage", "one nano more cost", "UPDATE usage SET cost = cost + 1 WHERE request_id = " + one},
		{"deep", "M5 M13", "usage", "another lease", "UPDATE usage SET wallet_lease = 1000004 WHERE request_id = " + one},
		{"deep", "M13", "usage", "an earlier end", "UPDATE usage SET end_us = end_us - 1 WHERE request_id = " + one},
		{"deep", "M8", "usage", "a hold below the charge", "UPDATE usage SET hold = charge - 1 WHERE request_id = " + one},
		{"default", "M5", "lease", "a closed lease that does not add up", "UPDATE lease SET returned = returned + 1 WHERE id = 1000003"},
		{"deep", "M5", "lease", "a nano more granted and settled", "UPDATE lease SET settled = settled + 1, granted = granted + 1 WHERE id = 1000003"},
		{"default", "M1 M10 M11", "usage_hourly", "a roll-up one nano higher", "UPDATE usage_hourly SET charge = charge + 1 WHERE (hour, client_id) = (SELECT min(hour), 1003 FROM usage_hourly WHERE client_id = 1003)"},
		{"default", "M1 M10", "usage_hourly", "a roll-up gone", "DELETE FROM usage_hourly WHERE (hour, client_id) = (SELECT min(hour), 1003 FROM usage_hourly WHERE client_id = 1003)"},
		{"default", "M10", "usage_daily", "a day one nano higher", "UPDATE usage_daily SET charge = charge + 1 WHERE (hour, client_id) = (SELECT min(hour), 1003 FROM usage_daily WHERE client_id = 1003)"},
		{"deep", "M10", "usage_daily", "a nano in another day", "UPDATE usage_daily SET charge = charge + CASE hour WHEN (SELECT min(hour) FROM usage_daily WHERE client_id = 1003) THEN 1 ELSE -1 END WHERE client_id = 1003 AND hour IN (SELECT hour FROM usage_daily WHERE client_id = 1003 ORDER BY 1 LIMIT 2)"},
		{"default", "M10", "usage_total", "a total one nano higher", "UPDATE usage_total SET charge = charge + 1 WHERE (hour, client_id) = (SELECT min(hour), 1003 FROM usage_total WHERE client_id = 1003)"},
		{"default", "M10", "usage_total", "a model's total one call higher", "UPDATE usage_total SET success = success + 1 WHERE (hour, client_id) = (SELECT min(hour), 0 FROM usage_total WHERE client_id = 0)"},
		{"deep", "M10", "usage_total", "durations of an old day in another class", "UPDATE usage_total SET latency = array_prepend(0::bigint, latency) WHERE (hour, client_id) = (SELECT min(hour), 1003 FROM usage_total WHERE client_id = 1003)"},
		{"deep", "M10", "attempt_hourly", "an attempt more", "UPDATE attempt_hourly SET n = n + 1 WHERE hour = (SELECT min(hour) FROM attempt_hourly)"},
		{"default", "M11", "budget", "a budget one nano lower", "UPDATE budget SET posted = posted - 1 WHERE key_id = 1003 AND period = 0"},
		{"default", "M13", "wallet_day", "a link of the chain gone", "DELETE FROM wallet_day WHERE (wallet_id, day) = (SELECT 1003, min(day) + 2 FROM wallet_day WHERE wallet_id = 1003)"},
		{"default", "M13", "wallet_day", "a head replaced", "UPDATE wallet_day SET head = sha256('x') WHERE (wallet_id, day) = (SELECT 1003, min(day) FROM wallet_day WHERE wallet_id = 1003)"},
		{"default", "M10", "wallet_day", "a day's sum one nano higher", "UPDATE wallet_day SET charge = charge + 1 WHERE (wallet_id, day) = (SELECT 1003, max(day) FROM wallet_day WHERE wallet_id = 1003)"},
	}
	found := map[string]int{}
	for _, m := range planted {
		exec(t, b.conn, "CREATE TEMP TABLE kept AS TABLE "+m.table)
		tag, err := b.conn.Exec(t.Context(), m.sql)
		if err != nil || tag.RowsAffected() == 0 {
			t.Fatalf("%s: %v, %v", m.name, tag, err)
		}
		quick, deep := findings(t, b, store.AuditOptions{}), findings(t, b, store.AuditOptions{Deep: true})
		got := deep
		if m.mode == "default" {
			got = quick
		}
		for want := range strings.FieldsSeq(m.lines) {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %s finds nothing; default %v, deep %v", m.name, want, quick, deep)
			}
		}
		if m.mode == "deep" && len(quick) > 0 {
			t.Errorf("%s: the default audit finds it too, by %v", m.name, quick)
		}
		if len(deep) == 0 {
			t.Errorf("%s: a deep audit does not find it", m.name)
		}
		found[m.mode]++
		exec(t, b.conn, "DELETE FROM "+m.table)
		exec(t, b.conn, "INSERT INTO "+m.table+" OVERRIDING SYSTEM VALUE SELECT * FROM kept")
		exec(t, b.conn, "DROP TABLE kept")
	}
	t.Logf("%d planted: %d named by default, %d by --deep", len(planted), found["default"], found["deep"])
	b.cleanDeep()
}

// rest is every column of usage but month and request id.
const rest = `slot, client_id, wallet_id, key_id, endpoint, model, requested_model, client_request_id, status, http_status, code, flags, source, units, hold,
	charge, cost, overrun, price_id, cost_price_id, model_ppm, group_ppm, client_ppm, wallet_lease, month_lease, total_lease, late, admitted_us, first_token_us,
	end_us, bytes_in, bytes_out, attempts`
