package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// chainAfter is how long after its end a day is closed: what is on its way comes within
// that, and what comes later belongs to the next open day.
const chainAfter = time.Hour

// ChainWait is how long a closed day waits to be chained: longer than any transaction
// that had not seen it closed can live (each ends with its statements, within seconds).
const ChainWait = time.Minute

// linkDay adds one day to every wallet's chain.
const linkDay = `INSERT INTO wallet_day (wallet_id, day, prev, head, calls, entries, charge, credit)
SELECT c.wallet_id, c.day, p.head, chain_head(p.head, c.day, c.lines), c.calls, c.entries, c.charge, c.credit
FROM chain_days(-9223372036854775808, 9223372036854775807, $1, $1) c
LEFT JOIN LATERAL (SELECT head FROM wallet_day w WHERE w.wallet_id = c.wallet_id AND w.day < $1 ORDER BY w.day DESC LIMIT 1) p ON true
ON CONFLICT DO NOTHING`

// ChainDays closes the days that are over and chains those that were closed at least
// wait ago (M13). It returns how many links were made, and may be called at any time,
// by one at a time.
func (d *DB) ChainDays(ctx context.Context, wait time.Duration) (links int64, err error) {
	fail := func(err error) (int64, error) { return links, fmt.Errorf("cannot chain the books: %w", err) }
	var over, built, upto int32
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, _ *db.Queries) error {
		if err := tx.QueryRow(ctx, "SELECT floor(extract(epoch FROM clock_timestamp() - $1::interval) / 86400)::integer - 1", chainAfter).Scan(&over); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO day_close (day) SELECT $1::integer WHERE $1 > (SELECT coalesce(max(day), 0) FROM day_close)", over)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT coalesce(max(day) FILTER (WHERE built_at IS NOT NULL), 0),
			coalesce(max(day) FILTER (WHERE built_at IS NULL AND closed_at <= clock_timestamp() - $1::interval), 0) FROM day_close`, wait).Scan(&built, &upto)
	})
	if err != nil {
		return fail(err)
	}
	if upto <= built {
		return 0, nil
	}
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		// Days without anything are cheap, centuries of them are not.
		return tx.QueryRow(ctx, `SELECT greatest($1 + 1, least(
			(SELECT min(day_of(request_id)) FROM usage WHERE month = (SELECT min(month) FROM usage)),
			(SELECT min(floor(extract(epoch FROM created_at) / 86400)::integer) FROM entry),
			(SELECT min(day) FROM usage_after), $2))`, built, upto).Scan(&built)
	})
	for day := built; err == nil && day <= upto; day++ {
		err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
			for _, set := range []string{"statement_timeout = 0", "jit = off", "work_mem = '64MB'"} {
				if _, err := tx.Exec(ctx, "SET LOCAL "+set); err != nil {
					return err
				}
			}
			tag, err := tx.Exec(ctx, linkDay, day)
			links += tag.RowsAffected()
			if err == nil && day == upto {
				_, err = tx.Exec(ctx, "UPDATE day_close SET built_at = clock_timestamp() WHERE day <= $1 AND built_at IS NULL", upto)
			}
			return err
		})
	}
	if err != nil {
		return fail(err)
	}
	return links, nil
}
