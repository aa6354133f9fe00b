package relay

import (
	"context"
	"errors"
	"time"

	"tokenrelay/proxy/route"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/usage"
	"tokenrelay/shared/vertex"
)

// tokenWait is how long a request waits for the first token of a service account. It is
// the time that a client's leaving goes unseen.
const tokenWait = 4 * time.Second

// token sets x.bearer for a provider key that is a service account. Nobody waits but who
// comes before the first token is there, or when none could be fetched in time: then the
// key is at fault, and another upstream is asked.
func (x *Exchange) token() (verdict, *apiError) {
	c := &x.choice
	if x.bearer = c.Key.Tokens.Token(time.Now()); x.bearer != "" {
		return answered, nil
	}
	x.begun = upstream.Now()
	a := x.note()
	ctx, cancel := context.WithTimeout(context.Background(), min(tokenWait, time.Duration(max(1, x.endBy-x.begun))))
	defer cancel()
	var err error
	if x.bearer, err = c.Key.Tokens.Wait(ctx); err == nil {
		return answered, nil
	}
	x.close(a, usage.OutcomeConnect)
	var refused *vertex.RefusedError
	if errors.As(err, &refused) {
		c.Park(route.Now())
		x.r.Stats.KeysParked.Add(1)
	} else {
		c.Cool(route.Now(), tokenWait)
	}
	x.r.o.Log.Warn("a service account gets no token", "provider", c.Route.Provider.Slug, "key", c.Key.Name, "error", err)
	return next, apierr.ErrUpstreamError
}
