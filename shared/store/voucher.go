package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store/db"
)

// The refusals of a redemption besides ErrNotFound.
var (
	// ErrSpent: the code was redeemed by another customer, or revoked.
	ErrSpent = errors.New("voucher was redeemed or revoked")
	// ErrExpired: the code's time is over.
	ErrExpired = errors.New("voucher has expired")
)

// Voucher is a code that is worth money once; the code itself is nowhere.
type Voucher struct {
	ID         int64
	Last4      string
	Amount     money.Amount
	Note       string
	Actor      string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not
	WalletID   int64     // who redeemed it, 0: nobody yet
	EntryID    int64
	RedeemedAt time.Time
}

// NewVoucher is one code to be made.
type NewVoucher struct {
	Digest    [32]byte // SHA-256 of the code
	Last4     string
	Amount    money.Amount
	Note      string
	ExpiresAt time.Time // zero: never
}

const voucherColumns = `id, last4, amount, note, actor, created_at, expires_at, revoked_at, wallet_id, entry_id, redeemed_at`

func scanVoucher(row pgx.Row) (v Voucher, err error) {
	var expires, revoked, redeemed *time.Time
	var wallet, entry *int64
	err = row.Scan(&v.ID, &v.Last4, (*int64)(&v.Amount), &v.Note, &v.Actor, &v.CreatedAt, &expires, &revoked, &wallet, &entry, &redeemed)
	for _, t := range []struct {
		to   *time.Time
		from *time.Time
	}{{&v.ExpiresAt, expires}, {&v.RevokedAt, revoked}, {&v.RedeemedAt, redeemed}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	if wallet != nil {
		v.WalletID = *wallet
	}
	if entry != nil {
		v.EntryID = *entry
	}
	return v, err
}

// CreateVouchers stores codes; all or none.
func (d *DB) CreateVouchers(ctx context.Context, actor Actor, list []NewVoucher) ([]Voucher, error) {
	var out []Voucher
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		out = out[:0]
		ids, sum := make([]int64, 0, len(list)), money.Amount(0)
		for i := range list {
			n := &list[i]
			var expires *time.Time
			if !n.ExpiresAt.IsZero() {
				expires = &n.ExpiresAt
			}
			v, err := scanVoucher(tx.QueryRow(ctx, `INSERT INTO voucher (digest, last4, amount, note, actor, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
				RETURNING `+voucherColumns, n.Digest[:], n.Last4, int64(n.Amount), n.Note, string(actor), expires))
			if err != nil {
				return meaning(err)
			}
			out, ids = append(out, v), append(ids, v.ID)
			if sum, err = sum.Add(n.Amount); err != nil {
				return fmt.Errorf("%w: %w", ErrInvalid, err)
			}
		}
		return audit(ctx, q, actor, "create", "voucher", "", map[string]any{"ids": ids, "sum": sum}, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot create vouchers: %w", err)
	}
	return out, nil
}

// ListVouchers pages through the vouchers, newest first; beforeID 0 = from the newest.
func (d *DB) ListVouchers(ctx context.Context, beforeID int64, limit int) ([]Voucher, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT `+voucherColumns+` FROM voucher WHERE $1 = 0 OR id < $1 ORDER BY id DESC LIMIT $2`, beforeID, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot list vouchers: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Voucher, error) { return scanVoucher(row) })
	if err != nil {
		return nil, fmt.Errorf("cannot list vouchers: %w", err)
	}
	return list, nil
}

// RevokeVoucher makes a code worthless. One that was redeemed is ErrSpent.
func (d *DB) RevokeVoucher(ctx context.Context, actor Actor, id int64) (Voucher, error) {
	var v Voucher
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) (err error) {
		if v, err = scanVoucher(tx.QueryRow(ctx, `SELECT `+voucherColumns+` FROM voucher WHERE id = $1 FOR UPDATE`, id)); err != nil {
			return meaning(err)
		}
		if v.WalletID != 0 {
			return ErrSpent
		}
		if !v.RevokedAt.IsZero() {
			return nil
		}
		if v, err = scanVoucher(tx.QueryRow(ctx, `UPDATE voucher SET revoked_at = clock_timestamp() WHERE id = $1 RETURNING `+voucherColumns, id)); err != nil {
			return meaning(err)
		}
		return audit(ctx, q, actor, "revoke", "voucher", strconv.FormatInt(id, 10), nil, 0)
	})
	if err != nil {
		return Voucher{}, fmt.Errorf("cannot revoke voucher %d: %w", id, err)
	}
	return v, nil
}

// Redeem books a code's amount on a wallet, once. The same wallet asking again gets the
// booking that was made (repeated). Locks: the voucher, then the wallet; nobody takes
// them the other way round.
func (d *DB) Redeem(ctx context.Context, actor Actor, walletID int64, digest [32]byte) (out Entry, repeated bool, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		v, err := scanVoucher(tx.QueryRow(ctx, `SELECT `+voucherColumns+` FROM voucher WHERE digest = $1 FOR UPDATE`, digest[:]))
		if err != nil {
			return meaning(err)
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		switch {
		case v.WalletID != 0 && v.WalletID != walletID, !v.RevokedAt.IsZero():
			return ErrSpent
		case v.WalletID == 0 && !v.ExpiresAt.IsZero() && !now.Before(v.ExpiresAt):
			return ErrExpired
		}
		e := NewEntry{WalletID: walletID, Kind: ledger.Recharge, Amount: v.Amount, Ref: "voucher:" + strconv.FormatInt(v.ID, 10), Note: v.Note}
		if out, repeated, err = addEntry(ctx, q, actor, e); err != nil || repeated {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE voucher SET wallet_id = $2, entry_id = $3, redeemed_at = clock_timestamp() WHERE id = $1`, v.ID, walletID, out.ID); err != nil {
			return meaning(err)
		}
		rev, err := change(ctx, q, Change{Kind: KindWallet, ID: walletID, Detail: string(ledger.Recharge)})
		if err != nil {
			return err
		}
		detail := map[string]any{"voucher": v.ID, "amount": v.Amount}
		return audit(ctx, q, actor, "redeem", "wallet", strconv.FormatInt(walletID, 10), detail, rev)
	})
	if err != nil {
		return Entry{}, false, fmt.Errorf("cannot redeem a voucher: %w", err)
	}
	return out, repeated, nil
}
