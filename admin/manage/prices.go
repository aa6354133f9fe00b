package manage

import (
	"context"
	"errors"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// NewPrice is a price that a model is to have: decimals by class, in the units of
// the catalogue file.
type NewPrice struct {
	Model       string
	Seen        int64 // price row that the change was made from, 0 = none
	Price       map[string]string
	Free        []string
	Tiers       []NewTier
	EffectiveAt time.Time // zero: now
}

// NewTier replaces the price for every token of a request with more input.
type NewTier struct {
	AboveInput int64
	Price      map[string]string
}

// SetPrice gives a model a new price row. Requests in flight keep the old one.
func (s *Service) SetPrice(ctx context.Context, actor store.Actor, in NewPrice) (int64, error) {
	v, err := in.Version()
	if err != nil {
		return 0, err
	}
	id, err := s.db.SetPrice(ctx, actor, in.Model, in.Seen, v, in.EffectiveAt)
	if errors.Is(err, store.ErrConflict) {
		return 0, apierr.New(apierr.PriceChanged, "The price has changed since it was read; read it again.").WithParam("seen").WithCause(err)
	}
	return id, refused(err, "model", in.Model)
}

// Version is the price as the books have it, checked; its id is 0.
func (in *NewPrice) Version() (*price.Version, error) {
	var v price.Version
	var err error
	if v.Base, err = price.ParseTable(in.Price, in.Free); err != nil {
		return nil, apierr.Invalid("price", err.Error())
	}
	v.Base.Resolve()
	for _, t := range in.Tiers {
		table, err := price.ParseTable(t.Price, in.Free)
		if err != nil {
			return nil, apierr.Invalid("tiers", err.Error())
		}
		table.Resolve()
		v.Tiers = append(v.Tiers, price.Tier{AboveInput: t.AboveInput, Table: table})
	}
	if err := v.Validate(); err != nil {
		return nil, apierr.Invalid("price", err.Error())
	}
	return &v, nil
}
