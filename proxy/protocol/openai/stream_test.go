package openai

import (
	"bytes"
	"strings"
	"testing"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/usage"
)

func newStream(cfg protocol.StreamConfig) *Stream {
	s := new(Stream)
	s.Reset(&cfg)
	return s
}

// S3-9, D8: what each event is, and what of it the client gets.
func TestEventKinds(t *testing.T) {
	alias := protocol.StreamConfig{ClientModel: "alias", UpstreamModel: "up", Dialect: uint8(OpenAI)}
	asked := alias
	asked.AskedUsage = true
	router := alias
	router.Dialect = uint8(OpenRouter)
	pinned := router
	pinned.Pinned = true
	for _, tt := range []struct {
		name   string
		cfg    protocol.StreamConfig
		events []string // in, then what comes out, then the kind
	}{
		{"role, text, finish, usage, done", alias, []string{
			`data: {"model":"up","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`, `data: {"model":"alias","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`, "preamble",
			`data: {"model":"up","choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}`, `data: {"model":"alias","choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}`, "output",
			`data: {"model":"up","choices":[{"delta":{},"finish_reason":"stop"}]}`, `data: {"model":"alias","choices":[{"delta":{},"finish_reason":"stop"}]}`, "final",
			`data: {"model":"up","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, ``, "withheld",
			`data: [DONE]`, `data: [DONE]`, "terminator",
		}},
		{"usage asked for", asked, []string{
			`data: {"model":"up","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, `data: {"model":"alias","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, "final",
		}},
		{"azure's first chunk", alias, []string{`data: {"choices":[],"model":"","prompt_filter_results":[]}`, ``, "withheld"}},
		{"azure's first chunk, asked", asked, []string{`data: {"choices":[],"model":"","prompt_filter_results":[]}`, `data: {"choices":[],"model":"alias","prompt_filter_results":[]}`, "preamble"}},
		{"space in empty choices", alias, []string{`data: {"model":"up","choices":[ ]}`, ``, "withheld"}},
		{"null choices", alias, []string{`data: {"model":"up","choices":null}`, ``, "withheld"}},
		{"no choices but usage", alias, []string{`data: {"model":"up","usage":{"prompt_tokens":1,"completion_tokens":2}}`, ``, "withheld"}},
		{"tool call", alias, []string{`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}`, `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}`, "output"}},
		{"error event", alias, []string{`data: {"error":{"message":"x","code":"server_error"}}`, `data: {"error":{"message":"x","code":"server_error"}}`, "error"}},
		{"named error", alias, []string{"event: error\n" + `data: {"x":1}`, "event: error\n" + `data: {"x":1}`, "error"}},
		{"named error, no JSON", alias, []string{"event: error\ndata: gone", "event: error\ndata: gone", "error"}},
		{"error beside an empty choice", router, []string{
			`data: {"id":"g","provider":"P","error":{"code":400,"message":"m"},"model":"up","choices":[{"delta":{"content":""},"finish_reason":null,"native_finish_reason":null}],"usage":{"prompt_tokens":4,"completion_tokens":1,"cost":0}}`,
			`data: {"id":"g","error":{"code":400,"message":"m"},"model":"alias","choices":[{"delta":{"content":""},"finish_reason":null}],"usage":{"prompt_tokens":4,"completion_tokens":1}}`, "error",
		}},
		{"comment", router, []string{": OPENROUTER PROCESSING", ": keep-alive", "comment"}},
		{"comment beside data", router, []string{": HOST\n" + `data: {"model":"up","choices":[{"delta":{"content":"x"}}]}`, ": keep-alive\n" + `data: {"model":"alias","choices":[{"delta":{"content":"x"}}]}`, "output"}},
		{"supplier first", router, []string{`data: {"provider":"P","native_finish_reason":1,"model":"up","choices":[{"native_finish_reason":"s","index":0,"delta":{"content":"x"}}]}`, `data: {"model":"alias","choices":[{"index":0,"delta":{"content":"x"}}]}`, "output"}},
		{"only suppliers", router, []string{`data: {"provider":"P", "x_groq":{}}`, `data: {}`, "other"}},
		{"pinned keeps all but prices", pinned, []string{
			`data: {"provider":"P","model":"up","choices":[{"delta":{"content":"x"},"native_finish_reason":"s"}],"usage":{"cost":1,"prompt_tokens":1,"completion_tokens":1,"cost_details":{}}}`,
			`data: {"provider":"P","model":"up","choices":[{"delta":{"content":"x"},"native_finish_reason":"s"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, "output",
			": OPENROUTER PROCESSING", ": OPENROUTER PROCESSING", "comment",
		}},
		{"nested model is not ours", alias, []string{`data: {"choices":[{"delta":{"content":"\"model\":\"up\""},"model":"up"}],"model":"up"}`, `data: {"choices":[{"delta":{"content":"\"model\":\"up\""},"model":"up"}],"model":"alias"}`, "output"}},
		{"several data lines", alias, []string{"data: {\"model\":\"up\",\ndata: \"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "data: {\"model\":\"alias\",\ndata: \"choices\":[{\"delta\":{\"content\":\"x\"}}]}", "output"}},
		{"unreadable", alias, []string{`data: {"model":"up","choices":[`, `data: {"model":"up","choices":[`, "output"}},
		{"no data", alias, []string{"retry: 100", "retry: 100", "other"}},
		{"empty data", alias, []string{"data: ", "data: ", "other"}},
		{"array", alias, []string{"data: [1]", "data: [1]", "output"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, eol := range []string{"\n", "\r\n", "\r"} {
				s := newStream(tt.cfg)
				for i := 0; i < len(tt.events); i += 3 {
					wire := func(text string) string {
						if text == "" {
							return ""
						}
						return strings.ReplaceAll(text, "\n", eol) + eol + eol
					}
					out, k := s.Event([]byte("before"), []byte(wire(tt.events[i])))
					if want := "before" + wire(tt.events[i+1]); string(out) != want || k.String() != tt.events[i+2] {
						t.Errorf("eol %q: %s\n got %q %v\nwant %q %s", eol, tt.events[i], out, k, want, tt.events[i+2])
					}
				}
			}
		})
	}
}

// C6: a stream is complete only with its provider's own mark.
func TestTerminated(t *testing.T) {
	finish := []byte("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
	for _, tt := range []struct {
		d    Dialect
		done bool
		want bool
	}{{OpenAI, false, false}, {OpenAI, true, true}, {Perplexity, false, true}, {GPUStack, false, true}, {Custom, false, true}, {DeepSeek, false, false}} {
		s := newStream(protocol.StreamConfig{Dialect: uint8(tt.d)})
		s.Event(nil, finish)
		if tt.done {
			s.Event(nil, []byte("data: [DONE]\n\n"))
		}
		if s.Terminated() != tt.want {
			t.Errorf("%v done %v: %v", tt.d, tt.done, s.Terminated())
		}
	}
	s := newStream(protocol.StreamConfig{Dialect: uint8(Perplexity)})
	s.Event(nil, []byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n"))
	if s.Terminated() {
		t.Error("terminated without a finish reason")
	}
}

// C9: figures that can be no count never become units.
func TestUsageLies(t *testing.T) {
	for _, v := range []string{"1000000000000000000", "-1", "1e3", "3.7", `"12"`, "NaN", "{}", "[]", "true", "99999999999999999999999"} {
		s := newStream(protocol.StreamConfig{Dialect: uint8(OpenAI)})
		s.Event(nil, []byte("data: {\"choices\":[{\"delta\":{\"content\":\"some words\"}}]}\n\n"))
		s.Event(nil, []byte(`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":`+v+"}}\n\n"))
		e := meter.End{OutputCap: 100, InputBound: 50, InputEstimate: 5}
		s.Fill(&e)
		units, _, flags := meter.Final(&e)
		if flags&usage.FlagUsageSuspect == 0 {
			t.Errorf("%s: not flagged", v)
		}
		if units[usage.Input] != 5 || units[usage.Output] < 1 || units[usage.Output] > 5 {
			t.Errorf("%s: units %v", v, units)
		}
	}
	s := newStream(protocol.StreamConfig{Dialect: uint8(OpenAI)})
	s.Event(nil, []byte(`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}`+"\n\n"))
	s.Event(nil, []byte(`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}`+"\n\n"))
	e := meter.End{}
	if s.Fill(&e); !e.Impossible {
		t.Error("shrinking usage was believed")
	}
	s = newStream(protocol.StreamConfig{Dialect: uint8(OpenAI)})
	s.Event(nil, []byte(`data: {"choices":[],"usage":null}`+"\n\n"))
	if s.Fill(&e); e.Impossible || e.Source == usage.SourceReported {
		t.Error("null is no usage")
	}
}

// C7: an event larger than is read at once passes in pieces, unchanged but for its
// head, and its text is counted.
func TestPartial(t *testing.T) {
	text := strings.Repeat("word ", 200_000)
	event := `data: {"id":"c","model":"up","choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
	want := strings.Replace(event, `"up"`, `"alias"`, 1)
	for _, size := range []int{1000, 65536, 262144} {
		s := newStream(protocol.StreamConfig{ClientModel: "alias"})
		var sc sse.Scanner
		if sc.Next([]byte(event[:size])) != 0 {
			t.Fatal("complete")
		}
		sc.Oversize([]byte(event[:size]))
		out, _ := s.Partial(nil, []byte(event[:size]), true, false)
		var k protocol.Kind
		rest := event[size:]
		for {
			n, done := sc.Tail([]byte(rest[:min(size, len(rest))]))
			out, k = s.Partial(out, []byte(rest[:n]), false, done)
			rest = rest[n:]
			if done {
				break
			}
		}
		if string(out) != want || k != protocol.Output || rest != "" {
			t.Errorf("pieces of %d: %d bytes, want %d, kind %v", size, len(out), len(want), k)
		}
		if n := s.OutputBytes(); n < int64(len(text)) || n > int64(len(text))+20 {
			t.Errorf("pieces of %d: counted %d of %d bytes", size, n, len(text))
		}
	}
}

// C8, C11: whole answers.
func TestBuffered(t *testing.T) {
	s := newStream(protocol.StreamConfig{ClientModel: "alias", InputEstimate: 9})
	out, k, err := s.Buffered(nil, []byte(" \n{\"model\":\"up\",\"choices\":[{\"message\":{\"content\":\"twelve bytes\"}}]}\n"))
	if err != nil || k != protocol.Output || string(out) != " \n{\"model\":\"alias\",\"choices\":[{\"message\":{\"content\":\"twelve bytes\"}}]}\n" {
		t.Errorf("%q %v %v", out, k, err)
	}
	if u, src := s.Usage(); src != usage.SourceEstimated || u[usage.Input] != 9 || u[usage.Output] == 0 || s.OutputBytes() != 12 || !s.Terminated() {
		t.Errorf("without usage: %v %v, %d bytes", u, src, s.OutputBytes())
	}
	for _, body := range []string{`{"error":{"message":"x"}}`, `{"model":"up","error":"y"}`} {
		s = newStream(protocol.StreamConfig{ClientModel: "alias"})
		if _, k, err := s.Buffered(nil, []byte(body)); err != nil || k != protocol.ErrorEvent {
			t.Errorf("%s: %v %v", body, k, err)
		}
	}
	for _, body := range []string{``, `[]`, `<html>`, `{"model":"up"`, `{"model":"up"} x`, `"x"`, `null`} {
		s = newStream(protocol.StreamConfig{ClientModel: "alias"})
		if out, _, err := s.Buffered([]byte("before"), []byte(body)); err == nil || string(out) != "before" {
			t.Errorf("%q: accepted as %q", body, out)
		}
	}
}

// The chunks of a stream start alike; the remembered start must not leak from one
// into another that differs.
func TestHeadIsForgotten(t *testing.T) {
	s := newStream(protocol.StreamConfig{ClientModel: "alias", AskedUsage: true})
	for _, tt := range [][2]string{
		{`{"id":"1","model":"up","choices":[{"delta":{"content":"a"}}]}`, `{"id":"1","model":"alias","choices":[{"delta":{"content":"a"}}]}`},
		{`{"id":"1","model":"up","choices":[{"delta":{"content":"b"}}]}`, `{"id":"1","model":"alias","choices":[{"delta":{"content":"b"}}]}`},
		{`{"id":"2","model":"up2","choices":[{"delta":{"content":"b"}}]}`, `{"id":"2","model":"alias","choices":[{"delta":{"content":"b"}}]}`},
		{`{"id":"2","model":"up2","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}`, `{"id":"2","model":"alias","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}`},
		{`{"id":"2","model":"up2","choices":[{"delta":{}}],"x":1}`, `{"id":"2","model":"alias","choices":[{"delta":{}}],"x":1}`},
		{`{"id":"2","model":"alias","choices":[{"delta":{}}]}`, `{"id":"2","model":"alias","choices":[{"delta":{}}]}`},
		{`{"id":"2","choices":[{"delta":{}}],"model":"up2"}`, `{"id":"2","choices":[{"delta":{}}],"model":"alias"}`},
		{`{"choices":[{"delta":{}}],"model":"up2","provider":"x"}`, `{"choices":[{"delta":{}}],"model":"alias"}`},
		{`{"choices":[{"delta":{}}],"provider":"x","model":"up2"}`, `{"choices":[{"delta":{}}],"model":"alias"}`},
		{`{"provider":"x","choices":[{"delta":{}}],"model":"up2"}`, `{"choices":[{"delta":{}}],"model":"alias"}`},
		{`{"provider":"x","choices":[{"delta":{}}],"model":"up3"}`, `{"choices":[{"delta":{}}],"model":"alias"}`},
	} {
		for range 2 {
			if out, _ := s.Event(nil, []byte("data: "+tt[0]+"\n\n")); string(out) != "data: "+tt[1]+"\n\n" {
				t.Errorf("%s\n got %q\nwant %q", tt[0], out, tt[1])
			}
		}
	}
}

// FuzzStream: no input makes the stream panic, say what was not given, or keep
// more than a bounded amount; an unchanged configuration passes every byte of
// events that hold neither comments nor supplier members.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: {\"model\":\"up\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n"), byte(0))
	f.Add([]byte(": c\r\n\r\ndata: {\"usage\":{\"cost\":1,\"prompt_tokens\":3,\"completion_tokens\":1},\r\ndata: \"choices\":[]}\r\n\r\n"), byte(10))
	f.Add([]byte("data: {\"provider\":\"x\",\"choices\":[{\"native_finish_reason\":1,\"usage\":{}}],\"x_groq\":{\"usage\":{},\"error\":1}}\n\n"), byte(9))
	f.Fuzz(func(t *testing.T, stream []byte, dialect byte) {
		alias := newStream(protocol.StreamConfig{ClientModel: "alias", Dialect: dialect % byte(numDialects)})
		plain := newStream(protocol.StreamConfig{AskedUsage: true, Pinned: true, Dialect: dialect % byte(numDialects)})
		for rest := stream; len(rest) > 0; {
			n := sse.Next(rest)
			if n == 0 {
				n = len(rest)
			}
			ev := rest[:n]
			rest = rest[n:]
			out, k := alias.Event([]byte("b"), ev)
			if k == protocol.Withheld && string(out) != "b" {
				t.Fatalf("withheld %q", out)
			}
			if len(out) > 2*len(ev)+64 {
				t.Fatalf("%q became %q", ev, out)
			}
			same, _ := plain.Event(nil, ev)
			if !bytes.Equal(same, ev) && !bytes.Contains(ev, []byte("cost")) && sse.Parse(ev).Datas < 2 {
				t.Fatalf("%q became %q", ev, same)
			}
			for _, s := range []*Stream{alias, plain} {
				u, _ := s.Usage()
				p := s.Progress()
				for c := range u {
					if u[c] < 0 || p[c] < 0 {
						t.Fatalf("negative units %v %v", u, p)
					}
				}
			}
		}
		if s := newStream(protocol.StreamConfig{ClientModel: "alias"}); len(stream) > 0 {
			s.Partial(nil, stream, true, false)
			_, _, _ = s.Buffered(nil, stream)
		}
	})
}
