// Package server owns the proxy's public port: listeners, limits on heads and
// bodies, the path table, draining, and the forwarding of everything that is not
// inference to the admin process.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/relay"
	"tokenrelay/shared/apierr"
)

// Options of a server.
type Options struct {
	MaxBody        int // bytes of one request body
	MaxHeader      int // bytes of a request head
	BodyBudget     int64
	WriteStall     time.Duration
	TrustedProxies []netip.Prefix
	AdminURL       string
	PublicOperator bool
	Log            *slog.Logger
}

// Server is the public port.
type Server struct {
	o          Options
	relay      *relay.Relay
	forward    *forwarder
	isProvider func([]byte) bool // once: a method value allocates
	http       fasthttp.Server
	start      time.Time

	mu        sync.Mutex
	closed    bool // by Shutdown
	listeners []net.Listener
	unused    map[*conn]struct{} // connections on which nothing has come yet; fasthttp does not know them as idle

	strangers strangers

	draining  atomic.Bool
	bodyBytes atomic.Int64
	judged    sync.Map // *fasthttp.RequestHeader → relay.Judgement, of large bodies that were not trusted

	Conns   atomic.Int64 // open connections
	Refused atomic.Int64 // requests that could not be read
}

const (
	headTime = 10 * time.Second // for a head, and for a body as far as slowRate allows more
	slowRate = 1 << 10          // bytes/s that a body must at least come at (D6)
	idleTime = 3 * time.Minute  // of a keep-alive connection
	// writeBuffer has room for what one read from an upstream gives, as a chunk: with less
	// fasthttp writes it in three pieces. Memory of it that is not used is not resident.
	writeBuffer = 18 << 10

	// pooledBody is the largest memory of a body that fasthttp keeps for others. Pictures and
	// long prompts come again, and left to the garbage collector a few hundred a second of
	// them have it run all the time. What is kept outlives two collections, and the heap may be
	// twice what lives: larger ones, which are rare, are not kept.
	pooledBody = 4 << 20

	judgeFrom = 64 << 10 // bodies from here on are read only for a key that exists
	coldBody  = 1 << 20  // what a key that is not in memory may send before it is looked up
	noBody    = -2       // fasthttp's length of a request that names none and is not in chunks
)

// New makes a server for a relay.
func New(r *relay.Relay, o Options) (*Server, error) {
	s := &Server{o: o, relay: r, isProvider: r.IsProvider, start: time.Now(), unused: map[*conn]struct{}{}}
	s.strangers.end = make(chan struct{})
	fasthttp.SetBodySizePoolLimit(pooledBody, -1)
	var err error
	if s.forward, err = newForwarder(o.AdminURL); err != nil {
		return nil, err
	}
	s.http = fasthttp.Server{
		Handler:                       s.handle,
		ErrorHandler:                  s.unreadable,
		HeaderReceived:                s.judge,
		ExpectHandler:                 s.expect,
		Name:                          "",
		NoDefaultServerHeader:         true,
		NoDefaultContentType:          true,
		ReadBufferSize:                o.MaxHeader,
		ReduceMemoryUsage:             true, // a connection that waits holds no buffers: docs/PERFORMANCE.md
		WriteBufferSize:               writeBuffer,
		ReadTimeout:                   headTime,
		IdleTimeout:                   idleTime,
		MaxRequestBodySize:            o.MaxBody,
		DisablePreParseMultipartForm:  true,
		DisableHeaderNamesNormalizing: false,
		CloseOnShutdown:               true,
		SecureErrorLogMessage:         true,
		Logger:                        quiet{},
	}
	return s, nil
}

// quiet drops fasthttp's own lines: they carry bytes of requests.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Serve accepts connections until Shutdown; one that came before it ends it at once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	return s.http.Serve(&listener{Listener: l, s: s})
}

// Drain makes the server refuse new work; running requests go on.
func (s *Server) Drain() {
	if s.draining.CompareAndSwap(false, true) {
		close(s.strangers.end)
	}
}

// Slowed is the number of answers to unknown keys that waited since the start.
func (s *Server) Slowed() int64 { return s.strangers.Slowed.Load() }

// Shutdown closes the listeners and waits for connections to finish, until ctx
// ends. Those on which nothing has come yet are closed at once, as idle ones are.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for c := range s.unused {
		_ = c.TCPConn.Close() // its reader sees to the rest
	}
	clear(s.unused)
	s.mu.Unlock()
	err := s.http.ShutdownWithContext(ctx)
	// fasthttp knows nothing of a listener whose Serve has not begun to run.
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.forward.close()
	return err
}

// judge looks at a head before its body is read: how long the body may take, and
// whether a large one is worth reading at all (rulings 3.11).
func (s *Server) judge(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	n := h.ContentLength()
	if n >= 0 && n < judgeFrom || n == noBody {
		return fasthttp.RequestConfig{}
	}
	c := fasthttp.RequestConfig{ReadTimeout: headTime + time.Duration(s.o.MaxBody/slowRate)*time.Second}
	if n > 0 {
		c.ReadTimeout = headTime + time.Duration(n/slowRate)*time.Second
	}
	// A key that is not in memory may not send much, so it is looked up before more comes:
	// else who only ever sends large files would never be let in.
	j := s.relay.Judge(h.RawHeaders(), h.RequestURI(), protocol.FamilyNone, n < 0 || n > coldBody)
	switch j {
	case relay.KeyUnknown:
		c.MaxRequestBodySize = 1 // unreadable answers 401
	case relay.KeyCold:
		c.MaxRequestBodySize = min(coldBody, s.o.MaxBody)
	}
	// fasthttp forgets the head before it reports a body that is too large, but the
	// memory it stood in is the request's own.
	if j == relay.KeyKnown {
		s.judged.Delete(h)
	} else {
		s.judged.Store(h, j)
	}
	return c
}

// expect answers "Expect: 100-continue" before the body is sent: a key or a size
// that will be refused is refused now (D11).
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	err := (*apierr.Error)(nil)
	switch n := ctx.Request.Header.ContentLength(); {
	case s.relay.Judge(ctx.Request.Header.RawHeaders(), ctx.Request.Header.RequestURI(), protocol.FamilyNone, false) == relay.KeyUnknown:
		err = apierr.ErrInvalidAPIKey
		s.stranger(ctx)
	case n > s.o.MaxBody:
		err = apierr.ErrBodyTooLarge
	default:
		return fasthttp.StatusContinue
	}
	s.relay.Refuse(ctx, s.shape(ctx.Method(), ctx.Request.Header.RequestURI()), err)
	return err.Status
}

// unreadable answers a request that could not be read.
func (s *Server) unreadable(ctx *fasthttp.RequestCtx, err error) {
	s.Refused.Add(1)
	e := apierr.Invalid("", "The request is not readable HTTP.")
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	c, _ := ctx.Conn().(*conn)
	switch {
	case errors.As(err, &small):
		e = apierr.ErrHeadersTooLarge
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		e = apierr.ErrBodyTooLarge
		if j, ok := s.judged.LoadAndDelete(&ctx.Request.Header); ok && j == relay.KeyUnknown {
			e = apierr.ErrInvalidAPIKey
			s.stranger(ctx)
		}
	case errors.Is(err, errBodyBudget) || (c != nil && c.over):
		e = apierr.ErrOverloaded
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e = apierr.ErrRequestTimeout
	}
	shape := apierr.ShapeOpenAI
	if c != nil {
		// The head is gone; the connection remembers how the request began.
		if method, rest, ok := bytes.Cut(c.first[:c.firstN], []byte(" ")); ok {
			target, _, _ := bytes.Cut(rest, []byte(" "))
			shape = s.shape(method, target)
		}
	}
	s.relay.Refuse(ctx, shape, e)
	ctx.Response.SetConnectionClose()
}

// shape is the error shape of a request that was not served.
func (s *Server) shape(method, target []byte) apierr.Shape {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		target = target[:i]
	}
	m := protocol.Lookup(method, target, false, s.relay.IsProvider)
	if m.State == protocol.Forward {
		return apierr.ShapeEnvelope
	}
	return m.Shape()
}

// handle is every request: what path is it, and who answers it.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	c, _ := ctx.Conn().(*conn)
	target := ctx.Request.Header.RequestURI()
	path := target
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if c == nil {
		c = &conn{s: s} // not of our listener
	}
	defer c.requestDone()
	// The head and the match stand in the connection: they would cost an allocation
	// each here, as the relay keeps pointers to them.
	head, m := &c.head, &c.match
	bad := relay.ReadHead(ctx.Request.Header.RawHeaders(), head)
	if bad == nil {
		bad = head.QueryKey(target)
	}
	*m = protocol.Lookup(ctx.Method(), path, head.AnthropicVersion != nil, s.isProvider)
	if bad != nil {
		s.relay.Refuse(ctx, m.Shape(), bad)
		ctx.Response.SetConnectionClose()
		return
	}
	if s.draining.Load() {
		s.relay.Refuse(ctx, m.Shape(), apierr.ErrDraining)
		ctx.Response.SetConnectionClose()
		return
	}
	switch m.State {
	case protocol.Serve:
		if known := s.relay.Serve(ctx, head, m, c, s.clientIP(c, head)); !known {
			s.stranger(ctx)
		}
	case protocol.Forward:
		s.toAdmin(ctx, path, c, head)
	case protocol.NotServed:
		s.relay.Refuse(ctx, m.Shape(), apierr.ErrNotImplemented)
	case protocol.WrongMethod:
		s.relay.Refuse(ctx, m.Shape(), apierr.ErrMethodNotAllowed)
		ctx.Response.Header.Set("Allow", m.Allow)
	default:
		s.relay.Refuse(ctx, m.Shape(), apierr.ErrNotFound)
	}
}

// stranger keeps the answer to somebody without a key for a while, if there are many.
func (s *Server) stranger(ctx *fasthttp.RequestCtx) {
	c, _ := ctx.Conn().(*conn)
	here := func() bool { return c == nil || c.Look() != relay.Gone }
	if !s.strangers.slow(int64(time.Since(s.start)), here) {
		ctx.Response.SetConnectionClose()
	}
}

func (s *Server) toAdmin(ctx *fasthttp.RequestCtx, path []byte, c *conn, head *relay.Head) {
	if !s.o.PublicOperator && (string(path) == "/admin/v1" || bytes.HasPrefix(path, []byte("/admin/v1/"))) {
		s.relay.Refuse(ctx, apierr.ShapeEnvelope, apierr.ErrNotFound)
		return
	}
	if err := s.forward.do(ctx, s.clientIP(c, head)); err != nil {
		s.o.Log.Warn("admin does not answer", "error", err)
		ctx.Response.Reset()
		s.relay.Refuse(ctx, c.match.Shape(), errAdminAway)
	}
}

var errAdminAway = apierr.New(apierr.Overloaded, "The management API is not available at the moment. Try again shortly.").WithRetryAfter(5)

// clientIP is the address that limits and allow lists see: the peer, or behind
// trusted proxies the right-most hop that is not one of them (D15).
func (s *Server) clientIP(c *conn, head *relay.Head) netip.Addr {
	ip := c.ip
	if len(s.o.TrustedProxies) == 0 || head.ForwardedFor == nil || !s.trusted(ip) {
		return ip
	}
	list := head.ForwardedFor
	for len(list) > 0 {
		hop := list
		if i := bytes.LastIndexByte(list, ','); i >= 0 {
			hop, list = list[i+1:], list[:i]
		} else {
			list = nil
		}
		a, err := netip.ParseAddr(string(bytes.Trim(hop, " \t")))
		if err != nil {
			return ip // whoever wrote that is not to be believed
		}
		ip = a.Unmap()
		if !s.trusted(ip) {
			return ip
		}
	}
	return ip
}

func (s *Server) trusted(ip netip.Addr) bool {
	for _, p := range s.o.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Listen opens the public port.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the public address: %w", err)
	}
	return l, nil
}
