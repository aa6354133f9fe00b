// Package usage holds what a request consumed: disjoint unit counts per price
// class, how they are read from what each provider reports, and the record of one
// finished request.
package usage

// Class is one price class. Unit counts are disjoint over classes: a cached
// input token is counted in CacheRead and not in Input, a reasoning token that a
// provider bills inside its output is counted in Output and not in Reasoning.
type Class uint8

// The price classes, in the order in which they are stored. The order is part
// of the journal format and of the usage table: append, never insert.
const (
	Input        Class = iota // uncached text input tokens
	CacheRead                 // input tokens read from a provider's prompt cache
	CacheWrite                // input tokens written to a prompt cache (5 min or implicit)
	CacheWrite1h              // input tokens written to a prompt cache for 1 h
	Output                    // output tokens, hidden reasoning inside unless Reasoning is priced apart
	Reasoning                 // reasoning tokens of models that bill them apart from Output
	AudioIn                   // audio input tokens
	AudioOut                  // audio output tokens
	ImageIn                   // image input tokens
	ImageOut                  // image output tokens
	Characters                // characters of text to speech
	Seconds                   // seconds of audio
	Images                    // images made
	Searches                  // server-side searches
	Request                   // the request itself
	NumClasses
)

// Units counts consumed units by class; never negative.
type Units [NumClasses]int64

// Source says where the units of a record come from.
type Source uint8

// The sources of units.
const (
	SourceNone      Source = iota // nothing was consumed or billed
	SourceReported                // the provider's own final usage
	SourcePartial                 // the provider's usage for a part (for example input), the rest counted here
	SourceEstimated               // counted here from bytes
	SourceCache                   // an earlier answer was given again
)
