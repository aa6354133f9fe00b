package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
)

// bigRows is how many usage rows the test makes: ROWS, by default 200,000. With ROWS set
// it is the measurement of make test-big, and its limit holds.
func bigRows(t *testing.T) (rows int, measure bool) {
	text := os.Getenv("ROWS")
	if text == "" {
		return 200_000, false
	}
	rows, err := strconv.Atoi(text)
	if err != nil || rows < 1000 {
		t.Fatalf("ROWS=%q is no number of rows", text)
	}
	return rows, true
}

const (
	bigClients = 100 // the first has a third of all calls
	bigKeys    = 4   // of each
	bigDays    = 75  // that the calls are spread over
)

// fill makes rows of usage in partitions, with the roll-ups, wallets and leases that belong
// to them. It is what SettleBatch would have left, without its time.
func (w *world) fill(rows int) *tenant {
	w.t.Helper()
	begin := time.Now()
	exec := func(sql string, args ...any) {
		w.t.Helper()
		storetest.Exec(w.t, w.url, sql, args...)
	}
	first := w.tenant("Big", "", 0)
	for i := range bigClients - 1 {
		exec("WITH w AS (INSERT INTO wallet DEFAULT VALUES RETURNING id) INSERT INTO client (name, group_id, wallet_id) SELECT $1, $2, id FROM w", fmt.Sprintf("Customer %d", i), first.GroupID)
	}
	exec(`INSERT INTO api_key (client_id, public_id, digest, last4, name) SELECT c.id, 'big' || c.id || 'k' || n, sha256(('big' || c.id || 'k' || n)::bytea), 'abcd', 'key ' || n
		FROM client c, generate_series(1, $1::integer) AS n WHERE c.id <> $2 OR n < $1`, bigKeys, first.ID)
	to := time.Now().Add(-time.Minute).UnixMilli()
	from := to - bigDays*86_400_000
	for m := from; m < to+20*86_400_000; m += 20 * 86_400_000 {
		exec(fmt.Sprintf("CREATE TABLE IF NOT EXISTS usage_%[1]s PARTITION OF usage FOR VALUES IN (%[1]s)", time.UnixMilli(m).UTC().Format("200601")))
	}
	catalogue := must(w.report.Catalogue(w.t.Context()))
	priceID := catalogue.Find("alpha").Prices[0].ID
	route := must(w.db.LoadCatalog(w.t.Context())).Routes[0].ID
	// A call of kind k: 100·k in, 10·k out at 2 and 10 USD a million: 300·k µUSD.
	const batch = 500_000
	for at := 0; at < rows; at += batch {
		exec(`SET session_replication_role = replica; SET synchronous_commit = off;
			INSERT INTO usage SELECT to_char(to_timestamp(ms / 1000) AT TIME ZONE 'UTC', 'YYYYMM')::integer,
				(lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(g), 19, '0'))::uuid, ` + strconv.Itoa(int(w.slot.ID)) + `, c.id, c.wallet_id, k.id, 1, 'alpha', 'alpha', '',
				CASE WHEN g % 49 = 0 THEN 2 ELSE 1 END, CASE WHEN g % 49 = 0 THEN 502 ELSE 200 END, CASE WHEN g % 49 = 0 THEN 'upstream_error' ELSE '' END, 0, 1,
				CASE WHEN g % 49 = 0 THEN '{}'::bigint[] ELSE ARRAY[100 * kind, 0, 0, 0, 10 * kind] END, 600000 * kind,
				CASE WHEN g % 49 = 0 THEN 0 ELSE 300000 * kind END, CASE WHEN g % 49 = 0 THEN 0 ELSE 100000 * kind END, 0, ` + fmt.Sprint(priceID) + `, 0,
				1000000, 1000000, 1000000, 1000000 + c.id, 0, 0, 0, ms * 1000, CASE WHEN g % 49 = 0 THEN 0 ELSE 150000 END, ms * 1000 + 800000, 500, 900,
				ARRAY[` + fmt.Sprint(route) + `, 1, CASE WHEN g % 49 = 0 THEN 502 ELSE 200 END, CASE WHEN g % 49 = 0 THEN 4 ELSE 1 END, 0, 800000]
			FROM (SELECT g, 1 + g % 10 AS kind, ` + fmt.Sprint(from) + ` + (g::numeric * ` + fmt.Sprint(to-from) + ` / ` + fmt.Sprint(rows) + `)::bigint AS ms,
					CASE WHEN g % 3 = 0 THEN 0 ELSE g % ` + fmt.Sprint(bigClients) + ` END AS who, (g / 7) % ` + fmt.Sprint(bigKeys) + ` AS key
				FROM generate_series(` + fmt.Sprint(at) + `::bigint, ` + fmt.Sprint(min(at+batch, rows)-1) + `) AS g) x
			JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS n, id, wallet_id FROM client) c ON c.n = x.who
			JOIN (SELECT row_number() OVER (PARTITION BY client_id ORDER BY id) - 1 AS n, id, client_id FROM api_key) k ON k.client_id = c.id AND k.n = x.key`)
	}
	exec(`INSERT INTO usage_hourly SELECT (ms_of(request_id) / 3600000)::integer, client_id, key_id, model, slot,
			count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2), 0, 0, 0,
			ARRAY[coalesce(sum(units[1]), 0), 0, 0, 0, coalesce(sum(units[5]), 0)]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out),
			ARRAY[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, count(*)], ARRAY[0, 0, 0, 0, 0, 0, 0, 0, count(*) FILTER (WHERE status = 1)] FROM usage GROUP BY 1, 2, 3, 4, 5`)
	exec(`INSERT INTO code_hourly SELECT (ms_of(request_id) / 3600000)::integer, client_id, key_id, model, slot, code, count(*) FROM usage WHERE code <> '' GROUP BY 1, 2, 3, 4, 5, 6`)
	exec(`INSERT INTO usage_daily SELECT hour / 24 * 24, client_id, model, slot, sum(success), sum(failed), 0, 0, 0,
			ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), 0, sum(bytes_in), sum(bytes_out) FROM usage_hourly GROUP BY 1, 2, 3, 4`)
	exec(`INSERT INTO attempt_hourly SELECT * FROM attempt_sums('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff')`)
	exec(`INSERT INTO lease (id, wallet_id, slot, epoch, granted, settled, last_grant, open, expires_at, opened_at, closed_at)
		SELECT 1000000 + c.id, c.wallet_id, $1, 1, sum(h.charge), sum(h.charge), 1, false, now(), to_timestamp($2::bigint / 1000), now()
		FROM usage_hourly h JOIN client c ON c.id = h.client_id GROUP BY 1, 2`, w.slot.ID, from)
	exec(`INSERT INTO entry (wallet_id, kind, amount, ref, actor, created_at) SELECT c.wallet_id, 'recharge', sum(h.charge) + 1000000000, 'big ' || c.id, 'test', to_timestamp($1::bigint / 1000)
		FROM usage_hourly h JOIN client c ON c.id = h.client_id GROUP BY c.id`, from)
	exec("UPDATE wallet SET balance = 1000000000 WHERE id IN (SELECT wallet_id FROM usage GROUP BY 1)")
	exec("INSERT INTO budget (key_id, period, posted) SELECT key_id, 0, sum(charge) FROM usage_hourly GROUP BY 1")
	exec("INSERT INTO budget (key_id, period, posted) SELECT key_id, month, sum(charge) FROM usage GROUP BY 1, 2")
	exec("VACUUM ANALYZE")
	size := storetest.Value[string](w.t, w.url, "SELECT pg_size_pretty(pg_database_size(current_database()))")
	w.t.Logf("%d rows of %d customers over %d days made in %s, the database has %s", rows, bigClients, bigDays, time.Since(begin).Round(time.Second), size)
	return first
}

// D13: with ROWS usage rows every report, list and statement of customers and operators is
// quick, sums are those of the rows, and a CSV file needs the memory of a page.
func TestReportsOverManyRows(t *testing.T) {
	rows, measure := bigRows(t)
	w := newWorld(t)
	big := w.fill(rows)
	month := time.UnixMilli(time.Now().Add(-30 * 24 * time.Hour).UnixMilli()).UTC().Format("2006-01")
	last := must(w.db.Usage(t.Context(), store.UsageFilter{WalletID: big.WalletID, Limit: 1}))[0].ID
	middle := reqid.Min(time.Now().Add(-40 * 24 * time.Hour).UnixMilli())
	customerPaths := []string{
		"/openapi/v1/balance", "/openapi/v1/balance-transactions", "/openapi/v1/balance-transactions/" + last.String() + "-c", "/openapi/v1/balance/config",
		"/openapi/v1/api-keys", "/openapi/v1/models", "/openapi/v1/usage/breakdown", "/openapi/v1/billing/cost-breakdown", "/openapi/v1/billing/detail",
		"/openapi/v1/billing/detail?limit=200&cursor=" + middle.String(), "/openapi/v1/billing/detail?status=failed", "/openapi/v1/billing/detail?key_id=" + big.key.PublicID,
		"/openapi/v1/billing/monthly-statement?month=" + month, "/openapi/v1/billing/rules", "/openapi/v1/cost/overview", "/openapi/v1/cost/trend", "/openapi/v1/cost/models",
		"/openapi/v1/cost/models/alpha", "/openapi/v1/observation/metrics", "/openapi/v1/observation/charts", "/openapi/v1/observation/logs", "/openapi/v1/traces/" + last.String(),
		"/openapi/v1/events",
	}
	operatorPaths := []string{
		"/admin/v1/overview", "/admin/v1/overview?days=60", "/admin/v1/clients", "/admin/v1/clients/" + report.ClientID(big.ID), "/admin/v1/api-keys", "/admin/v1/calls",
		"/admin/v1/calls?limit=200&cursor=" + middle.String(), "/admin/v1/calls?client_id=" + report.ClientID(big.ID), "/admin/v1/calls/" + last.String(), "/admin/v1/attempts",
		"/admin/v1/attempts?failed=true", "/admin/v1/attempts?cursor=" + middle.String(), "/admin/v1/reports/providers?daily=true&by=route", "/admin/v1/reports/margin",
		"/admin/v1/reports/margin?step=all&by=client", "/admin/v1/reports/margin?by=client,model,key&limit=200", "/admin/v1/live", "/admin/v1/audit-log", "/admin/v1/events", "/admin/v1/groups",
		"/admin/v1/providers", "/admin/v1/models",
	}
	limit := 10 * time.Second // of a test that must hold on a busy machine
	if measure {
		limit = 100 * time.Millisecond
	}
	p95 := func(path, token string) {
		var took []time.Duration
		for i := range 21 {
			begin := time.Now()
			r := send(t, w.app, "GET", path, token, "")
			if r.Status != 200 {
				t.Errorf("%s: %d %s", path, r.Status, clip(r.Raw, 200))
				return
			}
			if i > 0 {
				took = append(took, time.Since(begin))
			}
			if !measure && i == 2 {
				break
			}
		}
		slices.Sort(took)
		at := took[(len(took)*95+99)/100-1]
		t.Logf("%8.1f ms  %s", float64(at.Microseconds())/1000, path)
		if at > limit {
			t.Errorf("%s: p95 %s, want at most %s", path, at, limit)
		}
	}
	for _, path := range customerPaths {
		p95(path, big.token)
	}
	for _, path := range operatorPaths {
		p95(path, operatorToken)
	}
	w.sumsAgree()
	w.csvIsFlat(big, rows, month)
}

// sumsAgree compares rows, roll-ups and reports, to the nano-dollar.
func (w *world) sumsAgree() {
	w.t.Helper()
	type sums struct{ N, Charge, Cost int64 }
	row := storetest.Rows[sums](w.t, w.url, "SELECT count(*), sum(charge)::bigint, sum(cost)::bigint FROM usage")[0]
	for what, sql := range map[string]string{
		"usage_hourly":   "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_hourly",
		"usage_daily":    "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_daily",
		"attempt_hourly": "SELECT sum(n)::bigint, (SELECT sum(charge)::bigint FROM usage), sum(cost)::bigint FROM attempt_hourly",
	} {
		if got := storetest.Rows[sums](w.t, w.url, sql)[0]; got != row {
			w.t.Errorf("%s adds up to %+v, the rows to %+v", what, got, row)
		}
	}
	var m marginReport
	w.expect(w.operate("GET", "/admin/v1/reports/margin?step=all&from="+time.Now().AddDate(0, 0, -100).UTC().Format(time.DateOnly), ""), 200, &m)
	if len(m.Items) != 1 || m.Items[0].Calls != row.N || m.Items[0].Charge != money.Amount(row.Charge) || m.Items[0].Margin != money.Amount(row.Charge-row.Cost) {
		w.t.Errorf("the report says %+v, the rows %+v", m.Items, row)
	}
}

// csvIsFlat downloads a month over a real connection and watches the memory.
func (w *world) csvIsFlat(big *tenant, rows int, month string) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.app.Listener(l) })
	defer func() { _ = w.app.Shutdown(); serving.Wait() }()
	from := must(time.Parse("2006-01", month))
	want := storetest.Value[int64](w.t, w.url, "SELECT count(*) FROM usage WHERE wallet_id = $1 AND request_id >= $2::uuid AND request_id < $3::uuid",
		big.WalletID, [16]byte(reqid.Min(from.UnixMilli())), [16]byte(reqid.Min(from.AddDate(0, 1, 0).UnixMilli())))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before, peak := heap(), uint64(0)
	req := must(http.NewRequest("GET", "http://"+l.Addr().String()+"/openapi/v1/billing/detail.csv?from="+from.Format(time.DateOnly)+"&to="+from.AddDate(0, 1, 0).Format(time.DateOnly), nil))
	req.Header.Set("Authorization", "Bearer "+big.token)
	begin := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var lines, bytes int64
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); lines++ {
		bytes += int64(len(scan.Bytes())) + 2
		if lines%5000 == 0 {
			peak = max(peak, heap())
		}
		if lines == 1 && !strings.Contains(scan.Text(), "req_") {
			w.t.Errorf("a line is %q", scan.Text())
		}
	}
	w.t.Logf("CSV: %d lines, %d MB in %s, heap from %d to at most %d MB", lines, bytes>>20, time.Since(begin).Round(time.Millisecond), before>>20, peak>>20)
	if lines-1 != want {
		w.t.Errorf("the CSV has %d lines, the month %d calls", lines-1, want)
	}
	if peak > before+96<<20 {
		w.t.Errorf("the heap grew from %d to %d MB", before>>20, peak>>20)
	}
}
