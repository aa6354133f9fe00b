package report

import (
	"context"
	"maps"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// maxVersions bounds the price rows that are kept in memory.
const maxVersions = 10_000

// priceVersions returns the price rows that calls were charged at, by row id. Rows
// never change, so those read once are kept.
func (s *Service) priceVersions(ctx context.Context, list []store.UsageRow) (map[int64]*price.Version, error) {
	found := make(map[int64]*price.Version)
	var missing []int64
	s.mu.Lock()
	for i := range list {
		id := list[i].PriceID
		if _, seen := found[id]; seen || id == 0 {
			continue
		}
		v := s.versions[id]
		if found[id] = v; v == nil {
			missing = append(missing, id)
		}
	}
	s.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	read, err := s.db.PriceVersions(ctx, missing)
	if err != nil {
		return nil, err
	}
	maps.Copy(found, read)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.versions) > maxVersions {
		clear(s.versions)
	}
	maps.Copy(s.versions, read)
	return found, nil
}
