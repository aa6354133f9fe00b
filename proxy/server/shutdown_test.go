package server

import (
	"context"
	"net"
	"testing"
	"time"

	"tokenrelay/proxy/relay"
)

// I1: a connection on which nothing was ever sent does not hold up the end. It did, for
// the ten seconds that a head may take, and nothing was left to ship and return in.
func TestShutdownWithUnusedConnections(t *testing.T) {
	s, err := New(relay.New(relay.Options{}), Options{AdminURL: "http://127.0.0.1:1", MaxHeader: 8 << 10, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { _ = s.Serve(l); close(served) }()
	const n = 20
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	for end := time.Now().Add(10 * time.Second); s.Conns.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections", s.Conns.Load())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), headTime/2)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("%v: %d connections are open", err, s.Conns.Load())
	}
	<-served
	if len(s.unused) != 0 {
		t.Errorf("%d connections are listed", len(s.unused))
	}
}

// A stop that comes before the first Accept, or between Serve's call and its first
// step, ends Serve too: a proxy that is stopped while it starts must not stay.
func TestShutdownBeforeServe(t *testing.T) {
	for _, first := range []string{"shutdown", "serve"} {
		for range 50 {
			s, err := New(relay.New(relay.Options{}), Options{AdminURL: "http://127.0.0.1:1", MaxHeader: 8 << 10, MaxBody: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			serve := func() { _ = s.Serve(l); close(served) }
			if first == "serve" {
				go serve()
			}
			if err := s.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			if first == "shutdown" {
				go serve()
			}
			select {
			case <-served:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s first: Serve still runs", first)
			}
		}
	}
}
