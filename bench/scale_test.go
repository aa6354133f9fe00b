//go:build !race

package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/proxytest"
)

// The scale table: what a warm request costs when one number of the installation grows.
// `make scale` is every axis at its whole size, RELAY_SCALE=1; without it the axes end
// where they are set up in seconds.

func sizes(short, whole []int) []int {
	if os.Getenv("RELAY_SCALE") != "" {
		return whole
	}
	return short
}

// grown runs a way of a request and reports by how much the heap has grown for it.
func grown(b *testing.B, name string, n int, run func(b *testing.B)) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	b.Run(fmt.Sprintf("%s=%d", name, n), func(b *testing.B) {
		before := heap()
		run(b)
		b.ReportMetric(heap()-before, "heap-MiB")
	})
}

func BenchmarkScaleModels(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), buffered())
	for _, n := range sizes([]int{100, 1000}, []int{1000, 10_000}) {
		grown(b, "models", n, func(b *testing.B) {
			k := proxytest.New(b, manyModels(url, n))
			benchmarkPath(b, k.Addr, k.Token, warmBody, shown)
		})
	}
}

// BenchmarkScaleKeys asks with one key after another, each with a wallet of its own:
// keys, wallets and price rules in memory grow together.
func BenchmarkScaleKeys(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), buffered())
	for _, n := range sizes([]int{100, 2000}, []int{10_000, 100_000}) {
		grown(b, "keys+wallets", n, func(b *testing.B) {
			o := manyModels(url, 1)
			o.MoreKeys, o.Catalog = n, catalog.Options{ColdRate: 1 << 30}
			k := proxytest.New(b, o)
			w := dialWire(b, k.Addr, k.Tokens[0], warmBody, shown)
			at := strings.Index(string(w.req), k.Tokens[0])
			next := func(i int) {
				copy(w.req[at:], k.Tokens[i%n])
				w.do(b)
			}
			// Each has its lease then. The cache drops some of many fills: again until all are in.
			for loads := int64(-1); loads != k.Catalog.Stats().ColdLoads; {
				loads = k.Catalog.Stats().ColdLoads
				for i := range n {
					next(i)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				next(i * 7919)
				i++
			}
		})
	}
}

// BenchmarkScaleUpstreams goes round providers with addresses of their own.
func BenchmarkScaleUpstreams(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), buffered())
	for _, n := range sizes([]int{10, 100}, []int{100, 1000}) {
		grown(b, "upstreams", n, func(b *testing.B) {
			var o proxytest.Options
			o.Balance = 1 << 60
			for i := range n {
				slug := fmt.Sprintf("p%04d", i)
				o.Providers = append(o.Providers, proxytest.Provider{Slug: slug, Protocol: "openai", Dialect: "openai", BaseURL: strings.TrimSuffix(url, "/v1") + "/" + slug + "/v1", Keys: []string{"sk-up"}})
				o.Models = append(o.Models, proxytest.Model{ID: fmt.Sprintf("m%04d", i), Routes: []proxytest.Route{{Provider: slug, Model: "up-gpt"}}})
			}
			k := proxytest.New(b, o)
			w := dialWire(b, k.Addr, k.Token, strings.Replace(warmBody, "gpt-a", "m0000", 1), "}}")
			at := strings.Index(string(w.req), "m0000")
			next := func(i int) {
				copy(w.req[at:], fmt.Sprintf("m%04d", i%n))
				w.do(b)
			}
			for i := range n {
				next(i)
			}
			i := 0
			for b.Loop() {
				next(i)
				i++
			}
		})
	}
}

// BenchmarkScaleStreams answers requests while so many streams are open and silent.
func BenchmarkScaleStreams(b *testing.B) {
	most := mostStreams(b)
	for _, n := range sizes([]int{0, 200}, []int{most / 10, most}) {
		grown(b, "streams", n, func(b *testing.B) {
			slow := silentUpstream(b)
			o := manyModels(fixedUpstream(b, []byte("}"), buffered()), 1)
			o.Providers = append(o.Providers, proxytest.Provider{Slug: "slow", Protocol: "openai", Dialect: "openai", BaseURL: slow, Keys: []string{"sk-up"}})
			o.Models = append(o.Models, proxytest.Model{ID: "gpt-s", Routes: []proxytest.Route{{Provider: "slow", Model: "up-gpt"}}})
			o.Relay.IdleTimeout, o.Relay.MaxRequest = 10*time.Minute, 20*time.Minute
			o.Cells = n + 64
			k := proxytest.New(b, o)
			body := strings.Replace(warmStream, "gpt-a", "gpt-s", 1)
			for i := range n {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(1+i/5000))}}
				c, err := d.Dial("tcp", k.Addr)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				req := "POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer " + k.Token + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
				if _, err := c.Write([]byte(req)); err != nil {
					b.Fatal(err)
				}
				if line, err := bufio.NewReaderSize(c, 64).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
					b.Fatalf("stream %d: %q %v", i, line, err)
				}
			}
			benchmarkPath(b, k.Addr, k.Token, warmBody, shown)
		})
	}
}

// silentUpstream begins a stream on every connection, and says nothing more.
func silentUpstream(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	event := `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up-gpt","choices":[{"index":0,"delta":{"content":"tok"},"finish_reason":null}],"usage":null}` + "\n\n"
	begin := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(event), event)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 1024)
				if _, err := c.Read(buf); err != nil {
					return
				}
				_, _ = c.Write(begin)
				for err == nil {
					_, err = c.Read(buf)
				}
			}()
		}
	}()
	tb.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String() + "/v1"
}

// mostStreams is 10,000, or as many as the process may have descriptors for: both ends of
// both connections of a stream are here.
func mostStreams(tb testing.TB) int {
	tb.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		tb.Fatal(err)
	}
	return min(10_000, int(l.Cur-1000)/4)
}
