package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
)

// post is a request as bytes.
func post(token, body string) string {
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		token, len(body), body)
}

// G5: who has no key is refused at once as long as there are few; from a hundred a second on
// each waits a second for it, and whoever has a key waits for nothing.
func TestStrangersAreSlowedDown(t *testing.T) {
	k, _ := start(t, proxytest.Options{})
	const conns = 300
	var refused atomic.Int64
	stop := time.Now().Add(2500 * time.Millisecond)
	var group sync.WaitGroup
	for i := range conns {
		group.Go(func() {
			c, err := net.Dial("tcp", k.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			br := bufio.NewReader(c)
			for n := 0; time.Now().Before(stop); n++ {
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.WriteString(c, post(fmt.Sprintf("sk-%016x%016x", i, n), `{"model":"gpt-a"}`))
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Errorf("a stranger's answer: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("a stranger got %d", resp.StatusCode)
				}
				refused.Add(1)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	var slowest time.Duration
	for range 20 {
		began := time.Now()
		if status, _, body, _ := raw(t, k, post(k.Token, `{"model":"gpt-a","messages":[{"role":"user","content":"hi"}]}`)); status != http.StatusOK {
			t.Fatalf("a customer amid strangers: %d %s", status, body)
		}
		slowest = max(slowest, time.Since(began))
	}
	group.Wait()
	// At once: a hundred, and a hundred a second; the rest one a connection and second.
	if n, most := refused.Load(), int64(100+4*100+4*conns); n < conns || n > most {
		t.Errorf("%d strangers were answered, want %d to %d", n, conns, most)
	}
	if k.Server.Slowed() == 0 {
		t.Error("nobody was slowed down")
	}
	if slowest > 900*time.Millisecond {
		t.Errorf("a customer waited %v", slowest)
	}
}

// Drain ends the waiting: nobody keeps a proxy that is to stop.
func TestDrainAnswersStrangers(t *testing.T) {
	k, _ := start(t, proxytest.Options{})
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// More than are answered at once, on one connection.
	go func() { _, _ = io.WriteString(c, strings.Repeat(post("sk-nobody", `{}`), 300)) }()
	for k.Server.Slowed() == 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	k.Server.Drain()
	_ = c.SetDeadline(began.Add(10 * time.Second))
	var statuses []int
	for br := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			break
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
	}
	if took := time.Since(began); took > 800*time.Millisecond {
		t.Errorf("the connection was closed after %v", took)
	}
	if n := len(statuses); n < 102 || statuses[n-2] != http.StatusUnauthorized || statuses[n-1] != http.StatusServiceUnavailable {
		t.Errorf("%d answers, the last %v", n, statuses[max(0, n-3):])
	}
}

// Who sends a key and leaves leaves nothing behind, however many they are.
func TestStrangersWhoLeaveAreGone(t *testing.T) {
	k, _ := start(t, proxytest.Options{})
	for i := range 300 {
		c, err := net.Dial("tcp", k.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_, _ = io.WriteString(c, post(fmt.Sprintf("sk-%032x", i), `{"model":"gpt-a"}`))
		_ = c.Close()
	}
	for limit := time.Now().Add(10 * time.Second); k.Server.Conns.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d connections are open still", k.Server.Conns.Load())
		}
	}
	if status, _, body, _ := raw(t, k, post(k.Token, hello)); status != http.StatusOK {
		t.Errorf("a customer: %d %s", status, body)
	}
}
