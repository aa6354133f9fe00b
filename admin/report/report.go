// Package report is every read of the control plane: what a customer may see of
// an account, and what operators see of the whole. Rows of another tenant are
// "not found" here, so that no caller can forget to ask.
package report

import (
	"sync"
	"time"

	"tokenrelay/shared/store"
)

// Service answers reads.
type Service struct {
	db  *store.DB
	now func() time.Time

	mu        sync.Mutex // guards catalogue, and lets one caller at a time reload it
	catalogue *Catalogue
}

// New returns a service that reads from db. now is the clock by which prices take
// effect.
func New(db *store.DB, now func() time.Time) *Service {
	return &Service{db: db, now: now}
}
