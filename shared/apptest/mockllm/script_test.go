package mockllm

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestScriptSources(t *testing.T) {
	s, addr := start(t, Options{Default: "out=1"})
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"model", post(chatPath, chatBody("m+status=501+id=model", "", "")), 501},
		{"text", post(chatPath, chatBody("m", "mock:status=502;id=text and more words", "")), 502},
		{"user", post(chatPath, chatBody("m", "", `,"user":"u1 mock:status=503;id=user"`)), 503},
		{"metadata", post("/v1/messages", chatBody("m", "", `,"metadata":{"user_id":"mock:status=504;id=metadata"}`)), 504},
		{"header", post(chatPath, chatBody("m", "mock:status=502;id=header", ""), "x-mock: status=505"), 505},
		{"path", post("/p/mock:status=506;id=path"+chatPath, chatBody("m", "", "")), 506},
		{"key", post(chatPath, chatBody("m", "", ""), "Authorization: Bearer sk-mock:status=507;id=key"), 507},
	} {
		t.Run(c.name, func(t *testing.T) {
			if w := talk(t, addr, c.request, 3*time.Second); w.status(t) != c.status {
				t.Errorf("%s", w.raw)
			}
			lastRecord(t, s, c.name)
		})
	}
}

// A misspelt script must not pass for none.
func TestScriptMistakesAreAnswered(t *testing.T) {
	s, addr := start(t, Options{})
	for _, script := range []string{"stauts=500", "status=abc", "delay=5", "cut=x", "usage=odd", "dialect=nobody", "chunks=-1", "error=odd", "sse=odd"} {
		w := talk(t, addr, post(chatPath, chatBody("m", "mock:id=bad;"+script, "")), 3*time.Second)
		if w.status(t) != 400 || !bytes.Contains(w.body, []byte("mock_script")) {
			t.Errorf("%s: %s", script, w.raw)
		}
		if r := lastRecord(t, s, "bad"); r.ScriptErr == "" {
			t.Errorf("%s: not in the meter", script)
		}
		s.meter.Reset()
	}
	if _, err := New(Options{Default: "nonsense"}); err == nil {
		t.Error("a bad default script was taken")
	}
	// Words that only look like one are a question.
	if w := talk(t, addr, post(chatPath, chatBody("m", "what does mock: mean in mock:test ?", "")), 3*time.Second); w.status(t) != 200 {
		t.Errorf("%s", w.raw)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	s, addr := start(t, Options{})
	for _, c := range []struct {
		request string
		status  int
	}{
		{post(chatPath, `{"model":`), 400},
		{post(chatPath, `{"messages":[]}`), 400},
		{post(chatPath, `{"model":"m","messages":[{"role":"user","content":7}]}`), 400},
		{post("/v1/nowhere", `{}`), 404},
		{"GET " + chatPath + " HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"POST " + chatPath + " HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"POST " + chatPath + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"nonsense\r\n\r\n", 400},
	} {
		if w := talk(t, addr, c.request, 3*time.Second); w.status(t) != c.status {
			t.Errorf("%q: %q", c.request, w.raw)
		}
	}
	if n := s.meter.Summary().BadRequests; n != 3 {
		t.Errorf("%d bad requests counted, want 3", n)
	}
}

func TestChunkedUpload(t *testing.T) {
	s, addr := start(t, Options{})
	body := chatBody("m", "mock:id=up", "")
	var b strings.Builder
	b.WriteString("POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := range body {
		b.WriteString("1;ext=1\r\n" + body[i:i+1] + "\r\n")
	}
	b.WriteString("0\r\nTrailer: x\r\n\r\n")
	if w := talk(t, addr, b.String(), 3*time.Second); w.status(t) != 200 {
		t.Fatalf("%s", w.raw)
	}
	if r := lastRecord(t, s, "up"); r.BytesIn != int64(len(body)) {
		t.Errorf("%d bytes in", r.BytesIn)
	}
}

func FuzzScript(f *testing.F) {
	f.Add("hello mock:status=500;id=7 bye", "a")
	f.Add("mock:a.delay=5ms;b.cut=3;hold=1h", "b")
	f.Add("x+out=5+chunks=3", "")
	f.Fuzz(func(t *testing.T, text, lane string) {
		sc := newScript()
		_ = sc.Apply(scriptIn(text), lane)
		name, script := modelScript(text)
		if !strings.HasPrefix(text, "case:") && script != "" && name+"+"+script != text {
			t.Errorf("%q was split to %q and %q", text, name, script)
		}
		sc = newScript()
		_ = sc.Apply(script, lane)
		pieces := split(text)
		if joined(pieces) != text {
			t.Errorf("%q was split to %q", text, pieces)
		}
	})
}
