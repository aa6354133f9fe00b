package store

// check is one invariant as a query of (label, d): one row per thing checked, d its
// difference, 0 where it holds.
//
// Parameters: $1, $2 wallets in ($1, $2]; $3 first request id that is re-added, $4 its
// hour, $5 its month; $6 seconds after which an expired lease should be reclaimed; $7, $8
// hours at which months begin, and their names; $9 last chained day. {in x} says that x
// is one of the wallets.
type check struct {
	id, name string
	sql      string // re-adds rows from $3 on, all of them in a deep audit
	closed   string // where not empty: instead of sql when closed hours are not re-added
}

const (
	// keysOf are the keys of the wallets; keys of nobody belong to the last ones.
	keysOf = `SELECT k.id FROM api_key k JOIN client c ON c.id = k.client_id WHERE {in c.wallet_id}`

	fresh = `month >= $5 AND request_id >= $3 AND {in wallet_id}`

	// paidByWallet is what a wallet was charged by the roll-ups.
	paidByWallet = `SELECT c.wallet_id, sum(h.charge) AS charge FROM usage_hourly h JOIN client c ON c.id = h.client_id WHERE {in c.wallet_id} GROUP BY 1`
)

var checks = []check{
	{id: "M1", name: "balance = entries - charges", sql: balances(`SELECT wallet_id, sum(charge) AS charge FROM usage WHERE {in wallet_id} GROUP BY 1`), closed: balances(paidByWallet)},
	{id: "M2", name: "leased = open leases' outstanding", sql: `
		SELECT 'wallet ' || wallet_id, coalesce(w.leased, 0) - coalesce(l.outstanding, 0)
		FROM (SELECT id AS wallet_id, leased FROM wallet WHERE {in id}) w
		FULL JOIN (SELECT wallet_id, sum(granted - settled - returned) AS outstanding FROM lease
		           WHERE open AND wallet_id IS NOT NULL AND {in wallet_id} GROUP BY 1) l USING (wallet_id)`},
	{id: "M3", name: "leased and outstanding not negative", sql: `
		SELECT 'wallet ' || id, least(leased, 0) FROM wallet WHERE {in id}
		UNION ALL
		SELECT 'lease ' || id, least(granted - settled - returned, settled, returned, 0) FROM lease WHERE {in wallet_id}`},
	{id: "M4", name: "available >= floor", sql: `
		SELECT 'wallet ' || id, least(balance - leased - floor, 0) FROM wallet WHERE {in id}`},
	{
		id: "M5", name: "settled = charges of the lease; closed leases add up",
		sql: leaseSums(`abs(coalesce(l.settled, 0) - coalesce(u.charge, 0))`),
		// A lease that is younger than what is re-added should have all its charges there;
		// where it has not, they are looked for by its wallet or key. An older one has some.
		closed: leaseSums(`CASE WHEN l.id IS NULL THEN u.charge
			WHEN l.opened_at > to_timestamp($4::bigint * 3600) AND l.settled <> coalesce(u.charge, 0) THEN abs(l.settled - CASE WHEN l.wallet_id IS NOT NULL
				THEN (SELECT coalesce(sum(x.charge), 0) FROM usage x WHERE x.wallet_id = l.wallet_id AND x.wallet_lease = l.id AND x.late & 1 = 0)
				ELSE (SELECT coalesce(sum(x.charge), 0) FROM usage x WHERE x.key_id = l.key_id
				      AND (x.month_lease = l.id AND x.late & 2 = 0 OR x.total_lease = l.id AND x.late & 4 = 0)) END)
			ELSE greatest(coalesce(u.charge, 0) - l.settled, 0) END`),
	},
	{id: "M7", name: "each request once, in the month of its id, on its owner's wallet", sql: `
		SELECT CASE WHEN n > 1 OR wrong > 0 THEN 'request ' || request_id END, n - 1 + wrong
		FROM (SELECT request_id, count(*) AS n, max((month <> month_of(request_id))::integer) AS wrong FROM usage WHERE ` + fresh + ` GROUP BY 1) x
		UNION ALL
		SELECT 'request ' || r.request_id, 1 FROM refusal r JOIN usage u ON u.month = month_of(r.request_id) AND u.request_id = r.request_id WHERE {in r.wallet_id}
		UNION ALL
		SELECT CASE WHEN c.id IS NULL OR k.id IS NULL THEN 'owner of request ' || u.request_id END, (c.id IS NULL OR k.id IS NULL)::integer
		FROM usage u LEFT JOIN client c ON c.id = u.client_id AND c.wallet_id = u.wallet_id LEFT JOIN api_key k ON k.id = u.key_id AND k.client_id = u.client_id
		WHERE u.month >= $5 AND u.request_id >= $3 AND {in u.wallet_id}`},
	{id: "M8", name: "0 <= charge <= hold", sql: `
		SELECT CASE WHEN charge NOT BETWEEN 0 AND hold THEN 'request ' || request_id END, greatest(-charge, charge - hold, 0) FROM usage WHERE ` + fresh},
	{
		id: "M10", name: "rows = roll-ups by hour, day and attempt = chained days",
		sql: `SELECT 'hour ' || hour || ' client ' || client_id || ' key ' || key_id || ' model ' || model || ' proxy ' || slot,
		       abs(coalesce(u.n, 0) - coalesce(h.n, 0)) + abs(coalesce(u.charge, 0) - coalesce(h.charge, 0)) + abs(coalesce(u.cost, 0) - coalesce(h.cost, 0))
		       + abs(coalesce(u.overrun, 0) - coalesce(h.overrun, 0)) + abs(coalesce(u.units, 0) - coalesce(h.units, 0))
		       + abs(coalesce(u.failed, 0) - coalesce(h.failed, 0))
		FROM (SELECT (ms_of(request_id) / 3600000)::integer AS hour, client_id, key_id, model, slot, count(*) AS n, sum(charge) AS charge, sum(cost) AS cost,
		             sum(overrun) AS overrun, sum((SELECT sum(v * i) FROM unnest(units) WITH ORDINALITY AS t (v, i))) AS units, sum(status) AS failed
		      FROM usage WHERE ` + fresh + ` GROUP BY 1, 2, 3, 4, 5) u
		FULL JOIN (SELECT hour, client_id, key_id, model, slot, success + failed + timeout + cancelled + interrupted AS n, charge, cost, overrun,
		                  (SELECT sum(v * i) FROM unnest(units) WITH ORDINALITY AS t (v, i)) AS units,
		                  success + 2 * failed + 3 * timeout + 4 * cancelled + 5 * interrupted AS failed
		           FROM usage_hourly WHERE hour >= $4 AND client_id IN (SELECT id FROM client WHERE {in wallet_id})) h
		USING (hour, client_id, key_id, model, slot)
		UNION ALL
		SELECT 'hour ' || hour || ' of client ' || client_id || ', who does not exist', greatest(charge, 1) FROM usage_hourly h
		WHERE {last} AND NOT EXISTS (SELECT FROM client c WHERE c.id = h.client_id)
		UNION ALL
		SELECT 'closed days of wallet ' || wallet_id, coalesce(d.charge, 0) - coalesce(h.charge, 0) + coalesce(a.charge, 0)
		FROM (SELECT wallet_id, sum(charge) AS charge FROM wallet_day WHERE {in wallet_id} GROUP BY 1) d
		FULL JOIN (SELECT c.wallet_id, sum(h.charge) AS charge FROM usage_hourly h JOIN client c ON c.id = h.client_id
		           WHERE {in c.wallet_id} AND h.hour < ($9 + 1) * 24 GROUP BY 1) h USING (wallet_id)
		FULL JOIN (SELECT a.wallet_id, sum(u.charge) AS charge FROM usage_after a JOIN usage u ON u.month = month_of(a.request_id) AND u.request_id = a.request_id
		           WHERE a.day > $9 AND u.request_id < id_at(($9 + 1)::bigint * 86400000) AND {in a.wallet_id} GROUP BY 1) a USING (wallet_id)
		WHERE $9 > 0` + rolledUp,
	},
	{
		id: "M11", name: "key budgets = charges; within the cap",
		sql: budgets(`SELECT key_id, p.period, sum(charge) AS charge FROM usage, LATERAL (VALUES (month), (0)) AS p (period)
		           WHERE charge > 0 AND {in wallet_id} GROUP BY 1, 2`),
		closed: budgets(`SELECT key_id, p.period, sum(charge) AS charge
		           FROM (SELECT key_id, ($8::integer[])[width_bucket(hour, $7::integer[])] AS month, charge FROM usage_hourly
		                 WHERE charge > 0 AND client_id IN (SELECT id FROM client WHERE {in wallet_id})) h,
		           LATERAL (VALUES (month), (0)) AS p (period) GROUP BY 1, 2`),
	},
	{id: "M12", name: "double entry: every account, all add up to 0", sql: `
		SELECT 'entry ' || e.id, CASE WHEN u.request_id IS NULL THEN e.amount ELSE greatest(e.amount - u.charge, 0) END
		FROM entry e LEFT JOIN usage u ON u.request_id = e.request_id AND u.month = month_of(e.request_id) AND u.wallet_id = e.wallet_id AND u.late & 1 = 1
		WHERE e.kind = 'bad_debt' AND {in e.wallet_id}
		UNION ALL
		SELECT 'entry ' || id, least(amount, 0) FROM entry WHERE kind <> 'correction' AND {in wallet_id}
		UNION ALL
		SELECT 'voucher ' || v.id, v.amount - coalesce(e.amount, 0) FROM voucher v
		LEFT JOIN entry e ON e.id = v.entry_id AND e.wallet_id = v.wallet_id AND e.kind = 'recharge' AND e.ref = 'voucher:' || v.id
		WHERE v.redeemed_at IS NOT NULL AND {in v.wallet_id}`},
	{id: "M13", name: "append-only; every closed day in its wallet's chain", sql: chainLinks + `
		UNION ALL
		SELECT 'day ' || to_char('1970-01-01'::date + coalesce(d.day, w.day), 'YYYY-MM-DD') || ' of wallet ' || coalesce(d.wallet_id, w.wallet_id),
		       CASE WHEN d.day IS NULL OR w.day IS NULL OR w.head IS DISTINCT FROM chain_head(w.prev, d.day, d.lines)
		                 OR w.calls <> d.calls OR w.entries <> d.entries OR w.charge <> d.charge OR w.credit <> d.credit THEN 1 ELSE 0 END
		FROM (SELECT * FROM chain_days($1, $2, 0, $9) WHERE $9 > 0) d
		FULL JOIN (SELECT * FROM wallet_day WHERE {in wallet_id}) w ON w.wallet_id = d.wallet_id AND w.day = d.day`, closed: chainLinks},
	{id: "M14", name: "no open lease past its reclaim, or of a proxy that is gone", sql: `
		SELECT 'lease ' || l.id, CASE WHEN l.expires_at + make_interval(secs => $6::bigint) < now() OR s.state = 'lost' THEN greatest(l.granted - l.settled - l.returned, 1) ELSE 0 END
		FROM lease l JOIN proxy_slot s ON s.id = l.slot WHERE l.open AND {in l.wallet_id}
		UNION ALL
		SELECT 'lease ' || l.id, CASE WHEN l.expires_at + make_interval(secs => $6::bigint) < now() OR s.state = 'lost' THEN greatest(l.granted - l.settled - l.returned, 1) ELSE 0 END
		FROM lease l JOIN proxy_slot s ON s.id = l.slot WHERE l.open AND l.wallet_id IS NULL AND {last}`},
}

// figures are the sums of a roll-up, unitSums the counts of its units as one number, weighted
// so that none can take another's place, and those of its durations likewise.
const (
	figures = `sum(success) AS success, sum(failed) AS failed, sum(timeout) AS timeout, sum(cancelled) AS cancelled, sum(interrupted) AS interrupted,
		sum(charge) AS charge, sum(cost) AS cost, sum(overrun) AS overrun, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out`
	unitSums = `, sum((SELECT sum(v * i) FROM unnest(units) WITH ORDINALITY AS t (v, i))) AS units,
		sum((SELECT sum(v * i) FROM unnest(latency) WITH ORDINALITY AS t (v, i))) AS latency, sum((SELECT sum(v * i) FROM unnest(first_token) WITH ORDINALITY AS t (v, i))) AS first_token`
)

// apart is how far the figures of d and h are from each other, unitsApart their units.
const (
	apart = `abs(coalesce(d.success, 0) - coalesce(h.success, 0)) + abs(coalesce(d.failed, 0) - coalesce(h.failed, 0)) + abs(coalesce(d.timeout, 0) - coalesce(h.timeout, 0))
		+ abs(coalesce(d.cancelled, 0) - coalesce(h.cancelled, 0)) + abs(coalesce(d.interrupted, 0) - coalesce(h.interrupted, 0))
		+ abs(coalesce(d.charge, 0) - coalesce(h.charge, 0)) + abs(coalesce(d.cost, 0) - coalesce(h.cost, 0)) + abs(coalesce(d.overrun, 0) - coalesce(h.overrun, 0))
		+ abs(coalesce(d.bytes_in, 0) - coalesce(h.bytes_in, 0)) + abs(coalesce(d.bytes_out, 0) - coalesce(h.bytes_out, 0))`
	unitsApart = ` + abs(coalesce(d.units, 0) - coalesce(h.units, 0)) + abs(coalesce(d.latency, 0) - coalesce(h.latency, 0)) + abs(coalesce(d.first_token, 0) - coalesce(h.first_token, 0))`
)

// rolledUp holds the roll-ups that nothing else is derived from to those that are proved:
// days to hours, one by one from the first row that is re-added (--deep: all), all of a
// client together before, where units would cost more than all the rest; totals to days in
// the same way; attempts, which are of no wallet, to the rows.
const rolledUp = `
		UNION ALL
		SELECT 'day ' || to_char('1970-01-01'::date + day, 'YYYY-MM-DD') || ' client ' || client_id || ' model ' || model || ' proxy ' || slot, ` + apart + unitsApart + `
		FROM (SELECT hour / 24 AS day, client_id, model, slot, ` + figures + unitSums + ` FROM usage_daily
		      WHERE hour >= $4 / 24 * 24 AND client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1, 2, 3, 4) d
		FULL JOIN (SELECT hour / 24 AS day, client_id, model, slot, ` + figures + unitSums + ` FROM usage_hourly
		           WHERE hour >= $4 / 24 * 24 AND client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1, 2, 3, 4) h USING (day, client_id, model, slot)
		UNION ALL
		SELECT 'days of client ' || client_id, ` + apart + `
		FROM (SELECT client_id, ` + figures + ` FROM usage_daily WHERE client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1) d
		FULL JOIN (SELECT client_id, ` + figures + ` FROM usage_hourly WHERE client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1) h USING (client_id)
		UNION ALL
		SELECT 'day of client ' || client_id || ', who does not exist', greatest(charge, 1) FROM usage_daily d
		WHERE {last} AND NOT EXISTS (SELECT FROM client c WHERE c.id = d.client_id)
		UNION ALL
		SELECT 'total of client ' || client_id || ', who does not exist', greatest(charge, 1) FROM usage_total d
		WHERE {last} AND client_id <> 0 AND NOT EXISTS (SELECT FROM client c WHERE c.id = d.client_id)
		UNION ALL
		SELECT 'total of day ' || to_char('1970-01-01'::date + day, 'YYYY-MM-DD') || ' client ' || client_id || ' proxy ' || slot, ` + apart + unitsApart + `
		FROM (SELECT hour / 24 AS day, client_id, slot, ` + figures + unitSums + ` FROM usage_total
		      WHERE hour >= $4 / 24 * 24 AND client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1, 2, 3) d
		FULL JOIN (SELECT hour / 24 AS day, client_id, slot, ` + figures + unitSums + ` FROM usage_daily
		           WHERE hour >= $4 / 24 * 24 AND client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1, 2, 3) h USING (day, client_id, slot)
		UNION ALL
		SELECT 'totals of client ' || client_id, ` + apart + `
		FROM (SELECT client_id, ` + figures + ` FROM usage_total WHERE client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1) d
		FULL JOIN (SELECT client_id, ` + figures + ` FROM usage_daily WHERE client_id IN (SELECT id FROM client WHERE {in wallet_id}) GROUP BY 1) h USING (client_id)
		UNION ALL
		SELECT 'total of day ' || to_char('1970-01-01'::date + day, 'YYYY-MM-DD') || ' model ' || model || ' proxy ' || slot, ` + apart + unitsApart + `
		FROM (SELECT hour / 24 AS day, model, slot, ` + figures + unitSums + ` FROM usage_total WHERE {last} AND hour >= $4 / 24 * 24 AND client_id = 0 GROUP BY 1, 2, 3) d
		FULL JOIN (SELECT hour / 24 AS day, model, slot, ` + figures + unitSums + ` FROM usage_daily WHERE {last} AND hour >= $4 / 24 * 24 GROUP BY 1, 2, 3) h USING (day, model, slot)
		UNION ALL
		SELECT 'totals of model ' || model, ` + apart + `
		FROM (SELECT model, ` + figures + ` FROM usage_total WHERE {last} AND client_id = 0 GROUP BY 1) d
		FULL JOIN (SELECT model, ` + figures + ` FROM usage_daily WHERE {last} GROUP BY 1) h USING (model)
		UNION ALL
		SELECT 'codes of day ' || to_char('1970-01-01'::date + hour / 24, 'YYYY-MM-DD') || ' proxy ' || slot || ' code ' || code, abs(coalesce(d.n, 0) - coalesce(h.n, 0))
		FROM (SELECT hour, slot, code, n FROM code_total WHERE {last} AND hour >= $4 / 24 * 24) d
		FULL JOIN (SELECT hour / 24 * 24 AS hour, slot, code, sum(n) AS n FROM code_hourly WHERE {last} AND hour >= $4 / 24 * 24 GROUP BY 1, 2, 3) h USING (hour, slot, code)
		UNION ALL
		SELECT 'attempts of hour ' || hour || ' proxy ' || slot || ' route ' || route_id || ' key ' || provider_key_id || ' outcome ' || outcome || ' status ' || http_status,
		       abs(coalesce(h.n, 0) - coalesce(u.n, 0)) + abs(coalesce(h.micros, 0) - coalesce(u.micros, 0)) + abs(coalesce(h.cost, 0) - coalesce(u.cost, 0))
		FROM (SELECT * FROM attempt_sums($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff') WHERE {last}) u
		FULL JOIN (SELECT * FROM attempt_hourly WHERE hour >= $4 AND {last}) h USING (hour, slot, route_id, provider_key_id, outcome, http_status)`

func balances(paid string) string {
	return `SELECT 'wallet ' || wallet_id, coalesce(w.balance, 0) - coalesce(e.amount, 0) + coalesce(u.charge, 0)
		FROM (SELECT id AS wallet_id, balance FROM wallet WHERE {in id}) w
		FULL JOIN (SELECT wallet_id, sum(amount) AS amount FROM entry WHERE {in wallet_id} GROUP BY 1) e USING (wallet_id)
		FULL JOIN (` + paid + `) u USING (wallet_id)`
}

func leaseSums(difference string) string {
	return `SELECT 'lease ' || id, ` + difference + ` + CASE WHEN l.open THEN 0 ELSE abs(coalesce(l.granted - l.settled - l.returned, 0)) END
		FROM (SELECT * FROM lease WHERE {in wallet_id}
		      UNION ALL SELECT * FROM lease WHERE wallet_id IS NULL AND key_id IN (` + keysOf + `)
		      UNION ALL SELECT * FROM lease l WHERE wallet_id IS NULL AND {last} AND NOT EXISTS (SELECT FROM api_key k WHERE k.id = l.key_id)) l
		FULL JOIN (SELECT id, sum(charge) AS charge FROM (
			SELECT wallet_lease AS id, charge FROM usage WHERE late & 1 = 0 AND charge > 0 AND ` + fresh + `
			UNION ALL SELECT month_lease, charge FROM usage WHERE month_lease <> 0 AND late & 2 = 0 AND charge > 0 AND ` + fresh + `
			UNION ALL SELECT total_lease, charge FROM usage WHERE total_lease <> 0 AND late & 4 = 0 AND charge > 0 AND ` + fresh + `) x
			GROUP BY 1) u USING (id)`
}

func budgets(paid string) string {
	return `SELECT 'key ' || key_id || ' period ' || period,
		       abs(coalesce(b.posted, 0) - coalesce(u.charge, 0)) + abs(coalesce(b.leased, 0) - coalesce(l.outstanding, 0))
		       + abs(coalesce(b.over - CASE WHEN b.cap IS NULL THEN 0 ELSE greatest(b.posted + b.leased - b.cap, 0) END, 0))
		FROM (SELECT * FROM budget WHERE key_id IN (` + keysOf + `)
		      UNION ALL SELECT * FROM budget b WHERE {last} AND NOT EXISTS (SELECT FROM api_key k WHERE k.id = b.key_id)) b
		FULL JOIN (` + paid + `) u USING (key_id, period)
		FULL JOIN (SELECT key_id, period, sum(granted - settled - returned) AS outstanding FROM lease
		           WHERE open AND key_id IS NOT NULL AND key_id IN (` + keysOf + `) GROUP BY 1, 2) l USING (key_id, period)`
}

// chainLinks checks what can be checked of the chain without reading usage: each link
// names the one before, the tables refuse changes, and no closed day waits to be chained.
const chainLinks = `
	SELECT 'link ' || to_char('1970-01-01'::date + day, 'YYYY-MM-DD') || ' of wallet ' || wallet_id, (prev IS DISTINCT FROM before)::integer
	FROM (SELECT wallet_id, day, prev, lag(head) OVER (PARTITION BY wallet_id ORDER BY day) AS before FROM wallet_day WHERE {in wallet_id}) w
	UNION ALL
	SELECT 'table ' || t.name || ' is not append-only', (NOT EXISTS (SELECT FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
		WHERE g.tgrelid = t.name::regclass AND f.proname = 'append_only' AND g.tgenabled IN ('O', 'A') AND g.tgtype & 27 = 27))::integer
	FROM (SELECT unnest(ARRAY['usage', 'entry', 'audit_log', 'audit_value', 'wallet_day', 'usage_after', 'price', 'price_tier']) AS name
	      UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass) t WHERE {last}
	UNION ALL
	SELECT 'table usage does not note late rows', (NOT EXISTS (SELECT FROM pg_trigger g
		WHERE g.tgrelid = 'usage'::regclass AND g.tgname = 'usage_after' AND g.tgenabled IN ('O', 'A')))::integer WHERE {last}
	UNION ALL
	SELECT 'day ' || to_char('1970-01-01'::date + day, 'YYYY-MM-DD') || ' is closed but not chained', 1 FROM day_close
	WHERE built_at IS NULL AND closed_at < now() - interval '2 hours' AND {last}`
