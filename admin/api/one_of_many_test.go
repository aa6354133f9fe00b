package api

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/admin/report"
	"tokenrelay/shared/catalogfile"
)

// A change of one model, of its price or of what a route costs is as many statements in a
// catalogue of 1,000 models as in one of ten, and is held to the whole catalogue in both.
func TestOneModelOfMany(t *testing.T) {
	few, many := map[string]uint64{}, map[string]uint64{}
	for n, statements := range map[int]map[string]uint64{10: few, 1000: many} {
		w := newWorld(t)
		var text strings.Builder
		text.WriteString("providers: [{name: many, protocol: openai, base_url: \"http://127.0.0.1:1/v1\"}]\nmodels:\n")
		for i := range n {
			fmt.Fprintf(&text, "  - {id: model-%d, aliases: [other-%d], routes: [{provider: many, model: up-%d, cost: {input: \"2\", output: \"9\"}}], price: {input: \"3\", output: \"15\"}}\n", i, i, i)
		}
		if _, err := w.manage.Apply(t.Context(), "test", must(catalogfile.Parse([]byte(text.String()))), false); err != nil {
			t.Fatal(err)
		}
		do := func(what, method, path, body string, status int, out any) {
			t.Helper()
			before := w.db.Statements()
			w.expect(w.operate(method, "/admin/v1"+path, body), status, out)
			statements[what] = w.db.Statements() - before
		}
		var m report.OperatorModel
		do("read", "GET", "/models/other-7", "", 200, &m)
		do("model", "PATCH", "/models/other-7", `{"multiplier":"1.5","aliases":["other-7","seven"]}`, 200, &m)
		if m.ID != "model-7" || m.Multiplier != "1.5" || len(m.Aliases) != 2 || len(m.Routes) != 1 {
			t.Errorf("changed: %+v", m)
		}
		route := fmt.Sprintf("/routes/%d", m.Routes[0].ID)
		do("cost", "PATCH", route, `{"cost":{"input":"1","output":"8"}}`, 200, &m)
		if m.Routes[0].Prices["input"] != "1" || m.Routes[0].Prices["output"] != "8" {
			t.Errorf("cost: %+v", m.Routes)
		}
		do("off", "PATCH", route, `{"enabled":false}`, 200, &m)
		if len(m.Routes) != 0 || len(m.OffRoutes) != 1 {
			t.Errorf("off: %+v", m)
		}
		do("on", "PATCH", route, `{"enabled":true}`, 200, &m)
		if len(m.Routes) != 1 || len(m.OffRoutes) != 0 || m.Routes[0].Prices["output"] != "8" {
			t.Errorf("on: %+v", m)
		}
		do("price", "POST", "/models/model-7/price", fmt.Sprintf(`{"seen":%d,"price":{"input":"4","output":"16"}}`, m.PriceID), 201, nil)

		for what, refusal := range map[string][3]string{
			"another's name":   {"/models/model-7", `{"aliases":["other-8"]}`, `model model-8, aliases[0]: \"other-8\" is already a name of model \"model-7\"`},
			"a name":           {"/models/model-7", `{"aliases":["Seven"]}`, `model model-7, aliases[0]: \"Seven\" is not a model name: 1 to 128 of a-z 0-9 . _ : / -`},
			"a multiplier":     {"/models/model-7", `{"multiplier":"1001"}`, `model model-7, multiplier: multiplier \"1001\" is above 1000`},
			"an auto model":    {"/models/model-7", `{"auto":{"strategy":"best","models":["model-8"]}}`, `model model-7, auto: an auto model has no routes and no price of its own`},
			"a route's cost":   {route, `{"cost":{"inputs":"1"}}`, `model model-7, routes[0].cost.inputs: is not a usage class`},
			"a route's region": {route, `{"region":"EU West"}`, `model model-7, routes[0].region: \"EU West\" is not a region name`},
		} {
			if r := w.operate("PATCH", "/admin/v1"+refusal[0], refusal[1]); r.Status != 400 || !strings.Contains(r.Raw, refusal[2]) {
				t.Errorf("%s: %d %s, want %s", what, r.Status, r.Raw, refusal[2])
			}
		}
	}
	for what, n := range many {
		if n != few[what] || n > 70 {
			t.Errorf("%s: %d statements among 1,000 models, %d among ten", what, n, few[what])
		}
	}
	t.Log(many)
}
