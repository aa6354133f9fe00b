package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func box(t testing.TB, fill byte) *Box {
	t.Helper()
	b, err := New(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// D15, G12: a sealed value opens only at its own place and with its own key.
func TestOnlyItsOwnPlaceOpens(t *testing.T) {
	b := box(t, 1)
	at := Place{Table: "provider_key", Column: "secret", Row: 7, Version: 2}
	sealed := b.Seal([]byte("sk-canary"), at)
	if bytes.Contains(sealed, []byte("canary")) {
		t.Fatal("the sealed value shows the secret")
	}
	if plain, err := b.Open(sealed, at); err != nil || string(plain) != "sk-canary" {
		t.Fatalf("own place: %q, %v", plain, err)
	}
	for name, other := range map[string]Place{
		"row":     {Table: "provider_key", Column: "secret", Row: 8, Version: 2},
		"version": {Table: "provider_key", Column: "secret", Row: 7, Version: 3},
		"column":  {Table: "provider_key", Column: "secre", Row: 7, Version: 2},
		"table":   {Table: "provider_ke", Column: "secret", Row: 7, Version: 2},
	} {
		if _, err := b.Open(sealed, other); !errors.Is(err, ErrOpen) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := box(t, 2).Open(sealed, at); !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %v", err)
	}
	if fmt.Sprintf("%v %+v %#v", b, b, b) != "*** *** ***" {
		t.Errorf("a box prints as %v", b)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	b, at := box(t, 3), Place{Table: "t", Column: "c", Row: 1, Version: 1}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		sealed := b.Seal(plain, at)
		if got, err := b.Open(sealed, at); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("round trip: %v", err)
		}
		i := rapid.IntRange(0, len(sealed)*8-1).Draw(t, "bit")
		sealed[i/8] ^= 1 << (i % 8)
		if _, err := b.Open(sealed, at); !errors.Is(err, ErrOpen) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	})
}

func TestParseKey(t *testing.T) {
	raw := bytes.Repeat([]byte{0xfb}, KeySize)
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), " " + base64.RawURLEncoding.EncodeToString(raw) + "\n",
	} {
		if key, err := ParseKey(text); err != nil || !bytes.Equal(key, raw) {
			t.Errorf("ParseKey(%q) = %x, %v", text, key, err)
		}
	}
	for _, text := range []string{"", "x", base64.StdEncoding.EncodeToString(raw[1:]), "not base64 at all, not base64 at all!!"} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("ParseKey(%q) was accepted", text)
		}
	}
}

// Keys of different purposes, and of different secrets, are different; the same
// purpose gives the same key everywhere. A name is part of a place.
func TestDerivedKeysAndNamedPlaces(t *testing.T) {
	a, errA := Derive(bytes.Repeat([]byte{1}, KeySize), "one")
	again, _ := Derive(bytes.Repeat([]byte{1}, KeySize), "one")
	b, _ := Derive(bytes.Repeat([]byte{1}, KeySize), "two")
	c, _ := Derive(bytes.Repeat([]byte{2}, KeySize), "one")
	if errA != nil || len(a) != KeySize || !bytes.Equal(a, again) || bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Fatalf("%v %x %x %x %x", errA, a, again, b, c)
	}
	x := box(t, 1)
	at := Place{Table: "t", Column: "c", Row: 1, Version: 1, Name: "n"}
	sealed := x.Seal([]byte("secret"), at)
	if p, err := x.Open(sealed, at); err != nil || string(p) != "secret" {
		t.Fatal(err)
	}
	for _, other := range []string{"", "m", "nn"} {
		at.Name = other
		if _, err := x.Open(sealed, at); !errors.Is(err, ErrOpen) {
			t.Errorf("opens as %q", other)
		}
	}
}
