package main

import (
	"errors"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// bare is the floor for a proxy in Go: fasthttp's server and client with nothing in
// between. streamed hands the answer on as it comes, else it is read whole first, as
// one would for plain answers.
func bare(provider string, streamed bool) *fasthttp.Server {
	client := &fasthttp.HostClient{
		Addr: provider, MaxConns: 1 << 16, MaxIdleConnDuration: time.Minute, StreamResponseBody: streamed,
		NoDefaultUserAgentHeader: true, DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true,
	}
	return &fasthttp.Server{
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		DisableHeaderNamesNormalizing: true, MaxRequestBodySize: 64 << 20, Concurrency: 1 << 16,
		Handler: func(ctx *fasthttp.RequestCtx) {
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error(err.Error(), fasthttp.StatusBadGateway)
			}
		},
	}
}

// serveBare serves both forms, each on its address, in one process.
func serveBare(plainAddr, streamAddr, provider string) error {
	errs := make(chan error, 2)
	for addr, streamed := range map[string]bool{plainAddr: false, streamAddr: true} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() { errs <- bare(provider, streamed).Serve(ln) }()
	}
	if err := <-errs; err != nil {
		return err
	}
	return errors.New("the bare proxy has ended")
}
