package store

import (
	"context"
	"sync"

	"tokenrelay/shared/store/db"
)

// mostPrices bounds what prices remembers.
const mostPrices = 100_000

// prices remembers price rows. They never change (price_append_only), so that a catalogue
// that is read again for one change asks for its new prices only, which are most of its
// bytes. The time of its making belongs to a row's name: a database that was restored from
// a copy, or has lost commits, gives ids again, to other prices.
type prices struct {
	mu    sync.Mutex
	known map[priceKey]PriceRow
}

type priceKey struct{ id, created int64 }

// of returns the rows of the keys, in their order. Withdrawn ones are left out, as they
// stand for no price. The tiers of a row are everybody's: they must not be changed.
func (m *prices) of(ctx context.Context, q *db.Queries, keys []db.PricesRow) ([]PriceRow, error) {
	list := make([]PriceRow, len(keys))
	at := map[priceKey]int{} // what is not known, by its place in the list
	var ask []int64
	m.mu.Lock()
	for i := range keys {
		key := priceKey{keys[i].ID, keys[i].CreatedAt.UnixMicro()}
		row, ok := m.known[key]
		if !ok {
			at[key], ask = i, append(ask, key.id)
		}
		list[i] = row
	}
	m.mu.Unlock()
	if len(ask) > 0 {
		stored, err := q.PricesByID(ctx, ask)
		if err != nil {
			return nil, err
		}
		rows, err := priceRows(ctx, q, stored)
		if err != nil {
			return nil, err
		}
		of := make(map[int64]*PriceRow, len(rows))
		for i := range rows {
			of[rows[i].Version.ID] = &rows[i]
		}
		m.mu.Lock()
		if m.known == nil || len(m.known)+len(stored) > mostPrices {
			m.known = make(map[priceKey]PriceRow, len(stored))
		}
		for i := range stored {
			var row PriceRow // a withdrawn one says nothing
			if r := of[stored[i].ID]; r != nil {
				row = *r
			}
			key := priceKey{stored[i].ID, stored[i].CreatedAt.UnixMicro()}
			m.known[key] = row
			if place, ok := at[key]; ok {
				list[place] = row
			}
		}
		m.mu.Unlock()
	}
	kept := list[:0]
	for i := range list {
		if list[i].Version.ID != 0 {
			kept = append(kept, list[i])
		}
	}
	return kept, nil
}
