package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/usage"
)

// conditions are those of all tables of roll-ups. Times are widened to whole hours.
func (f *HourlyFilter) conditions() *where {
	w := &where{}
	f.addTo(w)
	return w
}

func (f *HourlyFilter) addTo(w *where) {
	if f.ClientID != 0 {
		w.and("client_id = ?", f.ClientID)
	}
	if f.KeyID != 0 {
		w.and("key_id = ?", f.KeyID)
	}
	if f.Model != "" {
		w.and("model = ?", f.Model)
	}
	if !f.From.IsZero() {
		w.and("hour >= ?", f.From.Unix()/3600)
	}
	if !f.To.IsZero() {
		w.and("hour < ?", (f.To.Unix()+3599)/3600)
	}
}

// Hourly reads roll-ups as they are, oldest first, the proxies added up.
func (d *DB) Hourly(ctx context.Context, f HourlyFilter) ([]HourRow, error) {
	return d.rollup(ctx, RollupFilter{HourlyFilter: f, Hours: 1, ByModel: true, ByKey: true, ByClient: true, Durations: true}, "1, 2, 3, 4")
}

// Rollup adds roll-ups up, newest first, then by client, model and key. One that covers a
// whole time without any roll-up is a row of zeros where nothing is grouped by.
func (d *DB) Rollup(ctx context.Context, f RollupFilter) ([]HourRow, error) {
	const order = "1 DESC, 2, 3, 4"
	if f.Hours == 0 || f.Limit == 0 || f.From.IsZero() || f.To.IsZero() || !f.ByClient && !f.ByModel && !f.ByKey {
		return d.rollup(ctx, f, order)
	}
	// A page is of the newest hours: the older ones are added up only when it is not full.
	to := f.To
	if f.After != nil && f.After.Hour.Before(to) {
		to = f.After.Hour
	}
	step := time.Duration(f.Hours) * time.Hour
	for reach := 2 * step; ; reach *= 8 {
		part := f
		if from := to.Add(-reach).Truncate(step); from.After(f.From) {
			part.From = from
		}
		rows, err := d.rollup(ctx, part, order)
		if err != nil || len(rows) >= f.Limit || part.From.Equal(f.From) {
			return rows, err
		}
	}
}

// sums adds an array up element by element. The aggregate sum_counts does the same by a
// function call per row and array, which takes ten times as long.
func sums(column string, n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("coalesce(sum(%s[%d]), 0)::bigint", column, i+1)
	}
	return "ARRAY[" + strings.Join(parts, ", ") + "]"
}

var (
	sumUnits     = sums("units", int(usage.NumClasses))
	sumDurations = sums("latency", HistogramBuckets) + ", " + sums("first_token", HistogramBuckets)
)

// rollupFigures are the columns that every table of roll-ups has.
const rollupFigures = "success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token"

// source says which roll-ups f reads, as a table for FROM: whole days from the smallest
// table that has what is asked for, hours where a day is not whole. Conditions and their
// parameters go into w.
func (f *RollupFilter) source(w *where) string {
	table, columns := "usage_daily", "hour, client_id, key_id, model, "
	var only string
	if f.KeyID == 0 && !f.ByKey {
		one := f.ClientID != 0 || f.ByClient
		model := f.Model != "" || f.ByModel
		switch {
		case one && !model:
			table, columns, only = "usage_total", "hour, client_id, model, ", "client_id <> 0"
		case !one:
			table, columns, only = "usage_total", "hour, client_id, model, ", "client_id = 0"
		}
	}
	of := func(table, columns string, from, to time.Time, only string) string {
		return "SELECT " + columns + rollupFigures + " FROM " + table + f.conditionsIn(w, from, to, only)
	}
	const hourly, all = "usage_hourly", "hour, client_id, key_id, model, "
	from, to := f.From, f.To // of whole days
	if !from.IsZero() {
		from = from.Add(24*time.Hour - time.Nanosecond).Truncate(24 * time.Hour)
	}
	if !to.IsZero() {
		to = to.Truncate(24 * time.Hour)
	}
	if f.Hours%24 != 0 || !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return "(" + of(hourly, all, f.From, f.To, "") + ") AS sums"
	}
	sql := "(" + of(table, columns, from, to, only)
	if !from.Equal(f.From) {
		sql += " UNION ALL " + of(hourly, columns, f.From, from, "")
	}
	if !to.Equal(f.To) {
		sql += " UNION ALL " + of(hourly, columns, to, f.To, "")
	}
	return sql + ") AS sums"
}

// conditionsIn are those of f within another time and with one more, as text.
func (f *RollupFilter) conditionsIn(w *where, from, to time.Time, only string) string {
	part := f.HourlyFilter
	part.From, part.To = from, to
	w.sql = nil
	part.addTo(w)
	if only != "" {
		w.and(only)
	}
	sql := w.String()
	w.sql = nil
	return sql
}

func (d *DB) rollup(ctx context.Context, f RollupFilter, order string) ([]HourRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	source := f.source(w)
	keys := [4]string{"0", "0::bigint", "''::text", "0::bigint"}
	var group []string
	for i, g := range []struct {
		on     bool
		column string
	}{{f.Hours > 0, fmt.Sprintf("hour / %d", max(f.Hours, 1))}, {f.ByClient, "client_id"}, {f.ByModel, "model"}, {f.ByKey, "key_id"}} {
		if g.on {
			keys[i] = g.column
			group = append(group, g.column)
		}
	}
	if a := f.After; a != nil {
		before := "false"
		if f.Hours > 0 {
			hours := int64(f.Hours)
			n := a.Hour.Unix() / 3600 / hours
			before = fmt.Sprintf("hour < %d", n*hours)
			w.and("hour < ?", (n+1)*hours)
		}
		w.and(fmt.Sprintf("(%s OR (%s, %s, %s) > (?, ?, ?))", before, keys[1], keys[2], keys[3]), a.ClientID, a.Model, a.KeyID)
	}
	units := sumUnits
	if f.NoUnits {
		units = "NULL::bigint[]"
	}
	sql := "SELECT " + strings.Join(keys[:], ", ") + `, coalesce(sum(success), 0)::bigint, coalesce(sum(failed), 0)::bigint, coalesce(sum(timeout), 0)::bigint,
		coalesce(sum(cancelled), 0)::bigint, coalesce(sum(interrupted), 0)::bigint, ` + units + `, coalesce(sum(charge), 0)::bigint,
		coalesce(sum(cost), 0)::bigint, coalesce(sum(overrun), 0)::bigint, coalesce(sum(bytes_in), 0)::bigint, coalesce(sum(bytes_out), 0)::bigint`
	if f.Durations {
		sql += ", " + sumDurations
	}
	sql += " FROM " + source + w.String()
	if len(group) > 0 {
		sql += " GROUP BY " + strings.Join(group, ", ") + " ORDER BY " + order
	}
	if f.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", f.Limit)
	}
	rows, err := d.pool.Query(ctx, sql, w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the roll-ups: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h HourRow, err error) {
		var n int32
		var units, latency, first []int64
		to := []any{
			&n, &h.ClientID, &h.Model, &h.KeyID, &h.Success, &h.Failed, &h.Timeout, &h.Cancelled, &h.Interrupt, &units,
			(*int64)(&h.Charge), (*int64)(&h.Cost), (*int64)(&h.Overrun), &h.BytesIn, &h.BytesOut,
		}
		if f.Durations {
			to = append(to, &latency, &first)
		}
		err = row.Scan(to...)
		if f.Hours > 0 {
			h.Hour = time.Unix(int64(n)*int64(f.Hours)*3600, 0).UTC()
		}
		copy(h.Units[:], units)
		copy(h.Latency[:], latency)
		copy(h.FirstToken[:], first)
		return h, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the roll-ups: %w", err)
	}
	return list, nil
}

// CodeSum is how often an error code was answered.
type CodeSum struct {
	Code string
	N    int64
}

// CodeSums adds the counts by error code up, refusals included, the most frequent first.
func (d *DB) CodeSums(ctx context.Context, f HourlyFilter, limit int) ([]CodeSum, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w, table := f.conditions(), "code_hourly"
	if (f == HourlyFilter{From: f.From, To: f.To}) && f.From.Equal(f.From.Truncate(24*time.Hour)) && f.To.Equal(f.To.Truncate(24*time.Hour)) {
		table = "code_total"
	}
	rows, err := d.pool.Query(ctx, "SELECT code, sum(n)::bigint FROM "+table+w.String()+
		fmt.Sprintf(" GROUP BY code ORDER BY 2 DESC, 1 LIMIT %d", limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the counts by code: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[CodeSum])
	if err != nil {
		return nil, fmt.Errorf("cannot read the counts by code: %w", err)
	}
	return list, nil
}

// KeyName is how customers see a key.
type KeyName struct {
	ID       int64
	PublicID string
	Name     string
}

// KeyNames reads the names of keys by row id.
func (d *DB) KeyNames(ctx context.Context, ids []int64) (map[int64]KeyName, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT id, public_id, name FROM api_key WHERE id = ANY ($1::bigint[])", ids)
	if err != nil {
		return nil, fmt.Errorf("cannot read the names of keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[KeyName])
	if err != nil {
		return nil, fmt.Errorf("cannot read the names of keys: %w", err)
	}
	names := make(map[int64]KeyName, len(list))
	for _, k := range list {
		names[k.ID] = k
	}
	return names, nil
}
