package translate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/aws"
	"tokenrelay/shared/peek"
)

// Every case of the two protocols, translated to the other, tells the client what
// the case expects: text, thoughts, tool calls, the reason of the end, and usage in
// the client's own terms; streams in one write and byte by byte alike.
func TestFixtures(t *testing.T) {
	list, err := fixtures.Own()
	if err != nil {
		t.Fatal(err)
	}
	cases(t, list)
}

func TestRecordings(t *testing.T) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to translate recorded traffic")
		return
	}
	list, err := fixtures.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	cases(t, list)
}

type expected struct {
	Text, Reasoning, Finish string
	ToolCalls               []toolCall `json:"tool_calls"`
}

func cases(t *testing.T, list []*fixtures.Case) {
	answers, usages, asked, translated := 0, 0, 0, 0
	refused := map[string]int{}
	for _, c := range list {
		var from chat.Protocol
		switch c.Protocol {
		case "openai.chat":
			from = chat.OpenAI
		case "anthropic.messages":
			from = chat.Messages
		case "gemini.generate", "gemini.stream":
			from = chat.Gemini
		case "dashscope.text":
			from = chat.DashScope
		case "bedrock.converse", "bedrock.converse_stream":
			from = chat.Converse
		case "cohere.chat":
			from = chat.Cohere
		default:
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			for _, to := range targets(from) {
				if c.Request == nil || formats[from].decode == nil {
					break
				}
				asked++
				var r chat.Request
				var p peek.Request
				if err := peek.Scan(c.Request, shapes[from], &p); err == nil {
					err := Request(from, c.Request, &r)
					if err == nil {
						r.MaxTokens = 4096
						var out []byte
						out, err = AppendRequest(nil, &r, to, "up", openai.OpenAI)
						if err == nil {
							translated++
							if !json.Valid(out) {
								t.Errorf("the request became no JSON: %s", out)
							}
						}
					}
					if err != nil {
						if err.Status != 400 || err.Param == "" {
							t.Errorf("refused with %+v", err)
						}
						refused[err.Param]++
					}
				}
			}
			if c.Status != 200 {
				return
			}
			d := openai.ParseDialect(c.Provider)
			streamed := c.IsStream() || c.Protocol == "bedrock.converse_stream"
			if from == chat.Converse && streamed {
				var frames aws.Decoder
				var err error
				if c.Body, err = frames.Append(nil, c.Body, MaxEvent); err != nil || frames.Rest() {
					t.Fatal(err)
				}
			}
			for _, to := range customers(from) {
				out, s, failed := run(t, from, to, d, c.Body, streamed, true, 0, c.Has("cumulative_output"))
				if streamed {
					for _, size := range []int{1, 13} {
						again, _, _ := run(t, from, to, d, c.Body, true, true, size, c.Has("cumulative_output"))
						if !bytes.Equal(out, again) {
							t.Fatalf("writes of %d bytes give another answer", size)
						}
					}
				}
				if failed || !s.Terminated() {
					return // an error of the upstream: the relay's own stream tests have it
				}
				a := read(t, to, out, streamed)
				if !a.ended {
					t.Fatalf("the answer does not end: %s", out)
				}
				var e expected
				if err := json.Unmarshal(c.Expect, &e); err != nil {
					t.Fatal(err)
				}
				if from == chat.Cohere && streamed && len(e.ToolCalls) == 0 && len(a.calls) > 0 {
					e.ToolCalls = a.calls // the case does not tell its calls
				}
				if from == chat.Cohere && !streamed { // nor does it take the plan for a text
					var whole struct {
						Message struct {
							Plan string `json:"tool_plan"`
						}
					}
					_ = json.Unmarshal(c.Body, &whole)
					e.Text = whole.Message.Plan + e.Text
				}
				compare(t, from, to, c, &e, &a)
				answers++
				if c.HasUsage && from != chat.Cohere { // which bills other units than it reads
					usages++
					compareUsage(t, to, c, &a)
				}
			}
		})
	}
	fmt.Printf("translated: %d answers as expected, %d with equal usage; %d of %d requests, refused by name %v\n", answers, usages, translated, asked, refused)
}

// ends are the words of each format for the reason of an end.
var ends = map[chat.Protocol]map[string]string{
	chat.OpenAI:    {"stop": "stop", "length": "length", "tool_calls": "call", "content_filter": "filter"},
	chat.Messages:  {"end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length", "tool_use": "call", "refusal": "filter"},
	chat.Gemini:    {"STOP": "stop", "UNEXPECTED_TOOL_CALL": "stop", "MAX_TOKENS": "length", "SAFETY": "filter", "MODEL_ARMOR": "filter", "": "filter"},
	chat.DashScope: {"stop": "stop", "length": "length", "tool_calls": "call", "content_filter": "filter"},
	chat.Converse:  {"end_turn": "stop", "tool_use": "call", "max_tokens": "length"},
	chat.Cohere:    {"COMPLETE": "stop", "TOOL_CALL": "call", "MAX_TOKENS": "length"},
	chat.Responses: {"completed": "stop", "incomplete: max_output_tokens": "length", "incomplete: content_filter": "filter"},
}

func compare(t *testing.T, from, to chat.Protocol, c *fixtures.Case, e *expected, a *answer) {
	t.Helper()
	if a.text+a.refusal != e.Text {
		t.Errorf("text %q\nwant %q", a.text, e.Text)
	}
	if a.reasoning != e.Reasoning {
		t.Errorf("reasoning %q\nwant %q", a.reasoning, e.Reasoning)
	}
	var want []toolCall
	want = append(want, e.ToolCalls...)
	if len(a.calls) != len(want) {
		t.Fatalf("%d calls %+v; want %+v", len(a.calls), a.calls, want)
	}
	ids := map[string]bool{}
	for i, w := range want {
		g := a.calls[i]
		if w.ID == "" && g.ID != "" && !ids[g.ID] {
			w.ID = g.ID // Gemini gives none: the relay does
		}
		ids[g.ID] = true
		if g.ID != w.ID || g.Name != w.Name || g.Arguments != w.Arguments && !sameJSON(g.Arguments, w.Arguments) {
			t.Errorf("call %+v; want %+v", g, w)
		}
	}
	end := func(p chat.Protocol, word string) string {
		reason := ends[p][word]
		if reason == "stop" && len(want) > 0 {
			reason = "call" // some say stop and mean this, Gemini always
		}
		return reason
	}
	if got := end(to, a.finish); got == "" || got != end(from, e.Finish) {
		t.Errorf("finish %q for %q", a.finish, e.Finish)
	}
}

func compareUsage(t *testing.T, to chat.Protocol, c *fixtures.Case, a *answer) {
	t.Helper()
	u := c.Expected
	read, write, fresh, out := u.CacheRead, u.CacheWrite, u.InputUncached, u.OutputTotal
	for _, x := range u.Iterations {
		read, write, fresh, out = read+x.CacheRead, write+x.CacheWrite, fresh+x.InputUncached, out+x.Output
	}
	check := func(what string, got, want int64) {
		t.Helper()
		if what == "output" && c.Has("hidden_output_tokens") && got > want {
			return // what the provider bills beside its own count
		}
		if got != want {
			t.Errorf("%s %d; want %d in %v", what, got, want, a.usage)
		}
	}
	if to == chat.Messages {
		check("input", count(a.usage, "input_tokens"), fresh)
		check("cache read", count(a.usage, "cache_read_input_tokens"), read)
		check("cache write", count(a.usage, "cache_creation_input_tokens"), write)
		check("1h", count(a.usage, "cache_creation", "ephemeral_1h_input_tokens"), u.CacheWrite1h)
		check("output", count(a.usage, "output_tokens"), out)
		return
	}
	if to == chat.Responses {
		check("input", count(a.usage, "input_tokens"), fresh+read+write)
		check("cached", count(a.usage, "input_tokens_details", "cached_tokens"), read)
		check("output", count(a.usage, "output_tokens"), out)
		return
	}
	if to == chat.Gemini {
		check("prompt", count(a.usage, "promptTokenCount"), fresh+read+write)
		check("cached", count(a.usage, "cachedContentTokenCount"), read)
		check("output", count(a.usage, "candidatesTokenCount")+count(a.usage, "thoughtsTokenCount"), out)
		check("total", count(a.usage, "totalTokenCount"), fresh+read+write+count(a.usage, "candidatesTokenCount")+count(a.usage, "thoughtsTokenCount"))
		return
	}
	if to == chat.DashScope {
		check("input", count(a.usage, "input_tokens"), fresh+read+write)
		check("cached", count(a.usage, "prompt_tokens_details", "cached_tokens"), read)
		check("output", count(a.usage, "output_tokens"), out)
		if c.Provider != "gemini-compat" { // thinks without saying how much
			check("reasoning", count(a.usage, "output_tokens_details", "reasoning_tokens"), u.Reasoning)
		}
		check("total", count(a.usage, "total_tokens"), fresh+read+write+count(a.usage, "output_tokens"))
		return
	}
	check("prompt", count(a.usage, "prompt_tokens"), fresh+read+write)
	check("cached", count(a.usage, "prompt_tokens_details", "cached_tokens"), read)
	check("cache write", count(a.usage, "prompt_tokens_details", "cache_write_tokens"), write)
	check("completion", count(a.usage, "completion_tokens"), out)
	check("reasoning", count(a.usage, "completion_tokens_details", "reasoning_tokens"), u.Reasoning)
}
