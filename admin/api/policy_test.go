package api

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// refuses holds a PATCH to a 400 that names the member.
func (w *world) refusesPatch(n *tenant, path string, cases map[string]string) {
	w.t.Helper()
	before := w.call(n, "GET", path, "").Body.Data
	for body, names := range cases {
		if r := w.call(n, "PATCH", path, body); r.Status != 400 || !strings.Contains(*r.Body.Message, names) {
			w.t.Errorf("PATCH %s %s: %d %s, want 400 that names %s", path, body, r.Status, r.Raw, names)
		}
	}
	if after := w.call(n, "GET", path, "").Body.Data; string(after) != string(before) {
		w.t.Errorf("%s was %s and is %s", path, before, after)
	}
}

// S1-13, S1-14, S1-B15.
func TestContextConfigS113S114(t *testing.T) {
	w := newWorld(t)
	acme, other := w.tenant("Acme", "", 0), w.tenant("Other", "", 0)
	const path = "/openapi/v1/context/config"
	var c report.ContextConfig
	if w.get(acme, path, &c); c.Window.MaxTokens != nil || c.Window.Overflow != "refuse" || c.Cache.Answers != "off" || c.Cache.Seconds != 3600 || c.Memory.Mode != "stored_responses" || c.Memory.ResponseDays != 30 || c.Cache.Prompt != "pass_through" || c.Cache.ReplayHours != 24 {
		t.Errorf("config %+v", c)
	}
	for _, step := range []struct {
		body  string
		hours int64
	}{{`{"cache":{"replay_hours":2}}`, 2}, {`{}`, 2}, {string(w.call(acme, "GET", path, "").Body.Data), 24}, {`{"cache":{"replay_hours":0}}`, 0}, {`{"cache":{"replay_hours":null}}`, 24}, {`{"cache":{"replay_hours":1}}`, 1}} {
		w.expect(w.call(acme, "PATCH", path, step.body), 200, &c)
		var again report.ContextConfig
		if w.get(acme, path, &again); c.Cache.ReplayHours != step.hours || again.Cache != c.Cache || again.Memory != c.Memory {
			t.Errorf("PATCH %s: %+v, read as %+v", step.body, c, again)
		}
	}
	// They are the values that claims and responses are kept by.
	w.expect(w.call(acme, "PATCH", path, `{"memory_retention":{"response_days":7}}`), 200, &c)
	if p, err := w.db.Policy(t.Context(), acme.ID); err != nil || p.Retention != time.Hour || p.ResponseDays != 7 || c.Memory.ResponseDays != 7 {
		t.Errorf("policy %+v: %v", p, err)
	}
	if w.get(other, path, &c); c.Cache.ReplayHours != 24 {
		t.Errorf("another customer's: %+v", c)
	}
	// What proxies look up.
	for _, step := range []struct{ body, rules string }{
		{`{"context_window":{"max_tokens":5000,"overflow":"trim"}}`, `{"window": {"trim": true, "max_tokens": 5000}}`},
		{`{"cache":{"answers":"deterministic","answer_seconds":60}}`, `{"cache": {"answers": "deterministic", "seconds": 60}, "window": {"trim": true, "max_tokens": 5000}}`},
		{"again", `{"cache": {"answers": "deterministic", "seconds": 60}, "window": {"trim": true, "max_tokens": 5000}}`},
		{`{"context_window":{"max_tokens":null,"overflow":null},"cache":{"answers":"off","answer_seconds":null}}`, `{}`},
	} {
		if step.body == "again" {
			step.body = string(w.call(acme, "GET", path, "").Body.Data)
		}
		w.expect(w.call(acme, "PATCH", path, step.body), 200, nil)
		if key := mustKey(w, acme); string(key.Rules) != step.rules {
			t.Errorf("PATCH %s: the key is looked up with %s", step.body, key.Rules)
		}
	}
	w.refusesPatch(acme, path, map[string]string{
		`{"context_window":{"max_tokens":0}}`: "context_window.max_tokens", `{"context_window":{"overflow":"cut"}}`: "context_window.overflow", `{"cache":{"answers":"some"}}`: "cache.answers", `{"cache":{"answer_seconds":0}}`: "cache.answer_seconds",
		`{"cache":{"replay_hours":25}}`: "cache.replay_hours", `{"cache":{"replay_hours":-1}}`: "cache.replay_hours", `{"cache":{"prompt":"off"}}`: "cache.prompt",
		`{"memory_retention":{"mode":"30d"}}`: "memory_retention.mode", `{"memory_retention":{"response_days":31}}`: "memory_retention.response_days", `{"context_window":{"tokens":5}}`: "context_window.tokens", `{"window":1}`: "window", `{"cache":1}`: "cache",
	})
}

// S1-15, S1-16, S1-B14: the models of the policy bound every key, which preflight, the list
// of models and the proxies' look-up of the key all see.
func TestSecurityPolicyS115S116(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", money.USD)
	const path = "/openapi/v1/security/policy"
	var p report.SecurityPolicy
	if w.get(acme, path, &p); p.Logging.Content || !p.Logging.Metadata || p.Retention.ReplayHours != 24 || p.Models.Mode != "automatic" || len(p.Models.AllowedModelIDs) != 0 {
		t.Errorf("policy %+v", p)
	}
	w.expect(w.call(acme, "PATCH", path, `{"models":{"allowed_model_ids":["alpha-1.0"]},"data_retention":{"replay_hours":0,"response_days":3},"logging":{"content":false,"metadata":true}}`), 200, &p)
	if p.Models.Mode != "single" || !slices.Equal(p.Models.AllowedModelIDs, []string{"alpha"}) || p.Retention.ReplayHours != 0 || p.Retention.ResponseDays != 3 {
		t.Errorf("changed to %+v", p)
	}
	if p.Logging.Level != "standard" || p.Retention.DetailDays != nil {
		t.Errorf("changed to %+v %+v", p.Logging, p.Retention)
	}
	w.expect(w.call(acme, "PATCH", path, `{"logging":{"level":"minimal"},"data_retention":{"detail_days":7}}`), 200, &p)
	if stored, err := w.db.Policy(t.Context(), acme.ID); err != nil || stored.Rules.Logging.Level != policy.Minimal || stored.DetailDays != 7 || stored.ResponseDays != 3 || p.Logging.Level != "minimal" || *p.Retention.DetailDays != 7 {
		t.Errorf("changed to %+v %+v, stored %+v: %v", p.Logging, p.Retention, stored, err)
	}
	p = report.SecurityPolicy{}
	if w.expect(w.call(acme, "PATCH", path, `{"logging":{"level":null},"data_retention":{"detail_days":null}}`), 200, &p); p.Logging.Level != "standard" || p.Retention.DetailDays != nil {
		t.Errorf("cleared to %+v %+v", p.Logging, p.Retention)
	}
	if key := mustKey(w, acme); !slices.Equal(key.ClientModels, []string{"alpha"}) || len(key.Models) != 0 {
		t.Errorf("the key is looked up as %+v", key)
	}
	var pre report.Preflight
	if w.get(acme, "/openapi/v1/models/alpha/preflight", &pre); !pre.Ready {
		t.Errorf("alpha: %+v", pre.BlockingReasons)
	}
	if w.get(acme, "/openapi/v1/models/vendor%2Fbeta/preflight", &pre); pre.Ready || codes(pre.BlockingReasons) != "model_not_allowed" {
		t.Errorf("beta: %+v", pre.BlockingReasons)
	}
	var models modelList
	w.get(acme, "/openapi/v1/models", &models)
	for _, m := range models.Items {
		if m.Callable != (m.ID == "alpha") {
			t.Errorf("%s callable %v", m.ID, m.Callable)
		}
	}
	// An automatic key can be made still: the policy bounds it too.
	w.expect(w.call(acme, "POST", "/openapi/v1/api-keys", `{"name":"automatic"}`), 201, nil)
	limits := store.Unlimited()
	limits.Models = []string{"alpha"}
	_, scoped := w.key(acme, limits)
	if r := send(t, w.app, "PATCH", path, scoped, `{"models":{"allowed_model_ids":[]}}`); r.Status != 403 || r.code() != "model_not_allowed" {
		t.Errorf("by a scoped key: %d %s", r.Status, r.Raw)
	}
	w.refusesPatch(acme, path, map[string]string{
		`{"logging":{"level":"all"}}`: "logging.level", `{"data_retention":{"detail_days":0}}`: "data_retention.detail_days", `{"data_retention":{"detail_days":3651}}`: "data_retention.detail_days",
		`{"logging":{"content":true}}`: "logging.content", `{"logging":{"metadata":false}}`: "logging.metadata", `{"content_safety":{"mode":"strict"}}`: "content_safety.mode", `{"content_safety":{"words":{"action":"shout"}}}`: "content_safety.words.action", `{"content_safety":{"words":{"list":[""]}}}`: "content_safety.words.list",
		`{"masking":{"mode":"pii"}}`: "masking.mode", `{"masking":{"card":"yes"}}`: "masking.card", `{"masking":{"apply_to":"all"}}`: "masking.apply_to", `{"data_retention":{"replay_hours":48}}`: "data_retention.replay_hours",
		`{"models":{"allowed_model_ids":["nothing"]}}`: "allowed_model_ids", `{"models":{"model_scope":"automatic"}}`: "models.model_scope",
	})
	if w.expect(w.call(acme, "PATCH", path, `{"models":{"allowed_model_ids":[]}}`), 200, &p); p.Models.Mode != "automatic" || p.Retention.ReplayHours != 0 {
		t.Errorf("cleared to %+v", p)
	}
}

// S1-15, S1-16, S1-B14: what is looked for in texts reaches the proxies' look-up of the key;
// members left out stay, what was read can be sent back, and the audit log has it.
func TestContentPolicy(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", money.USD)
	const path = "/openapi/v1/security/policy"
	for _, step := range []struct{ body, rules string }{
		{`{}`, `{}`},
		{`{"masking":{"card":"block","email":"mask"}}`, `{"masking":{"card":"block","email":"mask"}}`},
		{`{"masking":{"apply_to":"requests","email":"off"}}`, `{"masking":{"card":"block","apply_to":"requests"}}`},
		{`{"content_safety":{"words":{"list":["Zebra"],"action":"flag","apply_to":"responses"}}}`, `{"words":{"list":["Zebra"],"action":"flag","apply_to":"responses"},"masking":{"card":"block","apply_to":"requests"}}`},
		{`{"data_retention":{"replay_hours":3}}`, `{"words":{"list":["Zebra"],"action":"flag","apply_to":"responses"},"masking":{"card":"block","apply_to":"requests"}}`},
		{"again", `{"words":{"list":["Zebra"],"action":"flag","apply_to":"responses"},"masking":{"card":"block","apply_to":"requests"}}`},
		{`{"masking":{"card":null,"apply_to":"both"},"content_safety":{"words":{"list":[],"action":null,"apply_to":null}}}`, `{}`},
	} {
		if step.body == "again" {
			step.body = string(w.call(acme, "GET", path, "").Body.Data)
			step.body = strings.NewReplacer(`,"model_scope":"automatic"`, "", `"model_scope":"automatic",`, "", `"secret_set":false,`, "").Replace(step.body)
		}
		w.expect(w.call(acme, "PATCH", path, step.body), 200, nil)
		var got, want any
		if err := json.Unmarshal(mustKey(w, acme).Rules, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(step.rules), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("PATCH %s: the key is looked up with %v", step.body, got)
		}
	}
}

// S1-15, S1-16, S1-B14: those who judge are told to the proxies; a webhook's secret is
// sealed for its client, written only, and in no answer and no log.
func TestJudgePolicy(t *testing.T) {
	w := newWorld(t)
	w.expect(w.operate("POST", "/admin/v1/catalog", withJudges("openai")), 200, nil)
	acme := w.tenant("Acme", "", money.USD)
	const path, secret = "/openapi/v1/security/policy", "canary-canary-canary"
	var p report.SecurityPolicy
	if w.get(acme, path, &p); p.ContentSafety.Moderation.Action != "off" || p.ContentSafety.Moderation.TimeoutMS != 2000 || p.ContentSafety.Webhook.OnFailure != "refuse" || p.ContentSafety.Webhook.SecretSet {
		t.Errorf("policy %+v", p.ContentSafety)
	}
	rules := func() *policy.Rules {
		t.Helper()
		r, err := policy.Parse(mustKey(w, acme).Rules)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			r = new(policy.Rules)
		}
		return r
	}
	w.expect(w.call(acme, "PATCH", path, `{"content_safety":{"moderation":{"model":"omni-latest","categories":["hate","violence/graphic"],"action":"block","timeout_ms":500,"on_failure":"allow"}}}`), 200, &p)
	if m := rules().Moderation; m.Model != "omni" || !slices.Equal(m.Categories, []string{"hate", "violence/graphic"}) || m.Action != policy.Block || m.TimeoutMS != 500 || !m.Open || *p.ContentSafety.Moderation.Model != "omni" {
		t.Errorf("stored %+v", m)
	}
	r := w.call(acme, "PATCH", path, `{"content_safety":{"webhook":{"url":"https://guard.example/x","secret":"`+secret+`","on_failure":"refuse"}}}`)
	if w.expect(r, 200, &p); !p.ContentSafety.Webhook.SecretSet || *p.ContentSafety.Webhook.URL != "https://guard.example/x" || strings.Contains(string(r.Raw), "canary") {
		t.Errorf("%s", r.Raw)
	}
	h := rules().Webhook
	if plain, err := policy.OpenSecret(w.box, acme.ID, h.Secret); err != nil || string(plain) != secret {
		t.Errorf("the secret opens as %q: %v", plain, err)
	}
	if _, err := policy.OpenSecret(w.box, acme.ID+1, h.Secret); err == nil {
		t.Error("the secret opens for another client")
	}
	w.expect(w.call(acme, "PATCH", path, `{"content_safety":{"webhook":{"url":"http://guard.example/y","secret":null,"timeout_ms":null}}}`), 200, nil)
	if again := rules().Webhook; again.Secret != h.Secret || again.URL != "http://guard.example/y" {
		t.Errorf("%+v", again)
	}
	page, err := w.db.AuditLog(t.Context(), store.AuditFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, row := range page {
		text.Write(row.Detail)
	}
	if log := text.String(); strings.Contains(log, h.Secret) || strings.Contains(log, "canary") || !strings.Contains(log, "guard.example") {
		t.Errorf("the audit log has %s", log)
	}
	w.refusesPatch(acme, path, map[string]string{
		`{"content_safety":{"moderation":{"model":"nothing"}}}`: "content_safety.moderation.model", `{"content_safety":{"moderation":{"model":"alpha-1.0"}}}`: "content_safety.moderation.model",
		`{"content_safety":{"moderation":{"model":"auto-chat-balanced"}}}`: "content_safety.moderation.model", `{"content_safety":{"moderation":{"model":"unpriced"}}}`: "content_safety.moderation.model", `{"content_safety":{"moderation":{"model":null}}}`: "content_safety.moderation.model",
		`{"content_safety":{"moderation":{"action":"mask"}}}`: "content_safety.moderation.action", `{"content_safety":{"moderation":{"categories":["No!"]}}}`: "content_safety.moderation.categories", `{"content_safety":{"moderation":{"timeout_ms":10}}}`: "content_safety.moderation.timeout_ms",
		`{"content_safety":{"webhook":{"url":"ftp://x"}}}`: "content_safety.webhook.url", `{"content_safety":{"webhook":{"url":"http://u:p@x/"}}}`: "content_safety.webhook.url", `{"content_safety":{"webhook":{"secret":"short"}}}`: "content_safety.webhook.secret",
		`{"content_safety":{"webhook":{"url":null,"secret":"` + secret + `"}}}`: "content_safety.webhook.secret", `{"content_safety":{"webhook":{"on_failure":"maybe"}}}`: "content_safety.webhook.on_failure",
	})
	w.expect(w.call(acme, "PATCH", path, `{"content_safety":{"webhook":{"url":null},"moderation":{"model":null,"categories":[],"action":null,"timeout_ms":null,"on_failure":null}}}`), 200, nil)
	if key := mustKey(w, acme); string(key.Rules) != `{}` {
		t.Errorf("cleared to %s", key.Rules)
	}
	w.refusesPatch(acme, path, map[string]string{`{"content_safety":{"webhook":{"url":"https://guard.example"}}}`: "content_safety.webhook.secret"})
}

// S1-17, S1-18, S1-B14.
func TestRoutingPolicyS117S118(t *testing.T) {
	w := newWorld(t)
	w.expect(w.operate("POST", "/admin/v1/catalog", strings.NewReplacer(
		"model: upstream-alpha, cost", "model: upstream-alpha, region: eu, cost", "model: upstream-beta}", "model: upstream-beta, region: us}",
	).Replace(testCatalogue)), 200, nil)
	acme := w.tenant("Acme", "", money.USD)
	const path = "/openapi/v1/routing/policy"
	var p report.RoutingPolicy
	if w.get(acme, path, &p); p.MultiRegion.Region != nil || !slices.Equal(p.MultiRegion.Available, []string{"eu", "us"}) || !p.Fallback.Enabled || p.Retry.MaxAttempts != nil || p.Models.Mode != "automatic" {
		t.Errorf("policy %+v", p)
	}
	for _, step := range []struct {
		body, region string
		fallback     bool
		attempts     int
	}{
		{`{"multi_region":{"region":"eu"}}`, "eu", true, 0},
		{`{"retry":{"max_attempts":2}}`, "eu", true, 2},
		{`{"fallback":{"enabled":true}}`, "eu", true, 2},
		{`{"fallback":{"enabled":false}}`, "eu", false, 1},
		{`{"fallback":{"enabled":true}}`, "eu", true, 0},
		{`{"retry":{"max_attempts":1}}`, "eu", false, 1},
		{`{"fallback":{"enabled":true},"retry":{"max_attempts":4}}`, "eu", true, 4},
		{`{"multi_region":{"region":null},"retry":{"max_attempts":null}}`, "", true, 0},
		{`{"multi_region":{"region":"us"}}`, "us", true, 0},
	} {
		w.expect(w.call(acme, "PATCH", path, step.body), 200, &p)
		region, attempts := "", 0
		if p.MultiRegion.Region != nil {
			region = *p.MultiRegion.Region
		}
		if p.Retry.MaxAttempts != nil {
			attempts = int(*p.Retry.MaxAttempts)
		}
		if region != step.region || p.Fallback.Enabled != step.fallback || attempts != step.attempts {
			t.Errorf("PATCH %s: %+v", step.body, p)
		}
		if key := mustKey(w, acme); key.Region != step.region || key.MaxAttempts != step.attempts {
			t.Errorf("PATCH %s: the key is looked up with %q, %d", step.body, key.Region, key.MaxAttempts)
		}
		p = report.RoutingPolicy{}
	}
	var pre report.Preflight
	if w.get(acme, "/openapi/v1/models/vendor%2Fbeta/preflight", &pre); !pre.Ready {
		t.Errorf("beta in the us: %+v", pre.BlockingReasons)
	}
	if w.get(acme, "/openapi/v1/models/alpha/preflight", &pre); pre.Ready {
		t.Errorf("alpha in the us: %+v", pre)
	}
	w.refusesPatch(acme, path, map[string]string{
		`{"multi_region":{"region":"mars"}}`: "multi_region.region", `{"retry":{"max_attempts":9}}`: "retry.max_attempts", `{"retry":{"max_attempts":0}}`: "retry.max_attempts",
		`{"fallback":{"enabled":true},"retry":{"max_attempts":1}}`: "fallback.enabled", `{"fallback":{"enabled":false},"retry":{"max_attempts":2}}`: "fallback.enabled",
		`{"rollout":{"stage":"beta"}}`: "rollout.stage", `{"rollout":{"rules":[{"model":"alpha","to":"alpha-1.0","percent":5}]}}`: "rollout.rules", `{"rollout":{"rules":[{"model":"alpha","to":"vendor/beta","percent":101}]}}`: "rollout.rules",
		`{"rollout":{"rules":[{"model":"alpha","to":"nothing","percent":5}]}}`: "rollout.rules", `{"rollout":{"rules":[{"model":"alpha","to":"vendor/beta","percent":5},{"model":"alpha-1.0","to":"vendor/beta","percent":6}]}}`: "rollout.rules",
		`{"multi_region":{"regions":["mars"]}}`: "multi_region.regions", `{"multi_region":{"region":"eu","regions":["us"]}}`: "multi_region.regions", `{"retry":{"within_ms":0}}`: "retry.within_ms", `{"providers":[]}`: "providers", `{"models":{"allowed_model_ids":["nothing"]}}`: "allowed_model_ids",
	})
	// Several regions, a time for retries and rollouts are rules that proxies look up.
	for _, step := range []struct{ body, rules, region string }{
		{`{"multi_region":{"regions":["us","eu"]},"retry":{"within_ms":500}}`, `{"routing": {"regions": ["us", "eu"], "retry_ms": 500}}`, ""},
		{`{"rollout":{"rules":[{"model":"alpha-1.0","to":"vendor/beta","percent":25}]},"retry":{"within_ms":null}}`, `{"routing": {"regions": ["us", "eu"], "rollouts": [{"to": "vendor/beta", "model": "alpha", "percent": 25}]}}`, ""},
		{`{"multi_region":{"region":"eu"},"rollout":{"rules":[]}}`, `{}`, "eu"},
	} {
		w.expect(w.call(acme, "PATCH", path, step.body), 200, &p)
		if key := mustKey(w, acme); string(key.Rules) != step.rules || key.Region != step.region {
			t.Errorf("PATCH %s: the key is looked up with %s, %q", step.body, key.Rules, key.Region)
		}
	}
	// A change is in the feed, so that proxies read the customer's keys again.
	before, err := w.db.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.expect(w.call(acme, "PATCH", path, `{"retry":{"max_attempts":3}}`), 200, nil)
	changes, err := w.db.Changes(t.Context(), before, 10)
	if err != nil || len(changes) != 1 || changes[0].Kind != store.KindClient || changes[0].ID != acme.ID {
		t.Errorf("changes %+v: %v", changes, err)
	}
}

// S1-27, S1-28.
func TestBalanceConfigS127S128(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 10*money.USD)
	w.tenant("Other", "", 0)
	const path = "/openapi/v1/balance/config"
	var c report.AlertConfig
	if w.get(acme, path, &c); c.LowBalance != nil || c.QuotaPercent != nil || len(c.Alerts) != 0 {
		t.Errorf("config %+v", c)
	}
	limits := store.Unlimited()
	limits.MonthlyCap, limits.TotalQuota = 4*money.USD/1000, 100*money.USD
	capped := *acme
	capped.key, capped.token = w.key(acme, limits)
	w.used(&capped, "alpha", usage.Success, "", time.Now(), 1000, 120) // $0.0032 of $0.004
	alerts := func() string {
		var out []string
		for _, a := range c.Alerts {
			text, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(text))
		}
		return strings.Join(out, " ")
	}
	quota := `{"kind":"monthly_cap","key_id":"` + capped.key.PublicID + `","limit":"0.004","value":"0.0032"}`
	low := `{"kind":"low_balance","key_id":null,"limit":"10","value":"9.9968"}`
	for _, step := range []struct{ body, alerts string }{
		{`{"low_balance":"9.9968"}`, ""},
		{`{"low_balance":"10"}`, low},
		{`{"quota_alert_percent":81}`, low},
		{`{"quota_alert_percent":80}`, low + " " + quota},
		{`{}`, low + " " + quota},
		{`{"low_balance":null}`, quota},
		{`{"quota_alert_percent":null}`, ""},
	} {
		c = report.AlertConfig{}
		if w.expect(w.call(acme, "PATCH", path, step.body), 200, &c); alerts() != step.alerts {
			t.Errorf("PATCH %s: %s, want %s", step.body, alerts(), step.alerts)
		}
		if w.get(acme, path, &c); alerts() != step.alerts {
			t.Errorf("PATCH %s, read again: %s, want %s", step.body, alerts(), step.alerts)
		}
	}
	w.refusesPatch(acme, path, map[string]string{
		`{"low_balance":"-1"}`: "low_balance", `{"low_balance":"x"}`: "low_balance", `{"quota_alert_percent":0}`: "quota_alert_percent", `{"quota_alert_percent":101}`: "quota_alert_percent",
		`{"email":"a@b.c"}`: "email",
	})
}
