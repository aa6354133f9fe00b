package upstream

import (
	"errors"
	"io"
	"syscall"

	"tokenrelay/proxy/sock"
	"tokenrelay/shared/failpoint"
)

// ErrTruncated means that the upstream closed before its response was complete.
var ErrTruncated = errors.New("upstream: response ended early")

// Call is one request to a host and the reading of its response. It is reused:
// the zero value is ready, Close makes it so again. A Call belongs to one
// goroutine. While it waits with nothing unread it holds no memory to read into: of
// open streams most wait.
type Call struct {
	Head Head

	host *Host
	conn *Conn
	page *sock.Page // lent for what has come, nil while nothing has
	buf  []byte     // what was read from the connection: page, or what grew out of it
	r, w int        // buf[r:w] is unread

	kind [64]byte // Head.ContentType

	body  bodyState
	left  int64 // bytes left of the body or of the current chunk
	clean bool  // the response was read to its end and the connection may serve again
	got   bool  // at least one byte of a response arrived
}

type bodyState uint8

const (
	bodyNone      bodyState = iota
	bodyLength              // left bytes to come
	bodyChunkSize           // a chunk size line comes
	bodyChunk               // left bytes of a chunk to come
	bodyChunkEnd            // the line end after a chunk comes
	bodyTrailer             // trailer lines until an empty one
	bodyUntilEOF            // until the upstream closes
	bodyDone
)

const readBuffer = len(sock.Page{})

// Do sends req (a whole HTTP/1.1 request, see AppendRequestLine) and reads the
// response head. w is asked while the upstream is silent. After an error the call
// is closed; Got tells whether any byte of a response had arrived. A keep-alive
// connection that turns out to have been closed before the request was read is
// replaced once, silently (C19).
func (c *Call) Do(h *Host, req []byte, w Waiter) error { return c.DoParts(h, req, nil, w) }

// DoParts is Do for a request whose bytes stand in several places: req and then the parts,
// which are only read. A large body need not be copied behind its head.
func (c *Call) DoParts(h *Host, req []byte, parts [][]byte, w Waiter) error {
	c.got = false // also for a dial that fails: the call may have served before
	for try := 0; ; try++ {
		conn, reused, err := h.acquire(w)
		if err != nil {
			return err
		}
		c.host, c.conn, c.got, c.clean, c.body = h, conn, false, false, bodyNone
		err = send(conn, req, parts)
		if err == nil {
			failpoint.Hit(failpoint.K3)
			if m := h.client.o.Meanwhile; m != nil && !conn.sock.Owes() {
				m() // else it is called when the request goes out
			}
			err = c.readHead()
			c.Head.Close = c.Head.Close || conn.sock.Failed()
		} else if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			// An upstream may refuse a large body early: its answer is worth reading.
			if c.readHead() == nil {
				c.Head.Close = true
				return nil
			}
		}
		if err == nil {
			return nil
		}
		retry := reused && !c.got && try == 0 && closedByPeer(err)
		c.Close()
		if !retry {
			return err
		}
		h.client.Retries.Add(1)
	}
}

// send writes a request. A part that is empty is none: it would be a system call as well.
func send(conn *Conn, req []byte, parts [][]byte) error {
	conn.taken = 0
	more := false
	for _, p := range parts {
		more = more || len(p) > 0
	}
	if !more {
		return conn.ask(req)
	}
	err := conn.write(req)
	for i := 0; i < len(parts) && err == nil; i++ {
		if len(parts[i]) > 0 {
			err = conn.write(parts[i])
		}
	}
	return err
}

func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, ErrTruncated) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Got reports whether any byte of a response arrived.
func (c *Call) Got() bool { return c.got }

func (c *Call) readHead() error {
	for {
		n, err := parseHead(c.buf[c.r:c.w], &c.Head)
		if err != nil {
			return err
		}
		if n > 0 {
			c.r += n
			if c.Head.Status < 200 && c.Head.Status != 101 {
				continue // 1xx is skipped
			}
			c.Head.ContentType = c.kind[:copy(c.kind[:], c.Head.ContentType)]
			break
		}
		if err := c.fill(); err != nil {
			if err == io.EOF && c.got {
				return ErrTruncated
			}
			return err
		}
	}
	switch {
	case c.Head.Status == 204 || c.Head.Status == 304:
		c.body = bodyDone
		c.clean = true
	case c.Head.Chunked:
		c.body = bodyChunkSize
	case c.Head.ContentLength == 0:
		c.body = bodyDone
		c.clean = true
	case c.Head.ContentLength > 0:
		c.body, c.left = bodyLength, c.Head.ContentLength
	default:
		c.body = bodyUntilEOF
		c.Head.Close = true
	}
	return nil
}

// fill reads once from the connection, growing the buffer if it is full of an
// unfinished head.
func (c *Call) fill() error {
	var n int
	var err error
	if c.r == c.w {
		c.drop()
		// Between two chunks of a slow stream a look finds nothing, and an end that has come with
		// the last chunk is a failure, which may be seen a slice later.
		c.conn.between = c.body == bodyChunkSize
		if c.page, n, err = c.conn.readPage(); c.page != nil {
			c.buf = c.page[:]
		}
	} else {
		if err := c.room(); err != nil {
			return err
		}
		n, err = c.conn.read(c.buf[c.w:])
	}
	c.w += n
	if n > 0 {
		c.got = true
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// room makes room behind what is unread.
func (c *Call) room() error {
	if c.w < len(c.buf) {
		return nil
	}
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.w -= c.r
		c.r = 0
		return nil
	}
	if len(c.buf) >= maxHead+readBuffer {
		return ErrHeadTooLarge
	}
	grown := make([]byte, 2*len(c.buf))
	copy(grown, c.buf[:c.w])
	c.buf = grown
	return nil
}

// drop gives the memory of the buffer back. Whoever gets it next may be another customer's
// call: the head no longer points there.
func (c *Call) drop() {
	c.r, c.w = 0, 0
	c.Head.ContentEncoding, c.Head.RetryAfter, c.Head.RetryAfterMs, c.Head.ErrorType = nil, nil, nil, nil
	if c.page != nil {
		c.page.Release()
	}
	c.page, c.buf = nil, nil
}

// Done reports whether the body was read to its end.
func (c *Call) Done() bool { return c.body == bodyDone }

// Next returns the next bytes of the body, reading from the connection only if
// none are at hand. They are valid until the next call. At the end it returns
// io.EOF; a body that breaks off gives ErrTruncated or the connection's error.
func (c *Call) Next() ([]byte, error) { return c.next(true) }

// Ready is Next without a read: it returns no bytes and no error if none are at
// hand.
func (c *Call) Ready() ([]byte, error) { return c.next(false) }

func (c *Call) next(wait bool) ([]byte, error) {
	for {
		switch c.body {
		case bodyDone:
			return nil, io.EOF
		case bodyUntilEOF, bodyLength, bodyChunk:
			if c.r == c.w {
				if !wait {
					return nil, nil
				}
				if err := c.fill(); err != nil {
					return nil, c.ended(err)
				}
			}
			p := c.buf[c.r:c.w]
			if c.body != bodyUntilEOF {
				if int64(len(p)) > c.left {
					p = p[:c.left]
				}
				c.left -= int64(len(p))
				if c.left == 0 {
					if c.body == bodyLength {
						c.finish()
					} else {
						c.body = bodyChunkEnd
					}
				}
			}
			c.r += len(p)
			return p, nil
		default:
			ok, err := c.frame()
			if err != nil {
				return nil, err
			}
			if !ok {
				if !wait {
					return nil, nil
				}
				if err := c.fill(); err != nil {
					return nil, c.ended(err)
				}
			}
		}
	}
}

// ended maps the end of the connection to what it means for the body.
func (c *Call) ended(err error) error {
	if err != io.EOF {
		return err
	}
	if c.body == bodyUntilEOF {
		c.body = bodyDone
		return io.EOF
	}
	return ErrTruncated
}

func (c *Call) finish() {
	c.body = bodyDone
	c.clean = true
}

// frame reads one piece of chunked framing. It returns false if more bytes are
// needed.
func (c *Call) frame() (bool, error) {
	line, rest, ok := cutLine(c.buf[c.r:c.w])
	if !ok {
		if c.w-c.r > 4096 {
			return false, ErrBadChunk // no size line or trailer is that long
		}
		return false, nil
	}
	switch c.body {
	case bodyChunkSize:
		n, ok := parseChunkSize(line)
		if !ok {
			return false, ErrBadChunk
		}
		c.left = n
		if n == 0 {
			c.body = bodyTrailer
		} else {
			c.body = bodyChunk
		}
	case bodyChunkEnd:
		if len(line) != 0 {
			return false, ErrBadChunk
		}
		c.body = bodyChunkSize
	case bodyTrailer:
		if len(line) == 0 {
			c.finish()
		}
	}
	c.r = c.w - len(rest)
	return true, nil
}

func parseChunkSize(line []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(line); i++ {
		d := hexDigit(line[i])
		if d < 0 {
			break
		}
		if i == 15 {
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	if i == 0 {
		return 0, false
	}
	if i < len(line) && line[i] != ';' && line[i] != ' ' && line[i] != '\t' {
		return 0, false
	}
	return n, true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Close ends the call. The connection goes back to the pool only if the response
// was read to its end and nothing follows it.
func (c *Call) Close() {
	if c.conn == nil {
		return
	}
	if c.clean && !c.Head.Close && c.r == c.w {
		c.host.release(c.conn)
	} else {
		c.host.discard(c.conn)
	}
	c.conn, c.host = nil, nil
	c.body = bodyNone
	c.drop()
}

// Open reports whether the call holds a connection.
func (c *Call) Open() bool { return c.conn != nil }
