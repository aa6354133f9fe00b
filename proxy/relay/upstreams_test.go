package relay_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// signing is a provider key that the mock takes signatures of.
const signing = mockllm.AccessKeyID + ":" + mockllm.SecretAccessKey

// hidden is a proxy before upstreams whose protocols no client speaks: nova-a and
// command-a are tried at "first", then at "second"; nova-b has a key of Bedrock's own.
func hidden(tb testing.TB) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	region := map[string]string{"region": mockllm.Region}
	return proxytest.New(tb, proxytest.Options{
		Providers: []proxytest.Provider{
			{Slug: "bedrock", Protocol: "bedrock", BaseURL: url + "/first", Keys: []string{signing}, Options: region},
			{Slug: "bedrock-2", Protocol: "bedrock", BaseURL: url + "/second", Keys: []string{signing + ":session-token"}, Options: region},
			{Slug: "bedrock-3", Protocol: "bedrock", BaseURL: url + "/third", Keys: []string{"bedrock-api-key-abc"}},
			{Slug: "bedrock-4", Protocol: "bedrock", BaseURL: url + "/fourth", Keys: []string{mockllm.AccessKeyID + ":wrong"}, Options: region},
			{Slug: "cohere", Protocol: "cohere", BaseURL: url + "/first/v2", Keys: []string{"co-first"}},
			{Slug: "cohere-2", Protocol: "cohere", BaseURL: url + "/second/v2", Keys: []string{"co-second"}},
		},
		Models: []proxytest.Model{
			{ID: "nova-a", Routes: []proxytest.Route{{Provider: "bedrock", Model: "up.anthropic.claude-sonnet-4-5-v1:0"}, {Provider: "bedrock-2", Model: "arn:aws:bedrock:eu-1:1:inference-profile/up.claude-x", Priority: 1}}},
			{ID: "nova-b", Routes: []proxytest.Route{{Provider: "bedrock-3", Model: "up.nova-2-lite-v1:0"}}},
			{ID: "nova-c", Routes: []proxytest.Route{{Provider: "bedrock-4", Model: "up.nova"}, {Provider: "bedrock-2", Model: "up.nova", Priority: 1}}},
			{ID: "command-a", Routes: []proxytest.Route{{Provider: "cohere", Model: "up-command"}, {Provider: "cohere-2", Model: "up-command-2", Priority: 1}}},
		},
	}), meter
}

// askers are how a client of each protocol asks: for a text, for tools, for thoughts.
var askers = []struct {
	name  string
	path  func(model string, stream bool) string
	body  func(model, script, ask string, stream bool) string
	wants map[string]string
}{
	{
		"chat", func(string, bool) string { return "/v1/chat/completions" },
		func(model, script, ask string, stream bool) string {
			more := map[string]string{"tools": "," + chatTools, "think": `,"reasoning_effort":"low"`}[ask]
			return fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":8000,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"weather mock:%s"}]%s}`, model, stream, script, more)
		},
		map[string]string{"text": `"finish_reason":"stop"`, "tools": `"finish_reason":"tool_calls"`, "think": `"reasoning_content":`},
	},
	{
		"messages", func(string, bool) string { return "/v1/messages" },
		func(model, script, ask string, stream bool) string {
			more := map[string]string{"tools": "," + messagesTools[len(`"max_tokens":500,`):], "think": `,"thinking":{"type":"enabled","budget_tokens":2000}`}[ask]
			return fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":8000,"system":"be brief","messages":[{"role":"user","content":"weather mock:%s"}]%s}`, model, stream, script, more)
		},
		map[string]string{"text": `"stop_reason":"end_turn"`, "tools": `"stop_reason":"tool_use"`, "think": `"thinking"`},
	},
	{
		"responses", func(string, bool) string { return "/v1/responses" },
		func(model, script, ask string, stream bool) string {
			more := map[string]string{
				"tools": `,"tools":[{"type":"function","name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]`,
				"think": `,"reasoning":{"effort":"low"}`,
			}[ask]
			return fmt.Sprintf(`{"model":%q,"stream":%v,"max_output_tokens":8000,"instructions":"be brief","input":"weather mock:%s"%s}`, model, stream, script, more)
		},
		map[string]string{"text": `"status":"completed"`, "tools": `"type":"function_call"`, "think": `"type":"reasoning"`},
	},
	{
		"gemini", func(model string, stream bool) string {
			if stream {
				return "/v1beta/models/" + model + ":streamGenerateContent?alt=sse"
			}
			return "/v1beta/models/" + model + ":generateContent"
		},
		func(_, script, ask string, _ bool) string {
			tools := map[string]string{"tools": `,"tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"}},"required":["city"]}}]}]`}[ask]
			think := map[string]string{"think": `,"thinkingConfig":{"thinkingBudget":2000,"includeThoughts":true}`}[ask]
			return fmt.Sprintf(`{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"weather mock:%s"}]}],"generationConfig":{"maxOutputTokens":8000%s}%s}`, script, think, tools)
		},
		map[string]string{"text": `"finishReason":"STOP"`, "tools": `"functionCall"`, "think": `"thought":true`},
	},
	{
		"dashscope", func(string, bool) string { return dashScopePath },
		func(model, script, ask string, stream bool) string {
			more := map[string]string{"tools": "," + qwenTools, "think": `,"enable_thinking":true`}[ask]
			if stream {
				more += `,"incremental_output":true`
			}
			return fmt.Sprintf(`{"model":%q,"input":{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"weather mock:%s"}]},"parameters":{"max_tokens":8000,"result_format":"message"%s}}`, model, script, more)
		},
		map[string]string{"text": `"finish_reason":"stop"`, "tools": `"finish_reason":"tool_calls"`, "think": `"reasoning_content":`},
	},
}

// Models behind Bedrock and Cohere answer the clients of every protocol, buffered and
// streamed; what is charged is what was served, and nothing tells who served it.
func TestHiddenProtocols(t *testing.T) {
	k, m := hidden(t)
	for _, model := range []string{"nova-a", "nova-b", "command-a"} {
		for _, c := range askers {
			for _, stream := range []bool{false, true} {
				for _, ask := range []string{"text", "tools", "think"} {
					name := fmt.Sprintf("%s/%s/%v/%s", model, c.name, stream, ask)
					script := "out=6;cached=3;keep=1"
					if ask == "tools" {
						script = "keep=1"
					}
					var header []string
					if c.name == "dashscope" && stream {
						header = qwenStream
					}
					r := post(t, k, c.path(model, stream), c.body(model, script, ask, stream), header...)
					if r.status != 200 || !strings.Contains(string(r.body), c.wants[ask]) || strings.Contains(string(r.body), "up") && strings.Contains(string(r.body), "up.") || strings.Contains(string(r.body), "up-") {
						t.Errorf("%s: %d %s\nasked by %s", name, r.status, r.body, lastBody(m))
						continue
					}
					if ask == "tools" && !strings.Contains(strings.ReplaceAll(string(r.body), `\"`, `"`), `city`) {
						t.Errorf("%s: no arguments: %s", name, r.body)
					}
					if d := r.header.Get("X-Relay-Dropped"); d != "" {
						t.Errorf("%s: dropped %s", name, d)
					}
					served := ended(m, mockFilter)
					recs := k.WaitRecords(t, len(served))
					rec, last := recs[len(recs)-1], served[len(served)-1]
					u := last.Usage
					if u == nil || rec.Source != usage.SourceReported || rec.Units[usage.Output] != u.Output || rec.Units[usage.Input] != u.Input || u.Output == 0 || rec.Overrun != 0 || rec.Model != model {
						t.Errorf("%s: metered %v (%s), served %+v", name, rec.Units, rec.Source, u)
					}
					if want := map[bool]int64{true: 3, false: 0}[model != "command-a" && ask != "tools"]; u != nil && rec.Units[usage.CacheRead] != want {
						t.Errorf("%s: %d tokens from the cache", name, rec.Units[usage.CacheRead])
					}
				}
			}
		}
	}
	k.AtRest(t)
}

func lastBody(m *mockllm.Meter) string {
	list := m.Requests(mockFilter)
	if len(list) == 0 || list[len(list)-1].Extra == nil {
		return ""
	}
	return string(list[len(list)-1].Extra.Body)
}

// Each failure of an upstream is what it really is, buffered and streamed: another one is
// asked or not, and the client is told of it in words that are its own to know.
func TestHiddenFailures(t *testing.T) {
	k, _ := hidden(t)
	for _, c := range []struct {
		script string
		status int
		word   string
	}{
		{"first.error=rate_limit", 200, "stop"},
		{"first.error=overloaded", 200, "stop"},
		{"first.error=server", 200, "stop"},
		{"first.error=timeout", 200, "stop"},
		{"first.error=invalid_key", 200, "stop"},
		{"first.error=permission", 200, "stop"},
		{"first.error=account_empty", 200, "stop"},
		{"first.error=model_not_found", 200, "stop"},
		{"first.error=html", 200, "stop"},
		{"first.cut=headers", 200, "stop"},
		{"first.hang=headers;first.hold=1ms", 200, "stop"},
		{"error=bad_request", 400, "emperature"},
		{"error=context_length", 400, "too"},
		{"error=rate_limit", 503, "healthy"},
		{"error=server", 502, "upstream"},
	} {
		for _, model := range []string{"nova-a", "command-a"} {
			for _, stream := range []bool{false, true} {
				k.HealAll()
				r := post(t, k, "/v1/chat/completions", chat(model, c.script+";out=5", stream))
				text := strings.ToLower(string(r.body))
				if r.status != c.status || c.status == 200 && !strings.Contains(text, `"finish_reason":"stop"`) || c.status != 200 && !strings.Contains(text, strings.ToLower(c.word)) {
					t.Errorf("%s %s %v: %d %s", model, c.script, stream, r.status, r.body)
				}
				for _, canary := range append(mockllm.Canaries, "arn:aws", "amazon", "up.", "up-command") {
					if strings.Contains(string(r.body), canary) {
						t.Errorf("%s %s %v: %q in %s", model, c.script, stream, canary, r.body)
					}
				}
			}
		}
	}
	k.AtRest(t)
}

// A wrong secret is our account's fault: the key is parked, another provider answers.
func TestConverseWrongSecret(t *testing.T) {
	k, m := hidden(t)
	for range 2 {
		if r := post(t, k, "/v1/chat/completions", chat("nova-c", "out=3", false)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if n := len(m.Requests(mockllm.Filter{Lane: "fourth"})); n != 1 {
		t.Errorf("a refused key was used %d times", n)
	}
}

// An exception amid a stream ends it as an error in the client's protocol, and what was
// produced is paid; a frame that is broken does the same.
func TestConverseStreamBreaks(t *testing.T) {
	k, _ := hidden(t)
	for i, script := range []string{"error=overloaded;error_at=6", "error=rate_limit;error_at=6", "cut=6", "rst=6", "end=6", "cut_bytes=900"} {
		k.HealAll()
		script += ";out=20;gap=5ms;flush=1"
		r := post(t, k, "/v1/chat/completions", chat("nova-a", script, true))
		if r.status != 200 || r.err == nil && !strings.Contains(string(r.body), `"error"`) || strings.Contains(string(r.body), "[DONE]") {
			t.Errorf("%s: %d %v %s", script, r.status, r.err, r.body)
		}
		recs := k.WaitRecords(t, i+1)
		if rec := recs[i]; rec.Status != usage.Failed || rec.Units[usage.Output] == 0 || rec.Units[usage.Output] > 20 || rec.Charge == 0 {
			t.Errorf("%s: %+v", script, rec)
		}
	}
	k.AtRest(t)
}

// Each frame reaches the client when it comes: the first words are there long before the
// last are sent.
func TestConverseStreamsAtOnce(t *testing.T) {
	k, _ := hidden(t)
	conn, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := chat("nova-a", "out=8;gap=150ms;flush=1", true)
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", k.Token, len(body), body)
	buf, got := make([]byte, 4096), ""
	begun := time.Time{}
	for !strings.Contains(got, "[DONE]") {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err, got)
		}
		got += string(buf[:n])
		if begun.IsZero() && strings.Contains(got, `"content":"`) && strings.Count(got, `"content":"`) > 1 {
			begun = time.Now()
		}
	}
	if d := time.Since(begun); begun.IsZero() || d < 500*time.Millisecond {
		t.Errorf("the first words came %v before the last", d)
	}
}

// The head of an error is kept while its body is read over it: what it says of a wait
// reaches the client, from an upstream that sends the two apart.
func TestRetryAfterBeforeItsBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			body := `{"error":{"message":"` + strings.Repeat("wait ", 200) + `","type":"requests","code":"rate_limit_exceeded"}}`
			_, _ = c.Read(make([]byte, 4096))
			fmt.Fprintf(c, "HTTP/1.1 429 Slow\r\nContent-Type: application/json\r\nRetry-After: 37\r\nContent-Length: %d\r\n\r\n", len(body))
			time.Sleep(50 * time.Millisecond)
			_, _ = c.Write([]byte(body))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: "http://" + l.Addr().String() + "/v1", Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "", false)); r.status != 503 || r.header.Get("Retry-After") != "37" {
		t.Errorf("%d, retry after %q: %s", r.status, r.header.Get("Retry-After"), r.body)
	}
}

// What is asked of Bedrock: the cap, the system's text, tools and their results, marks
// of the cache, and a signature over all of it.
func TestConverseRequest(t *testing.T) {
	k, m := hidden(t)
	r := post(t, k, "/v1/messages", `{"model":"nova-a","max_tokens":700,"stream":true,"system":[{"type":"text","text":"be brief mock:keep=1;cache_write=4;cache_write_1h=2","cache_control":{"type":"ephemeral","ttl":"1h"}}],`+
		messagesTools[len(`"max_tokens":500,`):]+`,"messages":[{"role":"user","content":[{"type":"text","text":"a mock:keep=1;out=4;cache_write=4;cache_write_1h=2","cache_control":{"type":"ephemeral"}},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
		{"role":"assistant","content":[{"type":"tool_use","id":"call.1","name":"weather","input":{"city":"x"}},{"type":"tool_use","id":"call_2","name":"time","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"call.1","content":"sunny"},{"type":"tool_result","tool_use_id":"call_2","is_error":true,"content":[{"type":"text","text":"no clock"}]}]}]}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":2}`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	last := ended(m, mockFilter)[0]
	var sent struct {
		Inference struct{ MaxTokens int } `json:"inferenceConfig"`
		Messages  []struct{ Content []map[string]json.RawMessage }
		System    []map[string]json.RawMessage
	}
	if err := json.Unmarshal(last.Extra.Body, &sent); err != nil || sent.Inference.MaxTokens != 700 || len(sent.Messages) != 3 || len(sent.System) != 2 || len(sent.Messages[0].Content) != 3 || len(sent.Messages[2].Content) != 2 {
		t.Errorf("%v: %s", err, last.Extra.Body)
	}
	for _, w := range []string{`{"cachePoint":{"type":"default","ttl":"1h"}}`, `{"cachePoint":{"type":"default"}}`, `"status":"error"`, `"toolUseId":"call_2"`, `"toolUseId":"id_`} {
		if !strings.Contains(string(last.Extra.Body), w) {
			t.Errorf("no %s in %s", w, last.Extra.Body)
		}
	}
	if !strings.Contains(last.Extra.Head, "/model/up.anthropic.claude-sonnet-4-5-v1%3A0/converse-stream") || !strings.Contains(last.Extra.Head, "AWS4-HMAC-SHA256") || !strings.Contains(last.Extra.Head, "Accept: application/vnd.amazon.eventstream") {
		t.Errorf("head %s", last.Extra.Head)
	}
	rec := k.WaitRecords(t, 1)[0]
	if rec.Units[usage.CacheWrite] != 4 || rec.Units[usage.CacheWrite1h] != 2 {
		t.Errorf("metered %v", rec.Units)
	}
	k.AtRest(t)
}
