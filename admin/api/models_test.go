package api

import (
	"strings"
	"testing"

	"tokenrelay/admin/report"
	"tokenrelay/shared/store"
)

// S1-22, S1-23, S2-6, S1-B7.
func TestModels(t *testing.T) {
	w := newWorld(t)
	acme := w.tenant("Acme", "", 0)
	small := w.tenant("Small", "small", 0)
	var list struct{ Items []report.CustomerModel }
	w.get(acme, "/openapi/v1/models", &list)
	if got := ids(list.Items); got != "alpha auto-chat-balanced vendor/beta" {
		t.Errorf("models of the default group: %s", got)
	}
	w.get(small, "/openapi/v1/models", &list)
	if got := ids(list.Items); got != "alpha" {
		t.Errorf("models of the small group: %s", got)
	}
	if p := list.Items[0].Price; p == nil || p.Prices["input"] != "3" || p.Prices["output"] != "15" || p.Version == "" {
		t.Errorf("price after the group's multiplier: %+v", p)
	}
	for _, path := range []string{"/openapi/v1/models", "/openapi/v1/models/alpha"} {
		r := w.call(acme, "GET", path, "")
		for _, secret := range []string{"hidden-supplier", "upstream-alpha", "0.123457", "cost", "127.0.0.1"} {
			if strings.Contains(r.Raw, secret) {
				t.Errorf("%s shows %q: %s", path, secret, r.Raw)
			}
		}
	}
	var m report.CustomerModel
	for _, name := range []string{"alpha", "alpha-1.0"} {
		if w.get(acme, "/openapi/v1/models/"+name, &m); m.ID != "alpha" || m.MaxOutputTokens != 4096 || !m.Callable {
			t.Errorf("model %s: %+v", name, m)
		}
	}
	if w.get(acme, "/openapi/v1/models/vendor%2Fbeta", &m); m.ID != "vendor/beta" {
		t.Errorf("a model with a slash: %+v", m)
	}
	if w.get(acme, "/openapi/v1/models/auto-chat-balanced", &m); m.Auto == nil || m.Auto.Strategy != "balanced" || len(m.Auto.Models) != 2 || m.Price != nil {
		t.Errorf("the virtual model: %+v", m)
	}
	for n, path := range map[*tenant]string{acme: "/openapi/v1/models/unpriced", small: "/openapi/v1/models/vendor%2Fbeta"} {
		if r := w.call(n, "GET", path, ""); r.Status != 404 {
			t.Errorf("%s: %d %s, want 404", path, r.Status, r.Raw)
		}
	}
	limits := store.Unlimited()
	limits.Models = []string{"alpha"}
	_, scoped := w.key(acme, limits)
	w.expect(send(t, w.app, "GET", "/openapi/v1/models", scoped, ""), 200, &list)
	for _, m := range list.Items {
		if m.Callable != (m.ID == "alpha") {
			t.Errorf("a key scoped to alpha: %s callable %v", m.ID, m.Callable)
		}
	}
}

func ids(list []report.CustomerModel) string {
	var out []string
	for _, m := range list {
		out = append(out, m.ID)
	}
	return strings.Join(out, " ")
}
