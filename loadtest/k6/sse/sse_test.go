package sse

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	openai = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n" +
		": ping\n\n" +
		"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\r\n\r\n" +
		"data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n" +
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n"
	anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n"
	done, stop = "data: [DONE]\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

// slow gives its parts one by one, a millisecond apart.
type slow struct{ parts []string }

func (s *slow) Read(b []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Millisecond)
	n := copy(b, s.parts[0])
	if s.parts[0] = s.parts[0][n:]; s.parts[0] == "" {
		s.parts = s.parts[1:]
	}
	return n, nil
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		stream   string
		complete bool
	}{
		"openai":          {openai + done, true},
		"anthropic":       {anthropic + stop, true},
		"openai cut":      {openai, false},
		"anthropic cut":   {anthropic, false},
		"amid an event":   {openai + "data: [DONE]\n", false},
		"amid a line":     {openai + "data: [DO", false},
		"after the end":   {openai + done + done, false},
		"error event":     {openai + "data: {\"error\":{\"message\":\"x\"}}\n\n" + done, false},
		"no JSON":         {openai + "data: {\n\n" + done, false},
		"no finish":       {strings.Replace(openai, "\"stop\"", "null", 1) + done, false},
		"anthropic error": {anthropic + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := &Reading{Status: 200}
			r.read(&slow{strings.SplitAfter(c.stream, "\n")}, func() time.Duration { return time.Since(began) })
			if r.Complete() != c.complete {
				t.Errorf("complete %v: %+v", r.Complete(), r)
			}
			if r.Tokens != 2 || r.Text != "Hello" || r.Input != 7 || r.Output != 2 {
				t.Errorf("%+v", r)
			}
			if r.FirstToken < 1 || len(r.Gaps) != 1 || r.Gaps[0] < 1 || r.Gaps[0] > millis(time.Since(began)) {
				t.Errorf("first token %v, gaps %v", r.FirstToken, r.Gaps)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch b, _ := io.ReadAll(r.Body); string(b) {
		case "stream":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, openai+done)
		case "cut":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, openai+done)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "limit":
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(429)
			_, _ = io.WriteString(w, "later")
		case "slow":
			<-r.Context().Done()
		case "plain":
			_, _ = io.WriteString(w, "{}")
		}
	}))
	defer s.Close()
	get := func(body string) *Reading {
		return fetch(context.Background(), http.DefaultTransport, s.URL, body, params{timeout: 300 * time.Millisecond})
	}
	if r := get("stream"); !r.Complete() || r.Duration <= 0 {
		t.Errorf("%+v", r)
	}
	if r := get("cut"); r.Complete() || r.Error == "" || r.Tokens != 2 {
		t.Errorf("%+v", r)
	}
	if r := get("limit"); r.Status != 429 || r.Body != "later" || r.Headers["retry-after"] != "3" {
		t.Errorf("%+v", r)
	}
	if r := get("slow"); r.Status != 0 || r.Error == "" {
		t.Errorf("%+v", r)
	}
	if r := get("plain"); r.Complete() || r.Error == "" {
		t.Errorf("%+v", r)
	}
}
