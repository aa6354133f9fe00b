package live

import "sync/atomic"

// Share is this proxy's part of a limit that all proxies share: what it may still
// use without asking, or that it was just refused. The zero value has nothing.
type Share struct {
	part    atomic.Pointer[Part]
	refused atomic.Pointer[refused]
	spare   atomic.Int64 // left for everybody at the last exchange
	taken   atomic.Int64 // ever, for sizing
	debt    atomic.Int64 // used beyond what there was
}

// Part is what was handed out at once: requests of one window, or tokens.
type Part struct {
	Start int64 // names the window, 0 for tokens
	until int64 // Now() at which it is worth nothing
	free  atomic.Int64
}

// refused is immutable.
type refused struct {
	until  int64 // from when on one more will get through
	recall int64 // from when on it is worth asking again
}

// Take takes n at now: a few loads and one atomic step.
func (s *Share) Take(n, now int64) (*Part, bool) {
	p := s.part.Load()
	if p == nil || now >= p.until {
		return nil, false
	}
	for {
		free := p.free.Load()
		if free < n {
			return nil, false
		}
		if p.free.CompareAndSwap(free, free-n) {
			s.taken.Add(n)
			return p, true
		}
	}
}

// Back gives back what was taken of a part. One that has run out meanwhile is dead.
func (p *Part) Back(n int64) { p.free.Add(n) }

// Correct takes n more, or gives −n back, without asking: what a request really used
// less what it took. What is not there is owed.
func (s *Share) Correct(n int64) {
	if p := s.part.Load(); p != nil {
		p.free.Add(-n)
		return
	}
	s.debt.Add(n)
}

// Refused says whether the last answer was a refusal that still stands, and how long
// a lone caller has to wait. Refusals are remembered for a second at most.
func (s *Share) Refused(now int64) (wait int64, ok bool) {
	r := s.refused.Load()
	if r == nil || now >= r.recall {
		return 0, false
	}
	return r.until - now, true
}

// Left is what may be used here and by everybody, as of the last exchange, and the
// time until what was given ends.
func (s *Share) Left(now int64) (left, reset int64) {
	p := s.part.Load()
	if p == nil || now >= p.until {
		return 0, 0
	}
	return max(0, p.free.Load()) + s.spare.Load(), p.until - now
}

// Free is what may be used at now without asking, and how long.
func (s *Share) Free(now int64) (free, left int64) {
	if p := s.part.Load(); p != nil && now < p.until {
		return p.free.Load(), p.until - now
	}
	return 0, 0
}

// Taken is what was ever taken.
func (s *Share) Taken() int64 { return s.taken.Load() }

// Deliver adds what was granted at now, good until then. Of another window it replaces
// what was there. One goroutine calls it.
func (s *Share) Deliver(start, until, n, spare, now int64) {
	s.spare.Store(spare)
	s.refused.Store(nil)
	if n == 0 {
		return
	}
	if p := s.part.Load(); p != nil && p.Start == start && now < p.until {
		p.free.Add(n)
		return
	}
	p := &Part{Start: start, until: until}
	p.free.Store(n)
	s.part.Store(p)
}

// Refuse remembers a refusal.
func (s *Share) Refuse(until, recall int64) {
	s.spare.Store(0)
	s.refused.Store(&refused{until: until, recall: recall})
}

// Drain takes all but keep of what is free out of the part, to be given back: it
// names the window that it was of.
func (s *Share) Drain(keep int64) (start, n int64) {
	p := s.part.Load()
	if p == nil {
		return 0, 0
	}
	for {
		free := p.free.Load()
		if free <= keep {
			return p.Start, 0
		}
		if p.free.CompareAndSwap(free, keep) {
			return p.Start, free - keep
		}
	}
}

// Debt takes what was used beyond what was there, to be told to the others.
func (s *Share) Debt() (n int64) {
	n = s.debt.Swap(0)
	p := s.part.Load()
	if p == nil {
		return n
	}
	for {
		free := p.free.Load()
		if free >= 0 {
			return n
		}
		if p.free.CompareAndSwap(free, 0) {
			return n - free
		}
	}
}

// Owe gives Debt's answer back: nobody could be told.
func (s *Share) Owe(n int64) { s.debt.Add(n) }

// Places limits how many requests run here, as a part of a limit that all proxies
// share. The zero value has none.
type Places struct {
	held    atomic.Int64
	refused atomic.Int64 // remembered until
}

// Enter counts a request that starts unless all places of this proxy are taken. A
// request that is refused is at no time counted: Running is told to Postgres as a
// fact, and what is told is granted.
func (p *Places) Enter(u *Use, limit int64) bool {
	for {
		n := u.running.Load()
		if n >= min(limit, p.held.Load()) {
			return false
		}
		if !u.running.CompareAndSwap(n, n+1) {
			continue
		}
		// Compared again after it is counted: whoever lowers held and then reads the
		// count meets every request that saw it higher.
		if n+1 > min(limit, p.held.Load()) {
			u.running.Add(-1)
			return false
		}
		return true
	}
}

// Held is the number of places.
func (p *Places) Held() int64 { return p.held.Load() }

// Hold sets the number of places and returns the number of requests that run.
func (p *Places) Hold(n int64, u *Use) (running int64) {
	p.held.Store(n)
	return u.running.Load()
}

// Refused says that a refusal is remembered.
func (p *Places) Refused(now int64) bool { return now < p.refused.Load() }

// Refuse remembers a refusal.
func (p *Places) Refuse(until int64) { p.refused.Store(until) }
