// Package attack holds a proxy under what hostile clients do, while a good customer's
// requests go on: its p99 and the proxy's memory stay within bounds. RELAY_LONG=1 is
// the whole size, `make attack`.
package attack

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

const mib = 1 << 20

// G-20, G-21, G-22, G5 on one stack.
func TestAttacks(t *testing.T) {
	s := apptest.Start(t, apptest.Options{})
	key := s.CreateKey(s.CreateClient("good", "1000").Name).Token
	pid := s.Proxy(0).PID()
	g := newGood(t, s, key)
	span := time.Duration(pick(1000, 6000)) * time.Millisecond
	_ = g.run(span) // warm
	before := g.run(span)

	t.Run("half-sent heads G-20", func(t *testing.T) {
		n := pick(1500, 15_000)
		start := rss(t, pid)
		conns := open(t, g.addr, n, []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nX-Slow: "), nil)
		defer closeAll(conns)
		amid := g.run(span)
		judge(t, fmt.Sprintf("%d half-sent heads", n), before, amid, 1.5, rss(t, pid)-start, int64(n)*20<<10+16*mib)
	})
	t.Run("readers that stall G-21", func(t *testing.T) {
		n := pick(100, 1000)
		start := rss(t, pid)
		// 4 MB of events that nobody reads: what fits into the kernel's buffers is taken,
		// then the provider is made to wait.
		body := `{"model":"mock-chat","stream":true,"messages":[{"role":"user","content":"mock:out=20000;chunks=20000"}],"max_tokens":16384}`
		conns := open(t, g.addr, n, chat(key, body), func(c *net.TCPConn) { _ = c.SetReadBuffer(4 << 10) })
		calm(t, pid, s.Mock.PID())
		amid := g.run(span)
		judge(t, fmt.Sprintf("%d stalled readers", n), before, amid, 3, rss(t, pid)-start, int64(n)*256<<10+16*mib)
		closeAll(conns)
		apptest.Eventually(t, 20*time.Second, "the streams are over", func() bool { return s.Proxy(0).Metrics()["relay_requests_running"] == 0 })
	})
	t.Run("unknown keys G5", func(t *testing.T) {
		start := rss(t, pid)
		var sent, refused atomic.Int64
		end := spray(t, g.addr, pick(5_000, 50_000), &sent, &refused)
		amid := g.run(span)
		end()
		t.Logf("%d unknown keys in %v, all refused", sent.Load(), span)
		if sent.Load() < 100 || refused.Load() != sent.Load() {
			t.Errorf("%d unknown keys, %d were refused", sent.Load(), refused.Load())
		}
		judge(t, "a spray of unknown keys", before, amid, 10, rss(t, pid)-start, 64*mib)
	})
	t.Run("bombs G-22", func(t *testing.T) {
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		zeros := make([]byte, mib)
		for range pick(64, 1024) {
			_, _ = z.Write(zeros)
		}
		_ = z.Close()
		deep := `{"model":"mock-chat","messages":` + strings.Repeat("[", mib) + strings.Repeat("]", mib) + `}`
		start := rss(t, pid)
		stop := make(chan struct{})
		var group sync.WaitGroup
		var thrown atomic.Int64
		for _, b := range []struct {
			req  []byte
			want int
		}{
			{chat(key, zipped.String(), "Content-Encoding: gzip\r\n"), 415},
			{chat(key, deep), 400},
			{chat(key, strings.Repeat(`{"a":`, 100_000)), 400},
			{chat(key, `{"model":"`+strings.Repeat("m", mib)+`"}`), 400},
		} {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					nc, err := net.Dial("tcp", g.addr)
					if err != nil {
						t.Error(err)
						return
					}
					status, err := ask(nc, bufio.NewReader(nc), b.req)
					_ = nc.Close()
					if err != nil || status != b.want && status != 404 {
						t.Errorf("a bomb of %d bytes: %d %v, want %d", len(b.req), status, err, b.want)
						return
					}
					thrown.Add(1)
				}
			})
		}
		amid := g.run(span)
		close(stop)
		group.Wait()
		judge(t, fmt.Sprintf("%d bombs", thrown.Load()), before, amid, 5, rss(t, pid)-start, 64*mib)
	})
	after := g.run(span)
	judge(t, "behind it all", before, after, 2, 0, mib)
	if !s.Proxy(0).Running() || strings.Contains(s.Proxy(0).Log(), "panicked") {
		t.Error("the proxy has died or panicked")
	}
}

// open makes connections that send something and then nothing more. They come from
// many addresses of this machine: one has not enough ports.
func open(t *testing.T, addr string, n int, first []byte, tune func(*net.TCPConn)) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, 0, n)
	for i := range n {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/5000))}, Timeout: 10 * time.Second}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			closeAll(conns)
			t.Fatalf("connection %d: %v", i, err)
		}
		if tune != nil {
			tune(nc.(*net.TCPConn))
		}
		if _, err := nc.Write(first); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	return conns
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// spray asks with keys that nobody has, so many a second if they go through, until end
// is called.
func spray(t *testing.T, addr string, rate int, sent, refused *atomic.Int64) (end func()) {
	const conns = 16
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range conns {
		group.Go(func() {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = nc.Close() }()
			br := bufio.NewReader(nc)
			began, n := time.Now(), 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				n++
				time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second * conns / time.Duration(rate))))
				status, err := ask(nc, br, chat(fmt.Sprintf("sk-%016x%016x", rand.Uint64(), rand.Uint64()), `{"model":"mock-chat"}`))
				if err != nil {
					t.Errorf("an unknown key: %v", err)
					return
				}
				sent.Add(1)
				if status == 401 || status == 503 {
					refused.Add(1)
				}
			}
		})
	}
	return func() { close(stop); group.Wait() }
}
