package api

import (
	"errors"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

type registration struct {
	Name     string `json:"name" required:"true" minlen:"1" maxlen:"128" doc:"of the customer"`
	Email    string `json:"email" required:"true" minlen:"3" maxlen:"254"`
	Password string `json:"password" required:"true" minlen:"1" maxlen:"256"`
}

type resetRequest struct {
	Email string `json:"email" required:"true" minlen:"1" maxlen:"254"`
}

// resetAsked is the same whether the address has an account or not (G10).
type resetAsked struct {
	Mails bool `json:"mails"` // false: there is no mail server, an operator has to make the link
}

type linkUse struct {
	Token    string `json:"token" required:"true" minlen:"1" maxlen:"64"`
	Password string `json:"password" required:"true" minlen:"1" maxlen:"256"`
}

type linkLook struct {
	Token string `json:"token" required:"true" minlen:"1" maxlen:"64"`
}

// invited is what somebody with an invitation may know of it.
type invited struct {
	Email      string `json:"email"`
	ClientName string `json:"client_name"`
	Role       string `json:"role"`
}

// entranceRoutes let people in who are not signed in yet. Like sign-in they take nothing
// that a page of another site had a browser send, and nothing too often (G10, G11).
func (a *api) entranceRoutes() []Route {
	return []Route{
		write(fiber.MethodPost, "/console/api/register", "S3-2", "Make a customer's account", a.register).by(public),
		write(fiber.MethodPost, "/console/api/reset", "S0-4", "Ask for a link by mail to set another password", a.askReset).by(public),
		write(fiber.MethodPost, "/console/api/reset/use", "S0-4", "Set another password by a link", func(c *Call, in *linkUse) (*visitor, error) {
			return a.useLink(c, store.LinkReset, in)
		}).by(public),
		write(fiber.MethodPost, "/console/api/invitation", "S3-2", "What an invitation is for", func(c *Call, in *linkLook) (*invited, error) {
			if err := a.enter(c, "look"); err != nil {
				return nil, err
			}
			l, err := a.Manage.OpenLink(c.Context, store.LinkInvitation, in.Token)
			if err != nil {
				return nil, err
			}
			v := &invited{Email: l.Email, Role: string(l.Role)}
			if l.ClientID == 0 {
				return v, nil
			}
			client, err := a.DB.ClientByID(c.Context, l.ClientID)
			v.ClientName = client.Name
			return v, err
		}).by(public),
		write(fiber.MethodPost, "/console/api/invitation/use", "S3-2", "Accept an invitation", func(c *Call, in *linkUse) (*visitor, error) {
			return a.useLink(c, store.LinkInvitation, in)
		}).by(public),
	}
}

// enter refuses what comes from another site's page or too often.
func (a *api) enter(c *Call, what string, subjects ...string) error {
	if !a.sameOrigin(c) {
		return errForeign
	}
	return a.People.Allow(c.Context, what, c.IP, subjects...)
}

func (a *api) register(c *Call, in *registration) (*visitor, error) {
	if err := a.enter(c, "register", in.Email); err != nil {
		return nil, err
	}
	rules, err := a.Report.Registration(c.Context)
	if err != nil {
		return nil, err
	}
	if !rules.Open {
		return nil, apierr.New(apierr.RoleNotAllowed, "Registration is closed. Ask for an invitation.")
	}
	_, user, err := a.Manage.Register(c.Context, in.Name, in.Email, in.Password, rules.Group)
	if err != nil {
		return nil, err
	}
	return a.letIn(c, user)
}

// letIn begins a session of its own, and ends one that somebody planted.
func (a *api) letIn(c *Call, user store.User) (*visitor, error) {
	if old := c.c.Cookies(a.cookieName()); old != "" {
		if err := a.People.SignOut(c.Context, old); err != nil {
			return nil, err
		}
	}
	signed, err := a.People.Begin(c.Context, user)
	if err != nil {
		return nil, err
	}
	return a.begun(c, signed)
}

func (a *api) askReset(c *Call, in *resetRequest) (*resetAsked, error) {
	if err := a.enter(c, "reset", in.Email); err != nil {
		return nil, err
	}
	out := &resetAsked{Mails: a.Mails}
	if !a.Mails {
		return out, nil
	}
	user, err := a.DB.UserByEmail(c.Context, in.Email)
	if errors.Is(err, store.ErrNotFound) || err == nil && !user.Active {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = a.reset(c, &user)
	return out, err
}

// reset makes a link and, where there is a mail server, sends it. It returns the path.
func (a *api) reset(c *Call, u *store.User) (string, error) {
	token, err := a.Manage.Reset(c.Context, "user:"+store.Actor(u.Email), u)
	if err != nil {
		return "", err
	}
	path := "/console/reset?token=" + token
	if !a.Mails {
		return path, nil
	}
	return path, a.post(c, "reset:"+strconv.FormatInt(u.ID, 10)+":"+c.RequestID, u.Email, "reset", map[string]string{"link": path})
}

func (a *api) useLink(c *Call, kind string, in *linkUse) (*visitor, error) {
	if err := a.enter(c, "link"); err != nil {
		return nil, err
	}
	user, err := a.Manage.TakeLink(c.Context, kind, in.Token, in.Password)
	if err != nil {
		return nil, err
	}
	return a.letIn(c, user)
}
