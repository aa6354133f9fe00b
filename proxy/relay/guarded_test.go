package relay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// rules makes the kit's client have a policy.
func rules(tb testing.TB, r policy.Rules) func(*store.KeyRow) {
	tb.Helper()
	text, err := r.Text()
	if err != nil {
		tb.Fatal(err)
	}
	return func(row *store.KeyRow) { row.Rules = text }
}

// ingress is a request in each protocol that a client may speak; %s is the text, %t
// whether it is streamed.
var ingress = map[string]struct{ path, streamPath, body string }{
	"chat":        {"/v1/chat/completions", "", `{"model":"MODEL","stream":STREAM,"max_tokens":500,"messages":[{"role":"user","content":TEXT}]}`},
	"completions": {"/v1/completions", "", `{"model":"gpt-a","stream":STREAM,"max_tokens":500,"prompt":TEXT}`},
	"messages":    {"/v1/messages", "", `{"model":"MODEL","stream":STREAM,"max_tokens":500,"messages":[{"role":"user","content":[{"type":"text","text":TEXT}]}]}`},
	"responses":   {"/v1/responses", "", `{"model":"MODEL","stream":STREAM,"max_output_tokens":500,"store":false,"input":TEXT}`},
	"gemini":      {"/v1beta/models/MODEL:generateContent", "/v1beta/models/MODEL:streamGenerateContent?alt=sse", `{"contents":[{"role":"user","parts":[{"text":TEXT}]}]}`},
	"array":       {"/v1beta/models/MODEL:generateContent", "/v1beta/models/MODEL:streamGenerateContent", `{"contents":[{"role":"user","parts":[{"text":TEXT}]}]}`},
	"dashscope":   {"/api/v1/services/aigc/text-generation/generation", "", `{"model":"MODEL","input":{"messages":[{"role":"user","content":TEXT}]},"parameters":{"result_format":"message","incremental_output":true,"max_tokens":500}}`},
}

func say(tb testing.TB, k *proxytest.Kit, protocol, model, text string, stream bool) *reply {
	tb.Helper()
	in := ingress[protocol]
	path := in.path
	var header []string
	if stream && in.streamPath != "" {
		path = in.streamPath
	}
	if stream && protocol == "dashscope" {
		header = []string{"X-DashScope-SSE", "enable"}
	}
	quoted, _ := json.Marshal(text)
	body := strings.NewReplacer("MODEL", model, "STREAM", fmt.Sprint(stream), "TEXT", string(quoted)).Replace(in.body)
	return post(tb, k, strings.Replace(path, "MODEL", model, 1), body, header...)
}

const confession = "I am joe.smith@example.com and my card is 4111 1111 1111 1111 so zebra it."

// texts are all strings in the JSON of an answer, put together: what was cut into events
// is whole again.
func texts(body []byte) string {
	var b strings.Builder
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range []string{"choices", "delta", "message", "content", "text", "parts", "candidates", "output", "response", "part", "item"} {
				if name == "delta" || v["type"] == nil || !strings.HasSuffix(fmt.Sprint(v["type"]), ".done") {
					walk(v[name])
				}
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			b.WriteString(v)
		}
	}
	var v any
	if json.Unmarshal(body, &v) == nil {
		walk(v)
		return b.String()
	}
	for line := range strings.Lines(string(body)) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data:"); ok && json.Unmarshal([]byte(data), &v) == nil {
			walk(v)
			v = nil
		}
	}
	return b.String()
}

// S1-B14, S1-B5: in every protocol, streamed or not, in its own lane or translated, what
// the upstream gets and what the client gets is masked as the policy says.
func TestMaskingInEveryProtocol(t *testing.T) {
	all := policy.Masking{Email: policy.Mask, Card: policy.Mask}
	word := policy.Words{List: []string{"ZEBRA"}, Action: policy.Mask}
	for _, where := range []policy.Where{policy.Requests, policy.Responses} {
		r := policy.Rules{Masking: all, Words: word}
		r.Masking.ApplyTo, r.Words.ApplyTo = where, where
		k, meter := standard(t, proxytest.Options{Key: rules(t, r)})
		n := 0
		for protocol := range ingress {
			for _, model := range []string{"gpt-a", "claude-a", "gemini-a", "qwen-a"} {
				if protocol == "completions" && model != "gpt-a" {
					continue
				}
				for _, stream := range []bool{false, true} {
					n++
					id := fmt.Sprintf("mask%d", n)
					name := fmt.Sprintf("%s to %s, stream %v, %q", protocol, model, stream, where)
					got := say(t, k, protocol, model, confession+" mock:id="+id+";keep=1", stream)
					if got.status != 200 || got.err != nil {
						t.Errorf("%s: %d %s", name, got.status, got.body)
						continue
					}
					said := texts(got.body)
					if strings.Contains(said, "example.com") || strings.Contains(said, "1111") || strings.Contains(said, "zebra") || !strings.Contains(said, "I am [email] and my card is [card] so [word] it.") {
						t.Errorf("%s: the client got %q\n%s", name, said, got.body)
					}
					list := ended(meter, mockllm.Filter{Marker: id})
					if len(list) != 1 {
						t.Fatalf("%s: %d calls", name, len(list))
					}
					if masked := strings.Contains(string(list[0].Extra.Body), "[email] and my card is [card]"); masked != (where == policy.Requests) {
						t.Errorf("%s: the upstream got %s", name, list[0].Extra.Body)
					}
				}
			}
		}
		for _, rec := range k.WaitRecords(t, n) {
			if want := usage.FlagEmail | usage.FlagCard | usage.FlagWord | usage.FlagMasked; rec.Flags&want != want || rec.Status != usage.Success {
				t.Errorf("record %s: %s %s", rec.ID, rec.Status, rec.Flags)
			}
		}
		k.AtRest(t)
	}
}

// S1-B14: what is only flagged passes as it is, and the record says so; without rules
// nothing is looked at.
func TestFlagging(t *testing.T) {
	for _, tc := range []struct {
		r    policy.Rules
		want usage.Flags
	}{{policy.Rules{Masking: policy.Masking{Card: policy.Flag}}, usage.FlagCard}, {policy.Rules{}, 0}} {
		k, _ := standard(t, proxytest.Options{Key: rules(t, tc.r)})
		for _, stream := range []bool{false, true} {
			if r := say(t, k, "chat", "gpt-a", confession, stream); r.status != 200 || !strings.Contains(texts(r.body), "4111 1111 1111 1111") {
				t.Errorf("%d %s", r.status, r.body)
			}
		}
		for _, rec := range k.WaitRecords(t, 2) {
			if rec.Flags&^usage.FlagStream != tc.want {
				t.Errorf("flags %s, want %s", rec.Flags, tc.want)
			}
		}
		k.AtRest(t)
	}
}

// Interface 7: a request with a finding that blocks is 400 content_blocked, nobody is
// asked and nothing is charged; the answer does not repeat the finding.
func TestBlockedRequests(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Key: rules(t, policy.Rules{Masking: policy.Masking{Card: policy.Block, Email: policy.Flag}})})
	for protocol := range ingress {
		r := say(t, k, protocol, "gpt-a", confession+" mock:id=blocked", false)
		if r.status != 400 || r.header.Get("x-relay-error") != "content_blocked" || strings.Contains(string(r.body), "4111") || !strings.Contains(string(r.body), "card") {
			t.Errorf("%s: %d %s", protocol, r.status, r.body)
		}
		if r := say(t, k, protocol, "gpt-a", "hello", false); r.status != 200 {
			t.Errorf("%s: harmless: %d %s", protocol, r.status, r.body)
		}
	}
	if n := meterCalls(meter, "blocked"); n != 0 {
		t.Errorf("%d blocked requests went upstream", n)
	}
	k.AtRest(t)
}

// An answer with a finding that blocks is not shown: 400 where nothing was written, else
// the stream ends with the error; what was produced is charged.
func TestBlockedAnswers(t *testing.T) {
	k, _ := standard(t, proxytest.Options{Key: rules(t, policy.Rules{Masking: policy.Masking{Card: policy.Block, ApplyTo: policy.Responses}})})
	n := 0
	for protocol := range ingress {
		for _, stream := range []bool{false, true} {
			n++
			r := say(t, k, protocol, "gpt-a", confession, stream)
			if strings.Contains(texts(r.body), "4111 1111 1111 1111") {
				t.Errorf("%s, stream %v: %s", protocol, stream, r.body)
			}
			switch { // a finding may come before anything was written of a stream
			case (!stream || r.status == 400) && (r.status != 400 || r.header.Get("x-relay-error") != "content_blocked"):
				t.Errorf("%s: %d %s", protocol, r.status, r.body)
			case stream && r.status != 400 && (r.status != 200 || r.err == nil || !strings.Contains(string(r.body), "blocked by the safety policy")):
				t.Errorf("%s, streamed: %d %v %s", protocol, r.status, r.err, r.body)
			}
		}
	}
	for _, rec := range k.WaitRecords(t, n) {
		if rec.Code != "content_blocked" || rec.Status != usage.Failed || rec.Charge <= 0 || rec.Flags&usage.FlagBlocked == 0 {
			t.Errorf("record %s: %s %s %s %s", rec.ID, rec.Status, rec.Code, rec.Charge, rec.Flags)
		}
	}
	k.AtRest(t)
}

// Rules that this build cannot read are not taken for none.
func TestUnreadableRules(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Key: func(r *store.KeyRow) { r.Rules = []byte(`{"masking":{"iris":"block"}}`) }})
	if r := say(t, k, "chat", "gpt-a", "hello mock:id=unruled", false); r.status != 503 || meterCalls(meter, "unruled") != 0 {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}
