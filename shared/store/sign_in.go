package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// TrySignIn counts a try for a subject within span and returns which one of the span it
// is, from 1, and how long the span still lasts.
func (d *DB) TrySignIn(ctx context.Context, subject [32]byte, span time.Duration) (tries int, left time.Duration, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	r, err := d.q.TrySignIn(ctx, subject[:], span)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot count a sign-in: %w", meaning(err))
	}
	return int(r.Tries), r.LeftOver, nil
}

// SignedIn notes that a try succeeded: the account's count starts again, the address's
// is one less.
func (d *DB) SignedIn(ctx context.Context, account, address [32]byte) error {
	err := d.tx(ctx, func(ctx context.Context, _ pgx.Tx, q *db.Queries) error {
		if err := q.ForgetSignIn(ctx, account[:]); err != nil {
			return err
		}
		return q.TakeBackSignIn(ctx, address[:])
	})
	if err != nil {
		return fmt.Errorf("cannot note a sign-in: %w", meaning(err))
	}
	return nil
}

// expireRows is how many rows of each kind ExpireSignIns deletes at most.
const expireRows = 5000

// ExpireSignIns deletes sessions that have ended and tries from before span.
func (d *DB) ExpireSignIns(ctx context.Context, span time.Duration) (sessions, tries int64, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if sessions, err = d.q.ExpireSessions(ctx, expireRows); err != nil {
		return 0, 0, fmt.Errorf("cannot delete ended sessions: %w", meaning(err))
	}
	if tries, err = d.q.ExpireSignIns(ctx, span, expireRows); err != nil {
		return sessions, 0, fmt.Errorf("cannot delete old sign-ins: %w", meaning(err))
	}
	return sessions, tries, nil
}
