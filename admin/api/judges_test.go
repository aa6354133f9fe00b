package api

import (
	"strings"
	"testing"

	"tokenrelay/shared/money"
)

// withJudges is the test catalogue with models that judge: omni says so by its tag, plain
// says nothing; their provider speaks the protocol.
func withJudges(protocol string) string {
	return strings.NewReplacer("models:\n", `  - {name: judges, protocol: `+protocol+`, base_url: "http://127.0.0.1:9/v1", keys: [{name: main, secret: sk-judges-0001}]}
models:
  - {id: omni, aliases: [omni-latest], tags: [moderation], routes: [{provider: judges, model: upstream-omni}], price: {input: "0"}, free: [input]}
  - {id: plain, routes: [{provider: judges, model: upstream-plain}], price: {input: "1", output: "1"}}
  - {id: vectors, tags: [embedding], routes: [{provider: judges, model: upstream-vectors}], price: {input: "1"}}
`).Replace(testCatalogue)
}

// S1-16: a model that judges must be one that this customer has and that serves
// moderations; another is refused by the name of the field and its own, and what was set
// stays. A model that stops being one can still be kept, changed around and replaced.
func TestWhoMayJudge(t *testing.T) {
	w := newWorld(t)
	w.expect(w.operate("POST", "/admin/v1/catalog", withJudges("openai")), 200, nil)
	acme, small := w.tenant("Acme", "", money.USD), w.tenant("Small", "small", money.USD)
	const path = "/openapi/v1/security/policy"
	set := func(model string) string {
		return `{"content_safety":{"moderation":{"model":"` + model + `","action":"block"}}}`
	}
	refused := func(n *tenant, model, says string) {
		t.Helper()
		r := w.call(n, "PATCH", path, set(model))
		if r.Status != 400 || !strings.Contains(*r.Body.Message, "content_safety.moderation.model") || !strings.Contains(*r.Body.Message, says) || r.Header.Get("x-relay-param") != "content_safety.moderation.model" {
			t.Errorf("%s: %d %v %s", model, r.Status, r.Header, r.Raw)
		}
	}
	for _, model := range []string{"omni", "omni-latest", "plain"} {
		w.expect(w.call(acme, "PATCH", path, set(model)), 200, nil)
	}
	for model, says := range map[string]string{
		"alpha": `"alpha" does not serve moderations`, "alpha-1.0": `"alpha" does not serve moderations`, "vectors": `"vectors" does not serve moderations`,
		"auto-chat-balanced": `"auto-chat-balanced" does not serve moderations`, "nothing": `no model "nothing"`, "unpriced": `no model "unpriced"`,
	} {
		refused(acme, model, says)
	}
	refused(small, "omni", `no model "omni"`) // which its group does not have
	var p struct {
		ContentSafety struct {
			Moderation struct{ Model, Action string } `json:"moderation"`
		} `json:"content_safety"`
	}
	if w.get(acme, path, &p); p.ContentSafety.Moderation.Model != "plain" || p.ContentSafety.Moderation.Action != "block" {
		t.Errorf("%+v", p)
	}

	// Its provider now speaks a protocol without moderations.
	w.expect(w.operate("POST", "/admin/v1/catalog", withJudges("anthropic")), 200, nil)
	refused(acme, "plain", `"plain" does not serve moderations`)
	w.expect(w.call(acme, "PATCH", path, `{"content_safety":{"moderation":{"on_failure":"allow"}},"masking":{"card":"block"}}`), 200, nil)
	if w.get(acme, path, &p); p.ContentSafety.Moderation.Model != "plain" {
		t.Errorf("%+v", p)
	}
}
