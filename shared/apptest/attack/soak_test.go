package attack

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// TestSoak is G-29 without its faults: the same load for RELAY_SOAK (10 s; `make soak`
// is 30 minutes) leaves the proxy's memory, goroutines and connections where they were
// after the first fifth, and the books whole.
func TestSoak(t *testing.T) {
	span := 10 * time.Second
	if text := os.Getenv("RELAY_SOAK"); text != "" {
		var err error
		if span, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := apptest.Start(t, apptest.Options{})
	key := s.CreateKey(s.CreateClient("soak", "1000000").Name).Token
	p := s.Proxy(0)
	g := newGood(t, s, key)
	stream := chat(key, `{"model":"mock-chat","stream":true,"messages":[{"role":"user","content":"mock:out=30;chunks=30;gap=10ms"}],"max_tokens":64}`)
	translated := chat(key, `{"model":"mock-claude","stream":true,"messages":[{"role":"user","content":"mock:out=30;chunks=30;gap=10ms"}],"max_tokens":64}`)

	var streams atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			req := [][]byte{stream, translated}[i%2]
			for {
				select {
				case <-stop:
					return
				default:
				}
				nc, err := net.Dial("tcp", g.addr) // a connection each: they must not add up
				if err != nil {
					t.Error(err)
					return
				}
				status, err := ask(nc, bufio.NewReader(nc), req)
				_ = nc.Close()
				if err != nil || status != 200 {
					t.Errorf("a stream: %d %v", status, err)
					return
				}
				streams.Add(1)
			}
		})
	}
	type sample struct{ rss, goroutines, conns float64 }
	// The smallest of a second: a collection of garbage may be due.
	look := func() sample {
		var low sample
		for i := range 10 {
			m := p.Metrics()
			now := sample{float64(rss(t, p.PID())), m["go_goroutines"], m["relay_client_connections"]}
			if i == 0 || now.rss < low.rss {
				low.rss = now.rss
			}
			if i == 0 || now.goroutines < low.goroutines {
				low.goroutines = now.goroutines
			}
			low.conns = now.conns
			time.Sleep(100 * time.Millisecond)
		}
		return low
	}
	group.Go(func() { _ = g.run(span) })
	began := time.Now()
	time.Sleep(span / 5)
	first := look()
	last := first
	for time.Since(began) < span-time.Second {
		if span > time.Minute {
			t.Logf("%v: %.1f MiB, %.0f goroutines, %.0f connections, %d streams", time.Since(began).Round(time.Second), last.rss/mib, last.goroutines, last.conns, streams.Load())
			time.Sleep(min(time.Minute, span-time.Since(began)))
		}
		last = look()
	}
	close(stop)
	group.Wait()
	what := fmt.Sprintf("%v, %d streams: %.1f → %.1f MiB resident, %.0f → %.0f goroutines", span, streams.Load(), first.rss/mib, last.rss/mib, first.goroutines, last.goroutines)
	t.Log(what)
	if last.goroutines == 0 || last.goroutines > first.goroutines+16 {
		t.Errorf("goroutines grow: %s", what)
	}
	if last.rss > first.rss*1.05+8*mib {
		t.Errorf("memory grows: %s", what)
	}
	s.Audit()
}
