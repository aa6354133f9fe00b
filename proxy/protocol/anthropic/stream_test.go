package anthropic

import (
	"bytes"
	"encoding/json"
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

func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

// D8, protocols 5: what each event is, and what of it the client gets.
func TestEventKinds(t *testing.T) {
	s := newStream(protocol.StreamConfig{ClientModel: "alias", InputEstimate: 7})
	for _, tt := range [][3]string{
		{
			event("message_start", `{"type":"message_start","message":{"model":"up","id":"m","usage":{"input_tokens":30,"output_tokens":2,"cache_read_input_tokens":4}}}  `),
			event("message_start", `{"type":"message_start","message":{"model":"alias","id":"m","usage":{"input_tokens":30,"output_tokens":2,"cache_read_input_tokens":4}}}  `), "preamble",
		},
		{event("ping", `{"type": "ping"}`), "", "preamble"},
		{event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`), "", "preamble"},
		{": comment\n\n", ": keep-alive\n\n", "comment"},
		{event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`), "", "preamble"},
		{event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"model\":\"up\""}}`), "", "output"},
		{event("content_block_stop", `{"type":"content_block_stop","index":0 }`), "", "output"},
		{event("content_block_start", `{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`), "", "output"},
		{event("content_block_delta", `{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"model\":"}}`), "", "output"},
		{
			event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":12,"input_tokens":null,"cost":1}}`),
			event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":12,"input_tokens":null}}`), "final",
		},
		{event("something_new", `{"type":"something_new","model":"up"}`), "", "other"},
		{event("message_stop", `{"type":"message_stop"   }`), "", "terminator"},
	} {
		want := tt[1]
		if want == "" {
			want = tt[0]
		}
		out, k := s.Event([]byte("before"), []byte(tt[0]))
		if string(out) != "before"+want || k.String() != tt[2] {
			t.Errorf("%s\n got %q %v\nwant %q %s", tt[0], out, k, want, tt[2])
		}
	}
	if !s.Terminated() {
		t.Error("not terminated")
	}
	u, src := s.Usage()
	if want := (usage.Units{usage.Input: 30, usage.CacheRead: 4, usage.Output: 12}); u != want || src != usage.SourceReported {
		t.Errorf("%v %v", u, src)
	}
}

// Errors: named, typed, or unreadable.
func TestErrorEvents(t *testing.T) {
	for _, ev := range []string{
		event("error", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
		event("error", `{}`), event("error", `gone`), "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}\n\n",
	} {
		s := newStream(protocol.StreamConfig{})
		if out, k := s.Event(nil, []byte(ev)); k != protocol.ErrorEvent || string(out) != ev {
			t.Errorf("%q: %v %q", ev, k, out)
		}
		if c := s.ErrorClass(); c.Fault != protocol.FaultServer || !c.Failover || c.PassOn {
			t.Errorf("%q: %+v", ev, c)
		}
	}
}

// What is known when a stream is cut: nothing, the input, or all.
func TestUsageOfCutStream(t *testing.T) {
	s := newStream(protocol.StreamConfig{InputEstimate: 7})
	if u, src := s.Usage(); src != usage.SourceEstimated || u[usage.Input] != 7 {
		t.Errorf("before the start: %v %v", u, src)
	}
	s.Event(nil, []byte(event("message_start", `{"type":"message_start","message":{"usage":{"input_tokens":30,"output_tokens":88,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_1h_input_tokens":6,"ephemeral_5m_input_tokens":4}}}}`)))
	s.Event(nil, []byte(event("content_block_delta", `{"type":"content_block_delta","delta":{"type":"text_delta","text":"`+strings.Repeat("word ", 100)+`"}}`)))
	u, src := s.Usage()
	if src != usage.SourcePartial || u[usage.Input] != 30 || u[usage.CacheWrite] != 4 || u[usage.CacheWrite1h] != 6 || u[usage.Output] < 100 || u[usage.Output] > 160 {
		t.Errorf("in the middle: %v %v", u, src)
	}
	if s.OutputBytes() != 500 || s.Progress() != u {
		t.Errorf("%d bytes, progress %v", s.OutputBytes(), s.Progress())
	}
	e := meter.End{}
	s.Fill(&e)
	u[usage.Request] = 1
	if got, source, flags := meter.Final(&e); got != u || source != usage.SourcePartial || flags != 0 {
		t.Errorf("final %v %v %v", got, source, flags)
	}
}

// C9: figures that can be no count never become units.
func TestUsageLies(t *testing.T) {
	for _, v := range []string{"1000000000000000000", "-1", "1e3", "3.7", `"12"`, "NaN", "{}", "true"} {
		s := newStream(protocol.StreamConfig{})
		s.Event(nil, []byte(event("message_start", `{"type":"message_start","message":{"usage":{"input_tokens":30,"output_tokens":1}}}`)))
		s.Event(nil, []byte(event("content_block_delta", `{"type":"content_block_delta","delta":{"type":"text_delta","text":"some words"}}`)))
		s.Event(nil, []byte(event("message_delta", `{"type":"message_delta","delta":{},"usage":{"output_tokens":`+v+`}}`)))
		e := meter.End{OutputCap: 100, InputBound: 50, InputEstimate: 5}
		s.Fill(&e)
		units, _, flags := meter.Final(&e)
		if flags&usage.FlagUsageSuspect == 0 || units[usage.Input] != 30 || units[usage.Output] < 1 || units[usage.Output] > 5 {
			t.Errorf("%s: units %v flags %b", v, units, flags)
		}
	}
}

// Iterations beside the served ones are billed too (protocols 5).
func TestIterations(t *testing.T) {
	for _, tt := range []struct {
		list  string
		extra usage.Units
		n     int
	}{
		{`[{"type":"message","input_tokens":5,"output_tokens":2}]`, usage.Units{}, 0},
		{`[{"type":"compaction","input_tokens":5,"output_tokens":2},{"type":"message","input_tokens":9}]`, usage.Units{usage.Input: 5, usage.Output: 2}, 1},
		{`[{"type":"message","input_tokens":5,"output_tokens":2},{"type":"fallback_message","input_tokens":9,"output_tokens":1}]`, usage.Units{usage.Input: 5, usage.Output: 2}, 1},
		{`[{"type":"advisor_message","model":"m","input_tokens":5,"cache_creation_input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":1,"ephemeral_5m_input_tokens":2}}]`, usage.Units{usage.Input: 5, usage.CacheWrite: 2, usage.CacheWrite1h: 1}, 1},
		{`null`, usage.Units{}, 0},
		{`[]`, usage.Units{}, 0},
	} {
		s := newStream(protocol.StreamConfig{})
		s.Event(nil, []byte(event("message_delta", `{"type":"message_delta","usage":{"input_tokens":100,"output_tokens":10,"iterations":`+tt.list+`}}`)))
		got, n := s.Extra()
		u, _ := s.Usage()
		want := tt.extra
		want[usage.Input] += 100
		want[usage.Output] += 10
		if got != tt.extra || n != tt.n || u != want {
			t.Errorf("%s: extra %v (%d), units %v", tt.list, got, n, u)
		}
	}
}

// C7: an event larger than is read at once.
func TestPartial(t *testing.T) {
	big := strings.Repeat("E", 600_000)
	for _, tt := range []struct {
		data  string
		count bool
	}{
		{`{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","content":[{"encrypted_content":"` + big + `"}]}}`, false},
		{`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"` + big + `"}}`, true},
	} {
		s := newStream(protocol.StreamConfig{ClientModel: "alias"})
		in := []byte(event("x", tt.data))
		var out []byte
		for at := 0; at < len(in); at += protocol.MaxEvent {
			end := min(at+protocol.MaxEvent, len(in))
			out, _ = s.Partial(out, in[at:end], at == 0, end == len(in))
		}
		if !bytes.Equal(out, in) {
			t.Error("bytes changed")
		}
		if n := s.OutputBytes(); (n >= int64(len(big))) != tt.count {
			t.Errorf("counted %d bytes", n)
		}
	}
	s := newStream(protocol.StreamConfig{ClientModel: "alias"})
	out, _ := s.Partial(nil, []byte(`data: {"type":"message_start","message":{"model":"up","content":["`), true, false)
	if !strings.Contains(string(out), `"model":"alias"`) {
		t.Errorf("%s", out)
	}
}

func TestBuffered(t *testing.T) {
	s := newStream(protocol.StreamConfig{ClientModel: "alias", InputEstimate: 3})
	out, k, err := s.Buffered(nil, []byte(`{"id":"m","model":"up","content":[{"type":"text","text":"twelve bytes"}],"x":{"model":"up"}}`))
	if err != nil || k != protocol.Output || string(out) != `{"id":"m","model":"alias","content":[{"type":"text","text":"twelve bytes"}],"x":{"model":"up"}}` {
		t.Errorf("%s %v %v", out, k, err)
	}
	if u, src := s.Usage(); src != usage.SourceEstimated || u[usage.Input] != 3 || s.OutputBytes() != 12 {
		t.Errorf("%v %v %d", u, src, s.OutputBytes())
	}
	s = newStream(protocol.StreamConfig{})
	if _, k, err := s.Buffered(nil, []byte(`{"type":"error","error":{"type":"api_error","message":"x"}}`)); err != nil || k != protocol.ErrorEvent {
		t.Errorf("%v %v", k, err)
	}
	for _, body := range []string{``, `[]`, `<html>`, `{"model":"up"`, `{} x`} {
		s = newStream(protocol.StreamConfig{})
		if out, _, err := s.Buffered([]byte("b"), []byte(body)); err == nil || string(out) != "b" {
			t.Errorf("%q accepted", body)
		}
	}
}

// C15: errors passed on carry our request id and nobody's secrets.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		fault  protocol.Fault
		pass   int
	}{
		{401, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`, protocol.FaultKey, 0},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`, protocol.FaultAccount, 0},
		{402, `{"type":"error","error":{"type":"billing_error","message":"x"}}`, protocol.FaultAccount, 0},
		{403, `{"type":"error","error":{"type":"permission_error","message":"x"}}`, protocol.FaultKey, 0},
		{404, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-sonet"}}`, protocol.FaultModelMissing, 0},
		{413, `{"type":"error","error":{"type":"request_too_large","message":"x"}}`, protocol.FaultClient, 413},
		{429, `{"type":"error","error":{"type":"rate_limit_error","message":"x"}}`, protocol.FaultRateLimited, 0},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"}}`, protocol.FaultClient, 400},
		{529, `{"type":"error","error":{"type":"overloaded_error","message":"x"}}`, protocol.FaultServer, 0},
		{500, ``, protocol.FaultServer, 0},
	} {
		c := ErrorClass(tt.status, nil, []byte(tt.body))
		if c.Fault != tt.fault || c.PassOn != (tt.pass > 0) || c.Status != tt.pass {
			t.Errorf("%d %s: %+v", tt.status, tt.body, c)
		}
	}
	out := AppendPassedError(nil, []byte(`{"type":"error","error":{"type":"invalid_request_error","message":"model up: prompt is too long"},"request_id":"req_upstream"}`),
		&protocol.StreamConfig{UpstreamModel: "up", ClientModel: "alias"}, []byte("req_ours"))
	if string(out) != `{"type":"error","error":{"type":"invalid_request_error","message":"model alias: prompt is too long"},"request_id":"req_ours"}` {
		t.Errorf("%s", out)
	}
}

func TestModels(t *testing.T) {
	list := []protocol.ModelInfo{{ID: "a", CreatedUnix: 1700000000, MaxInput: 5, MaxOutput: 6}, {ID: "b"}, {ID: "c"}}
	for _, tt := range []struct {
		after, before string
		limit         int
		want          string
		more          bool
	}{{"", "", 0, "a b c", false}, {"", "", 2, "a b", true}, {"a", "", 1, "b", true}, {"b", "", 9, "c", false}, {"", "c", 1, "b", true}, {"", "c", 5, "a b", false}, {"x", "", 5, "", false}, {"c", "", 5, "", false}} {
		page, more := Page(list, tt.after, tt.before, tt.limit)
		var ids []string
		for _, m := range page {
			ids = append(ids, m.ID)
		}
		if strings.Join(ids, " ") != tt.want || more != tt.more {
			t.Errorf("%+v: %v %v", tt, ids, more)
		}
		var v struct {
			Data []struct {
				ID        string
				CreatedAt string `json:"created_at"`
			}
			HasMore bool    `json:"has_more"`
			FirstID *string `json:"first_id"`
			LastID  *string `json:"last_id"`
		}
		if err := json.Unmarshal(AppendModels(nil, page, more), &v); err != nil || len(v.Data) != len(page) || v.HasMore != more || (v.FirstID == nil) != (len(page) == 0) {
			t.Errorf("%+v: %+v %v", tt, v, err)
		}
	}
}

// FuzzStream: no input makes the stream panic or keep more than it is given; an
// unchanged configuration passes every byte but comments and prices.
func FuzzStream(f *testing.F) {
	f.Add([]byte(event("message_start", `{"type":"message_start","message":{"model":"up","usage":{"input_tokens":5,"cost":1}}}`)))
	f.Add([]byte(event("message_delta", `{"usage":{"iterations":[{"type":"x","input_tokens":1}],"cache_creation":{}}}`)))
	f.Add([]byte("data: {\"delta\":{\"text\":\"x\"},\ndata: \"content_block\":{}}\r\r"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		alias := newStream(protocol.StreamConfig{ClientModel: "alias"})
		plain := newStream(protocol.StreamConfig{Pinned: true})
		for rest := stream; len(rest) > 0; {
			n := sse.Next(rest)
			if n == 0 {
				n = len(rest)
			}
			ev := rest[:n]
			rest = rest[n:]
			if out, _ := alias.Event(nil, ev); len(out) > 2*len(ev)+64 {
				t.Fatalf("%q became %q", ev, out)
			}
			if out, _ := plain.Event(nil, ev); !bytes.Equal(out, ev) && !bytes.Contains(ev, []byte("cost")) && sse.Parse(ev).Datas < 2 {
				t.Fatalf("%q became %q", ev, out)
			}
			u, _ := alias.Usage()
			p := alias.Progress()
			for c := range u {
				if u[c] < 0 || p[c] < 0 {
					t.Fatalf("negative units %v %v", u, p)
				}
			}
		}
		s := newStream(protocol.StreamConfig{ClientModel: "alias"})
		s.Partial(nil, stream, true, false)
		_, _, _ = s.Buffered(nil, stream)
	})
}
