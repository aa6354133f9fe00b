package relay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// crossing is a way through the relay on which a request is translated.
type crossing struct{ path, model, upModel, end string }

var crossings = []crossing{
	{"/v1/chat/completions", "claude-a", "up-claude", "data: [DONE]\n\n"},
	{"/v1/messages", "gpt-a", "up-gpt", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
	{"/v1/chat/completions", "gemini-a", "up-gemini", "data: [DONE]\n\n"},
	{"/v1/messages", "gemini-a", "up-gemini", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
}

// Any chat model answers on either endpoint, and costs there what it costs on its
// own (N16).
func TestTranslatedAnswers(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	n := 0
	for _, c := range crossings {
		for _, stream := range []bool{false, true} {
			var charge [2]int64
			for i, path := range []string{c.path, map[string]string{"claude-a": "/v1/messages", "gpt-a": "/v1/chat/completions", "gemini-a": map[string]string{"/v1/messages": "/v1/chat/completions", "/v1/chat/completions": "/v1/messages"}[c.path]}[c.model]} {
				r := post(t, k, path, chat(c.model, "out=7;cached=3;in=20", stream))
				if r.status != 200 || r.err != nil || strings.Contains(string(r.body), c.upModel) || !strings.Contains(string(r.body), `"model":"`+c.model+`"`) {
					t.Fatalf("%s: %d %v\n%s", path, r.status, r.err, r.body)
				}
				if stream && i == 0 && !strings.HasSuffix(string(r.body), c.end) {
					t.Fatalf("%s does not end:\n%s", path, r.body)
				}
				if r.header.Get("X-Relay-Dropped") != "" {
					t.Fatalf("dropped %q", r.header.Get("X-Relay-Dropped"))
				}
				n++
				rec := k.WaitRecords(t, n)[n-1]
				served := ended(meter, mockFilter)
				last := served[len(served)-1]
				if last.Usage == nil || rec.Units[usage.Input] != last.Usage.Input || rec.Units[usage.CacheRead] != 3 || rec.Units[usage.Output] != 7 {
					t.Fatalf("metered %v; the provider served %+v", rec.Units, last.Usage)
				}
				if rec.Status != usage.Success || rec.Source != usage.SourceReported || rec.NumAttempts != 1 {
					t.Fatalf("record %+v", rec)
				}
				charge[i] = int64(rec.Charge)
			}
			if charge[0] != charge[1] {
				t.Errorf("%s: %d on the other endpoint, %d on its own", c.model, charge[0], charge[1])
			}
		}
	}
	k.AtRest(t)
}

const (
	chatTools     = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}},{"type":"function","function":{"name":"time","parameters":{"type":"object","properties":{}}}}]`
	messagesTools = `"max_tokens":500,"tools":[{"name":"weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}},{"name":"time","input_schema":{"type":"object","properties":{}}}]`
)

// Two tool calls at once, and their results, cross both ways.
func TestTranslatedTools(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, stream := range []bool{false, true} {
		s := fmt.Sprintf(`"stream":%v`, stream)
		ask := `"messages":[{"role":"user","content":"the weather? mock:tools=2"}]`
		r := post(t, k, "/v1/chat/completions", `{"model":"claude-a",`+s+`,`+chatTools+`,`+ask+`}`)
		body := string(r.body)
		if r.status != 200 || strings.Count(body, `"type":"function"`) != 2 || !strings.Contains(body, `"finish_reason":"tool_calls"`) || !strings.Contains(body, `weather`) || !strings.Contains(body, `time`) {
			t.Fatalf("chat: %d\n%s", r.status, body)
		}
		r = post(t, k, "/v1/messages", `{"model":"gpt-a",`+s+`,`+messagesTools+`,`+ask+`}`)
		body = string(r.body)
		if r.status != 200 || strings.Count(body, `"type":"tool_use"`) != 2 || !strings.Contains(body, `"stop_reason":"tool_use"`) {
			t.Fatalf("messages: %d\n%s", r.status, body)
		}
	}
	r := post(t, k, "/v1/chat/completions", `{"model":"claude-a",`+chatTools+`,"messages":[{"role":"user","content":"a"},
		{"role":"assistant","content":null,"tool_calls":[{"id":"functions.weather:0","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}}]},
		{"role":"tool","tool_call_id":"functions.weather:0","content":"mild"}]}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"finish_reason":"stop"`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	r = post(t, k, "/v1/messages", `{"model":"gpt-a",`+messagesTools+`,"messages":[{"role":"user","content":"a"},
		{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"mild"}]}]}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"stop_reason":"end_turn"`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.WaitRecords(t, 6)
	k.AtRest(t)
}

// mixed is a model with a route of each protocol.
func mixed() proxytest.Options {
	return proxytest.Options{Models: []proxytest.Model{{ID: "both-a", Routes: []proxytest.Route{
		{Provider: "openai", Model: "up-gpt"}, {Provider: "claude-backup", Model: "up-claude-2"},
	}}}}
}

// D11 across protocols: the request's own protocol first, then a translation.
func TestFailoverBetweenProtocols(t *testing.T) {
	for _, c := range []struct{ path, first, second string }{
		{"/v1/chat/completions", "first", "second"},
		{"/v1/messages", "second", "first"},
	} {
		for _, stream := range []bool{false, true} {
			k, meter := standard(t, mixed())
			for i, fault := range []string{"", "status=500", "status=429;retry_after=1", "error=invalid_key", "cut=headers", "error=model_not_found", "error_at=1"} {
				if fault == "error_at=1" && !stream {
					continue
				}
				id := fmt.Sprintf("x%d", i)
				script := "id=" + id + ";out=4"
				want := 2
				for _, part := range strings.Split(fault, ";") {
					if part != "" {
						script += ";" + c.first + "." + part
					}
				}
				if fault == "" {
					want = 1
				}
				r := post(t, k, c.path, chat("both-a", script, stream))
				if r.status != 200 || r.err != nil || strings.Contains(string(r.body), `"error"`) || strings.Contains(string(r.body), "up-") {
					t.Fatalf("%s %q stream=%v: %d %v\n%s", c.path, fault, stream, r.status, r.err, r.body)
				}
				recs := k.WaitRecords(t, i+1)
				rec := recs[i]
				if int(rec.NumAttempts) != want || rec.Status != usage.Success || rec.Units[usage.Output] != 4 {
					t.Fatalf("%q: record %+v", fault, rec)
				}
				lanes := ended(meter, mockFilter)
				if last := lanes[len(lanes)-1]; (last.Lane == c.first) != (want == 1) {
					t.Fatalf("%q: served by %s", fault, last.Lane)
				}
				k.HealAll()
			}
			k.AtRest(t)
		}
	}
}

// What cannot be translated is refused by name before anything is asked or held, and
// served where a route of the request's own protocol can.
func TestUntranslatable(t *testing.T) {
	k, meter := standard(t, mixed())
	r := post(t, k, "/v1/chat/completions", `{"model":"claude-a","n":2,"messages":[{"role":"user","content":"a"}]}`)
	if r.status != 400 || !strings.Contains(string(r.body), `"param":"n"`) || len(meter.Requests(mockFilter)) != 0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	r = post(t, k, "/v1/messages", `{"model":"gpt-a","max_tokens":9,"mcp_servers":[{"type":"url"}],"messages":[{"role":"user","content":"a"}]}`)
	if r.status != 400 || !strings.Contains(string(r.body), "mcp_servers") && !strings.Contains(string(r.body), "tool") || !strings.HasPrefix(string(r.body), `{"type":"error"`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	body := `{"model":"both-a","n":2,"messages":[{"role":"user","content":"a mock:out=2"}]}`
	if r = post(t, k, "/v1/chat/completions", body); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	body = strings.Replace(body, "out=2", "first.status=500", 1)
	if r = post(t, k, "/v1/chat/completions", body); r.status != 502 {
		t.Fatalf("a route of the own protocol failed: %d %s", r.status, r.body)
	}
	k.HealAll()
	k.WaitRecords(t, 2)
	k.AtRest(t)
}

// What is ignored is named.
func TestDropped(t *testing.T) {
	k, _ := standard(t, mixed())
	for _, stream := range []bool{false, true} {
		body := fmt.Sprintf(`{"model":"claude-a","seed":1,"logit_bias":{"5":1},"stream":%v,"messages":[{"role":"user","content":"a"}]}`, stream)
		r := post(t, k, "/v1/chat/completions", body)
		if r.status != 200 || r.header.Get("X-Relay-Dropped") != "logit_bias,seed" {
			t.Fatalf("%d %q %s", r.status, r.header.Get("X-Relay-Dropped"), r.body)
		}
		// Its own protocol drops nothing.
		if r = post(t, k, "/v1/chat/completions", strings.Replace(body, "claude-a", "both-a", 1)); r.status != 200 || r.header.Get("X-Relay-Dropped") != "" {
			t.Fatalf("%d %q", r.status, r.header.Get("X-Relay-Dropped"))
		}
	}
	k.WaitRecords(t, 4)
	k.AtRest(t)
}

// An output cap is sent where Messages demands one: what the hold covers.
func TestTranslatedCap(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	_ = meter
	r := post(t, k, "/v1/chat/completions", `{"model":"claude-a","max_completion_tokens":3,"messages":[{"role":"user","content":"a mock:out=9"}]}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"finish_reason":"length"`) || !strings.Contains(string(r.body), `"completion_tokens":3`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	r = post(t, k, "/v1/messages", `{"model":"gpt-a","max_tokens":3,"messages":[{"role":"user","content":"a mock:out=9"}]}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"stop_reason":"max_tokens"`) || !strings.Contains(string(r.body), `"output_tokens":3`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.WaitRecords(t, 2)
	k.AtRest(t)
}

// The customer's own faults reach it in its protocol, with nothing of the
// upstream's names; faults amid a stream end it with its protocol's error and no
// terminator.
func TestTranslatedErrors(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, c := range crossings {
		r := post(t, k, c.path, chat(c.model, "error=context_length", false))
		var e struct {
			Type  string
			Error struct{ Type, Message string }
		}
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != 400 || e.Error.Type != "invalid_request_error" || e.Error.Message == "" || strings.Contains(string(r.body), c.upModel) {
			t.Fatalf("%s: %d %s", c.path, r.status, r.body)
		}
		if (e.Type == "error") != (c.path == "/v1/messages") {
			t.Fatalf("%s: %s", c.path, r.body)
		}
		for _, fault := range []string{"out=9;cut=5", "out=9;end=5", "out=9;gap=20ms;error_at=7", "out=9;rst=5"} {
			r := post(t, k, c.path, chat(c.model, fault, true))
			body := string(r.body)
			if r.status != 200 || strings.HasSuffix(body, c.end) || !strings.Contains(body, `"error"`) {
				t.Fatalf("%s %s: %d %v\n%s", c.path, fault, r.status, r.err, body)
			}
			if strings.Contains(body, "event: error") != (c.path == "/v1/messages") {
				t.Fatalf("%s %s:\n%s", c.path, fault, body)
			}
			k.HealAll()
		}
	}
	k.AtRest(t)
}

// A dialect without a terminator still ends with the customer's; one that owes a
// terminator and does not send it is a cut.
func TestTranslatedWithoutDone(t *testing.T) {
	url, _ := mock(t, mockllm.Options{})
	for dialect, whole := range map[string]bool{"gpustack": true, "perplexity": true, "openai": false} {
		script := "out=3"
		if !whole {
			script += ";end=5"
		}
		k := proxytest.New(t, proxytest.Options{
			Providers: []proxytest.Provider{{Slug: "p", Protocol: "openai", Dialect: dialect, BaseURL: url + "/l/" + dialect + "/v1", Keys: []string{"sk"}}},
			Models:    []proxytest.Model{{ID: "m", Routes: []proxytest.Route{{Provider: "p", Model: "up"}}}},
		})
		r := post(t, k, "/v1/messages", chat("m", script, true))
		if r.status != 200 || strings.HasSuffix(string(r.body), crossings[1].end) != whole || strings.Contains(string(r.body), "event: error") == whole {
			t.Fatalf("%s: %d\n%s", dialect, r.status, r.body)
		}
		rec := k.WaitRecords(t, 1)[0]
		if (rec.Status == usage.Success) != whole || rec.Charge == 0 {
			t.Fatalf("%s: %+v", dialect, rec)
		}
		k.AtRest(t)
	}
}

// S1-B9: a virtual model goes to a model of another protocol where none of the
// request's own is there.
func TestTranslatedAuto(t *testing.T) {
	o := proxytest.Options{Models: []proxytest.Model{{ID: "auto-claude", Auto: []string{"claude-a"}}}}
	k, _ := standard(t, o)
	r := post(t, k, "/v1/chat/completions", chat("auto-claude", "out=3", true))
	if r.status != 200 || !strings.Contains(string(r.body), `"model":"claude-a"`) || !strings.HasSuffix(string(r.body), "data: [DONE]\n\n") {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.WaitRecords(t, 1)
	k.AtRest(t)
}
