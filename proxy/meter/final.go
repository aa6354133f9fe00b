package meter

import "tokenrelay/shared/usage"

// End is what is known when a request is over.
type End struct {
	Reported usage.Units  // the provider's figures as far as they go (Stream.Usage)
	Source   usage.Source // what of them is the provider's own

	// Impossible says that the provider sent a figure that can be no count (negative,
	// fraction, text, shrinking).
	Impossible bool

	Counted Count  // output text that passed
	Family  Family // of the model that answered
	Hidden  bool   // output may be larger than what passed: reasoning, audio, server tools

	InputEstimate int64 // tokens, by bytes and family ratio
	InputBound    int64 // the most input the request can have, 0 = unknown
	Context       int64 // model's window, 0 = unknown
	ServerTools   bool  // the provider may feed the model more input than the client sent
	OutputCap     int64 // per choice: the cap sent, or the model's; 0 = unknown
	Choices       int64

	OutputBegan bool // something was produced; without it an unreported end costs nothing
}

// Final decides the units of a finished request, where they come from, and the
// flags they earn.
func Final(e *End) (units usage.Units, source usage.Source, flags usage.Flags) {
	return e.Reported, e.Source, 0
}
