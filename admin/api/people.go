package api

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// member is a person of a customer, as its people see each other.
type member struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email"`
	Role      string    `json:"role" enum:"owner,member,billing,read-only"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
}

type memberList struct {
	Items      []member `json:"items"`
	NextCursor *string  `json:"next_cursor"`
}

type memberPatch struct {
	Role   Opt[string] `json:"role" enum:"owner,member,billing,read-only" example:"member"`
	Active Opt[bool]   `json:"active" doc:"false: the account is signed out and cannot sign in" example:"true"`
}

type memberInvite struct {
	Email string `json:"email" required:"true" minlen:"3" maxlen:"254" example:"ann@example.com"`
	Role  string `json:"role" required:"true" enum:"owner,member,billing,read-only"`
}

// invitation is an invitation as those who may invite see it; Link only when it was just made.
type invitation struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email"`
	Role      string    `json:"role"`
	State     string    `json:"state" enum:"open,used,revoked,expired"`
	Actor     string    `json:"invited_by"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Mailed    bool      `json:"mailed,omitempty" doc:"the link was also sent to the address"`
	Link      string    `json:"link,omitempty" doc:"to be handed over; shown this once"`
}

type invitationList struct {
	Items      []invitation `json:"items"`
	NextCursor *string      `json:"next_cursor"`
}

func (a *api) memberRoutes() []Route {
	return []Route{
		find("/openapi/v1/members", "S3-2", "The people of the customer", func(c *Call, q *page) (*memberList, error) {
			after, err := q.row()
			if err != nil {
				return nil, err
			}
			rows, err := a.DB.Users(c.Context, store.UserFilter{ClientID: c.Caller.ClientID, AfterID: after, Limit: q.Limit + 1})
			if err != nil {
				return nil, err
			}
			rows, next := cut(rows, q.Limit, func(r *store.User) int64 { return r.ID })
			list := &memberList{Items: make([]member, len(rows)), NextCursor: next}
			for i := range rows {
				list.Items[i] = viewMember(&rows[i])
			}
			return list, nil
		}),
		write(fiber.MethodPatch, "/openapi/v1/members/:user_id", "S3-2", "Change a person's role, or switch the account off", func(c *Call, in *memberPatch) (*member, error) {
			u, err := a.patchUser(c, c.Caller.ClientID, in.Role, in.Active)
			if err != nil {
				return nil, err
			}
			v := viewMember(u)
			return &v, nil
		}).people(),
		find("/openapi/v1/invitations", "S3-2", "Invitations, newest first", func(c *Call, q *page) (*invitationList, error) {
			return a.invitations(c, c.Caller.ClientID, q)
		}).only(store.RoleOwner).people(),
		write(fiber.MethodPost, "/openapi/v1/invitations", "S3-2", "Invite a person; the link is shown this once, and sent where there is a mail server", func(c *Call, in *memberInvite) (*invitation, error) {
			return a.invite(c, c.Caller.ClientID, c.Caller.ClientName, in.Email, in.Role)
		}).people().status(fiber.StatusCreated).refuses(apierr.RateLimitedIP),
		read(fiber.MethodDelete, "/openapi/v1/invitations/:invitation_id", "S3-2", "Make an invitation worthless", func(c *Call) (*invitation, error) {
			return a.revokeInvitation(c, c.Caller.ClientID)
		}).people(),
	}
}

func viewMember(u *store.User) member {
	v := member{ID: u.ID, Email: u.Email, Role: string(u.Role), Active: u.Active, CreatedAt: u.CreatedAt.UTC()}
	if u.Operator { // of this customer, too
		v.Role = string(store.RoleOwner)
	}
	return v
}

func (a *api) patchUser(c *Call, clientID int64, role Opt[string], active Opt[bool]) (*store.User, error) {
	id, err := strconv.ParseInt(c.Param("user_id"), 10, 64)
	if err != nil {
		return nil, apierr.ErrNotFound
	}
	var p store.UserPatch
	if role.Set && !role.Null {
		r := store.Role(role.V)
		p.Role = &r
	}
	if active.Set && !active.Null {
		p.Active = &active.V
	}
	u, err := a.Manage.PatchUser(c.Context, c.actor(), clientID, id, p)
	return &u, err
}

func (a *api) invitations(c *Call, clientID int64, q *page) (*invitationList, error) {
	before, err := q.row()
	if err != nil {
		return nil, err
	}
	rows, err := a.DB.Invitations(c.Context, clientID, before, q.Limit+1)
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.Link) int64 { return r.ID })
	list := &invitationList{Items: make([]invitation, len(rows)), NextCursor: next}
	for i := range rows {
		list.Items[i] = a.viewInvitation(&rows[i])
	}
	return list, nil
}

func (a *api) viewInvitation(l *store.Link) invitation {
	v := invitation{ID: l.ID, Email: l.Email, Role: string(l.Role), State: "open", Actor: string(l.Actor), CreatedAt: l.CreatedAt.UTC(), ExpiresAt: l.ExpiresAt.UTC()}
	switch {
	case !l.UsedAt.IsZero():
		v.State = "used"
	case !l.RevokedAt.IsZero():
		v.State = "revoked"
	case !a.Now().Before(l.ExpiresAt):
		v.State = "expired"
	}
	return v
}

func (a *api) invite(c *Call, clientID int64, client, email, role string) (*invitation, error) {
	// A mail to anybody is a way to bother them: not more often than a password is tried.
	if err := a.People.Allow(c.Context, "invite", c.IP, email); err != nil {
		return nil, err
	}
	l, token, err := a.Manage.Invite(c.Context, c.actor(), clientID, email, store.Role(role))
	if err != nil {
		return nil, err
	}
	v := a.viewInvitation(&l)
	path := "/console/invitation?token=" + token
	v.Link, v.Mailed = a.PublicURL+path, a.Mails
	if !a.Mails {
		return &v, nil
	}
	by := "Somebody"
	if c.User != nil {
		by = c.User.Email
	}
	return &v, a.post(c, "invitation:"+strconv.FormatInt(l.ID, 10), l.Email, "invitation", map[string]string{"actor": by, "client": client, "link": path})
}

// post writes a mail that is sent as soon as the server takes it.
func (a *api) post(c *Call, ref, to, kind string, data map[string]string) error {
	l, err := a.Letters.Write(kind, data)
	if err != nil {
		return err
	}
	return a.DB.WriteMails(c.Context, a.Box, 0, []store.Mail{{Ref: ref, To: to, Subject: l.Subject, Text: l.Text, HTML: l.HTML}})
}

func (a *api) revokeInvitation(c *Call, clientID int64) (*invitation, error) {
	id, err := strconv.ParseInt(c.Param("invitation_id"), 10, 64)
	if err != nil {
		return nil, apierr.ErrNotFound
	}
	l, err := a.DB.RevokeInvitation(c.Context, c.actor(), clientID, id)
	if err != nil {
		return nil, err
	}
	v := a.viewInvitation(&l)
	return &v, nil
}

// ---- operators --------------------------------------------------------------------------

type operatorUser struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email"`
	Role      string    `json:"role" enum:"owner,member,billing,read-only,admin,support,finance"`
	Operator  bool      `json:"operator"`
	ClientID  *string   `json:"client_id"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
}

type operatorUsers struct {
	Items      []operatorUser `json:"items"`
	NextCursor *string        `json:"next_cursor"`
}

type userFilter struct {
	page
	ClientID string `query:"client_id" doc:"client_<n>" maxlen:"64"`
	Role     string `query:"role" enum:"owner,member,billing,read-only,admin,support,finance"`
	Email    string `query:"email" doc:"a part of the address" maxlen:"254"`
}

type userCreate struct {
	Email    string `json:"email" required:"true" minlen:"3" maxlen:"254" example:"ann@example.com"`
	Client   string `json:"client" maxlen:"128" doc:"name of the customer; left out: an operator"`
	Role     string `json:"role" required:"true" enum:"owner,member,billing,read-only,admin,support,finance"`
	Password string `json:"password" required:"true" minlen:"1" maxlen:"256" example:"correct horse battery"`
}

type userPatch struct {
	Role   Opt[string] `json:"role" enum:"owner,member,billing,read-only,admin,support,finance" example:"support"`
	Active Opt[bool]   `json:"active" example:"true"`
}

type operatorInvite struct {
	Email    string `json:"email" required:"true" minlen:"3" maxlen:"254" example:"ann@example.com"`
	ClientID string `json:"client_id" maxlen:"64" doc:"client_<n>; left out: an operator"`
	Role     string `json:"role" required:"true" enum:"owner,member,billing,read-only,admin,support,finance"`
}

// resetLink is how an operator lets somebody in who has no mail.
type resetLink struct {
	Email  string `json:"email"`
	Link   string `json:"link" doc:"works once, for an hour; shown this once"`
	Mailed bool   `json:"mailed"`
}

func (a *api) userRoutes() []Route {
	return []Route{
		find("/admin/v1/users", "S0-4", "Accounts of the console", a.listUsers).by(operator),
		read(fiber.MethodGet, "/admin/v1/users/:user_id", "S0-4", "One account", func(c *Call) (*operatorUser, error) {
			u, err := a.user(c)
			if err != nil {
				return nil, err
			}
			v := viewUser(u)
			return &v, nil
		}).by(operator),
		write(fiber.MethodPost, "/admin/v1/users", "S0-4", "Make an account", func(c *Call, in *userCreate) (*operatorUser, error) {
			u, err := a.Manage.CreateUser(c.Context, c.actor(), manage.NewUser{
				Email: in.Email, Password: in.Password, Client: in.Client, Operator: in.Client == "", Role: store.Role(in.Role),
			})
			if err != nil {
				return nil, err
			}
			v := viewUser(&u)
			return &v, nil
		}).by(operator).status(fiber.StatusCreated).refuses(apierr.NotFound),
		write(fiber.MethodPatch, "/admin/v1/users/:user_id", "S0-4", "Change an account's role, or switch it off", func(c *Call, in *userPatch) (*operatorUser, error) {
			u, err := a.patchUser(c, 0, in.Role, in.Active)
			if err != nil {
				return nil, err
			}
			v := viewUser(u)
			return &v, nil
		}).by(operator),
		read(fiber.MethodPost, "/admin/v1/users/:user_id/reset", "S0-4", "Make a link by which an account gets another password", func(c *Call) (*resetLink, error) {
			u, err := a.user(c)
			if err != nil {
				return nil, err
			}
			path, err := a.reset(c, u)
			return &resetLink{Email: u.Email, Link: a.PublicURL + path, Mailed: a.Mails}, err
		}).by(operator),
		find("/admin/v1/invitations", "S3-2", "Invitations of operators, newest first", func(c *Call, q *page) (*invitationList, error) { return a.invitations(c, 0, q) }).by(operator).only(store.RoleAdmin),
		write(fiber.MethodPost, "/admin/v1/invitations", "S3-2", "Invite a person of a customer, or an operator", func(c *Call, in *operatorInvite) (*invitation, error) {
			if in.ClientID == "" {
				return a.invite(c, 0, "", in.Email, in.Role)
			}
			id, ok := report.ParseClientID(in.ClientID)
			if !ok {
				return nil, badRequest("client_id", "client_id must be like client_1")
			}
			client, err := a.DB.ClientByID(c.Context, id)
			if err != nil {
				return nil, err
			}
			return a.invite(c, client.ID, client.Name, in.Email, in.Role)
		}).by(operator).status(fiber.StatusCreated).refuses(apierr.NotFound, apierr.RateLimitedIP),
		read(fiber.MethodDelete, "/admin/v1/invitations/:invitation_id", "S3-2", "Make an operator's invitation worthless", func(c *Call) (*invitation, error) { return a.revokeInvitation(c, 0) }).by(operator),
	}
}

func viewUser(u *store.User) operatorUser {
	v := operatorUser{ID: u.ID, Email: u.Email, Role: string(u.Role), Operator: u.Operator, Active: u.Active, CreatedAt: u.CreatedAt.UTC()}
	if u.ClientID != 0 {
		id := report.ClientID(u.ClientID)
		v.ClientID = &id
	}
	return v
}

func (a *api) user(c *Call) (*store.User, error) {
	id, err := strconv.ParseInt(c.Param("user_id"), 10, 64)
	if err != nil || id <= 0 {
		return nil, apierr.ErrNotFound
	}
	list, err := a.DB.Users(c.Context, store.UserFilter{ID: id, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, apierr.ErrNotFound
	}
	return &list[0], nil
}

func (a *api) listUsers(c *Call, q *userFilter) (*operatorUsers, error) {
	after, err := q.row()
	if err != nil {
		return nil, err
	}
	f := store.UserFilter{Role: store.Role(q.Role), Email: q.Email, AfterID: after, Limit: q.Limit + 1}
	if q.ClientID != "" {
		var ok bool
		if f.ClientID, ok = report.ParseClientID(q.ClientID); !ok {
			return nil, badRequest("client_id", "client_id must be like client_1")
		}
	}
	rows, err := a.DB.Users(c.Context, f)
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.User) int64 { return r.ID })
	list := &operatorUsers{Items: make([]operatorUser, len(rows)), NextCursor: next}
	for i := range rows {
		list.Items[i] = viewUser(&rows[i])
	}
	return list, nil
}
