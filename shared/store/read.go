package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// where collects the conditions of a query and their parameters.
type where struct {
	sql  []string
	args []any
}

// and adds a condition; each ? of it is one parameter.
func (w *where) and(sql string, args ...any) {
	for _, a := range args {
		w.args = append(w.args, a)
		sql = strings.Replace(sql, "?", fmt.Sprintf("$%d", len(w.args)), 1)
	}
	w.sql = append(w.sql, sql)
}

func (w *where) String() string {
	if len(w.sql) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.sql, " AND ")
}

const usageColumns = `u.request_id, u.slot, u.client_id, u.wallet_id, u.key_id, u.endpoint, u.model, u.requested_model,
	CASE WHEN u.client_request_id = '' THEN coalesce(d.client_request_id, '') ELSE u.client_request_id END, coalesce(d.conversation_id, ''),
	u.status, u.http_status, u.code, u.flags | coalesce(d.flags, 0), u.source, u.units, u.hold, u.charge, u.cost, u.overrun, u.price_id, u.cost_price_id,
	u.model_ppm, u.group_ppm, u.client_ppm, u.wallet_lease, u.month_lease, u.total_lease, u.late, u.admitted_us, u.first_token_us,
	u.end_us, u.bytes_in, u.bytes_out, u.attempts`

// joinDetail finds what stands beside each row u, one by one: a page needs few.
const joinDetail = ` LEFT JOIN LATERAL (SELECT * FROM usage_detail t WHERE t.client_id = u.client_id AND t.request_id = u.request_id LIMIT 1) d ON true`

// scanUsage reads usageColumns, and more into the pointers that follow.
func scanUsage(row pgx.Row, r *usage.Record, late *int16, more ...any) error {
	var id [16]byte
	var endpoint, status, source int16
	var flags int32
	var units, attempts []int64
	to := append([]any{
		&id, &r.ProxySlot, &r.ClientID, &r.WalletID, &r.KeyID, &endpoint, &r.Model, &r.RequestedModel, &r.ClientRequestID, &r.ConversationID,
		&status, &r.HTTPStatus, &r.Code, &flags, &source, &units, (*int64)(&r.Hold), (*int64)(&r.Charge), (*int64)(&r.Cost), (*int64)(&r.Overrun),
		&r.PriceID, &r.CostPriceID, &r.ModelPPM, &r.GroupPPM, &r.ClientPPM, &r.WalletLease, &r.MonthLease, &r.TotalLease, late,
		&r.AdmittedMicros, &r.FirstTokenMicros, &r.EndMicros, &r.BytesIn, &r.BytesOut, &attempts,
	}, more...)
	if err := row.Scan(to...); err != nil {
		return err
	}
	r.ID, r.Endpoint, r.Status, r.Source, r.Flags = id, uint8(endpoint), usage.Status(status), usage.Source(source), usage.Flags(flags)
	copy(r.Units[:], units)
	for i := 0; i+6 <= len(attempts) && int(r.NumAttempts) < usage.MaxAttempts; i += 6 {
		a := attempts[i : i+6]
		r.Attempts[r.NumAttempts] = usage.Attempt{
			RouteID: a[0], ProviderKeyID: a[1], HTTPStatus: int32(a[2]), Outcome: usage.Outcome(a[3]), StartMicros: int32(a[4]), EndMicros: int32(a[5]),
		}
		r.NumAttempts++
	}
	return nil
}

// Usage pages through usage rows (with f.Refusals: and the sampled refusals), newest
// first. The next page is asked for with Before = the last row's id.
func (d *DB) Usage(ctx context.Context, f UsageFilter) ([]UsageRow, error) {
	if f.WalletID == 0 && !f.All {
		return nil, fmt.Errorf("cannot list usage: %w: no wallet named", ErrInvalid)
	}
	if f.Conversation != "" && f.WalletID == 0 {
		return nil, fmt.Errorf("cannot list usage: %w: a conversation is one client's", ErrInvalid)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 1000)
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.usageRows(ctx, f)
	if err == nil && f.Refusals && f.Conversation == "" && (len(f.Statuses) == 0 || slices.Contains(f.Statuses, usage.Refused)) {
		var refused []UsageRow
		refused, err = d.refusalRows(ctx, f)
		rows = newest(append(rows, refused...), f.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list usage: %w", err)
	}
	return rows, nil
}

// conditions are those that usage and refusals share, but for the time.
func (f *UsageFilter) conditions() *where {
	w := &where{}
	if f.WalletID != 0 {
		w.and("u.wallet_id = ?", f.WalletID)
	}
	if f.KeyID != 0 {
		w.and("u.key_id = ?", f.KeyID)
	}
	if f.Model != "" {
		w.and("u.model = ?", f.Model)
	}
	if !f.RequestID.IsZero() {
		w.and("u.request_id = ?::uuid", [16]byte(f.RequestID))
	}
	return w
}

const joinNames = ` LEFT JOIN api_key k ON k.id = u.key_id LEFT JOIN proxy_slot p ON p.id = u.slot`

// usageRows reads the rows that f selects, each of the rare statuses by itself: they have
// indexes in which the others are not.
func (d *DB) usageRows(ctx context.Context, f UsageFilter) ([]UsageRow, error) {
	var statuses []usage.Status // of rows of this table
	for _, status := range f.Statuses {
		if status != usage.Refused {
			statuses = append(statuses, status)
		}
	}
	if len(f.Statuses) > 0 && len(statuses) == 0 {
		return nil, nil
	}
	if f.Model != "" && f.RequestID.IsZero() {
		some, err := d.boundByModel(ctx, &f)
		if err != nil || !some {
			return nil, err
		}
	}
	if len(statuses) == 0 {
		statuses = []usage.Status{0}
	}
	var all []UsageRow
	for _, status := range statuses {
		rows, err := d.usageRowsOf(ctx, f, status)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	if len(statuses) > 1 {
		all = newest(all, f.Limit)
	}
	return all, nil
}

// newest orders rows by id, newest first, and leaves limit of them.
func newest(rows []UsageRow, limit int) []UsageRow {
	slices.SortFunc(rows, func(a, b UsageRow) int { return -bytes.Compare(a.ID[:], b.ID[:]) })
	return rows[:min(len(rows), limit)]
}

// boundByModel narrows f to the days in which calls of its model can be, as many as a page
// needs: the roll-ups know them. some is false when there are none.
func (d *DB) boundByModel(ctx context.Context, f *UsageFilter) (some bool, err error) {
	w := &where{}
	w.and("model = ?", f.Model)
	if f.WalletID != 0 {
		w.and("client_id = (SELECT id FROM client WHERE wallet_id = ?)", f.WalletID)
	}
	if f.KeyID != 0 {
		w.and("key_id = ?", f.KeyID)
	}
	if !f.From.IsZero() {
		w.and("hour > ?", f.From.Unix()/3600-24)
	}
	to := f.To
	if before := f.Before.Time(); !f.Before.IsZero() && (to.IsZero() || before.Before(to)) {
		to = before
	}
	if !to.IsZero() {
		w.and("hour <= ?", to.Unix()/3600)
	}
	table := "usage_daily"
	if f.WalletID == 0 && f.KeyID == 0 {
		table = "usage_total"
		w.and("client_id = 0")
	}
	rows, err := d.pool.Query(ctx, "SELECT hour, sum(success + failed + timeout + cancelled + interrupted)::bigint FROM "+table+w.String()+" GROUP BY hour ORDER BY hour DESC", w.args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var found int64
	for rows.Next() {
		var hour int32
		var n int64
		if err := rows.Scan(&hour, &n); err != nil {
			return false, err
		}
		first := time.Unix(int64(hour)*3600, 0).UTC()
		next := first.AddDate(0, 0, 1)
		if !some && (f.To.IsZero() || next.Before(f.To)) {
			f.To = next
		}
		some = true
		// Days of which only a part is asked for may not have what they count, nor has a
		// narrower filter all of it.
		if len(f.Statuses) == 0 && !f.Held && !f.Charged && f.Conversation == "" && (to.IsZero() || !next.After(to)) {
			found += n
		}
		if found >= int64(f.Limit) {
			if first.After(f.From) {
				f.From = first
			}
			return true, nil
		}
	}
	return some, rows.Err()
}

func (d *DB) usageRowsOf(ctx context.Context, f UsageFilter, status usage.Status) ([]UsageRow, error) {
	w := f.conditions()
	if status != 0 {
		w.and(fmt.Sprintf("u.status = %d", status)) // a constant: the indexes leave one out
	}
	if f.Held {
		w.and("u.hold > 0")
	}
	if f.Charged {
		w.and("u.charge > 0")
	}
	// The months that can hold such ids: other partitions are not looked at.
	if !f.RequestID.IsZero() {
		w.and("u.month = ?", f.RequestID.Month())
	}
	order := byID
	if f.WalletID == 0 && f.KeyID == 0 && status <= usage.Success {
		order = byMonth
	}
	w.between(order, f.From, f.To, f.Before)
	from := "usage u"
	if f.Conversation != "" {
		from, order = fromConversation, "c.request_id DESC"
		w.ofConversation(f.WalletID, f.Conversation, f.From, f.To, f.Before)
	}
	sql := "SELECT " + usageColumns + ", coalesce(k.public_id, ''), coalesce(k.name, ''), coalesce(p.name, '') FROM " + from + joinNames + joinDetail +
		w.String() + fmt.Sprintf(" ORDER BY %s LIMIT %d", order, f.Limit)
	rows, err := d.pool.Query(ctx, sql, w.args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r UsageRow, err error) {
		var late int16
		err = scanUsage(row, &r.Record, &late, &r.KeyPublicID, &r.KeyName, &r.ProxyName)
		r.Late = late&lateWallet != 0
		return r, err
	})
}

func (d *DB) refusalRows(ctx context.Context, f UsageFilter) ([]UsageRow, error) {
	w := f.conditions()
	w.ids(f.From, f.To, f.Before)
	sql := `SELECT u.request_id, u.slot, u.client_id, u.wallet_id, u.key_id, u.endpoint, u.model, u.requested_model, u.client_request_id,
		u.http_status, u.code, u.flags, u.admitted_us, u.end_us, u.bytes_in,
		coalesce(k.public_id, ''), coalesce(k.name, ''), coalesce(p.name, '') FROM refusal u` + joinNames +
		w.String() + fmt.Sprintf(" ORDER BY u.request_id DESC LIMIT %d", f.Limit)
	rows, err := d.pool.Query(ctx, sql, w.args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r UsageRow, err error) {
		var id [16]byte
		var endpoint int16
		var flags int32
		err = row.Scan(&id, &r.ProxySlot, &r.ClientID, &r.WalletID, &r.KeyID, &endpoint, &r.Model, &r.RequestedModel, &r.ClientRequestID,
			&r.HTTPStatus, &r.Code, &flags, &r.AdmittedMicros, &r.EndMicros, &r.BytesIn, &r.KeyPublicID, &r.KeyName, &r.ProxyName)
		r.ID, r.Endpoint, r.Flags, r.Status = id, uint8(endpoint), usage.Flags(flags), usage.Refused
		return r, err
	})
}

// Entries pages through a wallet's entries by time, newest first. The next page is asked
// for with Before and BeforeID = the last row's time and id.
func (d *DB) Entries(ctx context.Context, f EntryFilter) ([]Entry, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	w.and("wallet_id = ?", f.WalletID)
	if f.ID != 0 {
		w.and("id = ?", f.ID)
	}
	if len(f.Kinds) > 0 {
		w.and("kind = ANY (?::text[])", f.Kinds)
	}
	if !f.From.IsZero() {
		w.and("created_at >= ?", f.From)
	}
	if !f.To.IsZero() {
		w.and("created_at < ?", f.To)
	}
	if !f.RequestID.IsZero() {
		w.and("request_id = ?::uuid", [16]byte(f.RequestID))
	}
	if !f.Before.IsZero() {
		w.and("(created_at, id) < (?, ?)", f.Before, f.BeforeID)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := d.pool.Query(ctx, "SELECT id, wallet_id, kind, amount, ref, note, actor, request_id, created_at FROM entry"+
		w.String()+fmt.Sprintf(" ORDER BY created_at DESC, id DESC LIMIT %d", min(f.Limit, 1000)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot list the entries of wallet %d: %w", f.WalletID, err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Entry, error) {
		var e db.Entry
		err := row.Scan(&e.ID, &e.WalletID, &e.Kind, &e.Amount, &e.Ref, &e.Note, &e.Actor, &e.RequestID, &e.CreatedAt)
		return entry(e), err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the entries of wallet %d: %w", f.WalletID, err)
	}
	return entries, nil
}

// CodeRow counts requests of an hour by error code, refusals included.
type CodeRow struct {
	Hour            time.Time
	ClientID, KeyID int64
	Model, Code     string
	N               int64
}

// Codes reads the counts by error code, oldest first, the proxies added up.
func (d *DB) Codes(ctx context.Context, f HourlyFilter) ([]CodeRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := f.conditions()
	rows, err := d.pool.Query(ctx, "SELECT hour, client_id, key_id, model, code, sum(n)::bigint FROM code_hourly"+w.String()+
		" GROUP BY hour, client_id, key_id, model, code ORDER BY hour, client_id, key_id, model, code", w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the counts by code: %w", err)
	}
	codes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c CodeRow, err error) {
		var hour int32
		err = row.Scan(&hour, &c.ClientID, &c.KeyID, &c.Model, &c.Code, &c.N)
		c.Hour = time.Unix(int64(hour)*3600, 0).UTC()
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the counts by code: %w", err)
	}
	return codes, nil
}
