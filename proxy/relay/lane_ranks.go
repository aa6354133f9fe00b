package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol/dashscope"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// ranksLane serves POST /v1/rerank in the form that Cohere, Jina and Voyage share. DashScope
// has one of its own.
var ranksLane = lane{
	wire:  catalog.WireRanks,
	shape: peek.Ranks,
	scan:  scanJSON,
	plan:  planRanks,
	path: func(dst []byte, x *Exchange) []byte {
		if x.choice.Route.Provider.Protocol == catalog.ProtocolDashScope {
			return append(dst, dashscope.RanksPath...)
		}
		return append(dst, "/rerank"...)
	},
	answer: func(x *Exchange) answerStream {
		if x.choice.Route.Provider.Protocol != catalog.ProtocolDashScope {
			return x.mediaAnswer(usage.FormRerank)
		}
		x.mediaAnswer(usage.FormDashScope)
		x.remade.Stream = x.media.take(&medias)
		x.remade.again = func(dst, body []byte) ([]byte, bool) {
			return dashscope.AppendRanks(dst, body, x.requestID(), x.showName)
		}
		return &x.remade
	},
	request: func(dst []byte, x *Exchange) []byte {
		if x.choice.Route.Provider.Protocol == catalog.ProtocolDashScope {
			return dashscope.AppendRanksRequest(dst, x.body, x.edit.Model)
		}
		return mediaRequest(dst, x)
	},
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

// What a search is: a query against up to a hundred documents; a document that is longer than
// some five hundred tokens counts once for each begun piece of that.
const (
	documentsASearch = 100
	pieceBytes       = 500
	aroundDocument   = 64
)

func planRanks(x *Exchange) *apiError {
	m := &x.peek.Media
	if x.priced(usage.Searches) {
		most := (m.Documents + m.DocumentBytes/pieceBytes + documentsASearch - 1) / documentsASearch
		x.input.Bound = price.Bound{Searches: most}
		x.planOf(usage.Searches, (m.Documents+documentsASearch-1)/documentsASearch, most)
		return nil
	}
	if !x.priced(usage.Input) {
		return x.errPrice()
	}
	guess := usage.Units{}
	guess[usage.Input] = x.model.Family.TokensOfBytes(m.DocumentBytes + m.Documents*m.Words)
	// The query is read again with each document.
	x.planTokens(price.Bound{InputTokens: m.DocumentBytes + m.Documents*(m.Words+aroundDocument) + promptOverhead}, guess)
	return nil
}
