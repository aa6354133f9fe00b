package relay_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/usage"
)

// S2-15: one prompt or several, buffered and streamed. Each prompt is answered n times,
// and held for as often; what is charged is what the mock's meter served.
func TestCompletions(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for i, c := range []struct {
		more    string
		choices int
	}{
		{`"prompt":"hello mock:out=5"`, 1},
		{`"prompt":"hello mock:out=5","n":3`, 3},
		{`"prompt":["hello mock:out=5","more"],"n":2`, 4},
		{`"prompt":[[1,2,3],[4]]`, 2},
		{`"prompt":[1,2,3]`, 1},
	} {
		for _, stream := range []string{"", `,"stream":true`, `,"stream":true,"stream_options":{"include_usage":true}`} {
			r := post(t, k, "/v1/completions", `{"model":"gpt-a","max_tokens":200,`+c.more+stream+`}`)
			if r.status != 200 {
				t.Fatalf("%d%s: %d %s", i, stream, r.status, r.body)
			}
			seen := map[int]bool{}
			reported := false
			for _, ev := range strings.Split(string(r.body), "\n\n") {
				ev = strings.TrimPrefix(ev, "data: ")
				var v struct {
					Model   string
					Choices []struct {
						Index int
						Text  *string
					}
					Usage *struct{}
				}
				if ev == "" || ev == "[DONE]" {
					continue
				}
				if err := json.Unmarshal([]byte(ev), &v); err != nil || v.Model != "gpt-a" {
					t.Fatalf("%d%s: %v in %s", i, stream, err, ev)
				}
				reported = reported || v.Usage != nil
				for _, ch := range v.Choices {
					seen[ch.Index] = ch.Text != nil
				}
			}
			if len(seen) != c.choices || reported == (stream == `,"stream":true`) {
				t.Errorf("%d%s: choices %v, usage told: %v\n%s", i, stream, seen, reported, tail(r.body))
			}
			served := ended(m, mockFilter)
			recs := k.WaitRecords(t, len(served))
			rec, u := recs[len(recs)-1], served[len(served)-1].Usage
			if rec.Source != usage.SourceReported || u == nil || int64(rec.Charge) != 1000*u.Input+2000*u.Output || u.Output == 0 {
				t.Errorf("%d%s: charged %s (%s), served %+v", i, stream, rec.Charge, rec.Source, u)
			}
			if least := int64(c.choices) * 200 * 2000; int64(rec.Hold) < least || int64(rec.Hold) > least+700_000 {
				t.Errorf("%d%s: held %s, the output alone can cost %d", i, stream, rec.Hold, least)
			}
		}
	}
	k.AtRest(t)
}

// C6: an upstream that breaks off is told as an error, and what passed is charged.
func TestCompletionsCut(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	r := post(t, k, "/v1/completions", `{"model":"gpt-a","max_tokens":200,"stream":true,"prompt":"hello mock:out=50;cut=20"}`)
	rec := k.WaitRecords(t, 1)[0]
	if r.status != 200 || strings.Contains(string(r.body), "[DONE]") || !strings.Contains(string(r.body), `"error"`) {
		t.Errorf("%d %s", r.status, tail(r.body))
	}
	served := ended(m, mockFilter)
	if rec.Source != usage.SourceEstimated || rec.Charge == 0 || rec.Units[usage.Output] < 10 || rec.Units[usage.Output] > 60 || len(served) != 1 {
		t.Errorf("%d calls, %v charged %s (%s)", len(served), rec.Units, rec.Charge, rec.Source)
	}
	k.AtRest(t)
}

// best_of is billed for answers that are never sent: they are held, and what the
// provider reports of them is believed. Without it so much output is a lie (C9).
func TestCompletionsBestOf(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"cmpl-1","object":"text_completion","model":"up","choices":[{"text":" is","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1500,"total_tokens":1502}}`)
	}))
	defer up.Close()
	k := proxytest.New(t, proxytest.Options{
		Balance:   1 << 40,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: up.URL, Keys: []string{"sk"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}},
	})
	r := post(t, k, "/v1/completions", `{"model":"gpt-a","max_tokens":400,"best_of":4,"prompt":"The sea"}`)
	rec := k.WaitRecords(t, 1)[0]
	if r.status != 200 || rec.Units[usage.Output] != 1500 || rec.Source != usage.SourceReported || rec.Charge != 2*1000+1500*2000 {
		t.Errorf("%d: %v, %s (%s)\n%s", r.status, rec.Units, rec.Charge, rec.Source, r.body)
	}
	if int64(rec.Hold) < 4*400*2000 {
		t.Errorf("held %s", rec.Hold)
	}
	post(t, k, "/v1/completions", `{"model":"gpt-a","max_tokens":2000,"prompt":"The sea"}`)
	if rec = k.WaitRecords(t, 2)[1]; rec.Units[usage.Output] > 5 || rec.Flags&usage.FlagUsageSuspect == 0 {
		t.Errorf("%v (%s) flags %s", rec.Units, rec.Source, rec.Flags)
	}
	k.AtRest(t)
}

// What cannot be served is refused by name, before it costs anything.
func TestCompletionsRefused(t *testing.T) {
	k, m := standard(t, proxytest.Options{})
	for body, param := range map[string]string{
		`{"model":"gpt-a"}`:                                                     "prompt",
		`{"model":"gpt-a","prompt":""}`:                                         "prompt",
		`{"model":"gpt-a","prompt":[]}`:                                         "prompt",
		`{"model":"gpt-a","prompt":["a",1]}`:                                    "prompt",
		`{"model":"gpt-a","prompt":{"text":"a"}}`:                               "prompt",
		`{"model":"gpt-a","prompt":"a","prompt":"b"}`:                           "prompt",
		`{"model":"gpt-a","prompt":"a","n":0}`:                                  "n",
		`{"model":"gpt-a","prompt":"a","max_tokens":-1}`:                        "max_tokens",
		`{"model":"claude-a","prompt":"a"}`:                                     "model",
		`{"model":"gpt-a","prompt":["` + strings.Repeat(`a","`, 1_030) + `a"]}`: "prompt",
	} {
		r := post(t, k, "/v1/completions", body)
		var e struct{ Error struct{ Param string } }
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != 400 || e.Error.Param != param || r.header.Get("X-Relay-Error") != string(apierr.InvalidRequest) {
			t.Errorf("%.60s: %d %s", body, r.status, r.body)
		}
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
