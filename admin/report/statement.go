package report

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Statement is a customer's month (UTC): what was called, what it cost, what was paid.
type Statement struct {
	Month        string          `json:"month"` // YYYY-MM
	From         time.Time       `json:"from"`
	To           time.Time       `json:"to"`
	Currency     string          `json:"currency"`
	Lines        []StatementLine `json:"lines"`        // by model and key
	Transactions []Transaction   `json:"transactions"` // everything but calls, oldest first
	Calls        int64           `json:"calls"`
	InputTokens  int64           `json:"input_tokens"`
	OutputTokens int64           `json:"output_tokens"`
	Charges      money.Amount    `json:"charges"` // Σ lines
	Credits      money.Amount    `json:"credits"` // Σ transactions
	Net          money.Amount    `json:"net"`     // credits − charges: by how much the month moved the balance
}

// StatementLine is the month of one model and key.
type StatementLine struct {
	Model        string           `json:"model"`
	KeyID        string           `json:"key_id"`
	KeyName      string           `json:"key_name"`
	Calls        int64            `json:"calls"`
	Success      int64            `json:"success"`
	InputTokens  int64            `json:"input_tokens"`
	OutputTokens int64            `json:"output_tokens"`
	Usage        map[string]int64 `json:"usage"`
	Charge       money.Amount     `json:"charge"`
}

// Statement adds up the month that begins at month, from the roll-ups: the audit proves
// that they are the rows (M10).
func (s *Service) Statement(ctx context.Context, clientID, walletID int64, month time.Time) (*Statement, error) {
	from := time.Date(month.Year(), month.Month(), 1, 0, 0, 0, 0, time.UTC)
	st := &Statement{Month: from.Format("2006-01"), From: from, To: from.AddDate(0, 1, 0), Currency: "USD", Lines: []StatementLine{}, Transactions: []Transaction{}}
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: store.HourlyFilter{ClientID: clientID, From: st.From, To: st.To}, ByModel: true, ByKey: true})
	if err != nil {
		return nil, err
	}
	names, err := s.keyNames(ctx, rows)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		u, k := usageSum(&rows[i]), names[rows[i].KeyID]
		st.Lines = append(st.Lines, StatementLine{
			Model: rows[i].Model, KeyID: k.PublicID, KeyName: k.Name, Calls: u.Calls, Success: u.Success,
			InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, Usage: u.Usage, Charge: u.Charge,
		})
		st.Calls += u.Calls
		st.InputTokens += u.InputTokens
		st.OutputTokens += u.OutputTokens
		if st.Charges, err = st.Charges.Add(u.Charge); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(st.Lines, func(a, b StatementLine) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.KeyID, b.KeyID))
	})
	if err := s.transactions(ctx, walletID, st); err != nil {
		return nil, err
	}
	st.Net, err = st.Credits.Sub(st.Charges)
	return st, err
}

func (s *Service) transactions(ctx context.Context, walletID int64, st *Statement) error {
	f := store.EntryFilter{WalletID: walletID, From: st.From, To: st.To, Limit: 500}
	for {
		entries, err := s.db.Entries(ctx, f)
		if err != nil {
			return err
		}
		for i := range entries {
			e := &entries[i]
			f.Before, f.BeforeID = e.CreatedAt, e.ID
			st.Transactions = append(st.Transactions, entryMovement(e))
			if st.Credits, err = st.Credits.Add(e.Amount); err != nil {
				return err
			}
		}
		if len(entries) < f.Limit {
			slices.Reverse(st.Transactions)
			return nil
		}
	}
}

// StatementHeader names the columns of Records.
var StatementHeader = []string{"type", "model", "key_id", "key_name", "calls", "success", "input_tokens", "output_tokens", "amount_usd", "time", "note"}

// Records is the statement as CSV: a line for each model and key, one for each
// transaction, and the totals. Charges are positive.
func (st *Statement) Records() [][]string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	var out [][]string
	for i := range st.Lines {
		l := &st.Lines[i]
		out = append(out, []string{"usage", CSVText(l.Model), l.KeyID, CSVText(l.KeyName), n(l.Calls), n(l.Success), n(l.InputTokens), n(l.OutputTokens), l.Charge.String(), "", ""})
	}
	for i := range st.Transactions {
		t := &st.Transactions[i]
		out = append(out, []string{t.Kind, "", "", "", "", "", "", "", t.Amount.String(), csvTime(t.Time), CSVText(t.Note)})
	}
	return append(out,
		[]string{"total_charges", "", "", "", n(st.Calls), "", n(st.InputTokens), n(st.OutputTokens), st.Charges.String(), "", ""},
		[]string{"total_credits", "", "", "", "", "", "", "", st.Credits.String(), "", ""},
		[]string{"net", "", "", "", "", "", "", "", st.Net.String(), "", ""})
}
