package api

import "tokenrelay/shared/policy"

// The part of the policies that is about the content of calls. Members left out stay,
// null is the default.
type safetyPatch struct {
	Words wordsPatch `json:"words"`
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
}
