package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen opens the public port. What its connections need of the kernel they inherit from
// it: set on each, they are five system calls of a connection that may be one of a flood.
func Listen(addr string) (net.Listener, error) {
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	}
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			for _, o := range options {
				failed = errors.Join(failed, os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), o.level, o.name, o.value)))
			}
		})
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the public address: %w", err)
	}
	return l, nil
}

// listener wraps accepted connections, and accepts them in turns with everything else.
type listener struct {
	net.Listener
	s        *Server
	turn     *turn
	accepted int
}

// turnConns is how many connections are accepted before the network is looked at.
const turnConns = 4

func (l *listener) Accept() (net.Conn, error) {
	for {
		if l.accepted++; l.accepted%turnConns == 0 {
			l.turn.take()
		}
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp := nc.(*net.TCPConn)
		c := &conn{s: l.s}
		if err := c.Init(tcp); err != nil {
			_ = tcp.Close()
			continue
		}
		if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
			c.ip = a.AddrPort().Addr().Unmap()
		}
		c.lookFn = c.look // once per connection: a method value allocates
		l.s.Conns.Add(1)
		l.s.mu.Lock()
		if c.unused = !l.s.closed; c.unused {
			l.s.unused[c] = struct{}{}
		} else { // it came with the end
			_ = tcp.Close()
		}
		l.s.mu.Unlock()
		return c, nil
	}
}

// turn makes a goroutine wait until the runtime has looked at the network.
//
// It does so when a processor has nothing to run, or else every 10 ms. Whoever accepts a
// flood of connections always has the next, each is a goroutine to run, and requests of
// connections that are open are not seen meanwhile. A descriptor of our own that is ready
// is found by the same look that finds theirs.
type turn struct {
	file   *os.File
	raw    syscall.RawConn
	waited bool
	count  [8]byte
	fn     func(fd uintptr) bool
}

func newTurn() (*turn, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	t := &turn{file: os.NewFile(uintptr(fd), "eventfd")}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		_ = t.file.Close()
		return nil, err
	}
	t.fn = t.ready
	return t, nil
}

// take waits. It is for one goroutine at a time.
func (t *turn) take() {
	t.waited = false
	_ = t.raw.Read(t.fn) // closed: there is nothing to wait for
}

func (t *turn) close() { _ = t.file.Close() }

var one = [8]byte{1}

// ready is asked before the wait and behind it. What it writes is written when the runtime
// listens: a look before would have been for nothing.
func (t *turn) ready(fd uintptr) bool {
	if !t.waited {
		t.waited = true
		_, err := unix.Write(int(fd), one[:])
		return err != nil
	}
	_, _ = unix.Read(int(fd), t.count[:])
	return true
}
