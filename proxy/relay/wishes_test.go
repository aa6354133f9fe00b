package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Interface 7: a request that can cost more than x-relay-max-charge is refused; where the
// client set no output cap, the relay sets one that keeps to it, as it does for a wallet.
func TestMaxCharge(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	capped := chat("gpt-a", "id=max;out=4", false) // 1,000 tokens at $2 a million, and the input
	open := strings.Replace(capped, `,"max_tokens":1000`, "", 1)
	for _, tc := range []struct {
		body, most string
		status     int
		code       string
	}{
		{capped, "0.0019", 402, "max_charge_exceeded"},
		{capped, "0", 402, "max_charge_exceeded"},
		{capped, "0.01", 200, ""},
		{open, "0.001", 402, "max_charge_exceeded"},
		{open, "0.01", 200, ""},
		{open, "1", 200, ""},
		{capped, "x", 400, "invalid_request"},
		{capped, "-1", 400, "invalid_request"},
		{capped, "", 200, ""},
	} {
		r := post(t, k, "/v1/chat/completions", tc.body, "x-relay-max-charge", tc.most)
		if r.status != tc.status || r.header.Get("x-relay-error") != tc.code {
			t.Errorf("at most %q: %d %s, want %d %s", tc.most, r.status, r.body, tc.status, tc.code)
		}
		if clamped := r.header.Get("x-relay-max-tokens-clamped") != ""; clamped != (tc.body == open && tc.most == "0.01") {
			t.Errorf("at most %q: clamped %v", tc.most, clamped)
		}
	}
	for _, rec := range k.WaitRecords(t, 4) {
		if rec.Flags&usage.FlagClamped != 0 && rec.Hold > 10_000_000 {
			t.Errorf("held %s of at most $0.01", rec.Hold)
		}
	}
	if n := len(ended(meter, mockllm.Filter{Marker: "max"})); n != 4 {
		t.Errorf("%d calls went upstream", n)
	}
	k.AtRest(t)
}

// Interface 7: a request whose client has seen another price is refused.
func TestPriceVersion(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	m := k.Catalog.Snapshot().Models["gpt-a"]
	now := price.VersionString(&price.Rule{Version: m.Prices[0], ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM})
	for version, status := range map[string]int{now: 200, "1970-01-01T00:00:00Z-deadbeef": 409, "x y": 409, "": 200} {
		r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=4", false), "x-relay-price-version", version)
		if r.status != status || status == 409 && (r.header.Get("x-relay-error") != "price_changed" || !strings.Contains(string(r.body), now)) {
			t.Errorf("%q: %d %s, want %d", version, r.status, r.body, status)
		}
	}
	k.AtRest(t)
}

// twins is a proxy before two equal upstreams of one model, in two regions.
func twins(t *testing.T, r policy.Rules) (*proxytest.Kit, *mockllm.Meter) {
	t.Helper()
	return standard(t, proxytest.Options{Key: rules(t, r), Models: []proxytest.Model{
		{ID: "twin", Routes: []proxytest.Route{{Provider: "openai", Model: "up", Region: "us"}, {Provider: "backup", Model: "up", Region: "eu"}}},
		{ID: "small", Output: 100, Routes: []proxytest.Route{{Provider: "backup", Model: "up-small"}}},
	}})
}

// lanes is what the upstreams got of an id, by lane.
func lanes(m *mockllm.Meter, id string) map[string]int {
	n := map[string]int{}
	for _, r := range ended(m, mockllm.Filter{Marker: id}) {
		n[r.Lane]++
	}
	return n
}

// D11: requests of one conversation go to one upstream, those of many are spread, and one
// whose upstream fails is answered by the other.
func TestConversationsStick(t *testing.T) {
	k, meter := twins(t, policy.Rules{})
	spread := map[string]int{}
	for c := range 12 {
		id := fmt.Sprintf("stick%d", c)
		for range 4 {
			if r := post(t, k, "/v1/chat/completions", chat("twin", "out=2;id="+id, false), "x-conversation-id", id); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.body)
			}
		}
		got := lanes(meter, id)
		if len(got) != 1 {
			t.Errorf("conversation %d went to %v", c, got)
		}
		for lane := range got {
			spread[lane]++
		}
	}
	if len(spread) != 2 {
		t.Errorf("all conversations went to %v", spread)
	}
	for _, lane := range []string{"first", "second"} {
		if r := post(t, k, "/v1/chat/completions", chat("twin", "out=2;"+lane+".status=500", false), "x-conversation-id", "failing"); r.status != 200 {
			t.Errorf("with a failing %s: %d %s", lane, r.status, r.body)
		}
	}
	for _, bad := range []string{"a b", strings.Repeat("x", 129)} {
		if r := post(t, k, "/v1/chat/completions", chat("twin", "out=2", false), "x-conversation-id", bad); r.status != 400 {
			t.Errorf("%.20q: %d %s", bad, r.status, r.body)
		}
	}
	k.AtRest(t)
	var named int
	for _, r := range k.Records(t) {
		if strings.HasPrefix(r.ConversationID, "stick") {
			named++
		}
	}
	if named != 12*4 {
		t.Errorf("%d records name their conversation", named)
	}
}

// S1-18: a part of a model's calls goes to another model, the same conversations always;
// the answer and the record name the one that served.
func TestRollout(t *testing.T) {
	for percent, want := range map[int][2]int{0: {0, 0}, 30: {5, 35}, 100: {60, 60}} {
		k, _ := twins(t, policy.Rules{Routing: policy.Routing{Rollouts: []policy.Rollout{{Model: "gpt-a", To: "twin", Percent: percent}}}})
		n := 0
		for c := range 60 {
			var names [2]string
			for i := range names {
				r := post(t, k, "/v1/chat/completions", chat("gpt.a", "out=2", false), "x-conversation-id", fmt.Sprint("c", c))
				switch {
				case strings.Contains(string(r.body), `"model":"twin"`):
					names[i] = "twin"
				case strings.Contains(string(r.body), `"model":"gpt.a"`):
					names[i] = "gpt-a"
				default:
					t.Fatalf("%d %s", r.status, r.body)
				}
			}
			if names[0] != names[1] {
				t.Errorf("conversation %d went to %v", c, names)
			}
			if names[0] == "twin" {
				n++
			}
		}
		if n < want[0] || n > want[1] {
			t.Errorf("%d %%: %d of 60 conversations", percent, n)
		}
		served := 0
		for _, rec := range k.WaitRecords(t, 120) {
			if rec.RequestedModel != "gpt.a" {
				t.Errorf("record %+v", rec)
			}
			if rec.Model == "twin" {
				served++
			}
		}
		if served != 2*n {
			t.Errorf("%d records name the other model, want %d", served, 2*n)
		}
		k.AtRest(t)
	}
}

// A key that may not call the other model, and a request that it could not answer, stay.
func TestRolloutThatCannotBe(t *testing.T) {
	r := policy.Rules{Routing: policy.Routing{Rollouts: []policy.Rollout{{Model: "gpt-a", To: "twin", Percent: 100}, {Model: "twin", To: "small", Percent: 100}, {Model: "claude-a", To: "gone", Percent: 100}}}}
	k, _ := standard(t, proxytest.Options{
		Key: func(row *store.KeyRow) {
			rules(t, r)(row)
			row.Models = []string{"gpt-a", "claude-a", "small"}
		},
		Models: []proxytest.Model{{ID: "twin", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}}}, {ID: "small", Output: 100, Routes: []proxytest.Route{{Provider: "backup", Model: "up-small"}}}},
	})
	for _, model := range []string{"gpt-a", "claude-a"} {
		if r := post(t, k, "/v1/chat/completions", chat(model, "out=2", false)); r.status != 200 || !strings.Contains(string(r.body), `"model":"`+model+`"`) {
			t.Errorf("%s: %d %s", model, r.status, r.body)
		}
	}
	k.AtRest(t)
	k, _ = twins(t, r)
	if r := post(t, k, "/v1/chat/completions", chat("twin", "out=2", false)); r.status != 200 || !strings.Contains(string(r.body), `"model":"twin"`) {
		t.Errorf("a cap above the other model's: %d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// S1-18: the first of the policy's regions that can answer does, and no other region.
func TestRegionsInOrder(t *testing.T) {
	for _, tc := range []struct {
		regions []string
		script  string
		status  int
		lanes   string
	}{
		{[]string{"us", "eu"}, "", 200, "map[first:1]"},
		{[]string{"eu", "us"}, "", 200, "map[second:1]"},
		{[]string{"eu"}, "", 200, "map[second:1]"},
		{[]string{"eu", "us"}, ";second.status=500", 200, "map[first:1 second:1]"},
		{[]string{"mars", "us"}, "", 200, "map[first:1]"},
		{[]string{"mars"}, "", 400, "map[]"},
	} {
		k, meter := twins(t, policy.Rules{Routing: policy.Routing{Regions: tc.regions}})
		r := post(t, k, "/v1/chat/completions", chat("twin", "out=2;id=order"+tc.script, false))
		if got := fmt.Sprint(lanes(meter, "order")); r.status != tc.status || got != tc.lanes {
			t.Errorf("%v%s: %d %s, upstreams %s", tc.regions, tc.script, r.status, r.body, got)
		}
		k.AtRest(t)
	}
}

// S1-18: once the time for retries is over no other upstream is asked.
func TestRetryBudget(t *testing.T) {
	for ms, want := range map[int64]int{0: 200, 1: 502, 60_000: 200} {
		k, _ := standard(t, proxytest.Options{Key: rules(t, policy.Rules{Routing: policy.Routing{RetryMS: ms}})})
		start := time.Now()
		r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=4;first.status=500;first.delay=20ms", false))
		if r.status != want {
			t.Errorf("%d ms: %d %s after %s", ms, r.status, r.body, time.Since(start))
		}
		k.AtRest(t)
	}
}
