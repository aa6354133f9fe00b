package store

import (
	"context"
	"fmt"
	"math/big"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// check is one invariant as a query of (label, d): one row per thing checked, d its
// difference, 0 where it holds. $1 is a wallet, 0 for all.
type check struct{ id, name, sql string }

var checks = []check{
	{"M1", "balance = entries - charges", `
		SELECT 'wallet ' || wallet_id, coalesce(w.balance, 0) - coalesce(e.amount, 0) + coalesce(u.charge, 0)
		FROM (SELECT id AS wallet_id, balance FROM wallet WHERE $1 IN (0, id)) w
		FULL JOIN (SELECT wallet_id, sum(amount) AS amount FROM entry WHERE $1 IN (0, wallet_id) GROUP BY 1) e USING (wallet_id)
		FULL JOIN (SELECT wallet_id, sum(charge) AS charge FROM usage WHERE $1 IN (0, wallet_id) GROUP BY 1) u USING (wallet_id)`},
	{"M2", "leased = open leases' outstanding", `
		SELECT 'wallet ' || wallet_id, coalesce(w.leased, 0) - coalesce(l.outstanding, 0)
		FROM (SELECT id AS wallet_id, leased FROM wallet WHERE $1 IN (0, id)) w
		FULL JOIN (SELECT wallet_id, sum(granted - settled - returned) AS outstanding FROM lease
		           WHERE open AND wallet_id IS NOT NULL AND $1 IN (0, wallet_id) GROUP BY 1) l USING (wallet_id)`},
	{"M3", "leased and outstanding not negative", `
		SELECT 'wallet ' || id, least(leased, 0) FROM wallet WHERE $1 IN (0, id)
		UNION ALL
		SELECT 'lease ' || id, least(granted - settled - returned, settled, returned, 0) FROM lease WHERE $1 IN (0, wallet_id)`},
	{"M4", "available >= floor", `
		SELECT 'wallet ' || id, least(balance - leased - floor, 0) FROM wallet WHERE $1 IN (0, id)`},
	{"M5", "settled = charges of the lease; closed leases add up", `
		SELECT 'lease ' || id, abs(coalesce(l.settled, 0) - coalesce(u.charge, 0)) + CASE WHEN l.open THEN 0 ELSE abs(coalesce(l.granted - l.settled - l.returned, 0)) END
		FROM (SELECT * FROM lease WHERE $1 = 0 OR wallet_id = $1 OR key_id IN (SELECT k.id FROM api_key k JOIN client c ON c.id = k.client_id WHERE c.wallet_id = $1)) l
		FULL JOIN (SELECT id, sum(charge) AS charge FROM (
			SELECT wallet_lease AS id, charge FROM usage WHERE late & 1 = 0 AND charge > 0 AND $1 IN (0, wallet_id)
			UNION ALL SELECT month_lease, charge FROM usage WHERE month_lease <> 0 AND late & 2 = 0 AND charge > 0 AND $1 IN (0, wallet_id)
			UNION ALL SELECT total_lease, charge FROM usage WHERE total_lease <> 0 AND late & 4 = 0 AND charge > 0 AND $1 IN (0, wallet_id)) x
			GROUP BY 1) u USING (id)`},
	{"M7", "each request once, in the month of its id", `
		SELECT CASE WHEN n > 1 OR month <> month_of(request_id) THEN 'request ' || request_id END, n - 1 + (month <> month_of(request_id))::integer
		FROM (SELECT request_id, count(*) AS n, min(month) AS month FROM (
			SELECT request_id, month FROM usage WHERE $1 IN (0, wallet_id)
			UNION ALL SELECT request_id, month_of(request_id) FROM refusal WHERE $1 IN (0, wallet_id)) x GROUP BY 1) y`},
	{"M8", "0 <= charge <= hold", `
		SELECT CASE WHEN charge NOT BETWEEN 0 AND hold THEN 'request ' || request_id END, greatest(-charge, charge - hold, 0) FROM usage WHERE $1 IN (0, wallet_id)`},
	{"M10", "rows = hourly roll-ups", `
		SELECT 'hour ' || hour || ' client ' || client_id || ' key ' || key_id || ' model ' || model || ' proxy ' || slot,
		       abs(coalesce(u.n, 0) - coalesce(h.n, 0)) + abs(coalesce(u.charge, 0) - coalesce(h.charge, 0)) + abs(coalesce(u.cost, 0) - coalesce(h.cost, 0))
		       + abs(coalesce(u.overrun, 0) - coalesce(h.overrun, 0)) + abs(coalesce(u.units, 0) - coalesce(h.units, 0))
		       + abs(coalesce(u.failed, 0) - coalesce(h.failed, 0))
		FROM (SELECT (ms_of(request_id) / 3600000)::integer AS hour, client_id, key_id, model, slot, count(*) AS n, sum(charge) AS charge, sum(cost) AS cost,
		             sum(overrun) AS overrun, sum((SELECT sum(v * i) FROM unnest(units) WITH ORDINALITY AS t (v, i))) AS units, sum(status) AS failed
		      FROM usage WHERE $1 IN (0, wallet_id) GROUP BY 1, 2, 3, 4, 5) u
		FULL JOIN (SELECT hour, client_id, key_id, model, slot, success + failed + timeout + cancelled + interrupted AS n, charge, cost, overrun,
		                  (SELECT sum(v * i) FROM unnest(units) WITH ORDINALITY AS t (v, i)) AS units,
		                  success + 2 * failed + 3 * timeout + 4 * cancelled + 5 * interrupted AS failed
		           FROM usage_hourly WHERE $1 = 0 OR client_id IN (SELECT id FROM client WHERE wallet_id = $1)) h
		USING (hour, client_id, key_id, model, slot)`},
	{"M11", "key budgets = charges; within the cap", `
		SELECT 'key ' || key_id || ' period ' || period,
		       abs(coalesce(b.posted, 0) - coalesce(u.charge, 0)) + abs(coalesce(b.leased, 0) - coalesce(l.outstanding, 0))
		       + abs(coalesce(b.over - CASE WHEN b.cap IS NULL THEN 0 ELSE greatest(b.posted + b.leased - b.cap, 0) END, 0))
		FROM (SELECT * FROM budget WHERE $1 = 0 OR key_id IN (SELECT k.id FROM api_key k JOIN client c ON c.id = k.client_id WHERE c.wallet_id = $1)) b
		FULL JOIN (SELECT key_id, p.period, sum(charge) AS charge FROM usage, LATERAL (VALUES (month), (0)) AS p (period)
		           WHERE charge > 0 AND $1 IN (0, wallet_id) GROUP BY 1, 2) u USING (key_id, period)
		FULL JOIN (SELECT key_id, period, sum(granted - settled - returned) AS outstanding FROM lease
		           WHERE open AND key_id IS NOT NULL AND ($1 = 0 OR key_id IN (SELECT k.id FROM api_key k JOIN client c ON c.id = k.client_id WHERE c.wallet_id = $1))
		           GROUP BY 1, 2) l USING (key_id, period)`},
	{"M12", "double entry: all accounts add up to 0; bad debt has its late charge", `
		SELECT 'all accounts', (SELECT coalesce(sum(balance), 0) FROM wallet) + (SELECT coalesce(sum(charge), 0) FROM usage) - (SELECT coalesce(sum(amount), 0) FROM entry)
		WHERE $1 = 0
		UNION ALL
		SELECT 'entry ' || e.id, CASE WHEN u.request_id IS NULL THEN e.amount ELSE greatest(e.amount - u.charge, 0) END
		FROM entry e LEFT JOIN usage u ON u.request_id = e.request_id AND u.month = month_of(e.request_id) AND u.wallet_id = e.wallet_id AND u.late & 1 = 1
		WHERE e.kind = 'bad_debt' AND $1 IN (0, e.wallet_id)
		UNION ALL
		SELECT 'entry ' || id, least(amount, 0) FROM entry WHERE kind <> 'correction' AND $1 IN (0, wallet_id)`},
	{"M14", "no open lease past its reclaim, or of a proxy that is gone", `
		SELECT 'lease ' || l.id, CASE WHEN l.expires_at + make_interval(secs => $2::bigint) < now() OR s.state = 'lost' THEN greatest(l.granted - l.settled - l.returned, 1) ELSE 0 END
		FROM lease l JOIN proxy_slot s ON s.id = l.slot WHERE l.open AND $1 IN (0, l.wallet_id)`},
}

// reclaimGrace is how long after T_reclaim the job may take to run.
const reclaimGrace = 10 * 60

// Audit re-derives the books in one snapshot, read-only, without row locks. It may take
// as long as ctx: it reads every usage row. Options.Timeout does not apply.
func (d *DB) Audit(ctx context.Context, o AuditOptions) (*AuditReport, error) {
	report := &AuditReport{}
	err := d.snapshot(ctx, func(tx pgx.Tx, q *db.Queries) error {
		// Compiling the queries costs more than it saves; one hash per request fits memory.
		for _, set := range []string{"statement_timeout = 0", "jit = off", "work_mem = '128MB'"} {
			if _, err := tx.Exec(ctx, "SET LOCAL "+set); err != nil {
				return err
			}
		}
		var err error
		if report.Revision, err = q.Revision(ctx); err != nil {
			return err
		}
		if report.At, err = q.Now(ctx); err != nil {
			return err
		}
		for _, c := range checks {
			line, err := runCheck(ctx, tx, c, o.WalletID, int64((d.maxRequest+ReclaimLag).Seconds())+reclaimGrace)
			if err != nil {
				return fmt.Errorf("%s: %w", c.id, err)
			}
			if c.id == "M10" { // in the order of the numbers
				m9, err := checkCharges(ctx, tx, q, o)
				if err != nil {
					return fmt.Errorf("M9: %w", err)
				}
				report.Lines = append(report.Lines, m9)
			}
			report.Lines = append(report.Lines, line)
		}
		return tx.QueryRow(ctx, `SELECT
			(SELECT coalesce(sum(leased), 0)::bigint FROM wallet WHERE $1::bigint IN (0, id)),
			(SELECT coalesce(sum(amount), 0)::bigint FROM entry WHERE kind = 'bad_debt' AND $1::bigint IN (0, wallet_id))
			+ (SELECT coalesce(sum(overrun), 0)::bigint FROM usage WHERE $1::bigint IN (0, wallet_id)),
			(SELECT count(*) FROM usage WHERE status = $2 AND $1::bigint IN (0, wallet_id)),
			(SELECT count(*) FROM settle_reject)`, o.WalletID, int16(usage.Interrupted)).
			Scan((*int64)(&report.Leased), (*int64)(&report.WrittenOff), &report.Interrupted, &report.RejectedN)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot audit the books: %w", err)
	}
	return report, nil
}

// maxSamples is how many broken things a line names.
const maxSamples = 5

func runCheck(ctx context.Context, tx pgx.Tx, c check, wallet, lag int64) (AuditLine, error) {
	line := AuditLine{ID: c.id, Name: c.name}
	var worst string
	// The parameters are spelled out with their types: one of them is not used everywhere.
	sql := fmt.Sprintf(`WITH parameter AS (SELECT $1::bigint, $2::bigint), x (label, d) AS (%s)
		SELECT count(*), count(*) FILTER (WHERE d <> 0), coalesce(max(abs(d)), 0)::text,
		coalesce((array_agg(label || ' differs by ' || d ORDER BY abs(d) DESC, label) FILTER (WHERE d <> 0))[1:%d], '{}') FROM x`, c.sql, maxSamples)
	err := tx.QueryRow(ctx, sql, wallet, lag).Scan(&line.Checked, &line.Broken, &worst, &line.Samples)
	if err != nil {
		return line, err
	}
	line.Worst = saturated(worst)
	return line, nil
}

// saturated reads an integer of any size.
func saturated(text string) money.Amount {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || !n.IsInt64() {
		return money.Amount(1<<63 - 1)
	}
	return money.Amount(n.Int64())
}

// checkCharges recomputes every charge from the stored price row and multipliers
// (M9). What the hold did not cover is the house's: charge + overrun is the price.
func checkCharges(ctx context.Context, tx pgx.Tx, q *db.Queries, o AuditOptions) (AuditLine, error) {
	line := AuditLine{ID: "M9", Name: "charge + overrun = price of the units, bit for bit"}
	all, err := q.AllPrices(ctx)
	if err != nil {
		return line, err
	}
	rows, err := priceRows(ctx, q, all)
	if err != nil {
		return line, err
	}
	models, err := q.AllModels(ctx)
	if err != nil {
		return line, err
	}
	names := map[int64]string{}
	for _, m := range models {
		names[m.ID] = m.PublicID
	}
	prices := make(map[int64]*PriceRow, len(rows))
	for i := range rows {
		prices[rows[i].Version.ID] = &rows[i]
	}
	since := int32(0)
	if !o.Since.IsZero() {
		since = reqid.MonthOf(o.Since.UnixMilli())
	}
	scan, err := tx.Query(ctx, `SELECT request_id, model, source, units, charge, overrun, price_id, model_ppm, group_ppm, client_ppm
		FROM usage WHERE month >= $1 AND $2::bigint IN (0, wallet_id)`, since, o.WalletID)
	if err != nil {
		return line, err
	}
	var id [16]byte
	var model string
	var source int16
	var units []int64
	var charge, overrun, priceID int64
	rule := price.Rule{}
	_, err = pgx.ForEachRow(scan, []any{&id, &model, &source, &units, &charge, &overrun, &priceID, &rule.ModelPPM, &rule.GroupPPM, &rule.ClientPPM}, func() error {
		line.Checked++
		var u usage.Units
		copy(u[:], units)
		var want money.Amount
		fault := ""
		if p := prices[priceID]; usage.Source(source) == usage.SourceNone || u.IsZero() && charge == 0 {
			want = 0 // nothing was consumed: no price is needed
		} else if p == nil || names[p.ModelID] != model {
			fault = fmt.Sprintf("price %d is not one of model %s", priceID, model)
		} else {
			rule.Version = &p.Version
			var err error
			if want, err = rule.Charge(&u); err != nil {
				fault = err.Error()
			}
		}
		diff := money.Amount(charge+overrun) - want
		if fault == "" && diff == 0 {
			return nil
		}
		line.Broken++
		line.Worst = max(line.Worst, diff, -diff)
		if len(line.Samples) < maxSamples {
			if fault == "" {
				fault = "differs by " + diff.String() + " USD"
			}
			line.Samples = append(line.Samples, "request "+reqid.ID(id).String()+": "+fault)
		}
		return nil
	})
	return line, err
}
