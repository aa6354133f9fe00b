// Package ledger is the arithmetic of wallets, leases and ledger entries, pure:
// the rules that the store's transactions carry out in SQL and that the audit
// re-derives (M1 … M12).
package ledger

import (
	"errors"
	"fmt"

	"tokenrelay/shared/money"
)

// Kind is the reason of a ledger entry. Charges are not entries: each usage row
// is its charge's entry (D13).
type Kind string

// The kinds of entries.
const (
	Recharge   Kind = "recharge"   // a customer paid in, > 0
	Correction Kind = "correction" // an operator put something right, either sign
	Refund     Kind = "refund"     // > 0 gives a charge back, < 0 pays money out
	BadDebt    Kind = "bad_debt"   // the part of a late charge that the wallet could not cover, > 0, the house's
)

// The ways in which a step can be refused. A refused step changes nothing.
var (
	ErrShort   = errors.New("not enough money")               // M4
	ErrClosed  = errors.New("the lease is closed")            // late path
	ErrBeyond  = errors.New("more than the lease has left")   // M5
	ErrGap     = errors.New("a step of the lease is missing") // out of order: try again later
	ErrSign    = errors.New("the amount has the wrong sign")  // F6
	ErrUnknown = errors.New("no such kind of entry")
	ErrBroken  = errors.New("the books do not balance") // M1 … M12
)

// Check says whether an entry of this kind may carry the amount.
func (k Kind) Check(amount money.Amount) error {
	switch k {
	case Recharge, BadDebt:
		if amount <= 0 {
			return fmt.Errorf("cannot book a %s of %s USD: %w", k, amount, ErrSign)
		}
	case Correction, Refund:
		if amount == 0 {
			return fmt.Errorf("cannot book a %s of 0 USD: %w", k, ErrSign)
		}
	default:
		return fmt.Errorf("cannot book a %.20q: %w", string(k), ErrUnknown)
	}
	return nil
}

// Wallet is the money of one client.
type Wallet struct {
	Balance money.Amount // entries minus charges (M1)
	Leased  money.Amount // lent to proxies and not yet settled or returned (M2)
	Floor   money.Amount // how far below zero the available money may go: 0, or negative for a credit line
}

// Available is what has not been lent to proxies (M3).
func (w *Wallet) Available() money.Amount { return w.Balance - w.Leased }

// Spendable is what may still be lent: the available money above the floor (M4).
func (w *Wallet) Spendable() money.Amount { return w.Available() - w.Floor }

// Book adds an entry. One that would take lent money away (a correction below the
// floor) is refused (F5).
func (w *Wallet) Book(k Kind, amount money.Amount) error {
	if err := k.Check(amount); err != nil {
		return err
	}
	balance, err := w.Balance.Add(amount)
	if err != nil {
		return fmt.Errorf("cannot book a %s of %s USD: %w", k, amount, err)
	}
	if amount < 0 && balance-w.Leased < w.Floor {
		return fmt.Errorf("cannot book a %s of %s USD: %w", k, amount, ErrShort)
	}
	w.Balance = balance
	return nil
}

// Lease is a slice of a wallet lent to one proxy.
type Lease struct {
	Granted  money.Amount
	Settled  money.Amount // Σ charges of rows that name the lease (M5)
	Returned money.Amount
	GSeq     int64 // grants and extensions applied
	RSeq     int64 // returns applied
	Closed   bool
}

// Outstanding is what the lease still keeps from the wallet (M2).
func (l *Lease) Outstanding() money.Amount {
	if l.Closed {
		return 0
	}
	return l.Granted - l.Settled - l.Returned
}

// GrantSize is how much to lend (D2): need if it is there at all; more, up to
// target, only from plenty, and then never above available/(2 × live proxies), so
// that half the wallet survives any one machine; exactly need when less than need
// is left for every live proxy (last-money mode). need is what the waiting request
// lacks, 0 for a refill in the background. The second result is false if nothing
// can be lent.
func GrantSize(need, target, spendable money.Amount, live int) (money.Amount, bool) {
	if need < 0 || spendable <= 0 || need > spendable {
		return 0, false
	}
	n := money.Amount(max(1, live))
	if need > spendable/n {
		return need, true
	}
	size := max(need, min(target, spendable/(2*n)))
	return size, size > 0
}

// Grant lends amount as step gseq of the lease: the first opens it, the next ones
// extend it. The same step again changes nothing.
func (w *Wallet) Grant(l *Lease, amount money.Amount, gseq int64) error {
	switch {
	case amount <= 0:
		return fmt.Errorf("cannot lend %s USD: %w", amount, ErrSign)
	case gseq <= l.GSeq:
		return nil
	case gseq != l.GSeq+1:
		return fmt.Errorf("cannot lend %s USD: %w", amount, ErrGap)
	case l.Closed:
		return fmt.Errorf("cannot lend %s USD: %w", amount, ErrClosed)
	case amount > w.Spendable():
		return fmt.Errorf("cannot lend %s USD: %w", amount, ErrShort)
	}
	l.Granted += amount
	l.GSeq = gseq
	w.Leased += amount
	return nil
}

// Settle moves the charge of one usage row from the lease out of the wallet. The
// caller sees to it that a row is settled once (M7).
func (w *Wallet) Settle(l *Lease, charge money.Amount) error {
	switch {
	case charge < 0:
		return fmt.Errorf("cannot settle %s USD: %w", charge, ErrSign)
	case l.Closed:
		return fmt.Errorf("cannot settle %s USD: %w", charge, ErrClosed)
	case charge > l.Outstanding():
		return fmt.Errorf("cannot settle %s USD: %w", charge, ErrBeyond)
	}
	l.Settled += charge
	w.Leased -= charge
	w.Balance -= charge
	return nil
}

// Return gives amount back as step rseq of the lease (K12, K13): the same step
// again changes nothing, a step ahead of its turn is refused.
func (w *Wallet) Return(l *Lease, amount money.Amount, rseq int64) error {
	switch {
	case amount < 0:
		return fmt.Errorf("cannot return %s USD: %w", amount, ErrSign)
	case rseq <= l.RSeq:
		return nil
	case rseq != l.RSeq+1:
		return fmt.Errorf("cannot return %s USD: %w", amount, ErrGap)
	case l.Closed:
		return fmt.Errorf("cannot return %s USD: %w", amount, ErrClosed)
	case amount > l.Outstanding():
		return fmt.Errorf("cannot return %s USD: %w", amount, ErrBeyond)
	}
	l.Returned += amount
	l.RSeq = rseq
	w.Leased -= amount
	return nil
}

// Reclaim closes a lease: what is outstanding goes back to the wallet. Charges
// that appear afterwards take the late path. Closing again changes nothing.
func (w *Wallet) Reclaim(l *Lease) (reclaimed money.Amount) {
	reclaimed = l.Outstanding()
	l.Returned += reclaimed
	w.Leased -= reclaimed
	l.Closed = true
	return reclaimed
}

// Late books a charge whose lease is closed (K14): the wallet pays what it can
// without touching money lent to others, never below the floor, and the rest is
// bad debt, the house's. The wallet's balance falls by paid; as books it is the
// whole charge and a bad_debt entry of the rest (M1).
func (w *Wallet) Late(charge money.Amount) (paid, badDebt money.Amount, err error) {
	if charge < 0 {
		return 0, 0, fmt.Errorf("cannot book a late charge of %s USD: %w", charge, ErrSign)
	}
	paid = min(charge, max(0, w.Spendable()))
	w.Balance -= paid
	return paid, charge - paid, nil
}
