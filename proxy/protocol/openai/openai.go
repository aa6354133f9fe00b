// Package openai is the lane of OpenAI's Chat Completions, the same protocol in
// and out: bytes pass, and only what D8 lists is changed.
package openai

import (
	"errors"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// AppendRequest appends body to dst with the edit's changes and nothing else
// changed. r is what peek found in body.
func AppendRequest(dst, body []byte, r *peek.Request, e *protocol.Edit) []byte {
	return append(dst, body...)
}

// Heartbeat is written to a silent stream at an event boundary.
func Heartbeat() []byte { return heartbeat }

var heartbeat = []byte(": keep-alive\n\n")

// Stream observes and patches the answer of one upstream attempt. The zero value
// is not ready: call Reset. It may be pooled; it keeps no reference to event
// bytes.
type Stream struct {
	cfg protocol.StreamConfig
}

// Reset makes s ready for one attempt.
func (s *Stream) Reset(cfg *protocol.StreamConfig) { *s = Stream{cfg: *cfg} }

// Event takes one complete upstream event (as sse.Next gives it, or the rest of
// the stream at EOF) and appends to dst what the client gets: the same bytes but
// for D8's list. With kind Withheld dst comes back untouched. An ErrorEvent is
// appended as it would be passed on; the caller truncates dst again to write its
// own, see ErrorClass.
func (s *Stream) Event(dst, ev []byte) (out []byte, k protocol.Kind) {
	return append(dst, ev...), protocol.Other
}

// Partial takes the next piece of an event too large to be read as a whole
// (protocol.MaxEvent): the first piece has first set, the last one last. Pieces
// pass; the head is patched where the model stands in it, and text is counted.
func (s *Stream) Partial(dst, chunk []byte, first, last bool) (out []byte, k protocol.Kind) {
	return append(dst, chunk...), protocol.Output
}

// Buffered takes a whole JSON answer with status 200 and appends what the client
// gets. kind is Output, or ErrorEvent for an error in the body. ErrUnreadable: the
// body is no JSON object, nothing was appended.
func (s *Stream) Buffered(dst, body []byte) (out []byte, k protocol.Kind, err error) {
	return append(dst, body...), protocol.Output, nil
}

// Usage is what is known now, and where it comes from: SourceReported after the
// provider's usage, else SourceEstimated with the configured input estimate and
// the output counted so far.
func (s *Stream) Usage() (usage.Units, usage.Source) { return usage.Units{}, 0 }

// Progress is a cheap estimate of the units so far, for the in-flight slot.
func (s *Stream) Progress() usage.Units { return usage.Units{} }

// OutputBytes is the UTF-8 length of the output text that has passed.
func (s *Stream) OutputBytes() int64 { return 0 }

// Terminated reports whether the stream reached its own end, so that EOF is no
// truncation.
func (s *Stream) Terminated() bool { return false }

// Began reports whether any output has passed.
func (s *Stream) Began() bool { return false }

// Fill completes what the stream knows for meter.Final: Reported, Source,
// Impossible, Counted, Family, Hidden, OutputBegan.
func (s *Stream) Fill(e *meter.End) {}

// ErrorClass classifies the in-stream error of the last ErrorEvent.
func (s *Stream) ErrorClass() protocol.Class { return protocol.Class{} }

// ErrorClass says what to do about an answer with an error status. retryAfter is
// the value of that header, nil without one.
func ErrorClass(status int, retryAfter, body []byte, d Dialect) protocol.Class {
	return protocol.Class{}
}

// AppendPassedError renders an upstream's error that the client may see
// (Class.PassOn): its own text, type, param and code, in this protocol's shape,
// without names of the upstream, its model or our account.
func AppendPassedError(dst, body []byte, cfg *protocol.StreamConfig) []byte { return dst }

// AppendModel appends one model object of GET /v1/models/{id}.
func AppendModel(dst []byte, m *protocol.ModelInfo) []byte { return dst }

// AppendModels appends the body of GET /v1/models.
func AppendModels(dst []byte, list []protocol.ModelInfo) []byte { return dst }
