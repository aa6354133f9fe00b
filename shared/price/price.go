// Package price computes what units cost: exact integers, one rounding up per
// request (S4-15), the same pure functions for holds, charges, previews and audits.
package price

import "tokenrelay/shared/usage"

// Rate is a price in pico-USD per unit (token, character, second, image, search,
// request).
type Rate int64

// Table is the price of one unit of each class.
type Table struct {
	Rates [usage.NumClasses]Rate
	Set   uint32 // bit per class that is priced by itself
	Free  uint32 // bit per class that is free on purpose
}

// Tier replaces the base table for every token of a request whose total input is
// above AboveInput tokens.
type Tier struct {
	AboveInput int64
	Table      Table
}

// Version is one immutable price row.
type Version struct {
	ID          int64
	EffectiveAt int64 // unix ms
	Base        Table
	Tiers       []Tier // ascending AboveInput
}

// Rule is a price version with the multipliers that apply to one customer, parts
// per million each, kept unmultiplied so that the only rounding is the charge's.
type Rule struct {
	Version                       *Version
	ModelPPM, GroupPPM, ClientPPM int64
}
