package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// large applies a catalogue of n models, each with another name, two routes, a cost and a
// price in tiers, and an auto model and a group that name some of them.
func (b *books) large(n int) {
	b.t.Helper()
	var text strings.Builder
	text.WriteString(`
providers:
  - {name: first, protocol: openai, base_url: "http://127.0.0.1:1/v1", keys: [{name: main, secret: "sk-1"}]}
  - {name: second, protocol: openai, base_url: "http://127.0.0.1:2/v1", keys: [{name: main, secret: "sk-2"}]}
models:
  - {id: any, auto: {strategy: cheapest, models: [model-0, other-1]}}
`)
	for i := range n {
		fmt.Fprintf(&text, `  - {id: model-%d, aliases: [other-%d], tags: [chat], context_tokens: 200000, max_output_tokens: 16384, price: {input: "3", output: "15"},
      price_tiers: [{above_input_tokens: 1000, input: "4", output: "16"}],
      routes: [{provider: first, model: up-%d, cost: {input: "2", output: "9"}}, {provider: second, model: up-%d, priority: 1}]}
`, i, i, i, i)
	}
	text.WriteString("groups: [{name: some, models: [other-0, model-1]}]\n")
	b.apply(must(catalogfile.Parse([]byte(text.String()))))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (b *books) apply(f *catalogfile.File) store.Applied {
	b.t.Helper()
	a, err := b.ApplyCatalog(b.t.Context(), "test", f, b.box, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// edit changes one model by EditCatalog.
func (b *books) edit(id string, change func(*catalogfile.Model)) (store.Applied, error) {
	return b.EditCatalog(b.t.Context(), "test", b.box, store.Edit{Action: "update", Object: "model", ID: id, Change: func(f *catalogfile.File) (*catalogfile.File, error) {
		i := slices.IndexFunc(f.Models, func(m catalogfile.Model) bool { return m.ID == id })
		change(&f.Models[i])
		if err := catalogfile.Check(f); err != nil {
			return nil, err
		}
		return &catalogfile.File{Models: f.Models[i : i+1]}, nil
	}})
}

// stored is every row of the catalogue in words, but for ids of prices and times.
func (b *books) stored() []string {
	b.t.Helper()
	rows, err := b.conn.Query(b.t.Context(), `
		SELECT 'provider ' || (to_jsonb(p))::text FROM provider p UNION ALL
		SELECT 'key ' || (to_jsonb(k) - 'sealed')::text FROM provider_key k UNION ALL
		SELECT 'model ' || (to_jsonb(m) - 'created_at')::text FROM model m UNION ALL
		SELECT 'alias ' || (to_jsonb(a))::text FROM model_alias a UNION ALL
		SELECT 'route ' || (to_jsonb(r))::text FROM route r UNION ALL
		SELECT 'price ' || (to_jsonb(p) - 'id' - 'effective_at' - 'created_at' || jsonb_build_object('tiers', (SELECT jsonb_agg(to_jsonb(t) - 'price_id' ORDER BY above_input) FROM price_tier t WHERE price_id = p.id)))::text FROM price p UNION ALL
		SELECT 'group ' || (to_jsonb(g) - 'created_at')::text FROM client_group g ORDER BY 1`)
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// A model that is changed by itself becomes what it would be if the whole catalogue were
// applied with the change in it, and so does everything else.
func TestEditIsApply(t *testing.T) {
	one, whole := newBooks(t), newBooks(t)
	one.large(20)
	whole.large(20)
	steps := []struct {
		what, id string
		change   func(*catalogfile.Model)
	}{
		{"nothing", "model-3", func(*catalogfile.Model) {}},
		{"multiplier", "model-3", func(m *catalogfile.Model) { m.Multiplier = "1.5" }},
		{"limits and tags", "model-3", func(m *catalogfile.Model) { m.ContextTokens, m.Tags = 1000, nil }},
		{"price", "model-3", func(m *catalogfile.Model) { m.Price["input"], m.PriceTiers = "3.5", nil }},
		{"tiers", "model-4", func(m *catalogfile.Model) { m.PriceTiers[0].Price = catalogfile.Prices{"input": "5", "output": "17"} }},
		{"cost", "model-3", func(m *catalogfile.Model) { m.Routes[1].Cost = catalogfile.Prices{"input": "1", "output": "0"} }},
		{"no cost", "model-3", func(m *catalogfile.Model) { m.Routes[0].Cost = nil }},
		{"a cost again", "model-3", func(m *catalogfile.Model) { m.Routes[0].Cost = catalogfile.Prices{"input": "2", "output": "9"} }},
		{"names", "model-3", func(m *catalogfile.Model) { m.Aliases = []string{"z", "a"} }},
		{"another's name, given up", "model-5", func(m *catalogfile.Model) { m.Aliases = []string{"other-3"} }},
		{"routes", "model-3", func(m *catalogfile.Model) {
			m.Routes = append(m.Routes[1:], catalogfile.Route{Provider: "first", Model: "new", Region: "eu", Weight: 3})
		}},
		{"a route that was there", "model-3", func(m *catalogfile.Model) {
			m.Routes = append(m.Routes, catalogfile.Route{Provider: "first", Model: "up-3", Priority: 2})
		}},
		{"an auto model, by other names", "any", func(m *catalogfile.Model) { m.Auto.Models = []string{"other-7", "model-2", "a"} }},
		{"the strategy", "any", func(m *catalogfile.Model) { m.Auto.Strategy = "best" }},
	}
	for _, step := range steps {
		got, err := one.edit(step.id, step.change)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		f, err := whole.ExportCatalog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range f.Models {
			if f.Models[i].ID == step.id {
				step.change(&f.Models[i])
			}
		}
		want := whole.apply(must(catalogfile.Parse(catalogfile.Marshal(f))))
		if !slices.Equal(got.Changes, want.Changes) || (len(got.Changes) == 0) != (step.what == "nothing") {
			t.Errorf("%s: changes %q, want %q", step.what, got.Changes, want.Changes)
		}
		a, b := one.stored(), whole.stored()
		if !slices.Equal(a, b) {
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Errorf("%s: stored\n%s\nwant\n%s", step.what, a[i], b[i])
					break
				}
			}
			t.Fatalf("%s: %d rows, want %d", step.what, len(a), len(b))
		}
	}
	// What the whole does not allow is refused, and nothing of it stays.
	before := one.stored()
	if _, err := one.edit("model-3", func(m *catalogfile.Model) { m.Aliases = []string{"other-9"} }); err == nil || !strings.Contains(err.Error(), `"other-9" is already a name of model "model-3"`) {
		t.Errorf("the name of another: %v", err)
	}
	if _, err := one.edit("model-0", func(m *catalogfile.Model) { m.Price, m.PriceTiers = nil, nil }); err != nil {
		t.Errorf("a price left out: %v", err) // the stored one stays
	}
	if !slices.Equal(one.stored(), before) {
		t.Error("a refused change has left something")
	}
}

// One changed model of many is as many statements as one of few, and writes its own rows
// only.
func TestEditTouchesItsOwnRows(t *testing.T) {
	var statements [2]uint64
	for i, n := range []int{3, 1000} {
		b := newBooks(t)
		b.large(n)
		before := b.Statements()
		a, err := b.edit("model-2", func(m *catalogfile.Model) {
			m.Multiplier, m.Price["input"], m.Routes[0].Cost["input"], m.Routes[1].Weight = "1.5", "3.5", "2.5", 7
		})
		if err != nil || len(a.Changes) != 4 {
			t.Fatalf("%+v, %v", a, err)
		}
		statements[i] = b.Statements() - before
		// What this transaction wrote has its number, as the revision that it took.
		var rows string
		err = b.conn.QueryRow(t.Context(), `SELECT concat_ws(', ',
			(SELECT count(*) FROM model m WHERE m.xmin = c.xmin) || ' models', (SELECT count(*) FROM model_alias a WHERE a.xmin = c.xmin) || ' names',
			(SELECT count(*) FROM route r WHERE r.xmin = c.xmin) || ' routes', (SELECT count(*) FROM price p WHERE p.xmin = c.xmin) || ' prices',
			(SELECT count(*) FROM price_tier p WHERE p.xmin = c.xmin) || ' tiers', (SELECT count(*) FROM client_group g WHERE g.xmin = c.xmin) || ' groups',
			(SELECT count(*) FROM provider p WHERE p.xmin = c.xmin) || ' providers', (SELECT count(*) FROM config_log l WHERE l.xmin = c.xmin) || ' revisions',
			(SELECT count(*) FROM audit_log l WHERE l.xmin = c.xmin) || ' lines', (SELECT count(*) FROM audit_value v WHERE v.xmin = c.xmin) || ' values')
			FROM config_rev c`).Scan(&rows)
		if want := "1 models, 0 names, 1 routes, 2 prices, 1 tiers, 0 groups, 0 providers, 1 revisions, 1 lines, 5 values"; err != nil || rows != want {
			t.Errorf("of %d models: %s, want %s (%v)", n, rows, want, err)
		}
		before = b.Statements()
		c, err := b.LoadModel(t.Context(), "other-2")
		if err != nil || len(c.Models) != 1 || c.Models[0].PublicID != "model-2" || len(c.Routes) != 2 || len(c.Prices) != 2 || len(c.Providers) != 3 {
			t.Errorf("one of %d models: %+v of %d providers, %v", n, c.Models, len(c.Providers), err)
		}
		if took := b.Statements() - before; took > 12 {
			t.Errorf("one of %d models is %d statements", n, took)
		}
	}
	if statements[0] != statements[1] || statements[1] > 40 {
		t.Errorf("%d statements among 3 models, %d among 1,000", statements[0], statements[1])
	}
	t.Logf("%d statements", statements[1])
}

// What LoadModel reads of a model is what LoadCatalog does.
func TestLoadModelIsLoadCatalog(t *testing.T) {
	b := newBooks(t)
	b.large(5)
	if err := b.DisableModel(t.Context(), "test", "model-4"); err != nil {
		t.Fatal(err)
	}
	all, err := b.LoadCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range all.Models {
		m := &all.Models[i]
		for _, name := range append([]string{m.PublicID}, m.Aliases...) {
			one, err := b.LoadModel(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want := store.CatalogRows{Revision: all.Revision, Now: one.Now, Providers: all.Providers, ProviderKeys: all.ProviderKeys, Models: all.Models[i : i+1]}
			mine := map[int64]bool{}
			for _, r := range all.Routes {
				if r.ModelID == m.ID {
					want.Routes = append(want.Routes, r)
					mine[r.ID] = true
				}
			}
			for _, p := range all.Prices {
				if p.ModelID == m.ID || mine[p.RouteID] {
					want.Prices = append(want.Prices, p)
				}
			}
			if got, want := fmt.Sprintf("%+v", *one), fmt.Sprintf("%+v", want); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	for _, name := range []string{"model-4", "other-4", "nobody", ""} {
		if one, err := b.LoadModel(t.Context(), name); name != "" && (err != nil || len(one.Models) != 0) {
			t.Errorf("%q: %+v, %v", name, one, err)
		}
	}
	name, err := b.RouteModel(t.Context(), all.Routes[0].ID)
	if err != nil || name != "small" {
		t.Errorf("the first route serves %q, %v", name, err)
	}
	if _, err := b.RouteModel(t.Context(), 1<<40); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no route: %v", err)
	}
}

// The prices of the catalogue are, per owner, the one in force and those to come: whatever
// was before, in whatever order it was set, at the same moment or withdrawn.
func TestPricesInForce(t *testing.T) {
	b := newBooks(t)
	b.large(8)
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		owner, id := "model_id", 1+r.IntN(10)
		if r.IntN(2) == 0 {
			owner, id = "route_id", 1+r.IntN(17)
		}
		b.exec(fmt.Sprintf(`INSERT INTO price (%s, rates, withdrawn, effective_at) VALUES (%d, '{%d,2}', %v, date_trunc('hour', clock_timestamp()) + %d * interval '1 hour')`,
			owner, id, 1+r.IntN(1000), r.IntN(4) == 0, r.IntN(60)-50))
	}
	c, err := b.LoadCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for i := range c.Prices {
		got = append(got, c.Prices[i].Version.ID)
	}
	rows, err := b.conn.Query(t.Context(), `SELECT id FROM price p WHERE NOT withdrawn AND (effective_at > $1 OR NOT EXISTS (
		SELECT FROM price q WHERE (q.model_id = p.model_id OR q.route_id = p.route_id) AND q.effective_at <= $1 AND (q.effective_at, q.id) > (p.effective_at, p.id)))
		ORDER BY effective_at DESC, id DESC`, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(want) < 30 {
		t.Fatalf("%d prices, %v", len(want), err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("prices %d, want %d", got, want)
	}
}

// Prices are remembered, for what they are: one that was not there before is read, and an
// id that a restored database has given to another price is that price.
func TestPricesAreRemembered(t *testing.T) {
	b := newBooks(t)
	b.large(5)
	load := func(statements uint64) map[int64]price.Rate {
		t.Helper()
		before := b.Statements()
		c, err := b.LoadCatalog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Statements() - before; n != statements {
			t.Errorf("%d statements, want %d", n, statements)
		}
		rates := map[int64]price.Rate{}
		for i := range c.Prices {
			rates[c.Prices[i].Version.ID] = c.Prices[i].Version.Base.Rates[0]
		}
		return rates
	}
	all := load(12)
	if len(all) != 11 || !maps.Equal(load(10), all) {
		t.Errorf("%d prices, or others the second time", len(all))
	}
	if a, err := b.edit("model-3", func(m *catalogfile.Model) { m.Price["input"] = "7" }); err != nil || len(a.Changes) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	if now := load(12); len(now) != 11 || maps.Equal(now, all) {
		t.Errorf("a new price: %v", now)
	}
	b.exec(`ALTER TABLE price DISABLE TRIGGER ALL`)
	var id int64
	if err := b.conn.QueryRow(t.Context(), `UPDATE price SET rates[1] = 5, created_at = clock_timestamp() WHERE id = (SELECT max(id) FROM price) RETURNING id`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if now := load(12); now[id] != 5 {
		t.Errorf("another price of the same id: %d", now[id])
	}
}

// A price that is long past costs nothing: of a long history, as many rows are read as
// there are prices in force.
func TestOldPricesAreNotRead(t *testing.T) {
	b := newBooks(t)
	b.large(100)
	b.exec(`INSERT INTO price (model_id, rates, effective_at) SELECT m.id, '{1,2}', clock_timestamp() - n * interval '1 minute' FROM model m, generate_series(1000, 1999) n`)
	b.exec(`ANALYZE price`)
	// A connection tells what it has read at its end at the latest.
	read := func(d *store.DB) (n int64) {
		t.Helper()
		d.Close()
		for others := 1; others > 0; time.Sleep(10 * time.Millisecond) {
			if err := b.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tokenrelay'`).Scan(&others); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.conn.QueryRow(t.Context(), `SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'price'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	fresh, before := open(t, b.url), read(b.DB)
	if c, err := fresh.LoadCatalog(t.Context()); err != nil {
		t.Fatal(err)
	} else if len(c.Prices) != 202 {
		t.Fatalf("%d prices", len(c.Prices))
	}
	if rows := read(fresh) - before; rows == 0 || rows > 1000 {
		t.Errorf("%d rows were read for 202 prices", rows)
	} else {
		t.Logf("%d rows read", rows)
	}
}

func BenchmarkLoadCatalog(b *testing.B) {
	bk := newBooks(b)
	bk.large(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bk.LoadCatalog(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEditCatalog(b *testing.B) {
	bk := newBooks(b)
	bk.large(1000)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		if _, err := bk.edit("model-7", func(m *catalogfile.Model) { m.Multiplier = catalogfile.Decimal(price.FormatPPM(int64(1_000_000 + n))) }); err != nil {
			b.Fatal(err)
		}
	}
}
