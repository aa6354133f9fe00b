package mockllm

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func geminiBody(script, more string) string {
	return `{"contents":[{"role":"user","parts":[{"text":"hello ` + script + `"}]}]` + more + `}`
}

// Protocols 6: events end in CRLF and without a terminator, each says the usage so
// far, the last one the reason for the end; without alt=sse the same is one array.
func TestGeminiFraming(t *testing.T) {
	s, addr := start(t, Options{})
	path := "/l/v1beta/models/gemini-x:streamGenerateContent"
	got := talk(t, addr, post(path+"?alt=sse", geminiBody("mock:out=3;reasoning=2;cached=1", "")), 5*time.Second)
	if !got.whole || !strings.Contains(got.head, "Content-Type: text/event-stream\r\n") {
		t.Fatalf("%q", got.raw)
	}
	golden(t, "gemini-native", got.body)
	events := strings.SplitAfter(strings.TrimSuffix(string(got.body), "\r\n\r\n"), "\r\n\r\n")
	if len(events) != 6 {
		t.Fatalf("%d events", len(events))
	}
	for i, ev := range events {
		var c struct {
			Candidates    []struct{ FinishReason string }
			UsageMetadata struct{ PromptTokenCount, CandidatesTokenCount, ThoughtsTokenCount, TotalTokenCount int64 }
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(strings.TrimSpace(ev), "data: ")), &c); err != nil {
			t.Fatalf("%v: %q", err, ev)
		}
		u := c.UsageMetadata
		if (c.Candidates[0].FinishReason == "STOP") != (i == 5) || u.TotalTokenCount != u.PromptTokenCount+u.CandidatesTokenCount+u.ThoughtsTokenCount {
			t.Errorf("event %d: %q", i, ev)
		}
		if i == 5 && (u.CandidatesTokenCount != 3 || u.ThoughtsTokenCount != 2) {
			t.Errorf("usage %+v", u)
		}
	}
	got = talk(t, addr, post(path, geminiBody("mock:out=3", "")), 5*time.Second)
	var list []map[string]any
	if err := json.Unmarshal(got.body, &list); err != nil || len(list) != 4 || !strings.Contains(got.head, "application/json") {
		t.Fatalf("%v: %q", err, got.raw)
	}
	last := s.Meter().Requests(Filter{})[1]
	if last.Usage == nil || last.Usage.Output != 3 || !last.Stream || last.Model != "gemini-x" || last.Lane != "l" {
		t.Fatalf("%+v", last)
	}
}

func TestGeminiAnswers(t *testing.T) {
	_, addr := start(t, Options{})
	const tools = `,"tools":[{"functionDeclarations":[{"name":"weather","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"}},"required":["city"]}}]}]`
	for name, c := range map[string]struct {
		path, body, want string
		status           int
	}{
		"text":       {"/m/models/g:generateContent", geminiBody("mock:out=2", ""), `"finishReason": "STOP"`, 200},
		"call":       {"/m/models/g:generateContent", geminiBody("", tools), `{"functionCall": {"name": "weather","args": {"city":"mock"}},"thoughtSignature": "bW9jaw=="}`, 200},
		"length":     {"/m/models/g:generateContent", geminiBody("mock:out=9", `,"generationConfig":{"maxOutputTokens":2}`), `"MAX_TOKENS"`, 200},
		"candidates": {"/m/models/g:generateContent", geminiBody("mock:out=2", `,"generationConfig":{"candidateCount":2}`), `"index": 1`, 200},
		"schema":     {"/m/models/g:generateContent", geminiBody("", `,"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"a":{"type":"INTEGER"}},"required":["a"]}}`), `{\"a\":1}`, 200},
		"count":      {"/m/models/g:countTokens", geminiBody("", ""), `{"totalTokens": 5}`, 200},
		"escaped":    {"/m/models/up%2Fg+out=1:generateContent", geminiBody("", ""), `"modelVersion": "up/g+out=1"`, 200},
		"key":        {"/m/models/g:generateContent", geminiBody("mock:error=invalid_key", ""), "API_KEY_INVALID", 400},
		"rate":       {"/m/models/g:generateContent", geminiBody("mock:status=429", ""), "RetryInfo", 429},
		"empty":      {"/m/models/g:generateContent", `{"contents":[]}`, "contents is not specified", 400},
		"signature":  {"/m/models/gemini-3-x:generateContent", `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]}]}`, "thought_signature", 400},
	} {
		got := talk(t, addr, post(c.path, c.body), 5*time.Second)
		if !strings.HasPrefix(got.head, "HTTP/1.1 "+itoa(c.status)) || !strings.Contains(string(got.body), c.want) {
			t.Errorf("%s: %q", name, got.raw)
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }
