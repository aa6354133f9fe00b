package matrixtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/apptest/mockllm"
)

var write = flag.Bool("write", false, "write docs/matrix.md anew")

const page = "../../docs/matrix.md"

// cell is one feature, asked for in one format of a model behind another.
type cell struct {
	ingress  chat.Protocol
	up       *upstream
	q        *question
	reply    *reply
	said     *said
	asked    string // what the upstream was sent, "" if it was not asked
	answered *mockllm.Record
}

// feature is a row of the page. check says what is wrong, "" if nothing is.
type feature struct {
	name   string
	q      question
	script string
	// members are what a request says the feature with: where one of them is named as
	// dropped, the feature is.
	members []string
	check   func(c *cell) string
	forms   []bool // streamed
	lacks   []chat.Protocol
}

var both = []bool{false, true}

// picture stands for one: nobody looks at it.
const picture = "aGVsbG8tcGljdHVyZQ=="

// fillers are what the mock says when it is told how many tokens to say; the first cell
// that is answered sets it for all others.
var fillers string

func plain(c *cell) string {
	a := c.said.answers[0]
	switch {
	case a == nil || a.text == "" || !stopped(a):
		return "no answer, or no end"
	case fillers == "":
		fillers = a.text
	}
	switch {
	case a.text != fillers:
		return "the text is " + a.text
	case !strings.Contains(c.asked, "SYSTEM-MARK"):
		return "the system text is lost"
	case c.q.stream && c.said.pieces < 2:
		return "the stream has one piece"
	}
	return ""
}

func stopped(a *answer) bool {
	return slices.Contains([]string{"stop", "end_turn", "completed", "STOP"}, a.finish)
}

func calling(a *answer) bool {
	return slices.Contains([]string{"tool_calls", "tool_use", "completed", "STOP"}, a.finish)
}

// named reports whether each call has an id of its own. Gemini gives none, and what it
// says to its own clients passes.
func (c *cell) named(a *answer) bool {
	ids := map[string]bool{}
	for _, x := range a.calls {
		if ids[x.id] = true; x.id == "" {
			return c.ingress == chat.Gemini && c.up.protocol == "gemini"
		}
	}
	return len(ids) == len(a.calls)
}

var features = []feature{
	{name: "plain", q: question{system: "SYSTEM-MARK"}, script: "out=9", check: plain, forms: []bool{false}},
	{name: "stream", q: question{system: "SYSTEM-MARK"}, script: "out=9", check: plain, forms: []bool{true}},
	{name: "tools", q: question{tools: true}, members: []string{"tools"}, forms: both, check: func(c *cell) string {
		a := c.said.answers[0]
		if a == nil || len(a.calls) != 1 || a.calls[0].name != "weather" || a.calls[0].args != `{"city":"mock"}` || !c.named(a) || !calling(a) {
			return fmt.Sprintf("the call is %+v", a)
		}
		return ""
	}},
	{name: "parallel tools", q: question{tools: true}, script: "tools=2", members: []string{"tools"}, forms: both, check: func(c *cell) string {
		a := c.said.answers[0]
		if a == nil || len(a.calls) != 2 || a.calls[0].name != "weather" || a.calls[1].name != "time" || a.calls[0].args != `{"city":"mock"}` || a.calls[1].args != `{}` || !c.named(a) || !calling(a) {
			return fmt.Sprintf("the calls are %+v", a)
		}
		return ""
	}},
	{name: "tool round trip", q: question{tools: true, history: true}, forms: both, check: func(c *cell) string {
		for _, want := range []string{callResult, "Bern", "12345678901234567890", "weather"} {
			if !strings.Contains(c.asked, want) {
				return want + " is lost"
			}
		}
		if a := c.said.answers[0]; a == nil || a.text == "" || len(a.calls) > 0 || !stopped(a) {
			return fmt.Sprintf("the answer is %+v", a)
		}
		return ""
	}},
	{name: "image", q: question{image: picture}, script: "out=4", members: []string{"type=image", "inlineData", "image"}, forms: both, check: func(c *cell) string {
		if !strings.Contains(c.asked, picture) {
			return "the picture is lost"
		}
		if c.up.protocol == "dashscope" && c.ingress != chat.DashScope && !strings.Contains(c.answered.Path, "multimodal-generation") {
			return "the models of " + c.answered.Path + " do not see"
		}
		return ""
	}},
	{name: "thinking", q: question{thinking: true}, script: "out=4;reasoning=3", members: []string{"reasoning_effort", "thinking", "reasoning", "generationConfig.thinkingConfig", "parameters.enable_thinking"}, forms: both, check: func(c *cell) string {
		if !strings.Contains(c.asked, "reasoning") && !strings.Contains(c.asked, "thinking") {
			return "nobody was told to think"
		}
		if a := c.said.answers[0]; a == nil || a.thoughts == "" && (!c.up.hides || c.ingress == chat.Responses) || a.text == "" {
			return fmt.Sprintf("the answer is %+v", a)
		}
		return ""
	}},
	{name: "structured output", q: question{schema: true}, members: []string{"response_format", "output_config", "text", "parameters.response_format"}, forms: both, check: func(c *cell) string {
		if a := c.said.answers[0]; a == nil || a.text != `{"answer":"mock"}` {
			return fmt.Sprintf("the answer is %+v", a)
		}
		return ""
	}},
	{name: "several answers", q: question{answers: 2}, script: "out=4", members: []string{"n"}, forms: both, lacks: []chat.Protocol{chat.Messages, chat.Responses}, check: func(c *cell) string {
		one, two := c.said.answers[0], c.said.answers[1]
		if one == nil || two == nil || one.text == "" || two.text != one.text || !stopped(one) || !stopped(two) || len(c.said.answers) != 2 {
			return fmt.Sprintf("the answers are %+v, %+v", one, two)
		}
		return ""
	}},
	{name: "log probabilities", q: question{logprobs: true}, script: "out=4", members: []string{"logprobs", "top_logprobs"}, forms: both, lacks: []chat.Protocol{chat.Messages}, check: func(c *cell) string {
		if c.said.logprobs != 4 {
			return fmt.Sprintf("the probabilities of %d tokens of 4", c.said.logprobs)
		}
		return ""
	}},
	{name: "custom tool", q: question{custom: true}, script: "out=4", members: []string{"tools"}, forms: both, lacks: []chat.Protocol{chat.Messages, chat.Gemini, chat.DashScope}, check: func(c *cell) string {
		if !strings.Contains(c.asked, "shell") {
			return "the tool is lost"
		}
		return ""
	}},
}

// ask runs one cell, streamed or not, and gives its verdict.
func (w *world) ask(t *testing.T, p chat.Protocol, up *upstream, f *feature, stream bool) string {
	t.Helper()
	marker := strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, fmt.Sprintf("%s-%s-%s-%v", p, up.name, f.name, stream))
	q := f.q
	q.stream, q.text = stream, "the weather? mock:keep=1;id="+marker
	if f.script != "" {
		q.text += ";" + f.script
	}
	r := w.post(t, ask(p, up.public(), &q))
	c := &cell{ingress: p, up: up, q: &q, reply: r, said: read(t, p, r, stream)}
	body := string(r.body)
	if strings.Contains(body, "-upstream") || r.header.Get("X-Relay-Request-Id") == "" && r.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: the upstream's name shows, or no request id: %v %s", marker, r.header, body)
	}
	if r.status == 400 {
		param := refusedBy(c.said.problem)
		if param == "" || len(w.meter.Requests(mockllm.Filter{Marker: marker})) > 0 {
			t.Errorf("%s: %d %s", marker, r.status, body)
			return ""
		}
		return "refused: `" + param + "`"
	}
	if r.status != 200 || r.err != nil || c.said.problem != "" || !c.said.ended {
		t.Errorf("%s: %d %s", marker, r.status, body)
		return ""
	}
	c.answered = w.last(t, marker)
	c.asked = string(c.answered.Extra.Body)
	dropped := strings.FieldsFunc(r.header.Get("X-Relay-Dropped"), func(r rune) bool { return r == ',' })
	for _, d := range dropped {
		if slices.ContainsFunc(f.members, func(m string) bool { return strings.HasSuffix(d, m) }) {
			return "dropped: `" + d + "`"
		}
	}
	if wrong := f.check(c); wrong != "" {
		t.Errorf("%s: %s: %s\nsent %s", marker, wrong, body, c.asked)
		return ""
	}
	if u := c.answered.Usage; u == nil || c.said.in != u.TotalInput() || c.said.out != u.Output {
		t.Errorf("%s: told %d in, %d out; served %+v", marker, c.said.in, c.said.out, u)
		return ""
	}
	verdict := "works"
	if !slices.Contains(up.own, p) {
		verdict = "translated"
	}
	if len(dropped) > 0 {
		verdict += ", without `" + strings.Join(dropped, "`, `") + "`"
	}
	return verdict
}

// refusedBy is the member that a refusal names.
func refusedBy(message string) string {
	_, rest, ok := strings.Cut(message, "The member '")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "'")
	return name
}

// S2-1, S2-14.
// Every ingress, every upstream, every feature: it works, or is refused or dropped by
// name, streamed as whole; the page says what was seen.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	b.WriteString(`# Every client, every upstream

Generated from a run of proxy/matrixtest by ` + "`make gen`" + `; do not edit.

Each cell was asked of the whole proxy, whole and streamed, with a mock provider that speaks the upstream's protocol; what the
client was told it consumed is what the mock served. *works*: the bytes pass. *translated*: the client gets what it asked for, in its own
format. *refused*: 400 that names the member, before anything is asked of anybody or held. *dropped*: the request is served without the
member, which stands in ` + "`x-relay-dropped`" + `. *–*: the client's format has no word for it. What becomes of each
member: [translation.md](translation.md).
`)
	for _, p := range ingresses {
		b.WriteString("\n## Clients of " + p.String() + "\n\n| |")
		for i := range upstreams {
			b.WriteString(" " + upstreams[i].name + " |")
		}
		b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(upstreams)) + "\n")
		for i := range features {
			f := &features[i]
			b.WriteString("| " + f.name + " |")
			for j := range upstreams {
				verdict := "–"
				if !slices.Contains(f.lacks, p) {
					verdict = w.verdict(t, p, &upstreams[j], f)
				}
				b.WriteString(" " + verdict + " |")
			}
			b.WriteString("\n")
		}
		b.WriteString("| errors |")
		for j := range upstreams {
			b.WriteString(" " + w.errors(t, p, &upstreams[j]) + " |")
		}
		b.WriteString("\n")
	}
	w.kit.AtRest(t)
	if t.Failed() {
		t.Fatalf("a cell is blank:\n%s", b.Bytes())
	}
	if *write {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("docs/matrix.md is not what was seen (make gen writes it):\n%s", b.Bytes())
	}
}

// verdict is the same for an answer as a whole and as a stream.
func (w *world) verdict(t *testing.T, p chat.Protocol, up *upstream, f *feature) string {
	t.Helper()
	verdict := ""
	for i, stream := range f.forms {
		v := w.ask(t, p, up, f, stream)
		if i > 0 && v != verdict {
			t.Errorf("%s of %s for %s: %q as a whole, %q as a stream", f.name, up.name, p, verdict, v)
		}
		verdict = v
	}
	return verdict
}
