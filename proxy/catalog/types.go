// Package catalog holds what the proxy knows: one immutable snapshot of models,
// routes, providers and groups, and the caches of keys, price rules and health
// (D5, D6).
package catalog

import (
	"net/netip"
	"sync/atomic"

	"tokenrelay/proxy/guard"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol/template"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
	"tokenrelay/shared/vertex"
)

// Snapshot is everything an operator configures, immutable once published. A
// request keeps the one it started with.
type Snapshot struct {
	Revision  int64
	Models    map[string]*Model    // by public id and by every alias, exact bytes
	Providers map[string]*Provider // by slug
	Groups    map[int64]*Group     // by row id
	ModelList []*Model             // by public id, sorted
	Problems  []string             // rows that were left out, and why; for the log and a metric

	tiers    *tiers
	native   map[nativeName]string // public ids by what providers call their models
	byID     map[int64]*Provider
	unusable []string       // Problems of providers and their keys
	reading  *store.Reading // of the rows that it was made of
}

// tiers are the groups that models are sold by, shared by all snapshots until one changes.
type tiers struct {
	revision int64 // of the first snapshot with them
	groups   map[int64]*Group
}

// nativeName is a model's name at a provider.
type nativeName struct {
	provider int64
	model    string
}

// Native is the model by the provider's own name of it, which pinned paths accept besides
// public names; nil if there is none. Of several models it is the one of the lowest row.
func (s *Snapshot) Native(p *Provider, name string) *Model {
	return s.Models[s.native[nativeName{p.ID, name}]]
}

// Protocol is the wire format an upstream speaks.
type Protocol uint8

// The upstream protocols.
const (
	ProtocolOpenAI Protocol = iota + 1
	ProtocolAnthropic
	ProtocolGemini
	ProtocolDashScope
	ProtocolBedrock
	ProtocolCohere
)

// Model is one public model. It is shared by all snapshots until it, a provider or a group
// changes.
type Model struct {
	ID            string // public id
	RowID         int64
	Family        meter.Family // by the id: how its texts are estimated in tokens
	Tags          []string
	Can           Abilities // by the tags
	ContextTokens int64
	MaxOutput     int64            // tokens
	Routes        []*Route         // by priority, then row id; only enabled ones
	Prices        []*price.Version // newest effective_at first; empty: unpriced, refused
	PPM           int64            // model multiplier, parts per million
	CreatedUnix   int64
	Auto          *Auto // not nil: a virtual model, Routes and Prices are empty

	tiers    *tiers
	problems []string // what of the model was left out, and why
}

// Auto says how a virtual model picks a real one.
type Auto struct {
	Strategy Strategy
	Models   []*Model  // real models of the same snapshot, in the operator's order, MaxCandidates at most
	Told     Abilities // that any of the models has a tag for: only these can be asked of one
}

// Strategy is what a virtual model goes by.
type Strategy uint8

// The strategies.
const (
	Balanced Strategy = iota // price and speed, alike
	Cheapest
	Fastest
	Best // the first of the operator's list that can
)

var strategies = map[string]Strategy{"balanced": Balanced, "cheapest": Cheapest, "fastest": Fastest, "best": Best}

// MaxCandidates is how many models a virtual one picks from at most.
const MaxCandidates = 64

// Route is one way to serve a model.
type Route struct {
	ID            int64
	Model         *Model
	Provider      *Provider
	UpstreamModel string
	Priority      int32
	Weight        int32
	Region        string
	Cost          []*price.Version // supplier's price; empty = the model's price
	Health        *Health          // lives as long as the route's row id
	Answers       template.Kept    // what its answers have in common
}

// Provider is one upstream account.
type Provider struct {
	ID       int64
	Slug     string
	Protocol Protocol
	Wires    Wires          // what it serves without translation
	Dialect  string         // openai, azure, deepseek, mistral, qwen, moonshot, zai, xai, groq, openrouter, …
	BaseURL  string         // without a trailing slash
	Domain   string         // of BaseURL, in lower case: what no client may read, see domainOf
	Keys     []*ProviderKey // enabled ones
	Paused   bool

	Options   map[string]string // api_version, region, auth
	DailyStop money.Amount      // -1 = none
}

// ProviderKey is one credential of a provider.
type ProviderKey struct {
	ID     int64
	Name   string
	Secret Secret
	Tokens *vertex.Source // where Secret is a service account: what is sent in its place
	Parts  []string       // of Secret: what no client may read, see partsOf
	Health *Health        // lives as long as the key's row id
}

// Secret prints as *** everywhere.
type Secret string

// String hides the secret.
func (Secret) String() string { return "***" }

// GoString hides the secret.
func (Secret) GoString() string { return "***" }

// Health is the live state of a route or of a provider key. It is shared by all
// snapshots; every field is read and written atomically, see package route.
type Health struct {
	LatencyMicros  atomic.Int64 // peak EWMA of time to headers, µs
	Inflight       atomic.Int64
	Failures       atomic.Int64 // consecutive
	OpenUntilNanos atomic.Int64 // monotonic ns (route.Now); breaker open or cooling until
	Dead           atomic.Int64 // provider key: permanent failure at unix s, 0 = fine
	Probing        atomic.Bool  // a half-open probe is under way
}

// Group is a tier of customers.
type Group struct {
	ID        int64
	Name      string
	AllModels bool
	Models    map[string]struct{} // public ids, used unless AllModels
	PPM       int64
	RPM       int64 // 0 = no limit
	TPM       int64

	MaxConcurrency int64          // 0 = no limit
	DailyUSD       money.Amount   // -1 = none
	TotalQuota     money.Amount   // -1 = none
	IPAllow        []netip.Prefix // empty = any
	Expires        int64          // unix ms, 0 = never
}

// KeyStatus is the state of a customer key.
type KeyStatus uint8

// The states of a key.
const (
	KeyActive KeyStatus = iota + 1
	KeyDisabled
	KeyRevoked
)

// Key is a customer key with what a request needs of its client; immutable once
// published. It carries its full identity and the revision it was built from.
type Key struct {
	Digest   [32]byte // SHA-256 of the whole token
	Revision int64    // of the change feed when it was read

	ID       int64
	PublicID string
	Name     string
	Status   KeyStatus
	Expires  int64 // unix ms, 0 = never

	ClientID     int64
	ClientName   string
	ClientActive bool
	ClientPPM    int64 // client's multiplier
	WalletID     int64
	GroupID      int64

	Models  map[string]struct{} // public ids, of the key's scope and its client's; nil = automatic
	IPAllow []netip.Prefix      // empty = any

	RPM, TPM, MaxConcurrency int64         // 0 = no limit
	MonthlyCap, TotalQuota   money.Amount  // -1 = none
	DailyUSD                 money.Amount  // -1 = none
	MaxAttempts              int           // upstreams asked at most, 0 = as the proxy is set
	Region                   string        // only routes of it, "" = any
	Policy                   *guard.Policy // what is done about content, nil = nothing
	Unruled                  bool          // the client's rules cannot be read: its requests are refused
	DrainTokens              int64         // client leaves: 0 = cancel the upstream, else drain up to N output tokens

	Live *live.Key // the key's counters and wallet; outlives cache entries

	era int64 // of the catalogue when it was read, see Catalog.Restart
}
