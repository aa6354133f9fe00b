package session

import (
	"errors"
	"strings"
	"testing"
)

func TestPasswordRoundTrip(t *testing.T) {
	hash, err := HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Errorf("hash is %q, not argon2id with the stated cost", hash)
	}
	if !CheckPassword(hash, "correct horse battery") {
		t.Error("the right password was refused")
	}
	if CheckPassword(hash, "correct horse batterz") {
		t.Error("a wrong password was accepted")
	}
	again, err := HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if again == hash {
		t.Error("two hashes of one password are equal: the salt is not random")
	}
}

func TestPasswordRefused(t *testing.T) {
	for _, p := range []string{"", "short", strings.Repeat("x", MaxPassword+1), "\xff\xfe\xfd0123456789"} {
		if _, err := HashPassword(p); !errors.Is(err, ErrPassword) {
			t.Errorf("HashPassword(%q) = %v, want ErrPassword", p, err)
		}
	}
}

// A hash that was damaged or made up never lets anybody in, and its cost
// parameters cannot be used to exhaust memory.
func TestCheckPasswordBadHash(t *testing.T) {
	for _, h := range []string{
		"", "$", "plain", "$argon2i$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=65536,t=0,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=65536,t=3,p=0$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=65536,t=3,p=1$$",
	} {
		if CheckPassword(h, "whatever it is") {
			t.Errorf("hash %q accepted a password", h)
		}
	}
}

func TestGeneratedPasswordsAreAccepted(t *testing.T) {
	a, err := GeneratePassword()
	if err != nil {
		t.Fatal(err)
	}
	b, err := GeneratePassword()
	if err != nil {
		t.Fatal(err)
	}
	if a == b || len(a) != 20 {
		t.Errorf("generated %q and %q", a, b)
	}
	if _, err := HashPassword(a); err != nil {
		t.Error(err)
	}
}
