package relay

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenrelay/proxy/protocol"
)

// limitNames are the fields that tell a customer of its key's limits, in canonical
// form: limit, remaining, reset.
type limitNames struct{ requests, tokens [3][]byte }

func names(prefix string, parts ...string) (n [3][]byte) {
	for i, p := range parts {
		n[i] = []byte(prefix + p)
	}
	return n
}

var (
	openAILimits = limitNames{
		requests: names("X-Ratelimit-", "Limit-Requests", "Remaining-Requests", "Reset-Requests"),
		tokens:   names("X-Ratelimit-", "Limit-Tokens", "Remaining-Tokens", "Reset-Tokens"),
	}
	anthropicLimits = limitNames{
		requests: names("Anthropic-Ratelimit-Requests-", "Limit", "Remaining", "Reset"),
		tokens:   names("Anthropic-Ratelimit-Tokens-", "Limit", "Remaining", "Reset"),
	}
)

// limitFields tells of the key's own limits, as the request's protocol defines the
// fields; a key without limits has none (interface 6).
func (x *Exchange) limitFields(resp *fasthttp.Response) {
	l := x.ticket.Limits()
	n := &openAILimits
	if x.match.Family == protocol.FamilyAnthropic {
		n = &anthropicLimits
	}
	if l.Requests > 0 {
		x.limit(resp, &n.requests, l.Requests, l.RequestsLeft, l.RequestsReset)
	}
	if l.Tokens > 0 {
		x.limit(resp, &n.tokens, l.Tokens, l.TokensLeft, l.TokensReset)
	}
}

func (x *Exchange) limit(resp *fasthttp.Response, n *[3][]byte, limit, left, reset int64) {
	b := x.text[:0]
	resp.Header.SetCanonical(n[0], strconv.AppendInt(b, limit, 10))
	resp.Header.SetCanonical(n[1], strconv.AppendInt(b, max(0, left), 10))
	if x.match.Family == protocol.FamilyAnthropic {
		// RFC 3339, whole seconds, rounded up.
		at := time.UnixMilli(x.startedMilli).Add(time.Duration(reset) + time.Second - 1).UTC().Truncate(time.Second)
		resp.Header.SetCanonical(n[2], at.AppendFormat(b, time.RFC3339))
		return
	}
	resp.Header.SetCanonical(n[2], appendDuration(b, time.Duration(reset)))
}

// appendDuration writes a duration as OpenAI does: 120ms, 17.5s, 6m0s.
func appendDuration(dst []byte, d time.Duration) []byte {
	ms := (d + time.Millisecond - 1).Milliseconds()
	if ms < 1000 {
		return append(strconv.AppendInt(dst, ms, 10), "ms"...)
	}
	if m := ms / 60_000; m > 0 {
		dst = append(strconv.AppendInt(dst, m, 10), 'm')
		ms %= 60_000
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if f := ms % 1000; f != 0 {
		dst = append(dst, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, 's')
}
