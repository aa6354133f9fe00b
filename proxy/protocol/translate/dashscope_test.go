package translate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/sse"
)

const (
	qwenUser   = `{"input":{"messages":[{"role":"user","content":"a"},`
	qwenPart   = `{"input":{"messages":[{"role":"user","content":[{"text":"a"},`
	qwenCalled = qwenUser + `{"role":"assistant","content":"","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},`
)

func qwenParameters(s string) string { return `{"parameters":{` + s + `}}` }

// dashScopeSamples give each row of DashScope's table a request that has the member.
var dashScopeSamples = map[string]string{
	"model": `{}`, "input": `{}`, "input.messages": `{}`, "input.messages[].role": `{}`, "input.messages[].content": `{}`,
	"input.messages[].content[].text":          qwenPart + `{"type":"text","text":"b"}]}]}}`,
	"input.messages[].content[].image":         qwenPart + `{"image":"https://e.org/a.png"}]}]}}`,
	"input.messages[].content[].audio":         qwenPart + `{"audio":"https://e.org/a.mp3"}]}]}}`,
	"input.messages[].content[].video":         qwenPart + `{"video":["https://e.org/a.png"]}]}]}}`,
	"input.messages[].content[].file":          qwenPart + `{"file":"https://e.org/a.pdf"}]}]}}`,
	"input.messages[].content[].cache_control": qwenPart + `{"text":"b","cache_control":{"type":"ephemeral"}}]}]}}`,
	"input.messages[].name":                    `{"input":{"messages":[{"role":"user","content":"a","name":"n"}]}}`,
	"input.messages[].partial":                 qwenUser + `{"role":"assistant","content":"b","partial":true}]}}`,
	"input.messages[].tool_calls":              qwenCalled + `{"role":"tool","tool_call_id":"c","name":"f","content":"r"}]}}`,
	"input.messages[].tool_call_id":            qwenCalled + `{"role":"tool","tool_call_id":"c","content":"r"}]}}`,
	"input.messages[].reasoning_content":       qwenUser + `{"role":"assistant","content":"b","reasoning_content":"t"},{"role":"user","content":"c"}]}}`,
	"input.prompt":                             `{"input":{"prompt":"a"}}`,
	"input.history":                            `{"input":{"prompt":"a","history":[{"user":"u","bot":"b"}]}}`,
	"parameters":                               `{"parameters":{}}`,
	"parameters.result_format":                 qwenParameters(`"result_format":"text"`),
	"parameters.incremental_output":            qwenParameters(`"incremental_output":true`),
	"parameters.max_tokens":                    qwenParameters(`"max_tokens":9`),
	"parameters.max_completion_tokens":         qwenParameters(`"max_completion_tokens":9`),
	"parameters.temperature":                   qwenParameters(`"temperature":0.5`),
	"parameters.top_p":                         qwenParameters(`"top_p":0.5`),
	"parameters.top_k":                         qwenParameters(`"top_k":5`),
	"parameters.seed":                          qwenParameters(`"seed":5`),
	"parameters.presence_penalty":              qwenParameters(`"presence_penalty":1`),
	"parameters.frequency_penalty":             qwenParameters(`"frequency_penalty":1`),
	"parameters.repetition_penalty":            qwenParameters(`"repetition_penalty":1.1`),
	"parameters.stop":                          qwenParameters(`"stop":["x"]`),
	"parameters.n":                             qwenParameters(`"n":2`),
	"parameters.logit_bias":                    qwenParameters(`"logit_bias":{"1":2}`),
	"parameters.logprobs":                      qwenParameters(`"logprobs":true`),
	"parameters.top_logprobs":                  qwenParameters(`"top_logprobs":2`),
	"parameters.tools":                         qwenParameters(`"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}}]`),
	"parameters.tools[].type":                  qwenParameters(`"tools":[{"type":"web_search"}]`),
	"parameters.tools[].function.strict":       qwenParameters(`"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{}}}}]`),
	"parameters.tool_choice":                   qwenParameters(`"tool_choice":{"type":"function","function":{"name":"f"}},"tools":[` + fnTool + `]`),
	"parameters.tool_stream":                   qwenParameters(`"tool_stream":true`),
	"parameters.parallel_tool_calls":           qwenParameters(`"parallel_tool_calls":false,"tools":[` + fnTool + `]`),
	"parameters.response_format":               qwenParameters(`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`),
	"parameters.enable_thinking":               qwenParameters(`"enable_thinking":true`),
	"parameters.thinking_budget":               qwenParameters(`"thinking_budget":3000`),
	"parameters.reasoning_effort":              qwenParameters(`"reasoning_effort":"low"`),
	"parameters.preserve_thinking":             qwenParameters(`"preserve_thinking":true`),
	"parameters.cache_control":                 qwenParameters(`"cache_control":{"type":"ephemeral"}`),
	"parameters.enable_search":                 qwenParameters(`"enable_search":true`),
	"parameters.search_options":                qwenParameters(`"search_options":{"forced_search":true}`),
	"parameters.enable_code_interpreter":       qwenParameters(`"enable_code_interpreter":true`),
	"parameters.translation_options":           qwenParameters(`"translation_options":{"target_lang":"English"}`),
	"parameters.modalities":                    qwenParameters(`"modalities":["text","audio"]`),
	"parameters.audio":                         qwenParameters(`"audio":{"voice":"v"}`),
	"parameters.skill":                         qwenParameters(`"skill":[{"type":"ppt"}]`),
}

// readDashScope reads DashScope as a client does that has asked for increments, and
// holds the framing of a stream.
func readDashScope(t testing.TB, out []byte, streamed bool) (a answer) {
	t.Helper()
	return readDashScopeAs(t, out, streamed, false)
}

func readDashScopeAs(t testing.TB, out []byte, streamed, repeats bool) (a answer) {
	t.Helper()
	type call struct {
		Index    int
		ID, Type string
		Function struct{ Name, Arguments string }
	}
	read := func(data []byte) {
		var c struct {
			Output struct {
				Text    *string
				Finish  string `json:"finish_reason"`
				Choices []struct {
					Finish  string `json:"finish_reason"`
					Index   int
					Message struct {
						Role, Content string
						Reasoning     string `json:"reasoning_content"`
						Calls         []call `json:"tool_calls"`
					}
				}
			}
			Usage     map[string]any
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if c.RequestID != "req_01TEST" || a.finish != "" || c.Usage == nil {
			t.Fatalf("request %q, behind the end %q: %s", c.RequestID, a.finish, data)
		}
		if repeats {
			a.text, a.reasoning, a.calls = "", "", nil
		}
		if c.Output.Text != nil {
			a.text += *c.Output.Text
			a.finish = c.Output.Finish
		} else if len(c.Output.Choices) == 1 {
			x := &c.Output.Choices[0]
			a.text += x.Message.Content
			a.reasoning += x.Message.Reasoning
			a.finish = x.Finish
			for _, p := range x.Message.Calls {
				for len(a.calls) <= p.Index {
					a.calls = append(a.calls, toolCall{})
				}
				y := &a.calls[p.Index]
				if y.Name != "" && (p.ID != "" || p.Function.Name != "") || p.Type != "function" {
					t.Fatalf("a later piece of a call has an id or a name: %s", data)
				}
				y.ID, y.Name, y.Arguments = y.ID+p.ID, y.Name+p.Function.Name, y.Arguments+p.Function.Arguments
			}
		} else {
			t.Fatalf("no output: %s", data)
		}
		if a.finish == "null" {
			a.finish = ""
		}
		a.usage = c.Usage
	}
	if !streamed {
		read(out)
		a.ended = a.finish != ""
		return a
	}
	for n := 1; len(out) > 0; n++ {
		size := sse.Next(out)
		if size == 0 {
			t.Fatalf("the output ends amid an event: %q", out)
		}
		head, data, ok := strings.Cut(string(out[:size]), "\ndata:")
		if want := fmt.Sprintf("id:%d\nevent:result\n:HTTP_STATUS/200", n); !ok || head != want || !strings.HasSuffix(data, "}\n\n") || data[0] != '{' {
			t.Fatalf("event %q, want it to begin with %q", out[:size], want)
		}
		read([]byte(data))
		out = out[size:]
	}
	a.ended = a.finish != ""
	return a
}

// incremental_output false, which is the default, means that each event repeats what was
// said: the last one alone says everything. result_format text leaves but the text.
func TestDashScopeContracts(t *testing.T) {
	for _, from := range customers(chat.DashScope) {
		if formats[from].request == nil {
			continue
		}
		for _, body := range seedFiles(t, "testdata/*."+short[from]+".sse") {
			each := func(c chat.Config) (string, *Stream) {
				c.ID, c.Model = []byte("01TEST"), "shown"
				s := new(Stream)
				s.Begin(from, chat.DashScope, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &c)
				var out []byte
				for rest := body; len(rest) > 0; {
					n := sse.Next(rest)
					if n == 0 {
						n = len(rest)
					}
					var k protocol.Kind
					out, k = s.Event(out, rest[:n])
					if rest = rest[n:]; k == protocol.ErrorEvent || k == protocol.Terminator {
						break
					}
				}
				if s.Terminated() {
					out = s.End(out)
				}
				return string(out), s
			}
			grown, s := each(chat.Config{})
			if !s.Terminated() {
				continue // errors are another test's
			}
			want := readDashScopeAs(t, []byte(grown), true, false)
			repeated, _ := each(chat.Config{Cumulative: true})
			got := readDashScopeAs(t, []byte(repeated), true, true)
			if got.text != want.text || got.reasoning != want.reasoning || fmt.Sprint(got.calls) != fmt.Sprint(want.calls) || got.finish != want.finish || fmt.Sprint(got.usage) != fmt.Sprint(want.usage) {
				t.Errorf("%s: repeated %+v\nincrements %+v", body, got, want)
			}
			before := ""
			for _, ev := range strings.Split(repeated, "\n\n") {
				if _, data, ok := strings.Cut(ev, "\ndata:"); ok {
					a := readDashScopeAs(t, []byte(data), false, true)
					if !strings.HasPrefix(a.text, before) {
						t.Errorf("%q does not go on with %q", a.text, before)
					}
					before = a.text
				}
			}
			plain, _ := each(chat.Config{Plain: true})
			if a := readDashScopeAs(t, []byte(plain), true, false); a.text != want.text || a.reasoning != "" || a.calls != nil || strings.Contains(plain, "choices") {
				t.Errorf("as a text %+v, want %+v", a, want)
			}
		}
	}
}

// The defaults of the two members, as DashScope documents them.
func TestDashScopeDefaults(t *testing.T) {
	for parameters, want := range map[string][2]bool{ // plain, cumulative
		``: {true, true}, `"result_format":"message"`: {false, true}, `"incremental_output":true`: {true, false},
		`"incremental_output":false,"enable_thinking":true`: {false, true}, `"enable_thinking":true`: {false, false},
		`"result_format":"text","enable_thinking":true`: {false, false}, `"enable_thinking":false`: {true, true},
		`"tools":[` + fnTool + `]`: {false, true}, `"tools":[` + fnTool + `],"incremental_output":true`: {false, false},
	} {
		var r chat.Request
		if err := Request(chat.DashScope, overlay(t, bases[chat.DashScope], qwenParameters(parameters)), &r); err != nil {
			t.Fatal(err)
		}
		if r.Plain != want[0] || r.Cumulative != want[1] {
			t.Errorf("%s: plain %v, cumulative %v", parameters, r.Plain, r.Cumulative)
		}
	}
}

// An upstream that repeats what was said is read as one that does not; where it takes
// back what was said, nothing is made up.
func TestDashScopeRepeats(t *testing.T) {
	events := func(texts ...string) (b []byte) {
		for i, s := range texts {
			finish := "null"
			if i == len(texts)-1 {
				finish = "stop"
			}
			b = append(b, fmt.Sprintf("id:%d\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"finish_reason\":%q,\"message\":{\"role\":\"assistant\",\"content\":%q,\"reasoning_content\":%q,\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%q}}]}}]},\"usage\":{\"input_tokens\":1,\"output_tokens\":%d,\"total_tokens\":%d}}\n\n", i+1, finish, s, s, s, i+1, i+2)...)
		}
		return b
	}
	for _, c := range []struct {
		body []byte
		want string
	}{
		{events("1", "1", "1\n1", "1\n11", "1\n11"), "1\n11"},
		{events("ab", "abc", "ax", "abcd"), "abcd"},
	} {
		s := new(Stream)
		s.Begin(chat.DashScope, chat.OpenAI, &protocol.StreamConfig{ClientModel: "shown", Repeats: true}, &chat.Config{ID: []byte("01TEST"), Model: "shown"})
		var out []byte
		for rest := c.body; len(rest) > 0; {
			n := sse.Next(rest)
			out, _ = s.Event(out, rest[:n])
			rest = rest[n:]
		}
		a := readChat(t, s.End(out), true)
		if a.text != c.want || a.reasoning != c.want || len(a.calls) != 1 || a.calls[0] != (toolCall{"c", "f", c.want}) {
			t.Errorf("%+v, want %q", a, c.want)
		}
	}
}
