package report

import (
	"context"
	"time"
)

// Proxy is a proxy as operators see it.
type Proxy struct {
	Name            string    `json:"name"`
	Slot            int16     `json:"slot"`
	Epoch           int64     `json:"epoch"`
	State           string    `json:"state"` // active, closed, lost
	Live            bool      `json:"live"`
	Heartbeat       time.Time `json:"heartbeat"`
	AppliedRevision int64     `json:"applied_revision"`
	InternalURL     string    `json:"internal_url"`
}

// Proxies is every proxy that ever claimed a slot, with the revision that all of
// them should have applied ("live on 3 of 3 proxies").
type Proxies struct {
	Revision int64   `json:"revision"`
	Live     int     `json:"live"`
	Applied  int     `json:"applied"` // of the live ones, how many have applied Revision
	Proxies  []Proxy `json:"proxies"`
}

// Proxies lists the proxies.
func (s *Service) Proxies(ctx context.Context) (*Proxies, error) {
	// The revision first: a proxy can only be ahead of what is read before it.
	rev, err := s.db.Revision(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Proxies(ctx)
	if err != nil {
		return nil, err
	}
	out := &Proxies{Revision: rev, Proxies: make([]Proxy, len(rows))}
	for i, p := range rows {
		out.Proxies[i] = Proxy{
			Name: p.Name, Slot: p.ID, Epoch: p.Epoch, State: p.State, Live: p.Live,
			Heartbeat: p.Heartbeat.UTC(), AppliedRevision: p.AppliedRev, InternalURL: p.InternalURL,
		}
		if p.Live {
			out.Live++
			if p.AppliedRev >= rev {
				out.Applied++
			}
		}
	}
	return out, nil
}
