package ledger

import (
	"fmt"
	"math/bits"

	"tokenrelay/shared/money"
)

// Account is one account of the double entry (M12).
type Account uint8

// The accounts.
const (
	Customers   Account = iota // what the house owes its customers: Σ balances
	Revenue                    // charges, less refunds
	Clearing                   // payments that came in
	Corrections                // operators' corrections
	BadDebts                   // written off
	numAccounts
)

// Books adds up postings. Every posting has two sides, so the accounts sum to
// zero; a wallet table that does not add up to the customers' account has lost or
// made money. The sums are kept in 128 bits: they cannot overflow.
type Books struct {
	accounts [numAccounts]int128
	charges  int128
	entries  map[Kind]int128
}

// Charge posts one usage row.
func (b *Books) Charge(amount money.Amount) {
	b.post(Customers, Revenue, -amount)
	b.charges.add(amount)
}

// Entry posts one ledger entry.
func (b *Books) Entry(k Kind, amount money.Amount) error {
	if err := k.Check(amount); err != nil {
		return err
	}
	other := map[Kind]Account{Recharge: Clearing, Correction: Corrections, Refund: Revenue, BadDebt: BadDebts}[k]
	if k == Refund && amount < 0 {
		other = Clearing // paid out, not a charge given back
	}
	b.post(Customers, other, amount)
	if b.entries == nil {
		b.entries = make(map[Kind]int128)
	}
	sum := b.entries[k]
	sum.add(amount)
	b.entries[k] = sum
	return nil
}

func (b *Books) post(to, from Account, amount money.Amount) {
	b.accounts[to].add(amount)
	b.accounts[from].sub(amount)
}

// Check compares the books with the balances of all wallets (M1, M12).
func (b *Books) Check(balances ...money.Amount) error {
	var zero, wallets int128
	for _, a := range b.accounts {
		zero.plus(a)
	}
	if zero != (int128{}) {
		return fmt.Errorf("cannot close the books: accounts differ from zero: %w", ErrBroken)
	}
	for _, a := range balances {
		wallets.add(a)
	}
	if wallets != b.accounts[Customers] {
		return fmt.Errorf("cannot close the books: wallets differ from their entries and charges: %w", ErrBroken)
	}
	derived := int128{}
	for _, sum := range b.entries {
		derived.plus(sum)
	}
	derived.minus(b.charges)
	if derived != wallets {
		return fmt.Errorf("cannot close the books: entries minus charges differ from the wallets: %w", ErrBroken)
	}
	return nil
}

// CheckWallet compares a wallet with its leases (M2, M4, M5).
func CheckWallet(w *Wallet, leases []*Lease) error {
	var leased money.Amount
	for i, l := range leases {
		if l.Settled < 0 || l.Returned < 0 || l.Settled+l.Returned > l.Granted {
			return fmt.Errorf("cannot close lease %d: granted %s, settled %s, returned %s: %w", i, l.Granted, l.Settled, l.Returned, ErrBroken)
		}
		leased += l.Outstanding()
	}
	if leased != w.Leased {
		return fmt.Errorf("cannot close the wallet: leased %s USD, its leases say %s: %w", w.Leased, leased, ErrBroken)
	}
	if w.Available() < w.Floor {
		return fmt.Errorf("cannot close the wallet: available %s USD is below its floor: %w", w.Available(), ErrBroken)
	}
	return nil
}

// int128 is a signed integer of 128 bits in two's complement.
type int128 struct{ hi, lo uint64 }

func wide(a money.Amount) int128 { return int128{uint64(a >> 63), uint64(a)} }

func (z *int128) add(a money.Amount) { z.plus(wide(a)) }
func (z *int128) sub(a money.Amount) { z.minus(wide(a)) }

func (z *int128) plus(x int128) {
	var carry uint64
	z.lo, carry = bits.Add64(z.lo, x.lo, 0)
	z.hi, _ = bits.Add64(z.hi, x.hi, carry)
}

func (z *int128) minus(x int128) {
	var borrow uint64
	z.lo, borrow = bits.Sub64(z.lo, x.lo, 0)
	z.hi, _ = bits.Sub64(z.hi, x.hi, borrow)
}
