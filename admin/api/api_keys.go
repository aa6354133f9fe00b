package api

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// keyCreate is the body of POST /openapi/v1/api-keys. Limits left out or null are
// none.
type keyCreate struct {
	Name            string            `json:"name" required:"true"`
	AllowedModelIDs []string          `json:"allowed_model_ids"` // empty = automatic
	MonthlyCap      Opt[money.Amount] `json:"monthly_cap"`
	TotalQuota      Opt[money.Amount] `json:"total_quota"`
	DailyUSD        Opt[money.Amount] `json:"daily_usd"`
	RPM             int64             `json:"rpm"`
	TPM             int64             `json:"tpm"`
	MaxConcurrency  int64             `json:"max_concurrency"`
	IPAllow         []string          `json:"ip_allow"`
	DrainTokens     int64             `json:"drain_tokens"`
	ExpiresAt       Opt[string]       `json:"expires_at"`
}

// keyPatch is the body of PATCH: what is left out stays, null clears a limit, and
// an empty list of models is automatic (S1-B3).
type keyPatch struct {
	Name            Opt[string]       `json:"name"`
	AllowedModelIDs Opt[[]string]     `json:"allowed_model_ids"`
	MonthlyCap      Opt[money.Amount] `json:"monthly_cap"`
	TotalQuota      Opt[money.Amount] `json:"total_quota"`
	DailyUSD        Opt[money.Amount] `json:"daily_usd"`
	RPM             Opt[int64]        `json:"rpm"`
	TPM             Opt[int64]        `json:"tpm"`
	MaxConcurrency  Opt[int64]        `json:"max_concurrency"`
	IPAllow         Opt[[]string]     `json:"ip_allow"`
	DrainTokens     Opt[int64]        `json:"drain_tokens"`
	ExpiresAt       Opt[string]       `json:"expires_at"`
}

// createdKey is the only response that ever holds a token (S1-B8).
type createdKey struct {
	Token string `json:"token"`
	report.APIKey
}

type keyList struct {
	Items      []report.APIKey `json:"items"`
	NextCursor *string         `json:"next_cursor"`
}

func (a *api) keyRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/openapi/v1/api-keys", "S1-33", "The customer's keys, without their tokens", a.listKeys).
			query(Param{"cursor", "next_cursor of the page before"}, Param{"limit", "keys of a page, 1 to 200, default 100"}),
		write(fiber.MethodPost, "/openapi/v1/api-keys", "S1-34", "Make a key; its token is shown this once", a.createKey).status(fiber.StatusCreated),
		read(fiber.MethodGet, "/openapi/v1/api-keys/:api_key_id", "S1-35", "One key", func(c *Call) (*report.APIKey, error) {
			return a.Report.Key(c.Context, c.Caller.ClientID, c.Param("api_key_id"))
		}),
		write(fiber.MethodPatch, "/openapi/v1/api-keys/:api_key_id", "S1-37", "Change a key's name, limits and models", a.patchKey),
		read(fiber.MethodDelete, "/openapi/v1/api-keys/:api_key_id", "S1-38", "Revoke a key for good; its row is kept", func(c *Call) (*report.APIKey, error) {
			return a.setKeyStatus(c, store.KeyRevoked)
		}),
		read(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/disable", "S1-39", "Disable a key", func(c *Call) (*report.APIKey, error) {
			return a.setKeyStatus(c, store.KeyDisabled)
		}),
	}
}

func (a *api) listKeys(c *Call) (*keyList, error) {
	limit, err := limitParam(c.c, 100, 200)
	if err != nil {
		return nil, err
	}
	var after int64
	if text := c.c.Query("cursor"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return nil, badRequest("cursor", "cursor is not one that this endpoint gave")
		}
	}
	items, next, err := a.Report.Keys(c.Context, c.Caller.ClientID, after, limit)
	if err != nil {
		return nil, err
	}
	list := &keyList{Items: items}
	if next != 0 {
		cursor := strconv.FormatInt(next, 10)
		list.NextCursor = &cursor
	}
	return list, nil
}

func (a *api) createKey(c *Call, in *keyCreate) (*createdKey, error) {
	limits := store.KeyLimits{
		Models: in.AllowedModelIDs, RPM: in.RPM, TPM: in.TPM, MaxConcurrency: in.MaxConcurrency, DrainTokens: in.DrainTokens,
		MonthlyCap: amount(in.MonthlyCap), TotalQuota: amount(in.TotalQuota), DailyUSD: amount(in.DailyUSD),
	}
	var err error
	if limits.Models, err = a.Manage.ResolveModels(c.Context, "allowed_model_ids", in.AllowedModelIDs); err != nil {
		return nil, err
	}
	if err := a.checkScope(c, limits.Models); err != nil {
		return nil, err
	}
	if limits.IPAllow, err = manage.ParsePrefixes("ip_allow", in.IPAllow); err != nil {
		return nil, err
	}
	if in.ExpiresAt.Set && !in.ExpiresAt.Null {
		if limits.ExpiresAt, err = manage.ParseTime("expires_at", in.ExpiresAt.V); err != nil {
			return nil, err
		}
	}
	key, token, err := a.Manage.CreateKey(c.Context, c.actor(), manage.NewKey{ClientID: c.Caller.ClientID, Name: in.Name, KeyLimits: limits})
	if err != nil {
		return nil, err
	}
	return &createdKey{Token: token, APIKey: a.Report.ViewKey(&key)}, nil
}

func (a *api) patchKey(c *Call, in *keyPatch) (*report.APIKey, error) {
	p := store.KeyPatch{
		RPM: count(in.RPM), TPM: count(in.TPM), MaxConcurrency: count(in.MaxConcurrency), DrainTokens: count(in.DrainTokens),
		MonthlyCap: amountPatch(in.MonthlyCap), TotalQuota: amountPatch(in.TotalQuota), DailyUSD: amountPatch(in.DailyUSD),
	}
	if in.Name.Set {
		p.Name = &in.Name.V
	}
	if in.AllowedModelIDs.Set {
		models, err := a.Manage.ResolveModels(c.Context, "allowed_model_ids", in.AllowedModelIDs.V)
		if err != nil {
			return nil, err
		}
		if err := a.checkScope(c, models); err != nil {
			return nil, err
		}
		p.Models = &models
	}
	if in.IPAllow.Set {
		list, err := manage.ParsePrefixes("ip_allow", in.IPAllow.V)
		if err != nil {
			return nil, err
		}
		p.IPAllow = &list
	}
	if in.ExpiresAt.Set {
		var expires time.Time // null: never
		if !in.ExpiresAt.Null {
			var err error
			if expires, err = manage.ParseTime("expires_at", in.ExpiresAt.V); err != nil {
				return nil, err
			}
		}
		p.ExpiresAt = &expires
	}
	key, err := a.Manage.PatchKey(c.Context, c.actor(), c.Caller.ClientID, c.Param("api_key_id"), p)
	if err != nil {
		return nil, err
	}
	view := a.Report.ViewKey(&key)
	return &view, nil
}

func (a *api) setKeyStatus(c *Call, to store.KeyStatus) (*report.APIKey, error) {
	key, err := a.Manage.SetKeyStatus(c.Context, c.actor(), c.Caller.ClientID, c.Param("api_key_id"), to)
	if err != nil {
		return nil, err
	}
	view := a.Report.ViewKey(&key)
	return &view, nil
}

// checkScope keeps a key from giving away more than it has (G9): models must be
// visible to its customer and inside the calling key's own scope, and a scoped key
// cannot make an automatic one.
func (a *api) checkScope(c *Call, models []string) error {
	own := c.Caller.Models
	if len(models) == 0 {
		if len(own) > 0 {
			return apierr.New(apierr.ModelNotAllowed, "A key with a model scope cannot give another key all models.").WithParam("allowed_model_ids")
		}
		return nil
	}
	catalogue, err := a.Report.Catalogue(c.Context)
	if err != nil {
		return err
	}
	for _, id := range models {
		m := catalogue.Find(id)
		if m == nil || !catalogue.Visible(m, c.Caller.GroupID, a.Now()) {
			return apierr.Invalid("allowed_model_ids", fmt.Sprintf("allowed_model_ids: there is no model %q", clip(id, 64)))
		}
		if len(own) > 0 && !slices.Contains(own, id) {
			return apierr.New(apierr.ModelNotAllowed, fmt.Sprintf("This API key may not give away the model %q, which is outside its own scope.", clip(id, 64))).WithParam("allowed_model_ids")
		}
	}
	return nil
}

// amount is an optional limit; left out and null are none.
func amount(o Opt[money.Amount]) money.Amount {
	if !o.Set || o.Null {
		return store.None
	}
	return o.V
}

func amountPatch(o Opt[money.Amount]) *money.Amount {
	if !o.Set {
		return nil
	}
	v := amount(o)
	return &v
}

func count(o Opt[int64]) *int64 {
	if !o.Set {
		return nil
	}
	return &o.V
}
