package jobs

import (
	"context"
	"sync/atomic"
	"time"

	"tokenrelay/shared/store"
)

// reclaim takes back the leases of proxies that are gone for longer than anything
// they had admitted can run (reliability 5.5).
func (r *Runner) reclaim() func(context.Context) error {
	leases := r.metrics.Counter("relay_leases_reclaimed_total")
	return func(ctx context.Context) error {
		closed, err := r.db.ReclaimExpired(ctx)
		if err != nil {
			return err
		}
		if closed.Leases > 0 {
			leases.Add(closed.Leases)
			r.log.Warn("expired leases were taken back", "leases", closed.Leases, "usd", closed.Reclaimed.String())
		}
		return nil
	}
}

// proxies watches the heartbeats: a proxy that is silent without having said
// goodbye is logged once, and counted for the alerts.
func (r *Runner) proxies() func(context.Context) error {
	var live, silent atomic.Int64
	r.metrics.Gauge("relay_proxies_live", func() float64 { return float64(live.Load()) })
	r.metrics.Gauge("relay_proxies_silent", func() float64 { return float64(silent.Load()) })
	said := map[string]time.Time{} // name → heartbeat it was reported for
	return func(ctx context.Context) error {
		rows, err := r.db.Proxies(ctx)
		if err != nil {
			return err
		}
		var nLive, nSilent int64
		for i := range rows {
			p := &rows[i]
			switch {
			case p.Live:
				nLive++
				delete(said, p.Name)
			case p.State == "active":
				nSilent++
				if !said[p.Name].Equal(p.Heartbeat) {
					said[p.Name] = p.Heartbeat
					r.log.Warn("proxy is silent; its leases are taken back when they expire, or by admin proxy lost",
						"proxy", p.Name, "last_heard", p.Heartbeat.UTC(), "reclaim_after", (store.LeaseTTL + store.MaxRequest + store.ReclaimLag).String())
				}
			}
		}
		live.Store(nLive)
		silent.Store(nSilent)
		return nil
	}
}
