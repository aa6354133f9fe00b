package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// answerStream observes and patches one upstream's answer; each package of proxy/protocol
// has one.
type answerStream interface {
	Reset(*protocol.StreamConfig)
	Event(dst, ev []byte) ([]byte, protocol.Kind)
	Partial(dst, chunk []byte, first, last bool) ([]byte, protocol.Kind)
	Buffered(dst, body []byte) ([]byte, protocol.Kind, error)
	Usage() (usage.Units, usage.Source)
	Progress() usage.Units
	Terminated() bool
	Began() bool
	Fill(*meter.End)
	ErrorClass() protocol.Class
}

// lane is one operation in one wire format, the same in and out. A lane of
// conversations has a form besides: its requests can be translated for upstreams of
// the others, and those of the others for its own.
type lane struct {
	wire      catalog.Wires
	form      chat.Protocol // where wire is one of conversations
	shape     peek.Shape
	heartbeat []byte
	accept    string // media type of streams, "" = that of events
	frames    bool   // streams come in Amazon's frames
	maxEvent  int    // bytes up to which an event is read as a whole, 0 = protocol.MaxEvent
	inputOnly bool   // nothing is generated, so there is no output to hold money for
	free      bool   // nothing is billed
	passes    bool   // the answer passes as it comes, though no stream was asked for
	forgets   bool   // a stream that has begun has no view of the customer's body left

	// What its customers are told of tools whose cost has no bound, nil = errServerTools,
	// and which member of the body is the output cap, nil = as in Chat.
	unbounded *apiError
	capMember func(x *Exchange) string

	// Of endpoints beside the conversations: plan makes x.plan and x.input.Bound, passed
	// betters the plan's guess by what has passed, count answers with the relay's own
	// count of tokens where no upstream counts.
	plan   func(x *Exchange) *apiError
	passed func(x *Exchange)
	count  func(dst []byte, tokens int64) []byte

	scan       func(x *Exchange) *apiError          // finds in the customer's body what x.peek tells
	path       func(dst []byte, x *Exchange) []byte // below the provider's base URL
	answer     func(x *Exchange) answerStream
	request    func(dst []byte, x *Exchange) []byte            // the customer's body with x.edit
	fields     func(dst []byte, x *Exchange) []byte            // header fields: credentials and the protocol's own
	sign       func(x *Exchange, h *upstream.Host, bodyAt int) // puts credentials in that cover the body, nil = none do
	class      func(x *Exchange, status int, retryAfter, body []byte) protocol.Class
	passError  func(dst []byte, x *Exchange, body []byte) []byte
	capField   func(x *Exchange) string
	needsUsage func(x *Exchange) bool
}

var chatLane = lane{
	wire:      catalog.WireChat,
	form:      chat.OpenAI,
	shape:     peek.OpenAIChat,
	forgets:   true,
	scan:      scanJSON,
	path:      func(dst []byte, _ *Exchange) []byte { return append(dst, "/chat/completions"...) },
	heartbeat: openai.Heartbeat(),
	answer:    func(x *Exchange) answerStream { return &x.openai },
	request: func(dst []byte, x *Exchange) []byte {
		return openai.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(x *Exchange) string { return openai.Dialect(x.cfg.Dialect).CapField() },
	needsUsage: openAINeedsUsage,
}

func openAIFields(dst []byte, x *Exchange) []byte {
	if openai.Dialect(x.cfg.Dialect) == openai.Azure {
		return upstream.AppendField(dst, "api-key", string(x.choice.Key.Secret))
	}
	dst = append(dst, "Authorization: Bearer "...)
	dst = append(dst, x.choice.Key.Secret...)
	return append(dst, "\r\n"...)
}

func openAIClass(x *Exchange, status int, retryAfter, body []byte) protocol.Class {
	return openai.ErrorClass(status, retryAfter, body, openai.Dialect(x.cfg.Dialect))
}

func openAIPassError(dst []byte, x *Exchange, body []byte) []byte {
	return openai.AppendPassedError(dst, body, &x.cfg)
}

func openAINeedsUsage(x *Exchange) bool {
	return x.stream && openai.Dialect(x.cfg.Dialect).NeedsIncludeUsage()
}

const anthropicVersion = "2023-06-01"

var messagesLane = lane{
	wire:      catalog.WireMessages,
	form:      chat.Messages,
	shape:     peek.AnthropicMessages,
	forgets:   true,
	scan:      scanJSON,
	path:      func(dst []byte, _ *Exchange) []byte { return append(dst, "/messages"...) },
	heartbeat: anthropic.Heartbeat(),
	answer:    func(x *Exchange) answerStream { return x.claude.take(&claudes) },
	request: func(dst []byte, x *Exchange) []byte {
		return anthropic.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: func(dst []byte, x *Exchange) []byte {
		dst = upstream.AppendField(dst, "x-api-key", string(x.choice.Key.Secret))
		if x.head.AnthropicVersion != nil && x.lane == x.via {
			dst = upstream.AppendFieldBytes(dst, "anthropic-version", x.head.AnthropicVersion)
		} else {
			dst = upstream.AppendField(dst, "anthropic-version", anthropicVersion)
		}
		if x.head.AnthropicBeta != nil && x.lane == x.via {
			dst = upstream.AppendFieldBytes(dst, "anthropic-beta", x.head.AnthropicBeta)
		}
		return dst
	},
	class: func(_ *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return anthropic.ErrorClass(status, retryAfter, body)
	},
	passError: func(dst []byte, x *Exchange, body []byte) []byte {
		return anthropic.AppendPassedError(dst, body, &x.cfg, x.requestID())
	},
	capField:   func(*Exchange) string { return "max_tokens" },
	needsUsage: func(*Exchange) bool { return false },
}

// scanJSON reads a body that is one JSON object with the model in it.
func scanJSON(x *Exchange) *apiError { return peek.Scan(x.body, x.lane.shape, &x.peek) }

// conversations are the wires whose requests are translated, targets those that they
// are translated for.
const (
	targets       = catalog.WireChat | catalog.WireMessages | catalog.WireGemini | catalog.WireDashScope | catalog.WireConverse | catalog.WireCohere
	conversations = targets | catalog.WireResponses
)

// others are the wires that requests of this lane can be translated for, once no
// route of its own can answer.
func (l *lane) others() catalog.Wires {
	if l.wire&conversations == 0 || l.free {
		return 0
	}
	return targets &^ l.wire
}

// upstreamLane is the lane of an upstream that has several of the wires: the first
// of them.
func upstreamLane(w catalog.Wires) *lane {
	switch {
	case w&catalog.WireChat != 0:
		return &chatLane
	case w&catalog.WireMessages != 0:
		return &messagesLane
	case w&catalog.WireGemini != 0:
		return &geminiLane
	case w&catalog.WireConverse != 0:
		return &converseLane
	case w&catalog.WireCohere != 0:
		return &cohereLane
	}
	return &dashScopeLane
}

// laneOf finds the lane of an endpoint, nil for one that is not inference.
func laneOf(e protocol.Endpoint) *lane {
	switch e {
	case protocol.OpenAIChat:
		return &chatLane
	case protocol.AnthropicMessages:
		return &messagesLane
	case protocol.OpenAICompletions:
		return &completionsLane
	case protocol.OpenAIEmbeddings:
		return &embeddingsLane
	case protocol.OpenAIResponses:
		return &responsesLane
	case protocol.GeminiGenerate, protocol.GeminiStream:
		return &geminiLane
	case protocol.GeminiCountTokens:
		return &geminiCountLane
	case protocol.DashScopeText:
		return &dashScopeLane
	case protocol.OpenAISpeech:
		return &speechLane
	case protocol.OpenAITranscriptions, protocol.OpenAITranslations:
		return &transcriptionLane
	case protocol.OpenAIImageGenerations, protocol.OpenAIImageEdits, protocol.OpenAIImageVariations:
		return &picturesLane
	case protocol.OpenAIModerations:
		return &moderationLane
	case protocol.Rerank:
		return &ranksLane
	case protocol.AnthropicCountTokens:
		return &messagesCountLane
	case protocol.OpenAIResponsesTokens:
		return &responsesCountLane
	case protocol.GeminiEmbed, protocol.GeminiBatchEmbed:
		return &geminiEmbedLane
	}
	return nil
}
