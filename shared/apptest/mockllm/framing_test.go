package mockllm

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Protocols 1: what each provider's stream looks like on the wire. The golden
// files hold the bytes; this table says what must be true of them.
func TestFramingOfEveryDialect(t *testing.T) {
	_, addr := start(t, Options{})
	type want struct {
		contentType string
		crlf, done  bool
		comment     string
		usage       string // extra, finish, choice, delta, every, groq
		roleAlways  bool
		unasked     bool // usage comes although it was not asked for
	}
	table := map[string]want{
		"openai":     {"text/event-stream; charset=utf-8", false, true, "", "extra", false, false},
		"azure":      {"text/event-stream; charset=utf-8", false, true, "", "extra", false, false},
		"deepseek":   {"text/event-stream; charset=utf-8", false, true, "", "finish", false, true},
		"mistral":    {"text/event-stream; charset=utf-8", false, true, "", "finish", false, true},
		"qwen":       {"text/event-stream;charset=UTF-8", false, true, "", "extra", false, false},
		"kimi":       {"text/event-stream; charset=utf-8", false, true, "", "choice", false, true},
		"glm":        {"text/event-stream;charset=UTF-8", false, true, "", "finish", true, true},
		"xai":        {"text/event-stream", false, true, "", "extra", false, false},
		"groq":       {"text/event-stream", false, true, "", "groq", false, true},
		"openrouter": {"text/event-stream", false, true, ": OPENROUTER PROCESSING", "delta", true, true},
		"perplexity": {"text/event-stream; charset=utf-8", true, false, ": ping - ", "every", true, true},
		"ollama":     {"text/event-stream", false, true, "", "extra", true, false},
		"gpustack":   {"text/event-stream", false, false, "", "extra", false, false},
		"gemini":     {"text/event-stream", false, true, "", "finish", false, true},
	}
	for _, name := range Dialects() {
		t.Run(name, func(t *testing.T) {
			w, ok := table[name]
			if !ok {
				t.Fatal("the dialect is missing in this test")
			}
			got := talk(t, addr, post("/"+name+"/v1/chat/completions", chatBody("m", "mock:out=3;reasoning=2", streamed)), 5*time.Second)
			if !got.whole {
				t.Fatalf("incomplete: %q", got.raw)
			}
			if !strings.Contains(got.head, "Content-Type: "+w.contentType+"\r\n") {
				t.Errorf("content type: want %q in %q", w.contentType, got.head)
			}
			golden(t, name, got.body)
			body := string(got.body)
			if has := strings.Contains(body, "\r\n"); has != w.crlf || has && strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\n") {
				t.Errorf("CRLF: %v", has)
			}
			if has := strings.HasSuffix(body, "data: [DONE]\n\n"); has != w.done {
				t.Errorf("[DONE]: %v", has)
			}
			if has := strings.HasPrefix(body, ":"); has != (w.comment != "") || !strings.HasPrefix(body, w.comment) {
				t.Errorf("comment: %q", body[:20])
			}
			if strings.Contains(body, "event:") {
				t.Error("event: line")
			}
			chunks := parseChunks(t, got.body)
			roles, places := 0, map[string]int{}
			for _, c := range chunks {
				if len(c.Choices) > 0 && c.Choices[0].Delta.Role != "" {
					roles++
				}
				if c.Usage != nil {
					switch {
					case len(c.Choices) == 0:
						places["extra"]++
					case c.Choices[0].Finish != nil:
						places["finish"]++
					default:
						places["delta"]++
					}
				}
				if c.XGroq.Usage != nil {
					places["groq"]++
				}
				if len(c.Choices) > 0 && c.Choices[0].Usage != nil {
					places["choice"]++
				}
			}
			if w.roleAlways && roles != len(chunks) && roles != len(chunks)-1 || !w.roleAlways && roles != 1 {
				t.Errorf("role in %d of %d chunks", roles, len(chunks))
			}
			if w.usage == "every" {
				if places["delta"]+places["finish"] != len(chunks) {
					t.Errorf("usage at %v of %d chunks", places, len(chunks))
				}
			} else if places[w.usage] != 1 {
				t.Errorf("usage at %v, want %s", places, w.usage)
			}
			// Not asked for: only those that send it anyway do.
			got = talk(t, addr, post("/"+name+"/v1/chat/completions", chatBody("m", "mock:out=3", `,"stream":true`)), 5*time.Second)
			if has := bytes.Contains(got.body, []byte(`prompt_tokens`)); has != w.unasked {
				t.Errorf("usage without being asked: %v", has)
			}
		})
	}
}

type streamChunk struct {
	Choices []struct {
		Index int
		Delta struct {
			Role, Content string
			ToolCalls     []struct {
				Index    int
				ID       *string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Finish *string         `json:"finish_reason"`
		Usage  json.RawMessage `json:"usage"`
	}
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Total      int64 `json:"total_tokens"`
	}
	XGroq struct{ Usage json.RawMessage } `json:"x_groq"`
}

func parseChunks(t *testing.T, body []byte) []streamChunk {
	t.Helper()
	var out []streamChunk
	for _, line := range strings.FieldsFunc(string(body), func(r rune) bool { return r == '\n' || r == '\r' }) {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var c streamChunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		out = append(out, c)
	}
	return out
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "framing", name+".sse")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("not the bytes of %s:\n%s", file, got)
	}
}

// Protocols 5: the grammar of an Anthropic stream.
func TestFramingOfAnthropic(t *testing.T) {
	_, addr := start(t, Options{})
	body := `{"model":"claude","max_tokens":99,"stream":true,"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":[{"type":"text","text":"hi mock:out=3;reasoning=2;cached=7;cache_write_1h=5"}]}]}`
	got := talk(t, addr, post("/anthropic/v1/messages?beta=true", body), 5*time.Second)
	golden(t, "anthropic", got.body)
	var names []string
	for _, ev := range strings.Split(strings.TrimSuffix(string(got.body), "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(ev, "\ndata: ")
		if !ok {
			t.Fatalf("no data in %q", ev)
		}
		var v struct{ Type string }
		if err := json.Unmarshal([]byte(data), &v); err != nil || "event: "+v.Type != name {
			t.Fatalf("%v: name %q, type %q", err, name, v.Type)
		}
		names = append(names, v.Type)
	}
	want := "message_start content_block_start ping content_block_delta content_block_delta content_block_delta content_block_stop " +
		"content_block_start content_block_delta content_block_delta content_block_delta content_block_stop message_delta message_stop"
	if s := strings.Join(names, " "); s != want {
		t.Errorf("events: %s", s)
	}
	if !bytes.Contains(got.body, []byte(`"cache_read_input_tokens":7`)) || !bytes.Contains(got.body, []byte(`"ephemeral_1h_input_tokens":5`)) {
		t.Error("cache counts are missing")
	}
	if !bytes.Contains(got.body, []byte(" }\n\n")) {
		t.Error("no padding before the last brace")
	}
}

// A round trip with tools: the first answer calls, the second, after the tool's
// result, speaks.
func TestToolCalls(t *testing.T) {
	_, addr := start(t, Options{})
	const tools = `,"tools":[{"type":"function","function":{"name":"tide","parameters":{"type":"object","properties":{"port":{"type":"string"},"day":{"type":"integer"}},"required":["port","day"]}}}]`
	for _, d := range Dialects() {
		got := talk(t, addr, post("/"+d+"/v1/chat/completions", chatBody("m", "", tools+streamed)), 5*time.Second)
		var name, args string
		for _, c := range parseChunks(t, got.body) {
			for _, ch := range c.Choices {
				for _, call := range ch.Delta.ToolCalls {
					if name == "" {
						name = call.Function.Name
					}
					args += call.Function.Arguments
				}
			}
		}
		if name != "tide" || args != `{"port":"mock","day":1}` {
			t.Errorf("%s: %s %s in %s", d, name, args, got.body)
		}
	}
	got := talk(t, addr, post("/v1/chat/completions", `{"model":"m"`+tools+`,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","tool_call_id":"x","content":"4m"}]}`), 5*time.Second)
	if !bytes.Contains(got.body, []byte(`"finish_reason":"stop"`)) {
		t.Errorf("after the result: %s", got.body)
	}
	got = talk(t, addr, post("/v1/messages", `{"model":"m","max_tokens":9,"tools":[{"name":"tide","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hi"}]}`), 5*time.Second)
	if !bytes.Contains(got.body, []byte(`"type":"tool_use"`)) || !bytes.Contains(got.body, []byte(`"stop_reason":"tool_use"`)) {
		t.Errorf("anthropic: %s", got.body)
	}
	got = talk(t, addr, post("/v1/messages", `{"model":"m","max_tokens":9,"stream":true,"tools":[{"name":"tide","input_schema":{"type":"object","required":["a"],"properties":{"a":{"type":"boolean"}}}}],"messages":[{"role":"user","content":"hi"}]}`), 5*time.Second)
	if !bytes.Contains(got.body, []byte(`"partial_json":"{\"a\":tr"`)) {
		t.Errorf("anthropic stream: %s", got.body)
	}
}

func TestUsageIsHonest(t *testing.T) {
	s, addr := start(t, Options{})
	for _, c := range []struct {
		name, path, more, script string
		want                     Units
	}{
		{"plain", "/v1/chat/completions", "", "mock:id=plain;out=5", Units{Input: 3 + 8, Output: 5}},
		{"capped", "/v1/chat/completions", `,"max_tokens":2`, "mock:id=capped;out=5", Units{Input: 3 + 8, Output: 2}},
		{"choices", "/v1/chat/completions", `,"n":3`, "mock:id=choices;out=5", Units{Input: 3 + 8, Output: 15}},
		{"classes", "/v1/chat/completions", "", "mock:id=classes;in=100;cached=40;cache_write=10;out=5;reasoning=4", Units{Input: 50, CacheRead: 40, CacheWrite: 10, Output: 9, Reasoning: 4}},
		{"anthropic", "/v1/messages", `,"max_tokens":50`, "mock:id=anthropic;in=100;cached=40;cache_write=10;cache_write_1h=5;out=5", Units{Input: 45, CacheRead: 40, CacheWrite: 10, CacheWrite1h: 5, Output: 5}},
	} {
		for _, more := range []string{"", streamed} {
			if w := talk(t, addr, post(c.path, chatBody("m", c.script, c.more+more)), 5*time.Second); w.status(t) != 200 {
				t.Fatalf("%s: %s", c.name, w.raw)
			}
			r := lastRecord(t, s, c.name)
			if n := int64((len("hello "+c.script) + 3) / 4); c.name == "plain" {
				c.want.Input = 3 + n
			} else if c.want.CacheRead == 0 {
				c.want.Input = 3 + n
			}
			if r.Usage == nil || *r.Usage != c.want || r.Produced != c.want {
				t.Errorf("%s%s: usage %+v, produced %+v, want %+v", c.name, more, r.Usage, r.Produced, c.want)
			}
			s.meter.Reset()
		}
	}
}
