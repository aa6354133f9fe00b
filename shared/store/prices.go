package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store/db"
)

// SetPrice gives a model a new price from effectiveAt on (zero: now; never in the
// past). seen is the id of the price row that the change was made from (0: there was
// none); if another is in force by now, it is ErrConflict. Requests in flight keep
// theirs. It returns the new row's id.
func (d *DB) SetPrice(ctx context.Context, actor Actor, model string, seen int64, v *price.Version, effectiveAt time.Time) (int64, error) {
	var id int64
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if _, err := q.LockRevision(ctx); err != nil {
			return err
		}
		row, err := q.ModelByPublicID(ctx, model)
		if err != nil {
			return meaning(err)
		}
		a := applying{q: q, remembered: &d.prices}
		if err := a.readPrices(ctx, []int64{row}); err != nil {
			return err
		}
		if now := a.prices[row].Version.ID; now != seen {
			return fmt.Errorf("%w: price %d is in force, not %d", ErrConflict, now, seen)
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		at := timeNull(effectiveAt)
		if at != nil && at.Before(now) {
			return fmt.Errorf("%w: a price cannot begin in the past", ErrInvalid)
		}
		if id, err = insertPrice(ctx, q, &row, nil, v, at); err != nil {
			return err
		}
		rev, err := change(ctx, q, Change{Kind: KindCatalog, Detail: "price " + model})
		if err != nil {
			return err
		}
		prices, free := v.Base.Prices()
		detail := map[string]any{"price_id": id, "before": seen, "price": prices, "free": free, "effective_at": effectiveAt}
		return audit(ctx, q, actor, "price", "model", model, detail, rev)
	})
	if err != nil {
		return 0, fmt.Errorf("cannot set the price of %q: %w", model, err)
	}
	return id, nil
}

// PriceRecord is a row of a price's history.
type PriceRecord struct {
	PriceRow
	Withdrawn bool // from here on there is no price of its own
	CreatedAt time.Time
	Actor     Actor // who set it, "" when the audit log does not say
}

// PriceHistory lists the prices of a model, or of a route (modelID 0), newest first, those
// to come among them. beforeID 0 = from the newest.
func (d *DB) PriceHistory(ctx context.Context, modelID, routeID, beforeID int64, limit int) ([]PriceRecord, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT p.id, p.model_id, p.route_id, p.effective_at, p.rates, p.free, p.withdrawn, p.created_at,
			coalesce((SELECT a.actor FROM audit_value v JOIN audit_log a ON a.change_id = v.change_id WHERE v.object = 'price' AND v.object_id = p.id::text LIMIT 1), '')
		FROM price p WHERE (p.model_id = nullif($1::bigint, 0) OR p.route_id = nullif($2::bigint, 0)) AND ($3::bigint = 0 OR p.id < $3)
		ORDER BY p.id DESC LIMIT $4`, modelID, routeID, beforeID, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of prices: %w", err)
	}
	var list []PriceRecord
	var ids []int64
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var p db.Price
		var r PriceRecord
		if err := row.Scan(&p.ID, &p.ModelID, &p.RouteID, &p.EffectiveAt, &p.Rates, &p.Free, &r.Withdrawn, &r.CreatedAt, &r.Actor); err != nil {
			return struct{}{}, err
		}
		r.ModelID, r.RouteID = modelID, routeID
		r.Version = price.Version{ID: p.ID, EffectiveAt: p.EffectiveAt.UnixMilli()}
		if !r.Withdrawn {
			r.Version.Base = rateTable(p.Rates, p.Free)
		}
		list, ids = append(list, r), append(ids, p.ID)
		return struct{}{}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of prices: %w", err)
	}
	tiers, err := d.pool.Query(ctx, "SELECT price_id, above_input, rates, free FROM price_tier WHERE price_id = ANY ($1::bigint[]) ORDER BY price_id, above_input", ids)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of prices: %w", err)
	}
	var id, above int64
	var rates []*int64
	var free int32
	if _, err = pgx.ForEachRow(tiers, []any{&id, &above, &rates, &free}, func() error {
		for i := range list {
			if v := &list[i].Version; v.ID == id {
				v.Tiers = append(v.Tiers, price.Tier{AboveInput: above, Table: rateTable(rates, free)})
			}
		}
		rates = nil
		return nil
	}); err != nil {
		return nil, fmt.Errorf("cannot read the history of prices: %w", err)
	}
	return list, nil
}
