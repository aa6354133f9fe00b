package ledger

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"

	"tokenrelay/shared/money"
)

// Account is one account of the double entry (M12).
type Account uint8

// The accounts.
const (
	Customers    Account = iota // what the house owes its customers: Σ balances
	Revenue                     // charges and what the house paid of them, less refunds
	HouseOverrun                // what holds did not cover: the house pays its own revenue
	BadDebts                    // written off
	Clearing                    // payments that came in
	Corrections                 // operators' corrections
	NumAccounts
)

// String names the account as the view posting does.
func (a Account) String() string {
	names := [NumAccounts]string{"customers", "revenue", "house_overrun", "bad_debt", "clearing", "corrections"}
	if a >= NumAccounts {
		return "unknown"
	}
	return names[a]
}

// Books adds up postings. Every posting has two sides, so the accounts sum to
// zero; a wallet table that does not add up to the customers' account has lost or
// made money. The sums are kept in 128 bits: they cannot overflow.
type Books struct {
	accounts [NumAccounts]int128
	charges  int128
	entries  map[Kind]int128
}

// Charge posts one usage row.
func (b *Books) Charge(amount money.Amount) {
	b.post(Customers, Revenue, -amount)
	b.charges.add(amount)
}

// Overrun posts what one usage row cost above its hold.
func (b *Books) Overrun(amount money.Amount) { b.post(HouseOverrun, Revenue, -amount) }

// PostCharges posts the sum of many charges.
func (b *Books) PostCharges(sum *big.Int) {
	n := fromBig(sum)
	b.move(Revenue, Customers, n)
	b.charges.plus(n)
}

// PostOverrun posts the sum of many overruns.
func (b *Books) PostOverrun(sum *big.Int) { b.move(Revenue, HouseOverrun, fromBig(sum)) }

// PostEntries posts the sum of many entries of a kind, whatever its sign: an audit posts
// what it finds.
func (b *Books) PostEntries(k Kind, sum *big.Int) {
	n := fromBig(sum)
	b.move(Customers, counter(k), n)
	b.count(k, n)
}

// counter is the account that an entry's other side is on.
func counter(k Kind) Account {
	switch k {
	case Recharge:
		return Clearing
	case Refund:
		return Revenue
	case BadDebt:
		return BadDebts
	default:
		return Corrections
	}
}

// move takes n from one account and gives it to another.
func (b *Books) move(to, from Account, n int128) {
	b.accounts[to].plus(n)
	b.accounts[from].minus(n)
}

func (b *Books) count(k Kind, n int128) {
	if b.entries == nil {
		b.entries = make(map[Kind]int128)
	}
	sum := b.entries[k]
	sum.plus(n)
	b.entries[k] = sum
}

// Big is the sum of an account.
func (b *Books) Big(a Account) *big.Int { return b.accounts[a].big() }

// Difference is the sum of all accounts: 0, or postings have lost a side.
func (b *Books) Difference() *big.Int {
	var sum int128
	for _, a := range b.accounts {
		sum.plus(a)
	}
	return sum.big()
}

// Entry posts one ledger entry.
func (b *Books) Entry(k Kind, amount money.Amount) error {
	if err := k.Check(amount); err != nil {
		return err
	}
	other := counter(k)
	if k == Refund && amount < 0 {
		other = Clearing // paid out, not a charge given back
	}
	b.post(Customers, other, amount)
	b.count(k, wide(amount))
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

// fromBig keeps the lowest 128 bits.
func fromBig(n *big.Int) int128 {
	var b [16]byte
	m := new(big.Int).And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)))
	m.FillBytes(b[:])
	return int128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (z int128) big() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(int64(z.hi)), 64)
	return n.Add(n, new(big.Int).SetUint64(z.lo))
}

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
