package upstream

import "sync/atomic"

// freelist is a lock-free stack of the indices 0 … n-1. The head packs a tag that
// changes with every operation and the index of the top plus one, so that a slow
// pop can not succeed on a head that was popped and pushed in between (ABA).
type freelist struct {
	head atomic.Uint64
	next []atomic.Uint32 // index+1 of the element below, 0 = bottom
}

func newFreelist(n int) *freelist {
	return &freelist{next: make([]atomic.Uint32, n)}
}

func (f *freelist) push(i int) {
	for {
		h := f.head.Load()
		f.next[i].Store(uint32(h))
		if f.head.CompareAndSwap(h, (h>>32+1)<<32|uint64(uint32(i+1))) {
			return
		}
	}
}

func (f *freelist) pop() (int, bool) {
	for {
		h := f.head.Load()
		top := uint32(h)
		if top == 0 {
			return 0, false
		}
		below := f.next[top-1].Load()
		if f.head.CompareAndSwap(h, (h>>32+1)<<32|uint64(below)) {
			return int(top - 1), true
		}
	}
}
