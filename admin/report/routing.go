package report

import (
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
)

// RoutingPolicy is how calls find somebody to serve them (S1-17).
type RoutingPolicy struct {
	MultiRegion RegionPolicy   `json:"multi_region"`
	Fallback    FallbackPolicy `json:"fallback"`
	Retry       RetryPolicy    `json:"retry"`
	Rollout     RolloutPolicy  `json:"rollout"`
	Models      ModelPolicy    `json:"models"`
}

// RegionPolicy is where calls are served.
type RegionPolicy struct {
	Region    *string  `json:"region" doc:"null: anywhere, or as regions says"`
	Regions   []string `json:"regions" doc:"the first that can answer is asked; empty: as region says"`
	Available []string `json:"available"`
}

// FallbackPolicy is whether another one is asked when one fails before its first output.
type FallbackPolicy struct {
	Enabled bool `json:"enabled"`
}

// RetryPolicy is how many are asked, and how late.
type RetryPolicy struct {
	MaxAttempts *int64 `json:"max_attempts" doc:"for one request at most; null: as many as the relay is set to, which is also the most"`
	WithinMS    *int64 `json:"within_ms" doc:"no other upstream is asked later than so long after the request came; null: no such limit"`
}

// RolloutPolicy is which models give a part of their calls to others.
type RolloutPolicy struct {
	Rules []RolloutRule `json:"rules"`
}

// RolloutRule gives a part of a model's calls to another. Calls of one conversation
// (x-conversation-id), or else of one key, stay together.
type RolloutRule struct {
	Model   string `json:"model"`
	To      string `json:"to"`
	Percent int64  `json:"percent"`
}

// ViewRouting is p as the routing policy; regions are those that there are.
func ViewRouting(p *store.Policy, regions []string) *RoutingPolicy {
	r := &p.Rules.Routing
	v := &RoutingPolicy{
		MultiRegion: RegionPolicy{Regions: emptyNotNil(r.Regions), Available: emptyNotNil(regions)}, Fallback: FallbackPolicy{Enabled: p.MaxAttempts != 1},
		Rollout: RolloutPolicy{Rules: []RolloutRule{}}, Models: modelPolicy(p),
	}
	if p.Region != "" {
		v.MultiRegion.Region = &p.Region
	}
	if n := int64(p.MaxAttempts); n > 0 {
		v.Retry.MaxAttempts = &n
	}
	if r.RetryMS > 0 {
		v.Retry.WithinMS = &r.RetryMS
	}
	for _, o := range r.Rollouts {
		v.Rollout.Rules = append(v.Rollout.Rules, RolloutRule{Model: o.Model, To: o.To, Percent: int64(o.Percent)})
	}
	return v
}

// regionsOf are where the calls of a key's client may be served; empty: anywhere. Rules
// that cannot be read name none: the proxies say so by themselves.
func regionsOf(client *store.KeyRow) []string {
	if r, err := policy.Parse(client.Rules); err == nil && r != nil && len(r.Routing.Regions) > 0 {
		return r.Routing.Regions
	}
	if client.Region != "" {
		return []string{client.Region}
	}
	return nil
}
