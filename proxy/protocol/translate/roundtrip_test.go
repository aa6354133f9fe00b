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
	return b.String()
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// A → B → A keeps all that the table says is mapped.
func TestRoundTrip(t *testing.T) {
	for _, to := range targets(chat.OpenAI) {
		t.Run(to.String(), func(t *testing.T) { roundTrip(t, to) })
	}
}

func roundTrip(t *testing.T, to chat.Protocol) {
	strict, members := `,"strict":true`, []string{
		`"temperature":0.25`, `"top_p":0.5`, `"stop":["a\n","b"]`, `"user":"u\"1"`, `"stream":true`,
		`"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"},"strict":true}}`,
	}
	if to == chat.Gemini {
		strict, members[3] = "", `"seed":7,"frequency_penalty":0.5,"presence_penalty":0.25`
	}
	choices, pictures := []string{`"auto"`, `"none"`, `"required"`, `{"type":"function","function":{"name":"f"}}`}, true
	if to == chat.DashScope { // a demand for any tool is one for the only tool
		strict, pictures, members[3] = "", false, `"seed":7,"presence_penalty":0.25`
		choices = append(choices[:2], choices[3])
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
			if pictures && rapid.Bool().Draw(t, "image") {
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
			b.WriteString(`,"tool_choice":` + rapid.SampledFrom(choices).Draw(t, "choice"))
		}
		for _, m := range members {
			if rapid.Bool().Draw(t, m) {
				b.WriteString("," + m)
			}
		}
		b.WriteString("}")
		body := []byte(b.String())

		var one, two, three chat.Request
		must := func(err error) {
			if err != nil {
				t.Fatalf("%v: %s", err, body)
			}
		}
		step := func(from chat.Protocol, body []byte, r *chat.Request) {
			if e := Request(from, body, r); e != nil {
				must(e)
			}
			r.MaxTokens = 99
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
		step(chat.OpenAI, body, &one)
		there := turn(to, &one)
		step(to, there, &two)
		two.Stream = one.Stream // Gemini says so in its path
		back := turn(chat.OpenAI, &two)
		step(chat.OpenAI, back, &three)
		if flat(&one) != flat(&three) {
			t.Fatalf("%s\nbecame\n%s\nby\n%s\n%s\n%s", body, back, there, flat(&one), flat(&three))
		}
	})
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
