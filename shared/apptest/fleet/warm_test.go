package fleet

import (
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// G-7, G-8: a warm request sends none. What a proxy sends
// by the clock (heartbeat, poll, sizing) and by the batch (usage into Postgres) is
// measured beside it and does not grow with the requests.
func TestWarmRequestsSendNoSQL(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	p := s.Proxy(0)
	c := s.CreateClient("acme", "100000")
	k := s.CreateKey(c.Name, "--rpm", "1000000", "--tpm", "1000000000", "--monthly-cap", "50000", "--total-quota", "50000")
	warm(t, s, k)
	n := 2000
	if long {
		n = 20_000
	}
	burst := func(stream bool) {
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				for range n / 8 {
					r := short(k)
					if stream {
						r = apptest.Chat(k.Token, "mock-chat", "hello mock:out=3", `"max_tokens":10`, `"stream":true`)
					}
					if x := ask(p, w, r); x.status != 200 || x.err != nil {
						t.Errorf("%d %s %v", x.status, x.code, x.err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	burst(false) // connections, and a lease that fits the load
	s.Settled()
	time.Sleep(2500 * time.Millisecond)

	type reading struct {
		at                                      time.Time
		statements, batches, grants, slow, feed float64
	}
	read := func() reading {
		m := p.Metrics()
		return reading{time.Now(), m["relay_sql_statements_total"], m["relay_ship_batches_total"], m["relay_lease_grants_total"], m["relay_lease_slow_holds_total"], m["relay_feed_changes_total"]}
	}
	for _, what := range []string{"buffered", "streamed"} {
		before := read()
		burst(what == "streamed")
		s.Settled()
		after := read()
		took := after.at.Sub(before.at)
		time.Sleep(3 * time.Second)
		idle := read()

		busy := after.statements - before.statements
		second := (idle.statements - after.statements) / idle.at.Sub(after.at).Seconds()
		rest := second * took.Seconds()
		batches := after.batches - before.batches
		grants := after.grants - before.grants
		// A batch is one transaction; its statements are a fixed number.
		extra := busy - rest
		t.Logf("%s: %d warm requests in %s: %.0f statements, %.1f in as long a time without requests, %.0f batches, %.0f grants in the background, %.0f holds waited: %.2f statements per 1,000 requests beyond idle, all for batches and grants",
			what, n, took.Round(time.Millisecond), busy, rest, batches, grants, after.slow-before.slow, extra*1000/float64(n))
		// G-8: what comes besides the batches' inserts.
		besides := max(0, busy-perBatch*batches) * 1000 / float64(n)
		t.Logf("%s: %.2f statements per 1,000 requests besides the batches, heartbeats and all", what, besides)
		if long && besides > 5 {
			t.Errorf("%s: %.2f statements per 1,000 requests besides the batches", what, besides)
		}
		if after.slow != before.slow {
			t.Errorf("%s: %.0f warm requests waited for money", what, after.slow-before.slow)
		}
		// What the clock wakes comes at common instants: a second's worth more or less.
		if most := perBatch*batches + perGrant*grants + second + 10; extra > most {
			t.Errorf("%s: %.0f statements beyond idle, %.0f are explained by batches and grants", what, extra, most)
		}
	}
	s.Audit()
}

// The statements of one batch of usage and of one grant, with BEGIN and COMMIT.
const (
	perBatch = 17
	perGrant = 8
)
