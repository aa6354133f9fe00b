// Package pin is a table of objects that must be unique per id and must not be
// forgotten while they matter: an entry is held strongly while it is pinned, and
// weakly afterwards, so that whoever still uses it and whoever asks for it again
// meet the same object, and the rest is left to the garbage collector.
package pin

import (
	"hash/maphash"
	"sync"
	"weak"
)

const shards = 64

// Table maps ids to objects. It is for slow paths (a key is loaded): hot paths
// keep the pointer. The zero value is ready.
type Table[K comparable, V any] struct {
	once  sync.Once
	seed  maphash.Seed
	shard [shards]shard[K, V]
}

type shard[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]entry[V]
}

type entry[V any] struct {
	strong *V // nil unless pinned
	weak   weak.Pointer[V]
}

func (t *Table[K, V]) at(id K) *shard[K, V] {
	t.once.Do(func() { t.seed = maphash.MakeSeed() })
	return &t.shard[maphash.Comparable(t.seed, id)%shards]
}

// Get returns the object of id, made by create if there is none alive, pinned if
// pinned is set (and left as it was if not).
func (t *Table[K, V]) Get(id K, pinned bool, create func() *V) *V {
	s := t.at(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.m[id]
	v := e.value()
	if v == nil {
		v = create()
		e, found = entry[V]{weak: weak.Make(v)}, false
	}
	if pinned && e.strong == nil {
		e.strong, found = v, false
	}
	if !found {
		if s.m == nil {
			s.m = make(map[K]entry[V])
		}
		s.m[id] = e
	}
	return v
}

// Find returns the object of id, nil if none is alive.
func (t *Table[K, V]) Find(id K) *V {
	s := t.at(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[id]
	return e.value()
}

// Sweep pins every living object for which keep says so, unpins the others, and
// drops the entries of dead ones. keep runs under the table's lock.
func (t *Table[K, V]) Sweep(keep func(*V) bool) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		for id, e := range s.m {
			v := e.value()
			if v == nil {
				delete(s.m, id)
				continue
			}
			var strong *V
			if keep(v) {
				strong = v
			}
			if strong != e.strong {
				e.strong = strong
				s.m[id] = e
			}
		}
		s.mu.Unlock()
	}
}

// Each calls f with every living object, under the table's lock.
func (t *Table[K, V]) Each(f func(*V)) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		for _, e := range s.m {
			if v := e.value(); v != nil {
				f(v)
			}
		}
		s.mu.Unlock()
	}
}

// Len is the number of entries, for metrics.
func (t *Table[K, V]) Len() (n int) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}

func (e *entry[V]) value() *V {
	if e.strong != nil {
		return e.strong
	}
	return e.weak.Value()
}
