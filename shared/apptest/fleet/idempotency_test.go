package fleet

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store/storetest"
)

// keyed is a request with an Idempotency-Key and the body of its name's own.
func keyed(k apptest.Key, name, script string, more ...string) apptest.Request {
	return apptest.Chat(k.Token, "mock-chat", "hello mock:id="+name+";"+script, more...).With("Idempotency-Key", name)
}

func calls(t *testing.T, s *apptest.Stack, name string) []mockllm.Record {
	t.Helper()
	list, err := s.Meter.Requests(mockllm.Filter{Marker: name})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// charged checks the wallet against what the named requests cost at the provider's
// meter, and the books.
func charged(t *testing.T, s *apptest.Stack, client string, credit money.Amount) {
	t.Helper()
	s.Audit()
	sum, err := s.Meter.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Wallet(client).Balance, (credit - money.Amount(apptest.Cost(sum.Total.Usage))).String(); got != want {
		t.Errorf("the wallet has %s; the meter says %s", got, want)
	}
}

// claimsStored waits until Postgres knows of every end.
func claimsStored(t *testing.T, s *apptest.Stack) {
	t.Helper()
	for _, p := range s.Proxies {
		if p.Running() {
			apptest.Eventually(t, 10*time.Second, "the answers are stored", func() bool { return p.Metrics()["relay_claims_pending"] == 0 })
		}
	}
}

// N6, rulings 1.9: 50 duplicates at once on two proxies, streams and buffered: one
// upstream call, one charge, and 50 answers of the same bytes. Then from the copy,
// on both. Another body is refused on both.
func TestDuplicatesOverTwoProxies(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	c := s.CreateClient("acme", "10")
	k := s.CreateKey(c.Name)
	rounds := 3
	if long {
		rounds = 20
	}
	for round := range rounds {
		for _, stream := range []string{`"stream":true`, `"stream":false`} {
			name := fmt.Sprintf("dup-%d-%t", round, strings.Contains(stream, "true"))
			r := keyed(k, name, "out=40;flush=1;gap=8ms;delay=80ms", stream)
			answers := make([]*apptest.Response, 50)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					time.Sleep(time.Duration(i%25) * 15 * time.Millisecond)
					a, err := apptest.Fetch(context.Background(), s.Proxy(i%2).URL, r)
					if err != nil {
						t.Error(err)
						return
					}
					answers[i] = a
				})
			}
			wg.Wait()
			first := map[string]bool{}
			for i, a := range answers {
				if a == nil || a.Status != 200 || a.Err != nil || !bytes.Equal(a.Body, answers[0].Body) {
					t.Fatalf("%s, %d: %+v", name, i, a)
				}
				id := a.Header.Get("X-Relay-Replayed")
				if id == "" {
					id = a.ID()
				}
				first[id] = true
			}
			if n := len(calls(t, s, name)); n != 1 || len(first) != 1 {
				t.Errorf("%s: %d upstream calls, answers of %d requests", name, n, len(first))
			}
			claimsStored(t, s)
			for i, p := range s.Proxies {
				if a := p.Do(r); a.Status != 200 || !bytes.Equal(a.Body, answers[0].Body) || !first[a.Header.Get("X-Relay-Replayed")] {
					t.Errorf("%s: the copy at proxy %d: %d %s", name, i, a.Status, a.Body)
				}
				other := keyed(k, name, "out=1", stream)
				if a := p.Do(other); a.Status != 409 || a.Code() != "idempotency_conflict" {
					t.Errorf("%s: another body at proxy %d: %d %s", name, i, a.Status, a.Body)
				}
			}
		}
	}
	charged(t, s, c.Name, 10*money.USD)
	type row struct {
		State  int16
		Answer []byte
	}
	rows := storetest.Rows[row](t, s.DatabaseURL, "SELECT state, answer FROM claim")
	for _, row := range rows {
		if row.State != 2 || len(row.Answer) < 100 || bytes.Contains(row.Answer, []byte("chat.completion")) || bytes.Contains(row.Answer, []byte("mock-chat")) {
			t.Errorf("at rest: %+v", row)
		}
	}
	if len(rows) != 2*rounds {
		t.Errorf("%d claims", len(rows))
	}
	var mirrored, attached, replays float64
	for _, p := range s.Proxies {
		m := p.Metrics()
		mirrored, attached, replays = mirrored+m["relay_claims_mirrored_total"], attached+m["relay_claims_attached_total"], replays+m["relay_claims_replayed_total"]
	}
	if mirrored == 0 || attached == 0 || replays == 0 {
		t.Errorf("nothing met another proxy: mirrored %v, attached %v, from the copy %v", mirrored, attached, replays)
	}
	t.Logf("%d upstream calls for %d requests: attached %v, mirrored %v, from the copy %v", 2*rounds, 2*rounds*52, attached, mirrored, replays)
}

// Requests without the header send no statement more than before; with it, one to
// take the key, and one behind the answer.
func TestStatementsOfIdempotencyKeys(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	c := s.CreateClient("acme", "10")
	k := s.CreateKey(c.Name)
	p := s.Proxy(0)
	for range 5 {
		p.Do(short(k))
	}
	const n = 50
	per := func(request func(i int) apptest.Request) float64 {
		claimsStored(t, s)
		before := p.Metrics()["relay_claims_led_total"] + p.Metrics()["relay_claims_replayed_total"]
		for i := range n {
			if r := p.Do(request(i)); r.Status != 200 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
		return p.Metrics()["relay_claims_led_total"] + p.Metrics()["relay_claims_replayed_total"] - before
	}
	if got := per(func(int) apptest.Request { return short(k) }); got != 0 {
		t.Errorf("%v claims without the header", got)
	}
	if got := per(func(i int) apptest.Request { return keyed(k, fmt.Sprint("st", i), "out=2") }); got != n {
		t.Errorf("%v claims for %d keys", got, n)
	}
	charged(t, s, c.Name, 10*money.USD)
}

// The proxy of the first request is killed amid its answer: those who follow it on
// another proxy see it break off; a retry is a new request, there at once when the
// killed one is back, and without it once its heartbeat is missing. The books hold.
func TestLeaderIsKilled(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	c := s.CreateClient("acme", "10")
	k := s.CreateKey(c.Name)
	a, b := s.Proxy(0), s.Proxy(1)
	for _, restart := range []bool{true, false} {
		name := fmt.Sprintf("kill-%t", restart)
		r := keyed(k, name, "out=20;flush=1;hang=8;hold=60s;fail=1", `"stream":true`)
		lead := a.Open(r)
		for range 3 {
			if _, _, err := lead.Data(); err != nil {
				t.Fatal(err)
			}
		}
		follower := b.Open(r)
		if _, _, err := follower.Data(); err != nil {
			t.Fatal(err)
		}
		if n := len(calls(t, s, name)); n > 1 {
			t.Fatalf("%d upstream calls", n)
		}
		a.Kill()
		if rest, err := follower.Rest(); err == nil || strings.Contains(string(rest), "[DONE]") {
			t.Errorf("the follower: %v %s", err, rest)
		}
		if restart {
			a.Restart()
		}
		killed := time.Now()
		retry := keyed(k, name, "out=20;flush=1;hang=8;hold=60s;fail=1", `"stream":true`)
		done := make(chan *apptest.Response, 1)
		go func() {
			resp, err := apptest.Fetch(context.Background(), b.URL, retry)
			if err != nil {
				t.Error(err)
			}
			done <- resp
		}()
		select {
		case resp := <-done:
			t.Logf("restarted %v: the retry was answered after %s", restart, time.Since(killed).Round(time.Millisecond))
			if resp == nil || resp.Status != 200 || resp.Header.Get("X-Relay-Replayed") != "" {
				t.Fatalf("the retry: %+v", resp)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the retry is not answered")
		}
		if n := len(calls(t, s, name)); n != 2 {
			t.Errorf("%d upstream calls", n)
		}
		if !restart {
			a.Restart()
		}
		if resp := a.Do(retry); resp.Status != 200 || resp.Header.Get("X-Relay-Replayed") == "" {
			t.Errorf("a repetition at the killed one: %d %s", resp.Status, resp.Body)
		}
	}
	s.Audit()
}

// Postgres keeps no answers of a client without retention; the operator's switch.
func TestNoRetention(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	c := s.CreateClient("acme", "10")
	k := s.CreateKey(c.Name)
	db := database(t, s)
	kept := keyed(k, "kept", "out=3")
	s.Proxy(0).Do(kept)
	claimsStored(t, s)
	s.MustCLI(nil, "client", "retention", "acme", "0")
	first := s.Proxy(0).Do(keyed(k, "not kept", "out=3"))
	claimsStored(t, s)
	for _, p := range s.Proxies {
		if r := p.Do(keyed(k, "not kept", "out=3")); r.Status != 409 || r.Code() != "idempotency_conflict" || !strings.Contains(string(r.Body), first.ID()) {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		if r := p.Do(kept); r.Status != 409 {
			t.Errorf("an answer from before: %d", r.Status)
		}
	}
	if claims, answers, err := db.ExpireClaims(t.Context()); err != nil || claims != 0 || answers != 1 {
		t.Errorf("%d claims, %d answers, %v", claims, answers, err)
	}
	charged(t, s, c.Name, 10*money.USD)
}
