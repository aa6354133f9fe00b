package relay_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/usage"
)

// cold is a request with temperature 0.
func cold(text, id string, stream bool) string {
	return fmt.Sprintf(`{"model":"gpt-a","stream":%t,"temperature":0,"max_tokens":100,"messages":[{"role":"user","content":"%s mock:out=20;id=%s"}]}`, stream, text, id)
}

// S1-14, rulings 3.18: the same request is answered by the earlier answer, streamed or
// not; it costs its tokens at the price of cached input, the row says so, and nobody is
// asked upstream.
func TestAnswersGivenAgain(t *testing.T) {
	k, meter := standard(t, proxytest.Options{
		Key:    rules(t, policy.Rules{Cache: policy.Cache{Answers: policy.Deterministic}}),
		Models: []proxytest.Model{{ID: "cheap", Prices: map[string]string{"input": "1", "cache_read": "0.1", "output": "2", "request": "0.003"}, Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	for i, stream := range []bool{false, true} {
		body := strings.Replace(cold("hello", "again", stream), "gpt-a", "cheap", 1)
		first := post(t, k, "/v1/chat/completions", body)
		k.Answers.Wait()
		second := post(t, k, "/v1/chat/completions", strings.Replace(body, `","`, `" , "`, 1))
		if first.header.Get("x-relay-cache") != "miss" || second.header.Get("x-relay-cache") != "hit" || first.status != 200 || second.status != 200 || !bytes.Equal(first.body, second.body) || first.header.Get("content-type") != second.header.Get("content-type") {
			t.Fatalf("stream %v: %d %v %s\nthen %d %v %s", stream, first.status, first.header, first.body, second.status, second.header, second.body)
		}
		if n := len(ended(meter, mockllm.Filter{Marker: "again"})); n != i+1 {
			t.Errorf("%d calls went upstream", n)
		}
		recs := k.WaitRecords(t, 2*i+2)[2*i:]
		a, b := &recs[0], &recs[1]
		total := a.Units[usage.Input] + a.Units[usage.Output]
		if b.Source != usage.SourceCache || b.Flags&usage.FlagCacheHit == 0 || b.Units[usage.CacheRead] != total || b.NumAttempts != 0 || b.Cost != 0 || int64(b.Charge) != 3_000_000+total*100 || b.Charge >= a.Charge {
			t.Errorf("first %+v\nagain %+v", a, b)
		}
	}
	k.AtRest(t)
}

// What is not the same, or is not to be given again, is asked for.
func TestAnswersNotGivenAgain(t *testing.T) {
	both := policy.Rules{Cache: policy.Cache{Answers: policy.Deterministic}}
	k, meter := standard(t, proxytest.Options{Key: rules(t, both)})
	other := k.Another(t, 2, rules(t, both))
	base := cold("hello", "fresh", false)
	if r := post(t, k, "/v1/chat/completions", base); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.Answers.Wait()
	n := 1
	for name, tc := range map[string]struct {
		body   string
		header []string
		cache  string
	}{
		"another client": {base, []string{"Authorization", "Bearer " + other}, "miss"},
		"another text":   {cold("hallo", "fresh", false), nil, "miss"},
		"a stream":       {cold("hello", "fresh", true), nil, "miss"},
		"temperature":    {strings.Replace(base, `"temperature":0`, `"temperature":0.1`, 1), nil, ""},
		"none given":     {strings.Replace(base, `"temperature":0,`, ``, 1), nil, ""},
		"tools":          {strings.Replace(base, `"temperature":0`, `"temperature":0,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]`, 1), nil, ""},
		"no-store":       {base, []string{"Cache-Control", "no-store"}, ""},
		"no-cache":       {base, []string{"Cache-Control", "max-age=0, No-Cache"}, "miss"},
	} {
		r := post(t, k, "/v1/chat/completions", tc.body, tc.header...)
		n++
		if r.status != 200 || r.header.Get("x-relay-cache") != tc.cache || len(ended(meter, mockllm.Filter{Marker: "fresh"})) != n {
			t.Errorf("%s: %d, cache %q, %s", name, r.status, r.header.Get("x-relay-cache"), r.body)
		}
		k.Answers.Wait()
	}
	if r := post(t, k, "/v1/chat/completions", base); r.header.Get("x-relay-cache") != "hit" {
		t.Errorf("the first request is not known any more: %v", r.header)
	}
	k.AtRest(t)
}

// An error, and a stream that broke off, are not given again; without the policy nothing is.
func TestOnlyWholeAnswersAreGivenAgain(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Key: rules(t, policy.Rules{Cache: policy.Cache{Answers: policy.CacheAll}})})
	for _, script := range []string{"id=broken;cut=5;out=30", "id=broken;status=400;error=bad_request"} {
		for range 2 {
			post(t, k, "/v1/chat/completions", chat("gpt-a", script, true))
			k.Answers.Wait()
		}
	}
	if n := len(ended(meter, mockllm.Filter{Marker: "broken"})); n != 4 {
		t.Errorf("%d of 4 calls went upstream", n)
	}
	for range 2 {
		if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "id=warm;out=3", false)); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
		k.Answers.Wait()
	}
	if n := len(ended(meter, mockllm.Filter{Marker: "warm"})); n != 1 {
		t.Errorf("with any temperature: %d calls", n)
	}
	k.AtRest(t)
	k, meter = standard(t, proxytest.Options{})
	for range 2 {
		if r := post(t, k, "/v1/chat/completions", cold("hello", "off", false)); r.header.Get("x-relay-cache") != "" {
			t.Errorf("%v", r.header)
		}
	}
	if n := len(ended(meter, mockllm.Filter{Marker: "off"})); n != 2 {
		t.Errorf("off: %d calls", n)
	}
	k.AtRest(t)
}

// S1-14, S1-B15: a request above the account's window is refused, or loses its oldest turns
// whole; what the system says stays.
func TestContextWindow(t *testing.T) {
	long := strings.Repeat("many words about it ", 100) // about 500 tokens
	conversation := func(turns int) string {
		var b strings.Builder
		b.WriteString(`{"model":"gpt-a","max_tokens":10,"messages":[{"role":"system","content":"be kind"}`)
		for n := range turns {
			fmt.Fprintf(&b, `,{"role":"user","content":"turn%d %s"},{"role":"assistant","tool_calls":[{"id":"c%d","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c%d","content":"result%d"}`, n, long, n, n, n)
		}
		b.WriteString(`,{"role":"user","content":"last"}],"user":"mock:id=window;keep=1;out=3"}`)
		return b.String()
	}
	for _, tc := range []struct {
		w      policy.Window
		turns  int
		status int
		left   string // the first turn that is left
	}{
		{policy.Window{}, 6, 200, "turn0"},
		{policy.Window{MaxTokens: 100_000}, 6, 200, "turn0"},
		{policy.Window{MaxTokens: 1500}, 6, 400, ""},
		{policy.Window{MaxTokens: 1500}, 1, 200, "turn0"},
		{policy.Window{MaxTokens: 1500, Trim: true}, 6, 200, "turn4"},
		{policy.Window{MaxTokens: 1500, Trim: true}, 1, 200, "turn0"},
		{policy.Window{MaxTokens: 5, Trim: true}, 2, 400, ""},
	} {
		k, meter := standard(t, proxytest.Options{Key: rules(t, policy.Rules{Window: tc.w})})
		r := post(t, k, "/v1/chat/completions", conversation(tc.turns))
		if r.status != tc.status {
			t.Errorf("%+v, %d turns: %d %s", tc.w, tc.turns, r.status, r.body)
		}
		list := ended(meter, mockllm.Filter{Marker: "window"})
		if tc.status != 200 {
			if len(list) != 0 {
				t.Errorf("%+v: it went upstream", tc.w)
			}
			k.AtRest(t)
			continue
		}
		got := string(list[0].Extra.Body)
		first := strings.Index(got, "turn")
		if first < 0 || got[first:first+5] != tc.left || !strings.Contains(got, "be kind") || strings.Count(got, `"tool_call_id"`) != strings.Count(got, `"tool_calls"`) {
			t.Errorf("%+v, %d turns: the upstream got %.300s", tc.w, tc.turns, got)
		}
		trimmed := tc.left != "turn0"
		if rec := k.WaitRecords(t, 1)[0]; rec.Flags&usage.FlagTrimmed != 0 != trimmed || (r.header.Get("x-relay-trimmed") == "12") != trimmed {
			t.Errorf("%+v: flags %s, header %q", tc.w, rec.Flags, r.header.Get("x-relay-trimmed"))
		}
		k.AtRest(t)
	}
}
