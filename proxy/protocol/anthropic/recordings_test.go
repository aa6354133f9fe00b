package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// S4-13, S4-14, C5, C7: every recorded answer passes byte for byte but for D8's
// list, in writes of any size, and its usage is read.
func TestRecordings(t *testing.T) {
	replay(t, prototest.Recordings(t, "anthropic.messages"))
}

// The same over exchanges written by hand from the protocol notes.
func TestFixtures(t *testing.T) {
	list := prototest.Read(t, "testdata", "anthropic.messages")
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
			request(t, c.Request)
			if c.Status != 200 {
				return
			}
			for _, mode := range []struct {
				name   string
				pinned bool
				model  string
			}{{"identity", false, c.Model}, {"alias", false, "a/client's-\"name\""}, {"pinned", true, "x"}} {
				cfg := &protocol.StreamConfig{ClientModel: mode.model, Pinned: mode.pinned}
				for _, size := range []int{0, 1, 7, 13} {
					var s Stream
					s.Reset(cfg)
					var got []byte
					if c.Stream {
						got, _ = prototest.Feed(&s, c.Body, size)
					} else {
						var err error
						if got, _, err = s.Buffered(nil, c.Body); err != nil {
							t.Fatal(err)
						}
					}
					want := c.Expected(prototest.Mode{Model: mode.model, Pinned: mode.pinned})
					if !bytes.Equal(got, want) {
						i := 0
						for i < len(got) && i < len(want) && got[i] == want[i] {
							i++
						}
						t.Fatalf("%s, writes of %d: differs at byte %d\n got …%.200q\nwant …%.200q", mode.name, size, i, got[max(0, i-60):], want[max(0, i-60):])
					}
					if mode.name == "identity" && !strings.Contains(string(c.Body), `"cost`) && !bytes.Equal(got, c.Body) {
						t.Errorf("identity: not the same bytes")
					}
					compared++
					if !s.Terminated() {
						t.Errorf("%s: not terminated", mode.name)
					}
					units, source := s.Usage()
					if c.Usage == nil {
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
	fmt.Printf("anthropic.messages: %d exchanges, %d replays compared byte for byte, %d metered; visible output reported as %d tokens, estimated as %d\n", len(list), compared, metered, reported, estimated)
}

// request checks that a recorded request is admitted and changes in its model only.
func request(t *testing.T, body []byte) {
	var r peek.Request
	if err := peek.Scan(body, peek.AnthropicMessages, &r); err != nil {
		t.Fatalf("request refused: %v", err)
	}
	out := AppendRequest(nil, body, &r, &protocol.Edit{Model: "up"})
	var a, b map[string]json.RawMessage
	if json.Unmarshal(body, &a) != nil || json.Unmarshal(out, &b) != nil {
		t.Fatal("unreadable")
	}
	if string(b["model"]) != `"up"` {
		t.Errorf("model %s", b["model"])
	}
	b["model"] = a["model"]
	for k := range a {
		if !bytes.Equal(a[k], b[k]) {
			t.Errorf("%s changed", k)
		}
	}
	if len(a) != len(b) {
		t.Errorf("members: %d, were %d", len(b), len(a))
	}
}

// believed checks that an honest provider's figures stay within the request's bound
// (E10) and are taken as they stand (C9).
func believed(t *testing.T, body []byte, s *Stream, reported usage.Units) {
	t.Helper()
	var r peek.Request
	if err := peek.Scan(body, peek.AnthropicMessages, &r); err != nil {
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
