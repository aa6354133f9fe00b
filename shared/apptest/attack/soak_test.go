package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// TestSoak is G-29 without its faults: the same load for RELAY_SOAK (10 s; `make soak`
// is 30 minutes) leaves the proxy's memory, goroutines and connections where they were
// after the first fifth, and the books whole. Over a minute the load is as much as keeps
// the machine busy for 70 % of the time, found in the first fifth; else it is 200/s.
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
	began := time.Now()
	var answered atomic.Int64
	pace := newPace(goodRate)
	for range 32 {
		group.Go(func() {
			g.sends(func() bool {
				select {
				case <-stop:
					return false
				default:
				}
				pace.wait()
				return true
			}, func() { answered.Add(1) })
		})
	}
	if span > time.Minute {
		for time.Since(began) < span/10 {
			pace.toward(0.7, time.Second)
		}
		t.Logf("%d requests/s keep the machine busy for %.0f %% of the time", pace.rate(), 100*pace.busy)
	}
	time.Sleep(time.Until(began.Add(span / 5)))
	before := answered.Load()
	looks := []sample{look()}
	for time.Since(began) < span-time.Second {
		now := looks[len(looks)-1]
		if span > time.Minute {
			t.Logf("%v: %.1f MiB, %.0f goroutines, %.0f connections, %d requests, %d streams", time.Since(began).Round(time.Second), now.rss/mib, now.goroutines, now.conns, answered.Load(), streams.Load())
			time.Sleep(min(time.Minute, span-time.Since(began)))
		}
		looks = append(looks, look())
	}
	close(stop)
	group.Wait()
	if answered.Load() == before || streams.Load() == 0 {
		t.Error("nothing was answered")
	}
	// A third of the looks each: one look may come before a collection of garbage, or behind it.
	middle := func(looks []sample) (m sample) {
		var memory, goroutines []float64
		for _, l := range looks {
			memory, goroutines = append(memory, l.rss), append(goroutines, l.goroutines)
		}
		return sample{rss: median(memory), goroutines: median(goroutines)}
	}
	third := (len(looks) + 2) / 3
	first, last := middle(looks[:third]), middle(looks[len(looks)-third:])
	what := fmt.Sprintf("%v, %d requests, %d streams: %.1f → %.1f MiB resident, %.0f → %.0f goroutines", span, answered.Load(), streams.Load(), first.rss/mib, last.rss/mib, first.goroutines, last.goroutines)
	t.Log(what)
	if last.goroutines == 0 || last.goroutines > first.goroutines+16 {
		t.Errorf("goroutines grow: %s", what)
	}
	if last.rss > first.rss*1.05+8*mib {
		t.Errorf("memory grows: %s", what)
	}
	s.Audit()
}

// pace is how fast several connections send together.
type pace struct {
	gap  atomic.Int64 // ns between two requests
	next atomic.Int64 // when the next one is due, ns since began

	began time.Time
	busy  float64 // of the processors, in the last second looked at
}

func newPace(rate int) *pace {
	p := &pace{began: time.Now()}
	p.gap.Store(int64(time.Second) / int64(rate))
	return p
}

func (p *pace) rate() int64 { return int64(time.Second) / p.gap.Load() }

// wait waits until the caller's next request is due. What could not be sent in time is left out.
func (p *pace) wait() {
	due := p.next.Add(p.gap.Load())
	now := int64(time.Since(p.began))
	if now-due > int64(time.Second) {
		p.next.CompareAndSwap(due, now)
	}
	time.Sleep(time.Duration(due - now))
}

// toward looks for a span how busy the machine is and moves the rate to where it is busy
// for that part of the time.
func (p *pace) toward(part float64, span time.Duration) {
	busy, all := processors()
	time.Sleep(span)
	busyThen, allThen := processors()
	p.busy = (busyThen - busy) / (allThen - all)
	gap := float64(p.gap.Load()) * min(max(p.busy/part, 0.8), 1.25)
	p.gap.Store(int64(min(gap, float64(time.Second)/goodRate))) // others may keep the machine busy
}

// processors is the time that all processors have worked, and that they have been there, in
// ticks (proc(5), /proc/stat).
func processors() (busy, all float64) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := bytes.Cut(b, []byte("\n"))
	for i, f := range strings.Fields(string(line))[1:] {
		n, _ := strconv.ParseFloat(f, 64)
		if i < 8 { // what comes then is guests, and in user's time already
			all += n
			if i != 3 && i != 4 { // idle, waiting for a disk
				busy += n
			}
		}
	}
	return busy, all
}
