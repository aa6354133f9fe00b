package openai

import (
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/usage"
)

// What each provider of the OpenAI form does in its own way (protocols 1 and 8): how it
// is asked, and where it says what. A dialect without a row here is a test that fails.
var dialectTable = []struct {
	d      Dialect
	names  []string // of the catalogue
	model  string
	asked  []string // in a request of the common form that thinks, has a seed and a cap, and streams
	not    []string
	stream []string // events of an answer, in the provider's own form
	input  int64    // units read of it
	cached int64
	output int64
	said   string // text, thoughts and the reason, as another format's client gets them
}{
	{
		OpenAI,
		[]string{"openai"},
		"gpt-5.2",
		[]string{`"max_completion_tokens":900`, `"seed":7`, `"reasoning_effort":"low"`, `"include_usage":true`},
		[]string{`"max_tokens"`, "thinking"},
		[]string{`{"choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":null}`, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}`, "[DONE]"},
		7, 2, 4, "hi||length",
	},
	{
		Azure,
		[]string{"azure"},
		"gpt-5.2",
		[]string{`"max_completion_tokens":900`, `"include_usage":true`},
		[]string{`"max_tokens"`},
		[]string{`{"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"},"content_filter_results":{"hate":{"filtered":false}}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}`, `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":161}}}`, "[DONE]"},
		0, 10, 4, "hi||filter", // more is cached than was sent: none of it is billed twice, or below nothing
	},
	{
		DeepSeek,
		[]string{"deepseek"},
		"deepseek-chat",
		[]string{`"max_tokens":900`, `"thinking":{"type":"enabled"}`},
		[]string{"include_usage", "reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm","content":null}}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_cache_hit_tokens":3,"prompt_cache_miss_tokens":6}}`, "[DONE]"},
		6, 3, 4, "hi|hm|stop",
	},
	{
		Mistral,
		[]string{"mistral"},
		"magistral-medium",
		[]string{`"max_tokens":900`, `"random_seed":7`},
		[]string{`"seed":`, "include_usage"},
		[]string{`{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}],"p":"ab"}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"model_length"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"num_cached_tokens":2}}`, "[DONE]"},
		7, 2, 4, "hi|hm|length",
	},
	{
		Qwen,
		[]string{"qwen", "qwen-compat", "dashscope"},
		"qwen3-max",
		[]string{`"max_tokens":900`, `"enable_thinking":true`, `"include_usage":true`},
		[]string{"reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}],"usage":null}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}`, "[DONE]"},
		7, 2, 4, "hi|hm|stop",
	},
	{
		Moonshot,
		[]string{"moonshot", "kimi"},
		"kimi-k2-thinking",
		[]string{`"max_tokens":900`},
		[]string{"reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":9,"completion_tokens":4,"cached_tokens":2}}]}`, "[DONE]"},
		7, 2, 4, "hi|hm|stop",
	},
	{
		Zai,
		[]string{"zai", "zai-glm", "glm", "zhipu"},
		"glm-4.6",
		[]string{`"max_tokens":900`, `"thinking":{"type":"enabled"}`},
		[]string{"reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"hm"}}]}`, `{"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"sensitive"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}`, "[DONE]"},
		7, 2, 4, "hi|hm|filter",
	},
	{
		XAI,
		[]string{"xai"},
		"grok-3-mini",
		[]string{`"max_completion_tokens":900`, `"reasoning_effort":"low"`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":303,"prompt_tokens_details":{"cached_tokens":11},"completion_tokens_details":{"reasoning_tokens":290}}}`, "[DONE]"},
		1, 11, 291, "hi||stop", // thoughts stand beside the output
	},
	{
		Groq,
		[]string{"groq"},
		"openai/gpt-oss-120b",
		[]string{`"max_completion_tokens":900`, `"reasoning_effort":"low"`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"reasoning":"hm"}}],"x_groq":{"id":"r"}}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":9,"completion_tokens":4}}}`, "[DONE]"},
		9, 0, 4, "hi|hm|stop",
	},
	{
		OpenRouter,
		[]string{"openrouter"},
		"any/model",
		[]string{`"max_tokens":900`, `"reasoning_effort":"low"`},
		nil,
		[]string{`{"provider":"X","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm"}}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop","native_finish_reason":"end_turn"}]}`, `{"choices":[{"index":0,"delta":{"content":""}}],"usage":{"prompt_tokens":2572,"completion_tokens":4,"cost":0.001,"prompt_tokens_details":{"cached_tokens":2240,"cache_write_tokens":329}}}`, "[DONE]"},
		3, 2240, 4, "hi|hm|stop",
	},
	{
		GeminiCompat,
		[]string{"gemini", "gemini-compat"},
		"gemini-2.5-flash",
		[]string{`"max_tokens":900`, `"reasoning_effort":"low"`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":33}}`, "[DONE]"},
		9, 0, 24, "hi||stop", // thoughts stand in the total only
	},
	{
		Perplexity,
		[]string{"perplexity"},
		"sonar",
		[]string{`"max_tokens":900`},
		[]string{"include_usage", "reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":1}}`, `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}`},
		9, 0, 4, "hi||stop",
	},
	{
		Ollama,
		[]string{"ollama"},
		"qwen3",
		[]string{`"max_tokens":900`, `"include_usage":true`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm"}}]}`, `{"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`, "[DONE]"},
		9, 0, 4, "hi|hm|stop",
	},
	{
		VLLM,
		[]string{"vllm"},
		"any",
		[]string{`"max_tokens":900`, `"include_usage":true`, `"seed":7`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"},"stop_reason":null}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"},"stop_reason":null}]}`, `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]}`, `{"choices":[],"usage":{"prompt_tokens":9,"total_tokens":13,"completion_tokens":4}}`, "[DONE]"},
		9, 0, 4, "hi|hm|stop",
	},
	{
		HuggingFace,
		[]string{"huggingface", "hf"},
		"any",
		[]string{`"max_tokens":900`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"role":"assistant","content":"hi","token_id":5}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}`, "[DONE]"},
		9, 0, 4, "hi||stop",
	},
	{
		Cerebras,
		[]string{"cerebras"},
		"any",
		[]string{`"max_completion_tokens":900`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}`, `{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4},"time_info":{"total_time":1}}`, "[DONE]"},
		9, 0, 4, "hi|hm|stop",
	},
	{
		GPUStack,
		[]string{"gpustack"},
		"any",
		[]string{`"max_tokens":900`, `"include_usage":true`},
		nil,
		[]string{`{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}`},
		9, 0, 4, "hi||stop",
	},
	{
		Custom,
		[]string{"", "custom", "a-provider-that-nobody-knows"},
		"any",
		[]string{`"max_tokens":900`, `"include_usage":true`},
		[]string{"reasoning_effort"},
		[]string{`{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}`},
		9, 0, 4, "hi||stop",
	},
}

func TestEveryDialect(t *testing.T) {
	reasons := map[chat.Reason]string{chat.Stop: "stop", chat.Length: "length", chat.Filtered: "filter", chat.ToolCalls: "call"}
	seen := map[Dialect]bool{}
	for _, row := range dialectTable {
		seen[row.d] = true
		t.Run(row.d.String(), func(t *testing.T) {
			for _, n := range row.names {
				if got := ParseDialect(n); got != row.d {
					t.Errorf("%q is %v", n, got)
				}
			}
			var r chat.Request
			if err := DecodeRequest([]byte(`{"model":"m","stream":true,"seed":7,"reasoning_effort":"low","messages":[{"role":"user","content":"a"}]}`), &r); err != nil {
				t.Fatal(err)
			}
			r.MaxTokens = 900
			body, err := AppendForm(nil, &r, row.model, row.d)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range row.asked {
				if !strings.Contains(string(body), w) {
					t.Errorf("no %s in %s", w, body)
				}
			}
			for _, w := range row.not {
				if strings.Contains(string(body), w) {
					t.Errorf("%s in %s", w, body)
				}
			}
			s := newStream(protocol.StreamConfig{ClientModel: "shown", UpstreamModel: row.model, Dialect: uint8(row.d)})
			var d AnswerDecoder
			d.Reset()
			text, thought, reason := "", "", ""
			for _, data := range row.stream {
				_, k := s.Event(nil, []byte("data: "+data+"\n\n"))
				if k == protocol.ErrorEvent {
					t.Fatalf("%s is an error", data)
				}
				if data == "[DONE]" {
					continue
				}
				for _, e := range d.Event(nil, []byte(data)) {
					switch e.Kind {
					case chat.Text:
						text += string(e.Text)
					case chat.Thinking:
						thought += string(e.Text)
					case chat.Finish:
						reason = reasons[e.Reason]
					}
				}
			}
			u, source := s.Usage()
			if source != usage.SourceReported || u[usage.Input] != row.input || u[usage.CacheRead] != row.cached || u[usage.Output] != row.output || !s.Terminated() {
				t.Errorf("units %v (%s), ended %v; want %d, %d cached, %d", u, source, s.Terminated(), row.input, row.cached, row.output)
			}
			if got := text + "|" + thought + "|" + reason; got != row.said {
				t.Errorf("said %q; want %q", got, row.said)
			}
		})
	}
	for d := range numDialects {
		if !seen[d] {
			t.Errorf("%v has no row", d)
		}
	}
}
