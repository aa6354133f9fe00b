package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// acceptOne is a connection as the public port makes them, and its other end.
func acceptOne(t *testing.T) (*conn, *net.TCPConn) {
	t.Helper()
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	turn, err := newTurn()
	if err != nil {
		t.Fatal(err)
	}
	ours := &listener{Listener: l, s: &Server{start: time.Now(), unused: map[*conn]struct{}{}}, turn: turn}
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ours.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close(); _ = nc.Close(); _ = l.Close(); turn.close() })
	return nc.(*conn), far.(*net.TCPConn)
}

func option(t *testing.T, c *conn, level, name int) (value int) {
	t.Helper()
	if err := c.Control(func(fd uintptr) {
		var err error
		if value, err = unix.GetsockoptInt(int(fd), level, name); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// What the port was told, its connections have.
func TestConnectionsInheritOptions(t *testing.T) {
	c, _ := acceptOne(t)
	for _, o := range []struct {
		name               string
		level, option, val int
	}{
		{"SO_SNDBUF, which the kernel doubles", unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * sendBuffer},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		if got := option(t, c, o.level, o.option); got != o.val {
			t.Errorf("%s is %d, want %d", o.name, got, o.val)
		}
	}
	if !c.ip.IsLoopback() || !c.ip.Is4() {
		t.Errorf("the address is %v", c.ip)
	}
}

// A connection that waits takes next to nothing, and nothing of what was sent is lost.
func TestStopTaking(t *testing.T) {
	c, far := acceptOne(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // 256 KiB
	c.stopTaking()
	sent := make(chan error, 1)
	go func() {
		for at := 0; at < len(want); at += 1 << 10 { // as requests come
			if _, err := far.Write(want[at : at+1<<10]); err != nil {
				sent <- err
				return
			}
		}
		sent <- far.CloseWrite()
	}()
	time.Sleep(300 * time.Millisecond)
	if err := c.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err != nil || n > 16<<10 {
			t.Errorf("%d bytes were taken, %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	c.takeAgain()
	if got := option(t, c, unix.SOL_SOCKET, unix.SO_RCVBUF); got < receiveBuffer {
		t.Errorf("the kernel takes %d bytes", got)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came of %d: %v", len(got), len(want), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// Between two turns the network is looked at, even if there is always something to run.
func TestTurnLooksAtTheNetwork(t *testing.T) {
	turn, err := newTurn()
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	for range 2 * runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		}()
	}
	turn.take() // with all processors busy: the runtime's monitor finds it
	stop.Store(true)
	if n := testing.AllocsPerRun(1000, turn.take); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
	turn.close()
	turn.take() // does not wait for ever
}

// Nothing is written to one who has left.
func TestNoAnswerForOneWhoLeft(t *testing.T) {
	c, far := acceptOne(t)
	c.left = true
	if n, err := c.Write([]byte("HTTP/1.1 401")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d %v", n, err)
	}
	_ = c.Close()
	if b, err := io.ReadAll(far); err != nil || len(b) != 0 {
		t.Errorf("%q %v", b, err)
	}
}
