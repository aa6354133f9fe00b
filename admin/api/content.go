package api

import (
	"errors"
	"fmt"
	"strings"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/policy"
)

// The part of the policies that is about the content of calls. Members left out stay,
// null is the default.
type safetyPatch struct {
	Words      wordsPatch      `json:"words"`
	Moderation moderationPatch `json:"moderation"`
	Webhook    webhookPatch    `json:"webhook"`
}

type moderationPatch struct {
	Model      Opt[string]   `json:"model" maxlen:"128" doc:"one that serves moderations; null: none" example:"omni-moderation-latest"`
	Categories Opt[[]string] `json:"categories" maxlen:"64" doc:"names of the model's categories, each with those below it; empty: whatever it flags" example:"[]"`
	Action     Opt[string]   `json:"action" enum:"off,flag,block" doc:"null: off"`
	TimeoutMS  Opt[int64]    `json:"timeout_ms" min:"50" max:"10000" doc:"null: 2000" example:"2000"`
	OnFailure  Opt[string]   `json:"on_failure" enum:"refuse,allow" doc:"what becomes of a request that could not be judged; null: refuse"`
}

type webhookPatch struct {
	URL       Opt[string] `json:"url" maxlen:"2048" doc:"http or https; null: none, and the secret is forgotten" example:"https://guard.example.com/relay"`
	Secret    Opt[string] `json:"secret" minlen:"16" maxlen:"256" doc:"signs what is sent; it cannot be read again; null: as it was" example:"a-long-random-text"`
	TimeoutMS Opt[int64]  `json:"timeout_ms" min:"50" max:"10000" doc:"null: 2000" example:"2000"`
	OnFailure Opt[string] `json:"on_failure" enum:"refuse,allow" doc:"what becomes of a request that could not be judged; null: refuse"`
}

type wordsPatch struct {
	List    Opt[[]string] `json:"list" maxlen:"500" doc:"each of 1 to 64 bytes" example:"[]"`
	Action  Opt[string]   `json:"action" enum:"off,flag,mask,block" doc:"null: off"`
	ApplyTo Opt[string]   `json:"apply_to" enum:"both,requests,responses" doc:"null: both"`
}

type maskingPatch struct {
	Email      Opt[string] `json:"email" enum:"off,flag,mask,block" doc:"null: off"`
	Phone      Opt[string] `json:"phone" enum:"off,flag,mask,block" doc:"null: off"`
	Card       Opt[string] `json:"card" enum:"off,flag,mask,block" doc:"null: off"`
	ID         Opt[string] `json:"id" enum:"off,flag,mask,block" doc:"null: off"`
	Credential Opt[string] `json:"credential" enum:"off,flag,mask,block" doc:"null: off"`
	ApplyTo    Opt[string] `json:"apply_to" enum:"both,requests,responses" doc:"null: both"`
}

// set puts an action into rules, if it was sent.
func setAction(to *policy.Action, o Opt[string]) {
	if !o.Set {
		return
	}
	if *to = policy.Action(o.V); o.V == "off" {
		*to = policy.Off
	}
}

func setWhere(to *policy.Where, o Opt[string]) {
	if !o.Set {
		return
	}
	if *to = policy.Where(o.V); o.V == "both" {
		*to = policy.Both
	}
}

// checkWords refuses a list that cannot be obeyed.
func (w *wordsPatch) check() error {
	for _, word := range w.List.V {
		if word == "" || len(word) > policy.MaxWordBytes {
			return badRequest("content_safety.words.list", "content_safety.words.list: a word must have 1 to 64 bytes")
		}
	}
	return nil
}

// apply changes rules as the patch wants.
func (in *securityPatch) apply(r *policy.Rules) {
	m, w := &in.Masking, &in.ContentSafety.Words
	setAction(&r.Masking.Email, m.Email)
	setAction(&r.Masking.Phone, m.Phone)
	setAction(&r.Masking.Card, m.Card)
	setAction(&r.Masking.ID, m.ID)
	setAction(&r.Masking.Credential, m.Credential)
	setWhere(&r.Masking.ApplyTo, m.ApplyTo)
	setAction(&r.Words.Action, w.Action)
	setWhere(&r.Words.ApplyTo, w.ApplyTo)
	if w.List.Set {
		r.Words.List = w.List.V
	}
	j := &in.ContentSafety.Moderation
	if j.Model.Set {
		r.Moderation.Model = j.Model.V
	}
	if j.Categories.Set {
		r.Moderation.Categories = j.Categories.V
	}
	setAction(&r.Moderation.Action, j.Action)
	setPatience(&r.Moderation.TimeoutMS, j.TimeoutMS)
	setOpen(&r.Moderation.Open, j.OnFailure)
	h := &in.ContentSafety.Webhook
	if h.URL.Set {
		if r.Webhook.URL = h.URL.V; h.URL.V == "" {
			r.Webhook.Secret = ""
		}
	}
	if h.Secret.Set && !h.Secret.Null {
		r.Webhook.Secret = h.Secret.V // sealed before
	}
	setPatience(&r.Webhook.TimeoutMS, h.TimeoutMS)
	setOpen(&r.Webhook.Open, h.OnFailure)
	if l := in.Logging.Level; l.Set {
		if r.Logging.Level = policy.Level(l.V); l.V == "standard" {
			r.Logging.Level = policy.Standard
		}
	}
}

func setPatience(to *int64, o Opt[int64]) {
	if !o.Set {
		return
	}
	if *to = o.V; o.V == policy.JudgeMS {
		*to = 0
	}
}

func setOpen(to *bool, o Opt[string]) {
	if o.Set {
		*to = o.V == "allow"
	}
}

// judges prepares what the patch says about those who judge: public ids, a sealed secret,
// and no rules that could not be obeyed.
func (a *api) judges(c *Call, in *securityPatch) error {
	m, h := &in.ContentSafety.Moderation, &in.ContentSafety.Webhook
	if m.Model.V != "" {
		const field = "content_safety.moderation.model"
		judge, err := a.findModel(c, field, m.Model.V)
		if err != nil {
			return err
		}
		if !judge.Moderates() {
			return badRequest(field, fmt.Sprintf("%s: %q does not serve moderations", field, clip(judge.PublicID, 64)))
		}
		m.Model.V = judge.PublicID
	}
	for _, name := range m.Categories.V {
		if !policy.ValidCategory(name) {
			return badRequest("content_safety.moderation.categories", fmt.Sprintf("content_safety.moderation.categories: %q is no name of a category", clip(name, 64)))
		}
	}
	if h.URL.V != "" {
		if err := policy.CheckURL(h.URL.V); err != nil {
			return badRequest("content_safety.webhook.url", "content_safety.webhook.url must be a URL of http or https with a host, without user and fragment")
		}
	}
	p, err := a.Report.Policy(c.Context, c.Caller.ClientID)
	if err != nil {
		return err
	}
	if h.Secret.Set && !h.Secret.Null {
		if h.URL.V == "" && (h.URL.Set || p.Rules.Webhook.URL == "") {
			return badRequest("content_safety.webhook.secret", "content_safety.webhook.secret needs a url")
		}
		h.Secret.V = policy.SealSecret(a.Box, c.Caller.ClientID, h.Secret.V)
	}
	rules := p.Rules
	in.apply(&rules)
	if rules.Webhook.URL != "" && rules.Webhook.Secret == "" {
		return badRequest("content_safety.webhook.secret", "content_safety.webhook.secret is needed: it signs what is sent")
	}
	if rules.Moderation.Action != policy.Off && rules.Moderation.Model == "" {
		return badRequest("content_safety.moderation.model", "content_safety.moderation.model is needed: somebody has to judge")
	}
	if err := rules.Validate(); errors.Is(err, policy.ErrInvalid) {
		return apierr.Invalid("", strings.TrimPrefix(err.Error(), policy.ErrInvalid.Error()+": "))
	}
	return nil
}
