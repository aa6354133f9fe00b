package lease

import (
	"testing"

	"tokenrelay/proxy/lease/model"
	"tokenrelay/shared/store"
)

// warmWallet is a wallet whose lease never runs dry.
func warmWallet(t testing.TB) *Wallet {
	b := model.New(Now)
	b.Pay(store.Escrow{WalletID: 1}, 1<<60)
	m := New(b, b.Claim(1), Options{})
	w := m.Wallet(1)
	l, refusal := m.Hold(t.Context(), w, 1<<40)
	if l == nil {
		t.Fatalf("%+v", refusal)
	}
	l.Void(1 << 40)
	return w
}

func BenchmarkTakeSettle(b *testing.B) {
	w := warmWallet(b)
	now := Now()
	b.ReportAllocs()
	for b.Loop() {
		l, _ := w.Take(1000, now)
		l.Settle(1000, 10)
	}
}

func BenchmarkTakeSettleParallel(b *testing.B) {
	w := warmWallet(b)
	now := Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, _ := w.Take(1000, now)
			l.Settle(1000, 10)
		}
	})
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}
