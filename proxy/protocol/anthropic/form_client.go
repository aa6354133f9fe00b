package anthropic

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
)

// AnswerEncoder writes an answer of the common form as Messages. Blocks stand one
// after another there: a tool call whose turn has not come is held, and what ends
// the message is held until the usage is known. The zero value is ready after Reset.
type AnswerEncoder struct {
	c        chat.Config
	began    bool
	open     chat.EventKind // of the open block: Text, Thinking or CallStart; Block = none
	index    int            // of the open block, or of the next
	calls    []pending
	next     int // the first call that is not over
	held     int // bytes of held arguments
	refused  bool
	finished bool
	reason   chat.Reason
	stop     []byte // the stop string that was met

	said  bool   // the open block of text has some
	over  bool   // it is complete: it stays open for citations that come late
	notes []byte // citations that no text has yet, a line each

	blocks []byte // of a whole answer
	plain  []byte
}

var _ chat.Encoder = (*AnswerEncoder)(nil)

// pending is a tool call on its way out.
type pending struct {
	id, name []byte
	args     []byte // held
	proof    []byte // of the thought that led to it
	signer   chat.Signer
	seen     chat.Args
}

// maxHeld bounds what is held of tool calls, in bytes.
const maxHeld = 4 << 20

// Reset makes e ready for one answer.
func (e *AnswerEncoder) Reset(c *chat.Config) {
	*e = AnswerEncoder{c: *c, calls: e.calls[:0], open: chat.Block, stop: e.stop[:0], blocks: e.blocks[:0], plain: e.plain[:0], notes: e.notes[:0]}
}

// Overflow reports that a provider mixes the pieces of its tool calls so that too
// much had to be held.
func (e *AnswerEncoder) Overflow() bool { return e.held > maxHeld }

// Events appends what a run of events is on the wire.
func (e *AnswerEncoder) Events(dst []byte, list []chat.Event) []byte {
	for i := range list {
		dst = e.event(dst, &list[i])
	}
	return dst
}

func (e *AnswerEncoder) event(dst []byte, v *chat.Event) []byte {
	if !e.began {
		e.began = true
		dst = append(dst, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"...)
		dst = e.opening(dst)
		dst = append(dst, `],"stop_reason":null,"stop_sequence":null,"usage":`...)
		dst = AppendUsage(dst, &chat.Total{Input: e.c.InputEstimate, Output: 1})
		dst = append(dst, "}}\n\n"...)
		dst = append(dst, heartbeat...)
	}
	if e.finished {
		return dst
	}
	switch v.Kind {
	case chat.Text, chat.Refusal:
		e.refused = e.refused || v.Kind == chat.Refusal
		if e.over { // what was cited behind it is the next one's
			dst = e.shut(dst)
		}
		dst = e.enter(dst, chat.Text)
		dst = e.delta(dst, "text_delta", "text", v.Text)
		if e.said = e.said || len(v.Text) > 0; e.said {
			dst = e.cite(dst)
		}
	case chat.Thinking:
		dst = e.enter(dst, chat.Thinking)
		dst = e.delta(dst, "thinking_delta", "thinking", v.Text)
	case chat.Signature:
		dst = e.proof(e.flush(dst), v.Text, v.Signer)
	case chat.Redacted:
		if v.Signer == chat.Anthropic {
			dst = e.leave(e.flush(dst))
			dst = e.blockStart(dst)
			dst = appendRedacted(dst, v.Text)
			dst = append(dst, "}\n\n"...)
			e.open = chat.Redacted
			dst = e.leave(dst)
		}
	case chat.Block:
		dst = e.flush(dst)
		if e.open == chat.Thinking {
			dst = e.leave(dst)
		}
		e.over = e.open == chat.Text
	case chat.Citation:
		if !e.Overflow() {
			n := len(e.notes)
			e.notes = append(citationObject(e.notes, v), '\n')
			e.held += len(e.notes) - n
		}
		if e.open == chat.Text && e.said && !e.over {
			dst = e.cite(dst)
		}
	case chat.CallStart, chat.CallArgs:
		dst = e.call(dst, v)
	case chat.Finish:
		dst = e.flush(dst)
		dst = e.leave(dst)
		e.finished, e.reason = true, v.Reason
		e.stop = append(e.stop[:0], v.Text...)
	}
	return dst
}

// appendRedacted appends the block of a thought that is not shown.
func appendRedacted(dst, data []byte) []byte {
	dst = append(dst, `{"type":"redacted_thinking","data":`...)
	dst = chat.AppendText(dst, data)
	return append(dst, '}')
}

func citationObject(dst []byte, v *chat.Event) []byte {
	dst = append(dst, `{"type":"web_search_result_location","url":`...)
	dst = chat.AppendText(dst, v.URL)
	dst = append(dst, `,"title":`...)
	dst = chat.AppendText(dst, v.Title)
	return append(dst, `,"encrypted_index":"","cited_text":""}`...)
}

// cite appends the citations that are held to the open text. An empty block of text for
// them alone would make a message that Messages does not take back: those that no text
// comes for are left out.
func (e *AnswerEncoder) cite(dst []byte) []byte {
	for rest := e.notes; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
		dst = strconv.AppendInt(dst, int64(e.index), 10)
		dst = append(dst, `,"delta":{"type":"citations_delta","citation":`...)
		dst = append(dst, rest[:n]...)
		dst = append(dst, "}}\n\n"...)
		rest = rest[n+1:]
	}
	e.held -= len(e.notes)
	e.notes = e.notes[:0]
	return dst
}

// proof appends a signature to the open thought, or to one that is not shown.
func (e *AnswerEncoder) proof(dst, s []byte, signer chat.Signer) []byte {
	if e.open != chat.Thinking {
		dst = e.begin(dst, chat.Thinking)
	}
	if signer != chat.Google {
		return e.delta(dst, "signature_delta", "signature", s)
	}
	e.plain = append(append(e.plain[:0], googleProof...), s...)
	return e.delta(dst, "signature_delta", "signature", e.plain)
}

// opening appends the members that a message begins with, up to its content.
func (e *AnswerEncoder) opening(dst []byte) []byte {
	dst = append(dst, `{"id":"msg_`...)
	dst = append(dst, e.c.ID...)
	dst = append(dst, `","type":"message","role":"assistant","model":`...)
	dst = protocol.AppendString(dst, e.c.Model)
	return append(dst, `,"content":[`...)
}

// enter sees that a block of the kind is open. Tool calls that are held go first.
func (e *AnswerEncoder) enter(dst []byte, kind chat.EventKind) []byte {
	if e.open == kind {
		return dst
	}
	if e.next < len(e.calls) {
		dst = e.flush(dst)
	}
	return e.begin(dst, kind)
}

// begin opens a block of text or thought.
func (e *AnswerEncoder) begin(dst []byte, kind chat.EventKind) []byte {
	dst = e.leave(dst)
	e.open = kind
	dst = e.blockStart(dst)
	if kind == chat.Text {
		return append(dst, `{"type":"text","text":""}}`+"\n\n"...)
	}
	return append(dst, `{"type":"thinking","thinking":"","signature":""}}`+"\n\n"...)
}

func (e *AnswerEncoder) blockStart(dst []byte) []byte {
	dst = append(dst, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(e.index), 10)
	return append(dst, `,"content_block":`...)
}

// leave closes the open block, a text with what is cited late.
func (e *AnswerEncoder) leave(dst []byte) []byte {
	if e.open == chat.Text && e.said {
		dst = e.cite(dst)
	}
	return e.shut(dst)
}

// shut closes the open block.
func (e *AnswerEncoder) shut(dst []byte) []byte {
	if e.open == chat.Block {
		return dst
	}
	e.open, e.said, e.over = chat.Block, false, false
	dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(e.index), 10)
	e.index++
	return append(dst, "}\n\n"...)
}

func (e *AnswerEncoder) delta(dst []byte, kind, member string, s []byte) []byte {
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(e.index), 10)
	dst = append(dst, `,"delta":{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","`...)
	dst = append(dst, member...)
	dst = append(dst, `":`...)
	dst = chat.AppendText(dst, s)
	return append(dst, "}}\n\n"...)
}

// call takes a piece of a tool call. The call whose turn it is goes out as it comes;
// the pieces of others are held.
func (e *AnswerEncoder) call(dst []byte, v *chat.Event) []byte {
	for v.Call >= len(e.calls) {
		if cap(e.calls) > len(e.calls) { // keep the memory of earlier answers
			e.calls = e.calls[:len(e.calls)+1]
			p := &e.calls[len(e.calls)-1]
			*p = pending{id: p.id[:0], name: p.name[:0], args: p.args[:0], proof: p.proof[:0]}
		} else {
			e.calls = append(e.calls, pending{})
		}
	}
	if v.Call < e.next {
		return dst // it is over
	}
	p := &e.calls[v.Call]
	if v.Kind == chat.CallStart {
		if len(p.id) == 0 {
			p.id = append(p.id, v.ID...)
		}
		if len(p.name) == 0 {
			p.name = append(p.name, v.Name...)
		}
		if v.Signer != chat.NoSigner && p.signer == chat.NoSigner {
			p.proof, p.signer = append(p.proof, v.Proof...), v.Signer
		}
	} else {
		p.seen.Feed(v.Text)
		if v.Call == e.next && e.open == chat.CallStart {
			dst = e.delta(dst, "input_json_delta", "partial_json", v.Text)
		} else if !e.Overflow() {
			e.held += len(v.Text)
			p.args = append(p.args, v.Text...)
		}
	}
	return e.advance(dst, false)
}

// advance opens and closes calls as far as their order allows; all of them when the
// answer is over.
func (e *AnswerEncoder) advance(dst []byte, all bool) []byte {
	for e.next < len(e.calls) {
		p := &e.calls[e.next]
		if e.open != chat.CallStart {
			if !all && (len(p.id) == 0 || len(p.name) == 0) {
				return dst
			}
			if len(p.name) == 0 { // a call of nothing
				e.next++
				continue
			}
			if p.signer != chat.NoSigner {
				dst = e.proof(dst, p.proof, p.signer)
			}
			dst = e.leave(dst)
			e.open = chat.CallStart
			dst = e.blockStart(dst)
			dst = append(dst, `{"type":"tool_use","id":`...)
			dst = e.callID(dst, p)
			dst = append(dst, `,"name":`...)
			dst = chat.AppendText(dst, p.name)
			dst = append(dst, `,"input":{}}}`+"\n\n"...)
			if len(p.args) > 0 {
				dst = e.delta(dst, "input_json_delta", "partial_json", p.args)
				e.held -= len(p.args)
				p.args = p.args[:0]
			}
		}
		if !all && (e.next+1 == len(e.calls) || !p.seen.Complete()) {
			return dst
		}
		dst = e.leave(dst)
		e.next++
	}
	return dst
}

// callID is the upstream's id, or one of our own where it gave none.
func (e *AnswerEncoder) callID(dst []byte, p *pending) []byte {
	if len(p.id) > 0 {
		return chat.AppendText(dst, p.id)
	}
	dst = append(dst, `"toolu_`...)
	dst = append(dst, e.c.ID...)
	dst = append(dst, '_')
	dst = strconv.AppendInt(dst, int64(e.next), 10)
	return append(dst, '"')
}

func (e *AnswerEncoder) flush(dst []byte) []byte { return e.advance(dst, true) }

// stopReason is the reason for a message with so many tool calls.
func (e *AnswerEncoder) stopReason() string {
	switch {
	case e.refused || e.reason == chat.Filtered:
		return "refusal"
	case e.reason == chat.Length:
		return "max_tokens"
	case e.reason == chat.ToolCalls || len(e.calls) > 0:
		return "tool_use" // some say stop and mean this
	case e.reason == chat.StopSequence:
		return "stop_sequence"
	case e.reason == chat.Paused:
		return "pause_turn"
	}
	return "end_turn"
}

func (e *AnswerEncoder) ending(dst []byte) []byte {
	dst = append(dst, `"stop_reason":"`...)
	dst = append(dst, e.stopReason()...)
	dst = append(dst, `","stop_sequence":`...)
	if len(e.stop) > 0 {
		return chat.AppendText(dst, e.stop)
	}
	return append(dst, "null"...)
}

// End appends message_delta with the usage, and message_stop.
func (e *AnswerEncoder) End(dst []byte, t *chat.Total) []byte {
	dst = e.event(dst, &chat.Event{Kind: chat.Finish})
	dst = append(dst, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"...)
	dst = e.ending(dst)
	dst = append(dst, `},"usage":`...)
	dst = AppendUsage(dst, t)
	dst = append(dst, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
	return dst
}

// AppendUsage appends a usage object: input_tokens leaves out what the cache gave
// and took (protocols 12.8).
func AppendUsage(dst []byte, t *chat.Total) []byte {
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`{"input_tokens":`, t.Input+t.AudioIn)
	number(`,"cache_creation_input_tokens":`, t.CacheWrite5m+t.CacheWrite1h)
	number(`,"cache_read_input_tokens":`, t.CacheRead)
	if t.CacheWrite5m+t.CacheWrite1h > 0 {
		number(`,"cache_creation":{"ephemeral_5m_input_tokens":`, t.CacheWrite5m)
		number(`,"ephemeral_1h_input_tokens":`, t.CacheWrite1h)
		dst = append(dst, '}')
	}
	number(`,"output_tokens":`, t.Output+t.AudioOut)
	if t.Searches > 0 {
		number(`,"server_tool_use":{"web_search_requests":`, t.Searches)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}
