// Package observe is what the observers of answers share whose bytes never pass to a
// client: those of protocols that are spoken by upstreams only.
package observe

import (
	"errors"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/usage"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// Answer is what is known of one answer so far. The format's own observer embeds it,
// reads the events and sets the fields.
type Answer struct {
	Config protocol.StreamConfig
	Count  meter.Count  // output that has come
	Reader usage.Reader // of the provider's usage
	Class  protocol.Class

	Output   bool // some has come
	Hidden   bool // more may be billed than comes
	Finished bool // the answer reached its own end
	Whole    bool // it came as a whole

	lex meter.Lexer // of an event that comes in pieces
}

// Begin makes a ready for one answer whose usage has the form.
func (a *Answer) Begin(cfg *protocol.StreamConfig, form usage.Form) {
	*a = Answer{Config: *cfg}
	a.Reader.Reset(form)
}

// Text counts an escaped text of the model, and reports whether there is any.
func (a *Answer) Text(raw []byte) bool {
	a.Count.AddJSON(raw)
	a.Output = a.Output || len(raw) > 0
	return len(raw) > 0
}

// Call counts a tool call by its name.
func (a *Answer) Call(name []byte) {
	if len(name) > 0 {
		a.Count.Calls++
		a.Count.AddJSON(name)
	}
	a.Output = true
}

// Fail notes an error inside the stream.
func (a *Answer) Fail(c protocol.Class) protocol.Kind {
	a.Class = c
	return protocol.ErrorEvent
}

// Broken notes an event that cannot be read: an upstream that sends such cannot be
// translated any further.
func (a *Answer) Broken() protocol.Kind {
	return a.Fail(protocol.Class{Fault: protocol.FaultServer, Failover: true})
}

// Kind is what an event is that is neither an error nor the stream's own end: before
// the first output it is a preamble.
func (a *Answer) Kind() protocol.Kind {
	if a.Output {
		return protocol.Output
	}
	return protocol.Preamble
}

// Partial counts a piece of an event that is too large to be read as a whole. Nothing
// of it passes.
func (a *Answer) Partial(dst, chunk []byte, first, _ bool) ([]byte, protocol.Kind) {
	if first {
		a.lex = meter.Lexer{}
	}
	a.Output, a.Hidden = true, true
	a.lex.Count(&a.Count, chunk)
	return dst, protocol.Output
}

// Usage is what is known now and where it comes from: SourceReported after the
// provider's usage, else SourceEstimated.
func (a *Answer) Usage() (usage.Units, usage.Source) {
	if u, source := a.Reader.Units(); source != usage.SourceNone {
		return u, source
	}
	return a.Progress(), usage.SourceEstimated
}

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (a *Answer) Progress() (u usage.Units) {
	if u, source := a.Reader.Units(); source != usage.SourceNone {
		return u
	}
	u[usage.Input] = a.Config.InputEstimate
	u[usage.Output] = a.Config.Family.Tokens(&a.Count)
	return u
}

// Reasoning is the number of tokens of thought that the provider reported, for
// information: they are inside the output.
func (a *Answer) Reasoning() int64 { return a.Reader.Notes().Reasoning }

// Terminated reports whether the answer reached its own end, so that EOF is no
// truncation (C6).
func (a *Answer) Terminated() bool { return a.Finished || a.Whole }

// Began reports whether any output has come.
func (a *Answer) Began() bool { return a.Output }

// Fill completes what is known for meter.Final.
func (a *Answer) Fill(e *meter.End) {
	e.Reported, e.Source = a.Usage()
	e.Impossible, e.Counted, e.Family = a.Reader.Notes().Impossible, a.Count, a.Config.Family
	e.Hidden, e.OutputBegan = a.Hidden || a.Reasoning() > 0, a.Output
}

// ErrorClass classifies the error of the last ErrorEvent.
func (a *Answer) ErrorClass() protocol.Class { return a.Class }
