package apptest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request is one request of a client.
type Request struct {
	Method string // "": POST
	Path   string
	Header http.Header
	Body   string
}

// With adds a header.
func (r Request) With(name, value string) Request {
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Add(name, value)
	return r
}

func jsonHeader(name, value string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if value != "" {
		h.Set(name, value)
	}
	return h
}

// Chat is an OpenAI Chat request with one user message. more are further members of
// the body, such as `"stream":true`.
func Chat(token, model, text string, more ...string) Request {
	bearer := ""
	if token != "" {
		bearer = "Bearer " + token
	}
	return Request{Path: "/v1/chat/completions", Header: jsonHeader("Authorization", bearer), Body: body(model, text, more)}
}

// Messages is an Anthropic request with one user message and max_tokens 1024, unless
// more says otherwise.
func Messages(token, model, text string, more ...string) Request {
	limited := false
	for _, m := range more {
		limited = limited || strings.HasPrefix(m, `"max_tokens"`)
	}
	if !limited {
		more = append(more, `"max_tokens":1024`)
	}
	r := Request{Path: "/v1/messages", Header: jsonHeader("x-api-key", token), Body: body(model, text, more)}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	return r
}

func body(model, text string, more []string) string {
	m, _ := json.Marshal(model)
	t, _ := json.Marshal(text)
	b := `{"model":` + string(m) + `,"messages":[{"role":"user","content":` + string(t) + `}]`
	for _, member := range more {
		b += "," + member
	}
	return b + "}"
}

// Response is an answer read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
	Err    error // the body broke off
}

// ID is the relay's request id.
func (r *Response) ID() string { return r.Header.Get("X-Request-Id") }

// Code is the relay's error code.
func (r *Response) Code() string { return r.Header.Get("X-Relay-Error") }

// JSON reads a value in the body by its path, "" if it is not there: numbers as
// written, lists by index, e.g. "choices", "0", "message".
func (r *Response) JSON(path ...string) string {
	raw := json.RawMessage(r.Body)
	for _, name := range path {
		if i, err := strconv.Atoi(name); err == nil {
			var list []json.RawMessage
			if json.Unmarshal(raw, &list) != nil || i >= len(list) {
				return ""
			}
			raw = list[i]
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) != nil {
			return ""
		}
		raw = object[name]
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// HTTP is the client of Do and Open: no proxy, no redirects followed, no compression,
// plenty of connections.
var HTTP = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableCompression:  true,
		MaxIdleConns:        4096,
		MaxIdleConnsPerHost: 2048,
	},
}

func open(ctx context.Context, base string, r Request) (*http.Response, error) {
	method := r.Method
	if method == "" {
		method = "POST"
	}
	req, err := http.NewRequestWithContext(ctx, method, base+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	return HTTP.Do(req)
}

// Fetch sends a request to a base URL and reads the whole answer. It fails no test: an
// error is returned, and one in the middle of the body is in Response.Err.
func Fetch(ctx context.Context, base string, r Request) (*Response, error) {
	began := time.Now()
	resp, err := open(ctx, base, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: b, Took: time.Since(began), Err: err}, nil
}

// Do sends a request to the proxy and reads the whole answer; the test fails if none
// comes.
func (p *Proxy) Do(r Request) *Response {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := Fetch(ctx, p.URL, r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", p.Name, r.Path, err)
	}
	return resp
}

// Stream is an answer that is read event by event.
type Stream struct {
	Status int
	Header http.Header
	t      testing.TB
	body   io.ReadCloser
	br     *bufio.Reader
	cancel context.CancelFunc
}

// Open sends a request and returns when the headers are there. The stream is closed
// with the test if not before.
func (p *Proxy) Open(r Request) *Stream {
	p.t.Helper()
	s, err := OpenStream(p.URL, r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", p.Name, r.Path, err)
	}
	s.t = p.t
	p.t.Cleanup(s.Close)
	return s
}

// OpenStream is Open for any base URL; the caller closes the stream.
func OpenStream(base string, r Request) (*Stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := open(ctx, base, r)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Stream{Status: resp.StatusCode, Header: resp.Header, body: resp.Body, br: bufio.NewReader(resp.Body), cancel: cancel}, nil
}

// Event gives the next event with its blank line, comments included. io.EOF is the
// orderly end of the answer.
func (s *Stream) Event() ([]byte, error) {
	var ev []byte
	for {
		line, err := s.br.ReadBytes('\n')
		ev = append(ev, line...)
		if err != nil {
			return ev, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && len(ev) > len(line) {
			return ev, nil
		}
	}
}

// Data gives the data of the next event that has any, and its name.
func (s *Stream) Data() (name, data string, err error) {
	for {
		ev, err := s.Event()
		if err != nil {
			return "", "", err
		}
		for line := range strings.SplitSeq(string(ev), "\n") {
			line = strings.TrimRight(line, "\r")
			if v, ok := strings.CutPrefix(line, "event:"); ok {
				name = strings.TrimSpace(v)
			}
			if v, ok := strings.CutPrefix(line, "data:"); ok {
				data += strings.TrimPrefix(v, " ")
			}
		}
		if data != "" {
			return name, data, nil
		}
		name = ""
	}
}

// Rest reads to the end; the error is nil if it was an orderly one.
func (s *Stream) Rest() ([]byte, error) {
	b, err := io.ReadAll(s.br)
	return b, err
}

// Close leaves: the connection is closed if the answer had not ended.
func (s *Stream) Close() {
	s.cancel()
	_ = s.body.Close()
}

// Raw is a bare TCP connection to a proxy.
type Raw struct {
	*net.TCPConn
	t  testing.TB
	br *bufio.Reader
}

// Raw dials the proxy's public port.
func (p *Proxy) Raw() *Raw {
	p.t.Helper()
	nc, err := net.DialTimeout("tcp", strings.TrimPrefix(p.URL, "http://"), 10*time.Second)
	if err != nil {
		p.t.Fatalf("cannot dial %s: %v", p.Name, err)
	}
	p.t.Cleanup(func() { _ = nc.Close() })
	return &Raw{TCPConn: nc.(*net.TCPConn), t: p.t, br: bufio.NewReader(nc)}
}

// Send writes bytes as they are. A peer that has closed already is no failure.
func (r *Raw) Send(s string) {
	_, _ = io.WriteString(r.TCPConn, s)
}

// Response reads one HTTP response to its end.
func (r *Raw) Response(within time.Duration) (*Response, error) {
	_ = r.SetReadDeadline(time.Now().Add(within))
	defer func() { _ = r.SetReadDeadline(time.Time{}) }()
	resp, err := http.ReadResponse(r.br, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: b, Err: err}, nil
}

// All reads what comes until the connection ends or the time is over; closed says
// which.
func (r *Raw) All(within time.Duration) (b []byte, closed bool) {
	_ = r.SetReadDeadline(time.Now().Add(within))
	defer func() { _ = r.SetReadDeadline(time.Time{}) }()
	b, err := io.ReadAll(r.br)
	var ne net.Error
	return b, !errors.As(err, &ne) || !ne.Timeout()
}

// Reset closes the connection with a TCP reset.
func (r *Raw) Reset() {
	_ = r.SetLinger(0)
	_ = r.Close()
}

// Text is the request as bytes of HTTP/1.1.
func (r Request) Text() string {
	method := r.Method
	if method == "" {
		method = "POST"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: relay\r\nContent-Length: %d\r\n", method, r.Path, len(r.Body))
	for k, list := range r.Header {
		for _, v := range list {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	return b.String() + "\r\n" + r.Body
}
