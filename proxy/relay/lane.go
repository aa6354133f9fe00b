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

// answerStream observes and patches one upstream's answer; openai.Stream and
// anthropic.Stream are the two.
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

// lane is one protocol, the same in and out.
type lane struct {
	protocol  catalog.Protocol
	form      chat.Protocol
	shape     peek.Shape
	path      string // below the provider's base URL
	heartbeat []byte

	answer     func(x *Exchange) answerStream
	request    func(dst []byte, x *Exchange) []byte // the customer's body with x.edit
	fields     func(dst []byte, x *Exchange) []byte // header fields: credentials and the protocol's own
	class      func(x *Exchange, status int, retryAfter, body []byte) protocol.Class
	passError  func(dst []byte, x *Exchange, body []byte) []byte
	capField   func(x *Exchange) string
	needsUsage func(x *Exchange) bool
}

var chatLane = lane{
	protocol:  catalog.ProtocolOpenAI,
	form:      chat.OpenAI,
	shape:     peek.OpenAIChat,
	path:      "/chat/completions",
	heartbeat: openai.Heartbeat(),
	answer:    func(x *Exchange) answerStream { return &x.openai },
	request: func(dst []byte, x *Exchange) []byte {
		return openai.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields: func(dst []byte, x *Exchange) []byte {
		if openai.Dialect(x.cfg.Dialect) == openai.Azure {
			return upstream.AppendField(dst, "api-key", string(x.choice.Key.Secret))
		}
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.choice.Key.Secret...)
		return append(dst, "\r\n"...)
	},
	class: func(x *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return openai.ErrorClass(status, retryAfter, body, openai.Dialect(x.cfg.Dialect))
	},
	passError: func(dst []byte, x *Exchange, body []byte) []byte {
		return openai.AppendPassedError(dst, body, &x.cfg)
	},
	capField:   func(x *Exchange) string { return openai.Dialect(x.cfg.Dialect).CapField() },
	needsUsage: func(x *Exchange) bool { return x.stream && openai.Dialect(x.cfg.Dialect).NeedsIncludeUsage() },
}

const anthropicVersion = "2023-06-01"

var messagesLane = lane{
	protocol:  catalog.ProtocolAnthropic,
	form:      chat.Messages,
	shape:     peek.AnthropicMessages,
	path:      "/messages",
	heartbeat: anthropic.Heartbeat(),
	answer:    func(x *Exchange) answerStream { return &x.claude },
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

// other is the lane that requests of this one are translated to when no route of
// their own protocol can answer.
func (l *lane) other() *lane {
	if l == &chatLane {
		return &messagesLane
	}
	return &chatLane
}

// laneOf finds the lane of an endpoint, nil for one that is not inference.
func laneOf(e protocol.Endpoint) *lane {
	switch e {
	case protocol.OpenAIChat:
		return &chatLane
	case protocol.AnthropicMessages:
		return &messagesLane
	}
	return nil
}
