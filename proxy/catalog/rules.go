package catalog

import (
	"math"

	"tokenrelay/shared/price"
)

// ruleEntry is a cached price rule with its whole identity: it is used only for
// the same prices and multiplier of the model (the slice is one snapshot's own),
// the same revision of the groups, the same client with the same multiplier and
// group, and while its price version is in force. It points into no snapshot, so
// that an entry that nobody asks for does not keep an old one in memory.
type ruleEntry struct {
	rule        price.Rule
	prices      []*price.Version
	revision    int64
	clientID    int64
	groupID     int64
	from, until int64 // unix ms: from ≤ now < until
}

// Rule is the price rule of the key's client for a model at now (unix ms): the
// version in force with the three multipliers. It is nil if the model has no price
// at that time: the request is refused, never free. The rule stays valid for as
// long as the request lives. A hit allocates nothing.
func (c *Catalog) Rule(key *Key, m *Model, now int64) *price.Rule {
	if len(m.Prices) == 0 {
		return nil
	}
	hash := mix(mix(uint64(key.ClientID)) + uint64(m.RowID))
	if e, ok := c.rules.Get(hash); ok && e.clientID == key.ClientID && e.groupID == key.GroupID &&
		e.rule.ClientPPM == key.ClientPPM && e.rule.ModelPPM == m.PPM && len(e.prices) == len(m.Prices) &&
		&e.prices[0] == &m.Prices[0] && e.revision == c.revisionOf(m) && e.from <= now && now < e.until {
		return &e.rule
	}
	e := c.buildRule(key, m, now)
	if e == nil {
		return nil
	}
	c.rules.Set(hash, e, 1)
	return &e.rule
}

// revisionOf is the revision of the groups that m is sold by.
func (c *Catalog) revisionOf(m *Model) int64 {
	if m.tiers != nil {
		return m.tiers.revision
	}
	return c.Snapshot().tiers.revision
}

func (c *Catalog) buildRule(key *Key, m *Model, now int64) *ruleEntry {
	version := price.Pick(m.Prices, now)
	if version == nil {
		return nil
	}
	tiers := m.tiers
	if tiers == nil || tiers.groups[key.GroupID] == nil {
		tiers = c.Snapshot().tiers // a group newer than the request's snapshot
	}
	group := tiers.groups[key.GroupID]
	if group == nil {
		return nil
	}
	e := &ruleEntry{
		rule:   price.Rule{Version: version, ModelPPM: m.PPM, GroupPPM: group.PPM, ClientPPM: key.ClientPPM},
		prices: m.Prices, revision: tiers.revision, clientID: key.ClientID, groupID: key.GroupID,
		from: version.EffectiveAt, until: math.MaxInt64,
	}
	for _, v := range m.Prices {
		if v.EffectiveAt > now {
			e.until = min(e.until, v.EffectiveAt)
		}
	}
	return e
}

// CostRule is the supplier's price of a route at now (unix ms), without
// multipliers; the model's price where the route states none; false if neither
// has one.
func CostRule(r *Route, now int64) (price.Rule, bool) {
	list := r.Cost
	if len(list) == 0 {
		list = r.Model.Prices
	}
	v := price.Pick(list, now)
	return price.Rule{Version: v, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}, v != nil
}

// healthEntry is the cached live state of a route row.
type healthEntry struct {
	route  int64
	health *Health
}

// Health is the live state of a route: always the shared one, never a copy
// (ruling 3.8). A hit allocates nothing.
func (c *Catalog) Health(r *Route) *Health {
	if e, ok := c.health.Get(uint64(r.ID)); ok && e.route == r.ID && e.health == r.Health {
		return e.health
	}
	c.health.Set(uint64(r.ID), &healthEntry{route: r.ID, health: r.Health}, 1)
	return r.Health
}
