package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenrelay/admin/session"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// How long links live.
const (
	InvitationTTL = 7 * 24 * time.Hour
	ResetTTL      = time.Hour
)

// Invite makes an invitation and returns its token, which nobody can read again. clientID
// 0 invites an operator.
func (s *Service) Invite(ctx context.Context, actor store.Actor, clientID int64, email string, role store.Role) (store.Link, string, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	if !isEmail(email) {
		return store.Link{}, "", apierr.Invalid("email", "email is not an e-mail address")
	}
	if err := checkRole(clientID, role); err != nil {
		return store.Link{}, "", err
	}
	token, digest := session.NewLink()
	l, err := s.db.CreateLink(ctx, actor, store.Link{Kind: store.LinkInvitation, Email: email, ClientID: clientID, Role: role}, digest, InvitationTTL)
	switch {
	case errors.Is(err, store.ErrExists):
		return l, "", apierr.Invalid("email", "this address has an account already").WithCause(err)
	case errors.Is(err, store.ErrFull):
		return l, "", apierr.Invalid("email", "too many invitations are open: revoke some").WithCause(err)
	}
	return l, token, err
}

func checkRole(clientID int64, role store.Role) error {
	list := store.CustomerRoles
	if clientID == 0 {
		list = store.OperatorRoles
	}
	if !slices.Contains(list, role) {
		return apierr.Invalid("role", fmt.Sprintf("role must be one of %s", joinRoles(list)))
	}
	return nil
}

func joinRoles(list []store.Role) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = string(r)
	}
	return strings.Join(texts, ", ")
}

// PatchUser changes a person of a client (0: anybody).
func (s *Service) PatchUser(ctx context.Context, actor store.Actor, clientID, id int64, p store.UserPatch) (store.User, error) {
	if p.Role != nil {
		people, err := s.db.Users(ctx, store.UserFilter{ID: id, ClientID: clientID, Limit: 1})
		if err != nil {
			return store.User{}, err
		}
		if len(people) == 0 {
			return store.User{}, store.ErrNotFound
		}
		owner := people[0].ClientID
		if people[0].Operator {
			owner = 0
		}
		if err := checkRole(owner, *p.Role); err != nil {
			return store.User{}, err
		}
	}
	u, err := s.db.PatchUser(ctx, actor, clientID, id, p)
	if errors.Is(err, store.ErrConflict) {
		return u, apierr.Invalid("role", "this is the last active owner or admin: name another one first").WithCause(err)
	}
	return u, err
}

// Reset makes a link by which an account gets another password.
func (s *Service) Reset(ctx context.Context, actor store.Actor, u *store.User) (string, error) {
	token, digest := session.NewLink()
	_, err := s.db.CreateLink(ctx, actor, store.Link{Kind: store.LinkReset, Email: u.Email, ClientID: u.ClientID, UserID: u.ID}, digest, ResetTTL)
	return token, err
}

// TakeLink uses a link up with a password for the account.
func (s *Service) TakeLink(ctx context.Context, kind, token, password string) (store.User, error) {
	if _, err := s.OpenLink(ctx, kind, token); err != nil { // before the time a password takes
		return store.User{}, err
	}
	hash, err := hashed(password)
	if err != nil {
		return store.User{}, err
	}
	u, err := s.db.TakeLink(ctx, kind, session.LinkDigest(token), hash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return u, errLink
	case errors.Is(err, store.ErrExists):
		return u, apierr.Invalid("token", "this address has an account already: sign in").WithCause(err)
	}
	return u, err
}

var errLink = apierr.New(apierr.NotFound, "The link was used, has been replaced, or has expired. Ask for another one.")

// OpenLink reads a link that can still be used.
func (s *Service) OpenLink(ctx context.Context, kind, token string) (store.Link, error) {
	l, err := s.db.OpenLink(ctx, kind, session.LinkDigest(token))
	if errors.Is(err, store.ErrNotFound) {
		return l, errLink
	}
	return l, err
}

func hashed(password string) (string, error) {
	hash, err := session.HashPassword(password)
	if errors.Is(err, session.ErrPassword) {
		return "", apierr.Invalid("password", err.Error())
	}
	return hash, err
}

// Register makes a customer for a stranger, without money, and its owner.
func (s *Service) Register(ctx context.Context, name, email, password, group string) (store.Client, store.User, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	if !isEmail(email) {
		return store.Client{}, store.User{}, apierr.Invalid("email", "email is not an e-mail address")
	}
	if err := checkText("name", name, 1, maxName); err != nil {
		return store.Client{}, store.User{}, err
	}
	hash, err := hashed(password)
	if err != nil {
		return store.Client{}, store.User{}, err
	}
	c, u, err := s.db.Register(ctx, store.NewClient{Name: name, Group: group}, store.User{Email: email, PasswordHash: hash})
	if errors.Is(err, store.ErrExists) {
		return c, u, apierr.Invalid("email", "the name or the address is taken: sign in, or ask for another password").WithCause(err)
	}
	return c, u, err
}

// Set stores a setting as JSON.
func (s *Service) Set(ctx context.Context, actor store.Actor, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot store a setting: %w", err)
	}
	return s.db.SetSetting(ctx, actor, name, text)
}

// maxRecipients is how many addresses an account can have mails sent to.
const maxRecipients = 5

// CheckRecipients refuses what cannot be sent to; doubles are dropped.
func CheckRecipients(list []string) ([]string, error) {
	if len(list) > maxRecipients {
		return nil, apierr.Invalid("recipients", fmt.Sprintf("recipients has more than %d addresses", maxRecipients))
	}
	out := []string{}
	for _, address := range list {
		address = strings.ToLower(strings.TrimSpace(address))
		if !isEmail(address) {
			return nil, apierr.Invalid("recipients", fmt.Sprintf("%q is not an e-mail address", clip(address)))
		}
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out, nil
}

// SetAlerts changes whom a customer wants to be told by mail.
func (s *Service) SetAlerts(ctx context.Context, actor store.Actor, clientID int64, p store.AlertPlan) error {
	return s.db.SetAlerts(ctx, actor, clientID, p)
}
