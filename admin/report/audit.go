package report

import (
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Audit is an audit of the books as operators read it.
type Audit struct {
	Clean       bool         `json:"clean"`
	At          time.Time    `json:"at"`
	Revision    int64        `json:"revision"`
	Lines       []AuditLine  `json:"lines"`
	Leased      money.Amount `json:"leased"`      // with proxies: in flight or not shipped yet
	WrittenOff  money.Amount `json:"written_off"` // bad debt and overrun
	Interrupted int64        `json:"interrupted"` // calls recovered from proxies that died
	Rejected    int64        `json:"rejected"`    // records set aside because they break a money rule
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

// ViewAudit is r for operators.
func ViewAudit(r *store.AuditReport) *Audit {
	a := &Audit{
		Clean: r.Clean(), At: r.At.UTC(), Revision: r.Revision, Lines: make([]AuditLine, len(r.Lines)),
		Leased: r.Leased, WrittenOff: r.WrittenOff, Interrupted: r.Interrupted, Rejected: r.RejectedN,
	}
	for i, l := range r.Lines {
		a.Lines[i] = AuditLine{ID: l.ID, Name: l.Name, Checked: l.Checked, Broken: l.Broken, Worst: l.Worst, Samples: emptyNotNil(l.Samples)}
	}
	return a
}
