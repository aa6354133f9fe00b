package store

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// What a client sends is stored as text that Postgres takes, and never longer.
func TestClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		most := rapid.IntRange(0, 40).Draw(t, "most")
		got := clean(s, most)
		if len(got) > most || !utf8.ValidString(got) || strings.Contains(got, "\x00") {
			t.Fatalf("clean(%q, %d) = %q", s, most, got)
		}
		if utf8.ValidString(s) && !strings.Contains(s, "\x00") && len(s) <= most && got != s {
			t.Fatalf("clean(%q, %d) = %q: changed for nothing", s, most, got)
		}
	})
}

func TestBucket(t *testing.T) {
	for micros, want := range map[int64]int{-5: 0, 0: 0, 999: 0, 1000: 1, 1999: 1, 2000: 2, 3999: 2, 4000: 3, 15 * 60 * 1e6: 20, 1 << 62: 23} {
		if got := Bucket(micros); got != want {
			t.Errorf("Bucket(%d) = %d, want %d", micros, got, want)
		}
	}
}

func TestRecallPayload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Recall{Slot: rapid.Int16Range(0, 4095).Draw(t, "slot"), Freed: rapid.Bool().Draw(t, "freed"), Number: rapid.Int64Range(0, 1<<62).Draw(t, "number")}
		if rapid.Bool().Draw(t, "wallet") {
			r.WalletID = rapid.Int64Range(1, 1<<62).Draw(t, "wallet id")
		} else {
			r.KeyID, r.Period = rapid.Int64Range(1, 1<<62).Draw(t, "key"), rapid.Int32Range(0, 999912).Draw(t, "period")
		}
		if got, ok := ParseRecall(r.payload()); !ok || got != r {
			t.Fatalf("%q: %+v, %v", r.payload(), got, ok)
		}
	})
	for _, text := range []string{"", "w", "w 1", "w 1 2", "w 0 1 1", "w 1 5000 1", "w -1 1 1", "k 1 1 1", "k 1 2 3 4 5", "x 1 2 3", "w 1 2 3 4", "++w 1 2 3", "+", "+ w 1 2 3", "w 99999999999999999999 1 1"} {
		if r, ok := ParseRecall(text); ok {
			t.Errorf("ParseRecall(%q) = %+v", text, r)
		}
	}
}

func FuzzParseRecall(f *testing.F) {
	f.Add("w 1 2 3")
	f.Add("k 1 202611 3 4")
	f.Add("+w 1 2 0")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := ParseRecall(text)
		if !ok {
			if r != (Recall{}) {
				t.Errorf("refused, but %+v", r)
			}
			return
		}
		if again, ok := ParseRecall(r.payload()); !ok || again != r {
			t.Errorf("%q: %+v, then %+v", text, r, again)
		}
	})
}
