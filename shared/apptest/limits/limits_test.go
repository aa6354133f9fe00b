// Package limits tests the limits that proxies share, with the real programs.
package limits

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
)

// duration of the load: a little over one minute; RELAY_TEST_LIMITS names another.
func duration(t *testing.T) time.Duration {
	if s := os.Getenv("RELAY_TEST_LIMITS"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 63 * time.Second
}

// TestSharedLimits is S2-12 and F16 with three proxies, all at once under load:
//   - a key with 60 requests a minute, offered a hundred times as many, gets at most 60 in
//     each minute from its first request on, counted at the provider;
//   - a lone client that waits as it is told never meets two refusals in a row, although
//     each of its requests goes to another proxy;
//   - a key with 4 places never has 5 requests running at the provider;
//   - a client address with 90 requests a minute gets at most 90;
//   - a key that was never limited, in between, is not held up;
//   - the statements do not grow with the requests.
func TestSharedLimits(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	client := s.CreateClient("acme", "1000")
	capped := s.CreateKey(client.Name, "--rpm", "60")
	polite := s.CreateKey(client.Name, "--rpm", "20")
	crowded := s.CreateKey(client.Name, "--max-concurrency", "4")
	free := s.CreateKey(client.Name)
	for _, p := range s.Proxies {
		if p.Metric("relay_limits_alone") != 0 {
			t.Fatalf("%s believes to be alone", p.Name)
		}
	}
	before := make([]int64, len(s.Proxies))
	for i, p := range s.Proxies {
		before[i] = p.Statements()
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(t.Context(), began.Add(duration(t)))
	defer cancel()
	var offered, statuses [600]atomic.Int64
	var count atomic.Int64
	send := func(p *apptest.Proxy, token, marker, script string) *apptest.Response {
		count.Add(1)
		r, err := apptest.Fetch(ctx, p.URL, apptest.Chat(token, "mock-chat", "hi mock:id="+marker+";out=2"+script, `"max_tokens":16`))
		if err != nil {
			return nil
		}
		statuses[r.Status].Add(1)
		return r
	}
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				offered[0].Add(1)
				if r := send(s.Proxy(i%3), capped.Token, "capped", ""); r != nil && r.Status == http.StatusTooManyRequests {
					if wait, _ := strconv.Atoi(r.Header.Get("Retry-After")); wait < 1 {
						t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
					}
				}
				pause(ctx, 60*time.Millisecond)
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				if r := send(s.Proxy(i%3), crowded.Token, "crowded", ";delay=150ms"); r != nil && r.Status != 200 {
					pause(ctx, 30*time.Millisecond)
				}
			}
		})
	}
	var slowest atomic.Int64
	group.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if r := send(s.Proxy(n%3), free.Token, "free", ""); r != nil {
				if r.Status != 200 {
					t.Errorf("a key without limits got %d", r.Status)
				}
				slowest.Store(max(slowest.Load(), int64(r.Took)))
			}
			pause(ctx, 50*time.Millisecond)
		}
	})
	refusals, passed := 0, 0
	group.Go(func() {
		last := 0
		for n := 0; ctx.Err() == nil; n++ {
			r := send(s.Proxy(n%3), polite.Token, "polite", "")
			switch {
			case r == nil:
				return
			case r.Status == 200:
				passed, last = passed+1, 200
			case r.Status == 429 && last == 429:
				t.Errorf("request %d of the polite client, after %s: a second refusal in a row: %s", n, time.Since(began).Round(time.Millisecond), r.Body)
				last = 429
			default:
				refusals, last = refusals+1, r.Status
				wait, _ := strconv.Atoi(r.Header.Get("Retry-After"))
				pause(ctx, time.Duration(wait)*time.Second)
			}
		}
	})
	group.Wait()
	took := time.Since(began)

	// What a proxy judged alone, because Postgres did not answer for a second on a busy
	// machine, may come on top (decision 0014), and nothing else.
	alone := 0
	for _, p := range s.Proxies {
		alone += int(p.Metric("relay_limit_unshared_total"))
	}
	inMinutes(t, s, "capped", 60, alone)
	inMinutes(t, s, "polite", 20, alone)
	if n := mostAtOnce(t, s, "crowded"); n > 4 || n < 3 {
		t.Errorf("%d requests at once with a limit of 4", n)
	}
	t.Logf("polite: %d passed, %d refused; slowest request of the unlimited key %s", passed, refusals, time.Duration(slowest.Load()).Round(100*time.Microsecond))
	if passed < 20 || refusals < 1 {
		t.Errorf("the polite client met its limit %d times, %d passed", refusals, passed)
	}
	for i, p := range s.Proxies {
		m := p.Metrics()
		per := float64(p.Statements()-before[i]) / took.Seconds()
		t.Logf("%s: %.1f statements/s in all, %.1f/s about limits (%.0f limits, %.0f requests waited, %.0f recalls, %.0f judged alone)", p.Name, per,
			m["relay_limit_statements_total"]/took.Seconds(), m["relay_limit_asked_total"], m["relay_limit_waits_total"], m["relay_limit_recalls_total"], m["relay_limit_unshared_total"])
		if m["relay_limit_statements_total"]/took.Seconds() > 50 {
			t.Error("more statements than there is room between two")
		}
	}
	t.Logf("%d requests in %s: %d passed, %d refused", count.Load(), took.Round(time.Millisecond), statuses[200].Load(), statuses[429].Load())
	s.Audit()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func served(t *testing.T, s *apptest.Stack, marker string) []mockllm.Record {
	t.Helper()
	list, err := s.Meter.Requests(mockllm.Filter{Marker: marker})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b mockllm.Record) int { return int(a.StartedNS - b.StartedNS) })
	return list
}

// inMinutes checks every minute from the first request on.
func inMinutes(t *testing.T, s *apptest.Stack, marker string, limit, alone int) {
	t.Helper()
	list := served(t, s, marker)
	if len(list) == 0 {
		t.Errorf("%s: nothing passed", marker)
		return
	}
	var minutes []int
	for _, r := range list {
		at := int((r.StartedNS - list[0].StartedNS) / int64(time.Minute))
		for len(minutes) <= at {
			minutes = append(minutes, 0)
		}
		minutes[at]++
	}
	t.Logf("%s: limit %d, by minute %v", marker, limit, minutes)
	for i, n := range minutes {
		if n > limit+alone {
			t.Errorf("%s: %d in minute %d with a limit of %d", marker, n, i, limit)
		}
	}
	if minutes[0] < limit {
		t.Errorf("%s: only %d of %d in the first minute", marker, minutes[0], limit)
	}
}

// mostAtOnce is the most requests that ran at the provider at the same time.
func mostAtOnce(t *testing.T, s *apptest.Stack, marker string) int {
	t.Helper()
	type edge struct {
		at int64
		d  int
	}
	var edges []edge
	for _, r := range served(t, s, marker) {
		// The relay may be done with an answer before the provider's own end of it, which
		// is noted when its last write has returned.
		end := r.EndedNS
		switch {
		case end == 0:
			end = 1 << 62
		case r.LastNS != 0:
			end = r.LastNS
		}
		edges = append(edges, edge{r.StartedNS, 1}, edge{end, -1})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return a.d - b.d
	})
	n, most := 0, 0
	for _, e := range edges {
		n += e.d
		most = max(most, n)
	}
	t.Logf("%s: %d requests, at most %d at once", marker, len(edges)/2, most)
	return most
}

// TestSharedAddress: one client address over three proxies; most of a limit's first
// requests of a proxy ask nobody.
func TestSharedAddress(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3, ProxyEnv: []string{"RELAY_IP_RPM=96"}})
	client := s.CreateClient("acme", "1000")
	key := s.CreateKey(client.Name)
	passed, refused := 0, 0
	began := time.Now()
	for n := 0; time.Since(began) < 8*time.Second; n++ {
		r := s.Proxy(n % 3).Do(apptest.Chat(key.Token, "mock-chat", fmt.Sprintf("hi mock:id=ip%d;out=1", n), `"max_tokens":16`))
		switch {
		case r.Status == 200:
			passed++
		case r.Status == 429 && r.Code() == "rate_limited_ip":
			refused++
			time.Sleep(20 * time.Millisecond)
		default:
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	t.Logf("%d passed, %d refused", passed, refused)
	if passed > 96 || passed < 90 {
		t.Errorf("%d passed with a limit of 96", passed)
	}
}

// TestJoin: a proxy that was alone tells what it had counted to one that joins, which
// serves nobody before. The limit holds over both, from the first request on.
func TestJoin(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 1})
	client := s.CreateClient("acme", "1000")
	key := s.CreateKey(client.Name, "--rpm", "10")
	crowded := s.CreateKey(client.Name, "--max-concurrency", "2")
	chat := func(p *apptest.Proxy, n int) int {
		return p.Do(apptest.Chat(key.Token, "mock-chat", fmt.Sprintf("hi mock:id=join%d;out=1", n), `"max_tokens":16`)).Status
	}
	if s.Proxy(0).Metric("relay_limits_alone") != 1 {
		t.Fatal("the only proxy does not count alone")
	}
	before := s.Proxy(0).Metric("relay_limit_statements_total")
	for n := range 7 {
		if got := chat(s.Proxy(0), n); got != 200 {
			t.Fatalf("request %d: %d", n, got)
		}
	}
	if n := s.Proxy(0).Metric("relay_limit_statements_total") - before; n != 0 {
		t.Errorf("a lone proxy asked %v times", n)
	}
	var group sync.WaitGroup
	group.Go(func() {
		s.Proxy(0).Do(apptest.Chat(crowded.Token, "mock-chat", "hi mock:id=long;out=1;delay=6s", `"max_tokens":16`))
	})
	apptest.Eventually(t, 5*time.Second, "the long request runs", func() bool { return len(served(t, s, "long")) == 1 })
	joined := s.AddProxy()
	joined.WaitReady()
	passed := 0
	for n := range 20 {
		if chat(s.Proxy(n%2), 100+n) == 200 {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d passed after 7 with a limit of 10", passed)
	}
	// One of two places is taken, on the other proxy.
	var ok, refused atomic.Int64
	for range 4 {
		group.Go(func() {
			switch joined.Do(apptest.Chat(crowded.Token, "mock-chat", "hi mock:id=short;out=1;delay=1s", `"max_tokens":16`)).Status {
			case 200:
				ok.Add(1)
			case 429:
				refused.Add(1)
			}
		})
	}
	group.Wait()
	if n := mostAtOnce(t, s, "short"); n != 1 || ok.Load() != 1 || refused.Load() != 3 {
		t.Errorf("%d passed, %d refused, %d at once beside the running one with a limit of 2", ok.Load(), refused.Load(), n)
	}
}
