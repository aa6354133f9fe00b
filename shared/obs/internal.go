package obs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// Handler returns what the internal port serves: /healthz (the process runs),
// /readyz (200 or 503 with the reasons), /metrics, and /debug/pprof, which answers
// loopback only, wherever the port is bound.
func Handler(m *Metrics, r *Ready) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !r.OK() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(r.JSON())
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		m.WriteMetrics(w)
	})
	mux.Handle("/debug/pprof/", loopbackOnly(pprof.Index))
	mux.Handle("/debug/pprof/cmdline", loopbackOnly(pprof.Cmdline))
	mux.Handle("/debug/pprof/profile", loopbackOnly(pprof.Profile))
	mux.Handle("/debug/pprof/symbol", loopbackOnly(pprof.Symbol))
	mux.Handle("/debug/pprof/trace", loopbackOnly(pprof.Trace))
	return mux
}

func loopbackOnly(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		peer, err := netip.ParseAddrPort(req.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are served on loopback only", http.StatusForbidden)
			return
		}
		h(w, req)
	})
}

// Internal is a running internal port.
type Internal struct {
	server *http.Server
	addr   net.Addr
	done   chan error
}

// ListenInternal serves h on addr until Close. The address is bound when it returns.
func ListenInternal(addr string, h http.Handler) (*Internal, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the internal address: %w", err)
	}
	i := &Internal{
		server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10},
		addr:   ln.Addr(),
		done:   make(chan error, 1),
	}
	go func() { i.done <- i.server.Serve(ln) }()
	return i, nil
}

// Addr returns the bound address.
func (i *Internal) Addr() string { return i.addr.String() }

// Close stops the port: requests under way get up to a second.
func (i *Internal) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := i.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = i.server.Close()
	}
	if served := <-i.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
