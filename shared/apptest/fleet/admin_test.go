package fleet

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store/storetest"
)

// H4: with every admin dead inference goes on, warm and cold keys alike; what needs
// admin answers 503 in the envelope, and is back with it.
func TestAdminAway(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	s.CreateClient("acme", "10")
	k, cold := s.CreateKey("acme"), s.CreateKey("acme")
	warm(t, s, k)
	l := startLoad(s, 100, same(short(k)))
	time.Sleep(300 * time.Millisecond)
	s.Admins[0].Kill()
	for _, p := range s.Proxies {
		if r := p.Do(short(cold)); r.Status != 200 {
			t.Errorf("a cold key: %d %s", r.Status, r.Body)
		}
		models := apptest.Request{Method: "GET", Path: "/v1/models", Header: http.Header{"Authorization": {"Bearer " + k.Token}}}
		if r := p.Do(models); r.Status != 200 || r.JSON("data", "0", "id") == "" {
			t.Errorf("models: %d %s", r.Status, r.Body)
		}
		for _, path := range []string{"/openapi/v1/balance", "/openapi/v1/billing/detail", "/console/", "/admin/v1/proxies"} {
			r := p.Do(apptest.Request{Method: "GET", Path: path, Header: http.Header{"Authorization": {"Bearer " + k.Token}}})
			if r.Status != 503 || r.Code() != "overloaded" || r.JSON("code") != "overloaded" || r.Header.Get("Retry-After") != "5" || r.JSON("message") == "" {
				t.Errorf("%s: %d %v %s", path, r.Status, r.Header, r.Body)
			}
		}
		if resp, err := http.Get(p.InternalURL + "/readyz"); err != nil || resp.StatusCode != 200 {
			t.Errorf("ready: %v %v", resp, err)
		} else {
			_ = resp.Body.Close()
		}
	}
	time.Sleep(1500 * time.Millisecond)
	s.Admins[0].Restart()
	for _, p := range s.Proxies {
		apptest.Eventually(t, time.Second, "the customer API is back", func() bool {
			return p.Do(apptest.Request{Method: "GET", Path: "/openapi/v1/balance", Header: http.Header{"Authorization": {"Bearer " + k.Token}}}).Status == 200
		})
	}
	list := l.end()
	for what, n := range counts(list) {
		if what != "200" {
			t.Errorf("%d times %s while admin was away", n, what)
		}
	}
	if len(list) < 150 {
		t.Errorf("only %d requests", len(list))
	}
	s.Audit()
}

// Interface 4: two admins on one Postgres. Both write at once: revisions have no gap, a
// name is taken once, a booking with a reference is made once, and every proxy has
// applied it all.
func TestTwoAdmins(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2, Admins: 2})
	s.CreateClient("acme", "10")
	call := func(admin int, method, path, body string) int {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		r, err := apptest.Fetch(ctx, s.AdminURLs[admin], apptest.Request{Method: method, Path: path, Body: body, Header: http.Header{
			"Authorization": {"Bearer " + s.OperatorToken}, "Content-Type": {"application/json"},
		}})
		if err != nil {
			t.Error(err)
			return 0
		}
		return r.Status
	}
	const n = 40
	var mu sync.Mutex
	statuses := map[string]map[int]int{}
	note := func(what string, status int) {
		mu.Lock()
		defer mu.Unlock()
		if statuses[what] == nil {
			statuses[what] = map[int]int{}
		}
		statuses[what][status]++
	}
	var all sync.WaitGroup
	for i := range n {
		for admin := range 2 {
			all.Go(func() {
				note("client", call(admin, "POST", "/admin/v1/clients", fmt.Sprintf(`{"name":"c%d"}`, i)))
				note("credit", call(admin, "POST", "/admin/v1/clients/acme/credit", fmt.Sprintf(`{"amount":"0.25","ref":"invoice-%d"}`, i)))
				note("key", call(admin, "POST", "/admin/v1/clients/acme/api-keys", fmt.Sprintf(`{"name":"k%d-%d"}`, i, admin)))
			})
		}
	}
	all.Wait()
	t.Logf("%v", statuses)
	if got := statuses["client"]; got[201] != n || got[400] != n {
		t.Errorf("clients of the same name: %v", got)
	}
	if got := statuses["key"]; got[201] != 2*n {
		t.Errorf("keys: %v", got)
	}
	if w, want := s.Wallet("acme"), money.Amount(10_000_000_000+n*250_000_000).String(); w.Balance != want {
		t.Errorf("the wallet is %+v, want %s", w, want)
	}
	if n := storetest.Value[int64](t, s.DatabaseURL, `SELECT max(rev) - count(*) FROM config_log`); n != 0 {
		t.Errorf("%d revisions are missing", n)
	}

	// A price is changed from what both have seen: one of them wins.
	var seen struct {
		PriceID int64 `json:"price_id"`
	}
	operator(t, s, "GET", "/admin/v1/models/mock-chat/price", "", &seen)
	for admin := range 2 {
		all.Go(func() {
			note("price", call(admin, "POST", "/admin/v1/models/mock-chat/price", fmt.Sprintf(`{"price":{"input":"%d","output":"9"},"seen":%d}`, 3+admin, seen.PriceID)))
		})
	}
	all.Wait()
	if got := statuses["price"]; got[201] != 1 || got[409] != 1 {
		t.Errorf("two prices from the same one: %v", got)
	}
	rev := storetest.Value[int64](t, s.DatabaseURL, `SELECT rev FROM config_rev`)
	for _, p := range s.Proxies {
		apptest.Eventually(t, time.Second, "all is applied", func() bool { return p.Metric("relay_feed_applied_revision") >= float64(rev) })
	}
	// One dies, the other goes on, with its jobs.
	s.Admins[0].Kill()
	if status := call(1, "POST", "/admin/v1/clients/acme/credit", `{"amount":"1"}`); status != 201 {
		t.Errorf("a credit by the other admin: %d", status)
	}
	s.Audit()
}
