package jobs

import (
	"context"

	"tokenrelay/shared/store"
)

// prune deletes what only looks back and is old enough (docs/decisions/0010-retention.md).
func (r *Runner) prune(keep store.Keep) func(context.Context) error {
	changes := r.metrics.Counter(`relay_pruned_rows_total{table="config_log"}`)
	refusals := r.metrics.Counter(`relay_pruned_rows_total{table="refusal"}`)
	leases := r.metrics.Counter(`relay_pruned_rows_total{table="lease"}`)
	detail := r.metrics.Counter(`relay_pruned_rows_total{table="usage_detail"}`)
	return func(ctx context.Context) error {
		p, err := r.db.Prune(ctx, keep)
		changes.Add(int(p.Changes))
		refusals.Add(int(p.Refusals))
		leases.Add(int(p.Leases))
		detail.Add(int(p.Detail))
		return err
	}
}
