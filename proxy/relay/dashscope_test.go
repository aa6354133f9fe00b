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

const dashScopePath = "/api/v1/services/aigc/text-generation/generation"

// qwenAsk is a request in DashScope's form.
func qwenAsk(model, script, parameters string) string {
	return fmt.Sprintf(`{"model":%q,"input":{"messages":[{"role":"user","content":"hello mock:%s"}]},"parameters":{%s}}`, model, script, parameters)
}

// qwenAnswer is what a client of DashScope puts together from a stream, or reads whole.
type qwenAnswer struct {
	Output struct {
		Text    *string
		Reason  string `json:"finish_reason"`
		Choices []struct {
			Reason  string `json:"finish_reason"`
			Message struct {
				Content   string
				Reasoning string `json:"reasoning_content"`
				Calls     []struct {
					Index    int
					ID       string
					Function struct{ Name, Arguments string }
				} `json:"tool_calls"`
			}
		}
	}
	Usage struct {
		Input, Output, Total int64
	}
	Code, Message string
	RequestID     string `json:"request_id"`
	events        int
	reasons       []string
}

func (a *qwenAnswer) text() string {
	if a.Output.Text != nil {
		return *a.Output.Text
	}
	if len(a.Output.Choices) == 0 {
		return ""
	}
	return a.Output.Choices[0].Message.Content
}

// readQwen reads an answer; grows says that the events of a stream hold what is new.
func readQwen(t *testing.T, r *reply, grows bool) (a qwenAnswer) {
	t.Helper()
	one := func(b []byte) (v qwenAnswer) {
		var u struct {
			Usage struct {
				Input  int64 `json:"input_tokens"`
				Output int64 `json:"output_tokens"`
				Total  int64 `json:"total_tokens"`
			}
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		_ = json.Unmarshal(b, &u)
		v.Usage = struct{ Input, Output, Total int64 }(u.Usage)
		if v.Usage.Total != v.Usage.Input+v.Usage.Output {
			t.Errorf("usage %+v", v.Usage)
		}
		return v
	}
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		return one(r.body)
	}
	for _, ev := range strings.SplitAfter(string(r.body), "\n\n") {
		head, data, ok := strings.Cut(ev, "\ndata:")
		if !ok {
			continue
		}
		before := a
		a = one([]byte(data))
		a.events, a.reasons = before.events+1, before.reasons
		if strings.Contains(head, "event:error\n") {
			before.Code, before.Message = a.Code, a.Message
			return before
		}
		if want := fmt.Sprintf("id:%d\nevent:result\n:HTTP_STATUS/200", a.events); head != want {
			t.Errorf("event begins with %q, want %q", head, want)
		}
		switch {
		case a.Output.Text != nil:
			a.reasons = append(a.reasons, a.Output.Reason)
			if grows && before.Output.Text != nil {
				*a.Output.Text = *before.Output.Text + *a.Output.Text
			}
		case len(a.Output.Choices) > 0:
			c := &a.Output.Choices[0]
			a.reasons = append(a.reasons, c.Reason)
			if !grows || len(before.Output.Choices) == 0 {
				continue
			}
			p := &before.Output.Choices[0].Message
			m := &c.Message
			m.Content, m.Reasoning = p.Content+m.Content, p.Reasoning+m.Reasoning
			pieces := m.Calls
			m.Calls = p.Calls
			for _, x := range pieces {
				if x.Index == len(m.Calls) {
					m.Calls = append(m.Calls, x)
					continue
				}
				if x.ID != "" || x.Function.Name != "" {
					t.Errorf("a later piece of a call has id %q and name %q", x.ID, x.Function.Name)
				}
				m.Calls[x.Index].Function.Arguments += x.Function.Arguments
			}
		}
	}
	for i, reason := range a.reasons {
		if (reason == "null") != (i < len(a.reasons)-1) {
			t.Errorf("reasons %q", a.reasons)
			break
		}
	}
	return a
}

var qwenStream = []string{"X-DashScope-SSE", "enable"}

const qwenTools = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]`

// S1-04, S1-B12.
// DashScope in and out, buffered and streamed in both ways: what is charged is what the
// mock's meter served, and the hold is the ceiling.
func TestDashScope(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for i, c := range []struct{ script, parameters, reason string }{
		{"out=5", `"max_tokens":200`, "stop"},
		{"out=5;cached=3", `"max_completion_tokens":200,"result_format":"message"`, "stop"},
		{"out=5;reasoning=7", `"max_tokens":200,"enable_thinking":true,"incremental_output":true,"thinking_budget":30`, "stop"},
		{"out=50", `"max_tokens":20`, "length"},
		{"tools=2", `"result_format":"message",` + qwenTools, "tool_calls"},
	} {
		for _, how := range []string{"", "stream", "grows", "accept"} {
			parameters, grows := c.parameters, strings.Contains(c.parameters, "incremental_output")
			if how == "grows" && !grows {
				parameters, grows = parameters+`,"incremental_output":true`, true
			}
			var header []string
			switch how {
			case "stream", "grows":
				header = qwenStream
			case "accept":
				header = []string{"Accept", "text/event-stream"}
			}
			r := post(t, k, dashScopePath, qwenAsk("qwen-a", c.script, parameters), header...)
			if r.status != 200 || strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") != (how != "") {
				t.Fatalf("%d %s: %d %s", i, how, r.status, r.body)
			}
			a := readQwen(t, r, grows)
			reason := a.Output.Reason
			if len(a.Output.Choices) > 0 {
				reason = a.Output.Choices[0].Reason
			}
			if reason != c.reason || c.reason != "tool_calls" && len(a.text()) == 0 || how != "" && a.events < 3 {
				t.Errorf("%d %s: %s %q, %d events\n%s", i, how, reason, a.text(), a.events, r.body)
			}
			served := ended(m, mockFilter)
			recs := k.WaitRecords(t, len(served))
			rec, u := recs[len(recs)-1], served[len(served)-1].Usage
			if rec.Source != usage.SourceReported || u == nil || rec.Units[usage.CacheRead] != u.CacheRead || rec.Units[usage.Input] != u.Input || rec.Units[usage.Output] != u.Output || u.Output == 0 {
				t.Errorf("%d %s: metered %v (%s), served %+v", i, how, rec.Units, rec.Source, u)
			}
			if rec.Hold < rec.Charge || rec.Overrun != 0 || rec.Flags&usage.FlagUsageSuspect != 0 {
				t.Errorf("%d %s: held %s, charged %s, flags %s", i, how, rec.Hold, rec.Charge, rec.Flags)
			}
		}
	}
	for _, path := range []string{"/v1/qwen/api/v1/services/aigc/text-generation/generation", "/v1/qwen/services/aigc/text-generation/generation"} {
		if r := post(t, k, path, qwenAsk("up-qwen", "out=1", "")); r.status != 200 || !strings.Contains(string(r.body), `"text":`) {
			t.Errorf("pinned: %d %s", r.status, r.body)
		}
	}
	k.AtRest(t)
}

// Without a cap of the customer's the model's own is held, and sent where DashScope has
// it. Thoughts come on top of max_tokens there: their budget is held too.
func TestDashScopeCap(t *testing.T) {
	k, m := standard(t, proxytest.Options{Balance: 5_000_000, Models: []proxytest.Model{{ID: "qwen-b", Output: 50_000, Routes: []proxytest.Route{{Provider: "qwen", Model: "up-qwen"}}}}})
	for i, body := range []string{
		qwenAsk("qwen-b", "out=3;keep=1", ``), qwenAsk("qwen-b", "out=3;keep=1", `"top_p":0.5`), qwenAsk("qwen-b", "out=3;keep=1", ` `),
		`{"parameters":null,"model":"qwen-b","input":{"prompt":"hello mock:out=3;keep=1"}}`,
		`{"input":{"prompt":"hello mock:out=3;keep=1"} ,"model":"qwen-b"}`,
	} {
		r := post(t, k, dashScopePath, body)
		if r.status != 200 || r.header.Get("X-Relay-Max-Tokens-Clamped") == "" {
			t.Fatalf("%d: %d %v %s", i, r.status, r.header, r.body)
		}
		sent := m.Requests(mockFilter)[i].Extra.Body
		var v struct {
			Model      string
			Parameters map[string]any
		}
		if err := json.Unmarshal(sent, &v); err != nil || fmt.Sprint(v.Parameters["max_tokens"]) != r.header.Get("X-Relay-Max-Tokens-Clamped") || v.Model != "up-qwen" {
			t.Errorf("%d: %v, sent %s, told %s", i, err, sent, r.header.Get("X-Relay-Max-Tokens-Clamped"))
		}
	}
	hold := func(parameters string) int64 {
		n := len(k.Records(t))
		if r := post(t, k, dashScopePath, qwenAsk("qwen-b", "out=3", parameters)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return int64(k.WaitRecords(t, n+1)[n].Hold)
	}
	plain, off := hold(`"max_tokens":100`), hold(`"max_tokens":100,"enable_thinking":false,"thinking_budget":900`)
	if off < plain || off > plain+2*100_000 {
		t.Errorf("held %d, without thoughts %d", plain, off)
	}
	if budget := hold(`"max_tokens":100,"thinking_budget":900`); budget < plain+900*2_000 {
		t.Errorf("held %d, with a budget of thoughts %d", plain, budget)
	}
	if all := hold(`"max_completion_tokens":100,"thinking_budget":900`); all > plain+2*100_000 {
		t.Errorf("held %d, with a cap of all output %d", plain, all)
	}
	k.AtRest(t)
}

// C6, D11: a broken stream is told as DashScope tells errors, and before the first
// output another upstream answers.
func TestDashScopeBroken(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, script := range []string{"out=50;cut=20", "out=50;end=20", "out=50;error_at=20;error=server"} {
		for _, grows := range []string{"true", "false"} {
			n := len(k.Records(t))
			r := post(t, k, dashScopePath, qwenAsk("qwen-a", script, `"max_tokens":200,"incremental_output":`+grows), qwenStream...)
			rec := k.WaitRecords(t, n+1)[n]
			last := string(r.body[strings.LastIndex(strings.TrimSpace(string(r.body)), "\n\n")+2:])
			if r.status != 200 || strings.Contains(string(r.body), `"stop"`) || !strings.HasPrefix(last, "event:error\n:HTTP_STATUS/502\ndata:{\"code\":\"InternalError\"") {
				t.Errorf("%s: %d %s", script, r.status, tail(r.body))
			}
			if rec.Source != usage.SourceReported || rec.Status != usage.Failed || rec.Units[usage.Output] < 18 || rec.Units[usage.Output] > 20 {
				t.Errorf("%s: %v charged %s (%s)", script, rec.Units, rec.Charge, rec.Source)
			}
			k.HealAll()
		}
	}
	n := len(k.Records(t))
	r := post(t, k, dashScopePath, qwenAsk("qwen-a", "out=5;first.error_at=1;first.error=server", `"max_tokens":200`), qwenStream...)
	readQwen(t, r, false)
	if rec := k.WaitRecords(t, n+1)[n]; rec.NumAttempts != 2 || rec.Status != usage.Success {
		t.Errorf("%d attempts, %s\n%s", rec.NumAttempts, rec.Status, tail(r.body))
	}
	// An error of the customer's own making amid an answer reaches it.
	n = len(k.Records(t))
	r = post(t, k, dashScopePath, qwenAsk("qwen-a", "out=50;error_at=20;error=content_filter", `"max_tokens":200,"incremental_output":true`), qwenStream...)
	a := readQwen(t, r, true)
	if rec := k.WaitRecords(t, n+1)[n]; a.Code != "DataInspectionFailed" || rec.Status != usage.Failed || rec.Charge == 0 {
		t.Errorf("%q %s %s\n%s", a.Code, rec.Status, rec.Charge, tail(r.body))
	}
	k.AtRest(t)
}

// D11 with DashScope's errors: a fault of ours is never told, a customer's own reaches
// it in DashScope's shape, whether a stream was asked for or not.
func TestDashScopeErrors(t *testing.T) {
	for script, want := range map[string]struct {
		status, attempts int
		code             string
	}{
		"first.error=invalid_key":                 {200, 2, ""},
		"first.error=rate_limit":                  {200, 2, ""},
		"first.error=account_empty":               {200, 2, ""},
		"first.error=model_not_found":             {200, 2, ""},
		"first.error=permission":                  {200, 2, ""},
		"first.error=overloaded":                  {200, 2, ""},
		"first.status=500":                        {200, 2, ""},
		"first.error=html":                        {200, 2, ""},
		"first.cut=headers":                       {200, 2, ""},
		"error=rate_limit":                        {503, 2, "InternalError"},
		"error=server":                            {502, 3, "InternalError"},
		"error=context_length":                    {400, 1, "InvalidParameter"},
		"error=content_filter":                    {400, 1, "DataInspectionFailed"},
		"error_at=1;error=content_filter":         {400, 1, "DataInspectionFailed"},
		"first.error_at=1;first.error=rate_limit": {200, 2, ""},
	} {
		k, _ := standard(t, proxytest.Options{})
		for i, header := range [][]string{nil, qwenStream} {
			if i == 0 && strings.Contains(script, "error_at") {
				header = qwenStream
			}
			r := post(t, k, dashScopePath, qwenAsk("qwen-a", script+";out=4", ""), header...)
			body := string(r.body)
			if r.status != want.status || strings.Contains(body, "up-qwen") {
				t.Errorf("%s: %d %s", script, r.status, body)
			}
			if r.status != 200 {
				a := readQwen(t, r, false)
				if a.Code != want.code || a.Message == "" || !strings.HasPrefix(a.RequestID, "req_") {
					t.Errorf("%s: %s", script, body)
				}
			}
			for _, canary := range mockllm.Canaries {
				if strings.Contains(body, canary) {
					t.Errorf("%s tells of %s: %s", script, canary, body)
				}
			}
			rec := k.WaitRecords(t, i+1)[i]
			if i == 0 && int(rec.NumAttempts) != want.attempts || (rec.Charge != 0) != (want.status == 200) {
				t.Errorf("%s: %d attempts, charge %s", script, rec.NumAttempts, rec.Charge)
			}
			k.HealAll()
		}
		k.AtRest(t)
	}
}

// D3, D8: what has no bound, no price, or reaches into the provider's account is
// refused by name before it costs anything; a priced search is served and paid.
func TestDashScopeRefused(t *testing.T) {
	k, m := standard(t, proxytest.Options{Models: []proxytest.Model{{
		ID: "qwen-s", Context: 100_000, Output: 1000, Routes: []proxytest.Route{{Provider: "qwen", Model: "up-qwen"}},
		Prices: map[string]string{"input": "1", "output": "2", "searches": "0.01"},
	}}})
	const messages = `"input":{"messages":[{"role":"user","content":"x"}]}`
	for _, c := range []struct {
		body, word string
		status     int
	}{
		{`{` + messages + `}`, "'model'", 400},
		{`{"model":"qwen-s"}`, "'input'", 400},
		{`{"model":"qwen-s","input":{}}`, "input.messages", 400},
		{`{"model":"qwen-s","input":[]}`, "'input'", 400},
		{`{"model":"qwen-s","input":{"messages":{}}}`, "input.messages", 400},
		{`{"model":"qwen-s","parameters":[],` + messages + `}`, "'parameters'", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"max_tokens":0}}`, "parameters.max_tokens", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"max_tokens":5,"max_tokens":6}}`, "more than once", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"max_tokens":5,"maxTokens":6}}`, "more than once", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"Max_Tokens":6}}`, "exact name", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"max\u005ftokens":6}}`, "exact name", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"max_tokens":1001}}`, "maximum", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"enable_search":true,"search_options":{"search_strategy":"agent"}}}`, "enable_search", 400},
		{`{"model":"qwen-a",` + messages + `,"parameters":{"enable_search":true}}`, "enable_search", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"enable_code_interpreter":true}}`, "enable_code_interpreter", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"skill":[{"type":"ppt"}]}}`, "skill", 400},
		{`{"model":"qwen-s",` + messages + `,"parameters":{"tools":[{"type":"web_search"}]}}`, "enable_search", 400},
		{`{"model":"qwen-s","input":{"messages":[{"role":"system","content":"fileid://file-1"}]}}`, "fileid", 404},
		{`{"model":"qwen-s","input":{"messages":[{"content":"file\u0069d:\/\/file-1","role":"system"}]}}`, "fileid", 404},
		{`{"model":"qwen-s","input":{"messages":[{"role":"system","content":[{"text":"fileid://file-1"}]}]}}`, "fileid", 404},
		{`{"model":"none",` + messages + `}`, "none", 400},
	} {
		r := post(t, k, dashScopePath, c.body)
		var e struct {
			Code, Message string
			RequestID     string `json:"request_id"`
		}
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != c.status || !strings.Contains(e.Message, c.word) || e.Code != "InvalidParameter" || e.RequestID == "" || r.header.Get("X-Relay-Error") == "" {
			t.Errorf("%s: %d %s", c.body, r.status, r.body)
		}
	}
	if r := post(t, k, dashScopePath, `{}`, "Authorization", "Bearer nobody"); r.status != 401 || !strings.HasPrefix(string(r.body), `{"code":"InvalidApiKey"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	n := len(k.Records(t))
	r := post(t, k, dashScopePath, qwenAsk("qwen-s", "out=5", `"enable_search":true,"max_tokens":100,"search_options":{"search_strategy":"max"}`))
	rec := k.WaitRecords(t, n+1)[n]
	if r.status != 200 || int64(rec.Hold) < 10_000_000+100_000*1000 {
		t.Errorf("%d, held %s: %s", r.status, rec.Hold, r.body)
	}
	k.AtRest(t)
}

// Rulings 1.9: the header that asks for a stream belongs to the question.
func TestDashScopeIdempotency(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	body := qwenAsk("qwen-a", "out=5", "")
	first := post(t, k, dashScopePath, body, "Idempotency-Key", "one")
	again := post(t, k, dashScopePath, body, "Idempotency-Key", "one")
	stream := post(t, k, dashScopePath, body, append([]string{"Idempotency-Key", "one"}, qwenStream...)...)
	if first.status != 200 || string(again.body) != string(first.body) || stream.status != 409 || len(m.Requests(mockFilter)) != 1 {
		t.Errorf("%d %d %d\n%s\n%s\n%s", first.status, again.status, stream.status, first.body, again.body, stream.body)
	}
	k.AtRest(t)
}
