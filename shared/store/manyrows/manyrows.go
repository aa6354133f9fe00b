// Package manyrows fills a database with usage that nobody has made, to measure what reads
// it: rows in their partitions, and the roll-ups, wallets, leases and budgets that belong to
// them, as settling would have left them. It is for databases that are thrown away.
package manyrows

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/reqid"
)

const (
	// Clients is how many customers share the calls; the first has a third of them.
	Clients = 100
	// Keys of each customer; a key calls two of the models.
	Keys = 4
	// Days that the calls are spread over, the last of which is today.
	Days = 75
)

// Catalogue is what the database must have been given before, as a file of `admin apply`:
// models of one price, each with two upstreams that nobody can reach. A call of kind k
// (1 to 10) has 100·k tokens in and 10·k out and costs 300·k µUSD.
func Catalogue() string {
	text := "providers:\n" +
		"  - {name: first, protocol: openai, base_url: \"http://127.0.0.1:9/v1\", keys: [{name: main, secret: \"s-1\"}]}\n" +
		"  - {name: second, protocol: openai, base_url: \"http://127.0.0.1:9/v1\", keys: [{name: main, secret: \"s-2\"}]}\nmodels:\n"
	for _, name := range models {
		text += "  - {id: " + name + ", routes: [{provider: first, model: up}, {provider: second, model: up}], price: {input: \"2\", output: \"10\"}}\n"
	}
	return text
}

// models are those of Catalogue.
var models = []string{"alpha", "vendor/beta", "big/one", "big/two", "big/three", "big/four"}

// Options say how much is made, and beside what.
type Options struct {
	Rows   int64                            // at least 1000
	Client int64                            // the customer that has a third of all calls; it is there, with a key
	Slot   int16                            // of the proxy that is said to have served
	Models []string                         // six that have prices, nil: those of Catalogue; with others, charges are not what their prices say
	Log    func(format string, args ...any) // nil: nothing is told
}

// partition is the part of the rows that belongs to one partition: rows from first until
// last of all, between two moments.
type partition struct {
	month       int32
	first, last int64
}

// Fill makes the rows. It is what SettleBatch would have left, without its time: a partition
// is filled first and then gets its indexes and becomes part of the table. A partition of
// the days that are filled loses what it had.
func Fill(ctx context.Context, url string, o Options) error {
	if o.Rows < 1000 {
		return fmt.Errorf("manyrows: %d rows are too few, at least 1000", o.Rows)
	}
	if o.Models == nil {
		o.Models = models
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	begin := time.Now()
	f := &filling{ctx: ctx, url: url}
	f.customers(o)
	to := time.Now().Add(-time.Minute).UnixMilli()
	from := to - Days*86_400_000
	f.rows(o, from, to)
	o.Log("%d rows in %s", o.Rows, time.Since(begin).Round(time.Second))
	f.rollups(o, from)
	o.Log("roll-ups after %s", time.Since(begin).Round(time.Second))
	f.exec("VACUUM ANALYZE")
	o.Log("%d rows of %d customers over %d days made in %s", o.Rows, Clients, Days, time.Since(begin).Round(time.Second))
	return f.failed()
}

// filling runs statements until one fails; after that it does nothing.
type filling struct {
	ctx context.Context
	url string
	mu  sync.Mutex
	err error
}

func (f *filling) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *filling) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// with calls do with a connection of its own.
func (f *filling) with(what string, do func(*pgx.Conn) error) {
	if f.failed() != nil {
		return
	}
	conn, err := pgx.Connect(f.ctx, f.url)
	if err == nil {
		err = do(conn)
		_ = conn.Close(f.ctx)
	}
	if err != nil {
		f.fail(fmt.Errorf("manyrows: %w in %.200s", err, what))
	}
}

func (f *filling) exec(sql string, args ...any) {
	f.with(sql, func(c *pgx.Conn) error { _, err := c.Exec(f.ctx, sql, args...); return err })
}

func (f *filling) text(sql string, args ...any) (s string) {
	f.with(sql, func(c *pgx.Conn) error { return c.QueryRow(f.ctx, sql, args...).Scan(&s) })
	return s
}

// customers makes the other customers, and the keys that each lacks.
func (f *filling) customers(o Options) {
	f.exec(`WITH new AS (SELECT n, nextval(pg_get_serial_sequence('wallet', 'id')) AS id FROM generate_series(1, $1::integer) AS n),
		w AS (INSERT INTO wallet (id) OVERRIDING SYSTEM VALUE SELECT id FROM new)
		INSERT INTO client (name, group_id, wallet_id) SELECT 'Customer ' || n, c.group_id, new.id FROM new, client c WHERE c.id = $2 ORDER BY n`, Clients-1, o.Client)
	f.exec(`INSERT INTO api_key (client_id, public_id, digest, last4, name) SELECT c.id, 'big' || c.id || 'k' || n, sha256(('big' || c.id || 'k' || n)::bytea), 'abcd', 'key ' || n
		FROM (SELECT id, (SELECT count(*) FROM api_key k WHERE k.client_id = client.id) AS has FROM client WHERE id >= $2) c, generate_series(1, $1::integer) AS n WHERE n <= $1 - has ORDER BY c.id, n`, Keys, o.Client)
}

// rows makes the calls between two moments, in ms.
func (f *filling) rows(o Options, from, to int64) {
	rows := o.Rows
	prices := f.text(`SELECT string_agg((SELECT p.id FROM price p JOIN model m ON m.id = p.model_id WHERE m.public_id = name ORDER BY p.effective_at DESC, p.id DESC LIMIT 1)::text, ',' ORDER BY n)
		FROM unnest($1::text[]) WITH ORDINALITY AS t (name, n)`, o.Models)
	routes := strings.Split(f.text(`SELECT string_agg(id::text, ',') FROM (SELECT r.id FROM route r JOIN model m ON m.id = r.model_id ORDER BY m.public_id = $1 DESC, r.id LIMIT 2) r`, o.Models[2]), ",")
	if f.failed() == nil && (strings.Count(prices, ",") != 5 || len(routes) < 2) {
		f.fail(fmt.Errorf("manyrows: the database has not six models with prices among %q, or no two routes", o.Models))
	}
	if f.failed() != nil {
		return
	}
	// A call of kind k: 100·k in, 10·k out at 2 and 10 USD a million: 300·k µUSD. One of 49
	// fails, one of 97 is answered by the second upstream that is asked.
	insert := strings.NewReplacer(
		"FROM_MS", fmt.Sprint(from), "SPAN_MS", fmt.Sprint(to-from), "ROWS", fmt.Sprint(rows), "SLOT", fmt.Sprint(o.Slot), "PRICES", prices,
		"CLIENTS", fmt.Sprint(Clients), "KEYS", fmt.Sprint(Keys), "MODELS", strings.Join(o.Models, ","), "ROUTE_A", routes[0], "ROUTE_B", routes[1], "FIRST", fmt.Sprint(o.Client),
	).Replace(`INSERT INTO %[1]s SELECT %[2]d, ('0' || to_hex(ms) || '7' || lpad(to_hex(g), 19, '0'))::uuid, SLOT, c.id, c.wallet_id, k.id, 1,
			m.name, m.name, '', CASE WHEN bad THEN 2 ELSE 1 END, CASE WHEN bad THEN 502 ELSE 200 END, CASE WHEN bad THEN 'upstream_error' ELSE '' END, 0, 1,
			CASE WHEN bad THEN '{}'::bigint[] ELSE ARRAY[100 * kind, 0, 0, 0, 10 * kind] END, 600000 * kind,
			CASE WHEN bad THEN 0 ELSE 300000 * kind END, CASE WHEN bad THEN 0 ELSE 100000 * kind END, 0, m.price, 0,
			1000000, 1000000, 1000000, 1000000 + c.id, 0, 0, 0, ms * 1000, CASE WHEN bad THEN 0 ELSE 150000 END, ms * 1000 + 800000, 500, 900,
			CASE WHEN bad THEN ARRAY[ROUTE_A, 1, 502, 4, 0, 800000]::bigint[] WHEN g %% 97 = 0 THEN ARRAY[ROUTE_A, 1, 0, 2, 0, 100000, ROUTE_B, 1, 200, 1, 100000, 800000]::bigint[]
				ELSE ARRAY[ROUTE_A, 1, 200, 1, 0, 800000]::bigint[] END
		FROM (SELECT g, 1 + g %% 10 AS kind, FROM_MS + g * (SPAN_MS / 1000) / ROWS * 1000 + (g * (SPAN_MS / 1000) %% ROWS) * 1000 / ROWS AS ms, g %% 49 = 0 AS bad,
				CASE WHEN g %% 3 = 0 THEN 0 ELSE g %% CLIENTS END AS who, (g / 7) %% KEYS AS key, g / 11 %% 2 AS other FROM generate_series(%[3]d::bigint, %[4]d::bigint) AS g) x
		JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS n, id, wallet_id FROM client WHERE id >= FIRST) c ON c.n = x.who
		JOIN (SELECT row_number() OVER (PARTITION BY client_id ORDER BY id) - 1 AS n, id, client_id FROM api_key) k ON k.client_id = c.id AND k.n = x.key
		JOIN (SELECT n - 1 AS n, name, price FROM unnest('{MODELS}'::text[], '{PRICES}'::bigint[]) WITH ORDINALITY AS m (name, price, n)) m ON m.n = (x.who + x.key + x.other) %% 6`)
	var months []partition
	span := (to - from) / 1000
	ms := func(g int64) int64 { return from + g*span/rows*1000 + g*span%rows*1000/rows } // as the statement has it
	for first := int64(0); first < rows; {
		day := time.UnixMilli(ms(first)).UTC()
		next := time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		n := int64(sort.Search(int(rows-first), func(n int) bool { return ms(first+int64(n)) >= next })) // at least 1
		months = append(months, partition{reqid.MonthOf(ms(first)), first, first + n - 1})
		first += n
	}
	checks := f.text("SELECT string_agg('ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid), ', ') FROM pg_constraint WHERE conrelid = 'usage'::regclass AND contype = 'c'")
	indexes := f.text(`SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), '^CREATE INDEX \S+ ON ONLY \S+', 'CREATE INDEX ON %[1]s'), '; ')
		FROM pg_index WHERE indrelid = 'usage'::regclass AND NOT indisprimary`)
	var filling sync.WaitGroup
	turns := make(chan struct{}, 2)
	for _, m := range months {
		table := fmt.Sprintf("usage_%d", m.month)
		f.exec("DROP TABLE IF EXISTS " + table)
		filling.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			// New in its transaction: a server without replicas writes no log of it.
			f.exec(fmt.Sprintf(`SET synchronous_commit = off; SET maintenance_work_mem = '512MB';
				CREATE TABLE %[1]s (LIKE usage INCLUDING STORAGE); `+insert+`;
				ALTER TABLE %[1]s ADD CONSTRAINT %[1]s_month CHECK (month = %[2]d), `+strings.ReplaceAll(checks, "%", "%%")+`, ADD PRIMARY KEY (month, request_id); `+indexes,
				table, m.month, m.first, m.last))
		})
	}
	filling.Wait()
	for _, m := range months {
		f.exec(fmt.Sprintf("ALTER TABLE usage ATTACH PARTITION usage_%[1]d FOR VALUES IN (%[1]d)", m.month))
	}
}

// rollups adds the rows up as the settling transactions would have, each roll-up from a
// smaller one where there is one.
func (f *filling) rollups(o Options, from int64) {
	f.exec(`SET synchronous_commit = off; SET work_mem = '256MB';
		CREATE TABLE sums AS SELECT (admitted_us / 3600000000)::integer AS hour, client_id, wallet_id, key_id, model, slot, status, code, attempts[1] AS route, attempts[7] AS second,
			count(*) AS n, sum(units[1])::bigint AS input, sum(units[5])::bigint AS output, sum(charge)::bigint AS charge, sum(cost)::bigint AS cost, sum(bytes_in)::bigint AS bytes_in, sum(bytes_out)::bigint AS bytes_out
		FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10; ANALYZE sums`)
	f.exec(`INSERT INTO usage_hourly SELECT hour, client_id, key_id, model, slot, coalesce(sum(n) FILTER (WHERE status = 1), 0), coalesce(sum(n) FILTER (WHERE status = 2), 0), 0, 0, 0,
			ARRAY[coalesce(sum(input), 0), 0, 0, 0, coalesce(sum(output), 0)]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out),
			ARRAY[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(n)]::bigint[], ARRAY[0, 0, 0, 0, 0, 0, 0, 0, coalesce(sum(n) FILTER (WHERE status = 1), 0)]::bigint[] FROM sums GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5`)
	f.exec(`INSERT INTO code_hourly SELECT hour, client_id, key_id, model, slot, code, sum(n) FROM sums WHERE code <> '' GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6`)
	f.exec(`INSERT INTO usage_daily (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
		SELECT hour / 24 * 24, client_id, key_id, model, slot, sum(success), sum(failed), 0, 0, 0,
			ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out),
			array_fill(0::bigint, ARRAY[10]) || sum(latency[11])::bigint, array_fill(0::bigint, ARRAY[8]) || sum(first_token[9])::bigint FROM usage_hourly GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5`)
	f.exec(`INSERT INTO usage_total SELECT hour, x.client_id, x.model, slot, sum(success), sum(failed), 0, 0, 0, ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out),
			array_fill(0::bigint, ARRAY[10]) || sum(latency[11])::bigint, array_fill(0::bigint, ARRAY[8]) || sum(first_token[9])::bigint
		FROM usage_daily d, LATERAL (VALUES (d.client_id, ''), (0, d.model)) AS x (client_id, model) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4`)
	f.exec(`INSERT INTO attempt_hourly SELECT hour, slot, route, 1, outcome, status, sum(n), sum(n * micros), sum(cost) FROM (
			SELECT hour, slot, route, CASE WHEN status = 2 THEN 4 ELSE 1 END AS outcome, CASE WHEN status = 2 THEN 502 ELSE 200 END AS status, n, 800000 AS micros, cost FROM sums WHERE second IS NULL
			UNION ALL SELECT hour, slot, route, 2, 0, n, 100000, 0 FROM sums WHERE second IS NOT NULL
			UNION ALL SELECT hour, slot, second, 1, 200, n, 700000, cost FROM sums WHERE second IS NOT NULL) a GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6`)
	f.exec(`INSERT INTO lease (id, wallet_id, slot, epoch, granted, settled, last_grant, open, expires_at, opened_at, closed_at)
		SELECT 1000000 + client_id, wallet_id, $1, 1, sum(charge), sum(charge), 1, false, now(), to_timestamp($2::bigint / 1000), now() FROM sums GROUP BY client_id, wallet_id`, o.Slot, from)
	f.exec(`INSERT INTO entry (wallet_id, kind, amount, ref, actor, created_at) SELECT wallet_id, 'recharge', sum(charge) + 1000000000, 'big ' || wallet_id, 'test', to_timestamp($1::bigint / 1000)
		FROM sums GROUP BY wallet_id`, from)
	f.exec("UPDATE wallet SET balance = balance + 1000000000 WHERE id IN (SELECT wallet_id FROM sums)")
	f.exec("INSERT INTO budget (key_id, period, posted) SELECT key_id, 0, sum(charge) FROM sums GROUP BY 1")
	f.exec("INSERT INTO budget (key_id, period, posted) SELECT key_id, to_char(to_timestamp(hour::bigint * 3600) AT TIME ZONE 'UTC', 'YYYYMM')::integer, sum(charge) FROM sums GROUP BY 1, 2")
	f.exec("DROP TABLE sums")
}
