package mockllm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/bytedance/sonic"))
	os.Exit(0)
}

// start serves a mock provider until the test ends.
func start(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, addr.String()
}

// wire is what a raw client saw of one answer.
type wire struct {
	raw    []byte // everything up to the end or the error
	head   string
	body   []byte // chunked coding undone as far as it went
	whole  bool   // the HTTP message was complete
	reset  bool   // the connection ended in a reset
	eof    bool   // the connection ended cleanly
	silent bool   // nothing more came within the time
	took   time.Duration
}

func post(path, body string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: mock\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n" + body
}

func chatBody(model, script string, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello %s"}]%s}`, model, script, more)
}

const streamed = `,"stream":true,"stream_options":{"include_usage":true}`

// talk sends one raw request and reads until the message is complete, the
// connection ends, or nothing comes for the patience.
func talk(t testing.TB, addr, request string, patience time.Duration) wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	return listen(nc, patience)
}

func listen(nc net.Conn, patience time.Duration) wire {
	var w wire
	began := time.Now()
	buf := make([]byte, 64<<10)
	for {
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		n, err := nc.Read(buf)
		w.raw = append(w.raw, buf[:n]...)
		w.parse()
		if w.whole && !strings.Contains(w.head, "Connection: close") {
			break
		}
		if err != nil {
			var ne net.Error
			switch {
			case errors.Is(err, io.EOF):
				w.eof = true
			case errors.Is(err, syscall.ECONNRESET):
				w.reset = true
			case errors.As(err, &ne) && ne.Timeout():
				w.silent = true
			}
			break
		}
	}
	w.took = time.Since(began)
	return w
}

func (w *wire) parse() {
	rest := w.raw
	for bytes.HasPrefix(rest, []byte("HTTP/1.1 1")) { // interim answers
		i := bytes.Index(rest, []byte("\r\n\r\n"))
		if i < 0 {
			return
		}
		rest = rest[i+4:]
	}
	i := bytes.Index(rest, []byte("\r\n\r\n"))
	if i < 0 {
		return
	}
	w.head, rest = string(rest[:i+4]), rest[i+4:]
	lower := strings.ToLower(w.head)
	if !strings.Contains(lower, "transfer-encoding: chunked") {
		w.body = rest
		if _, after, ok := strings.Cut(lower, "content-length: "); ok {
			n, _ := strconv.Atoi(after[:strings.IndexByte(after, '\r')])
			w.whole = len(rest) >= n
		}
		return
	}
	w.body, w.whole = nil, false
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return
		}
		n, err := strconv.ParseInt(string(line), 16, 64)
		if err != nil || n == 0 {
			w.whole = err == nil && bytes.HasPrefix(after, []byte("\r\n"))
			return
		}
		have := min(int(n), len(after))
		w.body = append(w.body, after[:have]...)
		if len(after) < int(n)+2 {
			return
		}
		rest = after[n+2:]
	}
}

func (w *wire) status(t testing.TB) int {
	t.Helper()
	if len(w.head) < 12 {
		t.Fatalf("no status line in %q", w.raw)
	}
	n, err := strconv.Atoi(w.head[9:12])
	if err != nil {
		t.Fatalf("no status in %q", w.head)
	}
	return n
}

func dataEvents(body []byte) int { return bytes.Count(body, []byte("data:")) }

func lastRecord(t testing.TB, s *Server, marker string) Record {
	t.Helper()
	list, ok := s.meter.Wait(Filter{Marker: marker}, 1, 5*time.Second)
	if !ok {
		t.Fatalf("the meter has no ended request %q", marker)
	}
	return list[len(list)-1]
}
