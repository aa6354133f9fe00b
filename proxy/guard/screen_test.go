package guard

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/policy"
)

func masks(where policy.Where) *Policy {
	return Compile(&policy.Rules{
		Masking: policy.Masking{Email: policy.Mask, Phone: policy.Mask, Card: policy.Mask, ID: policy.Mask, Credential: policy.Mask, ApplyTo: where},
		Words:   policy.Words{List: []string{"zebra", "斑马"}, Action: policy.Mask, ApplyTo: where},
	})
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// wire is how a form streams a text in pieces, and how a client puts it together.
type wire struct {
	name   string
	form   chat.Protocol
	array  bool
	begin  []string
	piece  string // %s is the quoted text
	whole  bool   // events repeat the text so far
	end    []string
	thinks string // a piece of thought, "" = none
	read   func(v map[string]any) string
}

func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func at(path ...any) func(map[string]any) string {
	return func(v map[string]any) string { s, _ := dig(v, path...).(string); return s }
}

func data(s string) string { return "data: " + s + "\n\n" }

var wires = []wire{
	{
		name: "chat", begin: []string{data(`{"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`)},
		piece: data(`{"id":"1","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}`), thinks: data(`{"choices":[{"index":0,"delta":{"reasoning_content":%s}}]}`),
		end:  []string{data(`{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`), data(`[DONE]`)},
		read: at("choices", 0, "delta", "content"),
	},
	{name: "chat without a finish", piece: data(`{"choices":[{"delta":{"content":%s}}]}`), read: at("choices", 0, "delta", "content")},
	{name: "chat, parts", piece: data(`{"choices":[{"delta":{"content":[{"type":"text","text":%s}]}}]}`), end: []string{data(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"4111111111111111"}]}}]}`), data(`[DONE]`)}, read: at("choices", 0, "delta", "content", 0, "text")},
	{name: "completions", piece: data(`{"choices":[{"index":0,"text":%s,"logprobs":{"tokens":["a"]}}]}`), end: []string{data(`[DONE]`)}, read: at("choices", 0, "text")},
	{
		name: "transcript", piece: data(`{"type":"transcript.text.delta","delta":%s}`), end: []string{data(`{"type":"transcript.text.done","text":"x"}`)},
		read: at("delta"),
	},
	{
		name: "messages", form: chat.Messages, begin: []string{"event: content_block_start\n" + data(`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`)},
		piece: "event: content_block_delta\n" + data(`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":%s}}`), thinks: data(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":%s}}`),
		end:  []string{"event: ping\n" + data(`{"type":"ping"}`), data(`{"type":"content_block_stop","index":1}`), data(`{"type":"message_stop"}`)},
		read: at("delta", "text"),
	},
	{
		name: "responses", form: chat.Responses, begin: []string{data(`{"type":"response.created","sequence_number":0,"response":{"output":[]}}`)},
		piece: data(`{"type":"response.output_text.delta","sequence_number":1,"output_index":0,"content_index":0,"delta":%s,"logprobs":[{"token":"x"}]}`),
		end:   []string{data(`{"type":"response.output_text.done","sequence_number":9,"output_index":0,"content_index":0,"text":"x"}`), data(`{"type":"response.completed","sequence_number":10,"response":{}}`)},
		read: func(v map[string]any) string {
			if v["type"] != "response.output_text.delta" {
				return ""
			}
			return v["delta"].(string)
		},
	},
	{
		name: "gemini", form: chat.Gemini, piece: data(`{"candidates":[{"content":{"parts":[{"text":%s}],"role":"model"}}]}`), thinks: data(`{"candidates":[{"content":{"parts":[{"text":%s,"thought":true}]}}]}`),
		end: []string{data(`{"candidates":[{"finishReason":"STOP"}]}`)},
		read: func(v map[string]any) string {
			if dig(v, "candidates", 0, "content", "parts", 0, "thought") == true {
				return ""
			}
			return at("candidates", 0, "content", "parts", 0, "text")(v)
		},
	},
	{name: "gemini, array", form: chat.Gemini, array: true, piece: "%sEP{\"candidates\":[{\"content\":{\"parts\":[{\"text\":%s}]}}]}", end: []string{"\n]\n"}, read: at("candidates", 0, "content", "parts", 0, "text")},
	{
		name: "dashscope", form: chat.DashScope, piece: "id:1\nevent:result\n:HTTP_STATUS/200\n" + data(`{"output":{"choices":[{"message":{"content":%s},"finish_reason":"null"}]}}`),
		end: []string{data(`{"output":{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}}`)}, read: at("output", "choices", 0, "message", "content"),
	},
	{
		name: "dashscope, repeating", form: chat.DashScope, whole: true, piece: data(`{"output":{"text":%s,"finish_reason":"null"}}`),
		end: []string{data(`{"output":{"text":%s,"finish_reason":"stop"}}`)}, read: at("output", "text"),
	},
}

// run streams pieces through a screen and reads what a client gets.
func (w *wire) run(t *testing.T, p *Policy, pieces []string) (string, *Screen) {
	t.Helper()
	s := p.NewScreen(w.form, w.array)
	var out []byte
	show := func(ev string) { out = s.Append(out, []byte(ev), false) }
	for _, ev := range w.begin {
		show(ev)
	}
	said := ""
	for i, piece := range pieces {
		if said += piece; w.whole {
			piece = said
		}
		ev := w.piece
		if w.array {
			sep := "\n,\r\n"
			if i == 0 {
				sep = "["
			}
			ev = strings.Replace(ev, "%sEP", sep, 1)
		}
		show(strings.Replace(ev, "%s", quote(piece), 1))
	}
	for _, ev := range w.end {
		show(strings.Replace(ev, "%s", quote(said), 1))
	}
	out = s.Append(out, nil, true)
	var text strings.Builder
	if w.array {
		var list []map[string]any
		if err := json.Unmarshal(out, &list); err != nil {
			t.Fatalf("%s: %v in %s", w.name, err, out)
		}
		for _, v := range list {
			text.WriteString(w.read(v))
		}
		return text.String(), s
	}
	for len(out) > 0 {
		n := sse.Next(out)
		if n == 0 {
			t.Fatalf("%s: half an event: %q", w.name, out)
		}
		d := sse.Join(nil, out[:n])
		out = out[n:]
		var v map[string]any
		if string(d) == "[DONE]" {
			continue
		}
		if err := json.Unmarshal(d, &v); err != nil {
			t.Fatalf("%s: %v in %s", w.name, err, d)
		}
		if got := w.read(v); w.whole {
			text.Reset()
			text.WriteString(got)
		} else {
			text.WriteString(got)
		}
	}
	return text.String(), s
}

const (
	secrets = "mail joe@x.com card 4111 1111 1111 1111, \"zebra\"\n斑马 key sk-proj-abcdefghij0123456789 \U0001F600 DE89 3704 0044 0532 0130 00"
	shown   = "mail [email] card [card], \"[word]\"\n[word] key [credential] \U0001F600 [id]"
)

// S1-B14: whatever the protocol, wherever its events cut the text, what the client reads
// is the masked text, and no secret.
func TestNoCutLetsASecretThrough(t *testing.T) {
	p := masks(policy.Both)
	r := rand.New(rand.NewPCG(3, 4))
	for _, w := range wires {
		runes := []rune(secrets)
		var each []string
		for i := range runes {
			each = append(each, string(runes[i]))
			got, s := w.run(t, p, []string{string(runes[:i]), string(runes[i:])})
			if got != shown || !s.Report.Masked || !s.Report.Words || s.Report.Blocked {
				t.Fatalf("%s cut at %d: %q %+v", w.name, i, got, s.Report)
			}
		}
		if got, _ := w.run(t, p, each); got != shown {
			t.Fatalf("%s, a character an event: %q", w.name, got)
		}
		for range 50 {
			var pieces []string
			for rest := runes; len(rest) > 0; {
				n := min(1+r.IntN(12), len(rest))
				pieces, rest = append(pieces, string(rest[:n])), rest[n:]
			}
			if got, _ := w.run(t, p, pieces); got != shown {
				t.Fatalf("%s in %q: %q", w.name, pieces, got)
			}
		}
	}
}

// What is not found passes with all its bytes.
func TestNothingFoundNothingChanged(t *testing.T) {
	p := masks(policy.Responses)
	for _, w := range wires {
		if w.array {
			continue
		}
		s := p.NewScreen(w.form, false)
		in := strings.Join(w.begin, "") + strings.Replace(w.piece, "%s", `"h\u00e9llo, \/ world! "`, 1) + ": keep-alive\n\n" + strings.Replace(strings.Join(w.end, ""), "%s", `"h\u00e9llo, \/ world! "`, 1)
		want := in
		for _, blank := range []string{`{"tokens":["a"]}`, `[{"token":"x"}]`} {
			want = strings.Replace(want, blank, string(nothing(blank[0])), 1)
		}
		if out := s.Append(nil, []byte(in), true); string(out) != want {
			t.Errorf("%s: %s\nbecame %s", w.name, in, out)
		}
	}
}

// A finding that blocks ends the stream before any of it is shown.
func TestBlockedStream(t *testing.T) {
	p := Compile(&policy.Rules{Masking: policy.Masking{Card: policy.Block}})
	for _, w := range wires {
		s := p.NewScreen(w.form, w.array)
		var out []byte
		for i, piece := range []string{"pay 4111", " 1111 1111 ", "1111 now"} {
			if w.whole {
				piece = "pay 4111 1111 1111 1111 now"[:[]int{8, 19, 27}[i]]
			}
			out = s.Append(out, []byte(strings.Replace(strings.Replace(w.piece, "%sEP", "[", 1), "%s", quote(piece), 1)), false)
		}
		out = s.Append(out, nil, true)
		if !s.Report.Blocked || strings.Contains(string(out), "1111 1111") {
			t.Errorf("%s: %+v %s", w.name, s.Report, out)
		}
	}
}

// An answer that is nothing but text is looked at as one.
func TestPlainText(t *testing.T) {
	p := masks(policy.Both)
	for i := range secrets {
		s := p.NewTextScreen()
		out := s.Append(s.Append(nil, []byte(secrets[:i]), false), []byte(secrets[i:]), true)
		if string(out) != shown || !s.Report.Masked {
			t.Fatalf("cut at %d: %q", i, out)
		}
	}
	if masks(policy.Requests).NewTextScreen() != nil {
		t.Error("answers are not looked at")
	}
}

// Texts of several choices do not mix.
func TestChoicesApart(t *testing.T) {
	s := masks(policy.Both).NewScreen(chat.OpenAI, false)
	var out []byte
	for i, piece := range []string{"a@b", "4111 1111", ".com x", " 1111 1111 y"} {
		out = s.Append(out, fmt.Appendf(nil, `data: {"choices":[{"index":%d,"delta":{"content":%q}}]}`+"\n\n", i&1, piece), false)
	}
	out = s.Append(out, []byte(data("[DONE]")), false)
	if text := string(out); !strings.Contains(text, "[email] ") || !strings.Contains(text, "[card] ") || strings.Contains(text, "4111") {
		t.Errorf("%s", out)
	}
}

// An emoji cut in two by its escapes stays one.
func TestHalvesOfCharacters(t *testing.T) {
	s := masks(policy.Both).NewScreen(chat.OpenAI, false)
	var out []byte
	for _, piece := range []string{`hi\ud83d`, `\ude00 joe\u0040x.com`} {
		out = s.Append(out, []byte(strings.Replace(wires[0].piece, "%s", `"`+piece+`"`, 1)), false)
	}
	out = s.Append(out, []byte(wires[0].end[0]), false)
	if !strings.Contains(string(out), "\U0001F600 ") || !strings.Contains(string(out), "[email]") {
		t.Errorf("%s", out)
	}
}

// Responses' events keep numbers without gaps or repetitions.
func TestSequenceNumbers(t *testing.T) {
	s := masks(policy.Both).NewScreen(chat.Responses, false)
	n, want := 0, 0
	var out []byte
	for range 3 {
		for _, ev := range []string{`{"type":"response.output_text.delta","sequence_number":%d,"output_index":0,"delta":"hello"}`, `{"type":"response.output_text.done","sequence_number":%d,"output_index":0,"text":"hello"}`} {
			out = s.Append(out, []byte(data(fmt.Sprintf(ev, n))), false)
			n++
		}
	}
	for len(out) > 0 {
		size := sse.Next(out)
		var v struct {
			N int `json:"sequence_number"`
		}
		if err := json.Unmarshal(sse.Join(nil, out[:size]), &v); err != nil || v.N != want {
			t.Fatalf("number %d, want %d: %v", v.N, want, err)
		}
		want++
		out = out[size:]
	}
	if want != 9 {
		t.Errorf("%d events", want)
	}
}

// FuzzScreen: no bytes of an upstream make a panic, and what is readable stays so.
func FuzzScreen(f *testing.F) {
	for i, w := range wires {
		f.Add([]byte(strings.Join(w.begin, "")+strings.Replace(w.piece, "%s", quote(secrets), 1)+strings.Join(w.end, "")), i)
	}
	p := masks(policy.Both)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		if n < 0 {
			return
		}
		w := wires[n%len(wires)]
		s := p.NewScreen(w.form, w.array)
		var out []byte
		for _, part := range [][]byte{in, in} {
			out = s.Append(out, part, false)
		}
		_ = s.Append(out, nil, true)
	})
}
