package relay_test

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/usage"
)

// S1-B2, S1-B9: one key is good on the paths of OpenAI, Anthropic and DashScope, the model
// in the body says what answers, and a virtual model answers on each of them.
func TestOneKeyOnEveryProtocol(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	n := 0
	for _, model := range []string{"gpt-a", "claude-a", "qwen-a", "auto-a"} {
		for path, ask := range map[string]struct{ body, answer string }{
			"/v1/chat/completions": {chat(model, "out=4", false), `"chat.completion"`},
			"/v1/messages":         {chat(model, "out=4", false), `"type":"message"`},
			dashScopePath:          {qwenAsk(model, "out=4", `"max_tokens":200`), `"output":{`},
		} {
			r := post(t, k, path, ask.body)
			if r.status != 200 || !strings.Contains(string(r.body), ask.answer) {
				t.Errorf("%s of %s: %d %s", path, model, r.status, r.body)
				continue
			}
			n++
			rec := k.WaitRecords(t, n)[n-1]
			if rec.Status != usage.Success || rec.RequestedModel != model || model != "auto-a" && rec.Model != model || rec.Charge <= 0 {
				t.Errorf("%s of %s: the record says %s for %s, %s", path, model, rec.Model, rec.RequestedModel, rec.Charge)
			}
		}
	}
	if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=4", false), "Authorization", "Bearer "+k.Token+"x"); r.status != 401 {
		t.Errorf("another key: %d", r.status)
	}
	k.AtRest(t)
}

// S3-6, S4-12: the documented parameters reach the provider as they were written, whatever
// the client says of the type of its body and of what it accepts; stream alone decides
// whether the answer is one.
func TestParametersPass(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for i, c := range []struct{ parameters, accept, kind string }{
		{`"temperature":0,"max_tokens":50`, "application/json", "application/json"},
		{`"temperature":1,"max_tokens":50,"stream":false`, "text/event-stream", "application/json"},
		{`"temperature":2.0,"max_tokens":7,"stream":true`, "", ""},
		{`"temperature":0.70,"max_tokens":50,"stream":true`, "text/event-stream", "application/json; charset=utf-8"},
	} {
		body := fmt.Sprintf(`{"model":"gpt-a","messages":[{"role":"user","content":"hello mock:out=3;keep=1"}],%s}`, c.parameters)
		r := post(t, k, "/v1/chat/completions", body, "Accept", c.accept, "Content-Type", c.kind)
		stream := strings.Contains(c.parameters, `"stream":true`)
		want := map[bool]string{true: "text/event-stream", false: "application/json"}[stream]
		if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), want) {
			t.Fatalf("%s: %d %s %s", c.parameters, r.status, r.header.Get("Content-Type"), r.body)
		}
		if done := strings.HasSuffix(string(r.body), "data: [DONE]\n\n"); done != stream {
			t.Errorf("%s: %s", c.parameters, r.body)
		}
		sent := string(m.Requests(mockFilter)[i].Extra.Body)
		if !strings.Contains(sent, c.parameters) || strings.Contains(sent, `"gpt-a"`) {
			t.Errorf("%s: the provider got %s", c.parameters, sent)
		}
	}
	k.AtRest(t)
}
