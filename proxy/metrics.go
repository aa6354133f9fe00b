package main

import (
	"strconv"

	"tokenrelay/shared/usage"
)

// register makes the counters that parts keep as plain atomics visible.
func (p *process) register() {
	m := p.metrics
	number := func(name string, f func() int64) { m.Gauge(name, func() float64 { return float64(f()) }) }

	r := p.relay
	number("relay_requests_running", r.Running.Load)
	for s := usage.Success; s <= usage.Refused; s++ {
		number(`relay_requests_total{status="`+s.String()+`"}`, r.Stats.Ended[s].Load)
	}
	for _, status := range []int{400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 429, 431, 500, 501, 502, 503, 504} {
		number(`relay_refusals_total{status="`+strconv.Itoa(status)+`"}`, r.Stats.Refusals[status].Load)
	}
	number("relay_attempts_total", r.Stats.Attempts.Load)
	number("relay_failovers_total", r.Stats.Failovers.Load)
	number("relay_provider_keys_parked_total", r.Stats.KeysParked.Load)
	number("relay_usage_estimated_total", r.Stats.Estimated.Load)
	number("relay_usage_suspect_total", r.Stats.Suspect.Load)
	number("relay_overrun_nanousd_total", r.Stats.Overrun.Load)
	number("relay_charged_nanousd_total", r.Stats.Charged.Load)
	number("relay_unrecorded_total", r.Stats.Unrecorded.Load)
	number("relay_cache_hits_total", r.Stats.CacheHits.Load)
	for i, outcome := range [...]string{"passed", "found", "unavailable"} {
		number(`relay_judgements_total{outcome="`+outcome+`"}`, r.Stats.Judged[i].Load)
	}
	number("relay_cache_misses_total", r.Stats.CacheMisses.Load)
	number("relay_responses_stored_total", r.Stats.Stored.Load)
	number("relay_responses_errors_total", r.Stats.StoreErrors.Load)
	number("relay_panics_total", r.Stats.Panics.Load)
	number("relay_refusals_dropped_total", p.refusals.Dropped.Load)

	c := p.claims.Load()
	number("relay_claims_led_total", c.Stats.Led.Load)
	number("relay_claims_attached_total", c.Stats.Attached.Load)
	number("relay_claims_mirrored_total", c.Stats.Mirrored.Load)
	number("relay_claims_replayed_total", c.Stats.Replayed.Load)
	number("relay_claims_refused_total", c.Stats.Refused.Load)
	number("relay_claims_freed_total", c.Stats.Freed.Load)
	number("relay_claims_errors_total", c.Stats.Errors.Load)
	number("relay_claims_pending", c.Stats.Pending.Load)
	number("relay_claims_bytes", c.Bytes)

	number("relay_client_connections", p.server.Conns.Load)
	number("relay_unreadable_requests_total", p.server.Refused.Load)
	number("relay_strangers_slowed_total", p.server.Slowed)
	number("relay_indebted_slowed_total", p.server.Indebted)

	u := p.upstream
	number("relay_upstream_dials_total", u.Dials.Load)
	number("relay_upstream_dial_errors_total", u.DialErrors.Load)
	number("relay_upstream_reuses_total", u.Reuses.Load)
	number("relay_upstream_discards_total", u.Discards.Load)
	number("relay_upstream_silent_retries_total", u.Retries.Load)

	number("relay_sql_statements_total", func() int64 { return int64(p.db.Statements()) })

	number("relay_leases_open", func() int64 { return int64(p.leases.Stats().Leases) })
	number("relay_leases_free_nanousd", func() int64 { return int64(p.leases.Stats().Free) })
	number("relay_leases_held_nanousd", func() int64 { return int64(p.leases.Stats().Held) })
	number("relay_lease_grants_total", func() int64 { return int64(p.leases.Stats().Grants.Load()) })
	number("relay_lease_refused_total", func() int64 { return int64(p.leases.Stats().Refused.Load()) })
	number("relay_lease_slow_holds_total", func() int64 { return int64(p.leases.Stats().SlowHolds.Load()) })
	number("relay_lease_errors_total", func() int64 { return int64(p.leases.Stats().Errors.Load()) })

	l := p.limits
	number("relay_limits_alone", func() int64 {
		if l.Lone() {
			return 1
		}
		return 0
	})
	number("relay_limit_statements_total", func() int64 { return int64(l.Count.Questions.Load()) })
	number("relay_limit_asked_total", func() int64 { return int64(l.Count.Asked.Load()) })
	number("relay_limit_waits_total", func() int64 { return int64(l.Count.Waited.Load()) })
	number("relay_limit_refused_total", func() int64 { return int64(l.Count.Refused.Load()) })
	number("relay_limit_unshared_total", func() int64 { return int64(l.Count.Alone.Load()) })
	number("relay_limit_recalls_total", func() int64 { return int64(l.Count.Recalls.Load()) })
	number("relay_limit_errors_total", func() int64 { return int64(l.Count.Errors.Load()) })
}
