package translate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/sse"
)

// passSeveral translates an answer of two choices.
func passSeveral(t *testing.T, from, to chat.Protocol, body []byte, streamed bool) []byte {
	t.Helper()
	s := new(Stream)
	s.Begin(from, to, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &chat.Config{ID: []byte("01TEST"), Model: "shown", Choices: 2})
	if !streamed {
		out, _, err := s.Buffered(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var out []byte
	for rest := body; len(rest) > 0; {
		n := sse.Next(rest)
		if n == 0 {
			n = len(rest)
		}
		out, _ = s.Event(out, rest[:n])
		rest = rest[n:]
	}
	if !s.Terminated() {
		t.Fatalf("%v for %v: it does not end: %s", from, to, body)
	}
	return s.End(out)
}

// choices are what a Chat client makes of several choices.
func choices(t *testing.T, out []byte, streamed bool) (list [2]answer, probable [2]int) {
	t.Helper()
	take := func(data []byte) {
		var c struct {
			Choices []struct {
				Index          int
				Delta, Message struct {
					Content string
					Calls   []struct {
						Index    int
						ID       string
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
				Logprobs struct {
					Content []struct {
						Token   string
						Logprob float64
						Top     []struct{ Token string } `json:"top_logprobs"`
					}
				}
				Finish string `json:"finish_reason"`
			}
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		for _, x := range c.Choices {
			a, d := &list[x.Index], x.Delta
			if !streamed {
				d = x.Message
			}
			a.text += d.Content
			a.finish += x.Finish
			for i, p := range d.Calls {
				if streamed {
					i = p.Index
				}
				for len(a.calls) <= i {
					a.calls = append(a.calls, toolCall{})
				}
				y := &a.calls[i]
				y.ID, y.Name, y.Arguments = y.ID+p.ID, y.Name+p.Function.Name, y.Arguments+p.Function.Arguments
			}
			for _, l := range x.Logprobs.Content {
				if l.Logprob >= 0 || len(l.Top) != 1 {
					t.Errorf("%+v", l)
				}
				probable[x.Index]++
			}
		}
	}
	if !streamed {
		take(out)
		return list, probable
	}
	_, datas := events(t, out)
	for _, d := range datas {
		if string(d) != "[DONE]" {
			take(d)
		}
	}
	return list, probable
}

const (
	twoWhole = `{"id":"x","object":"chat.completion","model":"up","choices":[` +
		`{"index":0,"message":{"role":"assistant","content":"One"},"logprobs":{"content":[{"token":"O","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"\"","logprob":-1e-3,"bytes":null}]},{"token":"ne","logprob":-2,"bytes":null,"top_logprobs":[{"token":"x","logprob":-3,"bytes":null}]}]},"finish_reason":"stop"},` +
		`{"index":1,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],` +
		`"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}}`
	twoStream = `data: {"id":"x","model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"x","model":"up","choices":[{"index":1,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\""}}]},"finish_reason":null}]}

data: {"id":"x","model":"up","choices":[{"index":0,"delta":{"content":"O"},"logprobs":{"content":[{"token":"O","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"\"","logprob":-1e-3,"bytes":null}]}]},"finish_reason":null}]}

data: {"id":"x","model":"up","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":null},{"index":0,"delta":{"content":"ne"},"logprobs":{"content":[{"token":"ne","logprob":-2,"bytes":null,"top_logprobs":[{"token":"x","logprob":-3,"bytes":null}]}]},"finish_reason":null}]}

data: {"id":"x","model":"up","choices":[{"index":1,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"x","model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"x","model":"up","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}}

data: [DONE]

`
)

// Several answers at once, each with its calls and the probabilities of its tokens,
// survive the way through every format that has them.
func TestSeveralAnswers(t *testing.T) {
	for _, by := range []chat.Protocol{chat.Gemini, chat.DashScope} {
		for _, c := range []struct {
			body     string
			streamed bool
		}{{twoWhole, false}, {twoStream, true}} {
			want, tokens := choices(t, []byte(c.body), c.streamed)
			there := passSeveral(t, chat.OpenAI, by, []byte(c.body), c.streamed)
			back := passSeveral(t, by, chat.OpenAI, there, c.streamed)
			got, told := choices(t, back, c.streamed)
			if by == chat.Gemini { // it has no reason for calls, and ends say what was seen
				want[1].finish = "tool_calls"
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || told != tokens || tokens != [2]int{2, 0} || want[0].text != "One" || len(want[1].calls) != 1 {
				t.Errorf("by %v, streamed %v: %+v %v\nwant %+v %v\n%s\n%s", by, c.streamed, got, told, want, tokens, there, back)
			}
		}
	}
}

// FuzzSeveral: the same as FuzzStream of two choices and the probabilities of tokens.
func FuzzSeveral(f *testing.F) {
	f.Add([]byte(twoStream), uint8(0), uint8(0))
	f.Add(passSeveralSeed(f, chat.Gemini), uint8(1), uint8(1))
	f.Add(passSeveralSeed(f, chat.DashScope), uint8(2), uint8(0))
	formatsOf := []chat.Protocol{chat.OpenAI, chat.Gemini, chat.DashScope}
	f.Fuzz(func(t *testing.T, body []byte, source, target uint8) {
		from, to := formatsOf[int(source)%3], formatsOf[int(target)%3]
		if from == to {
			return
		}
		var outs [2]string
		for i, size := range []int{0, 7} {
			s := new(Stream)
			s.Begin(from, to, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &chat.Config{ID: []byte("01TEST"), Model: "shown", Choices: 2})
			out, _ := prototest.Feed(s, body, size)
			if s.Terminated() {
				out = s.End(out)
			}
			outs[i] = string(out)
		}
		if outs[0] != outs[1] {
			t.Fatalf("%q\nor\n%q", outs[0], outs[1])
		}
	})
}

func passSeveralSeed(f *testing.F, to chat.Protocol) (out []byte) {
	f.Helper()
	s := new(Stream)
	s.Begin(chat.OpenAI, to, &protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "up"}, &chat.Config{ID: []byte("01TEST"), Model: "shown", Choices: 2})
	out, _ = prototest.Feed(s, []byte(twoStream), 0)
	return s.End(out)
}

// FuzzPassedError: an upstream's error of whatever bytes becomes JSON of the client's
// format, without the upstream's name of the model.
func FuzzPassedError(f *testing.F) {
	for _, s := range []string{`{"error":{"message":"no","type":"t","code":"c"}}`, `{"type":"error","error":{"type":"x","message":"the-upstream-model"}}`, `{"code":"InvalidParameter","message":"\u0022"}`, `<html>`, ``, `[{"error":{"message":"a","code":400}}]`, `{"detail":[{"msg":"m"}]}`} {
		f.Add([]byte(s), uint16(400))
	}
	f.Fuzz(func(t *testing.T, body []byte, status uint16) {
		cfg := protocol.StreamConfig{ClientModel: "shown", UpstreamModel: "the-upstream-model"}
		for to := range chat.NumProtocols {
			if formats[to].passError == nil {
				continue
			}
			out := AppendPassedError(nil, to, body, int(status), &cfg, []byte("req_1"))
			if !json.Valid(out) || bytes.Contains(out, []byte("the-upstream-model")) {
				t.Fatalf("%q for %v became %q", body, to, out)
			}
		}
	})
}
