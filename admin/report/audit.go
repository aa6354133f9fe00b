package report

import (
	"time"

	"tokenrelay/admin/prove"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Audit is an audit of the books as operators read it.
type Audit struct {
	Clean       bool         `json:"clean"`
	At          time.Time    `json:"at"`
	Revision    int64        `json:"revision"`
	Wallets     int64        `json:"wallets"`
	Deep        bool         `json:"deep"`       // every row was added again
	RowsSince   time.Time    `json:"rows_since"` // rows from here on were added again, older ones by their roll-ups
	Lines       []AuditLine  `json:"lines"`
	Accounts    []Account    `json:"accounts"`    // double entry (M12); they add up to 0
	Leased      money.Amount `json:"leased"`      // with proxies: in flight or not shipped yet
	WrittenOff  money.Amount `json:"written_off"` // bad debt and overrun
	BadDebt     money.Amount `json:"bad_debt"`
	Overrun     money.Amount `json:"overrun"`
	Interrupted int64        `json:"interrupted"` // calls recovered from proxies that died
	Rejected    int64        `json:"rejected"`    // records set aside because they break a money rule
	Held        *prove.Held  `json:"held,omitempty"`
}

// AuditLine is one invariant of the money.
type AuditLine struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Checked int64        `json:"checked"`
	Broken  int64        `json:"broken"`
	Worst   money.Amount `json:"worst"`
	Samples []string     `json:"samples"`
}

// Account is one account of the double entry, decimal USD.
type Account struct {
	Name   string `json:"name"`
	Amount string `json:"amount"`
}

// ViewAudit is r for operators.
func ViewAudit(r *store.AuditReport) *Audit {
	a := &Audit{
		Clean: r.Clean(), At: r.At.UTC(), Revision: r.Revision, Wallets: r.Wallets, Deep: r.Deep, RowsSince: r.Since, Lines: make([]AuditLine, len(r.Lines)),
		Accounts: make([]Account, len(r.Accounts)), Leased: r.Leased, WrittenOff: r.WrittenOff, BadDebt: r.BadDebt, Overrun: r.Overrun,
		Interrupted: r.Interrupted, Rejected: r.RejectedN,
	}
	for i, l := range r.Lines {
		a.Lines[i] = AuditLine{ID: l.ID, Name: l.Name, Checked: l.Checked, Broken: l.Broken, Worst: l.Worst, Samples: emptyNotNil(l.Samples)}
	}
	for i, acc := range r.Accounts {
		a.Accounts[i] = Account{Name: acc.Account, Amount: acc.Amount.String() + " nano-USD"}
		if acc.Amount.IsInt64() {
			a.Accounts[i].Amount = money.Amount(acc.Amount.Int64()).String()
		}
	}
	return a
}
