package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/shared/peek"
)

// responsesLane serves POST /v1/responses.
var responsesLane = lane{
	wire:      catalog.WireResponses,
	form:      chat.Responses,
	shape:     peek.OpenAIResponses,
	unbounded: errServerSearch,
	capMember: func(*Exchange) string { return "max_output_tokens" },
	heartbeat: openai.Heartbeat(),
	maxEvent:  responses.MaxEvent,
	scan:      scanJSON,
	path:      func(dst []byte, _ *Exchange) []byte { return append(dst, "/responses"...) },
	answer:    func(x *Exchange) answerStream { return x.responses.take(&responsive) },
	request: func(dst []byte, x *Exchange) []byte {
		return responses.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: openAIFields,
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return responses.ErrorClass(status, retryAfter, body)
	},
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "max_output_tokens" },
	needsUsage: func(*Exchange) bool { return false },
}
