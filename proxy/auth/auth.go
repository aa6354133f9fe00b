// Package auth finds the customer key of a request: which header counts, whether
// the token can be one of ours, whether the key may be used now and from here.
package auth

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
)

// Credentials are the key headers of a request, nil where absent. They live in
// memory that is reused: the digest's address travels through an interface and
// would cost an allocation on the stack.
type Credentials struct {
	Authorization []byte
	APIKey        []byte // x-api-key
	GoogKey       []byte // x-goog-api-key

	Recent *Recent // of the connection they came on, nil = none

	digest [32]byte
}

// Keys finds keys by digest; the catalogue does. Errors are *apierr.Error.
type Keys interface {
	// Cached tells what is in memory; known is false for a cold key.
	Cached(digest *[32]byte) (k *catalog.Key, known bool, err error)
	// Still tells what is in memory of a key that was found before; known is false if
	// something newer is recorded.
	Still(k *catalog.Key) (known bool, err error)
	// Key waits for one look-up of a cold key.
	Key(ctx context.Context, digest *[32]byte) (*catalog.Key, error)
}

// Customer is whoever sent the credentials.
type Customer interface {
	// Left says that the customer has gone: nobody is left to be told what a look-up finds.
	Left() bool
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
// warm key costs no allocation and no lock; a cold one waits for one look-up, at
// most coldWait, if from is still there.
func Authenticate(keys Keys, c *Credentials, from Customer, family protocol.Family, ip netip.Addr, now int64, coldWait time.Duration) (*catalog.Key, *apierr.Error) {
	token := c.Token(family)
	if token == nil {
		return nil, apierr.ErrInvalidAPIKey
	}
	if len(token) > apikey.MaxLen {
		return nil, apierr.ErrInvalidAPIKey
	}
	if k := c.Recent.of(token); k != nil {
		if known, err := keys.Still(k); known {
			if err != nil {
				return nil, asAPIError(err)
			}
			return k, Usable(k, ip, now)
		}
	}
	// A key that is in memory needs no judgement of its characters.
	c.digest = apikey.Digest(token)
	k, known, err := keys.Cached(&c.digest)
	if !known {
		switch apikey.Check(token) {
		case apikey.BadCRC, apikey.Malformed:
			return nil, apierr.ErrInvalidAPIKey // no look-up for a typo
		}
		if from.Left() {
			return nil, apierr.ErrInvalidAPIKey
		}
		k, err = lookUp(keys, &c.digest, coldWait)
	}
	if err != nil {
		return nil, asAPIError(err)
	}
	c.Recent.keep(token, k)
	return k, Usable(k, ip, now)
}

func lookUp(keys Keys, digest *[32]byte, wait time.Duration) (*catalog.Key, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return keys.Key(ctx, digest)
}

func asAPIError(err error) *apierr.Error {
	var e *apierr.Error
	if errors.As(err, &e) {
		return e
	}
	return apierr.ErrOverloaded.WithCause(err)
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
