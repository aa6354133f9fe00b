package api

import (
	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// clientPatch changes a customer. What is left out stays.
type clientPatch struct {
	Name       Opt[string]       `json:"name" minlen:"1" maxlen:"128" example:"acme"`
	Group      Opt[string]       `json:"group" minlen:"1" maxlen:"128" example:"default"`
	Multiplier Opt[string]       `json:"multiplier" doc:"a decimal with at most 6 places" example:"0.9"`
	Active     Opt[bool]         `json:"active" doc:"false: every key of the customer is refused" example:"true"`
	CreditLine Opt[money.Amount] `json:"credit_line" min:"0" doc:"how far below 0 the balance may go" example:"0"`
}

// callRefund gives the charge of a call back.
type callRefund struct {
	RequestID reqid.ID          `json:"request_id" required:"true" example:"req_01JDN3V9TQ4Z8X2M6K0RFW7YBC"`
	Amount    Opt[money.Amount] `json:"amount" min:"0" doc:"left out: all that was charged" example:"0.5"`
	Note      string            `json:"note" maxlen:"500"`
}

// keyFilter selects keys of all customers.
type keyFilter struct {
	page
	ClientID string `query:"client_id" doc:"client_<n>" maxlen:"64"`
	Status   string `query:"status" enum:"active,disabled,revoked"`
	Search   string `query:"q" doc:"a part of a key's name, or its id" maxlen:"128"`
}

// operatorKey is a key with its owner.
type operatorKey struct {
	report.APIKey
	ClientID   string `json:"client_id"`
	ClientName string `json:"client_name"`
}

type operatorKeys struct {
	Items      []operatorKey `json:"items"`
	NextCursor *string       `json:"next_cursor"`
}

func (a *api) clientAdminRoutes() []Route {
	support, finance := store.RoleSupport, store.RoleFinance
	return []Route{
		write(fiber.MethodPatch, "/admin/v1/clients/:client_id", "D2", "Change a customer's name, group, multiplier, state or credit line", a.patchClient).by(operator).only(support, finance),
		write(fiber.MethodPost, "/admin/v1/clients/:client_id/refunds", "F", "Give back what a call was charged, once", func(c *Call, in *callRefund) (*creditResult, error) {
			client, err := a.client(c)
			if err != nil {
				return nil, err
			}
			e, err := a.Manage.RefundCall(c.Context, c.actor(), client, in.RequestID, in.Amount.V, in.Note)
			if err != nil {
				return nil, err
			}
			return &creditResult{EntryID: e.ID, Kind: string(e.Kind), Amount: e.Amount, Balance: e.Balance}, nil
		}).by(operator).only(finance).status(fiber.StatusCreated),
		find("/admin/v1/api-keys", "S1-33", "Keys of all customers", a.listAllKeys).by(operator),
		read(fiber.MethodGet, "/admin/v1/api-keys/:api_key_id", "S1-35", "One key of any customer", func(c *Call) (*operatorKey, error) {
			k, err := a.DB.KeyByPublicID(c.Context, 0, c.Param("api_key_id"))
			if err != nil {
				return nil, err
			}
			return a.operatorKey(c, &k)
		}).by(operator),
		write(fiber.MethodPatch, "/admin/v1/api-keys/:api_key_id", "S1-37", "Change a key's name, limits and models", a.patchAnyKey).by(operator).only(support),
		write(fiber.MethodPost, "/admin/v1/api-keys/:api_key_id/rotate", "S1-41", "Revoke a key and make its successor; the new token is shown this once", func(c *Call, in *keyCopy) (*createdKey, error) {
			key, token, err := a.Manage.RotateKey(c.Context, c.actor(), 0, c.Param("api_key_id"), in.Name.V)
			if err != nil {
				return nil, err
			}
			return &createdKey{Token: token, APIKey: a.Report.ViewKey(&key)}, nil
		}).by(operator).only(support).status(fiber.StatusCreated),
	}
}

func (a *api) patchClient(c *Call, in *clientPatch) (*operatorClient, error) {
	client, err := a.client(c)
	if err != nil {
		return nil, err
	}
	// The customer's price and debts are money, which a supporter does not decide.
	if (in.Multiplier.Set || in.CreditLine.Set) && c.Role == store.RoleSupport {
		return nil, apierr.New(apierr.RoleNotAllowed, "")
	}
	if (in.Name.Set || in.Active.Set) && c.Role == store.RoleFinance {
		return nil, apierr.New(apierr.RoleNotAllowed, "")
	}
	p := store.ClientPatch{Name: text(in.Name), Group: text(in.Group)}
	if in.Active.Set {
		p.Active = &in.Active.V
	}
	if in.Multiplier.Set {
		ppm, err := price.ParsePPM(in.Multiplier.V)
		if err != nil || ppm == 0 {
			return nil, badRequest("multiplier", "multiplier must be a decimal above 0 with at most 6 places")
		}
		p.PPM = &ppm
	}
	if in.CreditLine.Set {
		floor := -in.CreditLine.V
		p.Floor = &floor
	}
	changed, err := a.Manage.PatchClient(c.Context, c.actor(), client, p)
	if err != nil {
		return nil, err
	}
	return a.viewClient(c, &changed)
}

func (a *api) operatorKey(c *Call, k *store.Key) (*operatorKey, error) {
	client, err := a.DB.ClientByID(c.Context, k.ClientID)
	if err != nil {
		return nil, err
	}
	return &operatorKey{APIKey: a.Report.ViewKey(k), ClientID: report.ClientID(client.ID), ClientName: client.Name}, nil
}

func (a *api) listAllKeys(c *Call, q *keyFilter) (*operatorKeys, error) {
	after, err := q.row()
	if err != nil {
		return nil, err
	}
	f := store.KeyFilter{AfterID: after, Limit: q.Limit + 1, Search: q.Search}
	if q.ClientID != "" {
		id, ok := report.ParseClientID(q.ClientID)
		if !ok {
			return nil, badRequest("client_id", "client_id must be like client_1")
		}
		f.ClientID = id
	}
	f.Status = map[string]store.KeyStatus{"active": store.KeyActive, "disabled": store.KeyDisabled, "revoked": store.KeyRevoked}[q.Status]
	rows, err := a.DB.FindKeys(c.Context, f)
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.FoundKey) int64 { return r.ID })
	out := &operatorKeys{Items: make([]operatorKey, len(rows)), NextCursor: next}
	for i := range rows {
		out.Items[i] = operatorKey{APIKey: a.Report.ViewKey(&rows[i].Key), ClientID: report.ClientID(rows[i].ClientID), ClientName: rows[i].ClientName}
	}
	return out, nil
}

// patchAnyKey changes a key as its customer would: models must be the customer's own.
func (a *api) patchAnyKey(c *Call, in *keyPatch) (*operatorKey, error) {
	k, err := a.DB.KeyByPublicID(c.Context, 0, c.Param("api_key_id"))
	if err != nil {
		return nil, err
	}
	p, err := a.limitsOf(c, &in.keyLimits)
	if err != nil {
		return nil, err
	}
	if in.Name.Set {
		p.Name = &in.Name.V
	}
	if p.Models != nil {
		client, err := a.DB.ClientByID(c.Context, k.ClientID)
		if err != nil {
			return nil, err
		}
		c.Caller = actingFor(&client, "")
		if err := a.checkScope(c, *p.Models); err != nil {
			return nil, err
		}
		c.Caller = nil
	}
	changed, err := a.Manage.PatchKey(c.Context, c.actor(), k.ClientID, k.PublicID, *p)
	if err != nil {
		return nil, err
	}
	return a.operatorKey(c, &changed)
}

// actingFor is a caller who may what the client may, without the limits of a key.
func actingFor(client *store.Client, name string) Caller {
	return &store.KeyRow{
		Name: name, Status: store.KeyActive, KeyLimits: store.Unlimited(), ClientID: client.ID, ClientName: client.Name,
		ClientActive: client.Active, ClientPPM: client.PPM, WalletID: client.WalletID, GroupID: client.GroupID,
	}
}

// credit books money for the client of the path.
func (a *api) credit(c *Call, in *creditRequest) (*creditResult, error) {
	client, err := a.client(c)
	if err != nil {
		return nil, err
	}
	e, err := a.Manage.Credit(c.Context, c.actor(), client, manage.Credit{Amount: in.Amount, Note: in.Note, Ref: in.Ref, Kind: in.Kind})
	if err != nil {
		return nil, err
	}
	return &creditResult{EntryID: e.ID, Kind: string(e.Kind), Amount: e.Amount, Balance: e.Balance}, nil
}
