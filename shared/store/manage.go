package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store/db"
)

// Every management write is one transaction: the rows, the audit row, the next
// revision of the feed and its notice. The revision comes last, because its row lock
// makes all writers wait.

// change takes the next revision for a change.
func change(ctx context.Context, q *db.Queries, c Change) (int64, error) {
	rev, err := q.NextRevision(ctx)
	if err != nil {
		return 0, err
	}
	var digest []byte
	if c.Kind == KindKey {
		digest = c.Digest[:]
	}
	if err := q.LogChange(ctx, db.LogChangeParams{Rev: rev, Kind: string(c.Kind), ID: c.ID, Digest: digest, Detail: c.Detail}); err != nil {
		return 0, err
	}
	return rev, q.NotifyConfig(ctx, strconv.FormatInt(rev, 10))
}

// ---- clients and money ------------------------------------------------------------

// CreateClient makes a client with its wallet and first credit.
func (d *DB) CreateClient(ctx context.Context, actor Actor, c NewClient) (Client, error) {
	var out Client
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if c.Group == "" {
			c.Group = "default"
		}
		if c.PPM == 0 {
			c.PPM = price.PPM
		}
		group, err := q.GroupByName(ctx, c.Group)
		if err != nil {
			return fmt.Errorf("group %q: %w", c.Group, meaning(err))
		}
		wallet, err := q.InsertWallet(ctx)
		if err != nil {
			return meaning(err)
		}
		id, err := q.InsertClient(ctx, db.InsertClientParams{Name: c.Name, GroupID: group, WalletID: wallet, Ppm: c.PPM})
		if err != nil {
			return meaning(err)
		}
		if c.Credit != 0 {
			e := NewEntry{WalletID: wallet, Kind: ledger.Recharge, Amount: c.Credit, Note: c.Note}
			if _, _, err := addEntry(ctx, q, actor, e); err != nil {
				return err
			}
		}
		row, err := q.ClientByID(ctx, id)
		if err != nil {
			return meaning(err)
		}
		if out, err = client(db.ClientByNameRow(row)); err != nil {
			return err
		}
		rev, err := change(ctx, q, Change{Kind: KindClient, ID: id, Detail: "create"})
		if err != nil {
			return err
		}
		detail := map[string]any{"name": c.Name, "group": c.Group, "ppm": c.PPM, "credit": c.Credit}
		return audit(ctx, q, actor, "create", "client", strconv.FormatInt(id, 10), detail, rev)
	})
	if err != nil {
		return Client{}, fmt.Errorf("cannot create client %q: %w", c.Name, err)
	}
	return out, nil
}

func client(r db.ClientByNameRow) (Client, error) {
	c := Client{
		ID: r.ID, Name: r.Name, GroupID: r.GroupID, Group: r.GroupName, WalletID: r.WalletID, PPM: r.Ppm, Active: r.Active, CreatedAt: r.CreatedAt,
	}
	if err := json.Unmarshal(r.Profile, &c.Profile); err != nil {
		return c, fmt.Errorf("cannot read the profile of client %d: %w", r.ID, err)
	}
	return c, nil
}

// UpdateClient changes a client.
func (d *DB) UpdateClient(ctx context.Context, actor Actor, id int64, p ClientPatch) (Client, error) {
	var out Client
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		row, err := q.LockClient(ctx, id)
		if err != nil {
			return meaning(err)
		}
		c, err := client(db.ClientByNameRow(row))
		if err != nil {
			return err
		}
		if p.Name != nil {
			c.Name = *p.Name
		}
		if p.Group != nil {
			c.Group = *p.Group
			if c.GroupID, err = q.GroupByName(ctx, c.Group); err != nil {
				return fmt.Errorf("group %q: %w", c.Group, meaning(err))
			}
		}
		if p.PPM != nil {
			c.PPM = *p.PPM
		}
		if p.Active != nil {
			c.Active = *p.Active
		}
		for name, value := range p.Profile { // under the row's lock: no member is lost to a race
			if c.Profile == nil {
				c.Profile = make(map[string]string, len(p.Profile))
			}
			c.Profile[name] = value
		}
		if p.Floor != nil {
			if err := q.SetFloor(ctx, *p.Floor, c.WalletID); err != nil {
				return meaning(err)
			}
		}
		profile, err := json.Marshal(c.Profile)
		if err != nil {
			return err
		}
		err = q.UpdateClient(ctx, db.UpdateClientParams{
			NewName: c.Name, NewGroup: c.GroupID, NewPpm: c.PPM, NewActive: c.Active, NewProfile: profile, RowID: id,
		})
		if err != nil {
			return meaning(err)
		}
		out = c
		rev, err := change(ctx, q, Change{Kind: KindClient, ID: id, Detail: "update"})
		if err != nil {
			return err
		}
		if p.Floor != nil {
			if rev, err = change(ctx, q, Change{Kind: KindWallet, ID: c.WalletID, Detail: "floor"}); err != nil {
				return err
			}
		}
		return audit(ctx, q, actor, "update", "client", strconv.FormatInt(id, 10), p, rev)
	})
	if err != nil {
		return Client{}, fmt.Errorf("cannot change client %d: %w", id, err)
	}
	return out, nil
}

// ClientByID reads a client.
func (d *DB) ClientByID(ctx context.Context, id int64) (Client, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	row, err := d.q.ClientByID(ctx, id)
	if err != nil {
		return Client{}, fmt.Errorf("cannot read client %d: %w", id, meaning(err))
	}
	return client(db.ClientByNameRow(row))
}

// ClientByName reads a client.
func (d *DB) ClientByName(ctx context.Context, name string) (Client, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	row, err := d.q.ClientByName(ctx, name)
	if err != nil {
		return Client{}, fmt.Errorf("cannot read client %q: %w", name, meaning(err))
	}
	return client(row)
}

// ListClients pages through the clients by id.
func (d *DB) ListClients(ctx context.Context, afterID int64, limit int) ([]Client, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.ListClients(ctx, afterID, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("cannot list clients: %w", err)
	}
	clients := make([]Client, len(rows))
	for i, r := range rows {
		if clients[i], err = client(db.ClientByNameRow(r)); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// addEntry moves the balance and writes the entry, once per Ref. Locks: the wallet.
func addEntry(ctx context.Context, q *db.Queries, actor Actor, e NewEntry) (out Entry, repeated bool, err error) {
	if err := e.Kind.Check(e.Amount); err != nil {
		return out, false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if e.Ref == "" {
		e.Ref = string(e.Kind) + ":" + rand.Text()
	}
	w, err := q.LockWallet(ctx, e.WalletID)
	if err != nil {
		return out, false, meaning(err)
	}
	row, err := q.InsertEntry(ctx, db.InsertEntryParams{
		WalletID: e.WalletID, Kind: string(e.Kind), Amount: e.Amount, Ref: e.Ref, Note: e.Note, Actor: string(actor),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		old, err := q.EntryByRef(ctx, e.Ref)
		if err != nil {
			return out, false, meaning(err)
		}
		out = entry(old)
		if out.WalletID != e.WalletID || out.Kind != e.Kind || out.Amount != e.Amount {
			return out, false, fmt.Errorf("%w: ref %q was booked as another entry", ErrExists, e.Ref)
		}
		out.Balance = w.Balance
		return out, true, nil
	}
	if err != nil {
		return out, false, meaning(err)
	}
	balance, err := q.AddBalance(ctx, e.Amount, e.WalletID)
	if err != nil {
		return out, false, meaning(err)
	}
	return Entry{
		ID: row.ID, WalletID: e.WalletID, Kind: e.Kind, Amount: e.Amount, Ref: e.Ref, Note: e.Note, Actor: string(actor),
		Balance: balance, CreatedAt: row.CreatedAt,
	}, false, nil
}

func entry(r db.Entry) Entry {
	e := Entry{
		ID: r.ID, WalletID: r.WalletID, Kind: EntryKind(r.Kind), Amount: r.Amount, Ref: r.Ref, Note: r.Note, Actor: r.Actor, CreatedAt: r.CreatedAt,
	}
	if r.RequestID != nil {
		e.RequestID = *r.RequestID
	}
	return e
}

// AddEntry books a recharge, correction or refund. See NewEntry.Ref. Entry.Balance is
// the wallet's balance afterwards.
func (d *DB) AddEntry(ctx context.Context, actor Actor, e NewEntry) (Entry, error) {
	var out Entry
	if e.Kind == ledger.BadDebt {
		return out, fmt.Errorf("cannot book an entry: %w: bad debt is booked by the late path only", ErrInvalid)
	}
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		var repeated bool
		var err error
		if out, repeated, err = addEntry(ctx, q, actor, e); err != nil || repeated {
			return err
		}
		rev, err := change(ctx, q, Change{Kind: KindWallet, ID: e.WalletID, Detail: string(e.Kind)})
		if err != nil {
			return err
		}
		detail := map[string]any{"amount": out.Amount, "ref": out.Ref, "note": out.Note, "balance_before": out.Balance - out.Amount, "balance_after": out.Balance}
		return audit(ctx, q, actor, string(e.Kind), "wallet", strconv.FormatInt(e.WalletID, 10), detail, rev)
	})
	if err != nil {
		return Entry{}, fmt.Errorf("cannot book a %s of %s USD: %w", e.Kind, e.Amount, err)
	}
	return out, nil
}

// ListEntries pages through a wallet's entries, newest first; beforeID 0 = from the
// newest. Entry.Balance is not filled in.
func (d *DB) ListEntries(ctx context.Context, walletID, beforeID int64, limit int) ([]Entry, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.ListEntries(ctx, walletID, beforeID, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("cannot list the entries of wallet %d: %w", walletID, err)
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = entry(r)
	}
	return entries, nil
}

// WalletBalance reads a wallet.
func (d *DB) WalletBalance(ctx context.Context, walletID int64) (Balance, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w, err := d.q.WalletBalance(ctx, walletID)
	if err != nil {
		return Balance{}, fmt.Errorf("cannot read wallet %d: %w", walletID, meaning(err))
	}
	b := Balance{WalletID: w.ID, Balance: w.Balance, Reserved: money.Amount(w.Reserved), Leased: w.Leased, Floor: w.Floor}
	b.Available = b.Balance - b.Reserved
	return b, nil
}

// WalletBalances reads several wallets at once, by id.
func (d *DB) WalletBalances(ctx context.Context, walletIDs []int64) (map[int64]Balance, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.WalletBalances(ctx, walletIDs)
	if err != nil {
		return nil, fmt.Errorf("cannot read %d wallets: %w", len(walletIDs), err)
	}
	all := make(map[int64]Balance, len(rows))
	for _, w := range rows {
		all[w.ID] = Balance{
			WalletID: w.ID, Balance: w.Balance, Reserved: money.Amount(w.Reserved), Leased: w.Leased, Floor: w.Floor,
			Available: w.Balance - money.Amount(w.Reserved),
		}
	}
	return all, nil
}

// ---- settings -------------------------------------------------------------------------

// Setting reads a setting (JSON), ErrNotFound if it was never set.
func (d *DB) Setting(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	value, err := d.q.Setting(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the setting %q: %w", name, meaning(err))
	}
	return value, nil
}

// SetSetting stores a setting (JSON).
func (d *DB) SetSetting(ctx context.Context, actor Actor, name string, value []byte) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if err := q.SetSetting(ctx, name, value); err != nil {
			return meaning(err)
		}
		rev, err := change(ctx, q, Change{Kind: KindSetting, Detail: name})
		if err != nil {
			return err
		}
		return audit(ctx, q, actor, "set", "setting", name, nil, rev)
	})
	if err != nil {
		return fmt.Errorf("cannot store the setting %q: %w", name, err)
	}
	return nil
}

// PauseProvider pauses or resumes a provider.
func (d *DB) PauseProvider(ctx context.Context, actor Actor, slug string, paused bool) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if _, err := q.PauseProvider(ctx, paused, slug); err != nil {
			if !errors.Is(err, pgx.ErrNoRows) {
				return meaning(err)
			}
			_, err := q.ProviderID(ctx, slug)
			return meaning(err) // nothing to change, or no such provider
		}
		rev, err := change(ctx, q, Change{Kind: KindCatalog, Detail: "provider " + slug})
		if err != nil {
			return err
		}
		action := "resume"
		if paused {
			action = "pause"
		}
		return audit(ctx, q, actor, action, "provider", slug, nil, rev)
	})
	if err != nil {
		return fmt.Errorf("cannot pause or resume provider %q: %w", slug, err)
	}
	return nil
}

// Locked runs f while holding the advisory lock of a job, on a connection of its own,
// and returns false at once if another process holds it. f may run as long as ctx; if
// Postgres goes away meanwhile, the lock is gone too.
func (d *DB) Locked(ctx context.Context, job string, f func(ctx context.Context) error) (bool, error) {
	acquire, cancel := d.limit(ctx)
	defer cancel()
	conn, err := d.pool.Acquire(acquire)
	if err != nil {
		return false, fmt.Errorf("cannot lock the job %q: %w", job, err)
	}
	q := db.New(conn)
	id := jobLock(job)
	got, err := q.AdvisoryLock(acquire, id)
	if err != nil || !got {
		conn.Release()
		if err != nil {
			err = fmt.Errorf("cannot lock the job %q: %w", job, err)
		}
		return false, err
	}
	defer func() {
		end, cancel := d.limit(context.WithoutCancel(ctx))
		defer cancel()
		if _, err := q.AdvisoryUnlock(end, id); err != nil {
			// A connection that keeps the lock must not go back to the pool.
			_ = conn.Hijack().Close(end)
			return
		}
		conn.Release()
	}()
	return true, f(ctx)
}
