package relay

import (
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// speechLane serves POST /v1/audio/speech: text in, sound out, as it comes, or as events.
var speechLane = lane{
	wire:      catalog.WireAudio,
	shape:     peek.OpenAISpeech,
	heartbeat: openai.Heartbeat(),
	maxEvent:  maxSoundEvent,
	passes:    true,
	scan: func(x *Exchange) *apiError {
		err := peek.Scan(x.body, peek.OpenAISpeech, &x.peek)
		x.plain = !x.peek.Stream
		return err
	},
	plan:       planSpeech,
	passed:     spoken,
	path:       func(dst []byte, _ *Exchange) []byte { return append(dst, "/audio/speech"...) },
	answer:     func(x *Exchange) answerStream { return x.mediaAnswer(usage.FormSpeech) },
	request:    mediaRequest,
	fields:     openAIFields,
	class:      openAIClass,
	passError:  openAIPassError,
	capField:   func(*Exchange) string { return "" },
	needsUsage: func(*Exchange) bool { return false },
}

// maxSoundEvent is the size up to which an event with sound is read as a whole.
const maxSoundEvent = 2 << 20

// What speech comes to where a model is priced by tokens. Providers make about twenty tokens
// of sound in a second, of some fifteen narrow characters or a few wide ones.
const (
	soundTokens    = 20 // a second
	narrowASecond  = 15
	wideASecond    = 8  // bytes beyond one a character
	mostCharacter  = 20 // tokens: a digit or a sign may be spoken as a word
	mostSpeech     = 500
	promptOverhead = 512
)

func planSpeech(x *Exchange) *apiError {
	m := &x.peek.Media
	switch {
	case x.priced(usage.Characters):
		x.input.Bound = price.Bound{Characters: m.Characters}
		x.planOf(usage.Characters, m.Characters, m.Characters)
		return nil
	case !x.priced(usage.Input, usage.AudioOut):
		return x.errPrice()
	}
	b := price.Bound{InputTokens: m.Words + promptOverhead, OutputTokens: ((m.Characters+m.Wide)*mostCharacter + mostSpeech) * m.Slow}
	if n := x.model.MaxOutput; n > 0 {
		b.OutputTokens = min(b.OutputTokens, n)
	}
	guess := usage.Units{}
	guess[usage.Input] = x.model.Family.TokensOfBytes(m.Words)
	seconds := (m.Characters+narrowASecond-1)/narrowASecond + m.Wide/wideASecond
	guess[usage.AudioOut] = min(seconds*m.Slow*soundTokens, b.OutputTokens)
	x.planTokens(b, guess)
	return nil
}

// spoken betters the guess by the sound that has passed: exactly where its size tells how
// long it lasts, else as far as it may be less than the whole.
func spoken(x *Exchange) {
	if x.plan.By != usage.Input {
		return
	}
	guess, n := &x.plan.Guess[usage.AudioOut], x.media.take(&medias).Sound()
	most := x.plan.Most[usage.Output]
	switch string(x.peek.Media.Format) {
	case "pcm", "wav": // 24,000 samples of two bytes
		*guess = min((n*soundTokens+47_999)/48_000, most)
	case "opus":
		*guess = min(*guess, (n*soundTokens+1_499)/1_500)
	default:
		*guess = min(*guess, (n*soundTokens+2_999)/3_000)
	}
}
