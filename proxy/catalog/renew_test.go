package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// inWords is all that a snapshot says.
func inWords(s *Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d\n", s.Revision)
	for _, id := range sorted(s.Groups) {
		fmt.Fprintf(&b, "group %+v\n", *s.Groups[id])
	}
	for _, slug := range sorted(s.Providers) {
		p := *s.Providers[slug]
		for _, k := range p.Keys {
			fmt.Fprintf(&b, "key of %s: %d %s\n", slug, k.ID, k.Name)
		}
		p.Keys = nil
		fmt.Fprintf(&b, "provider %+v\n", p)
	}
	for _, name := range sorted(s.Models) {
		fmt.Fprintf(&b, "name %s: %s\n", name, s.Models[name].ID)
	}
	versions := func(list []*price.Version) (out []price.Version) {
		for _, v := range list {
			out = append(out, *v)
		}
		return out
	}
	for _, m := range s.ModelList {
		c := *m
		c.Routes, c.Prices, c.Auto, c.tiers, c.problems = nil, nil, nil, nil, nil
		fmt.Fprintf(&b, "model %+v prices %+v\n", c, versions(m.Prices))
		for _, r := range m.Routes {
			fmt.Fprintf(&b, "  route %d %s %s %d %d %s %+v\n", r.ID, r.Provider.Slug, r.UpstreamModel, r.Priority, r.Weight, r.Region, versions(r.Cost))
		}
		if m.Auto != nil {
			fmt.Fprintf(&b, "  auto %d %d:", m.Auto.Strategy, m.Auto.Told)
			for _, o := range m.Auto.Models {
				fmt.Fprintf(&b, " %s", o.ID)
			}
			b.WriteByte('\n')
		}
	}
	for _, slug := range sorted(s.Providers) {
		for i := range 6 {
			if m := s.Native(s.Providers[slug], fmt.Sprint("up-", i)); m != nil {
				fmt.Fprintf(&b, "native %s up-%d: %s\n", slug, i, m.ID)
			}
		}
	}
	fmt.Fprintf(&b, "problems %q\n", s.Problems)
	return b.String()
}

func sorted[K int64 | string, V any](m map[K]V) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// whole tells what of a snapshot points out of it.
func whole(s *Snapshot) error {
	for name, m := range s.Models {
		if i := slices.Index(s.ModelList, m); i < 0 {
			return fmt.Errorf("%s names a model %s that is not in the list", name, m.ID)
		}
	}
	for _, m := range s.ModelList {
		if s.Models[m.ID] != m {
			return fmt.Errorf("%s is another model by its name", m.ID)
		}
		if m.tiers != s.tiers {
			return fmt.Errorf("%s is sold by other groups", m.ID)
		}
		for _, r := range m.Routes {
			if r.Model != m || s.Providers[r.Provider.Slug] != r.Provider {
				return fmt.Errorf("route %d of %s leads elsewhere", r.ID, m.ID)
			}
		}
		if m.Auto != nil {
			for _, o := range m.Auto.Models {
				if s.Models[o.ID] != o {
					return fmt.Errorf("%s picks a %s of another snapshot", m.ID, o.ID)
				}
			}
		}
	}
	if !sort.SliceIsSorted(s.ModelList, func(i, j int) bool { return s.ModelList[i].ID < s.ModelList[j].ID }) {
		return fmt.Errorf("the list is not sorted")
	}
	return nil
}

// A snapshot that is made of the one before it and of some models is the one that is made
// of all rows, and the one before it stays as it was. Live states are carried over.
func TestRenewIsBuild(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var nextRoute, nextPrice int64 = 1000, 2000
	// random gives a model new rows in the place of its old ones, or takes it away.
	random := func(t *testing.T, rows *store.CatalogRows, id int64) {
		routes := map[int64]bool{}
		for _, o := range rows.Routes {
			routes[o.ID] = routes[o.ID] || o.ModelID == id
		}
		rows.Models = slices.DeleteFunc(slices.Clone(rows.Models), func(m store.ModelRow) bool { return m.ID == id })
		old := slices.Clone(rows.Routes)
		rows.Routes = slices.DeleteFunc(slices.Clone(rows.Routes), func(o store.RouteRow) bool { return o.ModelID == id })
		rows.Prices = slices.DeleteFunc(slices.Clone(rows.Prices), func(p store.PriceRow) bool { return p.ModelID == id || routes[p.RouteID] })
		if r.IntN(6) == 0 {
			return
		}
		m := store.ModelRow{ID: id, PublicID: fmt.Sprint("model-", id), PPM: price.PPM, MaxOutput: r.Int64N(9), Tags: [][]string{nil, {"chat"}, {"vision", "tools"}}[r.IntN(3)]}
		if r.IntN(3) == 0 {
			m.Aliases = []string{fmt.Sprint("alias-", id)}
			if r.IntN(3) == 0 {
				m.Aliases = append(m.Aliases, fmt.Sprint("alias-", r.IntN(3))) // may be another's
			}
		}
		if id%5 == 0 {
			m.AutoStrategy = []string{"cheapest", "fastest", "odd"}[r.IntN(3)]
			for range r.IntN(5) {
				m.AutoModels = append(m.AutoModels, fmt.Sprint([]string{"model-", "alias-"}[r.IntN(2)], 1+r.IntN(12)))
			}
			rows.Models = append(rows.Models, m)
			return
		}
		rows.Models = append(rows.Models, m)
		for range r.IntN(4) {
			nextRoute++
			route := store.RouteRow{ID: nextRoute, ModelID: id, ProviderID: int64(10 + r.IntN(3)), UpstreamModel: fmt.Sprint("up-", r.IntN(6)), Priority: r.Int32N(2), Weight: 1}
			for _, o := range old {
				if o.ModelID == id && o.ProviderID == route.ProviderID && o.UpstreamModel == route.UpstreamModel {
					route.ID = o.ID
				}
			}
			if slices.ContainsFunc(rows.Routes, func(o store.RouteRow) bool { return o.ID == route.ID }) {
				continue
			}
			rows.Routes = append(rows.Routes, route)
			if r.IntN(2) == 0 {
				nextPrice++
				rows.Prices = append(rows.Prices, store.PriceRow{RouteID: route.ID, Version: version(t, nextPrice, r.Int64N(9), "1", "2")})
			}
		}
		for range r.IntN(3) {
			nextPrice++
			p := store.PriceRow{ModelID: id, Version: version(t, nextPrice, r.Int64N(9), "1", "2")}
			if r.IntN(5) == 0 {
				p.Version.Base.Rates[0] = -1
			}
			rows.Prices = append(rows.Prices, p)
		}
	}
	for round := range 40 {
		rows := &store.CatalogRows{
			Revision: 1, Reading: new(store.Reading),
			Groups:    []store.GroupRow{{ID: 1, Name: "default", AllModels: true, PPM: price.PPM}},
			Providers: []store.ProviderRow{{ID: 10, Slug: "a", Protocol: "openai"}, {ID: 11, Slug: "b", Protocol: "anthropic"}, {ID: 12, Slug: "c", Protocol: "smtp"}},
			ProviderKeys: []store.ProviderKeyRow{
				{ID: 20, ProviderID: 10, Name: "main", Sealed: []byte("x")}, {ID: 21, ProviderID: 12, Name: "of none"},
			},
		}
		for id := int64(1); id <= 12; id++ {
			random(t, rows, id)
		}
		last, err := Build(rows, nil, openPlain)
		if err != nil {
			continue // two models of one name: another round
		}
		for step := range 30 {
			next := *rows
			next.Revision, next.Since, next.Reading, next.Renewed = rows.Revision+1, rows.Reading, new(store.Reading), nil
			for range r.IntN(4) {
				id := 1 + r.Int64N(12)
				if !slices.Contains(next.Renewed, id) {
					next.Renewed = append(next.Renewed, id)
				}
				random(t, &next, id)
			}
			before := inWords(last)
			got, err := Build(&next, last, func(*store.ProviderKeyRow) (string, error) { panic("a key is opened for a change of a model") })
			all := next
			all.Since = nil
			want, wantErr := Build(&all, last, openPlain)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("round %d, step %d: %v, want %v", round, step, err, wantErr)
			}
			if now := inWords(last); now != before {
				t.Fatalf("round %d, step %d: the snapshot before was changed:\n%s\nbefore\n%s", round, step, now, before)
			}
			if err != nil {
				continue
			}
			if got, want := inWords(got), inWords(want); got != want {
				t.Fatalf("round %d, step %d: renewed %v:\n%s\nwant\n%s", round, step, next.Renewed, got, want)
			}
			if err := whole(got); err != nil {
				t.Fatalf("round %d, step %d: %v", round, step, err)
			}
			for id, h := range healthOf(want) {
				// A live state of before is the same in both; what is new is new in each.
				if _, old := healthOf(last)[id]; old && healthOf(got)[id] != h {
					t.Fatalf("round %d, step %d: %+v lost its state", round, step, id)
				}
			}
			if old := healthOf(last); step%2 == 0 {
				for _, m := range got.ModelList {
					if m.Auto == nil && !slices.Contains(next.Renewed, m.RowID) && last.Models[m.ID] != m {
						t.Fatalf("%s was made anew (%d states)", m.ID, len(old))
					}
				}
			}
			rows, last = &next, got
		}
	}
}

// Rows of another reading than the snapshot's are built whole, whatever their revision says.
func TestRenewOnlyItsOwnReading(t *testing.T) {
	rows := exampleRows(t)
	rows.Reading = new(store.Reading)
	first := build(t, rows, nil)
	next := *rows
	next.Models = slices.Clone(next.Models)
	next.Models[1].MaxOutput = 77 // not told
	next.Since, next.Reading = new(store.Reading), new(store.Reading)
	if s := build(t, &next, first); s.Models["big"].MaxOutput != 77 {
		t.Error("the snapshot is of rows that are not the ones before")
	}
	next.Since = rows.Reading
	if s := build(t, &next, first); s.Models["big"].MaxOutput == 77 || s.Models["big"] != first.Models["big"] {
		t.Error("a model that did not change was made anew")
	}
}
