// Package lease lends this proxy slices of wallets, and of the room under keys'
// caps, so that a request reserves its money with one atomic step: the slice has
// left the wallet in Postgres before it is spent here, so that no number of
// proxies, crashes or partitions can spend it twice (reliability 5).
//
// One open lease per wallet: extended by grants (gseq), renewed, given back when
// idle or recalled (rseq). Per wallet at most one database action is under way, and
// one whose answer was lost is repeated, never skipped.
//
// # Locks
//
// Manager.mu before Wallet.mu; the table of wallets (pin.Table) is a leaf: nothing
// is locked under it. No lock is held over a database call. Take, Settle and Void
// take no lock.
package lease
