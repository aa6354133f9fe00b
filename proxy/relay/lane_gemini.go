package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/peek"
)

// maxGeminiEvent is the size up to which an event is read as a whole: pictures and
// sound come in one event, with the usage behind them.
const maxGeminiEvent = 8 << 20

// geminiLane serves generateContent and streamGenerateContent: what tells them apart
// stands in the path. Upstreams are always asked for events; a customer that wants a
// JSON array gets the same objects as its elements.
var geminiLane = lane{
	wire:      catalog.WireGemini,
	form:      chat.Gemini,
	shape:     peek.GeminiGenerate,
	heartbeat: gemini.Heartbeat(),
	maxEvent:  maxGeminiEvent,
	path: func(dst []byte, x *Exchange) []byte {
		operation := "generateContent"
		if x.stream {
			operation = "streamGenerateContent?alt=sse"
		}
		return gemini.AppendPath(dst, x.choice.Route.UpstreamModel, operation)
	},
	answer: func(x *Exchange) answerStream { return &x.gemini },
	request: func(dst []byte, x *Exchange) []byte {
		return gemini.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: func(dst []byte, x *Exchange) []byte {
		if x.choice.Route.Provider.Options["auth"] == "bearer" { // Vertex
			dst = append(dst, "Authorization: Bearer "...)
			dst = append(dst, x.choice.Key.Secret...)
			return append(dst, "\r\n"...)
		}
		return upstream.AppendField(dst, "x-goog-api-key", string(x.choice.Key.Secret))
	},
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return gemini.ErrorClass(status, retryAfter, body)
	},
	passError: func(dst []byte, x *Exchange, body []byte) []byte {
		return gemini.AppendPassedError(dst, body, x.kept, &x.cfg)
	},
	capField:   func(*Exchange) string { return "maxOutputTokens" },
	needsUsage: func(*Exchange) bool { return false },
}
