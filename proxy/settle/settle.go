// Package settle turns what a request consumed into what it costs: the customer's
// charge, never above the hold, and the supplier's price.
package settle

import (
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// Bill is the outcome of one request in nano-USD.
type Bill struct {
	Charge  money.Amount // the customer pays, 0 <= Charge <= the hold
	Cost    money.Amount // the supplier's price of the same units
	Overrun money.Amount // what the units cost above the hold: the house's
}

// Price bills units at the rule that was pinned when the hold was taken. cost is
// the supplier's rule; nil: it asks nothing that is known. A charge that can not be computed is the whole hold: unknown
// is never free, and never above what was reserved.
func Price(rule, cost *price.Rule, u *usage.Units, hold money.Amount) Bill {
	var b Bill
	full, err := rule.Charge(u)
	if err != nil {
		full = hold
	}
	b.Charge = full
	if full > hold {
		b.Charge, b.Overrun = hold, full-hold
	}
	if cost == nil {
		return b
	}
	if c, err := cost.Charge(u); err == nil {
		b.Cost = c
	}
	return b
}
