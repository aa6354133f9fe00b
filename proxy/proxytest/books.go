package proxytest

import (
	"context"
	"sync"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// Books are the database of a kit: one wallet, a few keys.
type Books struct {
	mu        sync.Mutex // guards all
	balance   money.Amount
	leased    map[int64]money.Amount // by lease; those of budgets have their number below zero
	out       [2]money.Amount        // all that is leased: of the wallet, of budgets
	budgets   map[store.Escrow]money.Amount
	keys      map[[32]byte]*store.KeyRow
	claims    map[claimID]*store.Claim
	expires   map[claimID]time.Time
	responses map[kept]store.ResponseRow
	rev       int64
	Refused   int64 // refusals counted
	Down      bool  // the database is away

	Claimed   int64         // statements about idempotency keys
	Retention time.Duration // of answers
}

func newBooks(balance money.Amount) *Books {
	if balance == 0 {
		balance = 1000 * money.USD
	}
	return &Books{balance: balance, leased: map[int64]money.Amount{}, budgets: map[store.Escrow]money.Amount{}, keys: map[[32]byte]*store.KeyRow{}, claims: map[claimID]*store.Claim{}, expires: map[claimID]time.Time{}, Retention: store.ClaimTTL, rev: 1}
}

func (b *Books) key(row *store.KeyRow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[row.Digest] = row
}

// SetDown makes the database go away, or come back.
func (b *Books) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Down = down
}

func (b *Books) away() error {
	if b.Down {
		return context.DeadlineExceeded
	}
	return nil
}

// LoadKey is the store's.
func (b *Books) LoadKey(_ context.Context, digest [32]byte) (*store.KeyRow, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.away(); err != nil {
		return nil, err
	}
	if k := b.keys[digest]; k != nil {
		row := *k
		return &row, nil
	}
	return nil, store.ErrNotFound
}

// Grant is the store's, for a single proxy.
func (b *Books) Grant(_ context.Context, r store.GrantRequest) (store.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.away(); err != nil {
		return store.Grant{}, err
	}
	now := time.Now()
	g := store.Grant{ExpiresAt: now.Add(store.LeaseTTL), Now: now}
	total := b.balance
	if r.WalletID == 0 {
		total = b.budgets[r.Escrow]
	}
	id := r.LeaseID
	if r.WalletID == 0 {
		id = -id
	}
	out := b.out[side(id)]
	g.Balance = total
	available := total - out
	if available < r.Need || available <= 0 && r.Need > 0 {
		g.Refused, g.Available, g.Leased = true, available, out
		return g, nil
	}
	g.Granted = max(r.Need, min(r.Target, available/2))
	b.lend(id, g.Granted)
	g.Available, g.Leased = available-g.Granted, out+g.Granted
	return g, nil
}

// side is the place in out of a lease.
func side(id int64) int {
	if id < 0 {
		return 1
	}
	return 0
}

func (b *Books) lend(id int64, n money.Amount) {
	b.leased[id] += n
	b.out[side(id)] += n
}

// ReturnLease is the store's.
func (b *Books) ReturnLease(_ context.Context, id, _ int64, amount money.Amount, _ int64, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.away(); err != nil {
		return err
	}
	if _, ok := b.leased[id]; !ok {
		id = -id
	}
	b.lend(id, -amount)
	return nil
}

// RenewLeases is the store's.
func (b *Books) RenewLeases(_ context.Context, _ int16, _ int64, ids []int64) (time.Time, []int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(store.LeaseTTL), ids, b.away()
}

// CloseOldLeases is the store's.
func (b *Books) CloseOldLeases(context.Context, int16, int64) (store.Closed, error) {
	return store.Closed{}, nil
}

// Heartbeat is the store's.
func (b *Books) Heartbeat(context.Context, int16, int64, int64) (store.Beat, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return store.Beat{Now: time.Now(), Live: 1, Revision: b.rev}, b.away()
}

// ReportReserved is the store's.
func (b *Books) ReportReserved(context.Context, int16, int64, map[int64]money.Amount) error {
	return nil
}

// Unanswered is the store's, for a single proxy.
func (b *Books) Unanswered(_ context.Context, e store.Escrow, _ int16, _ int64, _ time.Duration) (store.Unanswered, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.away(); err != nil {
		return store.Unanswered{}, err
	}
	if e.WalletID == 0 {
		return store.Unanswered{Available: b.budgets[e] - b.out[side(-1)]}, nil
	}
	return store.Unanswered{Available: b.balance - b.out[side(1)]}, nil
}

// CountRefusals is the store's.
func (b *Books) CountRefusals(_ context.Context, _ int16, list []store.RefusalCount) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range list {
		b.Refused += c.N
	}
	return nil
}

type claimID struct {
	client int64
	key    [32]byte
}

// TakeClaim is the store's, for a single proxy.
func (b *Books) TakeClaim(_ context.Context, r *store.ClaimRequest) (store.Claim, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Claimed++
	if err := b.away(); err != nil {
		return store.Claim{}, err
	}
	id := claimID{r.ClientID, r.Key}
	if c := b.claims[id]; c != nil && b.expires[id].After(r.Now) && c.RequestID != r.Gone {
		c.Retention = b.Retention
		return *c, nil
	}
	c := store.Claim{Body: r.Body, RequestID: r.RequestID, Slot: r.Slot, Epoch: r.Epoch, Retention: b.Retention}
	b.claims[id] = &c
	b.expires[id] = r.Now.Add(store.ClaimTTL)
	mine := c
	mine.Mine = true
	return mine, nil
}

// FinishClaim is the store's.
func (b *Books) FinishClaim(_ context.Context, client int64, key [32]byte, id reqid.ID, answer []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Claimed++
	if c := b.claims[claimID{client, key}]; c != nil && c.RequestID == id && b.away() == nil {
		c.Finished, c.Answer = true, append([]byte(nil), answer...)
		if answer == nil {
			c.Answer = nil
		}
	}
	return b.away()
}

// FreeClaim is the store's.
func (b *Books) FreeClaim(_ context.Context, client int64, key [32]byte, id reqid.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Claimed++
	if c := b.claims[claimID{client, key}]; c != nil && c.RequestID == id && b.away() == nil {
		delete(b.claims, claimID{client, key})
	}
	return b.away()
}

// Claims returns copies of all claims.
func (b *Books) Claims() (list []store.Claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.claims {
		list = append(list, *c)
	}
	return list
}

// Statements is how many statements about idempotency keys there were.
func (b *Books) Statements() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Claimed
}
