package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// auditFilter selects changes.
type auditFilter struct {
	page
	Actor    string    `query:"actor" doc:"who, as the log has it: user:ann@example.com, key:<id>, operator, cli" maxlen:"300"`
	Action   string    `query:"action" maxlen:"64"`
	Object   string    `query:"object" doc:"kind of thing, such as client, key, model" maxlen:"64"`
	ObjectID string    `query:"object_id" maxlen:"300"`
	From     time.Time `query:"from"`
	To       time.Time `query:"to"`
}

// auditEntry is one change: who, what, before, after, from where.
type auditEntry struct {
	ID        int64           `json:"id"`
	Time      time.Time       `json:"time"`
	Actor     string          `json:"actor"`
	Action    string          `json:"action"`
	Object    string          `json:"object"`
	ObjectID  string          `json:"object_id"`
	Detail    json.RawMessage `json:"detail" doc:"what was asked for"`
	Revision  int64           `json:"revision" doc:"of the configuration, 0: it did not change"`
	IP        string          `json:"ip" doc:"empty: no call, such as the command line or a job"`
	RequestID string          `json:"request_id"`
	Changes   []auditValue    `json:"changes" doc:"rows before and after, of changed ones the members that differ; secrets are hidden"`
	More      bool            `json:"more" doc:"more rows were changed than are shown"`
}

type auditValue struct {
	Object   string          `json:"object"`
	ObjectID string          `json:"object_id"`
	Before   json.RawMessage `json:"before" doc:"null: there was none"`
	After    json.RawMessage `json:"after" doc:"null: it is gone"`
}

type auditEntries struct {
	Items      []auditEntry `json:"items"`
	NextCursor *string      `json:"next_cursor"`
}

type lostProxy struct {
	Proxy     string       `json:"proxy"`
	Leases    int          `json:"leases"`
	Reclaimed money.Amount `json:"reclaimed"`
}

func (a *api) logRoutes() []Route {
	return []Route{
		find("/admin/v1/audit-log", "H", "Every change, newest first: who, what, before, after, from where", a.listAudit).by(operator),
		read(fiber.MethodGet, "/admin/v1/audit-log/:audit_id", "H", "One change", func(c *Call) (*auditEntry, error) {
			id, err := strconv.ParseInt(c.Param("audit_id"), 10, 64)
			if err != nil || id <= 0 {
				return nil, apierr.ErrNotFound
			}
			rows, err := a.DB.AuditLog(c.Context, store.AuditFilter{ID: id, Limit: 1, Values: true})
			if err != nil {
				return nil, err
			}
			if len(rows) == 0 {
				return nil, apierr.ErrNotFound
			}
			v := viewAuditEntry(&rows[0])
			return &v, nil
		}).by(operator),
		read(fiber.MethodGet, "/admin/v1/self-audit", "M1", "What the relay has found when it proved its books by itself", func(c *Call) (*report.SelfAudit, error) {
			return a.Report.SelfAudit(c.Context)
		}).by(operator),
		read(fiber.MethodPost, "/admin/v1/proxies/:proxy/lost", "D2", "Declare a proxy dead for good and free the money it had borrowed", func(c *Call) (*lostProxy, error) {
			closed, err := a.Manage.ProxyLost(c.Context, c.actor(), c.Param("proxy"))
			if err != nil {
				return nil, err
			}
			return &lostProxy{Proxy: c.Param("proxy"), Leases: closed.Leases, Reclaimed: closed.Reclaimed}, nil
		}).by(operator),
	}
}

func (a *api) listAudit(c *Call, q *auditFilter) (*auditEntries, error) {
	before, err := q.row()
	if err != nil {
		return nil, err
	}
	rows, err := a.DB.AuditLog(c.Context, store.AuditFilter{
		Actor: q.Actor, Action: q.Action, Object: q.Object, ObjectID: q.ObjectID, From: q.From, To: q.To, BeforeID: before, Limit: q.Limit + 1, Values: true,
	})
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.AuditRow) int64 { return r.ID })
	list := &auditEntries{Items: make([]auditEntry, len(rows)), NextCursor: next}
	for i := range rows {
		list.Items[i] = viewAuditEntry(&rows[i])
	}
	return list, nil
}

func viewAuditEntry(r *store.AuditRow) auditEntry {
	v := auditEntry{
		ID: r.ID, Time: r.At.UTC(), Actor: r.Actor, Action: r.Action, Object: r.Object, ObjectID: r.ObjectID, Detail: r.Detail, Revision: r.Rev,
		IP: r.IP, RequestID: r.RequestID, Changes: make([]auditValue, len(r.Values)), More: r.More,
	}
	for i := range r.Values {
		x := &r.Values[i]
		v.Changes[i] = auditValue{Object: x.Object, ObjectID: x.ObjectID, Before: orNull(x.Before), After: orNull(x.After)}
	}
	return v
}

func orNull(raw []byte) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
