package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// inWords is what a catalogue's rows say, without which reading they are, the clock and
// prices that something newer is in force of, in an order of its own.
func inWords(c *store.CatalogRows) string {
	type owner struct{ model, route int64 }
	prices := map[owner][]store.PriceRow{}
	for _, p := range c.Prices {
		o := owner{p.ModelID, p.RouteID}
		if list := prices[o]; len(list) == 0 || list[len(list)-1].Version.EffectiveAt > c.Now.UnixMilli() {
			prices[o] = append(list, p)
		}
	}
	models := slices.Clone(c.Models)
	slices.SortFunc(models, func(a, b store.ModelRow) int { return strings.Compare(a.PublicID, b.PublicID) })
	return fmt.Sprintf("revision %d\ngroups %+v\nproviders %+v\nkeys %+v\nmodels %+v\nroutes %+v\nprices %+v", c.Revision, c.Groups, c.Providers, c.ProviderKeys, models, c.Routes, prices)
}

// Whatever changes, by whichever writer, what is read anew on top of what is remembered is
// what the whole is. Two readers follow at their own pace, and the writer has read parts of
// it too.
func TestRefreshCatalogIsLoadCatalog(t *testing.T) {
	b := newBooks(t)
	b.large(12)
	readers := []*store.DB{open(t, b.url), open(t, b.url)}
	r := rand.New(rand.NewPCG(4, 5))
	ctx := t.Context()
	name := func() string { return fmt.Sprintf("model-%d", r.IntN(12)) }
	any := func() string { return []string{"model-13", "other-13", "other-14", "other-1", "other-2"}[r.IntN(5)] }
	version := func() *price.Version {
		table, err := price.ParseTable(map[string]string{"input": fmt.Sprint(1 + r.IntN(9)), "output": "3"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &price.Version{Base: table}
	}
	setPrice := func(at time.Time) error {
		m := name()
		seen := int64(0)
		rows, err := b.LoadModel(ctx, m)
		if err != nil || len(rows.Models) == 0 {
			return err
		}
		for _, p := range rows.Prices {
			if p.ModelID == rows.Models[0].ID && p.Version.EffectiveAt <= rows.Now.UnixMilli() && seen == 0 {
				seen = p.Version.ID
			}
		}
		_, err = b.SetPrice(ctx, "test", m, seen, version(), at)
		return err
	}
	kinds := []func() error{
		func() error {
			return b.editAny(name(), func(m *catalogfile.Model) { m.Tags = []string{"chat", fmt.Sprint("t", r.IntN(9))} })
		},
		func() error {
			return b.editAny(name(), func(m *catalogfile.Model) { m.Aliases = append(m.Aliases, any()) })
		},
		func() error { return b.editAny(name(), func(m *catalogfile.Model) { m.Aliases = nil }) },
		func() error { // a route goes, or is off and comes back
			return b.editAny(name(), func(m *catalogfile.Model) {
				if len(m.Routes) > 1 {
					m.Routes = m.Routes[:1]
				} else {
					m.Routes = append(m.Routes, catalogfile.Route{Provider: "second", Model: fmt.Sprint("up-", r.IntN(3)), Priority: r.Int64N(3), Weight: 1})
				}
			})
		},
		func() error { // a cost is set, changed or withdrawn
			return b.editAny(name(), func(m *catalogfile.Model) {
				if r.IntN(3) == 0 {
					m.Routes[0].Cost = nil
				} else {
					m.Routes[0].Cost = catalogfile.Prices{"input": catalogfile.Decimal(fmt.Sprint(1 + r.IntN(9))), "output": "2"}
				}
			})
		},
		func() error { return setPrice(time.Time{}) },
		func() error { return setPrice(time.Now().Add(time.Duration(20+r.IntN(400)) * time.Millisecond)) },
		func() error { return b.DisableModel(ctx, "test", name()) },
		func() error { // a new one, or one that comes back
			n := r.IntN(15)
			return b.editAny(fmt.Sprint("model-", n), func(m *catalogfile.Model) {
				m.ContextTokens, m.MaxOutputTokens = 9000, 900
				m.Price = catalogfile.Prices{"input": "1", "output": "2"}
				m.Routes = []catalogfile.Route{{Provider: "first", Model: fmt.Sprint("up-", n), Weight: 2}}
			})
		},
		func() error { return b.PauseProvider(ctx, "test", "second", r.IntN(2) == 0) },
		func() error { return b.SetSetting(ctx, "test", "x", []byte(fmt.Sprint(r.IntN(1000)))) },
		func() error { // a file, which changes anything
			f := must(b.ExportCatalog(ctx))
			for i := range f.Models {
				if f.Models[i].Auto == nil && r.IntN(3) == 0 {
					f.Models[i].MaxOutputTokens = 1 + r.Int64N(1000)
				}
			}
			f.Groups[0].RPM = r.Int64N(100)
			_, err := b.ApplyCatalog(ctx, "test", f, b.box, false)
			return err
		},
	}
	renewed, refused := 0, 0
	for step := range 400 {
		kind := r.IntN(len(kinds))
		if kind > 8 && r.IntN(3) > 0 {
			kind = r.IntN(9) // those of which all is read are the fewer
		}
		if err := kinds[kind](); err != nil {
			refused++
			var fault *catalogfile.Error
			if !errors.As(err, &fault) && !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("step %d, kind %d: %v", step, kind, err)
			}
		}
		for i, d := range readers {
			if r.IntN(1+2*i) != 0 {
				continue
			}
			got, err := d.RefreshCatalog(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want, err := b.LoadCatalog(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got.Now = want.Now // a price may have begun between the two
			if got, want := inWords(got), inWords(want); got != want {
				t.Fatalf("step %d, kind %d, reader %d:\n%s\nwant\n%s", step, kind, i, got, want)
			}
			if got.Since != nil && len(got.Renewed) > 0 {
				renewed++
			}
		}
	}
	t.Logf("%d times part was read, %d changes were refused", renewed, refused)
	if renewed < 100 || refused > 200 {
		t.Errorf("%d times part was read, %d changes were refused", renewed, refused)
	}
}

// editAny is edit of a model that need not be there yet.
func (b *books) editAny(id string, change func(*catalogfile.Model)) error {
	_, err := b.EditCatalog(b.t.Context(), "test", b.box, store.Edit{Action: "update", Object: "model", ID: id, Change: func(f *catalogfile.File) (*catalogfile.File, error) {
		i := slices.IndexFunc(f.Models, func(m catalogfile.Model) bool { return m.ID == id })
		if i < 0 {
			i = len(f.Models)
			f.Models = append(f.Models, catalogfile.Model{ID: id})
		}
		if len(f.Models[i].Routes) == 0 {
			f.Models[i].Routes = []catalogfile.Route{{Provider: "first", Model: "up"}}
		}
		change(&f.Models[i])
		if err := catalogfile.Check(f); err != nil {
			return nil, err
		}
		return &catalogfile.File{Models: f.Models[i : i+1]}, nil
	}})
	return err
}

// Where the feed does not tell, all is read: changes were pruned, or the database has lost
// commits that were read and has given their revisions to other changes (B8).
func TestRefreshCatalogReadsAll(t *testing.T) {
	for name, spoil := range map[string]func(b *books, edit func(id string), read func()){
		"pruned": func(b *books, edit func(string), _ func()) {
			edit("model-1")
			edit("model-2")
			b.exec("DELETE FROM config_log WHERE rev < (SELECT max(rev) FROM config_log)")
		},
		"lost": func(b *books, edit func(string), read func()) {
			edit("model-1")
			read()
			b.lose()
		},
		"lost, and as many others": func(b *books, edit func(string), read func()) {
			edit("model-1")
			read()
			b.lose()
			edit("model-2")
		},
		"lost, and more others": func(b *books, edit func(string), read func()) {
			edit("model-1")
			read()
			b.lose()
			edit("model-2")
			edit("model-2")
		},
		"more models than are read by themselves": func(_ *books, edit func(string), _ func()) {
			for i := range 101 {
				edit(fmt.Sprint("model-", i))
			}
		},
		"a provider": func(b *books, edit func(string), _ func()) {
			edit("model-1")
			if err := b.PauseProvider(b.t.Context(), "test", "first", true); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBooks(t)
			b.large(101)
			reader, n := open(t, b.url), 0
			read := func() { must(reader.RefreshCatalog(t.Context())) }
			edit := func(id string) {
				n++
				if _, err := b.edit(id, func(m *catalogfile.Model) { m.Multiplier = catalogfile.Decimal(fmt.Sprint(1 + n)) }); err != nil {
					t.Fatal(err)
				}
			}
			edit("model-5")
			read()
			spoil(b, edit, read)
			got := must(reader.RefreshCatalog(t.Context()))
			if got.Since != nil {
				t.Errorf("only %d models were read", len(got.Renewed))
			}
			if got, want := inWords(got), inWords(must(b.LoadCatalog(t.Context()))); got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
		})
	}
}

// lose undoes the last change, which was of model-1, as a standby does that had not heard
// of it.
func (b *books) lose() {
	b.t.Helper()
	b.exec("UPDATE model SET ppm = 1000000 WHERE public_id = 'model-1'")
	b.exec("DELETE FROM config_log WHERE rev = (SELECT rev FROM config_rev)")
	b.exec("UPDATE config_rev SET rev = rev - 1")
}

// What one change costs a reader does not grow with the catalogue.
func TestRefreshCatalogStatements(t *testing.T) {
	b := newBooks(t)
	b.large(1000)
	must(b.RefreshCatalog(t.Context()))
	for n := range 3 {
		if _, err := b.edit("model-7", func(m *catalogfile.Model) { m.Multiplier = catalogfile.Decimal(fmt.Sprint(2 + n)) }); err != nil {
			t.Fatal(err)
		}
		before := b.Statements()
		c := must(b.RefreshCatalog(t.Context()))
		if took := b.Statements() - before; took > 8 || len(c.Renewed) != 1 || len(c.Models) != 1002 {
			t.Errorf("%d statements, %d of %d models", took, len(c.Renewed), len(c.Models))
		}
	}
	before := b.Statements()
	if c := must(b.RefreshCatalog(t.Context())); b.Statements()-before > 4 || len(c.Renewed) != 0 || c.Since == nil {
		t.Errorf("%d statements without a change", b.Statements()-before)
	}
}

func BenchmarkRefreshCatalog(b *testing.B) {
	bk := newBooks(b)
	bk.large(1000)
	must(bk.RefreshCatalog(b.Context()))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		n++
		bk.exec("WITH r AS (UPDATE config_rev SET rev = rev + 1 RETURNING rev) INSERT INTO config_log (rev, kind, detail) SELECT rev, 'catalog', 'model model-7' FROM r")
		b.StartTimer()
		if c := must(bk.RefreshCatalog(b.Context())); len(c.Renewed) != 1 {
			b.Fatal(len(c.Renewed))
		}
	}
}
