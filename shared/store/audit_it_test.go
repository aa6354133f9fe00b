package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// busyBooks has something of everything: two customers, open and closed leases, key
// budgets, late charges, bad debt, refusals.
func busyBooks(t *testing.T) *books {
	b := newBooks(t)
	limit := money.USD
	p := b.party(money.USD, func(l *store.KeyLimits) { l.MonthlyCap, l.TotalQuota = limit, limit })
	q := b.party(money.USD)
	x, y := b.proxy("p1"), b.proxy("p2")
	lease, _ := x.grant(p.wallet(), money.USD/4, 0)
	second, _ := x.grant(p.wallet(), money.USD/4, 0)
	m, _ := x.grant(store.Escrow{KeyID: p.key.ID, Period: month()}, money.USD/4, 0)
	total, _ := x.grant(store.Escrow{KeyID: p.key.ID}, money.USD/4, 0)
	var recs []usage.Record
	for i := range 5 {
		r := b.record(p, lease, 300, int64(100+i))
		r.MonthLease, r.TotalLease = m, total
		if i == 4 {
			r.Status, r.Code, r.HTTPStatus = usage.Failed, "upstream_error", 502
		}
		recs = append(recs, r)
	}
	recs = append(recs, b.record(p, second, 10, 10))
	b.settle(x.ID, recs...)
	lost, _ := y.grant(q.wallet(), money.USD/10, 0)
	if err := b.ReturnLease(t.Context(), lost, 1, 0, 0, true); err != nil {
		t.Fatal(err)
	}
	rest, _ := x.grant(q.wallet(), money.USD, 0)
	late := b.record(q, lost, 0, 1000)
	b.settle(y.ID, late)
	over := b.record(q, rest, 0, 500)
	over.Hold, over.Overrun, over.Charge = over.Charge-10, 10, over.Charge-10
	refused := usage.Record{
		ID: b.record(q, 0, 1, 1).ID, ClientID: q.client.ID, WalletID: q.client.WalletID, KeyID: q.key.ID, Model: "small", Status: usage.Refused, Code: "x",
	}
	b.settle(x.ID, over, refused)
	v := *b.rule.Version
	v.Tiers, v.Base.Rates[usage.Input] = nil, 1
	if _, err := b.SetPrice(t.Context(), "test", "small", b.priceID, &v, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.clean()
	return b
}

// dropMonths lets rows of usage stand in another month than that of their id.
func dropMonths(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	exec(t, conn, `DO $$ DECLARE p regclass; BEGIN
		FOR p IN SELECT conrelid FROM pg_constraint WHERE conname = 'usage_month' LOOP
			EXECUTE format('ALTER TABLE %s DROP CONSTRAINT usage_month', p);
		END LOOP; END $$`)
}

// The mutation test of the audit: each planted corruption is found, by the lines that
// should find it; the undone books are clean again.
func TestAuditFindsPlantedCorruption(t *testing.T) {
	b := busyBooks(t)
	// What the schema would refuse is planted past it: no triggers, no foreign keys, no
	// checks.
	exec(t, b.conn, "SET session_replication_role = replica")
	dropMonths(t, b.conn)
	for _, c := range [][2]string{
		{"usage", "usage_charge"},
		{"usage", "usage_units"},
		{"wallet", "wallet_floor"},
		{"wallet", "wallet_leased"},
		{"wallet", "wallet_floor_sign"},
		{"lease", "lease_sum"},
		{"lease", "lease_closed"},
		{"lease", "lease_settled_check"},
		{"lease", "lease_check"},
		{"budget", "budget_cap"},
		{"entry", "entry_sign"},
	} {
		exec(t, b.conn, "ALTER TABLE "+c[0]+" DROP CONSTRAINT "+c[1])
	}
	for _, m := range []struct{ table, name, sql, lines string }{
		{"wallet", "a unit more", "UPDATE wallet SET balance = balance + 1 WHERE id = 1", "M1 M12"},
		{"wallet", "a unit moved to another customer", "UPDATE wallet SET balance = balance + CASE id WHEN 1 THEN 1 ELSE -1 END", "M1"},
		{"wallet", "a unit more leased", "UPDATE wallet SET leased = leased + 1 WHERE id = 1", "M2"},
		{"wallet", "leased below zero", "UPDATE wallet SET leased = -1 WHERE id = 1", "M2 M3"},
		{"wallet", "floor above what is there", "UPDATE wallet SET floor = balance - leased + 1 WHERE id = 1", "M4"},
		{"wallet", "a wallet gone", "DELETE FROM wallet WHERE id = 1", "M1 M2 M12"},
		{"entry", "a unit more", "UPDATE entry SET amount = amount + 1 WHERE id = 1", "M1 M12"},
		{"entry", "a missing entry", "DELETE FROM entry WHERE id = 1", "M1 M12"},
		{"entry", "an entry twice", "INSERT INTO entry (wallet_id, kind, amount, ref, actor) SELECT wallet_id, kind, amount, 'again', actor FROM entry WHERE id = 1", "M1 M12"},
		{"entry", "a swapped wallet", "UPDATE entry SET wallet_id = 2 WHERE id = 1", "M1"},
		{"entry", "a negative recharge", "UPDATE entry SET amount = -amount WHERE id = 1", "M1 M12"},
		{"entry", "bad debt that is too small", "UPDATE entry SET amount = amount - 1 WHERE kind = 'bad_debt'", "M1 M12"},
		{"entry", "bad debt of no request", "UPDATE entry SET request_id = gen_random_uuid() WHERE kind = 'bad_debt'", "M12"},
		{"usage", "a charge of a unit more", "UPDATE usage SET charge = charge + 1 WHERE wallet_lease = $lease", "M1 M5 M9 M10 M11 M12"},
		{"usage", "a missing row", "DELETE FROM usage WHERE request_id = $first", "M1 M5 M10 M11 M12"},
		{"usage", "a swapped wallet", "UPDATE usage SET wallet_id = 2 WHERE request_id = $first", "M1 M7"},
		{"usage", "a swapped key", "UPDATE usage SET key_id = 2 WHERE request_id = $first", "M10 M11"},
		{"usage", "a swapped client", "UPDATE usage SET client_id = 2 WHERE request_id = $first", "M10"},
		{"usage", "a swapped proxy", "UPDATE usage SET slot = 2 WHERE request_id = $first", "M10"},
		{"usage", "a row in another month", "UPDATE usage SET month = 202001 WHERE request_id = $first", "M7 M11"},
		{"usage", "a charge above the hold", "UPDATE usage SET hold = charge - 1 WHERE request_id = $first", "M8"},
		{"usage", "a negative charge", "UPDATE usage SET charge = -charge WHERE request_id = $first", "M1 M8 M9"},
		{"usage", "other units", "UPDATE usage SET units[1] = units[1] + 1 WHERE request_id = $first", "M9 M10"},
		{"usage", "units in another class", "UPDATE usage SET units = '{0,300}' || units[3:] WHERE request_id = $first", "M9 M10"},
		{"usage", "another multiplier", "UPDATE usage SET client_ppm = client_ppm + 1 WHERE request_id = $first", "M9"},
		{"usage", "another price row", "UPDATE usage SET price_id = (SELECT max(id) FROM price) WHERE request_id = $first", "M9"},
		{"usage", "no price row", "UPDATE usage SET price_id = 0 WHERE request_id = $first", "M9"},
		{"usage", "another model", "UPDATE usage SET model = 'big' WHERE request_id = $first", "M9 M10"},
		{"usage", "a unit of overrun", "UPDATE usage SET overrun = overrun + 1 WHERE request_id = $first", "M9 M10"},
		{"usage", "a unit of cost", "UPDATE usage SET cost = cost + 1 WHERE request_id = $first", "M10"},
		{"usage", "another end", "UPDATE usage SET status = 3 WHERE request_id = $first", "M10"},
		{"usage", "another lease", "UPDATE usage SET wallet_lease = $second WHERE request_id = $first", "M5"},
		{"usage", "no lease", "UPDATE usage SET wallet_lease = 0 WHERE request_id = $first", "M5"},
		{"usage", "another budget lease", "UPDATE usage SET month_lease = 0 WHERE request_id = $first", "M5"},
		{"usage", "late, but was not", "UPDATE usage SET late = 1 WHERE request_id = $first", "M5"},
		{"lease", "a unit more granted", "UPDATE lease SET granted = granted + 1 WHERE id = $lease", "M2"},
		{"lease", "a unit more settled", "UPDATE lease SET settled = settled + 1 WHERE id = $lease", "M2 M5"},
		{"lease", "a unit more returned", "UPDATE lease SET returned = returned + 1 WHERE id = $lease", "M2"},
		{"lease", "more settled than granted", "UPDATE lease SET returned = granted + 5 WHERE id = $lease", "M2 M3"},
		{"lease", "a closed lease that does not add up", "UPDATE lease SET returned = returned - 1 WHERE NOT open", "M5"},
		{"lease", "a lease gone", "DELETE FROM lease WHERE id = $lease", "M2 M5"},
		{"lease", "a budget lease gone", "DELETE FROM lease WHERE period = 0", "M5 M11"},
		{"lease", "a lease of another wallet", "UPDATE lease SET wallet_id = 2 WHERE id = $lease", "M2"},
		{"lease", "closed without giving back", "UPDATE lease SET open = false, closed_at = now() WHERE id = $lease", "M2 M5"},
		{"lease", "forgotten", "UPDATE lease SET expires_at = now() - interval '27 minutes' WHERE id = $lease", "M14"},
		{"proxy_slot", "open leases of a lost proxy", "UPDATE proxy_slot SET state = 'lost' WHERE name = 'p1'", "M14"},
		{"usage_hourly", "a unit of charge", "UPDATE usage_hourly SET charge = charge + 1 WHERE key_id = 1", "M10"},
		{"usage_hourly", "a missing hour", "DELETE FROM usage_hourly WHERE key_id = 1", "M10"},
		{"usage_hourly", "one success more", "UPDATE usage_hourly SET success = success + 1 WHERE key_id = 1", "M10"},
		{"usage_hourly", "a success that failed", "UPDATE usage_hourly SET success = success - 1, failed = failed + 1 WHERE key_id = 1", "M10"},
		{"usage_hourly", "units swapped", "UPDATE usage_hourly SET units = array_prepend(0::bigint, units) WHERE key_id = 1", "M10"},
		{"usage_hourly", "another hour", "UPDATE usage_hourly SET hour = hour + 1 WHERE key_id = 1", "M10"},
		{"usage_daily", "a unit of charge", "UPDATE usage_daily SET charge = charge + 1 WHERE client_id = 1", "M10"},
		{"usage_daily", "a missing day", "DELETE FROM usage_daily WHERE client_id = 1", "M10"},
		{"usage_daily", "a success that failed", "UPDATE usage_daily SET success = success - 1, failed = failed + 1 WHERE client_id = 1 AND success > 0", "M10"},
		{"usage_daily", "units swapped", "UPDATE usage_daily SET units = array_prepend(0::bigint, units) WHERE client_id = 1", "M10"},
		{"usage_daily", "another day", "UPDATE usage_daily SET hour = hour + 24 WHERE client_id = 1", "M10"},
		{"usage_daily", "another client", "UPDATE usage_daily SET client_id = 99 WHERE client_id = 1", "M10"},
		{"usage_daily", "a byte more", "UPDATE usage_daily SET bytes_out = bytes_out + 1 WHERE client_id = 1", "M10"},
		{"usage_daily", "a duration in another class", "UPDATE usage_daily SET latency = array_prepend(0::bigint, latency) WHERE client_id = 1", "M10"},
		{"usage_daily", "a first token more", "UPDATE usage_daily SET first_token[1] = coalesce(first_token[1], 0) + 1 WHERE client_id = 1", "M10"},
		{"usage_total", "a unit of charge", "UPDATE usage_total SET charge = charge + 1 WHERE client_id = 1", "M10"},
		{"usage_total", "a unit of cost of a model", "UPDATE usage_total SET cost = cost + 1 WHERE client_id = 0", "M10"},
		{"usage_total", "units of a model swapped", "UPDATE usage_total SET units = array_prepend(0::bigint, units) WHERE client_id = 0", "M10"},
		{"usage_total", "a missing client", "DELETE FROM usage_total WHERE client_id = 1", "M10"},
		{"usage_total", "a missing model", "DELETE FROM usage_total WHERE client_id = 0", "M10"},
		{"usage_total", "another client", "UPDATE usage_total SET client_id = 99 WHERE client_id = 1", "M10"},
		{"usage_total", "another model", "UPDATE usage_total SET model = 'elsewhere' WHERE client_id = 0 AND model = 'small'", "M10"},
		{"usage_total", "another day", "UPDATE usage_total SET hour = hour + 24 WHERE client_id = 1", "M10"},
		{"usage_total", "a duration in another class", "UPDATE usage_total SET latency = array_prepend(0::bigint, latency) WHERE client_id = 1", "M10"},
		{"code_total", "a code more", "UPDATE code_total SET n = n + 1", "M10"},
		{"code_total", "a missing code", "DELETE FROM code_total", "M10"},
		{"attempt_hourly", "an attempt more", "UPDATE attempt_hourly SET n = n + 1", "M10"},
		{"attempt_hourly", "a missing row", "DELETE FROM attempt_hourly", "M10"},
		{"attempt_hourly", "a unit of cost", "UPDATE attempt_hourly SET cost = cost + 1", "M10"},
		{"attempt_hourly", "another route", "UPDATE attempt_hourly SET route_id = route_id + 1", "M10"},
		{"attempt_hourly", "a microsecond more", "UPDATE attempt_hourly SET micros = micros + 1", "M10"},
		{"budget", "a unit more posted", "UPDATE budget SET posted = posted + 1 WHERE key_id = 1 AND period = 0", "M11"},
		{"budget", "a unit less leased", "UPDATE budget SET leased = leased - 1 WHERE key_id = 1 AND period > 0", "M11"},
		{"budget", "a budget gone", "DELETE FROM budget WHERE key_id = 1 AND period > 0", "M11"},
		{"budget", "above the cap", "UPDATE budget SET cap = 1 WHERE key_id = 1 AND period = 0", "M11"},
		{"price", "a price changed after the fact", "UPDATE price SET rates[1] = rates[1] + 1 WHERE id = 1", "M9"},
		{"price_tier", "a tier changed after the fact", "UPDATE price_tier SET rates[1] = rates[1] + 1", "M9"},
		{"price_tier", "a tier gone", "DELETE FROM price_tier", "M9"},
		{"refusal", "a refusal of a charged request", "UPDATE refusal SET request_id = $first", "M7"},
	} {
		t.Run(m.table+" "+m.name, func(t *testing.T) {
			exec(t, b.conn, "CREATE TEMP TABLE kept AS TABLE "+m.table)
			sql := strings.NewReplacer(
				"$lease", "(SELECT min(id) FROM lease WHERE wallet_id = 1 AND open)", "$second", "(SELECT max(id) FROM lease WHERE wallet_id = 1 AND open)",
				"$first", "(SELECT request_id FROM usage WHERE wallet_id = 1 AND units[1] = 300 ORDER BY 1 LIMIT 1)",
			).Replace(m.sql)
			tag, err := b.conn.Exec(t.Context(), sql)
			if err != nil || tag.RowsAffected() == 0 {
				t.Fatalf("%s: %v, %v", sql, tag, err)
			}
			found := findings(t, b, store.AuditOptions{Deep: true})
			for want := range strings.FieldsSeq(m.lines) {
				if !slices.Contains(found, want) {
					t.Errorf("%s finds nothing; found by %v", want, found)
				}
			}
			if len(findings(t, b, store.AuditOptions{})) == 0 {
				t.Error("only a deep audit finds it, though it is in the open hour")
			}
			exec(t, b.conn, "DELETE FROM "+m.table)
			exec(t, b.conn, "INSERT INTO "+m.table+" OVERRIDING SYSTEM VALUE SELECT * FROM kept")
			exec(t, b.conn, "DROP TABLE kept")
		})
	}
	b.clean()
}

// findings are the lines that an audit finds broken.
func findings(t *testing.T, b *books, o store.AuditOptions) (found []string) {
	t.Helper()
	report, err := b.Audit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range report.Lines {
		if l.Broken > 0 {
			found = append(found, l.ID)
			if l.Checked < l.Broken || len(l.Samples) == 0 {
				t.Errorf("line %+v", l)
			}
		}
	}
	return found
}

// The report says what it looked at, in the order of the invariants.
func TestAuditLines(t *testing.T) {
	b := busyBooks(t)
	report, err := b.Audit(t.Context(), store.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, l := range report.Lines {
		ids = append(ids, l.ID)
		if l.Checked == 0 {
			t.Errorf("%s checked nothing", l.ID)
		}
	}
	want := []string{"M1", "M2", "M3", "M4", "M5", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "M14", "M15"}
	if !slices.Equal(ids, want) || !report.Clean() || report.WrittenOff == 0 || report.Leased == 0 || report.At.IsZero() {
		t.Errorf("%v, %+v", ids, report)
	}
	one, err := b.Audit(t.Context(), store.AuditOptions{WalletID: 2})
	if err != nil || !one.Clean() || one.Lines[0].Checked != 1 || one.Lines[7].Checked != 2 {
		t.Errorf("one wallet: %+v, %v", one, err)
	}
}
