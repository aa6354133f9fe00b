package relay_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/live"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/relay"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// C4 … C6, protocols 12.5: a stream that breaks after its first output ends with an
// error event, without the protocol's end, on a broken connection; what was
// produced is charged, and no other upstream is asked.
func TestStreamBreaks(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Relay: relay.Options{IdleTimeout: time.Second}})
	n := 0
	f := func(path, model, fault string, status usage.Status, outcome usage.Outcome, errorEvent, end string) {
		t.Helper()
		id := fmt.Sprint("b", n)
		r := post(t, k, path, chat(model, "id="+id+";out=40;flush=1;gap=5ms;"+fault, true))
		if r.status != 200 || r.err == nil {
			t.Fatalf("%s %s: %d, the body must break off, got %v\n%s", model, fault, r.status, r.err, r.body)
		}
		if !strings.Contains(string(r.body), errorEvent) || strings.Contains(string(r.body), end) {
			t.Fatalf("%s %s: ends with\n%s", model, fault, tail(r.body))
		}
		if strings.Contains(string(r.body), "sk-") || strings.Contains(string(r.body), "up-gpt") {
			t.Fatalf("%s %s: the upstream shows\n%s", model, fault, r.body)
		}
		n++
		rec := k.WaitRecords(t, n)[n-1]
		if rec.Status != status || rec.NumAttempts != 1 || rec.Attempts[0].Outcome != outcome || rec.HTTPStatus != 200 {
			t.Fatalf("%s %s: record %+v", model, fault, rec)
		}
		served := ended(meter, mockllm.Filter{Marker: id})
		if len(served) != 1 {
			t.Fatalf("%s: %d upstream calls", fault, len(served))
		}
		if rec.Charge <= 0 || rec.Source == usage.SourceReported || rec.Units[usage.Output] == 0 {
			t.Fatalf("%s %s: what was produced is charged: %+v", model, fault, rec)
		}
	}
	const chatEnd, claudeEnd = "[DONE]", "message_stop"
	for _, fault := range []string{"cut=6", "rst=6", "end=6"} {
		f("/v1/chat/completions", "gpt-a", fault, usage.Failed, usage.OutcomeCut, `data: {"error":{`, chatEnd)
		f("/v1/messages", "claude-a", fault, usage.Failed, usage.OutcomeCut, "event: error\n", claudeEnd)
	}
	f("/v1/chat/completions", "gpt-a", "error_at=6", usage.Failed, usage.OutcomeErrorEvent, `data: {"error":{`, chatEnd)
	f("/v1/messages", "claude-a", "error_at=6", usage.Failed, usage.OutcomeErrorEvent, "event: error\n", claudeEnd)
	f("/v1/chat/completions", "gpt-a", "hang=6", usage.Timeout, usage.OutcomeTimeout, `data: {"error":{`, chatEnd)
	f("/v1/messages", "claude-a", "hang=6", usage.Timeout, usage.OutcomeTimeout, "event: error\n", claudeEnd)
	k.AtRest(t)
}

func tail(b []byte) []byte { return b[max(0, len(b)-600):] }

// rawStream opens a stream on a connection of its own and reads until the answer
// holds want.
func rawStream(t *testing.T, k *proxytest.Kit, path, body, want string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", path, k.Token, len(body), body)
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var got strings.Builder
	for !strings.Contains(got.String(), want) {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after\n%s", err, got.String())
		}
		got.WriteString(line)
	}
	return c, r
}

// D2, rulings 1.8: a customer that leaves while the upstream is silent is noticed
// within a second, the upstream is cancelled, what was produced is paid.
func TestClientLeavesSilentStream(t *testing.T) {
	within(t, time.Second, func() time.Duration {
		k, meter := standard(t, proxytest.Options{})
		c, _ := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "id=gone;out=40;flush=1;hang=6;hold=30s", true), "delta\":{\"content")
		_ = c.(*net.TCPConn).SetLinger(0) // RST
		left := time.Now()
		c.Close()
		rec := k.WaitRecords(t, 1)[0]
		took := time.Since(left)
		if rec.Status != usage.Cancelled || rec.Charge <= 0 || rec.Source == usage.SourceReported {
			t.Fatalf("record %+v", rec)
		}
		gone, ok := meter.Wait(mockllm.Filter{Marker: "gone"}, 1, 2*time.Second)
		if !ok || gone[0].End == "" || gone[0].EndedNS == 0 {
			t.Fatalf("the upstream was not cancelled: %+v", gone)
		}
		k.AtRest(t)
		return took
	})
}

// A plain close (FIN) is told from a half-close by a heartbeat: the closed socket
// answers it with a reset.
func TestClientClosesSilentStream(t *testing.T) {
	within(t, 1600*time.Millisecond, func() time.Duration {
		k, _ := standard(t, proxytest.Options{})
		c, _ := rawStream(t, k, "/v1/messages", chat("claude-a", "out=40;flush=1;hang=8;hold=30s", true), "text_delta")
		left := time.Now()
		c.Close()
		rec := k.WaitRecords(t, 1)[0]
		took := time.Since(left)
		if rec.Status != usage.Cancelled {
			t.Fatalf("record %+v", rec)
		}
		k.AtRest(t)
		return took
	})
}

// D4: a customer that has only finished sending is served to the end.
func TestHalfClosedClientIsServed(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	c, r := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "out=5;flush=1;gap=300ms", true), "delta\":{\"content")
	_ = c.(*net.TCPConn).CloseWrite()
	rest, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Fatalf("%v\n%s", err, rest)
	}
	if rec := k.WaitRecords(t, 1)[0]; rec.Status != usage.Success {
		t.Fatalf("record %+v", rec)
	}
	k.AtRest(t)
}

// D1: a customer that leaves before the first output pays nothing.
func TestClientLeavesBeforeOutput(t *testing.T) {
	within(t, time.Second, func() time.Duration {
		k, meter := standard(t, proxytest.Options{})
		body := chat("gpt-a", "id=early;delay=20s", true)
		c, err := net.Dial("tcp", k.Addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", k.Token, len(body), body)
		if _, ok := meter.Wait(mockllm.Filter{Marker: "early"}, 1, 5*time.Second); !ok {
			for deadline := time.Now().Add(5 * time.Second); k.Relay.Running.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		left := time.Now()
		c.Close()
		rec := k.WaitRecords(t, 1)[0]
		took := time.Since(left)
		if rec.Status != usage.Cancelled || rec.Charge != 0 || rec.NumAttempts != 1 {
			t.Fatalf("record %+v", rec)
		}
		k.AtRest(t)
		return took
	})
}

// Rulings 1.8: a buffered answer is read to its end and charged, whoever waits.
func TestClientLeavesBufferedAnswer(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	body := chat("gpt-a", "out=9;delay=700ms", false)
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", k.Token, len(body), body)
	for k.Relay.Running.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Close()
	if rec := k.WaitRecords(t, 1)[0]; rec.Units[usage.Output] != 9 || rec.Charge == 0 || rec.Source != usage.SourceReported {
		t.Fatalf("record %+v", rec)
	}
	k.AtRest(t)
}

// Rulings 1.8, drain: the upstream is read on and its own usage is charged.
func TestDrainPolicy(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Key: func(r *store.KeyRow) { r.DrainTokens = 1000 }})
	c, _ := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "id=drain;out=12;flush=1;gap=60ms", true), "delta\":{\"content")
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	rec := k.WaitRecords(t, 1)[0]
	if rec.Status != usage.Cancelled || rec.Source != usage.SourceReported || rec.Units[usage.Output] != 12 {
		t.Fatalf("record %+v", rec)
	}
	if m := ended(meter, mockllm.Filter{Marker: "drain"}); len(m) != 1 || m[0].Usage == nil {
		t.Fatalf("meter %+v", m)
	}
	k.AtRest(t)
}

// Rulings 1.8, G1: a disabled key's running stream is cut within a second, also
// while its upstream is silent; a rotated key's runs on.
func TestKeyIsCut(t *testing.T) {
	within(t, time.Second, func() time.Duration {
		k, _ := standard(t, proxytest.Options{})
		_, r := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "out=40;flush=1;hang=6;hold=30s", true), "delta\":{\"content")
		k.Live.Find(1).SetCut(live.CutDrain)
		time.Sleep(700 * time.Millisecond)
		if n := k.Relay.Running.Load(); n != 1 {
			t.Fatalf("a rotated key's stream was cut: %d running", n)
		}
		k.Live.Find(1).SetCut(live.CutNow)
		cut := time.Now()
		rest, _ := io.ReadAll(r)
		took := time.Since(cut)
		if !strings.Contains(string(rest), `"relay_code":"key_disabled"`) || strings.Contains(string(rest), "[DONE]") {
			t.Fatalf("ends with\n%s", rest)
		}
		rec := k.WaitRecords(t, 1)[0]
		if rec.Flags&usage.FlagKeyCut == 0 || rec.Charge <= 0 {
			t.Fatalf("record %+v", rec)
		}
		k.AtRest(t)
		return took
	})
}

// D5: a customer that stops reading is ended, and its upstream with it.
func TestStalledReader(t *testing.T) {
	o := proxytest.Options{}
	o.Server.WriteStall = time.Second
	k, _ := standard(t, o)
	c, _ := rawStream(t, k, "/v1/chat/completions", chat("gpt-a", "out=20;line=20000000", true), "delta\":{\"content")
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	start := time.Now()
	rec := k.WaitRecords(t, 1)[0]
	if d := time.Since(start); d > 4*time.Second {
		t.Fatalf("ended after %s", d)
	}
	if rec.Status != usage.Cancelled {
		t.Fatalf("record %+v", rec)
	}
	k.AtRest(t)
}

// Heartbeats: a silent upstream behind a begun stream shows as comments (or pings),
// at event boundaries only.
func TestHeartbeat(t *testing.T) {
	if testing.Short() {
		t.Log("runs 17 s")
	}
	t.Parallel()
	k, _ := standard(t, proxytest.Options{})
	type result struct {
		body string
		err  error
	}
	ask := func(path, model string) result {
		req, _ := http.NewRequest("POST", k.URL+path, strings.NewReader(chat(model, "out=6;flush=1;hang=8;hold=17s", true)))
		req.Header.Set("Authorization", "Bearer "+k.Token)
		resp, err := client.Do(req)
		if err != nil {
			return result{err: err}
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return result{string(b), err}
	}
	done := make(chan result, 2)
	go func() { done <- ask("/v1/chat/completions", "gpt-a") }()
	go func() { done <- ask("/v1/messages", "claude-a") }()
	for range 2 {
		r := <-done
		if !strings.Contains(r.body, "\n\n: keep-alive\n\n") && strings.Count(r.body, "event: ping") < 2 {
			t.Fatalf("no heartbeat (%v):\n%s", r.err, r.body)
		}
	}
	k.AtRest(t)
}
