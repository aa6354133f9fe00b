// Package report is every read of the control plane: what a customer may see of
// an account, and what operators see of the whole. Rows of another tenant are
// "not found" here, so that no caller can forget to ask.
package report

import (
	"errors"
	"sync"
	"time"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// ErrCursor says that a cursor is not one that the list gave.
var ErrCursor = errors.New("no cursor of this list")

// Service answers reads.
type Service struct {
	db  *store.DB
	now func() time.Time

	mu        sync.Mutex // guards what follows, and lets one caller at a time reload the catalogue
	catalogue *Catalogue
	versions  map[int64]*price.Version // by price row
}

// New returns a service that reads from db. now is the clock by which prices take
// effect.
func New(db *store.DB, now func() time.Time) *Service {
	return &Service{db: db, now: now, versions: make(map[int64]*price.Version)}
}
