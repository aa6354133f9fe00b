package store

import (
	"fmt"
	"strings"

	"tokenrelay/shared/usage"
)

// Sums that a batch of usage keeps besides those by hour and key: days of keys and
// outcomes of attempts. They are added up here and written once per group. Triggers on
// usage do the same for rows that come another way, and leave these out: as triggers they
// took a fifth of a batch of 500 calls.

type attemptID struct {
	hour       int32
	route, key int64
	outcome    usage.Outcome
	httpStatus int32
}

type attemptState struct{ n, micros, cost int64 }

// rollUpAttempts adds the attempts of a record to their hour. What the supplier takes is
// the last one's: the ones before ended without an answer that could be charged.
func (s *settling) rollUpAttempts(r *usage.Record) {
	for i := range r.Attempts[:r.NumAttempts] {
		a := &r.Attempts[i]
		id := attemptID{int32(r.ID.UnixMilli() / 3_600_000), a.RouteID, a.ProviderKeyID, a.Outcome, a.HTTPStatus}
		sum := s.attempts[id]
		sum.n++
		sum.micros += max(0, int64(a.EndMicros)-int64(a.StartMicros))
		if i == int(r.NumAttempts)-1 {
			sum.cost += int64(r.Cost)
		}
		s.attempts[id] = sum
	}
}

// days adds the hours of the batch up.
func (s *settling) days() map[hourID]*hourState {
	days := make(map[hourID]*hourState, len(s.hours))
	for id, h := range s.hours {
		at := id
		at.hour = id.hour / 24 * 24
		d := days[at]
		if d == nil {
			d = &hourState{}
			days[at] = d
		}
		for k := range h.status {
			d.status[k] += h.status[k]
		}
		d.units.Add(&h.units)
		d.charge, d.cost, d.overrun = d.charge+h.charge, d.cost+h.cost, d.overrun+h.overrun
		d.in, d.out = d.in+h.in, d.out+h.out
	}
	return days
}

// addUnits adds arrays of units element by element. add_counts would do the same for any
// length, at ten times the price.
var addUnits = func() string {
	parts := make([]string, usage.NumClasses)
	for i := range parts {
		parts[i] = fmt.Sprintf("coalesce(d.units[%[1]d], 0) + coalesce(excluded.units[%[1]d], 0)", i+1)
	}
	return "ARRAY[" + strings.Join(parts, ", ") + "]"
}()

// noteSums tells the triggers of usage that this transaction writes these sums itself.
const noteSums = "SELECT set_config('relay.sums', 'written', true)"

var upsertDays = `INSERT INTO usage_daily AS d (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out)
SELECT hour, client, key, model, $1, ok, failed, timeout, cancelled, interrupted, units::bigint[], charge, cost, overrun, bin, bout
FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[],
	$13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[])
	AS t (hour, client, key, model, ok, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bin, bout)
ORDER BY 1, 2, 3, 4
ON CONFLICT (hour, client_id, key_id, model, slot) DO UPDATE SET success = d.success + excluded.success, failed = d.failed + excluded.failed,
	timeout = d.timeout + excluded.timeout, cancelled = d.cancelled + excluded.cancelled, interrupted = d.interrupted + excluded.interrupted,
	units = ` + addUnits + `, charge = d.charge + excluded.charge, cost = d.cost + excluded.cost, overrun = d.overrun + excluded.overrun,
	bytes_in = d.bytes_in + excluded.bytes_in, bytes_out = d.bytes_out + excluded.bytes_out`

const upsertAttempts = `INSERT INTO attempt_hourly AS h (hour, slot, route_id, provider_key_id, outcome, http_status, n, micros, cost)
SELECT hour, $1, route, key, outcome, status, n, micros, cost
FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::smallint[], $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[])
	AS t (hour, route, key, outcome, status, n, micros, cost)
ORDER BY 1, 3, 4, 5, 6
ON CONFLICT (hour, slot, route_id, provider_key_id, outcome, http_status)
DO UPDATE SET n = h.n + excluded.n, micros = h.micros + excluded.micros, cost = h.cost + excluded.cost`

// writeSums queues the days and the attempts.
func (s *settling) writeSums(all *queue) {
	if days := s.days(); len(days) > 0 {
		n := len(days)
		hour, clients, keys, models, units := make([]int32, 0, n), make([]int64, 0, n), make([]int64, 0, n), make([]string, 0, n), make([]string, 0, n)
		var status [usage.Interrupted + 1][]int64
		var charge, cost, overrun, in, out []int64
		for id, d := range days {
			hour, clients, keys, models, units = append(hour, id.hour), append(clients, id.client), append(keys, id.key), append(models, id.model), append(units, counts(d.units[:]))
			for k := usage.Success; k <= usage.Interrupted; k++ {
				status[k] = append(status[k], d.status[k])
			}
			charge, cost, overrun = append(charge, int64(d.charge)), append(cost, int64(d.cost)), append(overrun, int64(d.overrun))
			in, out = append(in, d.in), append(out, d.out)
		}
		all.batch.Queue(upsertDays, s.slot, hour, clients, keys, models, status[usage.Success], status[usage.Failed], status[usage.Timeout],
			status[usage.Cancelled], status[usage.Interrupted], units, charge, cost, overrun, in, out)
	}
	if n := len(s.attempts); n > 0 {
		hour, outcome, http := make([]int32, 0, n), make([]int16, 0, n), make([]int16, 0, n)
		var routes, keys, counted, micros, cost []int64
		for id, a := range s.attempts {
			hour, outcome, http = append(hour, id.hour), append(outcome, int16(id.outcome)), append(http, int16(id.httpStatus))
			routes, keys = append(routes, id.route), append(keys, id.key)
			counted, micros, cost = append(counted, a.n), append(micros, a.micros), append(cost, a.cost)
		}
		all.batch.Queue(upsertAttempts, s.slot, hour, routes, keys, outcome, http, counted, micros, cost)
	}
}
