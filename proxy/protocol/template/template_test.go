package template

import (
	"strings"
	"testing"
)

const answer = `{"id":"abc","created":17,"n":5,"text":"hello"}`

func holesIn(t *testing.T, s string) []Hole {
	t.Helper()
	hole := func(what string, k Kind, tag uint8) Hole {
		at := strings.Index(s, what)
		if at < 0 {
			t.Fatalf("no %s in %s", what, s)
		}
		return Hole{at, at + len(what), k, tag}
	}
	return []Hole{hole("abc", Text, 1), hole("17", Number, 2), hole("5", Count, 3), hole("hello", Text, 4)}
}

func TestMatch(t *testing.T) {
	tpl := Of([]byte(answer), holesIn(t, answer), 9)
	if tpl.Tag() != 9 || tpl.Holes() != 4 {
		t.Fatalf("tag %d, %d holes", tpl.Tag(), tpl.Holes())
	}
	for i := range tpl.Holes() {
		if int(tpl.Hole(i)) != i+1 {
			t.Errorf("hole %d has tag %d", i, tpl.Hole(i))
		}
	}
	for _, tt := range []struct{ name, b, holes string }{
		{"itself", answer, "abc|17|5|hello"},
		{"others", `{"id":"x","created":-1.5E+9,"n":1234567890123456,"text":"a longer \"text\" \\"}`, `x|-1.5E+9|1234567890123456|a longer \"text\" \\`},
		{"empty texts", `{"id":"","created":0,"n":0,"text":""}`, "|0|0|"},
		{"no digits", `{"id":"abc","created":17,"n":,"text":"hello"}`, ""},
		{"a fraction for a count", `{"id":"abc","created":17,"n":5.0,"text":"hello"}`, ""},
		{"a sign for a count", `{"id":"abc","created":17,"n":-5,"text":"hello"}`, ""},
		{"no number", `{"id":"abc","created":null,"n":5,"text":"hello"}`, ""},
		{"no text", `{"id":"abc","created":17,"n":5,"text":null}`, ""},
		{"another name", `{"id":"abc","created":17,"m":5,"text":"hello"}`, ""},
		{"more", answer + " ", ""},
		{"less", answer[:len(answer)-1], ""},
		{"the text never ends", `{"id":"abc","created":17,"n":5,"text":"hello`, ""},
		{"a control character", "{\"id\":\"abc\",\"created\":17,\"n\":5,\"text\":\"a\nb\"}", ""},
		{"a member in the text's place", `{"id":"abc","created":17,"n":5,"text":"a","x":"b"}`, ""},
		{"nothing", "", ""},
		{"only the start", `{"id":"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var at Places
			ok := tpl.Match([]byte(tt.b), &at)
			if ok != (tt.holes != "") {
				t.Fatalf("alike: %v", ok)
			}
			if !ok {
				return
			}
			var got []string
			for _, p := range at[:tpl.Holes()] {
				got = append(got, tt.b[p.At:p.End])
			}
			if strings.Join(got, "|") != tt.holes {
				t.Errorf("holes %q", got)
			}
		})
	}
}

func TestNoTemplate(t *testing.T) {
	b := []byte(strings.Repeat("x", maxFixed+1))
	for name, tpl := range map[string]*Template{
		"too much is fixed":      Of(b, nil, 0),
		"too many holes":         Of(b, make([]Hole, MaxHoles+1), 0),
		"holes overlap":          Of(b[:20], []Hole{{At: 1, End: 5}, {At: 4, End: 6}}, 0),
		"holes out of order":     Of(b[:20], []Hole{{At: 4, End: 6}, {At: 1, End: 2}}, 0),
		"a hole that ends early": Of(b[:20], []Hole{{At: 5, End: 4}}, 0),
		"a hole beyond the end":  Of(b[:20], []Hole{{At: 5, End: 21}}, 0),
	} {
		if tpl != nil {
			t.Errorf("%s: a template was made", name)
		}
	}
	if Of(b[:maxFixed], nil, 0) == nil || Of(b, []Hole{{At: 0, End: 1}}, 0) == nil {
		t.Error("no template of as much as there may be")
	}
}

// Nothing of the answer is kept: its bytes may be used for something else.
func TestOwnBytes(t *testing.T) {
	b := []byte(answer)
	holes := holesIn(t, answer)
	tpl := Of(b, holes, 0)
	clear(b)
	clear(holes)
	var at Places
	if !tpl.Match([]byte(answer), &at) {
		t.Error("the template changed with the answer")
	}
}
