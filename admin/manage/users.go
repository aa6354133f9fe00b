package manage

import (
	"context"
	"errors"
	"strings"

	"tokenrelay/admin/session"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// NewUser is an account of the console.
type NewUser struct {
	Email    string
	Password string
	Client   string // name; "" = none
	Operator bool
	Role     store.Role // "" = owner, of an operator admin
}

// CreateUser makes an account. The password is kept as its argon2id hash.
func (s *Service) CreateUser(ctx context.Context, actor store.Actor, in NewUser) (store.User, error) {
	email := strings.ToLower(in.Email)
	if !isEmail(email) {
		return store.User{}, apierr.Invalid("email", "email is not an e-mail address")
	}
	if in.Client == "" && !in.Operator {
		return store.User{}, apierr.Invalid("client", "a user belongs to a client or is an operator")
	}
	u := store.User{Email: email, Operator: in.Operator, Role: in.Role, Active: true}
	if in.Client != "" {
		c, err := s.ClientByName(ctx, in.Client)
		if err != nil {
			return store.User{}, err
		}
		u.ClientID = c.ID
	}
	if in.Role != "" {
		of := u.ClientID
		if in.Operator {
			of = 0
		}
		if err := checkRole(of, in.Role); err != nil {
			return store.User{}, err
		}
	}
	hash, err := session.HashPassword(in.Password)
	if err != nil {
		if errors.Is(err, session.ErrPassword) {
			return store.User{}, apierr.Invalid("password", err.Error())
		}
		return store.User{}, err
	}
	u.PasswordHash = hash
	made, err := s.db.CreateUser(ctx, actor, u)
	return made, refused(err, "user", email)
}
