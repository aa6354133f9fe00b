package ledger

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/money"
)

func drawAmount(t *rapid.T, name string) money.Amount {
	return money.Amount(rapid.Int64Range(0, 1<<rapid.IntRange(0, 40).Draw(t, "size")).Draw(t, name))
}

// F15, ruling 3.14: a grant covers the need or is refused, never lends what is not
// there, and beyond the need leaves half the wallet to the others.
func TestGrantSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need, target, spendable := drawAmount(t, "need"), drawAmount(t, "target"), drawAmount(t, "spendable")-5
		live := rapid.IntRange(0, 64).Draw(t, "live")
		size, ok := GrantSize(need, target, spendable, live)
		switch {
		case !ok && need > 0 && need <= spendable:
			t.Fatalf("%d was refused of %d", need, spendable)
		case !ok && size != 0:
			t.Fatalf("refused and lent %d", size)
		case !ok:
			return
		case size < need || size > spendable || size <= 0:
			t.Fatalf("lent %d of %d, need %d", size, spendable, need)
		case size > need && size > spendable/money.Amount(2*max(1, live)):
			t.Fatalf("lent %d of %d to one of %d proxies", size, spendable, live)
		case size > need && size > target:
			t.Fatalf("lent %d, more than the target %d", size, target)
		case spendable < need*money.Amount(max(1, live)) && size != need:
			t.Fatalf("lent %d of the last money, need %d", size, need)
		}
	})
}

// Any sequence of steps, repeated, out of order, impossible, keeps M1, M2, M4, M5
// and M12.
func TestAnySequenceKeepsTheBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &Wallet{Floor: -drawAmount(t, "floor")}
		var leases []*Lease
		var books Books
		pick := func() *Lease {
			if len(leases) == 0 {
				leases = append(leases, new(Lease))
			}
			return leases[rapid.IntRange(0, len(leases)-1).Draw(t, "lease")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"entry": func(t *rapid.T) {
				kind := rapid.SampledFrom([]Kind{Recharge, Correction, Refund}).Draw(t, "kind")
				amount := drawAmount(t, "amount")
				if rapid.Bool().Draw(t, "negative") {
					amount = -amount
				}
				if w.Book(kind, amount) == nil {
					if err := books.Entry(kind, amount); err != nil {
						t.Fatal(err)
					}
				}
			},
			"open": func(t *rapid.T) { leases = append(leases, new(Lease)) },
			"grant": func(t *rapid.T) {
				l := pick()
				size, ok := GrantSize(drawAmount(t, "need"), drawAmount(t, "target"), w.Spendable(), 3)
				if ok {
					_ = w.Grant(l, size, l.GSeq+rapid.Int64Range(0, 2).Draw(t, "step"))
				}
			},
			"settle": func(t *rapid.T) {
				charge := drawAmount(t, "charge")
				switch err := w.Settle(pick(), charge); {
				case err == nil:
					books.Charge(charge)
				case errors.Is(err, ErrClosed):
					paid, bad, err := w.Late(charge)
					if err != nil || paid+bad != charge {
						t.Fatalf("late %d: paid %d, bad debt %d, %v", charge, paid, bad, err)
					}
					books.Charge(charge)
					if bad > 0 {
						if err := books.Entry(BadDebt, bad); err != nil {
							t.Fatal(err)
						}
					}
				}
			},
			"return": func(t *rapid.T) {
				l := pick()
				_ = w.Return(l, drawAmount(t, "amount"), l.RSeq+rapid.Int64Range(0, 2).Draw(t, "step"))
			},
			"reclaim": func(t *rapid.T) {
				l := pick()
				want := l.Outstanding()
				if got := w.Reclaim(l); got != want || l.Outstanding() != 0 {
					t.Fatalf("reclaimed %d, outstanding were %d", got, want)
				}
			},
			"": func(t *rapid.T) {
				if err := CheckWallet(w, leases); err != nil {
					t.Fatal(err)
				}
				if err := books.Check(w.Balance); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// A refused step changes nothing.
func TestRefusedStepsChangeNothing(t *testing.T) {
	w := Wallet{Balance: 100, Leased: 40}
	l := Lease{Granted: 40, GSeq: 1}
	before, lease := w, l
	for name, err := range map[string]error{
		"entry":  w.Book(Recharge, -1),
		"kind":   w.Book("gift", 1),
		"grant":  w.Grant(&l, 61, 2),
		"gap":    w.Grant(&l, 1, 3),
		"settle": w.Settle(&l, 41),
		"return": w.Return(&l, 41, 1),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if w != before || l != lease {
		t.Errorf("the wallet is %+v, the lease %+v", w, l)
	}
}

// The checks find what they are there to find.
func TestChecksFindCorruption(t *testing.T) {
	wallet := func() (*Wallet, []*Lease) {
		return &Wallet{Balance: 100, Leased: 15}, []*Lease{{Granted: 20, Settled: 5}, {Granted: 7, Closed: true}}
	}
	for name, spoil := range map[string]func(*Wallet, []*Lease){
		"one unit leased":      func(w *Wallet, l []*Lease) { w.Leased++ },
		"settled beyond":       func(w *Wallet, l []*Lease) { l[0].Settled = 21; w.Leased = -1 },
		"negative return":      func(w *Wallet, l []*Lease) { l[0].Returned = -1; w.Leased = 16 },
		"below the floor":      func(w *Wallet, l []*Lease) { w.Balance = 14 },
		"a lease that is gone": func(w *Wallet, l []*Lease) { l[0].Closed = true },
	} {
		w, leases := wallet()
		if err := CheckWallet(w, leases); err != nil {
			t.Fatal(err)
		}
		spoil(w, leases)
		if err := CheckWallet(w, leases); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b Books
	if err := b.Entry(Recharge, 100); err != nil {
		t.Fatal(err)
	}
	b.Charge(30)
	if err := b.Check(50, 20); err != nil {
		t.Error(err)
	}
	for _, balances := range [][]money.Amount{{50, 21}, {50}, {100}, {}} {
		if err := b.Check(balances...); !errors.Is(err, ErrBroken) {
			t.Errorf("wallets %v passed", balances)
		}
	}
	b.accounts[Revenue].add(1)
	if err := b.Check(70); !errors.Is(err, ErrBroken) {
		t.Error("a posting with one side passed")
	}
}

// M10: sums of many large amounts do not overflow.
func TestBooksAddBeyondInt64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sum int128
		want := new(big.Int)
		for _, a := range rapid.SliceOf(rapid.OneOf(rapid.Int64(), rapid.Just(int64(math.MaxInt64)), rapid.Just(int64(math.MinInt64)))).Draw(t, "amounts") {
			if rapid.Bool().Draw(t, "subtract") {
				sum.sub(money.Amount(a))
				want.Sub(want, big.NewInt(a))
			} else {
				sum.add(money.Amount(a))
				want.Add(want, big.NewInt(a))
			}
		}
		got := new(big.Int).Lsh(big.NewInt(int64(sum.hi)), 64)
		got.Add(got, new(big.Int).SetUint64(sum.lo))
		if got.Cmp(want) != 0 {
			t.Fatalf("sum %s, want %s", got, want)
		}
	})
}
