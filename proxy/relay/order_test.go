package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/relay"
	"tokenrelay/shared/apptest/mockllm"
)

// stopper is a log whose writer waits: it stops a request at the moment at which its
// record is written, if the journal does not take it.
type stopper struct {
	slog.Handler
	reached, release chan struct{}
}

func (s *stopper) Enabled(context.Context, slog.Level) bool { return true }

func (s *stopper) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "could not be recorded") {
		s.reached <- struct{}{}
		<-s.release
	}
	return nil
}

// K6, D4: the record is written before the customer sees the end. A proxy killed in
// between has charged what was answered; the other way round the answer was free.
func TestRecordedBeforeTheEndIsSeen(t *testing.T) {
	for _, tt := range []struct{ name, path, body, begins, ends string }{
		{"chat stream", "/v1/chat/completions", chat("gpt-a", "id=o;out=8;gap=100ms", true), "delta\":{\"content", "[DONE]"},
		{"messages stream", "/v1/messages", chat("claude-a", "id=o;out=8;gap=100ms", true), "content_block_delta", "message_stop"},
		{"chat", "/v1/chat/completions", chat("gpt-a", "id=o;out=8;delay=500ms", false), "", "usage"},
		{"messages", "/v1/messages", chat("claude-a", "id=o;out=8;delay=500ms", false), "", "usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &stopper{reached: make(chan struct{}, 1), release: make(chan struct{})}
			k, meter := standard(t, proxytest.Options{Relay: relay.Options{Log: slog.New(log)}})
			var c net.Conn
			var r *bufio.Reader
			if tt.begins != "" {
				c, r = rawStream(t, k, tt.path, tt.body, tt.begins)
			} else {
				var err error
				if c, err = net.Dial("tcp", k.Addr); err != nil {
					t.Fatal(err)
				}
				r = bufio.NewReader(c)
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tt.path, k.Token, len(tt.body), tt.body)
				for meterCalls(meter, "o") == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			defer c.Close()
			_ = k.Journal.Close() // what ends from here on cannot be recorded
			select {
			case <-log.reached:
			case <-time.After(10 * time.Second):
				t.Fatal("the request has not ended")
			}
			if list, ok := meter.Wait(mockllm.Filter{Marker: "o"}, 1, 5*time.Second); !ok || list[0].Usage == nil {
				t.Errorf("the provider is not done: %+v", list)
			}
			before := readFor(t, c, r, 300*time.Millisecond)
			if strings.Contains(before, tt.ends) || tt.begins == "" && before != "" {
				t.Errorf("the customer saw the end before it was recorded:\n%s", before)
			}
			close(log.release)
			if after := readFor(t, c, r, 500*time.Millisecond); !strings.Contains(after, tt.ends) {
				t.Errorf("the customer never saw the end:\n%s", after)
			}
		})
	}
}

// readFor reads what comes within a time.
func readFor(t *testing.T, c net.Conn, r *bufio.Reader, d time.Duration) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	var got strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		got.Write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got.String()
		}
		if err != nil {
			t.Fatalf("%v after\n%s", err, got.String())
		}
	}
}
