package server_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// The last events of a stream, its last chunk and the line behind it are one write.
func TestEndOfAStreamIsOneWrite(t *testing.T) {
	k := streams(t, "y", nil)
	c := connect(t, k)
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
	before := segments(t, c)
	for range n {
		one()
	}
	// More only when the relay has read what the provider wrote first before the rest has come.
	if got := float64(segments(t, c)-before) / n; got < 1 || got > 1.5 {
		t.Errorf("%.2f writes a stream", got)
	} else {
		t.Logf("%.2f writes a stream", got)
	}
}

// segments is how many segments with bytes have come on a connection: over loopback as many
// as there were writes of less than 32 KiB.
func segments(t *testing.T, c net.Conn) int {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if e := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Data_segs_in)
		}
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return n
}
