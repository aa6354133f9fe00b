package responses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// S4-13, S3-9, C5: every recorded answer passes byte for byte but for D8's list, in
// writes of any size, and its usage is read.
func TestRecordings(t *testing.T) {
	replay(t, prototest.Recordings(t, "openai.responses"))
}

// The same over exchanges of our own, and of every event and item that the protocol
// notes name.
func TestFixtures(t *testing.T) {
	list := prototest.Read(t, "../../../shared/apptest/fixtures/cases", "openai.responses")
	if len(list) < 3 {
		t.Fatalf("%d fixtures", len(list))
	}
	replay(t, list)
}

func replay(t *testing.T, list []prototest.Case) {
	compared, metered := 0, 0
	var reported, estimated int64
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			request(t, c.Request)
			if c.Status != 200 {
				return
			}
			for _, mode := range []prototest.Mode{{Model: c.Model}, {Model: "a/client's-\"name\""}, {Model: "x", Pinned: true}} {
				cfg := &protocol.StreamConfig{ClientModel: mode.Model, Dialect: uint8(openai.ParseDialect(c.Provider)), Pinned: mode.Pinned}
				for _, size := range []int{0, 1, 7, 13} {
					var s Stream
					s.Reset(cfg)
					var got []byte
					if c.Stream {
						var kinds []protocol.Kind
						got, kinds = prototest.Feed(&s, c.Body, size)
						if last := kinds[len(kinds)-1]; last != protocol.Terminator || !s.Terminated() || bytes.Count(asBytes(kinds), []byte{byte(protocol.Terminator)}) != 1 {
							t.Errorf("%+v: ends with %s of %v", mode, last, kinds)
						}
						for i, k := range kinds {
							if k == protocol.Other || k == protocol.ErrorEvent {
								t.Errorf("event %d is %s", i, k)
							}
						}
					} else {
						var err error
						if got, _, err = s.Buffered(nil, c.Body); err != nil {
							t.Fatal(err)
						}
					}
					if want := c.Expected(mode); !bytes.Equal(got, want) {
						i := 0
						for i < len(got) && i < len(want) && got[i] == want[i] {
							i++
						}
						t.Fatalf("%+v, writes of %d: differs at byte %d\n got …%.200q\nwant …%.200q", mode, size, i, got[max(0, i-60):], want[max(0, i-60):])
					}
					compared++
					units, source := s.Usage()
					if c.Usage == nil {
						t.Fatal("no usage is expected")
					}
					metered++
					if diff := c.Usage.Compare(units); diff != "" || source != usage.SourceReported || s.Reasoning() != c.Usage.Reasoning {
						t.Errorf("%+v: %s (%v, reasoning %d)", mode, diff, source, s.Reasoning())
					}
					believed(t, c.Request, &s, units)
					if size == 0 && !s.hidden {
						var e meter.End
						s.Fill(&e)
						reported += units[usage.Output]
						estimated += meter.FamilyOf(c.Model).Tokens(&e.Counted)
					}
				}
			}
		})
	}
	fmt.Printf("openai.responses: %d exchanges, %d replays compared byte for byte, %d metered; visible output reported as %d tokens, estimated as %d\n", len(list), compared, metered, reported, estimated)
}

func asBytes(kinds []protocol.Kind) (b []byte) {
	for _, k := range kinds {
		b = append(b, byte(k))
	}
	return b
}

// request checks that a recorded request is admitted and changes in the listed
// places only.
func request(t testing.TB, body []byte) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.OpenAIResponses, &r); err != nil {
		t.Fatalf("request refused: %v", err)
	}
	for _, n := range []int64{0, 77} {
		edited(t, body, AppendRequest(nil, body, &r, &protocol.Edit{Model: "up", MaxTokens: n}), n)
	}
}

// edited compares with encoding/json what has changed.
func edited(t testing.TB, body, out []byte, n int64) {
	t.Helper()
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if err := json.Unmarshal(out, &b); err != nil {
		t.Fatalf("%s became %s: %v", body, out, err)
	}
	if string(b["model"]) != `"up"` {
		t.Errorf("model %s", b["model"])
	}
	if n > 0 {
		if string(b["max_output_tokens"]) != fmt.Sprint(n) {
			t.Errorf("max_output_tokens %s", b["max_output_tokens"])
		}
		delete(a, "max_output_tokens")
		delete(b, "max_output_tokens")
	}
	if len(a) != len(b) {
		t.Errorf("%d members, were %d: %s", len(b), len(a), out)
	}
	for k := range a {
		if k != "model" && !bytes.Equal(a[k], b[k]) {
			t.Errorf("%s changed: %s", k, b[k])
		}
	}
}

// believed checks that an honest provider's figures stay within the request's bound
// (E10) and are taken as they stand (C9).
func believed(t *testing.T, body []byte, s *Stream, reported usage.Units) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.OpenAIResponses, &r); err != nil {
		t.Fatal(err)
	}
	var bound price.Bound
	if !r.Bound(1_000_000, &bound) {
		t.Fatal("no bound")
	}
	e := meter.End{
		InputEstimate: meter.EstimateInput(meter.FamilyDefault, &r), OutputCap: r.OutputCap(), Choices: r.Choices(),
		InputBound: bound.InputTokens + bound.ImageTokens + bound.AudioTokens,
	}
	s.Fill(&e)
	units, source, flags := meter.Final(&e)
	reported[usage.Request] = 1 // what was billed is one request, too
	input := units[usage.Input] + units[usage.CacheRead] + units[usage.CacheWrite] + units[usage.AudioIn] + units[usage.ImageIn]
	if input > e.InputBound && r.Previous == nil {
		t.Errorf("%d input tokens, bound %+v", input, bound)
	}
	if units != reported || source != usage.SourceReported || flags != 0 {
		t.Errorf("reported %v, final %v, source %v, flags %b, counted %d bytes, hidden %v", reported, units, source, flags, e.Counted.Bytes(), e.Hidden)
	}
}

const opening = `event: response.created
data: {"type":"response.created","response":{"id":"resp_1","status":"in_progress","model":"up","usage":null},"sequence_number":0}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message","content":[]},"sequence_number":1}

`

const words = `event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hello there","sequence_number":2}

`

// How streams begin and end: before output nothing is output, an error is one in any
// of its forms, and its class says whose fault it is.
func TestKinds(t *testing.T) {
	failed := func(code string) string {
		return `event: response.failed` + "\n" + `data: {"type":"response.failed","response":{"id":"resp_1","status":"failed","model":"up","error":{"code":"` + code + `","message":"Words."},"usage":{"input_tokens":5,"output_tokens":3,"total_tokens":8}},"sequence_number":3}` + "\n\n"
	}
	for _, c := range []struct {
		name, body string
		kinds      []protocol.Kind
		fault      protocol.Fault
		passOn     bool
		began      bool
	}{
		{"opening", opening, []protocol.Kind{protocol.Preamble, protocol.Preamble}, 0, false, false},
		{"words", opening + words, []protocol.Kind{protocol.Preamble, protocol.Preamble, protocol.Output}, 0, false, true},
		{"server's failure", opening + words + failed("server_error"), []protocol.Kind{protocol.Preamble, protocol.Preamble, protocol.Output, protocol.ErrorEvent}, protocol.FaultServer, false, true},
		{"rate", opening + failed("rate_limit_exceeded"), []protocol.Kind{protocol.Preamble, protocol.Preamble, protocol.ErrorEvent}, protocol.FaultRateLimited, false, false},
		{"client's failure", opening + failed("invalid_prompt"), []protocol.Kind{protocol.Preamble, protocol.Preamble, protocol.ErrorEvent}, protocol.FaultClient, true, false},
		{"error event", `event: error` + "\n" + `data: {"type":"error","code":"server_error","message":"x","param":null,"sequence_number":0}` + "\n\n", []protocol.Kind{protocol.ErrorEvent}, protocol.FaultServer, false, false},
		{"nested error event", `data: {"type":"error","error":{"type":"invalid_request_error","code":"invalid_value","message":"x"}}` + "\n\n", []protocol.Kind{protocol.ErrorEvent}, protocol.FaultClient, true, false},
		{"bare error", `data: {"error":{"code":"insufficient_quota","message":"x"}}` + "\n\n", []protocol.Kind{protocol.ErrorEvent}, protocol.FaultAccount, false, false},
		{"named error", `event: error` + "\n" + `data: {}` + "\n\n", []protocol.Kind{protocol.ErrorEvent}, protocol.FaultServer, false, false},
		{"junk", "data: not json\n\n", []protocol.Kind{protocol.Output}, 0, false, true},
		{"done alone", "data: [DONE]\n\n", []protocol.Kind{protocol.Other}, 0, false, false},
		{"comment", ": PROVIDER\n\n", []protocol.Kind{protocol.Comment}, 0, false, false},
		{"call", `data: {"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}` + "\n\n", []protocol.Kind{protocol.Output}, 0, false, true},
		{"provider's tool", `data: {"type":"response.web_search_call.searching"}` + "\n\n", []protocol.Kind{protocol.Output}, 0, false, true},
	} {
		var s Stream
		s.Reset(&protocol.StreamConfig{ClientModel: "m", UpstreamModel: "up"})
		out, kinds := prototest.Feed(&s, []byte(c.body), 0)
		if !slices.Equal(kinds, c.kinds) || s.Began() != c.began || s.Terminated() {
			t.Errorf("%s: %v, began %v, terminated %v", c.name, kinds, s.Began(), s.Terminated())
		}
		if class := s.ErrorClass(); kinds[len(kinds)-1] == protocol.ErrorEvent && (class.Fault != c.fault || class.PassOn != c.passOn) {
			t.Errorf("%s: %+v", c.name, class)
		}
		if bytes.Contains(out, []byte(`"up"`)) || bytes.Contains(out, []byte("PROVIDER")) {
			t.Errorf("%s: %s", c.name, out)
		}
	}
	var s Stream
	s.Reset(&protocol.StreamConfig{})
	_, _ = prototest.Feed(&s, []byte(opening+words+failed("server_error")), 0)
	if u, source := s.Usage(); u[usage.Input] != 5 || u[usage.Output] != 3 || source != usage.SourceReported {
		t.Errorf("a failed response costs %v (%v)", u, source)
	}
	for _, body := range []string{`[]`, `{"a":1`, `x`, ``, `{"a":1} x`} {
		s.Reset(&protocol.StreamConfig{})
		if _, _, err := s.Buffered(nil, []byte(body)); err == nil {
			t.Errorf("%q is an answer", body)
		}
	}
	s.Reset(&protocol.StreamConfig{})
	if _, k, err := s.Buffered(nil, []byte(`{"status":"failed","error":{"code":"server_error","message":"m"},"model":"up"}`)); err != nil || k != protocol.ErrorEvent {
		t.Errorf("%v %v", k, err)
	}
}

// An event beyond every limit passes in pieces: it is counted once, and the last one
// still ends the stream.
func TestPieces(t *testing.T) {
	var s Stream
	s.Reset(&protocol.StreamConfig{ClientModel: "m", Family: meter.FamilyDefault})
	_, _ = prototest.Feed(&s, []byte(opening+words), 0)
	before := s.OutputBytes()
	ev := `data: {"type":"response.completed","response":{"id":"resp_1","model":"up","output":[{"type":"message","content":[{"type":"output_text","text":"` + strings.Repeat("x", 5000) + `"}]}]}}` + "\n\n"
	out, k := s.Partial(nil, []byte(ev[:1000]), true, false)
	if k != protocol.Output || !bytes.Contains(out, []byte(`"model":"m"`)) {
		t.Errorf("%v %.200s", k, out)
	}
	out, k = s.Partial(out, []byte(ev[1000:]), false, true)
	if k != protocol.Terminator || !s.Terminated() || s.OutputBytes() != before || !bytes.HasSuffix(out, []byte("\n\n")) {
		t.Errorf("%v, %d bytes, were %d", k, s.OutputBytes(), before)
	}
}

// Figures that can be no counts are not believed (C9).
func TestImpossibleUsage(t *testing.T) {
	for _, v := range []string{"-5", "1e3", "3.7", `"9"`, "{}", "1000000000000000000"} {
		var s Stream
		s.Reset(&protocol.StreamConfig{})
		_, _, err := s.Buffered(nil, []byte(`{"status":"completed","output":[],"usage":{"input_tokens":7,"output_tokens":`+v+`}}`))
		var e meter.End
		if s.Fill(&e); err != nil || !e.Impossible {
			t.Errorf("%s: %+v, %v", v, e, err)
		}
	}
}

// D8 is free of memory: no event of a running stream allocates.
func TestNoAllocations(t *testing.T) {
	var s Stream
	s.Reset(&protocol.StreamConfig{ClientModel: "m"})
	buf := make([]byte, 0, 4096)
	events := bytes.SplitAfter([]byte(opening+words), []byte("\n\n"))
	if n := testing.AllocsPerRun(100, func() {
		for _, ev := range events {
			if len(ev) > 0 {
				buf, _ = s.Event(buf[:0], ev)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzStream: whatever an upstream sends, in whatever pieces, the observer neither
// fails nor loses a byte that it does not change, and counts nothing below zero.
func FuzzStream(f *testing.F) {
	f.Add([]byte(opening+words), uint8(3))
	f.Add([]byte("data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"cost\":2}}}\n\n"), uint8(1))
	f.Add([]byte(": c\ndata: {\"type\":\ndata: \"error\"}\n\n"), uint8(0))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		var s, whole Stream
		cfg := &protocol.StreamConfig{Pinned: true}
		s.Reset(cfg)
		whole.Reset(cfg)
		out, kinds := prototest.Feed(&s, body, int(size))
		again, same := prototest.Feed(&whole, body, 0)
		if !bytes.Equal(out, again) || !slices.Equal(kinds, same) {
			t.Fatalf("in writes of %d: %q %v\nat once: %q %v", size, out, kinds, again, same)
		}
		if !bytes.Contains(body, []byte("cost")) && !bytes.Contains(body, []byte("data")) && !bytes.Equal(out, body) {
			t.Fatalf("%q became %q", body, out)
		}
		u, _ := s.Usage()
		for _, n := range u {
			if n < 0 {
				t.Fatalf("%q: %v", body, u)
			}
		}
		whole.Reset(cfg)
		_, _, _ = whole.Buffered(nil, body)
	})
}

// FuzzRequest: what is admitted is changed in the listed places only.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"a","input":"x"}`), int64(5))
	f.Add([]byte(`{"input":[{"role":"user","content":"x"}],"max_output_tokens":9 ,"model":"\u0061"}`), int64(7))
	f.Fuzz(func(t *testing.T, body []byte, n int64) {
		var r peek.Request
		if n < 0 || peek.Scan(body, peek.OpenAIResponses, &r) != nil {
			return
		}
		edited(t, body, AppendRequest(nil, body, &r, &protocol.Edit{Model: "up", MaxTokens: n}), n)
	})
}
