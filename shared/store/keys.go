package store

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store/db"
)

// jobLock is the advisory lock number of a job.
func jobLock(job string) int64 {
	h := fnv.New64a()
	h.Write([]byte("tokenrelay job " + job))
	return int64(h.Sum64() >> 1)
}

func key(r db.KeyByPublicIDRow) Key {
	return Key{
		ID: r.ID, PublicID: r.PublicID, ClientID: r.ClientID, Name: r.Name, Last4: r.Last4, Status: KeyStatus(r.Status),
		KeyLimits: KeyLimits{
			Models: r.Models, IPAllow: r.IpAllow, RPM: r.Rpm, TPM: r.Tpm, MaxConcurrency: r.MaxConcurrency,
			MonthlyCap: amountOr(r.MonthlyCap), TotalQuota: amountOr(r.TotalQuota), DailyUSD: amountOr(r.DailyUsd),
			DrainTokens: r.DrainTokens, ExpiresAt: timeOr(r.ExpiresAt),
		},
		SpentMonth: money.Amount(r.SpentMonth), SpentTotal: money.Amount(r.SpentTotal), LastUsedAt: lastUsed(r.LastUsedUs), CreatedAt: r.CreatedAt, ChangedAt: r.ChangedAt,
	}
}

// lastUsed is when a key was used, of microseconds since 1970, 0 for never.
func lastUsed(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}

func insertKey(ctx context.Context, q *db.Queries, k NewKey) (int64, error) {
	l := k.KeyLimits
	id, err := q.InsertKey(ctx, db.InsertKeyParams{
		ClientID: k.ClientID, PublicID: k.PublicID, Digest: k.Digest[:], Last4: k.Last4, Name: k.Name, Models: filled(l.Models),
		IpAllow: filled(l.IPAllow), Rpm: l.RPM, Tpm: l.TPM, MaxConcurrency: l.MaxConcurrency, MonthlyCap: amountNull(l.MonthlyCap),
		TotalQuota: amountNull(l.TotalQuota), DailyUsd: amountNull(l.DailyUSD), DrainTokens: l.DrainTokens, ExpiresAt: timeNull(l.ExpiresAt),
	})
	return id, meaning(err)
}

// filled is s, never nil: a nil slice is stored as null.
func filled[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// CreateKey stores a generated key. Start from Unlimited() for the limits: a zero
// amount is a limit of nothing.
func (d *DB) CreateKey(ctx context.Context, actor Actor, k NewKey) (Key, error) {
	var out Key
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		id, err := insertKey(ctx, q, k)
		if err != nil {
			return err
		}
		out, err = keyChanged(ctx, q, actor, id, k.Digest, KeyCreated, k.KeyLimits)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("cannot create a key: %w", err)
	}
	return out, nil
}

// keyChanged ends a write to a key: what it is now, feed and audit rows.
func keyChanged(ctx context.Context, q *db.Queries, actor Actor, id int64, digest [32]byte, what string, detail any) (Key, error) {
	row, err := q.KeyByID(ctx, id)
	if err != nil {
		return Key{}, meaning(err)
	}
	rev, err := change(ctx, q, Change{Kind: KindKey, ID: id, Digest: digest, Detail: what})
	if err != nil {
		return Key{}, err
	}
	return key(db.KeyByPublicIDRow(row)), audit(ctx, q, actor, what, "key", row.PublicID, detail, rev)
}

// KeyByPublicID reads a key of a client (clientID 0: of any client).
func (d *DB) KeyByPublicID(ctx context.Context, clientID int64, publicID string) (Key, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	row, err := d.q.KeyByPublicID(ctx, publicID, clientID)
	if err != nil {
		return Key{}, fmt.Errorf("cannot read a key: %w", meaning(err))
	}
	return key(row), nil
}

// ListKeys pages through a client's keys (0: of all clients) by id.
func (d *DB) ListKeys(ctx context.Context, clientID, afterID int64, limit int) ([]Key, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	var keys []Key
	if clientID == 0 {
		rows, err := d.q.ListAllKeys(ctx, afterID, int32(limit))
		if err != nil {
			return nil, fmt.Errorf("cannot list keys: %w", err)
		}
		for _, r := range rows {
			keys = append(keys, key(db.KeyByPublicIDRow(r)))
		}
		return keys, nil
	}
	rows, err := d.q.ListClientKeys(ctx, clientID, afterID, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("cannot list keys: %w", err)
	}
	for _, r := range rows {
		keys = append(keys, key(db.KeyByPublicIDRow(r)))
	}
	return keys, nil
}

// lockKey locks a key of a client and reads it whole.
func lockKey(ctx context.Context, q *db.Queries, clientID int64, publicID string) (Key, [32]byte, error) {
	var digest [32]byte
	locked, err := q.LockKey(ctx, publicID, clientID)
	if err != nil {
		return Key{}, digest, meaning(err)
	}
	copy(digest[:], locked.Digest)
	row, err := q.KeyByID(ctx, locked.ID)
	if err != nil {
		return Key{}, digest, meaning(err)
	}
	return key(db.KeyByPublicIDRow(row)), digest, nil
}

// PatchKey changes a key of a client (clientID 0: of any). A revoked key is
// ErrConflict.
func (d *DB) PatchKey(ctx context.Context, actor Actor, clientID int64, publicID string, p KeyPatch) (Key, error) {
	var out Key
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		k, digest, err := lockKey(ctx, q, clientID, publicID)
		if err != nil {
			return err
		}
		if k.Status == KeyRevoked {
			return fmt.Errorf("%w: the key is revoked", ErrConflict)
		}
		set(&k.Name, p.Name)
		p.Apply(&k.KeyLimits)
		err = q.UpdateKey(ctx, db.UpdateKeyParams{
			Name: k.Name, Models: filled(k.Models), IpAllow: filled(k.IPAllow), Rpm: k.RPM, Tpm: k.TPM, MaxConcurrency: k.MaxConcurrency,
			MonthlyCap: amountNull(k.MonthlyCap), TotalQuota: amountNull(k.TotalQuota), DailyUsd: amountNull(k.DailyUSD),
			DrainTokens: k.DrainTokens, ExpiresAt: timeNull(k.ExpiresAt), RowID: k.ID,
		})
		if err != nil {
			return meaning(err)
		}
		out, err = keyChanged(ctx, q, actor, k.ID, digest, KeyPatched, p)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("cannot change a key: %w", err)
	}
	return out, nil
}

// Apply changes what is not nil.
func (p *KeyPatch) Apply(l *KeyLimits) {
	set(&l.Models, p.Models)
	set(&l.IPAllow, p.IPAllow)
	set(&l.RPM, p.RPM)
	set(&l.TPM, p.TPM)
	set(&l.MaxConcurrency, p.MaxConcurrency)
	set(&l.MonthlyCap, p.MonthlyCap)
	set(&l.TotalQuota, p.TotalQuota)
	set(&l.DailyUSD, p.DailyUSD)
	set(&l.DrainTokens, p.DrainTokens)
	set(&l.ExpiresAt, p.ExpiresAt)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// SetKeyStatus disables, enables or revokes a key. Revoked is final (ErrConflict);
// setting what is already set changes nothing.
func (d *DB) SetKeyStatus(ctx context.Context, actor Actor, clientID int64, publicID string, s KeyStatus) (Key, error) {
	what := map[KeyStatus]string{KeyActive: KeyEnabled, KeyDisabled: KeyDisabledOp, KeyRevoked: KeyRevokedOp}[s]
	var out Key
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		k, digest, err := lockKey(ctx, q, clientID, publicID)
		switch {
		case err != nil:
			return err
		case k.Status == s:
			out = k
			return nil
		case k.Status == KeyRevoked || what == "":
			return fmt.Errorf("%w: the key is revoked", ErrConflict)
		}
		if err := q.SetKeyStatus(ctx, int16(s), k.ID); err != nil {
			return meaning(err)
		}
		out, err = keyChanged(ctx, q, actor, k.ID, digest, what, nil)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("cannot change the state of a key: %w", err)
	}
	return out, nil
}

// RotateKey revokes a key with its running streams left to finish, and stores its
// successor, in one transaction. The successor's limits, and its name if it has none,
// are taken from the old key.
func (d *DB) RotateKey(ctx context.Context, actor Actor, clientID int64, publicID string, successor NewKey) (Key, error) {
	var out Key
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		old, digest, err := lockKey(ctx, q, clientID, publicID)
		if err != nil {
			return err
		}
		if old.Status != KeyActive {
			return fmt.Errorf("%w: the key is not active", ErrConflict)
		}
		next := successor
		next.ClientID, next.KeyLimits = old.ClientID, old.KeyLimits
		if next.Name == "" {
			next.Name = old.Name
		}
		if err := q.SetKeyStatus(ctx, int16(KeyRevoked), old.ID); err != nil {
			return meaning(err)
		}
		id, err := insertKey(ctx, q, next)
		if err != nil {
			return err
		}
		if _, err := keyChanged(ctx, q, actor, old.ID, digest, KeyRotated, map[string]string{"successor": next.PublicID}); err != nil {
			return err
		}
		out, err = keyChanged(ctx, q, actor, id, next.Digest, KeyCreated, map[string]string{"predecessor": publicID})
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("cannot rotate a key: %w", err)
	}
	return out, nil
}

// KeyFilter selects keys of all clients. Zero values select everything.
type KeyFilter struct {
	ClientID int64
	Status   KeyStatus
	Search   string // a part of the name, or the public id
	AfterID  int64  // page
	Limit    int    // default 100
}

// FoundKey is a key with its client's name.
type FoundKey struct {
	Key
	ClientName string
}

// FindKeys pages through keys by id.
func (d *DB) FindKeys(ctx context.Context, f KeyFilter) ([]FoundKey, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	if f.ClientID != 0 {
		w.and("client_id = ?", f.ClientID)
	}
	if f.Status != 0 {
		w.and("status = ?", int16(f.Status))
	}
	if f.Search != "" {
		w.and("(strpos(lower(name), lower(?)) > 0 OR public_id = ?)", f.Search, f.Search)
	}
	if f.AfterID != 0 {
		w.and("id > ?", f.AfterID)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := d.pool.Query(ctx, `SELECT k.id, k.public_id, k.client_id, k.name, k.last4, k.status, k.models, k.ip_allow, k.rpm, k.tpm, k.max_concurrency,
			k.monthly_cap, k.total_quota, k.daily_usd, k.drain_tokens, k.expires_at, k.created_at, k.changed_at, coalesce(m.posted, 0), coalesce(t.posted, 0), c.name
		FROM (SELECT * FROM api_key`+w.String()+fmt.Sprintf(` ORDER BY id LIMIT %d) k`, min(f.Limit, 1000))+`
		JOIN client c ON c.id = k.client_id
		LEFT JOIN budget m ON m.key_id = k.id AND m.period = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMM')::integer
		LEFT JOIN budget t ON t.key_id = k.id AND t.period = 0 ORDER BY k.id`, w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot find keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k FoundKey, err error) {
		var status int16
		var monthly, total, daily *int64
		var expires *time.Time
		err = row.Scan(&k.ID, &k.PublicID, &k.ClientID, &k.Name, &k.Last4, &status, &k.Models, &k.IPAllow, &k.RPM, &k.TPM, &k.MaxConcurrency,
			&monthly, &total, &daily, &k.DrainTokens, &expires, &k.CreatedAt, &k.ChangedAt, (*int64)(&k.SpentMonth), (*int64)(&k.SpentTotal), &k.ClientName)
		k.Status, k.ExpiresAt = KeyStatus(status), timeOr(expires)
		for _, a := range []struct {
			to   *money.Amount
			from *int64
		}{{&k.MonthlyCap, monthly}, {&k.TotalQuota, total}, {&k.DailyUSD, daily}} {
			if *a.to = None; a.from != nil {
				*a.to = money.Amount(*a.from)
			}
		}
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot find keys: %w", err)
	}
	return list, nil
}
