package catalogfile

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tokenrelay/shared/usage"
)

// Marshal writes the catalogue as YAML in a fixed order, so that two exports of one
// catalogue are the same bytes.
func Marshal(f *File) []byte {
	w := new(writer)
	if len(f.Providers) > 0 {
		w.line("providers:")
		for i := range f.Providers {
			w.provider(&f.Providers[i])
		}
	}
	if len(f.Models) > 0 {
		w.line("models:")
		for i := range f.Models {
			w.model(&f.Models[i])
		}
	}
	if len(f.Groups) > 0 {
		w.line("groups:")
		for i := range f.Groups {
			w.group(&f.Groups[i])
		}
	}
	if w.b.Len() == 0 {
		w.line("{}")
	}
	return []byte(w.b.String())
}

// MarshalJSON writes a tier as one object: the threshold beside the classes.
func (t Tier) MarshalJSON() ([]byte, error) {
	m := map[string]any{"above_input_tokens": t.AboveInputTokens}
	for class, d := range t.Price {
		m[class] = d
	}
	return json.Marshal(m)
}

type writer struct{ b strings.Builder }

func (w *writer) line(s string) { w.b.WriteString(s + "\n") }

// item writes the fields of one list entry at indent 2.
func (w *writer) item(fields []string) {
	for i, f := range fields {
		if i == 0 {
			w.line("  - " + f)
		} else {
			w.line("    " + f)
		}
	}
}

func (w *writer) provider(p *Provider) {
	var f fields
	f.text("name", p.Name)
	f.text("protocol", p.Protocol)
	f.text("dialect", p.Dialect)
	f.text("base_url", p.BaseURL)
	if len(p.Options) > 0 {
		f.raw("options", flowMap(p.Options, slices.Sorted(mapKeys(p.Options))))
	}
	if len(p.Keys) > 0 {
		var keys []string
		for _, k := range p.Keys {
			var one fields
			one.text("name", k.Name)
			one.text("secret", k.Secret)
			keys = append(keys, one.flow())
		}
		f.raw("keys", "["+strings.Join(keys, ", ")+"]")
	}
	f.decimal("daily_stop_usd", p.DailyStopUSD)
	w.item(f)
}

func (w *writer) model(m *Model) {
	var f fields
	f.text("id", m.ID)
	f.list("aliases", m.Aliases)
	f.list("tags", m.Tags)
	f.number("context_tokens", m.ContextTokens)
	f.number("max_output_tokens", m.MaxOutputTokens)
	if len(m.Routes) > 0 {
		var routes []string
		for i := range m.Routes {
			r := &m.Routes[i]
			var one fields
			one.text("provider", r.Provider)
			one.text("model", r.Model)
			one.number("priority", r.Priority)
			one.number("weight", r.Weight)
			one.text("region", r.Region)
			if len(r.Cost) > 0 {
				one.raw("cost", r.Cost.flow())
			}
			routes = append(routes, one.flow())
		}
		f.raw("routes", "["+strings.Join(routes, ", ")+"]")
	}
	if len(m.Price) > 0 {
		f.raw("price", m.Price.flow())
	}
	f.list("free", m.Free)
	if len(m.PriceTiers) > 0 {
		var tiers []string
		for _, t := range m.PriceTiers {
			var one fields
			one.number("above_input_tokens", t.AboveInputTokens)
			one = append(one, t.Price.pairs()...)
			tiers = append(tiers, one.flow())
		}
		f.raw("price_tiers", "["+strings.Join(tiers, ", ")+"]")
	}
	f.decimal("multiplier", m.Multiplier)
	if m.Auto != nil {
		var one fields
		one.text("strategy", m.Auto.Strategy)
		one.list("models", m.Auto.Models)
		f.raw("auto", one.flow())
	}
	w.item(f)
}

func (w *writer) group(g *Group) {
	var f fields
	f.text("name", g.Name)
	f.list("models", g.Models)
	f.decimal("multiplier", g.Multiplier)
	f.number("rpm", g.RPM)
	f.number("tpm", g.TPM)
	f.number("max_concurrency", g.MaxConcurrency)
	f.decimal("daily_usd", g.DailyUSD)
	f.decimal("total_quota_usd", g.TotalQuotaUSD)
	f.list("ip_allow", g.IPAllow)
	f.text("expires_at", g.ExpiresAt)
	w.item(f)
}

// fields collects "name: value" texts, leaving out what is empty.
type fields []string

func (f *fields) raw(name, value string) { *f = append(*f, name+": "+value) }

func (f *fields) text(name, value string) {
	if value != "" {
		f.raw(name, quote(value))
	}
}

func (f *fields) decimal(name string, value Decimal) {
	if value != "" {
		f.raw(name, strconv.Quote(string(value)))
	}
}

func (f *fields) number(name string, n int64) {
	if n != 0 {
		f.raw(name, strconv.FormatInt(n, 10))
	}
}

func (f *fields) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	f.raw(name, "["+strings.Join(quoted, ", ")+"]")
}

func (f fields) flow() string { return "{" + strings.Join(f, ", ") + "}" }

// pairs returns the prices in the order of the usage classes, unknown names last.
func (p Prices) pairs() []string {
	names := slices.SortedFunc(mapKeys(p), func(a, b string) int {
		ca, _ := usage.ParseClass(a)
		cb, _ := usage.ParseClass(b)
		if ca != cb {
			return int(ca) - int(cb)
		}
		return strings.Compare(a, b)
	})
	var f fields
	for _, name := range names {
		f.raw(name, strconv.Quote(string(p[name])))
	}
	return f
}

func (p Prices) flow() string { return fields(p.pairs()).flow() }

func flowMap(m map[string]string, names []string) string {
	var f fields
	for _, name := range names {
		f.raw(quote(name), quote(m[name]))
	}
	return f.flow()
}

func mapKeys[M ~map[string]V, V any](m M) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

var (
	// plain texts read the same in YAML with and without quotes.
	plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)
	// address is a URL, whose "://" YAML takes for text.
	address = regexp.MustCompile(`^https?://[A-Za-z0-9._/:-]*[A-Za-z0-9/]$`)
)

// quote writes a text so that YAML reads it back as that text; a JSON string is one.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf":
	default:
		if plain.MatchString(s) || address.MatchString(s) {
			return s
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}
