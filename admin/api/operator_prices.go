package api

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// pricePreview asks what usage would cost at a price that is not set yet.
type pricePreview struct {
	Price    map[string]string `json:"price" required:"true" example:"{\"input\":\"2\",\"output\":\"9\"}"`
	Free     []string          `json:"free" maxlen:"32"`
	Tiers    []priceTier       `json:"tiers" maxlen:"64"`
	Usage    map[string]int64  `json:"usage" doc:"units by class of one call; left out: what was used of the model in the last days, at the base prices without tiers" example:"{\"input\":1000000,\"output\":200000}"`
	Days     int64             `json:"days" min:"0" max:"200" doc:"of the past that are compared, 0 = 30"`
	ClientID string            `json:"client_id" maxlen:"64" doc:"at this customer's multipliers; left out: at list price"`
}

// pricePreviewed is the same usage at the price in force and at the other one.
type pricePreviewed struct {
	Model      string           `json:"model"`
	PriceID    int64            `json:"price_id" doc:"in force; to be given as seen when the price is set"`
	Usage      map[string]int64 `json:"usage"`
	Before     *money.Amount    `json:"before" doc:"null: there is no price in force"`
	After      money.Amount     `json:"after"`
	Difference *money.Amount    `json:"difference"`
	Past       *pastPreview     `json:"past" doc:"null when usage was given"`
	BelowCost  []string         `json:"below_cost" doc:"provider and class where the new price, without multipliers, is below the supplier's"`
}

// pastPreview is what the model was really used for.
type pastPreview struct {
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Calls   int64        `json:"calls"`
	Charged money.Amount `json:"charged" doc:"as it was booked: with every customer's multipliers, tiers and rounding"`
	Cost    money.Amount `json:"cost" doc:"at the suppliers"`
}

type priceHistory struct {
	Items      []report.PriceRecord `json:"items"`
	NextCursor *string              `json:"next_cursor"`
}

func (a *api) priceRoutes() []Route {
	const one = "/admin/v1/models/:model"
	return []Route{
		find(one+"/prices", "S2-6", "Every price of a model, newest first, those to come too", func(c *Call, q *page) (*priceHistory, error) {
			before, err := q.row()
			if err != nil {
				return nil, err
			}
			m, err := a.pricedModel(c)
			if err != nil {
				return nil, err
			}
			items, next, err := a.Report.PriceHistory(c.Context, m, before, q.Limit)
			if err != nil {
				return nil, err
			}
			return &priceHistory{Items: items, NextCursor: rowCursor(next)}, nil
		}).by(operator),
		write(fiber.MethodPost, one+"/price-preview", "S2-6", "What usage costs at the price in force and at another one", a.previewPrice).by(operator).only("support", "finance"),
	}
}

func newPrice(model string, table map[string]string, free []string, tiers []priceTier) manage.NewPrice {
	n := manage.NewPrice{Model: model, Price: table, Free: free}
	for _, t := range tiers {
		n.Tiers = append(n.Tiers, manage.NewTier{AboveInput: t.AboveInputTokens, Price: t.Price})
	}
	return n
}

func (a *api) previewPrice(c *Call, in *pricePreview) (*pricePreviewed, error) {
	m, err := a.pricedModel(c)
	if err != nil {
		return nil, err
	}
	n := newPrice(m.PublicID, in.Price, in.Free, in.Tiers)
	next, err := n.Version()
	if err != nil {
		return nil, err
	}
	rule := price.Rule{ModelPPM: m.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	if in.ClientID != "" {
		id, ok := report.ParseClientID(in.ClientID)
		if !ok {
			return nil, badRequest("client_id", "client_id must be like client_1")
		}
		client, err := a.DB.ClientByID(c.Context, id)
		if err != nil {
			return nil, err
		}
		catalogue, err := a.Report.Catalogue(c.Context)
		if err != nil {
			return nil, err
		}
		rule.ClientPPM, rule.GroupPPM = client.PPM, catalogue.Group(client.GroupID).PPM
	}
	out := &pricePreviewed{Model: m.PublicID, Usage: map[string]int64{}}
	units, err := readUnits(in.Usage)
	if err != nil {
		return nil, err
	}
	if in.Usage == nil {
		days := int(in.Days)
		if days == 0 {
			days = 30
		}
		past, err := a.Report.ModelPast(c.Context, m.PublicID, days)
		if err != nil {
			return nil, err
		}
		// A sum of calls has no tier: each of them had its own.
		units, next.Tiers = past.Units, nil
		out.Past = &pastPreview{From: past.From, To: past.To, Calls: past.Calls, Charged: past.Charge, Cost: past.Cost}
	}
	for class, n := range units {
		if n != 0 {
			out.Usage[usage.Class(class).String()] = n
		}
	}
	if out.BelowCost, err = a.Report.BelowCost(c.Context, m.PublicID, next); err != nil {
		return nil, err
	}
	rule.Version = next
	if out.After, err = rule.Charge(&units); err != nil {
		return nil, badRequest("usage", "usage cannot be charged: "+err.Error())
	}
	now := price.Pick(m.Prices, a.Now().UnixMilli())
	if now == nil {
		return out, nil
	}
	out.PriceID = now.ID
	rule.Version = now
	if out.Past != nil {
		rule.Version = &price.Version{ID: now.ID, Base: now.Base}
	}
	before, err := rule.Charge(&units)
	if err != nil {
		return nil, badRequest("usage", "usage cannot be charged: "+err.Error())
	}
	difference, err := out.After.Sub(before)
	if err != nil {
		return nil, err
	}
	out.Before, out.Difference = &before, &difference
	return out, nil
}

// readUnits reads units by the names of their classes.
func readUnits(in map[string]int64) (u usage.Units, err error) {
	for name, n := range in {
		class, ok := usage.ParseClass(name)
		if !ok || n < 0 || n > 1e15 {
			return u, badRequest("usage."+clip(name, 64), "usage must be classes such as input and output, each 0 to "+strconv.FormatInt(1e15, 10))
		}
		u[class] = n
	}
	return u, nil
}

func (a *api) currentPrice(c *Call) (*priceState, error) {
	m, err := a.pricedModel(c)
	if err != nil {
		return nil, err
	}
	state := &priceState{Model: m.PublicID}
	if v := price.Pick(m.Prices, a.Now().UnixMilli()); v != nil {
		state.PriceID = v.ID
	}
	return state, nil
}

func (a *api) pricedModel(c *Call) (*report.Model, error) {
	m, err := a.Report.FindModel(c.Context, c.Param("model"))
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, apierr.ErrNotFound
	}
	return m, nil
}

func (a *api) setPrice(c *Call, in *priceSet) (*priceState, error) {
	m, err := a.pricedModel(c)
	if err != nil {
		return nil, err
	}
	n := newPrice(m.PublicID, in.Price, in.Free, in.Tiers)
	n.Seen, n.EffectiveAt = in.Seen, in.EffectiveAt.V
	id, err := a.Manage.SetPrice(c.Context, c.actor(), n)
	if err != nil {
		return nil, err
	}
	return &priceState{Model: m.PublicID, PriceID: id}, nil
}
