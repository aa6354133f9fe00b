package translate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/peek"
)

const (
	inputPart = `{"input":[{"role":"user","content":[{"type":"input_text","text":"a"},`
	inputItem = `{"input":[{"role":"user","content":"a"},`
	askTool   = `{"type":"function","name":"f","parameters":{"type":"object"}}`
)

var responsesSamples = map[string]string{
	"model": `{}`, "input": `{}`, "instructions": `{"instructions":"be brief"}`,
	"input[].role":                              `{"input":[{"role":"developer","content":"first"},{"role":"user","content":"a"}]}`,
	"input[].content":                           `{"input":[{"type":"message","role":"user","content":"a"}]}`,
	"input[].content[].type=input_text":         inputPart + `{"type":"output_text","text":"b"}]}]}`,
	"input[].content[].type=refusal":            inputItem + `{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},{"role":"user","content":"b"}]}`,
	"input[].content[].type=input_image":        inputPart + `{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}]}`,
	"input[].content[].detail":                  inputPart + `{"type":"input_image","image_url":"https://e.org/a.png","detail":"high"}]}]}`,
	"input[].content[].type=input_file":         inputPart + `{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA"}]}]}`,
	"input[].content[].file_url":                inputPart + `{"type":"input_file","file_url":"https://e.org/a.pdf"}]}]}`,
	"input[].content[].type":                    inputPart + `{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`,
	"input[].content[].prompt_cache_breakpoint": inputPart + `{"type":"input_text","text":"b","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`,
	"input[].id":                                inputItem + `{"id":"msg_1","type":"message","role":"assistant","content":"b"},{"role":"user","content":"c"}]}`,
	"input[].status":                            inputItem + `{"status":"completed","type":"message","role":"assistant","content":"b"},{"role":"user","content":"c"}]}`,
	"input[].phase":                             inputItem + `{"role":"assistant","phase":"final","content":"b"},{"role":"user","content":"c"}]}`,
	"input[].type=function_call":                inputItem + `{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"c","output":"r"}]}`,
	"input[].type=function_call_output":         inputItem + `{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]}]}`,
	"input[].output[].type=input_image":         inputItem + `{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}]}`,
	"input[].output[].type=input_file":          inputItem + `{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_data":"data:application/pdf;base64,AAAA"}]}]}`,
	"input[].type=reasoning":                    inputItem + `{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"anthropic-claude-v1:signature:SIG"},{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":"r"}]}`,
	"input[].type=web_search_call":              inputItem + `{"type":"web_search_call","id":"ws_1","status":"completed"},{"role":"user","content":"b"}]}`,
	"input[].type=custom_tool_call":             inputItem + `{"type":"custom_tool_call","call_id":"c","name":"f","input":"x"}]}`,
	"input[].type":                              inputItem + `{"type":"local_shell_call","call_id":"c"}]}`,
	"background":                                `{"background":false}`, "context_management": `{"context_management":[{"type":"compaction"}]}`, "conversation": `{"conversation":"conv_1"}`,
	"include": `{"include":["reasoning.encrypted_content"]}`, "max_output_tokens": `{"max_output_tokens":9}`, "max_tool_calls": `{"max_tool_calls":2}`,
	"metadata": `{"metadata":{"a":"b"}}`, "moderation": `{"moderation":{"a":1}}`, "parallel_tool_calls": `{"parallel_tool_calls":false,"tools":[` + askTool + `]}`,
	"previous_response_id": `{"previous_response_id":"resp_1"}`, "prompt": `{"prompt":{"id":"p"}}`, "prompt_cache_key": `{"prompt_cache_key":"k"}`,
	"prompt_cache_options": `{"prompt_cache_options":{}}`, "prompt_cache_retention": `{"prompt_cache_retention":"24h"}`,
	"reasoning": `{"reasoning":{"effort":"low","summary":"auto"}}`, "safety_identifier": `{"safety_identifier":"u"}`, "service_tier": `{"service_tier":"auto"}`,
	"store": `{"store":true}`, "stream": `{"stream":true}`, "stream_options": `{"stream_options":{"include_obfuscation":false}}`, "temperature": `{"temperature":0.5}`,
	"text": `{"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true}}}`, "text.verbosity": `{"text":{"verbosity":"low"}}`,
	"tool_choice": `{"tool_choice":"required","tools":[` + askTool + `]}`, "tools": `{"tools":[` + askTool + `]}`, "tools[].type": `{"tools":[{"type":"web_search"}]}`,
	"tools[].strict":        `{"tools":[{"type":"function","name":"f","strict":true}]}`,
	"tools[].defer_loading": `{"tools":[{"type":"function","name":"f","defer_loading":true}]}`,
	"top_logprobs":          `{"top_logprobs":2}`, "top_p": `{"top_p":0.5}`, "truncation": `{"truncation":"auto"}`, "user": `{"user":"u"}`,
}

const responsesBase = `{"model":"m","input":"hi"}`

// upstreams are who requests for responses are translated for.
var upstreams = []struct {
	to      chat.Protocol
	model   string
	dialect openai.Dialect
}{{chat.OpenAI, "gpt-5.2", openai.OpenAI}, {chat.OpenAI, "deepseek-chat", openai.DeepSeek}, {chat.Messages, "claude-sonnet-4-5", 0}, {chat.Gemini, "gemini-2.5-flash", 0}, {chat.DashScope, "qwen-plus", 0}, {chat.Converse, "anthropic.claude-sonnet-4-5", 0}, {chat.Cohere, "command-a", 0}}

func responded(body []byte, n int) (out []byte, dropped []string, param string) {
	var r chat.Request
	err := Request(chat.Responses, body, &r)
	if err == nil {
		r.MaxTokens = 9000
		out, err = AppendRequest(nil, &r, upstreams[n].to, upstreams[n].model, upstreams[n].dialect)
	}
	if err != nil {
		return nil, nil, err.Param
	}
	return out, r.Dropped(), ""
}

// Every row of the table is what really happens, whoever is asked.
func TestResponsesFates(t *testing.T) {
	seen := 0
	for i := range chat.Table {
		row := &chat.Table[i]
		if row.From != chat.Responses {
			continue
		}
		seen++
		sample, ok := responsesSamples[row.Path]
		if !ok {
			t.Errorf("%s: no sample", row.Path)
			continue
		}
		for n, up := range upstreams {
			sample := sample
			if up.to == chat.Converse { // it fetches nothing
				sample = strings.ReplaceAll(sample, "https://e.org/a.png", "data:image/png;base64,AAAA")
			}
			out, dropped, param := responded(overlay(t, responsesBase, sample), n)
			named := slices.Contains(dropped, row.Path)
			switch fate := chat.Find(chat.Responses, up.to, row.Path).Fate; {
			case fate == chat.Refused:
				want := row.Path
				if strings.HasSuffix(want, "[].type") && want != "tools[].type" {
					want = "type"
				}
				if param == "" || !strings.Contains(param, want) {
					t.Errorf("%s for %s: refused %q; passed %s", row.Path, up.model, param, out)
				}
			case fate == chat.Dropped && up.to == chat.DashScope && strings.HasSuffix(row.Path, ".detail") && strings.Contains(param, "image"): // its image is refused
			case fate == chat.Dropped:
				if param != "" || !named {
					t.Errorf("%s for %s: refused %q, dropped %v", row.Path, up.model, param, dropped)
				}
			case strings.HasPrefix(row.Path, "input[].output[]") && up.to != chat.Messages && up.to != chat.Converse, row.Path == "input[].type=reasoning" && (up.dialect == openai.OpenAI || up.to == chat.Gemini):
				if param != "" || !named {
					t.Errorf("%s for %s: refused %q, dropped %v", row.Path, up.model, param, dropped)
				}
			default:
				if param != "" || len(dropped) > 0 {
					t.Errorf("%s for %s: refused %q, dropped %v", row.Path, up.model, param, dropped)
				}
			}
			if param == "" && !json.Valid(out) {
				t.Errorf("%s: no JSON: %s", row.Path, out)
			}
		}
	}
	if seen != len(responsesSamples) {
		t.Errorf("%d rows, %d samples", seen, len(responsesSamples))
	}
}

// Whatever top-level members a request has, known or not: each is mapped, named as
// dropped, or the request is refused by the name of one of them.
func TestResponsesNoSilentDrops(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var paths []string
	for p := range responsesSamples {
		if !strings.ContainsAny(p, "[.") {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for range 3000 {
		var over []string
		for range rnd.IntN(4) + 1 {
			over = append(over, responsesSamples[paths[rnd.IntN(len(paths))]])
		}
		over = append(over, `{"`+[]string{"zz", "stop", "seed", "ключ", strings.Repeat("k", 80)}[rnd.IntN(5)]+`":1}`)
		body := overlay(t, responsesBase, over...)
		n := rnd.IntN(len(upstreams))
		out, dropped, param := responded(body, n)
		var m map[string]json.RawMessage
		if json.Unmarshal(body, &m) != nil {
			t.Fatal("no JSON")
		}
		if param != "" {
			if _, ok := m[strings.FieldsFunc(param, func(r rune) bool { return r == '.' || r == '[' })[0]]; !ok {
				t.Fatalf("refused by %q, which the request does not have: %s", param, body)
			}
			continue
		}
		if !json.Valid(out) {
			t.Fatalf("no JSON: %s", out)
		}
		for key := range m {
			row := chat.Find(chat.Responses, upstreams[n].to, key)
			if row != nil && (row.Fate == chat.Mapped || row.Fate == chat.Emulated) || slices.Contains(dropped, key) || row == nil && slices.Contains(dropped, "?") {
				continue
			}
			t.Fatalf("%s is lost: dropped %v of %s", key, dropped, body)
		}
	}
}

// outputItem is an item of a response.
type outputItem struct {
	ID, Type, Status, Name, Arguments string
	CallID                            string `json:"call_id"`
	Content                           []struct {
		Type, Text, Refusal string
		Annotations         []map[string]any
	}
	Summary   []struct{ Type, Text string }
	Encrypted string `json:"encrypted_content"`
}

type response struct {
	ID, Object, Status, Model string
	Output                    []outputItem
	Incomplete                *struct{ Reason string } `json:"incomplete_details"`
	Usage                     map[string]any
	Tools                     json.RawMessage
	Choice                    json.RawMessage `json:"tool_choice"`
}

// fold makes an answer of the items.
func (r *response) fold(t testing.TB) (a answer) {
	t.Helper()
	if r.Model != "shown" || r.ID != "resp_01TEST" || r.Object != "response" || r.Tools == nil || r.Choice == nil {
		t.Fatalf("%+v", r)
	}
	ids := map[string]bool{}
	for _, o := range r.Output {
		if ids[o.ID] || o.ID == "" {
			t.Fatalf("the id %q twice", o.ID)
		}
		ids[o.ID] = true
		switch o.Type {
		case "message":
			for _, c := range o.Content {
				a.text += c.Text
				a.refusal += c.Refusal
				a.notes += len(c.Annotations)
				for _, n := range c.Annotations {
					if from, to := int(n["start_index"].(float64)), int(n["end_index"].(float64)); from > to || to > utf8.RuneCountInString(c.Text) {
						t.Errorf("a citation of %d to %d in %q", from, to, c.Text)
					}
				}
			}
		case "reasoning":
			for _, s := range o.Summary {
				a.reasoning += s.Text
			}
			if o.Encrypted != "" {
				a.signatures = append(a.signatures, o.Encrypted)
			}
		case "function_call":
			a.calls = append(a.calls, toolCall{o.CallID, o.Name, o.Arguments})
		default:
			t.Fatalf("an item %q", o.Type)
		}
	}
	a.finish, a.usage, a.ended = r.Status, r.Usage, true
	if r.Incomplete != nil {
		a.finish += ": " + r.Incomplete.Reason
	}
	return a
}

// readResponses reads Responses as a client does, and holds the stream's grammar: each
// item and part begins, is told in pieces, and ends as what its pieces made, and the
// last event has all of them.
func readResponses(t testing.TB, out []byte, streamed bool) answer {
	t.Helper()
	var r response
	if !streamed {
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r.fold(t)
	}
	type state struct {
		item         outputItem
		text         string // of the open part, or of arguments
		part         int    // index of the open part, -1 = none
		parts        int
		told, closed bool
	}
	var items []*state
	names, datas := events(t, out)
	ended := false
	for i, data := range datas {
		var e struct {
			Type     string
			Seq      *int            `json:"sequence_number"`
			Out      *int            `json:"output_index"`
			ID       string          `json:"item_id"`
			Content  *int            `json:"content_index"`
			Summary  *int            `json:"summary_index"`
			Delta    *string         `json:"delta"`
			Text     *string         `json:"text"`
			Refusal  *string         `json:"refusal"`
			Args     *string         `json:"arguments"`
			Item     json.RawMessage `json:"item"`
			Part     struct{ Type, Text, Refusal string }
			Note     map[string]any `json:"annotation"`
			Response *response
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if e.Type != names[i] || ended {
			t.Fatalf("event %d, %q, holds %q (ended: %v)", i, names[i], e.Type, ended)
		}
		if e.Type == "error" {
			return answer{}
		}
		if e.Seq == nil || *e.Seq != i {
			t.Fatalf("event %d has no or another number: %s", i, data)
		}
		switch {
		case i < 2:
			if e.Type != []string{"response.created", "response.in_progress"}[i] || e.Response.Status != "in_progress" || len(e.Response.Output) > 0 || e.Response.Usage != nil {
				t.Fatalf("event %d: %s", i, data)
			}
			continue
		case e.Response != nil:
			r, ended = *e.Response, true
			if e.Type != "response."+r.Status {
				t.Fatalf("%s holds a response that is %s", e.Type, r.Status)
			}
			continue
		case e.Type == "response.output_item.added":
			s := &state{part: -1}
			if json.Unmarshal(e.Item, &s.item) != nil || *e.Out != len(items) || len(s.item.Content)+len(s.item.Summary) > 0 || s.item.Arguments != "" {
				t.Fatalf("item %d begins: %s", len(items), data)
			}
			items = append(items, s)
			continue
		}
		if e.Out == nil || *e.Out >= len(items) || items[*e.Out].closed {
			t.Fatalf("an event of no open item: %s", data)
		}
		s := items[*e.Out]
		if e.ID != s.item.ID && e.Item == nil {
			t.Fatalf("item %q has the event %s", s.item.ID, data)
		}
		same := func(got *string) {
			t.Helper()
			if got == nil || *got != s.text {
				t.Fatalf("%q was told, %s", s.text, data)
			}
			s.told = true
		}
		index := e.Content
		if s.item.Type == "reasoning" {
			index = e.Summary
		}
		switch strings.TrimPrefix(e.Type, "response.") {
		case "content_part.added", "reasoning_summary_part.added":
			if s.part >= 0 || *index != s.parts || e.Part.Text+e.Part.Refusal != "" {
				t.Fatalf("a part amid a part: %s", data)
			}
			s.part, s.text, s.told = *index, "", false
		case "output_text.delta", "refusal.delta", "reasoning_summary_text.delta":
			if index == nil || *index != s.part || s.told {
				t.Fatalf("a piece of no open part: %s", data)
			}
			s.text += *e.Delta
		case "output_text.annotation.added":
			if index == nil || *index != s.part || e.Note["url"] == nil {
				t.Fatalf("a note of no open part: %s", data)
			}
		case "output_text.done", "reasoning_summary_text.done":
			same(e.Text)
		case "refusal.done":
			same(e.Refusal)
		case "content_part.done", "reasoning_summary_part.done":
			whole := e.Part.Text + e.Part.Refusal
			if same(&whole); *index != s.part {
				t.Fatalf("another part ends: %s", data)
			}
			s.part = -1
			s.parts++
		case "function_call_arguments.delta":
			s.text += *e.Delta
		case "function_call_arguments.done":
			same(e.Args)
		case "output_item.done":
			var whole outputItem
			if json.Unmarshal(e.Item, &whole) != nil || whole.ID != s.item.ID || whole.Type != s.item.Type || s.part >= 0 || whole.Type != "function_call" && len(whole.Content)+len(whole.Summary) != s.parts {
				t.Fatalf("item %d ends: %s", *e.Out, data)
			}
			if whole.Type == "function_call" {
				if same(&whole.Arguments); whole.CallID != s.item.CallID || whole.Name != s.item.Name || whole.CallID == "" {
					t.Fatalf("item %d ends: %s", *e.Out, data)
				}
			}
			s.item, s.closed = whole, true
		default:
			t.Fatalf("an event %s", data)
		}
	}
	if !ended {
		return answer{}
	}
	if len(items) != len(r.Output) {
		t.Fatalf("%d items, the response has %d", len(items), len(r.Output))
	}
	for i, s := range items {
		if fmt.Sprint(s.item) != fmt.Sprint(r.Output[i]) || !s.closed {
			t.Fatalf("item %d was\n%+v\nand is\n%+v", i, s.item, r.Output[i])
		}
	}
	return r.fold(t)
}

// Every case of Chat and Messages tells a Responses client what the case expects.
func TestResponsesFromFixtures(t *testing.T) {
	list, err := fixtures.Own()
	if err != nil {
		t.Fatal(err)
	}
	toResponses(t, list)
}

func TestResponsesFromRecordings(t *testing.T) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to translate recorded traffic")
		return
	}
	list, err := fixtures.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	toResponses(t, list)
}

func toResponses(t *testing.T, list []*fixtures.Case) {
	answers, usages, asked, sent := 0, 0, 0, 0
	refused := map[string]int{}
	finish := map[string]string{
		"stop": "completed", "tool_calls": "completed", "length": "incomplete: max_output_tokens", "content_filter": "incomplete: content_filter",
		"end_turn": "completed", "stop_sequence": "completed", "pause_turn": "completed", "tool_use": "completed", "max_tokens": "incomplete: max_output_tokens", "refusal": "incomplete: content_filter",
	}
	for _, c := range list {
		from, known := map[string]chat.Protocol{"openai.chat": chat.OpenAI, "anthropic.messages": chat.Messages, "openai.responses": chat.Responses}[c.Protocol]
		if !known {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			if from == chat.Responses { // its request, for the others
				var p peek.Request
				if err := peek.Scan(c.Request, peek.OpenAIResponses, &p); err != nil {
					t.Fatal(err)
				}
				for n := range upstreams {
					asked++
					out, _, param := responded(c.Request, n)
					switch {
					case param != "":
						refused[param]++
					case !json.Valid(out):
						t.Errorf("no JSON: %s", out)
					default:
						sent++
					}
				}
				return
			}
			if c.Status != 200 {
				return
			}
			d := openai.ParseDialect(c.Provider)
			out, s, failed := run(t, from, chat.Responses, d, c.Body, c.IsStream(), true, 0)
			if c.IsStream() {
				for _, size := range []int{1, 13} {
					again, _, _ := run(t, from, chat.Responses, d, c.Body, true, true, size)
					if !bytes.Equal(out, again) {
						t.Fatalf("writes of %d bytes give another answer", size)
					}
				}
			}
			if failed || !s.Terminated() {
				return
			}
			a := readResponses(t, out, c.IsStream())
			var e expected
			if err := json.Unmarshal(c.Expect, &e); err != nil {
				t.Fatal(err)
			}
			if a.text+a.refusal != e.Text || a.reasoning != e.Reasoning || len(a.calls) != len(e.ToolCalls) || a.finish != finish[e.Finish] || !a.ended {
				t.Errorf("%+v\nwant %+v", a, e)
			}
			for i := range min(len(a.calls), len(e.ToolCalls)) {
				if g, w := a.calls[i], e.ToolCalls[i]; g.ID != w.ID || g.Name != w.Name || g.Arguments != w.Arguments && !sameJSON(g.Arguments, w.Arguments) {
					t.Errorf("call %+v; want %+v", g, w)
				}
			}
			answers++
			if !c.HasUsage {
				return
			}
			usages++
			u := c.Expected
			read, write, fresh, gave := u.CacheRead, u.CacheWrite, u.InputUncached, u.OutputTotal
			for _, x := range u.Iterations {
				read, write, fresh, gave = read+x.CacheRead, write+x.CacheWrite, fresh+x.InputUncached, gave+x.Output
			}
			got := count(a.usage, "output_tokens")
			if count(a.usage, "input_tokens") != fresh+read+write || count(a.usage, "input_tokens_details", "cached_tokens") != read || count(a.usage, "input_tokens_details", "cache_write_tokens") != write ||
				got != gave && (got < gave || !c.Has("hidden_output_tokens")) || count(a.usage, "output_tokens_details", "reasoning_tokens") != u.Reasoning && c.Provider != "gemini-compat" || // which does not tell
				count(a.usage, "total_tokens") != count(a.usage, "input_tokens")+got {
				t.Errorf("usage %v; want %+v", a.usage, u)
			}
		})
	}
	fmt.Printf("to Responses: %d answers as expected, %d with equal usage; %d of %d requests sent, refused by name %v\n", answers, usages, sent, asked, refused)
}

// One stream of each kind, as a Responses client gets it.
func TestGoldenResponses(t *testing.T) {
	for from, pattern := range []string{"*.chat.sse", "*.messages.sse"} {
		names, bodies := inputs(t, pattern)
		for i, body := range bodies {
			out, _, _ := run(t, chat.Protocol(from), chat.Responses, openai.OpenAI, body, true, true, 0)
			readResponses(t, out, true)
			golden(t, names[i]+".responses", out)
		}
	}
}

// A request for responses, as every upstream gets it, and what was dropped.
func TestGoldenResponsesRequest(t *testing.T) {
	names, bodies := inputs(t, "*.responses.json")
	for i, body := range bodies {
		for n, up := range upstreams {
			out, dropped, param := responded(body, n)
			if param != "" {
				golden(t, strings.TrimSuffix(names[i], ".json")+"."+up.model, []byte("refused: "+param+"\n"))
				continue
			}
			golden(t, strings.TrimSuffix(names[i], ".json")+"."+up.model, []byte(indent(out)+"\nx-relay-dropped: "+strings.Join(dropped, ",")+"\n"))
		}
	}
}

// What a client was answered, sent back as input, is what the model said: its thought
// with the signature, its calls with their ids and arguments, its text.
func TestResponsesComeBack(t *testing.T) {
	names, bodies := inputs(t, "*.messages.sse")
	thoughts := 0
	for i, body := range bodies {
		out, _, _ := run(t, chat.Messages, chat.Responses, openai.OpenAI, body, true, true, 0)
		_, datas := events(t, out)
		var last struct {
			Response struct{ Output []json.RawMessage }
		}
		if err := json.Unmarshal(datas[len(datas)-1], &last); err != nil {
			t.Fatal(err)
		}
		a := readResponses(t, out, true)
		input := append([]json.RawMessage{json.RawMessage(`{"role":"user","content":"q"}`)}, last.Response.Output...)
		for _, c := range a.calls {
			b, _ := json.Marshal(map[string]string{"type": "function_call_output", "call_id": c.ID, "output": "r"})
			input = append(input, b)
		}
		input = append(input, json.RawMessage(`{"role":"user","content":"go on"}`))
		list, _ := json.Marshal(input)
		sent, _, param := responded([]byte(`{"model":"m","input":`+string(list)+`}`), 2)
		if param != "" {
			t.Fatalf("%s: %s", names[i], param)
		}
		var m struct {
			Messages []struct {
				Role    string
				Content []struct {
					Type, Text, Thinking, Signature, Data, ID, Name string
					Input                                           json.RawMessage
				}
			}
		}
		if err := json.Unmarshal(sent, &m); err != nil {
			t.Fatal(err)
		}
		var b answer
		for _, msg := range m.Messages {
			if msg.Role != "assistant" {
				continue
			}
			for _, c := range msg.Content {
				b.text += c.Text
				b.reasoning += c.Thinking
				if c.Signature != "" {
					b.signatures = append(b.signatures, "anthropic-claude-v1:signature:"+c.Signature)
				}
				if c.Data != "" {
					b.signatures = append(b.signatures, "anthropic-claude-v1:redacted:"+c.Data)
				}
				if c.Type == "tool_use" {
					b.calls = append(b.calls, toolCall{c.ID, c.Name, string(c.Input)})
				}
			}
		}
		thoughts += len(b.signatures)
		if a.text != b.text || fmt.Sprint(a.signatures) != fmt.Sprint(b.signatures) || len(a.signatures) > 0 && a.reasoning != b.reasoning || len(a.calls) != len(b.calls) {
			t.Errorf("%s: %+v\ncame back as\n%+v", names[i], a, b)
		}
		for j := range min(len(a.calls), len(b.calls)) {
			if a.calls[j].ID != b.calls[j].ID || a.calls[j].Name != b.calls[j].Name || !sameJSON(a.calls[j].Arguments, b.calls[j].Arguments) {
				t.Errorf("%s: %+v came back as %+v", names[i], a.calls[j], b.calls[j])
			}
		}
	}
	if thoughts == 0 {
		t.Error("no thought was signed: the test shows little")
	}
}

// The answer repeats what was asked, on one line however the customer wrote it.
func TestResponsesEcho(t *testing.T) {
	var r chat.Request
	body := "{\"model\":\"m\",\r\n\"input\":\"hi\",\n \"instructions\":\"be\\nbrief\",\"metadata\":{\n\"a\":\t\"b\"},\"temperature\":0.25,\"tools\":[{\"type\":\"function\",\n\"name\":\"f\"}]}"
	if err := Request(chat.Responses, []byte(body), &r); err != nil {
		t.Fatal(err)
	}
	s := new(Stream)
	s.Begin(chat.OpenAI, chat.Responses, &protocol.StreamConfig{ClientModel: "shown"}, &chat.Config{ID: []byte("01TEST"), Model: "shown", Echo: r.Echo})
	out, _ := s.Event(nil, []byte(deltas[chat.OpenAI][1]))
	_, datas := events(t, out)
	var e struct {
		Response struct {
			Instructions string
			Metadata     map[string]string
			Temperature  float64
			TopP         float64 `json:"top_p"`
			Tools        []map[string]string
			Parallel     bool `json:"parallel_tool_calls"`
		}
	}
	if err := json.Unmarshal(datas[0], &e); err != nil {
		t.Fatal(err)
	}
	if v := e.Response; v.Instructions != "be\nbrief" || v.Metadata["a"] != "b" || v.Temperature != 0.25 || v.TopP != 1 || v.Tools[0]["name"] != "f" || !v.Parallel {
		t.Errorf("%s", datas[0])
	}
}

// An answer larger than may be kept breaks the stream off.
func TestResponsesOverflow(t *testing.T) {
	s := start(chat.OpenAI, chat.Responses)
	piece := []byte("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + strings.Repeat("x", 1<<20) + "\"}}]}\n\n")
	for i := range 40 {
		if _, k := s.Event(nil, piece); k == protocol.ErrorEvent {
			if i < 12 {
				t.Errorf("broke off at %d MiB", i)
			}
			return
		}
	}
	t.Error("40 MiB were kept")
}

// Requests: whatever peek accepts becomes valid JSON or a 400 that names a member.
func FuzzResponsesRequest(f *testing.F) {
	for _, s := range responsesSamples {
		for n := range upstreams {
			f.Add(overlay(f, responsesBase, s), uint8(n))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		var p peek.Request
		accepted := peek.Scan(body, peek.OpenAIResponses, &p) == nil
		var r chat.Request
		err := Request(chat.Responses, body, &r)
		if err == nil {
			r.MaxTokens = 5000
			up := upstreams[int(n)%len(upstreams)]
			var out []byte
			out, err = AppendRequest(nil, &r, up.to, up.model, up.dialect)
			if err == nil && accepted && !json.Valid(out) {
				t.Fatalf("no JSON: %s", out)
			}
			if accepted && !json.Valid([]byte(`{"a":1`+string(r.Echo)+`}`)) {
				t.Fatalf("the echo is no JSON: %s", r.Echo)
			}
		}
		if err != nil && (err.Status != 400 || err.Param == "") {
			t.Fatalf("%+v", err)
		}
		for _, c := range r.AppendDropped(nil) {
			if c <= ' ' || c >= 0x7f {
				t.Fatalf("the header would hold %q", r.AppendDropped(nil))
			}
		}
	})
}
