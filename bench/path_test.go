//go:build !race

package bench

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/proxytest"
)

// fixedUpstream answers every request on a connection with the same bytes and
// allocates nothing doing so. A request ends with end.
func fixedUpstream(tb testing.TB, end, response []byte) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf, n := make([]byte, 256<<10), 0
				for {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; !bytes.HasSuffix(buf[:n], end) {
						continue
					}
					n = 0
					if _, err := c.Write(response); err != nil {
						return
					}
				}
			}()
		}
	}()
	tb.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String() + "/v1"
}

// exchange writes a request and reads until end, without allocating.
type wire struct {
	c   net.Conn
	buf []byte
	req []byte
	end []byte
}

func (w *wire) do(tb testing.TB) int {
	if _, err := w.c.Write(w.req); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for {
		m, err := w.c.Read(w.buf[n:])
		n += m
		if bytes.HasSuffix(w.buf[:n], w.end) {
			return n
		}
		if err != nil {
			tb.Fatalf("%v after %q", err, w.buf[:n])
		}
		if n == len(w.buf) {
			tb.Fatalf("no end in %q", w.buf[:400])
		}
	}
}

func dialWire(tb testing.TB, addr, key, body, end string) *wire {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	req := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nUser-Agent: test\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
	return &wire{c: c, buf: make([]byte, 1<<20), req: []byte(req), end: []byte(end)}
}

// bareProxy is a fasthttp reverse proxy that does nothing but forward (the floor of
// performance.md).
func bareProxy(tb testing.TB, base string, stream bool) string { return bare(tb, base, stream, false) }

// frugalProxy is the bare proxy in the relay's mode: a connection that waits for a request
// holds no memory for it. fasthttp allocates one byte a request for that.
func frugalProxy(tb testing.TB, base string, stream bool) string { return bare(tb, base, stream, true) }

func bare(tb testing.TB, base string, stream, frugal bool) string {
	tb.Helper()
	addr := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1")
	hc := &fasthttp.HostClient{
		Addr: addr, StreamResponseBody: stream, NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
		Dial: func(a string) (net.Conn, error) { return net.Dial("tcp", a) },
	}
	s := &fasthttp.Server{NoDefaultServerHeader: true, StreamRequestBody: false, ReduceMemoryUsage: frugal, Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.Request.Header.DelBytes([]byte("Connection"))
		if err := hc.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error(err.Error(), 502)
		}
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	tb.Cleanup(func() { _ = s.Shutdown(); hc.CloseIdleConnections(); <-done })
	return l.Addr().String()
}

const (
	warmBody   = `{"model":"gpt-a","messages":[{"role":"user","content":"hello"}],"max_tokens":100}`
	warmStream = `{"model":"gpt-a","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}],"max_tokens":100}`
	warmAnswer = `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"up-gpt","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`
)

func streamAnswer(events int) string {
	var b strings.Builder
	add := func(data string) {
		ev := "data: " + data + "\n\n"
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(ev), ev)
	}
	add(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"up-gpt","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`)
	for range events {
		add(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"up-gpt","choices":[{"index":0,"delta":{"content":"tok"},"finish_reason":null}],"usage":null}`)
	}
	add(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"up-gpt","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`)
	add(fmt.Sprintf(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"up-gpt","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}}`, events, events+9))
	add("[DONE]")
	return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + b.String() + "0\r\n\r\n"
}

func buffered() []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(warmAnswer), warmAnswer))
}

func warmKit(tb testing.TB, url string) *proxytest.Kit {
	return proxytest.New(tb, proxytest.Options{
		Balance:   1 << 60,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url, Keys: []string{"sk-up"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}}},
	})
}

// perRun measures allocations and bytes per run of the whole process.
func perRun(tb testing.TB, w *wire) (allocs, bytes float64) {
	for range 200 {
		w.do(tb) // pools, leases and buffers warm up
	}
	best, bestBytes := -1.0, 0.0
	for range 3 { // a collection or a heartbeat amid a run is not the request's
		runtime.GC()
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		const runs = 1000
		for range runs {
			w.do(tb)
		}
		runtime.ReadMemStats(&b)
		n, size := float64(b.Mallocs-a.Mallocs)/runs, float64(b.TotalAlloc-a.TotalAlloc)/runs
		if best < 0 || n < best {
			best, bestBytes = n, size
		}
	}
	return best, bestBytes
}

// Rulings 2.2: a warm request costs no allocation above a bare fasthttp proxy's,
// nor does any event of a stream.
func TestWarmRequestAllocations(t *testing.T) {
	end := []byte("}")
	t.Run("buffered", func(t *testing.T) {
		url := fixedUpstream(t, end, buffered())
		bare, bareBytes := perRun(t, dialWire(t, frugalProxy(t, url, false), "k", warmBody, warmAnswer))
		k := warmKit(t, url)
		shown := strings.Replace(warmAnswer, "up-gpt", "gpt-a", 1)
		relay, relayBytes := perRun(t, dialWire(t, k.Addr, k.Token, warmBody, shown))
		t.Logf("buffered: relay %.3f allocs %.0f B, bare proxy %.3f allocs %.0f B", relay, relayBytes, bare, bareBytes)
		if relay-bare >= 0.5 {
			t.Fatalf("%.3f allocations a request more than a bare proxy", relay-bare)
		}
		k.AtRest(t)
	})
	t.Run("stream", func(t *testing.T) {
		const last = "data: [DONE]\n\n\r\n0\r\n\r\n"
		var per [2]float64
		for i, events := range []int{10, 110} {
			url := fixedUpstream(t, end, []byte(streamAnswer(events)))
			bare, bareBytes := perRun(t, dialWire(t, frugalProxy(t, url, true), "k", warmStream, "0\r\n\r\n"))
			k := warmKit(t, url)
			relay, relayBytes := perRun(t, dialWire(t, k.Addr, k.Token, warmStream, last))
			t.Logf("stream of %d events: relay %.3f allocs %.0f B, bare proxy %.3f allocs %.0f B", events, relay, relayBytes, bare, bareBytes)
			if relay-bare >= 0.5 {
				t.Errorf("%.3f allocations a stream more than a bare proxy", relay-bare)
			}
			per[i] = relay
			k.AtRest(t)
		}
		if d := (per[1] - per[0]) / 100; d >= 0.01 {
			t.Fatalf("%.3f allocations an event", d)
		}
	})
}

// benchmarks of the whole path over loopback.
func benchmarkPath(b *testing.B, addr, key, body, end string) {
	w := dialWire(b, addr, key, body, end)
	for range 100 {
		w.do(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.do(b)
	}
}

func BenchmarkBuffered(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), buffered())
	b.Run("bare", func(b *testing.B) { benchmarkPath(b, bareProxy(b, url, false), "k", warmBody, warmAnswer) })
	b.Run("relay", func(b *testing.B) {
		k := warmKit(b, url)
		benchmarkPath(b, k.Addr, k.Token, warmBody, strings.Replace(warmAnswer, "up-gpt", "gpt-a", 1))
	})
}

func BenchmarkStream64(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), []byte(streamAnswer(64)))
	b.Run("bare", func(b *testing.B) { benchmarkPath(b, bareProxy(b, url, true), "k", warmStream, "0\r\n\r\n") })
	b.Run("relay", func(b *testing.B) {
		k := warmKit(b, url)
		benchmarkPath(b, k.Addr, k.Token, warmStream, "data: [DONE]\n\n\r\n0\r\n\r\n")
	})
}
