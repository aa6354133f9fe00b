package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/guard/hook"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// judges is standard with models that judge, at the lane "judge".
func judges(tb testing.TB, o proxytest.Options) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	o.Providers = []proxytest.Provider{
		{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/first/openai/v1", Keys: []string{"sk-first"}},
		{Slug: "judge", Protocol: "openai", Dialect: "openai", BaseURL: url + "/judge/openai/v1", Keys: []string{"sk-judge"}},
		{Slug: "claude", Protocol: "anthropic", BaseURL: url + "/judge/anthropic/v1", Keys: []string{"sk-claude"}},
	}
	o.Models = []proxytest.Model{
		{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}},
		{ID: "omni-free", Prices: map[string]string{"input": "0"}, Free: []string{"input"}, Routes: []proxytest.Route{{Provider: "judge", Model: "up-omni"}}},
		{ID: "omni-paid", Prices: map[string]string{"input": "10"}, Routes: []proxytest.Route{{Provider: "judge", Model: "up-omni"}}},
		{ID: "omni-unpriced", Prices: map[string]string{}, Routes: []proxytest.Route{{Provider: "judge", Model: "up-omni"}}},
		{ID: "omni-moved", Free: []string{"input"}, Prices: map[string]string{"input": "0"}, Routes: []proxytest.Route{{Provider: "claude", Model: "up-omni"}}},
		{ID: "omni-away", Free: []string{"input"}, Prices: map[string]string{"input": "0"}, Routes: nil},
	}
	return proxytest.New(tb, o), meter
}

// S1-B14: a request's texts are judged by a model through the relay; what counts blocks or
// flags it, and who cannot be asked in time decides by the customer's choice.
func TestModeration(t *testing.T) {
	k, meter := judges(t, proxytest.Options{})
	client, asked := int64(10), 0
	mod := func(m policy.Moderation) policy.Rules { return policy.Rules{Moderation: m} }
	for name, tc := range map[string]struct {
		rules    policy.Rules
		text     string
		status   int
		code     string
		names    string // in the answer
		flags    usage.Flags
		judged   int // calls of the judge
		answered int // calls of the model
	}{
		"harmless":            {mod(policy.Moderation{Model: "omni-free", Action: policy.Block}), "hello", 200, "", "", 0, 1, 1},
		"blocked":             {mod(policy.Moderation{Model: "omni-free", Action: policy.Block}), "I will hurt you", 400, "content_blocked", "violence", 0, 1, 0},
		"flagged":             {mod(policy.Moderation{Model: "omni-free", Action: policy.Flag}), "I will hurt you", 200, "", "", usage.FlagModerated, 1, 1},
		"of a category":       {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Categories: []string{"violence"}}), "I will hurt you", 400, "content_blocked", "violence", 0, 1, 0},
		"of one below":        {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Categories: []string{"hate"}}), "I hate them all", 400, "content_blocked", "hate/threatening", 0, 1, 0},
		"of another category": {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Categories: []string{"hate"}}), "I will hurt you", 200, "", "", 0, 1, 1},
		"unknown category":    {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Categories: []string{"heresy"}}), "hello", 503, "policy_unavailable", "", 0, 1, 0},
		"nobody":              {mod(policy.Moderation{Model: "omni-free"}), "I will hurt you", 200, "", "", 0, 0, 1},
		"unpriced, closed":    {mod(policy.Moderation{Model: "omni-unpriced", Action: policy.Block}), "hello", 503, "policy_unavailable", "unknown_model_pricing", 0, 0, 0},
		"unknown, open":       {mod(policy.Moderation{Model: "omni-none", Action: policy.Block, Open: true}), "I will hurt you", 200, "", "", usage.FlagUnjudged, 0, 1},
		"no route":            {mod(policy.Moderation{Model: "omni-away", Action: policy.Block}), "hello", 503, "policy_unavailable", "", 0, 0, 0},
		"moved, closed":       {mod(policy.Moderation{Model: "omni-moved", Action: policy.Block}), "hello", 503, "policy_unavailable", "invalid_request", 0, 0, 0},
		"moved, open":         {mod(policy.Moderation{Model: "omni-moved", Action: policy.Block, Open: true}), "I will hurt you", 200, "", "", usage.FlagUnjudged, 0, 1},
		"unknown, closed":     {mod(policy.Moderation{Model: "omni-none", Action: policy.Block}), "hello", 503, "policy_unavailable", "", 0, 0, 0},
		"of chat, closed":     {mod(policy.Moderation{Model: "omni-free", Action: policy.Block}), "hello mock:id=MARK;out=4;judge.error=model_not_found", 503, "policy_unavailable", "", 0, 1, 0},
		"of chat, open":       {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Open: true}), "hello mock:id=MARK;out=4;judge.error=bad_request", 200, "", "", usage.FlagUnjudged, 1, 1},
		"failing, closed":     {mod(policy.Moderation{Model: "omni-free", Action: policy.Block}), "hello mock:id=MARK;out=4;judge.status=500", 503, "policy_unavailable", "upstream_error", 0, 1, 0},
		"failing, open":       {mod(policy.Moderation{Model: "omni-free", Action: policy.Block, Open: true}), "hello mock:id=MARK;out=4;judge.status=500", 200, "", "", usage.FlagUnjudged, 1, 1},
	} {
		client++
		token := k.Another(t, client, rules(t, tc.rules))
		mark := fmt.Sprintf("judged%d", client)
		text := strings.Replace(tc.text, "MARK", mark, 1)
		if text == tc.text {
			text += " mock:id=" + mark + ";out=4"
		}
		quoted, _ := json.Marshal(text)
		before := len(k.Records(t))
		r := post(t, k, "/v1/chat/completions", strings.NewReplacer("MODEL", "gpt-a", "STREAM", "false", "TEXT", string(quoted)).Replace(ingress["chat"].body), "Authorization", "Bearer "+token)
		if r.status != tc.status || r.header.Get("x-relay-error") != tc.code || !strings.Contains(string(r.body), tc.names) {
			t.Errorf("%s: %d %s %s", name, r.status, r.header.Get("x-relay-error"), r.body)
			continue
		}
		if n := len(ended(meter, mockllm.Filter{Marker: mark, Lane: "first"})); n != tc.answered {
			t.Errorf("%s: %d calls of the model", name, n)
		}
		asked += tc.judged
		if strings.HasPrefix(name, "failing") || strings.HasPrefix(name, "of chat") {
			asked = len(ended(meter, mockllm.Filter{Lane: "judge"}))
		}
		if n := len(ended(meter, mockllm.Filter{Lane: "judge"})); n != asked {
			t.Errorf("%s: %d calls of the judge, want %d", name, n, asked)
		}
		k.HealAll()
		for _, rec := range k.Records(t)[before:] {
			if rec.Model == "gpt-a" && rec.Flags != tc.flags {
				t.Errorf("%s: flags %s, want %s", name, rec.Flags, tc.flags)
			}
		}
	}
	k.AtRest(t)
}

// Rulings 3.34: the house pays for a judgement. It has a row of its own that names the
// request, with the supplier's cost and no charge.
func TestModerationIsOnTheHouse(t *testing.T) {
	k, _ := judges(t, proxytest.Options{Key: rules(t, policy.Rules{Moderation: policy.Moderation{Model: "omni-paid", Action: policy.Block}})})
	r := say(t, k, "messages", "gpt-a", "hello "+strings.Repeat("words ", 50), true)
	if r.status != 200 || r.err != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	recs := k.WaitRecords(t, 2)
	own, judged := recs[1], recs[0]
	if judged.Model != "omni-paid" || judged.Charge != 0 || judged.Cost <= 0 || judged.Hold <= 0 || judged.ClientPPM != 0 || judged.Units[usage.Input] == 0 || judged.Status != usage.Success || own.Model != "gpt-a" || own.Status != usage.Success || own.Charge <= 0 {
		t.Errorf("%+v\n%+v", judged, own)
	}
	if judged.ClientRequestID != own.ID.String() {
		t.Errorf("the judgement is of %q, the request is %s", judged.ClientRequestID, own.ID)
	}
	body := strings.NewReplacer("MODEL", "gpt-a", "STREAM", "false", "TEXT", `"hello"`).Replace(ingress["chat"].body)
	if r := post(t, k, "/v1/chat/completions", body, "x-relay-max-charge", "0.000001"); r.status != 402 || r.header.Get("x-relay-error") != "max_charge_exceeded" {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)

	// Who has nothing is told so, not that nobody could be asked.
	k, meter := judges(t, proxytest.Options{Balance: money.Amount(1), Key: rules(t, policy.Rules{Moderation: policy.Moderation{Model: "omni-paid", Action: policy.Block}})})
	if r := say(t, k, "chat", "gpt-a", "hello", false); r.status != 402 || len(meter.Requests(mockFilter)) != 0 {
		t.Errorf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// A judge that takes too long is not waited for, and its route is not the worse for one
// customer's impatience; what it says later is still accounted for.
func TestModerationTimeLimit(t *testing.T) {
	k, _ := judges(t, proxytest.Options{Key: rules(t, policy.Rules{Moderation: policy.Moderation{Model: "omni-free", Action: policy.Block, TimeoutMS: 60}})})
	for range 6 {
		began := time.Now()
		r := say(t, k, "chat", "gpt-a", "hello mock:id=slow;out=4;judge.delay=700ms", false)
		if r.status != 503 || r.header.Get("x-relay-error") != "policy_unavailable" || !strings.Contains(string(r.body), "upstream_timeout") {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if d := time.Since(began); d > 600*time.Millisecond {
			t.Errorf("it took %s", d)
		}
	}
	k.AtRest(t)
	for _, m := range k.Catalog.Snapshot().ModelList {
		for _, r := range m.Routes {
			if r.Health.Failures.Load() != 0 || r.Health.OpenUntilNanos.Load() != 0 {
				t.Errorf("the route of %s has %d failures", m.ID, r.Health.Failures.Load())
			}
		}
	}
}

// The judge reads what the upstream would: masked texts of every protocol, nothing else;
// a scoped key is judged too, and what is only counted or judged is not judged again.
func TestModerationReadsTexts(t *testing.T) {
	r := policy.Rules{Masking: policy.Masking{Email: policy.Mask}, Moderation: policy.Moderation{Model: "omni-free", Action: policy.Block}}
	edit := rules(t, r)
	k, meter := judges(t, proxytest.Options{Key: func(row *store.KeyRow) { edit(row); row.Models = []string{"gpt-a", "omni-paid"} }})
	n := 0
	for protocol := range ingress {
		for _, stream := range []bool{false, true} {
			n++
			if r := say(t, k, protocol, "gpt-a", "it is joe@example.com mock:keep=1;out=4", stream); r.status != 200 || r.err != nil {
				t.Fatalf("%s: %d %s", protocol, r.status, r.body)
			}
			list := ended(meter, mockllm.Filter{Lane: "judge"})
			if len(list) != n {
				t.Fatalf("%s: %d calls of the judge, want %d", protocol, len(list), n)
			}
			if b := string(list[len(list)-1].Extra.Body); b != `{"model":"up-omni","input":["it is [email] mock:keep=1;out=4"]}` {
				t.Errorf("%s: the judge got %s", protocol, b)
			}
		}
	}
	if r := post(t, k, "/v1/moderations", `{"model":"omni-paid","input":"I will hurt you"}`); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if list := ended(meter, mockllm.Filter{Lane: "judge"}); len(list) != n+1 {
		t.Errorf("%d calls of the judge, want %d", len(list), n+1)
	}
	k.AtRest(t)
}

// S1-B14: the customer's own server is asked about every request, signed, and is obeyed.
func TestWebhook(t *testing.T) {
	const secret = "a secret of this test"
	var answer atomic.Pointer[string]
	var asked atomic.Pointer[map[string]any]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(hook.Header), "t="), ",")
		unix, _ := time.ParseDuration(at + "s")
		if want := hook.Sign([]byte(secret), body, time.Unix(int64(unix/time.Second), 0)); r.Header.Get(hook.Header) != want {
			t.Errorf("signed %s, want %s", r.Header.Get(hook.Header), want)
		}
		var v map[string]any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Error(err)
		}
		asked.Store(&v)
		a := *answer.Load()
		if a == "slow" {
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		}
		_, _ = io.WriteString(w, a)
	}))
	defer server.Close()
	for _, open := range []bool{false, true} {
		r := policy.Rules{Webhook: policy.Webhook{URL: server.URL + "/judge?of=me", Secret: proxytest.SealSecret(t, secret), TimeoutMS: 400, Open: open}}
		k, _ := judges(t, proxytest.Options{Key: rules(t, r)})
		closed := 503
		if open {
			closed = 200
		}
		for _, tc := range []struct {
			answer, says string
			status       int
			flags        usage.Flags
		}{
			{`{"action":"allow"}`, "", 200, 0},
			{`{"action":"flag"}`, "", 200, usage.FlagWarned},
			{`{"action":"block","reason":"not today"}`, "not today", 400, 0},
			{`{"action":"perhaps"}`, "", closed, usage.FlagUnjudged},
			{"slow", "", closed, usage.FlagUnjudged},
		} {
			answer.Store(&tc.answer)
			before := len(k.Records(t))
			body := strings.NewReplacer("MODEL", "gpt-a", "STREAM", "true", "TEXT", `"say \"it\""`).Replace(ingress["chat"].body)
			got := post(t, k, "/v1/chat/completions", body, "x-conversation-id", "talk-1")
			if got.status != tc.status || !strings.Contains(string(got.body), tc.says) {
				t.Fatalf("%s, open %v: %d %s", tc.answer, open, got.status, got.body)
			}
			v := *asked.Load()
			texts, _ := v["texts"].([]any)
			if len(texts) != 1 || texts[0] != `say "it"` || v["model"] != "gpt-a" || v["conversation_id"] != "talk-1" || v["request_id"] != got.header.Get("x-request-id") {
				t.Errorf("asked %v", v)
			}
			if got.status == 200 {
				if rec := k.WaitRecords(t, before+1)[before]; rec.Flags&^usage.FlagStream != tc.flags {
					t.Errorf("%s: flags %s", tc.answer, rec.Flags)
				}
			}
		}
		k.AtRest(t)
	}
	// As in production, nothing on this machine is reached.
	asked.Store(nil)
	r := policy.Rules{Webhook: policy.Webhook{URL: server.URL, Secret: proxytest.SealSecret(t, secret)}}
	k, meter := judges(t, proxytest.Options{Key: rules(t, r), PublicHooks: true})
	if got := say(t, k, "chat", "gpt-a", "hello", false); got.status != 503 || asked.Load() != nil || len(meter.Requests(mockFilter)) != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	k.AtRest(t)
	// A secret that is not this client's is not taken for none.
	r.Webhook.Secret = "AAAA"
	k, _ = judges(t, proxytest.Options{Key: rules(t, r)})
	if got := say(t, k, "chat", "gpt-a", "hello", false); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	k.AtRest(t)
}
