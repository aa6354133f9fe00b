package chat

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzText: whatever an upstream sends as a text stays one JSON string that any parser
// takes, and a text survives being escaped and read again.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\"b", `\u00e9\ud83d\ude00`, `\ud83d`, "\xff\x00", `\`, `\x`, `\u12`, "é漢", `{"a":"\\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text := AppendText(nil, b)
		var s string
		if !utf8.Valid(text) || json.Unmarshal(text, &s) != nil {
			t.Fatalf("%q became %q", b, text)
		}
		if got := Unescape(nil, AppendInner(nil, b)); string(got) != s {
			t.Fatalf("%q reads as %q, for encoding/json as %q", b, got, s)
		}
		if got := Unescape(nil, Escape(nil, b)); !bytes.Equal(got, b) {
			t.Fatalf("%q came back as %q", b, got)
		}
		if utf8.Valid(b) {
			if Runes(Escape(nil, b)) != int64(utf8.RuneCount(b)) {
				t.Fatalf("%q has %d characters", b, Runes(Escape(nil, b)))
			}
		}
		var whole, pieces Args
		whole.Feed(b)
		for i := range b {
			if i > 0 && (b[i-1] == '\\' || bytes.Contains(b, []byte(`\u`))) {
				return // a piece ends amid no escape
			}
			pieces.Feed(b[i : i+1])
		}
		if whole.Complete() != pieces.Complete() {
			t.Fatalf("%q is complete: %v as a whole, %v in pieces", b, whole.Complete(), pieces.Complete())
		}
	})
}
