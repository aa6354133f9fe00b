package api

import (
	"context"
	"fmt"
	"slices"
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
	Name string `json:"name" required:"true" minlen:"1" maxlen:"128" example:"production"`
	keyLimits
}

// keyPatch is the body of PATCH: what is left out stays, null clears a limit, and
// an empty list of models is automatic (S1-B3).
type keyPatch struct {
	Name Opt[string] `json:"name" null:"no" minlen:"1" maxlen:"128" example:"production"`
	keyLimits
}

// keyLimits is what a key may do (C18).
type keyLimits struct {
	AllowedModelIDs Opt[[]string]     `json:"allowed_model_ids" maxlen:"500" doc:"models that the key may call; empty: all that the customer may (automatic)" example:"[]"`
	MonthlyCap      Opt[money.Amount] `json:"monthly_cap" min:"0" doc:"USD a calendar month (UTC)" example:"25.00"`
	TotalQuota      Opt[money.Amount] `json:"total_quota" min:"0" doc:"USD in all" example:"100"`
	DailyUSD        Opt[money.Amount] `json:"daily_usd" min:"0" doc:"USD a day (UTC)" example:"5"`
	RPM             Opt[int64]        `json:"rpm" min:"0" max:"1000000000000" doc:"requests a minute, 0 = no limit" example:"60"`
	TPM             Opt[int64]        `json:"tpm" min:"0" max:"1000000000000" doc:"tokens a minute, 0 = no limit" example:"100000"`
	MaxConcurrency  Opt[int64]        `json:"max_concurrency" min:"0" max:"1000000000000" doc:"running requests, 0 = no limit" example:"10"`
	IPAllow         Opt[[]string]     `json:"ip_allow" maxlen:"256" doc:"addresses or CIDRs that the key may be used from; empty: any" example:"[\"192.0.2.0/24\"]"`
	DrainTokens     Opt[int64]        `json:"drain_tokens" min:"0" max:"1000000000000" doc:"when a client leaves a stream: 0 cancels it, else it is read on for up to so many output tokens" example:"0"`
	ExpiresAt       Opt[time.Time]    `json:"expires_at" doc:"from when on the key is refused" example:"2099-12-31T00:00:00Z"`
}

// createdKey is the only response that ever holds a token (S1-B8).
type createdKey struct {
	Token string `json:"token"`
	report.APIKey
}

// keyCopy is the body of POST …/copy and …/rotate, which may be left out.
type keyCopy struct {
	Name Opt[string] `json:"name" minlen:"1" maxlen:"128" doc:"name of the new key; left out: that of the old one" example:"production 2"`
}

type accessList struct {
	KeyID      string               `json:"key_id"`
	ModelScope string               `json:"model_scope"`
	Items      []report.ModelAccess `json:"items"`
	NextCursor *string              `json:"next_cursor"`
}

type keyList struct {
	Items      []report.APIKey `json:"items"`
	NextCursor *string         `json:"next_cursor"`
}

func (a *api) keyRoutes() []Route {
	return []Route{
		find("/openapi/v1/api-keys", "S1-33", "The customer's keys, without their tokens", a.listKeys),
		write(fiber.MethodPost, "/openapi/v1/api-keys", "S1-34", "Make a key; its token is shown this once", a.createKey).status(fiber.StatusCreated).refuses(apierr.ModelNotAllowed),
		read(fiber.MethodGet, "/openapi/v1/api-keys/:api_key_id", "S1-35", "One key", func(c *Call) (*report.APIKey, error) {
			return a.Report.Key(c.Context, c.Caller.ClientID, c.Param("api_key_id"))
		}),
		write(fiber.MethodPatch, "/openapi/v1/api-keys/:api_key_id", "S1-37", "Change a key's name, limits and models", a.patchKey).refuses(apierr.ModelNotAllowed),
		read(fiber.MethodDelete, "/openapi/v1/api-keys/:api_key_id", "S1-38", "Revoke a key for good; its row is kept", func(c *Call) (*report.APIKey, error) {
			return a.setKeyStatus(c, store.KeyRevoked)
		}),
		read(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/disable", "S1-39", "Disable a key", func(c *Call) (*report.APIKey, error) {
			return a.setKeyStatus(c, store.KeyDisabled)
		}),
		find("/openapi/v1/api-keys/:api_key_id/model-access", "S1-36", "Which of the customer's models a key can call", a.modelAccess),
		write(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/copy", "S1-40", "Make a key with another one's limits and models; its token is shown this once", func(c *Call, in *keyCopy) (*createdKey, error) {
			return a.succeedKey(c, in, a.Manage.CopyKey)
		}).status(fiber.StatusCreated).refuses(apierr.ModelNotAllowed),
		write(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/rotate", "S1-41", "Revoke a key and make its successor; the new token is shown this once", func(c *Call, in *keyCopy) (*createdKey, error) {
			return a.succeedKey(c, in, a.Manage.RotateKey)
		}).status(fiber.StatusCreated).refuses(apierr.ModelNotAllowed),
	}
}

func (a *api) listKeys(c *Call, q *page) (*keyList, error) {
	after, err := q.row()
	if err != nil {
		return nil, err
	}
	items, next, err := a.Report.Keys(c.Context, c.Caller.ClientID, after, q.Limit)
	if err != nil {
		return nil, err
	}
	return &keyList{Items: items, NextCursor: rowCursor(next)}, nil
}

func (a *api) createKey(c *Call, in *keyCreate) (*createdKey, error) {
	p, err := a.limitsOf(c, &in.keyLimits)
	if err != nil {
		return nil, err
	}
	limits := store.Unlimited()
	p.Apply(&limits)
	if err := a.checkScope(c, limits.Models); err != nil { // left out means automatic
		return nil, err
	}
	key, token, err := a.Manage.CreateKey(c.Context, c.actor(), manage.NewKey{ClientID: c.Caller.ClientID, Name: in.Name, KeyLimits: limits})
	if err != nil {
		return nil, err
	}
	return &createdKey{Token: token, APIKey: a.Report.ViewKey(&key)}, nil
}

func (a *api) patchKey(c *Call, in *keyPatch) (*report.APIKey, error) {
	p, err := a.limitsOf(c, &in.keyLimits)
	if err != nil {
		return nil, err
	}
	if in.Name.Set {
		p.Name = &in.Name.V
	}
	if p.Models != nil {
		if err := a.checkScope(c, *p.Models); err != nil {
			return nil, err
		}
	}
	key, err := a.Manage.PatchKey(c.Context, c.actor(), c.Caller.ClientID, c.Param("api_key_id"), *p)
	if err != nil {
		return nil, err
	}
	view := a.Report.ViewKey(&key)
	return &view, nil
}

// succeedKey makes a key from another one. Its token opens what the other one opens, so
// that must be within the calling key's own scope.
func (a *api) succeedKey(c *Call, in *keyCopy, from func(context.Context, store.Actor, int64, string, string) (store.Key, string, error)) (*createdKey, error) {
	old, err := a.Report.Key(c.Context, c.Caller.ClientID, c.Param("api_key_id"))
	if err != nil {
		return nil, err
	}
	if err := a.checkGift(c, old.AllowedModelIDs); err != nil {
		return nil, err
	}
	key, token, err := from(c.Context, c.actor(), c.Caller.ClientID, old.ID, in.Name.V)
	if err != nil {
		return nil, err
	}
	return &createdKey{Token: token, APIKey: a.Report.ViewKey(&key)}, nil
}

func (a *api) modelAccess(c *Call, q *page) (*accessList, error) {
	key, err := a.Report.Key(c.Context, c.Caller.ClientID, c.Param("api_key_id"))
	if err != nil {
		return nil, err
	}
	items, next, err := a.Report.KeyAccess(c.Context, c.Caller, key.ID, q.Cursor, q.Limit)
	return &accessList{KeyID: key.ID, ModelScope: key.ModelScope, Items: items, NextCursor: next}, err
}

// limitsOf is what a body says of a key's limits; null clears one.
func (a *api) limitsOf(c *Call, in *keyLimits) (*store.KeyPatch, error) {
	p := &store.KeyPatch{
		RPM: count(in.RPM), TPM: count(in.TPM), MaxConcurrency: count(in.MaxConcurrency), DrainTokens: count(in.DrainTokens),
		MonthlyCap: amountPatch(in.MonthlyCap), TotalQuota: amountPatch(in.TotalQuota), DailyUSD: amountPatch(in.DailyUSD),
	}
	if in.AllowedModelIDs.Set {
		models, err := a.Manage.ResolveModels(c.Context, "allowed_model_ids", in.AllowedModelIDs.V)
		if err != nil {
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
		p.ExpiresAt = &in.ExpiresAt.V // null is the zero time: never
	}
	return p, nil
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
	if len(models) > 0 {
		catalogue, err := a.Report.Catalogue(c.Context)
		if err != nil {
			return err
		}
		for _, id := range models {
			if m := catalogue.Find(id); m == nil || !catalogue.Visible(m, c.Caller.GroupID, a.Now()) {
				return apierr.Invalid("allowed_model_ids", fmt.Sprintf("allowed_model_ids: there is no model %q", clip(id, 64)))
			}
		}
	}
	return a.checkGift(c, models)
}

// checkGift is the part of checkScope that is about the calling key's own scope.
func (a *api) checkGift(c *Call, models []string) error {
	own := c.Caller.Models
	if len(own) == 0 {
		return nil
	}
	if len(models) == 0 {
		return apierr.New(apierr.ModelNotAllowed, "A key with a model scope cannot give another key all models.").WithParam("allowed_model_ids")
	}
	for _, id := range models {
		if !slices.Contains(own, id) {
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
