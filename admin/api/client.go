package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
)

// profilePatch is the body of PATCH /openapi/v1/client/profile. A member left out
// stays; null or "" clears it.
type profilePatch struct {
	DisplayName  Opt[string] `json:"display_name"`
	Company      Opt[string] `json:"company"`
	ContactEmail Opt[string] `json:"contact_email"`
	BillingEmail Opt[string] `json:"billing_email"`
	Phone        Opt[string] `json:"phone"`
	Country      Opt[string] `json:"country"`
	Timezone     Opt[string] `json:"timezone"`
}

func (a *api) clientRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/client", "S1-05", "The customer that the key belongs to", func(c *Call) (*report.Customer, error) {
			return a.Report.Customer(c.Context, c.Caller)
		}),
		read(fiber.MethodGet, "/openapi/v1/client/profile", "S1-06", "The customer's profile", func(c *Call) (*report.CustomerProfile, error) {
			return a.Report.Profile(c.Context, c.Caller.ClientID)
		}),
		write(fiber.MethodPatch, "/openapi/v1/client/profile", "S1-07", "Change the customer's profile", func(c *Call, in *profilePatch) (*report.CustomerProfile, error) {
			changed, err := a.Manage.PatchProfile(c.Context, c.actor(), c.Caller.ClientID, manage.ProfilePatch{
				DisplayName: text(in.DisplayName), Company: text(in.Company), ContactEmail: text(in.ContactEmail),
				BillingEmail: text(in.BillingEmail), Phone: text(in.Phone), Country: text(in.Country), Timezone: text(in.Timezone),
			})
			if err != nil {
				return nil, err
			}
			return report.ViewProfile(changed), nil
		}),
	}
}

// text is an optional text; null is "".
func text(o Opt[string]) *string {
	if !o.Set {
		return nil
	}
	return &o.V
}
