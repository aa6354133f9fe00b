package usage

import (
	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
)

// Status is how a request ended.
type Status uint8

// The ends of a request.
const (
	Success     Status = iota + 1 // complete answer
	Failed                        // an error was answered or the answer was cut by the upstream
	Timeout                       // the last attempt timed out
	Cancelled                     // the client left
	Interrupted                   // the proxy died, the record was recovered from its in-flight slot
	Refused                       // refused after authentication, nothing sent upstream, sampled rows only
)

// Flags of a record.
type Flags uint32

// The flags.
const (
	FlagStream       Flags = 1 << iota // the client asked for a stream
	FlagClamped                        // the relay set or lowered the output cap
	FlagUsageSuspect                   // the provider's usage was impossible and was not taken as it stood
	FlagOverrun                        // the provider reported more than the hold covers; Overrun is the house's
	FlagPinned                         // provider-pinned path
	FlagKeyCut                         // cut because the key was disabled or revoked

	// What the client's policy found in the texts, and what was done.
	FlagEmail // in the order of proxy/guard/pii
	FlagPhone
	FlagCard
	FlagID
	FlagCredential
	FlagWord
	FlagMasked  // something was replaced
	FlagBlocked // the answer was not shown, or broke off

	FlagCacheHit // an earlier answer was given again
	FlagTrimmed  // the oldest turns of the request were left out

	// What those whom the client's policy asks have said of the request.
	FlagModerated // a moderation model found a category that counts
	FlagWarned    // the client's webhook flagged it
	FlagUnjudged  // one of them could not be asked, and the policy lets such calls pass
)

// Findings are the flags that tell of what was said: they explain no charge, and are kept
// beside the row (usage_detail).
const Findings = FlagEmail | FlagPhone | FlagCard | FlagID | FlagCredential | FlagWord | FlagMasked | FlagBlocked |
	FlagModerated | FlagWarned | FlagUnjudged

// MaxAttempts is the most upstream attempts a record can list.
const MaxAttempts = 8

// Attempt is one try at one upstream.
type Attempt struct {
	RouteID       int64 // route row, 0 if unknown
	ProviderKeyID int64
	HTTPStatus    int32 // upstream's status, 0 if none arrived
	Outcome       Outcome
	StartMicros   int32 // since Record.AdmittedMicros
	EndMicros     int32
}

// Outcome is how one attempt ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeOK          Outcome = iota + 1
	OutcomeConnect             // could not connect
	OutcomeTimeout             // no headers in time
	OutcomeStatus              // an error status
	OutcomeErrorEvent          // the stream opened with an error event
	OutcomeCut                 // broke after output had begun
	OutcomeBadResponse         // unreadable answer
	OutcomeCancelled           // given up because the client left
)

// Record is one finished request: what travels from the proxy through the
// journal into the usage table, and what bills the customer. Strings point to
// memory that outlives the record's encoding (catalogue strings or the pooled
// exchange); whoever keeps a record longer copies them.
type Record struct {
	ID        reqid.ID
	ProxySlot int16 // proxy slot row that wrote the record

	ClientID int64
	WalletID int64
	KeyID    int64

	Endpoint        uint8  // protocol.Endpoint
	Model           string // public model id that was served and priced
	RequestedModel  string // what the client sent (alias)
	ClientRequestID string // inbound x-request-id, at most 128 bytes
	ConversationID  string // inbound x-conversation-id, at most 128 bytes, "" = none

	Status     Status
	HTTPStatus int16
	Code       string // apierr code, "" on success
	Flags      Flags
	Source     Source

	Units   Units
	Hold    money.Amount // what was reserved
	Charge  money.Amount // what the customer pays, 0 <= Charge <= Hold
	Cost    money.Amount // supplier's price of the same units
	Overrun money.Amount // part of the computed price above Hold, paid by the house

	PriceID     int64 // price row (immutable)
	CostPriceID int64 // price row of the supplier's price, 0 = PriceID
	ModelPPM    int64 // multipliers applied, parts per million
	GroupPPM    int64
	ClientPPM   int64

	WalletLease int64 // leases the ticket drew on, 0 = none
	MonthLease  int64 // key's monthly cap
	TotalLease  int64 // key's total quota

	AdmittedMicros   int64 // unix µs
	FirstTokenMicros int32 // since admission, 0 = no output
	EndMicros        int64 // unix µs
	BytesIn          int64 // request body
	BytesOut         int64 // response body written to the client

	NumAttempts uint8
	Attempts    [MaxAttempts]Attempt
}
