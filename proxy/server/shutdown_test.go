package server

import (
	"context"
	"net"
	"testing"
	"time"

	"tokenrelay/proxy/relay"
)

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
