package api

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What the HTTP server refuses by itself is an envelope too, with its own status.
func TestServerLimits(t *testing.T) {
	app := bare()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(ln) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for name, tc := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"body over the limit": {"POST /openapi/v1/api-keys HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n", 413, "body_too_large"},
		"huge header":         {"GET /openapi/v1/client HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", 431, "headers_too_large"},
		"no HTTP":             {"\x16\x03\x01\x00\x00\r\n\r\n", 400, "invalid_request"},
		"negative length":     {"POST /openapi/v1/api-keys HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "invalid_request"},
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, tc.request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		conn.Close()
		var e envelope
		if err != nil || resp.StatusCode != tc.status || json.Unmarshal(body, &e) != nil || e.Code == nil || *e.Code != tc.code || e.RequestID == "" {
			t.Errorf("%s: %d %s (%v), want %d %s", name, resp.StatusCode, body, err, tc.status, tc.code)
		}
	}
}
