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
	debts     debts

	draining  atomic.Bool
	bodyBytes atomic.Int64
	judged    sync.Map // *fasthttp.RequestHeader → judged, of large bodies that are not simply read

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
	s.debts.end = s.strangers.end
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
	turn, err := newTurn()
	if err != nil {
		return fmt.Errorf("cannot accept connections: %w", err)
	}
	defer turn.close()
	return s.http.Serve(&listener{Listener: l, s: s, turn: turn})
}

// Drain makes the server refuse new work; running requests go on.
func (s *Server) Drain() {
	if s.draining.CompareAndSwap(false, true) {
		close(s.strangers.end)
	}
}

// Slowed is the number of answers to unknown keys that waited since the start.
func (s *Server) Slowed() int64 { return s.strangers.Slowed.Load() }

// Indebted is the number of requests that waited for a turn since the start.
func (s *Server) Indebted() int64 { return s.debts.Slowed.Load() }

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

// judged is what judge found out about a large body, for when it has been read.
type judged struct {
	refusal *apierr.Error // it is not read, nil = it is
	client  int64         // whose it is, 0 = not known yet
	paid    int64         // what debts.turn has taken for it
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
	j, client := s.relay.Judge(h.RawHeaders(), h.RequestURI(), protocol.FamilyNone, n < 0 || n > coldBody)
	var found judged
	switch j {
	case relay.KeyUnknown:
		found.refusal = apierr.ErrInvalidAPIKey
	case relay.KeyCold:
		c.MaxRequestBodySize = min(coldBody, s.o.MaxBody)
	case relay.KeyKnown:
		found.client = client
		if n <= s.o.MaxBody { // else it is not read
			found.paid, found.refusal = s.debts.turn(client, n, s.now())
		}
	}
	if found.refusal != nil {
		c.MaxRequestBodySize = 1 // unreadable answers
	}
	// fasthttp forgets the head before it reports a body that is too large, but the
	// memory it stood in is the request's own.
	if found.refusal != nil || found.paid != 0 || found.client != 0 && n < 0 {
		s.judged.Store(h, found)
	} else {
		s.judged.Delete(h)
	}
	return c
}

// judgement is what judge found out about the large body of a request, once.
func (s *Server) judgement(ctx *fasthttp.RequestCtx) judged {
	if v, ok := s.judged.LoadAndDelete(&ctx.Request.Header); ok {
		return v.(judged)
	}
	return judged{}
}

// hasRead notes what a body of n bytes was good for that judge has looked at.
func (s *Server) hasRead(ctx *fasthttp.RequestCtx, n int, who relay.Asker) {
	if found := s.judgement(ctx); found.paid != 0 {
		s.debts.forgive(found.client, found.paid)
	}
	if who.Useless && n >= judgeFrom {
		s.debts.add(who.Client, n, s.now())
	}
}

// now is the time since the start, ns.
func (s *Server) now() int64 { return int64(time.Since(s.start)) }

// expect answers "Expect: 100-continue" before the body is sent: a key or a size
// that will be refused is refused now (D11).
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	err := (*apierr.Error)(nil)
	j, _ := s.relay.Judge(ctx.Request.Header.RawHeaders(), ctx.Request.Header.RequestURI(), protocol.FamilyNone, false)
	switch n := ctx.Request.Header.ContentLength(); {
	case j == relay.KeyUnknown:
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
		switch found := s.judgement(ctx); {
		case found.refusal == apierr.ErrInvalidAPIKey:
			e = found.refusal
			s.stranger(ctx)
		case found.refusal != nil:
			e = found.refusal
		case found.client != 0: // in chunks: only the last showed how large it is
			s.debts.add(found.client, s.o.MaxBody, s.now())
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
		size := len(ctx.Request.Body()) // which a stream does not keep
		who := s.relay.Serve(ctx, head, m, c, s.clientIP(c, head))
		if size >= judgeFrom || head.HasCoding {
			s.hasRead(ctx, size, who)
		}
		if !who.Known {
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
	waits := func() bool {
		if c == nil {
			return true
		}
		if c.Look() == relay.Gone {
			c.left = true
			return false
		}
		c.stopTaking()
		return true
	}
	if !s.strangers.slow(s.now(), waits) {
		ctx.Response.SetConnectionClose()
	}
	if c != nil {
		c.takeAgain()
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
