package store

import (
	"context"
	"fmt"
	"time"

	"tokenrelay/shared/store/db"
)

// Keep says for how long rows stay that only look back: no balance, no charge and no
// statement is made of them.
type Keep struct {
	Changes  time.Duration // of the configuration, for proxies that were away
	Refusals time.Duration // samples of refused requests; their counts stay in the roll-ups
	Leases   time.Duration // closed ones; never less than there is usage of their month
}

// Pruned counts the rows that are gone.
type Pruned struct {
	Changes, Refusals, Leases int64
	Detail                    int64 // of clients that have it kept for some days
}

// Prune deletes what is older than keep, or its client's policy, says, a batch in a
// transaction of its own, until nothing is. What was deleted before an error is counted.
func (d *DB) Prune(ctx context.Context, keep Keep) (p Pruned, err error) {
	for _, t := range []struct {
		name  string
		n     *int64
		keep  time.Duration
		prune func(q *db.Queries, ctx context.Context, keep time.Duration) (int64, error)
	}{
		{"changes", &p.Changes, keep.Changes, func(q *db.Queries, ctx context.Context, keep time.Duration) (int64, error) {
			return q.PruneChanges(ctx, expireBatch, keep)
		}},
		{"refusals", &p.Refusals, keep.Refusals, func(q *db.Queries, ctx context.Context, keep time.Duration) (int64, error) {
			return q.PruneRefusals(ctx, expireBatch, keep)
		}},
		{"refusals of clients", &p.Refusals, 0, func(q *db.Queries, ctx context.Context, _ time.Duration) (int64, error) {
			return q.PruneClientRefusals(ctx, expireBatch)
		}},
		{"detail", &p.Detail, 0, func(q *db.Queries, ctx context.Context, _ time.Duration) (int64, error) {
			return q.PruneDetail(ctx, expireBatch)
		}},
		{"leases", &p.Leases, keep.Leases, func(q *db.Queries, ctx context.Context, keep time.Duration) (int64, error) {
			return q.PruneLeases(ctx, keep, expireBatch)
		}},
	} {
		for {
			n, err := d.pruneBatch(ctx, t.keep, t.prune)
			if *t.n += n; err != nil {
				return p, fmt.Errorf("cannot prune %s: %w", t.name, meaning(err))
			}
			if n < expireBatch {
				break
			}
		}
	}
	return p, nil
}

func (d *DB) pruneBatch(ctx context.Context, keep time.Duration, prune func(*db.Queries, context.Context, time.Duration) (int64, error)) (int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	return prune(d.q, ctx, keep)
}
