package jobs

import (
	"context"

	"tokenrelay/admin/session"
)

// signIns deletes sessions that have ended and sign-ins that count no longer.
func (r *Runner) signIns() func(context.Context) error {
	sessions := r.metrics.Counter("relay_admin_sessions_expired_total")
	return func(ctx context.Context) error {
		n, _, err := r.db.ExpireSignIns(ctx, session.Span)
		sessions.Add(int(n))
		return err
	}
}
