package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/server"
)

// G-22: who sends megabytes that are no requests waits for a turn with the next large body;
// small bodies and other customers do not, and what is a request is not held against it.
func TestUselessBodiesAreOwedFor(t *testing.T) {
	k, _ := start(t, proxytest.Options{MoreKeys: 1})
	const mib = 1 << 20
	junk := strings.Repeat("[", mib)
	large := fmt.Sprintf(`{"model":"gpt-a","messages":[{"role":"user","content":"%s mock:out=3"}]}`, strings.Repeat("word ", mib/5))
	send := func(token, body string, want int) time.Duration {
		t.Helper()
		began := time.Now()
		status, header, text, _ := raw(t, k, post(token, body))
		if status != want {
			t.Fatalf("%d %s %v, want %d", status, text, header, want)
		}
		return time.Since(began)
	}
	for range 5 {
		if took := send(k.Token, junk, http.StatusBadRequest); took > 900*time.Millisecond {
			t.Errorf("one of the first waited %v", took)
		}
	}
	if k.Server.Indebted() != 0 {
		t.Fatalf("%d have waited", k.Server.Indebted())
	}
	if took := send(k.Token, junk, http.StatusBadRequest); took < 300*time.Millisecond {
		t.Errorf("the sixth took %v", took)
	}
	if took := send(k.Token, large, http.StatusOK); took < 300*time.Millisecond {
		t.Errorf("a good one behind it took %v", took)
	}
	if n := k.Server.Indebted(); n != 2 {
		t.Errorf("%d have waited, want 2", n)
	}
	// It was forgiven: the next need not wait for it too.
	if took := send(k.Token, large, http.StatusOK); took > 900*time.Millisecond {
		t.Errorf("the next good one took %v", took)
	}
	// In chunks nobody knows how large it becomes: it waits, and is forgiven as well.
	chunked := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
		k.Token, len(hello), hello)
	send(k.Token, junk, http.StatusBadRequest)
	before := k.Server.Indebted()
	began := time.Now()
	for range 4 {
		if status, _, body, _ := raw(t, k, chunked); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if took := time.Since(began); took > 2500*time.Millisecond || k.Server.Indebted() == before {
		t.Errorf("4 in chunks took %v, %d waited", took, k.Server.Indebted()-before)
	}
	waited := k.Server.Indebted()
	send(k.Token, hello, http.StatusOK)
	send(k.Tokens[0], large, http.StatusOK)
	if n := k.Server.Indebted(); n != waited {
		t.Errorf("a small body or another customer waited: %d, before %d", n, waited)
	}
}

// A body in chunks that grows too large counts as such, and nobody is refused for ever.
func TestTooManyUselessBodies(t *testing.T) {
	k, _ := start(t, proxytest.Options{Server: server.Options{MaxBody: 11 << 20}})
	chunks := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", k.Token) +
		strings.Repeat("100000\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 11) + "1\r\nx\r\n" // the server has read nearly all when it refuses: nothing is reset
	if status, _, body, _ := raw(t, k, chunks); status != http.StatusRequestEntityTooLarge {
		t.Fatalf("%d %s", status, body)
	}
	status, header, body, closed := raw(t, k, post(k.Token, strings.Repeat("[", 1<<20)))
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || !closed || !strings.Contains(body, "more slowly") {
		t.Errorf("%d %v %s, closed %v", status, header, body, closed)
	}
	if status, _, body, _ := raw(t, k, post(k.Token, hello)); status != http.StatusOK {
		t.Errorf("a small request: %d %s", status, body)
	}
}
