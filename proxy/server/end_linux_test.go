package server_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"tokenrelay/shared/apptest/calls"
)

// The last events of a stream, its last chunk and the line behind it are one write.
func TestEndOfAStreamIsOneWrite(t *testing.T) {
	k := streams(t, "y", nil)
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	b := make([]byte, 1<<16)
	one := func() {
		if _, err := io.WriteString(c, request(k, "/v1/chat/completions", ask)); err != nil {
			t.Fatal(err)
		}
		for got := 0; !bytes.HasSuffix(b[:got], []byte("\r\n0\r\n\r\n")); {
			n, err := c.Read(b[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	one()
	const n = 200
	before := calls.Writes(t)
	for range n {
		one()
	}
	// The client's, the relay's to the provider, the provider's (one or two), the relay's to
	// the client; the journal's and the runtime's now and then.
	if got := float64(calls.Writes(t)-before) / n; got > 5.5 {
		t.Errorf("%.2f writes a stream", got)
	} else {
		t.Logf("%.2f writes a stream", got)
	}
}
