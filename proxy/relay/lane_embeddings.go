package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/peek"
)

// embeddingsLane serves POST /v1/embeddings. Its answers are one object with a usage
// like Chat's, so Chat's observer reads them; they are never streamed and nothing is
// generated.
var embeddingsLane = lane{
	wire:      catalog.WireEmbeddings,
	shape:     peek.OpenAIEmbeddings,
	inputOnly: true,
	scan:      scanJSON,
	path: func(dst []byte, x *Exchange) []byte {
		if x.choice.Route.Provider.Protocol == catalog.ProtocolGemini {
			dst = append(dst, "/openai"...) // where Google has OpenAI's form
		}
		return append(dst, "/embeddings"...)
	},
	answer: func(x *Exchange) answerStream { return &x.openai },
	request: func(dst []byte, x *Exchange) []byte {
		return openai.AppendRequest(dst, x.body, &x.peek, &x.edit)
	},
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}
