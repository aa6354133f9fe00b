package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
)

// ExportCatalog returns the catalogue as a file, secrets left out.
func (d *DB) ExportCatalog(ctx context.Context) (*catalogfile.File, error) {
	c, err := d.LoadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	return c.file(), nil
}

// file is the rows as a catalogue file, secrets left out. It shares nothing with them.
func (c *CatalogRows) file() *catalogfile.File {
	f := &catalogfile.File{}
	slugs := map[int64]string{}
	for _, p := range c.Providers {
		slugs[p.ID] = p.Slug
		out := catalogfile.Provider{Name: p.Slug, Protocol: p.Protocol, Dialect: p.Dialect, BaseURL: p.BaseURL, Options: maps.Clone(p.Options), DailyStopUSD: usd(p.DailyStop)}
		if len(out.Options) == 0 {
			out.Options = nil
		}
		for _, k := range c.ProviderKeys {
			if k.ProviderID == p.ID {
				out.Keys = append(out.Keys, catalogfile.ProviderKey{Name: k.Name})
			}
		}
		f.Providers = append(f.Providers, out)
	}
	prices, costs := map[int64]*price.Version{}, map[int64]*price.Version{}
	for i := range c.Prices {
		// Newest first: the last one that is not in the future is in force.
		p := &c.Prices[i]
		if p.Version.EffectiveAt > c.Now.UnixMilli() {
			continue
		}
		if p.ModelID != 0 && prices[p.ModelID] == nil {
			prices[p.ModelID] = &p.Version
		}
		if p.RouteID != 0 && costs[p.RouteID] == nil {
			costs[p.RouteID] = &p.Version
		}
	}
	routes := make(map[int64][]catalogfile.Route, len(c.Models))
	for i := range c.Routes {
		r := &c.Routes[i]
		route := catalogfile.Route{Provider: slugs[r.ProviderID], Model: r.UpstreamModel, Priority: int64(r.Priority), Weight: int64(r.Weight), Region: r.Region}
		if v := costs[r.ID]; v != nil {
			route.Cost, _ = decimals(&v.Base)
		}
		routes[r.ModelID] = append(routes[r.ModelID], route)
	}
	for i := range c.Models {
		m := &c.Models[i]
		out := catalogfile.Model{
			ID: m.PublicID, Aliases: slices.Clone(m.Aliases), Tags: slices.Clone(m.Tags), ContextTokens: m.ContextTokens, MaxOutputTokens: m.MaxOutput, Multiplier: multiplier(m.PPM),
			Routes: routes[m.ID],
		}
		if len(out.Tags) == 0 {
			out.Tags = nil
		}
		if m.AutoStrategy != "" {
			out.Auto = &catalogfile.Auto{Strategy: m.AutoStrategy, Models: slices.Clone(m.AutoModels)}
		}
		if v := prices[m.ID]; v != nil {
			out.Price, out.Free = decimals(&v.Base)
			for i := range v.Tiers {
				tier, _ := decimals(&v.Tiers[i].Table)
				out.PriceTiers = append(out.PriceTiers, catalogfile.Tier{AboveInputTokens: v.Tiers[i].AboveInput, Price: tier})
			}
		}
		f.Models = append(f.Models, out)
	}
	for _, g := range c.Groups {
		out := catalogfile.Group{
			Name: g.Name, Models: slices.Clone(g.Models), Multiplier: multiplier(g.PPM), RPM: g.RPM, TPM: g.TPM, MaxConcurrency: g.MaxConcurrency,
			DailyUSD: usd(g.DailyUSD), TotalQuotaUSD: usd(g.TotalQuota),
		}
		if g.AllModels {
			out.Models = []string{"*"}
		}
		if len(out.Models) == 0 {
			out.Models = nil
		}
		for _, p := range g.IPAllow {
			out.IPAllow = append(out.IPAllow, p.String())
		}
		if !g.ExpiresAt.IsZero() {
			out.ExpiresAt = g.ExpiresAt.UTC().Format(time.RFC3339)
		}
		f.Groups = append(f.Groups, out)
	}
	return f
}

// decimals is a table as it is written in a file. A free class has the price "0".
func decimals(t *price.Table) (catalogfile.Prices, []string) {
	prices, free := t.Prices()
	out := make(catalogfile.Prices, len(prices))
	for class, v := range prices {
		out[class] = catalogfile.Decimal(v)
	}
	for _, class := range free {
		out[class] = "0"
	}
	return out, free
}

func usd(a money.Amount) catalogfile.Decimal {
	if a == None {
		return ""
	}
	return catalogfile.Decimal(a.String())
}

func multiplier(ppm int64) catalogfile.Decimal {
	if ppm == price.PPM {
		return ""
	}
	return catalogfile.Decimal(strconv.FormatInt(ppm/price.PPM, 10) + fraction(ppm%price.PPM))
}

func fraction(ppm int64) string {
	if ppm == 0 {
		return ""
	}
	s := fmt.Sprintf(".%06d", ppm)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	return s
}
