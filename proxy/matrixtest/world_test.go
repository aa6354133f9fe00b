package matrixtest

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/catalogfile"
)

// upstream is a kind of provider. Its model is asked for as "m-" and its name, is
// served by "first" and, where that fails, by "second", and is known there under a
// name that no client may see.
type upstream struct {
	name     string // in the page
	protocol string // of the catalogue
	dialect  string
	path     string // of the mock, below the lane
	model    string
	own      []chat.Protocol // ingresses whose bytes pass
	hides    bool            // thinks without showing it to clients of its own form of Chat
}

// upstreams are every protocol of the catalogue that a provider is served in; one of
// OpenAI stands twice, because few providers of its form speak Responses too.
var upstreams = []upstream{
	{"openai", "openai", "openai", "/openai/v1", "gpt-5.2-upstream", []chat.Protocol{chat.OpenAI, chat.Responses}, true},
	{"openai, Chat only", "openai", "qwen", "/qwen/v1", "qwen3-max-upstream", []chat.Protocol{chat.OpenAI}, false},
	{"anthropic", "anthropic", "", "/anthropic/v1", "claude-sonnet-4-5-upstream", []chat.Protocol{chat.Messages}, false},
	{"gemini", "gemini", "", "/gemini/v1beta", "gemini-2.5-flash-upstream", []chat.Protocol{chat.Gemini}, false},
	{"dashscope", "dashscope", "", "/qwen/api/v1", "qwen-plus-upstream", []chat.Protocol{chat.DashScope}, false},
	{"bedrock", "bedrock", "", "", "anthropic.claude-sonnet-4-5-upstream-v1:0", nil, false},
	{"cohere", "cohere", "", "/v2", "command-a-upstream", nil, false},
}

func (u *upstream) public() string {
	return "m-" + strings.NewReplacer(", ", "-", " ", "-").Replace(strings.ToLower(u.name))
}

// ingresses are the formats that clients speak.
var ingresses = []chat.Protocol{chat.OpenAI, chat.Messages, chat.Responses, chat.Gemini, chat.DashScope}

// Every protocol of the catalogue that the proxy serves conversations in has its place.
func TestEveryUpstreamIsAsked(t *testing.T) {
	const conversations = catalog.WireChat | catalog.WireMessages | catalog.WireResponses | catalog.WireGemini | catalog.WireDashScope | catalog.WireConverse | catalog.WireCohere
	var o proxytest.Options
	for _, name := range catalogfile.Protocols {
		o.Providers = append(o.Providers, proxytest.Provider{Slug: name, Protocol: name, BaseURL: "http://127.0.0.1:1", Keys: []string{"sk"}})
		o.Models = append(o.Models, proxytest.Model{ID: name, Routes: []proxytest.Route{{Provider: name, Model: "m"}}})
	}
	snapshot := proxytest.New(t, o).Catalog.Snapshot()
	for _, name := range catalogfile.Protocols {
		asked := slices.ContainsFunc(upstreams, func(u upstream) bool { return u.protocol == name })
		served := false
		for _, m := range snapshot.ModelList {
			for _, r := range m.Routes {
				served = served || m.ID == name && r.Provider.Wires&conversations != 0
			}
		}
		if served != asked {
			t.Errorf("%s is served: %v, asked here: %v", name, served, asked)
		}
	}
}

type world struct {
	kit   *proxytest.Kit
	meter *mockllm.Meter
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	s, err := mockllm.New(mockllm.Options{})
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
	url := "http://" + l.Addr().String()
	var o proxytest.Options
	o.Relay.MaxAttempts = 2 // before a third there is a pause
	for i := range upstreams {
		u := &upstreams[i]
		var routes []proxytest.Route
		for n, lane := range []string{"first", "second"} {
			slug := u.public() + "-" + lane
			o.Providers = append(o.Providers, proxytest.Provider{Slug: slug, Protocol: u.protocol, Dialect: u.dialect, BaseURL: url + "/" + lane + u.path, Keys: []string{"sk-" + slug}})
			routes = append(routes, proxytest.Route{Provider: slug, Model: u.model, Priority: int32(n)})
		}
		o.Models = append(o.Models, proxytest.Model{
			ID: u.public(), Routes: routes,
			Prices: map[string]string{"input": "1.25", "cache_read": "0.125", "cache_write": "1.5625", "output": "10"},
		})
	}
	return &world{proxytest.New(tb, o), s.Meter()}
}

// reply is a whole response.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body: some answers break off
}

// client hands out what stands at its connection's end at once.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 60 * time.Second}

func (w *world) post(tb testing.TB, r *request) *reply {
	tb.Helper()
	req, err := http.NewRequest(http.MethodPost, w.kit.URL+r.path, strings.NewReader(r.body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.kit.Token)
	req.Header.Set("Content-Type", "application/json")
	if r.events {
		req.Header.Set("X-DashScope-SSE", "enable")
	}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return &reply{resp.StatusCode, resp.Header, b, err}
}

// last is the mock's record of the request under a marker, once it has ended.
func (w *world) last(tb testing.TB, marker string) *mockllm.Record {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		list := w.meter.Requests(mockllm.Filter{Marker: marker})
		if n := len(list); n > 0 && list[n-1].End != mockllm.EndOpen {
			return &list[n-1]
		}
		if time.Now().After(end) {
			tb.Fatalf("the mock has not served %q", marker)
		}
	}
}
