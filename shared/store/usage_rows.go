package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// Rows of usage are copied into the partition of their month. Written through usage itself
// they cost three times as much: each is routed, kept a second time for triggers that have
// nothing to do for a writer who keeps the sums, and looked for in the index twice. What is
// left of the triggers' work, rows that come after their day was closed, is a statement here.

// errMoved says that a month has no partition of its own that this user may write to.
var errMoved = errors.New("a month of usage has no partition of its own")

// askAgain is how long rows of a month go through usage itself after that.
const askAgain = time.Hour

// months remembers the months without a partition.
type months struct {
	mu      sync.Mutex
	without map[int32]time.Time
}

func (m *months) has(month int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, known := m.without[month]
	return !known || time.Since(at) > askAgain
}

func (m *months) missing(list []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.without == nil {
		m.without = map[int32]time.Time{}
	}
	for _, month := range list {
		m.without[month] = time.Now()
	}
}

const copyUsage = `COPY %s (month, request_id, slot, client_id, wallet_id, key_id, endpoint, model, requested_model,
	client_request_id, status, http_status, code, flags, source, units, hold, charge, cost, overrun, price_id, cost_price_id,
	model_ppm, group_ppm, client_ppm, wallet_lease, month_lease, total_lease, late, admitted_us, first_token_us, end_us,
	bytes_in, bytes_out, attempts) FROM STDIN (FORMAT binary)`

const copiedColumns = 35

// attached finds the partitions of months: as many rows as there are of them.
const attached = `SELECT FROM unnest($1::integer[]) AS m
WHERE EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'usage'::regclass AND inhrelid = to_regclass('usage_' || m) AND NOT inhdetachpending)`

// errAfter says that a row belongs to a day that is closed: the batch is tried again, and
// such rows are noted. They are rare, and noting them means sending every id twice.
var errAfter = errors.New("a record is of a day that is closed")

// closedAfter finds the last closed day if an id is of it or of one before.
const closedAfter = `SELECT FROM (SELECT max(day) AS closed FROM day_close) AS c WHERE $1::uuid < id_at((c.closed + 1)::bigint * 86400000)`

// insertAfter does what the trigger usage_after does for rows that go through usage.
const insertAfter = `INSERT INTO usage_after (request_id, wallet_id, day)
SELECT r, w, c.closed + 1 FROM (SELECT max(day) AS closed FROM day_close) AS c, unnest($1::uuid[], $2::bigint[]) AS t (r, w)
WHERE $3::uuid < id_at((c.closed + 1)::bigint * 86400000) AND r < id_at((c.closed + 1)::bigint * 86400000)
ON CONFLICT DO NOTHING`

// copyUsage writes the rows of the batch, and queues what has to be seen to beside them.
func (s *settling) copyUsage(ctx context.Context, tx pgx.Tx, all *queue) error {
	if len(s.usage) == 0 {
		return nil
	}
	rows := copyBuffers.Get().(*copyRows)
	defer copyBuffers.Put(rows)
	noted := false
	for rest := s.usage; len(rest) > 0; {
		month := s.recs[rest[0]].ID.Month()
		n := 1
		for n < len(rest) && sameMonth(&s.recs[rest[n]], &s.recs[rest[n-1]]) {
			n++
		}
		part := rest[:n]
		rest = rest[n:]
		table := "usage"
		if s.months.has(month) {
			table = fmt.Sprintf("usage_%d", month)
			s.direct = append(s.direct, month)
			s.queueAfter(all, part)
		} else if !noted {
			noted = true
			if _, err := tx.Exec(ctx, noteSums); err != nil {
				return err
			}
		}
		rows.begin()
		for _, i := range part {
			rows.usage(month, s.slot, &s.recs[i], s.late[i])
		}
		rows.end()
		tag, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows.b), fmt.Sprintf(copyUsage, table))
		if err != nil {
			return s.copyFault(err)
		}
		if tag.RowsAffected() != int64(len(part)) {
			return fmt.Errorf("%d of %d rows of usage were written", tag.RowsAffected(), len(part))
		}
	}
	if len(s.direct) > 0 {
		// The rows have the partition locked: it is and stays a part of usage, or was none.
		all.expect(len(s.direct), errMoved, attached, s.direct)
	}
	return nil
}

// copyFault gives the faults of a copy their names.
func (s *settling) copyFault(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "23505": // unique_violation
		return errRace
	case "42P01", "42501": // undefined_table, insufficient_privilege
		if len(s.direct) > 0 {
			return errMoved
		}
	}
	return err
}

func (s *settling) queueAfter(all *queue, part []int) {
	if !s.after {
		all.expect(0, errAfter, closedAfter, s.recs[part[0]].ID)
		return
	}
	ids, wallets := make([][16]byte, len(part)), make([]int64, len(part))
	for k, i := range part {
		ids[k], wallets[k] = s.recs[i].ID, s.recs[i].WalletID
	}
	all.batch.Queue(insertAfter, ids, wallets, ids[0])
}

// copyRows is rows in the binary form of COPY (PostgreSQL's manual, COPY, File Formats).
type copyRows struct{ b []byte }

var copyBuffers = sync.Pool{New: func() any { return new(copyRows) }}

func (c *copyRows) begin() {
	c.b = append(c.b[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
}

func (c *copyRows) end() { c.b = append(c.b, 0xff, 0xff) }

func (c *copyRows) int16(v int16) {
	c.b = binary.BigEndian.AppendUint16(append(c.b, 0, 0, 0, 2), uint16(v))
}

func (c *copyRows) int32(v int32) {
	c.b = binary.BigEndian.AppendUint32(append(c.b, 0, 0, 0, 4), uint32(v))
}

func (c *copyRows) int64(v int64) {
	c.b = binary.BigEndian.AppendUint64(append(c.b, 0, 0, 0, 8), uint64(v))
}

func (c *copyRows) uuid(id reqid.ID) { c.b = append(append(c.b, 0, 0, 0, 16), id[:]...) }

func (c *copyRows) text(t string) {
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(t))), t...)
}

// beginInt64s begins an array of n elements, each of which is an int64 behind it.
func (c *copyRows) beginInt64s(n int) {
	if n == 0 { // no dimension
		c.b = append(c.b, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, pgtype.Int8OID)
		return
	}
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(20+12*n))
	c.b = append(c.b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, pgtype.Int8OID)
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(n))
	c.b = append(c.b, 0, 0, 0, 1)
}

// usage is one row, in the order of copyUsage.
func (c *copyRows) usage(month int32, slot int16, r *usage.Record, late int16) {
	c.b = binary.BigEndian.AppendUint16(c.b, copiedColumns)
	c.int32(month)
	c.uuid(r.ID)
	c.int16(slot)
	c.int64(r.ClientID)
	c.int64(r.WalletID)
	c.int64(r.KeyID)
	c.int16(int16(r.Endpoint))
	c.text(clean(r.Model, 128))
	c.text(clean(r.RequestedModel, 256))
	c.text("") // the caller's own id stands beside the row (usage_detail)
	c.int16(int16(r.Status))
	c.int16(r.HTTPStatus)
	c.text(clean(r.Code, 64))
	c.int32(int32(r.Flags &^ usage.Findings))
	c.int16(int16(r.Source))
	units := r.Units[:]
	for len(units) > 0 && units[len(units)-1] == 0 { // trailing zeros are left out
		units = units[:len(units)-1]
	}
	c.beginInt64s(len(units))
	for _, n := range units {
		c.int64(n)
	}
	c.int64(int64(r.Hold))
	c.int64(int64(r.Charge))
	c.int64(int64(r.Cost))
	c.int64(int64(r.Overrun))
	c.int64(r.PriceID)
	c.int64(r.CostPriceID)
	c.int64(r.ModelPPM)
	c.int64(r.GroupPPM)
	c.int64(r.ClientPPM)
	c.int64(r.WalletLease)
	c.int64(r.MonthLease)
	c.int64(r.TotalLease)
	c.int16(late)
	c.int64(r.AdmittedMicros)
	c.int32(r.FirstTokenMicros)
	c.int64(r.EndMicros)
	c.int64(r.BytesIn)
	c.int64(r.BytesOut)
	c.beginInt64s(6 * int(r.NumAttempts))
	for _, a := range r.Attempts[:r.NumAttempts] {
		for _, v := range [6]int64{a.RouteID, a.ProviderKeyID, int64(a.HTTPStatus), int64(a.Outcome), int64(a.StartMicros), int64(a.EndMicros)} {
			c.int64(v)
		}
	}
}
