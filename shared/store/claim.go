package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store/db"
)

// ClaimTTL is how long an idempotency key means one request.
const ClaimTTL = 24 * time.Hour

// ClaimRequest asks for an idempotency key of a client.
type ClaimRequest struct {
	ClientID  int64
	Key, Body [32]byte // SHA-256 of the idempotency key, and of what was asked
	RequestID reqid.ID // of the request that would be the first
	Slot      int16    // of the proxy that asks
	Epoch     int64
	Now       time.Time // by the clock that all proxies share
	Gone      reqid.ID  // a request that the caller knows to have ended without an answer
}

// Claim is who answers, or answered, the request of an idempotency key.
type Claim struct {
	Mine        bool // the caller does: everything else but Retention is its own request
	Body        [32]byte
	RequestID   reqid.ID
	Slot        int16
	Epoch       int64
	Finished    bool
	Answer      []byte        // sealed; nil: not finished, or not kept
	InternalURL string        // of the proxy that answers
	Silent      time.Duration // since it was last heard of
	Retention   time.Duration // how long the client's answers are kept
}

// claimTries bounds how often a claim is asked for that others take and free at the
// same moment.
const claimTries = 8

// TakeClaim takes an idempotency key, or tells who has it: one statement.
func (d *DB) TakeClaim(ctx context.Context, r *ClaimRequest) (Claim, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	p := db.TakeClaimParams{
		ClientID: r.ClientID, KeyDigest: r.Key[:], BodyDigest: r.Body[:], RequestID: r.RequestID, Slot: r.Slot, Epoch: r.Epoch,
		Moment: r.Now, Ttl: ClaimTTL, Gone: r.Gone, Longest: d.maxRequest + ReclaimLag,
	}
	for range claimTries {
		rows, err := d.q.TakeClaim(ctx, p)
		if err != nil {
			return Claim{}, fmt.Errorf("cannot take an idempotency key: %w", meaning(err))
		}
		if len(rows) == 0 {
			continue // taken between the statement's two looks
		}
		row := &rows[0]
		c := Claim{
			Mine: row.Mine, RequestID: row.RequestID, Slot: row.Slot, Epoch: row.Epoch, Finished: row.State == 2, Answer: row.Answer,
			InternalURL: row.InternalUrl, Silent: row.Silent, Retention: time.Duration(row.Retention) * time.Hour,
		}
		copy(c.Body[:], row.BodyDigest)
		return c, nil
	}
	return Claim{}, fmt.Errorf("cannot take an idempotency key: %w", ErrConflict)
}

// FinishClaim says that a request was answered. answer is the sealed answer, nil if
// it cannot be repeated. A claim that is no longer this request's is left alone.
func (d *DB) FinishClaim(ctx context.Context, clientID int64, key [32]byte, id reqid.ID, answer []byte) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	_, err := d.q.FinishClaim(ctx, db.FinishClaimParams{Answer: answer, ClientID: clientID, KeyDigest: key[:], RequestID: id})
	if err != nil {
		return fmt.Errorf("cannot finish an idempotency key: %w", meaning(err))
	}
	return nil
}

// FreeClaim says that a request ended without an answer: the key is free. A claim
// that is no longer this request's is left alone.
func (d *DB) FreeClaim(ctx context.Context, clientID int64, key [32]byte, id reqid.ID) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.q.FreeClaim(ctx, clientID, key[:], id); err != nil {
		return fmt.Errorf("cannot free an idempotency key: %w", meaning(err))
	}
	return nil
}

// expireBatch bounds one statement of ExpireClaims.
const expireBatch = 1000

// ExpireClaims deletes the claims whose day is over, and the answers that their
// clients do not want kept so long.
func (d *DB) ExpireClaims(ctx context.Context) (claims, answers int64, err error) {
	for {
		n, err := d.expireClaims(ctx)
		claims += n
		if err != nil {
			return claims, 0, fmt.Errorf("cannot delete expired idempotency keys: %w", err)
		}
		if n < expireBatch {
			break
		}
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if answers, err = d.q.ForgetAnswers(ctx); err != nil {
		return claims, 0, fmt.Errorf("cannot forget answers: %w", err)
	}
	return claims, answers, nil
}

func (d *DB) expireClaims(ctx context.Context) (int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	return d.q.ExpireClaims(ctx, expireBatch)
}

// SetRetention says for how long answers of a client may be kept, in whole hours up
// to a day; 0 is not at all.
func (d *DB) SetRetention(ctx context.Context, actor Actor, clientID int64, keep time.Duration) error {
	hours := int32(keep / time.Hour)
	if keep%time.Hour != 0 || keep < 0 || keep > ClaimTTL {
		return fmt.Errorf("cannot set the retention of client %d: %w", clientID, ErrInvalid)
	}
	err := d.tx(ctx, func(ctx context.Context, _ pgx.Tx, q *db.Queries) error {
		n, err := q.SetRetention(ctx, hours, clientID)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, actor, "retention", "client", strconv.FormatInt(clientID, 10), map[string]int32{"hours": hours}, 0)
	})
	if err != nil {
		return fmt.Errorf("cannot set the retention of client %d: %w", clientID, meaning(err))
	}
	return nil
}
