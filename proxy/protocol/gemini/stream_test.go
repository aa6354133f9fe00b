package gemini

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/sse"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

func event(json string) string { return "data: " + json + "\r\n\r\n" }

const (
	said = `{"candidates": [{"content": {"parts": [{"text": "Hi"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 4,"candidatesTokenCount": 1,"totalTokenCount": 5},"modelVersion": "gemini-up","responseId": "r"}`
	last = `{"candidates": [{"content": {"parts": [{"text": ""}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 4,"candidatesTokenCount": 2,"thoughtsTokenCount": 5,"totalTokenCount": 11},"modelVersion": "gemini-up","responseId": "r"}`
)

func TestKinds(t *testing.T) {
	for ev, want := range map[string]protocol.Kind{
		event(said): protocol.Output,
		event(last): protocol.Final,
		event(`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}`): protocol.Output,
		event(`{"usageMetadata":{"promptTokenCount":4}}`):                                         protocol.Preamble,
		event(`{"promptFeedback":{"blockReason":"SAFETY"}}`):                                      protocol.Final,
		event(`{"error":{"code":503,"status":"UNAVAILABLE"}}`):                                    protocol.ErrorEvent,
		": ping\r\n\r\n":                  protocol.Comment,
		"event: error\r\ndata: x\r\n\r\n": protocol.ErrorEvent,
		"data: nonsense\r\n\r\n":          protocol.Output,
		"data: \r\n\r\n":                  protocol.Other,
		"retry: 5\r\n\r\n":                protocol.Other,
	} {
		var s Stream
		s.Reset(&protocol.StreamConfig{})
		out, k := s.Event(nil, []byte(ev))
		if k != want || k != protocol.Comment && string(out) != ev {
			t.Errorf("%q: %s, %q", ev, k, out)
		}
	}
}

// An answer has ended when each candidate has a reason for it, and not before.
func TestTerminated(t *testing.T) {
	candidate := func(i int, finish string) string {
		return fmt.Sprintf(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":%d%s}]}`, i, finish)
	}
	for _, c := range []struct {
		events []string
		ended  bool
	}{
		{[]string{candidate(0, "")}, false},
		{[]string{candidate(0, ""), candidate(0, `,"finishReason":"STOP"`)}, true},
		{[]string{candidate(0, `,"finishReason":"STOP"`), candidate(1, "")}, false},
		{[]string{candidate(0, `,"finishReason":"STOP"`), candidate(1, `,"finishReason":"MAX_TOKENS"`)}, true},
		{[]string{candidate(0, `,"finishReason":"FINISH_REASON_UNSPECIFIED"`)}, false},
		{[]string{`{"promptFeedback":{"blockReason":"OTHER"}}`}, true},
		{[]string{`{"promptFeedback":{}}`}, false},
		{nil, false},
	} {
		var s Stream
		s.Reset(&protocol.StreamConfig{})
		for _, e := range c.events {
			s.Event(nil, []byte(event(e)))
		}
		if s.Terminated() != c.ended {
			t.Errorf("%q: %v", c.events, s.Terminated())
		}
	}
}

func TestArray(t *testing.T) {
	var s Stream
	s.Reset(&protocol.StreamConfig{Array: true, ClientModel: "shown"})
	var out []byte
	for _, ev := range []string{": ping\r\n\r\n", event(said), "data: {\"a\":\r\ndata: 1}\r\n\r\n", event(last)} {
		var k protocol.Kind
		if out, k = s.Event(out, []byte(ev)); k == protocol.ErrorEvent {
			t.Fatalf("%q", ev)
		}
	}
	out = append(out, ArrayEnd...)
	var list []map[string]any
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 3 || list[0]["modelVersion"] != "shown" {
		t.Fatalf("%v: %s", err, out)
	}
	if _, k := s.Event(nil, []byte("data: nonsense\r\n\r\n")); k != protocol.ErrorEvent {
		t.Error("what is no JSON would break the array")
	}
}

func TestErrorClass(t *testing.T) {
	for body, want := range map[string]protocol.Fault{
		`{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}`:                                                                   protocol.FaultKey,
		`{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"48.9s"}]}}`: protocol.FaultRateLimited,
		`{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}`:                                                                           protocol.FaultAccount,
		`{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}`:                                                                protocol.FaultAccount,
		`{"error":{"code":403,"message":"Permission denied on resource project x.","status":"PERMISSION_DENIED"}}`:                                                                         protocol.FaultKey,
		`{"error":{"code":404,"message":"models/x is not found for API version v1beta","status":"NOT_FOUND"}}`:                                                                             protocol.FaultModelMissing,
		`{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}`:                                                                       protocol.FaultServer,
		`[{"error":{"code":400,"message":"* GenerateContentRequest.contents: contents is not specified","status":"INVALID_ARGUMENT"}}]`:                                                    protocol.FaultClient,
		`{"error":{"code":400,"message":"The input token count exceeds the maximum number of tokens allowed.","status":"INVALID_ARGUMENT"}}`:                                               protocol.FaultClient,
	} {
		var e struct{ Error struct{ Code int } }
		if json.Unmarshal([]byte(strings.Trim(body, "[]")), &e) != nil {
			e.Error.Code = 400
		}
		for _, status := range []int{e.Error.Code, 0} {
			if status == 0 && strings.HasPrefix(body, "[") {
				continue
			}
			if c := ErrorClass(status, nil, []byte(body)); c.Fault != want {
				t.Errorf("%d %s: %s", status, body, c.Fault)
			}
		}
	}
	if c := ErrorClass(429, nil, []byte(`{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"RetryInfo","retryDelay":"48.9s"}]}}`)); c.CoolSeconds != 49 || c.Key != protocol.KeyTransient {
		t.Errorf("%+v", c)
	}
}

// Pinned, nothing is changed; else the model's name, and nothing but it.
func TestBytes(t *testing.T) {
	for _, protocolName := range []string{"gemini.stream", "gemini.generate"} {
		for _, c := range append(prototest.Recordings(t, protocolName), prototest.Read(t, "../../../shared/apptest/fixtures/cases", protocolName)...) {
			if c.Status != 200 || bytes.Contains(c.Body, []byte(`"error"`)) {
				continue
			}
			for _, pinned := range []bool{true, false} {
				var s Stream
				s.Reset(&protocol.StreamConfig{ClientModel: "my-model", Pinned: pinned})
				var out []byte
				want := c.Expected(prototest.Mode{Model: "my-model", Pinned: pinned})
				if !c.Stream {
					out, _, _ = s.Buffered(nil, c.Body)
				} else {
					for rest := c.Body; len(rest) > 0; {
						n := sse.Next(rest)
						if n == 0 {
							n = len(rest)
						}
						out, _ = s.Event(out, rest[:n])
						rest = rest[n:]
					}
				}
				if !bytes.Equal(out, want) || !s.Terminated() {
					t.Errorf("%s (pinned: %v, ended: %v): %s", c.Name, pinned, s.Terminated(), out)
				}
				if u, source := s.Usage(); c.Usage != nil && source == usage.SourceReported && c.Usage.Compare(u) != "" {
					t.Errorf("%s: %s", c.Name, c.Usage.Compare(u))
				}
			}
		}
	}
}

func TestPath(t *testing.T) {
	if got := string(AppendPath(nil, "tuned/é ?#%a:b+c", "generateContent")); got != "/models/tuned%2F%C3%A9%20%3F%23%25a:b+c:generateContent" {
		t.Error(got)
	}
}

// FuzzEvent: whatever an upstream sends passes as it came, and an array is made of
// what is JSON only.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{event(said), event(last), ": c\r\n\r\n", "data: x\n\n", "data: {\"a\":1\ndata: }\n\n", event(`{"candidates":[{"content":{"parts":[7,{"text":1}]}}]}`)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var plain, list Stream
		plain.Reset(&protocol.StreamConfig{Pinned: true})
		list.Reset(&protocol.StreamConfig{Array: true, ClientModel: "shown"})
		var out, elements []byte
		broken := false
		for rest := body; len(rest) > 0; {
			n := sse.Next(rest)
			if n == 0 {
				n = len(rest)
			}
			out, _ = plain.Event(out, rest[:n])
			if !broken {
				at := len(elements)
				var k protocol.Kind
				if elements, k = list.Event(elements, rest[:n]); k == protocol.ErrorEvent {
					broken, elements = true, elements[:at]
				}
			}
			rest = rest[n:]
			plain.Progress()
		}
		if e := sse.Parse(body); e.Datas <= 1 && !bytes.Equal(out, body) {
			t.Fatalf("%q became %q", body, out)
		}
		if len(elements) > 0 {
			if elements = append(elements, ArrayEnd...); !looksLikeArray(elements) {
				t.Fatalf("%q is no array", elements)
			}
		}
	})
}

// looksLikeArray holds the brackets: values inside pass as they came.
func looksLikeArray(b []byte) bool {
	return b[0] == '[' && bytes.HasSuffix(b, []byte(ArrayEnd))
}

// FuzzRequest: an admitted body with a cap of ours has that cap, and stays what it was
// else.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"contents":[]}`, `{"contents":[],"generationConfig":{}}`, `{"generation_config":{"topK":1},"contents":[]}`, `{"contents":[],"generationConfig":null}`,
		`{"contents":[],"generationConfig":{"max_output_tokens":5,"topK":1}}`, `{ "contents" : [ ] , "generationConfig" : { } }`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r peek.Request
		if peek.Scan(body, peek.GeminiGenerate, &r) != nil {
			return
		}
		if same := AppendRequest(nil, body, &r, &protocol.Edit{Model: "m"}); !bytes.Equal(same, body) {
			t.Fatalf("%q became %q", body, same)
		}
		out := AppendRequest(nil, body, &r, &protocol.Edit{Model: "m", MaxTokens: 77})
		var again peek.Request
		if err := peek.Scan(out, peek.GeminiGenerate, &again); err != nil || again.MaxTokens != 77 || !json.Valid(out) {
			t.Fatalf("%q became %q: %v", body, out, err)
		}
	})
}
