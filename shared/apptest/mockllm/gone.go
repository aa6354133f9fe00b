package mockllm

import (
	"net"
	"syscall"
)

// lookout tells whether the client of a connection has closed it. A write does not: the
// first one after the close still succeeds.
type lookout struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	gone bool
}

func newLookout(nc net.Conn) (l *lookout) {
	l = &lookout{}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return l // never seen to be gone
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return l
	}
	l.raw = raw
	var b [1]byte
	l.look = func(fd uintptr) { // once per connection: a closure allocates
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		l.gone = err == nil && n == 0 || err == syscall.ECONNRESET
	}
	return l
}

// left says that the client has closed: what is written now is heard by nobody.
func (l *lookout) left() bool {
	if l.raw == nil || l.gone {
		return l.gone
	}
	if err := l.raw.Control(l.look); err != nil {
		return true
	}
	return l.gone
}
