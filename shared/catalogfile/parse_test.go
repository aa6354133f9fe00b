package catalogfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const whole = `
providers:
  - name: openai
    protocol: openai
    dialect: openai
    base_url: https://api.openai.com/v1/
    keys: [{name: main, secret: "env:OPENAI_API_KEY"}, {name: spare, secret: sk-literal}]
    options: {api_version: "2024-10-21"}
    daily_stop_usd: 500
models:
  - id: gpt-5.2
    aliases: [gpt-5-2]
    tags: [chat, vision]
    context_tokens: 400000
    max_output_tokens: 128000
    routes: [{provider: openai, model: gpt-5.2, priority: 0, weight: 1, region: us, cost: {input: "0", output: 7}}]
    price: {input: "1.75", cache_read: 0.175, output: "14"}
    price_tiers: [{above_input_tokens: 272000, input: "3.5", cache_read: "0.35", output: "21"}]
    multiplier: "1.0"
  - id: emb
    routes: [{provider: openai, model: emb}]
    price: {input: "0.02", output: "0"}
    free: [output]
  - id: no-price
    routes: [{provider: openai, model: Some/Model Name}]
  - id: auto
    auto: {strategy: balanced, models: [gpt-5-2]}
groups:
  - {name: default, models: ["*"], multiplier: "1.0", rpm: 0, tpm: 0}
  - {name: Tier 2, models: [gpt-5.2, emb], daily_usd: "12.5", ip_allow: [10.0.0.0/8, "::1"], max_concurrency: 4, expires_at: "2027-01-01T00:00:00Z"}
`

func TestParseSuccess(t *testing.T) {
	f, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if p := f.Providers[0]; p.BaseURL != "https://api.openai.com/v1" || p.DailyStopUSD != "500" || p.Keys[1].Secret != "sk-literal" || p.Options["api_version"] != "2024-10-21" {
		t.Errorf("provider: %+v", p)
	}
	m := f.Models[0]
	if m.Price["cache_read"] != "0.175" || m.PriceTiers[0].Price["output"] != "21" || m.PriceTiers[0].AboveInputTokens != 272000 || m.MaxOutputTokens != 128000 {
		t.Errorf("model: %+v", m)
	}
	if v, ok, err := m.Routes[0].CostVersion(); err != nil || !ok || v.Base.IsZero() {
		t.Errorf("cost: %v %v", ok, err)
	}
	if _, ok, err := f.Models[2].PriceVersion(); ok || err != nil {
		t.Error("a model without a price has one")
	}
	if ppm, err := m.Multiplier.PPM(); ppm != 1_000_000 || err != nil {
		t.Errorf("multiplier: %d %v", ppm, err)
	}
}

// The JSON form is the same catalogue, also when it is indented with tabs.
func TestParseJSON(t *testing.T) {
	f, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for _, indent := range []string{"", "  ", "\t"} {
		body, err := json.MarshalIndent(f, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(body)
		if err != nil {
			t.Fatalf("indent %q: %v", indent, err)
		}
		if !reflect.DeepEqual(f, again) {
			t.Errorf("indent %q: differs", indent)
		}
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	f, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	// Texts that YAML would take for something else without quotes.
	f.Providers[0].Keys[1].Secret = `a"b\c:#'{[*&!%@`
	f.Models[0].Routes[0].Model = "null"
	f.Models[1].Routes[0].Model = "0x1F"
	f.Models[2].Routes[0].Model = "- é 模型: #"
	again, err := Parse(Marshal(f))
	if err != nil {
		t.Fatalf("%v\n%s", err, Marshal(f))
	}
	// The default number 0 is not written, and reads as 0.
	if !reflect.DeepEqual(f, again) {
		t.Errorf("differs:\n%+v\n%+v", f, again)
	}
}

// D: a bad catalogue is refused with the line and the reason.
func TestParseFailure(t *testing.T) {
	f := func(data, wantLine, wantReason string) {
		t.Helper()
		_, err := Parse([]byte(data))
		if err == nil {
			t.Errorf("accepted, want %q:\n%s", wantReason, data)
			return
		}
		if !strings.HasPrefix(err.Error(), wantLine) || !strings.Contains(err.Error(), wantReason) {
			t.Errorf("got %q, want %q … %q", err, wantLine, wantReason)
		}
	}
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not in the example", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	f("", "cannot read", "empty")
	f("# nothing\n", "cannot read", "empty")
	f("models: [", "line 1", "")
	f("models:\n\t- id: x\n", "line 2", "")
	f("- a\n- b\n", "line 1", "must be a mapping")
	f("models: {}\n---\nmodels: []\n", "line ", "")
	f("models: []\n---\nmodels: []\n", "line 3", "one document")
	f("modells: []\n", "line 1", "unknown field")
	f("models: []\nmodels: []\n", "line 2", "")
	f("a: &a {id: x}\nmodels: [*a]\n", "line 1", "")
	f("models: [{id: &x y}]\n", "line 1", "must be a text")
	f("models: [{id: !!str y}]\n", "line 1", "must be a text")
	f("\xff", "cannot read", "UTF-8")
	f(change("protocol: openai", "protocol: http"), "line 4", "not one of openai")
	f(change("name: openai", "name: chat"), "line 3", "name of an endpoint")
	f(change("base_url: https://api.openai.com/v1/", "base_url: ftp://x/"), "line 6", "not an address")
	f(change("base_url: https://api.openai.com/v1/", "base_url: https://user:pw@x/"), "line 6", "not an address")
	f(change("name: spare", "name: main"), "line 7", "stands twice")
	f(change("sk-literal", `"sk literal"`), "line 7", "blank")
	f(change("api_version", "version"), "line 8", "unknown option")
	f(change("daily_stop_usd: 500", "daily_stop_usd: -1"), "line 9", "")
	f(change("daily_stop_usd: 500", "daily_stop_usd: 1e3"), "line 9", "")
	f(change("id: gpt-5.2\n", "id: GPT-5.2\n"), "line 11", "not a model name")
	f(change("[gpt-5-2]", "[emb]"), "line ", "already a name")
	f(change("context_tokens: 400000", "context_tokens: \"400000\""), "line 14", "whole number")
	f(change("context_tokens: 400000", "context_tokens: -1"), "line 14", "whole number")
	f(change("context_tokens: 400000", "context_tokens: 4.5"), "line 14", "whole number")
	f(change("{provider: openai, model: gpt-5.2, priority", "{provider: nobody, model: gpt-5.2, priority"), "line 16", "no provider")
	f(change(`input: "1.75"`, `inputs: "1.75"`), "line 17", "not a usage class")
	f(change(`input: "1.75"`, `input: "-1.75"`), "line 17", "")
	f(change(`input: "1.75"`, `input: "1e-3"`), "line 17", "")
	f(change(`input: "1.75"`, `input: "1000001"`), "line 17", "")
	f(change(`input: "1.75"`, `input: "0"`), "line 17", "")
	f(change(`input: "1.75"`, `input: true`), "line 17", "text")
	f(change(`input: "1.75"`, `input:`), "line 17", "")
	f(change("272000, input: \"3.5\",", "272000,"), "line 18", "lacks input")
	f(change("above_input_tokens: 272000", "above_input_tokens: 0"), "line 18", "must be above 0")
	f(change(`multiplier: "1.0"`, `multiplier: "1001"`), "line 19", "above 1000")
	f(change(`multiplier: "1.0"`, `multiplier: "0.0000001"`), "line 19", "six places")
	f(change("free: [output]", "free: [outputs]"), "line 23", "not a usage class")
	f(change("free: [output]", "tags: [free]"), "line 22", "")
	f(change("strategy: balanced", "strategy: dearest"), "line 27", "not one of balanced")
	f(change("models: [gpt-5-2]", "models: [auto]"), "line 27", "auto model itself")
	f(change("models: [gpt-5-2]", "models: [gpt-6]"), "line 27", "no model")
	f(change("models: [gpt-5-2]", "models: [no-price]"), "line 27", "has no price")
	f(change("models: [gpt-5-2]", "models: [gpt-5-2, gpt-5.2]"), "line 27", "stands twice")
	f(change(`models: ["*"]`, `models: ["*", emb]`), "line 29", "beside names")
	f(change("10.0.0.0/8", "10.0.0.1/8"), "line 30", "not an address or a CIDR")
	f(change("2027-01-01T00:00:00Z", "tomorrow"), "line 30", "not a time")
	f(change("name: Tier 2", "name: default"), "line 30", "stands twice")
}

// The fault of a secret does not show it.
func TestParseFailureKeepsSecrets(t *testing.T) {
	_, err := Parse([]byte("providers: [{name: a, protocol: openai, base_url: http://h, keys: [{name: k, secret: \"top secret\"}]}]"))
	if err == nil || strings.Contains(err.Error(), "top") {
		t.Errorf("got %v", err)
	}
}

// Faults are many, the list of them is short.
func TestParseManyFaults(t *testing.T) {
	_, err := Parse([]byte("models:\n" + strings.Repeat("  - {id: A}\n", 1000)))
	if n := strings.Count(err.Error(), "\n"); n > 60 {
		t.Errorf("%d lines", n)
	}
}

func TestResolveSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &File{Providers: []Provider{{Name: "p", Keys: []ProviderKey{
		{Name: "a", Secret: "env:HERE"}, {Name: "b", Secret: "env:GONE"}, {Name: "c", Secret: "file:" + path}, {Name: "d", Secret: "literal"}, {Name: "e"},
	}}}}
	missing, err := f.ResolveSecrets(func(name string) (string, bool) {
		return map[string]string{"HERE": "from-env"}[name], name == "HERE"
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range f.Providers[0].Keys {
		got = append(got, k.Secret)
	}
	if want := []string{"from-env", "", "from-file", "literal", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"p/b: GONE is not set"}; !reflect.DeepEqual(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	f.Providers[0].Keys[0].Secret = "file:" + path + ".gone"
	if _, err := f.ResolveSecrets(os.LookupEnv); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestPPM(t *testing.T) {
	f := func(text string, want int64, ok bool) {
		t.Helper()
		got, err := Decimal(text).PPM()
		if (err == nil) != ok || got != want {
			t.Errorf("%q: %d %v, want %d", text, got, err, want)
		}
	}
	f("", 1_000_000, true)
	f("1", 1_000_000, true)
	f("1.0", 1_000_000, true)
	f("0.000001", 1, true)
	f("1000", 1_000_000_000, true)
	f("0", 0, true)
	f("1000.000001", 0, false)
	f("1.", 0, false)
	f(".5", 0, false)
	f("-1", 0, false)
	f("+1", 0, false)
	f("1e3", 0, false)
	f("1.0000001", 0, false)
}

func TestDialectOf(t *testing.T) {
	f := func(p Provider, want string) {
		t.Helper()
		if got := DialectOf(&p); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
	f(Provider{Dialect: "azure", BaseURL: "https://api.openai.com/v1"}, "azure")
	f(Provider{Protocol: "openai", BaseURL: "https://me.openai.azure.com/openai"}, "azure")
	f(Provider{Protocol: "openai", BaseURL: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"}, "qwen")
	f(Provider{Protocol: "openai", BaseURL: "https://evil-api.openai.com.example/v1"}, "openai")
	f(Provider{Protocol: "anthropic", BaseURL: "http://127.0.0.1:9/v1"}, "anthropic")
}

// Interface 4's own example: a tier may leave out what follows from its input or
// output price. What that comes to is said.
func TestTierTakesItsSide(t *testing.T) {
	f, err := Parse([]byte(`
providers: [{name: openai, protocol: openai, base_url: "https://api.openai.com/v1", keys: []}]
models:
  - id: gpt-5.2
    context_tokens: 400000
    max_output_tokens: 128000
    routes: [{provider: openai, model: gpt-5.2}]
    price: {input: "1.75", cache_read: "0.175", output: "14"}
    price_tiers: [{above_input_tokens: 272000, input: "3.5", output: "21"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Models[0].PriceTiers[0].Price["cache_read"]; got != "3.5" {
		t.Fatalf("cache_read of the tier is %q", got)
	}
	if len(f.Notes) != 1 || !strings.Contains(f.Notes[0], "cache_read") {
		t.Fatalf("notes %q", f.Notes)
	}
	if v, ok, err := f.Models[0].PriceVersion(); err != nil || !ok || v.Validate() != nil {
		t.Fatalf("%v %v", ok, err)
	}
}
