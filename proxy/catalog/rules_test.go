package catalog

import (
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/price"
)

func ruleKey() *Key { return &Key{ID: 1, ClientID: 5, ClientPPM: 1_500_000, GroupID: 2} }

func TestRuleHasVersionAndMultipliers(t *testing.T) {
	c := newCatalog(t, Options{})
	s := build(t, exampleRows(t), nil)
	c.Publish(s)
	mini, key := s.Models["mini"], ruleKey()
	for range 3 { // missed, then hit
		for now, want := range map[int64]int64{1000: 50, 1999: 50, 2000: 51, 3000: 52, 1 << 60: 52} {
			r := c.Rule(key, mini, now)
			if r == nil || r.Version.ID != want || r.ModelPPM != price.PPM || r.GroupPPM != 2*price.PPM || r.ClientPPM != 1_500_000 {
				t.Fatalf("at %d: %+v, want version %d", now, r, want)
			}
			c.rules.Wait()
		}
	}
	if r := c.Rule(key, mini, 999); r != nil {
		t.Errorf("a price before its time: %+v", r)
	}
	if r := c.Rule(key, s.Models["auto"], 5000); r != nil {
		t.Errorf("a model without a price has a rule: %+v", r)
	}
	unknown := *key
	unknown.GroupID = 77
	if r := c.Rule(&unknown, mini, 1000); r != nil {
		t.Errorf("a group that nobody knows has a rule: %+v", r)
	}
}

// F7, D6: a request keeps the rule of its snapshot; another one gets the new rule at
// once, whatever the cache holds.
func TestRuleFollowsSnapshotAndClient(t *testing.T) {
	c := newCatalog(t, Options{})
	rows := exampleRows(t)
	old := build(t, rows, nil)
	c.Publish(old)
	key := ruleKey()
	before := c.Rule(key, old.Models["mini"], 1000)
	c.rules.Wait()

	rows.Revision++
	rows.Groups[1].PPM = 7
	rows.Models[0].PPM = 8
	rows.Prices[0].Version = version(t, 60, 1000, "9", "9")
	fresh := build(t, rows, old)
	c.Publish(fresh)
	after := c.Rule(key, fresh.Models["mini"], 1000)
	c.rules.Wait()
	if after.Version.ID != 60 || after.GroupPPM != 7 || after.ModelPPM != 8 {
		t.Errorf("%+v", after)
	}
	if again := c.Rule(key, old.Models["mini"], 1000); again.Version.ID != 50 || again.GroupPPM != 2*price.PPM {
		t.Errorf("the old snapshot's rule became %+v", again)
	}
	if before.Version.ID != 50 || before.GroupPPM != 2*price.PPM {
		t.Errorf("a rule in use became %+v", before)
	}
	other := *key
	other.ClientPPM, other.GroupID = 42, 1
	if r := c.Rule(&other, fresh.Models["mini"], 1000); r.ClientPPM != 42 || r.GroupPPM != price.PPM {
		t.Errorf("%+v", r)
	}
}

// D5: with a cache that keeps next to nothing, every rule is still the right one.
func TestTinyCacheNeverChangesARule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Int64Range(1, 3).Draw(rt, "cache size")
		c, err := New(Options{CachedKeys: size, CachedRules: size})
		if err != nil {
			rt.Fatal(err)
		}
		defer c.Close()
		rows := exampleRows(t)
		c.Publish(build(t, rows, nil))
		rt.Repeat(map[string]func(*rapid.T){
			"ask": func(rt *rapid.T) {
				key := &Key{
					ClientID: rapid.Int64Range(1, 4).Draw(rt, "client"), ClientPPM: rapid.Int64Range(1, 3).Draw(rt, "ppm"),
					GroupID: rapid.Int64Range(1, 3).Draw(rt, "group"),
				}
				m := c.Snapshot().ModelList[rapid.IntRange(0, 2).Draw(rt, "model")]
				now := rapid.Int64Range(900, 3100).Draw(rt, "now")
				got := c.Rule(key, m, now)
				v, g := price.Pick(m.Prices, now), c.Snapshot().Groups[key.GroupID]
				if (v == nil || g == nil) != (got == nil) {
					rt.Fatalf("rule %+v, want version %v and group %v", got, v, g)
				}
				if got != nil && *got != (price.Rule{Version: v, ModelPPM: m.PPM, GroupPPM: g.PPM, ClientPPM: key.ClientPPM}) {
					rt.Fatalf("rule %+v of version %+v, want %+v", got, got.Version, v)
				}
			},
			"change": func(rt *rapid.T) {
				rows.Revision++
				rows.Models[rapid.IntRange(0, 2).Draw(rt, "model")].PPM++
				rows.Groups[rapid.IntRange(0, 1).Draw(rt, "group")].PPM++
				c.Publish(build(t, rows, c.Snapshot()))
			},
			"settle": func(*rapid.T) { c.rules.Wait() },
		})
	})
}

func TestHealthIsTheSharedOne(t *testing.T) {
	c := newCatalog(t, Options{})
	rows := exampleRows(t)
	first := build(t, rows, nil)
	r := first.Models["mini"].Routes[0]
	for range 3 {
		if c.Health(r) != r.Health {
			t.Fatal("another route's state")
		}
		c.health.Wait()
	}
	second := build(t, rows, first).Models["mini"].Routes[0]
	if c.Health(second) != r.Health {
		t.Error("the state was lost with the snapshot")
	}
	alien := build(t, rows, nil).Models["mini"].Routes[0]
	if c.Health(alien) == r.Health {
		t.Error("a cached state was taken for that of another object")
	}
}

func TestCostRule(t *testing.T) {
	s := build(t, exampleRows(t), nil)
	routes := s.Models["mini"].Routes
	if r, ok := CostRule(routes[0], 1000); !ok || r.Version.ID != 54 || r.ModelPPM != price.PPM || r.ClientPPM != price.PPM {
		t.Errorf("%+v %v", r, ok)
	}
	if r, ok := CostRule(routes[1], 2500); !ok || r.Version.ID != 51 {
		t.Errorf("without a price of its own: %+v %v", r, ok)
	}
	if _, ok := CostRule(routes[0], 1); ok {
		t.Error("a cost before its time")
	}
}
