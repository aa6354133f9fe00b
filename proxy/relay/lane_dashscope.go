package relay

import (
	"bytes"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/dashscope"
	"tokenrelay/shared/peek"
)

// dashScopeLane serves DashScope's text generation. Whether an answer is streamed stands
// in the head: it is asked of the upstream in the same way.
var dashScopeLane = lane{
	wire:      catalog.WireDashScope,
	form:      chat.DashScope,
	shape:     peek.DashScopeText,
	unbounded: errEnableSearch,
	capMember: func(x *Exchange) string { return "parameters." + dashscope.CapField(&x.peek) },
	heartbeat: dashscope.Heartbeat(),
	maxEvent:  dashscope.MaxEvent,
	scan: func(x *Exchange) *apiError {
		err := peek.Scan(x.body, peek.DashScopeText, &x.peek)
		x.peek.Stream = asksEvents(x.head)
		return err
	},
	path: func(dst []byte, x *Exchange) []byte {
		if x.via != x.lane {
			return append(dst, dashscope.PathOf(&x.trans.form, x.choice.Route.UpstreamModel)...)
		}
		return append(dst, dashscope.Path...)
	},
	answer: func(x *Exchange) answerStream { return x.dashscope.take(&dashscopes) },
	request: func(dst []byte, x *Exchange) []byte {
		return dashscope.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: func(dst []byte, x *Exchange) []byte {
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.choice.Key.Secret...)
		dst = append(dst, "\r\n"...)
		if x.stream {
			dst = append(dst, "X-DashScope-SSE: enable\r\n"...)
		}
		return dst
	},
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return dashscope.ErrorClass(status, retryAfter, body)
	},
	passError: func(dst []byte, x *Exchange, body []byte) []byte {
		return dashscope.AppendPassedError(dst, body, &x.cfg, x.requestID())
	},
	capField:   func(x *Exchange) string { return dashscope.CapField(&x.peek) },
	needsUsage: func(*Exchange) bool { return false },
}

// asksEvents reports whether a request to DashScope's path wants a stream (rulings 1.7).
func asksEvents(h *Head) bool {
	return bytes.EqualFold(h.DashScopeSSE, []byte("enable")) || bytes.Contains(h.Accept, []byte("text/event-stream"))
}
