package mockllm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// conn is one client connection: one goroutine, requests one after another.
type conn struct {
	s       *Server
	nc      net.Conn
	out     *lookout
	br      *bufio.Reader
	num     int64
	reqs    int64
	query   string // of the request's target
	head    []byte // the request's head, valid until the next request
	body    []byte
	headBuf []byte // the answer's head
	wire    []byte
	scratch []byte // the answer's body or event
	close   bool
	http10  bool
}

const (
	maxHead = 1 << 20
	maxBody = 256 << 20
)

var errBad = errors.New("mockllm: not an HTTP request")

func (c *conn) serve() {
	defer func() {
		_ = c.nc.Close()
		c.s.forget(c)
	}()
	for !c.close {
		if err := c.readHead(); err != nil {
			if errors.Is(err, errBad) {
				c.s.meter.bad.Add(1)
				_, _ = c.nc.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			}
			return
		}
		c.reqs++
		if !c.request() {
			return
		}
	}
}

// readHead reads up to and including the blank line.
func (c *conn) readHead() error {
	c.head = c.head[:0]
	for {
		line, err := c.br.ReadSlice('\n')
		c.head = append(c.head, line...)
		if err == bufio.ErrBufferFull && len(c.head) < maxHead {
			continue
		}
		if err != nil {
			return err
		}
		if len(c.head) > maxHead {
			return errBad
		}
		if len(line) <= 2 && (string(line) == "\r\n" || string(line) == "\n") {
			if len(c.head) == len(line) {
				c.head = c.head[:0] // a blank line before a request is allowed
				continue
			}
			return nil
		}
	}
}

// header gives the first header of that name (lower case).
func (c *conn) header(name string) string {
	rest := c.head
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			return ""
		}
		rest = rest[i+1:]
		if len(rest) > len(name) && rest[len(name)] == ':' && bytes.EqualFold(rest[:len(name)], []byte(name)) {
			v := rest[len(name)+1:]
			if i = bytes.IndexByte(v, '\n'); i >= 0 {
				v = v[:i]
			}
			return string(bytes.TrimSpace(v))
		}
	}
}

// request serves one request, and says whether the connection may go on.
func (c *conn) request() bool {
	line, _, _ := bytes.Cut(c.head, []byte("\n"))
	method, rest, ok1 := strings.Cut(strings.TrimRight(string(line), "\r"), " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !strings.HasPrefix(version, "HTTP/1.") || !strings.HasPrefix(target, "/") {
		c.s.meter.bad.Add(1)
		_, _ = c.nc.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		return false
	}
	c.http10 = version == "HTTP/1.0"
	connection := c.header("connection")
	c.close = strings.EqualFold(connection, "close") || c.http10 && !strings.EqualFold(connection, "keep-alive")
	path, query, _ := strings.Cut(target, "?")
	c.query = query
	if control(path) {
		if err := c.readBody(); err != nil {
			return false
		}
		c.s.control(c, method, path, query)
		return true
	}
	return c.s.provider(c, method, path)
}

// readBody reads the body into c.body.
func (c *conn) readBody() error {
	c.body = c.body[:0]
	if strings.EqualFold(c.header("expect"), "100-continue") {
		if _, err := c.nc.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return err
		}
	}
	te, cl := c.header("transfer-encoding"), c.header("content-length")
	switch {
	case te != "" && cl != "":
		return errBad // a provider with sense refuses a doubtful length
	case te != "":
		return c.readChunks()
	case cl == "":
		return nil
	}
	n, err := strconv.ParseInt(cl, 10, 64)
	if err != nil || n < 0 || n > maxBody {
		return errBad
	}
	return c.readN(int(n))
}

func (c *conn) readN(n int) error {
	at := len(c.body)
	if cap(c.body)-at < n {
		grown := make([]byte, at, at+n)
		copy(grown, c.body)
		c.body = grown
	}
	c.body = c.body[:at+n]
	_, err := io.ReadFull(c.br, c.body[at:])
	return err
}

func (c *conn) readChunks() error {
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(string(line)), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n < 0 || int64(len(c.body))+n > maxBody {
			return errBad
		}
		if n == 0 {
			for { // trailers
				line, err := c.br.ReadSlice('\n')
				if err != nil {
					return err
				}
				if len(bytes.TrimSpace(line)) == 0 {
					return nil
				}
			}
		}
		if err := c.readN(int(n)); err != nil {
			return err
		}
		if line, err = c.br.ReadSlice('\n'); err != nil || len(bytes.TrimSpace(line)) != 0 {
			return errBad
		}
	}
}

// idle waits for d and says whether the client is still there. Bytes of a next
// request end the watching, not the wait.
func (c *conn) idle(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	until := time.Now().Add(d)
	if c.br.Buffered() == 0 {
		_ = c.nc.SetReadDeadline(until)
		_, err := c.br.Peek(1)
		_ = c.nc.SetReadDeadline(time.Time{})
		var timeout net.Error
		if err != nil {
			return errors.As(err, &timeout) && timeout.Timeout()
		}
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.s.done:
		return false
	}
}

func (c *conn) hash() uint64 { return xxhash.Sum64(c.body) }
