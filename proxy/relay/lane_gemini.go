package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
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
	unbounded: errGoogleTools,
	capMember: geminiCap,
	heartbeat: gemini.Heartbeat(),
	maxEvent:  maxGeminiEvent,
	scan:      scanGemini,
	path: func(dst []byte, x *Exchange) []byte {
		operation := "generateContent"
		if x.stream {
			operation = "streamGenerateContent?alt=sse"
		}
		return gemini.AppendPath(dst, x.choice.Route.UpstreamModel, operation)
	},
	answer: func(x *Exchange) answerStream { return x.gemini.take(&geminis) },
	request: func(dst []byte, x *Exchange) []byte {
		return gemini.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields:     geminiFields,
	class:      geminiClass,
	passError:  geminiPassError,
	capField:   func(*Exchange) string { return "maxOutputTokens" },
	needsUsage: func(*Exchange) bool { return false },
}

func geminiCap(*Exchange) string { return "generationConfig.maxOutputTokens" }

// geminiCountLane serves countTokens, which costs nothing.
var geminiCountLane = lane{
	wire:      catalog.WireGemini,
	shape:     peek.GeminiCount,
	capMember: geminiCap,
	free:      true,
	count:     gemini.AppendCount,
	scan:      scanGemini,
	path: func(dst []byte, x *Exchange) []byte {
		return gemini.AppendPath(dst, x.choice.Route.UpstreamModel, "countTokens")
	},
	answer: func(x *Exchange) answerStream { return x.gemini.take(&geminis) },
	request: func(dst []byte, x *Exchange) []byte {
		return gemini.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields:     geminiFields,
	class:      geminiClass,
	passError:  geminiPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

func geminiFields(dst []byte, x *Exchange) []byte {
	if x.choice.Key.Tokens != nil {
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.bearer...)
		return append(dst, "\r\n"...)
	}
	if p := x.choice.Route.Provider; p.Dialect == "vertex" || p.Options["auth"] == "bearer" {
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.choice.Key.Secret...)
		return append(dst, "\r\n"...)
	}
	return upstream.AppendField(dst, "x-goog-api-key", string(x.choice.Key.Secret))
}

func geminiClass(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
	return gemini.ErrorClass(status, retryAfter, body)
}

func geminiPassError(dst []byte, x *Exchange, body []byte) []byte {
	return gemini.AppendPassedError(dst, body, x.kept, &x.cfg)
}

// scanGemini reads a body of Gemini, and in the path what other formats have in theirs.
func scanGemini(x *Exchange) *apiError {
	if len(x.match.Param) > peek.MaxModel {
		return apierr.Invalid("model", "The model's name is too long.")
	}
	if err := peek.Scan(x.body, x.lane.shape, &x.peek); err != nil {
		return err
	}
	x.peek.Model = x.match.Param
	if x.match.Endpoint == protocol.GeminiStream {
		x.peek.Stream = true
		x.array = string(x.ctx.QueryArgs().Peek("alt")) != "sse"
	}
	return nil
}

// count answers a request that only counts tokens with the relay's own estimate, for a
// model that no upstream of the protocol serves: nobody is asked, nothing is recorded.
func (x *Exchange) count() {
	x.out = x.lane.count(x.out[:0], meter.EstimateInput(x.model.Family, &x.peek))
	x.counted = true
	x.ticket.Void()
	x.flight.Release()
	x.flight, x.finished = nil, true
	x.reply()
}

// routed reports whether the model has a route with one of the wires.
func (x *Exchange) routed(w catalog.Wires) bool {
	for _, r := range x.model.Routes {
		if r.Provider.Wires&w != 0 && (x.pinned == nil || r.Provider == x.pinned) {
			return true
		}
	}
	return false
}

// keepAlive is what the customer gets while the upstream is silent.
func (x *Exchange) keepAlive() []byte {
	if x.array {
		return gemini.ArrayHeartbeat()
	}
	return x.lane.heartbeat
}

// appendStreamError appends an error that ends a stream whose headers are out. said
// tells whether the customer has got any of the answer.
func (x *Exchange) appendStreamError(dst []byte, e *apiError, said bool) []byte {
	if x.plain {
		return dst // sound has no words for it: the response breaks off
	}
	if !x.array {
		return apierr.AppendStreamError(dst, x.match.Shape(), e, x.requestID())
	}
	elements := 0
	if said || len(dst) > 0 {
		elements = 1
	}
	dst = gemini.AppendSeparator(dst, elements)
	dst = apierr.Append(dst, x.match.Shape(), e, x.requestID())
	return append(dst, gemini.ArrayEnd...)
}
