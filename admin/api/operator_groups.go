package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
)

// groupLimits is what a tier of customers may do (C18); in a change, what is left out
// stays and null is no limit.
type groupLimits struct {
	Models         Opt[[]string]     `json:"models" maxlen:"500" doc:"ids or aliases; * is all models" example:"[\"*\"]"`
	Multiplier     Opt[string]       `json:"multiplier" doc:"of prices, a decimal with at most 6 places" example:"1"`
	RPM            Opt[int64]        `json:"rpm" min:"0" max:"1000000000000" doc:"requests a minute, 0 = no limit" example:"600"`
	TPM            Opt[int64]        `json:"tpm" min:"0" max:"1000000000000" doc:"tokens a minute, 0 = no limit" example:"0"`
	MaxConcurrency Opt[int64]        `json:"max_concurrency" min:"0" max:"1000000000000" doc:"running requests, 0 = no limit" example:"0"`
	DailyUSD       Opt[money.Amount] `json:"daily_usd" min:"0" doc:"USD a day (UTC)" example:"1000"`
	TotalQuota     Opt[money.Amount] `json:"total_quota" min:"0" doc:"USD in all" example:"100000"`
	IPAllow        Opt[[]string]     `json:"ip_allow" maxlen:"256" doc:"addresses or CIDRs; empty: any" example:"[]"`
	ExpiresAt      Opt[time.Time]    `json:"expires_at" example:"2099-12-31T00:00:00Z"`
}

type groupCreate struct {
	Name string `json:"name" required:"true" minlen:"1" maxlen:"64" example:"gold"`
	groupLimits
}

type groupPatch struct{ groupLimits }

type groupList struct {
	Items []report.Group `json:"items"`
}

func (a *api) groupRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/admin/v1/groups", "S3-12", "The tiers of customers and their limits", func(c *Call) (*groupList, error) {
			items, err := a.Report.Groups(c.Context)
			return &groupList{Items: items}, err
		}).by(operator),
		read(fiber.MethodGet, "/admin/v1/groups/:group", "S3-12", "One tier", func(c *Call) (*report.Group, error) { return a.group(c.Context, c.Param("group")) }).by(operator),
		write(fiber.MethodPost, "/admin/v1/groups", "S3-12", "Add a tier", func(c *Call, in *groupCreate) (*report.Group, error) {
			g := catalogfile.Group{Name: in.Name, Models: []string{"*"}}
			in.apply(&g)
			if _, err := a.Manage.CreateGroup(c.Context, c.actor(), g); err != nil {
				return nil, err
			}
			return a.group(c.Context, in.Name)
		}).by(operator).status(fiber.StatusCreated),
		write(fiber.MethodPatch, "/admin/v1/groups/:group", "S3-12", "Change a tier", func(c *Call, in *groupPatch) (*report.Group, error) {
			if _, err := a.Manage.PatchGroup(c.Context, c.actor(), c.Param("group"), in.apply); err != nil {
				return nil, err
			}
			return a.group(c.Context, c.Param("group"))
		}).by(operator),
		read(fiber.MethodDelete, "/admin/v1/groups/:group", "S3-12", "Remove a tier that has no customers", func(c *Call) (*report.Group, error) {
			g, err := a.group(c.Context, c.Param("group"))
			if err != nil {
				return nil, err
			}
			return g, a.Manage.DeleteGroup(c.Context, c.actor(), g.Name)
		}).by(operator),
	}
}

func (a *api) group(ctx context.Context, name string) (*report.Group, error) {
	list, err := a.Report.Groups(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Name == name {
			return &list[i], nil
		}
	}
	return nil, apierr.ErrNotFound
}

func (in *groupLimits) apply(g *catalogfile.Group) {
	if in.Models.Set {
		g.Models = in.Models.V
	}
	setDecimal(&g.Multiplier, in.Multiplier)
	setCount(&g.RPM, in.RPM)
	setCount(&g.TPM, in.TPM)
	setCount(&g.MaxConcurrency, in.MaxConcurrency)
	setUSD(&g.DailyUSD, in.DailyUSD)
	setUSD(&g.TotalQuotaUSD, in.TotalQuota)
	if in.IPAllow.Set {
		g.IPAllow = in.IPAllow.V
	}
	if in.ExpiresAt.Set {
		g.ExpiresAt = ""
		if !in.ExpiresAt.Null {
			g.ExpiresAt = in.ExpiresAt.V.Format(time.RFC3339)
		}
	}
}

func setDecimal(to *catalogfile.Decimal, from Opt[string]) {
	if from.Set {
		*to = catalogfile.Decimal(from.V)
	}
}

func setCount(to *int64, from Opt[int64]) {
	if from.Set {
		*to = from.V
	}
}

func setUSD(to *catalogfile.Decimal, from Opt[money.Amount]) {
	switch {
	case from.Null:
		*to = ""
	case from.Set:
		*to = catalogfile.Decimal(from.V.String())
	}
}
