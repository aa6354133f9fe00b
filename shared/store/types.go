package store

import (
	"math/big"
	"net/netip"
	"time"

	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// None stands for "no limit" where an amount limits something.
const None money.Amount = -1

// Actor names who made a change, for the audit log: "cli", "operator", "user:12",
// "key:<public id>".
type Actor string

// ---- change feed -----------------------------------------------------------

// Kind says what a change of the feed is about.
type Kind string

// The kinds of changes.
const (
	KindCatalog Kind = "catalog" // providers, models, routes, prices, groups: reload the catalogue
	KindKey     Kind = "key"     // one key: Change.ID, Digest, Detail
	KindClient  Kind = "client"  // one client (its group, multiplier or state): every key of it
	KindWallet  Kind = "wallet"  // money came or went by an entry: Change.ID is the wallet
	KindSetting Kind = "setting" // Change.Detail names it
	KindUser    Kind = "user"
)

// The details of a key change.
const (
	KeyCreated    = "create"
	KeyPatched    = "patch"
	KeyDisabledOp = "disable" // running streams are cut
	KeyEnabled    = "enable"
	KeyRevokedOp  = "revoke" // final; running streams are cut
	KeyRotated    = "rotate" // the old key of a rotation: final, but running streams finish
)

// Change is one row of the feed. Revisions are consecutive: a gap between the
// revision asked for and the first one returned means that older changes were
// pruned and everything must be reloaded.
type Change struct {
	Rev    int64
	Kind   Kind
	ID     int64    // row id of the key, client, wallet or user; 0 for the catalogue
	Digest [32]byte // of the key, only for KindKey
	Detail string
}

// The channels of Listen.
const (
	ChannelConfig = "relay_config" // payload: the new revision, decimal
	ChannelRecall = "relay_recall" // payload: see ParseRecall
)

// KeyStatus is the state of a customer key.
type KeyStatus int16

// The states of a key. Revoked is final.
const (
	KeyActive   KeyStatus = 1
	KeyDisabled KeyStatus = 2
	KeyRevoked  KeyStatus = 3
)

// KeyLimits is what a key may do. Zero values mean no limit, except for amounts,
// where None does (and 0 means nothing at all).
type KeyLimits struct {
	Models         []string // public ids; empty: all the client is entitled to
	IPAllow        []netip.Prefix
	RPM            int64
	TPM            int64
	MaxConcurrency int64
	MonthlyCap     money.Amount
	TotalQuota     money.Amount
	DailyUSD       money.Amount
	DrainTokens    int64     // client left: 0 = cancel the upstream, else drain up to N output tokens
	ExpiresAt      time.Time // zero: never
}

// Unlimited is the KeyLimits without any limit.
func Unlimited() KeyLimits {
	return KeyLimits{MonthlyCap: None, TotalQuota: None, DailyUSD: None}
}

// KeyRow is a key with what a request needs of its client, read in one statement.
type KeyRow struct {
	Revision int64 // of the change feed in the same snapshot
	ID       int64
	PublicID string
	Name     string
	Last4    string
	Digest   [32]byte
	Status   KeyStatus
	KeyLimits

	ClientID     int64
	ClientName   string
	ClientActive bool
	ClientPPM    int64
	WalletID     int64
	GroupID      int64
	ClientModels []string // what the client lets its keys call; empty: automatic
	Region       string   // only routes of it, "" = any
	MaxAttempts  int      // 0 = as the proxy is set
	Rules        []byte   // policy.Rules as stored; nil or {}: none
}

// RevokedKey is a member of the set that is never evicted.
type RevokedKey struct {
	ID     int64
	Digest [32]byte
}

// CatalogRows is everything an operator configures, from one snapshot.
type CatalogRows struct {
	Revision     int64
	Now          time.Time // clock of Postgres
	Groups       []GroupRow
	Providers    []ProviderRow
	ProviderKeys []ProviderKeyRow
	Models       []ModelRow
	Routes       []RouteRow // by model, priority, id; enabled ones of enabled models
	Prices       []PriceRow // per owner the one in force and those to come, newest first

	Reading *Reading // names this reading; nil where not all of the catalogue was read
	// An earlier reading that these rows are, but for the models Renewed, by row id, which
	// may have come, gone or changed; nil: nothing is known. All rows are everybody's and
	// must not be changed.
	Since   *Reading
	Renewed []int64
}

// GroupRow is a tier of customers.
type GroupRow struct {
	ID             int64
	Name           string
	AllModels      bool
	Models         []string // public ids, empty if AllModels
	PPM            int64
	RPM, TPM       int64 // 0: no limit
	MaxConcurrency int64
	DailyUSD       money.Amount // None: no limit
	TotalQuota     money.Amount
	IPAllow        []netip.Prefix
	ExpiresAt      time.Time
}

// ProviderRow is an upstream account.
type ProviderRow struct {
	ID        int64
	Slug      string
	Protocol  string
	Dialect   string
	BaseURL   string
	Options   map[string]string
	Paused    bool
	DailyStop money.Amount // None: no stop
}

// ProviderKeyRow is a credential, sealed. OpenSecret opens it.
type ProviderKeyRow struct {
	ID         int64
	ProviderID int64
	Name       string
	Sealed     []byte
	Version    int32 // of the secret, part of the seal
}

// ModelRow is a public model.
type ModelRow struct {
	ID            int64
	PublicID      string
	Aliases       []string
	Tags          []string
	ContextTokens int64
	MaxOutput     int64
	PPM           int64
	AutoStrategy  string   // "" = a real model
	AutoModels    []string // public ids
	CreatedAt     time.Time
}

// RouteRow is one way to serve a model.
type RouteRow struct {
	ID            int64
	ModelID       int64
	ProviderID    int64
	UpstreamModel string
	Priority      int32
	Weight        int32
	Region        string
}

// PriceRow is an immutable price: of a model (what customers pay) or of a route
// (what the supplier takes). Version is resolved.
type PriceRow struct {
	ModelID int64 // one of the two is set
	RouteID int64
	Version price.Version
}

// ---- proxies and leases -----------------------------------------------------

// ProxySlot is a proxy's identity in the books.
type ProxySlot struct {
	ID    int16 // 1 … 4095
	Epoch int64 // < 2^25; grows by one at every claim
}

// ProxyRow describes a proxy to operators.
type ProxyRow struct {
	ProxySlot
	Name        string
	JournalID   string
	InternalURL string
	State       string // active, closed, lost
	Heartbeat   time.Time
	AppliedRev  int64
	Live        bool // active and heard of in the last LiveWindow
}

// Escrow names whose money a lease holds: a wallet's, or the room left under a
// key's cap in a period.
type Escrow struct {
	WalletID int64
	KeyID    int64 // with Period, instead of WalletID
	Period   int32 // yyyymm of the monthly cap, 0 = the key's total quota
}

// Recall asks for idle money of an escrow back, or tells that some came back.
type Recall struct {
	Escrow
	Slot  int16 // the proxy that was refused, or that gave back; 0 in Beat
	Freed bool  // money came back that somebody was refused a moment ago: ask again

	// Number counts an escrow's recalls. Who gives back what was free after hearing of
	// one has answered it and all before it.
	Number int64
}

// FreedWindow is how long after a recall the return of money is told to those who may
// wait for it. A request waits no longer.
const FreedWindow = 3 * time.Second

// Beat is the answer to a heartbeat.
type Beat struct {
	Now      time.Time // clock of Postgres
	Live     int       // proxies heard of in the last LiveWindow, this one included
	Revision int64     // newest configuration revision
	Recalls  []Recall  // escrows that this proxy holds leases of and somebody else was refused
}

// LeaseID composes a lease's id: slot 12 bits, epoch 25 bits, seq 26 bits.
func LeaseID(slot int16, epoch int64, seq int64) int64 {
	return int64(slot&0xfff)<<51 | (epoch&(1<<25-1))<<26 | seq&(1<<26-1)
}

// SplitLeaseID undoes LeaseID.
func SplitLeaseID(id int64) (slot int16, epoch, seq int64) {
	return int16(id >> 51 & 0xfff), id >> 26 & (1<<25 - 1), id & (1<<26 - 1)
}

// GrantRequest asks for money: for a new lease (Seq 1) or for more on an open one.
type GrantRequest struct {
	Slot    int16
	Epoch   int64
	LeaseID int64
	Seq     int64 // gseq: 1 for the first grant of a lease, then +1 each
	Escrow
	Need   money.Amount // at least this, else refused; 0 = a refill in the background
	Target money.Amount // as much as this if the escrow allows
}

// Unanswered is money of an escrow that a recall has not brought back and of which it
// is not known whether it is free.
type Unanswered struct {
	Silent money.Amount // with proxies that were not heard of
	Slow   money.Amount // with proxies that live and have not answered yet

	// Available could be granted at the same moment: what came back since a refusal is
	// in it, and not with anybody else any more.
	Available money.Amount
}

// Grant is the answer. A refused grant has changed nothing but recalled idle money
// from the other proxies.
type Grant struct {
	Granted   money.Amount // added to the lease by this request
	Repeated  bool         // this Seq had been granted before; Granted is what it gave then
	Refused   bool
	Others    money.Amount  // of the escrow's money: what other leases hold, not yet settled
	Available money.Amount  // what can still be granted, after this grant
	Recall    int64         // number of the escrow's latest recall, which a refusal has made if the one before was long enough ago
	RecallIn  time.Duration // until the next one can be made
	Balance   money.Amount  // wallet: balance; key: cap − posted
	Leased    money.Amount  // all open leases, after this grant
	ExpiresAt time.Time     // clock of Postgres
	Now       time.Time
}

// LeaseRow is an open lease.
type LeaseRow struct {
	ID    int64
	Slot  int16
	Epoch int64
	Escrow
	Granted, Settled, Returned money.Amount
	GSeq, RSeq                 int64
	ExpiresAt                  time.Time
}

// Closed sums up leases that were closed with money outstanding.
type Closed struct {
	Leases    int
	Reclaimed money.Amount // wallets only
}

// ---- money out ----------------------------------------------------------------

// MaxBatch is the most records that SettleBatch takes.
const MaxBatch = 10_000

// SettleResult sums up one batch.
type SettleResult struct {
	Inserted   int // usage rows written now
	Duplicates int // were there already: nothing moved
	Late       int // of Inserted: charged on the late path, their lease being closed or spent
	Refusals   int // refusal rows written
	Charged    money.Amount
	BadDebt    money.Amount // part of late charges that the wallet could not pay
	Rejected   []Rejected
}

// Rejected is a record that breaks a money rule by itself (charge above hold,
// negative counts, a foreign wallet). It is kept in settle_reject, moves nothing,
// and does not stop the batch.
type Rejected struct {
	Index  int
	Reason string
}

// RefusalCount adds refusals that were only counted, not recorded.
type RefusalCount struct {
	ClientID, KeyID int64
	Model           string
	Code            string
	At              time.Time
	N               int64
}

// ---- management -----------------------------------------------------------------

// Client is a customer with its wallet.
type Client struct {
	ID        int64
	Name      string
	GroupID   int64
	Group     string
	WalletID  int64
	PPM       int64
	Active    bool
	Profile   map[string]string
	CreatedAt time.Time
}

// NewClient makes a client and its wallet.
type NewClient struct {
	Name   string
	Group  string       // "" = default
	PPM    int64        // 0 = 1,000,000
	Credit money.Amount // ≥ 0, first recharge
	Note   string
}

// ClientPatch changes what is not nil.
type ClientPatch struct {
	Name    *string
	Group   *string
	PPM     *int64
	Active  *bool
	Floor   *money.Amount     // ≤ 0: a credit line
	Profile map[string]string // these members are replaced, others stay
}

// EntryKind is the kind of a ledger entry: ledger.Recharge, Correction, Refund, and
// BadDebt, which only the late path books. Charges are usage rows.
type EntryKind = ledger.Kind

// Entry is one ledger row.
type Entry struct {
	ID        int64
	WalletID  int64
	Kind      EntryKind
	Amount    money.Amount // signed, as it moved the balance
	Ref       string
	Note      string
	Actor     string
	RequestID reqid.ID // bad debt only
	Balance   money.Amount
	CreatedAt time.Time
}

// NewEntry books money. Ref makes it idempotent: the same Ref with the same
// content is booked once; with other content it is ErrExists.
type NewEntry struct {
	WalletID int64
	Kind     EntryKind
	Amount   money.Amount
	Ref      string // "" = a new unique one
	Note     string
}

// Balance is the state of a wallet.
type Balance struct {
	WalletID  int64
	Balance   money.Amount // what customers see
	Reserved  money.Amount // Σ holds of running requests, as last reported by the proxies
	Available money.Amount // Balance − Reserved
	Leased    money.Amount // with proxies (operators only)
	Floor     money.Amount // ≤ 0
}

// Key is a customer key as managers see it; the token is nowhere.
type Key struct {
	ID       int64
	PublicID string
	ClientID int64
	Name     string
	Last4    string
	Status   KeyStatus
	KeyLimits
	SpentMonth money.Amount // charges of this month (clock of Postgres)
	SpentTotal money.Amount
	LastUsedAt time.Time // begin of the newest settled request, zero: never
	CreatedAt  time.Time
	ChangedAt  time.Time
}

// NewKey is a generated key: the store sees its digest only.
type NewKey struct {
	ClientID int64
	PublicID string
	Digest   [32]byte
	Last4    string
	Name     string
	KeyLimits
}

// KeyPatch changes what is not nil. Models: an empty slice clears to automatic.
type KeyPatch struct {
	Name           *string
	Models         *[]string
	IPAllow        *[]netip.Prefix
	RPM, TPM       *int64
	MaxConcurrency *int64
	MonthlyCap     *money.Amount // None clears
	TotalQuota     *money.Amount
	DailyUSD       *money.Amount
	DrainTokens    *int64
	ExpiresAt      *time.Time // zero clears
}

// Applied is what ApplyCatalog did or, in a dry run, would do.
type Applied struct {
	Changes  []string // one line each; empty: nothing to do
	Revision int64    // newest revision afterwards
	DryRun   bool
}

// ---- reads ------------------------------------------------------------------------

// UsageFilter selects rows of billing detail. Zero values select everything.
type UsageFilter struct {
	WalletID  int64 // required unless All
	All       bool  // operators
	From, To  time.Time
	Model     string
	Statuses  []usage.Status // one of them
	KeyID     int64
	RequestID reqid.ID
	Before    reqid.ID // page: only older ones
	Limit     int      // 1 … 1000, default 100
	Refusals  bool     // with the sampled refusals
	Held      bool     // only those that held money
	Charged   bool     // only those with a charge

	Conversation string // of the wallet's client, "" = all; refusals are of none
}

// EntryFilter selects entries of one wallet.
type EntryFilter struct {
	WalletID  int64
	ID        int64       // one entry, 0 = all
	Kinds     []EntryKind // empty: all
	From, To  time.Time   // From ≤ CreatedAt < To
	RequestID reqid.ID    // of bad debt
	Before    time.Time   // page: only those before this time, and at it those
	BeforeID  int64       // below this id
	Limit     int         // 1 … 1000, default 100
}

// UsageRow is a stored record.
type UsageRow struct {
	usage.Record
	KeyPublicID string
	KeyName     string
	ProxyName   string
	Late        bool // charged after its wallet lease was closed
}

// HourlyFilter selects roll-ups.
type HourlyFilter struct {
	ClientID int64 // 0 = all
	KeyID    int64
	Model    string
	From, To time.Time
}

// RollupFilter selects roll-ups and says how they are added up.
type RollupFilter struct {
	HourlyFilter
	Hours     int      // of a row, counted from 1970: 1, 24; 0 = the whole time is one row
	ByModel   bool     // else the models are added up
	ByKey     bool     // else the keys
	ByClient  bool     // else the clients
	Durations bool     // with Latency and FirstToken
	NoUnits   bool     // without Units, which take most of the time
	After     *HourRow // page: only rows that come after this one
	Limit     int      // 0 = all
}

// HourRow is one sum of roll-ups; the proxies are added up. What it is not grouped by
// is zero.
type HourRow struct {
	Hour                                           time.Time // its first moment; zero when the whole time is one row
	ClientID, KeyID                                int64
	Model                                          string
	Success, Failed, Timeout, Cancelled, Interrupt int64
	Units                                          usage.Units
	Charge, Cost, Overrun                          money.Amount
	BytesIn, BytesOut                              int64
	Latency, FirstToken                            Histogram
}

// HistogramBuckets is the number of buckets of a Histogram.
const HistogramBuckets = 24

// Histogram counts durations: bucket 0 those under 1 ms, bucket i those from
// 2^(i-1) ms to under 2^i ms, the last one everything longer.
type Histogram [HistogramBuckets]int64

// ---- audit ------------------------------------------------------------------------

// AuditOptions narrows an audit.
type AuditOptions struct {
	WalletID int64     // 0 = all
	Since    time.Time // add the rows again from this hour on, instead of the last two
	Slice    int       // with Slices: only the wallets of this slice, 0 ≤ Slice
	Slices   int       // into how many slices the wallets are cut, at most one for each
	Deep     bool      // add all rows again, instead of taking closed hours from the roll-ups
}

// AuditReport is the proof of the books.
type AuditReport struct {
	Lines    []AuditLine
	Wallets  int64
	Revision int64
	At       time.Time
	// The three honest numbers, and what was set aside.
	Leased      money.Amount // with proxies: in flight or not yet shipped
	WrittenOff  money.Amount // bad debt + overrun
	Interrupted int64        // rows recovered from proxies that died
	RejectedN   int64        // records set aside in settle_reject
	BadDebt     money.Amount // of WrittenOff
	Overrun     money.Amount // of WrittenOff
	Accounts    []AccountSum // double entry (M12)
	Since       time.Time    // rows from here on were added again
	Deep        bool
}

// AccountSum is one account of the double entry.
type AccountSum struct {
	Account string
	Amount  *big.Int // nano-USD
}

// AuditLine is one invariant of the money.
type AuditLine struct {
	ID      string // M1 …
	Name    string
	Checked int64
	Broken  int64
	Worst   money.Amount // largest difference; 0 where the invariant has none
	Samples []string     // the first broken ones
}

// Clean says that nothing is broken.
func (r *AuditReport) Clean() bool {
	for _, l := range r.Lines {
		if l.Broken != 0 {
			return false
		}
	}
	return true
}
