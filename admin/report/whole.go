package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// Whole is the relay at a glance, for operators: what was charged and what it cost.
type Whole struct {
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Total   Margin        `json:"total"`
	Days    []MarginDay   `json:"days" doc:"every day (UTC), oldest first"`
	Clients []ClientShare `json:"clients" doc:"the largest charge first, at most 10"`
	Models  []ModelShare  `json:"models" doc:"the largest charge first, at most 10"`
	Errors  []CodeCount   `json:"errors" doc:"by code, refusals included, the most frequent first, at most 20"`
}

// Margin is what calls brought and cost.
type Margin struct {
	Calls   int64        `json:"calls"`
	Success int64        `json:"success"`
	Charge  money.Amount `json:"charge"`
	Cost    money.Amount `json:"cost"`    // at the suppliers
	Overrun money.Amount `json:"overrun"` // beyond holds: ours to pay
	Margin  money.Amount `json:"margin"`  // charge − cost
}

// MarginDay is a day of it.
type MarginDay struct {
	Date string `json:"date" example:"2026-11-30"`
	Margin
}

// ClientShare is a client's part.
type ClientShare struct {
	ClientID string `json:"client_id"`
	Name     string `json:"name"`
	Margin
}

// ModelShare is a model's part.
type ModelShare struct {
	Model string `json:"model"`
	Margin
}

// CodeCount is how often a code was answered.
type CodeCount struct {
	Code  string `json:"code"`
	Count int64  `json:"count"`
}

// The longest lists of Whole.
const (
	wholeRows  = 10
	wholeCodes = 20
)

// Whole adds the last days up, today among them.
func (s *Service) Whole(ctx context.Context, days int) (*Whole, error) {
	to := s.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	q := store.HourlyFilter{From: to.AddDate(0, 0, -days), To: to}
	out := &Whole{From: q.From, To: q.To, Clients: []ClientShare{}, Models: []ModelShare{}}
	byDay, err := s.db.Rollup(ctx, store.RollupFilter{HourlyFilter: q, Hours: 24, NoUnits: true})
	if err != nil {
		return nil, err
	}
	var sum store.HourRow
	for day := q.From; day.Before(to); day = day.AddDate(0, 0, 1) {
		row := store.HourRow{Hour: day}
		if last := len(byDay) - 1; last >= 0 && byDay[last].Hour.Equal(day) {
			row, byDay = byDay[last], byDay[:last]
		}
		m, err := margin(&row)
		if err != nil {
			return nil, err
		}
		if err := addMoney(&sum, &row); err != nil {
			return nil, err
		}
		out.Days = append(out.Days, MarginDay{Date: day.Format(time.DateOnly), Margin: m})
	}
	if out.Total, err = margin(&sum); err != nil {
		return nil, err
	}
	byClient, err := s.top(ctx, store.RollupFilter{HourlyFilter: q, ByClient: true})
	if err != nil {
		return nil, err
	}
	for i := range byClient {
		c, err := s.db.ClientByID(ctx, byClient[i].ClientID)
		if err != nil {
			return nil, err
		}
		m, err := margin(&byClient[i])
		if err != nil {
			return nil, err
		}
		out.Clients = append(out.Clients, ClientShare{ClientID: ClientID(c.ID), Name: c.Name, Margin: m})
	}
	byModel, err := s.top(ctx, store.RollupFilter{HourlyFilter: q, ByModel: true})
	if err != nil {
		return nil, err
	}
	for i := range byModel {
		m, err := margin(&byModel[i])
		if err != nil {
			return nil, err
		}
		out.Models = append(out.Models, ModelShare{Model: byModel[i].Model, Margin: m})
	}
	out.Errors, err = s.codeCounts(ctx, q)
	return out, err
}

// top gives the sums with the largest charges.
func (s *Service) top(ctx context.Context, f store.RollupFilter) ([]store.HourRow, error) {
	f.NoUnits = true
	list, err := s.db.Rollup(ctx, f)
	slices.SortFunc(list, func(a, b store.HourRow) int {
		return cmp.Or(cmp.Compare(b.Charge, a.Charge), cmp.Compare(a.ClientID, b.ClientID), strings.Compare(a.Model, b.Model))
	})
	return list[:min(len(list), wholeRows)], err
}

func (s *Service) codeCounts(ctx context.Context, q store.HourlyFilter) ([]CodeCount, error) {
	rows, err := s.db.CodeSums(ctx, q, wholeCodes)
	if err != nil {
		return nil, err
	}
	out := make([]CodeCount, 0, len(rows))
	for _, r := range rows {
		if r.Code != "" {
			out = append(out, CodeCount{Code: r.Code, Count: r.N})
		}
	}
	return out, nil
}

func margin(h *store.HourRow) (m Margin, err error) {
	m = Margin{
		Calls: h.Success + h.Failed + h.Timeout + h.Cancelled + h.Interrupt, Success: h.Success,
		Charge: h.Charge, Cost: h.Cost, Overrun: h.Overrun,
	}
	m.Margin, err = h.Charge.Sub(h.Cost)
	return m, err
}

// addMoney adds counts and all three amounts.
func addMoney(sum, h *store.HourRow) (err error) {
	if err := addHour(sum, h); err != nil {
		return err
	}
	if sum.Cost, err = sum.Cost.Add(h.Cost); err != nil {
		return err
	}
	sum.Overrun, err = sum.Overrun.Add(h.Overrun)
	return err
}

// PricedModel is a model with what it sells for and what it costs, before the
// multipliers of groups and clients; for operators.
type PricedModel struct {
	ID          string            `json:"id"`
	Tags        []string          `json:"tags"`
	Multiplier  string            `json:"multiplier"` // of the model
	Auto        string            `json:"auto"`       // strategy of a virtual model, "" for a real one
	PriceID     int64             `json:"price_id"`   // 0: no price is in force
	EffectiveAt *time.Time        `json:"effective_at"`
	Prices      map[string]string `json:"prices"`
	Free        []string          `json:"free"`
	Tiers       []CustomerTier    `json:"tiers"`
	Next        *time.Time        `json:"next"` // when another price takes effect, null: none is set
	Routes      []RouteCost       `json:"routes"`
	OffRoutes   []RouteCost       `json:"off_routes"` // taken out of use; each can be switched on again
}

// RouteCost is a way to serve a model and what the supplier takes for it.
type RouteCost struct {
	ID            int64             `json:"route_id"`
	Provider      string            `json:"provider"`
	Region        string            `json:"region"`
	UpstreamModel string            `json:"upstream_model"`
	Priority      int32             `json:"priority"`
	Weight        int32             `json:"weight"`
	Own           bool              `json:"own"` // false: no cost is set, the model's price stands for it
	Prices        map[string]string `json:"prices"`
}

// pricedModels are the models of the rows, in their order.
func (s *Service) pricedModels(ctx context.Context, rows *store.CatalogRows) ([]PricedModel, error) {
	now := s.now().UnixMilli()
	ofModel, ofRoute := map[int64][]*price.Version{}, map[int64][]*price.Version{}
	for i := range rows.Prices {
		p := &rows.Prices[i]
		if p.RouteID != 0 {
			ofRoute[p.RouteID] = append(ofRoute[p.RouteID], &p.Version)
		} else {
			ofModel[p.ModelID] = append(ofModel[p.ModelID], &p.Version)
		}
	}
	providers := map[int64]string{}
	for i := range rows.Providers {
		providers[rows.Providers[i].ID] = rows.Providers[i].Slug
	}
	list := make([]PricedModel, len(rows.Models))
	at := make(map[int64]*PricedModel, len(rows.Models))
	for i := range rows.Models {
		m := &rows.Models[i]
		list[i] = pricedModel(m, ofModel[m.ID], now)
		at[m.ID] = &list[i]
	}
	var one int64 // the only model, 0: there are others
	if len(rows.Models) == 1 {
		one = rows.Models[0].ID
	}
	off, err := s.db.OffRoutes(ctx, one)
	if err != nil {
		return nil, err
	}
	cost := func(m *PricedModel, r *store.RouteRow) RouteCost {
		c := RouteCost{ID: r.ID, Region: r.Region, Provider: providers[r.ProviderID], UpstreamModel: r.UpstreamModel, Priority: r.Priority, Weight: r.Weight, Prices: m.Prices}
		if v := price.Pick(ofRoute[r.ID], now); v != nil {
			c.Own = true
			c.Prices, _ = listed(&v.Base)
		}
		return c
	}
	for i := range rows.Routes {
		if m := at[rows.Routes[i].ModelID]; m != nil {
			m.Routes = append(m.Routes, cost(m, &rows.Routes[i]))
		}
	}
	for i := range off {
		if m := at[off[i].ModelID]; m != nil && providers[off[i].ProviderID] != "" {
			m.OffRoutes = append(m.OffRoutes, cost(m, &off[i]))
		}
	}
	return list, nil
}

func pricedModel(m *store.ModelRow, versions []*price.Version, now int64) PricedModel {
	out := PricedModel{
		ID: m.PublicID, Tags: emptyNotNil(m.Tags), Multiplier: price.FormatPPM(m.PPM), Auto: m.AutoStrategy,
		Prices: map[string]string{}, Free: []string{}, Tiers: []CustomerTier{}, Routes: []RouteCost{}, OffRoutes: []RouteCost{},
	}
	for _, v := range versions {
		if v.EffectiveAt > now {
			if t := time.UnixMilli(v.EffectiveAt).UTC(); out.Next == nil || t.Before(*out.Next) {
				out.Next = &t
			}
		}
	}
	v := price.Pick(versions, now)
	if v == nil {
		return out
	}
	effectiveAt := time.UnixMilli(v.EffectiveAt).UTC()
	out.PriceID, out.EffectiveAt = v.ID, &effectiveAt
	var free []string
	out.Prices, free = listed(&v.Base)
	out.Free = emptyNotNil(free)
	for i := range v.Tiers {
		prices, _ := listed(&v.Tiers[i].Table)
		out.Tiers = append(out.Tiers, CustomerTier{AboveInputTokens: v.Tiers[i].AboveInput, Prices: prices})
	}
	return out
}

// listed is a table as it was set, without multipliers.
func listed(t *price.Table) (prices map[string]string, free []string) {
	return effective(&price.Rule{ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}, t)
}
