package server

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/relay"
)

// forwarder sends what is not inference to the admin process: the customer API,
// the operator API, the console and the docs. It is off the hot path.
type forwarder struct {
	client *fasthttp.HostClient
	host   string
}

const (
	forwardConns = 256
	forwardTime  = 60 * time.Second
)

func newForwarder(adminURL string) (*forwarder, error) {
	u, err := url.Parse(adminURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot use the admin URL %q", adminURL)
	}
	addr := u.Host
	if u.Port() == "" {
		addr = fasthttp.AddMissingPort(u.Host, u.Scheme == "https")
	}
	return &forwarder{host: u.Host, client: &fasthttp.HostClient{
		Addr: addr, IsTLS: u.Scheme == "https", MaxConns: forwardConns,
		Dial:                      func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) },
		MaxIdemponentCallAttempts: 1, ReadTimeout: forwardTime, WriteTimeout: forwardTime,
		MaxIdleConnDuration: 30 * time.Second, StreamResponseBody: true, NoDefaultUserAgentHeader: true,
		DisableHeaderNamesNormalizing: false, DisablePathNormalizing: true,
		RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
	}}, nil
}

func (f *forwarder) close() { f.client.CloseIdleConnections() }

// hopByHop are the fields that belong to one connection (RFC 9110 7.6.1), and those
// that only a proxy in front of us may claim.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Upgrade",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "X-Request-Id",
}

func (f *forwarder) do(ctx *fasthttp.RequestCtx, ip netip.Addr) error {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	ctx.Request.Header.CopyTo(&req.Header)
	for _, h := range hopByHop {
		req.Header.Del(h)
	}
	// Fields that the client names in Connection are hop by hop too (D16).
	for _, name := range bytes.Split(ctx.Request.Header.Peek("Connection"), []byte(",")) {
		if n := bytes.TrimSpace(name); len(n) > 0 {
			req.Header.DelBytes(n)
		}
	}
	req.Header.Set("X-Forwarded-For", ip.String())
	req.Header.SetBytesV("X-Forwarded-Host", ctx.Request.Header.Host())
	id := relay.NewID(ctx)
	req.Header.Set("X-Request-Id", id)
	// The URI is set after the host: fasthttp parses it from both.
	req.SetRequestURIBytes(ctx.Request.Header.RequestURI())
	req.URI().DisablePathNormalizing = true
	req.SetHost(f.host)
	req.SetBodyRaw(ctx.Request.Body())

	resp := &ctx.Response
	resp.StreamBody = true
	if err := f.client.Do(req, resp); err != nil {
		return err
	}
	for _, h := range []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Trailer", "Upgrade"} {
		resp.Header.Del(h)
	}
	if len(resp.Header.Peek("X-Request-Id")) == 0 {
		resp.Header.Set("X-Request-Id", id)
	}
	return nil
}
