package api

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

// guardHeader carries what only a page of the console can know, with every change that
// a session makes (G11).
const guardHeader = "x-relay-guard"

type signIn struct {
	Email    string `json:"email" required:"true" minlen:"1" maxlen:"254"`
	Password string `json:"password" required:"true" minlen:"1" maxlen:"256"`
}

type passwordChange struct {
	Old string `json:"old_password" required:"true" minlen:"1" maxlen:"256"`
	New string `json:"new_password" required:"true" minlen:"1" maxlen:"256"`
}

// visitor is what the console needs to know before it shows anything.
type visitor struct {
	Site  site    `json:"site"`
	User  *person `json:"user"`  // null: nobody is signed in
	Guard string  `json:"guard"` // to be sent as x-relay-guard
}

type site struct {
	Brand         string `json:"brand"`
	Contact       string `json:"contact"`
	PublicURL     string `json:"public_url"`
	CreditsPerUSD int64  `json:"credits_per_usd"`
	Registration  bool   `json:"registration"` // strangers may make an account
	Mails         bool   `json:"mails"`        // a password can be reset by mail
}

type person struct {
	Email      string `json:"email"`
	Operator   bool   `json:"operator"`
	Role       string `json:"role"`
	ClientID   string `json:"client_id,omitempty"`
	ClientName string `json:"client_name,omitempty"`
}

// consoleRoutes are for the console's pages only: they are in no published document and
// change with the pages.
func (a *api) consoleRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/console/api/session", "S0-4", "Who is signed in", a.visitor).by(public),
		write(fiber.MethodPost, "/console/api/session", "S0-4", "Sign in", a.signIn).by(public),
		read(fiber.MethodDelete, "/console/api/session", "S0-4", "Sign out", a.signOut).by(public),
		write(fiber.MethodPut, "/console/api/password", "S0-4", "Change the password", a.changePassword).by(public),
		read(fiber.MethodGet, "/console/api/sessions", "G11", "The sessions of who is signed in", a.listSessions).by(public),
		read(fiber.MethodDelete, "/console/api/sessions", "G11", "End every session but this one", a.endOtherSessions).by(public),
		read(fiber.MethodDelete, "/console/api/sessions/:session_id", "G11", "End a session", a.endOneSession).by(public),
		read(fiber.MethodGet, "/console/api/models", "S4-8", "The models on sale and their list prices", a.listPrices).by(public),
	}
}

// listPrices is what a new customer would see: the default group, no multiplier.
func (a *api) listPrices(c *Call) (*modelList, error) {
	catalogue, err := a.Report.Catalogue(c.Context)
	if err != nil {
		return nil, err
	}
	items, err := a.Report.Models(c.Context, &store.KeyRow{GroupID: catalogue.DefaultGroup(), ClientPPM: price.PPM})
	return &modelList{Items: items}, err
}

func (a *api) visitor(c *Call) (*visitor, error) {
	rules, err := a.Report.Registration(c.Context)
	if err != nil {
		return nil, err
	}
	v := &visitor{Site: a.site()}
	v.Site.Registration = rules.Open
	user, token, err := a.signedIn(c)
	switch {
	case err == nil:
		return v, a.introduce(c, v, user, token)
	case toAPIError(err).Code == apierr.NotFound:
		return v, nil
	}
	return nil, err
}

func (a *api) site() site {
	return site{Brand: a.Brand, Contact: a.Contact, PublicURL: a.PublicURL, CreditsPerUSD: a.CreditsPerUSD, Mails: a.Mails}
}

func (a *api) introduce(c *Call, v *visitor, user *store.User, token string) error {
	v.User, v.Guard = &person{Email: user.Email, Operator: user.Operator, Role: string(user.Role)}, session.Guard(token)
	if user.ClientID == 0 {
		return nil
	}
	client, err := a.DB.ClientByID(c.Context, user.ClientID)
	if err != nil {
		return err
	}
	v.User.ClientID, v.User.ClientName = report.ClientID(client.ID), client.Name
	return nil
}

// signIn always begins a session of its own: one that somebody planted is ended (G11).
func (a *api) signIn(c *Call, in *signIn) (*visitor, error) {
	if !a.sameOrigin(c) {
		return nil, errForeign
	}
	if old := c.c.Cookies(a.cookieName()); old != "" {
		if err := a.People.SignOut(c.Context, old); err != nil {
			return nil, err
		}
	}
	signed, err := a.People.SignIn(c.Context, in.Email, in.Password, c.IP)
	if err != nil {
		return nil, err
	}
	return a.begun(c, signed)
}

func (a *api) begun(c *Call, signed *session.Signed) (*visitor, error) {
	if err := a.People.Describe(c.Context, signed.Token, c.IP, c.c.Get(fiber.HeaderUserAgent)); err != nil {
		return nil, err
	}
	a.setCookie(c, signed.Token, a.Now().Add(signed.TTL))
	v := &visitor{Site: a.site()}
	return v, a.introduce(c, v, &signed.User, signed.Token)
}

func (a *api) signOut(c *Call) (*visitor, error) {
	if err := a.guarded(c, c.c.Cookies(a.cookieName())); err != nil {
		return nil, err
	}
	if err := a.People.SignOut(c.Context, c.c.Cookies(a.cookieName())); err != nil {
		return nil, err
	}
	a.setCookie(c, "", time.Unix(1, 0))
	return &visitor{Site: a.site()}, nil
}

func (a *api) changePassword(c *Call, in *passwordChange) (*visitor, error) {
	user, token, err := a.signedIn(c)
	if err != nil {
		return nil, errSession
	}
	if err := a.guarded(c, token); err != nil {
		return nil, err
	}
	signed, err := a.People.ChangePassword(c.Context, c.actor(), user, in.Old, in.New)
	if err != nil {
		return nil, err
	}
	return a.begun(c, signed)
}

var (
	errSession = apierr.New(apierr.InvalidAPIKey, "You are not signed in, or the session has ended.")
	errForeign = apierr.New(apierr.InvalidRequest, "This change did not come from a page of the console.")
)

// secure tells whether browsers reach the console by TLS. The setting decides, not the
// request: a front may have taken the TLS off.
func (a *api) secure() bool { return strings.HasPrefix(a.PublicURL, "https://") }

// cookieName carries the browser's promise that no other host can have set the cookie,
// which only exists with TLS.
func (a *api) cookieName() string {
	if a.secure() {
		return "__Host-relay_session"
	}
	return "relay_session"
}

func (a *api) setCookie(c *Call, token string, expires time.Time) {
	c.c.Cookie(&fiber.Cookie{
		Name: a.cookieName(), Value: token, Path: "/", Expires: expires,
		HTTPOnly: true, Secure: a.secure(), SameSite: fiber.CookieSameSiteLaxMode,
	})
}

// signedIn is the person of the session cookie, store.ErrNotFound where there is none.
func (a *api) signedIn(c *Call) (*store.User, string, error) {
	token := c.c.Cookies(a.cookieName())
	if token == "" || a.People == nil {
		return nil, "", store.ErrNotFound
	}
	user, err := a.People.User(c.Context, token)
	if err != nil {
		return nil, "", err
	}
	c.User = user
	return user, token, nil
}

// guarded refuses changes that a page of another site had a browser make.
func (a *api) guarded(c *Call, token string) error {
	if c.c.Method() == fiber.MethodGet || c.c.Method() == fiber.MethodHead {
		return nil
	}
	if !a.sameOrigin(c) || !session.CheckGuard(token, c.c.Get(guardHeader)) {
		return errForeign
	}
	return nil
}

// sameOrigin tells whether a request came from a page of the host that it was sent to,
// or from no page at all. Browsers say so in headers that pages cannot write.
func (a *api) sameOrigin(c *Call) bool {
	if site := c.c.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none"
	}
	origin := c.c.Get(fiber.HeaderOrigin)
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	hosts := []string{string(c.c.Request().Host())}
	if peerTrusted(c.c, a.TrustedProxies) {
		hosts = append(hosts, c.c.Get(fiber.HeaderXForwardedHost))
	}
	if public, err := url.Parse(a.PublicURL); err == nil {
		hosts = append(hosts, public.Host)
	}
	return slices.Contains(hosts, u.Host)
}

// customerOf lets a person act for the client that they belong to, as a key without
// limits would.
func (a *api) customerOf(c *Call) (Caller, error) {
	user, token, err := a.signedIn(c)
	if err != nil {
		if toAPIError(err).Code == apierr.NotFound {
			return nil, apierr.ErrInvalidAPIKey
		}
		return nil, err
	}
	if err := a.guarded(c, token); err != nil {
		return nil, err
	}
	if user.ClientID == 0 {
		return nil, apierr.New(apierr.KeyDisabled, "This account belongs to no customer.")
	}
	c.Role = user.Role
	if user.Operator { // who also belongs to a client
		c.Role = store.RoleOwner
	}
	client, err := a.DB.ClientByID(c.Context, user.ClientID)
	if err != nil {
		return nil, err
	}
	if !client.Active {
		return nil, apierr.New(apierr.KeyDisabled, "This customer account is disabled.")
	}
	return &store.KeyRow{
		Name: user.Email, Status: store.KeyActive, KeyLimits: store.Unlimited(), ClientID: client.ID, ClientName: client.Name,
		ClientActive: client.Active, ClientPPM: client.PPM, WalletID: client.WalletID, GroupID: client.GroupID,
	}, nil
}

// operatorSession lets a person act who operates the relay.
func (a *api) operatorSession(c *Call) error {
	user, token, err := a.signedIn(c)
	if err != nil {
		if toAPIError(err).Code == apierr.NotFound {
			return errOperator
		}
		return err
	}
	if !user.Operator {
		return errOperator
	}
	c.Role = user.Role
	return a.guarded(c, token)
}
