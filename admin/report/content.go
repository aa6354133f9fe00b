package report

import (
	"tokenrelay/shared/policy"
	"tokenrelay/shared/usage"
)

// SafetyPolicy is what the relay itself looks for in texts, besides what models and their
// suppliers refuse.
type SafetyPolicy struct {
	Words      WordPolicy       `json:"words"`
	Moderation ModerationPolicy `json:"moderation"`
	Webhook    WebhookPolicy    `json:"webhook"`
}

// ModerationPolicy has the texts of requests judged by a model, before they go upstream.
// The judgement is a call of its own at that model's price.
type ModerationPolicy struct {
	Model      *string  `json:"model" doc:"null: none is asked"`
	Categories []string `json:"categories" doc:"those that count; empty: whatever the model flags"`
	Action     string   `json:"action" enum:"off,flag,block"`
	TimeoutMS  int64    `json:"timeout_ms"`
	OnFailure  string   `json:"on_failure" enum:"refuse,allow" doc:"refuse: 503 policy_unavailable"`
}

// WebhookPolicy has them judged by a server of the customer's own.
type WebhookPolicy struct {
	URL       *string `json:"url" doc:"null: none is asked"`
	SecretSet bool    `json:"secret_set" doc:"the secret itself cannot be read"`
	TimeoutMS int64   `json:"timeout_ms"`
	OnFailure string  `json:"on_failure" enum:"refuse,allow" doc:"refuse: 503 policy_unavailable"`
}

// WordPolicy is what is done about words of the customer's own.
type WordPolicy struct {
	List    []string `json:"list" doc:"whatever their case; letters beside a word make it another"`
	Action  string   `json:"action" enum:"off,flag,mask,block"`
	ApplyTo string   `json:"apply_to" enum:"both,requests,responses"`
}

// MaskingPolicy is what is done about personal data and secrets in texts of messages, by
// kind: nothing, noted in the call's trace, replaced by [its name], or the call refused.
type MaskingPolicy struct {
	Email      string `json:"email" enum:"off,flag,mask,block"`
	Phone      string `json:"phone" enum:"off,flag,mask,block"`
	Card       string `json:"card" enum:"off,flag,mask,block" doc:"payment cards that keep their checksum"`
	ID         string `json:"id" enum:"off,flag,mask,block" doc:"IBAN, US social security number, Chinese resident id"`
	Credential string `json:"credential" enum:"off,flag,mask,block" doc:"keys of APIs and clouds, JSON web tokens, private keys"`
	ApplyTo    string `json:"apply_to" enum:"both,requests,responses"`
}

func viewSafety(r *policy.Rules) SafetyPolicy {
	m, h := &r.Moderation, &r.Webhook
	return SafetyPolicy{
		Words:      WordPolicy{List: emptyNotNil(r.Words.List), Action: action(r.Words.Action), ApplyTo: where(r.Words.ApplyTo)},
		Moderation: ModerationPolicy{Model: textOrNil(m.Model), Categories: emptyNotNil(m.Categories), Action: action(m.Action), TimeoutMS: policy.Patience(m.TimeoutMS), OnFailure: onFailure(m.Open)},
		Webhook:    WebhookPolicy{URL: textOrNil(h.URL), SecretSet: h.Secret != "", TimeoutMS: policy.Patience(h.TimeoutMS), OnFailure: onFailure(h.Open)},
	}
}

func onFailure(open bool) string {
	if open {
		return "allow"
	}
	return "refuse"
}

func viewMasking(m *policy.Masking) MaskingPolicy {
	return MaskingPolicy{
		Email: action(m.Email), Phone: action(m.Phone), Card: action(m.Card), ID: action(m.ID), Credential: action(m.Credential), ApplyTo: where(m.ApplyTo),
	}
}

func action(a policy.Action) string {
	if a == policy.Off {
		return "off"
	}
	return string(a)
}

func where(w policy.Where) string {
	if w == policy.Both {
		return "both"
	}
	return string(w)
}

// Content is what the customer's policy found in the texts of a call, and did.
type Content struct {
	Found   []string `json:"found" doc:"email, phone, card, id, credential, word, moderation, webhook; unjudged: one of the last two could not be asked, and the call passed"`
	Masked  bool     `json:"masked"`
	Blocked bool     `json:"blocked" doc:"the answer was not shown, or broke off"`
}

var foundNames = [...]string{"email", "phone", "card", "id", "credential", "word"}

func viewContent(f usage.Flags) Content {
	c := Content{Found: []string{}, Masked: f&usage.FlagMasked != 0, Blocked: f&usage.FlagBlocked != 0}
	for i, name := range foundNames {
		if f&(usage.FlagEmail<<i) != 0 {
			c.Found = append(c.Found, name)
		}
	}
	for i, name := range [...]string{"moderation", "webhook", "unjudged"} {
		if f&(usage.FlagModerated<<i) != 0 {
			c.Found = append(c.Found, name)
		}
	}
	return c
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
