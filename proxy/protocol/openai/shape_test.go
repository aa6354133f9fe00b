package openai

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/sse"
)

const chunkOf = `data: {"id":"c","model":"up","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"usage":null,"obfuscation":"%s"}` + "\n\n"

// An event that is the last one but for its text is not walked through; every other is.
func TestShape(t *testing.T) {
	text := func(s string) string { return fmt.Sprintf(chunkOf, s, "abc") }
	args := func(s string) string {
		return `data: {"model":"up","choices":[{"delta":{"tool_calls":[{"index":0,` + s + `}]}}]}` + "\n\n"
	}
	long := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)
	for _, tt := range []struct {
		name        string
		last, event string
		alike       bool
	}{
		{"another text", text("a"), text(" Paris"), true},
		{"a long text", text("a"), text(long), true},
		{"a long text with an escape at its end", text("a"), text(long + `\"`), true},
		{"a shorter text", text("a long one"), text("b"), true},
		{"escapes", text("a"), text(`\"x\\\u00e9\n`), true},
		{"beyond ASCII", text("a"), text("é漢😀"), true},
		{"another padding", text("a"), fmt.Sprintf(chunkOf, "b", "0123456789"), true},
		{"no padding left", text("a"), fmt.Sprintf(chunkOf, "b", ""), true},
		{"padding before the text", `data: {"obfuscation":"x","choices":[{"delta":{"content":"a"}}]}` + "\n\n", `data: {"obfuscation":"x","choices":[{"delta":{"content":"b"}}]}` + "\n\n", true},
		{"arguments of a tool", args(`"function":{"arguments":"{\"a"}`), args(`"function":{"arguments":"\":1}"}`), true},
		{"no text", text("a"), text(""), false},
		{"a text behind none", text(""), text("a"), false},
		{"a line ends in the text", text("a"), text("b\ndata: c"), false},
		{"a line ends behind a backslash", text("a"), text("b\\\ndata: c"), false},
		{"a line ends in the padding", text("a"), fmt.Sprintf(chunkOf, "b", "x\ny"), false},
		{"the text never ends", text("a"), `data: {"id":"c","model":"up","choices":[{"index":0,"delta":{"content":"abcdefghijkl\`, false},
		{"the text ends early", text("a"), text(`b","x":"c`), false},
		{"the event goes on", text("a"), text("b") + "data: x\n\n", false},
		{"another end", text("a"), strings.Replace(text("b"), "null}]", `"stop"}]`, 1), false},
		{"another start", text("a"), strings.Replace(text("b"), `"c"`, `"d"`, 1), false},
		{"the name of a tool", args(`"function":{"name":"f","arguments":"{"}`), args(`"function":{"name":"f","arguments":"}"}`), false},
		{"two texts", `data: {"choices":[{"delta":{"content":"a","refusal":"b"}}]}` + "\n\n", `data: {"choices":[{"delta":{"content":"a","refusal":"c"}}]}` + "\n\n", false},
		{"a supplier is hidden", `data: {"choices":[{"delta":{"content":"a"},"native_finish_reason":1}]}` + "\n\n", `data: {"choices":[{"delta":{"content":"b"},"native_finish_reason":1}]}` + "\n\n", false},
		{"the model behind", `data: {"choices":[{"delta":{"content":"a"}}],"model":"up"}` + "\n\n", `data: {"choices":[{"delta":{"content":"b"}}],"model":"up"}` + "\n\n", false},
		{"usage beside", `data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}` + "\n\n", `data: {"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}` + "\n\n", false},
		{"several lines", "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"a\"}}]}\n\n", "{\"choices\":[{\"delta\":\n{\"content\":\"a\"}}]}\n\n", false},
		{"a named error", "event: error\n" + text("a"), "event: error\n" + text("b"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStream(protocol.StreamConfig{ClientModel: "alias"})
			s.Event(nil, []byte(tt.last))
			before := s.count
			out, ok := s.again([]byte("kept "), []byte(tt.event))
			if ok != tt.alike {
				t.Fatalf("alike: %v", ok)
			}
			if !ok {
				if string(out) != "kept " || s.count != before {
					t.Errorf("refused, but %q was appended and %v counted", out, s.count)
				}
				return
			}
			if want := "kept " + strings.Replace(tt.event, `"up"`, `"alias"`, 1); string(out) != want {
				t.Errorf("got  %q\nwant %q", out, want)
			}
		})
	}
}

// What is longer than a stream remembers is walked through.
func TestShapeIsBounded(t *testing.T) {
	for n := range 2 * maxFrame {
		s := newStream(protocol.StreamConfig{})
		for _, at := range []string{`{"id":"%s","choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{"content":"a"}}],"id":"%s"}`} {
			ev := "data: " + fmt.Sprintf(at, strings.Repeat("x", n)) + "\n\n"
			for range 2 {
				if out, k := s.Event(nil, []byte(ev)); string(out) != ev || k != protocol.Output {
					t.Fatalf("%d more bytes: %v, %q", n, k, out)
				}
			}
			if _, ok := s.again(nil, []byte(ev)); ok != (len(ev)-1 <= maxFrame) {
				t.Fatalf("an event of %d bytes is compared: %v", len(ev), ok)
			}
		}
	}
}

// seen is all of s but what it keeps to be quick.
func seen(s *Stream) Stream {
	c := *s
	c.shape, c.joined, c.patched = shape{}, nil, nil
	return c
}

// sideBySide gives events to a stream that compares them with one another and to one that
// walks through each of them, and both must say the same.
func sideBySide(t *testing.T, cfg protocol.StreamConfig) func(ev []byte) {
	quick, slow := newStream(cfg), newStream(cfg)
	return func(ev []byte) {
		t.Helper()
		a, ka := quick.Event([]byte("b"), ev)
		slow.shape.text = 0
		b, kb := slow.Event([]byte("b"), ev)
		if !bytes.Equal(a, b) || ka != kb {
			t.Fatalf("%q became\n%v %q, walked through\n%v %q", ev, ka, a, kb, b)
		}
		if x, y := seen(quick), seen(slow); !reflect.DeepEqual(x, y) {
			t.Fatalf("%q\n%+v, walked through\n%+v", ev, x, y)
		}
	}
}

// What comes between two events that are alike is not lost, and makes nothing alike.
func TestShapeBetween(t *testing.T) {
	for name, events := range map[string][]string{
		"the start of one and the rest of another": {
			`data: {"x":"aaaa","choices":[{"delta":{"content":"a"}}]}`, `data: {"choices":[{"delta":{}}]}`, `data: {"choices":,"choices":[{"delta":{"content":"b"}}]}`,
		},
		"another usage on several lines": {
			`data: {"choices":[{"delta":{"content":"a"},"usage":{"prompt_tokens":5,"completion_tokens":5}}]}`,
			"data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9},\ndata: \"choices\":[]}",
			`data: {"choices":[{"delta":{"content":"b"},"usage":{"prompt_tokens":5,"completion_tokens":5}}]}`,
		},
		"an end":        {`data: {"choices":[{"delta":{"content":"a"}}]}`, `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}`, `data: {"choices":[{"delta":{"content":"b"}}]}`},
		"broken":        {`data: {"choices":[{"delta":{"content":"a"}}]}`, `data: {"choices":[{"delta":{"content":"a"}}`, `data: {"choices":[{"delta":{"content":"b"}}]}`},
		"text and end":  {`data: {"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}`, `data: {"choices":[{"delta":{"content":"b"},"finish_reason":"length"}]}`},
		"other choices": {`data: {"choices":[{"index":0,"delta":{"content":"a"}}]}`, `data: {"choices":[{"index":1,"delta":{"content":"b"}}]}`, `data: {"choices":[{"index":0,"delta":{"content":"c"}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			give := sideBySide(t, protocol.StreamConfig{ClientModel: "alias"})
			for range 2 {
				for _, ev := range events {
					give([]byte(ev + "\n\n"))
				}
			}
		})
	}
}

// FuzzShape: whatever events come in a row, comparing them gives the same bytes, kinds,
// counts and facts as walking through each of them.
func FuzzShape(f *testing.F) {
	for _, seed := range []string{
		fmt.Sprintf(chunkOf, "a", "b"), fmt.Sprintf(chunkOf, "a", "b") + fmt.Sprintf(chunkOf, "cd", "efg") + "data: [DONE]\n\n",
		`data: {"model":"up","choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}],"reasoning_details":[1]}}]}` + "\n\n",
		": c\n" + `data: {"model":"up","choices":[{"delta":{"content":[{"type":"text","text":"x"}]}}],"x_groq":{}}` + "\n\n",
		`data: {"choices":[{"text":"a","usage":{"prompt_tokens":1}}],"model":"up","provider":"p","error":null}` + "\r\n\r\n",
	} {
		f.Add([]byte(seed), []byte("xy"), uint16(90), byte(1), byte(0))
	}
	f.Fuzz(func(t *testing.T, stream, piece []byte, at uint16, cut, mode byte) {
		cfg := protocol.StreamConfig{ClientModel: "alias", Dialect: mode % byte(numDialects), Pinned: mode&32 != 0, AskedUsage: mode&64 != 0}
		if mode&128 != 0 {
			cfg.ClientModel = "up"
		}
		give := sideBySide(t, cfg)
		for rest := stream; len(rest) > 0; {
			n := sse.Next(rest)
			if n == 0 {
				n = len(rest)
			}
			ev := rest[:n]
			rest = rest[n:]
			give(ev)
			// The same with a piece of it changed, and itself again.
			i := min(int(at), len(ev))
			give(bytes.Join([][]byte{ev[:i], piece, ev[min(i+int(cut), len(ev)):]}, nil))
			give(ev)
		}
	})
}
