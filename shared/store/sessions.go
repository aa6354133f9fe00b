package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session is one sign-in of a person that has not ended, without its token.
type Session struct {
	ID        int64
	Digest    [32]byte // SHA-256 of the token
	CreatedAt time.Time
	ExpiresAt time.Time
	IP        string // where it began, "" = unknown
	Agent     string // what the browser called itself, at most 256 characters
}

// maxSessions is how many sessions of a person are listed: the newest.
const maxSessions = 200

// Sessions lists the sessions of a person, newest first.
func (d *DB) Sessions(ctx context.Context, userID int64) ([]Session, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT id, digest, created_at, expires_at, ip, agent FROM app_session
		WHERE user_id = $1 AND expires_at > clock_timestamp() ORDER BY id DESC LIMIT $2`, userID, maxSessions)
	if err == nil {
		var list []Session
		if list, err = pgx.CollectRows(rows, scanSession); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("cannot list the sessions of user %d: %w", userID, meaning(err))
}

func scanSession(row pgx.CollectableRow) (s Session, err error) {
	var digest []byte
	err = row.Scan(&s.ID, &digest, &s.CreatedAt, &s.ExpiresAt, &s.IP, &s.Agent)
	copy(s.Digest[:], digest)
	return s, err
}

// DescribeSession notes where a session began, for its owner to know it again.
func (d *DB) DescribeSession(ctx context.Context, digest [32]byte, ip, agent string) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "UPDATE app_session SET ip = $2, agent = $3 WHERE digest = $1", digest[:], ip, agent); err != nil {
		return fmt.Errorf("cannot describe a session: %w", meaning(err))
	}
	return nil
}

// EndSessionOf ends one session of a person; one of anybody else is ErrNotFound.
func (d *DB) EndSessionOf(ctx context.Context, userID, id int64) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	done, err := d.pool.Exec(ctx, "DELETE FROM app_session WHERE user_id = $1 AND id = $2", userID, id)
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("cannot end session %d: %w", id, meaning(err))
	}
	return nil
}

// EndOtherSessions ends every session of a person but one.
func (d *DB) EndOtherSessions(ctx context.Context, userID int64, keep [32]byte) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "DELETE FROM app_session WHERE user_id = $1 AND digest <> $2", userID, keep[:]); err != nil {
		return fmt.Errorf("cannot end the sessions of user %d: %w", userID, meaning(err))
	}
	return nil
}
