package prototest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// Mode is how a customer asked.
type Mode struct {
	Model  string // name that the customer sent
	Asked  bool   // for include_usage
	Pinned bool
}

var comment = regexp.MustCompile(`(?m)^:[^\r\n]*`)

// Expected is what D8 makes of a recorded answer, computed by the oracle.
func (c *Case) Expected(m Mode) []byte {
	switch {
	case c.Protocol == "openai.responses" && c.Stream:
		return responsesStream(c.Body, m)
	case c.Protocol == "openai.responses":
		return responsesRules("", m).Apply(c.Body)
	case strings.HasPrefix(c.Protocol, "gemini."):
		return geminiAnswer(c.Body, m)
	case c.Protocol == "dashscope.text" && c.Stream:
		return dashScopeStream(c.Body, m)
	case c.Protocol == "dashscope.text":
		return dashScopeRules(m).Apply(c.Body)
	case c.Protocol == "anthropic.messages" && c.Stream:
		return messagesStream(c.Body, messagesRules(true, m))
	case c.Protocol == "anthropic.messages":
		return messagesRules(false, m).Apply(c.Body)
	case c.Stream:
		return chatStream(c.Body, chatRules(m), m)
	}
	return chatRules(m).Apply(c.Body)
}

func chatRules(m Mode) *Rules {
	r := &Rules{
		Cut:       map[string]bool{".cost_in_usd_ticks": true, ".cost": true},
		CutPrefix: []string{".usage.cost"},
	}
	if !m.Pinned {
		r.NewModel, r.Model = m.Model, map[string]bool{".model": true}
		r.Cut[".provider"], r.Cut[".x_groq"], r.Cut[".choices[].native_finish_reason"] = true, true, true
	}
	return r
}

func chatStream(body []byte, rules *Rules, m Mode) []byte {
	eol := "\n"
	if bytes.Contains(body, []byte("\r\n")) {
		eol = "\r\n"
	}
	var out []byte
	for _, ev := range strings.SplitAfter(string(body), eol+eol) {
		if strings.HasPrefix(ev, ":") {
			if !m.Pinned {
				ev = comment.ReplaceAllString(ev, ": keep-alive")
			}
			out = append(out, ev...)
			continue
		}
		drop := false
		var lines []string
		for _, line := range strings.SplitAfter(ev, eol) {
			if rest, ok := strings.CutPrefix(line, "data: "); ok && strings.HasPrefix(rest, "{") {
				text := strings.TrimSuffix(rest, eol)
				var chunk struct {
					Choices *[]json.RawMessage
					Error   any
				}
				if json.Unmarshal([]byte(text), &chunk) == nil && chunk.Choices != nil && len(*chunk.Choices) == 0 && !m.Asked && chunk.Error == nil {
					drop = true
				}
				line = "data: " + string(rules.Apply([]byte(text))) + rest[len(text):]
			}
			lines = append(lines, line)
		}
		if !drop {
			out = append(out, strings.Join(lines, "")...)
		}
	}
	return out
}

func geminiAnswer(body []byte, m Mode) []byte {
	rules := &Rules{}
	if !m.Pinned {
		rules.NewModel, rules.Model = m.Model, map[string]bool{".modelVersion": true}
	}
	if !bytes.HasPrefix(body, []byte("data:")) {
		return rules.Apply(body)
	}
	return messagesStream(body, rules)
}

func messagesRules(stream bool, m Mode) *Rules {
	r := &Rules{CutPrefix: []string{".usage.cost", ".message.usage.cost"}}
	if m.Pinned {
		return r
	}
	r.Cut = map[string]bool{".provider": true, ".message.provider": true}
	r.NewModel, r.Model = m.Model, map[string]bool{".model": true}
	if stream {
		r.Model = map[string]bool{".message.model": true}
	}
	return r
}

func messagesStream(body []byte, rules *Rules) []byte {
	var out []byte
	for _, line := range bytes.SplitAfter(body, []byte("\n")) {
		rest, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok || !bytes.HasPrefix(rest, []byte("{")) {
			out = append(out, line...)
			continue
		}
		text := bytes.TrimRight(rest, "\r\n")
		out = append(out, "data: "...)
		out = append(out, rules.Apply(text)...)
		out = append(out, rest[len(text):]...)
	}
	return out
}

func dashScopeRules(m Mode) *Rules {
	if m.Pinned {
		return &Rules{}
	}
	return &Rules{NewModel: m.Model, Model: map[string]bool{".output.model_name": true, ".output.model": true, ".model": true}}
}

var statusLine = regexp.MustCompile(`^:HTTP_STATUS/[0-9]{3}$`)

func dashScopeStream(body []byte, m Mode) []byte {
	var out []byte
	rules := dashScopeRules(m)
	for _, line := range bytes.SplitAfter(body, []byte("\n")) {
		rest, ok := bytes.CutPrefix(line, []byte("data:"))
		switch {
		case ok && bytes.HasPrefix(rest, []byte("{")):
			text := bytes.TrimRight(rest, "\r\n")
			out = append(out, "data:"...)
			out = append(out, rules.Apply(text)...)
			out = append(out, rest[len(text):]...)
		case bytes.HasPrefix(line, []byte(":")) && !m.Pinned && !statusLine.Match(bytes.TrimRight(line, "\r\n")):
			out = append(out, comment.ReplaceAll(line, []byte(": keep-alive"))...)
		default:
			out = append(out, line...)
		}
	}
	return out
}

// responsesRules are those of a response that stands at path.
func responsesRules(path string, m Mode) *Rules {
	r := &Rules{
		Cut:       map[string]bool{path + ".cost_in_usd_ticks": true, path + ".cost": true},
		CutPrefix: []string{path + ".usage.cost"},
	}
	if !m.Pinned {
		r.NewModel, r.Model = m.Model, map[string]bool{path + ".model": true}
		r.Cut[".provider"], r.Cut[path+".provider"] = true, true
	}
	return r
}

func responsesStream(body []byte, m Mode) []byte {
	var out []byte
	rules := responsesRules(".response", m)
	for _, line := range bytes.SplitAfter(body, []byte("\n")) {
		rest, ok := bytes.CutPrefix(line, []byte("data: "))
		switch {
		case ok && bytes.HasPrefix(rest, []byte("{")):
			text := bytes.TrimRight(rest, "\r\n")
			out = append(out, "data: "...)
			out = append(out, rules.Apply(text)...)
			out = append(out, rest[len(text):]...)
		case bytes.HasPrefix(line, []byte(":")) && !m.Pinned:
			out = append(out, comment.ReplaceAll(line, []byte(": keep-alive"))...)
		default:
			out = append(out, line...)
		}
	}
	return out
}

// searched counts the searches of the web in a response, which no usage tells, by its
// last form in the body.
func (c *Case) searched() (n int64) {
	text := c.Body
	if c.Stream {
		for _, line := range bytes.Split(c.Body, []byte("\n")) {
			if rest, ok := bytes.CutPrefix(line, []byte("data: ")); ok && bytes.Contains(rest, []byte(`"response.completed"`)) {
				text = rest
			}
		}
	}
	type answer struct {
		Output []struct {
			Type   string
			Action struct{ Type string }
		}
	}
	var v struct {
		answer
		Response answer
	}
	_ = json.Unmarshal(text, &v)
	for _, item := range append(v.Output, v.Response.Output...) {
		if item.Type == "web_search_call" && item.Action.Type == "search" {
			n++
		}
	}
	return n
}
