package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/meter"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// moderationLane serves POST /v1/moderations. Providers report no usage: where a model has a
// price for it, its tokens are estimated.
var moderationLane = lane{
	wire:       catalog.WireModerations,
	shape:      peek.OpenAIModeration,
	scan:       scanJSON,
	plan:       planModeration,
	path:       func(dst []byte, _ *Exchange) []byte { return append(dst, "/moderations"...) },
	answer:     func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormEmbeddings) },
	request:    mediaRequest,
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

func planModeration(x *Exchange) *apiError {
	if !x.priced(usage.Input) {
		return x.errPrice()
	}
	if x.peek.Files+x.peek.Audios > 0 {
		return errNoBound
	}
	guess := usage.Units{}
	guess[usage.Input] = meter.EstimateInput(x.model.Family, &x.peek)
	x.planTokens(price.Bound{InputTokens: x.peek.TextBytes + promptOverhead, ImageTokens: int64(x.peek.Images) * givenTokens}, guess)
	return nil
}
