package obs

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("panic %q, want %q", got, want)
		}
	}()
	f()
}

func TestBug(t *testing.T) {
	mustPanic(t, "BUG: 1 is not 2", func() { Bug("%d is not %d", 1, 2) })
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log := NewLogger(&b, "json", "warn")
	log.Info("unseen")
	log.Warn("seen", "request_id", "req_1")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["msg"] != "seen" || line["request_id"] != "req_1" {
		t.Errorf("%v: %s", err, b.String())
	}
	b.Reset()
	NewLogger(&b, "text", "debug").Debug("seen")
	if !strings.Contains(b.String(), "msg=seen") {
		t.Errorf("got %s", b.String())
	}
	if Discard().Enabled(t.Context(), slog.LevelError) {
		t.Error("the discarding logger is enabled")
	}
}

// Two objects of one process do not share metrics.
func TestMetrics(t *testing.T) {
	a, b := NewMetrics(false), NewMetrics(true)
	a.Counter(`relay_requests_total{code="200"}`).Add(3)
	b.Counter(`relay_requests_total{code="200"}`).Add(5)
	a.Gauge("relay_streams", func() float64 { return 7 })
	a.WriterFunc(func(w io.Writer) { _, _ = io.WriteString(w, "relay_extra 1\n") })
	if a.Counter(`relay_requests_total{code="200"}`).Get() != 3 {
		t.Error("a second look-up is another counter")
	}
	var out bytes.Buffer
	a.WriteMetrics(&out)
	for _, want := range []string{`relay_requests_total{code="200"} 3`, "relay_streams 7", "relay_extra 1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "go_goroutines") {
		t.Error("process metrics were not asked for")
	}
	out.Reset()
	b.WriteMetrics(&out)
	if !strings.Contains(out.String(), "go_goroutines") {
		t.Error("process metrics are missing")
	}
	mustPanic(t, "relay_", func() { a.Counter("requests_total") })
}

func TestReady(t *testing.T) {
	r := NewReady()
	if !r.OK() {
		t.Error("nothing to wait for, and not ready")
	}
	db, feed := r.Condition("database"), r.Condition("feed")
	if r.OK() {
		t.Error("ready at start")
	}
	db.Met()
	db.Met()
	if r.OK() {
		t.Error("ready with one of two")
	}
	feed.Met()
	if !r.OK() {
		t.Error("not ready with both")
	}
	feed.Unmet("lost")
	feed.Unmet("draining")
	if r.OK() {
		t.Error("ready with a lost one")
	}
	if got, want := string(r.JSON()), `{"ready":false,"conditions":{"database":"ok","feed":"draining"}}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHandler(t *testing.T) {
	m, r := NewMetrics(false), NewReady()
	m.Counter("relay_x_total").Inc()
	c := r.Condition("database")
	h := Handler(m, r)
	get := func(path, peer string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.RemoteAddr = peer
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	f := func(path, peer string, status int, body string) {
		t.Helper()
		if w := get(path, peer); w.Code != status || !strings.Contains(w.Body.String(), body) {
			t.Errorf("%s from %s: %d %s", path, peer, w.Code, w.Body)
		}
	}
	f("/healthz", "10.0.0.1:1", 200, "ok")
	f("/readyz", "10.0.0.1:1", 503, `"database":"starting"`)
	c.Met()
	f("/readyz", "10.0.0.1:1", 200, `"ready":true`)
	f("/metrics", "10.0.0.1:1", 200, "relay_x_total 1")
	f("/nothing", "10.0.0.1:1", 404, "")
	// Ruling 1.12: profiles are for loopback, also when the port is not.
	f("/debug/pprof/", "10.0.0.1:1", 403, "loopback")
	f("/debug/pprof/cmdline", "10.0.0.1:1", 403, "loopback")
	f("/debug/pprof/cmdline", "127.0.0.1:1", 200, "")
	f("/debug/pprof/goroutine?debug=1", "[::1]:1", 200, "goroutine")
}

func TestListenInternal(t *testing.T) {
	r := NewReady()
	i, err := ListenInternal("127.0.0.1:0", Handler(NewMetrics(false), r))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ListenInternal(i.Addr(), nil); err == nil {
		t.Error("one address twice")
	}
	res, err := http.Get("http://" + i.Addr() + "/healthz")
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%v %v", res, err)
	}
	res.Body.Close()
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if _, err := http.Get("http://" + i.Addr() + "/healthz"); err == nil {
		t.Error("still serving")
	}
}
