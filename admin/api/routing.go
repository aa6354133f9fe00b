package api

import (
	"fmt"
	"slices"
	"strings"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
)

// The body of PATCH routing/policy. Members left out stay.
type routingPatch struct {
	MultiRegion regionPatch   `json:"multi_region"`
	Fallback    fallbackPatch `json:"fallback"`
	Retry       retryPatch    `json:"retry"`
	Rollout     rolloutPatch  `json:"rollout"`
	Models      modelsPatch   `json:"models"`
}

type regionPatch struct {
	Region  Opt[string]   `json:"region" maxlen:"64" doc:"one of those available; null: anywhere, or as regions says" example:"null"`
	Regions Opt[[]string] `json:"regions" maxlen:"16" doc:"some of those available, the first that can answer is asked; empty: anywhere" example:"[]"`
}

type fallbackPatch struct {
	Enabled Opt[bool] `json:"enabled" doc:"false is max_attempts 1" example:"true"`
}

type retryPatch struct {
	MaxAttempts Opt[int64] `json:"max_attempts" min:"1" max:"8" doc:"null: as many as the relay is set to" example:"3"`
	WithinMS    Opt[int64] `json:"within_ms" min:"1" max:"600000" doc:"no other upstream is asked later than so long after the request came; null: no such limit" example:"null"`
}

type rolloutPatch struct {
	Rules Opt[[]rolloutPart] `json:"rules" maxlen:"32" doc:"at most one for a model" example:"[]"`
}

type rolloutPart struct {
	Model   string `json:"model" required:"1" maxlen:"128" example:"gpt-5-mini"`
	To      string `json:"to" required:"1" maxlen:"128" example:"gpt-5.4-mini"`
	Percent int64  `json:"percent" required:"1" min:"0" max:"100" example:"10"`
}

// rollouts are rules by public ids.
func (a *api) rollouts(c *Call, in *rolloutPatch) ([]policy.Rollout, error) {
	const member = "rollout.rules"
	var list []policy.Rollout
	for i, r := range in.Rules.V {
		names, err := a.Manage.ResolveModels(c.Context, member, []string{r.Model, r.To})
		if err != nil {
			return nil, err
		}
		if len(names) != 2 {
			return nil, badRequest(member, fmt.Sprintf("%s[%d] must name two models", member, i))
		}
		if r.Percent < 0 || r.Percent > 100 {
			return nil, badRequest(member, fmt.Sprintf("%s[%d].percent must be between 0 and 100", member, i))
		}
		if slices.ContainsFunc(list, func(o policy.Rollout) bool { return o.Model == names[0] }) {
			return nil, badRequest(member, fmt.Sprintf("%s[%d]: the model has a rule already", member, i))
		}
		if err := a.checkScope(c, names); err != nil {
			return nil, err
		}
		list = append(list, policy.Rollout{Model: names[0], To: names[1], Percent: int(r.Percent)})
	}
	return list, nil
}

func (a *api) patchRouting(c *Call, in *routingPatch) (*report.RoutingPolicy, error) {
	models, err := a.policyModels(c, &in.Models)
	if err != nil {
		return nil, err
	}
	if in.Rollout.Rules.Set && len(c.Caller.Models) > 0 {
		return nil, apierr.New(apierr.ModelNotAllowed, "A key with a model scope cannot change the rollouts of all keys.").WithParam("rollout.rules")
	}
	rollouts, err := a.rollouts(c, &in.Rollout)
	if err != nil {
		return nil, err
	}
	regions, err := a.Report.Regions(c.Context, c.Caller)
	if err != nil {
		return nil, err
	}
	patch := store.PolicyPatch{Models: models, Region: text(in.MultiRegion.Region)}
	several := in.MultiRegion.Regions
	if several.Set && len(several.V) > 0 {
		if one := in.MultiRegion.Region; one.Set && !one.Null {
			return nil, badRequest("multi_region.regions", "multi_region.region and multi_region.regions exclude each other")
		}
		for _, r := range several.V {
			if !slices.Contains(regions, r) {
				return nil, badRequest("multi_region.regions", "multi_region.regions must be some of "+strings.Join(regions, ", "))
			}
		}
		patch.Region = new(string)
	}
	patch.Rules = func(r *policy.Rules) {
		switch {
		case several.Set:
			r.Routing.Regions = several.V
		case patch.Region != nil:
			r.Routing.Regions = nil
		}
		if in.Retry.WithinMS.Set {
			r.Routing.RetryMS = in.Retry.WithinMS.V
		}
		if in.Rollout.Rules.Set {
			r.Routing.Rollouts = rollouts
		}
	}
	if in.Retry.MaxAttempts.Set {
		n := int(in.Retry.MaxAttempts.V) // null is 0: as the relay is set
		patch.MaxAttempts = &n
	}
	if on := in.Fallback.Enabled; on.Set && !on.Null {
		switch n := patch.MaxAttempts; {
		case n != nil && on.V == (*n == 1):
			return nil, badRequest("fallback.enabled", "fallback.enabled and retry.max_attempts contradict each other: one attempt is no fallback")
		case n == nil && !on.V:
			one := 1
			patch.MaxAttempts = &one
		case n == nil: // on: what it was, unless that was off
			now, err := a.Report.Policy(c.Context, c.Caller.ClientID)
			if err != nil {
				return nil, err
			}
			if now.MaxAttempts == 1 {
				patch.MaxAttempts = new(int)
			}
		}
	}
	p, err := a.Manage.PatchPolicy(c.Context, c.actor(), c.Caller.ClientID, patch, regions)
	if err != nil {
		return nil, err
	}
	return report.ViewRouting(p, regions), nil
}
