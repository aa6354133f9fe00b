package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/peek"
)

// completionsLane serves POST /v1/completions, the older form of one prompt or several
// without messages. Answers and streams are Chat's but for where the text stands.
var completionsLane = lane{
	wire:      catalog.WireCompletions,
	shape:     peek.OpenAICompletions,
	heartbeat: openai.Heartbeat(),
	scan:      scanJSON,
	path:      func(dst []byte, _ *Exchange) []byte { return append(dst, "/completions"...) },
	answer:    func(x *Exchange) answerStream { return &x.openai },
	request: func(dst []byte, x *Exchange) []byte {
		return openai.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "max_tokens" },
	needsUsage: openAINeedsUsage,
}
