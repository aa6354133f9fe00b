package pii

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

const all = Set(1<<NumKinds - 1)

// mask is what a text becomes, given in pieces that end at the cuts.
func mask(kinds Set, text string, cuts ...int) (string, Set) {
	m := Masker{Kinds: kinds, Mask: kinds}
	var out []byte
	from := 0
	for _, to := range cuts {
		out = m.Append(out, []byte(text[from:to]), false)
		if m.Held() > MaxHeld {
			panic("more is held than may be")
		}
		from = to
	}
	out = m.Append(out, []byte(text[from:]), true)
	return string(out), m.Found
}

var pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq0\nabc/+==\n-----END RSA PRIVATE KEY-----"

// cases are texts and what they become. S1-B14.
var cases = []struct{ text, want string }{
	{"", ""},
	{"hello world", "hello world"},
	{"write to john.doe+x@mail.example.com.", "write to [email]."},
	{"a@b.co and c@d.io", "[email] and [email]"},
	{"邮箱a@b.com。谢谢", "邮箱[email]。谢谢"},
	{"no mail: a@b, @x.com, a@b.1, foo@", "no mail: a@b, @x.com, a@b.1, foo@"},
	{strings.Repeat("-", 80) + "joe@x.com", strings.Repeat("-", 80+3-64) + "[email]"},
	{"card 4111 1111 1111 1111 ok", "card [card] ok"},
	{"5500-0000-0000-0004", "[card]"},
	{"378282246310005", "[card]"},
	{"6011111111111117.", "[card]."},
	{"n=12 4111111111111111 22", "n=12 [card] 22"},
	{"4111 1111 1111 1112", "4111 1111 1111 1112"},
	{"0000000000000000", "0000000000000000"},
	{"94111111111111111111111", "94111111111111111111111"},
	{"ms 1732823806123", "ms 1732823806123"},
	{"DE89 3704 0044 0532 0130 00", "[id]"},
	{"GB82WEST12345698765432,", "[id],"},
	{"gb82west12345698765432", "[id]"},
	{"DE89370400440532013001", "DE89370400440532013001"},
	{"ssn 123-45-6789.", "ssn [id]."},
	{"000-12-3456", "000-12-3456"},
	{"666-12-3456 912-12-3456", "666-12-3456 912-12-3456"},
	{"身份证11010519491231002X号", "身份证[id]号"},
	{"11010519491231002x", "[id]"},
	{"110105194912310021", "110105194912310021"},
	{"110105194913310022", "110105194913310022"},
	{"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "[card]"},
	{"440308199901101512", "[id]"},
	{"+49 30 901820 now", "[phone] now"},
	{"+14155552671", "[phone]"},
	{"(415) 555-2671", "[phone]"},
	{"call 415-555-2671 or 1-415-555-2671", "call [phone] or [phone]"},
	{"13800138000", "[phone]"},
	{"86 138 0013 8000", "[phone]"},
	{"020 7946 0958", "[phone]"},
	{"01 23 45 67 89", "[phone]"},
	{"0049 30 901820", "[phone]"},
	{"2026-11-28 21:16:46", "2026-11-28 21:16:46"},
	{"28-11-2026 12:30", "28-11-2026 12:30"},
	{"550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"},
	{"1,234,567.89", "1,234,567.89"},
	{"192.168.100.200", "192.168.100.200"},
	{"v1.2.3-4", "v1.2.3-4"},
	{"key sk-proj-abcdefghij0123456789XYZ end", "key [credential] end"},
	{"sk-ant-api03-AbCdEf0123456789_-AbCdEf", "[credential]"},
	{"sk-this-is-only-a-long-word-with-hyphens", "sk-this-is-only-a-long-word-with-hyphens"},
	{"task-0123456789012345678901234", "task-0123456789012345678901234"},
	{"sk-" + strings.Repeat("a1", 300) + " x", "[credential] x"},
	{"AKIAIOSFODNN7EXAMPLE!", "[credential]!"},
	{"AKIAIOSFODNN7EXAMPLEX", "AKIAIOSFODNN7EXAMPLEX"},
	{`aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"`, `[credential]"`},
	{`"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",`, `"[credential]",`},
	{"ghp_0123456789abcdefghijABCDEFGHIJ012345", "[credential]"},
	{"AIzaSyA0123456789abcdefghijklmnopqrstuv", "[credential]"},
	{"xoxb-123456789012-abcdef", "[credential]"},
	{"t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U. ok", "t [credential]. ok"},
	{"eyJ is three letters", "eyJ is three letters"},
	{"eyJ" + strings.Repeat("x", 600) + ".", "[credential]."},
	{"Authorization: Bearer abcdef0123456789abcdef", "Authorization: [credential]"},
	{"k:\n" + pem + "\nend", "k:\n[credential]\nend"},
	{pem[:60], "[credential]"},
	{"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----"},
}

func TestFindings(t *testing.T) {
	for _, tc := range cases {
		if got, _ := mask(all, tc.text); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.text, got, tc.want)
		}
	}
}

// A text becomes the same wherever it is cut, once or at every byte.
func TestCutsChangeNothing(t *testing.T) {
	for _, tc := range cases {
		var every []int
		for i := range len(tc.text) {
			every = append(every, i)
			if got, _ := mask(all, tc.text, i); got != tc.want {
				t.Fatalf("%q cut at %d: %q, want %q", tc.text, i, got, tc.want)
			}
			for j := i; j < len(tc.text) && len(tc.text) < 80; j++ {
				if got, _ := mask(all, tc.text, i, j); got != tc.want {
					t.Fatalf("%q cut at %d and %d: %q, want %q", tc.text, i, j, got, tc.want)
				}
			}
		}
		if got, _ := mask(all, tc.text, every...); got != tc.want {
			t.Fatalf("%q byte by byte: %q, want %q", tc.text, got, tc.want)
		}
	}
}

// Only what is asked for is found, and what is not masked passes as it is.
func TestSettings(t *testing.T) {
	text := "joe@x.com 4111111111111111 123-45-6789 +14155552671 AKIAIOSFODNN7EXAMPLE"
	for kinds := range all + 1 {
		got, found := mask(kinds, text)
		for k := range NumKinds {
			if found.Has(k) != kinds.Has(k) || strings.Contains(got, "["+k.String()+"]") != kinds.Has(k) {
				t.Errorf("%b: %s found %b", kinds, got, found)
			}
		}
		m := Masker{Kinds: kinds}
		if out := m.Append(nil, []byte(text), true); string(out) != text || m.Found != kinds {
			t.Errorf("%b without masks: %s, found %b", kinds, out, m.Found)
		}
	}
}

// Random mixtures of what is found and what is not, cut at random.
func TestMixtures(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	glue := []string{" ", "\n", ", ", "\"", "-", ".", "é", "x", "1"}
	for range 3000 {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString(cases[r.IntN(len(cases))].text)
			b.WriteString(glue[r.IntN(len(glue))])
		}
		holdsCuts(t, b.String(), r)
	}
}

func holdsCuts(t *testing.T, text string, r *rand.Rand) {
	t.Helper()
	want, _ := mask(all, text)
	var cuts []int
	for i := range len(text) {
		if r.IntN(3) == 0 {
			cuts = append(cuts, i)
		}
	}
	if got, _ := mask(all, text, cuts...); got != want {
		t.Fatalf("%q cut at %v:\n%q, want\n%q", text, cuts, got, want)
	}
}

// FuzzCuts: no text makes a panic, a difference by cuts, or more held than may be.
func FuzzCuts(f *testing.F) {
	for i, tc := range cases {
		f.Add([]byte(tc.text), uint64(i))
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		if len(text) < 4096 {
			holdsCuts(t, string(text), rand.New(rand.NewPCG(seed, 1)))
		}
	})
}

// Long runs of anything cost time in their length, not in its square.
func TestLongRuns(t *testing.T) {
	for _, unit := range []string{"a", "1", "1 ", "-", "+", "a@", "eyJ", "-----BEGIN ", "sk-", "(1", "AB12", "."} {
		text := bytes.Repeat([]byte(unit), (1<<20)/len(unit))
		m := Masker{Kinds: all, Mask: all}
		for at := 0; at < len(text); at += 4096 {
			m.Append(nil, text[at:min(at+4096, len(text))], false)
			if m.Held() > MaxHeld {
				t.Fatalf("%q: %d bytes held", unit, m.Held())
			}
		}
	}
}

func BenchmarkMask(b *testing.B) {
	text := []byte(strings.Repeat("The quick brown fox jumps over 13 lazy dogs, e-mail joe@x.com. ", 64))
	m := Masker{Kinds: all, Mask: all}
	var out []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out = m.Append(out[:0], text, true)
	}
}
