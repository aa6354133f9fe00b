package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/seal"
	"tokenrelay/shared/store/db"
)

// Event is something that happened which somebody should know: one row a day for each
// kind and subject.
type Event struct {
	ID       int64
	Kind     string
	Subject  string
	Day      int64 // since 1970, UTC
	ClientID int64 // whose it is, 0: the operators'
	Detail   map[string]string
	At       time.Time
}

// The kinds of events.
const (
	EventLowBalance     = "low_balance"     // a client's available money is below its threshold
	EventCapNear        = "cap_near"        // a key has spent the part of its cap that its client wants to hear of
	EventCapReached     = "cap_reached"     // a key has spent its cap or quota
	EventDailyLimit     = "daily_limit"     // a key or a group has spent its day
	EventProviderPaused = "provider_paused" // by an operator or its daily stop
	EventErrorRate      = "error_rate"      // too many calls of a model fail
	EventProviderErrors = "provider_errors" // too many attempts at a provider fail
	EventStatement      = "statement_ready" // the month is over
)

// EventRules is from when on the operators hear of failures.
type EventRules struct {
	ErrorPercent    int // of the calls of a model in this hour and the last
	ProviderPercent int // of the attempts at a provider in the same time
	Least           int // calls or attempts, before a share says anything
}

// addEvents stores what a query finds: columns kind, subject, client_id, detail (text
// pairs as jsonb), day. What was stored today already stays.
func (d *DB) addEvents(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	tag, err := d.pool.Exec(ctx, `INSERT INTO event (kind, subject, client_id, detail, day) `+query+` ON CONFLICT (kind, subject, day) DO NOTHING`, args...)
	if err != nil {
		return 0, fmt.Errorf("cannot note events: %w", err)
	}
	return tag.RowsAffected(), nil
}

// usdSQL is an amount of nano-USD as text, in SQL: exact, no point where there is no need.
func usdSQL(column string) string {
	return `trim_scale((` + column + `)::numeric / 1000000000)::text`
}

// FindEvents looks at balances, caps, limits, providers and failures, and notes what is
// new today by now. It returns how many events it noted.
func (d *DB) FindEvents(ctx context.Context, now time.Time, rules EventRules) (total int64, err error) {
	day := now.Unix() / 86400
	hour := now.Unix() / 3600
	month := int32(now.UTC().Year()*100 + int(now.UTC().Month()))
	previous := now.UTC().AddDate(0, 0, -now.UTC().Day())
	statement := fmt.Sprintf("%04d-%02d", previous.Year(), previous.Month())
	begins := time.Date(previous.Year(), previous.Month(), 1, 0, 0, 0, 0, time.UTC).Unix() / 3600
	ends := time.Date(now.UTC().Year(), now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC).Unix() / 3600
	for _, q := range []struct {
		sql  string
		args []any
		on   bool
	}{
		{`SELECT 'low_balance', 'client:' || c.id, c.id, jsonb_build_object('available', ` + usdSQL("w.balance - coalesce(r.held, 0)") + `, 'threshold', ` + usdSQL("c.low_balance") + `), $1::integer
			FROM client c JOIN wallet w ON w.id = c.wallet_id
			LEFT JOIN (SELECT wallet_id, sum(amount) AS held FROM reserved WHERE at > clock_timestamp() - interval '10 seconds' GROUP BY 1) r ON r.wallet_id = w.id
			WHERE c.active AND c.low_balance IS NOT NULL AND w.balance - coalesce(r.held, 0) < c.low_balance`, []any{day}, true},
		{`SELECT x.kind, 'key:' || k.public_id || CASE WHEN b.period = 0 THEN ':total' ELSE ':month' END, k.client_id,
				jsonb_build_object('key_id', k.public_id, 'key_name', k.name, 'limit', CASE WHEN b.period = 0 THEN 'total_quota' ELSE 'monthly_cap' END,
					'cap', ` + usdSQL("b.cap") + `, 'spent', ` + usdSQL("b.posted") + `), $1::integer
			FROM budget b JOIN api_key k ON k.id = b.key_id AND k.status = 1 JOIN client c ON c.id = k.client_id AND c.active,
			LATERAL (SELECT 'cap_reached' AS kind WHERE b.posted >= b.cap
				UNION ALL SELECT 'cap_near' WHERE b.posted < b.cap AND c.quota_percent IS NOT NULL AND b.posted::numeric * 100 >= b.cap::numeric * c.quota_percent) x
			WHERE b.period IN (0, $2) AND b.cap = CASE WHEN b.period = 0 THEN k.total_quota ELSE k.monthly_cap END`, []any{day, month}, true},
		{`SELECT 'daily_limit', CASE l.kind WHEN 1 THEN 'key:' || k.public_id ELSE 'group:' || g.name END, k.client_id,
				jsonb_strip_nulls(jsonb_build_object('key_id', k.public_id, 'key_name', k.name, 'group', g.name, 'limit', ` + usdSQL("l.daily") + `, 'spent', ` + usdSQL("l.spent") + `)), l.day
			FROM limit_event l LEFT JOIN api_key k ON l.kind = 1 AND k.id = l.id LEFT JOIN client_group g ON l.kind = 2 AND g.id = l.id
			WHERE l.kind IN (1, 2) AND l.day = $1::integer AND (k.id IS NOT NULL OR g.id IS NOT NULL)`, []any{day}, true},
		{`SELECT DISTINCT ON (object_id) 'provider_paused', 'provider:' || p.slug, NULL::bigint, jsonb_build_object('provider', p.slug, 'actor', a.actor), $1::integer
			FROM audit_log a JOIN provider p ON p.slug = a.object_id OR p.id::text = a.object_id
			WHERE a.object = 'provider' AND a.action = 'pause' AND a.at >= to_timestamp($1::bigint * 86400) AND p.paused ORDER BY object_id, a.id DESC`, []any{day}, true},
		{`SELECT 'error_rate', 'model:' || model, NULL::bigint, jsonb_build_object('model', model, 'calls', n::text, 'failed', bad::text, 'percent', (bad * 100 / n)::text), $1::integer
			FROM (SELECT model, sum(success + failed + timeout + interrupted) AS n, sum(failed + timeout + interrupted) AS bad FROM usage_hourly WHERE hour >= $2::integer GROUP BY 1) h
			WHERE n >= $3 AND bad * 100 >= n * $4`, []any{day, hour - 1, rules.Least, rules.ErrorPercent}, rules.ErrorPercent > 0},
		{`SELECT 'provider_errors', 'provider:' || slug, NULL::bigint, jsonb_build_object('provider', slug, 'attempts', n::text, 'failed', bad::text, 'percent', (bad * 100 / n)::text), $1::integer
			FROM (SELECT p.slug, sum(n) FILTER (WHERE outcome <> 8) AS n, sum(n) FILTER (WHERE outcome NOT IN (1, 8)) AS bad
				FROM attempt_hourly h JOIN route r ON r.id = h.route_id JOIN provider p ON p.id = r.provider_id WHERE hour >= $2::integer GROUP BY 1) h
			WHERE n >= $3 AND bad * 100 >= n * $4`, []any{day, hour - 1, rules.Least, rules.ProviderPercent}, rules.ProviderPercent > 0},
		// An hour after the month's end: what began in it has ended and was booked.
		{`SELECT 'statement_ready', 'statement:' || $2 || ':' || client_id, client_id, jsonb_build_object('month', $2, 'charge', ` + usdSQL("sum(charge)") + `), $1::integer
			FROM usage_hourly WHERE hour >= $3::integer AND hour < $4::integer GROUP BY client_id`, []any{ends / 24, statement, begins, ends}, now.UTC().Day() == 1 && now.UTC().Hour() >= 1 || now.UTC().Day() == 2},
	} {
		if !q.on {
			continue
		}
		n, err := d.addEvents(ctx, q.sql, q.args...)
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// EventFilter selects events. Zero values select everything.
type EventFilter struct {
	ClientID int64 // only of this client
	Kind     string
	BeforeID int64 // page: only older ones
	Limit    int   // default 100
	Unmailed bool  // only those about which no mail was written yet, oldest first
}

// Events lists events, newest first.
func (d *DB) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	w := &where{}
	if f.ClientID != 0 {
		w.and("client_id = ?", f.ClientID)
	}
	if f.Kind != "" {
		w.and("kind = ?", f.Kind)
	}
	if f.BeforeID != 0 {
		w.and("id < ?", f.BeforeID)
	}
	order := "DESC"
	if f.Unmailed {
		w.and("NOT mailed")
		order = "ASC"
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := d.pool.Query(ctx, "SELECT id, kind, subject, day, coalesce(client_id, 0), detail, at FROM event"+w.String()+fmt.Sprintf(" ORDER BY id %s LIMIT %d", order, min(f.Limit, 1000)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("cannot list events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		var detail []byte
		if err := row.Scan(&e.ID, &e.Kind, &e.Subject, &e.Day, &e.ClientID, &detail, &e.At); err != nil {
			return e, err
		}
		return e, json.Unmarshal(detail, &e.Detail)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list events: %w", err)
	}
	return list, nil
}

// AlertPlan is whom a client wants to be told by mail.
type AlertPlan struct {
	Mail   bool
	Emails []string // empty: the addresses of its profile, else its owners
}

// Alerts reads it.
func (d *DB) Alerts(ctx context.Context, clientID int64) (p AlertPlan, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if err := d.pool.QueryRow(ctx, "SELECT alert_mail, alert_emails FROM client WHERE id = $1", clientID).Scan(&p.Mail, &p.Emails); err != nil {
		return p, fmt.Errorf("cannot read whom client %d wants to be told: %w", clientID, meaning(err))
	}
	return p, nil
}

// SetAlerts changes it.
func (d *DB) SetAlerts(ctx context.Context, actor Actor, clientID int64, p AlertPlan) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if _, err := tx.Exec(ctx, "UPDATE client SET alert_mail = $2, alert_emails = $3 WHERE id = $1", clientID, p.Mail, filled(p.Emails)); err != nil {
			return meaning(err)
		}
		return audit(ctx, q, actor, "alerts", "client", fmt.Sprint(clientID), p, 0)
	})
	if err != nil {
		return fmt.Errorf("cannot change whom client %d wants to be told: %w", clientID, err)
	}
	return nil
}

// ---- mail ---------------------------------------------------------------------------

// Mail is one mail to one address.
type Mail struct {
	ID      int64
	Ref     string // the same is written once
	To      string
	Subject string
	Text    string
	HTML    string
	Tries   int
}

// mailBody is what is sealed.
type mailBody struct{ To, Subject, Text, HTML string }

func mailPlace(id int64) seal.Place {
	return seal.Place{Table: "mail", Column: "sealed", Row: id, Version: 1}
}

// WriteMails stores mails to be sent, each Ref once, and notes that the mails about an
// event (0: none) were written.
func (d *DB) WriteMails(ctx context.Context, box *seal.Box, eventID int64, mails []Mail) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, _ *db.Queries) error {
		for i := range mails {
			m := &mails[i]
			var id int64
			if err := tx.QueryRow(ctx, "SELECT nextval(pg_get_serial_sequence('mail', 'id'))").Scan(&id); err != nil {
				return err
			}
			body, err := json.Marshal(mailBody{To: m.To, Subject: m.Subject, Text: m.Text, HTML: m.HTML})
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO mail (id, ref, sealed) VALUES ($1, $2, $3) ON CONFLICT (ref) DO NOTHING", id, m.Ref, box.Seal(body, mailPlace(id))); err != nil {
				return meaning(err)
			}
		}
		if eventID == 0 {
			return nil
		}
		_, err := tx.Exec(ctx, "UPDATE event SET mailed = true WHERE id = $1", eventID)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot write mails: %w", err)
	}
	return nil
}

// DueMails reads mails that should be sent now. Whoever asks holds the job's lock.
func (d *DB) DueMails(ctx context.Context, box *seal.Box, limit int) ([]Mail, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT id, ref, sealed, tries FROM mail WHERE sealed IS NOT NULL AND next_try <= clock_timestamp() ORDER BY next_try LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mails that are due: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Mail, err error) {
		var sealed []byte
		if err := row.Scan(&m.ID, &m.Ref, &sealed, &m.Tries); err != nil {
			return m, err
		}
		plain, err := box.Open(sealed, mailPlace(m.ID))
		if err != nil {
			return m, err
		}
		var b mailBody
		err = json.Unmarshal(plain, &b)
		m.To, m.Subject, m.Text, m.HTML = b.To, b.Subject, b.Text, b.HTML
		return m, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the mails that are due: %w", err)
	}
	return list, nil
}

// MailSent notes that a mail has gone out; what it said is forgotten.
func (d *DB) MailSent(ctx context.Context, id int64) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "UPDATE mail SET sealed = NULL, sent_at = clock_timestamp(), tries = tries + 1, error = '' WHERE id = $1", id); err != nil {
		return fmt.Errorf("cannot note that a mail was sent: %w", err)
	}
	return nil
}

// MailFailed notes that a try failed, and when the next one is due; 0: it is given up.
func (d *DB) MailFailed(ctx context.Context, id int64, why string, again time.Duration) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	sql := "UPDATE mail SET tries = tries + 1, error = $2, next_try = clock_timestamp() + $3 WHERE id = $1"
	if again == 0 {
		sql = "UPDATE mail SET tries = tries + 1, error = $2, sealed = NULL, failed_at = clock_timestamp() + $3 WHERE id = $1"
	}
	if _, err := d.pool.Exec(ctx, sql, id, why, again); err != nil {
		return fmt.Errorf("cannot note that a mail failed: %w", err)
	}
	return nil
}

// SweepMails forgets mails that ended so long ago.
func (d *DB) SweepMails(ctx context.Context, after time.Duration) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "DELETE FROM mail WHERE sealed IS NULL AND created_at < clock_timestamp() - $1::interval", after); err != nil {
		return fmt.Errorf("cannot forget mails: %w", err)
	}
	return nil
}
