package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/responses"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// messagesCountLane serves POST /v1/messages/count_tokens, which costs nothing: Anthropic's
// own count, or an estimate for a model of others.
var messagesCountLane = lane{
	wire:   catalog.WireMessages,
	shape:  peek.AnthropicCount,
	free:   true,
	count:  anthropic.AppendCount,
	scan:   scanJSON,
	path:   func(dst []byte, _ *Exchange) []byte { return append(dst, "/messages/count_tokens"...) },
	answer: func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormMessages) },
	request: func(dst []byte, x *Exchange) []byte {
		return anthropic.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: messagesLane.fields,
	class:  messagesLane.class,
	passError: func(dst []byte, x *Exchange, body []byte) []byte {
		return anthropic.AppendPassedError(dst, body, &x.cfg, x.requestID())
	},
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

// responsesCountLane serves POST /v1/responses/input_tokens, which costs nothing either.
var responsesCountLane = lane{
	wire:   catalog.WireResponses,
	shape:  peek.ResponsesCount,
	free:   true,
	count:  openai.AppendInputTokens,
	scan:   scanJSON,
	path:   func(dst []byte, _ *Exchange) []byte { return append(dst, "/responses/input_tokens"...) },
	answer: func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormResponses) },
	request: func(dst []byte, x *Exchange) []byte {
		return responses.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: openAIFields,
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return responses.ErrorClass(status, retryAfter, body)
	},
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}
