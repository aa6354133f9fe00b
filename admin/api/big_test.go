package api

import (
	"bufio"
	"context"
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
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/embedpg"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// limitedRows is how many rows it takes for the limit of D13 to hold: less would prove little.
const limitedRows = 5_000_000

// bigRows is how many usage rows the test makes: ROWS, by default 200,000. With ROWS set
// it is the measurement of make test-big.
func bigRows(t *testing.T) (rows int64, measure bool) {
	text := os.Getenv("ROWS")
	if text == "" {
		return 200_000, false
	}
	rows, err := strconv.ParseInt(text, 10, 64)
	if err != nil || rows < 1000 {
		t.Fatalf("ROWS=%q is no number of rows", text)
	}
	return rows, true
}

// D13: with ROWS usage rows every report, list and statement of customers and operators is
// quick, sums are those of the rows, and a CSV file needs the memory of a page.
func TestReportsOverManyRows(t *testing.T) {
	rows, measure := bigRows(t)
	url := ""
	if measure {
		url = bigServer(t)
	} else {
		url = pgtest.New(t)
	}
	w := newWorldOn(t, url)
	big := w.fill(rows)
	w.reportsAreQuick(big, rows, measure)
	w.settleAtSize(big)
	w.sumsAgree()
	w.csvIsFlat(big)
}

// bigServer starts a server of its own for what does not fit beside other tests: without
// replicas, so that a table is filled without a log of it. Its memory is what a server has
// that nobody has set anything for.
func bigServer(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay-big-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user must reach it
		t.Fatal(err)
	}
	s, err := embedpg.Start(t.Context(), embedpg.Options{Dir: dir, Throwaway: true, Install: true, Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("cannot stop the server: %v", err)
		}
	})
	url := s.SocketURL("relay")
	if err := store.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

// reportsAreQuick asks for every report, list and statement, the widest times and the
// rarest filters among them.
func (w *world) reportsAreQuick(big *tenant, rows int64, measure bool) {
	t := w.t
	now := time.Now().UTC()
	month, quarter := now.AddDate(0, 0, -30).Format("2006-01"), now.AddDate(0, 0, -90).Format(time.DateOnly)
	last := must(w.db.Usage(t.Context(), store.UsageFilter{WalletID: big.WalletID, Limit: 1}))[0].ID
	middle := reqid.Min(now.AddDate(0, 0, -40).UnixMilli()).String()
	client := report.ClientID(big.ID)
	groups := []struct {
		token string
		paths []string
	}{{big.token, []string{
		"/openapi/v1/balance", "/openapi/v1/balance-transactions", "/openapi/v1/balance-transactions?kind=charge", "/openapi/v1/balance-transactions?kind=recharge",
		"/openapi/v1/balance-transactions/" + last.String() + "-r", "/openapi/v1/balance/config", "/openapi/v1/api-keys", "/openapi/v1/models",
		"/openapi/v1/usage/breakdown", "/openapi/v1/usage/breakdown?from=" + quarter, "/openapi/v1/billing/cost-breakdown", "/openapi/v1/billing/cost-breakdown?limit=200&from=" + quarter,
		"/openapi/v1/billing/detail", "/openapi/v1/billing/detail?limit=200&cursor=" + middle, "/openapi/v1/billing/detail?status=failed", "/openapi/v1/billing/detail?status=timeout",
		"/openapi/v1/billing/detail?key_id=" + big.key.PublicID, "/openapi/v1/billing/detail?model=alpha", "/openapi/v1/billing/detail?model=big/four", "/openapi/v1/billing/detail?model=unpriced",
		"/openapi/v1/billing/monthly-statement?month=" + month, "/openapi/v1/billing/rules", "/openapi/v1/cost/overview", "/openapi/v1/cost/trend", "/openapi/v1/cost/trend?from=" + quarter,
		"/openapi/v1/cost/models", "/openapi/v1/cost/models/alpha", "/openapi/v1/cost/models?from=" + quarter, "/openapi/v1/observation/metrics", "/openapi/v1/observation/metrics?from=" + quarter,
		"/openapi/v1/observation/charts", "/openapi/v1/observation/charts?interval=day&from=" + quarter, "/openapi/v1/observation/logs", "/openapi/v1/observation/logs?status=Failed",
		"/openapi/v1/observation/logs?status=Timeout", "/openapi/v1/traces/" + last.String(), "/openapi/v1/events",
	}}, {operatorToken, []string{
		"/admin/v1/overview", "/admin/v1/overview?days=60", "/admin/v1/clients", "/admin/v1/clients/" + client, "/admin/v1/api-keys", "/admin/v1/calls",
		"/admin/v1/calls?limit=200&cursor=" + middle, "/admin/v1/calls?client_id=" + client, "/admin/v1/calls?client_id=" + client + "&status=timeout", "/admin/v1/calls?status=failed",
		"/admin/v1/calls?status=timeout", "/admin/v1/calls?model=big/four", "/admin/v1/calls?model=unpriced", "/admin/v1/calls?key_id=" + big.key.PublicID, "/admin/v1/calls/" + last.String(),
		"/admin/v1/attempts", "/admin/v1/attempts?failed=true", "/admin/v1/attempts?limit=200&failed=true", "/admin/v1/attempts?outcome=timeout", "/admin/v1/attempts?outcome=cut",
		"/admin/v1/attempts?provider=second", "/admin/v1/attempts?client_id=" + client + "&failed=true", "/admin/v1/attempts?cursor=" + middle,
		"/admin/v1/reports/providers?daily=true&by=route", "/admin/v1/reports/providers?from=" + quarter, "/admin/v1/reports/margin", "/admin/v1/reports/margin?from=" + quarter,
		"/admin/v1/reports/margin?step=all&by=client", "/admin/v1/reports/margin?step=all&by=client,model,key&limit=200", "/admin/v1/reports/margin?by=client,model,key&limit=200",
		"/admin/v1/reports/margin?step=hour&by=client,model,key&limit=200", "/admin/v1/reports/margin?client_id=" + client, "/admin/v1/reports/margin?model=alpha", "/admin/v1/live",
		"/admin/v1/audit-log", "/admin/v1/events", "/admin/v1/groups", "/admin/v1/providers", "/admin/v1/models", "/admin/v1/routes",
	}}}
	limit, calls := 10*time.Second, 2 // of a test that must hold on a busy machine
	if measure {
		calls = 21
	}
	if rows >= limitedRows {
		limit = 100 * time.Millisecond
	}
	t.Log("| report | p50 ms | p95 ms |")
	for _, g := range groups {
		for _, path := range g.paths {
			var took []time.Duration
			for range calls + 1 { // the first is not counted
				begin := time.Now()
				r := send(t, w.app, "GET", path, g.token, "")
				took = append(took, time.Since(begin))
				if r.Status != 200 {
					t.Fatalf("%s: %d %s", path, r.Status, clip(r.Raw, 200))
				}
			}
			took = took[1:]
			slices.Sort(took)
			p95 := took[(len(took)*95+99)/100-1]
			t.Logf("| %s | %.1f | %.1f |", path, float64(took[len(took)/2].Microseconds())/1000, float64(p95.Microseconds())/1000)
			if p95 > limit {
				t.Errorf("%s: p95 %s, want at most %s", path, p95, limit)
			}
		}
	}
}

// settleAtSize books calls as a proxy does, on top of all the others.
func (w *world) settleAtSize(big *tenant) {
	w.t.Helper()
	const n = 500
	recs := make([]usage.Record, n)
	for i := range recs {
		id := reqid.New(time.Now())
		recs[i] = usage.Record{
			ID: id, ProxySlot: w.slot.ID, ClientID: big.ID, WalletID: big.WalletID, KeyID: big.key.ID, Model: "alpha", RequestedModel: "alpha", Status: usage.Failed, HTTPStatus: 502,
			Code: "upstream_error", Hold: 1000, Cost: 7, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM, AdmittedMicros: id.UnixMilli() * 1000, EndMicros: id.UnixMilli()*1000 + 900, NumAttempts: 1,
		}
		recs[i].Attempts[0] = usage.Attempt{RouteID: 1, ProviderKeyID: 1, HTTPStatus: 502, Outcome: usage.OutcomeStatus, EndMicros: 800}
	}
	begin := time.Now()
	if r := must(w.db.SettleBatch(w.t.Context(), w.slot.ID, recs)); r.Inserted != n {
		w.t.Fatalf("settled %+v", r)
	}
	w.t.Logf("a batch of %d calls is booked in %.1f ms", n, float64(time.Since(begin).Microseconds())/1000)
}

// sumsAgree compares rows, roll-ups and reports, to the nano-dollar.
func (w *world) sumsAgree() {
	w.t.Helper()
	type sums struct{ N, Charge, Cost int64 }
	row := storetest.Rows[sums](w.t, w.url, "SELECT count(*), sum(charge)::bigint, sum(cost)::bigint FROM usage")[0]
	for what, sql := range map[string]string{
		"usage_hourly":           "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_hourly",
		"usage_daily":            "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_daily",
		"usage_total, by model":  "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_total WHERE client_id = 0",
		"usage_total, by client": "SELECT sum(success + failed + timeout + cancelled + interrupted)::bigint, sum(charge)::bigint, sum(cost)::bigint FROM usage_total WHERE client_id <> 0",
		"code_total":             "SELECT (SELECT count(*) FROM usage) - (SELECT count(*) FROM usage WHERE code <> '') + sum(n)::bigint, (SELECT sum(charge)::bigint FROM usage), (SELECT sum(cost)::bigint FROM usage) FROM code_total",
		"attempt_hourly":         "SELECT sum(n)::bigint - (SELECT count(*) FROM usage WHERE cardinality(attempts) > 6), (SELECT sum(charge)::bigint FROM usage), sum(cost)::bigint FROM attempt_hourly",
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
func (w *world) csvIsFlat(big *tenant) {
	w.t.Helper()
	month := time.Now().UTC().AddDate(0, 0, -30).Format("2006-01")
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
	before, peak, resident := heap(), uint64(0), residentMB()
	var most int
	req := must(http.NewRequest("GET", "http://"+l.Addr().String()+"/openapi/v1/billing/detail.csv?from="+from.Format(time.DateOnly)+"&to="+from.AddDate(0, 1, 0).Format(time.DateOnly), nil))
	req.Header.Set("Authorization", "Bearer "+big.token)
	begin := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var lines, bytes int64
	var first time.Duration
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); lines++ {
		bytes += int64(len(scan.Bytes())) + 2
		if lines%5000 == 0 {
			peak, most = max(peak, heap()), max(most, residentMB())
		}
		if lines == 0 {
			first = time.Since(begin)
		}
		if lines == 1 && !strings.Contains(scan.Text(), "req_") {
			w.t.Errorf("a line is %q", scan.Text())
		}
	}
	took := time.Since(begin)
	w.t.Logf("CSV: %d lines, %d MB in %s (%.0f lines a second), the first after %s; heap from %d to at most %d MB, resident from %d to at most %d MB", lines, bytes>>20,
		took.Round(time.Millisecond), float64(lines)/took.Seconds(), first.Round(time.Millisecond), before>>20, peak>>20, resident, most)
	if lines-1 != want {
		w.t.Errorf("the CSV has %d lines, the month %d calls", lines-1, want)
	}
	if peak > before+96<<20 {
		w.t.Errorf("the heap grew from %d to %d MB", before>>20, peak>>20)
	}
}

// residentMB is the memory of this process, which serves and reads.
func residentMB() int {
	text, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize() >> 20
}
