package relay_test

import (
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/store"
)

// S1-18: an account that allows one attempt gets the first upstream's failure, one that
// allows more does not.
func TestPolicyOfAttempts(t *testing.T) {
	for attempts, want := range map[int]int{0: 200, 1: 502, 2: 200, 8: 200} {
		k, meter := standard(t, proxytest.Options{Key: func(r *store.KeyRow) { r.MaxAttempts = attempts }})
		r := post(t, k, "/v1/chat/completions", chat("gpt-a", "id=policy;out=4;first.status=500", false))
		if r.status != want {
			t.Errorf("max_attempts %d: %d %s, want %d", attempts, r.status, r.body, want)
		}
		if n := len(ended(meter, mockllm.Filter{Marker: "policy", Lane: "second"})); n != map[int]int{200: 1, 502: 0}[want] {
			t.Errorf("max_attempts %d: %d calls of the second upstream", attempts, n)
		}
		k.AtRest(t)
	}
}

// S1-18: only routes of the account's region are asked, also by a virtual model.
func TestPolicyOfRegion(t *testing.T) {
	regional := func(o *proxytest.Options) {
		o.Models = append(o.Models, proxytest.Model{ID: "regional", Routes: []proxytest.Route{
			{Provider: "openai", Model: "up-gpt", Region: "us"}, {Provider: "backup", Model: "up-gpt-2", Priority: 1, Region: "eu"},
		}}, proxytest.Model{ID: "auto-regional", Auto: []string{"gpt-a", "regional"}})
	}
	for region, lane := range map[string]string{"": "first", "us": "first", "eu": "second", "mars": ""} {
		for _, model := range []string{"regional", "auto-regional"} {
			o := proxytest.Options{Key: func(r *store.KeyRow) { r.Region = region }}
			regional(&o)
			k, meter := standard(t, o)
			r := post(t, k, "/v1/chat/completions", chat(model, "id=region;out=4", false))
			switch {
			case lane == "" && (r.status != 400 || !strings.Contains(string(r.body), "region")):
				t.Errorf("%s in %q: %d %s, want 400", model, region, r.status, r.body)
			case lane != "" && (r.status != 200 || len(ended(meter, mockllm.Filter{Marker: "region", Lane: lane})) != 1):
				t.Errorf("%s in %q: %d %s, want an answer of the %s upstream", model, region, r.status, r.body, lane)
			}
			k.AtRest(t)
		}
	}
}

// S1-16: the account's models bound every key's, whatever that one's own scope is.
func TestPolicyOfModels(t *testing.T) {
	for name, tc := range map[string]struct {
		key, client []string
		status      int
	}{
		"both automatic": {nil, nil, 200}, "the account's": {nil, []string{"gpt-a"}, 200}, "another": {nil, []string{"claude-a"}, 403},
		"both": {[]string{"gpt-a", "claude-a"}, []string{"gpt-a"}, 200}, "the key's only": {[]string{"gpt-a"}, []string{"claude-a"}, 403},
	} {
		k, _ := standard(t, proxytest.Options{Key: func(r *store.KeyRow) { r.Models, r.ClientModels = tc.key, tc.client }})
		r := post(t, k, "/v1/chat/completions", chat("gpt-a", "id=models;out=4", false))
		if r.status != tc.status || (tc.status == 403 && r.header.Get("x-relay-error") != "model_not_allowed") {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, tc.status)
		}
		k.AtRest(t)
	}
}
