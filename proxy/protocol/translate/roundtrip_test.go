package translate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
)

// plainText is what an escaped text says.
func plainText(raw []byte) string { return string(chat.Unescape(nil, raw)) }

// flat is a form as a text in which two forms that mean the same are equal.
func flat(r *chat.Request) string {
	var b strings.Builder
	last := chat.Role(255)
	for _, t := range r.Turns {
		if t.Role != last {
			fmt.Fprintf(&b, "\n[%d]", t.Role)
			last = t.Role
		}
		var walk func(parts []chat.Part)
		walk = func(parts []chat.Part) {
			for _, p := range parts {
				fmt.Fprintf(&b, " %d %q %q %q %s %s %s %s", p.Kind, plainText(p.Text), p.ID, p.Name, p.Args, p.Media, p.Data, p.URL)
				walk(p.Parts)
			}
		}
		walk(t.Parts)
	}
	for _, t := range r.Tools {
		fmt.Fprintf(&b, "\ntool %q %q %s %s", plainText(t.Name), plainText(t.Description), t.Schema, t.Strict)
	}
	fmt.Fprintf(&b, "\n%d %q %v %s %s %q %q", r.Choice, plainText(r.ChoiceName), r.ParallelOff, r.Temperature, r.TopP, r.Stop, plainText(r.User))
	fmt.Fprintf(&b, " %s %s %s", r.Seed, r.Frequency, r.Presence)
	fmt.Fprintf(&b, "\n%d %s %v", r.Format.Mode, r.Format.Schema, r.Stream)
	fmt.Fprintf(&b, " %d %v %s", r.Answers, r.Logprobs, r.TopLogprobs)
	return b.String()
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// A → B → A keeps all that the table says is mapped, for every pair of formats.
func TestRoundTrip(t *testing.T) {
	for from := range chat.NumProtocols {
		if formats[from].decode == nil {
			continue
		}
		for _, by := range targets(from) {
			if formats[by].decode == nil {
				continue // no client speaks it
			}
			t.Run(from.String()+"/"+by.String(), func(t *testing.T) { roundTrip(t, from, by) })
		}
	}
}

// expressible are the members of Chat that a format has a word for too.
func expressible(p chat.Protocol) map[string]bool {
	all := map[string]bool{}
	for name := range roundTripped {
		row := chat.Find(chat.OpenAI, p, name)
		all[name] = p == chat.OpenAI || row != nil && row.Fate == chat.Mapped
	}
	if p == chat.Responses { // its customers have these words alone
		for _, name := range []string{"stop", "seed", "frequency_penalty", "presence_penalty", "n", "logprobs", "top_logprobs", "top_k"} {
			all[name] = false
		}
	}
	if p == chat.OpenAI {
		all["top_k"] = false // another's
	}
	return all
}

// roundTripped are members of Chat and a value of each.
var roundTripped = map[string]string{
	"temperature": `0.25`, "top_p": `0.5`, "stop": `["a\n","b"]`, "user": `"u\"1"`, "seed": `7`, "frequency_penalty": `0.5`, "presence_penalty": `0.25`,
	"n": `3`, "logprobs": `true`, "top_logprobs": `4`, "top_k": `5`, "parallel_tool_calls": `false`, "tools[].function.strict": `true`,
	"messages[].content[].type=image_url": ``, "response_format": `{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"},"strict":true}}`,
}

func roundTrip(t *testing.T, from, by chat.Protocol) {
	has, other := expressible(from), expressible(by)
	for name := range has {
		has[name] = has[name] && other[name]
	}
	var members []string
	for name := range has {
		if has[name] && !strings.ContainsAny(name, "[.") && name != "parallel_tool_calls" {
			members = append(members, name)
		}
	}
	slices.Sort(members)
	strict := ""
	if has["tools[].function.strict"] {
		strict = `,"strict":true`
	}
	choices := []string{`"auto"`, `"none"`, `{"type":"function","function":{"name":"f"}}`}
	if from != chat.DashScope && by != chat.DashScope { // a demand for any tool is one for the only tool there
		choices = append(choices, `"required"`)
	}
	text := rapid.StringMatching(`[a-z"\\\n\t/é漢😀<{}]{1,20}x`)
	name := rapid.StringMatching(`[a-z_]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		args := func() string {
			return fmt.Sprintf(`{"z":%d,"a":%s,"b":[1.50,{"c":null}]}`, rapid.Int64().Draw(t, "n"), quote(text.Draw(t, "arg")))
		}
		tools := rapid.Bool().Draw(t, "tools")
		var b strings.Builder
		b.WriteString(`{"model":"m","messages":[`)
		if rapid.Bool().Draw(t, "system") {
			b.WriteString(`{"role":"system","content":` + quote(text.Draw(t, "system")) + `},`)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "turns") {
			b.WriteString(`{"role":"user","content":[{"type":"text","text":` + quote(text.Draw(t, "user")) + `}`)
			if has["messages[].content[].type=image_url"] && rapid.Bool().Draw(t, "image") {
				b.WriteString(`,{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}`)
			}
			b.WriteString(`]},{"role":"assistant","content":` + quote(text.Draw(t, "said")))
			if tools && rapid.Bool().Draw(t, "calls") {
				fmt.Fprintf(&b, `,"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"f","arguments":%s}},{"id":"call_%db","type":"function","function":{"name":"g","arguments":"{}"}}]}`, i, quote(args()), i)
				fmt.Fprintf(&b, `,{"role":"tool","tool_call_id":"call_%d","content":%s},{"role":"tool","tool_call_id":"call_%db","content":%s}`, i, quote(text.Draw(t, "result")), i, quote(text.Draw(t, "result")))
			} else {
				b.WriteString(`}`)
			}
			b.WriteString(`,`)
		}
		b.WriteString(`{"role":"user","content":` + quote(text.Draw(t, "last")) + `}]`)
		if tools {
			b.WriteString(`,"tools":[{"type":"function","function":{"name":` + quote(name.Draw(t, "tool")) + `,"description":` + quote(text.Draw(t, "d")) + `,"parameters":{"type":"object","z":1,"a":2}` + strict + `}}]`)
			choice := rapid.SampledFrom(choices).Draw(t, "choice")
			b.WriteString(`,"tool_choice":` + choice)
			// Who may call nothing cannot call two things at once: Messages does not say it then.
			if has["parallel_tool_calls"] && choice != `"none"` && rapid.Bool().Draw(t, "parallel") {
				b.WriteString(`,"parallel_tool_calls":false`)
			}
		}
		for _, m := range append(members, "stream") {
			if rapid.Bool().Draw(t, m) {
				v := roundTripped[m]
				if m == "stream" {
					v = "true"
				}
				b.WriteString(`,"` + m + `":` + v)
			}
		}
		b.WriteString("}")
		body := []byte(b.String())

		must := func(err error) {
			if err != nil {
				t.Fatalf("%v: %s", err, body)
			}
		}
		step := func(from chat.Protocol, body []byte, r *chat.Request, stream bool) {
			if e := Request(from, body, r); e != nil {
				must(fmt.Errorf("%w of %s", e, body))
			}
			r.MaxTokens, r.Stream = 99, stream // Gemini says so in its path, DashScope in its head
		}
		turn := func(to chat.Protocol, r *chat.Request) []byte {
			out, e := AppendRequest(nil, r, to, "m", openai.OpenAI)
			if e != nil {
				must(e)
			}
			if d := r.Dropped(); len(d) > 0 {
				t.Fatalf("dropped %v of %s", d, body)
			}
			return out
		}
		var asked, one, two, three chat.Request
		step(chat.OpenAI, body, &asked, strings.Contains(string(body), `"stream":true`))
		first := body
		switch from {
		case chat.OpenAI:
		case chat.Responses:
			first = asResponses(t, &asked)
		default:
			first = turn(from, &asked)
		}
		step(from, first, &one, asked.Stream)
		there := turn(by, &one)
		step(by, there, &two, one.Stream)
		if from == chat.Responses { // nobody is asked in it: what the other has been told must be what was said
			if a, b := flat(unnamed(&one)), flat(unnamed(&two)); a != b {
				t.Fatalf("%s\nbecame\n%s\n%s\n%s", first, there, a, b)
			}
			return
		}
		back := turn(from, &two)
		step(from, back, &three, two.Stream)
		if flat(&one) != flat(&three) {
			t.Fatalf("%s\nbecame\n%s\nby\n%s\n%s\n%s", first, back, there, flat(&one), flat(&three))
		}
	})
}

// unnamed leaves out the names of functions with their results: some formats say them.
func unnamed(r *chat.Request) *chat.Request {
	for i := range r.Turns {
		for j := range r.Turns[i].Parts {
			if p := &r.Turns[i].Parts[j]; p.Kind == chat.PartResult {
				p.Name = nil
			}
		}
	}
	return r
}

// asResponses writes a form as a request for responses.
func asResponses(t *rapid.T, r *chat.Request) []byte {
	type object = map[string]any
	var input []any
	m := object{"model": "m"}
	for _, turn := range r.Turns {
		role := [...]string{"system", "user", "assistant"}[turn.Role]
		var content []any
		for _, p := range turn.Parts {
			switch p.Kind {
			case chat.PartText:
				kind := "input_text"
				if turn.Role == chat.Assistant {
					kind = "output_text"
				}
				content = append(content, object{"type": kind, "text": plainText(p.Text)})
			case chat.PartImage:
				content = append(content, object{"type": "input_image", "image_url": "data:" + string(p.Media) + ";base64," + string(p.Data)})
			}
		}
		if len(content) > 0 {
			input = append(input, object{"role": role, "content": content})
		}
		for _, p := range turn.Parts {
			switch p.Kind {
			case chat.PartCall:
				input = append(input, object{"type": "function_call", "call_id": plainText(p.ID), "name": plainText(p.Name), "arguments": string(p.Args)})
			case chat.PartResult:
				input = append(input, object{"type": "function_call_output", "call_id": plainText(p.ID), "output": plainText(p.Parts[0].Text)})
			}
		}
	}
	m["input"] = input
	var tools []any
	for _, f := range r.Tools {
		x := object{"type": "function", "name": plainText(f.Name), "description": plainText(f.Description), "parameters": json.RawMessage(f.Schema)}
		if f.Strict != nil {
			x["strict"] = json.RawMessage(f.Strict)
		}
		tools = append(tools, x)
	}
	if tools != nil {
		m["tools"] = tools
	}
	switch r.Choice {
	case chat.ChoiceAuto, chat.ChoiceNone, chat.ChoiceRequired:
		m["tool_choice"] = map[chat.ChoiceMode]string{chat.ChoiceAuto: "auto", chat.ChoiceNone: "none", chat.ChoiceRequired: "required"}[r.Choice]
	case chat.ChoiceNamed:
		m["tool_choice"] = object{"type": "function", "name": plainText(r.ChoiceName)}
	}
	if r.ParallelOff {
		m["parallel_tool_calls"] = false
	}
	for name, v := range map[string][]byte{"temperature": r.Temperature, "top_p": r.TopP} {
		if v != nil {
			m[name] = json.RawMessage(v)
		}
	}
	if r.User != nil {
		m["user"] = plainText(r.User)
	}
	if r.Format.Mode == chat.FormatSchema {
		m["text"] = object{"format": object{"type": "json_schema", "name": plainText(r.Format.Name), "schema": json.RawMessage(r.Format.Schema), "strict": true}}
	}
	if r.Stream {
		m["stream"] = true
	}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// An answer A → B → A says what A said.
func TestAnswerRoundTrip(t *testing.T) {
	names, bodies := inputs(t, "*.messages.sse")
	for i, body := range bodies {
		google, _, _ := run(t, chat.Messages, chat.Gemini, openai.OpenAI, body, true, true, 0)
		again, _, _ := run(t, chat.Gemini, chat.Messages, openai.OpenAI, google, true, true, 0)
		if a, b := readGemini(t, google, true), readMessages(t, again, true); a.text != b.text || a.reasoning != b.reasoning || !sameCalls(a.calls, b.calls) || !b.ended {
			t.Errorf("%s: %+v\nbecame %+v", names[i], a, b)
		}
		there, _, _ := run(t, chat.Messages, chat.OpenAI, openai.OpenAI, body, true, true, 0)
		back, _, _ := run(t, chat.OpenAI, chat.Messages, openai.OpenAI, there, true, true, 0)
		a := readChat(t, there, true)
		b := readMessages(t, back, true)
		if a.text != b.text || a.reasoning != b.reasoning || fmt.Sprint(a.calls) != fmt.Sprint(b.calls) || !b.ended {
			t.Errorf("%s: %+v\nbecame %+v", names[i], a, b)
		}
		if count(a.usage, "prompt_tokens") != count(b.usage, "input_tokens")+count(b.usage, "cache_read_input_tokens")+count(b.usage, "cache_creation_input_tokens") {
			t.Errorf("%s: usage %v became %v", names[i], a.usage, b.usage)
		}
	}
}

func sameCalls(a, b []toolCall) bool {
	return slices.EqualFunc(a, b, func(x, y toolCall) bool {
		return x.ID == y.ID && x.Name == y.Name && sameJSON(x.Arguments, y.Arguments)
	})
}
