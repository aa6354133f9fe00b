package report

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// Group is a tier of customers as operators see it.
type Group struct {
	Name           string        `json:"name"`
	Models         []string      `json:"models" doc:"* is all models"`
	Multiplier     string        `json:"multiplier"`
	RPM            int64         `json:"rpm"` // 0 = no limit, as the two below
	TPM            int64         `json:"tpm"`
	MaxConcurrency int64         `json:"max_concurrency"`
	DailyUSD       *money.Amount `json:"daily_usd"` // null = no limit
	TotalQuota     *money.Amount `json:"total_quota"`
	IPAllow        []string      `json:"ip_allow"`
	ExpiresAt      *time.Time    `json:"expires_at"`
	Clients        int64         `json:"clients"`
	SpentToday     money.Amount  `json:"spent_today"`
}

// Groups lists the tiers.
func (s *Service) Groups(ctx context.Context) ([]Group, error) {
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := s.db.GroupSizes(ctx)
	if err != nil {
		return nil, err
	}
	spent, err := s.db.SpentToday(ctx, store.DayGroup)
	if err != nil {
		return nil, err
	}
	list := make([]Group, len(rows.Groups))
	for i := range rows.Groups {
		g := &rows.Groups[i]
		list[i] = Group{
			Name: g.Name, Models: emptyNotNil(g.Models), Multiplier: price.FormatPPM(g.PPM), RPM: g.RPM, TPM: g.TPM, MaxConcurrency: g.MaxConcurrency,
			DailyUSD: amountOrNil(g.DailyUSD), TotalQuota: amountOrNil(g.TotalQuota), IPAllow: prefixTexts(g.IPAllow), ExpiresAt: timeOrNil(g.ExpiresAt),
			Clients: clients[g.ID], SpentToday: money.Amount(spent[g.ID]),
		}
		if g.AllModels {
			list[i].Models = []string{"*"}
		}
	}
	return list, nil
}

// Provider is an upstream account as operators see it: its secrets are nowhere.
type Provider struct {
	Name       string            `json:"name"`
	Protocol   string            `json:"protocol"`
	Dialect    string            `json:"dialect"`
	BaseURL    string            `json:"base_url"`
	Options    map[string]string `json:"options"`
	Paused     bool              `json:"paused"`
	DailyStop  *money.Amount     `json:"daily_stop" doc:"paused when the day (UTC) has cost that much; null: never"`
	SpentToday money.Amount      `json:"spent_today" doc:"at the supplier, so far as the proxies have said; of a provider with a daily stop, else 0"`
	Keys       []ProviderKey     `json:"keys"`
	Routes     int               `json:"routes"`
}

// ProviderKey is a credential of it.
type ProviderKey struct {
	Name    string `json:"name"`
	Version int32  `json:"version" doc:"grows with every new secret"`
	Enabled bool   `json:"enabled"`
}

// Providers lists the upstream accounts by name.
func (s *Service) Providers(ctx context.Context) ([]Provider, error) {
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.db.AllProviderKeys(ctx)
	if err != nil {
		return nil, err
	}
	spent, err := s.db.SpentToday(ctx, store.DayProvider)
	if err != nil {
		return nil, err
	}
	list := make([]Provider, len(rows.Providers))
	for i := range rows.Providers {
		p := &rows.Providers[i]
		v := Provider{
			Name: p.Slug, Protocol: p.Protocol, Dialect: p.Dialect, BaseURL: p.BaseURL, Options: p.Options, Paused: p.Paused,
			DailyStop: amountOrNil(p.DailyStop), SpentToday: money.Amount(spent[p.ID]), Keys: []ProviderKey{},
		}
		if v.Options == nil {
			v.Options = map[string]string{}
		}
		for _, k := range keys {
			if k.ProviderID == p.ID {
				v.Keys = append(v.Keys, ProviderKey{Name: k.Name, Version: k.Version, Enabled: k.Enabled})
			}
		}
		for j := range rows.Routes {
			if rows.Routes[j].ProviderID == p.ID {
				v.Routes++
			}
		}
		list[i] = v
	}
	slices.SortFunc(list, func(a, b Provider) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// OperatorModel is a model with all that can be changed of it.
type OperatorModel struct {
	PricedModel
	Aliases       []string `json:"aliases"`
	ContextTokens int64    `json:"context_tokens"`
	MaxOutput     int64    `json:"max_output_tokens"`
	AutoModels    []string `json:"auto_models" doc:"what an auto model stands for"`
}

// OperatorModels lists every model of the catalogue, by id, or the one of an id or alias.
func (s *Service) OperatorModels(ctx context.Context, name string) ([]OperatorModel, error) {
	rows, err := s.rows(ctx, name)
	if err != nil {
		return nil, err
	}
	priced, err := s.pricedModels(ctx, rows)
	if err != nil {
		return nil, err
	}
	list := make([]OperatorModel, len(priced))
	for i := range priced {
		m := &rows.Models[i]
		list[i] = OperatorModel{
			PricedModel: priced[i], Aliases: emptyNotNil(m.Aliases), ContextTokens: m.ContextTokens, MaxOutput: m.MaxOutput, AutoModels: emptyNotNil(m.AutoModels),
		}
	}
	slices.SortFunc(list, func(a, b OperatorModel) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// rows reads the catalogue, or one model of it by its id or alias.
func (s *Service) rows(ctx context.Context, name string) (*store.CatalogRows, error) {
	if name == "" {
		return s.db.LoadCatalog(ctx)
	}
	return s.db.LoadModel(ctx, name)
}

// Route is a way to serve a model, for operators.
type Route struct {
	Model string `json:"model"`
	RouteCost
}

// Route finds a route, nil if there is none of the id; off says that it was taken out of
// use.
func (s *Service) Route(ctx context.Context, id int64) (r *Route, off bool, err error) {
	name, err := s.db.RouteModel(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	models, err := s.OperatorModels(ctx, name)
	if err != nil {
		return nil, false, err
	}
	for i := range models {
		for j, list := range [][]RouteCost{models[i].Routes, models[i].OffRoutes} {
			for _, r := range list {
				if r.ID == id {
					return &Route{Model: models[i].ID, RouteCost: r}, j == 1, nil
				}
			}
		}
	}
	return nil, false, nil
}

// Routes lists the routes in use; model and provider "" are all.
func (s *Service) Routes(ctx context.Context, model, provider string) ([]Route, error) {
	models, err := s.OperatorModels(ctx, model)
	if err != nil {
		return nil, err
	}
	list := []Route{}
	for i := range models {
		for _, r := range models[i].Routes {
			if provider == "" || r.Provider == provider {
				list = append(list, Route{Model: models[i].ID, RouteCost: r})
			}
		}
	}
	return list, nil
}

// PriceRecord is a price of a model's history.
type PriceRecord struct {
	PriceID     int64             `json:"price_id"`
	EffectiveAt time.Time         `json:"effective_at"`
	CreatedAt   time.Time         `json:"created_at"`
	Actor       string            `json:"actor" doc:"who set it; empty where that was not kept"`
	State       string            `json:"state" enum:"in_force,to_come,past,withdrawn"`
	Prices      map[string]string `json:"prices"`
	Free        []string          `json:"free"`
	Tiers       []CustomerTier    `json:"tiers"`
}

// PriceHistory lists a model's prices, newest first, and the cursor of the next page.
func (s *Service) PriceHistory(ctx context.Context, m *Model, before int64, limit int) (list []PriceRecord, next int64, err error) {
	rows, err := s.db.PriceHistory(ctx, m.ID, 0, before, limit+1)
	if err != nil {
		return nil, 0, err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Version.ID
	}
	now := s.now().UnixMilli()
	inForce := price.Pick(m.Prices, now)
	list = make([]PriceRecord, len(rows))
	for i := range rows {
		r := &rows[i]
		p := PriceRecord{
			PriceID: r.Version.ID, EffectiveAt: time.UnixMilli(r.Version.EffectiveAt).UTC(), CreatedAt: r.CreatedAt.UTC(), Actor: string(r.Actor),
			State: "past", Prices: map[string]string{}, Free: []string{}, Tiers: []CustomerTier{},
		}
		switch {
		case r.Withdrawn:
			p.State = "withdrawn"
		case inForce != nil && inForce.ID == r.Version.ID:
			p.State = "in_force"
		case r.Version.EffectiveAt > now:
			p.State = "to_come"
		}
		if !r.Withdrawn {
			var free []string
			p.Prices, free = listed(&r.Version.Base)
			p.Free = emptyNotNil(free)
			for j := range r.Version.Tiers {
				prices, _ := listed(&r.Version.Tiers[j].Table)
				p.Tiers = append(p.Tiers, CustomerTier{AboveInputTokens: r.Version.Tiers[j].AboveInput, Prices: prices})
			}
		}
		list[i] = p
	}
	return list, next, nil
}

// Past is what a model was used for.
type Past struct {
	From, To     time.Time
	Calls        int64
	Units        usage.Units
	Charge, Cost money.Amount
}

// ModelPast adds the last days of a model up, today among them.
func (s *Service) ModelPast(ctx context.Context, model string, days int) (*Past, error) {
	to := s.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	p := &Past{From: to.AddDate(0, 0, -days), To: to}
	rows, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: store.HourlyFilter{Model: model, From: p.From, To: p.To}})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		p.Calls += usageSum(&rows[i]).Calls
		p.Units.Add(&rows[i].Units)
		if p.Charge, err = p.Charge.Add(rows[i].Charge); err != nil {
			return nil, err
		}
		if p.Cost, err = p.Cost.Add(rows[i].Cost); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// BelowCost names the routes of a model, with the class, whose supplier takes more than
// the price. Classes that a cost does not state by itself are left out.
func (s *Service) BelowCost(ctx context.Context, model string, v *price.Version) ([]string, error) {
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	list := []string{}
	now := s.now().UnixMilli()
	for i := range rows.Routes {
		r := &rows.Routes[i]
		var of []*price.Version
		for j := range rows.Prices {
			if rows.Prices[j].RouteID == r.ID {
				of = append(of, &rows.Prices[j].Version)
			}
		}
		cost := price.Pick(of, now)
		if cost == nil || !slices.ContainsFunc(rows.Models, func(m store.ModelRow) bool { return m.ID == r.ModelID && m.PublicID == model }) {
			continue
		}
		for class := range usage.NumClasses {
			if cost.Base.Set>>class&1 != 0 && cost.Base.Rates[class] > v.Base.Rates[class] {
				for j := range rows.Providers {
					if rows.Providers[j].ID == r.ProviderID {
						list = append(list, rows.Providers[j].Slug+" "+r.UpstreamModel+" "+usage.Class(class).String())
					}
				}
			}
		}
	}
	return list, nil
}
