package relay

import (
	"bytes"
	"strings"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/media"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// What stands here is common to the endpoints beside the conversations: speech, transcripts,
// pictures, judgements, ranks and embeddings of Gemini's form. What they consume is counted
// by what their model's price counts (meter.Plan).

// priced reports whether the model's price counts each of the classes.
func (x *Exchange) priced(classes ...usage.Class) bool {
	for _, c := range classes {
		if !x.rule.Version.Base.Priced(c) {
			return false
		}
	}
	return true
}

// errPrice is the refusal of a model whose price counts nothing that the endpoint consumes.
func (x *Exchange) errPrice() *apiError { return apierr.UnknownModel(strings.Clone(x.asked)) }

// planTokens makes the plan of a request that is billed by tokens: bound is the most that it
// can consume, guess what it is charged if its provider does not say.
func (x *Exchange) planTokens(bound price.Bound, guess usage.Units) {
	x.input.Bound = bound
	x.plan = meter.Plan{By: usage.Input, Guess: guess}
	x.plan.Most[usage.Input] = bound.InputTokens + bound.AudioTokens + bound.ImageTokens
	x.plan.Most[usage.Output] = bound.OutputTokens
}

// planOf makes the plan of a request that is billed by units of one class.
func (x *Exchange) planOf(c usage.Class, guess, most int64) {
	x.plan = meter.Plan{By: c}
	x.plan.Guess[c], x.plan.Most[c] = guess, most
}

// consumed decides what the request consumed.
func (x *Exchange) consumed() (usage.Units, usage.Source, usage.Flags) {
	if x.lane.free {
		return usage.Units{}, usage.SourceNone, 0
	}
	if x.lane.plan == nil {
		x.answer.Fill(&x.end)
		return meter.Final(&x.end)
	}
	if x.lane.passed != nil {
		x.lane.passed(x)
	}
	m := x.media.take(&medias)
	notes := m.Notes()
	r := meter.Report{Impossible: notes.Impossible, Seconds: notes.AudioSeconds, Images: m.Pictures(), Began: m.Began()}
	if u, source := m.Usage(); source == usage.SourceReported {
		r.Units, r.Source = u, source
	}
	u, source, flags := x.plan.Final(&r)
	if source != usage.SourceNone {
		u[usage.Request] = 1 // the fee for an answer, as of conversations
	}
	return u, source, flags
}

// mediaAnswer sets up the reading of an answer in one form.
func (x *Exchange) mediaAnswer(form usage.Form) answerStream {
	x.media.take(&medias).Form(form, x.plain, &x.plan.Guess)
	return x.media.take(&medias)
}

// remade is the answer of an upstream of another form, made anew once it is whole.
type remade struct {
	*media.Stream
	again func(dst, body []byte) ([]byte, bool) // false: it cannot be read
	buf   []byte
}

// Buffered takes a whole answer and appends it in the customer's form.
func (r *remade) Buffered(dst, body []byte) ([]byte, protocol.Kind, error) {
	out, k, err := r.Stream.Buffered(r.buf[:0], body)
	r.buf = bound(out)
	if err != nil || k == protocol.ErrorEvent {
		return append(dst, out...), k, err
	}
	dst, ok := r.again(dst, body)
	if !ok {
		return dst, protocol.Other, media.ErrUnreadable
	}
	return dst, k, nil
}

// mediaRequest is the customer's body with the upstream's model in it.
func mediaRequest(dst []byte, x *Exchange) []byte {
	s := [1]protocol.Splice{{Start: x.peek.ModelSpan.Start, End: x.peek.ModelSpan.End, Quoted: x.edit.Model}}
	if !x.peek.ModelSpan.Present() {
		at := bytes.IndexByte(x.body, '{') + 1 // something follows: not all fields may be left out
		s[0] = protocol.Splice{Start: at, End: at, Text: `"model":`, Quoted: x.edit.Model, Tail: ","}
	}
	return protocol.AppendSplices(dst, x.body, s[:])
}

// scanForm reads a body that is a form.
func scanForm(x *Exchange) *apiError {
	shape := x.lane.shape
	boundary, err := peek.ScanForm(x.body, x.ctx.Request.Header.ContentType(), shape, &x.peek)
	x.boundary = boundary
	return err
}

// splitForm ends the head of a form's request: the body's bytes are sent from where they
// stand, but for the model's name.
func (x *Exchange) splitForm(head []byte, bodyAt int) []byte {
	at := x.peek.ModelSpan
	x.parts = [3][]byte{x.body[:at.Start], []byte(x.edit.Model), x.body[at.End:]}
	upstream.SetLength(head, bodyAt, len(x.parts[0])+len(x.parts[1])+len(x.parts[2]))
	return head
}

// plainAnswer reports whether the answer at hand can be what was asked for: sound, not a
// page or an object that some front end answers with.
func (x *Exchange) plainAnswer() bool {
	t := x.call.Head.ContentType
	return !bytes.HasPrefix(t, []byte("application/json")) && !bytes.HasPrefix(t, []byte("text/html"))
}

// plainType is the media type of an answer that is neither JSON nor events: what the
// upstream says, where it is sound or text, else what was asked for.
func (x *Exchange) plainType() []byte {
	t, _, _ := bytes.Cut(x.call.Head.ContentType, []byte(";"))
	t = bytes.TrimSpace(t)
	if len(t) < 64 && (bytes.HasPrefix(t, []byte("audio/")) || x.lane.shape == peek.OpenAITranscription && bytes.HasPrefix(t, []byte("text/"))) {
		return t
	}
	if x.lane.shape == peek.OpenAITranscription {
		return typeText
	}
	switch string(x.peek.Media.Format) {
	case "", "mp3":
		return typeMPEG
	case "wav":
		return typeWAV
	}
	return typeBytes
}

var (
	typeText  = []byte("text/plain; charset=utf-8")
	typeMPEG  = []byte("audio/mpeg")
	typeWAV   = []byte("audio/wav")
	typeBytes = []byte("application/octet-stream")
)
