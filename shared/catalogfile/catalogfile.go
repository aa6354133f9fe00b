// Package catalogfile is the catalogue as a file, YAML or JSON: providers, models
// with their routes and prices, and customer groups, as an operator writes and
// exports them. Parsing is strict: what is not understood is refused with its line.
package catalogfile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
)

// Decimal is a number written as a decimal without exponent. It is kept as text, so
// that no price ever passes through a float; it may stand with or without quotes.
type Decimal string

// File is a whole catalogue.
type File struct {
	Providers []Provider `json:"providers,omitempty"`
	Models    []Model    `json:"models,omitempty"`
	Groups    []Group    `json:"groups,omitempty"`

	// Notes say what is legal in the file and may not be meant; Parse fills them in.
	Notes []string `json:"-"`
}

// Provider is one upstream account.
type Provider struct {
	Name         string            `json:"name"`              // slug, first path segment of /v1/{provider}/…
	Protocol     string            `json:"protocol"`          // openai, anthropic, gemini, dashscope, bedrock, cohere
	Dialect      string            `json:"dialect,omitempty"` // "" = by the host of BaseURL, see DialectOf
	BaseURL      string            `json:"base_url"`          // an endpoint is appended to it
	Options      map[string]string `json:"options,omitempty"` // api_version, region, auth; incremental_output "false" for a DashScope that only knows whole texts
	Keys         []ProviderKey     `json:"keys,omitempty"`    // empty: the provider answers no_provider_keys
	DailyStopUSD Decimal           `json:"daily_stop_usd,omitempty"`
}

// ProviderKey is one credential of a provider.
type ProviderKey struct {
	Name string `json:"name"`
	// Secret is "env:NAME", "file:/path" or the secret itself. After ResolveSecrets
	// it is the secret itself, or "" if this file does not know it: a stored secret
	// of that name is then kept, and none is made. Exports have "" here.
	Secret string `json:"secret,omitempty"`
}

// Prices are decimals by usage class, in the units that a class is sold in: USD per
// million tokens or characters, USD per second, image, search or request.
type Prices map[string]Decimal

// Model is one name that clients may send.
type Model struct {
	ID              string   `json:"id"`
	Aliases         []string `json:"aliases,omitempty"`
	Tags            []string `json:"tags,omitempty"`
	ContextTokens   int64    `json:"context_tokens,omitempty"`
	MaxOutputTokens int64    `json:"max_output_tokens,omitempty"`
	Routes          []Route  `json:"routes,omitempty"`
	Price           Prices   `json:"price,omitempty"`       // none: known, but refused until a price is set
	Free            []string `json:"free,omitempty"`        // classes that are free on purpose
	PriceTiers      []Tier   `json:"price_tiers,omitempty"` // ascending
	Multiplier      Decimal  `json:"multiplier,omitempty"`  // "" = 1.0
	Auto            *Auto    `json:"auto,omitempty"`        // a virtual model; it has no routes and no price of its own

	Outline Outline `json:"-"`
}

// Outline says that a model was checked before and has not changed since, and that all but
// its names and Auto is left out: Check asks only what others have to do with it. A catalogue
// with outlines is for nothing but Check.
type Outline uint8

// The outlines.
const (
	NoOutline Outline = iota // the model stands there whole
	Unpriced
	Priced
)

func (m *Model) priced() bool { return len(m.Price) > 0 || m.Outline == Priced }

// Route is one way to serve a model.
type Route struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`              // the upstream's own id; any bytes but control characters
	Priority int64  `json:"priority,omitempty"` // 0 is tried first
	Weight   int64  `json:"weight,omitempty"`   // within a priority; 0 means 1
	Region   string `json:"region,omitempty"`
	Cost     Prices `json:"cost,omitempty"` // the supplier's price, default the model's
}

// Tier is the price of every token of a request whose total input is above
// AboveInputTokens.
type Tier struct {
	AboveInputTokens int64  `json:"above_input_tokens"`
	Price            Prices `json:"-" catalog:"rest"` // the classes stand beside the threshold
}

// Auto says how a virtual model chooses among real ones.
type Auto struct {
	Strategy string   `json:"strategy"` // balanced, cheapest, fastest, best
	Models   []string `json:"models"`   // ids or aliases, in the order of preference
}

// Group is a tier of customers.
type Group struct {
	Name           string   `json:"name"`
	Models         []string `json:"models,omitempty"` // ids or aliases; "*" = all
	Multiplier     Decimal  `json:"multiplier,omitempty"`
	RPM            int64    `json:"rpm,omitempty"` // 0 = no limit
	TPM            int64    `json:"tpm,omitempty"` // 0 = no limit
	MaxConcurrency int64    `json:"max_concurrency,omitempty"`
	DailyUSD       Decimal  `json:"daily_usd,omitempty"`
	TotalQuotaUSD  Decimal  `json:"total_quota_usd,omitempty"`
	IPAllow        []string `json:"ip_allow,omitempty"`   // CIDRs
	ExpiresAt      string   `json:"expires_at,omitempty"` // RFC 3339
}

// strings returns the prices as plain strings, nil if there are none.
func (p Prices) strings() map[string]string {
	if len(p) == 0 {
		return nil
	}
	m := make(map[string]string, len(p))
	for class, d := range p {
		m[class] = string(d)
	}
	return m
}

// PriceVersion returns the model's price with its tables resolved, and false if the
// model has none. ID and EffectiveAt are the caller's to set. It cannot fail for a
// model of a parsed file.
func (m *Model) PriceVersion() (price.Version, bool, error) {
	if len(m.Price) == 0 {
		return price.Version{}, false, nil
	}
	var v price.Version
	var err error
	if v.Base, err = price.ParseTable(m.Price.strings(), m.Free); err != nil {
		return price.Version{}, false, fmt.Errorf("cannot use price: %w", err)
	}
	v.Base.Resolve()
	for i := range m.PriceTiers {
		t := &m.PriceTiers[i]
		table, err := price.ParseTable(t.Price.strings(), m.Free)
		if err != nil {
			return price.Version{}, false, fmt.Errorf("cannot use the price tier above %d: %w", t.AboveInputTokens, err)
		}
		table.Resolve()
		v.Tiers = append(v.Tiers, price.Tier{AboveInput: t.AboveInputTokens, Table: table})
	}
	if err := v.Validate(); err != nil {
		return price.Version{}, false, err
	}
	return v, true, nil
}

// CostVersion returns the supplier's price of a route, and false if it is the
// model's. A zero in it needs no free list: it is the house's own cost.
func (r *Route) CostVersion() (price.Version, bool, error) {
	if len(r.Cost) == 0 {
		return price.Version{}, false, nil
	}
	var free []string
	for class, d := range r.Cost {
		if strings.Trim(string(d), "0.") == "" {
			free = append(free, class)
		}
	}
	table, err := price.ParseTable(r.Cost.strings(), free)
	if err != nil {
		return price.Version{}, false, fmt.Errorf("cannot use cost: %w", err)
	}
	table.Resolve()
	return price.Version{Base: table}, true, nil
}

// PPM returns the decimal as parts per million, 1,000,000 for "". It cannot fail for
// a multiplier of a parsed file.
func (d Decimal) PPM() (int64, error) {
	if d == "" {
		return price.PPM, nil
	}
	whole, fraction, hasPoint := strings.Cut(string(d), ".")
	if len(fraction) > 6 || len(whole) > 7 || whole == "" || (hasPoint && fraction == "") || !digits(whole) || !digits(fraction) {
		return 0, fmt.Errorf("multiplier %q is not a decimal with at most six places", string(d))
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 64)
	if err != nil || n > price.MaxPPM {
		return 0, fmt.Errorf("multiplier %q is above %d", string(d), price.MaxPPM/price.PPM)
	}
	return n, nil
}

// USD returns the decimal as an amount of US dollars, and false for "". It cannot
// fail for an amount of a parsed file.
func (d Decimal) USD() (money.Amount, bool, error) {
	if d == "" {
		return 0, false, nil
	}
	a, err := money.ParseUSD(string(d))
	return a, err == nil, err
}

// Expires returns ExpiresAt, the zero time for "".
func (g *Group) Expires() (time.Time, error) {
	if g.ExpiresAt == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, g.ExpiresAt)
	if err != nil {
		return time.Time{}, fmt.Errorf("expires_at %q is not a time like 2026-12-31T23:59:59Z", g.ExpiresAt)
	}
	return t, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
