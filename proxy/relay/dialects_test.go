package relay_test

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/usage"
)

// Azure is asked at its own addresses, with its own header; what its filters say reaches
// its client as the refusal that it is, and its first chunk, which has no choices, does
// not.
func TestAzure(t *testing.T) {
	url, m := mock(t, mockllm.Options{})
	provider := func(slug, path, version string) proxytest.Provider {
		return proxytest.Provider{Slug: slug, Protocol: "openai", Dialect: "azure", BaseURL: url + path, Keys: []string{"az-" + slug}, Options: map[string]string{"api_version": version}}
	}
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{provider("deployed", "/a/openai", "2025-01-01-preview"), provider("bare", "/b", ""), provider("one", "/c/openai/deployments/mine", ""), provider("v1", "/d/openai/v1", ""), provider("backup", "/e", "")},
		Models: []proxytest.Model{
			{ID: "m-deployed", Routes: []proxytest.Route{{Provider: "deployed", Model: "up-gpt"}, {Provider: "backup", Model: "up-2", Priority: 1}}},
			{ID: "m-bare", Routes: []proxytest.Route{{Provider: "bare", Model: "up-gpt"}}},
			{ID: "m-one", Routes: []proxytest.Route{{Provider: "one", Model: "up-gpt"}}},
			{ID: "m-v1", Routes: []proxytest.Route{{Provider: "v1", Model: "up-gpt"}}},
		},
	})
	const script = "dialect=azure;keep=1;out=5"
	for model, want := range map[string]string{
		"m-deployed": "POST /a/openai/deployments/up-gpt/chat/completions?api-version=2025-01-01-preview HTTP/1.1",
		"m-bare":     "POST /b/openai/deployments/up-gpt/chat/completions?api-version=2024-10-21 HTTP/1.1",
		"m-one":      "POST /c/openai/deployments/mine/chat/completions?api-version=2024-10-21 HTTP/1.1",
		"m-v1":       "POST /d/openai/v1/chat/completions HTTP/1.1",
	} {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			for _, stream := range []bool{false, true} {
				r := post(t, k, path, chat(model, script, stream))
				list := ended(m, mockFilter)
				last := list[len(list)-1]
				if r.status != 200 || !strings.Contains(last.Extra.Head, want+"\r\n") || !strings.Contains(last.Extra.Head, "api-key: az-") || strings.Contains(last.Extra.Head, "Authorization") {
					t.Errorf("%s %s: %d %s\n%s", model, path, r.status, r.body, last.Extra.Head)
				}
				rec := k.WaitRecords(t, len(list))[len(list)-1]
				if u := last.Usage; u == nil || rec.Source != usage.SourceReported || rec.Units[usage.Output] != u.Output || rec.Units[usage.Input] != u.Input {
					t.Errorf("%s %s: metered %v, served %+v", model, path, rec.Units, u)
				}
			}
		}
	}
	if r := post(t, k, "/v1/responses", ask("m-deployed", script, "")); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	} else if list := ended(m, mockFilter); !strings.Contains(list[len(list)-1].Extra.Head, "POST /a/openai/responses?api-version=2025-01-01-preview") {
		t.Errorf("%s", list[len(list)-1].Extra.Head)
	}
	// A filter is the client's affair, a wrong key or deployment is ours.
	if r := post(t, k, "/v1/chat/completions", chat("m-deployed", "dialect=azure;error=content_filter", false)); r.status != 400 || !strings.Contains(string(r.body), `"code":"content_filter"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, fault := range []string{"invalid_key", "model_not_found", "rate_limit", "account_empty"} {
		k.HealAll()
		if r := post(t, k, "/v1/chat/completions", chat("m-deployed", "dialect=azure;a.error="+fault+";out=3", true)); r.status != 200 {
			t.Errorf("%s: %d %s", fault, r.status, r.body)
		}
	}
	k.HealAll()
	r := post(t, k, "/v1/chat/completions", chat("m-v1", "case=openai.chat--azure--stream", true))
	if text := string(r.body); r.status != 200 || strings.Contains(text, `"choices":[]`) || !strings.Contains(text, "[DONE]") {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// A provider of the OpenAI form that nobody has heard of takes an entry in the catalogue
// and no code: it is asked, metered and priced, streamed and whole, on every endpoint.
func TestProviderWithoutCode(t *testing.T) {
	url, m := mock(t, mockllm.Options{})
	f, err := catalogfile.Parse([]byte(fmt.Sprintf(`
providers:
  - {name: newcomer, protocol: openai, dialect: newcomer, base_url: %q, keys: [{name: main, secret: sk-new}]}
models:
  - id: newcomer-1
    routes: [{provider: newcomer, model: up-new}]
    price: {input: "1", output: "2"}
`, url+"/v1")))
	if err != nil {
		t.Fatal(err)
	}
	p := f.Providers[0]
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{{Slug: p.Name, Protocol: p.Protocol, Dialect: catalogfile.DialectOf(&p), BaseURL: p.BaseURL, Keys: []string{p.Keys[0].Secret}}},
		Models:    []proxytest.Model{{ID: f.Models[0].ID, Routes: []proxytest.Route{{Provider: p.Name, Model: f.Models[0].Routes[0].Model}}}},
	})
	n := 0
	for _, c := range askers {
		for _, stream := range []bool{false, true} {
			for _, what := range []string{"text", "tools"} {
				var header []string
				if c.name == "dashscope" && stream {
					header = qwenStream
				}
				script := "keep=1;out=6"
				if what == "tools" {
					script = "keep=1"
				}
				r := post(t, k, c.path("newcomer-1", stream), c.body("newcomer-1", script, what, stream), header...)
				if n++; r.status != 200 || !strings.Contains(string(r.body), c.wants[what]) {
					t.Errorf("%s %v %s: %d %s", c.name, stream, what, r.status, r.body)
					continue
				}
				rec, served := k.WaitRecords(t, n)[n-1], ended(m, mockFilter)
				if u := served[len(served)-1].Usage; u == nil || rec.Units[usage.Output] != u.Output || rec.Source != usage.SourceReported || rec.Charge == 0 {
					t.Errorf("%s %v %s: %+v for %+v", c.name, stream, what, rec, u)
				}
			}
		}
	}
	k.AtRest(t)
}

// Gemini behind Vertex is asked with a bearer token, at its own address.
func TestVertex(t *testing.T) {
	url, m := mock(t, mockllm.Options{})
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{
			{Slug: "vertex", Protocol: "gemini", Dialect: "vertex", BaseURL: url + "/v1/projects/p/locations/l/publishers/google", Keys: []string{"ya29.token"}},
			{Slug: "bearer", Protocol: "gemini", Dialect: "gemini", BaseURL: url + "/v1beta", Keys: []string{"ya29.other"}, Options: map[string]string{"auth": "bearer"}},
			{Slug: "key", Protocol: "gemini", Dialect: "gemini", BaseURL: url + "/v1beta", Keys: []string{"AIza-key"}},
		},
		Models: []proxytest.Model{
			{ID: "g-vertex", Routes: []proxytest.Route{{Provider: "vertex", Model: "gemini-2.5-flash"}}},
			{ID: "g-bearer", Routes: []proxytest.Route{{Provider: "bearer", Model: "gemini-2.5-flash"}}},
			{ID: "g-key", Routes: []proxytest.Route{{Provider: "key", Model: "gemini-2.5-flash"}}},
		},
	})
	for model, want := range map[string][3]string{
		"g-vertex": {"Authorization: Bearer ya29.token\r\n", "x-goog-api-key", "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:"},
		"g-bearer": {"Authorization: Bearer ya29.other\r\n", "x-goog-api-key", "/v1beta/models/gemini-2.5-flash:"},
		"g-key":    {"x-goog-api-key: AIza-key\r\n", "Authorization", "/v1beta/models/gemini-2.5-flash:"},
	} {
		for _, stream := range []bool{false, true} {
			r := post(t, k, "/v1/chat/completions", chat(model, "keep=1;out=4", stream))
			list := ended(m, mockFilter)
			if head := list[len(list)-1].Extra.Head; r.status != 200 || !strings.Contains(head, want[0]) || strings.Contains(head, want[1]) || !strings.Contains(head, want[2]) {
				t.Errorf("%s: %d %s\n%s", model, r.status, r.body, head)
			}
		}
	}
	k.AtRest(t)
}
