package words

import (
	"strings"
	"testing"
	"unicode/utf8"
)

var list = New([]string{"secret plan", "Secret", "STRASSE", "Ünder", "秘密", "秘密计划", "kelvin", "c++", "a"})

var cases = []struct{ text, want string }{
	{"", ""},
	{"the secret is out", "the [word] is out"},
	{"Secret Plan!", "[word]!"},
	{"secret planning", "[word] planning"},
	{"secrets", "secrets"},
	{"topsecret", "topsecret"},
	{"straße strasse", "straße [word]"},
	{"üNDER", "[word]"},
	{"这是秘密计划。", "这是[word]。"},
	{"这是秘密的", "这是[word]的"},
	{"\u212aelvin", "[word]"},
	{"C++, c+", "[word], c+"},
	{"A b a\u00e9 a", "[word] b a\u00e9 [word]"},
	{"\xff secret \xc3", "\xff [word] \xc3"},
}

func mask(text string, cuts ...int) (string, bool) {
	f := Filter{List: list, Mask: true}
	var out []byte
	from := 0
	for _, to := range cuts {
		out = f.Append(out, []byte(text[from:to]), false)
		if f.Held() > list.MaxHeld() {
			panic("more is held than may be")
		}
		from = to
	}
	return string(f.Append(out, []byte(text[from:]), true)), f.Found
}

func TestWords(t *testing.T) {
	for _, tc := range cases {
		if got, found := mask(tc.text); got != tc.want || found != strings.Contains(tc.want, "[word]") {
			t.Errorf("%q: %q %v, want %q", tc.text, got, found, tc.want)
		}
	}
	f := Filter{List: list}
	if out := f.Append(nil, []byte("Secret"), true); string(out) != "Secret" || !f.Found {
		t.Errorf("not masked: %q %v", out, f.Found)
	}
	if out := (&Filter{}).Append(nil, []byte("x"), false); string(out) != "x" {
		t.Errorf("without a list: %q", out)
	}
}

func TestCutsChangeNothing(t *testing.T) {
	for _, tc := range cases {
		var every []int
		for i := range len(tc.text) {
			every = append(every, i)
			if got, _ := mask(tc.text, i); got != tc.want {
				t.Fatalf("%q cut at %d: %q, want %q", tc.text, i, got, tc.want)
			}
		}
		if got, _ := mask(tc.text, every...); got != tc.want {
			t.Fatalf("%q byte by byte: %q, want %q", tc.text, got, tc.want)
		}
	}
}

// FuzzCuts: no text makes a panic or a difference by where it is cut.
func FuzzCuts(f *testing.F) {
	for i, tc := range cases {
		f.Add(tc.text, i)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		want, _ := mask(text)
		if cut < 0 || cut > len(text) {
			return
		}
		if got, _ := mask(text, cut); got != want {
			t.Fatalf("%q cut at %d: %q, want %q", text, cut, got, want)
		}
		if utf8.ValidString(text) != utf8.ValidString(want) && utf8.ValidString(text) {
			t.Fatalf("%q became %q", text, want)
		}
	})
}
