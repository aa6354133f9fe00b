package meter

import (
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// End is what is known when a request is over. The stream fills in the first part
// (Fill of the formats' Streams), admission knows the second.
type End struct {
	Reported    usage.Units  // the provider's figures as far as they go
	Source      usage.Source // what of them is the provider's own
	Impossible  bool         // a figure came that can be no count (negative, fraction, text, too large, shrinking)
	Counted     Count        // output text that passed
	Family      Family       // of the model that answered
	Hidden      bool         // output may be larger than what passed: reasoning, audio, tools of the provider
	OutputBegan bool         // something was produced

	InputEstimate int64 // tokens, see EstimateInput
	InputBound    int64 // the most input the request can have (peek.Request.Bound, summed), 0 = unknown
	Context       int64 // the model's window in tokens, 0 = unknown
	OutputCap     int64 // per choice: the cap sent, or the model's; 0 = unknown
	Choices       int64 // 0 counts as 1

	// Most are the most units that are no tokens (searches, images, seconds,
	// characters) that the request allows; 0 = it sets no limit for the class.
	Most usage.Units
	Free bool // nothing is billed for such a request, not even the request itself
}

// slack is what a choice may cost in tokens that are no text: the frames of
// messages and of tool calls.
const slack = 256

// largestWindow stands for a model's window where it is not known.
const largestWindow = 2 << 20

// maxSearches bounds what a provider may claim to have searched in one request that
// set no limit itself.
const maxSearches = 1000

// Final decides the units of a finished request, where they come from, and the
// flags they earn.
//
// The provider's figures are taken where they are possible: whole counts, input
// within the model's window, output within the cap and, unless output may be
// hidden, no more tokens than bytes have passed (C9). Input beyond the request's
// bound but within the window is plausible (the provider may add to it), and hidden
// output may exceed the cap up to twice (some providers count reasoning beside it):
// what the hold does not cover is the house's then (C10). What is impossible is replaced by our own count
// and flagged. Without the provider's figures the input is estimated from bytes and
// the output counted (C8); before the first output such an end costs nothing.
//
// The request itself is one unit wherever something is billed: its fee is owed for an
// answer, never for an attempt, nor for an answer in which nothing was consumed.
func Final(e *End) (units usage.Units, source usage.Source, flags usage.Flags) {
	units, source, flags = tokens(e)
	if source == usage.SourceNone || e.Free {
		return units, source, flags
	}
	for _, c := range limited {
		if most := e.Most[c]; most > 0 && units[c] > most {
			units[c] = most
			flags |= usage.FlagUsageSuspect
		}
	}
	units[usage.Request] = 1
	return units, source, flags
}

// limited are the classes that count no tokens and have a limit in the request.
var limited = [...]usage.Class{usage.Searches, usage.Images, usage.Seconds, usage.Characters}

// tokens is Final without the request's own unit and the request's limits.
func tokens(e *End) (units usage.Units, source usage.Source, flags usage.Flags) {
	choices := max(1, e.Choices)
	outputMost := e.OutputCap * choices
	counted := e.Family.Tokens(&e.Counted)
	if outputMost > 0 {
		counted = min(counted, outputMost)
	}
	estimate := e.InputEstimate
	if e.InputBound > 0 {
		estimate = min(estimate, e.InputBound)
	}
	switch e.Source {
	case usage.SourceReported, usage.SourcePartial:
	default:
		if !e.OutputBegan {
			return usage.Units{}, usage.SourceNone, suspect(e.Impossible)
		}
		units[usage.Input], units[usage.Output] = estimate, counted
		units[usage.Searches] = min(e.Reported[usage.Searches], maxSearches)
		return units, usage.SourceEstimated, suspect(e.Impossible)
	}
	units, source = e.Reported, e.Source
	input, output := sides(&units)
	window := e.Context
	if window <= 0 {
		window = largestWindow
	}
	badInput := input > max(window, e.InputBound) || input == 0 && estimate > 0
	if source == usage.SourcePartial {
		if !e.OutputBegan {
			return usage.Units{}, usage.SourceNone, suspect(e.Impossible)
		}
		setOutput(&units, counted)
		if badInput {
			setInput(&units, estimate)
			return units, usage.SourceEstimated, usage.FlagUsageSuspect
		}
		return units, source, suspect(e.Impossible)
	}
	badOutput := e.Impossible || output == 0 && counted > 0
	if outputMost > 0 && output > outputMost {
		badOutput = badOutput || !e.Hidden || output > 2*outputMost+slack
	}
	if !e.Hidden && output > e.Counted.Bytes()+slack*choices {
		badOutput = true
	}
	if units[usage.Searches] > maxSearches {
		units[usage.Searches] = 0
		flags |= usage.FlagUsageSuspect
	}
	if badOutput {
		setOutput(&units, counted)
		source = usage.SourcePartial
	}
	if badInput {
		setInput(&units, estimate)
		source = usage.SourcePartial
		if badOutput {
			source = usage.SourceEstimated
		}
	}
	return units, source, flags | suspect(badInput || badOutput)
}

func suspect(yes bool) usage.Flags {
	if yes {
		return usage.FlagUsageSuspect
	}
	return 0
}

// inputTokens and outputTokens are the classes that count tokens.
var (
	inputTokens  = [...]usage.Class{usage.Input, usage.CacheRead, usage.CacheWrite, usage.CacheWrite1h, usage.AudioIn, usage.ImageIn}
	outputTokens = [...]usage.Class{usage.Output, usage.Reasoning, usage.AudioOut, usage.ImageOut}
)

// sides sums the token classes of each side.
func sides(u *usage.Units) (input, output int64) {
	for _, c := range inputTokens {
		input += u[c]
	}
	for _, c := range outputTokens {
		output += u[c]
	}
	return input, output
}

func setInput(u *usage.Units, n int64) {
	for _, c := range inputTokens {
		u[c] = 0
	}
	u[usage.Input] = n
}

func setOutput(u *usage.Units, n int64) {
	for _, c := range outputTokens {
		u[c] = 0
	}
	u[usage.Output] = n
}

// What media are estimated at, in tokens: one image of medium size, and base64
// bytes of audio per token (128 kbit/s at 10 tokens a second).
const (
	perImage           = 1_000
	audioBytesPerToken = 2_000
)

// A body is not only text. What stands around the text of an ordinary request, in
// bytes: its members' names and values but for the model's, and of each message what
// its JSON takes beyond the four tokens or so that providers count for one.
const (
	aroundRequest = 60
	aroundMessage = 16

	// A request that is only counted has neither caps nor a stream.
	aroundCount = 26

	// In Gemini's form the model stands in the path, and messages in more brackets.
	aroundGemini        = 14
	aroundGeminiMessage = 34
)

// EstimateInput estimates a request's input tokens from its bytes: rough, on the low
// side, at least one, and never used where the provider reports.
func EstimateInput(f Family, r *peek.Request) int64 {
	text := r.TextBytes - aroundRequest - int64(len(r.Model)) - aroundMessage*int64(r.Messages)
	if r.Shape == peek.GeminiGenerate || r.Shape == peek.GeminiCount {
		text = r.TextBytes - aroundGemini - aroundGeminiMessage*int64(r.Messages)
	}
	if r.Shape == peek.AnthropicCount || r.Shape == peek.ResponsesCount {
		text += aroundRequest - aroundCount
	}
	return f.TokensOfBytes(max(text, 1)) + int64(r.Images)*perImage + r.AudioBytes/audioBytesPerToken
}
