package store

import (
	"context"
	"sync"

	"tokenrelay/shared/store/db"
)

// mostOwners bounds what owners remembers.
const mostOwners = 100_000

// owners remembers whose a key is. That never changes, so that it is asked once.
type owners struct {
	mu    sync.Mutex
	known map[int64]db.KeyOwnersRow
}

// of returns the owners of those of the keys that exist.
func (o *owners) of(ctx context.Context, q *db.Queries, keys map[int64]bool) (map[int64]db.KeyOwnersRow, error) {
	all := make(map[int64]db.KeyOwnersRow, len(keys))
	var ask []int64
	o.mu.Lock()
	for id := range keys {
		if row, ok := o.known[id]; ok {
			all[id] = row
		} else {
			ask = append(ask, id)
		}
	}
	o.mu.Unlock()
	if len(ask) == 0 {
		return all, nil
	}
	rows, err := q.KeyOwners(ctx, ask)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known)+len(rows) > mostOwners {
		o.known = make(map[int64]db.KeyOwnersRow)
	}
	for _, row := range rows {
		all[row.ID], o.known[row.ID] = row, row
	}
	return all, nil
}
