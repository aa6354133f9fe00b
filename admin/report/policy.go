package report

import (
	"context"
	"slices"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
)

// ModelPolicy is which models the keys of a customer may call at most.
type ModelPolicy struct {
	Mode            string   `json:"model_scope" enum:"automatic,single,selected"`
	AllowedModelIDs []string `json:"allowed_model_ids"` // empty: automatic
}

func modelPolicy(p *store.Policy) ModelPolicy {
	return ModelPolicy{Mode: ModelScope(p.Models), AllowedModelIDs: emptyNotNil(p.Models)}
}

// SecurityPolicy is what is done with what customers send (S1-15).
type SecurityPolicy struct {
	ContentSafety SafetyPolicy    `json:"content_safety"`
	Masking       MaskingPolicy   `json:"masking"`
	Logging       LoggingPolicy   `json:"logging"`
	Retention     RetentionPolicy `json:"data_retention"`
	Models        ModelPolicy     `json:"models"`
}

// LoggingPolicy is what is written down of calls.
type LoggingPolicy struct {
	Level    string `json:"level" enum:"standard,minimal" doc:"standard: beside what explains its charge, a call has the caller's own x-request-id and x-conversation-id and what this policy found in its texts, and samples of refused calls are kept. minimal: none of these are written down, refused calls are only counted, and calls are not found by their conversation"`
	Content  bool   `json:"content"`  // always false
	Metadata bool   `json:"metadata"` // ids, counts, times, states and amounts: always true, they are the account
}

// RetentionPolicy is how long content is kept.
type RetentionPolicy struct {
	DetailDays   *int64 `json:"detail_days" doc:"of what logging.level standard has beside a call; gone within an hour after. The call's row with its charge stays. null: as long as that, and refused calls as long as the relay keeps them"`
	ReplayHours  int64  `json:"replay_hours" doc:"of answers to requests with an Idempotency-Key, encrypted"`
	ResponseDays int64  `json:"response_days" doc:"of responses stored to go on from, encrypted; 0, or replay_hours 0: not at all. Nothing else is kept of content"`
}

// ViewSecurity is p as the security policy.
func ViewSecurity(p *store.Policy) *SecurityPolicy {
	v := &SecurityPolicy{
		ContentSafety: viewSafety(&p.Rules), Masking: viewMasking(&p.Rules.Masking), Logging: LoggingPolicy{Level: "standard", Metadata: true},
		Retention: RetentionPolicy{ReplayHours: int64(p.Retention / time.Hour), ResponseDays: int64(p.ResponseDays)}, Models: modelPolicy(p),
	}
	if p.Rules.Logging.Level != policy.Standard {
		v.Logging.Level = string(p.Rules.Logging.Level)
	}
	if days := int64(p.DetailDays); days > 0 {
		v.Retention.DetailDays = &days
	}
	return v
}

// Policy reads what a customer has set for all of its keys.
func (s *Service) Policy(ctx context.Context, clientID int64) (*store.Policy, error) {
	p, err := s.db.Policy(ctx, clientID)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// Regions lists the regions that models visible to the key's customer are served in.
func (s *Service) Regions(ctx context.Context, key *store.KeyRow) ([]string, error) {
	c, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range c.Models {
		if c.Visible(m, key.GroupID, s.now()) {
			list = append(list, m.Regions...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// AlertConfig is when a customer wants to be alerted, and what stands alerted now (S1-27).
type AlertConfig struct {
	LowBalance   *money.Amount `json:"low_balance"`         // alert when less is available; null: never
	QuotaPercent *int64        `json:"quota_alert_percent"` // alert from this part of a key's cap or quota on; null: never
	Mail         bool          `json:"mail" doc:"it is told by mail, too, once a day"`
	Recipients   []string      `json:"recipients" doc:"empty: the billing address, else the contact address of the profile, else the owners"`
	Alerts       []Alert       `json:"alerts" doc:"what is so now, at most 200"`
}

// Alert is one of them.
type Alert struct {
	Kind  string       `json:"kind" enum:"low_balance,monthly_cap,total_quota"`
	KeyID *string      `json:"key_id"` // of caps and quotas
	Limit money.Amount `json:"limit" doc:"the balance wished for, the cap or the quota"`
	Value money.Amount `json:"value" doc:"what is available, or what was spent"`
}

// maxAlerts bounds the list of alerts.
const maxAlerts = 200

// Alerts compares balance and keys with what p says.
func (s *Service) Alerts(ctx context.Context, key *store.KeyRow, p *store.Policy) (*AlertConfig, error) {
	plan, err := s.db.Alerts(ctx, key.ClientID)
	if err != nil {
		return nil, err
	}
	out := &AlertConfig{LowBalance: amountOrNil(p.LowBalance), Mail: plan.Mail, Recipients: emptyNotNil(plan.Emails), Alerts: []Alert{}}
	if p.LowBalance != store.None {
		b, err := s.Balance(ctx, key)
		if err != nil {
			return nil, err
		}
		if b.Available < p.LowBalance {
			out.Alerts = append(out.Alerts, Alert{Kind: "low_balance", Limit: p.LowBalance, Value: b.Available})
		}
	}
	if p.QuotaPercent == 0 {
		return out, nil
	}
	percent := int64(p.QuotaPercent)
	out.QuotaPercent = &percent
	const page = 1000
	for after := int64(0); ; {
		keys, err := s.db.ListKeys(ctx, key.ClientID, after, page)
		if err != nil {
			return nil, err
		}
		for i := range keys {
			k := &keys[i]
			after = k.ID
			if k.Status != store.KeyActive {
				continue
			}
			for _, l := range []struct {
				kind         string
				limit, spent money.Amount
			}{{"monthly_cap", k.MonthlyCap, k.SpentMonth}, {"total_quota", k.TotalQuota, k.SpentTotal}} {
				// Divided first: a hundred times a cap may be too large.
				if l.limit != store.None && l.spent >= l.limit/100*money.Amount(percent)+l.limit%100*money.Amount(percent)/100 && len(out.Alerts) < maxAlerts {
					out.Alerts = append(out.Alerts, Alert{Kind: l.kind, KeyID: &k.PublicID, Limit: l.limit, Value: l.spent})
				}
			}
		}
		if len(keys) < page {
			return out, nil
		}
	}
}
