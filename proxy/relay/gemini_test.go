package relay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// three is a proxy whose model gemini-3-a is a Gemini 3 model, which refuses a history
// with calls that are not signed.
func three(t *testing.T) (*proxytest.Kit, *mockllm.Meter) {
	return standard(t, proxytest.Options{Models: []proxytest.Model{{ID: "gemini-3-a", Routes: []proxytest.Route{{Provider: "gemini", Model: "gemini-3-flash"}}}}})
}

// What a Gemini model signed comes back to it through both endpoints, streamed and
// whole; a history of another model gets Google's stand-in.
func TestGeminiSignatures(t *testing.T) {
	k, meter := three(t)
	last := func() string {
		r := meter.Requests(mockFilter)
		return string(r[len(r)-1].Extra.Body)
	}
	const (
		first = `{"role":"user","content":"weather and time mock:tools=2;keep=1"}`
		user  = `{"role":"user","content":"weather and time mock:keep=1"}`
	)
	for _, stream := range []bool{false, true} {
		// Chat: the client sends the calls back as it got them.
		r := post(t, k, "/v1/chat/completions", fmt.Sprintf(`{"model":"gemini-3-a","stream":%v,%s,"messages":[%s]}`, stream, chatTools, first))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		calls := chatCalls(t, r.body, stream)
		if len(calls) != 2 || !strings.Contains(calls[0], `"thought_signature":"bW9jaw=="`) || strings.Contains(calls[1], "signature") {
			t.Fatalf("%v", calls)
		}
		var ids [2]struct{ ID string }
		for i := range ids {
			_ = json.Unmarshal([]byte(calls[i]), &ids[i])
		}
		r = post(t, k, "/v1/chat/completions", fmt.Sprintf(`{"model":"gemini-3-a","stream":%v,%s,"messages":[%s,{"role":"assistant","content":null,"tool_calls":[%s,%s]},{"role":"tool","tool_call_id":%q,"content":"mild"},{"role":"tool","tool_call_id":%q,"content":"{\"h\": 12}"}]}`,
			stream, chatTools, user, calls[0], calls[1], ids[0].ID, ids[1].ID))
		if r.status != 200 || !strings.Contains(string(r.body), `"finish_reason":"stop"`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if b := last(); !strings.Contains(b, `"thoughtSignature":"bW9jaw=="`) || strings.Contains(b, "skip_thought") || !strings.Contains(b, `"response":{"h": 12}`) || !strings.Contains(b, `"response":{"result":"mild"}`) {
			t.Fatalf("sent %s", b)
		}

		// Messages: a thinking block stands for the signature.
		r = post(t, k, "/v1/messages", fmt.Sprintf(`{"model":"gemini-3-a","stream":%v,%s,"messages":[%s]}`, stream, messagesTools, first))
		if r.status != 200 || !strings.Contains(string(r.body), `"signature":"google-gemini-v1:bW9jaw=="`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		r = post(t, k, "/v1/messages", fmt.Sprintf(`{"model":"gemini-3-a","stream":%v,%s,"messages":[%s,
			{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"google-gemini-v1:bW9jaw=="},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}},{"type":"tool_use","id":"toolu_2","name":"time","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"mild"},{"type":"tool_result","tool_use_id":"toolu_2","is_error":true,"content":"no clock"}]}]}`, stream, messagesTools, user))
		if r.status != 200 || !strings.Contains(string(r.body), `"stop_reason":"end_turn"`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if b := last(); !strings.Contains(b, `"thoughtSignature":"bW9jaw=="`) || !strings.Contains(b, `"response":{"error":"no clock"}`) || strings.Contains(b, "google-gemini") {
			t.Fatalf("sent %s", b)
		}
	}
	// Calls of another model, signed by it or not at all.
	r := post(t, k, "/v1/messages", `{"model":"gemini-3-a",`+messagesTools+`,"messages":[`+user+`,
		{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"Y2xhdWRl"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"mild"}]}]}`)
	if r.status != 200 || r.header.Get("X-Relay-Dropped") != "messages[].content[].type=thinking" {
		t.Fatalf("%d %q %s", r.status, r.header.Get("X-Relay-Dropped"), r.body)
	}
	if b := last(); !strings.Contains(b, `"thoughtSignature":"skip_thought_signature_validator"`) || strings.Contains(b, "Y2xhdWRl") {
		t.Fatalf("sent %s", b)
	}
	k.WaitRecords(t, 9)
	k.AtRest(t)
}

// chatCalls puts the tool calls of an answer together as SDKs do.
func chatCalls(t *testing.T, body []byte, stream bool) (out []string) {
	t.Helper()
	type choice struct {
		Message struct {
			Calls []json.RawMessage `json:"tool_calls"`
		}
		Delta struct {
			Calls []map[string]any `json:"tool_calls"`
		}
	}
	var c struct{ Choices []choice }
	if !stream {
		if err := json.Unmarshal(body, &c); err != nil {
			t.Fatal(err)
		}
		for _, call := range c.Choices[0].Message.Calls {
			out = append(out, string(call))
		}
		return out
	}
	var calls []map[string]any
	for _, line := range strings.Split(string(body), "\n") {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		c.Choices = nil
		if err := json.Unmarshal([]byte("{"+data), &c); err != nil {
			t.Fatal(err)
		}
		for _, ch := range c.Choices {
			for _, d := range ch.Delta.Calls {
				if i := int(d["index"].(float64)); i == len(calls) {
					calls = append(calls, d)
				} else {
					f := calls[i]["function"].(map[string]any)
					f["arguments"] = f["arguments"].(string) + d["function"].(map[string]any)["arguments"].(string)
				}
			}
		}
	}
	for _, call := range calls {
		b, _ := json.Marshal(call)
		out = append(out, string(b))
	}
	return out
}

// D11 with Google's errors: a fault of ours is never told, a key that is wrong is left
// alone, one that is over its rate rests, the customer's own faults reach it.
func TestGeminiErrors(t *testing.T) {
	for script, want := range map[string]struct {
		status, attempts int
		body             string
	}{
		"first.error=invalid_key":     {200, 2, ""},
		"first.error=rate_limit":      {200, 2, ""},
		"first.error=account_empty":   {200, 2, ""},
		"first.error=model_not_found": {200, 2, ""},
		"first.error=permission":      {200, 2, ""},
		"first.error=overloaded":      {200, 2, ""},
		"first.status=500":            {200, 2, ""},
		"first.error=html":            {200, 2, ""},
		"first.cut=headers":           {200, 2, ""},
		"error=rate_limit":            {503, 2, ""},
		"error=invalid_key":           {502, 2, ""},
		"error=context_length":        {400, 1, "exceeds the maximum number of tokens"},
		"error=bad_request":           {400, 1, "temperature"},
	} {
		k, meter := standard(t, proxytest.Options{})
		for i, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			r := post(t, k, path, chat("gemini-a", script+";out=4", i == 1))
			body := string(r.body)
			if i == 1 && want.status == 502 {
				want.status = 503 // the keys have been parked
			}
			if r.status != want.status || !strings.Contains(body, want.body) || strings.Contains(body, "up-gemini") {
				t.Errorf("%s %s: %d %s", path, script, r.status, body)
			}
			for _, canary := range mockllm.Canaries {
				if strings.Contains(body, canary) {
					t.Errorf("%s %s tells of %s: %s", path, script, canary, body)
				}
			}
			rec := k.WaitRecords(t, i+1)[i]
			if i == 0 && int(rec.NumAttempts) != want.attempts || (rec.Charge != 0) != (want.status == 200) {
				t.Errorf("%s %s: %d attempts, charge %s", path, script, rec.NumAttempts, rec.Charge)
			}
		}
		_ = meter
		k.HealAll()
		k.AtRest(t)
	}
}

// C8, C9: a provider that lies about usage, or says nothing, is not believed; a stream
// that is cut is paid as far as it came.
func TestGeminiUsage(t *testing.T) {
	for script, want := range map[string]struct {
		source usage.Source
		output int64
		status usage.Status
	}{
		"out=40":                  {usage.SourceReported, 40, usage.Success},
		"out=40;reasoning=9":      {usage.SourceReported, 49, usage.Success},
		"out=40;usage=none":       {usage.SourceEstimated, -1, usage.Success},
		"out=40;usage=huge":       {usage.SourcePartial, -1, usage.Success},
		"out=40;usage=negative":   {usage.SourcePartial, -1, usage.Success},
		"out=40;usage=string":     {usage.SourcePartial, -1, usage.Success},
		"out=40;usage_in=huge":    {usage.SourceEstimated, 40, usage.Success},
		"out=40;usage=shrink":     {usage.SourceReported, 40, usage.Success},
		"out=40;cut=20":           {usage.SourceReported, 20, usage.Failed},
		"out=40;end=20":           {usage.SourceReported, 20, usage.Failed},
		"out=40;line=300000":      {usage.SourceReported, 40, usage.Success},
		"out=40;sse=comments":     {usage.SourceReported, 40, usage.Success},
		"out=40;sse=cr":           {usage.SourceReported, 40, usage.Success},
		"out=40;sse=multiline":    {usage.SourceReported, 40, usage.Success},
		"out=40;write=3":          {usage.SourceReported, 40, usage.Success},
		"out=4;finish=SAFETY":     {usage.SourceReported, 4, usage.Success},
		"out=4;finish=RECITATION": {usage.SourceReported, 4, usage.Success},
	} {
		k, _ := standard(t, proxytest.Options{})
		for i, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			r := post(t, k, path, chat("gemini-a", script, true))
			rec := k.WaitRecords(t, i+1)[i]
			if rec.Source != want.source || rec.Status != want.status || want.output >= 0 && rec.Units[usage.Output] != want.output || rec.Units[usage.Output] < 4 || rec.Charge > rec.Hold {
				t.Errorf("%s %s: %s, %s, %v\n%s", path, script, rec.Source, rec.Status, rec.Units, tail(r.body))
			}
			k.HealAll()
		}
		k.AtRest(t)
	}
}
