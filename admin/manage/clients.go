package manage

import (
	"context"
	"errors"
	"fmt"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// CreateClient makes a customer with its wallet.
func (s *Service) CreateClient(ctx context.Context, actor store.Actor, c store.NewClient) (store.Client, error) {
	if err := checkText("name", c.Name, 1, maxName); err != nil {
		return store.Client{}, err
	}
	if c.Credit < 0 {
		return store.Client{}, apierr.Invalid("credit", "credit must not be negative")
	}
	if err := checkText("note", c.Note, 0, 500); err != nil {
		return store.Client{}, err
	}
	made, err := s.db.CreateClient(ctx, actor, c)
	if errors.Is(err, store.ErrNotFound) { // the only thing that a new client refers to
		return made, apierr.Invalid("group", fmt.Sprintf("there is no group %q", clip(c.Group))).WithCause(err)
	}
	return made, refused(err, "client", c.Name)
}

// PatchClient changes a customer's name, group, multiplier, state or credit line.
func (s *Service) PatchClient(ctx context.Context, actor store.Actor, c *store.Client, p store.ClientPatch) (store.Client, error) {
	if p.Name != nil {
		if err := checkText("name", *p.Name, 1, maxName); err != nil {
			return store.Client{}, err
		}
	}
	if p.Floor != nil && *p.Floor > 0 {
		return store.Client{}, apierr.Invalid("credit_line", "credit_line must not be negative")
	}
	changed, err := s.db.UpdateClient(ctx, actor, c.ID, p)
	switch {
	case errors.Is(err, store.ErrNotFound) && p.Group != nil:
		return changed, apierr.Invalid("group", fmt.Sprintf("there is no group %q", clip(*p.Group))).WithCause(err)
	case errors.Is(err, store.ErrExists) && p.Name != nil:
		return changed, apierr.Invalid("name", fmt.Sprintf("client %q exists already", clip(*p.Name))).WithCause(err)
	case errors.Is(err, store.ErrInsufficient):
		return changed, apierr.Invalid("credit_line", "the customer has used more of its credit line than that").WithCause(err)
	}
	return changed, refused(err, "client", c.Name)
}

// RefundCall gives back what a call was charged, whole or in part: once per call.
func (s *Service) RefundCall(ctx context.Context, actor store.Actor, c *store.Client, id reqid.ID, amount money.Amount, note string) (store.Entry, error) {
	if err := checkText("note", note, 0, 500); err != nil {
		return store.Entry{}, err
	}
	rows, err := s.db.Usage(ctx, store.UsageFilter{WalletID: c.WalletID, RequestID: id, Limit: 1})
	if err != nil {
		return store.Entry{}, err
	}
	if len(rows) == 0 {
		return store.Entry{}, refused(store.ErrNotFound, "call of this customer", id.String())
	}
	charge := rows[0].Charge
	if amount == 0 {
		amount = charge
	}
	if amount <= 0 || amount > charge {
		return store.Entry{}, apierr.Invalid("amount", fmt.Sprintf("amount must be above 0 and at most what was charged, %s USD", charge))
	}
	e, err := s.db.AddEntry(ctx, actor, store.NewEntry{WalletID: c.WalletID, Kind: ledger.Refund, Amount: amount, Ref: "refund:" + id.String(), Note: note})
	if errors.Is(err, store.ErrExists) {
		return e, apierr.Invalid("request_id", "the call was refunded before, with another amount").WithCause(err)
	}
	return e, refused(err, "client", c.Name)
}

// Credit is money that an operator books on a wallet.
type Credit struct {
	Amount money.Amount // > 0 a recharge, < 0 a correction
	Kind   string       // recharge, correction or refund; "" = by the sign
	Note   string
	Ref    string // makes the booking idempotent, "" = a new one
}

// Credit books money for a client: a positive amount is a recharge, a negative one
// a correction, which never takes what running requests hold.
func (s *Service) Credit(ctx context.Context, actor store.Actor, c *store.Client, in Credit) (store.Entry, error) {
	if in.Amount == 0 {
		return store.Entry{}, apierr.Invalid("amount", "amount must not be 0")
	}
	if err := checkText("note", in.Note, 0, 500); err != nil {
		return store.Entry{}, err
	}
	if err := checkText("ref", in.Ref, 0, maxName); err != nil {
		return store.Entry{}, err
	}
	kind := ledger.Recharge
	if in.Amount < 0 {
		kind = ledger.Correction
	}
	switch ledger.Kind(in.Kind) {
	case "":
	case ledger.Recharge, ledger.Refund:
		if in.Amount < 0 {
			return store.Entry{}, apierr.Invalid("amount", "a "+in.Kind+" must be above 0; a correction may be below")
		}
		kind = ledger.Kind(in.Kind)
	case ledger.Correction:
		kind = ledger.Correction
	default:
		return store.Entry{}, apierr.Invalid("kind", "kind must be recharge, correction or refund")
	}
	entry, err := s.db.AddEntry(ctx, actor, store.NewEntry{
		WalletID: c.WalletID, Kind: kind, Amount: in.Amount, Ref: in.Ref, Note: in.Note,
	})
	if err != nil && in.Ref != "" {
		return entry, refused(err, "an entry with another amount and the ref", in.Ref)
	}
	return entry, refused(err, "client", c.Name)
}

// ClientByName finds the client that an operator names.
func (s *Service) ClientByName(ctx context.Context, name string) (*store.Client, error) {
	c, err := s.db.ClientByName(ctx, name)
	if err != nil {
		return nil, refused(err, "client", name)
	}
	return &c, nil
}

// ProfilePatch changes the members that are not nil.
type ProfilePatch struct {
	DisplayName, Company, ContactEmail, BillingEmail, Phone, Country, Timezone *string
}

// PatchProfile changes what a customer says about itself.
func (s *Service) PatchProfile(ctx context.Context, actor store.Actor, clientID int64, p ProfilePatch) (*store.Client, error) {
	profile := make(map[string]string, 7)
	for _, m := range []struct {
		name  string
		value *string
		most  int
		check func(string) bool
		want  string
	}{
		{"display_name", p.DisplayName, maxName, nil, ""},
		{"company", p.Company, maxName, nil, ""},
		{"contact_email", p.ContactEmail, 254, isEmail, "an e-mail address"},
		{"billing_email", p.BillingEmail, 254, isEmail, "an e-mail address"},
		{"phone", p.Phone, 40, nil, ""},
		{"country", p.Country, 2, isCountry, "a two-letter country code such as DE"},
		{"timezone", p.Timezone, 64, isTimezone, "a time zone such as Europe/Berlin"},
	} {
		if m.value == nil {
			continue
		}
		if err := checkText(m.name, *m.value, 0, m.most); err != nil {
			return nil, err
		}
		if m.check != nil && *m.value != "" && !m.check(*m.value) {
			return nil, apierr.Invalid(m.name, m.name+" is not "+m.want)
		}
		profile[m.name] = *m.value
	}
	changed, err := s.db.UpdateClient(ctx, actor, clientID, store.ClientPatch{Profile: profile})
	if err != nil {
		return nil, err
	}
	return &changed, nil
}
