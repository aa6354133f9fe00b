package relay_test

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/relay"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// picking is a proxy with models for virtual ones: a cheap one that is slow, a dear one
// that is fast, one that is dead, and one that cannot be asked for much.
func picking(tb testing.TB, more ...proxytest.Model) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	provider := func(slug, protocol, path string) proxytest.Provider {
		return proxytest.Provider{Slug: slug, Protocol: protocol, Dialect: protocol, BaseURL: url + "/" + slug + path, Keys: []string{"sk-" + slug}}
	}
	model := func(id, provider, in, out string, tags ...string) proxytest.Model {
		return proxytest.Model{ID: id, Routes: []proxytest.Route{{Provider: provider, Model: "up-" + id}}, Prices: map[string]string{"input": in, "output": out}, Tags: tags, Output: 4000}
	}
	small := model("small", "smallish", "0.01", "0.02")
	small.Context = 2000
	all := []string{"cheap", "dear", "dead", "small"}
	auto := func(id, strategy string, models ...string) proxytest.Model {
		return proxytest.Model{ID: id, Auto: models, Strategy: strategy}
	}
	o := proxytest.Options{
		Providers: []proxytest.Provider{provider("cheapest", "openai", "/openai/v1"), provider("fast", "anthropic", "/v1"), provider("dead", "openai", "/openai/v1"), provider("smallish", "openai", "/openai/v1")},
		Models: append([]proxytest.Model{
			model("cheap", "cheapest", "1", "2", "tools"), model("dear", "fast", "10", "40", "tools", "vision", "structured-output"), model("dead", "dead", "0.1", "0.2", "tools", "vision", "structured-output"), small,
			auto("auto-cheapest", "cheapest", "dear", "cheap"), auto("auto-fastest", "fastest", "cheap", "dear"), auto("auto-best", "best", "dear", "cheap"), auto("auto-balanced", "balanced", "dear", "cheap"),
			auto("auto-all", "cheapest", all...), auto("auto-room", "cheapest", "small", "cheap"), auto("auto-dead", "cheapest", "dead", "cheap", "dear"),
		}, more...),
		Relay: relay.Options{MaxAttempts: 2},
	}
	return proxytest.New(tb, o), meter
}

const slowCheap = "cheapest.delay=60ms;dead.status=500;out=6"

// S1-B9: each strategy picks by price, by what was measured, or by the operator's order;
// the answer names the model that was picked, and that one's price is charged.
func TestAutoStrategies(t *testing.T) {
	k, m := picking(t)
	ask := func(model string, stream bool) (string, usage.Record) {
		r := post(t, k, "/v1/chat/completions", chat(model, slowCheap, stream))
		if r.status != 200 {
			t.Fatalf("%s: %d %s", model, r.status, r.body)
		}
		n := len(ended(m, mockFilter))
		recs := k.WaitRecords(t, 1)
		for len(recs) < n {
			recs = k.WaitRecords(t, len(recs)+1)
			if len(recs) >= n {
				break
			}
		}
		rec := recs[len(recs)-1]
		if !strings.Contains(string(r.body), `"model":"`+rec.Model+`"`) || rec.RequestedModel != model || strings.Contains(string(r.body), model) {
			t.Errorf("%s was served by %s: %s", model, rec.Model, r.body)
		}
		return rec.Model, rec
	}
	for range 2 { // what is never asked is never measured
		for _, model := range []string{"cheap", "dear"} {
			if r := post(t, k, "/v1/chat/completions", chat(model, slowCheap, false)); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.body)
			}
		}
	}
	for _, c := range []struct{ model, want string }{{"auto-cheapest", "cheap"}, {"auto-best", "dear"}} {
		for i := range 8 {
			if got, _ := ask(c.model, i%2 == 1); got != c.want {
				t.Errorf("%s picked %s", c.model, got)
			}
		}
	}
	// One in 32 goes to another, to measure it.
	for _, c := range []struct{ model, want string }{{"auto-fastest", "dear"}} {
		right := 0
		for i := range 24 {
			if got, rec := ask(c.model, i%2 == 1); got == c.want {
				right++
				u := rec.Units
				if want := money.Amount(10_000*u[usage.Input] + 40_000*u[usage.Output]); rec.Charge != want {
					t.Errorf("charged %s for %v; want %s", rec.Charge, u, want)
				}
			}
		}
		if right < 16 {
			t.Errorf("%s picked %s %d times of 24", c.model, c.want, right)
		}
	}
	k.AtRest(t)
}

// What a request needs decides before the strategy: pictures, tools, a schema, room.
func TestAutoNeeds(t *testing.T) {
	k, _ := picking(t)
	long := strings.Repeat("many words ", 1500)
	for _, c := range []struct{ name, model, more, text, want string }{
		{"plain", "auto-room", "", "hi", "small"},
		{"room for the question", "auto-room", "", long, "cheap"},
		{"room for the answer", "auto-room", `,"max_tokens":3000`, "hi", "cheap"},
		{"tools", "auto-all", "," + chatTools, "hi", "cheap"},
		{"a schema", "auto-cheapest", `,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}`, "hi", "dear"},
		{"words about a schema", "auto-cheapest", "", `what is \"json_schema\"?`, "cheap"},
	} {
		body := fmt.Sprintf(`{"model":%q%s,"messages":[{"role":"user","content":"%s mock:dead.status=500;out=3"}]}`, c.model, c.more, c.text)
		if r := post(t, k, "/v1/chat/completions", body); r.status != 200 || !strings.Contains(string(r.body), `"model":"`+c.want+`"`) {
			t.Errorf("%s: %d %.300s", c.name, r.status, r.body)
		}
	}
	picture := `{"model":"auto-cheapest","messages":[{"role":"user","content":[{"type":"text","text":"mock:out=3"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`
	if r := post(t, k, "/v1/chat/completions", picture); r.status != 200 || !strings.Contains(string(r.body), `"model":"dear"`) {
		t.Errorf("a picture: %d %s", r.status, r.body)
	}
	// Where nobody fits, the best of them answers as well as it can.
	nobody := strings.Replace(picture, "auto-cheapest", "auto-room", 1)
	if r := post(t, k, "/v1/chat/completions", nobody); r.status != 200 {
		t.Errorf("nobody sees: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// A model that fails is followed by the next one, within the budget of attempts; the hold
// is the dearest's, the charge that of the model that answered, in its own name.
func TestAutoFailover(t *testing.T) {
	for _, stream := range []bool{false, true} {
		k, m := picking(t)
		r := post(t, k, "/v1/chat/completions", chat("auto-dead", "dead.status=500;out=6", stream))
		if r.status != 200 || !strings.Contains(string(r.body), `"model":"cheap"`) || strings.Contains(string(r.body), `"model":"dead"`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		rec := k.WaitRecords(t, 1)[0]
		u := ended(m, mockllm.Filter{Lane: "cheapest"})[0].Usage
		if rec.NumAttempts != 2 || rec.Model != "cheap" || rec.RequestedModel != "auto-dead" || rec.PriceID == 0 || rec.Charge != money.Amount(1000*u.Input+2000*u.Output) {
			t.Errorf("%+v served %+v", rec, u)
		}
		// $40 a million for the thousand tokens that were asked for at most.
		if rec.Hold < 40_000*1000 {
			t.Errorf("held %s", rec.Hold)
		}
		// Both attempts end without an answer: nothing is charged.
		k.HealAll()
		r = post(t, k, "/v1/chat/completions", chat("auto-dead", "dead.status=500;cheapest.status=500;out=6", stream))
		if r.status != 502 {
			t.Errorf("%d %s", r.status, r.body)
		}
		if rec := k.WaitRecords(t, 2)[1]; rec.NumAttempts != 2 || rec.Charge != 0 || rec.Attempts[0].RouteID == rec.Attempts[1].RouteID {
			t.Errorf("%+v", rec)
		}
		// A breaker that is open is seen before anybody is asked.
		for range 5 {
			post(t, k, "/v1/chat/completions", chat("dead", "dead.status=500", false))
		}
		before := len(m.Requests(mockllm.Filter{Lane: "dead"}))
		r = post(t, k, "/v1/chat/completions", chat("auto-dead", "out=2", stream))
		if after := len(m.Requests(mockllm.Filter{Lane: "dead"})); r.status != 200 || after != before {
			t.Errorf("%d, the dead one was asked %d times", r.status, after-before)
		}
		k.AtRest(t)
	}
}

// A virtual model is asked for by its own name: a key that may use it needs none of those
// that it picks from, and one that may not is refused whatever else it may use.
func TestAutoScope(t *testing.T) {
	for _, c := range []struct {
		scope  string
		status int
	}{{"auto-best", 200}, {"dear", 403}} {
		url, _ := mock(t, mockllm.Options{})
		k := proxytest.New(t, proxytest.Options{
			Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/openai/v1", Keys: []string{"sk"}}},
			Models: []proxytest.Model{
				{ID: "dear", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}},
				{ID: "other", Routes: []proxytest.Route{{Provider: "openai", Model: "up-2"}}},
				{ID: "auto-best", Auto: []string{"dear", "other"}, Strategy: "best"},
			},
			Key: func(r *store.KeyRow) { r.Models = []string{c.scope} },
		})
		if r := post(t, k, "/v1/chat/completions", chat("auto-best", "out=2", false)); r.status != c.status {
			t.Errorf("%s: %d %s", c.scope, r.status, r.body)
		}
		k.AtRest(t)
	}
}
