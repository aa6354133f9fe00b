package report

import (
	"context"
	"time"

	"tokenrelay/shared/store"
)

// Profile is what a customer may say about itself. The member names are also the
// names under which the store keeps them.
type Profile struct {
	DisplayName  string `json:"display_name"`
	Company      string `json:"company"`
	ContactEmail string `json:"contact_email"`
	BillingEmail string `json:"billing_email"`
	Phone        string `json:"phone"`
	Country      string `json:"country"`
	Timezone     string `json:"timezone"`
}

// CustomerProfile is the profile with the account that it belongs to.
type CustomerProfile struct {
	ClientID string `json:"client_id"`
	Name     string `json:"name"` // of the account, set by the operator
	Profile
}

// Customer is who a key belongs to (S1-05).
type Customer struct {
	ClientID  string    `json:"client_id"`
	Name      string    `json:"name"`
	Group     string    `json:"group"`
	Status    string    `json:"status"` // active, disabled
	CreatedAt time.Time `json:"created_at"`
	APIKey    struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		ModelScope string `json:"model_scope"`
	} `json:"api_key"` // the key that asks
}

// Customer returns the customer of a key.
func (s *Service) Customer(ctx context.Context, key *store.KeyRow) (*Customer, error) {
	c, err := s.db.ClientByID(ctx, key.ClientID)
	if err != nil {
		return nil, err
	}
	out := &Customer{ClientID: ClientID(c.ID), Name: c.Name, Group: c.Group, Status: "active", CreatedAt: c.CreatedAt.UTC()}
	if !c.Active {
		out.Status = "disabled"
	}
	out.APIKey.ID, out.APIKey.Name, out.APIKey.ModelScope = key.PublicID, key.Name, ModelScope(key.Models)
	return out, nil
}

// Profile returns the profile of a client.
func (s *Service) Profile(ctx context.Context, clientID int64) (*CustomerProfile, error) {
	c, err := s.db.ClientByID(ctx, clientID)
	if err != nil {
		return nil, err
	}
	return ViewProfile(&c), nil
}

// ViewProfile is the profile of c.
func ViewProfile(c *store.Client) *CustomerProfile {
	p := c.Profile
	return &CustomerProfile{
		ClientID: ClientID(c.ID), Name: c.Name,
		Profile: Profile{
			DisplayName: p["display_name"], Company: p["company"], ContactEmail: p["contact_email"],
			BillingEmail: p["billing_email"], Phone: p["phone"], Country: p["country"], Timezone: p["timezone"],
		},
	}
}
