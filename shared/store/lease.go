package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store/db"
)

// unlimited stands for the cap of a key without one.
const unlimited = money.Amount(1) << 61

// escrow is the state of a wallet or budget row that is locked by this transaction.
type escrow struct {
	of      Escrow
	wallet  ledger.Wallet // of a budget: balance = cap − posted
	cap     money.Amount  // budgets: None = no cap
	recall  int64
	told    time.Time // of the latest recall
	now     time.Time
	posted  money.Amount
	isKnown bool
}

// lockEscrow locks the row that leases of it are counted on.
func lockEscrow(ctx context.Context, q *db.Queries, e Escrow) (escrow, error) {
	if e.WalletID != 0 {
		w, err := q.LockWallet(ctx, e.WalletID)
		if err != nil {
			return escrow{}, meaning(err)
		}
		return escrow{
			of: e, wallet: ledger.Wallet{Balance: w.Balance, Leased: w.Leased, Floor: w.Floor},
			recall: w.Recall, told: w.Told, now: w.Now, isKnown: true,
		}, nil
	}
	b, err := q.LockBudget(ctx, e.KeyID, e.Period)
	if err != nil {
		return escrow{}, meaning(err)
	}
	limit := money.Amount(b.Cap)
	if limit == None {
		limit = unlimited
	}
	return escrow{
		of: e, wallet: ledger.Wallet{Balance: limit - b.Posted, Leased: b.Leased}, cap: money.Amount(b.Cap),
		recall: b.Recall, told: b.Told, now: b.Now, posted: b.Posted, isKnown: b.Known,
	}, nil
}

// addLeased moves money between what is available and what is leased.
func (e *escrow) addLeased(ctx context.Context, q *db.Queries, amount money.Amount) error {
	e.wallet.Leased += amount
	if e.of.WalletID != 0 {
		return meaning(q.AddWalletLeased(ctx, amount, e.of.WalletID))
	}
	over := max(0, e.posted+e.wallet.Leased-e.cap)
	var limit *int64
	if e.cap == None {
		over = 0
	} else {
		limit = (*int64)(&e.cap)
	}
	return meaning(q.SetBudgetLeased(ctx, db.SetBudgetLeasedParams{
		NewCap: limit, NewLeased: int64(e.wallet.Leased), NewOver: int64(over), KeyID: e.of.KeyID, Period: e.of.Period,
	}))
}

// recallIn is how long to wait until the other proxies may be asked again: one notice
// per escrow and RecallGap, however many are refused.
func (e *escrow) recallIn() time.Duration { return max(0, RecallGap-e.now.Sub(e.told)) }

// tellFreed tells those who were refused a moment ago that money came back.
func (e *escrow) tellFreed(ctx context.Context, q *db.Queries, slot int16) error {
	if e.now.Sub(e.told) > FreedWindow {
		return nil
	}
	return q.NotifyRecall(ctx, Recall{Escrow: e.of, Slot: slot, Freed: true}.payload())
}

// callBack asks the other proxies for idle money, unless that was done a moment ago.
func (e *escrow) callBack(ctx context.Context, q *db.Queries, slot int16) error {
	if e.recallIn() > 0 {
		return nil
	}
	var err error
	if e.recall++; e.of.WalletID != 0 {
		err = q.RecallWallet(ctx, e.of.WalletID)
	} else {
		err = q.RecallBudget(ctx, e.of.KeyID, e.of.Period)
	}
	e.told = e.now
	if err == nil {
		err = q.NotifyRecall(ctx, Recall{Escrow: e.of, Slot: slot, Number: e.recall}.payload())
	}
	return err
}

func monthOf(t time.Time) int32 {
	t = t.UTC()
	return int32(t.Year()*100 + int(t.Month()))
}

// checkPeriod refuses a cap's period that is not now by the clock of Postgres. An hour
// on either side is the month of a request that was admitted at its edge.
func checkPeriod(e Escrow, now time.Time) error {
	if e.WalletID != 0 || e.Period == 0 {
		return nil
	}
	for _, shift := range []time.Duration{0, -time.Hour, time.Hour} {
		if e.Period == monthOf(now.Add(shift)) {
			return nil
		}
	}
	return fmt.Errorf("%w: %d is not the month", ErrInvalid, e.Period)
}

// Grant lends money to a proxy, see GrantRequest. Idempotent by (LeaseID, Seq). A
// refusal changes nothing but asks the other proxies for their idle money, and says
// how much they hold.
func (d *DB) Grant(ctx context.Context, r GrantRequest) (Grant, error) {
	var g Grant
	slot, epoch, _ := SplitLeaseID(r.LeaseID)
	if r.Need < 0 || r.Seq < 1 || slot != r.Slot || epoch != r.Epoch || (r.WalletID == 0) == (r.KeyID == 0) {
		return g, fmt.Errorf("cannot grant a lease: %w", ErrInvalid)
	}
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		g = Grant{}
		if err := fence(ctx, q, r.Slot, r.Epoch); err != nil {
			return err
		}
		if r.KeyID != 0 {
			if err := q.TouchBudget(ctx, r.KeyID, r.Period); err != nil {
				return meaning(err)
			}
		}
		e, err := lockEscrow(ctx, q, r.Escrow)
		if err != nil {
			return err
		}
		if !e.isKnown {
			return ErrNotFound
		}
		if err := checkPeriod(r.Escrow, e.now); err != nil {
			return err
		}
		old, err := q.Lease(ctx, r.LeaseID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			if r.Seq != 1 {
				return ErrSequence
			}
		case err != nil:
			return err
		case escrowOf(old.WalletID, old.KeyID, old.Period) != r.Escrow:
			return fmt.Errorf("%w: the lease is of another escrow", ErrConflict)
		case !old.Open:
			return ErrLeaseClosed
		case r.Seq == old.Gseq:
			g = Grant{Granted: old.LastGrant, Repeated: true, ExpiresAt: old.ExpiresAt}
		case r.Seq != old.Gseq+1:
			return ErrSequence
		}
		if !g.Repeated {
			live, err := q.LiveProxies(ctx, LiveWindow)
			if err != nil {
				return err
			}
			// The asker lives, whatever its last heartbeat says.
			size, ok := ledger.GrantSize(r.Need, r.Target, e.wallet.Spendable(), int(max(1, live)))
			if ok {
				if err := e.addLeased(ctx, q, size); err != nil {
					return err
				}
				g.Granted = size
				if r.Seq == 1 {
					g.ExpiresAt, err = q.InsertLease(ctx, db.InsertLeaseParams{
						RowID: r.LeaseID, WalletID: null(r.WalletID), KeyID: null(r.KeyID), Period: periodNull(r.Escrow), Slot: r.Slot,
						Epoch: r.Epoch, Granted: size, RecallSeen: e.recall, Ttl: d.leaseTTL,
					})
				} else {
					g.ExpiresAt, err = q.ExtendLease(ctx, size, d.leaseTTL, r.LeaseID)
				}
				if err != nil {
					return meaning(err)
				}
			} else {
				g.Refused = true
				if r.Need > 0 { // a refill in the background takes nothing away from others
					if err := e.callBack(ctx, q, r.Slot); err != nil {
						return err
					}
				}
			}
		}
		g.Recall, g.RecallIn = e.recall, e.recallIn()
		g.Now, g.Balance, g.Leased = e.now, e.wallet.Balance, e.wallet.Leased
		g.Available = e.wallet.Spendable()
		g.Others = e.wallet.Leased - g.Granted
		if old.ID != 0 {
			g.Others = e.wallet.Leased - (old.Granted - old.Settled - old.Returned)
			if !g.Repeated {
				g.Others -= g.Granted
			}
		}
		return nil
	})
	if err != nil {
		return Grant{}, fmt.Errorf("cannot grant a lease: %w", err)
	}
	return g, nil
}

// fence refuses a process whose slot has moved on, and keeps the slot from moving on
// until commit.
func fence(ctx context.Context, q *db.Queries, slot int16, epoch int64) error {
	s, err := q.FenceSlot(ctx, slot)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (s.Epoch != epoch || s.State != "active") {
		return ErrFenced
	}
	return err
}

func escrowOf(wallet, key *int64, period *int32) (e Escrow) {
	if wallet != nil {
		e.WalletID = *wallet
	}
	if key != nil {
		e.KeyID = *key
	}
	if period != nil {
		e.Period = *period
	}
	return e
}

func null(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}

func periodNull(e Escrow) *int32 {
	if e.KeyID == 0 {
		return nil
	}
	return &e.Period
}

// ReturnLease gives amount back, as step rseq of the lease (1, 2, …); close ends it,
// and what is then still outstanding goes back too (nothing may be in flight).
// Idempotent by (leaseID, rseq). Any epoch may return. answers is the number of the
// newest recall that was known when amount was found to be all that is free (0: none);
// an amount of 0 just answers it. If somebody was refused a moment ago, the proxies are told that there is money again.
// ErrLeaseClosed: it was closed by something else; there is nothing to return.
func (d *DB) ReturnLease(ctx context.Context, leaseID, rseq int64, amount money.Amount, answers int64, close bool) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		l, err := q.Lease(ctx, leaseID)
		if err != nil {
			return meaning(err)
		}
		e, err := lockEscrow(ctx, q, escrowOf(l.WalletID, l.KeyID, l.Period))
		if err != nil {
			return err
		}
		// Read again: before the lock it may have changed.
		if l, err = q.Lease(ctx, leaseID); err != nil {
			return meaning(err)
		}
		lease := ledger.Lease{Granted: l.Granted, Settled: l.Settled, Returned: l.Returned, RSeq: l.Rseq}
		switch {
		case rseq <= l.Rseq:
			return nil
		case !l.Open:
			return ErrLeaseClosed
		case rseq != l.Rseq+1:
			return ErrSequence
		case amount < 0 || amount > lease.Outstanding():
			return fmt.Errorf("%w: the lease has %s USD outstanding, not %s", ErrInvalid, lease.Outstanding(), amount)
		}
		if err := q.ReturnLease(ctx, db.ReturnLeaseParams{Amount: int64(amount), NewRseq: rseq, Answers: min(answers, e.recall), LeaseID: leaseID}); err != nil {
			return meaning(err)
		}
		if close {
			rest := lease.Outstanding() - amount
			if err := q.CloseLease(ctx, int64(rest), leaseID); err != nil {
				return meaning(err)
			}
			amount += rest
		}
		if err := e.addLeased(ctx, q, -amount); err != nil || amount == 0 {
			return err
		}
		return e.tellFreed(ctx, q, l.Slot)
	})
	if err != nil {
		return fmt.Errorf("cannot return a lease: %w", err)
	}
	return nil
}

// Unanswered is how much of an escrow is lent to other proxies than slot that have not
// answered its recall: silent ones, which were not heard of for so long, and slow ones.
func (d *DB) Unanswered(ctx context.Context, e Escrow, slot int16, recall int64, silent time.Duration) (Unanswered, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	key, period := null(e.KeyID), periodNull(e)
	row, err := d.q.Unanswered(ctx, db.UnansweredParams{Recall: recall, Silent: silent, Slot: slot, WalletID: null(e.WalletID), KeyID: key, Period: period})
	if err != nil {
		return Unanswered{}, fmt.Errorf("cannot find what is lent: %w", meaning(err))
	}
	return Unanswered{Silent: money.Amount(row.Silent), Slow: money.Amount(row.Slow), Available: money.Amount(row.Available)}, nil
}

// RenewLeases moves the expiry of the proxy's open leases and returns the new expiry
// and the ids that are still open; the others are gone.
func (d *DB) RenewLeases(ctx context.Context, slot int16, epoch int64, ids []int64) (expires time.Time, open []int64, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		expires, open = time.Time{}, nil
		if err := fence(ctx, q, slot, epoch); err != nil {
			return err
		}
		rows, err := q.RenewLeases(ctx, db.RenewLeasesParams{Ttl: d.leaseTTL, Ids: ids, Slot: slot, Epoch: epoch})
		for _, r := range rows {
			open = append(open, r.ID)
			if expires.IsZero() || r.ExpiresAt.Before(expires) {
				expires = r.ExpiresAt
			}
		}
		return err
	})
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("cannot renew leases: %w", err)
	}
	slices.Sort(open)
	return expires, open, nil
}

// OpenLeases lists the open leases of a slot, of all epochs.
func (d *DB) OpenLeases(ctx context.Context, slot int16) ([]LeaseRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.OpenLeases(ctx, slot)
	if err != nil {
		return nil, fmt.Errorf("cannot list leases: %w", err)
	}
	leases := make([]LeaseRow, len(rows))
	for i, l := range rows {
		leases[i] = LeaseRow{
			ID: l.ID, Slot: l.Slot, Epoch: l.Epoch, Escrow: escrowOf(l.WalletID, l.KeyID, l.Period), Granted: l.Granted,
			Settled: l.Settled, Returned: l.Returned, GSeq: l.Gseq, RSeq: l.Rseq, ExpiresAt: l.ExpiresAt,
		}
	}
	return leases, nil
}

// CloseOldLeases closes the slot's leases of epochs before epoch. Only after the
// journal has been shipped: later charges would take the late path. From then on it is
// known which requests of the slot's earlier processes were answered: the idempotency
// keys of the others are free.
func (d *DB) CloseOldLeases(ctx context.Context, slot int16, epoch int64) (Closed, error) {
	c, err := d.closeLeases(ctx, db.LeasesToCloseParams{Slot: slot, Epoch: epoch})
	if err != nil {
		return c, fmt.Errorf("cannot close old leases: %w", err)
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.q.SlotRecovered(ctx, slot, epoch); err != nil {
		return c, fmt.Errorf("cannot note that slot %d has recovered: %w", slot, meaning(err))
	}
	return c, nil
}

// ReclaimExpired closes leases that expired more than MaxRequest + ReclaimLag ago:
// whatever was admitted under them has ended.
func (d *DB) ReclaimExpired(ctx context.Context) (Closed, error) {
	lag := d.maxRequest + ReclaimLag
	if d.maxRequest < MaxRequest { // a test's
		lag = d.maxRequest
	}
	c, err := d.closeLeases(ctx, db.LeasesToCloseParams{Slot: -1, ExpiredFor: &lag})
	if err != nil {
		return c, fmt.Errorf("cannot reclaim expired leases: %w", err)
	}
	return c, nil
}

// closeBatch is the most leases closed in one transaction.
const closeBatch = 500

// closeLeases closes the leases that the query names, batch by batch.
func (d *DB) closeLeases(ctx context.Context, which db.LeasesToCloseParams) (Closed, error) {
	which.MaxRows = closeBatch
	var total Closed
	for {
		var batch Closed
		var found int
		err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) (err error) {
			batch, found, err = closeOnce(ctx, q, which)
			return err
		})
		total.Leases += batch.Leases
		total.Reclaimed += batch.Reclaimed
		if err != nil || found < closeBatch {
			return total, err
		}
	}
}

func closeOnce(ctx context.Context, q *db.Queries, which db.LeasesToCloseParams) (c Closed, found int, err error) {
	rows, err := q.LeasesToClose(ctx, which)
	if err != nil {
		return c, 0, err
	}
	// In the order of locks: wallets by id, then budgets by key and period.
	byEscrow := map[Escrow][]int64{}
	for _, r := range rows {
		e := escrowOf(r.WalletID, r.KeyID, r.Period)
		byEscrow[e] = append(byEscrow[e], r.ID)
	}
	order := make([]Escrow, 0, len(byEscrow))
	for e := range byEscrow {
		order = append(order, e)
	}
	slices.SortFunc(order, compareEscrows)
	locked := make([]escrow, len(order))
	for i, of := range order {
		if locked[i], err = lockEscrow(ctx, q, of); err != nil {
			return c, 0, err
		}
	}
	for i := range locked {
		e := &locked[i]
		var sum money.Amount
		for _, id := range byEscrow[e.of] {
			l, err := q.Lease(ctx, id)
			if err != nil {
				return c, 0, meaning(err)
			}
			if !l.Open {
				continue // closed before the lock was ours
			}
			if which.ExpiredFor != nil && l.ExpiresAt.After(e.now.Add(-*which.ExpiredFor)) {
				continue // renewed before the lock was ours
			}
			rest := l.Granted - l.Settled - l.Returned
			if err := q.CloseLease(ctx, int64(rest), id); err != nil {
				return c, 0, meaning(err)
			}
			sum += rest
			c.Leases++
		}
		if sum == 0 {
			continue
		}
		if err := e.addLeased(ctx, q, -sum); err != nil {
			return c, 0, err
		}
		if e.of.WalletID != 0 {
			c.Reclaimed += sum
		}
	}
	return c, len(rows), nil
}

// compareEscrows is the order in which escrows are locked.
func compareEscrows(a, b Escrow) int {
	switch {
	case (a.WalletID != 0) != (b.WalletID != 0):
		if a.WalletID != 0 {
			return -1
		}
		return 1
	case a.WalletID != b.WalletID:
		return compare(a.WalletID, b.WalletID)
	case a.KeyID != b.KeyID:
		return compare(a.KeyID, b.KeyID)
	}
	return compare(int64(a.Period), int64(b.Period))
}

func compare(a, b int64) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}
