package report

import (
	"context"
	"net/netip"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// APIKey is a key as its customer sees it. The token is nowhere: not even the
// store has it.
type APIKey struct {
	ID              string        `json:"id"`
	Name            string        `json:"name"`
	Last4           string        `json:"last4"`
	Status          string        `json:"status"`      // active, disabled, revoked, expired
	ModelScope      string        `json:"model_scope"` // automatic, single, selected
	AllowedModelIDs []string      `json:"allowed_model_ids"`
	MonthlyCap      *money.Amount `json:"monthly_cap"` // USD a calendar month (UTC), null = none
	TotalQuota      *money.Amount `json:"total_quota"` // USD in all, null = none
	DailyUSD        *money.Amount `json:"daily_usd"`   // USD a day (UTC), null = none
	RPM             int64         `json:"rpm"`         // 0 = no limit, as the three below
	TPM             int64         `json:"tpm"`
	MaxConcurrency  int64         `json:"max_concurrency"`
	IPAllow         []string      `json:"ip_allow"` // empty = any
	DrainTokens     int64         `json:"drain_tokens"`
	ExpiresAt       *time.Time    `json:"expires_at"`
	SpentMonth      money.Amount  `json:"spent_month"`
	SpentTotal      money.Amount  `json:"spent_total"`
	LastUsedAt      *time.Time    `json:"last_used_at" doc:"begin of the newest settled request, null: never used"`
	CreatedAt       time.Time     `json:"created_at"`
	UpdatedAt       time.Time     `json:"updated_at"`
}

// ViewKey is k as its customer sees it.
func (s *Service) ViewKey(k *store.Key) APIKey {
	v := APIKey{
		ID: k.PublicID, Name: k.Name, Last4: k.Last4,
		Status: keyStatus(k.Status, k.ExpiresAt, s.now()), ModelScope: ModelScope(k.Models),
		AllowedModelIDs: emptyNotNil(k.Models),
		MonthlyCap:      amountOrNil(k.MonthlyCap), TotalQuota: amountOrNil(k.TotalQuota), DailyUSD: amountOrNil(k.DailyUSD),
		RPM: k.RPM, TPM: k.TPM, MaxConcurrency: k.MaxConcurrency,
		IPAllow: prefixTexts(k.IPAllow), DrainTokens: k.DrainTokens, ExpiresAt: timeOrNil(k.ExpiresAt),
		SpentMonth: k.SpentMonth, SpentTotal: k.SpentTotal, LastUsedAt: timeOrNil(k.LastUsedAt),
		CreatedAt: k.CreatedAt.UTC(), UpdatedAt: k.ChangedAt.UTC(),
	}
	return v
}

// Keys lists a client's keys by row, limit at most, after a row id (0: from the
// first); next is what to pass for the page behind it, 0 when there is none.
func (s *Service) Keys(ctx context.Context, clientID, after int64, limit int) (list []APIKey, next int64, err error) {
	keys, err := s.db.ListKeys(ctx, clientID, after, limit+1)
	if err != nil {
		return nil, 0, err
	}
	if len(keys) > limit {
		keys = keys[:limit]
		next = keys[limit-1].ID
	}
	list = make([]APIKey, len(keys))
	for i := range keys {
		list[i] = s.ViewKey(&keys[i])
	}
	return list, next, nil
}

// Key returns one key of a client, store.ErrNotFound if it is not the client's.
func (s *Service) Key(ctx context.Context, clientID int64, publicID string) (*APIKey, error) {
	k, err := s.db.KeyByPublicID(ctx, clientID, publicID)
	if err != nil {
		return nil, err
	}
	v := s.ViewKey(&k)
	return &v, nil
}

// ModelScope names a list of allowed models (S1-B3).
func ModelScope(models []string) string {
	switch len(models) {
	case 0:
		return "automatic"
	case 1:
		return "single"
	default:
		return "selected"
	}
}

func keyStatus(s store.KeyStatus, expires, now time.Time) string {
	switch {
	case s == store.KeyRevoked:
		return "revoked"
	case s == store.KeyDisabled:
		return "disabled"
	case !expires.IsZero() && !expires.After(now):
		return "expired"
	default:
		return "active"
	}
}

func amountOrNil(a money.Amount) *money.Amount {
	if a == store.None {
		return nil
	}
	return &a
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func prefixTexts(list []netip.Prefix) []string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return texts
}
