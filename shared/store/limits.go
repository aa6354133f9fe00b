package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store/db"
)

// LimitKind says what a limit shared by all proxies is about.
type LimitKind int16

// The limits of which proxies take parts. Windows and buckets are per minute.
const (
	LimitIP          LimitKind = iota + 1 // requests of a client address; LimitAsk.ID is its 64 bits
	LimitKeyRPM                           // requests of a key
	LimitGroupRPM                         // requests of a group
	LimitKeyTPM                           // tokens of a key
	LimitGroupTPM                         // tokens of a group
	LimitKeyPlaces                        // running requests of a key
	LimitGroupPlaces                      // running requests of a group
)

// Window says that the limit is one of requests per minute.
func (k LimitKind) Window() bool { return k >= LimitIP && k <= LimitGroupRPM }

// Bucket says that the limit is one of tokens per minute.
func (k LimitKind) Bucket() bool { return k == LimitKeyTPM || k == LimitGroupTPM }

// MaxLimitAsks is the most that one TakeLimits asks about.
const MaxLimitAsks = 1000

// aloneFor is how long no other proxy may have been heard of before one may count by
// itself: all that others were given has faded by then.
const aloneFor = 150 * time.Second

// LimitSubject names one limit.
type LimitSubject struct {
	Kind LimitKind
	ID   int64
}

// LimitAsk asks for a part of a limit.
type LimitAsk struct {
	LimitSubject
	Cap   int64 // the whole limit
	Need  int64 // requests (tokens, places) that wait for it
	Want  int64 // a useful size, beyond Need; places: wished for in all
	Used  int64 // was used without asking; places: requests that run
	Back  int64 // given back, of the window that began at Start
	Start int64
}

// LimitGrant is the answer.
type LimitGrant struct {
	Granted int64         // usable now; places: may run in all
	Spare   int64         // of the whole limit, left for everybody after this
	Start   int64         // names the window
	Remains time.Duration // from when the question was sent, what was granted is good
	Wait    time.Duration // refused: until one more will get through
	Again   bool          // refused, but others were just asked to give back: ask again in a moment
}

// LimitCount is what a proxy counted while it was alone.
type LimitCount struct {
	LimitSubject
	Elapsed   time.Duration // of its window; buckets: until it is full
	Prev, Cur int64
}

// TakeLimits takes parts of at most MaxLimitAsks limits, in one statement; the answers
// are in the order of the asks. The parts of all proxies together never pass a limit:
// requests count in the minute in which they were taken. blocked: another proxy still
// counts by itself and nothing was done; asking about nothing finds that out.
func (d *DB) TakeLimits(ctx context.Context, slot int16, epoch int64, asks []LimitAsk) (grants []LimitGrant, blocked bool, err error) {
	n := len(asks)
	if n > MaxLimitAsks {
		return nil, false, fmt.Errorf("cannot take parts of %d limits at once: %w", n, ErrInvalid)
	}
	kinds := make([]int16, n)
	var big [7][]int64
	for k := range big {
		big[k] = make([]int64, n)
	}
	for i := range asks {
		a := &asks[i]
		kinds[i] = int16(a.Kind)
		for k, v := range [7]int64{a.ID, a.Cap, a.Need, a.Want, a.Used, a.Back, a.Start} {
			big[k][i] = v
		}
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT n, granted, spare, began, remains, wait FROM limit_take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		slot, epoch, LiveWindow, kinds, big[0], big[1], big[2], big[3], big[4], big[5], big[6])
	if err != nil {
		return nil, false, fmt.Errorf("cannot take parts of limits: %w", err)
	}
	grants = make([]LimitGrant, n)
	fenced, answered := false, 0
	var at int32
	var g LimitGrant
	var remains, wait int64
	_, err = pgx.ForEachRow(rows, []any{&at, &g.Granted, &g.Spare, &g.Start, &remains, &wait}, func() error {
		if at == 0 {
			fenced, blocked = wait == 1, wait == 2
			return nil
		}
		g.Remains, g.Wait, g.Again = time.Duration(remains)*time.Microsecond, time.Duration(max(0, wait))*time.Microsecond, wait < 0
		grants[at-1] = g
		answered++
		return nil
	})
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("cannot take parts of limits: %w", err)
	case fenced:
		return nil, false, fmt.Errorf("cannot take parts of limits: %w", ErrFenced)
	case blocked:
		return nil, true, nil
	case answered != n:
		return nil, false, fmt.Errorf("cannot take parts of limits: %d answers to %d questions", answered, n)
	}
	return grants, false, nil
}

// PostLimits adds what was counted alone to what all proxies count; EndLone comes
// after that.
func (d *DB) PostLimits(ctx context.Context, counts []LimitCount) error {
	kinds := make([]int16, len(counts))
	var big [4][]int64
	for i := range counts {
		c := &counts[i]
		kinds[i] = int16(c.Kind)
		for k, v := range [4]int64{c.ID, c.Elapsed.Microseconds(), c.Prev, c.Cur} {
			big[k] = append(big[k], v)
		}
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "SELECT limit_post($1, $2, $3, $4, $5)", kinds, big[0], big[1], big[2], big[3]); err != nil {
		return fmt.Errorf("cannot post what was counted: %w", err)
	}
	return nil
}

// limitLock keeps parts from being taken while a proxy becomes the only one.
const limitLock = 8101748273645

// BeginLone lets a proxy count by itself if no other one was heard of for so long that
// nothing it was given matters. From then on no other proxy is given parts.
func (d *DB) BeginLone(ctx context.Context, slot int16, epoch int64) (lone bool, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, _ *db.Queries) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(limitLock)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE proxy_slot SET lone = true WHERE id = $1 AND epoch = $2 AND state = 'active'
			AND NOT EXISTS (SELECT FROM proxy_slot o WHERE o.id <> $1 AND o.heartbeat > clock_timestamp() - $3::interval)`, slot, epoch, aloneFor)
		lone = err == nil && tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("cannot begin to count alone: %w", err)
	}
	return lone, nil
}

// EndLone ends it.
func (d *DB) EndLone(ctx context.Context, slot int16, epoch int64) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if _, err := d.pool.Exec(ctx, "UPDATE proxy_slot SET lone = false WHERE id = $1 AND epoch = $2", slot, epoch); err != nil {
		return fmt.Errorf("cannot end counting alone: %w", err)
	}
	return nil
}

// SweepLimits forgets counters that say nothing any more, a bounded number of them.
func (d *DB) SweepLimits(ctx context.Context) error {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	for _, sql := range []string{
		`DELETE FROM limit_count WHERE (kind, id) IN (SELECT kind, id FROM limit_count WHERE at < limit_now() - 600000000
			ORDER BY at LIMIT 5000 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM limit_place p USING proxy_slot s WHERE s.id = p.slot AND (s.epoch <> p.epoch OR s.state <> 'active')`,
		`DELETE FROM limit_day WHERE day < (extract(epoch FROM clock_timestamp()) / 86400)::integer - 40`,
	} {
		if _, err := d.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("cannot sweep the limits: %w", err)
		}
	}
	return nil
}

// ParseLimitRecall reads a payload of ChannelRecall that asks for parts of a limit back;
// slot is the proxy that was refused.
func ParseLimitRecall(payload string) (s LimitSubject, slot int16, ok bool) {
	fields := strings.Split(payload, " ")
	if len(fields) != 4 || fields[0] != "l" {
		return s, 0, false
	}
	kind, err1 := strconv.ParseInt(fields[1], 10, 16)
	id, err2 := strconv.ParseInt(fields[2], 10, 64)
	who, err3 := strconv.ParseInt(fields[3], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || kind < int64(LimitIP) || kind > int64(LimitGroupPlaces) {
		return s, 0, false
	}
	return LimitSubject{LimitKind(kind), id}, int16(who), true
}

// ---- daily limits -----------------------------------------------------------------

// DayKind says whose day is counted.
type DayKind int16

// The subjects of daily limits.
const (
	DayKey      DayKind = iota + 1 // charges of a key
	DayGroup                       // charges of a group
	DayProvider                    // the supplier's cost of a provider
)

func (k DayKind) String() string {
	return [...]string{"", "key", "group", "provider"}[k]
}

// DaySubject names one day of one subject.
type DaySubject struct {
	Kind DayKind
	ID   int64
	Day  int64 // since 1970, UTC
}

// DaySpent is what this run of the proxy has spent of it, never less than before.
type DaySpent struct {
	DaySubject
	Spent money.Amount
}

// ExchangeDays stores what this run of the proxy has spent and reads what everybody
// else has (other proxies, and earlier runs of this one), in the order of mine. One
// statement; repeating it changes nothing.
func (d *DB) ExchangeDays(ctx context.Context, slot int16, epoch int64, mine []DaySpent) (others []money.Amount, err error) {
	n := len(mine)
	kinds, ids, days, spent := make([]int16, n), make([]int64, n), make([]int32, n), make([]int64, n)
	for i := range mine {
		m := &mine[i]
		kinds[i], ids[i], days[i], spent[i] = int16(m.Kind), m.ID, int32(m.Day), int64(m.Spent)
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, `WITH mine AS (
			SELECT * FROM unnest($3::smallint[], $4::bigint[], $5::integer[], $6::bigint[]) WITH ORDINALITY AS t (kind, id, day, spent, n)
		), kept AS (
			INSERT INTO limit_day AS d (kind, id, day, slot, epoch, spent)
			SELECT kind, id, day, $1::smallint, $2::bigint, spent FROM mine WHERE spent > 0 ORDER BY kind, id, day
			ON CONFLICT (kind, id, day, slot, epoch) DO UPDATE SET spent = excluded.spent WHERE d.spent < excluded.spent
		)
		SELECT m.n, coalesce(sum(d.spent), 0)::bigint FROM mine m
		LEFT JOIN limit_day d ON d.kind = m.kind AND d.id = m.id AND d.day = m.day AND (d.slot <> $1::smallint OR d.epoch <> $2::bigint)
		GROUP BY m.n`, slot, epoch, kinds, ids, days, spent)
	if err != nil {
		return nil, fmt.Errorf("cannot exchange what was spent today: %w", err)
	}
	others = make([]money.Amount, n)
	var at, sum int64
	if _, err := pgx.ForEachRow(rows, []any{&at, &sum}, func() error {
		others[at-1] = money.Amount(sum)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("cannot exchange what was spent today: %w", err)
	}
	return others, nil
}

// DayReached notes that a daily limit was reached; first is true for whoever says so
// first on that day. A provider is paused with it, if the limit still stands and Postgres
// agrees on the sum; an operator who resumes it is not overruled until tomorrow, unless
// the limit is raised and reached again.
func (d *DB) DayReached(ctx context.Context, s DaySubject, spent, limit money.Amount) (first bool, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		first = false
		name := strconv.FormatInt(s.ID, 10)
		if s.Kind == DayProvider {
			var stop *money.Amount
			var paused bool
			err := tx.QueryRow(ctx, `SELECT slug, daily_stop, paused,
				(SELECT coalesce(sum(spent), 0)::bigint FROM limit_day WHERE kind = 3 AND id = $1 AND day = $2)
				FROM provider WHERE id = $1 FOR NO KEY UPDATE`, s.ID, int32(s.Day)).Scan(&name, &stop, &paused, &spent)
			if err != nil {
				return meaning(err)
			}
			if stop == nil || spent < *stop {
				return nil
			}
			limit = *stop
		}
		tag, err := tx.Exec(ctx, `INSERT INTO limit_event (kind, id, day, spent, daily) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind, id, day) DO UPDATE SET spent = excluded.spent, daily = excluded.daily, at = excluded.at
			WHERE limit_event.daily < excluded.daily`,
			int16(s.Kind), s.ID, int32(s.Day), int64(spent), int64(limit))
		if err != nil || tag.RowsAffected() == 0 {
			return meaning(err)
		}
		first = true
		detail := map[string]string{"spent_usd": spent.String(), "daily_usd": limit.String(), "day": time.Unix(s.Day*86400, 0).UTC().Format(time.DateOnly)}
		rev := int64(0)
		if s.Kind == DayProvider {
			if _, err := tx.Exec(ctx, "UPDATE provider SET paused = true WHERE id = $1", s.ID); err != nil {
				return meaning(err)
			}
			if rev, err = change(ctx, q, Change{Kind: KindCatalog, Detail: "provider " + name}); err != nil {
				return err
			}
		}
		return audit(ctx, q, "daily-limit", map[bool]string{true: "pause", false: "daily_limit"}[s.Kind == DayProvider], s.Kind.String(), name, detail, rev)
	})
	if err != nil {
		return false, fmt.Errorf("cannot note that a daily limit was reached: %w", err)
	}
	return first, nil
}

// DayEvent is a daily limit that was reached.
type DayEvent struct {
	DaySubject
	Spent, Limit money.Amount
	At           time.Time
}

// DayEvents lists the daily limits reached since a day, newest first.
func (d *DB) DayEvents(ctx context.Context, since int64, max int) ([]DayEvent, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.pool.Query(ctx, "SELECT kind, id, day, spent, daily, at FROM limit_event WHERE day >= $1 ORDER BY at DESC LIMIT $2", int32(since), int32(max))
	if err != nil {
		return nil, fmt.Errorf("cannot list the daily limits that were reached: %w", err)
	}
	var list []DayEvent
	var e DayEvent
	var day int32
	if _, err := pgx.ForEachRow(rows, []any{&e.Kind, &e.ID, &day, &e.Spent, &e.Limit, &e.At}, func() error {
		e.Day = int64(day)
		list = append(list, e)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("cannot list the daily limits that were reached: %w", err)
	}
	return list, nil
}
