package guard

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/policy"
)

// S1-B14: texts of messages are masked, in every protocol's form; names, ids, arguments
// and schemas are not.
func TestRequests(t *testing.T) {
	p := masks(policy.Requests)
	for name, body := range map[string]string{
		"chat":        `{"model":"a@b.com","messages":[{"role":"system","content":"@"},{"role":"user","name":"joe@x.com","content":[{"type":"text","text":"@"},{"type":"image_url","image_url":{"url":"https://joe@x.com/1"}}]},{"role":"assistant","tool_calls":[{"id":"joe@x.com","function":{"name":"f","arguments":"{\"to\":\"joe@x.com\"}"}}]},{"role":"tool","content":"@"}],"tools":[{"function":{"description":"joe@x.com"}}],"user":"joe@x.com"}`,
		"completions": `{"prompt":["@","x"],"suffix":"@"}`,
		"messages":    `{"system":[{"type":"text","text":"@"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"joe@x.com","content":[{"type":"text","text":"@"}]},{"type":"document","source":{"type":"text","data":"@"}},{"type":"document","source":{"type":"base64","data":"joe@x.com"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"joe@x.com","signature":"s"},{"type":"tool_use","input":{"text":"joe@x.com"}}]}],"metadata":{"user_id":"joe@x.com"}}`,
		"responses":   `{"instructions":"@","input":[{"type":"message","content":[{"type":"input_text","text":"@"}]},{"type":"function_call","arguments":"joe@x.com"},{"type":"function_call_output","output":"@"}],"previous_response_id":"joe@x.com"}`,
		"gemini":      `{"systemInstruction":{"parts":[{"text":"@"}]},"contents":[{"parts":[{"text":"@"},{"text":"joe@x.com","thought":true},{"functionCall":{"args":{"a":"joe@x.com"}}},{"functionResponse":{"name":"joe@x.com","response":{"joe@x.com":["@",{"x":"@"}]}}}]}]}`,
		"dashscope":   `{"input":{"messages":[{"role":"user","content":"@"}],"prompt":"@"},"parameters":{"stop":"joe@x.com"}}`,
		"embeddings":  `{"input":["@",[1,2],"@"]}`,
		"rerank":      `{"query":"@","documents":["@",{"text":"@"}]}`,
		"escaped key": `{"messages":[{"\u0063ontent":"@"}]}`,
		"escapes":     `{"messages":[{"content":"\u006aoe\u0040x.com\n"}]}`,
	} {
		in := strings.ReplaceAll(body, `"@"`, `"to joe\u0040x.com, zebra"`)
		want := strings.ReplaceAll(body, `"@"`, `"to [email], [word]"`)
		if name == "escapes" {
			want = `{"messages":[{"content":"[email]\n"}]}`
		}
		out, r := p.Request(nil, []byte(in))
		if string(out) != want || !r.Masked || r.Blocked || !json.Valid(out) {
			t.Errorf("%s: %s\nwant %s\n%+v", name, out, want, r)
		}
		if out, r, _ := masks(policy.Responses).Answer(nil, []byte(`{"choices":[]}`)); r.Any() || string(out) != `{"choices":[]}` {
			t.Errorf("%s %+v", out, r)
		}
	}
	body := []byte(`{"messages":[{"content":"h\u00e9llo \/"}]}`)
	if out, r := p.Request(nil, body); string(out) != string(body) || r.Any() {
		t.Errorf("changed: %s", out)
	}
	if p.Responses() || !p.Requests() {
		t.Error("it looks at requests only")
	}
}

func TestAnswers(t *testing.T) {
	p := masks(policy.Responses)
	for name, body := range map[string]string{
		"chat":      `{"id":"joe@x.com","choices":[{"index":0,"message":{"content":"@","reasoning_content":"@","tool_calls":[{"function":{"arguments":"joe@x.com"}}]}}]}`,
		"messages":  `{"content":[{"type":"thinking","thinking":"@","signature":"joe@x.com"},{"type":"text","text":"@"},{"type":"tool_use","input":{"text":"joe@x.com"}}]}`,
		"responses": `{"output":[{"type":"reasoning","summary":[{"text":"@"}]},{"type":"message","content":[{"type":"output_text","text":"@","logprobs":[]}]},{"type":"function_call","arguments":"joe@x.com"}]}`,
		"gemini":    `{"candidates":[{"content":{"parts":[{"text":"@"},{"functionCall":{"args":{"text":"joe@x.com"}}}]}}]}`,
		"dashscope": `{"output":{"text":"@","choices":[{"message":{"content":"@"}}]},"request_id":"joe@x.com"}`,
	} {
		out, r, ok := p.Answer(nil, []byte(strings.ReplaceAll(body, `"@"`, `"joe\u0040x.com"`)))
		if want := strings.ReplaceAll(body, `"@"`, `"[email]"`); string(out) != want || !ok || !r.Masked {
			t.Errorf("%s: %s\nwant %s", name, out, want)
		}
	}
	for _, bad := range []string{"", "[]", `{"choices":[{"message":{"content":"x`, `{"choices":` + strings.Repeat(`{"text":`, 100) + `1` + strings.Repeat("}", 101)} {
		if _, _, ok := p.Answer(nil, []byte(bad)); ok {
			t.Errorf("%.40q is no answer that can be judged", bad)
		}
	}
	if out, r, ok := p.Answer(nil, []byte(`{"choices":[{"message":{"content":"x"},"logprobs":{"content":[{"token":"x"}]}}]}`)); !ok || r.Any() || strings.Contains(string(out), "token") {
		t.Errorf("tokens of the text beside it: %s", out)
	}
}

func TestActions(t *testing.T) {
	body := []byte(`{"messages":[{"content":"joe@x.com zebra"}]}`)
	for _, a := range []policy.Action{policy.Off, policy.Flag, policy.Mask, policy.Block} {
		p := Compile(&policy.Rules{Masking: policy.Masking{Email: a}, Words: policy.Words{List: []string{"ZEBRA"}, Action: a}})
		out, r := p.Request(nil, body)
		if r.Any() != (a != policy.Off) || r.Blocked != (a == policy.Block) || r.Masked != (a == policy.Mask) {
			t.Errorf("%q: %+v", a, r)
		}
		if same := string(out) == string(body); same != (a == policy.Off || a == policy.Flag) {
			t.Errorf("%q: %s", a, out)
		}
	}
}

// FuzzRequest: whatever a request says, it stays readable and its secret does not.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"messages":[{"content":"joe@x.com"}]}`))
	p := masks(policy.Both)
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		if out, _ := p.Request(nil, body); !json.Valid(out) {
			t.Fatalf("%q became %q", body, out)
		}
	})
}
