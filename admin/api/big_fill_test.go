package api

import (
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/store/manyrows"
	"tokenrelay/shared/store/storetest"
)

// fill makes rows of usage and what belongs to them; the customer that it gives has a third
// of all.
func (w *world) fill(rows int64) *tenant {
	w.t.Helper()
	first := w.tenant("Big", "", 0)
	if _, err := w.manage.Apply(w.t.Context(), "test", must(catalogfile.Parse([]byte(manyrows.Catalogue()))), false); err != nil {
		w.t.Fatal(err)
	}
	if err := manyrows.Fill(w.t.Context(), w.url, manyrows.Options{Rows: rows, Client: first.ID, Slot: w.slot.ID, Log: w.t.Logf}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("the database has %s", storetest.Value[string](w.t, w.url, "SELECT pg_size_pretty(pg_database_size(current_database()))"))
	return first
}
