package relay

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/guard/window"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/proxy/respcache"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

const errWindow = "The input is about %d tokens, and this account's context window is %d. %s"

// windowed keeps a request to the client's context window.
func (x *Exchange) windowed() *apiError {
	w := &x.key.Policy.Rules.Window
	most := w.MaxTokens
	if most == 0 || x.lane.plan != nil {
		return nil
	}
	family := x.model.Family
	n := meter.EstimateInput(family, &x.peek)
	if n <= most {
		return nil
	}
	if !w.Trim || x.lane.wire&conversations == 0 {
		return apierr.Invalid("messages", sprintf(errWindow, n, most, "Send less of the conversation."))
	}
	// The fewest turns whose absence is enough.
	turns := window.Find(x.lane.form, x.body)
	low, high := 1, turns.Count()-1 // the last turn stays
	var body []byte
	for low <= high {
		mid := (low + high) / 2
		shorter := turns.Without(nil, mid)
		if err := x.rewritten(shorter); err != nil {
			return err
		}
		if meter.EstimateInput(family, &x.peek) <= most {
			body, x.trimmed, high = shorter, turns.Messages(mid), mid-1
		} else {
			low = mid + 1
		}
	}
	if body == nil {
		return apierr.Invalid("messages", sprintf(errWindow, n, most, "What the system says and the last turn alone are more."))
	}
	return x.rewritten(body)
}

// answeredBefore looks for an earlier answer to the same request.
func (x *Exchange) answeredBefore() *apiError {
	if x.key.Policy.Rules.Cache.Answers == policy.CacheOff || x.r.o.Answers == nil || !x.repeatable() {
		return nil
	}
	control := x.head.CacheControl
	if hasToken(control, "no-store") {
		return nil
	}
	q := respcache.Question{
		Client: x.key.ClientID, Model: x.model.ID, Asked: x.asked, PriceVersion: price.VersionString(x.rule), Rules: x.key.Policy.Text,
		Endpoint: uint8(x.match.Endpoint), Stream: x.stream, Array: x.array, Body: x.body,
	}
	var ok bool
	if x.asking, ok = q.Key(); !ok {
		return nil
	}
	if !hasToken(control, "no-cache") {
		if x.again = x.r.o.Answers.Get(&x.asking, x.startedMilli); x.again != nil {
			x.input.Bound = price.Bound{InputTokens: max(1, x.again.Units[usage.CacheRead])}
			x.input.ClientCap = true
			x.r.Stats.CacheHits.Add(1)
			return nil
		}
	}
	x.caches = true
	x.r.Stats.CacheMisses.Add(1)
	return nil
}

// repeatable reports whether the answer to a request may be given again: nothing else
// than its text follows from it.
func (x *Exchange) repeatable() bool {
	if x.pinned != nil || x.lane.free || x.lane.plan != nil || x.thread.keep || x.thread.previous != "" || x.peek.Tools > 0 || x.peek.ServerTools > 0 {
		return false
	}
	if x.key.Policy.Rules.Cache.Answers == policy.CacheAll || x.lane.inputOnly {
		return true
	}
	at := walk.Space(x.body, 0)
	if at >= len(x.body) || x.body[at] != '{' {
		return false
	}
	obj := x.body[at:]
	t := walk.Get(obj, "temperature")
	for _, inside := range []string{"generationConfig", "generation_config", "parameters"} {
		if t == nil {
			t = walk.Get(walk.Get(obj, inside), "temperature")
		}
	}
	return len(t) > 0 && len(bytes.Trim(t, "0.")) == 0
}

// hasToken reports whether a header is, or lists, a word.
func hasToken(v []byte, word string) bool {
	for len(v) > 0 {
		part, rest, _ := bytes.Cut(v, []byte(","))
		if bytes.EqualFold(bytes.TrimSpace(part), []byte(word)) {
			return true
		}
		v = rest
	}
	return false
}

// hear notes what is written of a stream that may be given again.
func (x *Exchange) hear(p []byte) {
	if len(x.written)+len(p) > respcache.MaxAnswer {
		x.caches, x.written = false, nil
		return
	}
	x.written = append(x.written, p...)
}

// remember keeps a whole answer. What it will cost again is what a provider's own cache
// would: all of its tokens, in and out, as cached input; a fee per request is owed again.
func (x *Exchange) remember(body []byte) {
	if x.rec.Status != usage.Success || x.rec.HTTPStatus != 200 || x.rec.Flags&usage.FlagUsageSuspect != 0 {
		return
	}
	a := respcache.Answer{Body: body, Type: string(x.contentType())}
	a.Units[usage.CacheRead] = tokens(&x.rec.Units)
	a.Units[usage.Request] = x.rec.Units[usage.Request]
	x.r.o.Answers.Keep(&x.asking, a, x.startedMilli, x.key.Policy.Rules.Cache.TTL())
}

// giveAgain answers with an earlier answer. Its row is in the journal before the client
// sees any of it.
func (x *Exchange) giveAgain() {
	a, r := x.again, &x.rec
	x.bytesOut = int64(len(a.Body))
	r.Units, r.Source = a.Units, usage.SourceCache
	r.Flags |= usage.FlagCacheHit
	r.Charge, r.Cost, r.Overrun = x.charge(&r.Units), 0, 0
	if full, err := x.rule.Charge(&r.Units); err == nil && full > r.Charge {
		r.Overrun = full - r.Charge
	}
	r.FirstTokenMicros = max(1, x.sinceMicros())
	failpoint.Hit(failpoint.K5)
	x.out = x.out[:0]
	x.record(usage.Success, 200, "")
	resp := &x.ctx.Response
	resp.SetStatusCode(fasthttp.StatusOK)
	x.commonFields(resp)
	resp.Header.SetContentType(a.Type)
	if x.stream {
		x.streamFields(resp)
	}
	if x.claim != nil {
		x.claim.Begin(x.claimHead([]byte(a.Type)))
		x.claim.Write(a.Body)
		x.claim.Done()
	}
	resp.SetBodyRaw(a.Body)
}
