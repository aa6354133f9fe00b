package mockllm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/bytedance/sonic"
)

// ask is a request in the form that all shapes share.
type ask struct {
	model      string // as received, script and all
	name       string // without its script
	stream     bool
	wantUsage  bool
	obfuscate  bool
	maxTokens  int64 // -1: none
	n          int64
	firstUser  string
	lastUser   string
	previous   string // the response that it goes on from
	keeps      bool   // the answer is to be found by its id
	lastIsTool bool   // the last message gives a tool's result
	userIDs    [3]string
	prompt     int64 // tokens by the mock's rule
	tools      []tool
	toolChoice string // "", none, auto, required, or a tool's name
	thinking   bool
	logprobs   int64           // other tokens to tell the probability of, -1: no probabilities
	schema     json.RawMessage // the answer must be JSON of this schema; `{}` for any object
	raw        []byte
}

type tool struct {
	Name   string
	Schema json.RawMessage
}

// answer is what the mock decided to say, before any shape.
type answer struct {
	a         *ask
	id        string
	pieces    []string // one token each
	reasoning []string
	calls     []call
	finish    string // stop length tool_calls content_filter, in OpenAI's words; or as scripted
	scripted  bool   // finish is used as it is
	units     Units
	perChunk  int // pieces in each content event
}

type call struct{ ID, Name, Args string }

const created = 1_760_000_000 // every answer says so: bytes must be reproducible

// text gives the text of a content member: a string, or the texts of its parts.
// images counts parts that carry one.
func text(content json.RawMessage) (s string, images int64, toolResult bool, err error) {
	content = bytes.TrimSpace(content)
	switch {
	case len(content) == 0 || content[0] == 'n':
		return "", 0, false, nil
	case content[0] == '"':
		if bytes.IndexByte(content, '\\') < 0 {
			return view(content[1 : len(content)-1]), 0, false, nil
		}
		err = sonic.Unmarshal(content, &s)
		return s, 0, false, err
	case content[0] == '[':
		var parts []struct {
			Type    string          `json:"type"`
			Text    string          `json:"text"`
			Image   string          `json:"image"` // DashScope's, without a type
			Content json.RawMessage `json:"content"`
		}
		if err = sonic.Unmarshal(content, &parts); err != nil {
			return "", 0, false, err
		}
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p.Text)
			if p.Image != "" {
				images++
			}
			switch p.Type {
			case "image", "image_url", "input_image":
				images++
			case "tool_result":
				toolResult = true
				inner, n, _, err := text(p.Content)
				if err != nil {
					return "", 0, false, err
				}
				images += n
				b.WriteString(inner)
			}
		}
		return b.String(), images, toolResult, nil
	}
	return "", 0, false, fmt.Errorf("content is neither text nor a list of parts")
}

// view gives b as a string without a copy. What is read of a request lives until
// the next request on the connection; what outlives it is cloned.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// countMessage adds one message to the prompt by the documented rule.
func (a *ask) countMessage(text string, images int64) {
	a.prompt += 3 + (int64(len(text))+3)/4 + 85*images
}

// decide makes the answer that the request and its script ask for.
func (s *Server) decide(a *ask, sc *Script, hash uint64) *answer {
	w := &answer{a: a, id: strconv.FormatUint(hash, 16), perChunk: 1, finish: "stop"}
	out := sc.Out
	if out < 0 && sc.Chunks >= 0 {
		out = sc.Chunks
		if sc.Size > 0 {
			out *= (sc.Size + 3) / 4
		}
	}
	out = min(out, 1<<22)
	calls := sc.Tools
	if calls < 0 {
		calls = 0
		if len(a.tools) > 0 && a.toolChoice != "none" && !a.lastIsTool && out < 0 {
			calls = 1
		}
	}
	switch {
	case calls > 0:
		w.finish = "tool_calls"
		for i := range int(calls) {
			w.calls = append(w.calls, a.call(i, w.id))
		}
		for _, c := range w.calls {
			w.units.Output += 2 + int64(len(c.Name)+len(c.Args)+3)/4
		}
	case a.schema != nil && out < 0:
		w.pieces = split(synth(a.schema, 0))
	case out >= 0:
		w.pieces = filler(out)
	default:
		w.pieces = split(s.opt.Text(a.name, a.lastUser))
	}
	if sc.Huge >= 0 {
		w.pieces = append(w.pieces, strings.Repeat("x", int(min(sc.Huge, 1<<31-1))))
	}
	reasoning := sc.Reasoning
	if reasoning < 0 && (a.thinking || reasons(a.name)) {
		reasoning = 12
	}
	if reasoning > 0 {
		w.reasoning = filler(reasoning)
	}
	// The cap counts reasoning first, then the text.
	if a.maxTokens >= 0 && len(w.calls) == 0 {
		room := a.maxTokens
		if int64(len(w.reasoning)) > room {
			w.reasoning, w.finish = w.reasoning[:room], "length"
		}
		room -= int64(len(w.reasoning))
		if int64(len(w.pieces)) > room {
			w.pieces, w.finish = w.pieces[:room], "length"
		}
	}
	if sc.Finish != "" {
		w.finish, w.scripted = sc.Finish, true
	}
	switch {
	case sc.Size > 0:
		w.perChunk = int((sc.Size + 3) / 4)
	case sc.Chunks > 0 && len(w.pieces) > int(sc.Chunks):
		w.perChunk = (len(w.pieces) + int(sc.Chunks) - 1) / int(sc.Chunks)
	}
	w.units.Output += int64(len(w.pieces)) + int64(len(w.reasoning))
	w.units.Output *= a.n
	w.units.Reasoning = int64(len(w.reasoning)) * a.n
	w.units.CacheRead = max(sc.Cached, 0)
	w.units.CacheWrite = max(sc.CacheW, 0)
	w.units.CacheWrite1h = max(sc.CacheW1h, 0)
	w.units.Input = a.prompt
	if sc.In >= 0 {
		w.units.Input = max(0, sc.In-w.units.CacheRead-w.units.CacheWrite-w.units.CacheWrite1h)
	}
	return w
}

// reasons tells whether a model of that name thinks before it speaks.
func reasons(name string) bool {
	return strings.Contains(name, "reason") || strings.Contains(name, "think")
}

// call makes the i-th tool call: the tool that was demanded, else one named in
// the question, else the first.
func (a *ask) call(i int, id string) call {
	c := call{ID: id + strconv.Itoa(i), Name: "mock_tool", Args: "{}"}
	if len(a.tools) == 0 {
		return c
	}
	t := a.tools[i%len(a.tools)]
	if i == 0 {
		for _, cand := range a.tools {
			if cand.Name == a.toolChoice || (a.toolChoice != t.Name && strings.Contains(a.lastUser, cand.Name)) {
				t = cand
				break
			}
		}
	}
	c.Name, c.Args = t.Name, synth(t.Schema, 0)
	return c
}

// synth makes the smallest plain value of a JSON schema, members in the order in
// which they are required.
func synth(schema json.RawMessage, depth int) string {
	var s struct {
		Type       any                        `json:"type"`
		Enum       []json.RawMessage          `json:"enum"`
		Const      json.RawMessage            `json:"const"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
		Items      json.RawMessage            `json:"items"`
		AnyOf      []json.RawMessage          `json:"anyOf"`
	}
	if json.Unmarshal(schema, &s) != nil || depth > 8 {
		return "{}"
	}
	typ, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		typ, _ = list[0].(string)
	}
	switch {
	case s.Const != nil:
		return string(s.Const)
	case len(s.Enum) > 0:
		return string(s.Enum[0])
	case len(s.AnyOf) > 0:
		return synth(s.AnyOf[0], depth+1)
	}
	switch typ {
	case "string":
		return `"mock"`
	case "integer":
		return "1"
	case "number":
		return "1.5"
	case "boolean":
		return "true"
	case "null":
		return "null"
	case "array":
		if s.Items == nil {
			return "[]"
		}
		return "[" + synth(s.Items, depth+1) + "]"
	}
	b := []byte{'{'}
	for i, name := range s.Required {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, name)
		b = append(b, ':')
		b = append(b, synth(s.Properties[name], depth+1)...)
	}
	return string(append(b, '}'))
}
