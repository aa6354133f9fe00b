package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// ResponseDays is the longest that responses are kept, in days, and how long they are
// unless their client says otherwise.
const ResponseDays = 30

// MaxResponseTurns is how many responses one may go on from, itself included.
const MaxResponseTurns = 1000

// ResponseRow is a response to be kept.
type ResponseRow struct {
	ClientID, KeyID int64
	ID              string // as the customer was told it
	Previous        string // the response that it goes on from, "" = none
	ProviderKeyID   int64  // in whose account the provider has it, too; 0 = nowhere
	Tokens          int64  // of its input and its output
	Bytes           int64  // of it and all that it goes on from
	Turns           int32  // it and all that it goes on from
	Body            []byte // sealed
}

// KeepResponse keeps a response, unless its client keeps none. kept is false then,
// and where the client has a response of that id already.
func (d *DB) KeepResponse(ctx context.Context, r *ResponseRow) (kept bool, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	n, err := d.q.KeepResponse(ctx, db.KeepResponseParams{
		ClientID: r.ClientID, ID: r.ID, KeyID: r.KeyID, Previous: unlessZero(r.Previous), ProviderKeyID: unlessZero(r.ProviderKeyID),
		Tokens: r.Tokens, Bytes: r.Bytes, Turns: r.Turns, Body: r.Body,
	})
	if err != nil {
		return false, fmt.Errorf("cannot keep a response: %w", meaning(err))
	}
	return n > 0, nil
}

func unlessZero[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// ResponseHead is what going on from a response needs to know at once.
type ResponseHead struct {
	ProviderKeyID int64 // 0 = no provider has it
	Tokens, Bytes int64
	Turns         int32
}

// FindResponse finds a response of a client: one statement. ErrNotFound: the client
// has none of that id.
func (d *DB) FindResponse(ctx context.Context, clientID int64, id string) (ResponseHead, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	r, err := d.q.FindResponse(ctx, clientID, id)
	if err != nil {
		return ResponseHead{}, fmt.Errorf("cannot find a response: %w", meaning(err))
	}
	return ResponseHead{ProviderKeyID: r.ProviderKeyID, Tokens: r.Tokens, Bytes: r.Bytes, Turns: r.Turns}, nil
}

// StoredResponse is a kept response.
type StoredResponse struct {
	ID   string
	Body []byte // sealed
}

// ResponseChain gives a response of a client and what it goes on from, the oldest
// first; most 1 gives it alone. ErrNotFound: it is gone, or something that it goes on
// from is.
func (d *DB) ResponseChain(ctx context.Context, clientID int64, id string, most int) ([]StoredResponse, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.ResponseChain(ctx, clientID, id, int32(most))
	if err != nil {
		return nil, fmt.Errorf("cannot read a response: %w", meaning(err))
	}
	if len(rows) == 0 || rows[0].Previous != "" && most > 1 {
		return nil, fmt.Errorf("cannot read a response: %w", ErrNotFound)
	}
	list := make([]StoredResponse, len(rows))
	for i := range rows {
		list[i] = StoredResponse{ID: rows[i].ID, Body: rows[i].Body}
	}
	return list, nil
}

// DeleteResponse deletes a response of a client. ErrNotFound: it has none of that id.
func (d *DB) DeleteResponse(ctx context.Context, clientID int64, id string) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	n, err := d.q.DeleteResponse(ctx, clientID, id)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("cannot delete a response: %w", meaning(err))
	}
	return nil
}

// ExpireResponses deletes the responses whose time is over.
func (d *DB) ExpireResponses(ctx context.Context) (deleted int64, err error) {
	for {
		n, err := d.expireResponses(ctx)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("cannot delete expired responses: %w", err)
		}
		if n < expireBatch {
			return deleted, nil
		}
	}
}

func (d *DB) expireResponses(ctx context.Context) (int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	return d.q.ExpireResponses(ctx, expireBatch)
}

// SetResponseDays says for how many days responses of a client are kept, 0 to
// ResponseDays; those that are kept already go no later.
func (d *DB) SetResponseDays(ctx context.Context, actor Actor, clientID int64, days int32) error {
	if days < 0 || days > ResponseDays {
		return fmt.Errorf("cannot set the response days of client %d: %w", clientID, ErrInvalid)
	}
	err := d.tx(ctx, func(ctx context.Context, _ pgx.Tx, q *db.Queries) error {
		n, err := q.SetResponseDays(ctx, days, clientID)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		if _, err := q.ShortenResponses(ctx, days, clientID); err != nil {
			return err
		}
		return audit(ctx, q, actor, "response_days", "client", strconv.FormatInt(clientID, 10), map[string]int32{"days": days}, 0)
	})
	if err != nil {
		return fmt.Errorf("cannot set the response days of client %d: %w", clientID, meaning(err))
	}
	return nil
}
