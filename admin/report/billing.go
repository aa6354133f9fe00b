package report

import (
	"context"
	"strconv"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// BillingRow is one call as its customer sees it: no upstream, no supplier's price,
// no price row id (S1-B7).
type BillingRow struct {
	RequestID       string           `json:"request_id"`
	ClientRequestID string           `json:"client_request_id,omitempty"` // the caller's own x-request-id
	ConversationID  string           `json:"conversation_id,omitempty"`   // the caller's own x-conversation-id
	Time            time.Time        `json:"time"`
	Model           string           `json:"model"`
	RequestedModel  string           `json:"requested_model"`
	KeyID           string           `json:"key_id"`
	KeyName         string           `json:"key_name"`
	Stream          bool             `json:"stream"`
	Status          string           `json:"status"` // success, failed, timeout, cancelled, interrupted, refused
	HTTPStatus      int              `json:"http_status"`
	Code            string           `json:"code,omitempty"`
	InputTokens     int64            `json:"input_tokens"`  // all of them, cached ones included
	OutputTokens    int64            `json:"output_tokens"` // all of them, reasoning included
	Usage           map[string]int64 `json:"usage"`         // units by price class, disjoint
	UsageSource     string           `json:"usage_source"`
	Reserved        money.Amount     `json:"reserved"`
	Charge          money.Amount     `json:"charge"`
	Currency        string           `json:"currency"`
	PriceVersion    string           `json:"price_version,omitempty"`
	LatencyMS       int64            `json:"latency_ms"`
	FirstTokenMS    *int64           `json:"first_token_ms"` // null: no output
}

// BillingFilter selects rows. Zero values select everything; calls that failed or
// were refused are rows too.
type BillingFilter struct {
	From, To  time.Time // from ≤ time < to
	Model     string    // public id or alias
	Status    string
	LogStatus string // as the log shows it, instead of Status
	KeyID     string
	RequestID reqid.ID
	Before    reqid.ID // page: only older rows
	Limit     int

	Conversation string // as the calls named it in x-conversation-id
}

// Billing returns the rows of the key's customer, newest first, and the id to pass
// as Before for the next page, zero when there is none.
func (s *Service) Billing(ctx context.Context, key *store.KeyRow, f *BillingFilter) (rows []BillingRow, next reqid.ID, err error) {
	q := store.UsageFilter{
		WalletID: key.WalletID, From: f.From, To: f.To, Model: f.Model, RequestID: f.RequestID, Before: f.Before,
		Limit: f.Limit + 1, Refusals: true, Conversation: f.Conversation,
	}
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, next, err
	}
	if m := catalogue.Find(f.Model); m != nil {
		q.Model = m.PublicID
	}
	if f.Status != "" {
		status, ok := usage.ParseStatus(f.Status)
		if !ok {
			return nil, next, nil
		}
		q.Statuses = []usage.Status{status}
	}
	if f.LogStatus != "" {
		q.Statuses = logStatuses[f.LogStatus]
	}
	if f.KeyID != "" {
		k, err := s.db.KeyByPublicID(ctx, key.ClientID, f.KeyID)
		if err != nil {
			return nil, next, err
		}
		q.KeyID = k.ID
	}
	list, err := s.db.Usage(ctx, q)
	if err != nil {
		return nil, next, err
	}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ID
	}
	versions, err := s.priceVersions(ctx, list)
	if err != nil {
		return nil, next, err
	}
	rows = make([]BillingRow, len(list))
	for i := range list {
		rows[i] = billingRow(&list[i], versions)
	}
	return rows, next, nil
}

func billingRow(u *store.UsageRow, versions map[int64]*price.Version) BillingRow {
	row := BillingRow{
		RequestID: u.ID.String(), ClientRequestID: u.ClientRequestID, ConversationID: u.ConversationID, Time: time.UnixMicro(u.AdmittedMicros).UTC(),
		Model: u.Model, RequestedModel: u.RequestedModel, KeyID: u.KeyPublicID, KeyName: u.KeyName,
		Stream: u.Flags&usage.FlagStream != 0, Status: u.Status.String(), HTTPStatus: int(u.HTTPStatus), Code: u.Code,
		InputTokens: u.Units.TotalInput(), OutputTokens: u.Units.TotalOutput(), Usage: unitsByClass(&u.Units),
		UsageSource: u.Source.String(), Reserved: u.Hold, Charge: u.Charge, Currency: "USD",
	}
	if u.EndMicros > u.AdmittedMicros {
		row.LatencyMS = (u.EndMicros - u.AdmittedMicros) / 1000
	}
	if u.FirstTokenMicros > 0 {
		ms := int64(u.FirstTokenMicros) / 1000
		row.FirstTokenMS = &ms
	}
	if v := versions[u.PriceID]; v != nil {
		row.PriceVersion = price.VersionString(&price.Rule{Version: v, ModelPPM: u.ModelPPM, GroupPPM: u.GroupPPM, ClientPPM: u.ClientPPM})
	}
	return row
}

// BillingHeader names the columns of BillingRow.Record.
var BillingHeader = []string{
	"request_id", "time", "model", "requested_model", "key_id", "key_name", "stream", "status", "http_status", "code",
	"input_tokens", "output_tokens", "cached_input_tokens", "usage_source", "reserved_usd", "charge_usd", "latency_ms",
	"first_token_ms", "price_version", "client_request_id",
}

// Record is the row as CSV fields, texts guarded against spreadsheets (H2).
func (r *BillingRow) Record() []string {
	first := ""
	if r.FirstTokenMS != nil {
		first = strconv.FormatInt(*r.FirstTokenMS, 10)
	}
	return []string{
		r.RequestID, csvTime(r.Time), CSVText(r.Model), CSVText(r.RequestedModel), r.KeyID,
		CSVText(r.KeyName), strconv.FormatBool(r.Stream), r.Status, strconv.Itoa(r.HTTPStatus), CSVText(r.Code),
		strconv.FormatInt(r.InputTokens, 10), strconv.FormatInt(r.OutputTokens, 10),
		strconv.FormatInt(r.Usage[usage.CacheRead.String()], 10), r.UsageSource, r.Reserved.String(), r.Charge.String(),
		strconv.FormatInt(r.LatencyMS, 10), first, r.PriceVersion, CSVText(r.ClientRequestID),
	}
}

// BillingPages returns a function that gives the rows of the filter page by page as
// CSV records, an empty page at the end.
func (s *Service) BillingPages(key *store.KeyRow, f BillingFilter, size int) func(context.Context) ([][]string, error) {
	f.Limit = size
	done := false
	return func(ctx context.Context) ([][]string, error) {
		if done {
			return nil, nil
		}
		rows, next, err := s.Billing(ctx, key, &f)
		if err != nil {
			return nil, err
		}
		f.Before, done = next, next.IsZero()
		records := make([][]string, len(rows))
		for i := range rows {
			records[i] = rows[i].Record()
		}
		return records, nil
	}
}
