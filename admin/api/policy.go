package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// The bodies of the PATCHes. Members left out stay.
type securityPatch struct {
	ContentSafety safetyPatch    `json:"content_safety"`
	Masking       maskingPatch   `json:"masking"`
	Logging       loggingPatch   `json:"logging"`
	Retention     retentionPatch `json:"data_retention"`
	Models        modelsPatch    `json:"models"`
}

type loggingPatch struct {
	Level    Opt[string] `json:"level" enum:"standard,minimal" doc:"null: standard"`
	Content  Opt[bool]   `json:"content" doc:"false" example:"false"`
	Metadata Opt[bool]   `json:"metadata" doc:"true" example:"true"`
}

type retentionPatch struct {
	DetailDays   Opt[int64] `json:"detail_days" min:"1" max:"3650" doc:"null: as long as the rows of the calls" example:"90"`
	ResponseDays Opt[int64] `json:"response_days" min:"0" max:"30" doc:"null: 30" example:"30"`
	ReplayHours  Opt[int64] `json:"replay_hours" min:"0" max:"24" doc:"null: 24" example:"24"`
}

type modelsPatch struct {
	AllowedModelIDs Opt[[]string] `json:"allowed_model_ids" maxlen:"500" doc:"no key may call others; empty: automatic" example:"[]"`
}

type alertPatch struct {
	LowBalance   Opt[money.Amount] `json:"low_balance" min:"0" doc:"null: never" example:"5.00"`
	QuotaPercent Opt[int64]        `json:"quota_alert_percent" min:"1" max:"100" doc:"null: never" example:"80"`
	Mail         Opt[bool]         `json:"mail" doc:"tell it by mail, too" example:"true"`
	Recipients   Opt[[]string]     `json:"recipients" maxlen:"5" doc:"empty: the billing address, else the contact address of the profile, else the owners" example:"[\"billing@example.com\"]"`
}

func (a *api) policyRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/context/config", "S1-13", "What the relay does with the context of calls", func(c *Call) (*report.ContextConfig, error) {
			p, err := a.Report.Policy(c.Context, c.Caller.ClientID)
			if err != nil {
				return nil, err
			}
			return report.ViewContext(p), nil
		}),
		write(fiber.MethodPatch, "/openapi/v1/context/config", "S1-14", "Change the context window, answers given again, and how long answers and responses are kept", func(c *Call, in *contextPatch) (*report.ContextConfig, error) {
			p, err := a.Manage.PatchPolicy(c.Context, c.actor(), c.Caller.ClientID, store.PolicyPatch{Rules: in.apply, Retention: hours(in.Cache.ReplayHours), ResponseDays: responseDays(in.Memory.ResponseDays)}, nil)
			if err != nil {
				return nil, err
			}
			return report.ViewContext(p), nil
		}),
		read(fiber.MethodGet, "/openapi/v1/security/policy", "S1-15", "What is done with what is sent and answered", func(c *Call) (*report.SecurityPolicy, error) {
			p, err := a.Report.Policy(c.Context, c.Caller.ClientID)
			if err != nil {
				return nil, err
			}
			return report.ViewSecurity(p), nil
		}),
		write(fiber.MethodPatch, "/openapi/v1/security/policy", "S1-16", "Change what is looked for in texts, what is written down of calls, how long answers, responses and detail are kept, and the models of all keys", a.patchSecurity).refuses(apierr.ModelNotAllowed),
		read(fiber.MethodGet, "/openapi/v1/routing/policy", "S1-17", "How calls find somebody to serve them", func(c *Call) (*report.RoutingPolicy, error) {
			p, err := a.Report.Policy(c.Context, c.Caller.ClientID)
			if err != nil {
				return nil, err
			}
			regions, err := a.Report.Regions(c.Context, c.Caller)
			return report.ViewRouting(p, regions), err
		}),
		write(fiber.MethodPatch, "/openapi/v1/routing/policy", "S1-18", "Change regions, attempts, rollouts and the models of all keys", a.patchRouting).refuses(apierr.ModelNotAllowed),
		read(fiber.MethodGet, "/openapi/v1/balance/config", "S1-27", "When to alert, and what stands alerted", func(c *Call) (*report.AlertConfig, error) {
			p, err := a.Report.Policy(c.Context, c.Caller.ClientID)
			if err != nil {
				return nil, err
			}
			return a.Report.Alerts(c.Context, c.Caller, p)
		}),
		write(fiber.MethodPatch, "/openapi/v1/balance/config", "S1-28", "Change when to alert", func(c *Call, in *alertPatch) (*report.AlertConfig, error) {
			if err := a.patchAlerts(c, in); err != nil {
				return nil, err
			}
			patch := store.PolicyPatch{LowBalance: amountPatch(in.LowBalance)}
			if in.QuotaPercent.Set {
				percent := int(in.QuotaPercent.V) // null is 0: none
				patch.QuotaPercent = &percent
			}
			p, err := a.Manage.PatchPolicy(c.Context, c.actor(), c.Caller.ClientID, patch, nil)
			if err != nil {
				return nil, err
			}
			return a.Report.Alerts(c.Context, c.Caller, p)
		}).only(store.RoleBilling),
	}
}

func hours(o Opt[int64]) *time.Duration {
	if !o.Set {
		return nil
	}
	d := time.Duration(o.V) * time.Hour
	if o.Null {
		d = store.ClaimTTL
	}
	return &d
}

func responseDays(o Opt[int64]) *int {
	if !o.Set {
		return nil
	}
	days := int(o.V)
	if o.Null {
		days = store.ResponseDays
	}
	return &days
}

func detailDays(o Opt[int64]) *int {
	if !o.Set {
		return nil
	}
	days := int(o.V) // null is 0: always
	return &days
}

// policyModels is the models of a policy. They bound all keys, so a scoped key may not
// change them.
func (a *api) policyModels(c *Call, in *modelsPatch) (*[]string, error) {
	if !in.AllowedModelIDs.Set {
		return nil, nil
	}
	models, err := a.Manage.ResolveModels(c.Context, "models.allowed_model_ids", in.AllowedModelIDs.V)
	if err != nil {
		return nil, err
	}
	if len(c.Caller.Models) > 0 {
		return nil, apierr.New(apierr.ModelNotAllowed, "A key with a model scope cannot change the models of all keys.").WithParam("models.allowed_model_ids")
	}
	if err := a.checkScope(c, models); err != nil {
		return nil, err
	}
	return &models, nil
}

func (a *api) patchSecurity(c *Call, in *securityPatch) (*report.SecurityPolicy, error) {
	if in.Logging.Content.V {
		return nil, badRequest("logging.content", "logging.content must be false: content is never logged")
	}
	if in.Logging.Metadata.Set && !in.Logging.Metadata.V {
		return nil, badRequest("logging.metadata", "logging.metadata must be true: it is what is charged")
	}
	if err := in.ContentSafety.Words.check(); err != nil {
		return nil, err
	}
	if err := a.judges(c, in); err != nil {
		return nil, err
	}
	models, err := a.policyModels(c, &in.Models)
	if err != nil {
		return nil, err
	}
	p, err := a.Manage.PatchPolicy(c.Context, c.actor(), c.Caller.ClientID, store.PolicyPatch{Rules: in.apply, Models: models, Retention: hours(in.Retention.ReplayHours), ResponseDays: responseDays(in.Retention.ResponseDays), DetailDays: detailDays(in.Retention.DetailDays)}, nil)
	if err != nil {
		return nil, err
	}
	return report.ViewSecurity(p), nil
}
