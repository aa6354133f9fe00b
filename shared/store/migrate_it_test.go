package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

func open(t testing.TB, url string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// raw is a plain connection, for what the store does not offer on purpose.
func raw(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Interface 3: what each state of the schema is called, and that only Migrate changes it.
func TestSchemaStates(t *testing.T) {
	url := pgtest.Empty(t)
	d, c := open(t, url), raw(t, url)
	want := func(s store.SchemaState) {
		t.Helper()
		if got, err := d.Schema(t.Context()); err != nil || got != s {
			t.Fatalf("schema %v, %v, want %v", got, err, s)
		}
	}
	want(store.SchemaMissing)

	exec(t, c, "CREATE TABLE someone_elses (x int)")
	want(store.SchemaForeign)
	if err := store.Migrate(t.Context(), url); err == nil {
		t.Fatal("a foreign schema was migrated")
	}
	exec(t, c, "DROP TABLE someone_elses")

	var group sync.WaitGroup
	for range 3 { // several admins start at once
		group.Go(func() {
			if err := store.Migrate(t.Context(), url); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	group.Wait()
	want(store.SchemaReady)

	exec(t, c, "INSERT INTO schema_migration (version, name, checksum) VALUES (9999, 'later', 'x')")
	want(store.SchemaNewer)
	if err := store.Migrate(t.Context(), url); err == nil {
		t.Fatal("a newer schema was migrated")
	}
	exec(t, c, "DELETE FROM schema_migration WHERE version = 9999")
	exec(t, c, "UPDATE schema_migration SET checksum = 'x' WHERE version = 1")
	want(store.SchemaForeign)
	exec(t, c, "DELETE FROM schema_migration")
	want(store.SchemaOlder)
}

// B13: partitions exist ahead; a month without one falls into the default partition
// and is reported.
func TestPartitionsAhead(t *testing.T) {
	url := pgtest.New(t)
	d, c := open(t, url), raw(t, url)
	count := func() (n int) {
		c.QueryRow(t.Context(), "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass").Scan(&n)
		return n
	}
	if n := count(); n != 4 {
		t.Fatalf("%d partitions, want 3 months and the default", n)
	}
	stray, err := d.EnsurePartitions(t.Context())
	if err != nil || stray != 0 || count() != 4 {
		t.Fatalf("again: %d rows, %v, %d partitions", stray, err, count())
	}

	// A month that nobody made a partition for.
	b := newBooks(t)
	p, x := b.party(money.USD), b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	r := b.record(p, lease, 10, 10)
	r.ID = reqid.NewMilli(time.Date(2042, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	if res := b.settle(x.ID, r); res.Inserted != 1 {
		t.Fatalf("%+v", res)
	}
	if stray, err := b.EnsurePartitions(t.Context()); err != nil || stray != 1 {
		t.Fatalf("%d rows in the default partition, %v", stray, err)
	}
	if res := b.settle(x.ID, r); res.Duplicates != 1 {
		t.Fatalf("again: %+v", res)
	}
	if rows, err := b.Usage(t.Context(), store.UsageFilter{WalletID: p.client.WalletID, RequestID: r.ID}); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	b.clean()
}
