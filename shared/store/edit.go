package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store/db"
)

// Edit is one change of the catalogue by an operator.
type Edit struct {
	Action string // for the audit log: create, update, …
	Object string // model, provider, …
	ID     string
	// Change gets the catalogue as it stands, secrets left out, and returns what of it
	// becomes something else, checked as a part of the whole: ApplyCatalog could be given
	// it. Nothing else is looked at or written. Where Object is a model, all others may be
	// outlines, and the edit cannot be of them.
	Change func(*catalogfile.File) (*catalogfile.File, error)
}

// told is what the change feed says of an edit that was to make the catalogue what f says: a
// model's name only where nothing else was written, as readers then read nothing else.
func (e *Edit) told(f *catalogfile.File) string {
	if e.Object == "model" && (len(f.Providers)+len(f.Groups) > 0 || len(f.Models) != 1 || f.Models[0].ID != e.ID) {
		return "apply"
	}
	return e.Object + " " + e.ID
}

// EditCatalog changes the catalogue. Nobody else writes it meanwhile, so that no change of
// another operator is lost. Without a difference nothing happens.
func (d *DB) EditCatalog(ctx context.Context, actor Actor, box *seal.Box, e Edit) (Applied, error) {
	var out Applied
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		a := &applying{q: q, box: box, remembered: &d.prices}
		rev, err := q.LockRevision(ctx)
		if err != nil {
			return err
		}
		out = Applied{Revision: rev}
		rows, err := d.catalog.read(ctx, tx, q, &d.prices, false)
		if err != nil {
			return err
		}
		var stands *catalogfile.File
		if e.Object == "model" {
			stands = rows.about(e.ID)
		} else {
			stands = rows.file()
		}
		f, err := e.Change(stands)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(f.Models, func(m catalogfile.Model) bool { return m.Outline != catalogfile.NoOutline }) {
			return fmt.Errorf("%w: an edit of %s %q would write another model", ErrInvalid, e.Object, e.ID)
		}
		if err := a.run(ctx, f); err != nil {
			return meaning(err)
		}
		out.Changes = a.changes
		if len(a.changes) == 0 {
			return nil
		}
		if out.Revision, err = change(ctx, q, Change{Kind: KindCatalog, Detail: e.told(f)}); err != nil {
			return err
		}
		return audit(ctx, q, actor, e.Action, e.Object, e.ID, map[string]any{"changes": a.changes}, out.Revision)
	})
	if err != nil {
		return Applied{}, fmt.Errorf("cannot change %s %q: %w", e.Object, e.ID, err)
	}
	return out, nil
}

// RouteModel is the public id of the model on sale that a route serves, in use or not;
// ErrNotFound if there is none.
func (d *DB) RouteModel(ctx context.Context, id int64) (name string, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	err = d.pool.QueryRow(ctx, "SELECT m.public_id FROM route r JOIN model m ON m.id = r.model_id WHERE r.id = $1 AND m.enabled", id).Scan(&name)
	if err != nil {
		return "", fmt.Errorf("cannot find the model of route %d: %w", id, meaning(err))
	}
	return name, nil
}

// OffRoutes lists the routes of models on sale that were taken out of use, by id: those
// of one model, or of all (0). A route of the same model, provider, upstream model and
// region brings one back.
func (d *DB) OffRoutes(ctx context.Context, modelID int64) ([]RouteRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT r.id, r.model_id, r.provider_id, r.upstream_model, r.priority, r.weight, r.region
		FROM route r JOIN model m ON m.id = r.model_id WHERE NOT r.enabled AND m.enabled AND ($1 = 0 OR r.model_id = $1) ORDER BY r.id`, modelID)
	if err == nil {
		var list []RouteRow
		if list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RouteRow]); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("cannot list the routes that are off: %w", meaning(err))
}

// DisableModel takes a model out of the catalogue; its rows and its history stay, and a
// model of the same id brings it back. One that an auto model or a group names is
// ErrConflict.
func (d *DB) DisableModel(ctx context.Context, actor Actor, publicID string) error {
	return d.catalogWrite(ctx, actor, "disable", "model", publicID, func(tx pgx.Tx) error {
		var id int64
		var used bool
		err := tx.QueryRow(ctx, `SELECT id, EXISTS (SELECT FROM model WHERE enabled AND $1 = ANY (auto_models)) OR EXISTS (SELECT FROM client_group WHERE $1 = ANY (models))
			FROM model WHERE public_id = $1 AND enabled`, publicID).Scan(&id, &used)
		if err != nil {
			return err
		}
		if used {
			return fmt.Errorf("%w: an auto model or a group names it", ErrConflict)
		}
		_, err = tx.Exec(ctx, "UPDATE model SET enabled = false WHERE id = $1", id)
		return err
	})
}

// DeleteGroup removes a group without clients; one that has some is ErrConflict.
func (d *DB) DeleteGroup(ctx context.Context, actor Actor, name string) error {
	return d.catalogWrite(ctx, actor, "delete", "group", name, func(tx pgx.Tx) error {
		var id int64
		var used bool
		err := tx.QueryRow(ctx, "SELECT id, EXISTS (SELECT FROM client WHERE group_id = g.id) FROM client_group g WHERE name = $1 FOR UPDATE", name).Scan(&id, &used)
		if err != nil {
			return err
		}
		if used || name == "default" {
			return fmt.Errorf("%w: it is in use", ErrConflict)
		}
		_, err = tx.Exec(ctx, "DELETE FROM client_group WHERE id = $1", id)
		return err
	})
}

// catalogWrite is a change of the catalogue that a file cannot say.
func (d *DB) catalogWrite(ctx context.Context, actor Actor, action, object, id string, f func(pgx.Tx) error) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if _, err := q.LockRevision(ctx); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return meaning(err)
		}
		rev, err := change(ctx, q, Change{Kind: KindCatalog, Detail: object + " " + id})
		if err != nil {
			return err
		}
		return audit(ctx, q, actor, action, object, id, nil, rev)
	})
	if err != nil {
		return fmt.Errorf("cannot %s %s %q: %w", action, object, id, err)
	}
	return nil
}

// ProviderKey is a credential of a provider as operators see it: the secret is nowhere.
type ProviderKey struct {
	ID         int64
	ProviderID int64
	Name       string
	Version    int32 // grows with every new secret
	Enabled    bool
}

// AllProviderKeys lists the credentials of all providers, those that are switched off too.
func (d *DB) AllProviderKeys(ctx context.Context) ([]ProviderKey, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.AllProviderKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the provider keys: %w", err)
	}
	list := make([]ProviderKey, len(rows))
	for i, r := range rows {
		list[i] = ProviderKey{ID: r.ID, ProviderID: r.ProviderID, Name: r.Name, Version: r.Version, Enabled: r.Enabled}
	}
	return list, nil
}

// ProviderSecret opens a credential of a provider for a test call.
func (d *DB) ProviderSecret(ctx context.Context, box *seal.Box, id int64) (string, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	k := ProviderKeyRow{ID: id}
	if err := d.pool.QueryRow(ctx, "SELECT sealed, version FROM provider_key WHERE id = $1", id).Scan(&k.Sealed, &k.Version); err != nil {
		return "", fmt.Errorf("cannot read provider key %s: %w", strconv.FormatInt(id, 10), meaning(err))
	}
	return OpenSecret(box, &k)
}

// SpentToday is what today (UTC) has cost per subject, so far as the proxies have said.
func (d *DB) SpentToday(ctx context.Context, kind DayKind) (map[int64]int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT id, sum(spent)::bigint FROM limit_day WHERE kind = $1
		AND day = floor(extract(epoch FROM clock_timestamp()) / 86400)::integer GROUP BY id`, int16(kind))
	if err != nil {
		return nil, fmt.Errorf("cannot read what was spent today: %w", err)
	}
	out := map[int64]int64{}
	var id, spent int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &spent}, func() error { out[id] = spent; return nil }); err != nil {
		return nil, fmt.Errorf("cannot read what was spent today: %w", err)
	}
	return out, nil
}

// GroupSizes counts the clients of each group.
func (d *DB) GroupSizes(ctx context.Context) (map[int64]int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT group_id, count(*) FROM client GROUP BY group_id")
	if err != nil {
		return nil, fmt.Errorf("cannot count the clients of groups: %w", err)
	}
	out := map[int64]int64{}
	var id, n int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { out[id] = n; return nil }); err != nil {
		return nil, fmt.Errorf("cannot count the clients of groups: %w", err)
	}
	return out, nil
}
