package relay

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/translate"
	"tokenrelay/proxy/route"
	"tokenrelay/proxy/sse"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/azure"
	"tokenrelay/shared/money"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// verdict is what became of one attempt.
type verdict uint8

const (
	answered verdict = iota // the customer gets this answer
	next                    // nothing was sent to the customer: another upstream may
	refused                 // the customer gets the upstream's own refusal (x.out, status)
	stop                    // no other upstream may be asked
	unfit                   // nothing was sent to the upstream: its protocol cannot express the request
)

// attempts asks upstreams one after another until one has begun to answer. After
// the first real output there is no other attempt (D11).
func (x *Exchange) attempts() *apiError {
	last := apierr.ErrUpstreamError
	onlyRate, wait := true, 0
	most := x.r.o.MaxAttempts
	if n := x.key.MaxAttempts; n > 0 {
		most = min(most, n)
	}
	for ; x.attempt < most; x.attempt++ {
		x.other(x.attempt > 0 && x.attempt+1 == most)
		if err := x.choose(); err != nil {
			if x.attempt == 0 {
				return err
			}
			break
		}
		v, err := x.try()
		switch v {
		case answered:
			return nil
		case refused, stop:
			return err
		case unfit:
			x.unfit = err
			x.unfitWires |= x.via.wire
			x.attempt-- // it was none
			continue
		}
		last = err
		if err.Code != apierr.NoHealthyUpstream {
			onlyRate = false
		} else if wait == 0 || err.RetryAfter < wait {
			wait = err.RetryAfter
		}
		if now := upstream.Now(); x.endBy <= now || x.late(now) {
			break
		}
	}
	if x.kept != 0 {
		return x.passOn() // the last upstream's refusal is one that the customer may see
	}
	if onlyRate {
		return apierr.ErrNoHealthyUpstream.WithRetryAfter(max(1, wait))
	}
	if last.Code == apierr.NoHealthyUpstream {
		last = apierr.ErrUpstreamError
	}
	return last
}

func random() uint64 { return rand.Uint64() }

// retryPause is waited before a route is asked again, times the attempt.
const retryPause = 50 * time.Millisecond

// choose picks the upstream of the next attempt.
func (x *Exchange) choose() *apiError {
	if chosen, err := x.resume(); chosen || err != nil {
		if chosen {
			x.tried.Add(x.choice.Route.ID)
		}
		return err
	}
	why, after := x.pickAny(false)
	if why == route.Exhausted {
		// Only routes that have just failed are left: they get a moment.
		x.pause(time.Duration(x.attempt) * retryPause)
		why, after = x.pickAny(true)
	}
	switch why {
	case route.Chosen:
		x.tried.Add(x.choice.Route.ID)
		return nil
	case route.NoRoute:
		if x.unfit != nil {
			return x.unfit
		}
		if x.pinned != nil {
			return apierr.UnknownModel(strings.Clone(x.asked))
		}
		if x.regions()[0] != "" {
			return apierr.Invalid("model", sprintf(errNoRegion, x.asked))
		}
		return apierr.Invalid("model", sprintf(errNoLane, x.asked))
	case route.NoKeys:
		return apierr.ErrNoProviderKeys
	case route.Paused:
		return apierr.ErrProviderPaused
	}
	return apierr.ErrNoHealthyUpstream.WithRetryAfter(max(1, after))
}

// pick finds a route that speaks the request's protocol, or, where none can answer,
// one of another protocol: the request is then translated. A pinned path is never
// translated.
func (x *Exchange) pick(again bool) (route.Why, int) {
	f := route.Filter{Wires: x.lane.wire, Provider: x.pinned}
	x.via = x.lane
	f.Wires &^= x.unfitWires
	why, after := route.NoRoute, 0
	if f.Wires != 0 {
		why, after = x.pickIn(&f, again)
	}
	if why == route.Chosen || x.pinned != nil {
		return why, after
	}
	if f.Wires = x.lane.others() &^ x.unfitWires; f.Wires == 0 {
		return why, after
	}
	why2, after2 := x.pickIn(&f, again)
	if why2 == route.Chosen {
		x.via = upstreamLane(x.choice.Route.Provider.Wires & f.Wires)
		return why2, 0
	}
	return mixed(why, why2), sooner(after, after2)
}

// mixed is the reason for which neither of two protocols has a route.
func mixed(a, b route.Why) route.Why {
	switch {
	case a == b || b == route.NoRoute:
		return a
	case a == route.NoRoute:
		return b
	case a == route.Exhausted || b == route.Exhausted:
		return route.Exhausted
	}
	return route.Down
}

// sooner is the smaller of two waits; 0 is none.
func sooner(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// pause waits a moment between two attempts.
func (x *Exchange) pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

// try is one attempt at the chosen upstream. With next, err is what the customer
// gets if it was the last. The upstream counts as busy until the attempt, or the
// stream that it began, is over.
func (x *Exchange) try() (verdict, *apiError) {
	x.choice.Begin()
	x.busy = true
	v, err := x.ask()
	if v != answered || !x.stream {
		x.leaveUpstream()
	}
	return v, err
}

// leaveUpstream ends the use of the chosen upstream.
func (x *Exchange) leaveUpstream() {
	if x.busy {
		x.busy = false
		x.choice.End()
	}
}

// ask sends the request and reads the answer up to where it is known to be one.
func (x *Exchange) ask() (verdict, *apiError) {
	c := &x.choice
	host, err := x.r.o.Upstream.Host(c.Route.Provider.BaseURL)
	if err != nil {
		x.r.o.Log.Error("cannot use a provider", "provider", c.Route.Provider.Slug, "error", err)
		c.Bad(route.Now())
		return next, apierr.ErrUpstreamError
	}
	x.prepare()
	if c.Key.Tokens != nil {
		if v, err := x.token(); err != nil {
			return v, err
		}
		x.hidden.Token = x.bearer
	}
	if err := x.write(host); err != nil {
		return unfit, err
	}

	if x.screen != nil {
		x.maxEvent = max(x.maxEvent, maxGuardedEvent)
	}

	x.begun = upstream.Now()
	a := x.note()
	x.flight.Sent(c.Route.ID, c.Key.ID, a.StartMicros)
	x.sent = true
	x.phase = waitHead
	limit := x.r.o.FirstByteTimeout
	if x.stream {
		limit = x.r.o.StreamStartTimeout
	}
	x.firstByteBy = min(x.begun+int64(limit), x.endBy)
	err = x.call.DoParts(host, x.req, x.parts[:], x)
	x.phase = idle
	if err != nil {
		return x.failed(a, err)
	}
	x.lastRead = upstream.Now()
	x.openedAt = x.lastRead
	a.HTTPStatus = int32(x.call.Head.Status)
	switch {
	case x.call.Head.Status != 200:
		return x.errorStatus(a)
	case len(x.call.Head.ContentEncoding) > 0 && string(x.call.Head.ContentEncoding) != "identity":
		return x.failed(a, errEncoded)
	case x.stream:
		if x.plain && !x.plainAnswer() {
			return x.failed(a, upstream.ErrBadResponse)
		}
		return x.open(a)
	default:
		return x.readAnswer(a)
	}
}

var (
	errEncoded  = errors.New("relay: the upstream compressed its answer though it was asked not to")
	errTooBig   = errors.New("relay: the upstream's answer is too large")
	errNoOutput = errors.New("relay: the upstream's stream ended before any output")
)

// prepare sets up how the answer of this attempt is read.
func (x *Exchange) prepare() {
	x.call.Close()
	if x.ev == nil && x.out == nil {
		x.ev, x.out = events.get(), events.get()
	}
	x.ev, x.evDone, x.out, x.final = x.ev[:0], 0, x.out[:0], x.final[:0]
	x.scan = sse.Scanner{}
	x.frames.Reset()
	x.oversize, x.done, x.kept, x.failedInStream, x.translated = false, false, 0, false, false
	if x.maxEvent = x.lane.maxEvent; x.maxEvent == 0 {
		x.maxEvent = protocol.MaxEvent
	}
	x.hidden = protocol.Hidden{Host: x.choice.Route.Provider.Domain, Parts: x.choice.Key.Parts}
	x.cfg = protocol.StreamConfig{
		UpstreamModel: x.choice.Route.UpstreamModel,
		Hidden:        &x.hidden,
		Dialect:       uint8(openai.ParseDialect(x.choice.Route.Provider.Dialect)),
		AskedUsage:    x.peek.IncludeUsage,
		HiddenOutput:  x.peek.BestOf > max(1, x.peek.N),
		InputOnly:     x.lane.inputOnly,
		Array:         x.array,
		Pinned:        x.pinned != nil,
		Answers:       &x.choice.Route.Answers,
		ClientModel:   x.showName,
		Family:        x.end.Family,
		InputEstimate: x.end.InputEstimate,
	}
	if x.key.Policy != nil && !x.inner {
		x.screens()
	}
	if x.via != x.lane {
		return // write sets the answer up with the request
	}
	x.answer = x.lane.answer(x)
	x.answer.Reset(&x.cfg)
}

// write builds the request in x.req: one head, the customer's body with the few
// changes of D8, or a translation of it. The error is that of a request that cannot
// be translated.
func (x *Exchange) write(h *upstream.Host) *apiError {
	if x.via != x.lane { // what is asked for may decide the path
		if err := x.decode(); err != nil {
			return err
		}
	}
	if x.req == nil {
		x.req = requests.get()
	}
	b := h.AppendLineStart(x.req[:0])
	if openai.Dialect(x.cfg.Dialect) == openai.Azure {
		var space [64]byte
		b = azure.AppendPath(b, x.choice.Route.UpstreamModel, view(x.via.path(space[:0], x)), x.choice.Route.Provider.Options["api_version"])
	} else {
		b = x.via.path(b, x)
	}
	b = h.AppendLineEnd(b)
	switch {
	case x.boundary != nil || x.plain || x.stream && x.via.accept != "":
		b = x.appendFields(b)
	case x.stream:
		b = append(b, fieldsStream...)
	default:
		b = append(b, fieldsWhole...)
	}
	b = x.via.fields(b, x)
	b, bodyAt := upstream.AppendEnd(b)
	if x.via != x.lane {
		var err *apiError
		b, err = x.translate(b)
		upstream.PutLength(b, bodyAt)
		x.req = b
		if err != nil {
			return err
		}
		if x.via.sign != nil {
			x.via.sign(x, h, bodyAt)
		}
		return x.foreignFiles(bodyAt)
	}
	x.edit = protocol.Edit{Model: x.choice.Route.UpstreamModel, IncludeUsage: x.lane.needsUsage(x) && !x.peek.IncludeUsage}
	if n, field := x.outputCap(), x.lane.capField(x); n > 0 && (x.ticket.Clamped || x.capUnheard(field)) {
		x.edit.MaxTokens, x.edit.MaxTokensField = n, field
	}
	if x.boundary != nil {
		x.req = x.splitForm(b, bodyAt)
		return nil
	}
	b = x.lane.request(b, x)
	upstream.PutLength(b, bodyAt)
	x.req = b
	return x.foreignFiles(bodyAt)
}

// The fields of a request that asks for JSON in JSON, and of one that asks for a stream.
const (
	fieldsWhole  = "Content-Type: application/json\r\nAccept: application/json\r\n" + fieldsEvery
	fieldsStream = "Content-Type: application/json\r\nAccept: text/event-stream\r\n" + fieldsEvery
	fieldsEvery  = "Accept-Encoding: identity\r\nUser-Agent: token-relay\r\n"
)

// appendFields adds the fields of a request that is a form, or asks for another kind of answer.
func (x *Exchange) appendFields(b []byte) []byte {
	if x.boundary == nil {
		b = upstream.AppendField(b, "Content-Type", "application/json")
	} else {
		b = upstream.AppendField(b, "Content-Type", "multipart/form-data; boundary=\""+string(x.boundary)+"\"")
	}
	accept := "application/json"
	switch {
	case x.plain:
		accept = "*/*"
	case x.stream && x.via.accept != "":
		accept = x.via.accept
	case x.stream:
		accept = "text/event-stream"
	}
	b = upstream.AppendField(b, "Accept", accept)
	return append(b, fieldsEvery...)
}

// foreignFiles refuses a text that names a file of the account that all customers share.
// DashScope takes such names in texts, also on its OpenAI-compatible address, where it
// does not matter whose text it is: a few words too many are refused there.
func (x *Exchange) foreignFiles(bodyAt int) *apiError {
	if x.cfg.Dialect == uint8(openai.Qwen) && x.choice.Route.Provider.Protocol == catalog.ProtocolOpenAI && peek.NamesFile(x.req[bodyAt:]) {
		return apierr.Newf(apierr.NotFound, errStoredIDs, "fileid")
	}
	return nil
}

// capUnheard says that the customer's cap stands under a name that this upstream
// does not read, and would not limit what is held.
func (x *Exchange) capUnheard(field string) bool {
	return x.pinned == nil && field == "max_tokens" && x.peek.MaxTokens == 0 && x.peek.MaxCompletion > 0
}

// note begins the attempt's line in the record.
func (x *Exchange) note() *usage.Attempt {
	n := min(x.attempt, usage.MaxAttempts-1)
	x.rec.NumAttempts = uint8(n + 1)
	a := &x.rec.Attempts[n]
	*a = usage.Attempt{RouteID: x.choice.Route.ID, ProviderKeyID: x.choice.Key.ID, StartMicros: x.micros(x.begun)}
	return a
}

// close ends the attempt's line.
func (x *Exchange) close(a *usage.Attempt, o usage.Outcome) {
	a.Outcome = o
	a.EndMicros = x.sinceMicros()
}

// failed judges an attempt that broke before any output. A customer that left, a
// key that was cut and a request that took too long end here for good.
func (x *Exchange) failed(a *usage.Attempt, err error) (verdict, *apiError) {
	x.call.Close()
	switch {
	case errors.Is(err, errClientGone):
		x.close(a, usage.OutcomeCancelled)
		x.rec.Status = usage.Cancelled
		return stop, errLeft
	case errors.Is(err, errKeyCut):
		x.close(a, usage.OutcomeCancelled)
		return stop, apierr.ErrKeyDisabled
	case x.inner && upstream.Now() >= x.endBy:
		x.close(a, usage.OutcomeTimeout) // the customer's patience has ended: the route is not the worse for it
		return stop, apierr.ErrUpstreamTimeout
	case errors.Is(err, errTooLong):
		x.close(a, usage.OutcomeTimeout)
		x.choice.Bad(route.Now())
		return stop, apierr.ErrUpstreamTimeout
	case errors.Is(err, errFirstByte), errors.Is(err, errSilent):
		x.close(a, usage.OutcomeTimeout)
		x.choice.Bad(route.Now())
		return next, apierr.ErrUpstreamTimeout
	case errors.Is(err, errEncoded), errors.Is(err, errTooBig), errors.Is(err, errNoOutput),
		errors.Is(err, upstream.ErrBadResponse), errors.Is(err, upstream.ErrHeadTooLarge), errors.Is(err, upstream.ErrBadChunk):
		x.close(a, usage.OutcomeBadResponse)
	case x.call.Got():
		x.close(a, usage.OutcomeCut)
	default:
		x.close(a, usage.OutcomeConnect)
	}
	x.choice.Bad(route.Now())
	return next, apierr.ErrUpstreamError
}

// errLeft is told to nobody: its customer has gone. 499 is what the record says.
var errLeft = &apierr.Error{Code: apierr.RequestTimeout, Status: 499, Message: "The client closed the request."}

const maxErrorBody = 64 << 10

// errorStatus judges an answer with an error status by its body (protocols 9).
func (x *Exchange) errorStatus(a *usage.Attempt) (verdict, *apiError) {
	x.phase = waitBody
	h := &x.call.Head
	n := copy(x.headText[:], h.RetryAfter) // the body is read over them
	m := copy(x.headText[n:], h.ErrorType)
	for len(x.ev) < maxErrorBody {
		p, err := x.call.Next()
		x.ev = append(x.ev, p...)
		if err != nil {
			break
		}
		x.lastRead = upstream.Now()
	}
	x.phase = idle
	h.RetryAfter, h.ErrorType = x.headText[:n], x.headText[n:n+m]
	class := x.via.class(x, h.Status, h.RetryAfter, x.ev)
	if h.Status == 401 && x.choice.Key.Tokens != nil && x.choice.Key.Tokens.Refused(x.bearer, time.Now()) {
		class.Key, class.CoolSeconds = protocol.KeyTransient, 1 // another token is fetched meanwhile
	}
	x.close(a, usage.OutcomeStatus)
	return x.classified(a, &class, x.ev)
}

// classified acts on an upstream's error: its key is cooled or parked, another
// upstream is asked, or the customer is told.
func (x *Exchange) classified(a *usage.Attempt, class *protocol.Class, body []byte) (verdict, *apiError) {
	c, now := &x.choice, route.Now()
	cool := time.Duration(class.CoolSeconds) * time.Second
	beside := x.lane.wire&conversations == 0 || x.lane.free
	if beside && class.Key == protocol.KeyPermanent && class.Fault == protocol.FaultKey && a.HTTPStatus == 403 {
		class.Key = protocol.KeyFine // it may not do this, and may well do what most ask for
	}
	switch class.Key {
	case protocol.KeyPermanent:
		c.Park(now)
		x.r.Stats.KeysParked.Add(1)
		x.r.o.Log.Warn("a provider refuses its key", "provider", c.Route.Provider.Slug, "key", c.Key.Name, "status", a.HTTPStatus, "fault", class.Fault.String())
	case protocol.KeyTransient:
		c.Cool(now, cool)
	}
	switch class.Fault {
	case protocol.FaultServer:
		c.Bad(now)
	case protocol.FaultModelMissing:
		x.absent = true
		if beside || x.speaksNot() {
			// Whoever asks an endpoint for a model that is not for it must not take the
			// model's route from those who use it as it is meant.
			break
		}
		c.ModelMissing(now)
	}
	if class.PassOn {
		x.kept = class.Status
		if x.translated {
			x.out = translate.AppendPassedError(x.out[:0], x.lane.form, body, class.Status, &x.cfg, x.requestID())
		} else {
			x.out = x.lane.passError(x.out[:0], x, body)
		}
	}
	x.call.Close()
	if class.PassOn && !class.Failover {
		return refused, x.passOn()
	}
	x.thread.forgot = x.thread.forgot || class.Fault == protocol.FaultClient
	if class.Fault == protocol.FaultRateLimited {
		return next, apierr.ErrNoHealthyUpstream.WithRetryAfter(max(1, class.CoolSeconds))
	}
	if !class.Failover {
		return stop, apierr.ErrUpstreamError
	}
	return next, apierr.ErrUpstreamError
}

// speaksNot is asked when an upstream does not know what it was asked for on Responses:
// it may have the model and not the endpoint. It is asked again by translation, and
// its route stays open for those who ask in another way.
func (x *Exchange) speaksNot() bool {
	if x.lane.wire != catalog.WireResponses || x.translated || x.pinned != nil {
		return false
	}
	x.unfitWires |= x.lane.wire
	x.tried.Reset()
	return true
}

// passOn makes the upstream's refusal in x.out the answer.
func (x *Exchange) passOn() *apiError {
	x.passed = true
	return &apierr.Error{Code: apierr.InvalidRequest, Status: x.kept}
}

// readAnswer reads a buffered answer to its end and settles it.
func (x *Exchange) readAnswer(a *usage.Attempt) (verdict, *apiError) {
	x.phase = waitBody
	for {
		p, err := x.call.Next()
		x.ev = append(x.ev, p...)
		if err == io.EOF {
			break
		}
		if err == nil && int64(len(x.ev)) > x.r.o.MaxAnswer {
			err = errTooBig
		}
		if err != nil {
			return x.failed(a, err)
		}
		if !x.call.Done() {
			x.lastRead = upstream.Now()
		}
	}
	x.phase = idle
	out, kind, err := x.answer.Buffered(x.out[:0], x.ev)
	switch {
	case err != nil:
		return x.failed(a, upstream.ErrBadResponse)
	case kind == protocol.ErrorEvent:
		class := x.answer.ErrorClass()
		x.close(a, usage.OutcomeErrorEvent)
		return x.classified(a, &class, x.ev)
	}
	x.out = out
	x.call.Close()
	now := upstream.Now()
	x.choice.Good((now - x.begun) / 1000)
	a.Outcome, a.EndMicros = usage.OutcomeOK, x.micros(now)
	x.rec.FirstTokenMicros = a.EndMicros
	if x.key.Policy != nil && !x.inner {
		if err := x.screenAnswer(); err != nil {
			x.bytesOut = 0
			x.finish(usage.Failed, 400, err.Code)
			return stop, err
		}
		out = x.out
	}
	x.bytesOut = int64(len(out))
	x.finish(usage.Success, 200, "")
	return answered, nil
}

// open reads a stream until its first real output. What comes before is held back:
// as long as the customer has got nothing, another upstream may answer. It is let
// go after two seconds or 64 KiB all the same.
func (x *Exchange) open(a *usage.Attempt) (verdict, *apiError) {
	x.phase = waitOpening
	for {
		kinds, err := x.receive()
		switch {
		case err == errCommit, kinds.has(protocol.ErrorEvent), kinds.has(blocked):
		case err == io.EOF && (kinds&begins != 0 || x.answer.Terminated()):
		case err == io.EOF:
			return x.failed(a, errNoOutput)
		case err != nil && kinds&begins == 0:
			return x.failed(a, err)
		}
		if kinds.has(blocked) {
			return x.stopped(a)
		}
		if kinds.has(protocol.ErrorEvent) {
			class := x.answer.ErrorClass()
			x.close(a, usage.OutcomeErrorEvent)
			class.PassOn = class.PassOn && !class.Failover
			return x.classified(a, &class, x.fault)
		}
		if err != nil || kinds&begins != 0 || len(x.out) > holdBytes {
			break
		}
	}
	x.choice.Good((x.openedAt - x.begun) / 1000)
	x.rec.FirstTokenMicros = x.sinceMicros()
	x.flight.FirstToken(x.rec.FirstTokenMicros)
	return answered, nil
}

// charge is what the units cost this customer, never above the hold.
func (x *Exchange) charge(u *usage.Units) money.Amount {
	c, err := x.rule.Charge(u)
	if err != nil || c > x.ticket.Hold() {
		return x.ticket.Hold()
	}
	return c
}
