package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// plain is a proxy before providers of which none speaks Responses, but for the last:
// chat-a and claude-a are served by one each, all-a by all of them.
func plainOnly(t *testing.T, o proxytest.Options) (*proxytest.Kit, *mockllm.Meter) {
	url, meter := mock(t, mockllm.Options{})
	o.Providers = []proxytest.Provider{
		{Slug: "plain", Protocol: "openai", Dialect: "mistral", BaseURL: url + "/plain/mistral/v1", Keys: []string{"sk-plain"}},
		{Slug: "anthropic", Protocol: "anthropic", BaseURL: url + "/claude/anthropic/v1", Keys: []string{"sk-ant"}},
		{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/native/openai/v1", Keys: []string{"sk-native"}},
	}
	o.Models = append(o.Models,
		proxytest.Model{ID: "chat-a", Routes: []proxytest.Route{{Provider: "plain", Model: "up-chat"}}},
		proxytest.Model{ID: "claude-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up-claude"}}},
		proxytest.Model{ID: "all-a", Routes: []proxytest.Route{{Provider: "plain", Model: "up-chat"}, {Provider: "anthropic", Model: "up-claude", Priority: 1}, {Provider: "openai", Model: "up-gpt", Priority: 2}}},
	)
	return proxytest.New(t, o), meter
}

// Any chat model answers on Responses, and costs there what it costs on its own.
func TestResponsesTranslated(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	n := 0
	for model, own := range map[string]string{"chat-a": "/v1/chat/completions", "claude-a": "/v1/messages"} {
		for _, stream := range []bool{false, true} {
			more := `,"max_output_tokens":1000,"instructions":"brief","metadata":{"k":"v"}`
			if stream {
				more += `,"stream":true`
			}
			r := post(t, k, "/v1/responses", ask(model, "out=7;cached=3;in=20;reasoning=2", more))
			if r.status != 200 || r.err != nil || strings.Contains(string(r.body), "up-c") {
				t.Fatalf("%s: %d %v\n%s", model, r.status, r.err, r.body)
			}
			a := readAnswer(t, r)
			if a.Status != "completed" || a.Model != model || a.text() == "" || a.Usage == nil || a.Usage.Details.Cached != 3 || !strings.Contains(string(r.body), `"metadata":{"k":"v"}`) {
				t.Fatalf("%s: %s", model, r.body)
			}
			if stream && (a.deltas != a.text() || a.kinds[0] != "response.created" || a.kinds[len(a.kinds)-1] != "response.completed") {
				t.Fatalf("%s: %q %v", model, a.deltas, a.kinds)
			}
			if d := r.header.Get("X-Relay-Dropped"); d != "" {
				t.Errorf("dropped %s", d)
			}
			n++
			rec := k.WaitRecords(t, n)[n-1]
			served := ended(m, mockFilter)
			u := served[len(served)-1].Usage
			if u == nil || rec.Units[usage.Output] != u.Output || rec.Units[usage.CacheRead] != 3 || rec.Units[usage.Input] != u.Input || a.Usage.Output != u.Output || a.Usage.Input != u.TotalInput() || rec.Source != usage.SourceReported {
				t.Errorf("%s: metered %v, told %+v, served %+v", model, rec.Units, a.Usage, u)
			}
			post(t, k, own, chat(model, "out=7;cached=3;in=20;reasoning=2", stream))
			n++
			if alone := k.WaitRecords(t, n)[n-1]; alone.Charge != rec.Charge {
				t.Errorf("%s: %s on Responses, %s on its own", model, rec.Charge, alone.Charge)
			}
		}
	}
	k.AtRest(t)
}

// Two calls at once, and a conversation that goes on from them with the items as they
// came; a schema; a cap that cuts.
func TestResponsesTranslatedTools(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	const tools = `,"tools":[{"type":"function","name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}},{"type":"function","name":"time","parameters":{"type":"object","properties":{}}}]`
	for _, model := range []string{"chat-a", "claude-a"} {
		for _, stream := range []string{"", `,"stream":true`} {
			r := post(t, k, "/v1/responses", ask(model, "tools=2;reasoning=3", tools+stream+`,"reasoning":{"effort":"low"}`))
			a := readAnswer(t, r)
			var calls []string
			for _, o := range a.Output {
				if o.Type == "function_call" {
					calls = append(calls, o.Name+o.Arguments)
				}
			}
			if r.status != 200 || fmt.Sprint(calls) != `[weather{"city":"mock"} time{}]` {
				t.Fatalf("%s: %v in %s", model, calls, r.body)
			}
			whole := string(r.body)
			if stream != "" {
				whole = whole[strings.Index(whole, "event: response.completed"):]
				whole = whole[strings.Index(whole, `{"type"`):]
			}
			var v struct {
				Output   []json.RawMessage
				Response struct{ Output []json.RawMessage }
			}
			if err := json.NewDecoder(strings.NewReader(whole)).Decode(&v); err != nil {
				t.Fatal(err)
			}
			items := append(v.Output, v.Response.Output...)
			list, _ := json.Marshal(items)
			id := model + strings.Trim(stream, `,":`)
			body := `{"model":"` + model + `","input":[{"role":"user","content":"the weather? mock:out=3;keep=1;id=back` + fmt.Sprint(len(stream)) + model + `"},` + strings.Trim(string(list), "[]") +
				`,{"type":"function_call_output","call_id":"` + a.Output[len(a.Output)-2].CallID + `","output":"mild"},{"type":"function_call_output","call_id":"` + a.Output[len(a.Output)-1].CallID + `","output":"noon"}]` + tools + `}`
			r = post(t, k, "/v1/responses", body)
			if b := readAnswer(t, r); r.status != 200 || b.Status != "completed" || b.text() == "" {
				t.Fatalf("%s: %d %s\n%s", id, r.status, r.body, body)
			}
			sent := m.Requests(mockllm.Filter{Marker: "back" + fmt.Sprint(len(stream)) + model})
			up := string(sent[len(sent)-1].Extra.Body)
			if strings.Count(up, a.Output[len(a.Output)-1].CallID) != 2 && model != "chat-a" || !strings.Contains(up, "noon") {
				t.Errorf("%s: sent %s", id, up)
			}
			if model == "claude-a" && !strings.Contains(up, `"signature":"bW9jaw=="`) {
				t.Errorf("%s: the thought came back without its proof: %s", id, up)
			}
		}
		r := post(t, k, "/v1/responses", ask(model, "in=9", `,"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}}`))
		if a := readAnswer(t, r); a.text() != `{"a":1}` {
			t.Errorf("%s: %s", model, r.body)
		}
		r = post(t, k, "/v1/responses", ask(model, "out=50", `,"max_output_tokens":5`))
		if a := readAnswer(t, r); a.Status != "incomplete" || !strings.Contains(string(r.body), `"incomplete_details":{"reason":"max_output_tokens"}`) {
			t.Errorf("%s: %s", model, r.body)
		}
	}
	k.AtRest(t)
}

// Upstreams that speak Responses come first, whatever their priority; the others take
// over when they fail. A member that only they know is refused by its name elsewhere.
func TestResponsesFailover(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	for _, c := range []struct{ script, lane string }{
		{"out=3;id=a", "native"}, {"out=3;id=b;native.status=500", "plain"}, {"out=3;id=c;native.status=500;plain.status=500", "claude"},
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			k.HealAll()
			r := post(t, k, "/v1/responses", ask("all-a", c.script, stream))
			a := readAnswer(t, r)
			served := ended(m, mockllm.Filter{Status: 200})
			if last := served[len(served)-1]; r.status != 200 || a.Status != "completed" || last.Lane != c.lane {
				t.Errorf("%s: %d by %s\n%s", c.script, r.status, last.Lane, r.body)
			}
		}
	}
	k.HealAll()
	for more, param := range map[string]string{
		`,"top_logprobs":3`: "top_logprobs", `,"tools":[{"type":"custom","name":"f"}]`: "tools[].type", `,"include":["message.output_text.logprobs"]`: "include",
	} {
		model := "chat-a"
		if param != "tools[].type" { // a model behind Chat Completions tells probabilities
			if r := post(t, k, "/v1/responses", ask(model, "out=1", more)); r.status != 200 || !strings.Contains(string(r.body), `"logprobs":[{"token"`) {
				t.Errorf("%s: %d %s", more, r.status, r.body)
			}
			model = "claude-a"
		}
		r := post(t, k, "/v1/responses", ask(model, "out=1", more))
		if r.status != 400 || !strings.Contains(string(r.body), `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", more, r.status, r.body)
		}
		if r := post(t, k, "/v1/responses", ask("all-a", "out=1", more)); r.status != 200 {
			t.Errorf("%s: %d %s", more, r.status, r.body)
		}
	}
	r := post(t, k, "/v1/responses", ask("chat-a", "status=400;error=context_length", ""))
	if r.status != 400 || !strings.Contains(string(r.body), "context length") || strings.Contains(string(r.body), "messages\"") {
		t.Errorf("%d %s", r.status, r.body)
	}
	r = post(t, k, "/v1/responses", ask("claude-a", "out=50;cut=20", `,"stream":true`))
	if !strings.Contains(string(r.body), "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\"") || strings.Contains(string(r.body), "response.completed") {
		t.Errorf("%s", tail(r.body))
	}
	k.AtRest(t)
}

// A provider of a dialect that speaks Responses need not have the endpoint, or not for
// every model: it is asked by translation then, and stays in use for the others.
func TestResponsesEndpointMissing(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/responses") {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"error":{"message":"Not Found"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}`)
	}))
	defer up.Close()
	k := proxytest.New(t, proxytest.Options{
		Balance:   1 << 40,
		Providers: []proxytest.Provider{{Slug: "deepseek", Protocol: "openai", Dialect: "deepseek", BaseURL: up.URL, Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "deep-a", Routes: []proxytest.Route{{Provider: "deepseek", Model: "up"}}}},
	})
	id := ""
	for i, more := range []string{"", "", `,"previous_response_id":"ID"`} {
		r := post(t, k, "/v1/responses", ask("deep-a", "", strings.Replace(more, "ID", id, 1)))
		if a := readAnswer(t, r); r.status != 200 || a.text() != "hello" {
			t.Fatalf("%d: %d %s", i, r.status, r.body)
		}
		id = responseID(t, r)
		if rec := k.WaitRecords(t, 2*i+1)[2*i]; rec.NumAttempts != 2 || rec.Status != usage.Success {
			t.Errorf("%d: %d attempts, %s", i, rec.NumAttempts, rec.Status)
		}
		if r := post(t, k, "/v1/chat/completions", chat("deep-a", "", false)); r.status != 200 {
			t.Errorf("%d: Chat is out: %d %s", i, r.status, r.body)
		}
		k.WaitRecords(t, 2*i+2)
	}
	if r := post(t, k, "/v1/deepseek/responses", ask("up", "", "")); r.status < 400 {
		t.Errorf("pinned: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}
