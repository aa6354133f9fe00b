package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

func version(t testing.TB, id, effective int64, input, output string) price.Version {
	t.Helper()
	table, err := price.ParseTable(map[string]string{"input": input, "output": output}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return price.Version{ID: id, EffectiveAt: effective, Base: table}
}

func exampleRows(t testing.TB) *store.CatalogRows {
	return &store.CatalogRows{
		Revision: 7,
		Groups: []store.GroupRow{
			{ID: 1, Name: "default", AllModels: true, PPM: price.PPM, DailyUSD: store.None, TotalQuota: store.None},
			{ID: 2, Name: "small", Models: []string{"mini"}, PPM: 2 * price.PPM, RPM: 9, ExpiresAt: time.UnixMilli(5)},
		},
		Providers: []store.ProviderRow{
			{ID: 10, Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: "https://api.openai.com/v1/", DailyStop: 5},
			{ID: 11, Slug: "anthropic", Protocol: "anthropic", Paused: true, Options: map[string]string{"region": "us"}},
		},
		ProviderKeys: []store.ProviderKeyRow{
			{ID: 20, ProviderID: 10, Name: "main", Sealed: []byte("one")},
			{ID: 21, ProviderID: 10, Name: "spare", Sealed: []byte("two")},
			{ID: 22, ProviderID: 99, Name: "of a disabled provider"},
		},
		Models: []store.ModelRow{
			{ID: 30, PublicID: "mini", Aliases: []string{"mini-2025", "m"}, PPM: price.PPM, MaxOutput: 100, CreatedAt: time.Unix(1, 0)},
			{ID: 31, PublicID: "big", PPM: 3 * price.PPM, Tags: []string{"chat"}},
			{ID: 32, PublicID: "auto", PPM: price.PPM, AutoStrategy: "cheapest", AutoModels: []string{"m", "gone", "auto", "big"}},
		},
		Routes: []store.RouteRow{
			{ID: 41, ModelID: 30, ProviderID: 11, UpstreamModel: "claude", Priority: 1, Weight: 1},
			{ID: 42, ModelID: 30, ProviderID: 10, UpstreamModel: "gpt-mini", Priority: 0, Weight: 3, Region: "us"},
			{ID: 40, ModelID: 30, ProviderID: 10, UpstreamModel: "gpt-mini-b", Priority: 1, Weight: 1},
			{ID: 43, ModelID: 31, ProviderID: 10, UpstreamModel: "gpt-big"},
			{ID: 44, ModelID: 31, ProviderID: 98, UpstreamModel: "of a disabled provider"},
		},
		Prices: []store.PriceRow{
			{ModelID: 30, Version: version(t, 50, 1000, "1", "2")},
			{ModelID: 30, Version: version(t, 52, 3000, "5", "6")},
			{ModelID: 30, Version: version(t, 51, 2000, "3", "4")},
			{ModelID: 31, Version: version(t, 53, 1000, "10", "20")},
			{RouteID: 42, Version: version(t, 54, 1000, "0.5", "1")},
		},
	}
}

func openPlain(k *store.ProviderKeyRow) (string, error) { return "sk-" + string(k.Sealed), nil }

func build(t testing.TB, rows *store.CatalogRows, prev *Snapshot) *Snapshot {
	t.Helper()
	s, err := Build(rows, prev, openPlain)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBuild(t *testing.T) {
	s := build(t, exampleRows(t), nil)
	mini := s.Models["mini"]
	if s.Revision != 7 || mini == nil || s.Models["m"] != mini || s.Models["mini-2025"] != mini || len(s.Models) != 5 {
		t.Fatalf("models %v", s.Models)
	}
	if names := fmt.Sprint(s.ModelList[0].ID, s.ModelList[1].ID, s.ModelList[2].ID); names != "autobigmini" {
		t.Errorf("list %s", names)
	}
	if len(mini.Routes) != 3 || mini.Routes[0].ID != 42 || mini.Routes[1].ID != 40 || mini.Routes[2].ID != 41 {
		t.Errorf("routes %v", mini.Routes)
	}
	if r := mini.Routes[0]; r.Model != mini || r.Provider != s.Providers["openai"] || r.UpstreamModel != "gpt-mini" ||
		r.Weight != 3 || r.Region != "us" || len(r.Cost) != 1 || r.Cost[0].ID != 54 || r.Health == nil {
		t.Errorf("route %+v", r)
	}
	if len(mini.Prices) != 3 || mini.Prices[0].ID != 52 || mini.Prices[1].ID != 51 || mini.Prices[2].ID != 50 {
		t.Errorf("prices %v", mini.Prices)
	}
	if big := s.Models["big"]; len(big.Routes) != 1 || big.PPM != 3*price.PPM || len(big.Tags) != 1 {
		t.Errorf("big %+v", big)
	}
	openai := s.Providers["openai"]
	if openai.BaseURL != "https://api.openai.com/v1" || openai.Protocol != ProtocolOpenAI || openai.DailyStop != 5 ||
		len(openai.Keys) != 2 || string(openai.Keys[0].Secret) != "sk-one" || openai.Keys[0].Health == openai.Keys[1].Health {
		t.Errorf("provider %+v", openai)
	}
	if p := s.Providers["anthropic"]; !p.Paused || p.Options["region"] != "us" || p.Protocol != ProtocolAnthropic {
		t.Errorf("provider %+v", p)
	}
	if g := s.Groups[2]; g.AllModels || g.RPM != 9 || g.Expires != 5 || len(g.Models) != 1 || g.PPM != 2*price.PPM {
		t.Errorf("group %+v", g)
	}
	auto := s.Models["auto"].Auto
	if auto == nil || auto.Strategy != Cheapest || len(auto.Models) != 2 || auto.Models[0] != mini {
		t.Errorf("auto %+v", auto)
	}
	problems := strings.Join(s.Problems, "\n")
	if len(s.Problems) != 2 || !strings.Contains(problems, `"gone"`) || !strings.Contains(problems, "virtual itself") {
		t.Errorf("problems %s", problems)
	}
}

// A provider key's secret is nowhere in what is printed.
func TestSecretsDoNotPrint(t *testing.T) { // D15
	s := build(t, exampleRows(t), nil)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, *s.Providers["openai"].Keys[0]); strings.Contains(text, "sk-one") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// D5, ruling 3.8: the live state of a row outlives snapshots, and only its own.
func TestHealthIsCarriedOver(t *testing.T) {
	rows := exampleRows(t)
	first := build(t, rows, nil)
	rows.Routes = append(rows.Routes[1:], store.RouteRow{ID: 20, ModelID: 31, ProviderID: 10})
	rows.ProviderKeys = rows.ProviderKeys[:1]
	second := build(t, rows, first)
	health := func(s *Snapshot) map[int64]*Health {
		m := map[int64]*Health{}
		for _, model := range s.ModelList {
			for _, r := range model.Routes {
				m[r.ID] = r.Health
			}
		}
		return m
	}
	a, b := health(first), health(second)
	for _, id := range []int64{40, 42, 43} {
		if a[id] == nil || a[id] != b[id] {
			t.Errorf("route %d lost its state", id)
		}
	}
	key := first.Providers["openai"].Keys[0].Health
	if second.Providers["openai"].Keys[0].Health != key || b[20] == key || b[20] == nil {
		t.Error("provider key 20 and route 20 are mixed up")
	}
	rows.Routes = append(rows.Routes, store.RouteRow{ID: 41, ModelID: 30, ProviderID: 11})
	if health(build(t, rows, second))[41] == a[41] {
		t.Error("a route that was gone came back with its old state")
	}
}

// What cannot be used is left out and named; the rest serves.
func TestBuildLeavesOutWhatCannotBeUsed(t *testing.T) {
	rows := exampleRows(t)
	rows.Providers[1].Protocol = "smtp"
	rows.Prices[3].Version.Base.Rates[0] = -1 // of big
	s, err := Build(rows, nil, func(k *store.ProviderKeyRow) (string, error) {
		if k.ID == 20 {
			return "", errors.New("sealed under another key")
		}
		return "ok", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	problems := strings.Join(s.Problems, "\n")
	for _, want := range []string{`unknown protocol "smtp"`, "key main: sealed under another key", "price 53"} {
		if !strings.Contains(problems, want) {
			t.Errorf("%q is not in %s", want, problems)
		}
	}
	if len(s.Models["mini"].Routes) != 2 || len(s.Providers["openai"].Keys) != 1 || len(s.Models["big"].Prices) != 0 {
		t.Error("more or less than the bad rows was left out")
	}
}

// What would make requests go astray is refused as a whole.
func TestBuildRefusesTwoMeaningsOfOneName(t *testing.T) {
	for name, spoil := range map[string]func(*store.CatalogRows){
		"alias of two models": func(r *store.CatalogRows) { r.Models[1].Aliases = []string{"m"} },
		"alias is a model":    func(r *store.CatalogRows) { r.Models[1].Aliases = []string{"mini"} },
		"model twice":         func(r *store.CatalogRows) { r.Models[1].PublicID = "mini" },
		"provider twice":      func(r *store.CatalogRows) { r.Providers[1].Slug = "openai" },
	} {
		rows := exampleRows(t)
		spoil(rows)
		if _, err := Build(rows, nil, openPlain); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	rows := exampleRows(t)
	rows.Models[0].Aliases = append(rows.Models[0].Aliases, "m", "mini") // the same model again is the same
	build(t, rows, nil)
}
