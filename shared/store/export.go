package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
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
	return c.fileOf(func(*ModelRow) bool { return true })
}

// about is the file with outlines of all models but one: what a change of it is checked
// with, whatever the catalogue's size. Where that may have become too large, and only the
// whole can tell, it is the whole.
func (c *CatalogRows) about(model string) *catalogfile.File {
	if c.room() > catalogfile.MaxBytes {
		return c.file()
	}
	return c.fileOf(func(m *ModelRow) bool { return m.PublicID == model })
}

// room is at least what the catalogue takes as a file, in bytes.
func (c *CatalogRows) room() (n int) {
	const escaped, field = 6, 64 // of a byte; the name of what it is, and what stands around it
	text := func(list ...string) {
		for _, s := range list {
			n += escaped*len(s) + field
		}
	}
	for i := range c.Groups {
		n += 16 * field
		text(c.Groups[i].Models...)
		n += len(c.Groups[i].IPAllow) * 2 * field
	}
	for i := range c.Providers {
		n += 16*field + escaped*len(c.Providers[i].BaseURL)
		for name, v := range c.Providers[i].Options {
			text(name, v)
		}
	}
	n += len(c.ProviderKeys) * 8 * field
	for i := range c.Models {
		n += 8*field + escaped*len(c.Models[i].PublicID)
		text(c.Models[i].Aliases...)
		text(c.Models[i].Tags...)
		text(c.Models[i].AutoModels...)
	}
	for i := range c.Routes {
		n += 8*field + escaped*len(c.Routes[i].UpstreamModel)
	}
	for i := range c.Prices {
		n += (1 + len(c.Prices[i].Version.Tiers)) * int(usage.NumClasses) * field
	}
	return n
}

// fileOf is the file with outlines of the models that are not asked for in full.
func (c *CatalogRows) fileOf(full func(*ModelRow) bool) *catalogfile.File {
	f := &catalogfile.File{Models: make([]catalogfile.Model, 0, len(c.Models)+1)}
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
	prices, costs := make(map[int64]*price.Version, len(c.Models)), map[int64]*price.Version{}
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
	for i := range c.Models {
		m := &c.Models[i]
		out := catalogfile.Model{ID: m.PublicID, Aliases: slices.Clone(m.Aliases)}
		if m.AutoStrategy != "" {
			out.Auto = &catalogfile.Auto{Strategy: m.AutoStrategy, Models: slices.Clone(m.AutoModels)}
		}
		switch {
		case full(m):
			c.fill(&out, m, prices[m.ID], costs, slugs)
		case prices[m.ID] != nil:
			out.Outline = catalogfile.Priced
		default:
			out.Outline = catalogfile.Unpriced
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

// fill adds what an outline of the model lacks.
func (c *CatalogRows) fill(out *catalogfile.Model, m *ModelRow, v *price.Version, costs map[int64]*price.Version, slugs map[int64]string) {
	out.Tags = slices.Clone(m.Tags)
	if len(out.Tags) == 0 {
		out.Tags = nil
	}
	out.ContextTokens, out.MaxOutputTokens, out.Multiplier = m.ContextTokens, m.MaxOutput, multiplier(m.PPM)
	first, _ := slices.BinarySearchFunc(c.Routes, m.ID, func(r RouteRow, id int64) int { return cmp.Compare(r.ModelID, id) })
	for i := first; i < len(c.Routes) && c.Routes[i].ModelID == m.ID; i++ {
		r := &c.Routes[i]
		route := catalogfile.Route{Provider: slugs[r.ProviderID], Model: r.UpstreamModel, Priority: int64(r.Priority), Weight: int64(r.Weight), Region: r.Region}
		if v := costs[r.ID]; v != nil {
			route.Cost, _ = decimals(&v.Base)
		}
		out.Routes = append(out.Routes, route)
	}
	if v != nil {
		out.Price, out.Free = decimals(&v.Base)
		for i := range v.Tiers {
			tier, _ := decimals(&v.Tiers[i].Table)
			out.PriceTiers = append(out.PriceTiers, catalogfile.Tier{AboveInputTokens: v.Tiers[i].AboveInput, Price: tier})
		}
	}
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
