package manage

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// NewKey is a key to be made for a client.
type NewKey struct {
	ClientID int64
	Name     string
	store.KeyLimits
}

// CreateKey makes a key and returns its token, which nobody can read again.
func (s *Service) CreateKey(ctx context.Context, actor store.Actor, in NewKey) (k store.Key, token string, err error) {
	if err := checkText("name", in.Name, 1, maxName); err != nil {
		return k, "", err
	}
	if err := s.checkLimits(&in.KeyLimits); err != nil {
		return k, "", err
	}
	if in.Models, err = s.models(ctx, "allowed_model_ids", in.Models); err != nil {
		return k, "", err
	}
	token, publicID, err := apikey.Generate(s.prefix)
	if err != nil {
		return k, "", fmt.Errorf("cannot make a key: %w", err)
	}
	k, err = s.db.CreateKey(ctx, actor, store.NewKey{
		ClientID: in.ClientID, PublicID: publicID, Digest: apikey.Digest([]byte(token)), Last4: apikey.Last4(token),
		Name: in.Name, KeyLimits: in.KeyLimits,
	})
	if err != nil {
		return k, "", refused(err, "client", "")
	}
	return k, token, nil
}

// CopyKey makes a key with the limits and models of another one of the client and returns
// its token. name "" is that of the other.
func (s *Service) CopyKey(ctx context.Context, actor store.Actor, clientID int64, publicID, name string) (k store.Key, token string, err error) {
	old, err := s.db.KeyByPublicID(ctx, clientID, publicID)
	if err != nil {
		return k, "", err
	}
	if name == "" {
		name = old.Name
	}
	return s.CreateKey(ctx, actor, NewKey{ClientID: clientID, Name: name, KeyLimits: old.KeyLimits})
}

// RotateKey revokes a key of the client, whose running streams finish, and makes its
// successor with the same limits and models; its token is returned. name "" stays. A key
// that is not active is store.ErrConflict.
func (s *Service) RotateKey(ctx context.Context, actor store.Actor, clientID int64, publicID, name string) (k store.Key, token string, err error) {
	if name != "" {
		if err := checkText("name", name, 1, maxName); err != nil {
			return k, "", err
		}
	}
	token, id, err := apikey.Generate(s.prefix)
	if err != nil {
		return k, "", fmt.Errorf("cannot make a key: %w", err)
	}
	k, err = s.db.RotateKey(ctx, actor, clientID, publicID, store.NewKey{PublicID: id, Digest: apikey.Digest([]byte(token)), Last4: apikey.Last4(token), Name: name})
	if err != nil {
		return k, "", err
	}
	return k, token, nil
}

// checkLimits refuses limits that cannot be meant.
func (s *Service) checkLimits(l *store.KeyLimits) error {
	for _, c := range []struct {
		field string
		n     int64
	}{
		{"rpm", l.RPM}, {"tpm", l.TPM}, {"max_concurrency", l.MaxConcurrency}, {"drain_tokens", l.DrainTokens},
	} {
		if err := checkCount(c.field, c.n); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		field string
		a     money.Amount
	}{
		{"monthly_cap", l.MonthlyCap}, {"total_quota", l.TotalQuota}, {"daily_usd", l.DailyUSD},
	} {
		if c.a < 0 && c.a != store.None {
			return apierr.Invalid(c.field, c.field+" must not be negative")
		}
	}
	if len(l.IPAllow) > 256 {
		return apierr.Invalid("ip_allow", "ip_allow has more than 256 entries")
	}
	if !l.ExpiresAt.IsZero() && !l.ExpiresAt.After(s.now()) {
		return apierr.Invalid("expires_at", "expires_at is not in the future")
	}
	return nil
}

// PatchKey changes a key of a client; what is nil in p stays.
func (s *Service) PatchKey(ctx context.Context, actor store.Actor, clientID int64, publicID string, p store.KeyPatch) (store.Key, error) {
	if p.Name != nil {
		if err := checkText("name", *p.Name, 1, maxName); err != nil {
			return store.Key{}, err
		}
	}
	limits := store.KeyLimits{MonthlyCap: store.None, TotalQuota: store.None, DailyUSD: store.None}
	take(&limits.RPM, p.RPM)
	take(&limits.TPM, p.TPM)
	take(&limits.MaxConcurrency, p.MaxConcurrency)
	take(&limits.DrainTokens, p.DrainTokens)
	take(&limits.MonthlyCap, p.MonthlyCap)
	take(&limits.TotalQuota, p.TotalQuota)
	take(&limits.DailyUSD, p.DailyUSD)
	take(&limits.IPAllow, p.IPAllow)
	take(&limits.ExpiresAt, p.ExpiresAt)
	if err := s.checkLimits(&limits); err != nil {
		return store.Key{}, err
	}
	if p.Models != nil {
		models, err := s.models(ctx, "allowed_model_ids", *p.Models)
		if err != nil {
			return store.Key{}, err
		}
		if models == nil {
			models = []string{}
		}
		p.Models = &models
	}
	return s.db.PatchKey(ctx, actor, clientID, publicID, p)
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// SetKeyStatus disables, enables or revokes a key of a client. Revoked is final.
func (s *Service) SetKeyStatus(ctx context.Context, actor store.Actor, clientID int64, publicID string, to store.KeyStatus) (store.Key, error) {
	return s.db.SetKeyStatus(ctx, actor, clientID, publicID, to)
}

// ParsePrefixes reads CIDRs or single addresses.
func ParsePrefixes(field string, texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				return nil, apierr.Invalid(field, fmt.Sprintf("%s: %q is neither an IP address nor a CIDR", field, clip(text)))
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// ParseTime reads an RFC 3339 time.
func ParseTime(field, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, apierr.Invalid(field, field+" must be a time like 2026-12-31T23:59:59Z")
	}
	return t.UTC(), nil
}
