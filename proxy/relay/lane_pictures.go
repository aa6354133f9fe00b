package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/media"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// picturesLane serves POST /v1/images/generations, /edits and /variations, whole or with
// partial pictures as they come. Edits are forms or JSON, variations forms.
var picturesLane = lane{
	wire:      catalog.WireImages,
	shape:     peek.OpenAIPictures,
	heartbeat: openai.Heartbeat(),
	maxEvent:  media.MaxEvent,
	scan: func(x *Exchange) *apiError {
		if x.match.Endpoint != protocol.OpenAIImageGenerations {
			if _, err := peek.Boundary(x.ctx.Request.Header.ContentType()); err == nil || x.match.Endpoint == protocol.OpenAIImageVariations {
				boundary, err := peek.ScanForm(x.body, x.ctx.Request.Header.ContentType(), peek.OpenAIPicturesForm, &x.peek)
				x.boundary = boundary
				return err
			}
		}
		return peek.Scan(x.body, peek.OpenAIPictures, &x.peek)
	},
	plan: planPictures,
	path: func(dst []byte, x *Exchange) []byte {
		switch x.match.Endpoint {
		case protocol.OpenAIImageEdits:
			return append(dst, "/images/edits"...)
		case protocol.OpenAIImageVariations:
			return append(dst, "/images/variations"...)
		}
		return append(dst, "/images/generations"...)
	},
	answer:     func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormImages) },
	request:    mediaRequest,
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

var errSize = apierr.Invalid("size", "The size of the pictures is not understood ('auto' or pixels such as 1024x1024 are): their cost has no bound.")

// What pictures come to in tokens (protocols 4): a picture of the largest common size at the
// highest quality, one of medium quality, a picture that is shown before it is ready, and a
// picture that is given, at its most faithful.
const (
	pictureTokens = 6_240
	mediumTokens  = 1_584
	commonPixels  = 1_024 * 1_536
	partialTokens = 100
	givenTokens   = 8_192
	givenUsual    = 1_000
)

func planPictures(x *Exchange) *apiError {
	m := &x.peek.Media
	n := max(1, m.Pictures)
	if x.priced(usage.Images) {
		x.input.Bound = price.Bound{Images: n}
		x.planOf(usage.Images, n, n)
		return nil
	}
	if !x.priced(usage.Input, usage.ImageOut) {
		return x.errPrice()
	}
	if m.OddSize {
		return errSize
	}
	scale := max(1, (m.Width*m.Height+commonPixels-1)/commonPixels)
	most := pictureTokens * scale
	usual := mediumTokens * scale
	switch string(m.Quality) {
	case "low":
		usual /= 3
	case "high":
		usual = most
	}
	given := int64(x.peek.Images)
	partial := m.Partial * partialTokens
	guess := usage.Units{}
	guess[usage.Input] = x.model.Family.TokensOfBytes(m.Words)
	guess[usage.ImageIn] = given * givenUsual
	guess[usage.ImageOut] = n * (usual + partial)
	x.planTokens(price.Bound{
		InputTokens: m.Words + promptOverhead, ImageTokens: given * givenTokens, OutputTokens: n * (most + partial),
	}, guess)
	return nil
}
