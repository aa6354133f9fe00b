package report

import (
	"context"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// Status is how well the models on sale work, from real calls (S0-17). It says nothing of
// who serves them and nothing of how much is called.
type Status struct {
	Time   time.Time     `json:"time"`
	State  string        `json:"state" enum:"operational,degraded,down"`
	Models []ModelStatus `json:"models"`
}

// ModelStatus is one model.
type ModelStatus struct {
	ID    string       `json:"id"`
	State string       `json:"state" enum:"operational,degraded,down,unknown" doc:"of this hour and the last; unknown: nobody called it"`
	Hours []HourStatus `json:"hours" doc:"the last 24, oldest first, hours without calls left out"`
}

// HourStatus is an hour of it.
type HourStatus struct {
	Time        time.Time `json:"time"`
	State       string    `json:"state" enum:"operational,degraded,down"`
	SuccessRate float64   `json:"success_rate" doc:"of the calls that did not fail by their caller's doing, three places"`
}

// statusHours is how far back a status looks.
const statusHours = 24

// faults are the codes that are the service's doing; a caller's own are no outage.
var faults = []string{
	string(apierr.UpstreamError), string(apierr.UpstreamTimeout), string(apierr.NoHealthyUpstream), string(apierr.NoProviderKeys),
	string(apierr.ProviderPaused), string(apierr.MoneyUnavailable), string(apierr.Overloaded), string(apierr.ProxyError),
}

// From which share of successes on a model works, and below which it does not.
const (
	operational = 0.99
	degraded    = 0.5
)

func stateOf(good, bad int64) string {
	switch rate := float64(good) / float64(good+bad); {
	case rate >= operational:
		return "operational"
	case rate >= degraded:
		return "degraded"
	}
	return "down"
}

// Status adds up the calls of the models that everybody can see.
func (s *Service) Status(ctx context.Context) (*Status, error) {
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	visible, err := s.Models(ctx, &store.KeyRow{GroupID: catalogue.DefaultGroup(), ClientPPM: price.PPM})
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	hour := now.Truncate(time.Hour)
	rows, err := s.db.Health(ctx, hour.Add(-(statusHours-1)*time.Hour), faults)
	if err != nil {
		return nil, err
	}
	of := map[string][]store.HealthRow{}
	for _, r := range rows {
		if r.Good+r.Bad > 0 {
			of[r.Model] = append(of[r.Model], r)
		}
	}
	out := &Status{Time: now, State: "operational", Models: []ModelStatus{}}
	for i := range visible {
		m := ModelStatus{ID: visible[i].ID, State: "unknown", Hours: []HourStatus{}}
		var good, bad int64
		for _, r := range of[m.ID] {
			m.Hours = append(m.Hours, HourStatus{
				Time: r.Hour, State: stateOf(r.Good, r.Bad), SuccessRate: float64(r.Good*1000/(r.Good+r.Bad)) / 1000,
			})
			if !r.Hour.Before(hour.Add(-time.Hour)) {
				good, bad = good+r.Good, bad+r.Bad
			}
		}
		if good+bad > 0 {
			m.State = stateOf(good, bad)
		}
		if (m.State == "down" || m.State == "degraded") && out.State == "operational" {
			out.State = "degraded"
		}
		out.Models = append(out.Models, m)
	}
	if n := len(out.Models); n > 0 {
		down, known := 0, 0
		for i := range out.Models {
			switch out.Models[i].State {
			case "down":
				down++
				known++
			case "operational", "degraded":
				known++
			}
		}
		if known > 0 && down == known {
			out.State = "down"
		}
	}
	return out, nil
}
