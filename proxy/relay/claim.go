package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"tokenrelay/proxy/claim"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

var (
	errIdempotencyKey = apierr.Invalid("Idempotency-Key", "The header Idempotency-Key must be 1 to 255 printable ASCII characters.")
	errClaimsAway     = apierr.New(apierr.Overloaded, "Idempotency keys cannot be checked at the moment. Nothing was charged; try again shortly.").WithRetryAfter(1)
	errOwnerAway      = apierr.New(apierr.Overloaded, "The first request with this Idempotency-Key is at a server that does not answer at the moment. Nothing was charged for this one; try again shortly.").WithRetryAfter(5)
)

// claimKey finds out whether another request with the same Idempotency-Key answers,
// or answered, what this one asks. Then this one follows it: it takes no hold and
// makes no row. Else this one leads, and others may follow it (rulings 1.9).
func (x *Exchange) claimKey() (followed bool, _ *apiError) {
	key, ok := claim.Key(x.head.IdempotencyKey)
	if !ok {
		return false, errIdempotencyKey
	}
	ask := claim.Ask{Client: x.key.ClientID, Key: key, Body: x.question(), RequestID: x.id}
	for {
		a, lead, err := x.r.o.Claims.Take(context.Background(), &ask)
		switch {
		case err != nil:
			return false, x.claimError(err)
		case lead:
			x.claim = a
			return false, nil
		}
		x.follow = a
		stage, e := x.followed()
		if e != nil {
			return false, e
		}
		if stage == claim.Running || stage == claim.Done {
			return true, nil
		}
		err = ask.Again(a, stage)
		x.leaveClaim()
		if err != nil {
			return false, x.claimError(err)
		}
	}
}

// question is the SHA-256 of what is asked for: the body, and where it was sent.
func (x *Exchange) question() (digest [32]byte) {
	h := sha256.New()
	h.Write([]byte{byte(x.match.Endpoint), byte(len(x.match.Provider))})
	h.Write(x.match.Provider)
	if x.match.Param != nil { // Gemini has there what others have in the body
		h.Write(x.match.Param)
		h.Write([]byte{0, byte(len(x.contentType()))})
	}
	if x.stream && x.lane == &dashScopeLane { // a header asks for the stream, not the body
		h.Write([]byte{1})
	}
	h.Write(x.body)
	h.Sum(digest[:0])
	return digest
}

func (x *Exchange) claimError(err error) *apiError {
	var c *claim.Conflict
	switch {
	case errors.As(err, &c) && c.Body:
		return apierr.New(apierr.IdempotencyConflict, "This Idempotency-Key was used for another request: "+c.First.String()+".")
	case errors.As(err, &c):
		return apierr.New(apierr.IdempotencyConflict, "This Idempotency-Key was used by the request "+c.First.String()+", and its answer cannot be repeated. Nothing was charged for this one.")
	case errors.Is(err, claim.ErrUnheard):
		return errOwnerAway
	}
	x.r.o.Log.Warn("idempotency keys cannot be checked", "error", err)
	return errClaimsAway
}

// followSlice is how long a follower waits before it looks after its customer and
// its key.
const followSlice = 500 * time.Millisecond

// followed waits for the answer that this request follows and begins to give it to
// the customer. Running and Done say that it did.
func (x *Exchange) followed() (claim.Stage, *apiError) {
	for {
		var stage claim.Stage
		var body []byte
		if x.stream {
			stage = x.follow.Wait(followSlice)
		} else if body, stage = x.follow.Whole(followSlice); stage == claim.Running {
			stage = claim.Waiting
		}
		switch stage {
		case claim.Waiting:
			if err := x.stillWanted(); err != nil {
				return stage, err
			}
			continue
		case claim.Broken:
			if x.stream {
				x.replay(nil) // as far as it went
				return claim.Running, nil
			}
		case claim.Running, claim.Done:
			x.replay(body)
		}
		return stage, nil
	}
}

// stillWanted says why there is no need to wait any more.
func (x *Exchange) stillWanted() *apiError {
	switch {
	case x.key.Live.Cut() == live.CutNow:
		return apierr.ErrKeyDisabled
	case x.client.Look() == Gone:
		return errLeft
	case x.sinceMicros() > int32(min(x.r.o.MaxRequest/time.Microsecond, 1<<31-1)):
		return apierr.ErrUpstreamTimeout
	}
	return nil
}

// replay answers with the answer of the request that is followed.
func (x *Exchange) replay(body []byte) {
	h := x.follow.Head()
	resp := &x.ctx.Response
	resp.SetStatusCode(h.Status)
	x.commonFields(resp)
	first := x.follow.First()
	resp.Header.SetCanonical(hdrReplayed, first.AppendTo(make([]byte, 0, reqid.Len)))
	x.clamped(resp, h.Clamped)
	resp.Header.SetContentType(h.Type)
	if !x.stream {
		resp.SetBodyRaw(body)
		return
	}
	x.streamFields(resp)
	x.phase = waitStream
	resp.SetBodyStream(followBody{x}, -1)
}

// followBody is the body of a streamed response that is followed.
type followBody struct{ *Exchange }

// Read is never used: SupportsBodyWriteTo says so.
func (followBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// SupportsBodyWriteTo makes fasthttp drive the stream by WriteTo.
func (followBody) SupportsBodyWriteTo() bool { return true }

// WriteTo writes the answer as far as it is there, and then as it comes.
func (b followBody) WriteTo(w io.Writer) (n int64, err error) {
	x := b.Exchange
	for {
		p, stage := x.follow.Next(int(n), followSlice)
		if len(p) > 0 {
			m, err := w.Write(p)
			if n += int64(m); err != nil {
				return n, err
			}
			continue
		}
		switch {
		case stage == claim.Done:
			return n, nil
		case stage > claim.Running: // the leader's answer broke off: so does this one
			x.client.Abort()
			return n, errBroken
		case x.key.Live.Cut() == live.CutNow:
			_, _ = w.Write(x.appendStreamError(nil, apierr.ErrKeyDisabled, n > 0))
			x.client.Abort()
			return n, errBroken
		case x.client.Look() == Gone:
			return n, errClientGone
		}
	}
}

// CloseWithError is called once when the response is over, however it ended.
func (b followBody) CloseWithError(error) error {
	r := b.r
	r.release(b.Exchange)
	r.Running.Add(-1)
	return nil
}

// claimHead is what followers of this request answer with.
func (x *Exchange) claimHead(contentType []byte) claim.Head {
	h := claim.Head{Status: 200, Type: string(contentType)}
	if x.ticket.Clamped {
		h.Clamped = x.ticket.OutputCap
	}
	return h
}

// leaveClaim ends what this request has to do with others of the same key.
func (x *Exchange) leaveClaim() {
	if x.follow != nil {
		x.follow.Leave()
		x.follow = nil
	}
	if x.claim != nil {
		x.claim.Fail() // unless it ended
		x.claim = nil
	}
}
