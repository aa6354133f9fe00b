package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// HealthRow is how calls of a model went in an hour, all customers together.
type HealthRow struct {
	Hour  time.Time
	Model string
	Good  int64 // successes
	Bad   int64 // answered with one of the codes asked for
}

// Health counts successes, and answers with the codes that are a fault of the service,
// from an hour on.
func (d *DB) Health(ctx context.Context, from time.Time, faults []string) ([]HealthRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT hour, model, sum(good)::bigint, sum(bad)::bigint FROM (
			SELECT hour, model, sum(success) AS good, 0 AS bad FROM usage_hourly WHERE hour >= $1 GROUP BY 1, 2
			UNION ALL
			SELECT hour, model, 0, sum(n) FROM code_hourly WHERE hour >= $1 AND code = ANY ($2) GROUP BY 1, 2) h
		GROUP BY 1, 2 ORDER BY 2, 1`, from.Unix()/3600, faults)
	if err != nil {
		return nil, fmt.Errorf("cannot read the health of models: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h HealthRow, err error) {
		var hour int32
		err = row.Scan(&hour, &h.Model, &h.Good, &h.Bad)
		h.Hour = time.Unix(int64(hour)*3600, 0).UTC()
		return h, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the health of models: %w", err)
	}
	return list, nil
}
