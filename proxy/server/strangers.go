package server

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// strangers slows down answers to whoever has no key of ours when there are many of them.
//
// Refusing a key costs about as much as the kernel takes for the request and its answer, so
// that whoever sprays keys as fast as answers come takes the processors that customers need.
// From some refusals a second on, each further one is answered one to two seconds later, and the
// later the more wait: a spray gets fewer answers a second than it has connections and hardly
// more than 200, never many in one moment.
// Customers are never slowed down by others, wherever those come from, and who has mistyped a
// key is told late. An address over its limit (RELAY_IP_RPM) is a stranger too: its key has
// not been looked at.
type strangers struct {
	waiters
	ahead atomic.Int64 // ns of s.start up to which the refusals at full speed reach
}

const (
	strangersRate  = 100                  // refusals a second that are answered at once, and as many in one moment
	strangersDelay = time.Second          // and as much again by chance
	strangersEach  = 5 * time.Millisecond // with more than 200 the delay grows with them
)

// slow waits before a stranger is answered, if there are many; now is ns of s.start. waits is
// asked before that: nobody waits for one who has left. It says whether the connection may go on:
// of too many that wait the next ones are answered at once and closed, which costs an attacker
// more than a key.
func (s *strangers) slow(now int64, waits func() bool) (goesOn bool) {
	if s.quick(now) {
		return true
	}
	if !waits() {
		return false
	}
	return s.wait(func(n int64) time.Duration {
		delay := max(strangersDelay, time.Duration(n)*strangersEach)
		return delay + rand.N(delay)
	})
}

// quick takes one of the answers that are given at once.
func (s *strangers) quick(now int64) bool {
	const each = int64(time.Second) / strangersRate
	for {
		at := s.ahead.Load()
		next := max(at, now) + each
		if next-now > int64(time.Second) {
			return false
		}
		if s.ahead.CompareAndSwap(at, next) {
			return true
		}
	}
}
