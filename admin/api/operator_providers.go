package api

import (
	"context"
	"errors"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/probe"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
)

type providerCreate struct {
	Name      string            `json:"name" required:"true" minlen:"1" maxlen:"64" doc:"also the first path segment of /v1/{provider}/…" example:"openai-eu"`
	Protocol  string            `json:"protocol" required:"true" enum:"openai,anthropic,gemini,dashscope,bedrock,cohere" example:"openai"`
	Dialect   string            `json:"dialect" maxlen:"64" doc:"left out: by the host of base_url"`
	BaseURL   string            `json:"base_url" required:"true" minlen:"1" maxlen:"512" example:"https://api.openai.com/v1"`
	Options   map[string]string `json:"options" maxlen:"16"`
	DailyStop Opt[money.Amount] `json:"daily_stop" min:"0" example:"500"`
}

type providerPatch struct {
	Protocol  Opt[string]            `json:"protocol" enum:"openai,anthropic,gemini,dashscope,bedrock,cohere" example:"openai"`
	Dialect   Opt[string]            `json:"dialect" maxlen:"64" example:"openai"`
	BaseURL   Opt[string]            `json:"base_url" minlen:"1" maxlen:"512" example:"https://api.openai.com/v1"`
	Options   Opt[map[string]string] `json:"options" maxlen:"16" example:"{}"`
	DailyStop Opt[money.Amount]      `json:"daily_stop" min:"0" example:"500"`
}

// providerKeyAdd holds a secret that no answer ever shows.
type providerKeyAdd struct {
	Name   string `json:"name" required:"true" minlen:"1" maxlen:"64" example:"main"`
	Secret string `json:"secret" required:"true" minlen:"1" maxlen:"16384" example:"sk-0000"`
}

type providerKeyRotate struct {
	Secret string `json:"secret" required:"true" minlen:"1" maxlen:"16384" example:"sk-0000"`
}

// providerTest asks a provider for one token.
type providerTest struct {
	Model string `json:"model" maxlen:"256" doc:"the provider's own name of a model; left out: that of the first route"`
}

type providerList struct {
	Items []report.Provider `json:"items"`
}

func (a *api) providerRoutes() []Route {
	const one = "/admin/v1/providers/:provider"
	const key = one + "/keys/:key_name"
	return []Route{
		read(fiber.MethodGet, "/admin/v1/providers", "S4-20", "The upstream accounts, their keys without the secrets", func(c *Call) (*providerList, error) {
			items, err := a.Report.Providers(c.Context)
			return &providerList{Items: items}, err
		}).by(operator),
		read(fiber.MethodGet, one, "S4-20", "One upstream account", func(c *Call) (*report.Provider, error) { return a.provider(c.Context, c.Param("provider")) }).by(operator),
		write(fiber.MethodPost, "/admin/v1/providers", "S4-20", "Add an upstream account", func(c *Call, in *providerCreate) (*report.Provider, error) {
			p := catalogfile.Provider{Name: in.Name, Protocol: in.Protocol, Dialect: in.Dialect, BaseURL: in.BaseURL, Options: in.Options}
			setUSD(&p.DailyStopUSD, in.DailyStop)
			if _, err := a.Manage.CreateProvider(c.Context, c.actor(), p); err != nil {
				return nil, err
			}
			return a.provider(c.Context, in.Name)
		}).by(operator).status(fiber.StatusCreated),
		write(fiber.MethodPatch, one, "S4-20", "Change an upstream account", func(c *Call, in *providerPatch) (*report.Provider, error) {
			if _, err := a.Manage.PatchProvider(c.Context, c.actor(), c.Param("provider"), in.apply); err != nil {
				return nil, err
			}
			return a.provider(c.Context, c.Param("provider"))
		}).by(operator),
		write(fiber.MethodPost, one+"/keys", "S4-20", "Add a credential; its secret is never shown", func(c *Call, in *providerKeyAdd) (*report.Provider, error) {
			if _, err := a.Manage.AddProviderKey(c.Context, c.actor(), c.Param("provider"), in.Name, in.Secret); err != nil {
				return nil, err
			}
			return a.provider(c.Context, c.Param("provider"))
		}).by(operator).status(fiber.StatusCreated),
		write(fiber.MethodPost, key+"/rotate", "S4-23", "Replace a credential's secret", func(c *Call, in *providerKeyRotate) (*report.Provider, error) {
			if _, err := a.Manage.RotateProviderKey(c.Context, c.actor(), c.Param("provider"), c.Param("key_name"), in.Secret); err != nil {
				return nil, err
			}
			return a.provider(c.Context, c.Param("provider"))
		}).by(operator),
		read(fiber.MethodPost, key+"/disable", "S4-23", "Switch a credential off", a.switchProviderKey(false)).by(operator),
		read(fiber.MethodPost, key+"/enable", "S4-23", "Switch a credential on", a.switchProviderKey(true)).by(operator),
		write(fiber.MethodPost, key+"/test", "S4-20", "Ask the provider for one token with a credential, and say how it went", a.testProviderKey).by(operator),
	}
}

func (in *providerPatch) apply(p *catalogfile.Provider) {
	if in.Protocol.Set {
		p.Protocol = in.Protocol.V
	}
	if in.Dialect.Set {
		p.Dialect = in.Dialect.V
	}
	if in.BaseURL.Set {
		p.BaseURL = in.BaseURL.V
	}
	if in.Options.Set {
		p.Options = in.Options.V
	}
	setUSD(&p.DailyStopUSD, in.DailyStop)
}

func (a *api) provider(ctx context.Context, name string) (*report.Provider, error) {
	list, err := a.Report.Providers(ctx)
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

func (a *api) switchProviderKey(on bool) func(*Call) (*report.Provider, error) {
	return func(c *Call) (*report.Provider, error) {
		if _, err := a.Manage.SetProviderKey(c.Context, c.actor(), c.Param("provider"), c.Param("key_name"), on); err != nil {
			return nil, err
		}
		return a.provider(c.Context, c.Param("provider"))
	}
}

func (a *api) testProviderKey(c *Call, in *providerTest) (*probe.Result, error) {
	p, err := a.provider(c.Context, c.Param("provider"))
	if err != nil {
		return nil, err
	}
	secret, err := a.Manage.ProviderSecret(c.Context, p.Name, c.Param("key_name"))
	if err != nil {
		return nil, err
	}
	ask := probe.Ask{Protocol: p.Protocol, Dialect: p.Dialect, BaseURL: p.BaseURL, Options: p.Options, Secret: secret, Model: in.Model}
	if ask.Model == "" {
		routes, err := a.Report.Routes(c.Context, "", p.Name)
		if err != nil {
			return nil, err
		}
		if len(routes) == 0 {
			return nil, badRequest("model", "no model is routed to this provider: name one of the provider's own")
		}
		ask.Model = routes[0].UpstreamModel
	}
	r, err := a.Probe.Do(c.Context, &ask)
	if errors.Is(err, probe.ErrProtocol) {
		return nil, badRequest("provider", err.Error())
	}
	return r, err
}
