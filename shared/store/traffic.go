package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// AttemptRow is one attempt of one call.
type AttemptRow struct {
	RequestID reqid.ID
	N         int // of the call, from 1
	ClientID  int64
	KeyID     int64
	Model     string
	usage.Attempt
	Cost money.Amount // what the supplier takes for it
}

// AttemptFilter selects attempts. Zero values select everything.
type AttemptFilter struct {
	ProviderID int64
	RouteID    int64
	ClientID   int64
	Outcome    usage.Outcome
	Failed     bool // all outcomes but OutcomeOK
	From, To   time.Time
	Before     reqid.ID // page: only of older calls
	Calls      int      // of how many calls at most, 1 … 200
}

// Attempts lists attempts, newest call first, and tells the last call that was looked at,
// for the next page: the filter may have selected none of its attempts. more is false when
// there is no older call.
func (d *DB) Attempts(ctx context.Context, f AttemptFilter) (list []AttemptRow, last reqid.ID, more bool, err error) {
	// Only so many calls are looked at for a page, few at first, so that a filter that
	// selects next to nothing does not read a month.
	for _, look := range []int{4 * f.Calls, 4000} {
		if list, last, more, err = d.attempts(ctx, f, look); err != nil || !more || len(list) >= f.Calls {
			break
		}
	}
	return list, last, more, err
}

func (d *DB) attempts(ctx context.Context, f AttemptFilter, look int) (list []AttemptRow, last reqid.ID, more bool, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	order := byMonth
	if f.ClientID != 0 {
		w.and("u.wallet_id = (SELECT wallet_id FROM client WHERE id = ?)", f.ClientID)
		order = byID
	} else if f.Failed || f.Outcome > usage.OutcomeOK {
		w.and("has_failed(u.attempts)") // they have an index of their own
	}
	w.between(order, f.From, f.To, f.Before)
	sql := "WITH seen AS MATERIALIZED (SELECT request_id, client_id, key_id, model, attempts, cost FROM usage u" + w.String() +
		fmt.Sprintf(" ORDER BY %s LIMIT %d)", order, look)
	p := &where{args: w.args}
	if f.RouteID != 0 {
		p.and("a.route_id = ?", f.RouteID)
	}
	if f.ProviderID != 0 {
		p.and("a.route_id IN (SELECT id FROM route WHERE provider_id = ?)", f.ProviderID)
	}
	if f.Outcome != 0 {
		p.and("a.outcome = ?", int64(f.Outcome))
	}
	if f.Failed {
		p.and("a.outcome <> ?", int64(usage.OutcomeOK))
	}
	sql += `, a AS (SELECT u.request_id, u.client_id, u.key_id, u.model, n::integer AS n, u.attempts[6 * n - 5] AS route_id, u.attempts[6 * n - 4] AS provider_key_id,
			u.attempts[6 * n - 3] AS http_status, u.attempts[6 * n - 2] AS outcome, u.attempts[6 * n - 1] AS start_us, u.attempts[6 * n] AS end_us,
			CASE WHEN 6 * n = cardinality(u.attempts) THEN u.cost ELSE 0 END AS cost
		FROM seen u, generate_series(1, cardinality(u.attempts) / 6) AS n),
	f AS (SELECT a.* FROM a` + p.String() + `), picked AS (SELECT DISTINCT request_id FROM f` + fmt.Sprintf(` ORDER BY request_id DESC LIMIT %d)`, f.Calls+1) + `
	SELECT s.n, s.oldest, f.* FROM (SELECT count(*) AS n, min(request_id::text)::uuid AS oldest FROM seen) s
	LEFT JOIN (SELECT f.* FROM f JOIN picked USING (request_id)) f ON true ORDER BY f.request_id DESC, f.n`
	rows, err := d.pool.Query(ctx, sql, p.args...)
	if err != nil {
		return nil, last, false, fmt.Errorf("cannot list attempts: %w", err)
	}
	var seen, calls int
	var oldest, id *[16]byte
	var a [10]*int64
	var model *string
	var all []AttemptRow
	_, err = pgx.ForEachRow(rows, []any{&seen, &oldest, &id, &a[0], &a[1], &model, &a[2], &a[3], &a[4], &a[5], &a[6], &a[7], &a[8], &a[9]}, func() error {
		if id == nil { // nothing selected: the row only says how much was looked at
			return nil
		}
		all = append(all, AttemptRow{
			RequestID: *id, ClientID: *a[0], KeyID: *a[1], Model: *model, N: int(*a[2]), Cost: money.Amount(*a[9]),
			Attempt: usage.Attempt{RouteID: *a[3], ProviderKeyID: *a[4], HTTPStatus: int32(*a[5]), Outcome: usage.Outcome(*a[6]), StartMicros: int32(*a[7]), EndMicros: int32(*a[8])},
		})
		return nil
	})
	if err != nil {
		return nil, last, false, fmt.Errorf("cannot list attempts: %w", err)
	}
	var previous reqid.ID
	for i := range all {
		if all[i].RequestID != previous {
			if calls++; calls > f.Calls {
				return list, previous, true, nil
			}
			previous = all[i].RequestID
		}
		list = append(list, all[i])
	}
	// A page that is not full because the look ended: go on from where it did.
	if oldest == nil {
		return list, last, false, nil
	}
	return list, *oldest, seen == look, nil
}

// The two orders of usage rows, newest first, each with its index: that of a wallet or a
// key, and that of all. The month is the id's, so both say the same.
const (
	byID    = "u.request_id DESC"
	byMonth = "u.month DESC, u.request_id DESC"
)

// ids limits rows u by the times in their ids.
func (w *where) ids(from, to time.Time, before reqid.ID) {
	if !from.IsZero() {
		w.and("u.request_id >= ?::uuid", [16]byte(reqid.Min(from.UnixMilli())))
	}
	if !to.IsZero() {
		w.and("u.request_id < ?::uuid", [16]byte(reqid.Min(to.UnixMilli())))
	}
	if !before.IsZero() {
		w.and("u.request_id < ?::uuid", [16]byte(before))
	}
}

// between limits usage rows u by the times in their ids. The months say which partitions
// can hold them. By month the pairs say where to begin in the index, elsewhere they would
// only make Postgres believe that next to nothing is selected; a single month is said as
// one, because a pair does not say where to end.
func (w *where) between(order string, from, to time.Time, before reqid.ID) {
	defer w.ids(from, to, before)
	if order == byMonth && !from.IsZero() {
		last := reqid.MonthOf(time.Now().Add(time.Hour).UnixMilli()) // an hour: clocks differ
		if !to.IsZero() {
			last = min(last, reqid.MonthOf(to.UnixMilli()))
		}
		if !before.IsZero() {
			last = min(last, before.Month())
		}
		if last <= reqid.MonthOf(from.UnixMilli()) {
			w.and("u.month = ?", reqid.MonthOf(from.UnixMilli()))
			return
		}
	}
	month := func(op string, id reqid.ID) {
		w.and("u.month "+op+" ?", id.Month())
		if order == byMonth {
			w.and("(u.month, u.request_id) "+op+" (?::integer, ?::uuid)", id.Month(), [16]byte(id))
		}
	}
	if !from.IsZero() {
		month(">=", reqid.Min(from.UnixMilli()))
	}
	if !to.IsZero() {
		month("<=", reqid.Min(to.UnixMilli()))
	}
	if !before.IsZero() {
		month("<=", before)
	}
}

// AttemptSum adds attempts of some hours up.
type AttemptSum struct {
	Hour       time.Time // its first moment; zero when the whole time is one row
	ProviderID int64     // 0: unknown
	RouteID    int64     // 0 when it is not grouped by
	KeyID      int64     // of the provider's credentials; 0 when it is not grouped by
	N          int64
	OK         int64
	Connect    int64
	Timeout    int64
	Status429  int64
	Status4xx  int64 // but 429
	Status5xx  int64
	Broken     int64 // error events, cut streams, unreadable answers
	Cancelled  int64
	Micros     int64 // that they took together
	Cost       money.Amount
}

// AttemptRollup says how attempts are added up.
type AttemptRollup struct {
	From, To time.Time // whole hours
	Hours    int       // of a row: 1, 24; 0 = the whole time is one row
	ByRoute  bool
	ByKey    bool
	Provider int64 // only of this one
}

// AttemptSums adds attempts up by provider, newest first.
func (d *DB) AttemptSums(ctx context.Context, f AttemptRollup) ([]AttemptSum, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	keys := [3]string{"0", "0::bigint", "0::bigint"}
	group := "2"
	if f.Hours > 0 {
		keys[0], group = fmt.Sprintf("h.hour / %d", f.Hours), group+", 1"
	}
	if f.ByRoute {
		keys[1], group = "h.route_id", group+", 3"
	}
	if f.ByKey {
		keys[2], group = "h.provider_key_id", group+", 4"
	}
	w := &where{}
	w.and("h.hour >= ?", f.From.Unix()/3600)
	w.and("h.hour < ?", (f.To.Unix()+3599)/3600)
	if f.Provider != 0 {
		w.and("r.provider_id = ?", f.Provider)
	}
	rows, err := d.pool.Query(ctx, fmt.Sprintf(`SELECT %s, coalesce(r.provider_id, 0), %s, %s, sum(n)::bigint,
			coalesce(sum(n) FILTER (WHERE outcome = 1), 0)::bigint, coalesce(sum(n) FILTER (WHERE outcome = 2), 0)::bigint,
			coalesce(sum(n) FILTER (WHERE outcome = 3), 0)::bigint, coalesce(sum(n) FILTER (WHERE outcome = 4 AND http_status = 429), 0)::bigint,
			coalesce(sum(n) FILTER (WHERE outcome = 4 AND http_status BETWEEN 400 AND 499 AND http_status <> 429), 0)::bigint,
			coalesce(sum(n) FILTER (WHERE outcome = 4 AND http_status NOT BETWEEN 400 AND 499), 0)::bigint,
			coalesce(sum(n) FILTER (WHERE outcome IN (5, 6, 7)), 0)::bigint, coalesce(sum(n) FILTER (WHERE outcome = 8), 0)::bigint,
			sum(micros)::bigint, sum(h.cost)::bigint
		FROM attempt_hourly h LEFT JOIN route r ON r.id = h.route_id%s GROUP BY %s ORDER BY 1 DESC, 2, 3, 4`, keys[0], keys[1], keys[2], w, group), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot add attempts up: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s AttemptSum, err error) {
		var n int64
		err = row.Scan(&n, &s.ProviderID, &s.RouteID, &s.KeyID, &s.N, &s.OK, &s.Connect, &s.Timeout, &s.Status429, &s.Status4xx, &s.Status5xx, &s.Broken, &s.Cancelled, &s.Micros, (*int64)(&s.Cost))
		if f.Hours > 0 {
			s.Hour = time.Unix(n*int64(f.Hours)*3600, 0).UTC()
		}
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot add attempts up: %w", err)
	}
	return list, nil
}

// RouteName says what a route is.
type RouteName struct {
	ID            int64
	Model         string
	ProviderID    int64
	Provider      string
	UpstreamModel string
}

// RouteNames reads what all routes are, those that are switched off too.
func (d *DB) RouteNames(ctx context.Context) (map[int64]RouteName, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `SELECT r.id, m.public_id, r.provider_id, p.slug, r.upstream_model
		FROM route r JOIN model m ON m.id = r.model_id JOIN provider p ON p.id = r.provider_id`)
	if err != nil {
		return nil, fmt.Errorf("cannot read the names of routes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RouteName])
	if err != nil {
		return nil, fmt.Errorf("cannot read the names of routes: %w", err)
	}
	out := make(map[int64]RouteName, len(list))
	for _, r := range list {
		out[r.ID] = r
	}
	return out, nil
}

// Live is what happens at the moment.
type Live struct {
	Now      time.Time
	Proxies  []LiveProxy
	Steps    []LiveStep // the last minute in steps of LiveStepSeconds, oldest first; those without calls are left out
	Sampled  bool       // there were more calls than were looked at: the oldest of the minute are missing
	Reserved money.Amount
}

// LiveProxy is what one proxy holds for running calls.
type LiveProxy struct {
	Slot     int16
	Wallets  int64
	Reserved money.Amount
}

// LiveStepSeconds is how long a step of Live is.
const LiveStepSeconds = 5

// LiveStep counts the calls that began in a step and have ended.
type LiveStep struct {
	At      time.Time
	Calls   int64
	Failed  int64 // neither a success nor given up by its caller
	Charge  money.Amount
	Clients int64
}

// liveCalls is how many calls of the last minute are looked at.
const liveCalls = 20_000

// Live reads the holds of running calls and the calls of the last minute.
func (d *DB) Live(ctx context.Context) (*Live, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	out := &Live{}
	var err error
	if out.Now, err = d.q.Now(ctx); err != nil {
		return nil, fmt.Errorf("cannot read the live traffic: %w", err)
	}
	rows, err := d.pool.Query(ctx, `SELECT slot, count(*), sum(amount)::bigint FROM reserved WHERE at > clock_timestamp() - interval '10 seconds' GROUP BY slot ORDER BY slot`)
	if err != nil {
		return nil, fmt.Errorf("cannot read the live traffic: %w", err)
	}
	var p LiveProxy
	if _, err := pgx.ForEachRow(rows, []any{&p.Slot, &p.Wallets, (*int64)(&p.Reserved)}, func() error {
		out.Proxies = append(out.Proxies, p)
		out.Reserved, err = out.Reserved.Add(p.Reserved)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot read the live traffic: %w", err)
	}
	w := &where{}
	w.between(byMonth, out.Now.Add(-time.Minute), time.Time{}, reqid.ID{})
	rows, err = d.pool.Query(ctx, fmt.Sprintf(`SELECT ms_of(request_id) / %d, count(*), count(*) FILTER (WHERE status NOT IN (1, 4)), sum(charge)::bigint, count(DISTINCT client_id)
		FROM (SELECT u.request_id, u.status, u.charge, u.client_id FROM usage u%s ORDER BY %s LIMIT %d) u
		GROUP BY 1 ORDER BY 1`, LiveStepSeconds*1000, w, byMonth, liveCalls), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the live traffic: %w", err)
	}
	var at, all int64
	var s LiveStep
	if _, err := pgx.ForEachRow(rows, []any{&at, &s.Calls, &s.Failed, (*int64)(&s.Charge), &s.Clients}, func() error {
		s.At = time.Unix(at*LiveStepSeconds, 0).UTC()
		all += s.Calls
		out.Steps = append(out.Steps, s)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("cannot read the live traffic: %w", err)
	}
	out.Sampled = all >= liveCalls
	return out, nil
}

// SelfAudit is what was found when a slice of the books was last proven.
type SelfAudit struct {
	Slice, Slices int
	At            time.Time
	Broken        int64
	Report        []byte // JSON
}

// NoteSelfAudit keeps what was found; results of another number of slices go.
func (d *DB) NoteSelfAudit(ctx context.Context, a SelfAudit) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	_, err := d.pool.Exec(ctx, `WITH old AS (DELETE FROM self_audit WHERE slices <> $2)
		INSERT INTO self_audit (slice, slices, at, broken, report) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (slices, slice) DO UPDATE SET at = excluded.at, broken = excluded.broken, report = excluded.report`, a.Slice, a.Slices, a.At, a.Broken, a.Report)
	if err != nil {
		return fmt.Errorf("cannot keep the result of an audit: %w", err)
	}
	return nil
}

// SelfAudits reads what was found in every slice that was proven.
func (d *DB) SelfAudits(ctx context.Context) ([]SelfAudit, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT slice, slices, at, broken, report FROM self_audit ORDER BY slice")
	if err != nil {
		return nil, fmt.Errorf("cannot read the results of audits: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[SelfAudit])
	if err != nil {
		return nil, fmt.Errorf("cannot read the results of audits: %w", err)
	}
	return list, nil
}
