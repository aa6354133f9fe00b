package jobs

import "context"

// claims deletes the idempotency keys whose day is over, and the answers that their
// clients do not want kept.
func (r *Runner) claims() func(context.Context) error {
	keys := r.metrics.Counter("relay_claims_expired_total")
	answers := r.metrics.Counter("relay_claims_answers_forgotten_total")
	return func(ctx context.Context) error {
		k, a, err := r.db.ExpireClaims(ctx)
		keys.Add(int(k))
		answers.Add(int(a))
		return err
	}
}
