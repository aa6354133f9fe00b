package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// S4-13, S4-14, S3-9, C5, C7: every recorded answer passes byte for byte but for
// D8's list, in writes of any size, and its usage is read.
func TestRecordings(t *testing.T) {
	replay(t, prototest.Recordings(t, "openai.chat"))
}

// The same over exchanges written by hand from the protocol notes, one and more
// for each dialect.
func TestFixtures(t *testing.T) {
	list := prototest.Read(t, "testdata", "openai.chat")
	if len(list) == 0 {
		t.Fatal("no fixtures")
	}
	replay(t, list)
}

func replay(t *testing.T, list []prototest.Case) {
	compared, metered := 0, 0
	var reported, estimated int64
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			d := ParseDialect(c.Provider)
			request(t, c.Request, d)
			if c.Status != 200 {
				return
			}
			for _, mode := range []struct {
				name          string
				pinned, asked bool
				model         string
			}{{"identity", false, true, c.Model}, {"alias", false, false, "a/client's-\"name\""}, {"pinned", true, true, "x"}} {
				cfg := &protocol.StreamConfig{ClientModel: mode.model, Dialect: uint8(d), AskedUsage: mode.asked, Pinned: mode.pinned}
				for _, size := range []int{0, 1, 7, 13} {
					var s Stream
					s.Reset(cfg)
					var got []byte
					if c.Stream {
						got, _ = prototest.Feed(&s, c.Body, size)
						if !s.Terminated() && !bytes.Contains(c.Body, []byte("[DONE]")) == d.EndsWithoutDone() {
							t.Errorf("%s: not terminated", mode.name)
						}
					} else {
						var err error
						got, _, err = s.Buffered(nil, c.Body)
						if err != nil {
							t.Fatal(err)
						}
					}
					want := c.Expected(prototest.Mode{Model: mode.model, Asked: mode.asked, Pinned: mode.pinned})
					if !bytes.Equal(got, want) {
						i := 0
						for i < len(got) && i < len(want) && got[i] == want[i] {
							i++
						}
						t.Fatalf("%s, writes of %d: differs at byte %d\n got …%.200q\nwant …%.200q", mode.name, size, i, got[max(0, i-60):], want[max(0, i-60):])
					}
					compared++
					units, source := s.Usage()
					if c.Usage == nil {
						if source != usage.SourceEstimated {
							t.Errorf("%s: source %v without reported usage", mode.name, source)
						}
						continue
					}
					metered++
					if source != usage.SourceReported {
						t.Fatalf("%s: usage was not seen", mode.name)
					}
					if diff := c.Usage.Compare(units); diff != "" {
						t.Errorf("%s: %s", mode.name, diff)
					}
					believed(t, c.Request, &s, units)
					if mode.name == "identity" && size == 0 && !s.hidden {
						var e meter.End
						s.Fill(&e)
						reported += units[usage.Output]
						estimated += meter.FamilyOf(c.Model).Tokens(&e.Counted)
					}
				}
			}
		})
	}
	fmt.Printf("openai.chat: %d exchanges, %d replays compared byte for byte, %d metered; visible output reported as %d tokens, estimated as %d\n", len(list), compared, metered, reported, estimated)
}

// request checks that a recorded request is admitted and changes in the listed
// places only.
func request(t *testing.T, body []byte, d Dialect) {
	var r peek.Request
	if err := peek.Scan(body, peek.OpenAIChat, &r); err != nil {
		t.Fatalf("request refused: %v", err)
	}
	checkEdit(t, body, &r, &protocol.Edit{Model: "up", IncludeUsage: d.NeedsIncludeUsage(), MaxTokens: 77, MaxTokensField: d.CapField()})
}

// checkEdit applies an edit and compares with encoding/json what has changed.
func checkEdit(t testing.TB, body []byte, r *peek.Request, e *protocol.Edit) {
	t.Helper()
	out := AppendRequest(nil, body, r, e)
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if err := json.Unmarshal(out, &b); err != nil {
		t.Fatalf("%s became %s: %v", body, out, err)
	}
	var model string
	if json.Unmarshal(b["model"], &model) != nil || model != e.Model {
		t.Errorf("model %s", b["model"])
	}
	delete(a, "model")
	delete(b, "model")
	if e.MaxTokens > 0 {
		if string(b[e.MaxTokensField]) != fmt.Sprint(e.MaxTokens) {
			t.Errorf("%s: %s", e.MaxTokensField, b[e.MaxTokensField])
		}
		delete(a, e.MaxTokensField)
		delete(b, e.MaxTokensField)
	}
	if e.IncludeUsage && r.Stream {
		var x, y map[string]json.RawMessage
		_ = json.Unmarshal(a["stream_options"], &x)
		_ = json.Unmarshal(b["stream_options"], &y)
		if string(y["include_usage"]) != "true" {
			t.Errorf("stream_options %s", b["stream_options"])
		}
		delete(x, "include_usage")
		delete(y, "include_usage")
		if fmt.Sprint(x) != fmt.Sprint(y) {
			t.Errorf("stream_options %s from %s", b["stream_options"], a["stream_options"])
		}
		delete(a, "stream_options")
		delete(b, "stream_options")
	}
	if len(a) != len(b) {
		t.Errorf("%d members, were %d: %s", len(b), len(a), out)
	}
	for k := range a {
		if !bytes.Equal(a[k], b[k]) {
			t.Errorf("%s changed: %s", k, b[k])
		}
	}
}

// believed checks that an honest provider's figures stay within the request's bound
// (E10) and are taken as they stand (C9).
func believed(t *testing.T, body []byte, s *Stream, reported usage.Units) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.OpenAIChat, &r); err != nil {
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
	input := units[usage.Input] + units[usage.CacheRead] + units[usage.CacheWrite] + units[usage.CacheWrite1h] + units[usage.AudioIn] + units[usage.ImageIn]
	if input > e.InputBound {
		t.Errorf("%d input tokens, bound %+v", input, bound)
	}
	if units != reported || source != usage.SourceReported || flags != 0 {
		t.Errorf("reported %v, final %v, source %v, flags %b, bound %+v, counted %d bytes, hidden %v", reported, units, source, flags, bound, e.Counted.Bytes(), e.Hidden)
	}
}
