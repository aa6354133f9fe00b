package relay

import (
	"sync/atomic"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/usage"
)

// Stats are the relay's counters. Each is one atomic, read by the metrics page.
type Stats struct {
	Ended       [usage.Refused + 1]atomic.Int64 // records by status
	Refusals    [600]atomic.Int64               // refusals by HTTP status
	Attempts    atomic.Int64
	Failovers   atomic.Int64 // attempts after the first
	KeysParked  atomic.Int64
	Estimated   atomic.Int64 // records whose units are not the provider's
	Suspect     atomic.Int64 // records with impossible usage
	Overrun     atomic.Int64 // nano-USD that the house paid above holds
	Charged     atomic.Int64 // nano-USD
	Unrecorded  atomic.Int64 // records that neither the journal nor its fallback took
	Panics      atomic.Int64
	Stored      atomic.Int64    // responses that were kept
	CacheHits   atomic.Int64    // answers that were given again
	CacheMisses atomic.Int64    // calls that could have had one
	Judged      [3]atomic.Int64 // judgements by moderation models and webhooks: passed, found, not to be had
	StoreErrors atomic.Int64    // failed questions to the store of responses
}

func (s *Stats) count(x *Exchange) {
	r := &x.rec
	s.Ended[r.Status].Add(1)
	s.Attempts.Add(int64(r.NumAttempts))
	if r.NumAttempts > 1 {
		s.Failovers.Add(int64(r.NumAttempts) - 1)
	}
	if r.Source != usage.SourceReported && r.Source != usage.SourceNone && r.Source != usage.SourceCache {
		s.Estimated.Add(1)
	}
	if r.Flags&usage.FlagUsageSuspect != 0 {
		s.Suspect.Add(1)
	}
	if r.Overrun > 0 {
		s.Overrun.Add(int64(r.Overrun))
	}
	s.Charged.Add(int64(r.Charge))
}

func (s *Stats) refused(e *apierr.Error) {
	if e.Status >= 0 && e.Status < len(s.Refusals) {
		s.Refusals[e.Status].Add(1)
	}
}
