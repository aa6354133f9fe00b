package manage

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
)

func TestCheckText(t *testing.T) {
	for text, ok := range map[string]bool{
		"a": true, "Acme GmbH & Co. KG": true, "日本語 🎉": true, "=1+1": true, "<script>alert(1)</script>": true, strings.Repeat("ü", maxName): true,
		"": false, " a": false, "a ": false, "a\nb": false, "a\tb": false, "a\x00b": false, "a\x7fb": false, "\xff": false, "a\u0085b": false,
		"a\u2028b": false, "\u202egnp.exe": false, "a\u200fb": false, strings.Repeat("ü", maxName+1): false,
	} {
		err := checkText("name", text, 1, maxName)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want accepted %v", text, err, ok)
		}
		var e *apierr.Error
		if err != nil && (!errors.As(err, &e) || e.Status != 400 || e.Param != "name" || !strings.Contains(e.Message, "name")) {
			t.Errorf("%q: %v does not name the field", text, err)
		}
	}
}

// Whatever is accepted is one line of valid text; nothing panics.
func FuzzCheckText(f *testing.F) {
	f.Add("name")
	f.Add("a\r\nb")
	f.Fuzz(func(t *testing.T, text string) {
		if checkText("name", text, 1, maxName) != nil {
			return
		}
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00\u2028") || utf8.RuneCountInString(text) > maxName {
			t.Errorf("%q was accepted", text)
		}
	})
}

func TestParsePrefixes(t *testing.T) {
	got, err := ParsePrefixes("ip_allow", []string{"10.1.2.3/8", "2001:db8::1", "::ffff:1.2.3.4"})
	if err != nil || len(got) != 3 || got[0].String() != "10.0.0.0/8" || got[1].String() != "2001:db8::1/128" || got[2].String() != "1.2.3.4/32" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "localhost", "fe80::1%eth0", "10.0.0.0/8 "} {
		if got, err := ParsePrefixes("ip_allow", []string{bad}); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func TestProfileChecks(t *testing.T) {
	for s, want := range map[string]bool{"a@example.com": true, "a@b": true, "A <a@example.com>": false, "a": false, "a@b@c": false, "": false} {
		if isEmail(s) != want {
			t.Errorf("isEmail(%q) is not %v", s, want)
		}
	}
	for s, want := range map[string]bool{"DE": true, "de": false, "DEU": false} {
		if isCountry(s) != want {
			t.Errorf("isCountry(%q) is not %v", s, want)
		}
	}
	for s, want := range map[string]bool{"Europe/Berlin": true, "UTC": true, "Local": false, "../etc/passwd": false} {
		if isTimezone(s) != want {
			t.Errorf("isTimezone(%q) is not %v", s, want)
		}
	}
}
