package mockllm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const chatPath = "/v1/chat/completions"

// The rows C1 to C21 need each of these from the mock: seen here by a raw client.
func TestFaults(t *testing.T) {
	s, addr := start(t, Options{})
	table := []struct {
		script string
		stream bool
		check  func(t *testing.T, w wire, r Record)
	}{
		{"status=500", true, func(t *testing.T, w wire, r Record) {
			if w.status(t) != 500 || r.Status != 500 || r.Usage != nil || r.Produced != (Units{}) {
				t.Errorf("%s %+v", w.raw, r)
			}
		}},
		{"status=429;retry_after=7", false, func(t *testing.T, w wire, r Record) {
			if w.status(t) != 429 || !strings.Contains(w.head, "Retry-After: 7\r\n") || !bytes.Contains(w.body, []byte("rate_limit_exceeded")) {
				t.Errorf("%s", w.raw)
			}
		}},
		{"status=302;location=http://127.0.0.1:1/x", false, func(t *testing.T, w wire, r Record) {
			if w.status(t) != 302 || !strings.Contains(w.head, "Location: http://127.0.0.1:1/x\r\n") {
				t.Errorf("%s", w.raw)
			}
		}},
		{"error=account_empty;status=200", false, func(t *testing.T, w wire, r Record) { // C11
			if w.status(t) != 200 || !bytes.Contains(w.body, []byte("insufficient_quota")) || r.Usage != nil {
				t.Errorf("%s", w.raw)
			}
		}},
		{"hang=headers;hold=100ms", false, func(t *testing.T, w wire, r Record) { // C2
			if len(w.raw) != 0 || w.took < 90*time.Millisecond || r.End != EndFault || r.Status != 0 {
				t.Errorf("%q after %s %+v", w.raw, w.took, r)
			}
		}},
		{"out=5;hang=3;hold=100ms", true, func(t *testing.T, w wire, r Record) { // C4
			if dataEvents(w.body) != 3 || w.whole || w.took < 90*time.Millisecond || r.Events != 3 || r.Produced.Output != 2 {
				t.Errorf("%s %+v", w.raw, r)
			}
		}},
		{"out=5;cut=3", true, func(t *testing.T, w wire, r Record) { // C6
			if dataEvents(w.body) != 3 || w.whole || !w.eof || r.End != EndFault || r.Produced.Output != 2 || r.Usage != nil {
				t.Errorf("%s %+v", w.raw, r)
			}
		}},
		{"out=5;end=3", true, func(t *testing.T, w wire, r Record) {
			if dataEvents(w.body) != 3 || !w.whole || bytes.Contains(w.body, []byte("DONE")) || r.End != EndFinished {
				t.Errorf("%s %+v", w.raw, r)
			}
		}},
		{"out=5;rst=3", true, func(t *testing.T, w wire, r Record) { // C5
			if dataEvents(w.body) != 3 || w.whole || !w.reset || r.End != EndFault {
				t.Errorf("%s reset %v %+v", w.raw, w.reset, r)
			}
		}},
		{"cut=headers", false, func(t *testing.T, w wire, r Record) {
			if len(w.raw) != 0 || !w.eof {
				t.Errorf("%q", w.raw)
			}
		}},
		{"rst=headers", false, func(t *testing.T, w wire, r Record) {
			if len(w.raw) != 0 || !w.reset {
				t.Errorf("%q", w.raw)
			}
		}},
		{"cut=0", true, func(t *testing.T, w wire, r Record) {
			if w.status(t) != 200 || len(w.body) != 0 || !w.eof {
				t.Errorf("%q", w.raw)
			}
		}},
		{"cut_bytes=40", false, func(t *testing.T, w wire, r Record) {
			if len(w.body) != 40 || w.whole || !w.eof || r.BytesOut != 40 {
				t.Errorf("%q %+v", w.raw, r)
			}
		}},
		{"rst_bytes=40", true, func(t *testing.T, w wire, r Record) {
			if len(w.body) != 40 || !w.reset {
				t.Errorf("%q", w.raw)
			}
		}},
		{"hang_bytes=40;hold=50ms", true, func(t *testing.T, w wire, r Record) {
			if len(w.body) != 40 || w.took < 40*time.Millisecond {
				t.Errorf("%q", w.raw)
			}
		}},
		{"error_at=1;error=overloaded", true, func(t *testing.T, w wire, r Record) { // D11
			if w.status(t) != 200 || !bytes.HasPrefix(w.body, []byte(`data: {"error":{`)) {
				t.Errorf("%s", w.raw)
			}
		}},
		{"out=5;error_at=3", true, func(t *testing.T, w wire, r Record) {
			chunks := strings.Split(string(w.body), "\n\n")
			if !strings.HasPrefix(chunks[2], `data: {"error":{`) || !w.whole {
				t.Errorf("%s", w.raw)
			}
		}},
		{"out=2;sse=crlf", true, func(t *testing.T, w wire, r Record) { // C7
			if !bytes.Contains(w.body, []byte("}\r\n\r\n")) || bytes.Contains(bytes.ReplaceAll(w.body, []byte("\r\n"), nil), []byte("\n")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=cr", true, func(t *testing.T, w wire, r Record) {
			if bytes.Contains(w.body, []byte("\n")) || !bytes.HasSuffix(w.body, []byte("data: [DONE]\r\r")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=bom", true, func(t *testing.T, w wire, r Record) {
			if !bytes.HasPrefix(w.body, []byte("\ufeffdata: ")) || bytes.Count(w.body, []byte("\ufeff")) != 1 {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=nospace", true, func(t *testing.T, w wire, r Record) {
			if bytes.Contains(w.body, []byte("data: ")) || !bytes.HasPrefix(w.body, []byte("data:{")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=noend", true, func(t *testing.T, w wire, r Record) {
			if !bytes.HasSuffix(w.body, []byte("data: [DONE]")) || !w.whole {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=multiline", true, func(t *testing.T, w wire, r Record) {
			if !bytes.Contains(w.body, []byte(",\ndata: \"")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=ids", true, func(t *testing.T, w wire, r Record) {
			if !bytes.HasPrefix(w.body, []byte("id: 1\nretry: 1000\ndata: ")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=comments", true, func(t *testing.T, w wire, r Record) {
			if !bytes.HasPrefix(w.body, []byte(": a comment\n\n:\ndata: ")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=junk", true, func(t *testing.T, w wire, r Record) {
			if !bytes.Contains(w.body, []byte("no colon\n")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;sse=badjson", true, func(t *testing.T, w wire, r Record) {
			if !bytes.Contains(w.body, []byte("\"cut\n\n")) {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=5;line=1m", true, func(t *testing.T, w wire, r Record) {
			if !w.whole || len(w.body) < 1<<20 {
				t.Errorf("%d bytes", len(w.body))
			}
		}},
		{"out=2;write=1", true, func(t *testing.T, w wire, r Record) {
			if !w.whole || bytes.Count(w.raw, []byte("\r\n1\r\n")) < len(w.body)-1 {
				t.Errorf("%d body bytes in %q", len(w.body), w.raw)
			}
		}},
		{"write=7;gap=1ms", false, func(t *testing.T, w wire, r Record) {
			if !w.whole || w.took < 50*time.Millisecond {
				t.Errorf("%s", w.took)
			}
		}},
		{"usage=none", false, func(t *testing.T, w wire, r Record) { // C8
			if bytes.Contains(w.body, []byte(`"usage":`)) || r.Usage != nil || r.Produced.Output == 0 {
				t.Errorf("%s %+v", w.body, r)
			}
		}},
		{"out=2;usage=none", true, func(t *testing.T, w wire, r Record) {
			if bytes.Contains(w.body, []byte("prompt_tokens")) || r.Usage != nil || r.Produced.Output != 2 {
				t.Errorf("%s %+v", w.body, r)
			}
		}},
		{"usage=negative", false, lies(`"completion_tokens":-5,`)}, // C9
		{"usage=huge", false, lies(`"completion_tokens":1000000000000000000,`)},
		{"usage=string;out=3", true, lies(`"completion_tokens":"3",`)},
		{"usage=null", true, lies(`"completion_tokens":null,`)},
		{"usage=float", false, lies(`"completion_tokens":3.7,`)},
		{"usage=exp", false, lies(`"completion_tokens":1e3,`)},
		{"usage=nan", false, lies(`"completion_tokens":NaN,`)},
		{"usage_in=negative", false, lies(`"prompt_tokens":-5,`)},
		{"out=4;usage=twice", true, func(t *testing.T, w wire, r Record) {
			if bytes.Count(w.body, []byte(`"completion_tokens":4`)) != 2 || r.Usage == nil || r.Usage.Output != 4 {
				t.Errorf("%s", w.body)
			}
		}},
		{"out=4;usage=shrink", true, func(t *testing.T, w wire, r Record) {
			if i, j := bytes.Index(w.body, []byte(`"completion_tokens":40`)), bytes.LastIndex(w.body, []byte(`"completion_tokens":4,`)); i < 0 || j < i || r.Usage.Output != 4 {
				t.Errorf("%s", w.body)
			}
		}},
		{"gzip=1", false, func(t *testing.T, w wire, r Record) { // C12
			z, err := gzip.NewReader(bytes.NewReader(w.body))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil || !json.Valid(plain) || !strings.Contains(w.head, "Content-Encoding: gzip") {
				t.Errorf("%v %s", err, plain)
			}
		}},
		{"gzip=1;out=3", true, func(t *testing.T, w wire, r Record) {
			z, err := gzip.NewReader(bytes.NewReader(w.body))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil || !bytes.HasSuffix(plain, []byte("[DONE]\n\n")) {
				t.Errorf("%v %s", err, plain)
			}
		}},
		{"gzip=lie", false, func(t *testing.T, w wire, r Record) {
			if !json.Valid(w.body) || !strings.Contains(w.head, "Content-Encoding: gzip") {
				t.Errorf("%s", w.raw)
			}
		}},
		{"huge=3m", false, func(t *testing.T, w wire, r Record) { // C13
			if !json.Valid(w.body) || len(w.body) < 3<<20 {
				t.Errorf("%d bytes", len(w.body))
			}
		}},
		{"slow_headers=2ms", false, func(t *testing.T, w wire, r Record) { // C3
			if !w.whole || w.took < 100*time.Millisecond {
				t.Errorf("%s", w.took)
			}
		}},
		{"delay=60ms", false, func(t *testing.T, w wire, r Record) {
			if !w.whole || w.took < 55*time.Millisecond {
				t.Errorf("%s", w.took)
			}
		}},
		{"out=5;gap=20ms", true, func(t *testing.T, w wire, r Record) {
			if !w.whole || w.took < 120*time.Millisecond {
				t.Errorf("%s", w.took)
			}
		}},
		{"huge_headers=1m", false, func(t *testing.T, w wire, r Record) { // C18
			if len(w.head) < 1<<20 {
				t.Errorf("%d bytes of head", len(w.head))
			}
		}},
		{"headers=cookie,hop,leak,limits,inject", false, func(t *testing.T, w wire, r Record) {
			for _, name := range []string{"Set-Cookie: ", "X-Hop: ", "Openai-Organization: org-mockcanary", "X-Ratelimit-Limit-Requests: 424242", "X-Inject: a\r b"} {
				if !strings.Contains(w.head, name) {
					t.Errorf("%s is missing in %q", name, w.head)
				}
			}
		}},
		{"te=both", true, func(t *testing.T, w wire, r Record) {
			if !strings.Contains(w.head, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") {
				t.Errorf("%q", w.head)
			}
		}},
		{"te=short", false, func(t *testing.T, w wire, r Record) {
			if w.whole || !w.eof {
				t.Errorf("%q", w.raw)
			}
		}},
		{"te=close;out=2", true, func(t *testing.T, w wire, r Record) {
			if !w.eof || strings.Contains(w.head, "chunked") || !bytes.HasSuffix(w.raw, []byte("data: [DONE]\n\n")) {
				t.Errorf("%q", w.raw)
			}
		}},
		{"te=chunked", false, func(t *testing.T, w wire, r Record) {
			if !w.whole || !json.Valid(w.body) {
				t.Errorf("%q", w.raw)
			}
		}},
		{"close=1", false, func(t *testing.T, w wire, r Record) {
			if !w.whole || !w.eof || !strings.Contains(w.head, "Connection: close") {
				t.Errorf("%q", w.raw)
			}
		}},
		{"early=103x3", false, func(t *testing.T, w wire, r Record) { // C14
			if bytes.Count(w.raw, []byte("HTTP/1.1 103 ")) != 3 || w.status(t) != 200 {
				t.Errorf("%q", w.raw)
			}
		}},
		{"head=broken", false, func(t *testing.T, w wire, r Record) {
			if !bytes.HasPrefix(w.raw, []byte("ICY ")) {
				t.Errorf("%q", w.raw)
			}
		}},
		{"blank=3;dialect=deepseek", false, func(t *testing.T, w wire, r Record) {
			if !bytes.HasPrefix(w.body, []byte("\n\n\n{")) || !json.Valid(w.body) || !w.whole {
				t.Errorf("%q", w.body)
			}
		}},
		{"out=2;comments=4", true, func(t *testing.T, w wire, r Record) {
			if bytes.Count(w.body, []byte(": keep-alive\n\n")) != 4 || r.Events != 6 {
				t.Errorf("%q %+v", w.body, r)
			}
		}},
		{"chunks=8;size=16", true, func(t *testing.T, w wire, r Record) {
			n := 0
			for _, c := range parseChunks(t, w.body) {
				if len(c.Choices) > 0 && c.Choices[0].Delta.Content != "" {
					if n++; len(c.Choices[0].Delta.Content) != 16 {
						t.Errorf("%q", c.Choices[0].Delta.Content)
					}
				}
			}
			if n != 8 || r.Usage.Output != 32 {
				t.Errorf("%d chunks, %+v", n, r.Usage)
			}
		}},
	}
	for i, c := range table {
		t.Run(fmt.Sprintf("%s,stream=%v", c.script, c.stream), func(t *testing.T) {
			id := fmt.Sprintf("f%d", i)
			more := ""
			if c.stream {
				more = streamed
			}
			w := talk(t, addr, post(chatPath, chatBody("m", "mock:id="+id+";"+c.script, more)), 3*time.Second)
			c.check(t, w, lastRecord(t, s, id))
		})
	}
}

func lies(part string) func(t *testing.T, w wire, r Record) {
	return func(t *testing.T, w wire, r Record) {
		if !bytes.Contains(w.body, []byte(part)) || r.Usage != nil || r.Lie == "" || r.Produced.Output == 0 {
			t.Errorf("%s not in %s, %+v", part, w.body, r)
		}
	}
}

// D2: the meter knows when a client has left, also while the mock is silent.
func TestClientGoneIsNoticed(t *testing.T) {
	s, addr := start(t, Options{})
	for _, script := range []string{"out=3;hang=2", "hang=headers", "delay=1m", "out=9;gap=1m"} {
		id := "gone-" + strings.NewReplacer("=", "", ";", "").Replace(script)
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(nc, post(chatPath, chatBody("m", "mock:id="+id+";"+script, streamed))); err != nil {
			t.Fatal(err)
		}
		listen(nc, 50*time.Millisecond)
		left := time.Now()
		_ = nc.Close()
		r := lastRecord(t, s, id)
		if r.End != EndGone || time.Unix(0, r.EndedNS).Sub(left) > 200*time.Millisecond {
			t.Errorf("%s: %+v", script, r)
		}
	}
}

// What is written after the client has closed is told apart: the first write still
// succeeds.
func TestUnheardIsTold(t *testing.T) {
	s, addr := start(t, Options{})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, post(chatPath, chatBody("m", "mock:id=unheard;out=20000;chunks=20000", streamed))); err != nil {
		t.Fatal(err)
	}
	_ = nc.(*net.TCPConn).CloseWrite() // to the mock the same as a close, but what it writes can be read
	_, _ = io.Copy(io.Discard, nc)
	r := lastRecord(t, s, "unheard")
	if r.Unheard.Output == 0 || r.Unheard.Output > r.Produced.Output {
		t.Errorf("%+v", r)
	}
	_ = nc.Close()
	nc, err = net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, post(chatPath, chatBody("m", "mock:id=heard;out=20;chunks=2", streamed))); err != nil {
		t.Fatal(err)
	}
	listen(nc, 50*time.Millisecond)
	if r := lastRecord(t, s, "heard"); r.Unheard != (Units{}) || r.Produced.Output != 20 {
		t.Errorf("%+v", r)
	}
}

// Error bodies have each provider's own shape (protocols 9).
func TestErrorShapes(t *testing.T) {
	_, addr := start(t, Options{})
	for _, c := range []struct {
		lane, script string
		status       int
		body         string
	}{
		{"openai", "error=account_empty", 429, `"code":"insufficient_quota"`},
		{"openai", "error=invalid_key", 401, `"code":"invalid_api_key"`},
		{"openai", "error=context_length", 400, `"code":"context_length_exceeded"`},
		{"openai", "error=model_not_found", 404, `"code":"model_not_found"`},
		{"deepseek", "error=account_empty", 402, `Insufficient Balance`},
		{"mistral", "error=invalid_key", 401, `{"detail":"Invalid API Key"}`},
		{"mistral", "status=422", 422, `{"detail":[{"loc"`},
		{"qwen", "error=account_empty", 400, `"code":"Arrearage"`},
		{"dashscope", "error=content_filter", 400, `data_inspection_failed`},
		{"kimi", "error=account_empty", 429, `exceeded_current_quota_error`},
		{"glm", "error=account_empty", 429, `"code":"1113"`},
		{"xai", "error=invalid_key", 400, `{"code":"invalid-argument","error":"Incorrect API key`},
		{"groq", "error=tool_use_failed", 400, `failed_generation`},
		{"openrouter", "error=rate_limit", 429, `"code":429`},
		{"gemini", "error=invalid_key", 400, `API_KEY_INVALID`},
		{"openai", "error=html", 502, `<html>`},
		{"openai", "error=empty", 503, ``},
		{"anthropic", "error=account_empty", 400, `credit balance is too low`},
		{"anthropic", "error=overloaded", 529, `"type":"overloaded_error"`},
		{"anthropic", "error=invalid_key", 401, `"type":"authentication_error"`},
		{"anthropic", "status=429", 429, `"type":"rate_limit_error"`},
	} {
		path := "/" + c.lane + "/v1/chat/completions"
		if c.lane == "anthropic" {
			path = "/anthropic/v1/messages"
		}
		w := talk(t, addr, post(path, chatBody("m", "mock:"+c.script, "")), 3*time.Second)
		if w.status(t) != c.status || !bytes.Contains(w.body, []byte(c.body)) {
			t.Errorf("%s %s: %s", c.lane, c.script, w.raw)
		}
		if strings.HasPrefix(string(w.body), "{") && !json.Valid(w.body) {
			t.Errorf("%s %s: no JSON: %s", c.lane, c.script, w.body)
		}
	}
}

// A mid-stream error has each protocol's own form.
func TestErrorEvents(t *testing.T) {
	_, addr := start(t, Options{})
	w := talk(t, addr, post("/groq/v1/chat/completions", chatBody("m", "mock:out=5;error_at=3", streamed)), 3*time.Second)
	if !bytes.Contains(w.body, []byte("\n\nevent: error\ndata: {\"error\"")) || bytes.Contains(w.body, []byte("[DONE]")) {
		t.Errorf("groq: %s", w.body)
	}
	w = talk(t, addr, post("/v1/messages", chatBody("m", "mock:error_at=1;error=overloaded", `,"max_tokens":5,"stream":true`)), 3*time.Second)
	if string(w.body) != "event: error\ndata: "+`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_mockcanary"}`+"\n\n" {
		t.Errorf("anthropic: %s", w.body)
	}
}

// C20: an answer before the request's body has been read.
func TestAnswerEarly(t *testing.T) {
	_, addr := start(t, Options{})
	w := talk(t, addr, "POST /mock:answer=early/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 3*time.Second)
	if w.status(t) != 200 || !w.whole {
		t.Errorf("%q", w.raw)
	}
}

func TestFailThenSucceed(t *testing.T) {
	s, addr := start(t, Options{})
	for i, want := range []int{429, 429, 200, 200} {
		w := talk(t, addr, post(chatPath, chatBody("m", "mock:id=ft;fail=2;status=429", "")), 3*time.Second)
		if w.status(t) != want {
			t.Errorf("call %d: %d", i, w.status(t))
		}
	}
	// By lane, through the standing script, and per lane inside one text.
	if err := s.SetScript("a", "fail=1;cut=headers"); err != nil {
		t.Fatal(err)
	}
	if w := talk(t, addr, post("/a"+chatPath, chatBody("m", "", "")), 3*time.Second); len(w.raw) != 0 || !w.eof {
		t.Errorf("%q", w.raw)
	}
	if w := talk(t, addr, post("/a"+chatPath, chatBody("m", "", "")), 3*time.Second); w.status(t) != 200 {
		t.Errorf("%q", w.raw)
	}
	if err := s.SetScript("a", ""); err != nil {
		t.Fatal(err)
	}
	for lane, want := range map[string]int{"a": 500, "b": 200} {
		w := talk(t, addr, post("/"+lane+chatPath, chatBody("m", "mock:a.status=500", "")), 3*time.Second)
		if w.status(t) != want {
			t.Errorf("lane %s: %q", lane, w.raw)
		}
	}
}
