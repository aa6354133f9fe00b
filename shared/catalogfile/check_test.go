package catalogfile

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What Check says of a catalogue is what Parse says of it when it is written: the same
// faults at the same places, or the same catalogue.
func TestCheckIsParse(t *testing.T) {
	outlined := 0
	f := func(name string, change func(*File)) {
		t.Helper()
		made := func() *File {
			file, err := Parse([]byte(whole))
			if err != nil {
				t.Fatal(err)
			}
			change(file)
			return file
		}
		checked := made()
		got := Check(checked)
		read, want := Parse(Marshal(made()))
		if a, b := places(got), places(want); !slices.Equal(a, b) {
			t.Errorf("%s: Check finds %q, Parse %q", name, a, b)
		}
		if file := made(); outline(t, file) {
			outlined++
			if a, b := places(Check(file)), places(want); !slices.Equal(a, b) {
				t.Errorf("%s: Check finds %q where the others are outlines, Parse %q", name, a, b)
			}
		}
		if want == nil && !reflect.DeepEqual(Marshal(checked), Marshal(read)) {
			t.Errorf("%s: Check makes of it\n%s\nParse\n%s", name, Marshal(checked), Marshal(read))
		}
		if want == nil && !slices.Equal(checked.Notes, read.Notes) {
			t.Errorf("%s: Check notes %q, Parse %q", name, checked.Notes, read.Notes)
		}
	}
	f("nothing", func(*File) {})
	f("name", func(f *File) { f.Models[0].ID = "GPT" })
	f("name twice", func(f *File) { f.Models[1].Aliases = []string{"gpt-5.2"} })
	f("empty", func(f *File) { f.Models[1].ID, f.Providers[0].Name, f.Groups[0].Name = "", "", "" })
	f("model twice", func(f *File) { f.Models = append(f.Models, f.Models[0]) })
	f("no provider", func(f *File) { f.Models[0].Routes[0].Provider = "nobody" })
	f("route twice", func(f *File) { f.Models[0].Routes = append(f.Models[0].Routes, f.Models[0].Routes[0]) })
	f("route's text", func(f *File) { f.Models[0].Routes[0].Model, f.Models[0].Routes[0].Region = "a\nb", "EU West" })
	f("route's numbers", func(f *File) { f.Models[0].Routes[0].Weight, f.Models[0].Routes[0].Priority = 1e9, 1e9 })
	f("below 0", func(f *File) {
		f.Models[0].ContextTokens, f.Models[0].MaxOutputTokens, f.Models[0].Multiplier = -1, -1, "x"
		f.Models[1].Routes[0].Priority, f.Models[1].Routes[0].Weight = -1, -1
		f.Models[0].PriceTiers[0].AboveInputTokens = -5
		f.Groups[1].RPM, f.Groups[1].TPM, f.Groups[1].MaxConcurrency = -1, -1, -1
	})
	f("no price", func(f *File) { f.Models[0].Price = nil })
	f("empty price", func(f *File) { f.Models[1].Price, f.Models[1].Free = Prices{}, []string{} })
	f("class", func(f *File) { f.Models[0].Price["inputs"] = "1" })
	f("price", func(f *File) { f.Models[0].Price["input"] = "-1" })
	f("empty number", func(f *File) { f.Models[0].Price["input"] = "" })
	f("cost", func(f *File) { f.Models[0].Routes[0].Cost["output"] = "1e3" })
	f("free", func(f *File) { f.Models[1].Free = nil })
	f("tier", func(f *File) { delete(f.Models[0].PriceTiers[0].Price, "cache_read") })
	f("tier's side", func(f *File) { delete(f.Models[0].PriceTiers[0].Price, "input") })
	f("tiers", func(f *File) { f.Models[0].PriceTiers = append(f.Models[0].PriceTiers, f.Models[0].PriceTiers[0]) })
	f("multiplier", func(f *File) { f.Models[0].Multiplier, f.Groups[1].Multiplier = "1001", "0.0000001" })
	f("tags", func(f *File) { f.Models[0].Tags = []string{"Chat", ""} })
	f("many", func(f *File) { f.Models[0].Aliases = slices.Repeat([]string{"a"}, 65) })
	f("too many faults", func(f *File) { f.Models = slices.Repeat([]Model{{ID: "A"}}, 100) })
	f("auto", func(f *File) {
		f.Models[3].Auto = &Auto{Strategy: "dearest", Models: []string{"auto", "gpt-6", "no-price", "emb", "emb"}}
	})
	f("empty auto", func(f *File) { f.Models[3].Auto = &Auto{} })
	f("auto with a price", func(f *File) { f.Models[0].Auto = &Auto{Strategy: "best", Models: []string{"emb"}} })
	f("provider", func(f *File) {
		p := &f.Providers[0]
		p.Name, p.Protocol, p.Dialect, p.BaseURL, p.DailyStopUSD = "chat", "http", "Open AI", "ftp://x", "-1"
		p.Options["version"], p.Keys[0].Secret, p.Keys[1].Name = "1", "two words", "main"
	})
	f("address", func(f *File) { f.Providers[0].BaseURL = "http://127.0.0.1:1/v1//" })
	f("bedrock", func(f *File) { f.Providers[0].Protocol, f.Providers[0].Options = "bedrock", map[string]string{} })
	f("group", func(f *File) {
		g := &f.Groups[1]
		g.Models, g.DailyUSD, g.TotalQuotaUSD, g.IPAllow, g.ExpiresAt = []string{"*", "gpt-6"}, "-1", "1e3", []string{"10.0.0.1/8", ""}, "tomorrow"
	})
	f("group twice", func(f *File) { f.Groups[1].Name = "default" })
	f("texts", func(f *File) {
		f.Providers[0].Keys[1].Secret, f.Models[0].Routes[0].Model, f.Models[1].Routes[0].Model = `a"b\c:#'{[*&!%@`, "null", "- é 模型: #"
	})
	f("aliases", func(f *File) { f.Models[0].Aliases = nil }) // a group and an auto model go by them
	f("auto of a model by an alias", func(f *File) {
		f.Models[3].Auto.Models = append(f.Models[3].Auto.Models, f.Models[0].Aliases[0])
	})
	if outlined < 20 {
		t.Errorf("%d changes were of one model", outlined)
	}
	f("too large", func(f *File) { f.Groups[0].Models = slices.Repeat([]string{"gpt-5.2"}, 2<<20) })
}

// outline makes outlines of all models but the one that is not as it was; false if that is
// not all that has changed.
func outline(t *testing.T, f *File) bool {
	was, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(was.Models) != len(f.Models) || !reflect.DeepEqual(was.Providers, f.Providers) || !reflect.DeepEqual(was.Groups, f.Groups) {
		return false
	}
	changed := 0
	for i := range f.Models {
		m := &f.Models[i]
		if !reflect.DeepEqual(*m, was.Models[i]) {
			changed++
			continue
		}
		*m = Model{ID: m.ID, Aliases: m.Aliases, Auto: m.Auto, Outline: map[bool]Outline{true: Priced, false: Unpriced}[len(m.Price) > 0]}
	}
	return changed == 1
}

// places are the faults of an error without their lines.
func places(err error) (list []string) {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	for _, err := range joined.Unwrap() {
		var fault *Error
		if errors.As(err, &fault) {
			list = append(list, fault.Path+": "+fault.Err.Error())
		}
	}
	slices.Sort(list) // classes stand in maps, and a text has an order of its own
	return list
}

// many is a catalogue of n models.
func many(n int) *File {
	var b strings.Builder
	b.WriteString("providers: [{name: demo, protocol: openai, base_url: \"http://127.0.0.1:1/v1\"}]\nmodels:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {id: model-%d, aliases: [other-%d], tags: [chat], context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: demo, model: up-%d, cost: {input: \"2\", output: \"9\"}}], price: {input: \"3\", cache_read: \"0.3\", output: \"15\"}}\n", i, i, i)
	}
	f, err := Parse([]byte(b.String()))
	if err != nil {
		panic(err)
	}
	return f
}

func BenchmarkCheck(b *testing.B) {
	f := many(1000)
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	f := many(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(Marshal(f)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshal(b *testing.B) {
	f := many(1000)
	b.ReportAllocs()
	for b.Loop() {
		Marshal(f)
	}
}
