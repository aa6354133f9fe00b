package store

import (
	"context"
	"fmt"

	"tokenrelay/shared/price"
)

// PriceVersions reads price rows by id, also those that are no longer in force: what
// usage rows were charged at. Rows never change, so a caller may keep them for ever.
func (d *DB) PriceVersions(ctx context.Context, ids []int64) (map[int64]*price.Version, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	versions := make(map[int64]*price.Version, len(ids))
	rows, err := d.q.PricesByID(ctx, ids)
	if err == nil {
		var list []PriceRow
		list, err = priceRows(ctx, d.q, rows)
		for i := range list {
			versions[list[i].Version.ID] = &list[i].Version
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read price versions: %w", err)
	}
	return versions, nil
}
