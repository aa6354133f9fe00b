package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// client is one keep-alive connection that speaks just enough HTTP/1.1. It notes when
// each read returned: an event's arrival is the read that brought it.
type client struct {
	addr string
	mu   sync.Mutex // guards conn and gone against leave
	conn net.Conn
	gone bool
	buf  []byte
	r, w int
	now  time.Time

	status  int
	left    int // bytes left in the body or in the current chunk
	chunked bool
	inside  bool // a chunk has been read, its line end has not
	closing bool // the peer said that it closes
	ended   bool
}

var (
	errShort   = errors.New("the connection ended amid the answer")
	errAnswer  = errors.New("not an HTTP answer that is understood here")
	errTooLong = errors.New("a line or head over the buffer")
)

func (c *client) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r == 0 {
			return errTooLong
		}
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.now = time.Now()
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// drop closes the connection; the next start dials.
func (c *client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// leave ends, from another goroutine, the exchange that is under way and all later ones.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

func (c *client) dial() error {
	conn, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		_ = conn.Close()
		return net.ErrClosed
	}
	c.conn = conn
	if c.buf == nil {
		c.buf = make([]byte, 8<<10)
	}
	return nil
}

// start sends a request and reads the answer's head.
func (c *client) start(request []byte, timeout time.Duration) error {
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(timeout))
	c.r, c.w = 0, 0
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	for {
		if err := c.fill(); err != nil {
			return err
		}
		if i := bytes.Index(c.buf[:c.w], []byte("\r\n\r\n")); i >= 0 {
			c.r = i + 4
			return c.head(c.buf[:i+2])
		}
	}
}

func (c *client) head(head []byte) error {
	c.left, c.chunked, c.inside, c.closing, c.ended = -1, false, false, false, false
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return errAnswer
	}
	var err error
	if c.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return errAnswer
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if v, ok := headerValue(line, "content-length"); ok {
			if c.left, err = strconv.Atoi(string(v)); err != nil {
				return errAnswer
			}
		} else if v, ok := headerValue(line, "transfer-encoding"); ok {
			c.chunked = bytes.EqualFold(v, []byte("chunked"))
		} else if v, ok := headerValue(line, "connection"); ok {
			c.closing = bytes.EqualFold(v, []byte("close"))
		}
	}
	if c.chunked {
		c.left = 0
	} else if c.left < 0 {
		return errAnswer
	}
	return nil
}

// next gives the next piece of the body, valid until the next call; io.EOF at its end.
func (c *client) next() ([]byte, error) {
	if c.ended {
		return nil, io.EOF
	}
	for c.chunked && c.left == 0 {
		skip := 0
		if c.inside {
			skip = 2
		}
		at := -1
		if c.w-c.r > skip {
			at = bytes.IndexByte(c.buf[c.r+skip:c.w], '\n')
		}
		if at < 0 {
			if err := c.fill(); err != nil {
				return nil, errShort
			}
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(c.buf[c.r+skip:c.r+skip+at])), 16, 32)
		if err != nil {
			return nil, errAnswer
		}
		c.r += skip + at + 1
		c.left, c.inside = int(n), true
		if n > 0 {
			break
		}
		for c.w-c.r < 2 {
			if err := c.fill(); err != nil {
				return nil, errShort
			}
		}
		c.r += 2
		c.ended = true
		return nil, io.EOF
	}
	if c.left == 0 {
		c.ended = true
		return nil, io.EOF
	}
	if c.r == c.w {
		if err := c.fill(); err != nil {
			return nil, errShort
		}
	}
	n := min(c.left, c.w-c.r)
	p := c.buf[c.r : c.r+n]
	c.r += n
	c.left -= n
	return p, nil
}
