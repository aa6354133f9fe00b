// Package store is the only place that speaks SQL: typed, tested operations on
// Postgres, each one transaction.
//
// Every call takes a context and ends within Options.Timeout even if Postgres
// accepts and answers nothing (B5). Errors of the connection satisfy
// [Unavailable]; errors with a meaning are the Err values below and are matched
// with errors.Is.
//
// Locks are always taken in one order, so that no two transactions can wait for
// each other (B9): proxy slot, wallets by id, budgets by (key, period), leases by
// id, roll-ups by primary key, and the configuration revision last.
package store

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate
