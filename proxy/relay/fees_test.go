package relay_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// The prices of these tests, in nano-USD: a token 1,000 in, 2,000 out, a request
// 5,000,000, a search 10,000,000.
var feePrices = map[string]string{"input": "1", "output": "2", "request": "0.005", "searches": "0.01"}

const requestFee, searchFee = 5_000_000, 10_000_000

// A fee for the request, and the searches that a provider reports, are held and charged;
// the fee once for each answer, never for a refusal or an answer that never began.
func TestFees(t *testing.T) {
	answers := map[string]string{
		"/o/chat/completions": `{"id":"c","object":"chat.completion","model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}`,
		"/o/responses":        `{"id":"r","object":"response","status":"completed","model":"up","output":[{"type":"web_search_call","id":"ws1","status":"completed","action":{"type":"search","query":"a"}},{"type":"web_search_call","id":"ws2","status":"completed","action":{"type":"open_page"}},{"type":"web_search_call","id":"ws3","status":"completed","action":{"type":"search","query":"b"}},{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hello","annotations":[]}]}],"usage":{"input_tokens":4,"output_tokens":2,"total_tokens":6}}`,
	}
	searches := 2
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch text := string(body); {
		case strings.Contains(text, "mock:down"):
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"error":{"message":"down","type":"server_error"}}`)
		case strings.Contains(text, "mock:silent"): // a stream that ends before any output
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"id\":\"c\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n")
		case strings.Contains(text, "mock:cut"): // after some output
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"id\":\"c\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n")
		case strings.HasSuffix(r.URL.Path, "/messages"):
			_, _ = fmt.Fprintf(w, `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"hello there"}],"stop_reason":"end_turn","usage":{"input_tokens":4,"output_tokens":2,"server_tool_use":{"web_search_requests":%d}}}`, searches)
		case strings.Contains(r.URL.Path, ":countTokens"):
			_, _ = io.WriteString(w, `{"totalTokens":7}`)
		default:
			_, _ = io.WriteString(w, answers[r.URL.Path])
		}
	}))
	defer up.Close()
	k := proxytest.New(t, proxytest.Options{
		Balance: 1 << 40,
		Providers: []proxytest.Provider{
			{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: up.URL + "/o", Keys: []string{"sk"}},
			{Slug: "anthropic", Protocol: "anthropic", BaseURL: up.URL + "/a", Keys: []string{"sk"}},
			{Slug: "gemini", Protocol: "gemini", BaseURL: up.URL + "/g", Keys: []string{"sk"}},
		},
		Models: []proxytest.Model{
			{ID: "gpt-a", Prices: feePrices, Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}},
			{ID: "claude-a", Prices: feePrices, Routes: []proxytest.Route{{Provider: "anthropic", Model: "up"}}},
			{ID: "gemini-a", Prices: feePrices, Routes: []proxytest.Route{{Provider: "gemini", Model: "up"}}},
		},
	})
	tool := `,"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]`
	messages := func(more string) string {
		return `{"model":"claude-a","max_tokens":50,"messages":[{"role":"user","content":"hi"}]` + more + `}`
	}
	for _, c := range []struct {
		name, path, body string
		searches         int // that the provider reports
		status           int
		charge           money.Amount
		units            usage.Units
		suspect          bool
	}{
		{"a request", "/v1/chat/completions", chat("gpt-a", "x", false), 0, 200, requestFee + 4*1000 + 2*2000, usage.Units{usage.Input: 4, usage.Output: 2, usage.Request: 1}, false},
		{"two searches of three", "/v1/messages", messages(tool), 2, 200, requestFee + 2*searchFee + 4*1000 + 2*2000, usage.Units{usage.Input: 4, usage.Output: 2, usage.Searches: 2, usage.Request: 1}, false},
		{"more searches than were allowed", "/v1/messages", messages(tool), 9, 200, requestFee + 3*searchFee + 4*1000 + 2*2000, usage.Units{usage.Input: 4, usage.Output: 2, usage.Searches: 3, usage.Request: 1}, true},
		{"items of searches", "/v1/responses", `{"model":"gpt-a","store":false,"input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":3,"max_output_tokens":50}`, 0, 200, requestFee + 2*searchFee + 4*1000 + 2*2000, usage.Units{usage.Input: 4, usage.Output: 2, usage.Searches: 2, usage.Request: 1}, false},
		{"an error", "/v1/chat/completions", chat("gpt-a", "down", false), 0, 502, 0, usage.Units{}, false},
		{"nothing came", "/v1/chat/completions", chat("gpt-a", "silent", true), 0, 502, 0, usage.Units{}, false},
		{"counting tokens", "/v1beta/models/gemini-a:countTokens", `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`, 0, 200, 0, usage.Units{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(k.Records(t))
			searches = c.searches
			r := post(t, k, c.path, c.body)
			rec := k.WaitRecords(t, n+1)[n]
			if r.status != c.status || rec.Charge != c.charge || rec.Units != c.units || rec.Overrun != 0 || (rec.Flags&usage.FlagUsageSuspect != 0) != c.suspect {
				t.Errorf("%d, charged %s (want %s) for %v, beyond the hold %s, flags %s\n%s", r.status, rec.Charge, c.charge, rec.Units, rec.Overrun, rec.Flags, r.body)
			}
			if rec.Hold < rec.Charge || c.charge > 0 && rec.Hold < requestFee+50*2000 || c.name == "counting tokens" && rec.Hold != 0 {
				t.Errorf("held %s", rec.Hold)
			}
			if c.units[usage.Searches] > 0 && rec.Hold < requestFee+3*searchFee {
				t.Errorf("held %s, three searches are allowed", rec.Hold)
			}
		})
	}
	t.Run("an answer that was cut", func(t *testing.T) {
		n := len(k.Records(t))
		k.HealAll()
		post(t, k, "/v1/chat/completions", chat("gpt-a", "cut", true))
		rec := k.WaitRecords(t, n+1)[n]
		want := requestFee + money.Amount(rec.Units[usage.Input]*1000+rec.Units[usage.Output]*2000)
		if rec.Units[usage.Request] != 1 || rec.Units[usage.Output] == 0 || rec.Charge != want {
			t.Errorf("charged %s (want %s) for %v", rec.Charge, want, rec.Units)
		}
	})
	k.AtRest(t)
}

// A wallet that covers everything but the fee is refused before anything is sent.
func TestFeeIsHeld(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an upstream was asked") }))
	defer up.Close()
	k := proxytest.New(t, proxytest.Options{
		Balance:   requestFee + 1000, // the fee, but not the tokens besides
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: up.URL, Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Prices: feePrices, Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "x", false)); r.status != 402 {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}
