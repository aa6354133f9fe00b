package jobs

import (
	"context"
	"sync/atomic"
	"time"

	"tokenrelay/shared/store"
)

// auditSlice is how many wallets one run of the audit looks at.
const auditSlice = 50

// audit proves the books of one slice of the wallets after the other, round and
// round. What is broken stays in the gauge until a whole round found nothing.
func (r *Runner) audit() func(context.Context) error {
	var broken, roundBroken, after atomic.Int64
	r.metrics.Gauge("relay_audit_broken", func() float64 { return float64(max(broken.Load(), roundBroken.Load())) })
	wallets := r.metrics.Counter("relay_audit_wallets_total")
	return func(ctx context.Context) error {
		clients, err := r.db.ListClients(ctx, after.Load(), auditSlice)
		if err != nil {
			return err
		}
		now := time.Now().UTC()
		since := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
		for i := range clients {
			c := &clients[i]
			report, err := r.db.Audit(ctx, store.AuditOptions{WalletID: c.WalletID, Since: since})
			if err != nil {
				return err
			}
			wallets.Inc()
			for _, l := range report.Lines {
				if l.Broken > 0 {
					roundBroken.Add(l.Broken)
					r.log.Error("the books are broken: run admin audit", "invariant", l.ID, "client_id", c.ID, "broken", l.Broken,
						"worst_usd", l.Worst.String(), "samples", l.Samples)
				}
			}
			after.Store(c.ID)
		}
		if len(clients) < auditSlice { // the round is complete
			after.Store(0)
			broken.Store(roundBroken.Swap(0))
		}
		return nil
	}
}
