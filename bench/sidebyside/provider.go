package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// provider is the least that can stand behind all the proxies: OpenAI Chat on raw
// sockets, one write per event, no parsing beyond what the answer depends on. The
// project's own mock provider does far more per request and would hide, at saturation,
// what the proxies cost.
//
// A request says how it wants to be answered anywhere in its body:
// [[events=64 gap_us=10000 first_us=5000]]. The first segment of its path names the
// lane under which it is counted.
type provider struct {
	mu    sync.Mutex
	lanes map[string]*lane
}

// lane counts what was asked for under one name.
type lane struct {
	Plain   atomic.Int64 // plain requests
	Streams atomic.Int64 // streams begun
	Ended   atomic.Int64 // streams written to their end
}

// laneCount is a lane as /stats gives it.
type laneCount struct{ Plain, Streams, Ended int64 }

func (p *provider) lane(path string) *lane {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[name]
	if l == nil {
		l = &lane{}
		p.lanes[name] = l
	}
	return l
}

func (p *provider) stats() map[string]laneCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := map[string]laneCount{}
	for name, l := range p.lanes {
		m[name] = laneCount{l.Plain.Load(), l.Streams.Load(), l.Ended.Load()}
	}
	return m
}

// fetchStats reads /stats of a provider in another process.
func fetchStats(addr string) (map[string]laneCount, error) {
	resp, err := http.Get("http://" + addr + "/stats")
	if err != nil {
		return nil, fmt.Errorf("cannot ask the provider: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var m map[string]laneCount
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return nil, fmt.Errorf("cannot read the provider's counts: %w", err)
	}
	return m, nil
}

// serve answers until the listener is closed.
func (p *provider) serve(ln net.Listener) error {
	if p.lanes == nil {
		p.lanes = map[string]*lane{}
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		go p.connection(nc)
	}
}

type providerConn struct {
	net.Conn
	br   *bufio.Reader
	body []byte
	out  []byte
}

func (p *provider) connection(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	c := &providerConn{Conn: nc, br: bufio.NewReaderSize(nc, 8<<10)}
	var of *lane
	var ofPath string
	for {
		method, path, err := c.read()
		if err != nil {
			return
		}
		switch {
		case method == "GET" && path == "/stats":
			b, _ := json.Marshal(p.stats())
			err = c.whole("200 OK", b)
		case method == "POST" && strings.HasSuffix(path, "/chat/completions"):
			if path != ofPath {
				of, ofPath = p.lane(path), path
			}
			err = c.answer(of)
		case method == "POST" && strings.HasSuffix(path, "/messages"):
			err = c.messages(p.lane(path))
		default:
			err = c.whole("404 Not Found", []byte(`{"error":{"message":"no such path","type":"invalid_request_error","code":"unknown_url","param":null}}`))
		}
		if err != nil {
			return
		}
	}
}

var errRequest = errors.New("bad request")

func headerValue(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}

// read reads one request into c.body.
func (c *providerConn) read() (method, path string, err error) {
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return "", "", err
	}
	parts := bytes.SplitN(line, []byte(" "), 3)
	if len(parts) != 3 {
		return "", "", errRequest
	}
	method, path = string(parts[0]), string(parts[1])
	length, chunked := 0, false
	for {
		if line, err = c.br.ReadSlice('\n'); err != nil {
			return "", "", err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if v, ok := headerValue(line, "content-length"); ok {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return "", "", errRequest
			}
		} else if v, ok := headerValue(line, "transfer-encoding"); ok {
			chunked = bytes.EqualFold(v, []byte("chunked"))
		}
	}
	c.body = c.body[:0]
	if !chunked {
		return method, path, c.take(length)
	}
	for {
		if line, err = c.br.ReadSlice('\n'); err != nil {
			return "", "", err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return "", "", errRequest
		}
		if err := c.take(int(n)); err != nil {
			return "", "", err
		}
		if _, err := c.br.Discard(2); err != nil {
			return "", "", err
		}
		if n == 0 {
			return method, path, nil
		}
	}
}

func (c *providerConn) take(n int) error {
	at := len(c.body)
	c.body = append(c.body, make([]byte, n)...)
	_, err := io.ReadFull(c.br, c.body[at:])
	return err
}

func (c *providerConn) whole(status string, body []byte) error {
	c.out = append(c.out[:0], "HTTP/1.1 "...)
	c.out = append(c.out, status...)
	c.out = append(c.out, "\r\nContent-Type: application/json\r\nX-Request-Id: req_sidebyside\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	_, err := c.Write(c.out)
	return err
}

// after gives what follows name in the body, up to end.
func after(body []byte, name string, end byte) []byte {
	_, rest, ok := bytes.Cut(body, []byte(name))
	if !ok {
		return nil
	}
	if i := bytes.IndexByte(rest, end); i >= 0 {
		return rest[:i]
	}
	return nil
}

func (c *providerConn) answer(l *lane) error {
	model := string(after(c.body, `"model":"`, '"'))
	if !bytes.Contains(c.body, []byte(`"stream":true`)) {
		l.Plain.Add(1)
		return c.whole("200 OK", appendAnswer(nil, model))
	}
	d, err := c.directive()
	if err != nil {
		return c.whole("400 Bad Request", []byte(`{"error":{"message":"bad directive","type":"invalid_request_error","code":null,"param":null}}`))
	}
	l.Streams.Add(1)
	return c.stream(l, d, appendRole(nil, model), func(b []byte, i int, nanos int64) []byte { return appendDelta(b, model, i, nanos) },
		appendFinish(nil, model), appendUsage(nil, model, d.events), []byte(streamEnd))
}

// messages answers as Anthropic does.
func (c *providerConn) messages(l *lane) error {
	d, err := c.directive()
	if err != nil || !bytes.Contains(c.body, []byte(`"stream":true`)) {
		return c.whole("400 Bad Request", []byte(`{"type":"error","error":{"type":"invalid_request_error","message":"not for this provider"}}`))
	}
	l.Streams.Add(1)
	return c.stream(l, d, appendMessageStart(nil), appendTextDelta, []byte(textStop), appendMessageDelta(nil, d.events), []byte(messageStop))
}

// directive is how a request wants its stream.
type directive struct {
	events     int
	gap, first time.Duration
}

func (c *providerConn) directive() (d directive, err error) {
	d.events = 64
	for _, field := range bytes.Fields(after(c.body, "[[", ']')) {
		name, value, _ := bytes.Cut(field, []byte("="))
		n, err := strconv.Atoi(string(value))
		if err != nil {
			return d, fmt.Errorf("bad directive: %w", err)
		}
		switch string(name) {
		case "events":
			d.events = n
		case "gap_us":
			d.gap = time.Duration(n) * time.Microsecond
		case "first_us":
			d.first = time.Duration(n) * time.Microsecond
		}
	}
	return d, nil
}

// stream writes events: the opening, those with content, and what closes.
func (c *providerConn) stream(l *lane, d directive, open []byte, content func(b []byte, i int, nanos int64) []byte, closing ...[]byte) error {
	if d.first > 0 {
		time.Sleep(d.first)
	}
	// The head goes out with the first event.
	c.out = append(c.out[:0], "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Request-Id: req_sidebyside\r\nTransfer-Encoding: chunked\r\n\r\n"...)
	if err := c.chunk(open); err != nil {
		return err
	}
	var b []byte
	for i := range d.events {
		if d.gap > 0 {
			time.Sleep(d.gap)
		}
		b = content(b[:0], i, time.Now().UnixNano())
		if err := c.chunk(b); err != nil {
			return err
		}
	}
	for _, event := range closing {
		if err := c.chunk(event); err != nil {
			return err
		}
	}
	l.Ended.Add(1) // before, so that who has read the end finds it counted
	if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
		l.Ended.Add(-1)
		return err
	}
	return nil
}

// chunk writes what c.out holds and one HTTP chunk in one call.
func (c *providerConn) chunk(b []byte) error {
	c.out = strconv.AppendInt(c.out, int64(len(b)), 16)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, b...)
	c.out = append(c.out, "\r\n"...)
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}
