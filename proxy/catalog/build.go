package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenrelay/proxy/meter"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/vertex"
)

// healthID names a live state over snapshots: routes and provider keys have row
// ids of their own.
type healthID struct {
	providerKey bool
	row         int64
}

var protocols = map[string]Protocol{
	"openai": ProtocolOpenAI, "anthropic": ProtocolAnthropic, "gemini": ProtocolGemini,
	"dashscope": ProtocolDashScope, "bedrock": ProtocolBedrock, "cohere": ProtocolCohere,
}

// Build makes a snapshot of the rows; it is pure but for open, which opens the
// sealed secret of a provider key. Live states of routes and provider keys are
// carried over from prev (nil at start) by row id.
//
// A row that cannot be used is left out and named in Problems: a provider key
// that does not open, a provider of an unknown protocol, a price that breaks a
// rule (its model is then unpriced and refused, never free). What would make
// requests go astray, such as one name for two models, is an error: the caller
// keeps the snapshot it has.
func Build(rows *store.CatalogRows, prev *Snapshot, open func(*store.ProviderKeyRow) (string, error)) (*Snapshot, error) {
	b := builder{
		prev: prev,
		s: &Snapshot{
			Revision:  rows.Revision,
			Models:    make(map[string]*Model, 2*len(rows.Models)),
			Providers: make(map[string]*Provider, len(rows.Providers)),
			Groups:    make(map[int64]*Group, len(rows.Groups)),
			health:    make(map[healthID]*Health, len(rows.Routes)+len(rows.ProviderKeys)),
		},
		providers: make(map[int64]*Provider, len(rows.Providers)),
		models:    make(map[int64]*Model, len(rows.Models)),
	}
	for i := range rows.Groups {
		b.group(&rows.Groups[i])
	}
	for i := range rows.Providers {
		if err := b.provider(&rows.Providers[i]); err != nil {
			return nil, err
		}
	}
	for i := range rows.ProviderKeys {
		b.providerKey(&rows.ProviderKeys[i], open)
	}
	for i := range rows.Models {
		if err := b.model(&rows.Models[i]); err != nil {
			return nil, err
		}
	}
	modelPrices, routeCosts := b.prices(rows.Prices)
	for id, m := range b.models {
		m.Prices = modelPrices[id]
	}
	for i := range rows.Routes {
		b.route(&rows.Routes[i], routeCosts)
	}
	b.finish(rows)
	return b.s, nil
}

type builder struct {
	prev      *Snapshot
	s         *Snapshot
	providers map[int64]*Provider
	models    map[int64]*Model
}

func (b *builder) problem(format string, args ...any) {
	b.s.Problems = append(b.s.Problems, fmt.Sprintf(format, args...))
}

// health finds the live state of a row in the last snapshot, or begins one.
func (b *builder) health(id healthID) *Health {
	var h *Health
	if b.prev != nil {
		h = b.prev.health[id]
	}
	if h == nil {
		h = new(Health)
	}
	b.s.health[id] = h
	return h
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]struct{}, len(names))
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}

func (b *builder) group(r *store.GroupRow) {
	g := &Group{
		ID: r.ID, Name: r.Name, AllModels: r.AllModels, Models: set(r.Models), PPM: r.PPM, RPM: r.RPM, TPM: r.TPM,
		MaxConcurrency: r.MaxConcurrency, DailyUSD: r.DailyUSD, TotalQuota: r.TotalQuota, IPAllow: r.IPAllow,
	}
	if !r.ExpiresAt.IsZero() {
		g.Expires = r.ExpiresAt.UnixMilli()
	}
	b.s.Groups[r.ID] = g
}

func (b *builder) provider(r *store.ProviderRow) error {
	protocol, ok := protocols[r.Protocol]
	if !ok {
		b.problem("provider %s: unknown protocol %.40q", r.Slug, r.Protocol)
		return nil
	}
	if b.s.Providers[r.Slug] != nil {
		return fmt.Errorf("cannot build the catalogue: provider %q twice", r.Slug)
	}
	p := &Provider{
		ID: r.ID, Slug: r.Slug, Protocol: protocol, Wires: WiresOf(protocol, r.Dialect), Dialect: r.Dialect, BaseURL: strings.TrimRight(r.BaseURL, "/"),
		Domain: domainOf(r.BaseURL),
		Paused: r.Paused, Options: r.Options, DailyStop: r.DailyStop, Native: make(map[string]*Model),
	}
	b.s.Providers[r.Slug], b.providers[r.ID] = p, p
	return nil
}

func (b *builder) providerKey(r *store.ProviderKeyRow, open func(*store.ProviderKeyRow) (string, error)) {
	p := b.providers[r.ProviderID]
	if p == nil {
		return // its provider was left out, or is disabled
	}
	secret, err := open(r)
	if err != nil {
		b.problem("provider %s: key %s: %v", p.Slug, r.Name, err)
		return
	}
	key := &ProviderKey{ID: r.ID, Name: r.Name, Secret: Secret(secret)}
	if p.Protocol == ProtocolGemini && p.Dialect == "vertex" && vertex.IsAccount(secret) {
		if key.Tokens, err = b.tokens(r.ID, key.Secret); err != nil {
			b.problem("provider %s: key %s: its secret %v", p.Slug, r.Name, err)
			return
		}
	}
	key.Parts = partsOf(key)
	key.Health = b.health(healthID{providerKey: true, row: r.ID})
	p.Keys = append(p.Keys, key)
}

// Warm begins to fetch the tokens of service accounts that have none yet, so that no
// request is the one to wait for them.
func (s *Snapshot) Warm(now time.Time) {
	for _, p := range s.Providers {
		for _, k := range p.Keys {
			if k.Tokens != nil {
				_ = k.Tokens.Token(now)
			}
		}
	}
}

// tokens finds the source of a service account's tokens in the last snapshot, or makes
// one.
func (b *builder) tokens(row int64, secret Secret) (*vertex.Source, error) {
	if b.prev != nil {
		for _, p := range b.prev.Providers {
			for _, k := range p.Keys {
				if k.ID == row && k.Secret == secret && k.Tokens != nil {
					return k.Tokens, nil
				}
			}
		}
	}
	a, err := vertex.Parse(string(secret))
	if err != nil {
		return nil, err
	}
	return vertex.NewSource(a, nil), nil
}

func (b *builder) model(r *store.ModelRow) error {
	m := &Model{
		ID: r.PublicID, RowID: r.ID, Family: meter.FamilyOf(r.PublicID), Tags: r.Tags, Can: abilities(r.Tags), ContextTokens: r.ContextTokens, MaxOutput: r.MaxOutput,
		PPM: r.PPM, CreatedUnix: r.CreatedAt.Unix(), owner: b.s,
	}
	for _, name := range append([]string{r.PublicID}, r.Aliases...) {
		if other := b.s.Models[name]; other != nil && other != m {
			return fmt.Errorf("cannot build the catalogue: %q names the models %q and %q", name, other.ID, m.ID)
		}
		b.s.Models[name] = m
	}
	b.models[r.ID] = m
	b.s.ModelList = append(b.s.ModelList, m)
	return nil
}

// prices sorts the price rows by owner, newest first.
func (b *builder) prices(rows []store.PriceRow) (models, routes map[int64][]*price.Version) {
	models, routes = make(map[int64][]*price.Version), make(map[int64][]*price.Version)
	for i := range rows {
		v := new(price.Version)
		*v = rows[i].Version
		v.Base.Resolve()
		v.Tiers = slices.Clone(v.Tiers)
		slices.SortFunc(v.Tiers, func(x, y price.Tier) int { return compare(x.AboveInput, y.AboveInput) })
		for j := range v.Tiers {
			v.Tiers[j].Table.Resolve()
		}
		if err := v.Validate(); err != nil {
			b.problem("price %d: %v", v.ID, err)
			continue
		}
		if id := rows[i].ModelID; id != 0 {
			models[id] = append(models[id], v)
		} else {
			routes[rows[i].RouteID] = append(routes[rows[i].RouteID], v)
		}
	}
	for _, owners := range []map[int64][]*price.Version{models, routes} {
		for _, list := range owners {
			slices.SortFunc(list, func(x, y *price.Version) int {
				if x.EffectiveAt != y.EffectiveAt {
					return compare(y.EffectiveAt, x.EffectiveAt)
				}
				return compare(y.ID, x.ID)
			})
		}
	}
	return models, routes
}

func (b *builder) route(r *store.RouteRow, costs map[int64][]*price.Version) {
	m, p := b.models[r.ModelID], b.providers[r.ProviderID]
	if m == nil || p == nil {
		return // its model or provider was left out, or is disabled
	}
	if p.Native[r.UpstreamModel] == nil {
		p.Native[r.UpstreamModel] = m // rows come by model: the first keeps the name
	}
	m.Routes = append(m.Routes, &Route{
		ID: r.ID, Model: m, Provider: p, UpstreamModel: r.UpstreamModel, Priority: r.Priority, Weight: r.Weight,
		Region: r.Region, Cost: costs[r.ID], Health: b.health(healthID{row: r.ID}),
	})
}

// finish puts everything in order and connects virtual models.
func (b *builder) finish(rows *store.CatalogRows) {
	slices.SortFunc(b.s.ModelList, func(x, y *Model) int { return strings.Compare(x.ID, y.ID) })
	for i, m := range b.s.ModelList {
		m.Index = int32(i)
		slices.SortFunc(m.Routes, func(x, y *Route) int {
			if x.Priority != y.Priority {
				return compare(int64(x.Priority), int64(y.Priority))
			}
			return compare(x.ID, y.ID)
		})
	}
	virtual := map[int64]bool{}
	for i := range rows.Models {
		if rows.Models[i].AutoStrategy != "" {
			virtual[rows.Models[i].ID] = true
		}
	}
	for i := range rows.Models {
		r := &rows.Models[i]
		if r.AutoStrategy == "" {
			continue
		}
		strategy, known := strategies[r.AutoStrategy]
		if !known {
			b.problem("model %s: unknown strategy %.40q, balanced is used", r.PublicID, r.AutoStrategy)
		}
		auto := &Auto{Strategy: strategy}
		for _, name := range r.AutoModels {
			m := b.s.Models[name]
			switch {
			case m == nil:
				b.problem("model %s: picks from %q, which does not exist", r.PublicID, name)
			case virtual[m.RowID]:
				b.problem("model %s: picks from %q, which is virtual itself", r.PublicID, name)
			case len(auto.Models) == MaxCandidates:
				b.problem("model %s: picks from more than %d models", r.PublicID, MaxCandidates)
			default:
				auto.Models = append(auto.Models, m)
				auto.Told |= m.Can
			}
		}
		b.models[r.ID].Auto = auto
	}
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// scope is what a key and its client both allow, nil where both allow everything.
func scope(key, client []string) map[string]struct{} {
	a, b := set(key), set(client)
	if a == nil {
		return b
	}
	if b != nil {
		maps.DeleteFunc(a, func(id string, _ struct{}) bool { _, ok := b[id]; return !ok })
	}
	return a
}

// newKey makes a key of its row, but for its policy.
func newKey(r *store.KeyRow) *Key {
	k := &Key{
		Digest: r.Digest, Revision: r.Revision, ID: r.ID, PublicID: r.PublicID, Name: r.Name,
		ClientID: r.ClientID, ClientName: r.ClientName, ClientActive: r.ClientActive, ClientPPM: r.ClientPPM,
		WalletID: r.WalletID, GroupID: r.GroupID, Models: scope(r.Models, r.ClientModels), IPAllow: r.IPAllow,
		RPM: r.RPM, TPM: r.TPM, MaxConcurrency: r.MaxConcurrency, MonthlyCap: r.MonthlyCap,
		TotalQuota: r.TotalQuota, DailyUSD: r.DailyUSD, DrainTokens: r.DrainTokens,
		MaxAttempts: r.MaxAttempts, Region: r.Region,
	}
	switch r.Status {
	case store.KeyActive:
		k.Status = KeyActive
	case store.KeyDisabled:
		k.Status = KeyDisabled
	default: // whatever is not known to be usable is not
		k.Status = KeyRevoked
	}
	if !r.ExpiresAt.IsZero() {
		k.Expires = r.ExpiresAt.UnixMilli()
	}
	return k
}
