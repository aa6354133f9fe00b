package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// geminiEmbedLane serves embedContent and batchEmbedContents: at Gemini's own providers, and
// at those that have OpenAI's embeddings. Gemini reports no usage; OpenAI's form does.
var geminiEmbedLane = lane{
	wire:  catalog.WireGeminiEmbed | catalog.WireEmbeddings,
	shape: peek.GeminiEmbed,
	scan: func(x *Exchange) *apiError {
		if len(x.match.Param) > peek.MaxModel {
			return apierr.Invalid("model", "The model's name is too long.")
		}
		shape := peek.GeminiEmbed
		if batches(x) {
			shape = peek.GeminiEmbedBatch
		}
		err := peek.Scan(x.body, shape, &x.peek)
		x.peek.Model = x.match.Param
		return err
	},
	plan: func(x *Exchange) *apiError {
		if !x.priced(usage.Input) {
			return x.errPrice()
		}
		guess := usage.Units{}
		guess[usage.Input] = x.model.Family.TokensOfBytes(max(1, x.peek.TextBytes-aroundText*max(1, x.peek.Prompts)))
		x.planTokens(price.Bound{InputTokens: x.peek.TextBytes + promptOverhead}, guess)
		return nil
	},
	path: func(dst []byte, x *Exchange) []byte {
		switch {
		case !embedsNatively(x):
			return append(dst, "/embeddings"...)
		case batches(x):
			return gemini.AppendPath(dst, x.choice.Route.UpstreamModel, "batchEmbedContents")
		}
		return gemini.AppendPath(dst, x.choice.Route.UpstreamModel, "embedContent")
	},
	answer: func(x *Exchange) answerStream {
		if embedsNatively(x) {
			return x.mediaAnswer(usage.FormGemini)
		}
		x.mediaAnswer(usage.FormEmbeddings)
		x.remade.Stream = x.media.take(&medias)
		batch := batches(x)
		x.remade.again = func(dst, body []byte) ([]byte, bool) { return gemini.AppendEmbeddings(dst, body, batch) }
		return &x.remade
	},
	request: func(dst []byte, x *Exchange) []byte {
		if embedsNatively(x) {
			return gemini.AppendEmbedRequest(dst, x.body, x.edit.Model)
		}
		dst, x.dropped = gemini.AppendTexts(dst, x.body, x.edit.Model, x.peek.Media.Dimensions)
		return dst
	},
	fields: func(dst []byte, x *Exchange) []byte {
		if embedsNatively(x) {
			return geminiFields(dst, x)
		}
		return openAIFields(dst, x)
	},
	class: func(x *Exchange, status int, retryAfter, body []byte) protocol.Class {
		if embedsNatively(x) {
			return geminiClass(x, status, retryAfter, body)
		}
		return openAIClass(x, status, retryAfter, body)
	},
	passError:  geminiPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

// aroundText is what stands around a text in Gemini's form, in bytes.
const aroundText = 40

func batches(x *Exchange) bool { return x.match.Endpoint == protocol.GeminiBatchEmbed }

func embedsNatively(x *Exchange) bool {
	return x.choice.Route.Provider.Wires&catalog.WireGeminiEmbed != 0
}
