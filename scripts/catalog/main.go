// Command catalog writes the shipped catalogue from a snapshot of models.dev, so
// that limits and prices are computed and never typed by hand. It runs when a new
// snapshot is taken, not in a build:
//
//	go run ./scripts/catalog -in models.json -out shared/catalogfile/default.yaml
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// The snapshot, as far as it is used.
type snapshot struct {
	Source string  `json:"source"`
	Models []entry `json:"models"`
}

type entry struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Status   string `json:"status"`
	Limit    struct {
		Context int64 `json:"context"`
		Output  int64 `json:"output"`
	} `json:"limit"`
	Modalities struct {
		Input  []string `json:"input"`
		Output []string `json:"output"`
	} `json:"modalities"`
	Capabilities struct {
		Reasoning        bool `json:"reasoning"`
		ToolCall         bool `json:"tool_call"`
		StructuredOutput bool `json:"structured_output"`
	} `json:"capabilities"`
	Prices map[string]json.RawMessage `json:"usd_per_million_tokens"`
}

// providers in the order of the file: ours, the snapshot's name, and the account.
var providers = []struct {
	slug, source, protocol, dialect, baseURL, env string
}{
	{"openai", "openai", "openai", "openai", "https://api.openai.com/v1", "OPENAI_API_KEY"},
	{"anthropic", "anthropic", "anthropic", "anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"},
	{"gemini", "google", "gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"},
	{"deepseek", "deepseek", "openai", "deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"},
	{"mistral", "mistral", "openai", "mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"},
	{"dashscope", "alibaba", "openai", "qwen", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"},
	{"moonshot", "moonshotai", "openai", "moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"},
	{"zai", "zai", "openai", "zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"},
	{"xai", "xai", "openai", "xai", "https://api.x.ai/v1", "XAI_API_KEY"},
	{"groq", "groq", "openai", "groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"},
}

var (
	// left out: sold over other interfaces (realtime, video, classifiers), previews of
	// speech and pictures whose prices the snapshot does not split, and the oldest.
	leftOut = regexp.MustCompile(`realtime|prompt-guard|-tts$|imagine|livetranslate|^qwen2-5|^open-mi|-asr-|^gemma-|orpheus|-image-preview$|^gemini-2\.5-flash-image$|^groq/compound`)
	// models that their maker serves on /v1/responses only.
	responsesOnly = regexp.MustCompile(`^(o1-pro|o3-pro|gpt-.*-pro|gpt-.*codex.*|.*deep-research)$`)
	dated         = regexp.MustCompile(`^(claude-.*)-20\d{6}$`)
	dotted        = regexp.MustCompile(`(\d)\.(\d)`)
	dashed        = regexp.MustCompile(`-(\d)-(\d)(-|$)`)
	embedding     = regexp.MustCompile(`embed`)
)

// deprecated models that are still asked for by name.
var stillServed = []string{"gemini-2.0-flash"}

// sameAs are public names that the snapshot lacks and that another model's route
// and price serve.
var sameAs = []struct{ id, of string }{{"deepseek-v3.2", "deepseek-chat"}}

// unpriced models are known by name; they refuse until an operator sets a price,
// because the snapshot has none in the unit they are sold in.
var unpriced = []struct {
	id   string
	tags []string
}{
	{"gpt-image-1", []string{"image"}},
	{"gpt-image-1-mini", []string{"image"}},
	{"gpt-image-1.5", []string{"image"}},
	{"gpt-image-2", []string{"image"}},
	{"gpt-4o-mini-transcribe", []string{"audio", "transcription"}},
	{"gpt-4o-transcribe", []string{"audio", "transcription"}},
	{"whisper-1", []string{"audio", "transcription"}},
	{"gpt-4o-mini-tts", []string{"audio", "speech"}},
	{"tts-1", []string{"audio", "speech"}},
	{"tts-1-hd", []string{"audio", "speech"}},
}

// free models cost nothing at their provider, and nothing here.
var free = []struct {
	id   string
	tags []string
}{{"omni-moderation-latest", []string{"moderation"}}}

func main() {
	in := flag.String("in", "", "the snapshot, a JSON file")
	out := flag.String("out", "", "the catalogue to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		slog.Error("cannot write the catalogue", "error", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	data, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("cannot read %s: %w", in, err)
	}
	f, err := build(&s)
	if err != nil {
		return err
	}
	body := catalogfile.Marshal(f)
	if _, err := catalogfile.Parse(body); err != nil {
		return fmt.Errorf("the result is not a catalogue: %w", err)
	}
	head := "# The catalogue that Token Relay ships: ten providers and the models they serve.\n" +
		"# Written by scripts/catalog; limits and prices from " + s.Source + ".\n" +
		"# Prices are USD per million tokens. A model without a price is refused until one is set.\n"
	return os.WriteFile(out, append([]byte(head), body...), 0o644)
}

func build(s *snapshot) (*catalogfile.File, error) {
	f := &catalogfile.File{
		Groups: []catalogfile.Group{{Name: "default", Models: []string{"*"}, Multiplier: "1.0"}},
	}
	for _, p := range providers {
		f.Providers = append(f.Providers, catalogfile.Provider{
			Name: p.slug, Protocol: p.protocol, Dialect: p.dialect, BaseURL: p.baseURL,
			Keys: []catalogfile.ProviderKey{{Name: "main", Secret: "env:" + p.env}},
		})
		var models []catalogfile.Model
		for i := range s.Models {
			e := &s.Models[i]
			if e.Provider != p.source || skip(e) {
				continue
			}
			m, err := model(e, p.slug)
			if err != nil {
				return nil, fmt.Errorf("model %s: %w", e.Model, err)
			}
			models = append(models, *m)
		}
		if p.slug == "openai" {
			for _, u := range unpriced {
				models = append(models, catalogfile.Model{
					ID: u.id, Tags: u.tags, Routes: []catalogfile.Route{{Provider: p.slug, Model: u.id}},
				})
			}
		}
		if p.slug == "openai" {
			for _, u := range free {
				models = append(models, catalogfile.Model{
					ID: u.id, Tags: u.tags, Routes: []catalogfile.Route{{Provider: p.slug, Model: u.id}},
					Price: catalogfile.Prices{usage.Input.String(): "0"}, Free: []string{usage.Input.String()},
				})
			}
		}
		slices.SortFunc(models, func(a, b catalogfile.Model) int { return strings.Compare(a.ID, b.ID) })
		f.Models = append(f.Models, models...)
	}
	for _, same := range sameAs {
		i := slices.IndexFunc(f.Models, func(m catalogfile.Model) bool { return m.ID == same.of })
		if i < 0 {
			return nil, errors.New("there is no model " + same.of)
		}
		m := f.Models[i]
		m.ID, m.Aliases = same.id, nil
		f.Models = slices.Insert(f.Models, i+1, m)
	}
	foldDated(s, f)
	addSpellings(f)
	f.Models = append(f.Models, catalogfile.Model{
		ID: "auto-chat-balanced", Tags: []string{"auto", "chat"},
		Auto: &catalogfile.Auto{Strategy: "balanced", Models: []string{"gpt-5-mini", "claude-haiku-4.5", "deepseek-v3.2"}},
	})
	return f, nil
}

func skip(e *entry) bool {
	if e.Status == "deprecated" && !slices.Contains(stillServed, e.Model) {
		return true
	}
	if leftOut.MatchString(e.Model) || dated.MatchString(e.Model) {
		return true
	}
	// Free of charge at the supplier: not resold for nothing.
	return len(e.Prices) == 0 || string(e.Prices["input"]) == "0" || slices.Contains(e.Modalities.Output, "image")
}

func model(e *entry, provider string) (*catalogfile.Model, error) {
	m := &catalogfile.Model{
		// A supplier's "-latest" is the model's plain name here, and an alias.
		ID:            strings.TrimSuffix(e.Model, "-latest"),
		ContextTokens: e.Limit.Context,
		Routes:        []catalogfile.Route{{Provider: provider, Model: e.Model}},
	}
	if provider != "mistral" {
		m.ID = e.Model
	}
	if m.ID != e.Model {
		m.Aliases = append(m.Aliases, e.Model)
	}
	var err error
	if m.Price, err = prices(e.Prices, provider); err != nil {
		return nil, err
	}
	if embedding.MatchString(e.Model) {
		// The snapshot's "output" of an embedding model is its dimensions.
		m.Tags = []string{"embedding"}
		delete(m.Price, "output")
		m.Free = []string{"output"}
		return m, nil
	}
	m.MaxOutputTokens = e.Limit.Output
	m.Tags = tags(e)
	var tiers []struct {
		Tier struct {
			Size int64 `json:"size"`
		} `json:"tier"`
	}
	var rows []map[string]json.RawMessage
	if raw, ok := e.Prices["tiers"]; ok {
		if err := errors.Join(json.Unmarshal(raw, &tiers), json.Unmarshal(raw, &rows)); err != nil {
			return nil, err
		}
	}
	for i, row := range rows {
		delete(row, "tier")
		p, err := prices(row, provider)
		if err != nil {
			return nil, err
		}
		m.PriceTiers = append(m.PriceTiers, catalogfile.Tier{AboveInputTokens: tiers[i].Tier.Size, Price: p})
	}
	return m, nil
}

var classOf = map[string]usage.Class{
	"input": usage.Input, "output": usage.Output, "cache_read": usage.CacheRead, "cache_write": usage.CacheWrite,
	"reasoning": usage.Reasoning, "input_audio": usage.AudioIn, "output_audio": usage.AudioOut,
}

// prices turns numbers into decimals by class. A zero for a cache class means "no
// extra fee", which is the input price, and an absent class costs that.
func prices(from map[string]json.RawMessage, provider string) (catalogfile.Prices, error) {
	to := catalogfile.Prices{}
	for name, raw := range from {
		if name == "tiers" {
			continue
		}
		class, ok := classOf[name]
		if !ok {
			return nil, fmt.Errorf("unknown price %q", name)
		}
		rate, err := price.ParseRate(class, string(raw))
		if err != nil {
			return nil, err
		}
		if rate == 0 {
			continue
		}
		to[class.String()] = catalogfile.Decimal(price.FormatRate(class, rate))
	}
	if provider == "anthropic" {
		// An hour's cache write costs twice the input; the snapshot has five minutes' only.
		rate, err := price.ParseRate(usage.Input, string(to["input"]))
		if err != nil {
			return nil, err
		}
		to[usage.CacheWrite1h.String()] = catalogfile.Decimal(price.FormatRate(usage.CacheWrite1h, 2*rate))
	}
	return to, nil
}

func tags(e *entry) []string {
	list := []string{"chat"}
	if responsesOnly.MatchString(e.Model) {
		list = []string{"responses"}
	}
	for _, in := range []struct{ modality, tag string }{{"image", "vision"}, {"audio", "audio"}, {"video", "video"}, {"pdf", "files"}} {
		if slices.Contains(e.Modalities.Input, in.modality) {
			list = append(list, in.tag)
		}
	}
	if e.Capabilities.ToolCall {
		list = append(list, "tools")
	}
	if e.Capabilities.Reasoning {
		list = append(list, "reasoning")
	}
	if e.Capabilities.StructuredOutput {
		list = append(list, "structured-output")
	}
	return list
}

// foldDated makes claude-x-20250929 an alias of claude-x, whose price it has.
func foldDated(s *snapshot, f *catalogfile.File) {
	for i := range s.Models {
		m := dated.FindStringSubmatch(s.Models[i].Model)
		if m == nil || s.Models[i].Status == "deprecated" {
			continue
		}
		base := m[1]
		if regexp.MustCompile(`^claude-(opus|sonnet)-4$`).MatchString(base) {
			base += "-0"
		}
		for j := range f.Models {
			if f.Models[j].ID == base {
				f.Models[j].Aliases = append(f.Models[j].Aliases, s.Models[i].Model)
			}
		}
	}
}

// addSpellings gives every name its dot and dash spelling (C19), where no other
// model has it.
func addSpellings(f *catalogfile.File) {
	taken := map[string]bool{}
	for i := range f.Models {
		for _, name := range append([]string{f.Models[i].ID}, f.Models[i].Aliases...) {
			taken[name] = true
		}
	}
	for i := range f.Models {
		m := &f.Models[i]
		for _, name := range append([]string{m.ID}, m.Aliases...) {
			dash := dotted.ReplaceAllString(name, "$1-$2")
			dot := name
			if strings.HasPrefix(name, "claude-") {
				dot = dashed.ReplaceAllString(name, "-$1.$2$3")
			}
			for _, spelling := range []string{dash, dot} {
				if !taken[spelling] {
					taken[spelling] = true
					m.Aliases = append(m.Aliases, spelling)
				}
			}
		}
		slices.Sort(m.Aliases)
	}
}
