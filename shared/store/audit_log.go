package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// Origin is from where a change comes: the call that asks for it.
type Origin struct {
	IP        string
	RequestID string
}

type originKey struct{}

// WithOrigin says from where the changes come that are made with the context.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// audit writes the audit row of a change. detail must hold no secret. What rows were
// before and after is noted by their tables (note_values).
func audit(ctx context.Context, q *db.Queries, actor Actor, action, object, id string, detail any, rev int64) error {
	text := []byte("{}")
	if detail != nil {
		var err error
		if text, err = json.Marshal(detail); err != nil {
			return fmt.Errorf("cannot write the audit row: %w", err)
		}
	}
	o, _ := ctx.Value(originKey{}).(Origin)
	return meaning(q.InsertAudit(ctx, db.InsertAuditParams{
		Actor: string(actor), Action: action, Object: object, ObjectID: id, Detail: text, Rev: rev, Ip: o.IP, RequestID: o.RequestID,
	}))
}

// AuditRow is one line of the audit log.
type AuditRow struct {
	ID       int64
	At       time.Time
	Actor    string
	Action   string
	Object   string
	ObjectID string
	Detail   []byte // JSON
	Rev      int64
	Origin
	Values []AuditValue // what the change did to rows, at most MaxAuditValues
	More   bool         // there are more of them
}

// AuditValue is a row before and after a change.
type AuditValue struct {
	Object   string // its table
	ObjectID string
	Before   []byte // JSON, nil: there was none
	After    []byte // JSON, nil: it is gone
}

// MaxAuditValues is how many rows of one change AuditLog reads: a first catalogue has
// thousands.
const MaxAuditValues = 50

// AuditFilter selects lines of the audit log. Zero values select everything.
type AuditFilter struct {
	ID       int64
	Actor    string
	Action   string
	Object   string
	ObjectID string
	From, To time.Time
	BeforeID int64 // page: only older ones
	Limit    int   // default 100
	Values   bool  // read Values, too
}

// AuditLog pages through the audit log, newest first.
func (d *DB) AuditLog(ctx context.Context, f AuditFilter) ([]AuditRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	for _, c := range []struct {
		sql   string
		value string
	}{{"actor = ?", f.Actor}, {"action = ?", f.Action}, {"object = ?", f.Object}, {"object_id = ?", f.ObjectID}} {
		if c.value != "" {
			w.and(c.sql, c.value)
		}
	}
	if f.ID != 0 {
		w.and("id = ?", f.ID)
	}
	if !f.From.IsZero() {
		w.and("at >= ?", f.From)
	}
	if !f.To.IsZero() {
		w.and("at < ?", f.To)
	}
	if f.BeforeID != 0 {
		w.and("id < ?", f.BeforeID)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := d.pool.Query(ctx, "SELECT id, at, actor, action, object, object_id, detail, rev, ip, request_id, change_id FROM audit_log"+w.String()+
		fmt.Sprintf(" ORDER BY id DESC LIMIT %d", min(f.Limit, 1000)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the audit log: %w", err)
	}
	var changes [][16]byte
	of := map[[16]byte][]int{}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r AuditRow, err error) {
		var change *[16]byte
		err = row.Scan(&r.ID, &r.At, &r.Actor, &r.Action, &r.Object, &r.ObjectID, &r.Detail, &r.Rev, &r.IP, &r.RequestID, &change)
		if change == nil {
			change = new([16]byte)
		}
		changes = append(changes, *change)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the audit log: %w", err)
	}
	if !f.Values {
		return list, nil
	}
	for i, c := range changes {
		of[c] = append(of[c], i)
	}
	return list, d.auditValues(ctx, list, of, changes)
}

// auditValues reads what the changes did. A change with two lines has it at both.
func (d *DB) auditValues(ctx context.Context, list []AuditRow, of map[[16]byte][]int, changes [][16]byte) error {
	rows, err := d.pool.Query(ctx, `SELECT c.id, v.object, v.object_id, v.before, v.after FROM (SELECT DISTINCT unnest($1::uuid[]) AS id) c,
		LATERAL (SELECT * FROM audit_value a WHERE a.change_id = c.id ORDER BY a.id LIMIT $2) v ORDER BY c.id, v.id`, changes, MaxAuditValues+1)
	if err != nil {
		return fmt.Errorf("cannot read the values of changes: %w", err)
	}
	var id [16]byte
	var v AuditValue
	_, err = pgx.ForEachRow(rows, []any{&id, &v.Object, &v.ObjectID, &v.Before, &v.After}, func() error {
		for _, i := range of[id] {
			if len(list[i].Values) == MaxAuditValues {
				list[i].More = true
				continue
			}
			list[i].Values = append(list[i].Values, v)
		}
		v = AuditValue{}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the values of changes: %w", err)
	}
	return nil
}
