package relay

import (
	"io"
	"net/netip"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/auth"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/claim"
	"tokenrelay/proxy/guard"
	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/dashscope"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/protocol/media"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/proxy/respcache"
	"tokenrelay/proxy/route"
	"tokenrelay/proxy/sse"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/aws"
	"tokenrelay/shared/money"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// Presence is what a look at the customer's connection tells.
type Presence uint8

// The presences.
const (
	Present    Presence = iota
	HalfClosed          // FIN: it will send no more, it may still read
	Gone
)

// Client is the customer's connection.
type Client interface {
	Look() Presence // without waiting
	Abort()         // close so that the customer sees a broken connection
	Hold()          // what is written from now on goes out with the end of the answer, which follows at once

	Recent() *auth.Recent // the key that came last on the connection
}

// Exchange is one request with all that belongs to it, from its head to its
// record. It is pooled: whoever holds a part of it past the request's end copies
// it. Everything in it belongs to the connection's goroutine.
type Exchange struct {
	// Kept from request to request: memory that is reused.
	call      upstream.Call
	openai    openai.Stream
	claude    lent[anthropic.Stream]
	gemini    lent[gemini.Stream]
	dashscope lent[dashscope.Stream]
	responses lent[responses.Stream]
	media     lent[media.Stream]
	remade    remade
	peek      peek.Request
	trans     *translation
	signer    aws.Signer
	frames    aws.Decoder
	req       []byte // request bytes for the upstream
	ev        []byte // decoded answer bytes; ev[evDone:] are not yet events
	out       []byte // answer bytes for the customer, not yet written
	final     []byte // the whole response of a stream that is to be kept
	seen      []byte // answer bytes on their way through a policy

	state
}

// state is what one request starts from zero with.
type state struct {
	r      *Relay
	ctx    *fasthttp.RequestCtx
	client Client
	head   *Head
	creds  auth.Credentials
	match  *protocol.Match
	lane   *lane // of the request
	via    *lane // of the attempt's upstream; another one: the request is translated
	ip     netip.Addr

	id     reqid.ID
	idText [len("req_") + 26]byte

	// The clock of the request: started on the wall, everything after on the
	// monotonic clock of waits (upstream.Now).
	startedMilli int64
	startedMono  int64

	// What was found of the request.
	snap     *catalog.Snapshot
	key      *catalog.Key
	model    *catalog.Model
	auto     auto
	rule     *price.Rule
	cost     price.Rule // the supplier's
	body     []byte     // the customer's body, unchanged
	pinned   *catalog.Provider
	stream   bool
	plain    bool   // the answer is neither JSON nor events, and passes as it comes
	boundary []byte // of a body that is a form, a view of the head
	array    bool   // the customer of a Gemini stream wants one JSON array
	asked    string // the model as the customer named it, in askedBuf: it outlives the body
	askedBuf [peek.MaxModel]byte
	showName string // the model name that answers carry, "" = leave

	// What was taken and must be given back or settled exactly once.
	input    admit.Input
	ticket   admit.Ticket
	admitted bool
	flight   *journal.Flight
	finished bool // settled or voided, the record is written
	passed   bool // x.out holds an upstream's refusal for the customer
	kept     int  // status of the upstream's refusal in x.out that is passed on if nobody else answers, 0 = none

	// The attempt under way.
	tried  route.Tried
	choice route.Choice
	bearer string // the token in use, where the provider key is a service account
	cfg    protocol.StreamConfig
	hidden protocol.Hidden // what cfg hides, of the attempt at hand
	edit   protocol.Edit
	answer answerStream
	scan   sse.Scanner
	evDone int

	maxEvent   int       // bytes up to which an event is read as a whole
	decoded    bool      // trans holds this request
	translated bool      // the attempt's upstream got a translation
	unfit      *apiError // why an upstream of another protocol could not express the request, nil if none was met
	unfitWires catalog.Wires
	attempt    int
	busy       bool  // choice counts as in use
	begun      int64 // monotonic ns
	sent       bool  // some upstream has got this request

	// The wait under way (wait.go).
	phase       phase
	firstByteBy int64 // monotonic ns
	endBy       int64 // monotonic ns, of the whole request
	lastRead    int64
	lastWrite   int64
	openedAt    int64 // upstream's headers arrived
	halfProbed  bool  // a FIN was answered with a heartbeat

	// The stream to the customer (stream.go).
	w              io.Writer
	said           bool // some of the answer has been written
	oversize       bool // amid an event larger than protocol.MaxEvent
	done           bool // the terminator was met
	bytesOut       int64
	failedInStream bool   // the answer holds an error of the upstream
	fault          []byte // data of the upstream's in-stream error

	thread thread // stored.go

	// What headers wish (wishes.go).
	capped    bool // the request may cost maxCharge at most
	maxCharge money.Amount
	sticky    uint64 // of the conversation, 0 = none
	region    [1]string
	rolledOut bool // another model than the one asked for serves

	// A client's policy (guarded.go, judged.go).
	found   guard.Report
	judged  usage.Flags       // what those who were asked have said
	inner   bool              // this is a judgement that another exchange asks for
	trimmed int               // messages that were left out
	caches  bool              // the answer may be given again
	again   *respcache.Answer // the earlier answer that is given
	asking  respcache.Key
	written []byte        // of a stream whose answer may be given again
	screen  *guard.Screen // nil: nobody looks at the answer's events

	// Idempotency-Key (claim.go).
	claim  *claim.Answer // this request leads it, nil = it has no key
	follow *claim.Answer // this request follows it
	away   bool          // the customer has left, and the request goes on without it

	text     [64]byte  // for numbers in header fields
	headText [160]byte // of an upstream's head, what its error is judged by

	// Of a request beside the conversations (beside.go).
	plan    meter.Plan
	parts   [3][]byte // of a form on its way upstream
	dropped string    // members that the upstream's form has no place for
	absent  bool      // an upstream does not know the model, or the endpoint
	counted bool      // the relay itself counted tokens that no provider was asked for

	end meter.End
	rec usage.Record
}

// phase is what the goroutine of an exchange waits for.
type phase uint8

const (
	idle        phase = iota
	waitHead          // response headers of an upstream
	waitBody          // the rest of a buffered answer
	waitOpening       // the first output of a stream, failover still possible
	waitStream        // events of a stream that the customer has begun to get
	waitEOF           // the end of an upstream's response behind its terminator
	waitDrain         // a stream whose customer has left, read on for its usage
)

// maxKept bounds the buffers that go back to the pool with an exchange.
const maxKept = 1 << 20

func (r *Relay) acquire(ctx *fasthttp.RequestCtx, head *Head, m *protocol.Match, c Client, ip netip.Addr) *Exchange {
	x := r.pool.Get().(*Exchange)
	x.r, x.ctx, x.head, x.match, x.client, x.ip = r, ctx, head, m, c, ip
	started := ctx.Time().Add(r.o.Clock.Offset())
	x.startedMilli = started.UnixMilli()
	x.startedMono = upstream.At(ctx.Time())
	x.endBy = x.startedMono + int64(r.o.MaxRequest)
	x.id = reqid.New(started)
	x.id.AppendTo(x.idText[:0])
	x.rec = usage.Record{ID: x.id, ProxySlot: r.o.Slot, Endpoint: uint8(m.Endpoint), AdmittedMicros: started.UnixMicro()}
	return x
}

// release ends an exchange. Whatever is still open is closed here; money was
// settled before.
func (r *Relay) release(x *Exchange) {
	x.call.Close()
	x.leaveUpstream()
	x.leaveClaim()
	if x.trans != nil {
		x.trans.release()
	}
	x.req, x.ev, x.out, x.final, x.seen = bound(x.req), bound(x.ev), bound(x.out), bound(x.final), bound(x.seen)
	x.state = state{}
	x.giveBack()
	r.pool.Put(x)
}

func bound(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// requestID is the id as customers see it.
func (x *Exchange) requestID() []byte { return x.idText[:] }

// sinceMicros is the time since the request was received.
func (x *Exchange) sinceMicros() int32 { return x.micros(upstream.Now()) }

// micros is the time from when the request was received to now, of upstream.Now.
func (x *Exchange) micros(now int64) int32 { return int32(min((now-x.startedMono)/1000, 1<<31-1)) }

// NewID makes a request id for a request that is not relayed.
func NewID(ctx *fasthttp.RequestCtx) string { return reqid.New(ctx.Time()).String() }

// apiError is a short name.
type apiError = apierr.Error
