package catalogfile

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// named are the model names that the source documents promise: S0-10, S2-5, S3-8,
// S1-B9, and the two of S1's examples.
var named = strings.Fields(`
	gpt-5.2 gpt-5 gpt-5-mini gpt-5.4-mini claude-sonnet-4.5 claude-haiku-4.5 claude-opus-4.5 deepseek-v3.2 kimi-k2-thinking glm-4.6
	gpt-4o gpt-4o-mini claude-opus-4-1 claude-sonnet-4-5 claude-haiku-4-5 gemini-2.5-pro gemini-2.0-flash deepseek-chat deepseek-reasoner mistral-large codestral
	gpt-5.5 gpt-5.4 gpt-5.4-mini gpt-5.4-nano claude-opus-4-7 claude-sonnet-4-6 gemini-3.5-flash gemini-3.1-pro-preview deepseek-v4-pro qwen3-235b-a22b
	qwen-plus qwen-max`)

func find(f *File, name string) *Model {
	for i := range f.Models {
		if m := &f.Models[i]; m.ID == name || slices.Contains(m.Aliases, name) {
			return m
		}
	}
	return nil
}

// S0-10, S2-5, S3-8: every named model is there, can be called and has a price.
func TestDefaultNamesEveryPromisedModel(t *testing.T) {
	f := Default()
	for _, name := range named {
		m := find(f, name)
		if m == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if len(m.Routes) == 0 || len(m.Price) == 0 || m.MaxOutputTokens == 0 || m.ContextTokens == 0 || !slices.Contains(m.Tags, "chat") {
			t.Errorf("%s lacks a route, a price, a limit or the chat tag: %+v", name, m)
		}
	}
	auto := find(f, "auto-chat-balanced")
	if auto == nil || auto.Auto == nil || auto.Auto.Strategy != "balanced" || len(auto.Auto.Models) < 2 {
		t.Errorf("auto-chat-balanced (S1-B9) is not an auto model: %+v", auto)
	}
}

// C19: both spellings of a version reach the same model.
func TestDefaultSpellings(t *testing.T) {
	f := Default()
	for _, pair := range [][2]string{
		{"claude-sonnet-4.5", "claude-sonnet-4-5"},
		{"claude-opus-4.7", "claude-opus-4-7"},
		{"gpt-5.2", "gpt-5-2"},
		{"gpt-5.4-mini", "gpt-5-4-mini"},
		{"gemini-2.5-pro", "gemini-2-5-pro"},
		{"deepseek-v3.2", "deepseek-v3-2"},
		{"glm-4.6", "glm-4-6"},
		{"mistral-large", "mistral-large-latest"},
		{"claude-haiku-4-5", "claude-haiku-4-5-20251001"},
	} {
		a, b := find(f, pair[0]), find(f, pair[1])
		if a == nil || a != b {
			t.Errorf("%s and %s are not one model", pair[0], pair[1])
		}
	}
}

// Parse refuses doubles already; this holds it for the shipped file by itself.
func TestDefaultNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, m := range Default().Models {
		for _, name := range append([]string{m.ID}, m.Aliases...) {
			if other, ok := seen[name]; ok {
				t.Errorf("%s names %s and %s", name, other, m.ID)
			}
			seen[name] = m.ID
		}
	}
	if len(seen) < 200 {
		t.Errorf("only %d names", len(seen))
	}
}

func TestDefaultPrices(t *testing.T) {
	f := Default()
	for i := range f.Models {
		m := &f.Models[i]
		v, priced, err := m.PriceVersion()
		if err != nil {
			t.Errorf("%s: %v", m.ID, err)
			continue
		}
		if !priced {
			continue
		}
		if slices.Contains(m.Tags, "moderation") {
			// Judging costs nothing at the provider: free on purpose, and nothing else is.
			if v.Base.Free != 1<<usage.Input || v.Base.Set&^v.Base.Free != 0 {
				t.Errorf("%s: %+v", m.ID, v.Base)
			}
			continue
		}
		for _, tier := range append([]price.Tier{{Table: v.Base}}, v.Tiers...) {
			if tier.Table.Rates[usage.Input] <= 0 {
				t.Errorf("%s: input is free above %d", m.ID, tier.AboveInput)
			}
			if tier.Table.Rates[usage.Output] <= 0 && !slices.Contains(m.Tags, "embedding") {
				t.Errorf("%s: output is free above %d", m.ID, tier.AboveInput)
			}
			// Ruling 1.18: no cache class is free, the dearest is a write.
			for _, c := range []usage.Class{usage.CacheRead, usage.CacheWrite, usage.CacheWrite1h} {
				if tier.Table.Rates[c] <= 0 {
					t.Errorf("%s: %s is free", m.ID, c)
				}
			}
			if tier.Table.Rates[usage.CacheRead] > tier.Table.Rates[usage.Input] {
				t.Errorf("%s: a cached token costs more than a fresh one", m.ID)
			}
		}
	}
	for _, want := range []struct {
		model string
		class usage.Class
		rate  price.Rate // pico-USD per token
	}{
		{"gpt-5.2", usage.Input, 1_750_000},
		{"gpt-5.2", usage.CacheRead, 175_000},
		{"gpt-5.2", usage.Output, 14_000_000},
		{"claude-sonnet-4.5", usage.CacheWrite, 3_750_000},
		{"claude-sonnet-4.5", usage.CacheWrite1h, 6_000_000},
		{"deepseek-v3.2", usage.CacheRead, 2_800},
		{"deepseek-v4-pro", usage.CacheRead, 3_625},
		{"glm-4.6", usage.CacheWrite, 600_000}, // 0 in the data is "no extra fee"
		{"gpt-5-mini", usage.Output, 2_000_000},
	} {
		v, _, _ := find(f, want.model).PriceVersion()
		if v.Base.Rates[want.class] != want.rate {
			t.Errorf("%s %s costs %d, want %d", want.model, want.class, v.Base.Rates[want.class], want.rate)
		}
	}
	if v, _, _ := find(f, "gpt-5.4").PriceVersion(); len(v.Tiers) != 1 || v.Tiers[0].AboveInput != 272000 || v.Tiers[0].Table.Rates[usage.Output] != 22_500_000 {
		t.Errorf("gpt-5.4 lacks its tier: %+v", v.Tiers)
	}
}

// interface 1: ten providers, each with the key of its variable.
func TestDefaultProviders(t *testing.T) {
	f := Default()
	env := map[string]string{
		"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "deepseek": "DEEPSEEK_API_KEY",
		"mistral": "MISTRAL_API_KEY", "dashscope": "DASHSCOPE_API_KEY", "moonshot": "MOONSHOT_API_KEY", "zai": "ZAI_API_KEY",
		"xai": "XAI_API_KEY", "groq": "GROQ_API_KEY",
	}
	for i := range f.Providers {
		p := &f.Providers[i]
		if len(p.Keys) != 1 || p.Keys[0].Secret != "env:"+env[p.Name] {
			t.Errorf("%s: keys %v", p.Name, p.Keys)
		}
		delete(env, p.Name)
		if u, err := url.Parse(p.BaseURL); err != nil || u.Scheme != "https" {
			t.Errorf("%s: %s is not https", p.Name, p.BaseURL)
		}
		stated := p.Dialect
		p.Dialect = ""
		if DialectOf(p) != stated {
			t.Errorf("%s: the host gives dialect %s, the file %s", p.Name, DialectOf(p), stated)
		}
	}
	if len(env) > 0 {
		t.Errorf("missing: %v", env)
	}
}

// A round trip through Marshal changes nothing, and is stable.
func TestDefaultRoundTrip(t *testing.T) {
	first := Marshal(Default())
	f, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if second := Marshal(f); string(second) != string(first) {
		t.Error("the second writing differs from the first")
	}
	if !strings.HasSuffix(string(defaultYAML), string(first)) {
		t.Error("default.yaml is not what Marshal writes")
	}
}
