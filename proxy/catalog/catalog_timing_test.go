package catalog

import (
	"context"
	"fmt"
	"testing"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

func BenchmarkKeyHit(b *testing.B) {
	db := newTable()
	db.put(1, nil)
	c := newCatalog(b, Options{Store: db})
	d := warm(b, c, 1).Digest
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Key(ctx, &d); err != nil {
				b.Fail()
			}
		}
	})
}

func BenchmarkRuleHit(b *testing.B) {
	c := newCatalog(b, Options{})
	s := build(b, exampleRows(b), nil)
	c.Publish(s)
	key, m := ruleKey(), s.Models["mini"]
	c.Rule(key, m, 1000)
	c.rules.Wait()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if c.Rule(key, m, 1000) == nil {
				b.Fail()
			}
		}
	})
}

func BenchmarkHealthHit(b *testing.B) {
	c := newCatalog(b, Options{})
	r := build(b, exampleRows(b), nil).Models["mini"].Routes[0]
	c.Health(r)
	c.health.Wait()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = c.Health(r)
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	c := newCatalog(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Snapshot()
	}
}

// BenchmarkBuild makes a snapshot of 1,000 models with two routes, a price and a cost each,
// and ten auto models of 64, from the one before.
// thousand is a catalogue of 1,000 models with two routes each, and ten virtual ones.
func thousand(b *testing.B) *store.CatalogRows {
	rows := &store.CatalogRows{Revision: 1, Reading: new(store.Reading), Providers: []store.ProviderRow{{ID: 1, Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: "https://api.openai.com/v1/"}}}
	for i := int64(1); i <= 1000; i++ {
		rows.Models = append(rows.Models, store.ModelRow{ID: i, PublicID: fmt.Sprintf("model-%d", i), Aliases: []string{fmt.Sprintf("other-%d", i)}, PPM: price.PPM, Tags: []string{"chat"}})
		rows.Routes = append(rows.Routes,
			store.RouteRow{ID: 2 * i, ModelID: i, ProviderID: 1, UpstreamModel: fmt.Sprintf("up-%d", i), Weight: 1},
			store.RouteRow{ID: 2*i + 1, ModelID: i, ProviderID: 1, UpstreamModel: fmt.Sprintf("second-%d", i), Weight: 1, Priority: 1})
		rows.Prices = append(rows.Prices, store.PriceRow{ModelID: i, Version: version(b, 2*i, 1000, "1", "2")}, store.PriceRow{RouteID: 2 * i, Version: version(b, 2*i+1, 1000, "0.5", "1")})
	}
	for i := range 10 {
		auto := store.ModelRow{ID: int64(2000 + i), PublicID: fmt.Sprintf("auto-%d", i), PPM: price.PPM, AutoStrategy: "cheapest"}
		for j := range MaxCandidates {
			auto.AutoModels = append(auto.AutoModels, fmt.Sprintf("model-%d", 900+j))
		}
		rows.Models = append(rows.Models, auto)
	}
	return rows
}

func BenchmarkBuild(b *testing.B) {
	rows := thousand(b)
	s := build(b, rows, nil)
	b.ReportAllocs()
	for b.Loop() {
		s = build(b, rows, s)
	}
}

// One model of 1,000 has changed.
func BenchmarkBuildRenewed(b *testing.B) {
	rows := thousand(b)
	s := build(b, rows, nil)
	rows.Renewed = []int64{500}
	b.ReportAllocs()
	for b.Loop() {
		rows.Since, rows.Reading = rows.Reading, new(store.Reading)
		s = build(b, rows, s)
	}
}
