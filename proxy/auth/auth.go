// Package auth finds the customer key of a request: which header counts, whether
// the token can be one of ours, whether the key may be used now and from here.
package auth

import (
	"context"
	"net/netip"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
)

// Credentials are the key headers of a request, nil where absent.
type Credentials struct {
	Authorization []byte
	APIKey        []byte // x-api-key
	GoogKey       []byte // x-goog-api-key
}

// Keys finds keys by digest; the catalogue does.
type Keys interface {
	// Key returns the key, or an *apierr.Error: unknown, or overloaded when it could
	// not be looked up.
	Key(ctx context.Context, digest *[32]byte) (*catalog.Key, error)
}

// Token picks the token that decides: the family's own header first, then the
// others (interface 5, C2). nil if there is none.
func (c *Credentials) Token(family protocol.Family) []byte {
	bearer := bearerToken(c.Authorization)
	switch {
	case family == protocol.FamilyAnthropic && len(c.APIKey) > 0:
		return c.APIKey
	case family == protocol.FamilyGemini && len(c.GoogKey) > 0:
		return c.GoogKey
	case len(bearer) > 0:
		return bearer
	case len(c.APIKey) > 0:
		return c.APIKey
	case len(c.GoogKey) > 0:
		return c.GoogKey
	}
	return nil
}

func bearerToken(v []byte) []byte {
	const scheme = "bearer "
	if len(v) <= len(scheme) {
		return nil
	}
	for i := range len(scheme) {
		c := v[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != scheme[i] {
			return nil
		}
	}
	v = v[len(scheme):]
	for len(v) > 0 && v[0] == ' ' {
		v = v[1:]
	}
	return v
}

// Authenticate finds the key of a request that came from ip at now (unix ms). A
// warm key costs no allocation and no lock; a cold one waits for one look-up,
// bounded by ctx.
func Authenticate(ctx context.Context, keys Keys, c *Credentials, family protocol.Family, ip netip.Addr, now int64) (*catalog.Key, *apierr.Error) {
	token := c.Token(family)
	if token == nil {
		return nil, apierr.ErrInvalidAPIKey
	}
	switch apikey.Check(token) {
	case apikey.BadCRC, apikey.Malformed:
		return nil, apierr.ErrInvalidAPIKey // no look-up for a typo
	}
	digest := apikey.Digest(token)
	k, err := keys.Key(ctx, &digest)
	if err != nil {
		if e, ok := err.(*apierr.Error); ok {
			return nil, e
		}
		return nil, apierr.ErrOverloaded.WithCause(err)
	}
	return k, Usable(k, ip, now)
}

// Usable says whether a key that exists may be used now and from here.
func Usable(k *catalog.Key, ip netip.Addr, now int64) *apierr.Error {
	switch {
	case k.Status != catalog.KeyActive || !k.ClientActive:
		return apierr.ErrKeyDisabled
	case k.Expires != 0 && k.Expires <= now:
		return apierr.ErrKeyExpired
	}
	if len(k.IPAllow) == 0 {
		return nil
	}
	for _, p := range k.IPAllow {
		if p.Contains(ip) {
			return nil
		}
	}
	return apierr.ErrIPNotAllowed
}
