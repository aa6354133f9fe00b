package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What is to be done while the upstream works is done once a request, when the upstream has
// it and before it has answered: in one piece, in several, large, and over TLS.
func TestMeanwhile(t *testing.T) {
	asked := make(chan struct{}, 1)
	done := make(chan struct{}, 8)
	o := Options{TLS: &tls.Config{InsecureSkipVerify: true}, Meanwhile: func() {
		done <- struct{}{}
	}}
	plain := provider(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			asked <- struct{}{}
			<-done // the answer waits for it
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		}
	})
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = bytes.NewBuffer(nil).ReadFrom(r.Body)
		asked <- struct{}{}
		<-done
		_, _ = w.Write([]byte("ok"))
	}))
	t.Cleanup(secure.Close)
	client := newTestClient(t, o)
	for _, url := range []string{plain, secure.URL} {
		h, err := client.Host(url)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{2, 300_000} {
			for _, parts := range []bool{false, true} {
				body := strings.Repeat("b", size)
				head := fmt.Sprintf("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
				var call Call
				var err error
				if parts {
					err = call.DoParts(h, []byte(head), [][]byte{[]byte(body)}, nil)
				} else {
					err = call.Do(h, []byte(head+body), nil)
				}
				if err != nil {
					t.Fatal(url, size, parts, err)
				}
				if b, err := readAll(&call); err != nil || string(b) != "ok" {
					t.Fatalf("%q, %v", b, err)
				}
				call.Close()
				<-asked
				if len(done) != 0 {
					t.Fatalf("%s, %d bytes, in parts %v: done %d times too often", url, size, parts, len(done))
				}
			}
		}
	}
}
