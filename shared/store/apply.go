package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store/db"
)

// errDry rolls a dry run back.
var errDry = errors.New("dry run")

// ApplyCatalog brings the catalogue to what the file says and tells what changed.
// Secrets must be resolved: an empty one keeps the stored one. Providers, models,
// groups and prices that the file does not name stay; routes, aliases and keys of a
// named model or provider become exactly those of the file. Changed prices are new
// rows, in force now. Applying the same file again changes nothing and takes no
// revision.
func (d *DB) ApplyCatalog(ctx context.Context, actor Actor, f *catalogfile.File, box *seal.Box, dryRun bool) (Applied, error) {
	var a *applying
	// A first catalogue has thousands of rows: more time than a request's statement,
	// still bounded.
	ctx, cancel := context.WithTimeout(ctx, 10*d.timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		a = &applying{q: d.q.WithTx(tx), box: box, remembered: &d.prices}
		var err error
		if a.rev, err = a.q.LockRevision(ctx); err != nil {
			return err
		}
		if err := a.run(ctx, f); err != nil {
			return err
		}
		if dryRun {
			return errDry
		}
		if len(a.changes) == 0 {
			return nil
		}
		rev, err := change(ctx, a.q, Change{Kind: KindCatalog, Detail: "apply"})
		if err != nil {
			return err
		}
		a.rev = rev
		return audit(ctx, a.q, actor, "apply", "catalog", "", map[string]any{"changes": a.changes}, rev)
	})
	if err != nil && !errors.Is(err, errDry) {
		return Applied{}, fmt.Errorf("cannot apply the catalogue: %w", meaning(err))
	}
	return Applied{Changes: a.changes, Revision: a.rev, DryRun: dryRun}, nil
}

// applying is one run of ApplyCatalog, under the lock of the revision. It reads and
// writes the rows of what the file names and no others: a file of one model costs what
// one model costs, however large the catalogue is.
type applying struct {
	q       *db.Queries
	box     *seal.Box
	changes []string
	rev     int64

	remembered *prices

	models  map[string]db.Model  // by public id, those of the file
	names   map[int64]string     // row of a model → its public id
	routes  map[int64][]db.Route // by model, those out of use too
	prices  map[int64]PriceRow   // in force, by model
	costs   map[int64]PriceRow   // in force, by route
	aliases map[string]int64     // → row of its model
	known   map[int64][]string   // the aliases a model had
}

func (a *applying) changed(format string, args ...any) {
	a.changes = append(a.changes, fmt.Sprintf(format, args...))
}

func (a *applying) run(ctx context.Context, f *catalogfile.File) error {
	providers, err := a.providers(ctx, f)
	if err != nil {
		return err
	}
	if err := a.readModels(ctx, f); err != nil {
		return err
	}
	if err := a.allModels(ctx, f, providers); err != nil {
		return err
	}
	return a.groups(ctx, f)
}

func (a *applying) providers(ctx context.Context, f *catalogfile.File) (map[string]int64, error) {
	rows, err := a.q.Providers(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := a.q.AllProviderKeys(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]int64{}
	old := map[string]ProviderRow{}
	for i := range rows {
		row, err := providerRow(&rows[i])
		if err != nil {
			return nil, err
		}
		old[row.Slug], ids[row.Slug] = row, row.ID
	}
	for i := range f.Providers {
		p := &f.Providers[i]
		stop, set, err := p.DailyStopUSD.USD()
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		want := ProviderRow{Slug: p.Name, Protocol: p.Protocol, Dialect: catalogfile.DialectOf(p), BaseURL: p.BaseURL, Options: p.Options, DailyStop: None}
		if set {
			want.DailyStop = stop
		}
		if want.Options == nil {
			want.Options = map[string]string{}
		}
		options, err := json.Marshal(want.Options)
		if err != nil {
			return nil, err
		}
		have, exists := old[p.Name]
		switch {
		case !exists:
			ids[p.Name], err = a.q.InsertProvider(ctx, db.InsertProviderParams{
				Slug: want.Slug, Protocol: want.Protocol, Dialect: want.Dialect, BaseUrl: want.BaseURL, Options: options, DailyStop: amountNull(want.DailyStop),
			})
			a.changed("provider %s: new", p.Name)
		case have.Protocol != want.Protocol || have.Dialect != want.Dialect || have.BaseURL != want.BaseURL ||
			!maps.Equal(have.Options, want.Options) || have.DailyStop != want.DailyStop:
			err = a.q.UpdateProvider(ctx, db.UpdateProviderParams{
				Slug: want.Slug, Protocol: want.Protocol, Dialect: want.Dialect, BaseUrl: want.BaseURL, Options: options, DailyStop: amountNull(want.DailyStop),
			})
			a.changed("provider %s: changed", p.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		if err := a.providerKeys(ctx, p, ids[p.Name], keys); err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
	}
	return ids, nil
}

func (a *applying) providerKeys(ctx context.Context, p *catalogfile.Provider, id int64, all []db.ProviderKey) error {
	old := map[string]db.ProviderKey{}
	for _, k := range all {
		if k.ProviderID == id {
			old[k.Name] = k
		}
	}
	named := map[string]bool{}
	for _, k := range p.Keys {
		named[k.Name] = true
		have, exists := old[k.Name]
		switch {
		case !exists && k.Secret == "":
		case !exists:
			row, err := a.q.NextProviderKeyID(ctx)
			if err != nil {
				return err
			}
			sealed := a.box.Seal([]byte(k.Secret), secretPlace(row, 1))
			if err := a.q.InsertProviderKey(ctx, db.InsertProviderKeyParams{RowID: row, ProviderID: id, Name: k.Name, Sealed: sealed}); err != nil {
				return err
			}
			a.changed("provider %s: key %s new", p.Name, k.Name)
		default:
			plain, err := a.box.Open(have.Sealed, secretPlace(have.ID, have.Version))
			same := k.Secret == "" || err == nil && string(plain) == k.Secret
			if same && have.Enabled {
				continue
			}
			if !same {
				have.Version++
				have.Sealed = a.box.Seal([]byte(k.Secret), secretPlace(have.ID, have.Version))
				a.changed("provider %s: key %s has another secret", p.Name, k.Name)
			}
			if !have.Enabled {
				a.changed("provider %s: key %s enabled", p.Name, k.Name)
			}
			if err := a.q.UpdateProviderKey(ctx, db.UpdateProviderKeyParams{Sealed: have.Sealed, Version: have.Version, Enabled: true, RowID: have.ID}); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if k := old[name]; !named[name] && k.Enabled {
			if err := a.q.UpdateProviderKey(ctx, db.UpdateProviderKeyParams{Sealed: k.Sealed, Version: k.Version, Enabled: false, RowID: k.ID}); err != nil {
				return err
			}
			a.changed("provider %s: key %s disabled", p.Name, name)
		}
	}
	return nil
}

// readModels reads what the file's models are so far.
func (a *applying) readModels(ctx context.Context, f *catalogfile.File) error {
	named := make([]string, len(f.Models))
	var meant []string // ids or aliases of other models
	for i := range f.Models {
		named[i] = f.Models[i].ID
		if auto := f.Models[i].Auto; auto != nil {
			meant = append(meant, auto.Models...)
		}
	}
	for i := range f.Groups {
		meant = append(meant, f.Groups[i].Models...)
	}
	rows, err := a.q.ModelsNamed(ctx, named)
	if err != nil {
		return err
	}
	ids := make([]int64, len(rows))
	a.models, a.names = make(map[string]db.Model, len(rows)), make(map[int64]string, len(f.Models))
	for i := range rows {
		m := &rows[i]
		ids[i], a.models[m.PublicID], a.names[m.ID] = m.ID, *m, m.PublicID
	}
	aliases, err := a.q.AliasesOf(ctx, ids, filled(meant))
	if err != nil {
		return err
	}
	a.aliases, a.known = map[string]int64{}, map[int64][]string{}
	for i := range aliases {
		al := &aliases[i]
		a.aliases[al.Alias], a.names[al.ModelID] = al.ModelID, al.PublicID
		a.known[al.ModelID] = append(a.known[al.ModelID], al.Alias)
	}
	routes, err := a.q.RoutesOf(ctx, ids)
	if err != nil {
		return err
	}
	a.routes = make(map[int64][]db.Route, len(ids))
	for i := range routes {
		a.routes[routes[i].ModelID] = append(a.routes[routes[i].ModelID], routes[i])
	}
	return a.readPrices(ctx, ids)
}

// readPrices reads the prices of models and their routes that are in force.
func (a *applying) readPrices(ctx context.Context, models []int64) error {
	now, err := a.q.Now(ctx)
	if err != nil {
		return err
	}
	keys, err := a.q.Prices(ctx, models, now)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(p db.PricesRow) bool { return p.EffectiveAt.After(now) }) // to come
	rows, err := a.remembered.of(ctx, a.q, keys)
	if err != nil {
		return err
	}
	a.prices, a.costs = make(map[int64]PriceRow, len(rows)), map[int64]PriceRow{}
	for i := range rows {
		if r := &rows[i]; r.ModelID != 0 {
			a.prices[r.ModelID] = *r
		} else {
			a.costs[r.RouteID] = *r
		}
	}
	return nil
}

func (a *applying) allModels(ctx context.Context, f *catalogfile.File, providers map[string]int64) (err error) {
	canonical := a.canonical(f)
	for i := range f.Models {
		m := &f.Models[i]
		ppm, err := m.Multiplier.PPM()
		if err != nil {
			return fmt.Errorf("model %s: %w", m.ID, err)
		}
		want := db.Model{
			PublicID: m.ID, Tags: filled(m.Tags), ContextTokens: m.ContextTokens, MaxOutput: m.MaxOutputTokens, Ppm: ppm, AutoModels: []string{}, Enabled: true,
		}
		if m.Auto != nil {
			want.AutoStrategy = m.Auto.Strategy
			for _, name := range m.Auto.Models {
				want.AutoModels = append(want.AutoModels, canonical(name))
			}
		}
		have, exists := a.models[m.ID]
		switch {
		case !exists:
			have.ID, err = a.q.InsertModel(ctx, db.InsertModelParams{
				PublicID: want.PublicID, Tags: want.Tags, ContextTokens: want.ContextTokens, MaxOutput: want.MaxOutput, Ppm: want.Ppm,
				AutoStrategy: want.AutoStrategy, AutoModels: want.AutoModels,
			})
			a.names[have.ID] = m.ID
			a.changed("model %s: new", m.ID)
		case !slices.Equal(have.Tags, want.Tags) || have.ContextTokens != want.ContextTokens || have.MaxOutput != want.MaxOutput || have.Ppm != want.Ppm ||
			have.AutoStrategy != want.AutoStrategy || !slices.Equal(have.AutoModels, want.AutoModels) || !have.Enabled:
			err = a.q.UpdateModel(ctx, db.UpdateModelParams{
				Tags: want.Tags, ContextTokens: want.ContextTokens, MaxOutput: want.MaxOutput, Ppm: want.Ppm, AutoStrategy: want.AutoStrategy,
				AutoModels: want.AutoModels, RowID: have.ID,
			})
			a.changed("model %s: changed", m.ID)
		}
		if err == nil {
			err = a.modelAliases(ctx, m, have.ID)
		}
		if err == nil {
			err = a.modelPrice(ctx, m, have.ID)
		}
		if err == nil {
			err = a.modelRoutes(ctx, m, have.ID, providers)
		}
		if err != nil {
			return fmt.Errorf("model %s: %w", m.ID, err)
		}
	}
	return nil
}

// canonical turns an id or alias, of the file or stored, into the public id.
func (a *applying) canonical(f *catalogfile.File) func(string) string {
	names := map[string]string{}
	for alias, id := range a.aliases {
		names[alias] = a.names[id]
	}
	for i := range f.Models {
		for _, alias := range f.Models[i].Aliases {
			names[alias] = f.Models[i].ID
		}
	}
	return func(name string) string {
		if id, ok := names[name]; ok {
			return id
		}
		return name
	}
}

func (a *applying) modelAliases(ctx context.Context, m *catalogfile.Model, id int64) error {
	for _, alias := range m.Aliases {
		if a.aliases[alias] == id {
			continue
		}
		if err := a.q.InsertAlias(ctx, alias, id); err != nil {
			return err
		}
		a.aliases[alias] = id
		a.changed("model %s: alias %s", m.ID, alias)
	}
	for _, alias := range slices.Sorted(slices.Values(a.known[id])) {
		if a.aliases[alias] == id && !slices.Contains(m.Aliases, alias) {
			if err := a.q.DeleteAlias(ctx, alias); err != nil {
				return err
			}
			delete(a.aliases, alias)
			a.changed("model %s: alias %s gone", m.ID, alias)
		}
	}
	return nil
}

func (a *applying) modelPrice(ctx context.Context, m *catalogfile.Model, id int64) error {
	want, priced, err := m.PriceVersion()
	if err != nil || !priced {
		return err
	}
	have, ok := a.prices[id]
	if ok && samePrice(&have.Version, &want) {
		return nil
	}
	if _, err := insertPrice(ctx, a.q, &id, nil, &want, nil); err != nil {
		return err
	}
	a.changed("model %s: price", m.ID)
	return nil
}

func (a *applying) modelRoutes(ctx context.Context, m *catalogfile.Model, id int64, providers map[string]int64) error {
	type identity struct {
		provider         int64
		upstream, region string
	}
	old := map[identity]db.Route{}
	for _, r := range a.routes[id] {
		old[identity{r.ProviderID, r.UpstreamModel, r.Region}] = r
	}
	named := map[identity]bool{}
	for i := range m.Routes {
		r := &m.Routes[i]
		provider, ok := providers[r.Provider]
		if !ok {
			return fmt.Errorf("%w: provider %q", ErrNotFound, r.Provider)
		}
		key := identity{provider, r.Model, r.Region}
		if named[key] {
			return fmt.Errorf("%w: route %s/%s twice", ErrInvalid, r.Provider, r.Model)
		}
		named[key] = true
		weight := max(r.Weight, 1)
		if r.Priority > 1<<30 || weight > 1<<30 || r.Priority < 0 {
			return fmt.Errorf("%w: priority or weight of route %s/%s", ErrInvalid, r.Provider, r.Model)
		}
		have, exists := old[key]
		var err error
		switch {
		case !exists:
			have.ID, err = a.q.InsertRoute(ctx, db.InsertRouteParams{
				ModelID: id, ProviderID: provider, UpstreamModel: r.Model, Region: r.Region, Priority: int32(r.Priority), Weight: int32(weight),
			})
			a.changed("model %s: route %s/%s new", m.ID, r.Provider, r.Model)
		case have.Priority != int32(r.Priority) || have.Weight != int32(weight) || !have.Enabled:
			err = a.q.UpdateRoute(ctx, db.UpdateRouteParams{Priority: int32(r.Priority), Weight: int32(weight), Enabled: true, RowID: have.ID})
			a.changed("model %s: route %s/%s changed", m.ID, r.Provider, r.Model)
		}
		if err != nil {
			return err
		}
		cost, set, err := r.CostVersion()
		if err != nil {
			return err
		}
		now, costs := a.costs[have.ID]
		switch {
		case set && (!costs || !samePrice(&now.Version, &cost)):
			_, err = insertPrice(ctx, a.q, nil, &have.ID, &cost, nil)
		case !set && costs:
			_, err = a.q.InsertPrice(ctx, db.InsertPriceParams{RouteID: &have.ID, Rates: []*int64{}, Withdrawn: true})
		default:
			continue
		}
		if err != nil {
			return err
		}
		a.changed("model %s: cost of route %s/%s", m.ID, r.Provider, r.Model)
	}
	gone := make([]db.Route, 0)
	for key, r := range old {
		if !named[key] && r.Enabled {
			gone = append(gone, r)
		}
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].ID < gone[j].ID })
	for _, r := range gone {
		if err := a.q.UpdateRoute(ctx, db.UpdateRouteParams{Priority: r.Priority, Weight: r.Weight, Enabled: false, RowID: r.ID}); err != nil {
			return err
		}
		a.changed("model %s: route to %s disabled", m.ID, r.UpstreamModel)
	}
	return nil
}

func (a *applying) groups(ctx context.Context, f *catalogfile.File) error {
	if len(f.Groups) == 0 {
		return nil
	}
	rows, err := a.q.Groups(ctx)
	if err != nil {
		return err
	}
	old := map[string]GroupRow{}
	for i := range rows {
		old[rows[i].Name] = groupRow(&rows[i])
	}
	canonical := a.canonical(f)
	for i := range f.Groups {
		g := &f.Groups[i]
		want, err := fileGroup(g, canonical)
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		have, exists := old[g.Name]
		p := db.InsertGroupParams{
			Name: want.Name, AllModels: want.AllModels, Models: filled(want.Models), Ppm: want.PPM, Rpm: want.RPM, Tpm: want.TPM,
			MaxConcurrency: want.MaxConcurrency, DailyUsd: amountNull(want.DailyUSD), TotalQuota: amountNull(want.TotalQuota),
			IpAllow: filled(want.IPAllow), ExpiresAt: timeNull(want.ExpiresAt),
		}
		switch {
		case !exists:
			err = a.q.InsertGroup(ctx, p)
			a.changed("group %s: new", g.Name)
		case have.AllModels != want.AllModels || !slices.Equal(have.Models, want.Models) || have.PPM != want.PPM || have.RPM != want.RPM ||
			have.TPM != want.TPM || have.MaxConcurrency != want.MaxConcurrency || have.DailyUSD != want.DailyUSD ||
			have.TotalQuota != want.TotalQuota || !slices.Equal(have.IPAllow, want.IPAllow) || !have.ExpiresAt.Equal(want.ExpiresAt):
			err = a.q.UpdateGroup(ctx, db.UpdateGroupParams{
				Name: p.Name, AllModels: p.AllModels, Models: p.Models, Ppm: p.Ppm, Rpm: p.Rpm, Tpm: p.Tpm, MaxConcurrency: p.MaxConcurrency,
				DailyUsd: p.DailyUsd, TotalQuota: p.TotalQuota, IpAllow: p.IpAllow, ExpiresAt: p.ExpiresAt,
			})
			a.changed("group %s: changed", g.Name)
		}
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
	}
	return nil
}

func fileGroup(g *catalogfile.Group, canonical func(string) string) (GroupRow, error) {
	row := GroupRow{Name: g.Name, RPM: g.RPM, TPM: g.TPM, MaxConcurrency: g.MaxConcurrency, DailyUSD: None, TotalQuota: None, Models: []string{}, IPAllow: []netip.Prefix{}}
	var err error
	if row.PPM, err = g.Multiplier.PPM(); err != nil {
		return row, err
	}
	for _, name := range g.Models {
		if name == "*" {
			row.AllModels = true
		} else if id := canonical(name); !slices.Contains(row.Models, id) {
			row.Models = append(row.Models, id)
		}
	}
	if row.AllModels {
		row.Models = []string{}
	}
	for _, limit := range []struct {
		from catalogfile.Decimal
		to   *money.Amount
	}{{g.DailyUSD, &row.DailyUSD}, {g.TotalQuotaUSD, &row.TotalQuota}} {
		if v, set, err := limit.from.USD(); err != nil {
			return row, err
		} else if set {
			*limit.to = v
		}
	}
	for _, text := range g.IPAllow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return row, fmt.Errorf("%w: ip_allow %q", ErrInvalid, text)
		}
		row.IPAllow = append(row.IPAllow, p.Masked())
	}
	if row.ExpiresAt, err = g.Expires(); err != nil {
		return row, err
	}
	row.ExpiresAt = row.ExpiresAt.Truncate(time.Microsecond) // what Postgres keeps
	return row, nil
}

// samePrice compares what was stated, not the row's id or time.
func samePrice(a, b *price.Version) bool {
	return sameTable(&a.Base, &b.Base) && slices.EqualFunc(a.Tiers, b.Tiers, func(x, y price.Tier) bool {
		return x.AboveInput == y.AboveInput && sameTable(&x.Table, &y.Table)
	})
}

func sameTable(a, b *price.Table) bool {
	ra, fa := tableRates(a)
	rb, fb := tableRates(b)
	return fa == fb && slices.EqualFunc(ra, rb, func(x, y *int64) bool {
		return (x == nil) == (y == nil) && (x == nil || *x == *y)
	})
}

// insertPrice writes a new price of a model or of a route, in force at a time (nil: now).
func insertPrice(ctx context.Context, q *db.Queries, model, route *int64, v *price.Version, at *time.Time) (int64, error) {
	rates, free := tableRates(&v.Base)
	id, err := q.InsertPrice(ctx, db.InsertPriceParams{ModelID: model, RouteID: route, Rates: rates, Free: free, EffectiveAt: at})
	if err != nil {
		return 0, meaning(err)
	}
	for i := range v.Tiers {
		tier, tierFree := tableRates(&v.Tiers[i].Table)
		err := q.InsertTier(ctx, db.InsertTierParams{PriceID: id, AboveInput: v.Tiers[i].AboveInput, Base: rates, Rates: tier, Free: tierFree})
		if err != nil {
			return 0, meaning(err)
		}
	}
	return id, nil
}
