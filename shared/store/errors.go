package store

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The refusals of the store.
var (
	// ErrNotFound: no such row, or not the caller's.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name or reference is taken by something else.
	ErrExists = errors.New("exists already")
	// ErrConflict: the row is not in a state that allows this, or was changed by
	// somebody else since it was read.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: a value that the schema refuses (a CHECK).
	ErrInvalid = errors.New("invalid value")
	// ErrInsufficient: the money is not there.
	ErrInsufficient = errors.New("insufficient balance")
	// ErrFenced: the proxy slot has a newer epoch or was closed or declared lost;
	// this process must not take or renew leases any more.
	ErrFenced = errors.New("proxy slot is fenced")
	// ErrSlotTaken: a live proxy with another journal uses this name.
	ErrSlotTaken = errors.New("proxy name is used by a live proxy")
	// ErrLeaseClosed: the lease was closed, for example reclaimed after expiry.
	ErrLeaseClosed = errors.New("lease is closed")
	// ErrSequence: gseq or rseq left out a step.
	ErrSequence = errors.New("lease sequence out of order")
)

// Unavailable says that err means "Postgres is away or too slow", as opposed to a
// refusal: the caller keeps what it has and tries again later.
func Unavailable(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgx.ErrTxClosed) || pgconn.Timeout(err) {
		return true
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "58": // connection, resources, operator intervention, system error
			return true
		}
		return pg.Code == "25006" // a standby: read-only
	}
	// What is left from the wire itself is no *PgError: unexpected EOF, closed pool.
	for _, known := range []error{
		ErrNotFound, ErrExists, ErrConflict, ErrInvalid, ErrInsufficient, ErrFenced, ErrSlotTaken, ErrLeaseClosed,
		ErrSequence, ErrFull, pgx.ErrNoRows, context.Canceled,
	} {
		if errors.Is(err, known) {
			return false
		}
	}
	return pgconn.SafeToRetry(err) || errors.Is(err, net.ErrClosed) || isEOF(err)
}

// TooSlow says that Postgres was there but ended the statement, or we did, for its
// time: asking for less may succeed.
func TooSlow(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57014"
	}
	var connect *pgconn.ConnectError
	return errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &connect)
}

// meaning turns what Postgres says into the package's errors, keeping the cause.
func meaning(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "23505":
		return fmt.Errorf("%w (%s): %w", ErrExists, pg.ConstraintName, err)
	case "23514":
		if pg.ConstraintName == "wallet_floor" {
			return fmt.Errorf("%w: %w", ErrInsufficient, err)
		}
		return fmt.Errorf("%w (%s): %w", ErrInvalid, pg.ConstraintName, err)
	case "22003", "23502", "22P02", "22001", "22021":
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case "23503":
		return fmt.Errorf("%w (%s): %w", ErrNotFound, pg.ConstraintName, err)
	}
	return err
}
