package store

import (
	"context"
	"errors"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/usage"
)

var errLater = errors.New("not built yet")

// ClaimSlot takes the slot of a proxy name and begins its next epoch, which fences
// every earlier process of that name from grants and renewals. A live proxy of the
// same name with another journal is ErrSlotTaken.
func (d *DB) ClaimSlot(ctx context.Context, name, journalID, internalURL string) (ProxySlot, error) {
	return ProxySlot{}, errLater
}

// Heartbeat tells that the proxy lives and which revision it applied. One statement.
func (d *DB) Heartbeat(ctx context.Context, slot int16, epoch, appliedRev int64) (Beat, error) {
	return Beat{}, errLater
}

// ReportReserved replaces what the proxy holds for running requests, by wallet;
// wallets left out count 0. What customers see as reserved (interface 8).
func (d *DB) ReportReserved(ctx context.Context, slot int16, epoch int64, holds map[int64]money.Amount) error {
	return errLater
}

// CloseSlot says that the proxy stopped in order. Its leases must be returned.
func (d *DB) CloseSlot(ctx context.Context, slot int16, epoch int64) error { return errLater }

// ProxyLost declares a proxy dead for good: fences it and closes its leases now. What
// its journal still holds is charged on the late path if it is ever found.
func (d *DB) ProxyLost(ctx context.Context, actor Actor, name string) (Closed, error) {
	return Closed{}, errLater
}

// Proxies lists the proxy slots.
func (d *DB) Proxies(ctx context.Context) ([]ProxyRow, error) { return nil, errLater }

// Grant lends money to a proxy, see GrantRequest. Idempotent by (LeaseID, Seq).
func (d *DB) Grant(ctx context.Context, r GrantRequest) (Grant, error) { return Grant{}, errLater }

// ReturnLease gives amount back, as step rseq of the lease (1, 2, …); close ends it,
// and what is then still outstanding goes back too (nothing may be in flight).
// Idempotent by (leaseID, rseq). Any epoch may return. Amount 0 answers a recall.
func (d *DB) ReturnLease(ctx context.Context, leaseID, rseq int64, amount money.Amount, close bool) error {
	return errLater
}

// RenewLeases moves the expiry of the proxy's open leases and returns the new expiry
// and the ids that are still open; the others are gone.
func (d *DB) RenewLeases(ctx context.Context, slot int16, epoch int64, ids []int64) (expires time.Time, open []int64, err error) {
	return time.Time{}, nil, errLater
}

// OpenLeases lists the open leases of a slot, of all epochs.
func (d *DB) OpenLeases(ctx context.Context, slot int16) ([]LeaseRow, error) { return nil, errLater }

// CloseOldLeases closes the slot's leases of epochs before epoch. Only after the
// journal has been shipped: later charges would take the late path.
func (d *DB) CloseOldLeases(ctx context.Context, slot int16, epoch int64) (Closed, error) {
	return Closed{}, errLater
}

// ReclaimExpired closes leases that expired more than MaxRequest + ReclaimLag ago.
func (d *DB) ReclaimExpired(ctx context.Context) (Closed, error) { return Closed{}, errLater }

// SettleBatch books at most MaxBatch records, in one transaction, idempotently by
// request id; see SettleResult. Records with Status Refused become refusal rows (at
// most 10 per key, code and minute) and counts, and move no money.
func (d *DB) SettleBatch(ctx context.Context, slot int16, recs []usage.Record) (SettleResult, error) {
	return SettleResult{}, errLater
}

// CountRefusals adds refusals that the proxy counted without recording them.
func (d *DB) CountRefusals(ctx context.Context, slot int16, counts []RefusalCount) error {
	return errLater
}

// CreateClient makes a client with its wallet and first credit.
func (d *DB) CreateClient(ctx context.Context, actor Actor, c NewClient) (Client, error) {
	return Client{}, errLater
}

// UpdateClient changes a client.
func (d *DB) UpdateClient(ctx context.Context, actor Actor, id int64, p ClientPatch) (Client, error) {
	return Client{}, errLater
}

// ClientByID reads a client.
func (d *DB) ClientByID(ctx context.Context, id int64) (Client, error) { return Client{}, errLater }

// ClientByName reads a client.
func (d *DB) ClientByName(ctx context.Context, name string) (Client, error) {
	return Client{}, errLater
}

// ListClients pages through the clients by id.
func (d *DB) ListClients(ctx context.Context, afterID int64, limit int) ([]Client, error) {
	return nil, errLater
}

// AddEntry books a recharge, correction or refund. See NewEntry.Ref.
func (d *DB) AddEntry(ctx context.Context, actor Actor, e NewEntry) (Entry, error) {
	return Entry{}, errLater
}

// ListEntries pages through a wallet's entries, newest first; beforeID 0 = from the
// newest.
func (d *DB) ListEntries(ctx context.Context, walletID, beforeID int64, limit int) ([]Entry, error) {
	return nil, errLater
}

// WalletBalance reads a wallet.
func (d *DB) WalletBalance(ctx context.Context, walletID int64) (Balance, error) {
	return Balance{}, errLater
}

// CreateKey stores a generated key.
func (d *DB) CreateKey(ctx context.Context, actor Actor, k NewKey) (Key, error) {
	return Key{}, errLater
}

// KeyByPublicID reads a key of a client (clientID 0: of any client).
func (d *DB) KeyByPublicID(ctx context.Context, clientID int64, publicID string) (Key, error) {
	return Key{}, errLater
}

// ListKeys pages through a client's keys (0: of all clients) by id.
func (d *DB) ListKeys(ctx context.Context, clientID, afterID int64, limit int) ([]Key, error) {
	return nil, errLater
}

// PatchKey changes a key of a client (clientID 0: of any).
func (d *DB) PatchKey(ctx context.Context, actor Actor, clientID int64, publicID string, p KeyPatch) (Key, error) {
	return Key{}, errLater
}

// SetKeyStatus disables, enables or revokes a key. Revoked is final (ErrConflict);
// setting what is already set changes nothing.
func (d *DB) SetKeyStatus(ctx context.Context, actor Actor, clientID int64, publicID string, s KeyStatus) (Key, error) {
	return Key{}, errLater
}

// RotateKey revokes a key with its running streams left to finish, and stores its
// successor, in one transaction. The successor's limits are taken from the old key.
func (d *DB) RotateKey(ctx context.Context, actor Actor, clientID int64, publicID string, successor NewKey) (Key, error) {
	return Key{}, errLater
}

// ApplyCatalog brings the catalogue to what the file says and tells what changed.
// Secrets must be resolved: an empty one keeps the stored one. Providers, models and
// groups that the file does not name stay; routes, aliases and keys of a named model
// or provider become exactly those of the file. Changed prices are new rows, in force
// now. Applying the same file again changes nothing.
func (d *DB) ApplyCatalog(ctx context.Context, actor Actor, f *catalogfile.File, box *seal.Box, dryRun bool) (Applied, error) {
	return Applied{}, errLater
}

// ExportCatalog returns the catalogue as a file, secrets left out.
func (d *DB) ExportCatalog(ctx context.Context) (*catalogfile.File, error) { return nil, errLater }

// PauseProvider pauses or resumes a provider.
func (d *DB) PauseProvider(ctx context.Context, actor Actor, slug string, paused bool) error {
	return errLater
}

// CreateUser stores a user; the e-mail address is lower-cased.
func (d *DB) CreateUser(ctx context.Context, actor Actor, u User) (User, error) {
	return User{}, errLater
}

// UserByEmail reads a user.
func (d *DB) UserByEmail(ctx context.Context, email string) (User, error) { return User{}, errLater }

// SetPassword replaces the hash and ends the user's sessions.
func (d *DB) SetPassword(ctx context.Context, actor Actor, userID int64, hash string) error {
	return errLater
}

// CreateSession stores a session by the digest of its token.
func (d *DB) CreateSession(ctx context.Context, digest [32]byte, userID int64, ttl time.Duration) error {
	return errLater
}

// SessionUser reads the active user of a session that has not ended.
func (d *DB) SessionUser(ctx context.Context, digest [32]byte) (User, error) {
	return User{}, errLater
}

// EndSession deletes a session.
func (d *DB) EndSession(ctx context.Context, digest [32]byte) error { return errLater }

// Usage pages through usage rows, newest first.
func (d *DB) Usage(ctx context.Context, f UsageFilter) ([]UsageRow, error) { return nil, errLater }

// Hourly reads roll-ups, oldest first.
func (d *DB) Hourly(ctx context.Context, f HourlyFilter) ([]HourRow, error) { return nil, errLater }

// AuditLog pages through the audit log, newest first; beforeID 0 = from the newest.
func (d *DB) AuditLog(ctx context.Context, beforeID int64, limit int) ([]AuditRow, error) {
	return nil, errLater
}

// Setting reads a setting (JSON), ErrNotFound if it was never set.
func (d *DB) Setting(ctx context.Context, name string) ([]byte, error) { return nil, errLater }

// SetSetting stores a setting (JSON).
func (d *DB) SetSetting(ctx context.Context, actor Actor, name string, value []byte) error {
	return errLater
}

// Locked runs f while holding the advisory lock of a job, on a connection of its
// own, and returns false at once if another process holds it.
func (d *DB) Locked(ctx context.Context, job string, f func(ctx context.Context) error) (bool, error) {
	return false, errLater
}

// Audit re-derives the books in one snapshot, read-only, without row locks.
func (d *DB) Audit(ctx context.Context, o AuditOptions) (*AuditReport, error) { return nil, errLater }
