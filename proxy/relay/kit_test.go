package relay_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: a date per process that never ends, a cleaner per server that
		// sleeps for ten seconds before it sees that it should stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// mock starts a mock provider that ends with the test.
func mock(tb testing.TB, o mockllm.Options) (url string, m *mockllm.Meter) {
	tb.Helper()
	s, err := mockllm.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	tb.Cleanup(func() { _ = s.Close(); <-done })
	return "http://" + l.Addr().String(), s.Meter()
}

// standard is a proxy before a mock with two upstreams per protocol: gpt-a, claude-a,
// gemini-a and qwen-a are tried at "first", then at "second".
func standard(tb testing.TB, o proxytest.Options) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	o.Providers = []proxytest.Provider{
		{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/first/openai/v1", Keys: []string{"sk-first"}},
		{Slug: "backup", Protocol: "openai", Dialect: "openai", BaseURL: url + "/second/openai/v1", Keys: []string{"sk-second"}},
		{Slug: "anthropic", Protocol: "anthropic", BaseURL: url + "/first/anthropic/v1", Keys: []string{"sk-ant-first"}},
		{Slug: "gemini", Protocol: "gemini", BaseURL: url + "/first/gemini/v1beta", Keys: []string{"AIza-first"}},
		{Slug: "gemini-backup", Protocol: "gemini", BaseURL: url + "/second/gemini/v1beta", Keys: []string{"AIza-second"}},
		{Slug: "qwen", Protocol: "dashscope", BaseURL: url + "/first/qwen/api/v1", Keys: []string{"sk-qwen-first"}},
		{Slug: "qwen-backup", Protocol: "dashscope", BaseURL: url + "/second/qwen/api/v1", Keys: []string{"sk-qwen-second"}},
		{Slug: "claude-backup", Protocol: "anthropic", BaseURL: url + "/second/anthropic/v1", Keys: []string{"sk-ant-second"}},
	}
	o.Models = append(o.Models,
		proxytest.Model{ID: "gpt-a", Aliases: []string{"gpt.a"}, Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}, {Provider: "backup", Model: "up-gpt-2", Priority: 1}}},
		proxytest.Model{ID: "claude-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up-claude"}, {Provider: "claude-backup", Model: "up-claude-2", Priority: 1}}},
		proxytest.Model{ID: "gemini-a", Routes: []proxytest.Route{{Provider: "gemini", Model: "up-gemini"}, {Provider: "gemini-backup", Model: "up-gemini-2", Priority: 1}}},
		proxytest.Model{ID: "qwen-a", Routes: []proxytest.Route{{Provider: "qwen", Model: "up-qwen"}, {Provider: "qwen-backup", Model: "up-qwen-2", Priority: 1}}},
		proxytest.Model{ID: "auto-a", Auto: []string{"claude-a", "gpt-a"}},
		proxytest.Model{ID: "unpriced", Prices: map[string]string{}, Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}},
	)
	return proxytest.New(tb, o), meter
}

// within has once done, and done again when it took longer than bound: what else the
// machine does delays one of three, a fault of ours all of them. Each needs a kit of its own.
func within(t *testing.T, bound time.Duration, once func() time.Duration) {
	t.Helper()
	var took [3]time.Duration
	for i := range took {
		if took[i] = once(); took[i] <= bound {
			return
		}
	}
	t.Errorf("took %v, and may take %v", took, bound)
}

// reply is a whole response.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 60 * time.Second}

func post(tb testing.TB, k *proxytest.Kit, path, body string, header ...string) *reply {
	tb.Helper()
	req, err := http.NewRequest("POST", k.URL+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.Token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &reply{status: resp.StatusCode, header: resp.Header, body: b, err: err}
}

func chat(model, script string, stream bool) string {
	s := ""
	if stream {
		s = `"stream":true,`
	}
	return `{"model":"` + model + `",` + s + `"messages":[{"role":"user","content":"hello mock:` + script + `"}],"max_tokens":1000}`
}

var mockFilter = mockllm.Filter{}

func meterCalls(m *mockllm.Meter, marker string) int {
	return len(m.Requests(mockllm.Filter{Marker: marker}))
}

// ended is what the mock served. Its meter notes the end of an answer a moment after
// the client has read it: that moment is waited for, two seconds at most, because an
// upstream that hangs on purpose does not end.
func ended(m *mockllm.Meter, f mockllm.Filter) []mockllm.Record {
	open := func(list []mockllm.Record) bool {
		return slices.ContainsFunc(list, func(r mockllm.Record) bool { return r.End == mockllm.EndOpen })
	}
	list := m.Requests(f)
	for end := time.Now().Add(2 * time.Second); open(list) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		list = m.Requests(f)
	}
	return list
}
