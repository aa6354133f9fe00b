package relay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/apptest/mockllm"
)

// Counting tokens costs nothing, holds nothing and needs no money: the provider's own count
// where it counts, else the relay's, which says so.
func TestCounts(t *testing.T) {
	k, m := beside(t)
	claude := `{"model":"MODEL","messages":[{"role":"user","content":"hello there, how are you?"}],"system":"be brief"}`
	for i, c := range []struct {
		path, body, member string
		asked              bool
	}{
		{"/v1/messages/count_tokens", `{"model":"claude-a",` + claude[17:], "input_tokens", true},
		{"/anthropic/v1/messages/count_tokens", `{"model":"claude-a",` + claude[17:], "input_tokens", true},
		{"/v1/anthropic/messages/count_tokens", `{"model":"claude-a",` + claude[17:], "input_tokens", true},
		{"/v1/messages/count_tokens", `{"model":"chat-only",` + claude[17:], "input_tokens", false},
		{"/v1/messages/count_tokens", `{"model":"gemini-a",` + claude[17:], "input_tokens", false},
		{"/v1/responses/input_tokens", `{"model":"chat-only","input":"hello there, how are you?"}`, "input_tokens", true},
		{"/v1/responses/input_tokens", `{"model":"claude-a","input":"hello there, how are you?"}`, "input_tokens", false},
		{"/v1beta/models/gemini-a:countTokens", `{"contents":[{"parts":[{"text":"hello there"}]}]}`, "totalTokens", true},
		{"/v1beta/models/claude-a:countTokens", `{"contents":[{"parts":[{"text":"hello there"}]}]}`, "totalTokens", false},
	} {
		before := len(m.Requests(mockFilter))
		r := post(t, k, c.path, c.body)
		var a map[string]any
		if err := json.Unmarshal(r.body, &a); err != nil || r.status != 200 {
			t.Fatalf("%d: %d %s", i, r.status, r.body)
		}
		if n, _ := a[c.member].(float64); n < 1 || n > 60 {
			t.Errorf("%d: %s", i, r.body)
		}
		if asked := len(ended(m, mockllm.Filter{})) > before; asked != c.asked || (r.header.Get("X-Relay-Estimated") == "true") == c.asked {
			t.Errorf("%d: a provider was asked: %v; %v", i, asked, r.header)
		}
	}
	for _, rec := range k.Records(t) {
		if rec.Charge != 0 || rec.Hold != 0 || rec.Overrun != 0 || !rec.Units.IsZero() {
			t.Errorf("%s: %v, held %s, charged %s", rec.Model, rec.Units, rec.Hold, rec.Charge)
		}
	}
	refused(t, post(t, k, "/v1/responses/input_tokens", `{"model":"chat-only","input":"a","previous_response_id":"resp_1"}`), 404, "not_found", "")
	refused(t, post(t, k, "/v1/messages/count_tokens", `{"model":"none","messages":[]}`), 400, "unknown_model_pricing", "")
	if r := post(t, k, "/v1/messages/count_tokens", `{"model":"claude-a"}`); r.status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// An upstream that has the messages and not their count, or not the model: the relay counts.
// Its route stays open for messages, and a key that may not count is not parked.
func TestCountMissing(t *testing.T) {
	k, _ := beside(t)
	for i := range 3 {
		for _, script := range []string{"status=404", "error=model_not_found"} {
			r := post(t, k, "/v1/messages/count_tokens", `{"model":"claude-a","messages":[{"role":"user","content":"hello there mock:`+script+`"}]}`)
			if r.status != 200 || r.header.Get("X-Relay-Estimated") != "true" {
				t.Fatalf("%d %s: %d %s", i, script, r.status, r.body)
			}
		}
	}
	if r := post(t, k, "/v1/messages/count_tokens", `{"model":"claude-a","messages":[{"role":"user","content":"hello mock:error=permission"}]}`); r.status == 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(t, k, "/v1/messages", `{"model":"claude-a","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`); r.status != 200 {
		t.Errorf("messages after it: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// Whoever asks an endpoint for a model that is not for it does not take the model from
// those who use it as it is meant.
func TestWrongEndpoint(t *testing.T) {
	k, _ := beside(t)
	for range 3 {
		for path, body := range map[string]string{
			"/v1/audio/speech":       `{"model":"chat-only","input":"hello mock:ERROR","voice":"alloy"}`,
			"/v1/embeddings":         `{"model":"chat-only","input":"hello mock:ERROR"}`,
			"/v1/images/generations": `{"model":"chat-only","prompt":"hello mock:ERROR"}`,
			"/v1/moderations":        `{"model":"chat-only","input":"hello mock:ERROR"}`,
		} {
			for _, script := range []string{"status=404", "error=model_not_found", "error=permission"} {
				if r := post(t, k, path, strings.Replace(body, "ERROR", script, 1)); r.status < 400 {
					t.Errorf("%s %s: %d %s", path, script, r.status, r.body)
				}
			}
		}
	}
	if r := post(t, k, "/v1/chat/completions", chat("chat-only", "out=1", false)); r.status != 200 {
		t.Errorf("chat after it: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}
