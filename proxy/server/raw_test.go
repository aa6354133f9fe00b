package server_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: a date per process that never ends, a cleaner per server that
		// sleeps for ten seconds before it sees that it should stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func start(t *testing.T, o proxytest.Options) (*proxytest.Kit, *mockllm.Meter) {
	t.Helper()
	s, err := mockllm.New(mockllm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	url := "http://" + l.Addr().String()
	o.Providers = []proxytest.Provider{
		{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/u/openai/v1", Keys: []string{"sk-upstream-secret"}},
		{Slug: "anthropic", Protocol: "anthropic", BaseURL: url + "/u/anthropic/v1", Keys: []string{"sk-ant-upstream-secret"}},
	}
	o.Models = []proxytest.Model{
		{ID: "gpt-a", Output: 4096, Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}},
		{ID: "claude-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up-claude"}}},
		{ID: "unpriced", Prices: map[string]string{}, Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}},
	}
	return proxytest.New(t, o), s.Meter()
}

// raw writes bytes on a connection of its own and reads one response; closed tells
// whether the server then closed.
func raw(t *testing.T, k *proxytest.Kit, bytes string) (status int, header http.Header, body string, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, bytes); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, err.Error(), true
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(40 * time.Millisecond))
	_, err = r.ReadByte()
	return resp.StatusCode, resp.Header, string(b), err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

const hello = `{"model":"gpt-a","messages":[{"role":"user","content":"hi mock:out=3"}]}`

func request(k *proxytest.Kit, path, body string, lines ...string) string {
	head := ""
	for _, l := range lines {
		head += l + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n%s", path, k.Token, head, len(body), body)
}

// untouched checks that a refused request reached no upstream and holds nothing.
func untouched(t *testing.T, k *proxytest.Kit, m *mockllm.Meter) {
	t.Helper()
	if n := len(m.Requests(mockllm.Filter{})); n != 0 {
		t.Fatalf("%d requests reached an upstream", n)
	}
	for _, r := range k.Records(t) {
		if r.Status != usage.Refused || r.Charge != 0 {
			t.Fatalf("record %+v", r)
		}
	}
	k.AtRest(t)
}

// E1, E3 … E6, E9, C10: bodies that must not be served: 400 with the code, in the
// protocol's own shape, nothing sent upstream, nothing held, the connection usable.
func TestBadBodies(t *testing.T) {
	k, m := start(t, proxytest.Options{})
	f := func(code, body string) {
		t.Helper()
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			status, h, got, closed := raw(t, k, request(k, path, body))
			if status != 400 || h.Get("X-Relay-Error") != code || closed {
				t.Fatalf("%s %.120q: %d %s closed=%v %s", path, body, status, h.Get("X-Relay-Error"), closed, got)
			}
			var v struct {
				Type  string
				Error struct {
					Type, Message string
				}
			}
			if err := json.Unmarshal([]byte(got), &v); err != nil || v.Error.Type != "invalid_request_error" || v.Error.Message == "" || (path == "/v1/messages") != (v.Type == "error") {
				t.Fatalf("%s: shape %s", path, got)
			}
		}
	}
	msgs := `"max_tokens":5,"messages":[{"role":"user","content":"x"}]`
	f("unknown_model_pricing", `{"model":"nobody",`+msgs+`}`)
	f("unknown_model_pricing", `{"model":"unpriced",`+msgs+`}`)
	f("unknown_model_pricing", `{"model":"GPT-A",`+msgs+`}`)
	f("unknown_model_pricing", `{"model":"gpt-a ",`+msgs+`}`)
	f("unknown_model_pricing", `{"model":"ｇpt-a",`+msgs+`}`)
	f("invalid_request", ``)
	f("invalid_request", `[]`)
	f("invalid_request", `{"model":"gpt-a"`)
	f("invalid_request", `{`+msgs+`}`)
	f("invalid_request", `{"model":7,`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a",`+msgs+`} x`)
	f("invalid_request", `{"model":"gpt-a",`+msgs+`,}`)
	f("invalid_request", `{"model":"gpt-a","model":"gpt-b",`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","Model":"gpt-b",`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","mod\u0065l":"gpt-b",`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","stream":true,"stream":false,`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","MAX_TOKENS":6,`+msgs+`}`)
	f("invalid_request", "{\"model\":\"gpt-a\",\"x\":\"\xff\","+msgs+"}")
	f("invalid_request", "{\"model\":\"gpt-a\",\"x\":\"\x01\","+msgs+"}")
	f("invalid_request", "\xef\xbb\xbf"+`{"model":"gpt-a",`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","x":NaN,`+msgs+`}`)
	f("invalid_request", `{"model":"gpt-a","x":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)+`,`+msgs+`}`)
	msgs = `"messages":[{"role":"user","content":"x"}]`
	for _, v := range []string{"-1", "0", "1e3", "4096.0", "9223372036854775808", `"10"`, "4097"} {
		if v == "4097" {
			status, h, got, _ := raw(t, k, request(k, "/v1/chat/completions", `{"model":"gpt-a","max_tokens":4097,`+msgs+`}`))
			if status != 400 || h.Get("X-Relay-Error") != "invalid_request" || !strings.Contains(got, `"param":"max_tokens"`) {
				t.Fatalf("above the model's maximum: %d %s", status, got)
			}
			continue
		}
		f("invalid_request", `{"model":"gpt-a","max_tokens":`+v+`,`+msgs+`}`)
	}
	f("invalid_request", `{"model":"gpt-a","n":1000000,`+msgs+`}`)
	untouched(t, k, m)
}

// D9 … D12, D14, D17, D19 and the corpus of 2.4: raw requests and what they get.
func TestRawRequests(t *testing.T) {
	o := proxytest.Options{}
	o.Server.MaxBody = 256 << 10
	k, m := start(t, o)
	auth := "Authorization: Bearer " + k.Token + "\r\n"
	line := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(hello))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hello), hello)
	f := func(name, bytes string, status int, code string, closes bool) {
		t.Helper()
		got, h, body, closed := raw(t, k, bytes)
		if got != status || (status != 0 && h.Get("X-Relay-Error") != code) || closed != closes {
			t.Errorf("%s: %d %s closed=%v; want %d %s closed=%v\n%s", name, got, h.Get("X-Relay-Error"), closed, status, code, closes, body)
		}
	}
	bad := func(name, bytes string) { t.Helper(); f(name, bytes, 400, "invalid_request", true) }
	// D12: framing that two readers could read in two ways.
	bad("CL.TE", line+auth+length+"Transfer-Encoding: chunked\r\n\r\n"+chunked)
	bad("TE.CL", line+auth+"Transfer-Encoding: chunked\r\n"+length+"\r\n"+chunked)
	bad("TE.TE", line+auth+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"+chunked)
	bad("TE unknown", line+auth+"Transfer-Encoding: xchunked\r\n\r\n"+chunked)
	bad("TE list", line+auth+"Transfer-Encoding: gzip, chunked\r\n\r\n"+chunked)
	bad("TE on 1.0", strings.Replace(line, "1.1", "1.0", 1)+auth+"Transfer-Encoding: chunked\r\n\r\n"+chunked)
	bad("two lengths", line+auth+length+"Content-Length: 1\r\n\r\n"+hello)
	bad("equal lengths", line+auth+length+length+"\r\n"+hello)
	bad("length list", line+auth+"Content-Length: 5, 5\r\n\r\n"+hello)
	bad("length +", line+auth+"Content-Length: +3\r\n\r\n"+hello)
	bad("length -", line+auth+"Content-Length: -1\r\n\r\n"+hello)
	bad("length 2^64+3", line+auth+"Content-Length: 18446744073709551619\r\n\r\n"+hello)
	bad("space before colon", line+auth+"Content-Length : 3\r\n\r\n"+hello)
	bad("folded line", line+"Authorization: Bearer a\r\n b\r\n"+length+"\r\n"+hello)
	bad("chunk 0x3", line+auth+"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n")
	bad("chunk overflow", line+auth+"Transfer-Encoding: chunked\r\n\r\n1000000000000000f\r\nabc\r\n0\r\n\r\n")
	bad("NUL", line+auth+"X: a\x00b\r\n"+length+"\r\n"+hello)
	// D14
	bad("two Authorization", line+auth+auth+length+"\r\n"+hello)
	bad("two x-api-key", line+"x-api-key: a\r\nX-Api-Key: b\r\n"+length+"\r\n"+hello)
	// D19
	f("64 KiB header", line+auth+"X: "+strings.Repeat("x", 64<<10)+"\r\n\r\n", 431, "headers_too_large", true)
	f("300 headers", line+auth+strings.Repeat("X: y\r\n", 300)+length+"\r\n"+hello, 431, "headers_too_large", true)
	// D10, D9
	f("declared oversize", line+auth+"Content-Length: 300000\r\n\r\n", 413, "body_too_large", true)
	f("chunked oversize", line+auth+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("2000\r\n"+strings.Repeat("x", 0x2000)+"\r\n", 40), 413, "body_too_large", true)
	// D11: refused before the body is sent.
	f("expect, oversize", line+auth+"Expect: 100-continue\r\nContent-Length: 300000\r\n\r\n", 413, "body_too_large", true)
	f("expect, no key", line+"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n", 401, "invalid_api_key", true)
	// Rulings 3.11: a large body is not read for a key that can not exist.
	f("large body, no key", line+"Content-Length: 200000\r\n\r\n", 401, "invalid_api_key", true)
	// Keys
	f("no key", line+length+"\r\n"+hello, 401, "invalid_api_key", false)
	f("basic", line+"Authorization: Basic eA==\r\n"+length+"\r\n"+hello, 401, "invalid_api_key", false)
	f("unknown key", line+"Authorization: Bearer sk-other\r\n"+length+"\r\n"+hello, 401, "invalid_api_key", false)
	f("CRC", line+"Authorization: Bearer "+k.Token[:len(k.Token)-1]+"\r\n"+length+"\r\n"+hello, 401, "invalid_api_key", false)
	// Encodings
	f("gzip body", line+auth+"Content-Encoding: gzip\r\n"+length+"\r\n"+hello, 415, "unsupported_encoding", false)
	// D17: paths
	for _, path := range []string{
		"//v1/chat/completions", "/v1//chat/completions", "/v1/../v1/chat/completions", "/v1/chat%2fcompletions", "/v1/chat/completions;x", "/V1/chat/completions",
		"/v1/chat/completions/", "http://evil/v1/chat/completions", "*", "/v1/%2e%2e/chat/completions",
	} {
		got, h, body, _ := raw(t, k, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+auth+length+"\r\n"+hello)
		// Where nothing is matched the path belongs to admin, which is away here.
		forwarded := got == 503 && path[0] == '/' && !strings.HasPrefix(path, "/v1")
		if got != 404 && got != 400 && got != 501 && !forwarded {
			t.Errorf("path %q: %d %s %s", path, got, h.Get("X-Relay-Error"), body)
		}
	}
	// Interface 5, S2-15: known and unserved, unknown, wrong method, each in its shape.
	f("assistants", "POST /v1/assistants HTTP/1.1\r\nHost: x\r\n"+auth+length+"\r\n"+hello, 501, "not_implemented", false)
	f("files", "POST /v1/files HTTP/1.1\r\nHost: x\r\n"+auth+length+"\r\n"+hello, 501, "not_implemented", false)
	f("unknown", "POST /v1/nothing HTTP/1.1\r\nHost: x\r\n"+auth+length+"\r\n"+hello, 404, "not_found", false)
	f("method", "GET /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"+auth+"\r\n", 405, "method_not_allowed", false)
	untouched(t, k, m)
}

// The same connection serves on after a refusal (D20), and requests that are sent
// together are answered in order, each billed once (D8 of reliability).
func TestPipelining(t *testing.T) {
	k, m := start(t, proxytest.Options{})
	good := request(k, "/v1/chat/completions", hello)
	bad := request(k, "/v1/chat/completions", `{"model":"nobody","messages":[]}`)
	stream := request(k, "/v1/chat/completions", strings.Replace(hello, `"model"`, `"stream":true,"model"`, 1))
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, bad+good+stream+good+bad+good)
	r := bufio.NewReader(c)
	for i, want := range []int{400, 200, 200, 200, 400, 200} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("response %d: %d %v %s", i, resp.StatusCode, err, b)
		}
	}
	if n := len(m.Requests(mockllm.Filter{})); n != 4 {
		t.Fatalf("%d upstream calls for four good requests", n)
	}
	charged := 0
	for _, rec := range k.WaitRecords(t, 6) {
		if rec.Charge > 0 {
			charged++
		}
	}
	if charged != 4 {
		t.Fatalf("%d charged", charged)
	}
	k.AtRest(t)
}

// D13, D16, S4-11: nothing of the customer's credentials travels upstream.
func TestNoCredentialGoesUpstream(t *testing.T) {
	k, m := start(t, proxytest.Options{})
	body := `{"model":"gpt-a","messages":[{"role":"user","content":"hi mock:out=3;keep=1;id=k1"}]}`
	status, _, got, _ := raw(t, k, request(k, "/v1/chat/completions", body,
		"x-api-key: "+k.Token, "Proxy-Authorization: Basic Y2FuYXJ5", "Connection: x-canary", "x-canary: canary-1", "Cookie: canary-2", "TE: trailers", "OpenAI-Organization: canary-3", "X-Forwarded-For: canary-4"))
	if status != 200 {
		t.Fatalf("%d %s", status, got)
	}
	recs := m.Requests(mockllm.Filter{Marker: "k1"})
	if len(recs) != 1 || recs[0].Extra == nil {
		t.Fatalf("%+v", recs)
	}
	d := recs[0].Extra
	text := fmt.Sprintf("%s", d)
	for _, canary := range []string{k.Token, "canary", "Y2FuYXJ5"} {
		if strings.Contains(text, canary) {
			t.Fatalf("%q went upstream:\n%s", canary, text)
		}
	}
	if !strings.Contains(text, "sk-upstream-secret") {
		t.Fatalf("no provider key in\n%s", text)
	}
}

// S0-16, C11, S2-13: the limits answer 429 with an honest Retry-After, in the
// literal body that S2 prints.
func TestIPLimit(t *testing.T) {
	k, _ := start(t, proxytest.Options{IPRPM: 5})
	for i := range 5 {
		if status, _, body, _ := raw(t, k, request(k, "/v1/chat/completions", hello)); status != 200 {
			t.Fatalf("request %d: %d %s", i, status, body)
		}
	}
	status, h, body, _ := raw(t, k, request(k, "/v1/chat/completions", hello))
	after := h.Get("Retry-After")
	want := fmt.Sprintf(`{"error":{"message":"Rate limit exceeded (ip). Retry after %ss.","type":"rate_limit_error","code":429}}`, after)
	if status != 429 || body != want || h.Get("X-Relay-Error") != "rate_limited_ip" {
		t.Fatalf("%d %s\n%s\nwant %s", status, h.Get("X-Relay-Error"), body, want)
	}
	k.AtRest(t)
}

// A drained server refuses new work on connections that are open, and says so.
func TestDraining(t *testing.T) {
	k, m := start(t, proxytest.Options{})
	k.Server.Drain()
	status, h, body, closed := raw(t, k, request(k, "/v1/messages", hello))
	if status != 503 || h.Get("X-Relay-Error") != "draining" || h.Get("Retry-After") == "" || !closed || !strings.Contains(body, `"type":"error"`) {
		t.Fatalf("%d %v closed=%v %s", status, h, closed, body)
	}
	untouched(t, k, m)
}

// A request that cannot be read is refused in its protocol's shape, also as a later one of its
// connection, in whatever pieces it comes.
func TestUnreadableInItsShape(t *testing.T) {
	k, _ := start(t, proxytest.Options{})
	large := "POST /v1/messages HTTP/1.1\r\nHost: relay\r\nX-Large: " + strings.Repeat("x", 16<<10) + "\r\n\r\n"
	before := "GET /v1/nothing HTTP/1.1\r\nHost: relay\r\n\r\n"
	for name, pieces := range map[string][]string{
		"first": {large}, "byte by byte": {large[:1], large[1:2], large[2:]},
		"later": {before, large},
	} {
		c, err := net.Dial("tcp", k.Addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces {
			_, _ = io.WriteString(c, p)
			time.Sleep(20 * time.Millisecond)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		br := bufio.NewReader(c)
		var status int
		var body []byte
		for range strings.Count(strings.Join(pieces, ""), " HTTP/1.1") {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			status = resp.StatusCode
			body, _ = io.ReadAll(resp.Body)
		}
		if status != http.StatusRequestHeaderFieldsTooLarge || !strings.HasPrefix(string(body), `{"type":"error"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		_ = c.Close()
	}
}
