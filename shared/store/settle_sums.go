package store

import (
	"fmt"
	"strings"

	"tokenrelay/shared/usage"
)

// Sums that a batch of usage keeps: by hour and by day for each key, by day for each model
// and for each client, and outcomes of attempts. They are added up here and written once per
// group. Triggers on usage do the same, but for the hours, for rows that come another way,
// and leave these out: as triggers they took a fifth of a batch of 500 calls.

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
		id := attemptID{hour(r), a.RouteID, a.ProviderKeyID, a.Outcome, a.HTTPStatus}
		sum := s.attempt
		if sum == nil || id != s.attemptID {
			if sum = s.attempts[id]; sum == nil {
				sum = &attemptState{}
				s.attempts[id] = sum
			}
			s.attempt, s.attemptID = sum, id
		}
		sum.n++
		sum.micros += max(0, int64(a.EndMicros)-int64(a.StartMicros))
		if i == int(r.NumAttempts)-1 {
			sum.cost += int64(r.Cost)
		}
	}
}

// days adds the hours of the batch up.
func (s *settling) days() map[hourID]*hourState {
	days := make(map[hourID]*hourState, len(s.hours))
	for id, h := range s.hours {
		at := id
		at.hour = id.hour / 24 * 24
		addTo(days, at, h)
	}
	return days
}

// totals adds days up: those of all clients by model, and those of each client.
func totals(days map[hourID]*hourState) map[hourID]*hourState {
	sums := make(map[hourID]*hourState, len(days)+1)
	for id, d := range days {
		addTo(sums, hourID{hour: id.hour, model: id.model}, d)
		addTo(sums, hourID{hour: id.hour, client: id.client}, d)
	}
	return sums
}

func addTo(sums map[hourID]*hourState, at hourID, h *hourState) {
	d := sums[at]
	if d == nil {
		d = &hourState{}
		sums[at] = d
	}
	for k := range h.status {
		d.status[k] += h.status[k]
	}
	d.units.Add(&h.units)
	d.charge, d.cost, d.overrun = d.charge+h.charge, d.cost+h.cost, d.overrun+h.overrun
	d.in, d.out = d.in+h.in, d.out+h.out
	for i := range h.latency {
		d.latency[i] += h.latency[i]
		d.firstToken[i] += h.firstToken[i]
	}
}

// addElements adds arrays of n counts element by element. add_counts would do the same for
// any length, at ten times the price.
func addElements(column string, n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("coalesce(d.%[1]s[%[2]d], 0) + coalesce(excluded.%[1]s[%[2]d], 0)", column, i+1)
	}
	return "ARRAY[" + strings.Join(parts, ", ") + "]"
}

// noteSums tells the triggers of usage that this transaction writes these sums itself.
const noteSums = "SELECT set_config('relay.sums', 'all', true)"

// upsertSums adds rows of sumRows to a table of roll-ups; keys says whether it has them, and
// add how an array is added to the one that is there.
func upsertSums(table, conflict string, keys bool, add func(column string, n int) string) string {
	column, value := "", ""
	if keys {
		column, value = "key_id, ", "key, "
	}
	return "INSERT INTO " + table + " AS d (hour, client_id, " + column + `model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
SELECT hour, client, ` + value + `model, $1::smallint, ok, failed, timeout, cancelled, interrupted, units::bigint[], charge, cost, overrun, bin, bout, latency::bigint[], first::bigint[]
FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[],
	$13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], $18::text[])
	AS t (hour, client, key, model, ok, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bin, bout, latency, first)
ORDER BY 1, 2, 3, 4
ON CONFLICT (` + conflict + `) DO UPDATE SET success = d.success + excluded.success, failed = d.failed + excluded.failed,
	timeout = d.timeout + excluded.timeout, cancelled = d.cancelled + excluded.cancelled, interrupted = d.interrupted + excluded.interrupted,
	units = ` + add("units", int(usage.NumClasses)) + `, charge = d.charge + excluded.charge, cost = d.cost + excluded.cost, overrun = d.overrun + excluded.overrun,
	bytes_in = d.bytes_in + excluded.bytes_in, bytes_out = d.bytes_out + excluded.bytes_out,
	latency = ` + add("latency", HistogramBuckets) + `, first_token = ` + add("first_token", HistogramBuckets)
}

// Hours are many: their arrays stay as short as they can.
var (
	upsertHours = upsertSums("usage_hourly", "hour, client_id, key_id, model, slot", true, func(column string, _ int) string {
		return fmt.Sprintf("add_counts(d.%[1]s, excluded.%[1]s)", column)
	})
	upsertDays   = upsertSums("usage_daily", "hour, client_id, key_id, model, slot", true, addElements)
	upsertTotals = upsertSums("usage_total", "client_id, hour, model, slot", false, addElements)
)

const upsertAttempts = `INSERT INTO attempt_hourly AS h (hour, slot, route_id, provider_key_id, outcome, http_status, n, micros, cost)
SELECT hour, $1, route, key, outcome, status, n, micros, cost
FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::smallint[], $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[])
	AS t (hour, route, key, outcome, status, n, micros, cost)
ORDER BY 1, 3, 4, 5, 6
ON CONFLICT (hour, slot, route_id, provider_key_id, outcome, http_status)
DO UPDATE SET n = h.n + excluded.n, micros = h.micros + excluded.micros, cost = h.cost + excluded.cost`

// writeSums queues hours, days, totals and attempts.
func (s *settling) writeSums(all *queue) {
	if len(s.hours) > 0 {
		days := s.days()
		s.queueSums(all, upsertHours, s.hours)
		s.queueSums(all, upsertDays, days)
		s.queueSums(all, upsertTotals, totals(days))
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

// queueSums queues an upsert of upsertSums.
func (s *settling) queueSums(all *queue, upsert string, sums map[hourID]*hourState) {
	n := len(sums)
	hour, clients, keys := make([]int32, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	models, units, latency, first := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	var status [usage.Interrupted + 1][]int64
	var charge, cost, overrun, in, out []int64
	for id, h := range sums {
		hour, clients, keys, models = append(hour, id.hour), append(clients, id.client), append(keys, id.key), append(models, id.model)
		for k := usage.Success; k <= usage.Interrupted; k++ {
			status[k] = append(status[k], h.status[k])
		}
		charge, cost, overrun = append(charge, int64(h.charge)), append(cost, int64(h.cost)), append(overrun, int64(h.overrun))
		in, out = append(in, h.in), append(out, h.out)
		units, latency, first = append(units, counts(h.units[:])), append(latency, counts(h.latency[:])), append(first, counts(h.firstToken[:]))
	}
	all.batch.Queue(upsert, s.slot, hour, clients, keys, models, status[usage.Success], status[usage.Failed], status[usage.Timeout],
		status[usage.Cancelled], status[usage.Interrupted], units, charge, cost, overrun, in, out, latency, first)
}
