package auth

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
)

// S4-2.
// Interface 5, C2, S1-B1, S3-16: on every path the family's own header decides
// first, the others are accepted.
func TestTokenPrecedence(t *testing.T) {
	f := func(family protocol.Family, c Credentials, want string) {
		t.Helper()
		if got := string(c.Token(family)); got != want {
			t.Fatalf("family %d %+v: got %q, want %q", family, c, got, want)
		}
	}
	b, x, g := []byte("Bearer tok-b"), []byte("tok-x"), []byte("tok-g")
	all := Credentials{Authorization: b, APIKey: x, GoogKey: g}
	f(protocol.FamilyOpenAI, all, "tok-b")
	f(protocol.FamilyAnthropic, all, "tok-x")
	f(protocol.FamilyGemini, all, "tok-g")
	f(protocol.FamilyDashScope, all, "tok-b")
	f(protocol.FamilyAnthropic, Credentials{Authorization: b}, "tok-b")
	f(protocol.FamilyOpenAI, Credentials{APIKey: x}, "tok-x")
	f(protocol.FamilyOpenAI, Credentials{GoogKey: g}, "tok-g")
	f(protocol.FamilyGemini, Credentials{APIKey: x}, "tok-x")
	f(protocol.FamilyOpenAI, Credentials{Authorization: []byte("bearer   tok")}, "tok")
	f(protocol.FamilyOpenAI, Credentials{Authorization: []byte("Basic dXNlcg==")}, "")
	f(protocol.FamilyOpenAI, Credentials{Authorization: []byte("Bearer ")}, "")
	f(protocol.FamilyOpenAI, Credentials{}, "")
}

type store struct {
	warm, cold    map[[32]byte]*catalog.Key
	asked, cached int
	newer         bool  // something newer is recorded for every key
	revoked       error // every key was
}

func (s *store) Still(*catalog.Key) (bool, error) { return !s.newer, s.revoked }

func (s *store) Cached(d *[32]byte) (*catalog.Key, bool, error) {
	s.cached++
	k := s.warm[*d]
	return k, k != nil, nil
}

func (s *store) Key(_ context.Context, d *[32]byte) (*catalog.Key, error) {
	s.asked++
	if k := s.cold[*d]; k != nil {
		return k, nil
	}
	return nil, apierr.ErrInvalidAPIKey
}

type customer struct{ left bool }

func (c customer) Left() bool { return c.left }

// G5: nobody looks for the key of one who has left.
func TestNoLookUpForOneWhoLeft(t *testing.T) {
	token, _, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	k := &catalog.Key{Digest: apikey.Digest([]byte(token)), Status: catalog.KeyActive, ClientActive: true}
	for _, of := range []struct {
		store *store
		want  *catalog.Key
	}{
		{&store{cold: map[[32]byte]*catalog.Key{k.Digest: k}}, nil},
		{&store{warm: map[[32]byte]*catalog.Key{k.Digest: k}}, k},
	} {
		got, _ := Authenticate(of.store, &Credentials{Authorization: []byte("Bearer " + token)}, customer{left: true}, protocol.FamilyOpenAI, netip.MustParseAddr("192.0.2.7"), 1, time.Second)
		if got != of.want || of.store.asked != 0 {
			t.Errorf("got %v with %d look-ups, want %v with none", got, of.store.asked, of.want)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	token, _, err := apikey.Generate("tsk_")
	if err != nil {
		t.Fatal(err)
	}
	digest := apikey.Digest([]byte(token))
	ip := netip.MustParseAddr("192.0.2.7")
	now := time.Unix(1_800_000_000, 0).UnixMilli()
	f := func(edit func(*catalog.Key), token string, want apierr.Code, asked int) {
		t.Helper()
		k := &catalog.Key{Digest: digest, Status: catalog.KeyActive, ClientActive: true}
		edit(k)
		s := &store{cold: map[[32]byte]*catalog.Key{digest: k}}
		c := Credentials{Authorization: []byte("Bearer " + token)}
		got, e := Authenticate(s, &c, customer{}, protocol.FamilyOpenAI, ip, now, time.Second)
		switch {
		case want == "" && (e != nil || got != k):
			t.Fatalf("refused: %v", e)
		case want != "" && (e == nil || e.Code != want):
			t.Fatalf("got %v; want %s", e, want)
		}
		if s.asked != asked {
			t.Fatalf("%d look-ups; want %d", s.asked, asked)
		}
	}
	none := func(*catalog.Key) {}
	f(none, token, "", 1)
	f(func(k *catalog.Key) { k.Status = catalog.KeyDisabled }, token, apierr.KeyDisabled, 1)
	f(func(k *catalog.Key) { k.Status = catalog.KeyRevoked }, token, apierr.KeyDisabled, 1)
	f(func(k *catalog.Key) { k.ClientActive = false }, token, apierr.KeyDisabled, 1)
	f(func(k *catalog.Key) { k.Expires = now }, token, apierr.KeyExpired, 1)
	f(func(k *catalog.Key) { k.Expires = now + 1 }, token, "", 1)
	f(func(k *catalog.Key) { k.IPAllow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, token, "", 1)
	f(func(k *catalog.Key) { k.IPAllow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, token, apierr.IPNotAllowed, 1)
	// G5: a typo costs no look-up; another shape is looked up.
	last := "0"
	if token[len(token)-1] == '0' {
		last = "1"
	}
	f(none, token[:len(token)-1]+last, apierr.InvalidAPIKey, 0)
	f(none, "sk-other-shape", apierr.InvalidAPIKey, 1)
	f(none, "tsk_with space", apierr.InvalidAPIKey, 0)
}

func TestWarmKeyAllocatesNothing(t *testing.T) {
	token, _, _ := apikey.Generate("tsk_")
	digest := apikey.Digest([]byte(token))
	s := &store{warm: map[[32]byte]*catalog.Key{digest: {Digest: digest, Status: catalog.KeyActive, ClientActive: true}}}
	c := &Credentials{Authorization: []byte("Bearer " + token)}
	ip := netip.MustParseAddr("192.0.2.7")
	var keys Keys = s
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := Authenticate(keys, c, customer{}, protocol.FamilyOpenAI, ip, 1, time.Second); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
