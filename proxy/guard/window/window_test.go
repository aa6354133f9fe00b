package window

import (
	"encoding/json"
	"testing"

	"tokenrelay/proxy/protocol/chat"
)

// S1-14: turns go whole, oldest first, calls with their results; what the system says and
// the last turn stay.
func TestTurns(t *testing.T) {
	for name, tc := range map[string]struct {
		form chat.Protocol
		body string
		want []string // without 0, 1, 2 … turns
	}{
		"chat": {chat.OpenAI, `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"1"},{"role":"assistant","tool_calls":[{"id":"c"}]},{"role":"tool","tool_call_id":"c"},{"role":"developer","content":"d"},{"role":"assistant","content":"a"},{"role":"user","content":"2"}],"n":1}`, []string{
			"",
			`{"messages":[{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"user","content":"2"}],"n":1}`,
		}},
		"messages": {chat.Messages, `{"system":"s","messages":[{"role":"user","content":"1"},{"role":"assistant","content":[{"type":"tool_use"}]},{"role":"user","content":[{"type":"tool_result"}]},{"role":"assistant","content":"a"},{"role":"user","content":[{"type":"text"}]}]}`, []string{
			"",
			`{"system":"s","messages":[{"role":"user","content":[{"type":"text"}]}]}`,
		}},
		"responses": {chat.Responses, `{"input":[{"role":"user","content":"1"},{"type":"function_call"},{"type":"function_call_output"},{"role":"user","content":"2"},{"type":"reasoning"},{"role":"user","content":"3"}]}`, []string{
			"",
			`{"input":[{"role":"user","content":"2"},{"type":"reasoning"},{"role":"user","content":"3"}]}`, `{"input":[{"role":"user","content":"3"}]}`,
		}},
		"responses, text": {chat.Responses, `{"input":"x"}`, []string{""}},
		"gemini": {chat.Gemini, `{"contents":[{"parts":[{"text":"1"}]},{"role":"model","parts":[{"functionCall":{}}]},{"role":"user","parts":[{"functionResponse":{}}]},{"role":"user","parts":[{"text":"2"}]}]}`, []string{
			"",
			`{"contents":[{"role":"user","parts":[{"text":"2"}]}]}`,
		}},
		"dashscope":       {chat.DashScope, `{"input":{"messages":[{"role":"user","content":"1"},{"role":"user","content":"2"}]}}`, []string{"", `{"input":{"messages":[{"role":"user","content":"2"}]}}`}},
		"dashscope, text": {chat.DashScope, `{"input":{"prompt":"x"}}`, []string{""}},
		"begins with an answer": {chat.OpenAI, `{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"1"},{"role":"user","content":"2"}]}`, []string{
			"",
			`{"messages":[{"role":"user","content":"1"},{"role":"user","content":"2"}]}`, `{"messages":[{"role":"user","content":"2"}]}`,
		}},
	} {
		turns := Find(tc.form, []byte(tc.body))
		if most := max(1, turns.Count()); most < len(tc.want) {
			t.Errorf("%s: %d turns", name, turns.Count())
			continue
		}
		for n, want := range tc.want {
			if n == 0 {
				want = tc.body
			}
			if got := string(turns.Without(nil, n)); got != want || !json.Valid([]byte(got)) {
				t.Errorf("%s without %d: %s\nwant %s", name, n, got, want)
			}
		}
	}
}

// FuzzTurns: whatever is left out, what stays is JSON.
func FuzzTurns(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user"},{"role":"user"}]}`), uint8(0), 1)
	f.Fuzz(func(t *testing.T, body []byte, form uint8, n int) {
		if !json.Valid(body) {
			return
		}
		if out := Find(chat.Protocol(form%uint8(chat.NumProtocols)), body).Without(nil, n); !json.Valid(out) {
			t.Fatalf("%q became %q", body, out)
		}
	})
}
