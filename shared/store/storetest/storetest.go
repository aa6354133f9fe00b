// Package storetest runs bare SQL for tests: to fill a database with more than any
// caller of package store would, to look at what is stored, and to hurt connections.
package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// limit is for the slowest statement of a test, a million rows.
const limit = 10 * time.Minute

// Exec runs one statement on a connection of its own and gives the rows it touched.
func Exec(t testing.TB, url, sql string, args ...any) int64 {
	t.Helper()
	n, err := Try(url, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// Try is Exec for goroutines and for statements that may fail.
func Try(url, sql string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	tag, err := conn.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

// Rows reads the rows of a query, each into the fields of a T in their order.
func Rows[T any](t testing.TB, url, sql string, args ...any) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("cannot connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// Value reads the one value of a query.
func Value[T any](t testing.TB, url, sql string, args ...any) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("cannot connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var v T
	if err := conn.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// Hammer runs a statement from several connections at once for a span of time and
// gives how many a second were done, each committed by itself.
func Hammer(t testing.TB, url string, connections int, span time.Duration, sql string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var n atomic.Int64
	var all sync.WaitGroup
	list := make([]*pgx.Conn, connections)
	for i := range list {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatalf("cannot connect: %v", err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, sql); err != nil { // prepared and planned
			t.Fatalf("%s: %v", sql, err)
		}
		list[i] = conn
	}
	began := time.Now()
	for _, conn := range list {
		all.Go(func() {
			for time.Since(began) < span {
				if _, err := conn.Exec(ctx, sql); err != nil {
					t.Errorf("%s: %v", sql, err)
					return
				}
				n.Add(1)
			}
		})
	}
	all.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

// Lock keeps everybody else off the tables, named with commas between, until the function
// that it returns is called.
func Lock(t testing.TB, url, tables string) (release func()) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = conn.Close(ctx) } // ends the transaction too
	t.Cleanup(release)
	if _, err = conn.Exec(ctx, "BEGIN"); err == nil {
		_, err = conn.Exec(ctx, "LOCK TABLE "+tables+" IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return release
}
