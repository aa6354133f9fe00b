package upstream

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"strconv"
	"testing"
)

// writeCalls is how many write system calls this process has made.
func writeCalls(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(b, []byte("syscw: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.Atoi(string(line))
	if !ok || err != nil {
		t.Fatalf("no count of writes in %q", b)
	}
	return n
}

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
	before := writeCalls(t)
	for range requests {
		ask()
	}
	// One of the client, one of the provider, and what the runtime and other tests' ends need.
	if n := writeCalls(t) - before; n > 3*requests {
		t.Fatalf("%d writes for %d requests and answers", n, requests)
	}
}
