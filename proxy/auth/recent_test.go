package auth

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
)

// A key that comes again on its connection is not looked for again, is judged as ever, and
// counts for nothing as soon as anything newer is recorded.
func TestKeyComesAgain(t *testing.T) {
	one, two := strings.Repeat("a", 59), strings.Repeat("a", 58)+"b"
	key := func(token string) *catalog.Key {
		return &catalog.Key{Digest: apikey.Digest([]byte(token)), Status: catalog.KeyActive, ClientActive: true, Expires: 1000}
	}
	k1, k2 := key(one), key(two)
	s := &store{warm: map[[32]byte]*catalog.Key{k1.Digest: k1, k2.Digest: k2}}
	r := new(Recent)
	ask := func(token string, now int64) (*catalog.Key, *apierr.Error) {
		return Authenticate(s, &Credentials{Authorization: []byte("Bearer " + token), Recent: r}, customer{}, protocol.FamilyOpenAI, netip.MustParseAddr("192.0.2.7"), now, time.Second)
	}
	want := func(token string, k *catalog.Key, looked int) {
		t.Helper()
		before := s.cached
		if got, err := ask(token, 1); got != k || err != nil || s.cached-before != looked {
			t.Fatalf("%v %v, looked for %d times, want %d", got == k, err, s.cached-before, looked)
		}
	}
	want(one, k1, 1)
	want(one, k1, 0)
	want(two, k2, 1)
	want(one, k1, 1)
	want(one, k1, 0)
	if _, err := ask(one[:58], 1); err != apierr.ErrInvalidAPIKey {
		t.Errorf("the beginning of a key: %v", err)
	}
	if _, err := ask(one+"a", 1); err != apierr.ErrInvalidAPIKey {
		t.Errorf("a key and more: %v", err)
	}
	if _, err := ask(one, 1000); err != apierr.ErrKeyExpired {
		t.Errorf("an expired key: %v", err)
	}

	// What is kept is looked for again now and then, or the cache would forget it.
	want(two, k2, 1)
	before := s.cached
	for range 10 * (recentUses + 1) {
		if _, err := ask(two, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.cached - before; n != 10 {
		t.Errorf("looked for %d times in %d requests", n, 10*(recentUses+1))
	}

	s.revoked = apierr.ErrKeyDisabled
	if _, err := ask(two, 1); err != apierr.ErrKeyDisabled {
		t.Errorf("a revoked key: %v", err)
	}
	s.revoked, s.newer = nil, true
	changed := *k2
	changed.Status = catalog.KeyDisabled
	s.warm[k2.Digest] = &changed
	if _, err := ask(two, 1); err != apierr.ErrKeyDisabled {
		t.Errorf("a key that was disabled: %v", err)
	}

	long := strings.Repeat("x", recentText+1)
	k := key(long)
	s.warm[k.Digest] = k
	want(long, k, 1)
	want(long, k, 1)
}
