package gemini

import (
	"encoding/base64"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// AnswerEncoder writes an answer of the common form as Gemini: events, or elements of
// one array. A function call is one part there: its pieces are held until it is whole.
// The zero value is ready after Reset.
type AnswerEncoder struct {
	c        chat.Config
	calls    []pending
	next     int // the first call that is not written
	held     int // bytes of held arguments
	noted    int // citations so far
	notes    []byte
	refused  bool
	finished bool
	reason   chat.Reason

	parts, plain []byte
	probable     probabilities
}

var _ chat.Encoder = (*AnswerEncoder)(nil)

// pending is a call on its way out.
type pending struct {
	id, name, args []byte
	seen           chat.Args
}

// maxHeld bounds what is held of calls, in bytes.
const maxHeld = 4 << 20

// Reset makes e ready for one answer.
func (e *AnswerEncoder) Reset(c *chat.Config) {
	*e = AnswerEncoder{c: *c, calls: e.calls[:0], notes: e.notes[:0], parts: e.parts[:0], plain: e.plain[:0], probable: probabilities{e.probable.chosen[:0], e.probable.top[:0]}}
}

// Overflow reports that too much had to be held.
func (e *AnswerEncoder) Overflow() bool { return e.held > maxHeld }

// Events appends what a run of events is on the wire: one event for all parts of it.
func (e *AnswerEncoder) Events(dst []byte, list []chat.Event) []byte {
	e.parts = e.parts[:0]
	for i := range list {
		e.event(&list[i])
	}
	if len(e.parts) == 0 {
		return dst
	}
	dst = e.open(dst)
	dst = append(dst, `{"candidates":[{"content":{"parts":[`...)
	dst = append(dst, e.parts...)
	dst = append(dst, `],"role":"model"},"index":`...)
	dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
	dst = append(e.probable.take(dst), "}]"...)
	return e.shut(dst)
}

// open begins an event or an element.
func (e *AnswerEncoder) open(dst []byte) []byte {
	if e.c.Array {
		dst = AppendSeparator(dst, *e.c.Written)
		*e.c.Written++
		return dst
	}
	return append(dst, "data: "...)
}

// shut ends it, with the members that all have.
func (e *AnswerEncoder) shut(dst []byte) []byte {
	dst = e.tail(dst)
	if e.c.Array {
		return dst
	}
	return append(dst, "\r\n\r\n"...)
}

func (e *AnswerEncoder) tail(dst []byte) []byte {
	dst = append(dst, `,"modelVersion":`...)
	dst = protocol.AppendString(dst, e.c.Model)
	dst = append(dst, `,"responseId":"`...)
	dst = append(dst, e.c.ID...)
	return append(dst, `"}`...)
}

// part begins a part.
func (e *AnswerEncoder) part() {
	if len(e.parts) > 0 {
		e.parts = append(e.parts, ',')
	}
}

func (e *AnswerEncoder) event(v *chat.Event) {
	if e.finished {
		return
	}
	switch v.Kind {
	case chat.Text, chat.Refusal:
		e.refused = e.refused || v.Kind == chat.Refusal
		e.flush(true)
		e.part()
		e.parts = append(e.parts, `{"text":`...)
		e.parts = chat.AppendText(e.parts, v.Text)
		e.parts = append(e.parts, '}')
	case chat.Thinking:
		e.flush(true)
		e.part()
		e.parts = append(e.parts, `{"text":`...)
		e.parts = chat.AppendText(e.parts, v.Text)
		e.parts = append(e.parts, `,"thought":true}`...)
	case chat.Signature:
		e.proof(anthropicProof, v)
	case chat.Redacted:
		e.proof(anthropicRedacted, v)
	case chat.CallStart, chat.CallArgs:
		e.call(v)
	case chat.Logprobs:
		e.probable.add(v.Text)
	case chat.Citation:
		if e.noted++; e.noted > 1 {
			e.notes = append(e.notes, ',')
		}
		e.notes = append(e.notes, `{"web":{"uri":`...)
		e.notes = chat.AppendText(e.notes, v.URL)
		e.notes = append(e.notes, `,"title":`...)
		e.notes = chat.AppendText(e.notes, v.Title)
		e.notes = append(e.notes, "}}"...)
	case chat.Block:
		e.flush(false)
	case chat.Finish:
		e.flush(true)
		e.finished, e.reason = true, v.Reason
	}
}

// proof writes what another provider signed as a thought of its own, in base64: what
// Gemini's SDKs take a signature for.
func (e *AnswerEncoder) proof(mark []byte, v *chat.Event) {
	if v.Signer != chat.Anthropic {
		return
	}
	e.flush(true)
	e.plain = append(append(e.plain[:0], mark...), v.Text...)
	e.part()
	e.parts = append(e.parts, `{"text":"","thought":true,"thoughtSignature":"`...)
	e.parts = base64.StdEncoding.AppendEncode(e.parts, e.plain)
	e.parts = append(e.parts, `"}`...)
}

// call takes a piece of a call.
func (e *AnswerEncoder) call(v *chat.Event) {
	for v.Call >= len(e.calls) {
		if cap(e.calls) > len(e.calls) { // keep the memory of earlier answers
			e.calls = e.calls[:len(e.calls)+1]
			p := &e.calls[len(e.calls)-1]
			*p = pending{id: p.id[:0], name: p.name[:0], args: p.args[:0]}
		} else {
			e.calls = append(e.calls, pending{})
		}
	}
	if v.Call < e.next || e.Overflow() {
		return
	}
	p := &e.calls[v.Call]
	if v.Kind == chat.CallArgs {
		e.held += len(v.Text)
		p.args = append(p.args, v.Text...)
		p.seen.Feed(v.Text)
		return
	}
	if len(p.id) == 0 {
		p.id = append(p.id, v.ID...)
	}
	if len(p.name) == 0 {
		p.name = append(p.name, v.Name...)
	}
}

// flush writes calls in their order: those that are whole, or all.
func (e *AnswerEncoder) flush(all bool) {
	for ; e.next < len(e.calls); e.next++ {
		p := &e.calls[e.next]
		if !all && !p.seen.Complete() {
			return
		}
		if len(p.name) > 0 {
			e.part()
			e.parts = append(e.parts, `{"functionCall":{"id":`...)
			e.parts = e.callID(e.parts, p)
			e.parts = append(e.parts, `,"name":`...)
			e.parts = chat.AppendText(e.parts, p.name)
			e.parts = append(e.parts, `,"args":`...)
			e.parts = e.args(e.parts, p.args)
			e.parts = append(e.parts, "}}"...)
		}
		e.held -= len(p.args)
		p.args = p.args[:0]
	}
}

func (e *AnswerEncoder) callID(dst []byte, p *pending) []byte {
	if len(p.id) > 0 {
		return chat.AppendText(dst, p.id)
	}
	dst = append(dst, `"call_`...)
	dst = append(dst, e.c.ID...)
	dst = append(dst, '_')
	if e.c.Choice > 0 {
		dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
		dst = append(dst, '_')
	}
	dst = strconv.AppendInt(dst, int64(e.next), 10)
	return append(dst, '"')
}

// args appends arguments as an object. Arguments that are none, cut short by the output
// cap for instance, stand in one member as they came.
func (e *AnswerEncoder) args(dst, raw []byte) []byte {
	if chat.Blank(raw) {
		return append(dst, "{}"...)
	}
	e.plain = chat.Unescape(e.plain[:0], raw)
	if i := walk.Space(e.plain, 0); i < len(e.plain) && e.plain[i] == '{' && chat.Valid(e.plain) {
		for _, c := range e.plain {
			if c == '\n' || c == '\r' { // between tokens; an event is one line
				return appendOneLine(dst, e.plain)
			}
		}
		return append(dst, e.plain...)
	}
	dst = append(dst, `{"INVALID_JSON":`...)
	dst = chat.AppendText(dst, raw)
	return append(dst, '}')
}

func appendOneLine(dst, v []byte) []byte {
	for _, c := range v {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}

// finishReason is the reason for the end.
func (e *AnswerEncoder) finishReason() string {
	switch {
	case e.refused || e.reason == chat.Filtered:
		return "SAFETY"
	case e.reason == chat.Length:
		return "MAX_TOKENS"
	}
	return "STOP" // a call has no reason of its own
}

// ending appends the members of a candidate behind its content.
func (e *AnswerEncoder) ending(dst []byte) []byte {
	dst = append(dst, `,"finishReason":"`...)
	dst = append(dst, e.finishReason()...)
	dst = append(dst, `","index":`...)
	dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
	dst = e.probable.take(dst)
	if len(e.notes) > 0 {
		dst = append(dst, `,"groundingMetadata":{"groundingChunks":[`...)
		dst = append(dst, e.notes...)
		dst = append(dst, "]}"...)
	}
	return append(dst, '}')
}

// End appends the last event, with the reason for the end and the usage, and closes the
// array.
func (e *AnswerEncoder) End(dst []byte, t *chat.Total) []byte {
	e.parts = e.parts[:0]
	e.event(&chat.Event{Kind: chat.Finish})
	if len(e.parts) == 0 {
		e.parts = append(e.parts, `{"text":""}`...)
	}
	dst = e.open(dst)
	dst = append(dst, `{"candidates":[{"content":{"parts":[`...)
	dst = append(dst, e.parts...)
	dst = append(dst, `],"role":"model"}`...)
	dst = e.ending(dst)
	dst = append(dst, `],"usageMetadata":`...)
	dst = AppendUsage(dst, t)
	dst = e.shut(dst)
	if e.c.Array && e.c.Last() {
		dst = append(dst, ArrayEnd...)
	}
	return dst
}

// AppendUsage appends a usageMetadata object: the prompt holds what the cache gave and
// took, thoughts stand beside the candidates (protocols 12.8).
func AppendUsage(dst []byte, t *chat.Total) []byte {
	prompt := t.Input + t.CacheRead + t.CacheWrite5m + t.CacheWrite1h + t.AudioIn
	output := t.Output + t.AudioOut
	thoughts := min(t.Reasoning, output)
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`{"promptTokenCount":`, prompt)
	if t.CacheRead > 0 {
		number(`,"cachedContentTokenCount":`, t.CacheRead)
	}
	number(`,"candidatesTokenCount":`, output-thoughts)
	if thoughts > 0 {
		number(`,"thoughtsTokenCount":`, thoughts)
	}
	number(`,"totalTokenCount":`, prompt+output)
	return append(dst, '}')
}

// Whole appends a whole answer. Texts that follow each other are one part.
func (e *AnswerEncoder) Whole(dst []byte, list []chat.Event, t *chat.Total) []byte {
	e.parts = e.parts[:0]
	for i := range list {
		v := &list[i]
		if i > 0 && v.Kind == list[i-1].Kind && (v.Kind == chat.Text || v.Kind == chat.Thinking) {
			end := `"}`
			if v.Kind == chat.Thinking {
				end = `","thought":true}`
			}
			e.parts = chat.AppendInner(e.parts[:len(e.parts)-len(end)], v.Text)
			e.parts = append(e.parts, end...)
			continue
		}
		e.event(v)
	}
	e.event(&chat.Event{Kind: chat.Finish})
	if e.c.Choice == 0 {
		dst = append(dst, `{"candidates":[`...)
	} else {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"content":{"parts":[`...)
	dst = append(dst, e.parts...)
	dst = append(dst, `],"role":"model"}`...)
	dst = e.ending(dst)
	if !e.c.Last() {
		return dst
	}
	dst = append(dst, `],"usageMetadata":`...)
	dst = AppendUsage(dst, t)
	return e.tail(dst)
}
