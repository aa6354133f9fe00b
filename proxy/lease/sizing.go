package lease

import (
	"time"

	"tokenrelay/shared/money"
)

// sizing estimates how much a lease should hold (D2): enough for 1,000 s of spending,
// for twice the most that was held at once in the last minute, and for four typical
// holds. Sizing by spend alone starves: a hold is 100 to 1,000 times its charge.
type sizing struct {
	rate    float64      // nano-USD per second, mean over about a minute, or over what was seen
	seen    float64      // seconds that rate is the mean of, at most rateSpan
	spent   money.Amount // at the last tick
	lease   int64        // it was spent of
	tickAt  int64
	typical money.Amount
	peaks   [6]money.Amount // of held, per 10 s
	peak    int             // the current one
	peakAt  int64           // its start
}

// The rate is a mean over rateSpan seconds. A wallet that has just begun to spend has
// no such past: taken as a minute of nothing, it would have next to no lease when the
// database goes away seconds later. Its first seconds count as rateFloor.
const (
	spendSpan = 1000 // seconds of spending that a lease covers
	rateSpan  = 60
	rateFloor = 10
)

// need notes the hold of a request that the lease could not cover.
func (s *sizing) need(hold money.Amount) {
	if s.typical == 0 {
		s.typical = hold
		return
	}
	s.typical += (hold - s.typical) / 8
}

// begin notes a new lease: what is spent of it counts from now.
func (s *sizing) begin(now int64, lease int64) { s.tickAt, s.spent, s.lease = now, 0, lease }

func (s *sizing) tick(now int64, spent, held money.Amount, lease int64) {
	if s.tickAt != 0 && s.lease == lease && now > s.tickAt {
		dt := float64(now-s.tickAt) / float64(time.Second)
		s.seen = min(s.seen+dt, rateSpan)
		weight := min(1, dt/max(s.seen, rateFloor))
		s.rate += (float64(spent-s.spent)/dt - s.rate) * weight
	}
	s.tickAt, s.spent, s.lease = now, spent, lease
	if now-s.peakAt >= int64(10*time.Second) {
		s.peakAt = now
		s.peak = (s.peak + 1) % len(s.peaks)
		s.peaks[s.peak] = 0
	}
	s.peaks[s.peak] = max(s.peaks[s.peak], held)
}

// low is what of a target must be free: below it, more is asked for. Three quarters of
// 1,000 s of spending are more than the ten minutes for which Postgres may be away (G-6),
// at whatever moment it goes and while the mean still lags behind a load that grew: with
// 900 s one of nine leases was dry three seconds before the ten minutes were over.
func low(target money.Amount) money.Amount { return target - target/4 }

const maxTarget = money.Max / 8

func (s *sizing) target() money.Amount {
	t := 4 * min(s.typical, maxTarget/4)
	for _, p := range s.peaks {
		t = max(t, 2*min(p, maxTarget/2))
	}
	if r := s.rate * spendSpan; r > float64(t) {
		t = money.Amount(min(r, float64(maxTarget)))
	}
	return t
}
