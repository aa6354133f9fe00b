package relay

import (
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

// Header names in their canonical form, so that setting them folds nothing.
var (
	hdrRequestID   = []byte("X-Request-Id")
	hdrAnthropicID = []byte("Request-Id")
	hdrShouldRetry = []byte("X-Should-Retry")
	hdrRelayError  = []byte("X-Relay-Error")
	hdrRetryAfter  = []byte("Retry-After")
	hdrBuffering   = []byte("X-Accel-Buffering")
	hdrCache       = []byte("Cache-Control")
	hdrDropped     = []byte("X-Relay-Dropped")
	hdrReplayed    = []byte("X-Relay-Replayed")
	hdrClamped     = []byte("X-Relay-Max-Tokens-Clamped")
	hdrAnswers     = []byte("X-Relay-Cache")
	hdrTrimmed     = []byte("X-Relay-Trimmed")
	valHit         = []byte("hit")
	valMiss        = []byte("miss")
	hdrEstimated   = []byte("X-Relay-Estimated")
	valTrue        = []byte("true")
	valFalse       = []byte("false")
	valNo          = []byte("no")
	valNoCache     = []byte("no-cache")
	typeJSON       = []byte("application/json")
	typeEvents     = []byte("text/event-stream; charset=utf-8")
)

// reply writes a buffered answer. The answer's memory and the response's change
// places: nothing is copied.
func (x *Exchange) reply() {
	resp := &x.ctx.Response
	x.commonFields(resp)
	resp.Header.SetContentTypeBytes(x.contentType())
	if x.claim != nil {
		x.claim.Begin(x.claimHead(x.contentType()))
		x.claim.Write(x.out)
		x.claim.Done()
	}
	x.out = resp.SwapBody(x.out)
}

// commit begins the streamed answer.
func (x *Exchange) commit() {
	resp := &x.ctx.Response
	x.commonFields(resp)
	resp.Header.SetContentTypeBytes(x.contentType())
	if !x.plain {
		x.streamFields(resp)
	}
	x.phase = waitStream
	if x.translated {
		x.trans.form.Release()
	}
	if x.claim != nil {
		x.claim.Begin(x.claimHead(x.contentType()))
	}
	x.dropRequest()
	resp.SetBodyStream(answerBody{x}, -1)
}

// contentType is the media type of the answer.
func (x *Exchange) contentType() []byte {
	switch {
	case x.plain:
		return x.plainType()
	case x.array || !x.stream:
		return typeJSON
	}
	return typeEvents
}

// largeRequest is from where on a request's memory is not kept for as long as its
// answer streams, whatever has views of it: then it is left to the garbage collector.
const largeRequest = 64 << 10

// dropRequest frees what only other attempts would have needed: the customer's body, for
// which fasthttp has a pool, and what was made of it.
func (x *Exchange) dropRequest() {
	requests.put(x.req)
	x.req = nil
	switch {
	case x.thread.keep: // what was said is kept with the answer
		return
	case x.lane.forgets && !x.translated && x.key.Policy == nil && !x.key.Unruled:
		poison(x.ctx.Request.Body())
		x.ctx.Request.ResetBody()
	case len(x.body) >= largeRequest:
		x.ctx.Request.ReleaseBody(0)
	default:
		return
	}
	x.body, x.peek.Model = nil, nil
}

func (x *Exchange) commonFields(resp *fasthttp.Response) {
	resp.Header.SetCanonical(hdrRequestID, x.requestID())
	if x.match.Family == protocol.FamilyAnthropic {
		resp.Header.SetCanonical(hdrAnthropicID, x.requestID()) // where its SDKs look
	}
	x.limitFields(resp) // none before the gate was asked
	if x.admitted && x.ticket.Clamped {
		x.clamped(resp, x.ticket.OutputCap)
	}
	switch {
	case x.again != nil:
		resp.Header.SetCanonical(hdrAnswers, valHit)
	case x.caches:
		resp.Header.SetCanonical(hdrAnswers, valMiss)
	}
	if x.trimmed > 0 {
		resp.Header.SetCanonical(hdrTrimmed, strconv.AppendInt(x.text[:0], int64(x.trimmed), 10))
	}
	if x.dropped != "" {
		resp.Header.SetCanonical(hdrDropped, []byte(x.dropped))
	}
	if x.counted {
		resp.Header.SetCanonical(hdrEstimated, valTrue)
	}
	if x.translated && len(x.trans.form.Dropped()) > 0 {
		x.trans.text = x.trans.form.AppendDropped(x.trans.text[:0])
		resp.Header.SetCanonical(hdrDropped, x.trans.text)
	}
}

func (x *Exchange) clamped(resp *fasthttp.Response, n int64) {
	if n > 0 {
		resp.Header.SetCanonical(hdrClamped, strconv.AppendInt(x.text[:0], n, 10))
	}
}

// streamFields are what a stream has besides.
func (x *Exchange) streamFields(resp *fasthttp.Response) {
	resp.Header.SetCanonical(hdrCache, valNoCache)
	resp.Header.SetCanonical(hdrBuffering, valNo)
}

// answerError renders an error in the protocol's shape; a refusal that an upstream
// made stands in x.out already.
func (x *Exchange) answerError(e *apiError) {
	resp := &x.ctx.Response
	resp.ResetBody()
	resp.SetStatusCode(e.Status)
	resp.Header.SetContentTypeBytes(typeJSON)
	x.commonFields(resp)
	if x.passed {
		x.out = resp.SwapBody(x.out)
		return
	}
	errorFields(resp, e)
	x.out = apierr.Append(x.out[:0], x.match.Shape(), e, x.requestID())
	x.out = resp.SwapBody(x.out)
}

func errorFields(resp *fasthttp.Response, e *apiError) {
	resp.Header.SetCanonical(hdrRelayError, []byte(e.Code))
	if e.Status == fasthttp.StatusTooManyRequests && e.RetryAfter == 0 || e.Code == apierr.IdempotencyConflict {
		resp.Header.SetCanonical(hdrShouldRetry, valFalse) // SDKs would try twice more for nothing
	}
	if e.RetryAfter > 0 {
		var n [20]byte
		resp.Header.SetCanonical(hdrRetryAfter, strconv.AppendInt(n[:0], int64(e.RetryAfter), 10))
	}
}

// Refuse answers a request that is not served with an error in a protocol's shape.
func (r *Relay) Refuse(ctx *fasthttp.RequestCtx, shape apierr.Shape, e *apiError) {
	now := ctx.Time()
	if now.IsZero() {
		now = time.Now() // the request was not read to its end
	}
	id := []byte(reqid.New(now).String())
	resp := &ctx.Response
	resp.SetStatusCode(e.Status)
	resp.Header.SetContentTypeBytes(typeJSON)
	resp.Header.SetCanonical(hdrRequestID, id)
	errorFields(resp, e)
	resp.SetBody(apierr.Append(nil, shape, e, id))
	r.Stats.refused(e)
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
