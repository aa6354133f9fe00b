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

// answered is what a request for responses got, from a stream or whole.
type answered struct {
	Status, Model string
	Output        []struct {
		Type, Name, Arguments string
		CallID                string `json:"call_id"`
		Content               []struct{ Type, Text string }
		Summary               []struct{ Type, Text string }
	}
	Usage *struct {
		Input   int64 `json:"input_tokens"`
		Output  int64 `json:"output_tokens"`
		Details struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"input_tokens_details"`
	}
	kinds  []string // of the events, in order
	deltas string   // text of the message as it came
}

func readAnswer(t *testing.T, r *reply) (a answered) {
	t.Helper()
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		if err := json.Unmarshal(r.body, &a); err != nil {
			t.Fatalf("%v in %s", err, r.body)
		}
		return a
	}
	for _, ev := range strings.Split(string(r.body), "\n\n") {
		name, data, ok := strings.Cut(ev, "\ndata: ")
		if !ok {
			continue
		}
		var v struct {
			Type, Delta string
			Seq         *int `json:"sequence_number"`
			Response    *answered
		}
		if err := json.Unmarshal([]byte(data), &v); err != nil || name != "event: "+v.Type {
			t.Fatalf("%v in %q", err, ev)
		}
		if v.Seq != nil && *v.Seq != len(a.kinds) {
			t.Errorf("event %d has the number %d", len(a.kinds), *v.Seq)
		}
		if v.Type == "response.output_text.delta" {
			a.deltas += v.Delta
		}
		kinds := append(a.kinds, v.Type)
		if v.Response != nil {
			deltas := a.deltas
			a = *v.Response
			a.deltas = deltas
		}
		a.kinds = kinds
	}
	return a
}

func (a *answered) text() (s string) {
	for _, o := range a.Output {
		for _, c := range o.Content {
			s += c.Text
		}
	}
	return s
}

func ask(model, script, more string) string {
	return fmt.Sprintf(`{"model":%q,"input":"hello mock:%s"%s}`, model, script, more)
}

// POST /v1/responses, buffered and streamed: what is charged is what the mock's meter
// served, and the hold is the ceiling.
func TestResponses(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for i, c := range []struct{ script, more, status string }{
		{"out=5", `,"max_output_tokens":200`, "completed"},
		{"out=5;reasoning=7;cached=3", `,"max_output_tokens":200`, "completed"},
		{"out=50", `,"max_output_tokens":20`, "incomplete"},
		{"tools=2", `,"max_output_tokens":200,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]`, "completed"},
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			r := post(t, k, "/v1/responses", ask("gpt-a", c.script, c.more+stream))
			a := readAnswer(t, r)
			if r.status != 200 || a.Status != c.status || a.Model != "gpt-a" || len(a.Output) == 0 {
				t.Fatalf("%d%s: %d %s", i, stream, r.status, r.body)
			}
			if stream != "" && a.deltas != a.text() {
				t.Errorf("%d: %q came as %q", i, a.text(), a.deltas)
			}
			served := ended(m, mockFilter)
			recs := k.WaitRecords(t, len(served))
			rec, u := recs[len(recs)-1], served[len(served)-1].Usage
			if rec.Source != usage.SourceReported || u == nil || rec.Units[usage.CacheRead] != u.CacheRead || rec.Units[usage.Input] != u.Input || rec.Units[usage.Output] != u.Output || u.Output == 0 {
				t.Errorf("%d%s: metered %v (%s), served %+v", i, stream, rec.Units, rec.Source, u)
			}
			if most := int64(rec.Hold); most < int64(rec.Charge) || rec.Overrun != 0 {
				t.Errorf("%d%s: held %s, charged %s", i, stream, rec.Hold, rec.Charge)
			}
		}
	}
	k.AtRest(t)
}

// Without a cap of the customer's the model's own is held and sent, under the name
// that Responses have for it.
func TestResponsesCap(t *testing.T) {
	k, m := standard(t, proxytest.Options{Balance: 5_000_000, Models: []proxytest.Model{{ID: "gpt-b", Output: 50_000, Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}}}})
	r := post(t, k, "/v1/responses", ask("gpt-b", "out=3;id=capped;keep=1", ""))
	a := readAnswer(t, r)
	if r.status != 200 || r.header.Get("X-Relay-Max-Tokens-Clamped") == "" || a.Status != "completed" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	sent := m.Requests(mockllm.Filter{Marker: "capped"})
	var body struct {
		Cap int64 `json:"max_output_tokens"`
	}
	if err := json.Unmarshal(sent[0].Extra.Body, &body); err != nil || fmt.Sprint(body.Cap) != r.header.Get("X-Relay-Max-Tokens-Clamped") {
		t.Errorf("%v, sent %s, told %s", err, sent[0].Extra.Body, r.header.Get("X-Relay-Max-Tokens-Clamped"))
	}
	k.AtRest(t)
}

// C6, D11: a broken stream is told as an error event, and before the first output
// another upstream answers.
func TestResponsesBroken(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, script := range []string{"out=50;cut=20", "out=50;error_at=20;error=server"} {
		n := len(k.Records(t))
		r := post(t, k, "/v1/responses", ask("gpt-a", script, `,"max_output_tokens":200,"stream":true`))
		rec := k.WaitRecords(t, n+1)[n]
		last := string(r.body[strings.LastIndex(strings.TrimSpace(string(r.body)), "\n\n")+2:])
		if r.status != 200 || strings.Contains(string(r.body), "response.completed") || !strings.HasPrefix(last, "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\"") {
			t.Errorf("%s: %d %s", script, r.status, tail(r.body))
		}
		if rec.Source != usage.SourceEstimated || rec.Charge == 0 || rec.Units[usage.Output] < 5 || rec.Units[usage.Output] > 60 {
			t.Errorf("%s: %v charged %s (%s)", script, rec.Units, rec.Charge, rec.Source)
		}
		k.HealAll()
	}
	n := len(k.Records(t))
	r := post(t, k, "/v1/responses", ask("gpt-a", "out=5;first.error_at=4;first.error=server", `,"max_output_tokens":200,"stream":true`))
	a := readAnswer(t, r)
	if rec := k.WaitRecords(t, n+1)[n]; a.Status != "completed" || rec.NumAttempts != 2 || rec.Status != usage.Success {
		t.Errorf("%d attempts, %s\n%s", rec.NumAttempts, rec.Status, tail(r.body))
	}
	k.AtRest(t)
}

// D3, D8: what has no bound, no price, or reaches into the provider's account is
// refused by name before it costs anything; a bounded search is served and paid.
func TestResponsesRefused(t *testing.T) {
	k, m := standard(t, proxytest.Options{Models: []proxytest.Model{{
		ID: "gpt-s", Context: 100_000, Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}},
		Prices: map[string]string{"input": "1", "output": "2", "searches": "0.01"},
	}}})
	for _, c := range []struct {
		more, word string
		status     int
	}{
		{`,"background":true`, "background", 400},
		{`,"conversation":"conv_1"`, "conversation", 404},
		{`,"conversation":{"id":"conv_1"}`, "conversation", 404},
		{`,"previous_response_id":"resp_of_another"`, "not found", 404},
		{`,"prompt":{"id":"pmpt_1"}`, "prompt", 404},
		{`,"input":[{"type":"item_reference","id":"rs_1"}]`, "item_reference", 404},
		{`,"input":[{"id":"rs_1"}]`, "item_reference", 404},
		{`,"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]`, "file_id", 404},
		{`,"input":[{"role":"user","content":[{"type":"input_image","file_id":"file-1"}]}]`, "file_id", 404},
		{`,"input":[{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","file_id":"file-1"}}]`, "file_id", 404},
		{`,"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}],"max_tool_calls":1`, "file_search", 400},
		{`,"tools":[{"type":"code_interpreter","container":{"type":"auto"}}],"max_tool_calls":1`, "code_interpreter", 400},
		{`,"tools":[{"type":"mcp","server_label":"x"}],"max_tool_calls":1`, "mcp", 400},
		{`,"tools":[{"type":"image_generation"}],"max_tool_calls":1`, "image_generation", 400},
		{`,"tools":[{"type":"shell","environment":{"type":"container_auto"}}],"max_tool_calls":1`, "shell", 400},
		{`,"tools":[{"type":"namespace","name":"n","tools":[{"type":"mcp"}]}],"max_tool_calls":1`, "mcp", 400},
		{`,"input":[{"type":"additional_tools","role":"developer","tools":[{"type":"mcp"}]}],"max_tool_calls":1`, "mcp", 400},
		{`,"tools":[{"type":"new_tool"}],"max_tool_calls":1`, "'tools'", 400},
		{`,"tools":[{"type":"function","name":"f","type":"mcp"}]`, "'tools'", 400},
		{`,"tools":[{"type":"web_search"}]`, "max_tool_calls", 400},
		{`,"reasoning":{"effort":"low","mode":"pro"}`, "reasoning.mode", 400},
		{`,"service_tier":"priority"`, "service_tier", 400},
		{`,"max_output_tokens":0`, "max_output_tokens", 400},
		{`,"max_output_tokens":99999999`, "maximum", 400},
		{`,"Store":false`, "store", 400},
		{`,"previous_response_id":7`, "previous_response_id", 400},
		{`,"input":5`, "input", 400},
	} {
		body := ask("gpt-s", "out=1", c.more)
		if strings.HasPrefix(c.more, `,"input"`) {
			body = `{"model":"gpt-s"` + c.more + `}`
		}
		r := post(t, k, "/v1/responses", body)
		if r.status != c.status || !strings.Contains(string(r.body), c.word) || r.header.Get("X-Relay-Error") == "" {
			t.Errorf("%s: %d %s", c.more, r.status, r.body)
		}
	}
	r := post(t, k, "/v1/responses", `{"model":"gpt-s"}`)
	if r.status != 400 || !strings.Contains(string(r.body), `"param":"input"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	n := len(k.Records(t))
	r = post(t, k, "/v1/responses", ask("gpt-s", "out=5", `,"tools":[{"type":"web_search"},{"type":"tool_search"},{"type":"shell","environment":{"type":"local"}}],"max_tool_calls":3,"max_output_tokens":100`))
	rec := k.WaitRecords(t, n+1)[n]
	if r.status != 200 || int64(rec.Hold) < 3*10_000_000+4*100_000*1000 {
		t.Errorf("%d, held %s: %s", r.status, rec.Hold, r.body)
	}
	if r := post(t, k, "/v1/openai/responses", ask("up-gpt", "out=1", "")); r.status != 200 || !strings.Contains(string(r.body), `"model":"up-gpt"`) {
		t.Errorf("pinned: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}
