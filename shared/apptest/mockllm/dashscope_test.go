package mockllm

import (
	"strings"
	"testing"
	"time"
)

func qwenBody(script, parameters string) string {
	return `{"model":"q","input":{"messages":[{"role":"user","content":"hello ` + script + `"}]},"parameters":{` + parameters + `}}`
}

const qwenPath = "/l/api/v1/services/aigc/text-generation/generation"

// Protocols 7: numbered events, named and with their status, no space before the data,
// no terminator; what was said is repeated unless increments are asked for.
func TestDashScopeFraming(t *testing.T) {
	s, addr := start(t, Options{})
	for name, parameters := range map[string]string{
		"dashscope-text":    `"result_format":"text"`,
		"dashscope-message": `"result_format":"message","enable_thinking":true,"incremental_output":true`,
		"dashscope-tools":   `"result_format":"message","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}}]`,
	} {
		script := "mock:out=3;cached=1"
		switch name {
		case "dashscope-message":
			script += ";reasoning=2"
		case "dashscope-tools":
			script = "mock:tools=2"
		}
		got := talk(t, addr, post(qwenPath, qwenBody(script, parameters), "X-DashScope-SSE: enable"), 5*time.Second)
		if !got.whole || !strings.Contains(got.head, "Content-Type: text/event-stream;charset=UTF-8\r\n") {
			t.Fatalf("%q", got.raw)
		}
		golden(t, name, got.body)
	}
	for _, r := range s.Meter().Requests(Filter{}) {
		if r.Usage == nil || r.Usage.Output == 0 || !r.Stream || r.Lane != "l" || r.Model != "q" {
			t.Errorf("%+v", r)
		}
	}
}

func TestDashScopeAnswers(t *testing.T) {
	_, addr := start(t, Options{})
	for name, c := range map[string]struct {
		body, want string
		status     int
	}{
		"text":     {qwenBody("mock:out=2", ""), `{"output":{"text":`, 200},
		"message":  {qwenBody("mock:out=2", `"result_format":"message"`), `{"output":{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":`, 200},
		"prompt":   {`{"model":"q","input":{"prompt":"mock:out=2"}}`, `"finish_reason":"stop"`, 200},
		"call":     {qwenBody("", `"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]`), `"tool_calls":[{"index":0,"id":"call_`, 200},
		"length":   {qwenBody("mock:out=9", `"max_tokens":2`), `"length"`, 200},
		"thinking": {qwenBody("mock:out=9", `"enable_thinking":true`), `"reasoning_content":`, 200},
		"key":      {qwenBody("mock:error=invalid_key", ""), `{"code":"InvalidApiKey",`, 401},
		"account":  {qwenBody("mock:error=account_empty", ""), `{"code":"Arrearage",`, 400},
		"empty":    {`{"model":"q","input":{}}`, "Role must be user or assistant", 400},
		"role":     {`{"model":"q","input":{"messages":[{"role":"developer","content":"x"}]}}`, "developer", 400},
	} {
		got := talk(t, addr, post(qwenPath, c.body), 5*time.Second)
		if !strings.HasPrefix(got.head, "HTTP/1.1 "+itoa(c.status)) || !strings.Contains(string(got.body), c.want) {
			t.Errorf("%s: %q", name, got.raw)
		}
	}
	got := talk(t, addr, post(qwenPath, qwenBody("", `"enable_thinking":true`), "Accept: text/event-stream"), 5*time.Second)
	if !strings.Contains(string(got.body), "incremental_output") {
		t.Errorf("%q", got.raw)
	}
	got = talk(t, addr, post(qwenPath, qwenBody("mock:out=5;error_at=3;error=content_filter", ""), "X-DashScope-SSE: enable"), 5*time.Second)
	if !strings.Contains(string(got.body), "\n\nid:3\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"DataInspectionFailed\"") {
		t.Errorf("%q", got.raw)
	}
}
