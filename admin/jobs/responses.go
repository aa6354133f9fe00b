package jobs

import "context"

// responses deletes the kept responses whose time is over.
func (r *Runner) responses() func(ctx context.Context) error {
	expired := r.metrics.Counter("relay_responses_expired_total")
	return func(ctx context.Context) error {
		n, err := r.db.ExpireResponses(ctx)
		expired.Add(int(n))
		return err
	}
}
