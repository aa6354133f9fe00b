package relay

import (
	"errors"
	"io"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/sse"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/usage"
)

// kinds is a set of protocol.Kind.
type kinds uint16

func (k kinds) has(one protocol.Kind) bool { return k&(1<<one) != 0 }

// begins is what ends the opening of a stream.
const begins = kinds(1<<protocol.Output | 1<<protocol.Final | 1<<protocol.Terminator)

// receive waits for the next bytes of the answer, takes with them what else has
// arrived, and turns whole events into bytes for the customer in x.out. It never
// waits for more than there is (D10). With io.EOF the rest is taken as the last
// event.
func (x *Exchange) receive() (kinds, error) {
	if len(x.ev) == 0 && len(x.out) == 0 { // it may wait for long
		events.put(x.ev)
		events.put(x.out)
		x.ev, x.out = nil, nil
	}
	p, err := x.call.Next()
	if x.ev == nil && x.out == nil {
		x.ev, x.out = events.get(), events.get()
	}
	if err == nil {
		x.lastRead = upstream.Now()
		err = x.take(p)
		for err == nil && len(p) > 0 && len(x.ev)-x.evDone < x.maxEvent {
			if p, err = x.call.Ready(); err == nil {
				err = x.take(p)
			}
		}
	}
	k := x.digest(err == io.EOF)
	if x.evDone == len(x.ev) {
		x.ev, x.evDone = x.ev[:0], 0
	} else if x.evDone > cap(x.ev)/2 {
		n := copy(x.ev, x.ev[x.evDone:])
		x.ev, x.evDone = x.ev[:n], 0
	}
	return k, err
}

// take appends what has arrived to the events of the answer. Of Amazon's frames those
// become events that are whole.
func (x *Exchange) take(p []byte) (err error) {
	if !x.via.frames {
		x.ev = append(x.ev, p...)
		return nil
	}
	x.ev, err = x.frames.Append(x.ev, p, x.maxEvent)
	return err
}

// digest gives complete events to the answer's observer until the stream's own end
// or an error event.
func (x *Exchange) digest(last bool) (k kinds) {
	if rest := x.ev[x.evDone:]; x.plain {
		if len(rest) == 0 {
			return 0
		}
		var kind protocol.Kind
		x.out, kind = x.answer.Event(x.out, rest)
		x.evDone = len(x.ev)
		return 1 << kind
	}
	for {
		rest := x.ev[x.evDone:]
		if len(rest) == 0 {
			return k
		}
		var kind protocol.Kind
		if x.oversize {
			n, end := x.scan.Tail(rest)
			x.out, kind = x.answer.Partial(x.out, rest[:n], false, end)
			x.evDone += n
			x.oversize = !end
			k |= 1 << kind
			continue
		}
		n := x.scan.Next(rest)
		switch {
		case n > 0:
		case last:
			n = len(rest) // a last event without its blank line
		case len(rest) > x.maxEvent && x.screen != nil:
			x.screen.Report.Blocked = true
			return k | 1<<blocked
		case len(rest) > x.maxEvent:
			x.scan.Oversize(rest)
			x.out, kind = x.answer.Partial(x.out, rest, true, false)
			x.evDone += len(rest)
			x.oversize = true
			k |= 1 << kind
			continue
		default:
			return k
		}
		at := len(x.out)
		x.out, kind = x.answer.Event(x.out, rest[:n])
		x.evDone += n
		k |= 1 << kind
		if x.screen != nil && kind != protocol.ErrorEvent && x.screened(at, false) {
			return k | 1<<blocked
		}
		switch kind {
		case protocol.ErrorEvent:
			if x.answer.Began() && x.passes() {
				// Some providers end a begun answer with an error of the customer's own
				// making as an ordinary event, with usage and their terminator behind it.
				x.failedInStream = true
				if x.via == x.lane && x.lane.wire != catalog.WireDashScope { // which has it cleaned
					x.fault = append(x.fault[:0], x.out[at:]...)
					x.out = protocol.AppendCleanEvent(x.out[:at], x.fault, &x.cfg)
				}
				k &^= 1 << protocol.ErrorEvent
				k |= 1 << protocol.Final
				continue
			}
			x.out = x.out[:at] // the upstream's words are not the customer's
			x.fault = sse.Join(x.fault[:0], rest[:n])
			return k
		case protocol.Terminator:
			x.last(x.out[at:])
			x.done = true
			return k
		case protocol.Final:
			x.last(x.out[at:])
		}
	}
}

// passes says that the customer may see the upstream's in-stream error.
func (x *Exchange) passes() bool {
	class := x.answer.ErrorClass()
	return class.PassOn && !class.Failover
}

// answerBody is the exchange as fasthttp sees it: the body of a streamed response.
// It has no Close: fasthttp would call it besides CloseWithError.
type answerBody struct{ *Exchange }

// Read is never used: SupportsBodyWriteTo says so.
func (answerBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// SupportsBodyWriteTo makes fasthttp drive the stream by WriteTo, each Write being
// one flushed chunk.
func (answerBody) SupportsBodyWriteTo() bool { return true }

// WriteTo writes the stream to the customer as it comes. It returns an error when
// the response must break off: the connection is then closed without the end that
// a complete response has.
func (b answerBody) WriteTo(w io.Writer) (n int64, err error) {
	x := b.Exchange
	defer func() {
		if p := recover(); p != nil {
			x.brokenBy(p)
			err = errBroken
		}
	}()
	x.w = w
	x.lastWrite = upstream.Now()
	err = x.pump()
	return x.bytesOut, err
}

// CloseWithError is called once when the response is over, however it ended. What
// WriteTo could not settle is settled here.
func (b answerBody) CloseWithError(error) error {
	x := b.Exchange
	if !x.finished {
		x.abandon(usage.Cancelled, "")
	}
	x.claim.Fail() // unless it is whole
	r := x.r
	r.release(x)
	r.Running.Add(-1)
	return nil
}

var errBroken = errors.New("relay: the answer broke off")

// pump is the loop of a stream: events in, bytes out, until its end. The record is
// in the journal before the customer sees the end.
func (x *Exchange) pump() error {
	a := &x.rec.Attempts[x.rec.NumAttempts-1]
	var k kinds
	var err error
	if x.call.Done() {
		err = io.EOF
	}
	for {
		switch {
		case k.has(blocked):
			x.close(a, usage.OutcomeCancelled)
			return x.breakOff(usage.Failed, contentBlocked("answer", x.screen.Report))
		case x.done:
			x.close(a, usage.OutcomeOK)
			return x.complete()
		case k.has(protocol.ErrorEvent):
			x.close(a, usage.OutcomeErrorEvent)
			return x.breakOff(usage.Failed, apierr.ErrUpstreamError)
		case err == nil:
		case err == io.EOF && (x.answer.Terminated() || x.failedInStream): // DashScope ends with its error
			x.close(a, usage.OutcomeOK)
			return x.complete()
		case errors.Is(err, errClientGone):
			return x.left(a)
		case errors.Is(err, errKeyCut):
			x.rec.Flags |= usage.FlagKeyCut
			x.close(a, usage.OutcomeCancelled)
			return x.breakOff(usage.Failed, apierr.ErrKeyDisabled)
		case errors.Is(err, errSilent), errors.Is(err, errTooLong):
			x.close(a, usage.OutcomeTimeout)
			return x.breakOff(usage.Timeout, apierr.ErrUpstreamTimeout)
		default: // EOF without the stream's own end is a cut, never faked complete
			x.close(a, usage.OutcomeCut)
			return x.breakOff(usage.Failed, apierr.ErrUpstreamError)
		}
		if x.away {
			return x.left(a)
		}
		if len(x.out) > 0 {
			x.progress()
			if x.flush() != nil {
				return x.left(a)
			}
		}
		if x.key.Live.Cut() == live.CutNow {
			err = errKeyCut
			continue
		}
		k, err = x.receive()
	}
}

// progress notes in the in-flight slot what the customer owes with the bytes that
// are about to be written.
func (x *Exchange) progress() {
	u := x.answer.Progress()
	if x.answer.Began() {
		u[usage.Request] = 1 // owed as soon as there is an answer, like meter.Final says
	}
	if rule := x.supplierRule(); rule != nil {
		if cost, err := rule.Charge(&u); err == nil {
			x.flight.Details(cost, x.rec.CostPriceID, x.bytesOut+int64(len(x.out)))
		}
	}
	x.flight.Progress(x.charge(&u), &u)
	failpoint.Hit(failpoint.K4)
}

// flush writes what there is.
func (x *Exchange) flush() error {
	x.claim.Write(x.out)
	x.said = true
	if x.caches {
		x.hear(x.out)
	}
	n, err := x.w.Write(x.out)
	x.bytesOut += int64(n)
	x.out = x.out[:0]
	x.lastWrite = x.lastRead
	return err
}

// complete settles a stream that reached its own end and then writes the last
// bytes. The upstream's response is read on to its end, or its connection is lost
// to the pool.
func (x *Exchange) complete() error {
	if x.endAnswer() {
		return x.breakOff(usage.Failed, contentBlocked("answer", x.screen.Report))
	}
	if x.failedInStream {
		x.finish(usage.Failed, 200, apierr.InvalidRequest)
	} else {
		x.finish(usage.Success, 200, "")
		x.keep(x.final)
	}
	var err error
	if len(x.out) > 0 {
		if x.readWhole() {
			x.client.Hold()
		}
		err = x.flush()
	}
	if x.caches && !x.failedInStream {
		x.remember(x.written)
	}
	failpoint.Hit(failpoint.K7)
	x.claim.Done()
	x.phase = waitEOF
	x.lastRead = upstream.Now()
	for !x.call.Done() {
		if _, e := x.call.Next(); e != nil {
			break
		}
	}
	x.call.Close()
	x.client.Hold()
	return err
}

// readWhole reads what has come of the upstream's response behind its terminator, and says
// whether that is all of it: nothing has to be waited for.
func (x *Exchange) readWhole() bool {
	for !x.call.Done() {
		if p, err := x.call.Ready(); err != nil || len(p) == 0 {
			break
		}
	}
	return x.call.Done()
}

// breakOff ends a stream that can not be completed: what was produced is billed,
// the customer is told in the stream, and the connection is closed without the end
// of a complete response.
func (x *Exchange) breakOff(status usage.Status, e *apiError) error {
	x.call.Close()
	x.abandon(status, e.Code)
	if x.out = x.appendStreamError(x.out, e, x.said); len(x.out) > 0 { // an empty chunk would be the end
		_ = x.flush()
	}
	x.claim.Fail()
	x.client.Abort()
	return errBroken
}

// left ends a stream whose customer has gone: the upstream is cancelled at once and
// what was produced is paid, unless somebody follows the answer or the key's policy
// reads on for the usage that the upstream will report (rulings 1.8, 1.9).
func (x *Exchange) left(a *usage.Attempt) error {
	if x.goesOn() {
		x.away, x.phase = true, waitDrain
		x.readOn()
	}
	x.call.Close()
	if x.done {
		x.finishUnseen(a)
		return errClientGone
	}
	x.out = x.out[:0]
	x.close(a, usage.OutcomeCancelled)
	x.abandon(usage.Cancelled, "")
	x.claim.Fail()
	return errClientGone
}

// goesOn says that a request whose customer has left is not given up: by the key's
// policy, or because others with the same Idempotency-Key wait for its answer. If it
// is given up, nobody can follow it any more.
func (x *Exchange) goesOn() bool {
	return x.key.DrainTokens > 0 && (x.phase == waitStream || x.phase == waitDrain) || !x.claim.Abandon()
}

// readOn reads a stream to its end, or as far as the key's policy goes, for those
// who follow it and for its usage.
func (x *Exchange) readOn() {
	for !x.done {
		if len(x.out) > 0 {
			x.progress()
			x.said = true
			x.claim.Write(x.out)
			x.out = x.out[:0]
			x.lastWrite = x.lastRead
		}
		k, err := x.receive()
		switch {
		case err == io.EOF && x.answer.Terminated():
			x.done = true
		case x.done:
		case err != nil, k.has(protocol.ErrorEvent), k.has(blocked):
			e := apierr.ErrUpstreamError
			if err == errKeyCut {
				e = apierr.ErrKeyDisabled
			}
			if k.has(blocked) {
				e = contentBlocked("answer", x.screen.Report)
			}
			x.claim.Write(x.appendStreamError(nil, e, x.said))
			return
		}
		if u := x.answer.Progress(); u[usage.Output] >= x.key.DrainTokens && x.claim.Abandon() {
			return
		}
	}
}

// finishUnseen settles a stream that reached its end without its customer, and gives
// the end to those who follow.
func (x *Exchange) finishUnseen(a *usage.Attempt) {
	if x.endAnswer() {
		x.close(a, usage.OutcomeCancelled)
		x.abandon(usage.Failed, apierr.ContentBlocked)
		x.claim.Write(x.appendStreamError(nil, contentBlocked("answer", x.screen.Report), x.said))
		x.claim.Fail()
		return
	}
	if x.claim.Followed() { // somebody has it
		x.close(a, usage.OutcomeOK)
		x.finish(usage.Success, 200, "")
		x.keep(x.final)
	} else {
		x.close(a, usage.OutcomeCancelled)
		x.finish(usage.Cancelled, 200, "")
	}
	x.claim.Write(x.out)
	x.claim.Done()
}

// brokenBy ends a stream whose code failed.
func (x *Exchange) brokenBy(p any) {
	x.r.logPanic(x, p)
	x.call.Close()
	if !x.finished {
		x.abandon(usage.Failed, apierr.ProxyError)
	}
	x.claim.Fail()
	x.client.Abort()
}
