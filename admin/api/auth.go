package api

import (
	"net/netip"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/store"
)

// Caller is the customer key that a call was made with.
type Caller = *store.KeyRow

var credentialHeaders = []string{fiber.HeaderAuthorization, "x-api-key", "x-goog-api-key"}

// credential takes the token from the headers: Bearer first, then x-api-key, then
// x-goog-api-key (interface 5). The first found decides; the same header twice is
// refused.
func credential(c *fiber.Ctx) (string, error) {
	for _, name := range credentialHeaders {
		values := c.Request().Header.PeekAll(name)
		switch len(values) {
		case 0:
			continue
		case 1:
		default:
			return "", badRequest(name, "the header "+name+" is given twice")
		}
		value := string(values[0])
		if name != fiber.HeaderAuthorization {
			return strings.TrimSpace(value), nil
		}
		scheme, token, ok := strings.Cut(value, " ")
		if !ok || !strings.EqualFold(scheme, "bearer") {
			return "", apierr.ErrInvalidAPIKey
		}
		return strings.TrimSpace(token), nil
	}
	return "", apierr.ErrInvalidAPIKey
}

// hasCredential tells whether a call carries a token in a header. Where it does, a
// session of the browser that sent it has no say.
func hasCredential(c *fiber.Ctx) bool {
	for _, name := range credentialHeaders {
		if len(c.Request().Header.PeekAll(name)) > 0 {
			return true
		}
	}
	return false
}

// authenticate finds the key of a call, or the person of the console who makes it. A
// key costs one statement, and none for what cannot be one.
func (a *api) authenticate(call *Call) (err error) {
	if !hasCredential(call.c) {
		call.Caller, err = a.customerOf(call)
		return err
	}
	token, err := credential(call.c)
	if err != nil {
		return err
	}
	switch apikey.Check([]byte(token)) {
	case apikey.Ours, apikey.Foreign:
	default:
		return apierr.ErrInvalidAPIKey
	}
	key, err := a.DB.LoadKey(call.Context, apikey.Digest([]byte(token)))
	if err != nil {
		if toAPIError(err).Code == apierr.NotFound {
			return apierr.ErrInvalidAPIKey
		}
		return err
	}
	call.Caller, call.Role = key, store.RoleOwner
	return usable(key, call.IP, a.Now())
}

// usable tells why a key may not be used, as the data plane does.
func usable(key *store.KeyRow, ip netip.Addr, now time.Time) error {
	switch {
	case key.Status != store.KeyActive || !key.ClientActive:
		return apierr.ErrKeyDisabled
	case !key.ExpiresAt.IsZero() && !key.ExpiresAt.After(now):
		return apierr.ErrKeyExpired
	}
	if len(key.IPAllow) == 0 {
		return nil
	}
	for _, p := range key.IPAllow {
		if p.Contains(ip) {
			return nil
		}
	}
	return apierr.ErrIPNotAllowed
}

// authenticateOperator checks the operator token, or the session of an operator. Without
// a token in the settings only sessions open the operator API.
func (a *api) authenticateOperator(call *Call) error {
	if !hasCredential(call.c) {
		return a.operatorSession(call)
	}
	token, err := credential(call.c)
	if err != nil {
		return errOperator
	}
	if !a.Operator.Check(token) {
		return errOperator
	}
	call.Role = store.RoleAdmin
	return nil
}

var errOperator = apierr.New(apierr.InvalidAPIKey, "The operator API needs the operator token as 'Authorization: Bearer'.")

// actor names the caller in the audit log.
func (c *Call) actor() store.Actor {
	if c.User != nil {
		return store.Actor("user:" + c.User.Email)
	}
	if c.Caller != nil {
		return store.Actor("key:" + c.Caller.PublicID)
	}
	return "operator"
}
