package catalog

import (
	"maps"
	"slices"
	"strings"

	"tokenrelay/shared/store"
)

// renew makes the snapshot of rows that are those of prev but for the models they name:
// these are made anew, and the virtual ones, which point to others. Everything else is
// prev's: what a change costs is some maps of the size of the catalogue, and no price or
// route of another model.
func renew(rows *store.CatalogRows, prev *Snapshot) (*Snapshot, error) {
	s := new(Snapshot)
	*s = *prev
	s.Revision, s.reading = rows.Revision, rows.Reading
	s.Models, s.ModelList = maps.Clone(prev.Models), slices.Clone(prev.ModelList)
	b := builder{prev: prev, s: s, models: make(map[int64]*Model), health: make(map[healthID]*Health)}
	changed := func(model int64) bool { return slices.Contains(rows.Renewed, model) }
	gone := make([]*Model, 0, len(rows.Renewed))
	s.ModelList = slices.DeleteFunc(s.ModelList, func(m *Model) bool {
		if changed(m.RowID) {
			gone = append(gone, m)
		}
		return changed(m.RowID)
	})
	maps.DeleteFunc(s.Models, func(_ string, m *Model) bool { return changed(m.RowID) })
	for _, m := range gone {
		for _, r := range m.Routes {
			b.health[healthID{row: r.ID}] = r.Health
		}
	}
	for i := range rows.Models {
		if r := &rows.Models[i]; r.AutoStrategy != "" && !changed(r.ID) {
			b.again(r)
		}
	}
	if err := b.part(rows, changed); err != nil {
		return nil, err
	}
	b.finish(rows)
	if len(gone) != len(b.models) || slices.ContainsFunc(gone, func(m *Model) bool { return !sameNatives(m, b.models[m.RowID]) }) {
		s.nameNatives()
	}
	return s, nil
}

// again puts another one in the place of a virtual model that is still the same but for
// what it points to.
func (b *builder) again(r *store.ModelRow) {
	old := b.s.Models[r.PublicID]
	m := new(Model)
	*m = *old
	m.Auto, m.problems = nil, nil
	b.s.Models[r.PublicID] = m
	for _, alias := range r.Aliases {
		b.s.Models[alias] = m
	}
	at, _ := slices.BinarySearchFunc(b.s.ModelList, m.ID, func(m *Model, id string) int { return strings.Compare(m.ID, id) })
	b.s.ModelList[at] = m
}

// sameNatives tells whether a model goes by the same names at the same providers as before.
func sameNatives(a, b *Model) bool {
	return b != nil && a.ID == b.ID && slices.EqualFunc(a.Routes, b.Routes, func(x, y *Route) bool {
		return x.Provider == y.Provider && x.UpstreamModel == y.UpstreamModel
	})
}
