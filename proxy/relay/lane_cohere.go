package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/cohere"
)

// cohereLane asks models of Cohere. No client speaks its Chat: every request is
// translated.
var cohereLane = lane{
	wire: catalog.WireCohere,
	form: chat.Cohere,
	path: func(dst []byte, _ *Exchange) []byte { return append(dst, cohere.Path...) },
	fields: func(dst []byte, x *Exchange) []byte {
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.choice.Key.Secret...)
		return append(dst, "\r\n"...)
	},
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return cohere.ErrorClass(status, retryAfter, body)
	},
}
