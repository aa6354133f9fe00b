// Package relay is the path of one request, from its head to its record: who
// asks, for what, may it, at what price, from whom, and what became of it.
package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/auth"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/claim"
	"tokenrelay/proxy/guard/hook"
	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/respcache"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// Options of a relay.
type Options struct {
	Catalog  *catalog.Catalog
	Gate     *admit.Gate
	Journal  *journal.Journal
	Upstream *upstream.Client
	Refusals Refusals
	Claims   *claim.Book
	Stored   Stored           // nil = no response is kept
	Answers  *respcache.Cache // nil = no answer is given again
	Hooks    *hook.Caller     // nil = no webhook is asked, and who has one is refused
	Clock    Clock
	Log      *slog.Logger
	Slot     int16 // proxy slot, in every record

	FirstByteTimeout   time.Duration // a buffered answer begins
	StreamStartTimeout time.Duration // a stream begins
	IdleTimeout        time.Duration // an upstream amid its answer
	MaxRequest         time.Duration // all attempts together
	ColdTimeout        time.Duration // a key that is not in memory
	MaxAttempts        int
	MaxAnswer          int64 // bytes of a buffered answer
}

// Refusals counts what was refused after authentication and keeps samples.
type Refusals interface {
	// Note counts one refusal; it must not keep what it is given.
	Note(key *catalog.Key, model string, known bool, endpoint protocol.Endpoint, e *apierr.Error, id reqid.ID, at time.Time)
}

// Clock is the offset of Postgres's clock to this machine's.
type Clock interface{ Offset() time.Duration }

// Relay serves requests.
type Relay struct {
	o       Options
	pool    sync.Pool
	storing chan struct{} // stored.go

	Running atomic.Int64 // requests under way
	Stats   Stats
}

// New makes a relay.
func New(o Options) *Relay {
	if o.ColdTimeout == 0 {
		o.ColdTimeout = 3 * time.Second
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 64 << 20
	}
	r := &Relay{o: o, storing: make(chan struct{}, maxStoring)}
	r.pool.New = func() any { return new(Exchange) }
	return r
}

// Asker is whoever sent a request, and whether it was worth reading.
type Asker struct {
	Client  int64 // the client's id
	Known   bool  // a key of ours was found
	Useless bool  // the body could not be read, or names no model
}

// Serve answers one request of a served endpoint. For a stream it returns when the
// answer has begun; the rest is written by answerBody.WriteTo on the same
// goroutine.
func (r *Relay) Serve(ctx *fasthttp.RequestCtx, head *Head, m *protocol.Match, c Client, ip netip.Addr) (who Asker) {
	r.Running.Add(1)
	x := r.acquire(ctx, head, m, c, ip)
	streaming := false
	defer func() {
		if p := recover(); p != nil {
			r.panicked(x, p)
			streaming = false
		}
		if x.key != nil {
			who.Known, who.Client = true, x.key.ClientID
		}
		if !streaming {
			r.release(x)
			r.Running.Add(-1)
		}
	}()
	if err := x.serve(); err != nil {
		who.Useless = x.model == nil && (err.Status == 400 || err.Status == 404 || err.Status == 415)
		x.refuse(err)
		return
	}
	streaming = x.phase == waitStream
	return
}

// serve is the way of one request.
func (x *Exchange) serve() *apiError {
	if err := x.authenticate(); err != nil {
		return err
	}
	x.lane = laneOf(x.match.Endpoint)
	x.via = x.lane
	if x.lane == nil {
		return x.models()
	}
	if err := x.read(); err != nil {
		return err
	}
	if x.head.IdempotencyKey != nil {
		if followed, err := x.claimKey(); followed || err != nil {
			return err
		}
	}
	if err := x.resolve(); err != nil {
		return err
	}
	if err := x.goesOnFrom(); err != nil {
		return err
	}
	if err := x.admit(); err != nil {
		return err
	}
	if x.again != nil {
		x.giveAgain()
		return nil
	}
	if x.lane.free && !x.routed(x.lane.wire) {
		x.count()
		return nil
	}
	if err := x.attempts(); err != nil {
		if x.lane.free && x.absent && x.kept == 0 {
			x.count() // many have the messages and not their count
			return nil
		}
		return err
	}
	if x.stream {
		x.commit()
		return nil
	}
	x.keep(x.out)
	if x.caches {
		x.remember(x.out)
	}
	x.reply()
	return nil
}

// authenticate finds the key. The address is judged first: guessing keys must not
// cost look-ups.
func (x *Exchange) authenticate() *apiError {
	x.input.Now = lease.At(x.ctx.Time())
	if err := x.r.o.Gate.AllowIP(x.ip, x.input.Now); err != nil {
		return err
	}
	x.creds = auth.Credentials{Authorization: x.head.Authorization, APIKey: x.head.APIKey, GoogKey: x.head.GoogKey, Recent: x.client.Recent()}
	key, err := auth.Authenticate(x.r.o.Catalog, &x.creds, x, x.match.Family, x.ip, x.startedMilli, x.r.o.ColdTimeout)
	x.key = key
	return err
}

// Left says that the customer has gone.
func (x *Exchange) Left() bool { return x.client.Look() == Gone }

// read finds in the body what must be known before it may cost anything.
func (x *Exchange) read() *apiError {
	if e := x.head.ContentEncoding; len(e) > 0 && string(e) != "identity" {
		return apierr.ErrUnsupportedEncoding
	}
	x.body = x.ctx.Request.Body()
	if err := x.wishes(); err != nil {
		return err
	}
	if err := x.lane.scan(x); err != nil {
		return err
	}
	x.stream = x.peek.Stream || x.lane.passes
	if x.stream && !x.ctx.Request.Header.IsHTTP11() {
		return errOldHTTP
	}
	return nil
}

var (
	errOldHTTP      = apierr.Invalid("stream", "A stream needs HTTP/1.1 or later.")
	errNoLane       = "The model '%s' is not served on this endpoint."
	errNoRegion     = "The model '%s' is not served in the region of this account's routing policy."
	errNoBound      = apierr.Invalid("messages", "The request has parts of unknown size, and the model's context window is not known either: its cost has no bound.")
	errServerTools  = apierr.Invalid("tools", "A tool that the provider runs needs a price and a limit (max_uses): its cost would have no bound.")
	errServerSearch = apierr.Invalid("tools", "A tool that the provider runs needs a price and a limit for the request (max_tool_calls): its cost would have no bound.")
	errEnableSearch = apierr.Invalid("parameters.enable_search", "Searches of the provider (enable_search, tools) need a price, and a strategy that searches once: their cost would have no bound.")
	errHostedTool   = "The tool '%s' runs at the provider without a price of its own, or reaches into its account, and is not offered here."
	errGoogleTools  = apierr.Invalid("tools", "Tools that the provider runs (Google Search, code execution and the like) are not offered here: they have no limit to set, and their cost would have no bound.")
	errAboveCap     = "The output cap is above the model's maximum of %d tokens."
	errStoredIDs    = "Objects stored at a provider ('%s') are not supported here."
)

// resolve finds the model, its price for this customer, and the provider if the
// path pins one. The request keeps the snapshot it finds here to its end.
func (x *Exchange) resolve() *apiError {
	x.snap = x.r.o.Catalog.Snapshot()
	x.asked = view(x.askedBuf[:copy(x.askedBuf[:], x.peek.Model)])
	if x.match.Pinned {
		if x.pinned = x.snap.Providers[string(x.match.Provider)]; x.pinned == nil {
			return apierr.ErrNotFound
		}
	}
	x.model = x.snap.Models[x.asked]
	if x.model == nil && x.pinned != nil {
		x.model = x.snap.Native(x.pinned, x.asked)
	}
	if x.model == nil {
		return apierr.UnknownModel(strings.Clone(x.asked))
	}
	if x.key.Policy != nil && !x.inner {
		x.rollOut()
	}
	if err := x.chooseAuto(); err != nil {
		return err
	}
	if x.peek.StoredID != "" {
		return apierr.Newf(apierr.NotFound, errStoredIDs, x.peek.StoredID)
	}
	if x.rule = x.r.o.Catalog.Rule(x.key, x.model, x.startedMilli); x.rule == nil {
		return apierr.UnknownModel(strings.Clone(x.asked))
	}
	if err := x.asPriced(); err != nil {
		return err
	}
	if x.peek.PriceMember != "" {
		return apierr.Invalid(x.peek.PriceMember, "This service changes the price of the request and is not offered here: leave '"+x.peek.PriceMember+"' out.")
	}
	if x.peek.ServerTool != "" {
		return apierr.Invalid("tools", sprintf(errHostedTool, x.peek.ServerTool))
	}
	if x.peek.ServerTools > 0 && !x.lane.free && (x.peek.ServerToolsNoLimit > 0 || !x.rule.Version.Base.Priced(usage.Searches)) {
		return cmp.Or(x.lane.unbounded, errServerTools)
	}
	if c := x.peek.OutputCap(); c > x.model.MaxOutput && x.model.MaxOutput > 0 {
		return apierr.Invalid(x.capMember(), sprintf(errAboveCap, x.model.MaxOutput))
	}
	return nil
}

// capMember is the body's member for the output cap that counts.
func (x *Exchange) capMember() string {
	if x.lane.capMember != nil {
		return x.lane.capMember(x)
	}
	if x.peek.MaxCompletion >= x.peek.MaxTokens {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// admit takes what the request needs: a place in the journal, its rates, its hold.
func (x *Exchange) admit() *apiError {
	if !x.r.o.Journal.Healthy() {
		return apierr.ErrMoneyUnavailable
	}
	if x.flight = x.r.o.Journal.Flights().Acquire(); x.flight == nil {
		return apierr.ErrOverloaded
	}
	now := x.input.Now
	if upstream.Now()-x.startedMono > int64(time.Millisecond) {
		now = lease.Now() // a cold key or another's answer was waited for
	}
	x.input = admit.Input{
		Key: x.key, Group: x.snap.Groups[x.key.GroupID], Model: x.model, Rule: x.rule,
		ClientCap: x.peek.OutputCap() > 0 || x.lane.inputOnly, NoClamp: x.pinned != nil,
		Inner: x.inner, Free: x.lane.free, Capped: x.capped, MaxCharge: x.maxCharge, BodyBytes: len(x.body), Now: now, Milli: x.startedMilli,
	}
	if err := x.boundAll(); err != nil {
		return err
	}
	if (x.key.Policy != nil || x.key.Unruled) && !x.inner {
		if err := x.admitGuarded(); err != nil {
			return err
		}
	} else if err := x.r.o.Gate.Admit(&x.input, &x.ticket); err != nil {
		return err
	}
	failpoint.Hit(failpoint.K1)
	x.admitted = true
	if x.inner {
		x.rule = onTheHouse(x.rule)
	}
	x.fillRecord()
	x.flight.Begin(&x.rec)
	failpoint.Hit(failpoint.K2)
	return nil
}

// bound finds the most that the request can consume.
func (x *Exchange) bound() *apiError {
	x.input.Bound = price.Bound{}
	switch {
	case x.lane.free:
		x.input.ClientCap = true // nothing to hold money for
	case x.lane.plan != nil:
		x.input.ClientCap = true
		x.input.BodyBytes = int(x.peek.TextBytes)
		if err := x.lane.plan(x); err != nil {
			return err
		}
	case !x.peek.Bound(x.model.ContextTokens, &x.input.Bound):
		return errNoBound
	case x.input.ClientCap:
		x.input.Bound.OutputTokens = x.peek.OutputBound(x.model.MaxOutput)
	default:
		x.input.Bound.OutputTokens = x.model.MaxOutput
	}
	x.boundThread()
	return nil
}

// Judgement is what a head alone tells about a key.
type Judgement uint8

// The judgements.
const (
	KeyCold    Judgement = iota // not in memory: it has to be looked up
	KeyKnown                    // in memory
	KeyUnknown                  // none, malformed, or known not to exist
)

// Judge looks at the key in a head. target is the request's. With load a key that is not in
// memory is looked up, as Serve would do behind the body. client is whose key it is, of one
// that is known.
func (r *Relay) Judge(raw, target []byte, family protocol.Family, load bool) (j Judgement, client int64) {
	var h Head
	if ReadHead(raw, &h) != nil || h.QueryKey(target) != nil {
		return KeyCold, 0 // Serve will refuse it, with its own error
	}
	creds := auth.Credentials{Authorization: h.Authorization, APIKey: h.APIKey, GoogKey: h.GoogKey}
	token := creds.Token(family)
	if token == nil {
		return KeyUnknown, 0
	}
	switch apikey.Check(token) {
	case apikey.BadCRC, apikey.Malformed:
		return KeyUnknown, 0
	}
	digest := apikey.Digest(token)
	key, known, err := r.o.Catalog.Cached(&digest)
	if !known && load {
		ctx, cancel := context.WithTimeout(context.Background(), r.o.ColdTimeout)
		key, err = r.o.Catalog.Key(ctx, &digest) // what it says counts: a cache may forget at once
		cancel()
		var e *apierr.Error
		known = err == nil || errors.As(err, &e) && e.Status == 401
	}
	switch {
	case !known:
		return KeyCold, 0
	case err != nil:
		return KeyUnknown, 0
	}
	return KeyKnown, key.ClientID
}

// IsProvider reports whether a slug is a configured provider.
func (r *Relay) IsProvider(slug []byte) bool {
	return r.o.Catalog.Snapshot().Providers[string(slug)] != nil
}

// panicked ends a request whose code failed: the customer gets a 500, what was
// taken is given back or, if an upstream was asked, settled by what is known.
func (r *Relay) panicked(x *Exchange, p any) {
	r.logPanic(x, p)
	x.refuse(apierr.ErrProxyError)
}

func (r *Relay) logPanic(x *Exchange, p any) {
	r.Stats.Panics.Add(1)
	r.o.Log.Error("a request panicked", "panic", p, "request_id", string(x.requestID()), "stack", string(debug.Stack()))
}
