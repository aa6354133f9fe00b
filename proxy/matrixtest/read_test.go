package matrixtest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
)

// said is what a client makes of an answer.
type said struct {
	answers  map[int]*answer // by the number of the choice
	pieces   int             // events with a piece of the answer
	in, out  int64           // usage: all input, all output
	usages   int             // usage objects
	ended    bool            // by the format's own end
	problem  string          // the error's message
	kind     string          // the error's type or code
	shaped   bool            // the error has the format's form
	logprobs int             // tokens whose probability was told
}

type answer struct {
	text, thoughts string
	calls          []call
	finish         string
}

type call struct{ id, name, args string }

func (s *said) at(i int) *answer {
	if s.answers[i] == nil {
		s.answers[i] = new(answer)
	}
	return s.answers[i]
}

func (a *answer) call(i int) *call {
	for len(a.calls) <= i {
		a.calls = append(a.calls, call{})
	}
	return &a.calls[i]
}

// value is JSON that is looked into without care for what is not there.
type value struct{ v any }

func (v value) get(path ...string) value {
	for _, p := range path {
		m, _ := v.v.(map[string]any)
		v = value{m[p]}
	}
	return v
}

func (v value) text() string { s, _ := v.v.(string); return s }
func (v value) list() (out []value) {
	l, _ := v.v.([]any)
	for _, x := range l {
		out = append(out, value{x})
	}
	return out
}

func (v value) count() int64 {
	n, _ := v.v.(json.Number)
	i, _ := n.Int64()
	return i
}

func (v value) raw() string {
	if v.v == nil {
		return ""
	}
	b, _ := json.Marshal(v.v)
	return string(b)
}

func parse(tb testing.TB, b []byte) value {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("%v: %s", err, b)
	}
	return value{v}
}

// read reads an answer as a client of the format does.
func read(tb testing.TB, p chat.Protocol, r *reply, stream bool) *said {
	tb.Helper()
	s := &said{answers: map[int]*answer{}}
	take := map[chat.Protocol]func(v value, stream bool){
		chat.OpenAI: s.chat, chat.Messages: s.messages, chat.Responses: s.responses, chat.Gemini: s.gemini, chat.DashScope: s.dashScope,
	}[p]
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		s.ended = true
		take(parse(tb, r.body), false)
		return s
	}
	if !stream {
		tb.Fatalf("a stream that nobody asked for: %s", r.body)
	}
	for _, ev := range strings.Split(strings.ReplaceAll(string(r.body), "\r\n", "\n"), "\n\n") {
		for _, line := range strings.Split(ev, "\n") {
			data, ok := strings.CutPrefix(line, "data:")
			switch data = strings.TrimSpace(data); {
			case !ok:
			case data == "[DONE]":
				s.ended = true
			default:
				take(parse(tb, []byte(data)), true)
			}
		}
	}
	return s
}

func (s *said) failed(v value, kind string, shaped bool) {
	s.problem, s.kind, s.shaped = v.get("message").text(), kind, shaped
}

func (s *said) chat(v value, stream bool) {
	if e := v.get("error"); e.v != nil {
		s.failed(e, e.get("type").text(), v.get("type").v == nil && e.get("code").text() != "" || e.get("type").text() != "")
		return
	}
	if u := v.get("usage"); u.v != nil {
		s.usages++
		s.in, s.out = u.get("prompt_tokens").count(), u.get("completion_tokens").count()
	}
	for _, c := range v.get("choices").list() {
		a, d := s.at(int(c.get("index").count())), c.get("message")
		if stream {
			d = c.get("delta")
		}
		if d.get("content").text() != "" || d.get("tool_calls").v != nil || d.get("reasoning_content").text() != "" {
			s.pieces++
		}
		a.text += d.get("content").text()
		a.thoughts += d.get("reasoning_content").text()
		for i, c := range d.get("tool_calls").list() {
			if stream {
				i = int(c.get("index").count())
			}
			x := a.call(i)
			x.id += c.get("id").text()
			x.name += c.get("function", "name").text()
			x.args += c.get("function", "arguments").text()
		}
		s.logprobs += len(c.get("logprobs", "content").list())
		a.finish += c.get("finish_reason").text()
	}
}

func (s *said) messages(v value, stream bool) {
	a := s.at(0)
	usage := func(u value) {
		if u.v != nil {
			s.usages++
			s.in = u.get("input_tokens").count() + u.get("cache_read_input_tokens").count() + u.get("cache_creation_input_tokens").count()
			s.out = u.get("output_tokens").count()
		}
	}
	block := func(b value) {
		a.text += b.get("text").text()
		a.thoughts += b.get("thinking").text()
		if b.get("type").text() == "tool_use" {
			c := call{b.get("id").text(), b.get("name").text(), b.get("input").raw()}
			if stream {
				c.args = ""
			}
			a.calls = append(a.calls, c)
		}
	}
	switch v.get("type").text() {
	case "error":
		s.failed(v.get("error"), v.get("error", "type").text(), true)
	case "message":
		for _, b := range v.get("content").list() {
			block(b)
		}
		a.finish = v.get("stop_reason").text()
		usage(v.get("usage"))
	case "content_block_start":
		block(v.get("content_block"))
	case "content_block_delta":
		s.pieces++
		d := v.get("delta")
		a.text += d.get("text").text()
		a.thoughts += d.get("thinking").text()
		if n := len(a.calls); n > 0 {
			a.calls[n-1].args += d.get("partial_json").text()
		}
	case "message_delta":
		a.finish += v.get("delta", "stop_reason").text()
		usage(v.get("usage"))
	case "message_stop":
		s.ended = true
		for i := range a.calls {
			if a.calls[i].args == "" { // a call without arguments has no piece of them
				a.calls[i].args = "{}"
			}
		}
	}
}

func (s *said) responses(v value, stream bool) {
	if e := v.get("error"); e.v != nil && v.get("output").v == nil {
		s.failed(e, e.get("type").text(), e.get("type").text() != "")
		return
	}
	if stream {
		t := v.get("type").text()
		if strings.HasSuffix(t, ".delta") {
			s.pieces++
		}
		if s.ended = v.get("response", "status").text() == strings.TrimPrefix(t, "response.") && t != "response.in_progress"; !s.ended {
			return
		}
		v = v.get("response")
	}
	a := s.at(0)
	for _, o := range v.get("output").list() {
		for _, c := range o.get("content").list() {
			a.text += c.get("text").text()
			s.logprobs += len(c.get("logprobs").list())
		}
		for _, c := range o.get("summary").list() {
			a.thoughts += c.get("text").text()
		}
		if o.get("type").text() == "function_call" {
			a.calls = append(a.calls, call{o.get("call_id").text(), o.get("name").text(), o.get("arguments").text()})
		}
	}
	a.finish = v.get("status").text() + v.get("incomplete_details", "reason").text()
	if u := v.get("usage"); u.v != nil {
		s.usages++
		s.in, s.out = u.get("input_tokens").count(), u.get("output_tokens").count()
	}
}

func (s *said) gemini(v value, _ bool) {
	if e := v.get("error"); e.v != nil {
		s.failed(e, e.get("status").text(), e.get("status").text() != "" && e.get("code").count() > 0)
		return
	}
	for _, c := range v.get("candidates").list() {
		a := s.at(int(c.get("index").count()))
		for _, p := range c.get("content", "parts").list() {
			s.pieces++
			f := p.get("functionCall")
			switch {
			case f.v != nil:
				a.calls = append(a.calls, call{f.get("id").text(), f.get("name").text(), f.get("args").raw()})
			case p.get("thought").v == true:
				a.thoughts += p.get("text").text()
			default:
				a.text += p.get("text").text()
			}
		}
		s.logprobs += len(c.get("logprobsResult", "chosenCandidates").list())
		a.finish += c.get("finishReason").text()
		s.ended = a.finish != ""
	}
	if u := v.get("usageMetadata"); u.v != nil {
		s.usages++
		s.in = u.get("promptTokenCount").count() + u.get("toolUsePromptTokenCount").count()
		s.out = u.get("candidatesTokenCount").count() + u.get("thoughtsTokenCount").count()
	}
}

func (s *said) dashScope(v value, _ bool) {
	if v.get("code").text() != "" {
		s.failed(v, v.get("code").text(), v.get("request_id").text() != "")
		return
	}
	for i, c := range v.get("output", "choices").list() {
		if n := c.get("index"); n.v != nil {
			i = int(n.count())
		}
		a, m := s.at(i), c.get("message")
		s.pieces++
		a.text += m.get("content").text()
		a.thoughts += m.get("reasoning_content").text()
		for j, c := range m.get("tool_calls").list() {
			if n := c.get("index"); n.v != nil {
				j = int(n.count())
			}
			x := a.call(j)
			x.id += c.get("id").text()
			x.name += c.get("function", "name").text()
			x.args += c.get("function", "arguments").text()
		}
		s.logprobs += len(c.get("logprobs", "content").list())
		if f := c.get("finish_reason").text(); f != "null" {
			a.finish += f
		}
		s.ended = a.finish != ""
	}
	if u := v.get("usage"); u.v != nil {
		s.usages++
		s.in, s.out = u.get("input_tokens").count(), u.get("output_tokens").count()
	}
}
