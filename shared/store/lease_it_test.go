package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// D2: grants are sized by need, target and what is there; the last money is granted
// exactly; the rest is refused with the truth.
func TestGrantSizes(t *testing.T) {
	b := newBooks(t)
	x, y := b.proxy("p1"), b.proxy("p2")
	for _, beat := range []*proxy{x, y} {
		if _, err := b.Heartbeat(t.Context(), beat.ID, beat.Epoch, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := b.party(1000)
	_, g := x.grant(p.wallet(), 10, 10_000)
	if g.Granted != 250 { // 1000 / (2 × 2 proxies)
		t.Fatalf("target above the half: %+v", g)
	}
	_, g = y.grant(p.wallet(), 700, 700) // less than need for every proxy is left: exactly need
	if g.Granted != 700 {
		t.Fatalf("last money: %+v", g)
	}
	_, g = y.grant(p.wallet(), 51, 51)
	if !g.Refused || g.Granted != 0 || g.Available != 50 || g.Others != 950 || g.Balance != 1000 {
		t.Fatalf("refused: %+v", g)
	}
	_, g = y.grant(p.wallet(), 50, 50)
	if g.Granted != 50 || g.Available != 0 {
		t.Fatalf("the last 50: %+v", g)
	}
	if w := b.balance(p); w.Leased != 1000 {
		t.Fatalf("%+v", w)
	}
	b.clean()
}

// K11, B4: a grant whose answer was lost is repeated with the same step and gives the
// same; a step left out or another epoch is refused.
func TestGrantSteps(t *testing.T) {
	b := newBooks(t)
	p, q := b.party(money.USD), b.party(money.USD)
	x := b.proxy("p1")
	id := store.LeaseID(x.ID, x.Epoch, 1)
	ask := store.GrantRequest{Slot: x.ID, Epoch: x.Epoch, LeaseID: id, Seq: 1, Escrow: p.wallet(), Need: 100, Target: 100}
	for round := range 2 {
		g, err := b.Grant(t.Context(), ask)
		if err != nil || g.Granted != 100 || g.Repeated != (round == 1) || g.Leased != 100 || g.Others != 0 {
			t.Fatalf("round %d: %+v, %v", round, g, err)
		}
	}
	ask.Seq, ask.Need, ask.Target = 2, 5, 5
	for range 2 {
		if g, err := b.Grant(t.Context(), ask); err != nil || g.Granted != 5 || g.Leased != 105 || g.Others != 0 {
			t.Fatalf("extension: %+v, %v", g, err)
		}
	}
	for name, c := range map[string]struct {
		change func(*store.GrantRequest)
		want   error
	}{
		"step left out":   {func(r *store.GrantRequest) { r.Seq = 4 }, store.ErrSequence},
		"old step":        {func(r *store.GrantRequest) { r.Seq = 1 }, store.ErrSequence},
		"new, not step 1": {func(r *store.GrantRequest) { r.LeaseID++; r.Seq = 2 }, store.ErrSequence},
		"another wallet":  {func(r *store.GrantRequest) { r.Seq, r.Escrow = 3, q.wallet() }, store.ErrConflict},
		"no such wallet":  {func(r *store.GrantRequest) { r.LeaseID++; r.Seq, r.WalletID = 1, 1<<40 }, store.ErrNotFound},
		"foreign id":      {func(r *store.GrantRequest) { r.LeaseID = store.LeaseID(x.ID+1, x.Epoch, 9) }, store.ErrInvalid},
		"negative":        {func(r *store.GrantRequest) { r.Need = -1 }, store.ErrInvalid},
		"two escrows":     {func(r *store.GrantRequest) { r.KeyID = 1 }, store.ErrInvalid},
	} {
		r := ask
		c.change(&r)
		if _, err := b.Grant(t.Context(), r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	b.clean()
}

// 5.5: a new epoch fences grants and renewals of the old one, not its charges and
// returns; its leases are closed after the journal was shipped.
func TestEpochFence(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	old := b.proxy("p1")
	lease, _ := old.grant(p.wallet(), money.USD/2, 0)
	now := b.proxy("p1")
	if now.ID != old.ID || now.Epoch != old.Epoch+1 {
		t.Fatalf("claimed %+v after %+v", now.ProxySlot, old.ProxySlot)
	}
	_, err := b.Grant(t.Context(), store.GrantRequest{
		Slot: old.ID, Epoch: old.Epoch, LeaseID: store.LeaseID(old.ID, old.Epoch, 99), Seq: 1, Escrow: p.wallet(), Need: 1, Target: 1,
	})
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("grant: %v", err)
	}
	if _, _, err := b.RenewLeases(t.Context(), old.ID, old.Epoch, []int64{lease}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("renew: %v", err)
	}
	if _, err := b.Heartbeat(t.Context(), old.ID, old.Epoch, 0); !errors.Is(err, store.ErrFenced) {
		t.Errorf("heartbeat: %v", err)
	}
	if err := b.CloseSlot(t.Context(), old.ID, old.Epoch); !errors.Is(err, store.ErrFenced) {
		t.Errorf("close: %v", err)
	}
	// The journal of the old epoch is shipped by the new process.
	if res := b.settle(now.ID, b.record(p, lease, 100, 100)); res.Inserted != 1 || res.Late != 0 {
		t.Errorf("settle: %+v", res)
	}
	open, err := b.OpenLeases(t.Context(), now.ID)
	if err != nil || len(open) != 1 || open[0].ID != lease || open[0].Epoch != old.Epoch || open[0].Escrow != p.wallet() {
		t.Fatalf("open %+v, %v", open, err)
	}
	mine, _ := now.grant(p.wallet(), money.USD/10, 0)
	c, err := b.CloseOldLeases(t.Context(), now.ID, now.Epoch)
	if err != nil || c.Leases != 1 || c.Reclaimed == 0 {
		t.Fatalf("closed %+v, %v", c, err)
	}
	if open, _ := b.OpenLeases(t.Context(), now.ID); len(open) != 1 || open[0].ID != mine {
		t.Fatalf("open %+v", open)
	}
	if err := b.ReturnLease(t.Context(), lease, 1, 1, 0, false); !errors.Is(err, store.ErrLeaseClosed) {
		t.Errorf("return to a closed lease: %v", err)
	}
	b.clean()
}

// Rulings 3.32: a live proxy's name cannot be taken with another journal; a cloned
// volume is fenced by the epoch.
func TestSlotNames(t *testing.T) {
	b := newBooks(t)
	x := b.proxy("p1")
	if _, err := b.ClaimSlot(t.Context(), "p1", "another journal", ""); !errors.Is(err, store.ErrSlotTaken) {
		t.Fatalf("taken name: %v", err)
	}
	exec(t, b.conn, "UPDATE proxy_slot SET heartbeat = now() - interval '31 seconds'")
	s, err := b.ClaimSlot(t.Context(), "p1", "another journal", "")
	if err != nil || s.ID != x.ID || s.Epoch != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	var group sync.WaitGroup
	ids := make([]int16, 8)
	for i := range ids {
		group.Go(func() {
			s, err := b.ClaimSlot(context.Background(), "many"+string(rune('a'+i)), "j", "")
			if err != nil {
				t.Errorf("claim: %v", err)
			}
			ids[i] = s.ID
		})
	}
	group.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 8 {
		t.Errorf("slots %v", ids)
	}
	list, err := b.Proxies(t.Context())
	if err != nil || len(list) != 9 || !list[0].Live || list[0].JournalID != "another journal" {
		t.Errorf("%+v, %v", list, err)
	}
}

// F15, D2: a refusal asks the others back by one notice per wallet and 250 ms, and by
// the heartbeat until they answered.
func TestRecall(t *testing.T) {
	b := newBooks(t)
	p := b.party(1000)
	x, y := b.proxy("p1"), b.proxy("p2")
	lease, _ := x.grant(p.wallet(), 900, 900)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notices := make(chan store.Recall, 100)
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.Listen(ctx, func() { close(ready) }, func(channel, payload string) {
			if r, ok := store.ParseRecall(payload); ok && channel == store.ChannelRecall {
				notices <- r
			}
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}

	start := time.Now()
	refusals := 0
	for time.Since(start) < 100*time.Millisecond || refusals < 3 {
		if _, g := y.grant(p.wallet(), 500, 500); !g.Refused || g.Others != 900 {
			t.Fatalf("%+v", g)
		}
		refusals++
	}
	took := time.Since(start)
	select {
	case r := <-notices:
		if r.Escrow != p.wallet() || r.Slot != y.ID {
			t.Fatalf("notice %+v", r)
		}
	case <-time.After(2 * time.Second):
		t.Fatal("no notice")
	}
	time.Sleep(20 * time.Millisecond)
	if extra := len(notices); extra > int(took/store.RecallGap) {
		t.Errorf("%d refusals in %s gave %d more notices", refusals, took, extra)
	}

	beat, err := b.Heartbeat(t.Context(), x.ID, x.Epoch, 0)
	if err != nil || len(beat.Recalls) != 1 || beat.Recalls[0].Escrow != p.wallet() {
		t.Fatalf("beat %+v, %v", beat, err)
	}
	// What was on its way before the call came answers it not: more may be free since.
	number := beat.Recalls[0].Number
	if err := b.ReturnLease(t.Context(), lease, 1, 10, number-1, false); err != nil {
		t.Fatal(err)
	}
	if u, err := b.Unanswered(t.Context(), p.wallet(), y.ID, number, time.Minute); err != nil || u.Slow != 890 || u.Available != 110 {
		t.Fatalf("before the answer: %+v, %v", u, err)
	}
	if err := b.ReturnLease(t.Context(), lease, 2, 590, number, false); err != nil {
		t.Fatal(err)
	}
	if u, err := b.Unanswered(t.Context(), p.wallet(), y.ID, number, time.Minute); err != nil || u.Slow != 0 || u.Available != 700 {
		t.Fatalf("after it: %+v, %v", u, err)
	}
	told := store.Recall{Escrow: p.wallet(), Slot: x.ID, Freed: true}
	for r := range notices { // G-5: who was refused is told
		if r == told {
			break
		}
		if r.Freed {
			t.Fatalf("told %+v, want %+v", r, told)
		}
	}
	if beat, err = b.Heartbeat(t.Context(), x.ID, x.Epoch, 0); err != nil || len(beat.Recalls) != 0 {
		t.Fatalf("after the return: %+v, %v", beat, err)
	}
	if _, g := y.grant(p.wallet(), 500, 500); g.Refused {
		t.Fatalf("%+v", g)
	}
	// A refill in the background that gets nothing disturbs nobody.
	if _, g := y.grant(p.wallet(), 0, 500); g.Granted > 200 {
		t.Fatalf("%+v", g)
	}
	if beat, _ = b.Heartbeat(t.Context(), x.ID, x.Epoch, 0); len(beat.Recalls) != 0 {
		t.Fatalf("a refill recalled: %+v", beat)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("listen: %v", err)
	}
	b.clean()
}

// 5.5: leases are renewed, expire, and are reclaimed after the longest request.
func TestExpiry(t *testing.T) {
	b := newBooks(t)
	short, err := store.Open(t.Context(), b.url, store.Options{LeaseTTL: 300 * time.Millisecond, MaxRequest: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(short.Close)
	b.DB = short
	p := b.party(money.USD)
	x := b.proxy("p1")
	kept, _ := x.grant(p.wallet(), 100, 100)
	lost, _ := x.grant(p.wallet(), 100, 100)
	reclaimed := 0
	for end := time.Now().Add(10 * time.Second); reclaimed == 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		expires, open, err := b.RenewLeases(t.Context(), x.ID, x.Epoch, []int64{kept, 12345})
		if err != nil || len(open) != 1 || open[0] != kept || expires.IsZero() {
			t.Fatalf("renew: %v %v %v", expires, open, err)
		}
		c, err := b.ReclaimExpired(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reclaimed += c.Leases
	}
	if reclaimed != 1 {
		t.Fatalf("%d reclaimed", reclaimed)
	}
	if _, open, err := b.RenewLeases(t.Context(), x.ID, x.Epoch, []int64{kept, lost}); err != nil || !slices.Equal(open, []int64{kept}) {
		t.Fatalf("open %v, %v", open, err)
	}
	_, err = b.Grant(t.Context(), store.GrantRequest{Slot: x.ID, Epoch: x.Epoch, LeaseID: lost, Seq: 2, Escrow: p.wallet(), Need: 1, Target: 1})
	if !errors.Is(err, store.ErrLeaseClosed) {
		t.Errorf("grant on a reclaimed lease: %v", err)
	}
	if w := b.balance(p); w.Leased != 100 {
		t.Errorf("%+v", w)
	}
	b.clean()
}

// A long expiry time is honoured with the default settings: nothing is reclaimed early.
func TestNothingReclaimedEarly(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x := b.proxy("p1")
	x.grant(p.wallet(), 100, 100)
	exec(t, b.conn, "UPDATE lease SET expires_at = now() - interval '15 minutes 50 seconds'")
	if c, err := b.ReclaimExpired(t.Context()); err != nil || c.Leases != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	exec(t, b.conn, "UPDATE lease SET expires_at = now() - interval '16 minutes 1 second'")
	if c, err := b.ReclaimExpired(t.Context()); err != nil || c.Leases != 1 || c.Reclaimed != 100 {
		t.Fatalf("%+v, %v", c, err)
	}
	b.clean()
}

// M11, F8, rulings 3.15: key caps by the same escrow; earlier charges count against a
// cap that is set later; a lowered cap and late charges never stop the books.
func TestKeyBudgets(t *testing.T) {
	b := newBooks(t)
	p := b.party(100 * money.USD)
	x := b.proxy("p1")
	wallet, _ := x.grant(p.wallet(), 50*money.USD, 0)
	first := b.record(p, wallet, 0, 10_000) // before there is a cap
	b.settle(x.ID, first)

	limit := first.Charge * 3
	k, err := b.PatchKey(t.Context(), "test", p.client.ID, p.key.PublicID, store.KeyPatch{MonthlyCap: &limit, TotalQuota: &limit})
	if err != nil || k.MonthlyCap != limit || k.SpentMonth != first.Charge || k.SpentTotal != first.Charge {
		t.Fatalf("%+v, %v", k, err)
	}
	monthly := store.Escrow{KeyID: p.key.ID, Period: month()}
	total := store.Escrow{KeyID: p.key.ID}
	m, g := x.grant(monthly, first.Charge*2, 0)
	if g.Refused || g.Granted != first.Charge*2 || g.Balance != first.Charge*2 || g.Available != 0 {
		t.Fatalf("%+v", g)
	}
	if _, g := x.grant(monthly, 1, 0); !g.Refused || g.Others != first.Charge*2 {
		t.Fatalf("above the cap: %+v", g)
	}
	tl, g := x.grant(total, first.Charge, 0)
	if g.Refused {
		t.Fatalf("%+v", g)
	}
	b.clean()

	r := b.record(p, wallet, 0, 10_000)
	r.MonthLease, r.TotalLease = m, tl
	if res := b.settle(x.ID, r); res.Late != 0 {
		t.Fatalf("%+v", res)
	}
	b.clean()

	// Lowered below what is spent and lent: no new money, and the books go on.
	lower := first.Charge / 2
	if _, err := b.PatchKey(t.Context(), "test", 0, p.key.PublicID, store.KeyPatch{MonthlyCap: &lower}); err != nil {
		t.Fatal(err)
	}
	if _, g := x.grant(monthly, 1, 0); !g.Refused {
		t.Fatalf("%+v", g)
	}
	// A closed budget lease: late for the cap only, the wallet's lease still pays.
	if err := b.ReturnLease(t.Context(), m, 1, 0, 0, true); err != nil {
		t.Fatal(err)
	}
	r = b.record(p, wallet, 0, 10_000)
	r.MonthLease, r.TotalLease = m, tl
	if res := b.settle(x.ID, r); res.Late != 0 || res.Inserted != 1 {
		t.Fatalf("%+v", res)
	}
	b.clean()
	if k, err := b.KeyByPublicID(t.Context(), 0, p.key.PublicID); err != nil || k.SpentMonth != 3*first.Charge {
		t.Fatalf("%+v, %v", k, err)
	}

	// Cap removed: leases are granted again.
	none := store.None
	if _, err := b.PatchKey(t.Context(), "test", 0, p.key.PublicID, store.KeyPatch{MonthlyCap: &none}); err != nil {
		t.Fatal(err)
	}
	if _, g := x.grant(monthly, money.USD, 0); g.Refused {
		t.Fatalf("%+v", g)
	}
	// Another month is not granted: periods go by the clock of Postgres (rulings 3.16).
	x.seq++
	_, err = b.Grant(t.Context(), store.GrantRequest{
		Slot: x.ID, Epoch: x.Epoch, LeaseID: store.LeaseID(x.ID, x.Epoch, x.seq), Seq: 1, Escrow: store.Escrow{KeyID: p.key.ID, Period: 209901}, Need: 1, Target: 1,
	})
	if !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a month far away: %v", err)
	}
	b.clean()
}

// F5: corrections never take money that is lent.
func TestEntriesAndLeases(t *testing.T) {
	b := newBooks(t)
	p := b.party(1000)
	x := b.proxy("p1")
	x.grant(p.wallet(), 700, 0)
	e := store.NewEntry{WalletID: p.client.WalletID, Kind: ledger.Correction, Amount: -400, Ref: "c1"}
	if _, err := b.AddEntry(t.Context(), "test", e); !errors.Is(err, store.ErrInsufficient) {
		t.Fatalf("lent money taken away: %v", err)
	}
	e.Amount = -300
	first, err := b.AddEntry(t.Context(), "test", e)
	if err != nil || first.Balance != 700 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := b.AddEntry(t.Context(), "test", e) // booked once
	if err != nil || again.ID != first.ID || b.balance(p).Balance != 700 {
		t.Fatalf("%+v, %v", again, err)
	}
	e.Amount = -1
	if _, err := b.AddEntry(t.Context(), "test", e); !errors.Is(err, store.ErrExists) {
		t.Fatalf("a used ref: %v", err)
	}
	// F6: impossible amounts.
	for kind, amount := range map[store.EntryKind]money.Amount{
		ledger.Recharge: -5, ledger.Refund: 0, ledger.Correction: 0, ledger.BadDebt: 5, "gift": 5,
	} {
		if _, err := b.AddEntry(t.Context(), "test", store.NewEntry{WalletID: p.client.WalletID, Kind: kind, Amount: amount}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s of %s: %v", kind, amount, err)
		}
	}
	if _, err := b.AddEntry(t.Context(), "test", store.NewEntry{WalletID: p.client.WalletID, Kind: ledger.Recharge, Amount: 1<<63 - 1}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("overflow: %v", err)
	}
	// F10: one reference, many at once: paid once.
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			e := store.NewEntry{WalletID: p.client.WalletID, Kind: ledger.Recharge, Amount: 11, Ref: "code-1"}
			if _, err := b.AddEntry(context.Background(), "test", e); err != nil {
				t.Errorf("racing credit: %v", err)
			}
		})
	}
	group.Wait()
	if w := b.balance(p); w.Balance != 711 {
		t.Errorf("%+v", w)
	}
	b.clean()
}

// What customers see as reserved is what the proxies report, added up.
func TestReserved(t *testing.T) {
	b := newBooks(t)
	p, q := b.party(1000), b.party(1000)
	x, y := b.proxy("p1"), b.proxy("p2")
	report := func(x *proxy, holds map[int64]money.Amount) {
		t.Helper()
		if err := b.ReportReserved(t.Context(), x.ID, x.Epoch, holds); err != nil {
			t.Fatal(err)
		}
	}
	report(x, map[int64]money.Amount{p.client.WalletID: 100, q.client.WalletID: 5})
	report(y, map[int64]money.Amount{p.client.WalletID: 30})
	if w := b.balance(p); w.Reserved != 130 || w.Available != 870 {
		t.Fatalf("%+v", w)
	}
	report(x, nil)
	if w := b.balance(p); w.Reserved != 30 {
		t.Fatalf("%+v", w)
	}
	if err := b.CloseSlot(t.Context(), y.ID, y.Epoch); err != nil {
		t.Fatal(err)
	}
	if w := b.balance(p); w.Reserved != 0 {
		t.Fatalf("%+v", w)
	}
}

// A lease id holds slot, epoch and sequence.
func TestLeaseID(t *testing.T) {
	for _, c := range [][3]int64{{1, 1, 1}, {4095, 1<<25 - 1, 1<<26 - 1}, {7, 0, 5}} {
		id := store.LeaseID(int16(c[0]), c[1], c[2])
		slot, epoch, seq := store.SplitLeaseID(id)
		if id <= 0 || int64(slot) != c[0] || epoch != c[1] || seq != c[2] {
			t.Errorf("%v: %d %d %d %d", c, id, slot, epoch, seq)
		}
	}
}
