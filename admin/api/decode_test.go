package api

import (
	"errors"
	"strings"
	"testing"

	"tokenrelay/shared/apierr"
)

type decoded struct {
	Name  string        `json:"name"`
	Count int64         `json:"count"`
	List  []string      `json:"list"`
	Patch Opt[int64]    `json:"patch"`
	Texts Opt[[]string] `json:"texts"`
}

func TestDecodeAccepts(t *testing.T) {
	var d decoded
	if err := decode([]byte(` {"name":"n","count":3,"list":["a"],"patch":null,"texts":[]} `), &d); err != nil {
		t.Fatal(err)
	}
	if d.Name != "n" || d.Count != 3 || len(d.List) != 1 || !d.Patch.Set || !d.Patch.Null || !d.Texts.Set || d.Texts.Null || len(d.Texts.V) != 0 {
		t.Errorf("decoded %+v", d)
	}
	d = decoded{}
	if err := decode(nil, &d); err != nil || d.Patch.Set {
		t.Errorf("an empty body: %v, %+v", err, d)
	}
}

// H6: a member that the endpoint does not know is refused, whatever its spelling.
func TestDecodeRefuses(t *testing.T) {
	for _, tc := range []struct{ body, param, says string }{
		{`{"balance":"100"}`, "balance", "unknown field"},
		{`{"Name":"x"}`, "Name", "unknown field"},
		{`{"n\u0061me":"x","name":"y"}`, "name", "twice"},
		{`{"name":"x","name":"y"}`, "name", "twice"},
		{`{"name":1}`, "name", "must be a string"},
		{`{"count":"1"}`, "count", "must be an integer"},
		{`{"count":1.5}`, "count", "must be an integer"},
		{`{"count":1e30}`, "count", "must be an integer"},
		{`[]`, "", "must be a JSON object"},
		{`null`, "", "must be a JSON object"},
		{`"x"`, "", "must be a JSON object"},
		{`{"name":"x"} {}`, "", "after the JSON object"},
		{`{"name":"x"`, "", "cannot read"},
		{`{`, "", "cannot read"},
		{"{\"name\":\"\xff\"}", "", "UTF-8"},
		{`{"name":"x",}`, "", "cannot read"},
	} {
		var d decoded
		err := decode([]byte(tc.body), &d)
		var e *apierr.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal", tc.body, err)
			continue
		}
		if e.Status != 400 || e.Param != tc.param || !strings.Contains(e.Message, tc.says) {
			t.Errorf("%s: %d %q param %q, want 400 %q param %q", tc.body, e.Status, e.Message, e.Param, tc.says, tc.param)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"n","count":3,"list":["a"],"patch":null,"texts":[]}`))
	f.Add([]byte(`{"name":{"name":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var d decoded
		err := decode(body, &d)
		var e *apierr.Error
		if err != nil && (!errors.As(err, &e) || e.Status != 400) {
			t.Errorf("%q: %v is not a 400", body, err)
		}
	})
}
