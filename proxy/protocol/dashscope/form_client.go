package dashscope

import (
	"strconv"

	"tokenrelay/proxy/protocol/chat"
)

// AnswerEncoder writes an answer of the common form as DashScope: numbered events that
// hold what is new, or, as the client asked for, all that was said so far. The zero
// value is ready after Reset.
type AnswerEncoder struct {
	c chat.Config

	text, thought []byte // escaped: of the event at hand, or all so far
	logs          []byte // probabilities of the same
	calls         []calling
	shown         bool // there is something for an event
	thinks        bool
	finished      bool
	reason        chat.Reason
	bytes         int64 // of all texts so far, for the running usage
	held          int
}

var _ chat.Encoder = (*AnswerEncoder)(nil)

// calling is a tool call on its way out.
type calling struct {
	id, name, args []byte // args: what has not been written, or all so far
	told           bool   // its id and name are written
	fresh          bool   // there is something to write
	some           bool   // there have been arguments
}

// maxHeld bounds what is held of an answer that is repeated, and of calls whose name is
// not known yet, in bytes.
const maxHeld = 4 << 20

// Reset makes e ready for one answer.
func (e *AnswerEncoder) Reset(c *chat.Config) {
	*e = AnswerEncoder{c: *c, calls: e.calls[:0], text: e.text[:0], thought: e.thought[:0], logs: e.logs[:0]}
}

// Overflow reports that too much had to be held.
func (e *AnswerEncoder) Overflow() bool { return e.held > maxHeld }

// Events appends what a run of events is on the wire: one event for all of it.
func (e *AnswerEncoder) Events(dst []byte, list []chat.Event) []byte {
	e.take(list)
	if !e.shown {
		return dst
	}
	return e.write(dst, nil)
}

// End appends the last event, with the reason for the end and the usage.
func (e *AnswerEncoder) End(dst []byte, t *chat.Total) []byte {
	e.complete()
	return e.write(dst, t)
}

// complete gives calls without arguments an empty object: clients read them as JSON.
func (e *AnswerEncoder) complete() {
	for i := range e.calls {
		if p := &e.calls[i]; !p.some {
			p.args, p.fresh, p.some = append(p.args, "{}"...), true, true
		}
	}
}

// take gathers a run of events.
func (e *AnswerEncoder) take(list []chat.Event) {
	for i := range list {
		if !e.finished {
			e.event(&list[i])
		}
	}
}

func (e *AnswerEncoder) event(v *chat.Event) {
	switch v.Kind {
	case chat.Text, chat.Refusal:
		e.text = chat.AppendInner(e.text, v.Text)
		e.said(v.Text)
	case chat.Thinking:
		if e.c.Plain {
			e.bytes += int64(len(v.Text))
			return // a text has no place for thoughts
		}
		e.thinks = true
		e.thought = chat.AppendInner(e.thought, v.Text)
		e.said(v.Text)
	case chat.CallStart, chat.CallArgs:
		if e.c.Plain {
			return
		}
		e.call(v)
	case chat.Logprobs:
		e.logs = chat.AppendProbabilities(e.logs, v.Text)
		e.held += len(v.Text)
	case chat.Finish:
		e.finished, e.reason = true, v.Reason
	}
}

func (e *AnswerEncoder) said(raw []byte) {
	e.shown = e.shown || len(raw) > 0
	e.bytes += int64(len(raw))
	if e.c.Cumulative {
		e.held += len(raw)
	}
}

// call takes a piece of a call.
func (e *AnswerEncoder) call(v *chat.Event) {
	for v.Call >= len(e.calls) {
		if n := len(e.calls); n < cap(e.calls) { // keep the memory of earlier answers
			e.calls = e.calls[:n+1]
			p := &e.calls[n]
			*p = calling{id: p.id[:0], name: p.name[:0], args: p.args[:0]}
		} else {
			e.calls = append(e.calls, calling{})
		}
	}
	p := &e.calls[v.Call]
	if v.Kind == chat.CallArgs {
		p.args = chat.AppendInner(p.args, v.Text)
		p.fresh, p.some = true, p.some || !chat.Blank(v.Text)
		e.bytes += int64(len(v.Text))
		e.held += len(v.Text)
	} else {
		if len(p.id) == 0 {
			p.id = append(p.id, v.ID...)
		}
		if len(p.name) == 0 {
			p.name = append(p.name, v.Name...)
		}
		p.fresh = p.fresh || !p.told
	}
	e.shown = e.shown || p.fresh && len(p.name) > 0
}

// write appends an event: one on the way, or the last one, whose usage is known.
func (e *AnswerEncoder) write(dst []byte, t *chat.Total) []byte {
	*e.c.Written++
	dst = append(dst, "id:"...)
	dst = strconv.AppendInt(dst, int64(*e.c.Written), 10)
	dst = append(dst, "\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{"...)
	finish := "null"
	if t != nil {
		finish = e.finishReason()
	}
	if e.c.Plain {
		dst = append(dst, `"finish_reason":"`...)
		dst = append(dst, finish...)
		dst = append(dst, `","text":"`...)
		dst = append(dst, e.text...)
		dst = append(dst, '"')
	} else {
		dst = append(dst, `"choices":[{"message":`...)
		dst = e.message(dst)
		dst = e.logprobs(dst)
		dst = append(dst, `,"index":`...)
		dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
		dst = append(dst, `,"finish_reason":"`...)
		dst = append(dst, finish...)
		dst = append(dst, `"}]`...)
	}
	if t == nil {
		estimate := chat.Total{Input: e.c.InputEstimate, Output: (e.bytes + 3) / 4}
		t = &estimate
	}
	dst = e.tail(dst, t)
	dst = append(dst, "\n\n"...)
	e.shown = false
	if !e.c.Cumulative {
		e.text, e.thought, e.logs = e.text[:0], e.thought[:0], e.logs[:0]
	}
	return dst
}

// logprobs appends the probabilities that there are.
func (e *AnswerEncoder) logprobs(dst []byte) []byte {
	if len(e.logs) == 0 {
		return dst
	}
	dst = append(dst, `,"logprobs":{"content":[`...)
	dst = append(dst, e.logs...)
	return append(dst, "]}"...)
}

// message appends the message of the choice.
func (e *AnswerEncoder) message(dst []byte) []byte {
	dst = append(dst, `{"role":"assistant","content":"`...)
	dst = append(dst, e.text...)
	dst = append(dst, '"')
	if e.thinks {
		dst = append(dst, `,"reasoning_content":"`...)
		dst = append(dst, e.thought...)
		dst = append(dst, '"')
	}
	begun := false
	for i := range e.calls {
		p := &e.calls[i]
		if len(p.name) == 0 || !p.fresh && !e.c.Cumulative {
			continue
		}
		if begun {
			dst = append(dst, ',')
		} else {
			begun = true
			dst = append(dst, `,"tool_calls":[`...)
		}
		dst = e.piece(dst, i, p)
	}
	if begun {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// piece appends a call, or what is new of it.
func (e *AnswerEncoder) piece(dst []byte, i int, p *calling) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(i), 10)
	dst = append(dst, `,"id":"`...)
	if !p.told || e.c.Cumulative {
		if len(p.id) > 0 {
			dst = chat.AppendInner(dst, p.id)
		} else {
			dst = append(dst, "call_"...)
			dst = append(dst, e.c.ID...)
			dst = append(dst, '_')
			if e.c.Choice > 0 {
				dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
				dst = append(dst, '_')
			}
			dst = strconv.AppendInt(dst, int64(i), 10)
		}
		dst = append(dst, `","type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, p.name)
		dst = append(dst, ',')
	} else {
		dst = append(dst, `","type":"function","function":{`...)
	}
	dst = append(dst, `"arguments":"`...)
	dst = append(dst, p.args...)
	dst = append(dst, `"}}`...)
	p.told, p.fresh = true, false
	if !e.c.Cumulative {
		e.held -= len(p.args)
		p.args = p.args[:0]
	}
	return dst
}

// finishReason is the reason for the end. DashScope has none for an answer that was
// filtered on its way; Chat's is told, so that it does not look complete.
func (e *AnswerEncoder) finishReason() string {
	switch e.reason {
	case chat.Length:
		return "length"
	case chat.ToolCalls:
		return "tool_calls"
	case chat.Filtered:
		return "content_filter"
	}
	return "stop"
}

// tail appends what every answer and event ends with.
func (e *AnswerEncoder) tail(dst []byte, t *chat.Total) []byte {
	dst = append(dst, `},"usage":`...)
	dst = AppendUsage(dst, t)
	dst = append(dst, `,"request_id":"req_`...)
	dst = append(dst, e.c.ID...)
	return append(dst, `"}`...)
}

// AppendUsage appends a usage object: the input holds what the cache gave and took, the
// output the thoughts (protocols 12.8).
func AppendUsage(dst []byte, t *chat.Total) []byte {
	written := t.CacheWrite5m + t.CacheWrite1h
	in, out := t.Input+t.CacheRead+written+t.AudioIn, t.Output+t.AudioOut
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`{"total_tokens":`, in+out)
	number(`,"output_tokens":`, out)
	number(`,"input_tokens":`, in)
	if t.Reasoning > 0 {
		number(`,"output_tokens_details":{"reasoning_tokens":`, min(t.Reasoning, out))
		dst = append(dst, '}')
	}
	number(`,"prompt_tokens_details":{"cached_tokens":`, t.CacheRead)
	if written > 0 {
		number(`,"cache_creation_input_tokens":`, written)
	}
	dst = append(dst, '}')
	if t.Searches > 0 {
		number(`,"plugins":{"search":{"count":`, t.Searches)
		dst = append(dst, "}}"...)
	}
	return append(dst, '}')
}

// Whole appends a whole answer.
func (e *AnswerEncoder) Whole(dst []byte, list []chat.Event, t *chat.Total) []byte {
	e.c.Cumulative = true
	e.take(list)
	e.complete()
	if e.c.Choice == 0 {
		dst = append(dst, `{"output":{`...)
	}
	if e.c.Plain {
		dst = append(dst, `"text":"`...)
		dst = append(dst, e.text...)
		dst = append(dst, `","finish_reason":"`...)
		dst = append(dst, e.finishReason()...)
		dst = append(dst, '"')
	} else {
		if e.c.Choice == 0 {
			dst = append(dst, `"choices":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"finish_reason":"`...)
		dst = append(dst, e.finishReason()...)
		dst = append(dst, `","index":`...)
		dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
		dst = append(dst, `,"message":`...)
		dst = e.message(dst)
		dst = append(e.logprobs(dst), '}')
		if !e.c.Last() {
			return dst
		}
		dst = append(dst, ']')
	}
	return e.tail(dst, t)
}
