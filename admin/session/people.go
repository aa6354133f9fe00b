package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// Guesses at passwords (G10): so many tries within Span for an account and for an
// address, whether the account exists or not.
const (
	Span     = 15 * time.Minute
	maxTries = 5
)

// TTL is how long a session lasts, used or not. An operator's is a working day.
const (
	TTL         = 7 * 24 * time.Hour
	OperatorTTL = 12 * time.Hour
)

// checksAtOnce bounds the memory that password checks take: each needs 64 MiB.
const checksAtOnce = 2

// ErrSignIn is the one answer to a wrong address and to a wrong password.
var ErrSignIn = apierr.New(apierr.InvalidAPIKey, "The e-mail address or the password is wrong.")

// People signs people in and knows them again. A session is a random token whose
// digest is stored; deleting the row ends it everywhere.
type People struct {
	db     *store.DB
	checks chan struct{}
}

// NewPeople returns the sessions of db.
func NewPeople(db *store.DB) *People {
	return &People{db: db, checks: make(chan struct{}, checksAtOnce)}
}

// nobodys is what the passwords of unknown accounts are checked against, so that they
// take as long as known ones. Nobody knows the password.
var nobodys = sync.OnceValues(func() (string, error) {
	password, err := GeneratePassword()
	if err != nil {
		return "", err
	}
	return HashPassword(password)
})

// Signed is a person who has just signed in.
type Signed struct {
	User  store.User
	Token string // for the cookie, nowhere else
	TTL   time.Duration
}

// SignIn checks a password and begins a session. Refusals are ErrSignIn, or
// rate_limited_ip with the seconds until another try counts.
func (p *People) SignIn(ctx context.Context, email, password string, from netip.Addr) (*Signed, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	account, address := subject("account", email), subject("address", block(from))
	for _, s := range [][32]byte{address, account} {
		tries, left, err := p.db.TrySignIn(ctx, s, Span)
		if err != nil {
			return nil, err
		}
		if tries > maxTries {
			seconds := max(1, int(left/time.Second))
			return nil, apierr.New(apierr.RateLimitedIP, fmt.Sprintf("Too many attempts to sign in. Try again in %d minutes.", (seconds+59)/60)).WithRetryAfter(seconds)
		}
	}
	user, err := p.db.UserByEmail(ctx, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	known := err == nil && user.Active
	hash := user.PasswordHash
	if !known {
		if hash, err = nobodys(); err != nil {
			return nil, err
		}
	}
	right, err := p.check(ctx, hash, password)
	if err != nil {
		return nil, err
	}
	if !right || !known {
		return nil, ErrSignIn
	}
	if err := p.db.SignedIn(ctx, account, address); err != nil {
		return nil, err
	}
	return p.begin(ctx, user)
}

func (p *People) check(ctx context.Context, hash, password string) (bool, error) {
	select {
	case p.checks <- struct{}{}:
		defer func() { <-p.checks }()
		return CheckPassword(hash, password), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (p *People) begin(ctx context.Context, user store.User) (*Signed, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("cannot make a session: %w", err)
	}
	s := &Signed{User: user, Token: base64.RawURLEncoding.EncodeToString(secret[:]), TTL: TTL}
	if user.Operator {
		s.TTL = OperatorTTL
	}
	if err := p.db.CreateSession(ctx, sha256.Sum256([]byte(s.Token)), user.ID, s.TTL); err != nil {
		return nil, err
	}
	return s, nil
}

// User is who a token belongs to, store.ErrNotFound if the session has ended.
func (p *People) User(ctx context.Context, token string) (*store.User, error) {
	if token == "" {
		return nil, store.ErrNotFound
	}
	u, err := p.db.SessionUser(ctx, sha256.Sum256([]byte(token)))
	if err != nil {
		return nil, err
	}
	return &u, nil
}

// SignOut ends a session.
func (p *People) SignOut(ctx context.Context, token string) error {
	return p.db.EndSession(ctx, sha256.Sum256([]byte(token)))
}

// Describe notes from where a session began, so that its owner knows it again. agent is
// what the browser calls itself, cut to what is kept.
func (p *People) Describe(ctx context.Context, token string, from netip.Addr, agent string) error {
	clean := []rune(strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, agent), ""))
	address := ""
	if from.IsValid() {
		address = from.Unmap().String()
	}
	return p.db.DescribeSession(ctx, sha256.Sum256([]byte(token)), address, string(clean[:min(len(clean), 256)]))
}

// Sessions lists the sessions of a person, newest first, and says which one token is of.
func (p *People) Sessions(ctx context.Context, userID int64, token string) (list []store.Session, current int64, err error) {
	if list, err = p.db.Sessions(ctx, userID); err != nil {
		return nil, 0, err
	}
	digest := sha256.Sum256([]byte(token))
	for i := range list {
		if list[i].Digest == digest {
			current = list[i].ID
		}
	}
	return list, current, nil
}

// End ends one session of a person, store.ErrNotFound where it is not theirs.
func (p *People) End(ctx context.Context, userID, id int64) error {
	return p.db.EndSessionOf(ctx, userID, id)
}

// EndOthers ends every session of a person but the one of token.
func (p *People) EndOthers(ctx context.Context, userID int64, token string) error {
	return p.db.EndOtherSessions(ctx, userID, sha256.Sum256([]byte(token)))
}

// Allow counts one try of something that strangers may do only so often, for each of the
// subjects: rate_limited_ip when it is one too many.
func (p *People) Allow(ctx context.Context, what string, from netip.Addr, subjects ...string) error {
	list := [][32]byte{subject(what+" from", block(from))}
	for _, s := range subjects {
		list = append(list, subject(what, strings.ToLower(strings.TrimSpace(s))))
	}
	for _, s := range list {
		tries, left, err := p.db.TrySignIn(ctx, s, Span)
		if err != nil {
			return err
		}
		if tries > maxTries {
			seconds := max(1, int(left/time.Second))
			return apierr.New(apierr.RateLimitedIP, fmt.Sprintf("Too many attempts. Try again in %d minutes.", (seconds+59)/60)).WithRetryAfter(seconds)
		}
	}
	return nil
}

// Begin signs a person in who has shown otherwise who they are: by a link, or by having
// just made the account.
func (p *People) Begin(ctx context.Context, user store.User) (*Signed, error) {
	return p.begin(ctx, user)
}

// ChangePassword replaces a person's password, ends every session of the account and
// begins a new one. The old password is asked for again.
func (p *People) ChangePassword(ctx context.Context, actor store.Actor, u *store.User, old, next string) (*Signed, error) {
	tries, left, err := p.db.TrySignIn(ctx, subject("account", u.Email), Span)
	if err != nil {
		return nil, err
	}
	if tries > maxTries {
		return nil, apierr.New(apierr.RateLimitedIP, "Too many wrong passwords. Try again later.").WithRetryAfter(max(1, int(left/time.Second)))
	}
	right, err := p.check(ctx, u.PasswordHash, old)
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, apierr.Invalid("old_password", "old_password is wrong")
	}
	hash, err := HashPassword(next)
	if errors.Is(err, ErrPassword) {
		return nil, apierr.Invalid("new_password", err.Error())
	}
	if err != nil {
		return nil, err
	}
	if err := p.db.SetPassword(ctx, actor, u.ID, hash); err != nil {
		return nil, err
	}
	account := subject("account", u.Email)
	if err := p.db.SignedIn(ctx, account, account); err != nil {
		return nil, err
	}
	return p.begin(ctx, *u)
}

// Guard is what a page must send with every change, besides the cookie that a browser
// sends by itself: only a page of this origin can read it.
func Guard(token string) string {
	sum := sha256.Sum256([]byte("guard of " + token))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// CheckGuard tells whether guard belongs to the session, in constant time.
func CheckGuard(token, guard string) bool {
	return subtle.ConstantTimeCompare([]byte(Guard(token)), []byte(guard)) == 1
}

// block is the network that one guesser has: an IPv4 address, or the /64 of an IPv6 one.
func block(ip netip.Addr) string {
	if ip.Is6() && !ip.Is4In6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.Unmap().String()
}

func subject(kind, text string) [32]byte {
	return sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(len(kind))), kind+text...))
}
