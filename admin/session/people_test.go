package session

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/store"
)

const rightPassword = "correct horse battery"

func newPeople(t *testing.T, emails ...string) (*People, *store.DB) {
	t.Helper()
	db := pgtest.Open(t, store.Options{})
	hash, err := HashPassword(rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	for _, email := range emails {
		if _, err := db.CreateUser(t.Context(), "test", store.User{Email: email, PasswordHash: hash, Operator: true}); err != nil {
			t.Fatal(err)
		}
	}
	return NewPeople(db), db
}

func at(text string) netip.Addr { return netip.MustParseAddr(text) }

func TestSignInAndOut(t *testing.T) {
	p, _ := newPeople(t, "ann@example.com")
	first, err := p.SignIn(t.Context(), " Ann@Example.com ", rightPassword, at("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.SignIn(t.Context(), "ann@example.com", rightPassword, at("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Token == second.Token || len(first.Token) != 43 || first.TTL != OperatorTTL {
		t.Errorf("sessions %q %q, %v", first.Token, second.Token, first.TTL)
	}
	if u, err := p.User(t.Context(), first.Token); err != nil || u.Email != "ann@example.com" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, token := range []string{"", "x", first.Token + "x"} {
		if _, err := p.User(t.Context(), token); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	if err := p.SignOut(t.Context(), first.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := p.User(t.Context(), first.Token); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session outlives its sign-out: %v", err)
	}
	if _, err := p.User(t.Context(), second.Token); err != nil {
		t.Errorf("signing out of one session ended the other: %v", err)
	}
}

// G10: five tries for an account, whoever makes them and whether it exists or not, and
// the refusals read the same. The right password does not help a sixth.
func TestGuessesAtAnAccountG10(t *testing.T) {
	p, _ := newPeople(t, "ann@example.com")
	for _, email := range []string{"ann@example.com", "nobody@example.com"} {
		for i := range maxTries {
			from := netip.AddrFrom4([4]byte{10, 0, byte(len(email)), byte(i)})
			if _, err := p.SignIn(t.Context(), email, "wrong password", from); err != ErrSignIn {
				t.Fatalf("%s, try %d: %v", email, i, err)
			}
		}
		_, err := p.SignIn(t.Context(), email, rightPassword, at("203.0.113.9"))
		var e *apierr.Error
		if !errors.As(err, &e) || e.Code != apierr.RateLimitedIP || e.RetryAfter <= 0 || e.RetryAfter > int(Span/time.Second) {
			t.Errorf("%s, one try too many: %v", email, err)
		}
	}
}

// G10: and five from an address, or from the /64 that one guesser has in IPv6.
func TestGuessesFromAnAddressG10(t *testing.T) {
	p, _ := newPeople(t, "ann@example.com", "bob@example.com")
	for i, from := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1", "2001:db8::3", "2001:db8::4"} {
		if _, err := p.SignIn(t.Context(), string(rune('a'+i))+"@example.com", "wrong password", at(from)); err != ErrSignIn {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	var e *apierr.Error
	if _, err := p.SignIn(t.Context(), "bob@example.com", rightPassword, at("2001:db8::5")); !errors.As(err, &e) || e.Code != apierr.RateLimitedIP {
		t.Errorf("a sixth try from the network: %v", err)
	}
	if _, err := p.SignIn(t.Context(), "bob@example.com", rightPassword, at("2001:db8:0:1::5")); err != nil {
		t.Errorf("the neighbour's network: %v", err)
	}
}

// People who mistype now and then are not locked out: what succeeds takes its try back.
func TestSuccessTakesItsTryBack(t *testing.T) {
	p, _ := newPeople(t, "ann@example.com")
	for i := range 3 * maxTries {
		if _, err := p.SignIn(t.Context(), "ann@example.com", rightPassword, at("192.0.2.1")); err != nil {
			t.Fatalf("sign-in %d: %v", i, err)
		}
	}
}

func TestChangePassword(t *testing.T) {
	p, db := newPeople(t, "ann@example.com")
	s, err := p.SignIn(t.Context(), "ann@example.com", rightPassword, at("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	var e *apierr.Error
	if _, err := p.ChangePassword(t.Context(), "test", &s.User, "wrong password", "another good one"); !errors.As(err, &e) || e.Param != "old_password" {
		t.Errorf("a wrong old password: %v", err)
	}
	if _, err := p.ChangePassword(t.Context(), "test", &s.User, rightPassword, "short"); !errors.As(err, &e) || e.Param != "new_password" {
		t.Errorf("a short new password: %v", err)
	}
	next, err := p.ChangePassword(t.Context(), "test", &s.User, rightPassword, "another good one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.User(t.Context(), s.Token); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old session lives on: %v", err)
	}
	if _, err := p.User(t.Context(), next.Token); err != nil {
		t.Errorf("the new session: %v", err)
	}
	if _, err := p.SignIn(t.Context(), "ann@example.com", rightPassword, at("192.0.2.1")); err != ErrSignIn {
		t.Errorf("the old password: %v", err)
	}
	if _, _, err := db.ExpireSignIns(t.Context(), Span); err != nil {
		t.Error(err)
	}
}

func TestGuard(t *testing.T) {
	g := Guard("token")
	if !CheckGuard("token", g) || CheckGuard("token", "") || CheckGuard("other", g) || CheckGuard("token", g+"x") || g == "token" {
		t.Error("the guard of one session opens another, or is not needed")
	}
}
