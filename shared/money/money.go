// Package money holds amounts of money as integers of nano-USD.
package money

// Amount is an amount of money in nano-USD (1 USD = 1,000,000,000).
type Amount int64

// USD is one US dollar.
const USD Amount = 1_000_000_000
