package store_test

import "testing"

// Every month's partition is analysed seldom and by few columns: the ones that were there, and
// the ones that come.
func TestPartitionsAreAnalysedSeldom(t *testing.T) {
	b := newBooks(t)
	b.exec(`SELECT usage_partitions(4)`)
	var parts, seldom, counted int
	if err := b.conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE 'autovacuum_analyze_scale_factor=0.25' = ANY (reloptions)),
		sum((SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND coalesce(attstattarget, -1) <> 0))
	FROM pg_class AS c WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'usage'::regclass) AND relname <> 'usage_default'`).Scan(&parts, &seldom, &counted); err != nil {
		t.Fatal(err)
	}
	if parts < 5 || seldom != parts || counted != 10*parts {
		t.Errorf("%d partitions, %d with fewer analyses, %d columns with statistics", parts, seldom, counted)
	}
}
