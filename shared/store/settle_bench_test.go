package store

import (
	"testing"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// BenchmarkSettling is what the proxy does for a record's way into a batch, without Postgres:
// ns and allocations of 2,000 records of one key.
func BenchmarkSettling(b *testing.B) {
	recs := make([]usage.Record, 2000)
	now := time.Now()
	for i := range recs {
		r := &recs[i]
		*r = usage.Record{
			ID: reqid.New(now.Add(time.Duration(i) * 40 * time.Microsecond)), ClientID: 1, WalletID: 1, KeyID: 1, WalletLease: 7, Model: "gpt-5.4-mini", RequestedModel: "gpt-5.4-mini",
			Status: usage.Success, HTTPStatus: 200, Source: usage.SourceReported, Hold: 1e6, Charge: 1000, Cost: 900, PriceID: 3, CostPriceID: 4, ModelPPM: 1e6, GroupPPM: 1e6, ClientPPM: 1e6,
			AdmittedMicros: now.UnixMicro(), EndMicros: now.UnixMicro() + 1500, BytesIn: 300, BytesOut: 500, NumAttempts: 1,
		}
		r.Units[usage.Input], r.Units[usage.Output] = 20, 9
		r.Attempts[0] = usage.Attempt{RouteID: 5, ProviderKeyID: 6, HTTPStatus: 200, Outcome: usage.OutcomeOK, StartMicros: 20, EndMicros: 1400}
	}
	month := recs[0].ID.Month()
	b.ReportAllocs()
	for b.Loop() {
		s := newSettling(1, recs)
		s.months = &months{}
		s.dropForeign(map[int64]db.KeyOwnersRow{1: {ID: 1, ClientID: 1, WalletID: 1}})
		s.touched()
		s.wallets[1] = &walletState{Wallet: ledger.Wallet{Balance: 1 << 50, Leased: 1 << 49}}
		s.budgets[budgetID{1, 0}], s.budgets[budgetID{1, month}] = &budgetState{}, &budgetState{}
		s.leases[7] = &leaseState{Lease: ledger.Lease{Granted: 1 << 49}, of: Escrow{WalletID: 1}}
		s.compute()
		rows := copyBuffers.Get().(*copyRows)
		rows.begin()
		for _, i := range s.usage {
			rows.usage(month, s.slot, &s.recs[i], s.late[i])
		}
		copyBuffers.Put(rows)
		if s.result.Charged != money.Amount(2000*1000) {
			b.Fatal(s.result)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/record")
}
