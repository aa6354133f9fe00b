package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNoConn means that a host's connections are all in use.
var ErrNoConn = errors.New("upstream: all connections to the host are in use")

// Options of a client. Zero values take the defaults.
type Options struct {
	MaxConnsPerHost int           // default 20,000
	DialTimeout     time.Duration // default 5 s
	WriteTimeout    time.Duration // of one request, default 30 s
	IdleTimeout     time.Duration // of an unused connection, default 55 s
	TLS             *tls.Config   // default: system roots, TLS 1.2 and up
	Meanwhile       func()        // called behind each request that was sent, while the upstream works; it must not block; nil = none
}

// Client keeps the connections to all hosts.
type Client struct {
	o     Options
	mu    sync.Mutex // guards writers of hosts
	hosts atomic.Pointer[map[string]*Host]
	stop  chan struct{}
	done  chan struct{}

	Dials      atomic.Int64 // connections opened
	DialErrors atomic.Int64
	Reuses     atomic.Int64 // requests on a connection that served before
	Discards   atomic.Int64 // connections not given back to the pool
	Retries    atomic.Int64 // silent retries after a closed keep-alive connection
}

// Host is one scheme, address and base path.
type Host struct {
	client *Client
	addr   string // host:port to dial
	name   string // Host header
	tls    *tls.Config

	lineStart string // what a request begins with: the method, the base path without a trailing slash
	lineEnd   string // what its path is followed by: the version and the Host field

	free  *freelist    // places with no connection that had one
	used  atomic.Int64 // places that were ever used: the first so many
	idle  *freelist    // places with an idle connection
	conns []atomic.Pointer[Conn]
	live  atomic.Int64
}

// NewClient starts a client; Close ends it.
func NewClient(o Options) *Client {
	if o.MaxConnsPerHost == 0 {
		o.MaxConnsPerHost = 20_000
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 55 * time.Second
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1024), NextProtos: []string{"http/1.1"}}
	}
	c := &Client{o: o, stop: make(chan struct{}), done: make(chan struct{})}
	c.hosts.Store(&map[string]*Host{})
	go c.janitor()
	return c
}

// Close closes idle connections and ends the janitor.
func (c *Client) Close() {
	close(c.stop)
	<-c.done
	for _, h := range *c.hosts.Load() {
		h.closeIdle(0)
	}
}

// Host finds or makes the host of a base URL (no allocation when it is known).
func (c *Client) Host(baseURL string) (*Host, error) {
	if h := (*c.hosts.Load())[baseURL]; h != nil {
		return h, nil
	}
	return c.addHost(baseURL)
}

func (c *Client) addHost(baseURL string) (*Host, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("cannot read base URL: %w", err)
	}
	h := &Host{
		client: c, name: u.Host,
		lineStart: "POST " + strings.TrimRight(u.EscapedPath(), "/"), lineEnd: " HTTP/1.1\r\nHost: " + u.Host + "\r\n",
	}
	port := u.Port()
	switch u.Scheme {
	case "https":
		h.tls = c.o.TLS.Clone()
		h.tls.ServerName = u.Hostname()
		if port == "" {
			port = "443"
		}
	case "http":
		if port == "" {
			port = "80"
		}
	default:
		return nil, fmt.Errorf("cannot use base URL: scheme %q is neither http nor https", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("cannot use base URL: no host")
	}
	h.addr = net.JoinHostPort(u.Hostname(), port)
	n := c.o.MaxConnsPerHost
	h.free, h.idle, h.conns = newFreelist(n), newFreelist(n), make([]atomic.Pointer[Conn], n)

	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.hosts.Load()
	if known := old[baseURL]; known != nil {
		return known, nil
	}
	next := make(map[string]*Host, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[baseURL] = h
	c.hosts.Store(&next)
	return h, nil
}

// acquire takes an idle connection that is still alive, or dials. reused tells
// which.
func (h *Host) acquire(w Waiter) (c *Conn, reused bool, err error) {
	for {
		i, ok := h.idle.pop()
		if !ok {
			break
		}
		c := h.conns[i].Load()
		if c.lost() {
			h.discard(c)
			continue
		}
		c.waiter = w
		h.client.Reuses.Add(1)
		return c, true, nil
	}
	c, err = h.dial(w)
	return c, false, err
}

func (h *Host) dial(w Waiter) (*Conn, error) {
	i, ok := h.place()
	if !ok {
		return nil, ErrNoConn
	}
	c, err := h.connect(w)
	if err != nil {
		h.free.push(i)
		h.client.DialErrors.Add(1)
		return nil, err
	}
	c.idx = i
	h.conns[i].Store(c)
	h.live.Add(1)
	h.client.Dials.Add(1)
	return c, nil
}

// place takes a place with no connection: one that was in use before, else a new one.
// The places of a host are memory that is only touched when it is needed.
func (h *Host) place() (int, bool) {
	if i, ok := h.free.pop(); ok {
		return i, true
	}
	for {
		n := h.used.Load()
		if int(n) == len(h.conns) {
			return 0, false
		}
		if h.used.CompareAndSwap(n, n+1) {
			return int(n), true
		}
	}
}

func (h *Host) connect(w Waiter) (*Conn, error) {
	d := net.Dialer{Timeout: h.client.o.DialTimeout, KeepAlive: 30 * time.Second}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		return nil, err
	}
	c, err := newConn(nc.(*net.TCPConn), h)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.waiter = w
	if h.tls != nil {
		tc := tls.Client(slicedConn{c}, h.tls)
		// The handshake has its own bound: the waiter's would be the whole request's.
		ctx, cancel := context.WithTimeout(context.Background(), h.client.o.DialTimeout)
		err := tc.HandshakeContext(ctx)
		cancel()
		if err != nil {
			_ = nc.Close()
			return nil, err
		}
		c.tls = tc
	}
	return c, nil
}

// release gives a connection back whose response was read to its end.
func (h *Host) release(c *Conn) {
	c.waiter = nil
	c.requests++
	h.idle.push(c.idx)
}

// discard closes a connection and frees its place.
func (h *Host) discard(c *Conn) {
	c.waiter = nil
	c.close()
	h.conns[c.idx].Store(nil)
	h.live.Add(-1)
	h.client.Discards.Add(1)
	h.free.push(c.idx)
}

// Live is the number of open connections to the host.
func (h *Host) Live() int64 { return h.live.Load() }

// closeIdle closes the idle connections that were last used before ns.
func (h *Host) closeIdle(before int64) {
	var keep []int
	for {
		i, ok := h.idle.pop()
		if !ok {
			break
		}
		c := h.conns[i].Load()
		if before == 0 || c.lastUsed < before || c.stale() {
			h.discard(c)
			continue
		}
		keep = append(keep, i)
	}
	for k := len(keep) - 1; k >= 0; k-- { // most recently used on top again
		h.idle.push(keep[k])
	}
}

func (c *Client) janitor() {
	defer close(c.done)
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			for _, h := range *c.hosts.Load() {
				h.closeIdle(Now() - int64(c.o.IdleTimeout))
			}
		}
	}
}

// Name is the host with its port, as the Host field has it.
func (h *Host) Name() string { return h.name }
