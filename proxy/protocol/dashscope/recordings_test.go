package dashscope

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// S4-13, C5: every recorded answer passes byte for byte but for D8's list, in writes of
// any size, and its usage is read.
func TestRecordings(t *testing.T) {
	replay(t, prototest.Recordings(t, "dashscope.text"))
}

// The same over exchanges of our own.
func TestFixtures(t *testing.T) {
	list := prototest.Read(t, "../../../shared/apptest/fixtures/cases", "dashscope.text")
	if len(list) < 10 {
		t.Fatalf("%d fixtures", len(list))
	}
	replay(t, list)
}

func replay(t *testing.T, list []prototest.Case) {
	compared, metered := 0, 0
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			request(t, c.Request)
			if c.Status != 200 {
				return
			}
			for _, mode := range []prototest.Mode{{Model: c.Model}, {Model: "a/client's-\"name\""}, {Model: "x", Pinned: true}} {
				cfg := &protocol.StreamConfig{ClientModel: mode.Model, Pinned: mode.Pinned}
				for _, size := range []int{0, 1, 7, 13} {
					var s Stream
					s.Reset(cfg)
					var got []byte
					if c.Stream {
						var kinds []protocol.Kind
						got, kinds = prototest.Feed(&s, c.Body, size)
						failed := bytes.Contains(c.Body, []byte("event:error"))
						last := kinds[len(kinds)-1]
						if failed {
							if last != protocol.ErrorEvent || s.Terminated() || s.ErrorClass().Status != 400 || !s.ErrorClass().PassOn {
								t.Errorf("%+v: %v, %+v", mode, kinds, s.ErrorClass())
							}
						} else if last != protocol.Final && last != protocol.Output || !s.Terminated() || !s.Began() {
							t.Errorf("%+v: ends with %v", mode, kinds)
						}
						if failed {
							continue // the words are the provider's, the shape is told by other tests
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
				}
			}
		})
	}
	fmt.Printf("dashscope.text: %d exchanges, %d replays compared byte for byte, %d metered\n", len(list), compared, metered)
}

// request checks that a recorded request is admitted and changes in the listed places
// only.
func request(t testing.TB, body []byte) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.DashScopeText, &r); err != nil {
		t.Fatalf("request refused: %v", err)
	}
	for _, n := range []int64{0, 77} {
		edited(t, body, AppendRequest(nil, body, &r, &protocol.Edit{Model: "up", MaxTokens: n, MaxTokensField: CapField(&r)}), n, CapField(&r))
	}
}

// edited compares with encoding/json what has changed.
func edited(t testing.TB, body, out []byte, n int64, field string) {
	t.Helper()
	read := func(b []byte) (v, parameters map[string]json.RawMessage) {
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		if v["parameters"] != nil {
			if err := json.Unmarshal(v["parameters"], &parameters); err != nil {
				t.Fatalf("%s became %s: %v", body, out, err)
			}
		}
		delete(v, "parameters")
		return v, parameters
	}
	a, pa := read(body)
	b, pb := read(out)
	if string(b["model"]) != `"up"` {
		t.Errorf("model %s", b["model"])
	}
	a["model"] = b["model"]
	if n > 0 {
		if string(pb[field]) != fmt.Sprint(n) {
			t.Errorf("%s %s in %s", field, pb[field], out)
		}
		delete(pa, field)
		delete(pb, field)
	}
	if len(a) != len(b) || len(pa) != len(pb) {
		t.Errorf("members have changed: %s became %s", body, out)
	}
	for k := range a {
		if !bytes.Equal(a[k], b[k]) {
			t.Errorf("%s changed: %s", k, b[k])
		}
	}
	for k := range pa {
		if !bytes.Equal(pa[k], pb[k]) {
			t.Errorf("parameters.%s changed: %s", k, pb[k])
		}
	}
}

// believed checks that an honest provider's figures stay within the request's bound
// (E10) and are taken as they stand (C9).
func believed(t *testing.T, body []byte, s *Stream, reported usage.Units) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.DashScopeText, &r); err != nil {
		t.Fatal(err)
	}
	var bound price.Bound
	if !r.Bound(1_000_000, &bound) {
		t.Fatal("no bound")
	}
	e := meter.End{
		InputEstimate: meter.EstimateInput(meter.FamilyDefault, &r), Choices: r.Choices(),
		InputBound: bound.InputTokens + bound.ImageTokens + bound.AudioTokens,
	}
	if r.OutputCap() > 0 {
		e.OutputCap = r.OutputBound(1000)
	}
	s.Fill(&e)
	units, source, flags := meter.Final(&e)
	reported[usage.Request] = 1 // what was billed is one request, too
	input := units[usage.Input] + units[usage.CacheRead] + units[usage.CacheWrite]
	if input > e.InputBound && r.StoredID == "" {
		t.Errorf("%d input tokens, bound %+v", input, bound)
	}
	if units != reported || source != usage.SourceReported || flags != 0 {
		t.Errorf("reported %v, final %v, source %v, flags %b, counted %d bytes, hidden %v", reported, units, source, flags, e.Counted.Bytes(), e.Hidden)
	}
}

func event(n int, output string) string {
	return fmt.Sprintf("id:%d\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":%s,\"usage\":{\"total_tokens\":%d,\"output_tokens\":%d,\"input_tokens\":5},\"request_id\":\"r\"}\n\n", n, output, 5+n, n)
}

func failure(status, code string) string {
	return "id:1\nevent:error\n:HTTP_STATUS/" + status + "\ndata:{\"code\":\"" + code + "\",\"message\":\"Words of up and sk-abcdef.\",\"request_id\":\"r\"}\n\n"
}

// How streams begin and end, and whose fault an error is.
func TestKinds(t *testing.T) {
	const (
		text  = `{"finish_reason":"null","text":"Hi"}`
		empty = `{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"null"}]}`
		call  = `{"choices":[{"message":{"role":"assistant","content":"","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"null"}]}`
		stop  = `{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}`
		one   = `{"choices":[{"message":{"content":"a"},"index":0,"finish_reason":"stop"},{"message":{"content":""},"index":1,"finish_reason":"null"}]}`
	)
	kinds := func(k ...protocol.Kind) []protocol.Kind { return k }
	for _, c := range []struct {
		name, body  string
		kinds       []protocol.Kind
		fault       protocol.Fault
		passOn, end bool
	}{
		{"text", event(1, text), kinds(protocol.Output), 0, false, false},
		{"nothing yet", event(1, empty) + event(2, call), kinds(protocol.Preamble, protocol.Output), 0, false, false},
		{"end", event(1, empty) + event(2, stop), kinds(protocol.Preamble, protocol.Final), 0, false, true},
		{"one of two", event(1, one), kinds(protocol.Output), 0, false, false},
		{"comment", ":HTTP_STATUS/200\n\n: x\n\n", kinds(protocol.Comment, protocol.Comment), 0, false, false},
		{"junk", "event:result\ndata:not json\n\n", kinds(protocol.Output), 0, false, false},
		{"client", failure("400", "InvalidParameter"), kinds(protocol.ErrorEvent), protocol.FaultClient, true, false},
		{"client, no status", failure("x", "InvalidParameter.X"), kinds(protocol.ErrorEvent), protocol.FaultClient, true, false},
		{"policy", failure("400", "DataInspectionFailed"), kinds(protocol.ErrorEvent), protocol.FaultPolicy, true, false},
		{"account", failure("400", "Arrearage"), kinds(protocol.ErrorEvent), protocol.FaultAccount, false, false},
		{"rate", failure("429", "Throttling.RateQuota"), kinds(protocol.ErrorEvent), protocol.FaultRateLimited, false, false},
		{"rate, no status", failure("", "Throttling"), kinds(protocol.ErrorEvent), protocol.FaultRateLimited, false, false},
		{"key", failure("401", "InvalidApiKey"), kinds(protocol.ErrorEvent), protocol.FaultKey, false, false},
		{"model", failure("404", "ModelNotFound"), kinds(protocol.ErrorEvent), protocol.FaultModelMissing, false, false},
		{"free tier", failure("403", "AllocationQuota.FreeTierOnly"), kinds(protocol.ErrorEvent), protocol.FaultModelMissing, false, false},
		{"server", failure("500", "InternalError.Algo"), kinds(protocol.ErrorEvent), protocol.FaultServer, false, false},
		{"server, no status", failure("", "InternalError"), kinds(protocol.ErrorEvent), protocol.FaultServer, false, false},
		{"unsaid", "event:error\ndata:{}\n\n", kinds(protocol.ErrorEvent), protocol.FaultServer, false, false},
		{"no name", `data:{"code":"InvalidParameter","message":"x"}` + "\n\n", kinds(protocol.ErrorEvent), protocol.FaultClient, true, false},
	} {
		var s Stream
		s.Reset(&protocol.StreamConfig{ClientModel: "m", UpstreamModel: "up"})
		out, got := prototest.Feed(&s, []byte(c.body), 0)
		if !slices.Equal(got, c.kinds) || s.Terminated() != c.end {
			t.Errorf("%s: %v, terminated %v", c.name, got, s.Terminated())
		}
		if class := s.ErrorClass(); got[len(got)-1] == protocol.ErrorEvent && (class.Fault != c.fault || class.PassOn != c.passOn) {
			t.Errorf("%s: %+v", c.name, class)
		}
		if strings.Contains(string(out), "sk-abc") || strings.Contains(string(out), " up ") {
			t.Errorf("%s: passes %s", c.name, out)
		}
	}
	var s Stream
	s.Reset(&protocol.StreamConfig{})
	if _, k, err := s.Buffered(nil, []byte(`{"code":"InvalidParameter","message":"x","request_id":"r"}`)); k != protocol.ErrorEvent || err != nil || !s.ErrorClass().PassOn {
		t.Errorf("%v %v %+v", k, err, s.ErrorClass())
	}
}

// What is counted of a text is the same whether events repeat what was said or not.
func TestCountedOnce(t *testing.T) {
	words := []string{"1", "1", ", 2, 3", " and \\n\\u4e2d ", "中", "the rest of it"}
	read := func(grows bool) meter.Count {
		var s Stream
		s.Reset(&protocol.StreamConfig{})
		said := ""
		for i, w := range words {
			if said += w; !grows {
				w = said
			}
			s.Event(nil, []byte(event(i+1, fmt.Sprintf(`{"choices":[{"index":0,"finish_reason":"null","message":{"content":"%s","reasoning_content":"%s","tool_calls":[{"index":0,"id":"x","function":{"name":"fn","arguments":"%s"}}]}}]}`, w, w, w))))
		}
		return s.count
	}
	if a, b := read(true), read(false); a != b && a.ASCII-b.ASCII > 9 || b.Calls != 1 || b.Three < 6 {
		t.Errorf("increments %+v, repetitions %+v", a, b)
	}
}

// FuzzStream: whatever an upstream sends, in whatever pieces, the observer neither
// panics nor depends on the pieces, and its figures are none that a provider cannot
// mean.
func FuzzStream(f *testing.F) {
	for _, c := range prototest.Read(f, "../../../shared/apptest/fixtures/cases", "dashscope.text") {
		f.Add(c.Body, uint8(3))
	}
	f.Add([]byte(event(1, `{"text":"a"}`)+failure("400", "X")), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		var a, b Stream
		cfg := &protocol.StreamConfig{ClientModel: "m", UpstreamModel: "up"}
		a.Reset(cfg)
		b.Reset(cfg)
		one, k1 := prototest.Feed(&a, body, 0)
		two, k2 := prototest.Feed(&b, body, int(size%32)+1)
		if !bytes.Equal(one, two) || !slices.Equal(k1, k2) {
			t.Fatalf("%q and %q, %v and %v", one, two, k1, k2)
		}
		u, _ := a.Usage()
		for _, n := range u {
			if n < 0 {
				t.Fatalf("%v", u)
			}
		}
		a.Reset(cfg)
		_, _, _ = a.Buffered(nil, body)
		a.Partial(nil, body, true, false)
	})
}

// FuzzRequest: what is admitted stays JSON and is changed in the listed places only.
func FuzzRequest(f *testing.F) {
	for _, c := range prototest.Read(f, "../../../shared/apptest/fixtures/cases", "dashscope.text") {
		f.Add(c.Request, int64(7))
	}
	f.Add([]byte(`{"parameters":{ },"input":{"prompt":"x"},"model":"m"}`), int64(9))
	f.Add([]byte(`{"parameters":null,"input":{"prompt":"x"},"model":"m"}`), int64(9))
	f.Add([]byte(`{"input":{"messages":[{"role":"system","content":"fileid://x"}]},"model":"m","parameters":{"max_completion_tokens":4}}`), int64(9))
	f.Fuzz(func(t *testing.T, body []byte, n int64) {
		var r peek.Request
		if peek.Scan(body, peek.DashScopeText, &r) != nil {
			return
		}
		if n = max(0, n); n > peek.MaxCap {
			n = peek.MaxCap
		}
		out := AppendRequest(nil, body, &r, &protocol.Edit{Model: "up", MaxTokens: n, MaxTokensField: CapField(&r)})
		edited(t, body, out, n, CapField(&r))
		var again peek.Request
		if err := peek.Scan(out, peek.DashScopeText, &again); err != nil || string(again.Model) != "up" || n > 0 && again.OutputCap() < n {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
	})
}
