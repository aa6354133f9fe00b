package api

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

// statusFor is how long a status is kept: anybody may ask as often as they like, and the
// database hears of it twice a minute.
const statusFor = 30 * time.Second

// statusCache holds the status as it was last made.
type statusCache struct {
	mu   sync.Mutex
	body []byte
	made time.Time
}

// get makes the status anew when it is old. Who comes meanwhile waits for it.
func (s *statusCache) get(ctx context.Context, now time.Time, make func(context.Context) (any, error)) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body != nil && now.Sub(s.made) < statusFor && !now.Before(s.made) {
		return s.body, nil
	}
	v, err := make(ctx)
	if err != nil {
		if s.body != nil { // an old one says more than an error
			return s.body, nil
		}
		return nil, err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	s.body, s.made = body, now
	return body, nil
}

func (a *api) statusRoutes() []Route {
	return []Route{
		{Method: fiber.MethodGet, Path: "/status.json", ID: "S0-17", Summary: "How well the models work, by hour", audience: public, run: func(c *Call) (any, error) {
			body, err := a.status.get(c.Context, a.Now(), func(ctx context.Context) (any, error) { return a.Report.Status(ctx) })
			if err != nil {
				return nil, err
			}
			c.c.Set(fiber.HeaderCacheControl, "public, max-age=30")
			c.c.Set(fiber.HeaderAccessControlAllowOrigin, "*")
			return nil, sendJSON(c, body)
		}},
	}
}
