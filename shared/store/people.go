package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// Role is what a person may do: at its client, or as an operator.
type Role string

// The roles. RoleOwner to RoleReadOnly are of a client's people, the others of operators.
const (
	RoleOwner    Role = "owner"     // everything of its client, people among it
	RoleMember   Role = "member"    // keys, conversations, policies; no money, no people
	RoleBilling  Role = "billing"   // money; no keys
	RoleReadOnly Role = "read-only" // looks at everything, changes nothing
	RoleAdmin    Role = "admin"     // everything
	RoleSupport  Role = "support"   // clients, keys, pauses; no money, prices, secrets or people
	RoleFinance  Role = "finance"   // money and prices; no keys, providers or people
)

// CustomerRoles and OperatorRoles are all of each kind, the mightiest first.
var (
	CustomerRoles = []Role{RoleOwner, RoleMember, RoleBilling, RoleReadOnly}
	OperatorRoles = []Role{RoleAdmin, RoleSupport, RoleFinance}
)

// User is an account of the console.
type User struct {
	ID           int64
	Email        string // lower case
	PasswordHash string
	ClientID     int64 // 0 = none
	Operator     bool
	Role         Role // "" when one is made: owner, or admin of an operator
	Active       bool
	CreatedAt    time.Time
}

// defaults fills in the role.
func (u *User) defaults() {
	u.Email = strings.ToLower(strings.TrimSpace(u.Email))
	switch {
	case u.Role != "":
	case u.Operator:
		u.Role = RoleAdmin
	default:
		u.Role = RoleOwner
	}
}

// CreateUser stores a user; the e-mail address is lower-cased.
func (d *DB) CreateUser(ctx context.Context, actor Actor, u User) (User, error) {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) (err error) {
		u, err = createUser(ctx, q, actor, u)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("cannot create the user %q: %w", u.Email, err)
	}
	return u, nil
}

func createUser(ctx context.Context, q *db.Queries, actor Actor, u User) (User, error) {
	u.defaults()
	row, err := q.InsertUser(ctx, db.InsertUserParams{
		Email: u.Email, PasswordHash: u.PasswordHash, ClientID: null(u.ClientID), Operator: u.Operator, Role: string(u.Role),
	})
	if err != nil {
		return u, meaning(err)
	}
	u.ID, u.CreatedAt, u.Active = row.ID, row.CreatedAt, true
	rev, err := change(ctx, q, Change{Kind: KindUser, ID: u.ID, Detail: "create"})
	if err != nil {
		return u, err
	}
	detail := map[string]any{"email": u.Email, "client_id": u.ClientID, "operator": u.Operator, "role": u.Role}
	return u, audit(ctx, q, actor, "create", "user", strconv.FormatInt(u.ID, 10), detail, rev)
}

func user(r db.AppUser) User {
	u := User{ID: r.ID, Email: r.Email, PasswordHash: r.PasswordHash, Operator: r.Operator, Role: Role(r.Role), Active: r.Active, CreatedAt: r.CreatedAt}
	if r.ClientID != nil {
		u.ClientID = *r.ClientID
	}
	return u
}

// UserByEmail reads a user.
func (d *DB) UserByEmail(ctx context.Context, email string) (User, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	row, err := d.q.UserByEmail(ctx, strings.ToLower(strings.TrimSpace(email)))
	if err != nil {
		return User{}, fmt.Errorf("cannot read a user: %w", meaning(err))
	}
	return user(row), nil
}

const userColumns = "id, email, password_hash, client_id, operator, active, created_at, role"

func scanUser(row pgx.Row) (User, error) {
	var r db.AppUser
	err := row.Scan(&r.ID, &r.Email, &r.PasswordHash, &r.ClientID, &r.Operator, &r.Active, &r.CreatedAt, &r.Role)
	return user(r), err
}

// UserFilter selects users. Zero values select everybody.
type UserFilter struct {
	ID       int64
	ClientID int64 // only of this client
	Role     Role
	Email    string // a part of it
	AfterID  int64  // page
	Limit    int    // default 100
}

// Users pages through the users by id.
func (d *DB) Users(ctx context.Context, f UserFilter) ([]User, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	if f.ID != 0 {
		w.and("id = ?", f.ID)
	}
	if f.ClientID != 0 {
		w.and("client_id = ?", f.ClientID)
	}
	if f.Role != "" {
		w.and("role = ?", string(f.Role))
	}
	if f.Email != "" {
		w.and("strpos(email, lower(?)) > 0", f.Email)
	}
	if f.AfterID != 0 {
		w.and("id > ?", f.AfterID)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := d.pool.Query(ctx, "SELECT "+userColumns+" FROM app_user"+w.String()+fmt.Sprintf(" ORDER BY id LIMIT %d", min(f.Limit, 1000)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot list the users: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (User, error) { return scanUser(row) })
	if err != nil {
		return nil, fmt.Errorf("cannot list the users: %w", err)
	}
	return list, nil
}

// UserPatch changes what is not nil.
type UserPatch struct {
	Role   *Role
	Active *bool
}

// PatchUser changes a user of a client (0: any user). An account that is switched off
// loses its sessions. The last active owner of a client and the last active admin stay:
// that is ErrConflict.
func (d *DB) PatchUser(ctx context.Context, actor Actor, clientID, id int64, p UserPatch) (u User, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		// One writer at a time among those who could be each other's last.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(8101748273646)"); err != nil {
			return err
		}
		old, err := scanUser(tx.QueryRow(ctx, "SELECT "+userColumns+" FROM app_user WHERE id = $1 AND ($2::bigint = 0 OR client_id = $2) FOR NO KEY UPDATE", id, clientID))
		if err != nil {
			return meaning(err)
		}
		u = old
		replace(&u.Role, p.Role)
		replace(&u.Active, p.Active)
		if u.Role == old.Role && u.Active == old.Active {
			return nil
		}
		top := RoleOwner
		if old.Operator {
			top = RoleAdmin
		}
		if old.Active && old.Role == top && (!u.Active || u.Role != top) {
			var others int
			err := tx.QueryRow(ctx, "SELECT count(*) FROM app_user WHERE active AND role = $1 AND id <> $2 AND ($3::boolean OR client_id = $4)",
				string(top), id, old.Operator, old.ClientID).Scan(&others)
			if err != nil {
				return err
			}
			if others == 0 {
				return fmt.Errorf("%w: the last %s", ErrConflict, top)
			}
		}
		if _, err := tx.Exec(ctx, "UPDATE app_user SET role = $2, active = $3 WHERE id = $1", id, string(u.Role), u.Active); err != nil {
			return meaning(err)
		}
		if !u.Active {
			if err := q.EndSessions(ctx, id); err != nil {
				return err
			}
		}
		rev, err := change(ctx, q, Change{Kind: KindUser, ID: id, Detail: "update"})
		if err != nil {
			return err
		}
		return audit(ctx, q, actor, "update", "user", strconv.FormatInt(id, 10), map[string]any{"role": u.Role, "active": u.Active}, rev)
	})
	if err != nil {
		return User{}, fmt.Errorf("cannot change user %d: %w", id, err)
	}
	return u, nil
}

// SetPassword replaces the hash and ends the user's sessions.
func (d *DB) SetPassword(ctx context.Context, actor Actor, userID int64, hash string) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		return setPassword(ctx, q, actor, userID, hash)
	})
	if err != nil {
		return fmt.Errorf("cannot set the password of user %d: %w", userID, err)
	}
	return nil
}

func setPassword(ctx context.Context, q *db.Queries, actor Actor, userID int64, hash string) error {
	n, err := q.SetPassword(ctx, hash, userID)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	if err != nil {
		return meaning(err)
	}
	if err := q.EndSessions(ctx, userID); err != nil {
		return err
	}
	rev, err := change(ctx, q, Change{Kind: KindUser, ID: userID, Detail: "password"})
	if err != nil {
		return err
	}
	return audit(ctx, q, actor, "password", "user", strconv.FormatInt(userID, 10), nil, rev)
}

// CreateSession stores a session by the digest of its token.
func (d *DB) CreateSession(ctx context.Context, digest [32]byte, userID int64, ttl time.Duration) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if err := d.q.InsertSession(ctx, digest[:], userID, ttl); err != nil {
		return fmt.Errorf("cannot store a session: %w", meaning(err))
	}
	return nil
}

// SessionUser reads the active user of a session that has not ended.
func (d *DB) SessionUser(ctx context.Context, digest [32]byte) (User, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	row, err := d.q.SessionUser(ctx, digest[:])
	if err != nil {
		return User{}, fmt.Errorf("cannot read a session: %w", meaning(err))
	}
	return user(row), nil
}

// EndSession deletes a session.
func (d *DB) EndSession(ctx context.Context, digest [32]byte) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if err := d.q.EndSession(ctx, digest[:]); err != nil {
		return fmt.Errorf("cannot end a session: %w", err)
	}
	return nil
}
