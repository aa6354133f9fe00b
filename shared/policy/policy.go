// Package policy is what a customer sets for the content of all of its calls: the form
// in which it is stored, read by the management API that changes it and by the proxies
// that obey it.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Action is what follows when something is found.
type Action string

// The actions. Each does what the one before it does, too: what is masked is flagged.
const (
	Off   Action = ""
	Flag  Action = "flag"  // the call's trace says so
	Mask  Action = "mask"  // the finding is replaced by its name
	Block Action = "block" // the call is refused, or its answer is not shown
)

// Where says which texts are looked at.
type Where string

// The places.
const (
	Both      Where = ""
	Requests  Where = "requests"
	Responses Where = "responses"
)

// Rules are all of it. The zero value asks for nothing.
type Rules struct {
	Masking Masking `json:"masking,omitzero"`
	Words   Words   `json:"words,omitzero"`
	Routing Routing `json:"routing,omitzero"`
	Window  Window  `json:"window,omitzero"`
	Cache   Cache   `json:"cache,omitzero"`

	Moderation Moderation `json:"moderation,omitzero"`
	Webhook    Webhook    `json:"webhook,omitzero"`

	Logging Logging `json:"logging,omitzero"`
}

// Level is how much is written down of a call beside what explains its charge.
type Level string

// The levels.
const (
	Standard Level = ""        // the caller's own ids, what a policy found, samples of refused calls
	Minimal  Level = "minimal" // none of it: the row of usage alone, and counts of refusals
)

// Logging is what is written down of calls. Their texts never are.
type Logging struct {
	Level Level `json:"level,omitempty"`
}

// Masking is what is done about personal data and secrets, by kind.
type Masking struct {
	Email      Action `json:"email,omitempty"`
	Phone      Action `json:"phone,omitempty"`
	Card       Action `json:"card,omitempty"`
	ID         Action `json:"id,omitempty"`
	Credential Action `json:"credential,omitempty"`
	ApplyTo    Where  `json:"apply_to,omitempty"`
}

// Words is what is done about words of the customer's own.
type Words struct {
	List    []string `json:"list,omitempty"`
	Action  Action   `json:"action,omitempty"` // Off while there are no words
	ApplyTo Where    `json:"apply_to,omitempty"`
}

// Routing is how calls find somebody to serve them.
type Routing struct {
	Regions  []string  `json:"regions,omitempty"`  // only routes of these, the first that can answer; empty: any
	RetryMS  int64     `json:"retry_ms,omitempty"` // no other upstream is asked later than so long after the request came, 0 = no such limit
	Rollouts []Rollout `json:"rollouts,omitempty"` // at most one for a model
}

// Window bounds the input of a call.
type Window struct {
	MaxTokens int64 `json:"max_tokens,omitempty"` // as estimated before the call; 0 = as much as the model takes
	Trim      bool  `json:"trim,omitempty"`       // the oldest turns are left out; else the call is refused
}

// Cached says which calls may be answered by an earlier answer.
type Cached string

// The kinds of calls whose answers are kept to answer the same call again. Calls with
// tools are never.
const (
	CacheOff      Cached = ""
	Deterministic Cached = "deterministic" // temperature 0
	CacheAll      Cached = "all"
)

// Cache is about answers that are given again.
type Cache struct {
	Answers Cached `json:"answers,omitempty"`
	Seconds int64  `json:"seconds,omitempty"` // how long an answer may be given again, 0 = CacheSeconds
}

// The limits of windows and caches.
const (
	MaxWindow       = 1 << 32
	CacheSeconds    = 3600
	MaxCacheSeconds = 86_400
)

// TTL is how long an answer may be given again, in seconds.
func (c *Cache) TTL() int64 {
	if c.Seconds == 0 {
		return CacheSeconds
	}
	return c.Seconds
}

func (r *Rules) validateContext() error {
	if r.Window.MaxTokens < 0 || r.Window.MaxTokens > MaxWindow {
		return invalid("a window of 0 to %d tokens", int64(MaxWindow))
	}
	switch r.Cache.Answers {
	case CacheOff, Deterministic, CacheAll:
	default:
		return invalid("unknown calls to cache: %.20q", string(r.Cache.Answers))
	}
	if r.Cache.Seconds < 0 || r.Cache.Seconds > MaxCacheSeconds {
		return invalid("answers are given again for 0 to %d seconds", MaxCacheSeconds)
	}
	return nil
}

// Rollout gives a part of a model's calls to another one.
type Rollout struct {
	Model   string `json:"model"` // public id
	To      string `json:"to"`    // public id
	Percent int    `json:"percent"`
}

// The limits of routing.
const (
	MaxRegions  = 16
	MaxRetryMS  = 600_000
	MaxRollouts = 32
)

func (r *Routing) validate() error {
	if len(r.Regions) > MaxRegions || len(r.Rollouts) > MaxRollouts {
		return invalid("at most %d regions and %d rollouts", MaxRegions, MaxRollouts)
	}
	if r.RetryMS < 0 || r.RetryMS > MaxRetryMS {
		return invalid("retries within 0 to %d ms", MaxRetryMS)
	}
	seen := map[string]bool{}
	for _, o := range r.Rollouts {
		if o.Model == "" || o.To == "" || o.Model == o.To || o.Percent < 0 || o.Percent > 100 || seen[o.Model] {
			return invalid("a rollout needs two models, a percentage from 0 to 100, and to be its model's only one")
		}
		seen[o.Model] = true
	}
	return nil
}

// Rollout is the one of a model, nil if there is none.
func (r *Routing) Rollout(model string) *Rollout {
	for i := range r.Rollouts {
		if r.Rollouts[i].Model == model {
			return &r.Rollouts[i]
		}
	}
	return nil
}

// The limits of a list of words.
const (
	MaxWords     = 500
	MaxWordBytes = 64
)

// ErrInvalid is wrapped by what Validate and Parse say.
var ErrInvalid = errors.New("the policy is not valid")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate says whether the rules can be obeyed.
func (r *Rules) Validate() error {
	m := &r.Masking
	for _, a := range [...]Action{m.Email, m.Phone, m.Card, m.ID, m.Credential, r.Words.Action} {
		switch a {
		case Off, Flag, Mask, Block:
		default:
			return invalid("unknown action %.20q", string(a))
		}
	}
	for _, w := range [...]Where{m.ApplyTo, r.Words.ApplyTo} {
		switch w {
		case Both, Requests, Responses:
		default:
			return invalid("unknown place %.20q", string(w))
		}
	}
	if err := r.Routing.validate(); err != nil {
		return err
	}
	if err := r.validateContext(); err != nil {
		return err
	}
	if err := r.Moderation.validate(); err != nil {
		return err
	}
	if err := r.Webhook.validate(); err != nil {
		return err
	}
	if l := r.Logging.Level; l != Standard && l != Minimal {
		return invalid("unknown level %.20q", string(l))
	}
	if len(r.Words.List) > MaxWords {
		return invalid("more than %d words", MaxWords)
	}
	for _, w := range r.Words.List {
		if w == "" || len(w) > MaxWordBytes {
			return invalid("a word must have 1 to %d bytes", MaxWordBytes)
		}
	}
	return nil
}

// Parse reads stored rules; nil for the rules that ask for nothing. Rules with members
// that this build does not know are an error: they cannot be obeyed.
func Parse(text []byte) (*Rules, error) {
	if len(text) == 0 || string(text) == "{}" {
		return nil, nil //nolint:nilnil // no rules is a value
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	r := new(Rules)
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// Text is what is stored. An empty list is none.
func (r *Rules) Text() ([]byte, error) {
	if len(r.Words.List) == 0 {
		r.Words.List = nil
	}
	if len(r.Routing.Regions) == 0 {
		r.Routing.Regions = nil
	}
	if len(r.Routing.Rollouts) == 0 {
		r.Routing.Rollouts = nil
	}
	if len(r.Moderation.Categories) == 0 {
		r.Moderation.Categories = nil
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
