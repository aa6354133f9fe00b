package report

import (
	"context"
	"math/big"
	"slices"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Observation is how well calls went (S1-54).
type Observation struct {
	From         time.Time    `json:"from"`
	To           time.Time    `json:"to"`
	Requests     int64        `json:"requests"` // that were sent on; refused ones are among the errors only
	Success      int64        `json:"success"`
	Failed       int64        `json:"failed"`
	Timeout      int64        `json:"timeout"`
	Cancelled    int64        `json:"cancelled"`
	Interrupted  int64        `json:"interrupted"`
	SuccessRate  *float64     `json:"success_rate" doc:"successes among the requests that the caller did not cancel, 0 to 1; null without any"`
	InputTokens  int64        `json:"input_tokens"`
	OutputTokens int64        `json:"output_tokens"`
	Charge       money.Amount `json:"charge"`
	LatencyMS    Percentiles  `json:"latency_ms" doc:"from the request's arrival to the end of its answer"`
	FirstTokenMS Percentiles  `json:"first_token_ms" doc:"from the request's arrival to the first output"`
	Errors       []ErrorCount `json:"errors" doc:"by code, refusals included, the most frequent first"`
}

// Percentiles are estimates: durations are counted in classes of which each reaches to
// the double of the one before, and are taken to be spread evenly in a class.
type Percentiles struct {
	P50 *int64 `json:"p50"` // null without any, as those below
	P90 *int64 `json:"p90"`
	P95 *int64 `json:"p95"`
	P99 *int64 `json:"p99"`
}

// ErrorCount is how often a code was answered.
type ErrorCount struct {
	Code       string `json:"code"`
	HTTPStatus int    `json:"http_status"`
	Count      int64  `json:"count"`
}

// maxErrorCodes bounds the codes of an observation; there are fewer.
const maxErrorCodes = 100

// Observe adds whole hours up.
func (s *Service) Observe(ctx context.Context, key *store.KeyRow, f *SpendFilter) (*Observation, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, Durations: true})
	if err != nil {
		return nil, err
	}
	codes, err := s.db.CodeSums(ctx, q, maxErrorCodes)
	if err != nil {
		return nil, err
	}
	h := &rows[0] // the whole time is one row
	sum := usageSum(h)
	out := &Observation{
		From: f.From, To: f.To, Requests: sum.Calls, Success: sum.Success, Failed: sum.Failed, Timeout: sum.Timeout, Cancelled: sum.Cancelled,
		Interrupted: sum.Interrupted, SuccessRate: successRate(h), InputTokens: sum.InputTokens, OutputTokens: sum.OutputTokens, Charge: sum.Charge,
		LatencyMS: percentiles(&h.Latency), FirstTokenMS: percentiles(&h.FirstToken), Errors: make([]ErrorCount, len(codes)),
	}
	for i, c := range codes {
		out.Errors[i] = ErrorCount{Code: c.Code, HTTPStatus: apierr.Code(c.Code).Status(), Count: c.N}
	}
	return out, nil
}

// successRate leaves out what the caller cancelled: nobody knows how it would have ended.
func successRate(h *store.HourRow) *float64 {
	n := h.Success + h.Failed + h.Timeout + h.Interrupt
	if n == 0 {
		return nil
	}
	rate := float64(h.Success) / float64(n)
	return &rate
}

func percentiles(h *store.Histogram) Percentiles {
	return Percentiles{P50: percentile(h, 50), P90: percentile(h, 90), P95: percentile(h, 95), P99: percentile(h, 99)}
}

// percentile is the duration in ms that p percent of the counted ones do not pass.
func percentile(h *store.Histogram, p int64) *int64 {
	var all int64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return nil
	}
	rank := max(1, (all*p+99)/100) // of the one that is looked for, from 1
	for i, n := range h {
		if rank > n {
			rank -= n
			continue
		}
		low, high := int64(0), int64(1)
		if i > 0 {
			low, high = 1<<(i-1), 1<<i
		}
		ms := low + int64(float64(high-low)*float64(rank)/float64(n+1))
		return &ms
	}
	return nil
}

// Charts is the same as series, one value for each of Times (S1-55).
type Charts struct {
	From            time.Time      `json:"from"`
	To              time.Time      `json:"to"`
	Interval        string         `json:"interval" enum:"hour,day"`
	Times           []time.Time    `json:"times" doc:"beginnings of the hours or days, oldest first; every series has as many values"`
	Requests        []int64        `json:"requests"`
	Success         []int64        `json:"success"`
	Failed          []int64        `json:"failed"`
	Timeout         []int64        `json:"timeout"`
	Cancelled       []int64        `json:"cancelled"`
	Interrupted     []int64        `json:"interrupted"`
	SuccessRate     []*float64     `json:"success_rate"`
	InputTokens     []int64        `json:"input_tokens"`
	OutputTokens    []int64        `json:"output_tokens"`
	Charge          []money.Amount `json:"charge"`
	LatencyP50MS    []*int64       `json:"latency_p50_ms"`
	LatencyP95MS    []*int64       `json:"latency_p95_ms"`
	FirstTokenP50MS []*int64       `json:"first_token_p50_ms"`
	FirstTokenP95MS []*int64       `json:"first_token_p95_ms"`
}

// Chart reads series of whole hours (hours 1) or days (24), those without calls too.
func (s *Service) Chart(ctx context.Context, key *store.KeyRow, f *SpendFilter, hours int) (*Charts, error) {
	q, err := s.rollups(ctx, key, f)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, Hours: hours, Durations: true})
	if err != nil {
		return nil, err
	}
	slices.Reverse(rows)
	c := &Charts{From: f.From, To: f.To, Interval: "hour"}
	if hours == 24 {
		c.Interval = "day"
	}
	for at := f.From; at.Before(f.To); at = at.Add(time.Duration(hours) * time.Hour) {
		var h store.HourRow
		if len(rows) > 0 && rows[0].Hour.Equal(at) {
			h, rows = rows[0], rows[1:]
		}
		c.add(at, &h)
	}
	return c, nil
}

func (c *Charts) add(at time.Time, h *store.HourRow) {
	sum := spend(h)
	c.Times = append(c.Times, at)
	c.Requests = append(c.Requests, sum.Calls)
	c.Success = append(c.Success, h.Success)
	c.Failed = append(c.Failed, h.Failed)
	c.Timeout = append(c.Timeout, h.Timeout)
	c.Cancelled = append(c.Cancelled, h.Cancelled)
	c.Interrupted = append(c.Interrupted, h.Interrupt)
	c.SuccessRate = append(c.SuccessRate, successRate(h))
	c.InputTokens = append(c.InputTokens, sum.InputTokens)
	c.OutputTokens = append(c.OutputTokens, sum.OutputTokens)
	c.Charge = append(c.Charge, h.Charge)
	c.LatencyP50MS = append(c.LatencyP50MS, percentile(&h.Latency, 50))
	c.LatencyP95MS = append(c.LatencyP95MS, percentile(&h.Latency, 95))
	c.FirstTokenP50MS = append(c.FirstTokenP50MS, percentile(&h.FirstToken, 50))
	c.FirstTokenP95MS = append(c.FirstTokenP95MS, percentile(&h.FirstToken, 95))
}

// LogRow is one call in the log (S1-56, S3-17).
type LogRow struct {
	RequestID    string       `json:"request_id"`
	Time         time.Time    `json:"time"`
	Model        string       `json:"model"`
	KeyID        string       `json:"key_id"`
	KeyName      string       `json:"key_name"`
	InputTokens  int64        `json:"input_tokens"`
	OutputTokens int64        `json:"output_tokens"`
	CreditsUsed  string       `json:"credits_used"` // decimal, in CreditsUnit
	CreditsUnit  string       `json:"credits_unit" enum:"credits,USD"`
	Charge       money.Amount `json:"charge"`
	Status       string       `json:"status" enum:"Success,Failed,Timeout"`
	Outcome      string       `json:"outcome" enum:"success,failed,timeout,cancelled,interrupted,refused"` // how exactly it ended
	HTTPStatus   int          `json:"http_status"`
	Code         string       `json:"code"` // "" on success
	Stream       bool         `json:"stream"`
	LatencyMS    int64        `json:"latency_ms"`
	FirstTokenMS *int64       `json:"first_token_ms"` // null: no output
	Conversation *string      `json:"conversation_id" doc:"the call's x-conversation-id; null: none, or its detail is not kept"`
}

// The three ends of a call in the log.
const (
	LogSuccess = "Success"
	LogFailed  = "Failed"
	LogTimeout = "Timeout"
)

// logStatuses says which ends stand behind those of the log.
var logStatuses = map[string][]usage.Status{
	LogSuccess: {usage.Success},
	LogFailed:  {usage.Failed, usage.Cancelled, usage.Interrupted, usage.Refused},
	LogTimeout: {usage.Timeout},
}

// Logs is Billing as the log shows it; f.LogStatus selects by the log's status.
// creditsPerUSD is how amounts are shown, 0 = in USD.
func (s *Service) Logs(ctx context.Context, key *store.KeyRow, f *BillingFilter, creditsPerUSD int64) (rows []LogRow, next reqid.ID, err error) {
	list, next, err := s.Billing(ctx, key, f)
	if err != nil {
		return nil, next, err
	}
	rows = make([]LogRow, len(list))
	for i := range list {
		rows[i] = logRow(&list[i], creditsPerUSD)
	}
	return rows, next, nil
}

func logRow(b *BillingRow, creditsPerUSD int64) LogRow {
	row := LogRow{
		RequestID: b.RequestID, Time: b.Time, Model: b.Model, KeyID: b.KeyID, KeyName: b.KeyName, InputTokens: b.InputTokens, OutputTokens: b.OutputTokens,
		CreditsUsed: b.Charge.String(), CreditsUnit: "USD", Charge: b.Charge, Status: LogFailed, Outcome: b.Status, HTTPStatus: b.HTTPStatus, Code: b.Code,
		Stream: b.Stream, LatencyMS: b.LatencyMS, FirstTokenMS: b.FirstTokenMS, Conversation: textOrNil(b.ConversationID),
	}
	if creditsPerUSD > 0 {
		credits := new(big.Int).Mul(big.NewInt(int64(b.Charge)), big.NewInt(creditsPerUSD))
		row.CreditsUsed, row.CreditsUnit = decimal(credits, 9), "credits"
	}
	switch b.Status {
	case usage.Success.String():
		row.Status = LogSuccess
	case usage.Timeout.String():
		row.Status = LogTimeout
	}
	return row
}
