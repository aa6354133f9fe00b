package report

import (
	"time"

	"tokenrelay/shared/policy"
	"tokenrelay/shared/store"
)

// ContextConfig is what the relay does with the context of calls (S1-13).
type ContextConfig struct {
	Window ContextWindow `json:"context_window"`
	Memory ContextMemory `json:"memory_retention"`
	Cache  ContextCache  `json:"cache"`
}

// ContextWindow is the input that a call may have.
type ContextWindow struct {
	MaxTokens *int64 `json:"max_tokens" doc:"as the relay estimates them before a call; null: as much as the model takes, see /openapi/v1/models"`
	Overflow  string `json:"overflow" enum:"refuse,trim" doc:"what becomes of a call above it: it is refused, or its oldest turns are left out, whole, calls of tools with their results; what the system says and the last turn stay"`
}

// ContextMemory is what is remembered of messages.
type ContextMemory struct {
	Mode         string `json:"mode" enum:"stored_responses" doc:"stored_responses: a call of /v1/responses can go on from one that is stored; all others bring their context"`
	ResponseDays int64  `json:"response_days" doc:"how long responses are stored, encrypted; 0, or replay_hours 0: not at all"`
}

// ContextCache is what is kept to save a second call.
type ContextCache struct {
	Answers     string `json:"answers" enum:"off,deterministic,all" doc:"which calls may be answered by the earlier answer to the same call of this account: none; those with temperature 0; all. Calls with tools never are. Such an answer costs its tokens, in and out, at the price of cached input, and has the header x-relay-cache: hit"`
	Seconds     int64  `json:"answer_seconds" doc:"how long an answer may be given again; it is kept in memory only"`
	Prompt      string `json:"prompt" enum:"pass_through" doc:"pass_through: what the request says of caching is passed on, and what was read from a cache is charged at its price"`
	ReplayHours int64  `json:"replay_hours" doc:"how long the answer to a request with an Idempotency-Key is kept, encrypted, for its repetition; 0: not at all"`
}

// ViewContext is p as the configuration of contexts.
func ViewContext(p *store.Policy) *ContextConfig {
	v := &ContextConfig{
		Window: ContextWindow{Overflow: "refuse"}, Memory: ContextMemory{Mode: "stored_responses", ResponseDays: int64(p.ResponseDays)},
		Cache: ContextCache{Answers: "off", Seconds: p.Rules.Cache.TTL(), Prompt: "pass_through", ReplayHours: int64(p.Retention / time.Hour)},
	}
	if w := &p.Rules.Window; w.MaxTokens > 0 {
		v.Window.MaxTokens = &w.MaxTokens
	}
	if p.Rules.Window.Trim {
		v.Window.Overflow = "trim"
	}
	if a := p.Rules.Cache.Answers; a != policy.CacheOff {
		v.Cache.Answers = string(a)
	}
	return v
}
