package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store/db"
)

// Link lets somebody in once: an invitation makes an account, a reset gives an account
// another password. The store sees its digest only.
type Link struct {
	ID        int64
	Kind      string // LinkInvitation, LinkReset
	Email     string
	ClientID  int64 // of invitations: where the account will belong, 0 = operators
	Role      Role
	UserID    int64 // of resets; of invitations: who took it, 0 = nobody yet
	Actor     Actor
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time
	RevokedAt time.Time
}

// The kinds of links.
const (
	LinkInvitation = "invitation"
	LinkReset      = "reset"
)

// maxOpenLinks is how many open invitations a client may have.
const maxOpenLinks = 100

const linkColumns = "id, kind, email, client_id, role, user_id, actor, created_at, expires_at, used_at, revoked_at"

func scanLink(row pgx.Row) (l Link, err error) {
	var client, user *int64
	var used, revoked *time.Time
	err = row.Scan(&l.ID, &l.Kind, &l.Email, &client, &l.Role, &user, &l.Actor, &l.CreatedAt, &l.ExpiresAt, &used, &revoked)
	if client != nil {
		l.ClientID = *client
	}
	if user != nil {
		l.UserID = *user
	}
	l.UsedAt, l.RevokedAt = timeOr(used), timeOr(revoked)
	return l, err
}

// CreateLink stores a link for so long. An older open one of the same kind for the same
// address ends with it. An address that has an account cannot be invited: ErrExists.
func (d *DB) CreateLink(ctx context.Context, actor Actor, l Link, digest [32]byte, ttl time.Duration) (out Link, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if l.Kind == LinkInvitation {
			var taken bool
			var open int
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM app_user WHERE email = $1),
				(SELECT count(*) FROM app_link WHERE client_id IS NOT DISTINCT FROM $2 AND kind = 'invitation' AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp())`,
				l.Email, null(l.ClientID)).Scan(&taken, &open); err != nil {
				return err
			}
			if taken {
				return fmt.Errorf("%w: the address has an account", ErrExists)
			}
			if open >= maxOpenLinks {
				return ErrFull
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE app_link SET revoked_at = clock_timestamp() WHERE kind = $1 AND email = $2 AND client_id IS NOT DISTINCT FROM $3
			AND used_at IS NULL AND revoked_at IS NULL`, l.Kind, l.Email, null(l.ClientID)); err != nil {
			return err
		}
		out, err = scanLink(tx.QueryRow(ctx, `INSERT INTO app_link (digest, kind, email, client_id, role, user_id, actor, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::interval) RETURNING `+linkColumns,
			digest[:], l.Kind, l.Email, null(l.ClientID), string(l.Role), null(l.UserID), string(actor), ttl))
		if err != nil {
			return meaning(err)
		}
		return audit(ctx, q, actor, "create", l.Kind, strconv.FormatInt(out.ID, 10), map[string]any{"email": l.Email, "client_id": l.ClientID, "role": l.Role}, 0)
	})
	if err != nil {
		return out, fmt.Errorf("cannot make a link: %w", err)
	}
	return out, nil
}

// Invitations lists a client's invitations (0: those of operators), newest first.
func (d *DB) Invitations(ctx context.Context, clientID, beforeID int64, limit int) ([]Link, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT "+linkColumns+` FROM app_link WHERE kind = 'invitation' AND client_id IS NOT DISTINCT FROM $1
		AND ($2::bigint = 0 OR id < $2) ORDER BY id DESC LIMIT $3`, null(clientID), beforeID, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot list invitations: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Link, error) { return scanLink(row) })
	if err != nil {
		return nil, fmt.Errorf("cannot list invitations: %w", err)
	}
	return list, nil
}

// RevokeInvitation ends an open invitation of a client (0: of operators).
func (d *DB) RevokeInvitation(ctx context.Context, actor Actor, clientID, id int64) (l Link, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if l, err = scanLink(tx.QueryRow(ctx, `UPDATE app_link SET revoked_at = coalesce(revoked_at, clock_timestamp())
			WHERE id = $1 AND kind = 'invitation' AND client_id IS NOT DISTINCT FROM $2 AND used_at IS NULL RETURNING `+linkColumns, id, null(clientID))); err != nil {
			return meaning(err)
		}
		return audit(ctx, q, actor, "revoke", "invitation", strconv.FormatInt(id, 10), nil, 0)
	})
	if err != nil {
		return l, fmt.Errorf("cannot revoke invitation %d: %w", id, err)
	}
	return l, nil
}

// OpenLink reads a link that can still be used, ErrNotFound if there is none.
func (d *DB) OpenLink(ctx context.Context, kind string, digest [32]byte) (Link, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	l, err := scanLink(d.pool.QueryRow(ctx, "SELECT "+linkColumns+" FROM app_link WHERE "+openLink, digest[:], kind))
	if err != nil {
		return l, fmt.Errorf("cannot read a link: %w", meaning(err))
	}
	return l, nil
}

const openLink = "digest = $1 AND kind = $2 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()"

// TakeLink uses a link up: an invitation makes its account with the password's hash, a
// reset replaces the account's and ends its sessions. The same link twice is ErrNotFound.
func (d *DB) TakeLink(ctx context.Context, kind string, digest [32]byte, hash string) (u User, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		l, err := scanLink(tx.QueryRow(ctx, "SELECT "+linkColumns+" FROM app_link WHERE "+openLink+" FOR UPDATE", digest[:], kind))
		if err != nil {
			return meaning(err)
		}
		if kind == LinkInvitation {
			u, err = createUser(ctx, q, Actor("invitation:"+strconv.FormatInt(l.ID, 10)), User{
				Email: l.Email, PasswordHash: hash, ClientID: l.ClientID, Operator: l.ClientID == 0, Role: l.Role,
			})
		} else {
			if u, err = scanUser(tx.QueryRow(ctx, "SELECT "+userColumns+" FROM app_user WHERE id = $1 AND active", l.UserID)); err == nil {
				err = setPassword(ctx, q, Actor("reset:"+strconv.FormatInt(l.ID, 10)), u.ID, hash)
			}
		}
		if err != nil {
			return meaning(err)
		}
		_, err = tx.Exec(ctx, "UPDATE app_link SET used_at = clock_timestamp(), user_id = $2 WHERE id = $1", l.ID, u.ID)
		return meaning(err)
	})
	if err != nil {
		return User{}, fmt.Errorf("cannot use a link: %w", err)
	}
	return u, nil
}

// Register makes a client with its wallet and its first owner, in one.
func (d *DB) Register(ctx context.Context, c NewClient, u User) (Client, User, error) {
	var out Client
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		group, err := q.GroupByName(ctx, c.Group)
		if err != nil {
			return meaning(err)
		}
		wallet, err := q.InsertWallet(ctx)
		if err != nil {
			return meaning(err)
		}
		id, err := q.InsertClient(ctx, db.InsertClientParams{Name: c.Name, GroupID: group, WalletID: wallet, Ppm: price.PPM})
		if err != nil {
			return meaning(err)
		}
		out = Client{ID: id, Name: c.Name, GroupID: group, Group: c.Group, WalletID: wallet, PPM: price.PPM, Active: true}
		u.ClientID, u.Role = id, RoleOwner
		actor := Actor("user:" + u.Email)
		if err := audit(ctx, q, actor, "register", "client", strconv.FormatInt(id, 10), map[string]any{"name": c.Name, "group": c.Group}, 0); err != nil {
			return err
		}
		u, err = createUser(ctx, q, actor, u) // last: it takes the revision
		return err
	})
	if err != nil {
		return out, User{}, fmt.Errorf("cannot register %q: %w", c.Name, err)
	}
	return out, u, nil
}

// SweepLinks forgets links that ended long ago.
func (d *DB) SweepLinks(ctx context.Context, after time.Duration) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "DELETE FROM app_link WHERE expires_at < clock_timestamp() - $1::interval", after); err != nil {
		return fmt.Errorf("cannot forget links: %w", err)
	}
	return nil
}
