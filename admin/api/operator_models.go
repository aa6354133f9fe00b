package api

import (
	"context"
	"slices"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/store"
)

// modelMembers is what is said of a model; in a change, what is left out stays.
type modelMembers struct {
	Aliases       Opt[[]string]  `json:"aliases" maxlen:"64" doc:"other names that clients may send" example:"[\"gpt-5-2\"]"`
	Tags          Opt[[]string]  `json:"tags" maxlen:"64" example:"[\"chat\"]"`
	ContextTokens Opt[int64]     `json:"context_tokens" min:"0" max:"1000000000" example:"400000"`
	MaxOutput     Opt[int64]     `json:"max_output_tokens" min:"0" max:"1000000000" example:"128000"`
	Multiplier    Opt[string]    `json:"multiplier" doc:"of the price, a decimal with at most 6 places" example:"1"`
	Auto          Opt[autoModel] `json:"auto" doc:"what an auto model stands for; it has no routes and no price of its own"`
}

type autoModel struct {
	Strategy string   `json:"strategy" required:"true" enum:"balanced,cheapest,fastest,best"`
	Models   []string `json:"models" required:"true" minlen:"1" maxlen:"64" doc:"ids or aliases, in the order of preference"`
}

type modelCreate struct {
	ID     string            `json:"id" required:"true" minlen:"1" maxlen:"128" doc:"what clients send" example:"gpt-5.2"`
	Routes []routeMembers    `json:"routes" maxlen:"64"`
	Price  map[string]string `json:"price" doc:"by class, in the units of the catalogue file; none: the model is refused until it has one"`
	Free   []string          `json:"free" maxlen:"32" doc:"classes that are free on purpose"`
	modelMembers
}

type modelPatch struct{ modelMembers }

type routeMembers struct {
	Provider      string                 `json:"provider" required:"true" minlen:"1" maxlen:"64" example:"openai"`
	UpstreamModel string                 `json:"upstream_model" required:"true" minlen:"1" maxlen:"256" doc:"the provider's own name" example:"gpt-5.2"`
	Priority      int64                  `json:"priority" min:"0" max:"1000" doc:"0 is tried first"`
	Weight        int64                  `json:"weight" min:"0" max:"1000000" doc:"within a priority; 0 means 1"`
	Region        string                 `json:"region" maxlen:"64"`
	Cost          Opt[map[string]string] `json:"cost" doc:"what the supplier takes; null: as the model's price" example:"{\"input\":\"1\",\"output\":\"8\"}"`
}

type routePatch struct {
	Enabled  Opt[bool]              `json:"enabled" doc:"false takes the route out of use, true brings it back" example:"true"`
	Region   Opt[string]            `json:"region" maxlen:"64" doc:"a route of another region is another route; this one is taken out of use" example:"eu"`
	Priority Opt[int64]             `json:"priority" min:"0" max:"1000" example:"0"`
	Weight   Opt[int64]             `json:"weight" min:"1" max:"1000000" example:"1"`
	Cost     Opt[map[string]string] `json:"cost" doc:"what the supplier takes; null: as the model's price" example:"{\"input\":\"1\",\"output\":\"8\"}"`
}

type routeFilter struct {
	Model    string `query:"model" maxlen:"128"`
	Provider string `query:"provider" maxlen:"64"`
}

type routeList struct {
	Items []report.Route `json:"items"`
}

type operatorModels struct {
	Items []report.OperatorModel `json:"items"`
}

type aliasList struct {
	Items []aliasOf `json:"items"`
}

type aliasOf struct {
	Alias string `json:"alias"`
	Model string `json:"model"`
}

func (a *api) catalogueRoutes() []Route {
	const one = "/admin/v1/models/:model"
	return []Route{
		read(fiber.MethodGet, "/admin/v1/models", "S2-6", "Every model with its names, its price and what its routes cost", func(c *Call) (*operatorModels, error) {
			items, err := a.Report.OperatorModels(c.Context, "")
			return &operatorModels{Items: items}, err
		}).by(operator),
		read(fiber.MethodGet, one, "S2-6", "One model", func(c *Call) (*report.OperatorModel, error) { return a.operatorModel(c.Context, c.Param("model")) }).by(operator),
		write(fiber.MethodPost, "/admin/v1/models", "C19", "Add a model or an auto model", a.createModel).by(operator).status(fiber.StatusCreated),
		write(fiber.MethodPatch, one, "C19", "Change a model's names, tags, limits, multiplier or what it stands for", func(c *Call, in *modelPatch) (*report.OperatorModel, error) {
			return a.changeModel(c, "update", c.Param("model"), func(m *catalogfile.Model) error { in.apply(m); return nil })
		}).by(operator),
		read(fiber.MethodDelete, one, "C19", "Take a model out of the catalogue; its history stays", func(c *Call) (*report.OperatorModel, error) {
			m, err := a.operatorModel(c.Context, c.Param("model"))
			if err != nil {
				return nil, err
			}
			return m, a.Manage.DisableModel(c.Context, c.actor(), m.ID)
		}).by(operator),
		read(fiber.MethodGet, "/admin/v1/aliases", "C19", "Every other name of a model", func(c *Call) (*aliasList, error) {
			models, err := a.Report.OperatorModels(c.Context, "")
			list := &aliasList{Items: []aliasOf{}}
			for i := range models {
				for _, alias := range models[i].Aliases {
					list.Items = append(list.Items, aliasOf{Alias: alias, Model: models[i].ID})
				}
			}
			return list, err
		}).by(operator),
		find("/admin/v1/routes", "S0-11", "The ways to serve models, and what each costs", func(c *Call, q *routeFilter) (*routeList, error) {
			items, err := a.Report.Routes(c.Context, q.Model, q.Provider)
			return &routeList{Items: items}, err
		}).by(operator),
		write(fiber.MethodPost, one+"/routes", "S0-11", "Add a way to serve a model", func(c *Call, in *routeMembers) (*report.OperatorModel, error) {
			return a.changeModel(c, "add route", c.Param("model"), func(m *catalogfile.Model) error {
				m.Routes = append(m.Routes, in.route())
				return nil
			})
		}).by(operator).status(fiber.StatusCreated),
		write(fiber.MethodPatch, "/admin/v1/routes/:route_id", "S0-11", "Change a route's priority, weight, region or cost, or switch it off and on", a.patchRoute).by(operator),
		read(fiber.MethodDelete, "/admin/v1/routes/:route_id", "S0-11", "Take a route out of use; what it cost stays in the books", func(c *Call) (*report.OperatorModel, error) {
			return a.changeRoute(c, "remove route", func(m *catalogfile.Model, i int) { m.Routes = slices.Delete(m.Routes, i, i+1) })
		}).by(operator),
	}
}

func (a *api) operatorModel(ctx context.Context, name string) (*report.OperatorModel, error) {
	list, err := a.Report.OperatorModels(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, apierr.ErrNotFound
	}
	return &list[0], nil
}

func (in *modelMembers) apply(m *catalogfile.Model) {
	if in.Aliases.Set {
		m.Aliases = in.Aliases.V
	}
	if in.Tags.Set {
		m.Tags = in.Tags.V
	}
	setCount(&m.ContextTokens, in.ContextTokens)
	setCount(&m.MaxOutputTokens, in.MaxOutput)
	setDecimal(&m.Multiplier, in.Multiplier)
	if in.Auto.Set {
		m.Auto = nil
		if !in.Auto.Null {
			m.Auto = &catalogfile.Auto{Strategy: in.Auto.V.Strategy, Models: in.Auto.V.Models}
		}
	}
}

func (in *routeMembers) route() catalogfile.Route {
	return catalogfile.Route{Provider: in.Provider, Model: in.UpstreamModel, Priority: in.Priority, Weight: in.Weight, Region: in.Region, Cost: prices(in.Cost.V)}
}

func prices(in map[string]string) catalogfile.Prices {
	if len(in) == 0 {
		return nil
	}
	out := make(catalogfile.Prices, len(in))
	for class, text := range in {
		out[class] = catalogfile.Decimal(text)
	}
	return out
}

func (a *api) createModel(c *Call, in *modelCreate) (*report.OperatorModel, error) {
	m := catalogfile.Model{ID: in.ID, Price: prices(in.Price), Free: in.Free}
	in.apply(&m)
	for i := range in.Routes {
		m.Routes = append(m.Routes, in.Routes[i].route())
	}
	if _, err := a.Manage.CreateModel(c.Context, c.actor(), m); err != nil {
		return nil, err
	}
	return a.operatorModel(c.Context, in.ID)
}

func (a *api) changeModel(c *Call, action, name string, change func(*catalogfile.Model) error) (*report.OperatorModel, error) {
	m, err := a.operatorModel(c.Context, name)
	if err != nil {
		return nil, err
	}
	if _, err := a.Manage.PatchModel(c.Context, c.actor(), action, m.ID, change); err != nil {
		return nil, err
	}
	return a.operatorModel(c.Context, m.ID)
}

func (in *routePatch) apply(r *catalogfile.Route) {
	setCount(&r.Priority, in.Priority)
	setCount(&r.Weight, in.Weight)
	if in.Region.Set {
		r.Region = in.Region.V
	}
	if in.Cost.Set {
		r.Cost = prices(in.Cost.V)
	}
}

func (a *api) patchRoute(c *Call, in *routePatch) (*report.OperatorModel, error) {
	if in.Enabled.Set && in.Enabled.V {
		id, _ := strconv.ParseInt(c.Param("route_id"), 10, 64)
		was, off, err := a.Report.Route(c.Context, id)
		if err != nil {
			return nil, err
		}
		if off {
			return a.changeModel(c, "enable route", was.Model, func(m *catalogfile.Model) error {
				r := catalogfile.Route{Provider: was.Provider, Model: was.UpstreamModel, Region: was.Region, Priority: int64(was.Priority), Weight: int64(was.Weight)}
				if was.Own {
					r.Cost = prices(was.Prices)
				}
				in.apply(&r)
				m.Routes = append(m.Routes, r)
				return nil
			})
		}
	}
	return a.changeRoute(c, "change route", func(m *catalogfile.Model, i int) {
		in.apply(&m.Routes[i])
		if in.Enabled.Set && !in.Enabled.V {
			m.Routes = slices.Delete(m.Routes, i, i+1)
		}
	})
}

// changeRoute changes the route of the path; change gets its model and its place in it.
func (a *api) changeRoute(c *Call, action string, change func(m *catalogfile.Model, i int)) (*report.OperatorModel, error) {
	id, err := strconv.ParseInt(c.Param("route_id"), 10, 64)
	if err != nil {
		return nil, apierr.ErrNotFound
	}
	r, off, err := a.Report.Route(c.Context, id)
	if err != nil {
		return nil, err
	}
	if r == nil || off {
		return nil, apierr.ErrNotFound
	}
	return a.changeModel(c, action, r.Model, func(m *catalogfile.Model) error {
		for j := range m.Routes {
			if x := &m.Routes[j]; x.Provider == r.Provider && x.Model == r.UpstreamModel && x.Region == r.Region {
				change(m, j)
				return nil
			}
		}
		return store.ErrNotFound // gone since
	})
}
