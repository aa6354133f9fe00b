//go:build !race

package apikey

import "testing"

func TestCheckAndDigestAllocateNothing(t *testing.T) {
	text, _, err := Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	token := []byte(text)
	var digest [32]byte
	if n := testing.AllocsPerRun(1000, func() {
		if Check(token) != Ours {
			t.Fail()
		}
		digest = Digest(token)
	}); n != 0 {
		t.Errorf("%v allocations for a key", n)
	}
	_ = digest
}

func BenchmarkCheckAndDigest(b *testing.B) {
	text, _, _ := Generate("tsk_")
	token := []byte(text)
	b.ReportAllocs()
	for b.Loop() {
		_ = Check(token)
		_ = Digest(token)
	}
}
