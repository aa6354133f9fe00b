//go:build !race

package catalog

import (
	"context"
	"testing"
)

func TestHitsAllocateNothing(t *testing.T) {
	db := newTable()
	db.put(1, nil)
	c := newCatalog(t, Options{Store: db})
	s := build(t, exampleRows(t), nil)
	c.Publish(s)
	c.Revoke(99)
	key, mini, ctx := warm(t, c, 1), s.Models["mini"], context.Background()
	d := key.Digest
	c.Rule(key, mini, 1000)
	c.Health(mini.Routes[0])
	c.rules.Wait()
	c.health.Wait()
	if n := testing.AllocsPerRun(10_000, func() {
		k, err := c.Key(ctx, &d)
		if err != nil || c.Snapshot() != s || c.Rule(k, mini, 1000) == nil || c.Health(mini.Routes[0]) == nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("%v allocations for a request's look-ups", n)
	}
	if db.count() != 1 {
		t.Errorf("%d look-ups: these were no hits", db.count())
	}
}
