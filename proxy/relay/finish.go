package relay

import (
	"time"
	"unsafe"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/settle"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// fillRecord writes into the record what is known when a request is admitted: all
// that a later process needs to bill it should this one die.
func (x *Exchange) fillRecord() {
	r := &x.rec
	r.ClientID, r.WalletID, r.KeyID = x.key.ClientID, x.key.WalletID, x.key.ID
	r.Model, r.RequestedModel = x.model.ID, x.asked
	if !x.key.Policy.Minimal() {
		r.ClientRequestID = view(clientRequestID(x.head.RequestID))
		r.ConversationID = view(x.head.Conversation)
	}
	if x.peek.Stream {
		r.Flags |= usage.FlagStream
	}
	if x.pinned != nil {
		r.Flags |= usage.FlagPinned
	}
	if x.ticket.Clamped {
		r.Flags |= usage.FlagClamped
	}
	if x.found.Any() || x.judged != 0 {
		r.Flags |= x.foundFlags()
	}
	if x.trimmed > 0 {
		r.Flags |= usage.FlagTrimmed
	}
	r.Hold = x.ticket.Hold()
	r.PriceID = x.rule.Version.ID
	r.ModelPPM, r.GroupPPM, r.ClientPPM = x.rule.ModelPPM, x.rule.GroupPPM, x.rule.ClientPPM
	r.WalletLease, r.MonthLease, r.TotalLease = x.ticket.Leases()
	r.BytesIn = int64(len(x.body))

	family := x.model.Family
	x.end = meter.End{
		Family:        family,
		InputEstimate: meter.EstimateInput(family, &x.peek),
		InputBound:    x.input.Bound.InputTokens + x.input.Bound.AudioTokens + x.input.Bound.ImageTokens,
		Context:       x.model.ContextTokens,
		OutputCap:     x.outputCap(),
		Choices:       x.peek.Choices(),
		Most: usage.Units{
			usage.Searches: x.input.Bound.Searches, usage.Images: x.input.Bound.Images,
			usage.Seconds: x.input.Bound.Seconds, usage.Characters: x.input.Bound.Characters,
		},
		Free: x.lane.free,
	}
}

// maxClientID is how much of an inbound x-request-id is kept.
const maxClientID = 128

// clientRequestID is the customer's own id if it is printable ASCII, else nothing.
func clientRequestID(b []byte) []byte {
	if len(b) > maxClientID {
		b = b[:maxClientID]
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	return b
}

// finish settles a request that some upstream answered: the units decide the
// charge, the ticket is closed, the record is in the journal. Exactly once.
func (x *Exchange) finish(status usage.Status, http int16, code apierr.Code) {
	units, source, flags := x.consumed()
	r := &x.rec
	r.Units, r.Source = units, source
	r.Flags |= flags
	if x.key.Policy != nil {
		r.Flags |= x.foundFlags()
	}
	bill := settle.Price(x.rule, x.supplierRule(), &units, x.ticket.Hold())
	r.Charge, r.Cost, r.Overrun = bill.Charge, bill.Cost, bill.Overrun
	failpoint.Hit(failpoint.K5)
	if bill.Overrun > 0 {
		r.Flags |= usage.FlagOverrun
	}
	x.record(status, http, code)
}

// abandon settles a stream that was not completed: what had been produced is
// charged, nothing if nothing had been.
func (x *Exchange) abandon(status usage.Status, code apierr.Code) { x.finish(status, 200, code) }

// void ends a request that nobody answered: nothing is charged.
func (x *Exchange) void(status usage.Status, http int16, code apierr.Code) {
	x.rec.Units, x.rec.Source = usage.Units{}, usage.SourceNone
	x.rec.Charge, x.rec.Cost, x.rec.Overrun = 0, 0, 0
	x.record(status, http, code)
}

// record closes the ticket and journals the record.
func (x *Exchange) record(status usage.Status, http int16, code apierr.Code) {
	r := &x.rec
	r.Status, r.HTTPStatus, r.Code = status, http, string(code)
	r.EndMicros = r.AdmittedMicros + int64(x.sinceMicros())
	r.BytesOut = x.bytesOut + int64(len(x.out))
	x.finished = true
	if err := x.r.o.Journal.Append(r); err != nil {
		// Neither the journal nor its fallback took the record. The slot still holds
		// what was relayed; it is left for recovery and not freed.
		x.r.Stats.Unrecorded.Add(1)
		x.r.o.Log.Error("a finished request could not be recorded", "request_id", string(x.requestID()), "charge", r.Charge.String(), "error", err)
		x.flight = nil
	}
	failpoint.Hit(failpoint.K6)
	if r.Charge > 0 || status == usage.Success {
		x.ticket.Settle(r.Charge, tokens(&r.Units))
	} else {
		x.ticket.Void()
	}
	if r.Cost > 0 && x.choice.Route != nil {
		x.r.o.Gate.AddCost(x.choice.Route.Provider, r.Cost, x.startedMilli)
	}
	if x.flight != nil {
		x.flight.Release()
		x.flight = nil
	}
	x.r.Stats.count(x)
}

// supplierRule is what the supplier asks on the chosen route, nil if nobody knows.
func (x *Exchange) supplierRule() *price.Rule {
	if x.choice.Route == nil {
		return nil
	}
	var ok bool
	if x.cost, ok = catalog.CostRule(x.choice.Route, x.startedMilli); !ok {
		return nil
	}
	if x.cost.Version.ID != x.rule.Version.ID {
		x.rec.CostPriceID = x.cost.Version.ID
	}
	return &x.cost
}

// tokens is what counts towards a limit of tokens per minute.
func tokens(u *usage.Units) int64 {
	return u[usage.Input] + u[usage.CacheRead] + u[usage.CacheWrite] + u[usage.CacheWrite1h] +
		u[usage.Output] + u[usage.Reasoning] + u[usage.AudioIn] + u[usage.AudioOut] + u[usage.ImageIn] + u[usage.ImageOut]
}

// refuse answers with an error and gives back what was taken.
func (x *Exchange) refuse(e *apiError) {
	x.giveUp(e)
	x.claim.Fail() // behind the hold's return: whoever leads next needs it
	x.answerError(e)
}

// giveUp ends a request with an error and gives back what was taken. A request that some
// upstream got has a row; one that was refused before is counted.
func (x *Exchange) giveUp(e *apiError) {
	r := x.r
	switch {
	case x.finished:
	case x.admitted && x.sent:
		status := usage.Failed
		if e.Code == apierr.UpstreamTimeout {
			status = usage.Timeout
		}
		if x.rec.Status == usage.Cancelled {
			status = usage.Cancelled
		}
		x.void(status, int16(e.Status), e.Code)
	default:
		if x.admitted {
			x.ticket.Void()
			x.admitted = false
		}
		if x.flight != nil {
			x.flight.Release()
			x.flight = nil
		}
		if x.inner {
			return // what it was asked for is refused, or not
		}
		if x.key != nil && e.Status != 401 && e != errLeft {
			r.o.Refusals.Note(x.key, x.asked, x.model != nil, x.match.Endpoint, e, x.id, time.UnixMilli(x.startedMilli))
		}
		r.Stats.refused(e)
	}
}

// view is a string over bytes that live as long as the request: it must not be kept
// past the record's encoding.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
