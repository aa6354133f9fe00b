package server

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tokenrelay/proxy/auth"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/relay"
	"tokenrelay/proxy/sock"
	"tokenrelay/shared/obs"
)

// errBodyBudget ends a connection whose request body would not fit into the bytes
// that all bodies together may take.
var errBodyBudget = errors.New("server: request bodies take all the memory set aside for them")

const (
	// freeBody is what a request may send before it counts towards the budget: small
	// requests cost no shared atomic.
	freeBody = 256 << 10
	// writePiece is the most that one write deadline covers, so that a slow but
	// steady reader of a large answer is not taken for a stalled one.
	writePiece = 64 << 10
	// sendBuffer bounds what the kernel holds for a reader that has stopped (D5); Listen sets it.
	sendBuffer = 128 << 10
	// receiveBuffer is what Linux begins with.
	receiveBuffer = 128 << 10
)

// conn is a customer's connection: it bounds how long a write may stall, counts
// the bytes of a large body, and can be asked whether the customer is still there.
type conn struct {
	sock.Conn
	s  *Server
	ip netip.Addr

	sentAt     int64 // when the last write began, ns of s.start
	answeredAt int64 // sentAt when a request was last waited for, 0 = the first has not been answered
	writeUntil int64 // the write deadline that is set, ns of s.start
	readBy     int64 // when a read must have ended, ns of s.start, 0 = never
	readSet    int64 // the read deadline that is set, 0 = none; it may be earlier than readBy
	received   int64 // bytes of the current request
	counted    int64 // of which in the budget
	over       bool
	unused     bool // nothing has come yet: it is in the server's list of such

	head  relay.Head // of the request under way
	match protocol.Match

	recent auth.Recent

	ahead *sock.Page // what was read and not yet taken: ahead[taken:came]
	taken int
	came  int

	first  [64]byte // how the request under way began
	firstN int

	holding bool          // writes wait for the end of the body
	ended   bool          // it has been written, and comes once more
	held    *bytes.Buffer // what waits

	left     bool // nobody is there to be answered
	full     bool // the kernel takes nothing more
	presence relay.Presence
	lookFn   func(fd uintptr)
	closed   atomic.Bool
}

// SetReadDeadline notes the deadline for the next Read. fasthttp sets one before and
// one behind the first byte of every request; each would be a timer of the runtime's
// that wakes a thread to look after it.
func (c *conn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.readBy = 0
	} else {
		c.readBy = max(1, int64(t.Sub(c.s.start)))
	}
	return nil
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *conn) SetDeadline(t time.Time) error {
	c.writeUntil = 0
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// receive reads. The deadline that is set may be an earlier one, of which nothing is
// left but a wake-up too many; it is moved when it has passed, or is too late.
func (c *conn) receive(p []byte) (int, error) {
	if c.ahead != nil {
		return c.takeAhead(p), nil
	}
	if err := c.waitFirst(); err != nil {
		return 0, err
	}
	for {
		if c.readSet == 0 && c.readBy != 0 || c.readBy != 0 && c.readSet > c.readBy {
			if err := c.TCPConn.SetReadDeadline(c.s.start.Add(time.Duration(c.readBy))); err != nil {
				return 0, err
			}
			c.readSet = c.readBy
		}
		var n int
		var err error
		if len(p) == 1 {
			n, err = c.readAhead(p)
		} else {
			n, err = c.Conn.Read(p)
		}
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.readBy != 0 && int64(time.Since(c.s.start)) >= c.readBy {
			return n, err
		}
		c.readSet, c.WaitFirst = 0, false
		if c.readBy == 0 {
			if err := c.TCPConn.SetReadDeadline(time.Time{}); err != nil {
				return 0, err
			}
		}
	}
}

const (
	// busyGap is the longest time between two answers to a customer who is taken to go on. For
	// one who asks more seldom the deadline costs what the look does.
	busyGap = 50 * time.Millisecond
	// lookWithin is how soon, after that, a customer who does not is looked at.
	lookWithin = 500 * time.Millisecond
)

// waitFirst has the next read of a busy connection wait before it looks, and sets the near
// deadline that it needs then: at most four times a second.
func (c *conn) waitFirst() error {
	if c.sentAt != c.answeredAt {
		c.WaitFirst = c.answeredAt != 0 && c.sentAt-c.answeredAt < int64(busyGap)
		c.answeredAt = c.sentAt
	}
	if in := c.readSet - c.sentAt; !c.WaitFirst || in >= int64(lookWithin/2) && in <= int64(lookWithin) {
		return nil
	}
	c.readSet = c.sentAt + int64(lookWithin)
	return c.TCPConn.SetReadDeadline(c.s.start.Add(time.Duration(c.readSet)))
}

// readAhead reads one byte, and into a page that is lent what comes with it. fasthttp waits
// for the first byte of a request before it sets memory aside for it.
func (c *conn) readAhead(p []byte) (int, error) {
	page, n, err := c.ReadPage()
	if n == 0 {
		if page != nil {
			page.Release()
		}
		return 0, err
	}
	p[0] = page[0]
	if n == 1 {
		page.Release()
		return 1, err
	}
	c.ahead, c.taken, c.came = page, 1, n
	return 1, err
}

// takeAhead is what was read ahead.
func (c *conn) takeAhead(p []byte) int {
	n := copy(p, c.ahead[c.taken:c.came])
	if c.taken += n; c.taken == c.came {
		c.ahead.Release()
		c.ahead = nil
	}
	return n
}

// Read counts the bytes of the request that is being received.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.receive(p)
	if c.unused {
		c.inUse()
	}
	if n == 0 {
		return 0, err // it may have been closed by the end of the server
	}
	if at := int(min(c.received, int64(len(c.first)))); at < len(c.first) {
		c.firstN = at + copy(c.first[at:], p[:n])
	}
	c.received += int64(n)
	if c.received > freeBody {
		more := c.received - freeBody - c.counted
		c.counted += more
		if c.s.bodyBytes.Add(more) > c.s.o.BodyBudget {
			c.over = true
			return n, errBodyBudget
		}
	}
	return n, err
}

// inUse takes the connection out of the list of unused ones: once per connection.
func (c *conn) inUse() {
	c.unused = false
	c.s.mu.Lock()
	delete(c.s.unused, c)
	c.s.mu.Unlock()
}

// requestDone gives the budget back; called when a request has been answered and
// when the connection closes.
func (c *conn) requestDone() {
	if c.counted != 0 {
		c.s.bodyBytes.Add(-c.counted)
		c.counted = 0
	}
	c.received = 0
	c.over = false
}

// The end of a body in chunks as fasthttp writes it, in two pieces.
var (
	lastChunk = []byte("0\r\n")
	lineEnd   = []byte("\r\n")
)

// holdMost is the most that waits for the end of its body: it is copied.
const holdMost = 32 << 10

var heldBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Hold has what is written from now on wait for the end of the body, which must follow at
// once: the last of a stream, its last chunk and the line behind it are three writes of
// fasthttp's, and three packets.
func (c *conn) Hold() { c.holding = true }

// hold is Write while something waits for the end, or the end has been written whole.
func (c *conn) hold(p []byte) (int, error) {
	if c.ended {
		c.ended = false
		if n := len(lineEnd); bytes.HasPrefix(p, lineEnd) {
			if len(p) == n {
				return n, nil
			}
			done, err := c.send(p[n:])
			return done + n, err
		}
		obs.Bug("%q follows the last chunk of a body", p[:min(len(p), 16)])
		return 0, errTrailer
	}
	if c.held == nil {
		c.held = heldBuffers.Get().(*bytes.Buffer)
	}
	end := bytes.Equal(p, lastChunk)
	if !end && c.held.Len()+len(p) <= holdMost {
		return c.held.Write(p)
	}
	c.held.Write(p)
	if end {
		c.held.Write(lineEnd)
		c.holding, c.ended = false, true
	}
	_, err := c.send(c.held.Bytes())
	c.held.Reset()
	if err != nil {
		return 0, err
	}
	if end {
		heldBuffers.Put(c.held)
		c.held = nil
	}
	return len(p), nil
}

var errTrailer = errors.New("server: a body's end is followed by something else")

// Write sends p, at once or with the end of its body.
func (c *conn) Write(p []byte) (int, error) {
	if c.left {
		return 0, net.ErrClosed
	}
	if c.holding || c.ended {
		return c.hold(p)
	}
	return c.send(p)
}

// send sends p in pieces that must each make progress within the stall time. The
// deadline is renewed only when a quarter of it has gone, not per write.
func (c *conn) send(p []byte) (int, error) {
	done := 0
	for {
		now := int64(time.Since(c.s.start))
		c.sentAt = now
		stall := int64(c.s.o.WriteStall)
		if c.writeUntil-now < stall-stall/4 {
			c.writeUntil = now + stall
			if err := c.SetWriteDeadline(c.s.start.Add(time.Duration(c.writeUntil))); err != nil {
				return done, err
			}
		}
		piece := p[done:]
		if len(piece) > writePiece {
			piece = piece[:writePiece]
		}
		n, err := c.Conn.Write(piece)
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

// Close closes once and gives the budget back.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.requestDone()
		c.s.Conns.Add(-1)
	}
	return c.TCPConn.Close()
}

// Abort closes so that the customer sees a broken connection and never a clean
// end.
func (c *conn) Abort() { _ = c.SetLinger(0) }

// stopTaking has the kernel drop what comes while nothing is read: it would take 64 KiB and
// wake the process for each packet of them. TCP sends again what was dropped.
func (c *conn) stopTaking() {
	c.full = true
	_ = c.SetReadBuffer(1) // the kernel's least
}

// takeAgain ends stopTaking. Where the kernel allows it (Linux 5.14), it again finds by itself how
// much memory a fast sender is worth.
func (c *conn) takeAgain() {
	if !c.full {
		return
	}
	c.full = false
	_ = c.SetReadBuffer(receiveBuffer)
	_ = c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK, unix.SOCK_SNDBUF_LOCK)
	})
}

// Addr is the customer's address.
func (c *conn) Addr() netip.Addr { return c.ip }

// Recent is the key that came last.
func (c *conn) Recent() *auth.Recent { return &c.recent }

// Look tells whether the customer is still there, without waiting.
func (c *conn) Look() relay.Presence {
	c.presence = relay.Gone
	if err := c.Control(c.lookFn); err != nil {
		return relay.Gone
	}
	return c.presence
}

// tcpClose is TCP_CLOSE of the kernel's tcp_states.h, the first byte of TCP_INFO.
const tcpClose = 7

func (c *conn) look(fd uintptr) {
	var b [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		c.presence = relay.Present
	case errno != 0:
		c.presence = relay.Gone
	case n == 0:
		// FIN. What follows it does not show in a read any more, only in the state of
		// the connection: a reset closes it.
		c.presence = relay.HalfClosed
		size := uint32(1)
		_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 || b[0] == tcpClose {
			c.presence = relay.Gone
		}
	default:
		c.presence = relay.Present // a pipelined request
	}
}
