package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tokenrelay/shared/money"
)

// The cases in testdata/*.test are written in a line language that a
// non-programmer can read and extend. W is a wallet, H a hold (a lease of one
// request), L a lease; amounts are USD.
//
//	wallet W USD [floor USD]           a wallet with a first recharge
//	recharge|correction|refund W USD WORD   an entry, what comes of it
//	hold H W USD WORD                  reserve for one request
//	settle H USD                       pay, the rest comes back
//	void H                             all of it comes back
//	size NEED TARGET SPENDABLE LIVE = USD | refused   how much a grant lends
//	grant L W USD SEQ WORD             open or extend a lease
//	charge L USD WORD                  a usage row of the lease
//	return L USD SEQ WORD              give back
//	reclaim L USD                      close, so much was outstanding
//	late W USD paid USD bad USD        a charge after its lease was closed
//	balance W available USD held USD
//	lease L granted USD settled USD returned USD
//	books                              M1, M2, M4, M5, M12 hold (also checked after every line)
//
// WORD is ok, insufficient, closed, beyond, gap or sign. A # begins a comment.
type script struct {
	wallets map[string]*Wallet
	leases  map[string]*Lease
	of      map[string]string // lease → wallet
	books   Books
}

var words = map[string]error{
	"ok": nil, "insufficient": ErrShort, "closed": ErrClosed, "beyond": ErrBeyond, "gap": ErrGap, "sign": ErrSign,
	"overflow": money.ErrOverflow,
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := &script{wallets: map[string]*Wallet{}, leases: map[string]*Lease{}, of: map[string]string{}}
			for i, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "#")
				fields := strings.Fields(line)
				if len(fields) == 0 {
					continue
				}
				if err := s.run(fields); err != nil {
					t.Errorf("%s:%d: %s: %v", file, i+1, strings.TrimSpace(line), err)
				}
				if err := s.check(); err != nil {
					t.Fatalf("%s:%d: %s: %v", file, i+1, strings.TrimSpace(line), err)
				}
			}
		})
	}
}

func (s *script) check() error {
	var balances []money.Amount
	for name, w := range s.wallets {
		var leases []*Lease
		for l, of := range s.of {
			if of == name {
				leases = append(leases, s.leases[l])
			}
		}
		if err := CheckWallet(w, leases); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		balances = append(balances, w.Balance)
	}
	return s.books.Check(balances...)
}

func (s *script) run(f []string) error {
	usd := func(i int) money.Amount {
		a, err := money.ParseUSD(f[i])
		if err != nil {
			panic(fmt.Sprintf("%q: %v", f, err))
		}
		return a
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			panic(fmt.Sprintf("%q: %v", f, err))
		}
		return n
	}
	expect := func(got error, word string) error {
		want, known := words[word]
		if !known {
			return fmt.Errorf("no outcome %q", word)
		}
		if !errors.Is(got, want) || (want == nil && got != nil) {
			return fmt.Errorf("got: %w", got)
		}
		return nil
	}
	equal := func(pairs ...any) error {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] != pairs[i+1] {
				return fmt.Errorf("got %s, want %s", pairs[i], pairs[i+1])
			}
		}
		return nil
	}
	switch f[0] {
	case "wallet":
		w := new(Wallet)
		if len(f) == 5 {
			w.Floor = usd(4)
		}
		s.wallets[f[1]] = w
		if usd(2) == 0 {
			return nil
		}
		if err := s.books.Entry(Recharge, usd(2)); err != nil {
			return err
		}
		return w.Book(Recharge, usd(2))
	case "recharge", "correction", "refund":
		err := s.wallets[f[1]].Book(Kind(f[0]), usd(2))
		if err == nil {
			if err := s.books.Entry(Kind(f[0]), usd(2)); err != nil {
				return err
			}
		}
		return expect(err, f[3])
	case "hold", "grant":
		lease, wallet, amount, seq, word := s.leases[f[1]], f[2], usd(3), int64(1), f[len(f)-1]
		if f[0] == "grant" {
			seq = number(4)
		}
		if lease == nil {
			lease = new(Lease)
		}
		err := s.wallets[wallet].Grant(lease, amount, seq)
		if err == nil {
			s.leases[f[1]], s.of[f[1]] = lease, wallet
		}
		return expect(err, word)
	case "settle", "charge":
		lease, wallet, word := s.leases[f[1]], s.wallets[s.of[f[1]]], "ok"
		if f[0] == "charge" {
			word = f[3]
		}
		err := wallet.Settle(lease, usd(2))
		if err == nil {
			s.books.Charge(usd(2))
			if f[0] == "settle" {
				wallet.Reclaim(lease)
			}
		}
		return expect(err, word)
	case "void":
		s.wallets[s.of[f[1]]].Reclaim(s.leases[f[1]])
	case "return":
		return expect(s.wallets[s.of[f[1]]].Return(s.leases[f[1]], usd(2), number(3)), f[4])
	case "reclaim":
		return equal(s.wallets[s.of[f[1]]].Reclaim(s.leases[f[1]]), usd(2))
	case "late":
		paid, bad, err := s.wallets[f[1]].Late(usd(2))
		if err != nil {
			return err
		}
		s.books.Charge(usd(2))
		if bad > 0 {
			if err := s.books.Entry(BadDebt, bad); err != nil {
				return err
			}
		}
		return equal(paid, usd(4), bad, usd(6))
	case "balance":
		w := s.wallets[f[1]]
		return equal(w.Available(), usd(3), w.Leased, usd(5))
	case "lease":
		l := s.leases[f[1]]
		return equal(l.Granted, usd(3), l.Settled, usd(5), l.Returned, usd(7))
	case "size":
		got, ok := GrantSize(usd(1), usd(2), usd(3), int(number(4)))
		if f[6] == "refused" {
			if ok {
				return fmt.Errorf("got %s", got)
			}
			return nil
		}
		if !ok {
			return errors.New("was refused")
		}
		return equal(got, usd(6))
	case "books":
	default:
		return errors.New("no such command")
	}
	return nil
}
