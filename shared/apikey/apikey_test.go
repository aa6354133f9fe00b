package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// S0-6, S2-3, S3-4.
func TestGeneratedKeysAreOursWhateverThePrefix(t *testing.T) {
	for _, prefix := range []string{"tsk_", "sk-tr-", "sk-", "", "abc", "x1"} { // C1
		token, id, err := Generate(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if len(token) != len(prefix)+55 || !strings.HasPrefix(token, prefix+id) || len(id) != IDLen {
			t.Errorf("prefix %q made %q with id %q", prefix, token, id)
		}
		if got := Check([]byte(token)); got != Ours {
			t.Errorf("Check(%q) = %d, want Ours", token, got)
		}
		if Last4(token) != token[len(token)-4:] {
			t.Errorf("Last4(%q) = %q", token, Last4(token))
		}
	}
	if _, _, err := Generate("bad prefix"); err == nil {
		t.Error("a prefix with a space was accepted")
	}
	if _, _, err := Generate(strings.Repeat("p", 250)); err == nil {
		t.Error("a prefix that makes the key too long was accepted")
	}
}

// G5: any single wrong character is refused without a look-up.
func TestEveryTypoIsSeen(t *testing.T) {
	token, _, err := Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(token) {
		for _, c := range []byte("0aZ") {
			if token[i] == c {
				continue
			}
			typo := []byte(token)
			typo[i] = c
			switch got := Check(typo); {
			case got == Ours:
				t.Errorf("a typo at %d passes", i)
			case got != BadCRC && i >= 4:
				t.Errorf("a typo at %d is %d, want BadCRC", i, got)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	body := strings.Repeat("a", tailLen)
	for token, want := range map[string]Shape{
		"": Malformed, "a b": Malformed, "a\x00": Malformed, "ключ": Malformed, "tab\t": Malformed,
		strings.Repeat("k", MaxLen+1): Malformed, strings.Repeat("-", MaxLen): Foreign,
		"sk-short": Foreign, "tsk_" + body: BadCRC, "tsk_a" + body: Foreign, body: BadCRC,
		"tsk_" + body[1:] + "_": Foreign, "sk-proj-" + strings.Repeat("b", 120): Foreign,
	} {
		if got := Check([]byte(token)); got != want {
			t.Errorf("Check(%q) = %d, want %d", token, got, want)
		}
	}
}

func TestDigestIsTheSHA256OfTheWholeKey(t *testing.T) { // S0-7, interface 5
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := Digest([]byte("abc")); hex.EncodeToString(got[:]) != want {
		t.Errorf("digest %x", got)
	}
}

func TestKeysDifferAndUseTheWholeAlphabet(t *testing.T) {
	seen := make(map[string]bool)
	var counts [256]int
	for range 2000 {
		token, id, err := Generate("")
		if err != nil || seen[id] {
			t.Fatalf("id %q twice, or %v", id, err)
		}
		seen[id] = true
		for _, c := range []byte(token[:IDLen+secretLen]) {
			counts[c]++
		}
	}
	// 98,000 characters over 62: 1,580 each; a bias of one byte value in 256 would
	// show as a quarter more.
	for _, c := range []byte(base62) {
		if counts[c] < 1300 || counts[c] > 1900 {
			t.Errorf("%q was drawn %d times, want about 1580", c, counts[c])
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("tsk_" + strings.Repeat("a", tailLen)))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, token []byte) {
		before := sha256.Sum256(token)
		shape := Check(token)
		if sha256.Sum256(token) != before {
			t.Fatal("the key was changed")
		}
		if shape == Ours && len(token) < tailLen || shape != Malformed && len(token) > MaxLen {
			t.Fatalf("%q is %d", token, shape)
		}
	})
}
