package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
)

// Offered is a charge that a journal holds.
type Offered struct {
	ID     reqid.ID
	Charge money.Amount
}

// Unbooked returns those of the offered charges that are not in the books (M16): no
// usage row, or one with another charge (Booked), and not set aside as impossible.
func (d *DB) Unbooked(ctx context.Context, offered []Offered) ([]Unbooked, error) {
	ids, months, charges := make([]reqid.ID, len(offered)), make([]int32, len(offered)), make([]int64, len(offered))
	for i, o := range offered {
		ids[i], months[i], charges[i] = o.ID, o.ID.Month(), int64(o.Charge)
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT t.id, t.charge, u.charge FROM unnest($1::uuid[], $2::integer[], $3::bigint[]) AS t (id, month, charge)
		LEFT JOIN usage u ON u.month = t.month AND u.request_id = t.id
		WHERE u.charge IS DISTINCT FROM t.charge AND NOT EXISTS (SELECT FROM settle_reject r WHERE r.request_id = t.id)`, ids, months, charges)
	if err != nil {
		return nil, fmt.Errorf("cannot compare a journal with the books: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Unbooked, err error) {
		err = row.Scan(&u.ID, (*int64)(&u.Charge), &u.Booked)
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot compare a journal with the books: %w", err)
	}
	return list, nil
}

// Unbooked is an offered charge that the books do not have so.
type Unbooked struct {
	Offered
	Booked *int64 // nano-USD of the row that is there, nil: none
}
