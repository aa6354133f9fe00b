package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"tokenrelay/proxy/sock"
	"tokenrelay/shared/failpoint"
)

// Slice is the longest a read waits before the Waiter is asked.
const Slice = 500 * time.Millisecond

// seldom is the time between two reads from which on a look is taken to find nothing.
const seldom = time.Millisecond

// Waiter is asked about every Slice while a read from an upstream waits. It looks
// after the client (is it still there, does it need a heartbeat), the clock and
// the key; an error ends the call. It runs on the goroutine that reads.
type Waiter interface {
	// Tick returns nil to go on waiting. now is monotonic ns as of Now.
	Tick(now int64) error
}

var start = time.Now()

// Now is the monotonic clock of waits, ns since the process began.
func Now() int64 { return int64(time.Since(start)) }

// At is what Now was at t, which time.Now gave.
func At(t time.Time) int64 { return int64(t.Sub(start)) }

// Conn is one connection to a provider. Its Read never returns a timeout: it waits
// in slices and asks the waiter between them, below TLS, so that neither TLS nor a
// chunk reader ever loses its place.
type Conn struct {
	sock sock.Conn
	tls  *tls.Conn
	idx  int // place in the host's pool
	host *Host

	waiter    Waiter
	readUntil int64 // the read deadline that is set, 0 = none
	taken     int64 // bytes of the answer under way
	full      bool  // the last page was: this is no stream, whose pages wait for more
	one       [1]byte
	between   bool  // the next read is for a new chunk of a stream
	atHand    bool  // TLS is asked for what it has, not for what may come
	lastUsed  int64 // when the last read began
	requests  int64
	peekState int8
	peekFn    func(fd uintptr)
}

// slicedConn is the net.Conn that TLS reads through.
type slicedConn struct{ *Conn }

func (s slicedConn) Read(p []byte) (int, error) {
	if s.atHand {
		return 0, notAtHand{}
	}
	return s.readTCP(p)
}

func (s slicedConn) Write(p []byte) (int, error)        { return s.sock.Write(p) }
func (s slicedConn) Close() error                       { return s.sock.Close() }
func (s slicedConn) LocalAddr() net.Addr                { return s.sock.LocalAddr() }
func (s slicedConn) RemoteAddr() net.Addr               { return s.sock.RemoteAddr() }
func (s slicedConn) SetDeadline(t time.Time) error      { return s.sock.SetWriteDeadline(t) }
func (s slicedConn) SetReadDeadline(time.Time) error    { return nil }
func (s slicedConn) SetWriteDeadline(t time.Time) error { return s.sock.SetWriteDeadline(t) }

func newConn(tcp *net.TCPConn, host *Host) (*Conn, error) {
	c := &Conn{host: host}
	if err := c.sock.Init(tcp); err != nil {
		return nil, err
	}
	c.sock.OwedWithin, c.sock.Meanwhile = host.client.o.WriteTimeout, host.client.o.Meanwhile
	c.peekFn = c.peekIdle // once per connection: a method value allocates
	return c, nil
}

func (c *Conn) read(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Read(p)
	}
	return c.readTCP(p)
}

// readPage is read into memory that is lent when something has come. The caller releases
// it; nil: nothing came.
func (c *Conn) readPage() (page *sock.Page, n int, err error) {
	if c.tls != nil {
		return c.readPageTLS()
	}
	for {
		if err := c.slice(); err != nil {
			return nil, 0, err
		}
		if c.taken < sock.Large || !c.full {
			page, n, err = c.sock.ReadPage()
		} else {
			page = sock.NewPage()
			n, err = c.sock.ReadAsNet(page[:])
		}
		c.taken += int64(n)
		c.full = n == len(page)
		if waited, err := c.waits(n, err); !waited {
			return page, n, err
		}
		if page != nil {
			page.Release()
		}
	}
}

// readPageTLS waits for one byte and takes with it what TLS has at hand: it keeps what comes
// in memory of its own, and must not be given a page before it waits.
func (c *Conn) readPageTLS() (page *sock.Page, n int, err error) {
	if n, err = c.tls.Read(c.one[:]); n == 0 {
		return nil, 0, err
	}
	page = sock.NewPage()
	page[0] = c.one[0]
	c.atHand = true
	n, _ = c.tls.Read(page[1:]) // an error comes again with the next read
	c.atHand = false
	return page, 1 + n, nil
}

// notAtHand is what TLS is told when it asks for more than there is. It is temporary: TLS
// goes on later where it was.
type notAtHand struct{}

func (notAtHand) Error() string   { return "upstream: nothing at hand" }
func (notAtHand) Timeout() bool   { return true }
func (notAtHand) Temporary() bool { return true }

// readTCP waits for bytes in slices.
func (c *Conn) readTCP(p []byte) (n int, err error) {
	for {
		if err := c.slice(); err != nil {
			return 0, err
		}
		if c.taken < sock.Large {
			n, err = c.sock.Read(p)
		} else {
			n, err = c.sock.ReadAsNet(p)
		}
		c.taken += int64(n)
		if waited, err := c.waits(n, err); !waited {
			return n, err
		}
	}
}

// slice sets the deadline of a read. It is set anew only when less than half a slice is
// left of the last one, so a busy stream sets it twice a second and not once a read; a read
// can therefore wait less than a slice, never more.
func (c *Conn) slice() error {
	now := Now()
	c.sock.WaitFirst = c.between && now-c.lastUsed > int64(seldom)
	c.lastUsed = now
	if c.readUntil-now >= int64(Slice)/2 {
		return nil
	}
	c.readUntil = now + int64(Slice)
	return c.sock.SetReadDeadline(start.Add(time.Duration(c.readUntil)))
}

// waits says that a read only came to the end of its slice, and that it is to go on; else
// how it has ended.
func (c *Conn) waits(n int, err error) (bool, error) {
	if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	c.readUntil = 0
	if c.waiter != nil {
		if err := c.waiter.Tick(Now()); err != nil {
			return false, err
		}
	}
	return true, nil
}

// ask sends a whole request. Without TLS it goes out with the read of the answer, which
// begins to wait at once.
func (c *Conn) ask(req []byte) error {
	if c.tls != nil || len(req) >= sock.Large || failpoint.On {
		return c.write(req)
	}
	c.sock.Owe(req)
	return nil
}

// write sends all of p. An upstream that does not take the request within the
// host's write timeout has failed.
func (c *Conn) write(p []byte) error {
	// The kernel takes small requests at once; only a large one can wait.
	if len(p) > 16<<10 {
		if err := c.sock.SetWriteDeadline(time.Now().Add(c.host.client.o.WriteTimeout)); err != nil {
			return err
		}
		defer func() { _ = c.sock.SetWriteDeadline(time.Time{}) }()
	}
	var err error
	if c.tls != nil {
		_, err = c.tls.Write(p)
	} else {
		_, err = c.sock.Write(p)
	}
	return err
}

// lost is stale without a question to the kernel where Go's poller has heard of nothing. What
// came together with the last answer's end, and nobody announced, is found when it is used
// (Call.Do sends again) or by the janitor.
func (c *Conn) lost() bool { return !c.sock.Quiet() && c.stale() }

// stale reports whether an idle connection was closed, or spoken on, by the other
// side while nobody was listening.
func (c *Conn) stale() bool {
	c.peekState = 0
	if err := c.sock.Control(c.peekFn); err != nil {
		return true
	}
	return c.peekState != 1
}

func (c *Conn) peekIdle(fd uintptr) {
	n, errno := peek(fd)
	if n < 0 && (errno == syscall.EAGAIN || errno == syscall.EINTR) {
		c.peekState = 1 // nothing there: alive
		return
	}
	c.peekState = 2 // FIN, RST, or bytes nobody asked for
}

func (c *Conn) close() {
	if c.tls != nil {
		// No close_notify: it could wait for a peer that is gone.
		_ = c.tls.NetConn().Close()
		return
	}
	_ = c.sock.Close()
}
