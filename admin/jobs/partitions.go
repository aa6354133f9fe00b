package jobs

import (
	"context"
	"sync/atomic"
)

// partitions makes the months ahead. Rows in the default partition mean that a
// month was missing when they came (B13): nothing is lost, but somebody must look.
func (r *Runner) partitions() func(context.Context) error {
	var astray atomic.Int64
	r.metrics.Gauge("relay_usage_default_partition_rows", func() float64 { return float64(astray.Load()) })
	return func(ctx context.Context) error {
		n, err := r.db.EnsurePartitions(ctx)
		if err != nil {
			return err
		}
		astray.Store(n)
		if n > 0 {
			r.log.Error("usage rows lie in the default partition", "rows", n)
		}
		return nil
	}
}
