package responses

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
)

// AnswerEncoder writes an answer of the common form as Responses: items one beside
// another, each told from its beginning to its end, and at last all of them. What was
// told is kept for that, within a limit. The zero value is ready after Reset.
type AnswerEncoder struct {
	c      chat.Config
	echo   []byte
	number int  // of the next event
	mute   bool // a whole answer: items are made, and no events
	began  bool

	items []span // of the output, by their index
	made  []byte // the items that are complete
	held  int    // bytes of items that are not

	open    chat.EventKind // of the open item: Text, Thinking; Block = none
	index   int            // of that item
	part    chat.EventKind // of the open part: Text or Refusal of a message, Thinking of a thought; Block = none
	parts   int            // parts of the message that are complete
	content []byte         // those parts
	text    []byte         // of the open part or thought
	sealed  []byte         // encrypted_content of the open thought
	notes   []byte         // annotations of the open part
	noted   int
	logs    []byte // probabilities of tokens of the open part
	fresh   int    // where those begin that no delta has told
	runes   int64  // characters of the open part
	cited   int64  // where the text that is cited began

	calls    []call
	finished bool
	reason   chat.Reason
}

var _ chat.Encoder = (*AnswerEncoder)(nil)

type span struct{ start, end int }

// call is a tool call on its way out.
type call struct {
	id, name []byte
	args     []byte
	told     int // bytes of args that deltas have told
	index    int // of its item, -1 = it has not begun
	done     bool
	seen     chat.Args
}

// maxHeld bounds what is kept of one answer, in bytes.
const maxHeld = 16 << 20

// Reset makes e ready for one answer.
func (e *AnswerEncoder) Reset(c *chat.Config) {
	*e = AnswerEncoder{
		c: *c, echo: append(e.echo[:0], c.Echo...), open: chat.Block, part: chat.Block,
		items: e.items[:0], made: e.made[:0], content: e.content[:0], text: e.text[:0], sealed: e.sealed[:0], notes: e.notes[:0], logs: e.logs[:0], calls: e.calls[:0],
	}
	if len(e.echo) == 0 {
		e.echo = appendEcho(e.echo, []byte("{}"))
	}
	e.c.Echo = nil
}

// Overflow reports that the answer is larger than what may be kept of it.
func (e *AnswerEncoder) Overflow() bool { return len(e.made)+e.held > maxHeld }

// Events appends what a run of events is on the wire.
func (e *AnswerEncoder) Events(dst []byte, list []chat.Event) []byte {
	for i := range list {
		dst = e.event(dst, &list[i])
	}
	return dst
}

// begin begins an event; its members follow, and shut.
func (e *AnswerEncoder) begin(dst []byte, kind string) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, kind...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	dst = append(dst, kind...)
	return append(dst, '"', ',')
}

// shut ends an event.
func (e *AnswerEncoder) shut(dst []byte) []byte {
	dst = append(dst, `,"sequence_number":`...)
	dst = strconv.AppendInt(dst, int64(e.number), 10)
	e.number++
	return append(dst, "}\n\n"...)
}

func number(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	return strconv.AppendInt(dst, n, 10)
}

// itemID appends the id of the item at an index.
func (e *AnswerEncoder) itemID(dst []byte, prefix string, index int) []byte {
	dst = append(dst, '"')
	dst = append(dst, prefix...)
	dst = append(dst, e.c.ID...)
	dst = number(dst, "_", int64(index))
	return append(dst, '"')
}

// at appends the members that say where an event belongs.
func (e *AnswerEncoder) at(dst []byte, prefix string, index int) []byte {
	dst = append(dst, `"item_id":`...)
	dst = e.itemID(dst, prefix, index)
	return number(dst, `,"output_index":`, int64(index))
}

const (
	messageID   = "msg_"
	reasoningID = "rs_"
	callID      = "fc_"
)

func (e *AnswerEncoder) event(dst []byte, v *chat.Event) []byte {
	if !e.began {
		e.began = true
		for _, kind := range [...]string{"response.created", "response.in_progress"} {
			if e.mute {
				break
			}
			dst = e.begin(dst, kind)
			dst = append(dst, `"response":`...)
			dst = e.response(dst, "in_progress", nil)
			dst = e.shut(dst)
		}
	}
	if e.finished {
		return dst
	}
	switch v.Kind {
	case chat.Text, chat.Refusal:
		dst = e.say(dst, v.Kind, v.Text)
	case chat.Thinking:
		dst = e.summarize(e.think(dst))
		dst = e.delta(dst, "response.reasoning_summary_text.delta", reasoningID, e.index, `,"summary_index":0`, v.Text)
		e.keep(&e.text, v.Text)
	case chat.Signature:
		dst = e.think(dst)
		e.seal(v, signed)
	case chat.Redacted:
		dst = e.leave(dst, false)
		dst = e.think(dst)
		e.seal(v, redacted)
		dst = e.leave(dst, false)
	case chat.Block:
		if e.open == chat.Thinking {
			dst = e.leave(dst, false)
		}
		e.cited = e.runes
	case chat.Citation:
		dst = e.cite(dst, v)
	case chat.Logprobs:
		n := len(e.logs)
		e.logs = chat.AppendProbabilities(e.logs, v.Text)
		e.held += len(e.logs) - n
	case chat.CallStart, chat.CallArgs:
		dst = e.call(dst, v)
	case chat.Finish:
		e.finished, e.reason = true, v.Reason
		dst = e.leave(dst, true)
		for i := range e.calls {
			dst = e.close(dst, i)
		}
	}
	return dst
}

// keep adds a text to one that is kept until its item is complete.
func (e *AnswerEncoder) keep(to *[]byte, s []byte) {
	if e.Overflow() {
		return
	}
	n := len(*to)
	*to = chat.AppendInner(*to, s)
	e.held += len(*to) - n
}

func (e *AnswerEncoder) seal(v *chat.Event, form string) {
	e.sealed = append(e.sealed[:0], v.Signer.String()...)
	e.sealed = append(append(e.sealed, ':'), form...)
	e.keep(&e.sealed, v.Text)
}

// delta appends a piece of a text.
func (e *AnswerEncoder) delta(dst []byte, kind, prefix string, index int, place string, s []byte) []byte {
	if e.mute {
		return dst
	}
	dst = e.begin(dst, kind)
	dst = e.at(dst, prefix, index)
	dst = append(dst, place...)
	dst = append(dst, `,"delta":`...)
	dst = chat.AppendText(dst, s)
	return e.shut(dst)
}

// add appends the beginning of an item and returns its index. tail are the members
// behind its id.
func (e *AnswerEncoder) add(dst []byte, prefix, tail string) ([]byte, int) {
	index := len(e.items)
	e.items = append(e.items, span{})
	if e.mute {
		return dst, index
	}
	dst = e.begin(dst, "response.output_item.added")
	dst = number(dst, `"output_index":`, int64(index))
	dst = append(dst, `,"item":{"id":`...)
	dst = e.itemID(dst, prefix, index)
	dst = append(dst, tail...)
	return e.shut(dst), index
}

// done appends the end of the item that made[from:] is.
func (e *AnswerEncoder) done(dst []byte, index, from int) []byte {
	e.items[index] = span{from, len(e.made)}
	if e.mute {
		return dst
	}
	dst = e.begin(dst, "response.output_item.done")
	dst = number(dst, `"output_index":`, int64(index))
	dst = append(dst, `,"item":`...)
	dst = append(dst, e.made[from:]...)
	return e.shut(dst)
}

// think sees that a thought is open.
func (e *AnswerEncoder) think(dst []byte) []byte {
	if e.open == chat.Thinking {
		return dst
	}
	dst = e.leave(dst, false)
	e.open = chat.Thinking
	dst, e.index = e.add(dst, reasoningID, `,"type":"reasoning","summary":[]}`)
	return dst
}

// summarize sees that the open thought has a part for its text.
func (e *AnswerEncoder) summarize(dst []byte) []byte {
	if e.part == chat.Thinking {
		return dst
	}
	e.part = chat.Thinking
	if e.mute {
		return dst
	}
	dst = e.begin(dst, "response.reasoning_summary_part.added")
	dst = e.at(dst, reasoningID, e.index)
	dst = append(dst, `,"summary_index":0,"part":{"type":"summary_text","text":""}`...)
	return e.shut(dst)
}

// say takes a piece of the message, its text or a refusal.
func (e *AnswerEncoder) say(dst []byte, kind chat.EventKind, s []byte) []byte {
	dst = e.message(dst, kind)
	e.runes += chat.Runes(s)
	e.keep(&e.text, s)
	if e.mute {
		return dst
	}
	if kind == chat.Text {
		dst = e.begin(dst, "response.output_text.delta")
	} else {
		dst = e.begin(dst, "response.refusal.delta")
	}
	dst = e.at(dst, messageID, e.index)
	dst = number(dst, `,"content_index":`, e.contentIndex())
	dst = append(dst, `,"delta":`...)
	dst = chat.AppendText(dst, s)
	if kind == chat.Text {
		dst = append(dst, `,"logprobs":[`...)
		dst = append(dst, bytes.TrimPrefix(e.logs[e.fresh:], []byte(","))...)
		dst = append(dst, ']')
		e.fresh = len(e.logs)
	}
	return e.shut(dst)
}

func (e *AnswerEncoder) contentIndex() int64 { return int64(e.parts) }

// message sees that a message is open, with a part of the kind.
func (e *AnswerEncoder) message(dst []byte, kind chat.EventKind) []byte {
	if e.open != chat.Text {
		dst = e.leave(dst, false)
		e.open, e.parts, e.content = chat.Text, 0, e.content[:0]
		dst, e.index = e.add(dst, messageID, `,"type":"message","status":"in_progress","role":"assistant","content":[]}`)
	}
	if e.part == kind {
		return dst
	}
	dst = e.endPart(dst)
	e.part = kind
	if e.mute {
		return dst
	}
	dst = e.begin(dst, "response.content_part.added")
	dst = e.at(dst, messageID, e.index)
	dst = number(dst, `,"content_index":`, e.contentIndex())
	if kind == chat.Text {
		dst = append(dst, `,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}`...)
	} else {
		dst = append(dst, `,"part":{"type":"refusal","refusal":""}`...)
	}
	return e.shut(dst)
}

// endPart ends the open part of the message.
func (e *AnswerEncoder) endPart(dst []byte) []byte {
	if e.part == chat.Block {
		return dst
	}
	if e.parts > 0 {
		e.content = append(e.content, ',')
	}
	from := len(e.content)
	kind, member := "response.output_text.done", `,"text":"`
	if e.part == chat.Text {
		e.content = append(e.content, `{"type":"output_text","text":"`...)
		e.content = append(e.content, e.text...)
		e.content = append(e.content, `","annotations":[`...)
		e.content = append(e.content, e.notes...)
		e.content = append(e.content, `],"logprobs":[`...)
		e.content = append(e.content, e.logs...)
		e.content = append(e.content, "]}"...)
	} else {
		kind, member = "response.refusal.done", `,"refusal":"`
		e.content = append(e.content, `{"type":"refusal","refusal":"`...)
		e.content = append(e.content, e.text...)
		e.content = append(e.content, `"}`...)
	}
	if !e.mute {
		dst = e.begin(dst, kind)
		dst = e.at(dst, messageID, e.index)
		dst = number(dst, `,"content_index":`, e.contentIndex())
		dst = append(dst, member...)
		dst = append(dst, e.text...)
		dst = append(dst, '"')
		if e.part == chat.Text {
			dst = append(dst, `,"logprobs":[`...)
			dst = append(dst, e.logs...)
			dst = append(dst, ']')
		}
		dst = e.shut(dst)
		dst = e.begin(dst, "response.content_part.done")
		dst = e.at(dst, messageID, e.index)
		dst = number(dst, `,"content_index":`, e.contentIndex())
		dst = append(dst, `,"part":`...)
		dst = append(dst, e.content[from:]...)
		dst = e.shut(dst)
	}
	e.parts++
	e.part, e.text, e.notes, e.noted, e.runes, e.cited = chat.Block, e.text[:0], e.notes[:0], 0, 0, 0
	e.logs, e.fresh = e.logs[:0], 0
	return dst
}

// leave ends the open item. last says that the answer ends with it.
func (e *AnswerEncoder) leave(dst []byte, last bool) []byte {
	from := len(e.made)
	switch e.open {
	case chat.Text:
		dst = e.endPart(dst)
		e.made = append(e.made, `{"id":`...)
		e.made = e.itemID(e.made, messageID, e.index)
		e.made = append(e.made, `,"type":"message","status":"`...)
		e.made = append(e.made, e.status(last)...)
		e.made = append(e.made, `","role":"assistant","content":[`...)
		e.made = append(e.made, e.content...)
		e.made = append(e.made, `]}`...)
	case chat.Thinking:
		if e.part == chat.Thinking && !e.mute {
			dst = e.summary(dst)
		}
		e.made = append(e.made, `{"id":`...)
		e.made = e.itemID(e.made, reasoningID, e.index)
		e.made = append(e.made, `,"type":"reasoning","summary":[`...)
		if e.part == chat.Thinking {
			e.made = append(e.made, `{"type":"summary_text","text":"`...)
			e.made = append(e.made, e.text...)
			e.made = append(e.made, `"}`...)
		}
		e.made = append(e.made, ']')
		if len(e.sealed) > 0 {
			e.made = append(e.made, `,"encrypted_content":"`...)
			e.made = append(e.made, e.sealed...)
			e.made = append(e.made, '"')
		}
		e.made = append(e.made, '}')
		e.part, e.text, e.sealed = chat.Block, e.text[:0], e.sealed[:0]
	default:
		return dst
	}
	e.open = chat.Block
	return e.done(dst, e.index, from)
}

// summary appends the ends of a thought's text.
func (e *AnswerEncoder) summary(dst []byte) []byte {
	dst = e.begin(dst, "response.reasoning_summary_text.done")
	dst = e.at(dst, reasoningID, e.index)
	dst = append(dst, `,"summary_index":0,"text":"`...)
	dst = append(dst, e.text...)
	dst = append(dst, '"')
	dst = e.shut(dst)
	dst = e.begin(dst, "response.reasoning_summary_part.done")
	dst = e.at(dst, reasoningID, e.index)
	dst = append(dst, `,"summary_index":0,"part":{"type":"summary_text","text":"`...)
	dst = append(dst, e.text...)
	dst = append(dst, `"}`...)
	return e.shut(dst)
}

// status is that of an item: the one with which a cut answer ends is not complete.
func (e *AnswerEncoder) status(last bool) string {
	if last && e.finished && (e.reason == chat.Length || e.reason == chat.Filtered) {
		return "incomplete"
	}
	return "completed"
}

// cite adds a citation of the message's text.
func (e *AnswerEncoder) cite(dst []byte, v *chat.Event) []byte {
	dst = e.message(dst, chat.Text)
	n := len(e.notes)
	if n > 0 {
		e.notes = append(e.notes, ',')
	}
	from := len(e.notes)
	e.notes = append(e.notes, `{"type":"url_citation","url":`...)
	e.notes = chat.AppendText(e.notes, v.URL)
	e.notes = append(e.notes, `,"title":`...)
	e.notes = chat.AppendText(e.notes, v.Title)
	e.notes = number(e.notes, `,"start_index":`, e.cited)
	e.notes = number(e.notes, `,"end_index":`, e.runes)
	e.notes = append(e.notes, '}')
	e.held += len(e.notes) - n
	if !e.mute {
		dst = e.begin(dst, "response.output_text.annotation.added")
		dst = e.at(dst, messageID, e.index)
		dst = number(dst, `,"content_index":`, e.contentIndex())
		dst = number(dst, `,"annotation_index":`, int64(e.noted))
		dst = append(dst, `,"annotation":`...)
		dst = append(dst, e.notes[from:]...)
		dst = e.shut(dst)
	}
	e.noted++
	return dst
}

// call takes a piece of a tool call. Its item begins once its name is known; items of
// calls may be open beside each other.
func (e *AnswerEncoder) call(dst []byte, v *chat.Event) []byte {
	for v.Call >= len(e.calls) {
		if cap(e.calls) > len(e.calls) { // keep the memory of earlier answers
			e.calls = e.calls[:len(e.calls)+1]
			p := &e.calls[len(e.calls)-1]
			*p = call{id: p.id[:0], name: p.name[:0], args: p.args[:0], index: -1}
		} else {
			e.calls = append(e.calls, call{index: -1})
		}
		for i := range len(e.calls) - 1 { // what came before is over, if it is whole
			if e.calls[i].seen.Complete() {
				dst = e.close(dst, i)
			}
		}
	}
	p := &e.calls[v.Call]
	if p.done {
		return dst
	}
	if v.Kind == chat.CallArgs {
		p.seen.Feed(v.Text)
		e.keep(&p.args, v.Text)
	} else {
		if len(p.id) == 0 {
			p.id = chat.AppendInner(p.id, v.ID)
		}
		if len(p.name) == 0 {
			p.name = chat.AppendInner(p.name, v.Name)
		}
	}
	if len(p.name) == 0 {
		return dst
	}
	if p.index < 0 {
		dst = e.leave(dst, false)
		if v.Signer != chat.NoSigner {
			dst = e.think(dst)
			e.seal(&chat.Event{Text: v.Proof, Signer: v.Signer}, signed)
			dst = e.leave(dst, false)
		}
		dst = e.start(dst, v.Call)
	}
	return e.tell(dst, v.Call)
}

// start begins the item of a call.
func (e *AnswerEncoder) start(dst []byte, n int) []byte {
	p := &e.calls[n]
	p.index = len(e.items)
	e.items = append(e.items, span{})
	if e.mute {
		return dst
	}
	dst = e.begin(dst, "response.output_item.added")
	dst = number(dst, `"output_index":`, int64(p.index))
	dst = append(dst, `,"item":`...)
	dst = e.callItem(dst, n, "in_progress", nil)
	return e.shut(dst)
}

func (e *AnswerEncoder) callItem(dst []byte, n int, status string, args []byte) []byte {
	p := &e.calls[n]
	dst = append(dst, `{"id":`...)
	dst = e.itemID(dst, callID, p.index)
	dst = append(dst, `,"type":"function_call","status":"`...)
	dst = append(dst, status...)
	dst = append(dst, `","call_id":"`...)
	if len(p.id) > 0 {
		dst = append(dst, p.id...)
	} else {
		dst = append(dst, "call_"...)
		dst = append(dst, e.c.ID...)
		dst = number(dst, "_", int64(n))
	}
	dst = append(dst, `","name":"`...)
	dst = append(dst, p.name...)
	dst = append(dst, `","arguments":"`...)
	dst = append(dst, args...)
	return append(dst, `"}`...)
}

// tell appends what of the arguments has not been told.
func (e *AnswerEncoder) tell(dst []byte, n int) []byte {
	p := &e.calls[n]
	if p.told == len(p.args) {
		return dst
	}
	dst = e.delta(dst, "response.function_call_arguments.delta", callID, p.index, "", p.args[p.told:])
	p.told = len(p.args)
	return dst
}

// close ends a call. One without arguments means an empty object.
func (e *AnswerEncoder) close(dst []byte, n int) []byte {
	p := &e.calls[n]
	if p.done || p.index < 0 {
		return dst
	}
	p.done = true
	if len(p.args) == 0 {
		p.args = append(p.args, "{}"...)
		dst = e.tell(dst, n)
	}
	if !e.mute {
		dst = e.begin(dst, "response.function_call_arguments.done")
		dst = e.at(dst, callID, p.index)
		dst = append(dst, `,"name":"`...)
		dst = append(dst, p.name...)
		dst = append(dst, `","arguments":"`...)
		dst = append(dst, p.args...)
		dst = append(dst, '"')
		dst = e.shut(dst)
	}
	from := len(e.made)
	status := "completed"
	if e.finished && e.reason == chat.Length && !p.seen.Complete() {
		status = "incomplete"
	}
	e.made = e.callItem(e.made, n, status, p.args)
	return e.done(dst, p.index, from)
}

// response appends the response as it stands: with the items that are complete if it
// has a usage.
func (e *AnswerEncoder) response(dst []byte, status string, t *chat.Total) []byte {
	dst = append(dst, `{"id":"resp_`...)
	dst = append(dst, e.c.ID...)
	dst = number(dst, `","object":"response","created_at":`, e.c.Created)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, status...)
	dst = append(dst, `","error":null,"incomplete_details":`...)
	switch {
	case status != "incomplete":
		dst = append(dst, "null"...)
	case e.reason == chat.Length:
		dst = append(dst, `{"reason":"max_output_tokens"}`...)
	default:
		dst = append(dst, `{"reason":"content_filter"}`...)
	}
	dst = append(dst, `,"model":`...)
	dst = protocol.AppendString(dst, e.c.Model)
	dst = append(dst, `,"output":[`...)
	for i, s := range e.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, e.made[s.start:s.end]...)
	}
	dst = append(dst, ']')
	dst = append(dst, e.echo...)
	dst = append(dst, `,"usage":`...)
	if t == nil {
		return append(dst, "null}"...)
	}
	dst = AppendUsage(dst, t)
	return append(dst, '}')
}

// final is how the response ended.
func (e *AnswerEncoder) final() string {
	if e.reason == chat.Length || e.reason == chat.Filtered {
		return "incomplete"
	}
	return "completed"
}

// End appends the last event, with the whole response and its usage.
func (e *AnswerEncoder) End(dst []byte, t *chat.Total) []byte {
	dst = e.event(dst, &chat.Event{Kind: chat.Finish})
	if e.final() == "completed" {
		dst = e.begin(dst, "response.completed")
	} else {
		dst = e.begin(dst, "response.incomplete")
	}
	dst = append(dst, `"response":`...)
	dst = e.response(dst, e.final(), t)
	return e.shut(dst)
}

// Whole appends a whole answer.
func (e *AnswerEncoder) Whole(dst []byte, list []chat.Event, t *chat.Total) []byte {
	e.mute = true
	e.Events(nil, list)
	e.event(nil, &chat.Event{Kind: chat.Finish})
	return e.response(dst, e.final(), t)
}

// AppendUsage appends a usage object: input_tokens holds what the cache gave and took
// (protocols 12.8).
func AppendUsage(dst []byte, t *chat.Total) []byte {
	input := t.Input + t.CacheRead + t.CacheWrite5m + t.CacheWrite1h + t.AudioIn
	output := t.Output + t.AudioOut
	dst = number(dst, `{"input_tokens":`, input)
	dst = number(dst, `,"input_tokens_details":{"cached_tokens":`, t.CacheRead)
	if n := t.CacheWrite5m + t.CacheWrite1h; n > 0 {
		dst = number(dst, `,"cache_write_tokens":`, n)
	}
	dst = number(dst, `},"output_tokens":`, output)
	dst = number(dst, `,"output_tokens_details":{"reasoning_tokens":`, t.Reasoning)
	dst = number(dst, `},"total_tokens":`, input+output)
	return append(dst, '}')
}
