package report

import (
	"context"
	"slices"
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
	Content  Content        `json:"content_policy"`
	Attempts []TraceAttempt `json:"attempts"`
	Timeline []TraceEvent   `json:"timeline" doc:"in the order of time"`
}

// TraceEvent is a moment of a call.
type TraceEvent struct {
	Event   string    `json:"event" enum:"received,attempt_started,attempt_ended,first_token,ended"`
	Time    time.Time `json:"time"`
	AtMS    int64     `json:"at_ms" doc:"since the request was received"`
	Attempt *int      `json:"attempt" doc:"of attempts, from 1"`
	Outcome *string   `json:"outcome" doc:"how an attempt or the call ended"`
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
		BytesIn: u.BytesIn, BytesOut: u.BytesOut, Clamped: u.Flags&usage.FlagClamped != 0, Content: viewContent(u.Flags), Attempts: []TraceAttempt{},
	}
	for _, a := range u.Attempts[:min(int(u.NumAttempts), len(u.Attempts))] {
		t.Attempts = append(t.Attempts, TraceAttempt{
			Outcome: a.Outcome.String(), StartMS: int64(a.StartMicros) / 1000, DurationMS: int64(a.EndMicros-a.StartMicros) / 1000,
		})
	}
	t.Timeline = timeline(u)
	return t, nil
}

func timeline(u *store.UsageRow) []TraceEvent {
	var list []TraceEvent
	add := func(event string, micros int64, attempt *int, outcome *string) {
		list = append(list, TraceEvent{
			Event: event, Time: time.UnixMicro(u.AdmittedMicros + micros).UTC(), AtMS: micros / 1000, Attempt: attempt, Outcome: outcome,
		})
	}
	add("received", 0, nil, nil)
	for i, a := range u.Attempts[:min(int(u.NumAttempts), len(u.Attempts))] {
		n, outcome := i+1, a.Outcome.String()
		add("attempt_started", int64(a.StartMicros), &n, nil)
		if a.EndMicros >= a.StartMicros { // a call that was broken off has no end of its attempt
			add("attempt_ended", int64(a.EndMicros), &n, &outcome)
		}
	}
	if u.FirstTokenMicros > 0 {
		add("first_token", int64(u.FirstTokenMicros), nil, nil)
	}
	status := u.Status.String()
	end := u.EndMicros - u.AdmittedMicros
	for i := range list { // clocks of attempts may be read a moment later
		end = max(end, list[i].Time.UnixMicro()-u.AdmittedMicros)
	}
	add("ended", end, nil, &status)
	slices.SortStableFunc(list, func(a, b TraceEvent) int { return a.Time.Compare(b.Time) })
	return list
}
