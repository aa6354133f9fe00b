package usage_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"sync"
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// listed is a provider's list price of a model: that of the shipped catalogue, what it
// lacks, or all of it, stated here.
type listed struct {
	catalogue string            // id or alias there, "" = not there
	prices    map[string]string // beside or instead, in the catalogue's units
}

var list = map[string]listed{
	"anthropic/claude-haiku-4.5":  {catalogue: "claude-haiku-4.5", prices: map[string]string{"searches": "0.01"}},
	"anthropic/claude-sonnet-4.6": {catalogue: "claude-sonnet-4.6"},
	"google/gemini-2.5-flash":     {catalogue: "gemini-2.5-flash"},
	"grok-4.3":                    {catalogue: "grok-4.3", prices: map[string]string{"searches": "0.005"}},
	// No longer sold, or sold without a price in the catalogue's source.
	"grok-3-mini":        {prices: map[string]string{"input": "0.3", "cache_read": "0.075", "output": "0.5"}},
	"grok-imagine-image": {prices: map[string]string{"images": "0.02"}},
	"sonar":              {prices: map[string]string{"input": "1", "output": "1", "request": "0.005"}},
	// The catalogue has another host's price of these weights.
	"openai/gpt-oss-20b": {prices: map[string]string{"input": "0.05", "output": "0.2"}},
}

// explained are the answers whose reported cost is not our charge: by how many
// nano-USD ours is more, and why.
var explained = map[string]struct {
	more     int64
	recorded bool
	why      string
}{
	"openai.chat--perplexity--chat-streaming-responses-perplexity-sonar-supports-streaming": {
		3_000, true, "8 + 5 tokens at 1 USD per million are 13 micro-USD; the provider rounds each part to 10 and shows 10 and 0",
	},
	"openai.chat--openrouter--cost-written-and-read": {
		-75_000, false, "900 x 0.083333 USD per million for five minutes of storage, on tokens that are counted once, as read: the house's",
	},
	"openai.chat--openrouter--stream": {
		-510_000, false, "a cost made up for the case: it takes 200 read and 40 written tokens for uncached ones",
	},
	"openai.chat--openrouter--stream-error": {
		540_000, false, "a stream that ends in an error is free at the provider; what the client pays for it is decided by its end, not by its usage",
	},
}

// Rulings 2.10: at the provider's list price our charge is what the provider says it
// charged, or the difference is explained.
func TestChargeIsWhatTheProviderSays(t *testing.T) {
	rows := maps.Clone(explained)
	recorded := false
	for _, p := range places(t) {
		recorded = recorded || p.recorded
		compared, odd := 0, 0
		used := map[string]bool{}
		for _, c := range load(t, p) {
			if c.Cost == "" {
				continue
			}
			used[c.Model] = true
			compared++
			more := charge(t, c)
			row, ok := explained[c.ID]
			delete(rows, c.ID)
			if ok {
				odd++
				fmt.Printf("usage: %s: charge - reported = %d nano-USD: %s\n", c.ID, row.more, row.why)
				more.Sub(more, new(big.Rat).SetInt64(row.more))
			}
			if more.Abs(more).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Errorf("%s: %s nano-USD are not explained", c.ID, more.FloatString(3))
			}
		}
		fmt.Printf("usage: %s: %d reported costs compared, %d explained\n", map[bool]string{false: "own", true: "recorded"}[p.recorded], compared, odd)
		if compared == 0 {
			t.Errorf("%s: no reported cost was compared", p.dir)
		}
		if p.dir != "testdata/cases" {
			continue
		}
		for model := range list {
			if !used[model] {
				t.Errorf("no own case has the price of %s", model)
			}
		}
	}
	for id, row := range rows {
		if recorded || !row.recorded {
			t.Errorf("%s is explained and is no case any more", id)
		}
	}
}

// charge is by how many nano-USD our charge is more than the cost that was reported.
func charge(t *testing.T, c *fixtures.Case) *big.Rat {
	t.Helper()
	var r usage.Reader
	r.Reset(formOf(t, c))
	feed(t, &r, c)
	units, source := r.Units()
	if source != usage.SourceReported {
		t.Fatalf("%s: source %s", c.ID, source)
	}
	units[usage.Request] = 1
	rule := &price.Rule{Version: versionOf(t, c.Model), ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	if set := rule.Unpriced(&units); set != 0 {
		t.Fatalf("%s: classes %b of %v have no price", c.ID, set, units)
	}
	amount, err := rule.Charge(&units)
	if err != nil {
		t.Fatal(err)
	}
	reported, ok := new(big.Rat).SetString(c.Cost)
	if !ok {
		t.Fatalf("%s: cost %q", c.ID, c.Cost)
	}
	reported.Mul(reported, big.NewRat(1_000_000_000, 1))
	return reported.Sub(new(big.Rat).SetInt64(int64(amount)), reported)
}

// versionOf is the list price of a model.
func versionOf(t *testing.T, model string) *price.Version {
	t.Helper()
	row, ok := list[model]
	if !ok {
		t.Fatalf("no list price of %s", model)
	}
	prices := map[string]string{}
	var v price.Version
	if row.catalogue != "" {
		m := find(t, row.catalogue)
		found, ok, err := m.PriceVersion()
		if err != nil || !ok {
			t.Fatalf("%s has no price in the catalogue: %v", row.catalogue, err)
		}
		v = found
		prices, _ = v.Base.Prices()
	}
	maps.Copy(prices, row.prices)
	table, err := price.ParseTable(prices, nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Base = *table.Resolve()
	return &v
}

var catalogue = sync.OnceValue(catalogfile.Default)

func find(t *testing.T, name string) *catalogfile.Model {
	t.Helper()
	f := catalogue()
	for i := range f.Models {
		m := &f.Models[i]
		if m.ID == name {
			return m
		}
		for _, alias := range m.Aliases {
			if alias == name {
				return m
			}
		}
	}
	t.Fatalf("%s is not in the catalogue", name)
	return nil
}

// The answer of a model that ran another one too is charged in parts, each at its own
// price (protocols 5).
func TestIterationsAreChargedAtTheirOwnModel(t *testing.T) {
	advisor, _ := json.Marshal(map[string]any{"usage": map[string]any{
		"input_tokens": 1000, "output_tokens": 100,
		"iterations": []map[string]any{
			{"type": "message", "input_tokens": 1000, "output_tokens": 100},
			{"type": "compaction", "input_tokens": 200, "output_tokens": 10},
			{"type": "advisor_message", "model": "claude-sonnet-4.6", "input_tokens": 500, "output_tokens": 20},
		},
	}})
	var r usage.Reader
	r.Reset(usage.FormMessages)
	if !r.Whole(advisor) {
		t.Fatal("not read")
	}
	units, _ := r.Units()
	total := int64(0)
	for i := range r.Others() {
		name, part := r.Other(i)
		total += at(t, string(name), &part)
		for c := range units {
			units[c] -= part[c]
		}
	}
	total += at(t, "claude-haiku-4.5", &units)
	// 1,200 x 1 + 110 x 5 of the answer's own model, 500 x 3 + 20 x 15 of the other.
	if total != 3_550_000 {
		t.Errorf("%d nano-USD, want 3550000", total)
	}
}

func at(t *testing.T, name string, u *usage.Units) int64 {
	t.Helper()
	v, _, err := find(t, name).PriceVersion()
	if err != nil {
		t.Fatal(err)
	}
	rule := &price.Rule{Version: &v, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	amount, err := rule.Charge(u)
	if err != nil {
		t.Fatal(err)
	}
	return int64(amount)
}
