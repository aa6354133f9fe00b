package upstream

import (
	"bufio"
	"net"
	"testing"

	"tokenrelay/shared/apptest/calls"
)

// A request whose body stands with its head goes to the upstream in one write: a part that
// is empty is none, though the kernel would take it.
func TestEmptyPartsAreNotWritten(t *testing.T) {
	url := provider(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		}
	})
	h, err := newTestClient(t, Options{}).Host(url)
	if err != nil {
		t.Fatal(err)
	}
	var call Call
	ask := func() {
		t.Helper()
		if err := call.DoParts(h, []byte("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"), make([][]byte, 3), nil); err != nil {
			t.Fatal(err)
		}
		if b, err := call.Next(); err != nil || string(b) != "ok" {
			t.Fatalf("%q, %v", b, err)
		}
		call.Close()
	}
	ask()
	const requests = 300
	before := calls.Writes(t)
	for range requests {
		ask()
	}
	// One of the client, one of the provider, and what the runtime and other tests' ends need.
	if n := calls.Writes(t) - before; n > 3*requests {
		t.Fatalf("%d writes for %d requests and answers", n, requests)
	}
}
