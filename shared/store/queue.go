package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tokenrelay/shared/store/db"
)

// queue collects statements whose results nobody needs before the next one, and sends
// them in one round trip: most of what a batch of usage costs is the waiting of both
// sides for each other.
type queue struct{ batch pgx.Batch }

var _ db.DBTX = (*queue)(nil)

// Exec queues a statement. The tag is empty: nothing has been done yet.
func (q *queue) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	q.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

// expect queues a statement that must change so many rows, or err is the end of it all.
func (q *queue) expect(rows int, err error, sql string, args ...any) {
	q.batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(rows) {
			return err
		}
		return nil
	})
}

var errQueued = errors.New("a queue takes no questions")

// Query is not for a queue.
func (q *queue) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errQueued }

// QueryRow is not for a queue.
func (q *queue) QueryRow(context.Context, string, ...any) pgx.Row { return refusedRow{} }

type refusedRow struct{}

func (refusedRow) Scan(...any) error { return errQueued }

// send does everything that is queued, in its order, and tells the first error.
func (q *queue) send(ctx context.Context, tx pgx.Tx) error {
	if q.batch.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, &q.batch).Close()
}
