package field

import (
	"bytes"
	"strings"
	"testing"
)

var names = []string{
	"", "te", "close", "chunked", "accept", "x-api-key", "retry-after", "content-type", "authorization",
	"content-length", "idempotency-key", "transfer-encoding", "x-relay-price-version", "0123456789abcdef",
}

// slow is Fold as one would write it.
func slow(b []byte, lower string) bool {
	var l []byte
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		l = append(l, c)
	}
	return string(l) == lower
}

func TestFold(t *testing.T) {
	for _, name := range names {
		if !Fold([]byte(strings.ToUpper(name)), name) || !Fold([]byte(name), name) {
			t.Errorf("%q is not itself", name)
		}
		for i := range name {
			for c := range 256 {
				b := []byte(name)
				b[i] = byte(c)
				if got := Fold(b, name); got != slow(b, name) {
					t.Errorf("Fold(%q, %q) = %v", b, name, got)
				}
			}
		}
	}
}

func FuzzFold(f *testing.F) {
	for i, name := range names {
		f.Add([]byte(name), i)
		f.Add([]byte("\r"+name), i)
	}
	f.Fuzz(func(t *testing.T, b []byte, i int) {
		name := names[uint(i)%uint(len(names))]
		if got := Fold(b, name); got != slow(b, name) {
			t.Errorf("Fold(%q, %q) = %v", b, name, got)
		}
		if got, want := Trim(b), bytes.Trim(b, " \t"); string(got) != string(want) || (got == nil) != (want == nil) {
			t.Errorf("Trim(%q) = %q, want %q", b, got, want)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	name := []byte("Content-Length")
	for range b.N {
		if !Fold(name, "content-length") {
			b.Fatal()
		}
	}
}
