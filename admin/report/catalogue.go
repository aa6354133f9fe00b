package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// Catalogue is what operators configured, as of one revision; immutable.
type Catalogue struct {
	Revision int64
	Models   []*Model // by public id

	byName map[string]*Model // public ids and aliases
	groups map[int64]*store.GroupRow
}

// Model is one public model.
type Model struct {
	store.ModelRow
	Prices  []*price.Version // newest first; empty: not for sale
	Routed  bool             // at least one way to serve it
	Keyed   bool             // at least one of them has a credential
	Open    bool             // at least one of those is not paused
	judges  bool             // at least one way leads to a provider that serves moderations
	Regions []string         // of its routes, each once
}

// Catalogue returns the catalogue as it stands. Asking costs one small statement;
// the rows are read again only when the revision has moved.
func (s *Service) Catalogue(ctx context.Context) (*Catalogue, error) {
	rev, err := s.db.Revision(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the revision: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.catalogue != nil && s.catalogue.Revision >= rev {
		return s.catalogue, nil
	}
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the catalogue: %w", err)
	}
	s.catalogue = newCatalogue(rows)
	return s.catalogue, nil
}

// FindModel finds the model of a public id or alias as it stands, nil if there is none. It
// costs what one model costs, even when the catalogue has just changed.
func (s *Service) FindModel(ctx context.Context, name string) (*Model, error) {
	if name == "" {
		return nil, nil
	}
	rows, err := s.db.LoadModel(ctx, name)
	if err != nil {
		return nil, err
	}
	return newCatalogue(rows).Find(name), nil
}

func newCatalogue(rows *store.CatalogRows) *Catalogue {
	c := &Catalogue{
		Revision: rows.Revision,
		byName:   make(map[string]*Model, 2*len(rows.Models)),
		groups:   make(map[int64]*store.GroupRow, len(rows.Groups)),
	}
	byRow := make(map[int64]*Model, len(rows.Models))
	for i := range rows.Models {
		m := &Model{ModelRow: rows.Models[i]}
		byRow[m.ID] = m
		c.Models = append(c.Models, m)
		c.byName[m.PublicID] = m
		for _, alias := range m.Aliases {
			c.byName[alias] = m
		}
	}
	keyed, open, judges := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	for i := range rows.ProviderKeys {
		keyed[rows.ProviderKeys[i].ProviderID] = true
	}
	for i := range rows.Providers {
		p := &rows.Providers[i]
		open[p.ID] = keyed[p.ID] && !p.Paused
		judges[p.ID] = p.Protocol == "openai" // moderations are asked for in no other protocol
	}
	for i := range rows.Routes {
		r := &rows.Routes[i]
		if m := byRow[r.ModelID]; m != nil {
			m.Routed = true
			m.Keyed = m.Keyed || keyed[r.ProviderID]
			m.Open = m.Open || open[r.ProviderID]
			m.judges = m.judges || judges[r.ProviderID]
			if r.Region != "" && !slices.Contains(m.Regions, r.Region) {
				m.Regions = append(m.Regions, r.Region)
			}
		}
	}
	for i := range rows.Prices {
		p := &rows.Prices[i]
		if m := byRow[p.ModelID]; m != nil && p.ModelID != 0 {
			m.Prices = append(m.Prices, &p.Version)
		}
	}
	for i := range rows.Groups {
		c.groups[rows.Groups[i].ID] = &rows.Groups[i]
	}
	slices.SortFunc(c.Models, func(a, b *Model) int { return strings.Compare(a.PublicID, b.PublicID) })
	return c
}

// Find returns the model of a public id or alias, nil if there is none.
func (c *Catalogue) Find(name string) *Model { return c.byName[name] }

// Group returns a group, nil if there is none.
func (c *Catalogue) Group(id int64) *store.GroupRow { return c.groups[id] }

// DefaultGroup is the group of new customers, 0 if there is none.
func (c *Catalogue) DefaultGroup() int64 {
	for id, g := range c.groups {
		if g.Name == "default" {
			return id
		}
	}
	return 0
}

// Visible tells whether a customer of the group may see and call m: the group is
// entitled to it, it can be served, and it has a price now. A virtual model is
// visible when one of the models it chooses among is.
func (c *Catalogue) Visible(m *Model, groupID int64, now time.Time) bool {
	g := c.groups[groupID]
	if g == nil || (!g.AllModels && !slices.Contains(g.Models, m.PublicID)) {
		return false
	}
	if m.AutoStrategy != "" {
		return slices.ContainsFunc(m.AutoModels, func(name string) bool {
			target := c.byName[name]
			return target != nil && target.AutoStrategy == "" && target.sellable(now)
		})
	}
	return m.sellable(now)
}

// otherwise are the tags of models that are for something else than moderations.
var otherwise = []string{"chat", "responses", "embedding", "image", "speech", "transcription", "rerank"}

// Moderates tells whether m serves moderations: a provider of its own does, and its tags
// do not say that it is for something else. A model without tags may serve anything.
func (m *Model) Moderates() bool {
	return m.AutoStrategy == "" && m.judges &&
		(slices.Contains(m.Tags, "moderation") || !slices.ContainsFunc(m.Tags, func(tag string) bool { return slices.Contains(otherwise, tag) }))
}

// served is m, or the models that a virtual one chooses among.
func (c *Catalogue) served(m *Model) []*Model {
	if m.AutoStrategy == "" {
		return []*Model{m}
	}
	var list []*Model
	for _, name := range m.AutoModels {
		if target := c.byName[name]; target != nil {
			list = append(list, target)
		}
	}
	return list
}

func (m *Model) sellable(now time.Time) bool {
	return m.Routed && price.Pick(m.Prices, now.UnixMilli()) != nil
}

// Rule returns what m costs a customer now, nil for a model without a price of its
// own (virtual models cost what the chosen model costs).
func (c *Catalogue) Rule(m *Model, groupID, clientPPM int64, now time.Time) *price.Rule {
	v := price.Pick(m.Prices, now.UnixMilli())
	g := c.groups[groupID]
	if v == nil || g == nil {
		return nil
	}
	return &price.Rule{Version: v, ModelPPM: m.PPM, GroupPPM: g.PPM, ClientPPM: clientPPM}
}
