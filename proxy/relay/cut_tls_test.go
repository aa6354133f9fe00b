package relay_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Rulings 1.8, drain, over TLS: the customer leaves amid a read of an encrypted answer.
// The read goes on where it was, up to the provider's own usage, and the connection is
// used again.
func TestDrainPolicyOverTLS(t *testing.T) {
	const tokens = 12
	var conns, whole atomic.Int64
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range tokens {
			_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%02d \"}}]}\n\n", i)
			w.(http.Flusher).Flush()
			time.Sleep(40 * time.Millisecond)
		}
		_, _ = io.WriteString(w, "data: {\"id\":\"c\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"+
			"data: {\"id\":\"c\",\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":12,\"total_tokens\":19}}\n\ndata: [DONE]\n\n")
		whole.Add(1)
	}))
	up.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	up.StartTLS()
	defer up.Close()
	k := proxytest.New(t, proxytest.Options{
		Key:       func(r *store.KeyRow) { r.DrainTokens = 1000 },
		Upstream:  upstream.Options{TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}},
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: up.URL, Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	for n := range 3 {
		c, _ := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "x", true), "delta\":{\"content")
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		rec := k.WaitRecords(t, n+1)[n]
		if rec.Status != usage.Cancelled || rec.Source != usage.SourceReported || rec.Units[usage.Output] != tokens || rec.Units[usage.Input] != 7 || rec.Charge == 0 {
			t.Fatalf("record %+v", rec)
		}
	}
	if conns.Load() != 1 || whole.Load() != 3 {
		t.Errorf("%d connections, %d answers to the end", conns.Load(), whole.Load())
	}
	k.AtRest(t)
}
