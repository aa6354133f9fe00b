package translate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/peek"
)

// run gives an upstream's answer to a translation, in writes of size bytes (0: all
// at once), as the relay would.
func run(t testing.TB, from, to chat.Protocol, dialect openai.Dialect, body []byte, streamed, asked bool, size int, repeats ...bool) (out []byte, s *Stream, failed bool) {
	t.Helper()
	s = new(Stream)
	cfg := protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up", Dialect: uint8(dialect), AskedUsage: asked, InputEstimate: 3, Repeats: len(repeats) > 0 && repeats[0]}
	s.Begin(from, to, &cfg, &chat.Config{ID: []byte("01TEST"), Model: "shown", Created: 1_760_000_000, AskedUsage: asked, InputEstimate: 3})
	if !streamed {
		out, k, err := s.Buffered(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		return out, s, k == protocol.ErrorEvent
	}
	out, failed = feed(s, body, size)
	return out, s, failed
}

// feed gives a stream to a translation that has begun, in writes of size bytes (0: all at
// once), as the relay would.
func feed(s *Stream, body []byte, size int) (out []byte, failed bool) {
	var sc sse.Scanner
	var buf []byte // the relay reads the next event where this one was
	done := false
	take := func(ev []byte) {
		if done {
			return
		}
		buf = append(buf[:0], ev...)
		var k protocol.Kind
		out, k = s.Event(out, buf)
		for i := range buf {
			buf[i] = '#'
		}
		failed = failed || k == protocol.ErrorEvent
		done = k == protocol.Terminator
	}
	if size == 0 {
		size = len(body)
	}
	from := 0 // of the event under way
	for end := 0; end < len(body); {
		end = min(end+size, len(body))
		for {
			n := sc.Next(body[from:end:end])
			if n == 0 {
				break
			}
			take(body[from : from+n])
			from += n
		}
	}
	if from < len(body) {
		take(body[from:])
	}
	if s.Terminated() {
		out = s.End(out)
	}
	return out, failed
}

// answer is what a client makes of an answer.
type answer struct {
	text, reasoning, refusal string
	calls                    []toolCall
	finish                   string
	usage                    map[string]any
	signatures               []string
	ended                    bool
	starts                   int
	notes                    int
}

type toolCall struct{ ID, Name, Arguments string }

func events(t testing.TB, out []byte) (names []string, datas [][]byte) {
	t.Helper()
	for len(out) > 0 {
		n := sse.Next(out)
		if n == 0 {
			t.Fatalf("the output ends amid an event: %q", out)
		}
		e := sse.Parse(out[:n])
		if e.Datas == 1 {
			names = append(names, string(e.Name))
			datas = append(datas, e.Data)
		} else if e.Datas > 1 {
			t.Fatalf("an event of %d lines", e.Datas)
		}
		out = out[n:]
	}
	return names, datas
}

// readChat reads Chat Completions as a client does.
func readChat(t testing.TB, out []byte, streamed bool) (a answer) {
	t.Helper()
	type call struct {
		Index    int
		ID       string
		Function struct{ Name, Arguments string }
	}
	type delta struct {
		Content   *string
		Reasoning string `json:"reasoning_content"`
		Refusal   *string
		Calls     []call                                   `json:"tool_calls"`
		Details   []struct{ Type, Signature, Data string } `json:"reasoning_details"`
		Notes     []any                                    `json:"annotations"`
	}
	add := func(d *delta) {
		if d.Content != nil {
			a.text += *d.Content
		}
		if d.Refusal != nil {
			a.refusal += *d.Refusal
		}
		a.reasoning += d.Reasoning
		a.notes += len(d.Notes)
		for _, x := range d.Details {
			if x.Signature+x.Data != "" {
				a.signatures = append(a.signatures, x.Signature+x.Data)
			}
		}
		for i, c := range d.Calls {
			if !streamed {
				c.Index = i
			}
			for len(a.calls) <= c.Index {
				a.calls = append(a.calls, toolCall{})
			}
			x := &a.calls[c.Index]
			x.ID, x.Name, x.Arguments = x.ID+c.ID, x.Name+c.Function.Name, x.Arguments+c.Function.Arguments
		}
	}
	read := func(data []byte) {
		var c struct {
			ID, Object, Model string
			Choices           []struct {
				Delta, Message delta
				Finish         *string `json:"finish_reason"`
			}
			Usage map[string]any
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if c.Model != "shown" || c.ID != "chatcmpl-01TEST" {
			t.Fatalf("model %q, id %q", c.Model, c.ID)
		}
		for _, x := range c.Choices {
			add(&x.Delta)
			add(&x.Message)
			if x.Finish != nil {
				a.finish += *x.Finish
			}
		}
		if c.Usage != nil {
			a.usage = c.Usage
		}
	}
	if !streamed {
		read(out)
		a.ended = true
		return a
	}
	_, datas := events(t, out)
	for i, data := range datas {
		if string(data) == "[DONE]" {
			a.ended = i == len(datas)-1
			continue
		}
		read(data)
	}
	return a
}

// readMessages reads Messages as a client does, and holds the stream's grammar.
func readMessages(t testing.TB, out []byte, streamed bool) (a answer) {
	t.Helper()
	type block struct {
		Type, Text, Thinking, ID, Name, Signature string
		Input                                     json.RawMessage
	}
	if !streamed {
		var m struct {
			Model, ID string
			Content   []block
			Stop      string `json:"stop_reason"`
			Usage     map[string]any
		}
		if err := json.Unmarshal(out, &m); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if m.Model != "shown" || m.ID != "msg_01TEST" {
			t.Fatalf("model %q, id %q", m.Model, m.ID)
		}
		for _, b := range m.Content {
			a.text += b.Text
			a.reasoning += b.Thinking
			if b.Type == "tool_use" {
				a.calls = append(a.calls, toolCall{b.ID, b.Name, string(b.Input)})
			}
		}
		a.finish, a.usage, a.ended = m.Stop, m.Usage, true
		return a
	}
	names, datas := events(t, out)
	open, next := -1, 0
	cited, said := false, false // the open block is
	for i, data := range datas {
		var e struct {
			Type    string
			Index   int
			Message struct{ Model, ID string }
			Block   block `json:"content_block"`
			Delta   struct {
				Type, Text, Thinking string
				Citation             json.RawMessage
				JSON                 string `json:"partial_json"`
				Stop                 string `json:"stop_reason"`
			}
			Usage map[string]any
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if e.Type != names[i] {
			t.Fatalf("event %q holds %q", names[i], e.Type)
		}
		switch e.Type {
		case "message_start":
			if a.starts++; e.Message.Model != "shown" || i != 0 {
				t.Fatalf("message_start at %d: %s", i, data)
			}
		case "content_block_start":
			if open >= 0 || e.Index != next {
				t.Fatalf("block %d begins while %d is open; want %d", e.Index, open, next)
			}
			open = e.Index
			next++
			cited, said = false, false
			if e.Block.Type == "tool_use" {
				a.calls = append(a.calls, toolCall{ID: e.Block.ID, Name: e.Block.Name})
			}
		case "content_block_delta":
			if e.Index != open {
				t.Fatalf("a delta for block %d while %d is open", e.Index, open)
			}
			a.text += e.Delta.Text
			cited, said = cited || e.Delta.Citation != nil, said || e.Delta.Text != ""
			a.reasoning += e.Delta.Thinking
			if e.Delta.JSON != "" {
				a.calls[len(a.calls)-1].Arguments += e.Delta.JSON
			}
		case "content_block_stop":
			if e.Index != open {
				t.Fatalf("block %d ends while %d is open", e.Index, open)
			}
			if cited && !said {
				t.Fatalf("block %d cites and says nothing: %s", e.Index, out)
			}
			open = -1
		case "message_delta":
			if open >= 0 {
				t.Fatal("message_delta amid a block")
			}
			a.finish += e.Delta.Stop
			a.usage = e.Usage
		case "message_stop":
			a.ended = i == len(datas)-1
		}
	}
	return a
}

// readGemini reads Gemini as a client does.
func readGemini(t testing.TB, out []byte, streamed bool) (a answer) {
	t.Helper()
	read := func(data []byte) {
		var c struct {
			ModelVersion, ResponseID string
			Candidates               []struct {
				Content struct {
					Role  string
					Parts []struct {
						Text, ThoughtSignature string
						Thought                bool
						FunctionCall           *struct {
							ID, Name string
							Args     json.RawMessage
						}
					}
				}
				FinishReason      string
				GroundingMetadata struct{ GroundingChunks []any }
			}
			UsageMetadata map[string]any
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if c.ModelVersion != "shown" || c.ResponseID != "01TEST" || a.finish != "" || len(c.Candidates) != 1 || c.Candidates[0].Content.Role != "model" {
			t.Fatalf("model %q, id %q, behind the end: %q, %s", c.ModelVersion, c.ResponseID, a.finish, data)
		}
		a.finish = c.Candidates[0].FinishReason
		a.notes += len(c.Candidates[0].GroundingMetadata.GroundingChunks)
		for _, p := range c.Candidates[0].Content.Parts {
			switch {
			case p.Thought:
				a.reasoning += p.Text
				if p.ThoughtSignature != "" {
					b, err := base64.StdEncoding.DecodeString(p.ThoughtSignature)
					if err != nil {
						t.Fatal(err)
					}
					a.signatures = append(a.signatures, string(b))
				}
			case p.FunctionCall != nil:
				a.calls = append(a.calls, toolCall{p.FunctionCall.ID, p.FunctionCall.Name, string(p.FunctionCall.Args)})
			default:
				a.text += p.Text
			}
		}
		if c.UsageMetadata != nil {
			a.usage = c.UsageMetadata
		}
	}
	if !streamed {
		read(out)
		a.ended = a.finish != ""
		return a
	}
	_, datas := events(t, out)
	for _, data := range datas {
		read(data)
	}
	a.ended = a.finish != "" && a.usage != nil
	return a
}

func read(t testing.TB, p chat.Protocol, out []byte, streamed bool) answer {
	t.Helper()
	switch p {
	case chat.Messages:
		return readMessages(t, out, streamed)
	case chat.Gemini:
		return readGemini(t, out, streamed)
	case chat.DashScope:
		return readDashScope(t, out, streamed)
	case chat.Responses:
		return readResponses(t, out, streamed)
	}
	return readChat(t, out, streamed)
}

// sources are the formats that both customers and upstreams speak.
func sources() (list []chat.Protocol) {
	for p := range chat.NumProtocols {
		if formats[p].decode != nil && formats[p].request != nil {
			list = append(list, p)
		}
	}
	return list
}

// upstreamFormats are the formats that upstreams speak.
func upstreamFormats() (list []chat.Protocol) {
	for p := range chat.NumProtocols {
		if formats[p].observer != nil {
			list = append(list, p)
		}
	}
	return list
}

// customers are the formats that an answer of one is translated for; targets those of
// upstreams that a request of one is.
func customers(from chat.Protocol) (list []chat.Protocol) {
	for p := range chat.NumProtocols {
		if p != from && formats[p].encoder != nil {
			list = append(list, p)
		}
	}
	return list
}

func targets(from chat.Protocol) (list []chat.Protocol) {
	for p := range chat.NumProtocols {
		if p != from && formats[p].request != nil {
			list = append(list, p)
		}
	}
	return list
}

// short is the name of a format in the names of files.
var short = map[chat.Protocol]string{chat.OpenAI: "chat", chat.Messages: "messages", chat.Gemini: "gemini", chat.DashScope: "dashscope", chat.Converse: "bedrock", chat.Cohere: "cohere"}

// models are names of upstream models of a format.
var models = map[chat.Protocol]string{
	chat.OpenAI: "gpt-5.2-reason", chat.Messages: "claude-sonnet-4-5", chat.Gemini: "gemini-2.5-flash", chat.DashScope: "qwen-plus",
	chat.Converse: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", chat.Cohere: "command-a-reasoning-08-2025",
}

// sameJSON reports whether two JSON texts say the same, an empty one being {}.
func sameJSON(a, b string) bool {
	norm := func(s string) string {
		if strings.TrimSpace(s) == "" {
			s = "{}"
		}
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return s
		}
		b, _ := json.Marshal(v)
		return string(b)
	}
	return norm(a) == norm(b)
}

func count(u map[string]any, path ...string) int64 {
	for _, p := range path[:len(path)-1] {
		u, _ = u[p].(map[string]any)
	}
	f, _ := u[path[len(path)-1]].(float64)
	return int64(f)
}

func indent(b []byte) string {
	var o bytes.Buffer
	if json.Indent(&o, b, "", "  ") != nil {
		return string(b)
	}
	return o.String()
}

var shapes = map[chat.Protocol]peek.Shape{chat.OpenAI: peek.OpenAIChat, chat.Messages: peek.AnthropicMessages, chat.Gemini: peek.GeminiGenerate, chat.DashScope: peek.DashScopeText}

func seeds(f *testing.F, pattern string) (list [][]byte) {
	f.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// start is a translation that has begun.
func start(from, to chat.Protocol) *Stream {
	s := new(Stream)
	s.Begin(from, to, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &chat.Config{ID: []byte("01TEST"), Model: "shown"})
	return s
}

// seedFiles are the files of a pattern.
func seedFiles(t *testing.T, pattern string) (list [][]byte) {
	t.Helper()
	_, list = inputs(t, filepath.Base(pattern))
	return list
}

func seedFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
