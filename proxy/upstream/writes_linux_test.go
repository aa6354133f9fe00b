package upstream

import (
	"bufio"
	"net"
	"testing"
)

// A request whose body stands with its head goes to the upstream in one write, with the read
// of its answer: a part that is empty is none, though the kernel would take it.
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
	head := []byte("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	var call Call
	if err := call.DoParts(h, head, make([][]byte, 3), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := call.Next(); err != nil || string(b) != "ok" {
		t.Fatalf("%q, %v", b, err)
	}
	call.Close()

	c, _, err := h.acquire(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.discard(c)
	if err := send(c, head, make([][]byte, 3)); err != nil || !c.sock.Owes() {
		t.Errorf("%v, written at once %v", err, !c.sock.Owes())
	}
}
