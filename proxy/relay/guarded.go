package relay

import (
	"tokenrelay/proxy/guard"
	"tokenrelay/proxy/guard/pii"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/usage"
)

// errUnruled is answered where a client's rules cannot be read, as those that a newer
// build wrote: what they demand is not known, so nothing is let past.
var errUnruled = apierr.New(apierr.Overloaded, "This server cannot read the policy of this account yet. Nothing was charged; try again shortly.").WithRetryAfter(5)

// blocked is the kind of an event that the client's policy does not let through.
const blocked = protocol.Kind(15)

// maxGuardedEvent is the size up to which an event is read as a whole where its texts
// are looked at; a larger one ends the stream, because it cannot be judged in pieces.
const maxGuardedEvent = 4 << 20

// admitGuarded is what admission is for clients with rules: the limits, what the rules
// say about the request, and then the money (rulings 3.18).
func (x *Exchange) admitGuarded() *apiError {
	if x.key.Unruled {
		return errUnruled
	}
	if err := x.r.o.Gate.Limit(&x.input, &x.ticket); err != nil {
		return err
	}
	if err := x.guarded(); err != nil {
		x.ticket.Void()
		return err
	}
	return x.r.o.Gate.Hold(&x.input, &x.ticket)
}

// guarded is what the rules say about the request, in order.
func (x *Exchange) guarded() *apiError {
	if x.key.Policy == nil {
		return nil
	}
	if err := x.guardRequest(); err != nil {
		return err
	}
	if err := x.windowed(); err != nil {
		return err
	}
	if err := x.judge(); err != nil {
		return err
	}
	return x.answeredBefore()
}

// guardRequest looks at the texts of a request.
func (x *Exchange) guardRequest() *apiError {
	p := x.key.Policy
	if !p.Requests() {
		return nil
	}
	if x.boundary != nil {
		return x.guardForm()
	}
	body, report := p.Request(make([]byte, 0, len(x.body)+len(x.body)/16), x.body)
	x.found.Add(report)
	switch {
	case report.Blocked:
		return contentBlocked("request", report)
	case report.Masked:
		return x.rewritten(body)
	}
	return nil
}

// guardForm looks at the one text of a form that a model is given. A form is not written
// anew: what would be masked is refused.
func (x *Exchange) guardForm() *apiError {
	at := x.peek.Media.Prompt
	if !at.Present() {
		return nil
	}
	text := append(protocol.AppendString([]byte(`{"prompt":`), string(x.body[at.Start:at.End])), '}')
	_, report := x.key.Policy.Request(nil, text)
	x.found.Add(report)
	if report.Blocked || report.Masked {
		return contentBlocked("request", report)
	}
	return nil
}

// rewritten makes body the request: it is scanned and bounded again, as if it had come
// so.
func (x *Exchange) rewritten(body []byte) *apiError {
	x.body = body
	stream := x.peek.Stream
	if err := x.lane.scan(x); err != nil {
		return err
	}
	x.peek.Stream = stream
	if x.thread.input != nil {
		x.thread.input = x.body[x.peek.InputSpan.Start:x.peek.InputSpan.End]
	}
	x.input.BodyBytes = len(x.body)
	return x.boundAll()
}

// contentBlocked is the refusal of a text. It names what was found, never the finding.
func contentBlocked(where string, r guard.Report) *apiError {
	text := "The content was blocked by the safety policy of this account (in the " + where + ":"
	sep := " "
	for k := range pii.NumKinds {
		if r.Kinds.Has(k) {
			text += sep + k.String()
			sep = ", "
		}
	}
	if r.Words {
		text += sep + "word"
		sep = ", "
	}
	if sep == " " {
		text += " it cannot be read"
	}
	return apierr.New(apierr.ContentBlocked, text+").")
}

// screens sets up what looks at the texts of a stream's answer.
func (x *Exchange) screens() {
	x.screen = nil
	switch {
	case !x.stream, x.lane == &speechLane, x.lane == &picturesLane: // sound and pictures are no texts
	case x.plain:
		x.screen = x.key.Policy.NewTextScreen()
	default: // of what is no conversation the form is OpenAI's
		x.screen = x.key.Policy.NewScreen(x.lane.form, x.array)
	}
}

// screened lets the policy judge what the answer's observer has appended behind at. It
// reports whether the stream must end.
func (x *Exchange) screened(at int, last bool) bool {
	x.seen = append(x.seen[:0], x.out[at:]...)
	x.out = x.screen.Append(x.out[:at], x.seen, last)
	if x.screen.Report.Blocked {
		x.out = x.out[:at]
	}
	return x.screen.Report.Blocked
}

// stopped ends a stream whose answer is blocked before the client got any of it: what
// was produced is paid.
func (x *Exchange) stopped(a *usage.Attempt) (verdict, *apiError) {
	x.call.Close()
	x.close(a, usage.OutcomeCancelled)
	x.out = x.out[:0]
	x.finish(usage.Failed, 400, apierr.ContentBlocked)
	return stop, contentBlocked("answer", x.screen.Report)
}

// screenAnswer lets the policy judge a whole answer in x.out.
func (x *Exchange) screenAnswer() *apiError {
	p := x.key.Policy
	if !p.Responses() {
		return nil
	}
	out, report, ok := p.Answer(x.seen[:0], x.out)
	x.found.Add(report)
	if !ok || report.Blocked {
		x.out = x.out[:0]
		return contentBlocked("answer", report)
	}
	x.out, x.seen = out, x.out
	return nil
}

// foundFlags are the flags of what the policy found and did, none if it has that not
// written down.
func (x *Exchange) foundFlags() (f usage.Flags) {
	if x.key.Policy.Minimal() {
		return 0
	}
	r := x.found
	f = x.judged
	if x.screen != nil {
		r.Add(x.screen.Report)
	}
	for k := range pii.NumKinds {
		if r.Kinds.Has(k) {
			f |= usage.FlagEmail << k
		}
	}
	if r.Words {
		f |= usage.FlagWord
	}
	if r.Masked {
		f |= usage.FlagMasked
	}
	if r.Blocked {
		f |= usage.FlagBlocked
	}
	return f
}
