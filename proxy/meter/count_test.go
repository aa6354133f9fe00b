package meter

import (
	"encoding/json"
	"strings"
	"testing"
)

// countRunes is AddJSON by its words.
func countRunes(s string) (c Count) {
	for _, r := range s {
		c.addRune(r)
	}
	return c
}

// What AddJSON counts of a text is the same however long the runs in it are that are read at
// once, and wherever they end.
func FuzzAddJSON(f *testing.F) {
	long := strings.Repeat("a text that is read in whole blocks, ", 5)
	for _, s := range []string{
		"", "plain", long, long + "é" + long, "中文" + long + "😀", long + `"` + long + `\` + long, long + "\n\t\x01" + long,
		strings.Repeat("\\\"", 40), strings.Repeat("中", 50), long[:31], long[:32], long[:33], long[:47] + "é", long[:48] + "é",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		want := countRunes(s)
		var c Count
		c.AddJSON(raw[1 : len(raw)-1])
		if c != want {
			t.Fatalf("%q: %+v, want %+v", s, c, want)
		}
		// As a stream brings it: in two pieces, cut between characters.
		for i := range s {
			if i > 64 {
				break
			}
			var two Count
			for _, part := range []string{s[:i], s[i:]} {
				raw, _ := json.Marshal(part)
				two.AddJSON(raw[1 : len(raw)-1])
			}
			if two != want {
				t.Fatalf("%q cut at %d: %+v, want %+v", s, i, two, want)
			}
		}
	})
}
