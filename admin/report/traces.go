package report

import (
	"context"
	"time"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Trace is the diagnosis of one call as its customer sees it (S1-57).
type Trace struct {
	BillingRow
	EndedAt  time.Time      `json:"ended_at"`
	BytesIn  int64          `json:"request_bytes"`
	BytesOut int64          `json:"response_bytes"`
	Clamped  bool           `json:"max_tokens_clamped"`
	Attempts []TraceAttempt `json:"attempts"`
}

// TraceAttempt is one try at one upstream, which stays unnamed.
type TraceAttempt struct {
	Outcome    string `json:"outcome"`
	StartMS    int64  `json:"start_ms"` // since the request was admitted
	DurationMS int64  `json:"duration_ms"`
}

// Trace returns the trace of a call of the key's customer, store.ErrNotFound if
// there is none.
func (s *Service) Trace(ctx context.Context, key *store.KeyRow, id reqid.ID) (*Trace, error) {
	list, err := s.db.Usage(ctx, store.UsageFilter{WalletID: key.WalletID, RequestID: id, Limit: 1, Refusals: true})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, store.ErrNotFound
	}
	u := &list[0]
	versions, err := s.priceVersions(ctx, list)
	if err != nil {
		return nil, err
	}
	t := &Trace{
		BillingRow: billingRow(u, versions), EndedAt: time.UnixMicro(u.EndMicros).UTC(),
		BytesIn: u.BytesIn, BytesOut: u.BytesOut, Clamped: u.Flags&usage.FlagClamped != 0, Attempts: []TraceAttempt{},
	}
	for _, a := range u.Attempts[:min(int(u.NumAttempts), len(u.Attempts))] {
		t.Attempts = append(t.Attempts, TraceAttempt{
			Outcome: a.Outcome.String(), StartMS: int64(a.StartMicros) / 1000, DurationMS: int64(a.EndMicros-a.StartMicros) / 1000,
		})
	}
	return t, nil
}
