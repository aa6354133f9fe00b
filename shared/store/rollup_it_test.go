package store_test

import (
	"testing"
	"time"

	"tokenrelay/shared/store"
)

// S1-50 … S1-55: roll-ups are added up alike however they are grouped and paged, and those
// of a busy customer's quarter far within what a statement may take (2 s).
func TestRollups(t *testing.T) {
	b := newBooks(t)
	const hours, models, keys = 24 * 90, 5, 5
	if _, err := b.conn.Exec(t.Context(), `INSERT INTO usage_hourly (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled,
		interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
	SELECT 480000 + h, c, 10 * c + k, 'model-' || m, 1, 5, 1, 0, 0, 0, ARRAY[h, 0, 0, 0, m]::bigint[], h * 7 + m, 1, 0, 1, 1,
		array_fill(1::bigint, ARRAY[24]), array_fill(2::bigint, ARRAY[12])
	FROM generate_series(0, $1::int - 1) h, generate_series(1, $2::int) m, generate_series(1, $3::int) k, generate_series(1, 2) c
	WHERE c = 1 OR h < 100`, hours, models, keys); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO usage_daily (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
		SELECT hour / 24 * 24, client_id, key_id, model, slot, sum(success), sum(failed), sum(timeout), sum(cancelled), sum(interrupted),
		ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out), array_fill(count(*), ARRAY[24]), array_fill(2 * count(*), ARRAY[12]) FROM usage_hourly GROUP BY 1, 2, 3, 4, 5`,
		`INSERT INTO usage_total SELECT hour, x.client_id, x.model, slot, sum(success), sum(failed), sum(timeout), sum(cancelled), sum(interrupted),
		ARRAY[sum(units[1]), 0, 0, 0, sum(units[5])]::bigint[], sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out), array_fill(sum(latency[1])::bigint, ARRAY[24]), array_fill(sum(first_token[1])::bigint, ARRAY[12])
		FROM usage_daily d, LATERAL (VALUES (d.client_id, ''), (0, d.model)) AS x (client_id, model) GROUP BY 1, 2, 3, 4`,
	} {
		if _, err := b.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.conn.Exec(t.Context(), "ANALYZE usage_hourly, usage_daily, usage_total"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	all, err := b.Rollup(t.Context(), store.RollupFilter{HourlyFilter: store.HourlyFilter{ClientID: 1}, Durations: true})
	took := time.Since(begin)
	if err != nil || len(all) != 1 || !all[0].Hour.IsZero() {
		t.Fatalf("%+v: %v", all, err)
	}
	total := all[0]
	t.Logf("%d roll-ups with durations in %v", hours*models*keys, took)
	const sumH = hours * (hours - 1) / 2
	if total.Success != 5*hours*models*keys || total.Charge != 7*sumH*models*keys+15*keys*hours || total.Units[0] != sumH*models*keys || total.Units[4] != 15*keys*hours ||
		total.Latency[23] != hours*models*keys || total.FirstToken[11] != 2*hours*models*keys || total.FirstToken[12] != 0 {
		t.Errorf("total %+v", total)
	}
	if took > 2*time.Second {
		t.Errorf("a quarter took %v", took)
	}
	for name, tc := range map[string]struct {
		f    store.RollupFilter
		rows int
	}{
		"days":            {store.RollupFilter{Hours: 24}, hours / 24},
		"models":          {store.RollupFilter{ByModel: true}, models},
		"keys":            {store.RollupFilter{ByKey: true}, keys},
		"days and models": {store.RollupFilter{Hours: 24, ByModel: true}, hours / 24 * models},
		"all":             {store.RollupFilter{Hours: 24, ByModel: true, ByKey: true}, hours / 24 * models * keys},
		"pages":           {store.RollupFilter{Hours: 24, ByModel: true, ByKey: true, Limit: 187}, hours / 24 * models * keys},
		"model pages":     {store.RollupFilter{ByModel: true, Limit: 2}, models},
	} {
		tc.f.ClientID = 1
		var sum store.HourRow
		var last *store.HourRow
		n := 0
		for {
			tc.f.After = last
			begin := time.Now()
			list, err := b.Rollup(t.Context(), tc.f)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				t.Logf("%s: %v", name, time.Since(begin))
			}
			for i := range list {
				if last != nil && tc.f.Hours > 0 && list[i].Hour.After(last.Hour) {
					t.Errorf("%s: %v comes after %v", name, list[i].Hour, last.Hour)
				}
				last = &list[i]
				sum.Success += last.Success
				sum.Charge += last.Charge
				sum.Units.Add(&last.Units)
			}
			n += len(list)
			if tc.f.Limit == 0 || len(list) < tc.f.Limit {
				break
			}
		}
		if n != tc.rows || sum.Success != total.Success || sum.Charge != total.Charge || sum.Units != total.Units {
			t.Errorf("%s: %d rows, want %d; %d calls, %s", name, n, tc.rows, sum.Success, sum.Charge)
		}
	}
	day := store.HourlyFilter{ClientID: 1, KeyID: 11, Model: "model-2", From: time.Unix(480000*3600, 0), To: time.Unix(480024*3600, 0)}
	one, err := b.Rollup(t.Context(), store.RollupFilter{HourlyFilter: day})
	if err != nil || len(one) != 1 || one[0].Success != 5*24 || one[0].Charge != 7*23*12+2*24 {
		t.Errorf("a day of a model and a key: %+v: %v", one, err)
	}

	// Sums of parts of days are those of their hours, whatever they are read from.
	at := func(hour int) time.Time { return time.Unix(int64(480000+hour)*3600, 0) }
	for _, span := range [][2]int{{0, 24 * 5}, {5, 24 * 4}, {24, 24*2 + 7}, {5, 24*3 + 7}, {5, 9}, {20, 30}, {24, 24}} {
		for name, f := range map[string]store.RollupFilter{
			"a client": {HourlyFilter: store.HourlyFilter{ClientID: 1}}, "a key": {HourlyFilter: store.HourlyFilter{ClientID: 1, KeyID: 12}}, "a model": {HourlyFilter: store.HourlyFilter{Model: "model-3"}},
			"all": {}, "clients": {ByClient: true}, "models": {ByModel: true}, "keys": {ByKey: true, ByModel: true}, "clients of a model": {HourlyFilter: store.HourlyFilter{Model: "model-2"}, ByClient: true},
			"models of a client": {HourlyFilter: store.HourlyFilter{ClientID: 2}, ByModel: true},
		} {
			f.From, f.To, f.Durations = at(span[0]), at(span[1]), true
			var got, want [3]int64
			add := func(sum *[3]int64, list []store.HourRow) {
				for i := range list {
					sum[0], sum[1], sum[2] = sum[0]+list[i].Success, sum[1]+int64(list[i].Charge), sum[2]+list[i].Latency[3]*2+list[i].FirstToken[2]
				}
			}
			whole, err := b.Rollup(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			f.Hours = 24
			days, err := b.Rollup(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			f.Hours = 1
			hourly, err := b.Rollup(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			add(&got, whole)
			add(&want, hourly)
			if got != want || span[0] < span[1] && want[0] == 0 && name != "models of a client" {
				t.Errorf("%s, hours %v: %v, the hours %v", name, span, got, want)
			}
			got = [3]int64{}
			if add(&got, days); got != want {
				t.Errorf("%s, hours %v by day: %v, the hours %v", name, span, got, want)
			}
		}
	}
}
