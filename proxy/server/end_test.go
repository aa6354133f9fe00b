package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/usage"
)

const (
	oneEvent = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}` + "\n\n"
	finish   = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}` + "\n\n" +
		"data: [DONE]\n\n"
)

// streams starts a relay whose provider answers each request with the text of say, and then
// waits for the end of pause before it ends its response.
func streams(t *testing.T, text string, pause <-chan struct{}) *proxytest.Kit {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, oneEvent, text)
		_, _ = io.WriteString(w, finish)
		if pause != nil {
			w.(http.Flusher).Flush()
			<-pause
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{{Slug: "p", Protocol: "openai", Dialect: "openai", BaseURL: "http://" + l.Addr().String() + "/v1", Keys: []string{"sk-upstream-secret"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Output: 4096, Routes: []proxytest.Route{{Provider: "p", Model: "up"}}}},
	})
}

// connect is a connection to the relay that lasts as long as the test, at most 15 s.
func connect(t *testing.T, k *proxytest.Kit) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	return c
}

const ask = `{"model":"gpt-a","max_tokens":10,"stream":true,"messages":[{"role":"user","content":"x"}]}`

// Streams that were asked for all at once come one behind the other, each with its whole
// end, whatever their size: what is held back for the end goes out with it and nothing else.
func TestStreamsPipelined(t *testing.T) {
	for _, size := range []int{1, 5 << 10, 40 << 10, 300 << 10} {
		text := strings.Repeat("y", size)
		k := streams(t, text, nil)
		c, err := net.Dial("tcp", k.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(15 * time.Second))
		const n = 3
		if _, err := io.WriteString(c, strings.Repeat(request(k, "/v1/chat/completions", ask), n)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		for i := range n {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("answer %d of %d bytes: %v", i, size, err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(b), text) || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
				t.Fatalf("answer %d of %d bytes: %d bytes, %v", i, size, len(b), err)
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if b, err := r.ReadByte(); err == nil {
			t.Errorf("%q behind the last answer", b)
		}
		_ = c.Close()
		for _, rec := range k.WaitRecords(t, n) {
			if rec.Status != usage.Success {
				t.Errorf("%+v", rec)
			}
		}
	}
}

// A provider that has said all and does not end its response holds nothing back from the
// customer, who has the end of the stream at once.
func TestEndOfAStreamDoesNotWaitForTheProvider(t *testing.T) {
	pause := make(chan struct{})
	k := streams(t, "y", pause)
	defer close(pause)
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond)) // the provider has a second
	if _, err := io.WriteString(c, request(k, "/v1/chat/completions", ask)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if line == "data: [DONE]\n" {
			return
		}
	}
}

// One who ends its connection with its only request sees the end of it at once, however many
// writes the answer takes.
func TestEndBehindOneStream(t *testing.T) {
	k := streams(t, strings.Repeat("y", 300<<10), nil)
	c := connect(t, k)
	if _, err := io.WriteString(c, request(k, "/v1/chat/completions", ask)); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	began := time.Now()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 250*time.Millisecond {
		t.Errorf("the end came after %v", d)
	}
}

// A customer who asks again and again, and ends with its last request, sees the end of its
// connection: the read behind a busy connection's answer does not look before it waits, but
// not for long.
func TestEndBehindABusyConnection(t *testing.T) {
	k := streams(t, "y", nil)
	c := connect(t, k)
	r := bufio.NewReader(c)
	for i := range 10 {
		if _, err := io.WriteString(c, request(k, "/v1/chat/completions", ask)); err != nil {
			t.Fatal(err)
		}
		if i == 9 {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
			t.Fatalf("%q %v", b, err)
		}
	}
	began := time.Now()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("the end came after %v", d)
	}
}
