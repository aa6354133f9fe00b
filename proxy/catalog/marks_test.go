package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// G2, ruling 3.9: however many changes come, a value older than the newest change of
// its subject is never fresh, and one as new as all changes always is.
func TestMarksNeverForget(t *testing.T) {
	m := new(marks)
	digest := func(n uint64) *[32]byte {
		d := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		return &d
	}
	const keys = 200_000 // three times as many as there are slots
	for n := range uint64(keys) {
		raise(m.keySlot(digest(n)), int64(n+1))
	}
	needless := 0
	for n := range uint64(keys) {
		k := &Key{Digest: *digest(n), Revision: int64(n)}
		if m.fresh(k) {
			t.Fatalf("key %d of before its change passes", n)
		}
		if k.Revision++; !m.fresh(k) {
			needless++
		}
		if k.Revision = keys; !m.fresh(k) {
			t.Fatalf("key %d, newer than everything, does not pass", n)
		}
	}
	t.Logf("%d of %d keys are read again needlessly once", needless, keys)
}

func TestRaiseNeverLowers(t *testing.T) {
	var m marks
	s := m.clientSlot(7)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for rev := range 1000 {
				raise(s, int64(rev*4+g))
			}
		})
	}
	wg.Wait()
	if raise(s, 5); s.Load() != 3999 {
		t.Errorf("the slot holds %d, want 3999", s.Load())
	}
}

func TestIDSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s idSet
		want := map[int64]bool{}
		for _, id := range rapid.SliceOf(rapid.Int64Range(1, 5000)).Draw(t, "ids") {
			s.add(id)
			want[id] = true
		}
		for id := range int64(5001) {
			if s.has(id) != want[id] {
				t.Fatalf("id %d: %v", id, s.has(id))
			}
		}
		if s.len() != len(want) {
			t.Fatalf("%d members, want %d", s.len(), len(want))
		}
	})
}

func TestIDSetGrowsUnderReaders(t *testing.T) {
	var s idSet
	var wg sync.WaitGroup
	stop := make(chan struct{})
	s.add(1)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if !s.has(1) || s.has(-1) {
						t.Error("a member was lost while the set grew")
						return
					}
				}
			}
		})
	}
	for id := int64(2); id < 100_000; id++ {
		s.add(id)
	}
	close(stop)
	wg.Wait()
	if s.len() != 99_999 || len(*s.table.Load()) > 4*s.len() {
		t.Errorf("%d members in a table of %d", s.len(), len(*s.table.Load()))
	}
}
