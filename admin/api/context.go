package api

import "tokenrelay/shared/policy"

// The body of PATCH context/config. Members left out stay. Those with one value can be
// sent back as they were read; another value is refused by name, as nothing would follow
// from it.
type contextPatch struct {
	Window windowPatch `json:"context_window"`
	Memory memoryPatch `json:"memory_retention"`
	Cache  cachePatch  `json:"cache"`
}

type windowPatch struct {
	MaxTokens Opt[int64]  `json:"max_tokens" min:"1" max:"4294967296" doc:"null: as much as the model takes" example:"null"`
	Overflow  Opt[string] `json:"overflow" enum:"refuse,trim" doc:"null: refuse"`
}

type memoryPatch struct {
	Mode         Opt[string] `json:"mode" enum:"stored_responses"`
	ResponseDays Opt[int64]  `json:"response_days" min:"0" max:"30" doc:"null: 30" example:"30"`
}

type cachePatch struct {
	Answers     Opt[string] `json:"answers" enum:"off,deterministic,all" doc:"null: off"`
	Seconds     Opt[int64]  `json:"answer_seconds" min:"1" max:"86400" doc:"null: 3600" example:"3600"`
	Prompt      Opt[string] `json:"prompt" enum:"pass_through"`
	ReplayHours Opt[int64]  `json:"replay_hours" min:"0" max:"24" doc:"null: 24" example:"24"`
}

// apply changes rules as the patch wants.
func (in *contextPatch) apply(r *policy.Rules) {
	if w := in.Window.MaxTokens; w.Set {
		r.Window.MaxTokens = w.V // null is 0: none
	}
	if o := in.Window.Overflow; o.Set {
		r.Window.Trim = o.V == "trim"
	}
	if a := in.Cache.Answers; a.Set {
		if r.Cache.Answers = policy.Cached(a.V); a.V == "off" {
			r.Cache.Answers = policy.CacheOff
		}
	}
	if s := in.Cache.Seconds; s.Set {
		if r.Cache.Seconds = s.V; s.V == policy.CacheSeconds {
			r.Cache.Seconds = 0
		}
	}
}
