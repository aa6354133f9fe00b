package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tokenrelay/shared/store/db"
)

// The times that the books agree on (reliability 5.5).
const (
	LeaseTTL   = 20 * time.Minute // of a lease, from its grant or renewal
	MaxRequest = 15 * time.Minute // no request lives longer
	ReclaimLag = time.Minute      // on top of MaxRequest after expiry
	LiveWindow = 30 * time.Second // a proxy heard of within this counts as live
	RecallGap  = 250 * time.Millisecond
)

// Options are the settings of a DB. Zero values mean the defaults named.
type Options struct {
	Pool            int           // connections at most, default 8
	Timeout         time.Duration // of every call, at most and by default 3 s
	ApplicationName string        // shown in pg_stat_activity
	LeaseTTL        time.Duration // default LeaseTTL; tests shorten it
	MaxRequest      time.Duration // default MaxRequest
}

// DB is a pool of connections to Postgres. It is safe for concurrent use.
type DB struct {
	pool       *pgxpool.Pool
	q          *db.Queries
	timeout    time.Duration
	leaseTTL   time.Duration
	maxRequest time.Duration
	statements atomic.Uint64
	owners     owners
	prices     prices
	catalog    catalogMemory
	months     months
}

// Open makes a pool for a postgres:// URL. It connects to nothing yet: Postgres may
// be away, see Ping. Only a URL that cannot be read is an error.
func Open(_ context.Context, url string, o Options) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The error of pgx hides the password but shows the rest; neither helps.
		return nil, errors.New("cannot open the database: RELAY_DATABASE_URL is not a postgres:// URL")
	}
	d := &DB{timeout: o.Timeout, leaseTTL: o.LeaseTTL, maxRequest: o.MaxRequest}
	if d.timeout <= 0 || d.timeout > 3*time.Second {
		d.timeout = 3 * time.Second
	}
	if d.leaseTTL <= 0 {
		d.leaseTTL = LeaseTTL
	}
	if d.maxRequest <= 0 {
		d.maxRequest = MaxRequest
	}
	config.MaxConns = int32(o.Pool)
	if o.Pool <= 0 {
		config.MaxConns = 8
	}
	config.MaxConnIdleTime = 5 * time.Minute
	config.HealthCheckPeriod = 30 * time.Second
	configure(config.ConnConfig, o.ApplicationName, d.timeout)
	config.ConnConfig.Tracer = (*tracer)(d)
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		useArrays(c.TypeMap())
		return nil
	}
	if d.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	d.q = db.New(d.pool)
	return d, nil
}

// configure sets what every connection of the store has in common.
func configure(c *pgx.ConnConfig, name string, timeout time.Duration) {
	if name == "" {
		name = "tokenrelay"
	}
	c.RuntimeParams["application_name"] = name
	c.RuntimeParams["statement_timeout"] = fmt.Sprint(timeout.Milliseconds())
	c.RuntimeParams["idle_in_transaction_session_timeout"] = "10000"
	c.RuntimeParams["timezone"] = "UTC"
	c.RuntimeParams["jit"] = "off" // statements here are shorter than their compilation: 40 ms became 195
	c.ConnectTimeout = timeout
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
}

// Close closes every connection.
func (d *DB) Close() { d.pool.Close() }

// Ping asks Postgres for a sign of life.
func (d *DB) Ping(ctx context.Context) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.q.Now(ctx); err != nil {
		return fmt.Errorf("cannot reach the database: %w", err)
	}
	return nil
}

// Now is the clock of Postgres: what periods and months are counted by.
func (d *DB) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	now, err := d.q.Now(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot read the clock of the database: %w", err)
	}
	return now, nil
}

// Statements is the number of SQL statements sent so far, transaction control
// included, LISTEN connections not.
func (d *DB) Statements() uint64 { return d.statements.Load() }

// limit bounds a call by the timeout, so that it ends although Postgres hangs (B5).
func (d *DB) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.timeout)
}

// tx runs f in one transaction, again (with the same arguments) where Postgres
// chose it as the victim of a deadlock or a serialisation conflict (B9).
func (d *DB) tx(ctx context.Context, f func(ctx context.Context, tx pgx.Tx, q *db.Queries) error) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return f(ctx, tx, d.q.WithTx(tx)) })
		if err == nil || attempt == 4 || !again(err) {
			return err
		}
		wait := time.NewTimer(time.Duration(1+attempt*attempt) * (5*time.Millisecond + jitter(5*time.Millisecond)))
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
	}
}

func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001")
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// tracer counts statements.
type tracer DB

func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.statements.Add(1)
	return ctx
}

func (*tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (t *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, b pgx.TraceBatchStartData) context.Context {
	t.statements.Add(uint64(b.Batch.Len()))
	return ctx
}

func (*tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (*tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
