package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store/db"
	"tokenrelay/shared/usage"
)

// Revision is the newest revision of the change feed.
func (d *DB) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rev, err := d.q.Revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot read the revision: %w", err)
	}
	return rev, nil
}

// Changes returns at most max changes after a revision, oldest first. One that does
// not start at after+1 means that older ones were pruned: reload everything.
func (d *DB) Changes(ctx context.Context, after int64, max int) ([]Change, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.Changes(ctx, after, int32(max))
	if err != nil {
		return nil, fmt.Errorf("cannot read the changes: %w", err)
	}
	changes := make([]Change, len(rows))
	for i, r := range rows {
		changes[i] = Change{Rev: r.Rev, Kind: Kind(r.Kind), ID: r.ID, Detail: r.Detail}
		copy(changes[i].Digest[:], r.Digest)
	}
	return changes, nil
}

// LoadKey reads one key by the SHA-256 of its token, in one statement. ErrNotFound
// if there is none.
func (d *DB) LoadKey(ctx context.Context, digest [32]byte) (*KeyRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	r, err := d.q.LoadKey(ctx, digest[:])
	if err != nil {
		return nil, fmt.Errorf("cannot load a key: %w", meaning(err))
	}
	return &KeyRow{
		Revision: r.Rev, ID: r.ID, PublicID: r.PublicID, Name: r.Name, Last4: r.Last4, Digest: digest, Status: KeyStatus(r.Status),
		KeyLimits: KeyLimits{
			Models: r.Models, IPAllow: r.IpAllow, RPM: r.Rpm, TPM: r.Tpm, MaxConcurrency: r.MaxConcurrency,
			MonthlyCap: amountOr(r.MonthlyCap), TotalQuota: amountOr(r.TotalQuota), DailyUSD: amountOr(r.DailyUsd),
			DrainTokens: r.DrainTokens, ExpiresAt: timeOr(r.ExpiresAt),
		},
		ClientID: r.ClientID, ClientName: r.ClientName, ClientActive: r.ClientActive, ClientPPM: r.ClientPpm,
		WalletID: r.WalletID, GroupID: r.GroupID,
		ClientModels: r.ClientModels, Region: r.Region, MaxAttempts: int(r.MaxAttempts), Rules: r.Rules,
	}, nil
}

// RevokedKeys pages through the revoked keys by row id.
func (d *DB) RevokedKeys(ctx context.Context, afterID int64, max int) ([]RevokedKey, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.RevokedKeys(ctx, afterID, int32(max))
	if err != nil {
		return nil, fmt.Errorf("cannot read the revoked keys: %w", err)
	}
	keys := make([]RevokedKey, len(rows))
	for i, r := range rows {
		keys[i].ID = r.ID
		copy(keys[i].Digest[:], r.Digest)
	}
	return keys, nil
}

// snapshot runs f in one read-only view of the database.
func (d *DB) snapshot(ctx context.Context, f func(tx pgx.Tx, q *db.Queries) error) error {
	return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return f(tx, d.q.WithTx(tx))
	})
}

// LoadCatalog reads everything an operator configures in one snapshot.
func (d *DB) LoadCatalog(ctx context.Context) (*CatalogRows, error) { return d.catalogRows(ctx, true) }

// RefreshCatalog is LoadCatalog that reads only what changed since this process last read
// the catalogue, as far as the change feed names it. Prices that were in force by then stay
// among the rows of models that did not change.
func (d *DB) RefreshCatalog(ctx context.Context) (*CatalogRows, error) {
	return d.catalogRows(ctx, false)
}

func (d *DB) catalogRows(ctx context.Context, whole bool) (c *CatalogRows, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	err = d.snapshot(ctx, func(tx pgx.Tx, q *db.Queries) error {
		c, err = d.catalog.read(ctx, tx, q, &d.prices, whole)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load the catalogue: %w", err)
	}
	return c, nil
}

// LoadModel reads one model, by its id or another name, as LoadCatalog reads all of them:
// its routes, its prices and the providers, no groups. Models is empty if there is none.
func (d *DB) LoadModel(ctx context.Context, name string) (*CatalogRows, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	var c CatalogRows
	err := d.snapshot(ctx, func(tx pgx.Tx, q *db.Queries) error {
		if _, err := c.head(ctx, tx); err != nil {
			return err
		}
		return c.load(ctx, q, &d.prices, name)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load the model %q: %w", name, err)
	}
	return &c, nil
}

// load reads the rows in the transaction of q, after their head: those of all models, or of
// one, with whatever it needs, by its name.
func (c *CatalogRows) load(ctx context.Context, q *db.Queries, known *prices, name string) error {
	if name == "" {
		groups, err := q.Groups(ctx)
		if err != nil {
			return err
		}
		for i := range groups {
			c.Groups = append(c.Groups, groupRow(&groups[i]))
		}
	}
	providers, err := q.Providers(ctx)
	if err != nil {
		return err
	}
	for i := range providers {
		row, err := providerRow(&providers[i])
		if err != nil {
			return err
		}
		c.Providers = append(c.Providers, row)
	}
	secrets, err := q.ProviderKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range secrets {
		c.ProviderKeys = append(c.ProviderKeys, ProviderKeyRow{ID: k.ID, ProviderID: k.ProviderID, Name: k.Name, Sealed: k.Sealed, Version: k.Version})
	}
	var models []db.Model
	var only []int64 // the models whose rows are read, nil: all
	if name == "" {
		models, err = q.Models(ctx)
	} else if models, err = q.ModelNamed(ctx, name); len(models) == 0 {
		return err
	}
	if err != nil {
		return err
	}
	if name != "" {
		for i := range models {
			only = append(only, models[i].ID)
		}
	}
	aliases, err := q.Aliases(ctx, only)
	if err != nil {
		return err
	}
	of := aliasesOf(aliases)
	c.Models = make([]ModelRow, 0, len(models))
	for i := range models {
		c.Models = append(c.Models, modelRow(&models[i], of))
	}
	routes, err := q.Routes(ctx, only)
	if err != nil {
		return err
	}
	c.Routes = make([]RouteRow, 0, len(routes))
	for i := range routes {
		c.Routes = append(c.Routes, routeRow(&routes[i]))
	}
	keys, err := q.Prices(ctx, only, c.Now)
	if err != nil {
		return err
	}
	c.Prices, err = known.of(ctx, q, keys)
	return err
}

// priceRows joins price rows with their tiers. Withdrawn ones are left out, as they
// stand for no price; they still hide the older ones, which the query left out.
func priceRows(ctx context.Context, q *db.Queries, prices []db.Price) ([]PriceRow, error) {
	ids := make([]int64, len(prices))
	for i := range prices {
		ids[i] = prices[i].ID
	}
	tiers, err := q.PriceTiers(ctx, ids)
	if err != nil {
		return nil, err
	}
	of := map[int64][]price.Tier{}
	for _, t := range tiers {
		table := rateTable(t.Rates, t.Free)
		of[t.PriceID] = append(of[t.PriceID], price.Tier{AboveInput: t.AboveInput, Table: table})
	}
	rows := make([]PriceRow, 0, len(prices))
	for i := range prices {
		p := &prices[i]
		if p.Withdrawn {
			continue
		}
		row := PriceRow{Version: price.Version{ID: p.ID, EffectiveAt: p.EffectiveAt.UnixMilli(), Base: rateTable(p.Rates, p.Free), Tiers: of[p.ID]}}
		if p.ModelID != nil {
			row.ModelID = *p.ModelID
		}
		if p.RouteID != nil {
			row.RouteID = *p.RouteID
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// rateTable is the resolved table of a stored row.
func rateTable(rates []*int64, free int32) price.Table {
	t := price.Table{Free: uint32(free)}
	for c := range min(len(rates), int(usage.NumClasses)) {
		if rates[c] == nil {
			continue
		}
		t.Rates[c] = price.Rate(*rates[c])
		if t.Free>>c&1 == 0 {
			t.Set |= 1 << c
		}
	}
	t.Resolve()
	return t
}

// tableRates is the stored form of a table: only what was stated by itself.
func tableRates(t *price.Table) (rates []*int64, free int32) {
	rates = make([]*int64, usage.NumClasses)
	for c := range usage.NumClasses {
		if (t.Set|t.Free)>>c&1 != 0 {
			r := int64(t.Rates[c])
			rates[c] = &r
		}
	}
	return rates, int32(t.Free)
}

func groupRow(g *db.ClientGroup) GroupRow {
	return GroupRow{
		ID: g.ID, Name: g.Name, AllModels: g.AllModels, Models: g.Models, PPM: g.Ppm, RPM: g.Rpm, TPM: g.Tpm, MaxConcurrency: g.MaxConcurrency,
		DailyUSD: amountOr(g.DailyUsd), TotalQuota: amountOr(g.TotalQuota), IPAllow: g.IpAllow, ExpiresAt: timeOr(g.ExpiresAt),
	}
}

func providerRow(p *db.Provider) (ProviderRow, error) {
	row := ProviderRow{
		ID: p.ID, Slug: p.Slug, Protocol: p.Protocol, Dialect: p.Dialect, BaseURL: p.BaseUrl, Paused: p.Paused, DailyStop: amountOr(p.DailyStop),
	}
	if err := json.Unmarshal(p.Options, &row.Options); err != nil {
		return row, fmt.Errorf("cannot read the options of provider %s: %w", p.Slug, err)
	}
	return row, nil
}

// secretPlace is where a provider key's secret is sealed for.
func secretPlace(id int64, version int32) seal.Place {
	return seal.Place{Table: "provider_key", Column: "sealed", Row: id, Version: version}
}

// OpenSecret opens a provider key.
func OpenSecret(box *seal.Box, k *ProviderKeyRow) (string, error) {
	plain, err := box.Open(k.Sealed, secretPlace(k.ID, k.Version))
	if err != nil {
		return "", fmt.Errorf("cannot open provider key %d (%s): %w", k.ID, k.Name, err)
	}
	return string(plain), nil
}

func amountOr(a *money.Amount) money.Amount {
	if a == nil {
		return None
	}
	return *a
}

// amountNull is the stored form of a limit.
func amountNull(a money.Amount) *money.Amount {
	if a == None {
		return nil
	}
	return &a
}

func timeOr(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func timeNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
