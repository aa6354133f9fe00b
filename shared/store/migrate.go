package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema, up only.
type migration struct {
	version  int
	name     string
	sql      string
	checksum string
}

// migrations are this binary's, in order.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("cannot read the migrations: %w", err)
	}
	var all []migration
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the migrations: %w", err)
		}
		base := strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql")
		number, _, _ := strings.Cut(base, "_")
		if v, err := strconv.Atoi(number); err != nil || v != i+1 {
			return nil, fmt.Errorf("cannot read the migrations: %s is not number %d", name, i+1)
		}
		sum := sha256.Sum256(text)
		all = append(all, migration{version: i + 1, name: base, sql: string(text), checksum: hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// SchemaState says how the database's schema relates to this binary's.
type SchemaState int

// The states of a schema.
const (
	SchemaReady   SchemaState = iota + 1 // exactly this binary's
	SchemaMissing                        // empty database: wait for admin migrate
	SchemaOlder                          // wait for admin migrate
	SchemaNewer                          // a newer binary migrated: exit
	SchemaForeign                        // tables of something else, or a changed migration: exit
)

// String names the state.
func (s SchemaState) String() string {
	names := [...]string{"unknown", "ready", "missing", "older", "newer", "foreign"}
	if s < 0 || int(s) >= len(names) {
		s = 0
	}
	return names[s]
}

// lockMigrate is the advisory lock of Migrate; jobs use hashes of their names.
const lockMigrate = 0x746f6b656e // "token"

// Migrate brings the schema to this binary's version, each step in a transaction of
// its own. Only one process migrates at a time, others wait for it. A newer or foreign
// schema is an error and is left alone.
func Migrate(ctx context.Context, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return errors.New("cannot migrate: RELAY_DATABASE_URL is not a postgres:// URL")
	}
	configure(config, "tokenrelay migrate", 3*time.Second)
	// Steps may take longer than a request's statements; waiting for a lock may not.
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	config.RuntimeParams["lock_timeout"] = "2000"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("cannot migrate: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// Tried, not waited for: lock_timeout would cut the wait for a slow migration.
	for {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(lockMigrate)).Scan(&got); err != nil {
			return fmt.Errorf("cannot migrate: %w", err)
		}
		if got {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot migrate: another process does: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	all, err := migrations()
	if err != nil {
		return err
	}
	state, applied, err := schemaState(ctx, conn, all)
	if err != nil {
		return fmt.Errorf("cannot migrate: %w", err)
	}
	switch state {
	case SchemaNewer:
		return errors.New("cannot migrate: the schema is newer than this program, use the version that migrated it")
	case SchemaForeign:
		return errors.New("cannot migrate: the database holds tables of something else, give Token Relay one of its own")
	}
	if state == SchemaMissing {
		_, err := conn.Exec(ctx, `CREATE TABLE schema_migration (
			version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`)
		if err != nil {
			return fmt.Errorf("cannot migrate: %w", err)
		}
	}
	for _, m := range all[applied:] {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			// Many statements at once: only the plain protocol takes them. The text is
			// ours and has no parameters.
			if _, err := tx.Conn().PgConn().Exec(ctx, m.sql).ReadAll(); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO schema_migration (version, name, checksum) VALUES ($1, $2, $3)", m.version, m.name, m.checksum)
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot apply the migration %s: %w", m.name, err)
		}
	}
	return nil
}

// Schema compares the database's schema with this binary's.
func (d *DB) Schema(ctx context.Context) (SchemaState, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	all, err := migrations()
	if err != nil {
		return 0, err
	}
	state, _, err := schemaState(ctx, d.pool, all)
	if err != nil {
		return 0, fmt.Errorf("cannot read the schema's version: %w", err)
	}
	return state, nil
}

func schemaState(ctx context.Context, conn interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}, all []migration,
) (state SchemaState, applied int, err error) {
	rows, err := conn.Query(ctx, "SELECT version, checksum FROM schema_migration ORDER BY version")
	var pg *pgconn.PgError
	if err == nil {
		var v int
		var sum string
		_, err = pgx.ForEachRow(rows, []any{&v, &sum}, func() error {
			switch {
			case v > len(all):
				state = SchemaNewer
			case v != applied+1 || sum != all[v-1].checksum:
				state = SchemaForeign
			}
			applied++
			return nil
		})
	}
	if errors.As(err, &pg) && pg.Code == "42P01" { // no such table
		// Somebody may have migrated since: both answers come from one statement's view.
		var migrated, others bool
		err := conn.QueryRow(ctx, `SELECT coalesce(bool_or(relname = 'schema_migration'), false), count(*) > 0
			FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')`).Scan(&migrated, &others)
		if migrated {
			return schemaState(ctx, conn, all)
		}
		if others {
			return SchemaForeign, 0, err
		}
		return SchemaMissing, 0, err
	}
	switch {
	case err != nil || state != 0:
	case applied < len(all):
		state = SchemaOlder
	default:
		state = SchemaReady
	}
	return state, applied, err
}

// EnsurePartitions creates the usage partitions of this month and the next two
// (clock of Postgres) and returns how many rows have fallen into the default
// partition, which should be none (B13).
func (d *DB) EnsurePartitions(ctx context.Context) (inDefault int64, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if inDefault, err = d.q.UsagePartitions(ctx, 2); err != nil {
		return 0, fmt.Errorf("cannot make the usage partitions: %w", err)
	}
	return inDefault, nil
}

// CreateDatabase makes a database on the server that url names, as a copy of a
// template ("" = empty). For tests and the launcher.
func CreateDatabase(ctx context.Context, url, name, template string) error {
	sql := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if template != "" {
		sql += " TEMPLATE " + pgx.Identifier{template}.Sanitize()
	}
	return adminExec(ctx, url, sql)
}

// DropDatabase drops a database and cuts its connections. For tests.
func DropDatabase(ctx context.Context, url, name string) error {
	return adminExec(ctx, url, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

func adminExec(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("cannot %s: %w", strings.ToLower(strings.Join(strings.Fields(sql)[:2], " ")), err)
	}
	return nil
}

// GenerateKeys makes n active keys of a client in one statement, for tests of scale. Key
// i (from 1) has the digest SHA-256("bulk-<i>") and the public id "bulk-<i>". The feed is
// not told.
func GenerateKeys(ctx context.Context, url string, clientID int64, n int) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, `INSERT INTO api_key (client_id, public_id, digest, last4, name)
		SELECT $1, 'bulk-' || i, sha256(convert_to('bulk-' || i, 'UTF8')), right(i::text, 4), 'bulk' FROM generate_series(1, $2::integer) AS i`, clientID, n)
	if err == nil {
		_, err = conn.Exec(ctx, "ANALYZE api_key")
	}
	if err != nil {
		return fmt.Errorf("cannot generate keys: %w", err)
	}
	return nil
}
