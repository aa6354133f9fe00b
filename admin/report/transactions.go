package report

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// Transaction is one movement of a wallet (interface 8). A finished call is three of
// them, its reservation, the release of it and its charge, so that all amounts of a
// wallet add up to its balance. Movements of 0 are left out.
type Transaction struct {
	ID        string       `json:"id"`
	Time      time.Time    `json:"time"`      // by which it is listed: of a call, when it began
	BookedAt  time.Time    `json:"booked_at"` // when the money moved
	Kind      string       `json:"kind" enum:"recharge,correction,refund,bad_debt,reservation,release,charge"`
	Amount    money.Amount `json:"amount" doc:"signed, as it moved the balance"`
	Currency  string       `json:"currency"`
	RequestID *string      `json:"request_id"` // of calls and bad debt
	Model     *string      `json:"model"`      // of calls, as the two below
	KeyID     *string      `json:"key_id"`
	KeyName   *string      `json:"key_name"`
	Note      string       `json:"note"`
}

// The kinds of a call's movements, oldest first, and what their ids end with.
const (
	kindReservation = "reservation"
	kindRelease     = "release"
	kindCharge      = "charge"
)

var legs = [...]struct{ kind, suffix string }{{kindReservation, "-r"}, {kindRelease, "-l"}, {kindCharge, "-c"}}

func ofCalls(kind string) bool {
	return kind == kindReservation || kind == kindRelease || kind == kindCharge
}

const entryPrefix = "entry_"

// TransactionFilter selects movements. Zero values select everything.
type TransactionFilter struct {
	From, To  time.Time // from ≤ Transaction.Time < to
	Kind      string
	KeyID     string // only calls have one
	RequestID reqid.ID
	After     string // cursor of the page
	Limit     int
}

// transactionCursor is the last movement of the page before. Movements are listed by
// time, newest first; at the same time entries come before calls, and of a call the
// charge comes first.
type transactionCursor struct {
	entryAt time.Time
	entryID int64
	request reqid.ID
	leg     int
}

// parseTransactionCursor reads a cursor's text; "" is the first page.
func parseTransactionCursor(text string) (c transactionCursor, err error) {
	if text == "" {
		return c, nil
	}
	if id, leg, isCall := parseLeg(text); isCall {
		return transactionCursor{request: id, leg: leg}, nil
	}
	at, id, _ := strings.Cut(text, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	n, ok := parseEntryID(id)
	if err != nil || micros <= 0 || !ok {
		return c, ErrCursor
	}
	return transactionCursor{entryAt: time.UnixMicro(micros), entryID: n}, nil
}

func (t *Transaction) cursor() string {
	if strings.HasPrefix(t.ID, entryPrefix) {
		return strconv.FormatInt(t.Time.UnixMicro(), 10) + "." + t.ID
	}
	return t.ID
}

func parseEntryID(text string) (int64, bool) {
	digits, ok := strings.CutPrefix(text, entryPrefix)
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && err == nil && n > 0
}

func parseLeg(text string) (id reqid.ID, leg int, ok bool) {
	for i, l := range legs {
		if head, has := strings.CutSuffix(text, l.suffix); has {
			id, err := reqid.Parse(head)
			return id, i, err == nil
		}
	}
	return id, 0, false
}

// Transactions returns movements of the key's customer, newest first, and the text of
// the cursor of the next page, "" when there is none.
func (s *Service) Transactions(ctx context.Context, key *store.KeyRow, f *TransactionFilter) (list []Transaction, next string, err error) {
	after, err := parseTransactionCursor(f.After)
	if err != nil {
		return nil, "", err
	}
	calls, err := s.callMovements(ctx, key, f, &after)
	if err != nil {
		return nil, "", err
	}
	entries, err := s.entryMovements(ctx, key, f, &after)
	if err != nil {
		return nil, "", err
	}
	list = append(append(make([]Transaction, 0, len(entries)+len(calls)), entries...), calls...)
	slices.SortStableFunc(list, func(a, b Transaction) int { return b.Time.Compare(a.Time) })
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].cursor()
	}
	return list, next, nil
}

// callMovements reads one more than a page holds of what calls moved.
func (s *Service) callMovements(ctx context.Context, key *store.KeyRow, f *TransactionFilter, after *transactionCursor) ([]Transaction, error) {
	if f.Kind != "" && !ofCalls(f.Kind) {
		return nil, nil
	}
	q := store.UsageFilter{
		WalletID: key.WalletID, From: f.From, To: f.To, RequestID: f.RequestID, Held: true, Charged: f.Kind == kindCharge, Limit: f.Limit + 1,
	}
	if f.KeyID != "" {
		k, err := s.db.KeyByPublicID(ctx, key.ClientID, f.KeyID)
		if err != nil {
			return nil, err
		}
		q.KeyID = k.ID
	}
	switch {
	case !after.request.IsZero():
		q.Before = after.request
		if f.Kind == "" && after.leg > 0 { // the rest of that call first
			q.Before = successor(after.request)
		}
	case !after.entryAt.IsZero():
		q.Before = reqid.Min(after.entryAt.UnixMilli() + 1)
	}
	rows, err := s.db.Usage(ctx, q)
	if err != nil {
		return nil, err
	}
	list := make([]Transaction, 0, len(rows))
	for i := range rows {
		for leg := len(legs) - 1; leg >= 0; leg-- {
			if f.Kind != "" && f.Kind != legs[leg].kind || rows[i].ID == after.request && leg >= after.leg {
				continue
			}
			if t := callMovement(&rows[i], leg); t.Amount != 0 {
				list = append(list, t)
			}
		}
	}
	return list, nil
}

func callMovement(u *store.UsageRow, leg int) Transaction {
	id := u.ID.String()
	t := Transaction{
		ID: id + legs[leg].suffix, Time: u.ID.Time(), BookedAt: time.UnixMicro(u.EndMicros).UTC(), Kind: legs[leg].kind, Currency: "USD",
		RequestID: &id, Model: &u.Model, KeyID: &u.KeyPublicID, KeyName: &u.KeyName,
	}
	switch t.Kind {
	case kindReservation:
		t.Amount, t.BookedAt = -u.Hold, time.UnixMicro(u.AdmittedMicros).UTC()
	case kindRelease:
		t.Amount = u.Hold
	case kindCharge:
		t.Amount = -u.Charge
	}
	return t
}

// successor is the least id above id.
func successor(id reqid.ID) reqid.ID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// entryMovements reads one more than a page holds of what is no call.
func (s *Service) entryMovements(ctx context.Context, key *store.KeyRow, f *TransactionFilter, after *transactionCursor) ([]Transaction, error) {
	q := store.EntryFilter{WalletID: key.WalletID, From: f.From, To: f.To, RequestID: f.RequestID, Limit: f.Limit + 1}
	if f.Kind != "" {
		q.Kinds = []store.EntryKind{ledger.Kind(f.Kind)}
	}
	if f.KeyID != "" || ofCalls(f.Kind) {
		return nil, nil
	}
	switch {
	case !after.request.IsZero(): // those at its very time came before it
		q.Before = after.request.Time()
	case !after.entryAt.IsZero():
		q.Before, q.BeforeID = after.entryAt, after.entryID
	}
	rows, err := s.db.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	list := make([]Transaction, len(rows))
	for i := range rows {
		list[i] = entryMovement(&rows[i])
	}
	return list, nil
}

func entryMovement(e *store.Entry) Transaction {
	at := e.CreatedAt.UTC()
	t := Transaction{
		ID: entryPrefix + strconv.FormatInt(e.ID, 10), Time: at, BookedAt: at, Kind: string(e.Kind), Amount: e.Amount, Currency: "USD", Note: e.Note,
	}
	if !e.RequestID.IsZero() {
		id := e.RequestID.String()
		t.RequestID = &id
	}
	return t
}

// Transaction returns one movement of the key's customer by its id, store.ErrNotFound
// if there is none.
func (s *Service) Transaction(ctx context.Context, key *store.KeyRow, id string) (*Transaction, error) {
	if n, ok := parseEntryID(id); ok {
		rows, err := s.db.Entries(ctx, store.EntryFilter{WalletID: key.WalletID, ID: n, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(rows) == 1 {
			t := entryMovement(&rows[0])
			return &t, nil
		}
	}
	if request, leg, ok := parseLeg(id); ok {
		rows, err := s.db.Usage(ctx, store.UsageFilter{WalletID: key.WalletID, RequestID: request, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(rows) == 1 {
			if t := callMovement(&rows[0], leg); t.Amount != 0 {
				return &t, nil
			}
		}
	}
	return nil, store.ErrNotFound
}

// TransactionHeader names the columns of Transaction.Record.
var TransactionHeader = []string{"id", "time", "booked_at", "kind", "amount_usd", "request_id", "model", "key_id", "key_name", "note"}

// Record is the movement as CSV fields, texts guarded against spreadsheets (H2).
func (t *Transaction) Record() []string {
	return []string{
		t.ID, csvTime(t.Time), csvTime(t.BookedAt), t.Kind, t.Amount.String(), orEmpty(t.RequestID), CSVText(orEmpty(t.Model)),
		orEmpty(t.KeyID), CSVText(orEmpty(t.KeyName)), CSVText(t.Note),
	}
}

func csvTime(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TransactionPages gives all pages of the filter as CSV records, see BillingPages.
func (s *Service) TransactionPages(key *store.KeyRow, f TransactionFilter, size int) func(context.Context) ([][]string, error) {
	f.Limit = size
	done := false
	return func(ctx context.Context) ([][]string, error) {
		if done {
			return nil, nil
		}
		list, next, err := s.Transactions(ctx, key, &f)
		if err != nil {
			return nil, err
		}
		f.After, done = next, next == ""
		records := make([][]string, len(list))
		for i := range list {
			records[i] = list[i].Record()
		}
		return records, nil
	}
}
