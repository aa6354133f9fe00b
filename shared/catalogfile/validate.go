package catalogfile

import (
	"errors"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tokenrelay/shared/config"
	"tokenrelay/shared/usage"
)

// Protocols are the wire formats an upstream may speak.
var Protocols = []string{"openai", "anthropic", "gemini", "dashscope", "bedrock", "cohere"}

// Strategies are the ways an auto model chooses.
var Strategies = []string{"balanced", "cheapest", "fastest", "best"}

// Reserved are first path segments behind /v1/ that cannot be provider slugs (C3),
// because they name endpoints.
var Reserved = []string{
	"chat", "completions", "messages", "responses", "embeddings", "audio", "images", "models",
	"moderations", "rerank", "files", "batches", "realtime", "streams", "dashboard",
}

var (
	modelName = regexp.MustCompile(`^[a-z0-9._:/-]{1,128}$`)
	slug      = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	label     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$`)
)

// Limits of a catalogue, so that a wrong file cannot become a slow relay.
const (
	maxList = 10000
	maxKeys = 1000
	maxWay  = 64 // routes, aliases, tags, tiers of one model
)

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// Check holds a catalogue that was made, not read, to the rules of Parse, and completes it
// as Parse does: what the two refuse, and why, is the same, without lines here. A
// catalogue that is checked at every change of one of its things need not be written and
// read for that, which takes a hundred times as long.
func Check(f *File) error {
	d := new(decoder)
	numbers(f, d)
	if len(d.faults) == 0 {
		validate(f, d)
		f.Notes = d.notes
	}
	if len(d.faults) > 0 {
		return errors.Join(d.faults...)
	}
	if room(f) > MaxBytes && len(Marshal(f)) > MaxBytes {
		return errTooLarge
	}
	return nil
}

// room is at least what the catalogue takes when it is written.
func room(f *File) (n int) {
	text := func(list ...string) {
		for _, s := range list {
			n += 6*len(s) + 32 // escaped, and the name of what it is
		}
	}
	prices := func(p Prices) {
		for class, v := range p {
			text(class, string(v))
		}
	}
	for i := range f.Providers {
		p := &f.Providers[i]
		text(p.Name, p.Protocol, p.Dialect, p.BaseURL, string(p.DailyStopUSD))
		for name, v := range p.Options {
			text(name, v)
		}
		for j := range p.Keys {
			text(p.Keys[j].Name, p.Keys[j].Secret)
		}
	}
	for i := range f.Models {
		m := &f.Models[i]
		text(m.ID, string(m.Multiplier), "two numbers", "")
		text(m.Aliases...)
		text(m.Tags...)
		text(m.Free...)
		prices(m.Price)
		for j := range m.Routes {
			r := &m.Routes[j]
			text(r.Provider, r.Model, r.Region, "two numbers", "")
			prices(r.Cost)
		}
		for j := range m.PriceTiers {
			text("a number")
			prices(m.PriceTiers[j].Price)
		}
		if m.Auto != nil {
			text(m.Auto.Strategy)
			text(m.Auto.Models...)
		}
	}
	for i := range f.Groups {
		g := &f.Groups[i]
		text(g.Name, string(g.Multiplier), string(g.DailyUSD), string(g.TotalQuotaUSD), g.ExpiresAt, "three numbers", "", "")
		text(g.Models...)
		text(g.IPAllow...)
	}
	return n
}

// numbers refuses what a file cannot say: a number below 0.
func numbers(f *File, d *decoder) {
	whole := func(at, name string, n int64) {
		if n < 0 {
			d.fault(at+"."+name, "must be a whole number, 0 or more")
		}
	}
	for i := range f.Models {
		m, at := &f.Models[i], index("models", i)
		whole(at, "context_tokens", m.ContextTokens)
		whole(at, "max_output_tokens", m.MaxOutputTokens)
		for j := range m.Routes {
			whole(index(at+".routes", j), "priority", m.Routes[j].Priority)
			whole(index(at+".routes", j), "weight", m.Routes[j].Weight)
		}
		for j := range m.PriceTiers {
			whole(index(at+".price_tiers", j), "above_input_tokens", m.PriceTiers[j].AboveInputTokens)
		}
	}
	for i := range f.Groups {
		g, at := &f.Groups[i], index("groups", i)
		whole(at, "rpm", g.RPM)
		whole(at, "tpm", g.TPM)
		whole(at, "max_concurrency", g.MaxConcurrency)
	}
}

func validate(f *File, d *decoder) {
	providers := map[string]bool{}
	for i := range f.Providers {
		p, at := &f.Providers[i], index("providers", i)
		if providers[p.Name] {
			d.fault(at+".name", "provider %q stands twice", p.Name)
		}
		providers[p.Name] = true
		p.validate(d, at)
	}
	names := map[string]int{} // model id or alias → index of the model
	for i := range f.Models {
		m, at := &f.Models[i], index("models", i)
		for j, name := range append([]string{m.ID}, m.Aliases...) {
			where := at + ".id"
			if j > 0 {
				where = index(at+".aliases", j-1)
			}
			if m.Outline == NoOutline && !modelName.MatchString(name) {
				d.fault(where, "%q is not a model name: 1 to 128 of a-z 0-9 . _ : / -", name)
			}
			if other, ok := names[name]; ok {
				d.fault(where, "%q is already a name of model %q", name, f.Models[other].ID)
				continue
			}
			names[name] = i
		}
	}
	for i := range f.Models {
		if m := &f.Models[i]; m.Outline == NoOutline || m.Auto != nil {
			m.validate(d, index("models", i), f, providers, names)
		}
	}
	groups := map[string]bool{}
	for i := range f.Groups {
		g, at := &f.Groups[i], index("groups", i)
		if groups[g.Name] {
			d.fault(at+".name", "group %q stands twice", g.Name)
		}
		groups[g.Name] = true
		g.validate(d, at, names)
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"providers", len(f.Providers)}, {"models", len(f.Models)}, {"groups", len(f.Groups)}} {
		if list.n > maxList {
			d.fault(list.name, "has %d entries, at most %d are allowed", list.n, maxList)
		}
	}
}

func (p *Provider) validate(d *decoder, at string) {
	switch {
	case !slug.MatchString(p.Name):
		d.fault(at+".name", "%q is not a provider name: 1 to 64 of a-z 0-9 - _", p.Name)
	case slices.Contains(Reserved, p.Name):
		d.fault(at+".name", "%q is the name of an endpoint and cannot be a provider", p.Name)
	}
	if !slices.Contains(Protocols, p.Protocol) {
		d.fault(at+".protocol", "%q is not one of %s", p.Protocol, strings.Join(Protocols, ", "))
	}
	if p.Dialect != "" && !slug.MatchString(p.Dialect) {
		d.fault(at+".dialect", "%q is not a dialect name", p.Dialect)
	}
	if u, err := url.Parse(p.BaseURL); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		d.fault(at+".base_url", "%q is not an address like https://api.example.com/v1", p.BaseURL)
	}
	p.BaseURL = strings.TrimRight(p.BaseURL, "/")
	if u, err := url.Parse(p.BaseURL); err == nil && p.Protocol == "bedrock" && p.Options["region"] == "" && !strings.HasPrefix(u.Hostname(), "bedrock-runtime") {
		d.fault(at+".options.region", "is missing: the address does not tell the region, as https://bedrock-runtime.REGION.amazonaws.com does")
	}
	for name := range p.Options {
		if !slices.Contains([]string{"api_version", "region", "auth", "incremental_output"}, name) {
			d.fault(at+".options."+name, "unknown option; there are api_version, region, auth, incremental_output")
		}
	}
	if len(p.Keys) > maxKeys {
		d.fault(at+".keys", "has %d entries, at most %d are allowed", len(p.Keys), maxKeys)
	}
	seen := map[string]bool{}
	for i := range p.Keys {
		k, where := &p.Keys[i], index(at+".keys", i)
		if !label.MatchString(k.Name) {
			d.fault(where+".name", "%q is not a key name", k.Name)
		}
		if seen[k.Name] {
			d.fault(where+".name", "key %q stands twice", k.Name)
		}
		seen[k.Name] = true
		// The fault does not show the secret.
		if err := p.checkSecret(k.Secret); err != nil {
			d.fault(where+".secret", "%w", err)
		}
	}
	amount(d, at+".daily_stop_usd", p.DailyStopUSD)
}

func amount(d *decoder, at string, v Decimal) {
	a, given, err := v.USD()
	switch {
	case err != nil:
		d.fault(at, "%w", err)
	case given && a < 0:
		d.fault(at, "is negative")
	}
}

func multiplier(d *decoder, at string, v Decimal) {
	if _, err := v.PPM(); err != nil {
		d.fault(at, "%w", err)
	}
}

func (m *Model) validate(d *decoder, at string, f *File, providers map[string]bool, names map[string]int) {
	for _, list := range []struct {
		name string
		n    int
	}{{"aliases", len(m.Aliases)}, {"tags", len(m.Tags)}, {"routes", len(m.Routes)}, {"price_tiers", len(m.PriceTiers)}} {
		if list.n > maxWay {
			d.fault(at+"."+list.name, "has %d entries, at most %d are allowed", list.n, maxWay)
		}
	}
	for i, tag := range m.Tags {
		if !slug.MatchString(tag) {
			d.fault(index(at+".tags", i), "%q is not a tag: 1 to 64 of a-z 0-9 - _", tag)
		}
	}
	multiplier(d, at+".multiplier", m.Multiplier)
	if m.Auto != nil {
		m.validateAuto(d, at, f, names)
		return
	}
	seen := map[[2]string]bool{}
	for i := range m.Routes {
		r, where := &m.Routes[i], index(at+".routes", i)
		if !providers[r.Provider] {
			d.fault(where+".provider", "there is no provider %q in this file", r.Provider)
		}
		if r.Model == "" || len(r.Model) > 256 || strings.ContainsFunc(r.Model, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			d.fault(where+".model", "must be the upstream's id of the model, at most 256 bytes")
		}
		if r.Region != "" && !slug.MatchString(r.Region) {
			d.fault(where+".region", "%q is not a region name", r.Region)
		}
		if r.Weight > 1000000 || r.Priority > 1000 {
			d.fault(where, "weight is at most 1000000 and priority at most 1000")
		}
		if seen[[2]string{r.Provider, r.Model}] {
			d.fault(where, "the route to %q at %q stands twice", r.Model, r.Provider)
		}
		seen[[2]string{r.Provider, r.Model}] = true
		classes(d, where+".cost", r.Cost)
		if _, _, err := r.CostVersion(); err != nil {
			d.fault(where+".cost", "%w", err)
		}
	}
	m.validatePrice(d, at)
}

func (m *Model) validatePrice(d *decoder, at string) {
	classes(d, at+".price", m.Price)
	for i, class := range m.Free {
		if _, ok := usage.ParseClass(class); !ok {
			d.fault(index(at+".free", i), "%q is not a usage class", class)
		}
	}
	if len(m.Price) == 0 && (len(m.PriceTiers) > 0 || len(m.Free) > 0) {
		d.fault(at+".price", "is missing, but price_tiers or free are given")
		return
	}
	above := int64(0)
	complete := true
	for i := range m.PriceTiers {
		t, where := &m.PriceTiers[i], index(at+".price_tiers", i)
		classes(d, where, t.Price)
		if t.AboveInputTokens <= above {
			d.fault(where+".above_input_tokens", "must be above %d: tiers ascend", above)
		}
		above = t.AboveInputTokens
		for _, class := range slices.Sorted(maps.Keys(m.Price)) {
			if _, ok := t.Price[class]; ok {
				continue
			}
			// The rule of price holds in a tier too (interface: an absent input-side class
			// costs input, an output-side one output). It is written out here, because in
			// the books a tier names every class that its base names (D1).
			side, known := sideOf(class)
			whole, ok := t.Price[side]
			if !known || !ok || class == side {
				d.fault(where, "lacks %s, which price names", class)
				complete = false
				continue
			}
			t.Price[class] = whole
			d.note("model %s: the tier above %d tokens names no %s: it costs the tier's %s, %s", m.ID, t.AboveInputTokens, class, side, whole)
		}
		for class := range t.Price {
			if _, ok := m.Price[class]; !ok {
				d.fault(where, "names %s, which price does not", class)
				complete = false
			}
		}
	}
	if !complete {
		return
	}
	if _, _, err := m.PriceVersion(); err != nil {
		d.fault(at+".price", "%w", err)
	}
}

func classes(d *decoder, at string, p Prices) {
	for class := range p {
		if _, ok := usage.ParseClass(class); !ok {
			d.fault(at+"."+class, "is not a usage class")
		}
	}
}

func (m *Model) validateAuto(d *decoder, at string, f *File, names map[string]int) {
	if len(m.Routes) > 0 || len(m.Price) > 0 || len(m.PriceTiers) > 0 || len(m.Free) > 0 {
		d.fault(at+".auto", "an auto model has no routes and no price of its own")
	}
	if !slices.Contains(Strategies, m.Auto.Strategy) {
		d.fault(at+".auto.strategy", "%q is not one of %s", m.Auto.Strategy, strings.Join(Strategies, ", "))
	}
	if len(m.Auto.Models) == 0 || len(m.Auto.Models) > maxWay {
		d.fault(at+".auto.models", "must name 1 to %d models", maxWay)
	}
	seen := map[int]bool{}
	for i, name := range m.Auto.Models {
		target, ok := names[name]
		where := index(at+".auto.models", i)
		switch {
		case !ok:
			d.fault(where, "there is no model %q in this file", name)
		case f.Models[target].Auto != nil:
			d.fault(where, "%q is an auto model itself", name)
		case seen[target]:
			d.fault(where, "model %q stands twice", f.Models[target].ID)
		case !f.Models[target].priced():
			d.fault(where, "model %q has no price", name)
		}
		seen[target] = ok
	}
}

func (g *Group) validate(d *decoder, at string, names map[string]int) {
	if !label.MatchString(g.Name) {
		d.fault(at+".name", "%q is not a group name", g.Name)
	}
	for i, name := range g.Models {
		if _, ok := names[name]; !ok && name != "*" {
			d.fault(index(at+".models", i), "there is no model %q in this file", name)
		}
	}
	if slices.Contains(g.Models, "*") && len(g.Models) > 1 {
		d.fault(at+".models", `has "*" beside names: "*" is all models`)
	}
	multiplier(d, at+".multiplier", g.Multiplier)
	amount(d, at+".daily_usd", g.DailyUSD)
	amount(d, at+".total_quota_usd", g.TotalQuotaUSD)
	for i, cidr := range g.IPAllow {
		if list, err := config.ParsePrefixes(cidr); err != nil || len(list) != 1 {
			d.fault(index(at+".ip_allow", i), "%q is not an address or a CIDR", cidr)
		}
	}
	if _, err := g.Expires(); err != nil {
		d.fault(at+".expires_at", "%w", err)
	}
}

// dialects by the host of a provider's address: exact, or the end of the host where it
// begins with a dot or a dash.
var dialects = []struct{ host, dialect string }{
	{"api.openai.com", "openai"},
	{".openai.azure.com", "azure"},
	{".cognitiveservices.azure.com", "azure"},
	{".services.ai.azure.com", "azure"},
	{"api.anthropic.com", "anthropic"},
	{"generativelanguage.googleapis.com", "gemini"},
	{"aiplatform.googleapis.com", "vertex"},
	{"-aiplatform.googleapis.com", "vertex"},
	{"api.deepseek.com", "deepseek"},
	{"api.mistral.ai", "mistral"},
	{".aliyuncs.com", "qwen"},
	{"api.moonshot.ai", "moonshot"},
	{"api.moonshot.cn", "moonshot"},
	{"api.z.ai", "zai"},
	{"open.bigmodel.cn", "zai"},
	{"api.x.ai", "xai"},
	{"api.groq.com", "groq"},
	{"openrouter.ai", "openrouter"},
	{"api.perplexity.ai", "perplexity"},
	{"api.cohere.com", "cohere"},
}

// DialectOf returns the provider's dialect: the one it states, else the one its host
// is known for, else its protocol's name.
func DialectOf(p *Provider) string {
	if p.Dialect != "" {
		return p.Dialect
	}
	if u, err := url.Parse(p.BaseURL); err == nil {
		host := u.Hostname()
		if net.ParseIP(host) == nil {
			for _, known := range dialects {
				if host == known.host || ((known.host[0] == '.' || known.host[0] == '-') && strings.HasSuffix(host, known.host)) {
					return known.dialect
				}
			}
		}
	}
	return p.Protocol
}

// sideOf names the class whose price an absent class takes.
func sideOf(class string) (side string, known bool) {
	c, ok := usage.ParseClass(class)
	switch {
	case ok && c.InputSide():
		return usage.Input.String(), true
	case ok && c.OutputSide():
		return usage.Output.String(), true
	}
	return "", false
}
