package report

import (
	"context"
	"math/big"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// CustomerModel is a model as one customer sees it: no upstream, no supplier's
// price, no row id (S1-B7).
type CustomerModel struct {
	ID              string         `json:"id"`
	Aliases         []string       `json:"aliases"`
	Tags            []string       `json:"tags"`
	ContextTokens   int64          `json:"context_tokens"`
	MaxOutputTokens int64          `json:"max_output_tokens"`
	CreatedAt       time.Time      `json:"created_at"`
	Callable        bool           `json:"callable"` // by the key that asks
	Price           *CustomerPrice `json:"price"`    // null for a virtual model
	Auto            *AutoModel     `json:"auto,omitempty"`
}

// AutoModel says how a virtual model chooses; the chosen model's price applies.
type AutoModel struct {
	Strategy string   `json:"strategy"`
	Models   []string `json:"models"`
}

// CustomerPrice is what a customer pays, multipliers applied: USD per million
// tokens or characters, USD each for seconds, images, searches and requests.
type CustomerPrice struct {
	Currency string            `json:"currency"`
	Version  string            `json:"price_version"`
	Prices   map[string]string `json:"prices"`
	Free     []string          `json:"free,omitempty"`
	Tiers    []CustomerTier    `json:"tiers,omitempty"`
}

// CustomerTier replaces the prices for every token of a request with more input.
type CustomerTier struct {
	AboveInputTokens int64             `json:"above_input_tokens"`
	Prices           map[string]string `json:"prices"`
}

// Models lists the models that the key's customer may see, by id.
func (s *Service) Models(ctx context.Context, key *store.KeyRow) ([]CustomerModel, error) {
	c, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	list := make([]CustomerModel, 0, len(c.Models))
	for _, m := range c.Models {
		if c.Visible(m, key.GroupID, now) {
			list = append(list, c.customerModel(m, key, now))
		}
	}
	return list, nil
}

// Model returns one of them by id or alias, store.ErrNotFound if the customer may
// not see it.
func (s *Service) Model(ctx context.Context, key *store.KeyRow, name string) (*CustomerModel, error) {
	c, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	m := c.Find(name)
	if m == nil || !c.Visible(m, key.GroupID, now) {
		return nil, store.ErrNotFound
	}
	out := c.customerModel(m, key, now)
	return &out, nil
}

func (c *Catalogue) customerModel(m *Model, key *store.KeyRow, now time.Time) CustomerModel {
	out := CustomerModel{
		ID: m.PublicID, Aliases: emptyNotNil(m.Aliases), Tags: emptyNotNil(m.Tags),
		ContextTokens: m.ContextTokens, MaxOutputTokens: m.MaxOutput, CreatedAt: m.CreatedAt.UTC(),
		Callable: inScope(key.Models, m.PublicID) && inScope(key.ClientModels, m.PublicID),
	}
	if m.AutoStrategy != "" {
		auto := &AutoModel{Strategy: m.AutoStrategy, Models: []string{}}
		for _, target := range c.served(m) {
			if target.sellable(now) {
				auto.Models = append(auto.Models, target.PublicID)
			}
		}
		out.Auto = auto
		return out
	}
	if rule := c.Rule(m, key.GroupID, key.ClientPPM, now); rule != nil {
		out.Price = customerPrice(rule)
	}
	return out
}

// inScope tells whether a list of allowed models has one; an empty list has all.
func inScope(models []string, id string) bool { return len(models) == 0 || slices.Contains(models, id) }

func customerPrice(r *price.Rule) *CustomerPrice {
	p := &CustomerPrice{Currency: "USD", Version: price.VersionString(r)}
	p.Prices, p.Free = effective(r, &r.Version.Base)
	for i := range r.Version.Tiers {
		t := &r.Version.Tiers[i]
		prices, _ := effective(r, &t.Table)
		p.Tiers = append(p.Tiers, CustomerTier{AboveInputTokens: t.AboveInput, Prices: prices})
	}
	return p
}

// effective is a table after multipliers, exact: the multipliers have six decimal
// places each, so a price has at most eighteen more than its row.
func effective(r *price.Rule, t *price.Table) (prices map[string]string, free []string) {
	prices = make(map[string]string)
	ppm := new(big.Int).Mul(big.NewInt(r.ModelPPM), big.NewInt(r.GroupPPM))
	ppm.Mul(ppm, big.NewInt(r.ClientPPM))
	for c := range usage.NumClasses {
		if t.Free>>c&1 != 0 {
			free = append(free, c.String())
		}
		if t.Set>>c&1 == 0 {
			continue
		}
		v := new(big.Int).Mul(big.NewInt(int64(t.Rates[c])), ppm)
		prices[c.String()] = decimal(v, priceDecimals(c)+18)
	}
	return prices, free
}

// priceDecimals is how many decimal places a price of the class has in the unit
// that customers read.
func priceDecimals(c usage.Class) int {
	if c.InputSide() || c.OutputSide() || c == usage.Characters {
		return 6
	}
	return 12
}

// decimal writes v / 10^places without exponent and trailing zeros.
func decimal(v *big.Int, places int) string {
	text := v.String()
	if len(text) <= places {
		text = strings.Repeat("0", places-len(text)+1) + text
	}
	whole, fraction := text[:len(text)-places], strings.TrimRight(text[len(text)-places:], "0")
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

func emptyNotNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
