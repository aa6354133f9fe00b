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

// A client of DashScope is answered by models of every other protocol, buffered and
// streamed in both ways; what is charged is what the mock served.
func TestDashScopeClients(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for _, model := range []string{"gpt-a", "claude-a", "gemini-a"} {
		for _, c := range []struct{ script, parameters, reason, text string }{
			{"out=5;size=8", `"max_tokens":200`, "stop", ""},
			{"out=5;cached=3", `"result_format":"message","max_tokens":200,"temperature":0.4`, "stop", ""},
			{"out=50", `"max_tokens":20`, "length", ""},
			{"tools=1", `"max_tokens":200,` + qwenTools, "tool_calls", ""},
		} {
			for _, how := range []string{"", "repeats", "grows"} {
				name := fmt.Sprintf("%s, %s, %s", model, c.script, how)
				parameters, header := c.parameters, qwenStream
				switch how {
				case "":
					header = nil
				case "grows":
					parameters += `,"incremental_output":true`
				}
				r := post(t, k, dashScopePath, qwenAsk(model, c.script, parameters), header...)
				if r.status != 200 {
					t.Fatalf("%s: %d %s", name, r.status, r.body)
				}
				a := readQwen(t, r, how == "grows")
				reason, calls := a.Output.Reason, 0
				if len(a.Output.Choices) > 0 {
					reason, calls = a.Output.Choices[0].Reason, len(a.Output.Choices[0].Message.Calls)
				}
				if (a.Output.Text != nil) != !strings.Contains(c.parameters, "message") && calls == 0 || reason != c.reason || strings.Contains(string(r.body), "up-") {
					t.Errorf("%s: %q\n%s", name, reason, r.body)
				}
				if calls > 0 {
					x := a.Output.Choices[0].Message.Calls[0]
					if x.Function.Name != "weather" || x.ID == "" || x.Function.Arguments != `{"city":"mock"}` {
						t.Errorf("%s: %+v", name, x)
					}
				} else if words := len(strings.Fields(a.text())); words < 4 {
					t.Errorf("%s: %q", name, a.text())
				}
				served := ended(m, mockFilter)
				recs := k.WaitRecords(t, len(served))
				rec, u := recs[len(recs)-1], served[len(served)-1].Usage
				if rec.Source != usage.SourceReported || u == nil || rec.Units[usage.Output] != u.Output || rec.Units[usage.Input] != u.Input || rec.Overrun != 0 {
					t.Errorf("%s: metered %v (%s), served %+v", name, rec.Units, rec.Source, u)
				}
				if u != nil && (a.Usage.Output != u.Output || a.Usage.Input != u.TotalInput()) {
					t.Errorf("%s: told %+v, served %+v", name, a.Usage, u)
				}
			}
		}
	}
	r := post(t, k, dashScopePath, qwenAsk("gpt-a", "out=2", `"top_k":5,"repetition_penalty":1.1`))
	if d := r.header.Get("X-Relay-Dropped"); r.status != 200 || d != "parameters.repetition_penalty,parameters.top_k" {
		t.Errorf("%d, dropped %q", r.status, d)
	}
	if r := post(t, k, dashScopePath, qwenAsk("claude-a", "out=2", `"n":2`)); r.status != 400 || !strings.HasPrefix(string(r.body), `{"code":"InvalidParameter","message":"The member 'parameters.n'`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// A model behind DashScope answers the clients of every other protocol.
func TestDashScopeUpstream(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for _, stream := range []bool{false, true} {
		for i, c := range []struct{ path, body, want string }{
			{"/v1/chat/completions", chat("qwen-a", "out=5;cached=2;keep=1", stream), `"finish_reason":"stop"`},
			{"/v1/messages", chat("qwen-a", "out=5;cached=2;keep=1", stream), `"stop_reason":"end_turn"`},
			{"/v1/chat/completions", fmt.Sprintf(`{"model":"qwen-a","stream":%v,%s,"messages":[{"role":"user","content":"weather mock:keep=1"}]}`, stream, chatTools), `"finish_reason":"tool_calls"`},
			{"/v1/messages", fmt.Sprintf(`{"model":"qwen-a","stream":%v,%s,"messages":[{"role":"user","content":"weather mock:keep=1"}]}`, stream, messagesTools), `"stop_reason":"tool_use"`},
			{"/v1/chat/completions", fmt.Sprintf(`{"model":"qwen-a","stream":%v,"reasoning_effort":"low","max_tokens":8000,"messages":[{"role":"user","content":"hi mock:out=4;keep=1"}]}`, stream), `"reasoning_content":`},
			{"/v1/messages", fmt.Sprintf(`{"model":"qwen-a","stream":%v,"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":8000,"messages":[{"role":"user","content":"hi mock:out=4;keep=1"}]}`, stream), `"thinking"`},
			{"/v1/responses", ask("qwen-a", "out=5;keep=1", fmt.Sprintf(`,"stream":%v`, stream)), `"status":"completed"`},
		} {
			r := post(t, k, c.path, c.body)
			if r.status != 200 || !strings.Contains(string(r.body), c.want) || strings.Contains(string(r.body), "up-qwen") {
				t.Errorf("%d %v: %d %s", i, stream, r.status, r.body)
				continue
			}
			served := ended(m, mockFilter)
			recs := k.WaitRecords(t, len(served))
			rec, last := recs[len(recs)-1], served[len(served)-1]
			if u := last.Usage; rec.Source != usage.SourceReported || u == nil || rec.Units[usage.Output] != u.Output || rec.Units[usage.Input] != u.Input || rec.Units[usage.CacheRead] != u.CacheRead || u.Output == 0 || rec.Overrun != 0 {
				t.Errorf("%d %v: metered %v (%s), served %+v", i, stream, rec.Units, rec.Source, u)
			}
			var sent struct {
				Parameters struct {
					Incremental bool  `json:"incremental_output"`
					Max         int64 `json:"max_tokens"`
					Budget      int64 `json:"thinking_budget"`
				}
			}
			if err := json.Unmarshal(last.Extra.Body, &sent); err != nil || sent.Parameters.Incremental != stream || sent.Parameters.Max == 0 || i < 2 && sent.Parameters.Max != 1000 || (i == 4 || i == 5) && sent.Parameters.Max+sent.Parameters.Budget != 8000 {
				t.Errorf("%d %v: %v, sent %s", i, stream, err, last.Extra.Body)
			}
			if strings.Contains(last.Extra.Head, "X-DashScope-SSE: enable") != stream {
				t.Errorf("%d %v: head %s", i, stream, last.Extra.Head)
			}
		}
	}
	k.AtRest(t)
}

// A picture moves a request to the endpoint of the models that see, where contents are
// lists; what DashScope has no place for is refused by name.
func TestDashScopePictures(t *testing.T) {
	const multimodal = "/services/aigc/multimodal-generation/generation"
	k, m := standard(t, proxytest.Options{})
	for _, stream := range []bool{false, true} {
		for i, c := range []struct{ path, body, finish string }{
			{"/v1/chat/completions", `{"model":"qwen-a","stream":%v,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"what? mock:out=6;keep=1"},{"type":"image_url","image_url":{"url":"IMAGE"}}]}]}`, `"finish_reason":"stop"`},
			{"/v1/messages", `{"model":"qwen-a","stream":%v,"max_tokens":99,"system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"what? mock:out=6;keep=1"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}`, `"stop_reason":"end_turn"`},
			{"/v1/responses", `{"model":"qwen-a","stream":%v,"instructions":"be brief","input":[{"role":"user","content":[{"type":"input_text","text":"what? mock:out=6;keep=1"},{"type":"input_image","image_url":"IMAGE"}]}]}`, `"status":"completed"`},
		} {
			for _, image := range []string{"data:image/png;base64,AAAA", "https://e.org/a.png"} {
				r := post(t, k, c.path, fmt.Sprintf(strings.ReplaceAll(c.body, "IMAGE", image), stream))
				if r.status != 200 || !strings.Contains(string(r.body), c.finish) {
					t.Fatalf("%d %v: %d %s", i, stream, r.status, r.body)
				}
				served := ended(m, mockFilter)
				recs := k.WaitRecords(t, len(served))
				rec, last := recs[len(recs)-1], served[len(served)-1]
				if u := last.Usage; u == nil || rec.Source != usage.SourceReported || rec.Units[usage.Output] != u.Output || rec.Units[usage.Input] != u.Input {
					t.Errorf("%d %v: metered %v (%s), served %+v", i, stream, rec.Units, rec.Source, u)
				}
				var sent struct {
					Input struct {
						Messages []struct {
							Content []map[string]string
						}
					}
				}
				if i == 1 {
					image = "data:image/png;base64,AAAA"
				}
				err := json.Unmarshal(last.Extra.Body, &sent)
				if list := sent.Input.Messages; err != nil || len(list) != 2 || list[0].Content[0]["text"] != "be brief" || len(list[1].Content) != 2 ||
					!strings.HasPrefix(list[1].Content[0]["text"], "what?") || list[1].Content[1]["image"] != image {
					t.Errorf("%d %v: %v, sent %s", i, stream, err, last.Extra.Body)
				}
				if !strings.HasSuffix(last.Path, multimodal) {
					t.Errorf("%d %v: asked %s", i, stream, last.Path)
				}
			}
		}
	}
	for _, body := range []string{
		`{"model":"qwen-a","messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}}]}]}`,
		`{"model":"qwen-a","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`,
	} {
		if r := post(t, k, "/v1/chat/completions", body); r.status != 400 || !strings.Contains(string(r.body), "messages[].content[].type=") {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	k.AtRest(t)
}

// A provider that can only repeat what was said is asked to, and read so. Files of the
// account that all customers share are nobody's to name, in any protocol.
func TestDashScopeRepeatsUpstream(t *testing.T) {
	url, m := mock(t, mockllm.Options{})
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{{Slug: "old", Protocol: "dashscope", BaseURL: url + "/first/api/v1", Keys: []string{"sk-old"}, Options: map[string]string{"incremental_output": "false"}}},
		Models:    []proxytest.Model{{ID: "qwen-old", Routes: []proxytest.Route{{Provider: "old", Model: "up-qwen"}}}},
	})
	whole := post(t, k, "/v1/chat/completions", chat("qwen-old", "out=30;keep=1", false))
	stream := post(t, k, "/v1/chat/completions", chat("qwen-old", "out=30;keep=1", true))
	var text struct {
		Choices []struct{ Message, Delta struct{ Content string } }
	}
	if err := json.Unmarshal(whole.body, &text); err != nil {
		t.Fatal(err)
	}
	want, got := text.Choices[0].Message.Content, ""
	for _, line := range strings.Split(string(stream.body), "\n") {
		if data, ok := strings.CutPrefix(line, "data: {"); ok {
			text.Choices = nil
			if err := json.Unmarshal([]byte("{"+data), &text); err != nil {
				t.Fatal(err)
			}
			for _, c := range text.Choices {
				got += c.Delta.Content
			}
		}
	}
	if sent := string(ended(m, mockFilter)[1].Extra.Body); got != want || want == "" || !strings.Contains(sent, `"incremental_output":false`) {
		t.Errorf("%q, want %q, sent %s", got, want, sent)
	}
	n := len(m.Requests(mockFilter))
	for path, body := range map[string]string{
		"/v1/chat/completions": `{"model":"qwen-old","messages":[{"role":"system","content":"file\u0069d://file-1"},{"role":"user","content":"x"}]}`,
		"/v1/messages":         `{"model":"qwen-old","max_tokens":9,"system":"fileid://file-1","messages":[{"role":"user","content":"x"}]}`,
	} {
		if r := post(t, k, path, body); r.status != 400 || !strings.Contains(string(r.body), "stored at the provider") || len(m.Requests(mockFilter)) != n {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	k.AtRest(t)
}

// Errors cross the protocols in the client's own shape, before an answer and amid it.
func TestDashScopeTranslatedErrors(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	n := 0
	next := func(body string) usage.Record {
		t.Helper()
		n++
		rec := k.WaitRecords(t, n)[n-1]
		for _, canary := range append(mockllm.Canaries, "up-") {
			if strings.Contains(body, canary) {
				t.Errorf("tells of %s: %s", canary, body)
			}
		}
		k.HealAll()
		return rec
	}
	for script, want := range map[string]struct {
		status int
		code   string
	}{
		"error=context_length":      {400, "InvalidParameter"},
		"error=content_filter":      {400, "DataInspectionFailed"},
		"error=rate_limit":          {503, "InternalError"},
		"first.error=rate_limit":    {200, ""},
		"first.error=account_empty": {200, ""},
		"first.error=invalid_key":   {200, ""},
		"first.cut=1;first.error=":  {200, ""},
	} {
		script = strings.TrimSuffix(script, ";first.error=")
		for _, header := range [][]string{nil, qwenStream} {
			if header == nil && strings.Contains(script, "cut=1") {
				continue
			}
			r := post(t, k, dashScopePath, qwenAsk("gpt-a", script+";out=4", `"max_tokens":50`), header...)
			a := readQwen(t, r, false)
			rec := next(string(r.body))
			if r.status != want.status || want.code != "" && (a.Code != want.code || a.Message == "" || a.RequestID == "") || (rec.Charge != 0) != (want.status == 200) {
				t.Errorf("%s: %d %s, charge %s", script, r.status, r.body, rec.Charge)
			}
		}
	}
	for script, want := range map[string]struct {
		status     int
		chat, talk string
	}{
		"error=context_length":                {400, `"type":"invalid_request_error"`, `"type":"invalid_request_error"`},
		"error=content_filter":                {400, `"code":"content_filter"`, `"type":"invalid_request_error"`},
		"error=rate_limit":                    {503, `"relay_code":"no_healthy_upstream"`, `"api_error"`},
		"first.error=rate_limit":              {200, "", ""},
		"first.error=account_empty":           {200, "", ""},
		"first.error=invalid_key":             {200, "", ""},
		"first.error_at=1;first.error=server": {200, "", ""},
	} {
		for _, stream := range []bool{false, true} {
			if !stream && strings.Contains(script, "error_at") {
				continue
			}
			for path, word := range map[string]string{"/v1/chat/completions": want.chat, "/v1/messages": want.talk} {
				r := post(t, k, path, chat("qwen-a", script+";out=4", stream))
				rec := next(string(r.body))
				if r.status != want.status || !strings.Contains(string(r.body), word) || (rec.Charge != 0) != (want.status == 200) {
					t.Errorf("%s %s: %d %s, charge %s", path, script, r.status, r.body, rec.Charge)
				}
			}
		}
	}
	// Amid an answer: what was produced is paid, and the stream ends as an error.
	for _, script := range []string{"out=50;cut=20", "out=50;end=20", "out=50;error_at=20;error=server"} {
		r := post(t, k, dashScopePath, qwenAsk("claude-a", script, `"max_tokens":200`), qwenStream...)
		a := readQwen(t, r, false)
		if rec := next(string(r.body)); a.Code != "InternalError" || rec.Status != usage.Failed || rec.Charge == 0 {
			t.Errorf("%s: %q %s %s\n%s", script, a.Code, rec.Status, rec.Charge, tail(r.body))
		}
		r = post(t, k, "/v1/messages", chat("qwen-a", script, true))
		if rec := next(string(r.body)); !strings.Contains(string(r.body), "event: error\n") || strings.Contains(string(r.body), "message_stop") || rec.Status != usage.Failed || rec.Charge == 0 || rec.Units[usage.Output] > 20 {
			t.Errorf("%s: %s %v\n%s", script, rec.Status, rec.Units, tail(r.body))
		}
	}
	k.AtRest(t)
}
