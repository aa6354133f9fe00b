package store

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/store/db"
)

// How many models are read by themselves, and how many changes are looked at for them:
// beyond it, reading everything costs less.
const (
	mostRenewed = 100
	mostChanges = 1000
)

// Reading names one reading of the catalogue. Two readings of one revision are not the
// same one: a database that has lost commits gives revisions again, to other changes.
type Reading struct{ at time.Time }

// catalogMemory remembers the catalogue as it was last read, so that reading it again costs
// what has changed since and not what there is. The change feed names what changed; where it
// does not, or where it is not the feed that the rows were read from, all is read.
type catalogMemory struct {
	last atomic.Pointer[CatalogRows] // never changed
}

// read reads the catalogue in one view of the database, or under the lock of the revision:
// what changed, or with whole everything.
func (m *catalogMemory) read(ctx context.Context, tx pgx.Tx, q *db.Queries, known *prices, whole bool) (*CatalogRows, error) {
	var c CatalogRows
	at, err := c.head(ctx, tx)
	if err != nil {
		return nil, err
	}
	c.Reading = &Reading{at: at}
	renewed := false
	if last := m.last.Load(); last != nil && !whole {
		if renewed, err = c.renew(ctx, tx, q, known, last); err != nil {
			return nil, err
		}
	}
	if !renewed {
		if err := c.load(ctx, q, known, ""); err != nil {
			return nil, err
		}
	}
	if !at.IsZero() { // without its change nobody could tell this revision from another one
		m.last.Store(&c)
	}
	return &c, nil
}

// head reads the revision and the clock, and when the change of the revision was made; zero
// if nothing says.
func (c *CatalogRows) head(ctx context.Context, tx pgx.Tx) (time.Time, error) {
	var at *time.Time
	err := tx.QueryRow(ctx, "SELECT r.rev, l.at, clock_timestamp() FROM config_rev r LEFT JOIN config_log l ON l.rev = r.rev").Scan(&c.Revision, &at, &c.Now)
	return timeOr(at), err
}

// renew makes the rows those of last with what changed since read anew. It is false, and
// nothing is done, where not every change is of a model or of its prices.
func (c *CatalogRows) renew(ctx context.Context, tx pgx.Tx, q *db.Queries, known *prices, last *CatalogRows) (bool, error) {
	names, told, err := c.changed(ctx, tx, last)
	if err != nil || !told {
		return false, err
	}
	var models []db.Model
	if len(names) > 0 {
		if models, err = q.ModelsNamed(ctx, names); err != nil {
			return false, err
		}
	}
	if len(models) != len(names) {
		return false, nil
	}
	c.Since = last.Reading
	c.Groups, c.Providers, c.ProviderKeys = last.Groups, last.Providers, last.ProviderKeys
	c.Models, c.Routes, c.Prices = last.Models, last.Routes, last.Prices
	if len(models) == 0 {
		return true, nil
	}
	for i := range models {
		c.Renewed = append(c.Renewed, models[i].ID)
	}
	aliases, err := q.Aliases(ctx, c.Renewed)
	if err != nil {
		return false, err
	}
	routes, err := q.RoutesOf(ctx, c.Renewed)
	if err != nil {
		return false, err
	}
	keys, err := q.Prices(ctx, c.Renewed, c.Now)
	if err != nil {
		return false, err
	}
	prices, err := known.of(ctx, q, keys)
	if err != nil {
		return false, err
	}
	c.renewModels(models, aliases)
	c.renewRoutes(models, routes)
	c.renewPrices(routes, prices)
	return true, nil
}

// changed tells which models have changed since last, by public id; false if something else
// has, or if the feed is not the one that last was read from.
func (c *CatalogRows) changed(ctx context.Context, tx pgx.Tx, last *CatalogRows) (names []string, told bool, err error) {
	rows, err := tx.Query(ctx, "SELECT rev, kind, detail, at FROM config_log WHERE rev >= $1 ORDER BY rev LIMIT $2", last.Revision, mostChanges+1)
	if err != nil {
		return nil, false, err
	}
	var rev int64
	var kind, detail string
	var at time.Time
	next, told := last.Revision, true
	_, err = pgx.ForEachRow(rows, []any{&rev, &kind, &detail, &at}, func() error {
		object, name, _ := strings.Cut(detail, " ")
		switch {
		case rev != next, rev == last.Revision && !at.Equal(last.Reading.at):
			told = false // pruned, or another database than it was
		case rev == last.Revision, Kind(kind) != KindCatalog, slices.Contains(names, name):
		case name != "" && (object == "model" || object == "price"):
			names = append(names, name)
		default:
			told = false
		}
		next++
		return nil
	})
	return names, told && next > last.Revision && next == c.Revision+1 && len(names) <= mostRenewed, err
}

func (c *CatalogRows) renewModels(models []db.Model, aliases []db.ModelAlias) {
	of := aliasesOf(aliases)
	c.Models = slices.Clone(c.Models)
	for i := range models {
		m := &models[i]
		at := slices.IndexFunc(c.Models, func(r ModelRow) bool { return r.ID == m.ID })
		switch {
		case m.Enabled && at >= 0:
			c.Models[at] = modelRow(m, of)
		case m.Enabled:
			c.Models = append(c.Models, modelRow(m, of))
		case at >= 0:
			c.Models = slices.Delete(c.Models, at, at+1)
		}
	}
}

// renewRoutes puts the routes in the place of the models' old ones. They come by model, as
// those that are known do.
func (c *CatalogRows) renewRoutes(models []db.Model, routes []db.Route) {
	on := make(map[int64]bool, len(models))
	for i := range models {
		on[models[i].ID] = models[i].Enabled
	}
	list := make([]RouteRow, 0, len(c.Routes)+len(routes))
	add := func(below int64) {
		for len(routes) > 0 && routes[0].ModelID < below {
			if r := &routes[0]; r.Enabled && on[r.ModelID] {
				list = append(list, routeRow(r))
			}
			routes = routes[1:]
		}
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		if _, renewed := on[r.ModelID]; renewed {
			continue
		}
		add(r.ModelID)
		list = append(list, *r)
	}
	add(1<<63 - 1)
	c.Routes = list
}

// renewPrices puts the prices in the place of those that the models and all their routes
// had. Each owner's stay together in their order, newest first.
func (c *CatalogRows) renewPrices(routes []db.Route, prices []PriceRow) {
	mine := make(map[int64]bool, len(routes))
	for i := range routes {
		mine[routes[i].ID] = true
	}
	list := make([]PriceRow, 0, len(c.Prices)+len(prices))
	for i := range c.Prices {
		if p := &c.Prices[i]; !mine[p.RouteID] && !slices.Contains(c.Renewed, p.ModelID) {
			list = append(list, *p)
		}
	}
	c.Prices = append(list, prices...)
}

// aliasesOf sorts other names by their model.
func aliasesOf(rows []db.ModelAlias) map[int64][]string {
	of := map[int64][]string{}
	for _, a := range rows {
		of[a.ModelID] = append(of[a.ModelID], a.Alias)
	}
	return of
}

func modelRow(m *db.Model, aliases map[int64][]string) ModelRow {
	return ModelRow{
		ID: m.ID, PublicID: m.PublicID, Aliases: aliases[m.ID], Tags: m.Tags, ContextTokens: m.ContextTokens, MaxOutput: m.MaxOutput,
		PPM: m.Ppm, AutoStrategy: m.AutoStrategy, AutoModels: m.AutoModels, CreatedAt: m.CreatedAt,
	}
}

func routeRow(r *db.Route) RouteRow {
	return RouteRow{
		ID: r.ID, ModelID: r.ModelID, ProviderID: r.ProviderID, UpstreamModel: r.UpstreamModel,
		Priority: r.Priority, Weight: r.Weight, Region: r.Region,
	}
}
