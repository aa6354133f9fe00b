// Package sock reads from and writes to a TCP connection without telling Go's scheduler.
//
// The runtime brackets each system call of net: the call might block, so its monitor
// thread, which sleeps while the process does, is woken by a futex and then looks every
// 20 µs whether a processor has to be taken away. A read or write of a socket that does
// not wait cannot block, and at a few hundred requests a second nearly every one finds the
// monitor asleep: it was a quarter of the processor time of a proxy that does nothing else.
// Waiting is net's own, with its deadlines; where more is sure to come it need not look first
// ([Conn.WaitFirst]).
//
// What is large takes net's way: the monitor also sees to it that long computations share
// the processors, and what is large is computed on for long.
package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Large is the number of bytes from which on a read or write takes net's way.
const Large = 256 << 10

// Conn is a TCP connection. Read and Write are each for one goroutine at a time; a write
// that is Owed is the reader's.
type Conn struct {
	*net.TCPConn
	raw syscall.RawConn

	in       []byte // of the Read under way
	lends    bool   // in is a page that is lent for what is there
	page     *Page  // the page
	got      int
	readErr  error
	out      []byte // what the Write under way has still to write
	writeErr error
	owed     []byte // to be written by the next Read before it waits
	stuck    bool   // the kernel did not take all of owed at once
	failed   bool   // a write of what was owed failed

	// OwedWithin bounds how long what is owed may take if the kernel does not take it at
	// once, 0 = not at all.
	OwedWithin time.Duration
	// Meanwhile is called by the Read that has written what was owed, before it waits for
	// what answers it: the peer is busy now. nil = nothing. It must not block.
	Meanwhile func()

	// WaitFirst has a Read that follows one which took all that was there wait at once, without
	// a look that would find nothing. An end that the kernel told of together with those bytes
	// is then seen only by the Read behind the one that ends with the read deadline: there must
	// be a near one.
	WaitFirst bool
	poll      pollDesc // nil where it is not known
	emptied   bool     // the last read took all that was there
	failing   bool     // the wait has ended with what raw.Read will say

	readFn, writeFn func(fd uintptr) bool // once per connection: a method value allocates
	waitFn          func(fd uintptr)
}

// Init makes c the owner of an open connection.
func (c *Conn) Init(tcp *net.TCPConn) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	*c = Conn{TCPConn: tcp, raw: raw, poll: pollDescOf(tcp)}
	c.readFn, c.writeFn, c.waitFn = c.readNow, c.writeNow, c.waitAndRead
	return nil
}

// Control calls f with the descriptor, which stays open meanwhile.
func (c *Conn) Control(f func(fd uintptr)) error { return c.raw.Control(f) }

// Read reads what is there, or waits for it until the read deadline. A deadline that
// passes meanwhile leaves nothing owed: it was written before the wait.
func (c *Conn) Read(p []byte) (int, error) {
	if plain || len(p) >= Large || len(p) == 0 && !c.lends {
		if err := c.pay(); err != nil {
			return 0, err
		}
		return c.ReadAsNet(p)
	}
	if c.WaitFirst && c.emptied && c.poll != nil && len(c.owed) == 0 {
		c.in, c.got, c.readErr, c.failing = p, 0, nil, false
		err := c.raw.Control(c.waitFn)
		c.in = nil
		if err == nil && !c.failing {
			return c.got, c.readErr
		}
	}
	c.emptied = false
	for {
		c.in, c.got, c.readErr = p, 0, nil
		err := c.raw.Read(c.readFn)
		c.in = nil
		if c.stuck {
			c.stuck = false
			if err := c.pay(); err != nil {
				return 0, err
			}
			continue
		}
		if err == nil {
			err = c.readErr
		}
		return c.got, err
	}
}

// ReadAsNet reads as net does, which lets the scheduler know.
func (c *Conn) ReadAsNet(p []byte) (int, error) {
	c.emptied = false
	return c.TCPConn.Read(p)
}

// Page is memory that is read into.
type Page [16 << 10]byte

var pages = sync.Pool{New: func() any { return new(Page) }}

// NewPage lends a page until it is released.
func NewPage() *Page { return pages.Get().(*Page) }

// Release gives the page back: whoever has kept a part of it would see what others read.
func (p *Page) Release() {
	if plain {
		for i := range p {
			p[i] = 0xdb // tests see who does
		}
	}
	pages.Put(p)
}

// ReadPage is Read into a page that is lent when something is there, so that a read that
// waits holds none. The caller releases it; nil: nothing was read.
func (c *Conn) ReadPage() (page *Page, n int, err error) {
	if plain {
		page = NewPage()
		n, err = c.Read(page[:])
		return page, n, err
	}
	c.lends = true
	n, err = c.Read(nil)
	page, c.lends, c.page = c.page, false, nil
	return page, n, err
}

// readNow is one attempt to read; false waits for the next byte.
func (c *Conn) readNow(fd uintptr) bool {
	if len(c.owed) > 0 {
		for len(c.owed) > 0 {
			n, errno := write(fd, c.owed)
			if errno == syscall.EAGAIN {
				c.stuck = true
				return true
			}
			if errno != 0 {
				c.owed, c.failed = nil, true // as in pay
				break
			}
			c.owed = c.owed[n:]
		}
		if !c.failed {
			// Nothing can be there: it answers what it has just been sent.
			c.owed = nil
			c.meanwhile()
			return false
		}
	}
	if c.lends && c.page == nil {
		c.page = NewPage()
		c.in = c.page[:]
	}
	for {
		// recvfrom and sendto are a fifth cheaper than read and write, which first find out that this is a socket.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.in))), uintptr(len(c.in)), 0, 0, 0)
		switch {
		case errno == syscall.EAGAIN:
			if c.lends {
				c.page.Release()
				c.page, c.in = nil, nil
			}
			return false
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			c.readErr = c.fault("read", errno)
		case n == 0:
			c.readErr = io.EOF
		default:
			c.got = int(n)
			c.emptied = c.got < len(c.in)
		}
		return true
	}
}

// waitAndRead waits until something has come since the last read, and reads it. Unlike
// raw.Read it does not begin by forgetting what has come already.
func (c *Conn) waitAndRead(fd uintptr) {
	for {
		if pollWait(c.poll, 'r') != 0 {
			c.failing = true
			return
		}
		if c.readNow(fd) {
			return
		}
	}
}

// Quiet tells that nothing has come since the last Read, neither bytes nor an end, as far as
// Go's poller has noted: it looks when a processor has nothing to run, and every 10 ms. False
// says nothing.
func (c *Conn) Quiet() bool { return c.emptied && c.poll != nil && !stirred(c.poll) }

// Owe has p written by the next Read, before it waits: what answers it is waited for at
// once, without a look that finds nothing. The caller knows that nothing unread is there.
// p must stay as it is until that Read returns.
func (c *Conn) Owe(p []byte) { c.owed, c.failed = p, false }

// Owes tells whether something has still to go out with the next Read.
func (c *Conn) Owes() bool { return len(c.owed) > 0 }

// Failed tells whether the write of what was last owed failed.
func (c *Conn) Failed() bool { return c.failed }

func (c *Conn) meanwhile() {
	if c.Meanwhile != nil {
		c.Meanwhile()
	}
}

// pay writes what is owed and may wait for it. A peer that has closed is left to the read.
func (c *Conn) pay() error {
	if len(c.owed) == 0 {
		return nil
	}
	p := c.owed
	c.owed = nil
	if c.OwedWithin > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.OwedWithin)); err != nil {
			return err
		}
		defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	}
	_, err := c.TCPConn.Write(p)
	c.failed = err != nil
	c.meanwhile()
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil // what the peer said before it closed is worth reading
	}
	return err
}

// Write writes all of p, unless the write deadline passes.
func (c *Conn) Write(p []byte) (int, error) {
	if plain || len(p) >= Large {
		return c.TCPConn.Write(p)
	}
	c.out, c.writeErr = p, nil
	err := c.raw.Write(c.writeFn)
	n := len(p) - len(c.out)
	c.out = nil
	if err == nil {
		err = c.writeErr
	}
	return n, err
}

// writeNow writes until all is written; false waits for room.
func (c *Conn) writeNow(fd uintptr) bool {
	for len(c.out) > 0 {
		n, errno := write(fd, c.out)
		if errno == syscall.EAGAIN {
			return false
		}
		if errno != 0 {
			c.writeErr = c.fault("write", errno)
			return true
		}
		c.out = c.out[n:]
	}
	return true
}

// write is send(2) on a socket that does not wait.
func write(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// fault is the error as net has it.
func (c *Conn) fault(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
