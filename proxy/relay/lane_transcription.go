package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// transcriptionLane serves POST /v1/audio/transcriptions and /v1/audio/translations: a form
// with sound in, its words out, as JSON, as events, or as text of several kinds.
var transcriptionLane = lane{
	wire:      catalog.WireAudio,
	shape:     peek.OpenAITranscription,
	heartbeat: openai.Heartbeat(),
	scan: func(x *Exchange) *apiError {
		if err := scanForm(x); err != nil {
			return err
		}
		switch string(x.peek.Media.Format) {
		case "text", "srt", "vtt":
			x.plain = !x.peek.Stream
		}
		return nil
	},
	plan:   planTranscription,
	passed: transcribed,
	path: func(dst []byte, x *Exchange) []byte {
		if x.match.Endpoint == protocol.OpenAITranslations {
			return append(dst, "/audio/translations"...)
		}
		return append(dst, "/audio/transcriptions"...)
	},
	answer:     func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormTranscription) },
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

var errSound = apierr.Invalid("file", "The file is no sound in a known format (WAV, MP3, AAC, FLAC, Ogg, MP4, WebM, AMR): how long it lasts, and so its cost, has no bound.")

// What a second of sound comes to in tokens. Providers count ten or so; Google's models count
// thirty-two.
const (
	heardTokens     = 10
	mostHeardTokens = 32
	mostSaidTokens  = 25 // of the words in it
)

func planTranscription(x *Exchange) *apiError {
	m := &x.peek.Media
	longest, guessed, ok := peek.Sound(x.body[m.File.Start:m.File.End])
	if !ok {
		return errSound
	}
	if x.priced(usage.Seconds) {
		// Decoders add a part of a second; some providers bill ten at least, which is theirs.
		x.input.Bound = price.Bound{Seconds: longest + 1}
		x.planOf(usage.Seconds, guessed, 2*longest+30)
		return nil
	}
	if !x.priced(usage.AudioIn, usage.Output) {
		return x.errPrice()
	}
	b := price.Bound{
		InputTokens: m.Words + promptOverhead, AudioTokens: longest*mostHeardTokens + 256,
		OutputTokens: longest*mostSaidTokens + 256, TextOutput: true,
	}
	if n := x.model.MaxOutput; n > 0 {
		b.OutputTokens = min(b.OutputTokens, n)
	}
	guess := usage.Units{}
	guess[usage.AudioIn] = guessed * heardTokens
	if m.Words > 0 {
		guess[usage.Input] = x.model.Family.TokensOfBytes(m.Words)
	}
	x.planTokens(b, guess)
	return nil
}

// transcribed counts the words that have passed.
func transcribed(x *Exchange) {
	if x.plan.By == usage.Input {
		x.plan.Guess[usage.Output] = min(x.end.Family.Tokens(x.media.take(&medias).Text()), x.plan.Most[usage.Output])
	}
}
