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
// carried over from prev (nil at start) by row id. Where the rows are those of prev but
// for some models, only these are made anew, and the rest is shared.
//
// A row that cannot be used is left out and named in Problems: a provider key
// that does not open, a provider of an unknown protocol, a price that breaks a
// rule (its model is then unpriced and refused, never free). What would make
// requests go astray, such as one name for two models, is an error: the caller
// keeps the snapshot it has.
func Build(rows *store.CatalogRows, prev *Snapshot, open func(*store.ProviderKeyRow) (string, error)) (*Snapshot, error) {
	if prev != nil && prev.reading != nil && prev.reading == rows.Since {
		return renew(rows, prev)
	}
	b := builder{
		prev: prev,
		s: &Snapshot{
			Revision:  rows.Revision,
			Models:    make(map[string]*Model, 2*len(rows.Models)),
			Providers: make(map[string]*Provider, len(rows.Providers)),
			Groups:    make(map[int64]*Group, len(rows.Groups)),
			byID:      make(map[int64]*Provider, len(rows.Providers)),
			reading:   rows.Reading,
		},
		models: make(map[int64]*Model, len(rows.Models)),
		health: healthOf(prev),
	}
	for i := range rows.Groups {
		b.group(&rows.Groups[i])
	}
	b.s.tiers = &tiers{rows.Revision, b.s.Groups}
	for i := range rows.Providers {
		if err := b.provider(&rows.Providers[i]); err != nil {
			return nil, err
		}
	}
	for i := range rows.ProviderKeys {
		b.providerKey(&rows.ProviderKeys[i], open)
	}
	if err := b.part(rows, func(int64) bool { return true }); err != nil {
		return nil, err
	}
	b.s.nameNatives()
	b.finish(rows)
	return b.s, nil
}

// part makes the models that it is asked for, with their prices and routes.
func (b *builder) part(rows *store.CatalogRows, wanted func(model int64) bool) error {
	for i := range rows.Models {
		if wanted(rows.Models[i].ID) {
			if err := b.model(&rows.Models[i]); err != nil {
				return err
			}
		}
	}
	routes := map[int64]*Route{}
	for i := range rows.Routes {
		if r := &rows.Routes[i]; wanted(r.ModelID) {
			if route := b.route(r); route != nil {
				routes[r.ID] = route
			}
		}
	}
	for i := range rows.Prices {
		switch p := &rows.Prices[i]; {
		case b.models[p.ModelID] != nil:
			m := b.models[p.ModelID]
			m.add(&m.Prices, p)
		case routes[p.RouteID] != nil:
			r := routes[p.RouteID]
			r.Model.add(&r.Cost, p)
		}
	}
	for _, m := range b.models {
		slices.SortFunc(m.Prices, newest)
		for _, r := range m.Routes {
			slices.SortFunc(r.Cost, newest)
		}
		slices.SortFunc(m.Routes, func(x, y *Route) int {
			if x.Priority != y.Priority {
				return compare(int64(x.Priority), int64(y.Priority))
			}
			return compare(x.ID, y.ID)
		})
	}
	return nil
}

// builder makes a snapshot.
type builder struct {
	prev   *Snapshot
	s      *Snapshot
	models map[int64]*Model // that are made, by row id
	health map[healthID]*Health
}

// healthOf are the live states of a snapshot.
func healthOf(s *Snapshot) map[healthID]*Health {
	if s == nil {
		return nil
	}
	all := make(map[healthID]*Health, 2*len(s.ModelList))
	for _, p := range s.Providers {
		for _, k := range p.Keys {
			all[healthID{providerKey: true, row: k.ID}] = k.Health
		}
	}
	for _, m := range s.ModelList {
		for _, r := range m.Routes {
			all[healthID{row: r.ID}] = r.Health
		}
	}
	return all
}

func (b *builder) unusable(format string, args ...any) {
	b.s.unusable = append(b.s.unusable, fmt.Sprintf(format, args...))
}

func (m *Model) problem(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// live finds the live state of a row in the last snapshot, or begins one.
func (b *builder) live(id healthID) *Health {
	if h := b.health[id]; h != nil {
		return h
	}
	return new(Health)
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
		b.unusable("provider %s: unknown protocol %.40q", r.Slug, r.Protocol)
		return nil
	}
	if b.s.Providers[r.Slug] != nil {
		return fmt.Errorf("cannot build the catalogue: provider %q twice", r.Slug)
	}
	p := &Provider{
		ID: r.ID, Slug: r.Slug, Protocol: protocol, Wires: WiresOf(protocol, r.Dialect), Dialect: r.Dialect, BaseURL: strings.TrimRight(r.BaseURL, "/"),
		Domain: domainOf(r.BaseURL),
		Paused: r.Paused, Options: r.Options, DailyStop: r.DailyStop,
	}
	b.s.Providers[r.Slug], b.s.byID[r.ID] = p, p
	return nil
}

func (b *builder) providerKey(r *store.ProviderKeyRow, open func(*store.ProviderKeyRow) (string, error)) {
	p := b.s.byID[r.ProviderID]
	if p == nil {
		return // its provider was left out, or is disabled
	}
	secret, err := open(r)
	if err != nil {
		b.unusable("provider %s: key %s: %v", p.Slug, r.Name, err)
		return
	}
	key := &ProviderKey{ID: r.ID, Name: r.Name, Secret: Secret(secret)}
	if p.Protocol == ProtocolGemini && p.Dialect == "vertex" && vertex.IsAccount(secret) {
		if key.Tokens, err = b.tokens(r.ID, key.Secret); err != nil {
			b.unusable("provider %s: key %s: its secret %v", p.Slug, r.Name, err)
			return
		}
	}
	key.Parts = partsOf(key)
	key.Health = b.live(healthID{providerKey: true, row: r.ID})
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
		PPM: r.PPM, CreatedUnix: r.CreatedAt.Unix(), tiers: b.s.tiers,
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

// add gives a list of prices, of the model or of one of its routes, another one.
func (m *Model) add(list *[]*price.Version, row *store.PriceRow) {
	v := new(price.Version)
	*v = row.Version
	v.Base.Resolve()
	v.Tiers = slices.Clone(v.Tiers)
	slices.SortFunc(v.Tiers, func(x, y price.Tier) int { return compare(x.AboveInput, y.AboveInput) })
	for j := range v.Tiers {
		v.Tiers[j].Table.Resolve()
	}
	if err := v.Validate(); err != nil {
		m.problem("price %d: %v", v.ID, err)
		return
	}
	*list = append(*list, v)
}

// newest orders prices: the one that begins last comes first.
func newest(x, y *price.Version) int {
	if x.EffectiveAt != y.EffectiveAt {
		return compare(y.EffectiveAt, x.EffectiveAt)
	}
	return compare(y.ID, x.ID)
}

// route makes a route, nil where its model or provider was left out, or is disabled.
func (b *builder) route(r *store.RouteRow) *Route {
	m, p := b.models[r.ModelID], b.s.byID[r.ProviderID]
	if m == nil || p == nil {
		return nil
	}
	route := &Route{
		ID: r.ID, Model: m, Provider: p, UpstreamModel: r.UpstreamModel, Priority: r.Priority, Weight: r.Weight,
		Region: r.Region, Health: b.live(healthID{row: r.ID}),
	}
	m.Routes = append(m.Routes, route)
	return route
}

// nameNatives finds out which model a provider's own name of one means.
func (s *Snapshot) nameNatives() {
	s.native = make(map[nativeName]string, len(s.ModelList))
	for _, m := range s.ModelList {
		for _, r := range m.Routes {
			name := nativeName{r.Provider.ID, r.UpstreamModel}
			if id, taken := s.native[name]; !taken || m.RowID < s.Models[id].RowID {
				s.native[name] = m.ID
			}
		}
	}
}

// finish puts everything in order, connects virtual models and gathers what was left out.
func (b *builder) finish(rows *store.CatalogRows) {
	slices.SortFunc(b.s.ModelList, func(x, y *Model) int { return strings.Compare(x.ID, y.ID) })
	virtual := map[string]bool{}
	for i := range rows.Models {
		if rows.Models[i].AutoStrategy != "" {
			virtual[rows.Models[i].PublicID] = true
		}
	}
	for i := range rows.Models {
		if rows.Models[i].AutoStrategy != "" {
			b.connect(&rows.Models[i], virtual)
		}
	}
	b.s.Problems = slices.Clone(b.s.unusable)
	for _, m := range b.s.ModelList {
		b.s.Problems = append(b.s.Problems, m.problems...)
	}
}

// connect makes a virtual model one of the models that it picks from.
func (b *builder) connect(r *store.ModelRow, virtual map[string]bool) {
	v := b.s.Models[r.PublicID]
	strategy, known := strategies[r.AutoStrategy]
	if !known {
		v.problem("model %s: unknown strategy %.40q, balanced is used", r.PublicID, r.AutoStrategy)
	}
	v.Auto = &Auto{Strategy: strategy}
	for _, name := range r.AutoModels {
		m := b.s.Models[name]
		switch {
		case m == nil:
			v.problem("model %s: picks from %q, which does not exist", r.PublicID, name)
		case virtual[m.ID]:
			v.problem("model %s: picks from %q, which is virtual itself", r.PublicID, name)
		case len(v.Auto.Models) == MaxCandidates:
			v.problem("model %s: picks from more than %d models", r.PublicID, MaxCandidates)
		default:
			v.Auto.Models = append(v.Auto.Models, m)
			v.Auto.Told |= m.Can
		}
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
