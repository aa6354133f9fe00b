package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provider is a raw server: script is called once per connection.
func provider(t testing.TB, script func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
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
				script(c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String() + "/v1/"
}

func readRequest(r *bufio.Reader) (*http.Request, []byte, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil, err
	}
	b, err := io.ReadAll(req.Body)
	return req, b, err
}

func newTestClient(t testing.TB, o Options) *Client {
	c := NewClient(o)
	t.Cleanup(c.Close)
	return c
}

func request(h *Host, body string) []byte {
	b := h.AppendRequestLine(nil, "/chat/completions")
	b = AppendField(b, "Authorization", "Bearer k")
	b, at := AppendEnd(b)
	b = append(b, body...)
	PutLength(b, at)
	return b
}

func readAll(c *Call) ([]byte, error) {
	var out []byte
	for {
		p, err := c.Next()
		out = append(out, p...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func TestRequestIsWhole(t *testing.T) {
	got := make(chan string, 1)
	url := provider(t, func(c net.Conn, r *bufio.Reader) {
		req, body, err := readRequest(r)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- fmt.Sprint(req.Method, " ", req.URL.Path, " ", req.Header.Get("Authorization"), " ", req.ContentLength, " ", string(body))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	h, err := newTestClient(t, Options{}).Host(url)
	if err != nil {
		t.Fatal(err)
	}
	var c Call
	if err := c.Do(h, request(h, `{"a":1}`), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := readAll(&c); err != nil || string(b) != "ok" {
		t.Fatalf("got %q, %v", b, err)
	}
	c.Close()
	if g := <-got; g != `POST /v1/chat/completions Bearer k 7 {"a":1}` {
		t.Fatalf("provider saw %q", g)
	}
}

// The same response in every framing, written in pieces of every size, reads the
// same; and only a complete one lets the connection serve again.
func TestBodyFramingAtAnySplit(t *testing.T) {
	const body = "data: {\"x\":1}\n\ndata: [DONE]\n\n"
	framings := map[string]string{
		"length":  fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		"chunked": fmt.Sprintf("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\n%s\r\n%X\r\n%s\r\n0\r\nTrailer: x\r\n\r\n", body[:5], len(body)-5, body[5:]),
	}
	for name, raw := range framings {
		for size := 1; size <= len(raw); size += 1 + size/8 {
			url := provider(t, func(c net.Conn, r *bufio.Reader) {
				for {
					if _, _, err := readRequest(r); err != nil {
						return
					}
					for i := 0; i < len(raw); i += size {
						if _, err := io.WriteString(c, raw[i:min(i+size, len(raw))]); err != nil {
							return
						}
					}
				}
			})
			cl := newTestClient(t, Options{})
			h, _ := cl.Host(url)
			for range 2 {
				var c Call
				if err := c.Do(h, request(h, "{}"), nil); err != nil {
					t.Fatalf("%s/%d: %v", name, size, err)
				}
				if b, err := readAll(&c); err != nil || string(b) != body {
					t.Fatalf("%s/%d: got %q, %v", name, size, b, err)
				}
				c.Close()
			}
			if cl.Dials.Load() != 1 {
				t.Fatalf("%s/%d: %d connections for two requests", name, size, cl.Dials.Load())
			}
		}
	}
}

// C5, C6: a response that ends early is never taken for a complete one.
func TestTruncatedBody(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
	} {
		url := provider(t, func(c net.Conn, r *bufio.Reader) {
			if _, _, err := readRequest(r); err == nil {
				io.WriteString(c, raw)
			}
		})
		h, _ := newTestClient(t, Options{}).Host(url)
		var c Call
		if err := c.Do(h, request(h, "{}"), nil); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if b, err := readAll(&c); !errors.Is(err, ErrTruncated) || string(b) != "abc" {
			t.Fatalf("%q: got %q, %v; want abc, ErrTruncated", raw, b, err)
		}
		if d := time.Since(began); d > Slice+300*time.Millisecond {
			t.Errorf("%q: seen after %v", raw, d)
		}
		c.Close()
	}
}

func TestBadChunks(t *testing.T) {
	for _, chunk := range []string{"0x3\r\nabc\r\n", "-3\r\nabc\r\n", "\r\n", "g\r\n", "3\r\nabcX\r\n0\r\n\r\n", "10000000000000000\r\n", strings.Repeat("a", 5000)} {
		url := provider(t, func(c net.Conn, r *bufio.Reader) {
			if _, _, err := readRequest(r); err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk)
			}
		})
		h, _ := newTestClient(t, Options{}).Host(url)
		var c Call
		if err := c.Do(h, request(h, "{}"), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(&c); !errors.Is(err, ErrBadChunk) {
			t.Fatalf("%.20q: got %v; want ErrBadChunk", chunk, err)
		}
		c.Close()
	}
}

// C19: a keep-alive connection that the provider closed while it was idle, or as
// the request was written, is replaced without the caller noticing.
func TestClosedKeepAliveIsReplaced(t *testing.T) {
	var conns atomic.Int64
	url := provider(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		if _, _, err := readRequest(r); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}) // closes after each response without saying so
	cl := newTestClient(t, Options{})
	h, _ := cl.Host(url)
	for range 50 {
		var c Call
		if err := c.Do(h, request(h, "{}"), nil); err != nil {
			t.Fatal(err)
		}
		if b, err := readAll(&c); err != nil || string(b) != "ok" {
			t.Fatalf("got %q, %v", b, err)
		}
		c.Close()
	}
	if conns.Load() != 50 {
		t.Fatalf("%d connections for 50 requests", conns.Load())
	}
}

type countingWaiter struct {
	ticks int
	err   error
}

func (w *countingWaiter) Tick(int64) error {
	w.ticks++
	return w.err
}

// temporary is an error that only pauses a read.
type temporary struct{}

func (temporary) Error() string   { return "pause" }
func (temporary) Timeout() bool   { return true }
func (temporary) Temporary() bool { return true }

// A silent upstream: the waiter is asked at least every Slice, its error ends the
// wait, and after a temporary one the read goes on where it was, under TLS too.
func TestWaiterOverTLS(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "second")
	}))
	srv.StartTLS()
	defer srv.Close()
	cl := newTestClient(t, Options{TLS: &tls.Config{InsecureSkipVerify: true}})
	h, _ := cl.Host(srv.URL)
	w := &countingWaiter{}
	var c Call
	if err := c.Do(h, request(h, "{}"), w); err != nil {
		t.Fatal(err)
	}
	p, err := c.Next()
	if err != nil || string(p) != "first" {
		t.Fatalf("got %q, %v", p, err)
	}
	w.err = temporary{}
	if _, err := c.Next(); !errors.As(err, &temporary{}) {
		t.Fatalf("got %v; want the waiter's error", err)
	}
	if w.ticks == 0 {
		t.Fatal("the waiter was never asked")
	}
	close(release)
	w.err = nil
	if rest, err := readAll(&c); err != nil || string(rest) != "second" {
		t.Fatalf("after a pause: got %q, %v", rest, err)
	}
	c.Close()
	if n := cl.Discards.Load(); n != 0 {
		t.Fatalf("%d connections discarded", n)
	}
}

// memoryless is a Waiter that sees whether the call that waits holds memory.
type memoryless struct {
	c     *Call
	held  int
	ticks int
}

func (m *memoryless) Tick(int64) error {
	m.ticks++
	if m.c.page != nil || m.c.buf != nil {
		m.held++
	}
	return nil
}

// A call that waits holds no memory to read into, and what comes is whole, in records and
// writes of any size: one byte, a page, more than a page.
func TestWaitingHoldsNoMemory(t *testing.T) {
	var want []byte
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i, size := range []int{1, 1, 2, 300, 1, 16 << 10, 1, 16<<10 - 1, 16<<10 + 1, 100_000, 1} {
			p := bytes.Repeat([]byte{byte('a' + i)}, size)
			want = append(want, p...)
			_, _ = w.Write(p)
			w.(http.Flusher).Flush()
			if i == 0 || i == 5 {
				time.Sleep(Slice * 5 / 4)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	for _, start := range []func(*httptest.Server){(*httptest.Server).Start, (*httptest.Server).StartTLS} {
		want = nil
		srv := httptest.NewUnstartedServer(handler)
		start(srv)
		cl := newTestClient(t, Options{TLS: &tls.Config{InsecureSkipVerify: true}})
		h, _ := cl.Host(srv.URL)
		for range 2 {
			want = nil
			c := new(Call)
			w := &memoryless{c: c}
			if err := c.Do(h, request(h, "{}"), w); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(c)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes of %d came, %v", srv.URL, len(got), len(want), err)
			}
			if w.ticks == 0 || w.held != 0 {
				t.Errorf("%s: asked %d times, memory was held at %d of them", srv.URL, w.ticks, w.held)
			}
			c.Close()
		}
		if cl.Discards.Load() != 0 || cl.Dials.Load() != 1 {
			t.Errorf("%s: %d connections were made, %d discarded", srv.URL, cl.Dials.Load(), cl.Discards.Load())
		}
		srv.Close()
	}
}

func TestNoFreeConnection(t *testing.T) {
	url := provider(t, func(c net.Conn, r *bufio.Reader) {
		if _, _, err := readRequest(r); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			r.ReadByte()
		}
	})
	h, _ := newTestClient(t, Options{MaxConnsPerHost: 1}).Host(url)
	var a, b Call
	if err := a.Do(h, request(h, "{}"), nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Do(h, request(h, "{}"), nil); !errors.Is(err, ErrNoConn) {
		t.Fatalf("got %v; want ErrNoConn", err)
	}
	a.Close()
}

// A warm request allocates nothing.
func TestCallAllocations(t *testing.T) {
	resp := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("5\r\nhello\r\n", 20) + "0\r\n\r\n")
	url := provider(t, func(c net.Conn, r *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("{}")) {
				if _, err := c.Write(resp); err != nil {
					return
				}
			}
		}
	})
	h, _ := newTestClient(t, Options{}).Host(url)
	var c Call
	var req []byte
	w := &countingWaiter{}
	allocs := testing.AllocsPerRun(1000, func() {
		req = h.AppendRequestLine(req[:0], "/chat/completions")
		var at int
		req, at = AppendEnd(req)
		req = append(req, "{}"...)
		PutLength(req, at)
		if err := c.Do(h, req, w); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := c.Next(); err != nil {
				break
			}
		}
		c.Close()
	})
	if allocs != 0 {
		t.Fatalf("%v allocations per request", allocs)
	}
}

// The free list never hands one place to two takers.
func TestFreelistRace(t *testing.T) {
	const places = 8
	f := newFreelist(places)
	var owned [places]atomic.Int32
	for i := range places {
		f.push(i)
	}
	stop := time.Now().Add(300 * time.Millisecond)
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			var err error
			for time.Now().Before(stop) && err == nil {
				if i, ok := f.pop(); ok {
					if owned[i].Add(1) != 1 {
						err = fmt.Errorf("place %d has two owners", i)
					}
					owned[i].Add(-1)
					f.push(i)
				}
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for {
		if _, ok := f.pop(); !ok {
			break
		}
		n++
	}
	if n != places {
		t.Fatalf("%d places left of %d", n, places)
	}
}
