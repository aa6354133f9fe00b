package relay

import "sync"

// spares are memory that no request needs at the moment. Open streams mostly wait: what
// only their beginning needed they give back, and what is empty while they wait. Whoever
// puts memory here must have no view of it left: another customer's request is written
// over it.
type spares struct {
	full  sync.Pool // of *spare with memory
	empty sync.Pool // of *spare without: a slice in an interface would allocate
}

type spare struct{ b []byte }

var (
	requests spares // what requests to upstreams are written into
	events   spares // what answers are read into, and written from
)

// put gives memory back.
func (s *spares) put(b []byte) {
	if b = bound(b); b == nil {
		return
	}
	poison(b[:cap(b)])
	p, _ := s.empty.Get().(*spare)
	if p == nil {
		p = new(spare)
	}
	p.b = b
	s.full.Put(p)
}

// get takes memory, nil if there is none.
func (s *spares) get() []byte {
	p, _ := s.full.Get().(*spare)
	if p == nil {
		return nil
	}
	b := p.b
	p.b = nil
	s.empty.Put(p)
	return b
}

// poison writes over memory that is given back, where tests are to see who still reads it.
func poison(b []byte) {
	if poisons {
		for i := range b {
			b[i] = 0xdb
		}
	}
}
