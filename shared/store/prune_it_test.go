package store_test

import (
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/store/storetest"
)

// What only looks back goes when it is old enough, in batches, and the books stay clean
// to the last row: the deep audit adds everything again.
func TestPrune(t *testing.T) {
	b := busyBooks(t)
	count := func(sql string) int64 {
		t.Helper()
		return storetest.Value[int64](t, b.url, "SELECT count(*) FROM "+sql)
	}
	prune := func(keep time.Duration) store.Pruned {
		t.Helper()
		p, err := b.Prune(t.Context(), store.Keep{Changes: keep, Refusals: keep, Leases: keep})
		if err != nil {
			t.Fatal(err)
		}
		b.clean()
		return p
	}
	exec(t, b.conn, "UPDATE refusal SET end_us = (extract(epoch FROM now()) * 1000000)::bigint")
	if p := prune(time.Hour); p != (store.Pruned{}) {
		t.Fatalf("young rows are gone: %+v", p)
	}
	closed := count("lease WHERE NOT open")
	if closed == 0 || count("refusal") == 0 || count("config_log") < 3 {
		t.Fatal("there is nothing to prune")
	}

	// Everything but the leases, whose month has usage; more changes than a batch.
	rev := storetest.Value[int64](t, b.url, "SELECT rev FROM config_rev")
	exec(t, b.conn, "UPDATE config_rev SET rev = rev + 2500")
	exec(t, b.conn, "INSERT INTO config_log (rev, kind, at) SELECT $1 + n, 'catalog', now() - interval '2 days' FROM generate_series(1, 2500) n", rev)
	exec(t, b.conn, "UPDATE config_log SET at = now() - interval '2 days'")
	exec(t, b.conn, "UPDATE refusal SET end_us = end_us - 2 * 86400000000")
	p := prune(24 * time.Hour)
	if p.Changes != rev+2499 || count("config_log") != 1 || p.Refusals == 0 || count("refusal") != 0 || p.Leases != 0 {
		t.Errorf("%+v, %d changes and %d refusals are left", p, count("config_log"), count("refusal"))
	}
	if list, err := b.Changes(t.Context(), rev+2499, 10); err != nil || len(list) != 1 {
		t.Errorf("the newest change: %+v, %v", list, err)
	}

	// Closed long ago, before the first month of which there is usage.
	exec(t, b.conn, "UPDATE lease SET closed_at = now() - interval '100 days' WHERE NOT open")
	lost := storetest.Value[int64](t, b.url, "SELECT max(id) FROM lease WHERE NOT open")
	if p := prune(101 * 24 * time.Hour); p.Leases != 0 {
		t.Errorf("%+v", p)
	}
	if p := prune(99 * 24 * time.Hour); p.Leases != closed || count("lease WHERE NOT open") != 0 {
		t.Errorf("%+v, want %d", p, closed)
	}

	// A disk found again: what it bills to a lease that is gone is late, once.
	q := b.party(money.USD)
	r := b.record(q, lost, 10, 10)
	slot, _, _ := store.SplitLeaseID(lost)
	b.settle(slot, r)
	if late := storetest.Value[int64](t, b.url, "SELECT max(late)::bigint FROM usage WHERE wallet_lease = $1 AND charge = $2", lost, int64(r.Charge)); late&1 == 0 {
		t.Errorf("late %b", late)
	}
	b.clean()
}

// A lease that usage of its month may name stays, however short leases are kept.
func TestPruneKeepsTheProofOfUsage(t *testing.T) {
	b := newBooks(t)
	p, x := b.party(money.USD), b.proxy("p1")
	lease, g := x.grant(p.wallet(), money.USD/4, 0)
	r := b.record(p, lease, 300, 100)
	b.settle(x.ID, r)
	if err := b.ReturnLease(t.Context(), lease, 1, g.Granted-r.Charge, 0, true); err != nil {
		t.Fatal(err)
	}
	if pruned, err := b.Prune(t.Context(), store.Keep{}); err != nil || pruned.Leases != 0 {
		t.Errorf("%+v, %v", pruned, err)
	}
	b.clean()
}
