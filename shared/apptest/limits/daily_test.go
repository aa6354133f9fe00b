package limits

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
)

// TestProviderStop is S4-17, S4-18, C12: three proxies spend at one provider; at its daily
// stop it is paused for all of them within a second or so, once; the operator brings it back
// and is not overruled.
func TestProviderStop(t *testing.T) {
	catalogue := strings.Replace(apptest.TestCatalogue, "{name: openai, ", `{name: openai, daily_stop_usd: "0.01", `, 1)
	s := apptest.Start(t, apptest.Options{Proxies: 3, Catalogue: catalogue})
	client := s.CreateClient("acme", "1000")
	key := s.CreateKey(client.Name)
	chat := func(p *apptest.Proxy) *apptest.Response {
		return p.Do(apptest.Chat(key.Token, "mock-chat", "hi mock:id=stop;out=20", `"max_tokens":64`)) // ~0.0002 USD each
	}
	var passed, paused atomic.Int64
	deadline := time.Now().Add(20 * time.Second)
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() {
			for time.Now().Before(deadline) {
				switch r := chat(s.Proxy(i)); {
				case r.Status == 200:
					passed.Add(1)
				case r.Status == http.StatusTooManyRequests && r.Code() == "provider_paused" && r.Header.Get("Retry-After") == "":
					paused.Add(1)
					return
				default:
					t.Errorf("%d %s", r.Status, r.Body)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	group.Wait()
	list, err := s.Meter.Requests(mockllm.Filter{Marker: "stop"})
	if err != nil {
		t.Fatal(err)
	}
	spent := int64(0)
	for _, r := range list {
		spent += apptest.Cost(r.Produced)
	}
	// 60 requests a second for at most 1.5 s beyond the stop.
	t.Logf("paused at three proxies after %d requests, %.4f USD with a stop of 0.01", passed.Load(), float64(spent)/1e9)
	if paused.Load() != 3 || spent < 10_000_000 || spent > 40_000_000 {
		t.Errorf("%d proxies paused, %d nano-USD spent", paused.Load(), spent)
	}
	operate := func(path string) {
		t.Helper()
		r, err := apptest.Fetch(t.Context(), s.AdminURLs[0], apptest.Request{Path: path, Header: http.Header{"Authorization": {"Bearer " + s.OperatorToken}}})
		if err != nil || r.Status != 200 {
			t.Fatalf("%v %+v", err, r)
		}
	}
	operate("/admin/v1/providers/openai/reactivate")
	for i := range 3 {
		apptest.Eventually(t, 3*time.Second, "the provider is back", func() bool { return chat(s.Proxy(i)).Status == 200 })
	}
	for range 20 {
		for i := range 3 {
			if r := chat(s.Proxy(i)); r.Status != 200 {
				t.Fatalf("the operator was overruled: %d %s", r.Status, r.Body)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestKeyDaily: what a key may spend a day is counted over three proxies, and by one that
// comes later.
func TestKeyDaily(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	client := s.CreateClient("acme", "1000")
	key := s.CreateKey(client.Name, "--daily-usd", "0.01")
	passed := 0
	over := func(p *apptest.Proxy) bool {
		r := p.Do(apptest.Chat(key.Token, "mock-chat", fmt.Sprintf("hi mock:id=daily%d;out=20", passed), `"max_tokens":64`))
		switch {
		case r.Status == 200:
			passed++
			return false
		case r.Code() == "rate_limited_daily" && r.Header.Get("Retry-After") != "":
			return true
		}
		t.Fatalf("%d %s", r.Status, r.Body)
		return false
	}
	for n := 0; n < 3 && passed < 500; {
		if over(s.Proxy(n)) {
			n++
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("%d passed", passed) // 0.01 / 0.00022 = 45.5
	// And what passed in the second in which it was reached.
	if passed < 46 || passed > 46+40 {
		t.Errorf("%d requests passed", passed)
	}
	// A proxy that has just begun asks for a key's day when it first sees the key: it
	// may pass what comes within that second.
	later := s.AddProxy()
	later.WaitReady()
	apptest.Eventually(t, time.Second, "a later proxy knows", func() bool { return over(later) })
	s.Proxy(0).Kill()
	s.Proxy(0).Restart()
	apptest.Eventually(t, time.Second, "a restarted proxy knows", func() bool { return over(s.Proxy(0)) })
}
