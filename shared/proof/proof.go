// Package proof is what a proxy tells an audit on its internal port: what it has
// borrowed, and what its journal holds.
package proof

import (
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
)

// The paths on the internal port.
const (
	LeasesPath  = "/debug/leases"
	JournalPath = "/debug/journal"
)

// Leases is the answer of LeasesPath.
type Leases struct {
	Proxy  string  `json:"proxy"`
	Slot   int16   `json:"slot"`
	Epoch  int64   `json:"epoch"`
	Lag    int64   `json:"lag"` // records of the journal that Postgres has not acknowledged
	Leases []Lease `json:"leases"`
}

// Lease is one open lease as its proxy sees it:
// Granted − Returned − Spent = Free + Held + Returning (M6).
type Lease struct {
	ID        int64        `json:"id"`
	WalletID  int64        `json:"wallet_id,omitempty"`
	KeyID     int64        `json:"key_id,omitempty"`
	Period    int32        `json:"period,omitempty"`
	Granted   money.Amount `json:"granted"`
	Returned  money.Amount `json:"returned"`
	Returning money.Amount `json:"returning"` // on its way back
	Spent     money.Amount `json:"spent"`     // settled there, shipped or not
	Free      money.Amount `json:"free"`
	Held      money.Amount `json:"held"` // by running requests: what the lease's own numbers leave

	// Running is what the in-flight slots of running requests hold of it, counted one by
	// one; nil: the proxy does not tell. It differs from Held in the moments in which a
	// request begins or ends.
	Running *money.Amount `json:"running,omitempty"`
}

// Offer is one line of JournalPath: a record of the journal.
type Offer struct {
	ID      reqid.ID     `json:"id"`
	Charge  money.Amount `json:"charge"`
	Acked   bool         `json:"acked,omitempty"`   // Postgres has acknowledged it
	Refused bool         `json:"refused,omitempty"` // a refusal: no charge, stored as a sample only

	// The last line has End, and nothing else of the above: without it the answer broke off.
	End      bool     `json:"end,omitempty"`
	Problems []string `json:"problems,omitempty"`
}
