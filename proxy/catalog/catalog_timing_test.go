package catalog

import (
	"context"
	"testing"
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
