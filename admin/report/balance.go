package report

import (
	"context"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// CustomerBalance is a wallet as its customer sees it (interface 8). Leases are
// internal: they are part of Available here.
type CustomerBalance struct {
	Currency  string       `json:"currency"`
	Balance   money.Amount `json:"balance"`
	Reserved  money.Amount `json:"reserved"`  // holds of running requests
	Available money.Amount `json:"available"` // balance − reserved
}

// Balance returns the wallet of the key's customer.
func (s *Service) Balance(ctx context.Context, key *store.KeyRow) (*CustomerBalance, error) {
	b, err := s.db.WalletBalance(ctx, key.WalletID)
	if err != nil {
		return nil, err
	}
	return &CustomerBalance{Currency: "USD", Balance: b.Balance, Reserved: b.Reserved, Available: b.Available}, nil
}
