package textrun

import (
	"bytes"
	"fmt"
	"testing"
)

// plain is Plain by its words.
func plain(b []byte) (n int, wide bool) {
	for n < len(b) && b[n] != '"' && b[n] != '\\' && b[n] >= 0x20 {
		wide = wide || b[n] >= 0x80
		n++
	}
	return n, wide
}

func check(t *testing.T, name string, f func([]byte) (int, bool), b []byte) {
	t.Helper()
	n, wide := f(b)
	most, _ := plain(b)
	_, want := plain(b[:min(n, most)])
	if n > most || wide != want || n < most && (most < len(b) && most < len(b)/32*32 || n != len(b)/32*32) {
		t.Fatalf("%s: %d of %d plain bytes, beyond ASCII: %v, of %q", name, n, most, wide, b)
	}
}

func checkBoth(t *testing.T, b []byte) {
	t.Helper()
	check(t, "slow", plainSlow, b)
	check(t, "Plain", Plain, b)
	if !fast {
		return
	}
	check(t, "fast", plainFast, b)
	n, wide := plainFast(b)
	if m, w := plainSlow(b); m != n || w != wide {
		t.Fatalf("%d, %v and %d, %v of %q", n, wide, m, w, b)
	}
}

// Every byte at every place of every length, at every alignment.
func TestPlain(t *testing.T) {
	if !fast {
		t.Log("this processor has no faster way")
	}
	for _, fill := range []byte{'x', 0x20, 0x7f, 0x80, 0xff, 0x21, 0x23, 0x5b, 0x5d} {
		for size := range 100 {
			room := bytes.Repeat([]byte{fill}, size+8)
			for shift := range 8 {
				b := room[shift : shift+size : shift+size]
				checkBoth(t, b)
				for i := range b {
					for _, c := range []byte{0, 1, 0x1f, 0x20, '"', '\\', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
						b[i] = c
						checkBoth(t, b)
						b[i] = fill
					}
				}
			}
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("this is a text of more than thirty-two bytes, with \"a quote\" in it"))
	f.Add([]byte("und das sind über dreißig Zeichen, die nicht alle aus ASCII sind \\n"))
	f.Fuzz(func(t *testing.T, b []byte) { checkBoth(t, b) })
}

func BenchmarkPlain(b *testing.B) {
	for _, size := range []int{64, 512, 64 << 10} {
		text := bytes.Repeat([]byte{'x'}, size)
		for name, f := range map[string]func([]byte) (int, bool){"slow": plainSlow, "fast": plainFast} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					f(text)
				}
			})
		}
	}
}
