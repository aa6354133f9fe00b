package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/store/db"
)

// Policy is what a customer sets for all of its keys.
type Policy struct {
	Models       []string      // no key may call others; empty: automatic
	Region       string        // only routes of it, "" = any
	MaxAttempts  int           // upstreams asked for one request at most, 0 = as the proxy is set
	Retention    time.Duration // of answers kept for repetitions, whole hours up to ClaimTTL
	ResponseDays int           // for which stored responses are kept, 0 = not at all
	DetailDays   int           // for which detail of calls is kept, 0 = as long as their rows
	LowBalance   money.Amount  // alert below it, None = none
	QuotaPercent int           // alert from this part of a key's cap on, 0 = none
	Rules        policy.Rules  // what is done about content
}

// PolicyPatch changes what is not nil.
type PolicyPatch struct {
	Models       *[]string
	Region       *string
	MaxAttempts  *int
	Retention    *time.Duration
	ResponseDays *int
	DetailDays   *int // 0 … MaxDetailDays
	LowBalance   *money.Amount
	QuotaPercent *int
	Rules        func(*policy.Rules) `json:"-"` // changes them in place
}

const policyColumns = "models, region, max_attempts, retention_hours, response_days, coalesce(detail_days, 0), low_balance, quota_percent, rules"

func scanPolicy(row pgx.Row) (p Policy, err error) {
	var hours int
	var low *int64
	var percent *int
	var rules []byte
	if err = row.Scan(&p.Models, &p.Region, &p.MaxAttempts, &hours, &p.ResponseDays, &p.DetailDays, &low, &percent, &rules); err != nil {
		return p, err
	}
	p.Retention, p.LowBalance = time.Duration(hours)*time.Hour, None
	if low != nil {
		p.LowBalance = money.Amount(*low)
	}
	if percent != nil {
		p.QuotaPercent = *percent
	}
	switch r, err := policy.Parse(rules); {
	case err != nil:
		return p, err
	case r != nil:
		p.Rules = *r
	}
	return p, nil
}

// Policy reads that of a client.
func (d *DB) Policy(ctx context.Context, clientID int64) (Policy, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	p, err := scanPolicy(d.pool.QueryRow(ctx, "SELECT "+policyColumns+" FROM client WHERE id = $1", clientID))
	if err != nil {
		return p, fmt.Errorf("cannot read the policy of client %d: %w", clientID, meaning(err))
	}
	return p, nil
}

// PatchPolicy changes that of a client; the proxies read its keys again.
func (d *DB) PatchPolicy(ctx context.Context, actor Actor, clientID int64, patch PolicyPatch) (out Policy, err error) {
	err = d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		p, err := scanPolicy(tx.QueryRow(ctx, "SELECT "+policyColumns+" FROM client WHERE id = $1 FOR NO KEY UPDATE", clientID))
		if err != nil {
			return meaning(err)
		}
		replace(&p.Models, patch.Models)
		replace(&p.Region, patch.Region)
		replace(&p.MaxAttempts, patch.MaxAttempts)
		replace(&p.Retention, patch.Retention)
		replace(&p.ResponseDays, patch.ResponseDays)
		replace(&p.DetailDays, patch.DetailDays)
		replace(&p.LowBalance, patch.LowBalance)
		replace(&p.QuotaPercent, patch.QuotaPercent)
		if p.Retention%time.Hour != 0 || p.Retention < 0 || p.Retention > ClaimTTL {
			return fmt.Errorf("%w: retention", ErrInvalid)
		}
		if p.DetailDays < 0 || p.DetailDays > MaxDetailDays {
			return fmt.Errorf("%w: days of detail", ErrInvalid)
		}
		if patch.Rules != nil {
			patch.Rules(&p.Rules)
		}
		rules, err := p.Rules.Text()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if p.Models == nil {
			p.Models = []string{}
		}
		var low *int64
		if p.LowBalance != None {
			low = (*int64)(&p.LowBalance)
		}
		out, err = scanPolicy(tx.QueryRow(ctx, `UPDATE client SET models = $2, region = $3, max_attempts = $4, retention_hours = $5, response_days = $6,
			low_balance = $7, quota_percent = nullif($8, 0), rules = $9, detail_days = nullif($10, 0) WHERE id = $1 RETURNING `+policyColumns,
			clientID, p.Models, p.Region, p.MaxAttempts, int(p.Retention/time.Hour), p.ResponseDays, low, p.QuotaPercent, rules, p.DetailDays))
		if err != nil {
			return meaning(err)
		}
		if patch.ResponseDays != nil {
			if _, err := q.ShortenResponses(ctx, int32(p.ResponseDays), clientID); err != nil {
				return err
			}
		}
		rev, err := change(ctx, q, Change{Kind: KindClient, ID: clientID, Detail: "policy"})
		if err != nil {
			return err
		}
		return audit(ctx, q, actor, "policy", "client", strconv.FormatInt(clientID, 10), struct {
			PolicyPatch
			Rules *policy.Rules `json:",omitempty"`
		}{patch, audited(patch.Rules, &p.Rules)}, rev)
	})
	if err != nil {
		return out, fmt.Errorf("cannot change the policy of client %d: %w", clientID, err)
	}
	return out, nil
}

// audited are the rules that the audit log gets: those that a patch has changed, without
// their secret.
func audited(change func(*policy.Rules), r *policy.Rules) *policy.Rules {
	if change == nil {
		return nil
	}
	told := *r
	if told.Webhook.Secret != "" {
		told.Webhook.Secret = "***"
	}
	return &told
}

func replace[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
