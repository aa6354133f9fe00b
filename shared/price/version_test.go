package price

import (
	"strings"
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	at := func(ms int64, id int64) *Version { return &Version{ID: id, EffectiveAt: ms} }
	versions := []*Version{at(300, 3), at(200, 2), at(100, 1), at(200, 5), at(200, 4)}
	for now, want := range map[int64]int64{99: 0, 100: 1, 199: 1, 200: 5, 299: 5, 300: 3, 1 << 60: 3} {
		got := Pick(versions, now)
		switch {
		case got == nil && want != 0, got != nil && got.ID != want:
			t.Errorf("at %d: %v, want version %d", now, got, want)
		}
	}
	if Pick(nil, 1<<60) != nil {
		t.Error("a version was picked of none")
	}
}

func TestValidate(t *testing.T) {
	table := func(prices map[string]string, free ...string) Table {
		parsed, err := ParseTable(prices, free)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	base := table(map[string]string{"input": "1", "output": "2", "cache_read": "0.1"})
	full := table(map[string]string{"input": "2", "output": "4", "cache_read": "0.2"})
	lacking := table(map[string]string{"input": "2", "output": "4"})
	freeTier := table(map[string]string{"input": "2", "output": "4"}, "cache_read")
	raw := func(change func(*Table)) Version {
		v := Version{Base: base}
		change(&v.Base)
		return v
	}
	for name, c := range map[string]struct {
		v  Version
		ok bool
	}{
		"base":                   {Version{Base: base}, true},
		"tier":                   {Version{Base: base, Tiers: []Tier{{200_000, full}}}, true},
		"tier with a free class": {Version{Base: base, Tiers: []Tier{{200_000, freeTier}}}, true},
		"tier lacks a class":     {Version{Base: base, Tiers: []Tier{{200_000, lacking}}}, false}, // D1
		"no price":               {Version{}, false},
		"descending":             {Version{Base: base, Tiers: []Tier{{2, full}, {1, full}}}, false},
		"twice":                  {Version{Base: base, Tiers: []Tier{{2, full}, {2, full}}}, false},
		"tier above 0":           {Version{Base: base, Tiers: []Tier{{0, full}}}, false},
		"negative":               {raw(func(t *Table) { t.Rates[0] = -1 }), false},
		"too dear":               {raw(func(t *Table) { t.Rates[0] = MaxRate + 1 }), false},
		"0 and not free":         {raw(func(t *Table) { t.Rates[0] = 0 }), false}, // F6
	} {
		if err := c.v.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseTable(map[string]string{"input": "1"}, []string{"input"}); err == nil {
		t.Error("a class was priced and free at once")
	}
	if _, err := ParseTable(map[string]string{"input": "0"}, []string{"input"}); err != nil {
		t.Errorf("0 was refused for a free class: %v", err)
	}
	if _, err := ParseTable(nil, []string{"nothing"}); err == nil {
		t.Error("an unknown class was made free")
	}
}

func TestVersionStringForm(t *testing.T) {
	table, err := ParseTable(map[string]string{"input": "1.25", "output": "10"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &Rule{
		Version:  &Version{ID: 4711, EffectiveAt: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), Base: table},
		ModelPPM: PPM, GroupPPM: PPM, ClientPPM: PPM,
	}
	got := VersionString(r)
	at, digits, ok := strings.Cut(got, "Z-")
	if !ok || at != "2026-03-01T00:00:00" || len(digits) != 8 || strings.Trim(digits, "0123456789abcdef") != "" {
		t.Errorf("price version %q", got)
	}
	if strings.Contains(got, "4711") {
		t.Errorf("price version %q names the row", got)
	}
}

func TestErrorsOfBrokenRules(t *testing.T) {
	table, err := ParseTable(map[string]string{"input": "1", "output": "1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &Rule{Version: &Version{Base: table}, ModelPPM: -1, GroupPPM: PPM, ClientPPM: PPM}
	b := &Bound{InputTokens: 1, OutputTokens: 1}
	if _, err := r.Ceiling(b); err == nil {
		t.Error("a negative multiplier gave a ceiling")
	}
	if r.OutputFor(b, 1000) != -1 {
		t.Error("a negative multiplier gave output")
	}
	r.ModelPPM = PPM
	b.InputTokens = -1
	if _, err := r.Ceiling(b); err == nil {
		t.Error("a negative bound gave a ceiling")
	}
	if r.OutputFor(b, 1000) != -1 || r.OutputFor(&Bound{}, -1) != -1 {
		t.Error("a negative bound or budget gave output")
	}
}
