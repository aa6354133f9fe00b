package openai

import (
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
)

// AnswerEncoder writes an answer of the common form as Chat Completions. The zero
// value is ready after Reset.
type AnswerEncoder struct {
	c        chat.Config
	head     []byte // what every chunk begins with
	tail     string // what every chunk ends with
	began    bool
	thoughts int // index of the thought under way
	thinking bool
	call     int  // the tool call under way, -1 = none
	args     bool // it has arguments
	calls    int
	finished bool
	runes    int64 // characters of text so far
	cited    int64 // where the text that is cited began
	noted    int   // citations so far

	text, thought, refusal, details, list, notes []byte // of a whole answer
	logs                                         []byte // probabilities of the text that follows
}

var _ chat.Encoder = (*AnswerEncoder)(nil)

// Reset makes e ready for one answer.
func (e *AnswerEncoder) Reset(c *chat.Config) {
	*e = AnswerEncoder{
		c: *c, head: e.head[:0], call: -1, tail: `}]}` + "\n\n",
		text: e.text[:0], thought: e.thought[:0], refusal: e.refusal[:0], details: e.details[:0], list: e.list[:0], notes: e.notes[:0], logs: e.logs[:0],
	}
	e.head = append(e.head, "data: "...)
	e.head = e.opening(e.head, "chat.completion.chunk")
	if c.AskedUsage {
		e.tail = `}],"usage":null}` + "\n\n"
	}
}

// opening appends the members that an answer and its chunks share.
func (e *AnswerEncoder) opening(dst []byte, object string) []byte {
	dst = append(dst, `{"id":"chatcmpl-`...)
	dst = append(dst, e.c.ID...)
	dst = append(dst, `","object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, e.c.Created, 10)
	dst = append(dst, `,"model":`...)
	dst = protocol.AppendString(dst, e.c.Model)
	return append(dst, `,"choices":[`...)
}

// Overflow is never the case: nothing is held.
func (e *AnswerEncoder) Overflow() bool { return false }

// Events appends the chunks of a run of events.
func (e *AnswerEncoder) Events(dst []byte, list []chat.Event) []byte {
	for i := range list {
		dst = e.event(dst, &list[i])
	}
	return dst
}

// open begins a chunk, up to its delta's members.
func (e *AnswerEncoder) open(dst []byte) []byte {
	dst = append(dst, e.head...)
	return append(e.choice(dst), `,"delta":{`...)
}

// choice begins the object of the choice.
func (e *AnswerEncoder) choice(dst []byte) []byte {
	return strconv.AppendInt(append(dst, `{"index":`...), int64(e.c.Choice), 10)
}

// probable takes the tokens of an array of probabilities.
func (e *AnswerEncoder) probable(v []byte) {
	e.logs = chat.AppendProbabilities(e.logs, v)
}

// logprobs appends the probabilities that there are, and forgets them.
func (e *AnswerEncoder) logprobs(dst []byte) []byte {
	dst = append(dst, `},"logprobs":`...)
	if len(e.logs) == 0 {
		return append(dst, "null"...)
	}
	dst = member(dst, `{"content":[`, e.logs, ']')
	e.logs = e.logs[:0]
	return append(dst, `,"refusal":null}`...)
}

// shut ends a chunk that does not end the answer.
func (e *AnswerEncoder) shut(dst []byte) []byte {
	dst = append(dst, `},"logprobs":null,"finish_reason":null`...)
	return append(dst, e.tail...)
}

func (e *AnswerEncoder) event(dst []byte, v *chat.Event) []byte {
	if !e.began {
		e.began = true
		dst = e.open(dst)
		dst = append(dst, `"role":"assistant","content":"","refusal":null`...)
		dst = e.shut(dst)
	}
	switch v.Kind {
	case chat.Text:
		e.runes += chat.Runes(v.Text)
		dst = e.open(dst)
		dst = append(dst, `"content":`...)
		dst = chat.AppendText(dst, v.Text)
		dst = append(e.logprobs(dst), `,"finish_reason":null`...)
		return append(dst, e.tail...)
	case chat.Logprobs:
		e.probable(v.Text)
		return dst
	case chat.Refusal:
		dst = e.open(dst)
		dst = append(dst, `"refusal":`...)
		dst = chat.AppendText(dst, v.Text)
	case chat.Thinking:
		e.thinking = true
		dst = e.open(dst)
		dst = append(dst, `"reasoning_content":`...)
		dst = chat.AppendText(dst, v.Text)
		dst = append(dst, `,"reasoning_details":[`...)
		dst = e.thoughtText(dst, v.Text, nil, chat.NoSigner)
		dst = append(dst, ']')
	case chat.Signature:
		e.thinking = true
		dst = e.open(dst)
		dst = append(dst, `"reasoning_details":[`...)
		dst = e.thoughtText(dst, nil, v.Text, v.Signer)
		dst = append(dst, ']')
	case chat.Redacted:
		dst = e.open(dst)
		dst = append(dst, `"reasoning_details":[`...)
		dst = e.encrypted(dst, v)
		dst = append(dst, ']')
		e.thoughts++
	case chat.Block:
		return e.block(dst)
	case chat.CallStart:
		if v.Call < e.calls {
			return dst
		}
		dst = e.block(dst)
		e.call, e.args = v.Call, false
		e.calls = v.Call + 1
		dst = e.open(dst)
		if e.c.Legacy {
			dst = append(dst, `"function_call":{"name":`...)
			dst = chat.AppendText(dst, v.Name)
			dst = append(dst, `,"arguments":""}`...)
			break
		}
		dst = e.index(dst, v.Call)
		dst = append(dst, `,"id":`...)
		dst = e.callID(dst, v)
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, v.Name)
		dst = append(dst, `,"arguments":""}`...)
		if v.Signer == chat.Google {
			dst = appendProof(dst, v.Proof)
		}
		dst = append(dst, `}]`...)
	case chat.CallArgs:
		e.args = e.args || v.Call == e.call
		return e.arguments(dst, v.Call, v.Text)
	case chat.Citation:
		dst = e.open(dst)
		// OpenAI's SDKs join the lists of two chunks by an index, and break without one.
		dst = append(dst, `"annotations":[`...)
		dst = e.annotation(dst, v)
		dst = append(dst[:len(dst)-1], `,"index":`...)
		dst = strconv.AppendInt(dst, int64(e.noted), 10)
		dst = append(dst, "}]"...)
		e.noted++
	case chat.Finish:
		return e.finish(dst, v.Reason)
	default:
		return dst
	}
	return e.shut(dst)
}

// block ends the part under way. A call without arguments means an empty object,
// which Chat clients would not read from an empty text.
func (e *AnswerEncoder) block(dst []byte) []byte {
	if e.thinking {
		e.thinking = false
		e.thoughts++
	}
	e.cited = e.runes
	if e.call >= 0 && !e.args {
		dst = e.arguments(dst, e.call, emptyArgs)
	}
	e.call = -1
	return dst
}

func (e *AnswerEncoder) index(dst []byte, call int) []byte {
	dst = append(dst, `"tool_calls":[{"index":`...)
	return strconv.AppendInt(dst, int64(call), 10)
}

func (e *AnswerEncoder) arguments(dst []byte, call int, s []byte) []byte {
	dst = e.open(dst)
	if e.c.Legacy {
		dst = append(dst, `"function_call":{"arguments":`...)
		dst = chat.AppendText(dst, s)
		dst = append(dst, '}')
	} else {
		dst = e.index(dst, call)
		dst = append(dst, `,"function":{"arguments":`...)
		dst = chat.AppendText(dst, s)
		dst = append(dst, `}}]`...)
	}
	return e.shut(dst)
}

// callID is the upstream's id, or one of our own where it gave none.
func (e *AnswerEncoder) callID(dst []byte, v *chat.Event) []byte {
	if len(v.ID) > 0 {
		return chat.AppendText(dst, v.ID)
	}
	dst = append(dst, `"call_`...)
	dst = append(dst, e.c.ID...)
	dst = append(dst, '_')
	if e.c.Choice > 0 {
		dst = strconv.AppendInt(dst, int64(e.c.Choice), 10)
		dst = append(dst, '_')
	}
	dst = strconv.AppendInt(dst, int64(v.Call), 10)
	return append(dst, '"')
}

// appendProof appends the member that carries the signature of a call's thought, in
// the place where Google's own Chat endpoint has it.
func appendProof(dst, signature []byte) []byte {
	dst = append(dst, `,"extra_content":{"google":{"thought_signature":`...)
	dst = chat.AppendText(dst, signature)
	return append(dst, "}}"...)
}

func (e *AnswerEncoder) thoughtText(dst, s, signature []byte, signer chat.Signer) []byte {
	dst = append(dst, `{"type":"reasoning.text","text":`...)
	dst = chat.AppendText(dst, s)
	if signature != nil {
		dst = append(dst, `,"signature":`...)
		dst = chat.AppendText(dst, signature)
	}
	return e.thoughtEnd(dst, signer)
}

func (e *AnswerEncoder) encrypted(dst []byte, v *chat.Event) []byte {
	dst = append(dst, `{"type":"reasoning.encrypted","data":`...)
	dst = chat.AppendText(dst, v.Text)
	return e.thoughtEnd(dst, v.Signer)
}

// thoughtEnd closes a detail. The format stands in one piece of a thought only:
// clients join the texts of all pieces of an index, whatever they are.
func (e *AnswerEncoder) thoughtEnd(dst []byte, signer chat.Signer) []byte {
	if signer != chat.NoSigner {
		dst = append(dst, `,"format":"`...)
		dst = append(dst, signer.String()...)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, int64(e.thoughts), 10)
	return append(dst, '}')
}

func (e *AnswerEncoder) annotation(dst []byte, v *chat.Event) []byte {
	dst = append(dst, `{"type":"url_citation","url_citation":{"url":`...)
	dst = chat.AppendText(dst, v.URL)
	dst = append(dst, `,"title":`...)
	dst = chat.AppendText(dst, v.Title)
	dst = append(dst, `,"start_index":`...)
	dst = strconv.AppendInt(dst, e.cited, 10)
	dst = append(dst, `,"end_index":`...)
	dst = strconv.AppendInt(dst, e.runes, 10)
	return append(dst, "}}"...)
}

func (e *AnswerEncoder) reason(r chat.Reason) string {
	switch {
	case r == chat.Length:
		return "length"
	case r == chat.Filtered:
		return "content_filter"
	case r == chat.ToolCalls && e.c.Legacy:
		return "function_call"
	case r == chat.ToolCalls:
		return "tool_calls"
	}
	return "stop"
}

func (e *AnswerEncoder) finish(dst []byte, r chat.Reason) []byte {
	if e.finished {
		return dst
	}
	dst = e.block(dst)
	e.finished = true
	dst = e.open(dst)
	dst = append(e.logprobs(dst), `,"finish_reason":"`...)
	dst = append(dst, e.reason(r)...)
	dst = append(dst, '"')
	return append(dst, e.tail...)
}

// End appends the usage chunk, if it was asked for, and [DONE].
func (e *AnswerEncoder) End(dst []byte, t *chat.Total) []byte {
	if !e.finished && (e.began || e.c.Choice == 0) {
		dst = e.finish(dst, chat.Stop)
	}
	if !e.c.Last() {
		return dst
	}
	if e.c.AskedUsage {
		dst = append(dst, e.head...)
		dst = append(dst, `],"usage":`...)
		dst = AppendUsage(dst, t)
		dst = append(dst, "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// AppendUsage appends a usage object: prompt_tokens holds what the cache gave and
// took (protocols 12.8).
func AppendUsage(dst []byte, t *chat.Total) []byte {
	prompt := t.Input + t.CacheRead + t.CacheWrite5m + t.CacheWrite1h + t.AudioIn
	completion := t.Output + t.AudioOut
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`{"prompt_tokens":`, prompt)
	number(`,"completion_tokens":`, completion)
	number(`,"total_tokens":`, prompt+completion)
	number(`,"prompt_tokens_details":{"cached_tokens":`, t.CacheRead)
	if n := t.CacheWrite5m + t.CacheWrite1h; n > 0 {
		number(`,"cache_write_tokens":`, n)
	}
	number(`,"audio_tokens":`, t.AudioIn)
	number(`},"completion_tokens_details":{"reasoning_tokens":`, t.Reasoning)
	number(`,"audio_tokens":`, t.AudioOut)
	return append(dst, "}}"...)
}

// Whole appends a whole answer.
func (e *AnswerEncoder) Whole(dst []byte, list []chat.Event, t *chat.Total) []byte {
	reason := chat.Stop
	for i := range list {
		switch v := &list[i]; v.Kind {
		case chat.Text:
			e.runes += chat.Runes(v.Text)
			e.text = chat.AppendInner(e.text, v.Text)
		case chat.Refusal:
			e.refusal = chat.AppendInner(e.refusal, v.Text)
		case chat.Thinking:
			e.thinking = true
			e.thought = chat.AppendInner(e.thought, v.Text)
			e.details = comma(e.details)
			sig, signer := signatureOf(list[i+1:])
			e.details = e.thoughtText(e.details, v.Text, sig, signer)
		case chat.Signature:
			if i == 0 || list[i-1].Kind != chat.Thinking { // a thought that is not shown
				e.thinking = true
				e.details = e.thoughtText(comma(e.details), nil, v.Text, v.Signer)
			}
		case chat.Redacted:
			e.details = e.encrypted(comma(e.details), v)
			e.thoughts++
		case chat.Block:
			e.cited = e.runes
			if e.thinking {
				e.thinking = false
				e.thoughts++
			}
		case chat.CallStart:
			e.calls++
			e.list = comma(e.list)
			if !e.c.Legacy {
				e.list = append(e.list, `{"id":`...)
				e.list = e.callID(e.list, v)
				e.list = append(e.list, `,"type":"function","function":`...)
			}
			e.list = append(e.list, `{"name":`...)
			e.list = chat.AppendText(e.list, v.Name)
			e.list = append(e.list, `,"arguments":"`...)
			n := len(e.list)
			for j := i + 1; j < len(list) && list[j].Kind == chat.CallArgs; j++ {
				e.list = chat.AppendInner(e.list, list[j].Text)
			}
			if len(e.list) == n {
				e.list = append(e.list, "{}"...)
			}
			e.list = append(e.list, `"}`...)
			if !e.c.Legacy {
				if v.Signer == chat.Google {
					e.list = appendProof(e.list, v.Proof)
				}
				e.list = append(e.list, '}')
			}
		case chat.Citation:
			e.notes = e.annotation(comma(e.notes), v)
		case chat.Logprobs:
			e.probable(v.Text)
		case chat.Finish:
			reason = v.Reason
		}
	}
	if e.c.Choice == 0 {
		dst = e.opening(dst, "chat.completion")
	} else {
		dst = append(dst, ',')
	}
	dst = append(e.choice(dst), `,"message":{"role":"assistant","content":`...)
	if len(e.text) == 0 && e.calls > 0 {
		dst = append(dst, "null"...)
	} else {
		dst = quoted(dst, e.text)
	}
	dst = append(dst, `,"refusal":`...)
	if len(e.refusal) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = quoted(dst, e.refusal)
	}
	if len(e.thought) > 0 {
		dst = append(dst, `,"reasoning_content":`...)
		dst = quoted(dst, e.thought)
	}
	if len(e.details) > 0 {
		dst = member(dst, `,"reasoning_details":[`, e.details, ']')
	}
	if len(e.notes) > 0 {
		dst = member(dst, `,"annotations":[`, e.notes, ']')
	}
	if e.calls > 0 && e.c.Legacy {
		dst = append(dst, `,"function_call":`...)
		dst = append(dst, e.list...)
	} else if e.calls > 0 {
		dst = member(dst, `,"tool_calls":[`, e.list, ']')
	}
	dst = append(e.logprobs(dst), `,"finish_reason":"`...)
	dst = append(dst, e.reason(reason)...)
	dst = append(dst, `"}`...)
	if !e.c.Last() {
		return dst
	}
	dst = append(dst, `],"usage":`...)
	dst = AppendUsage(dst, t)
	return append(dst, '}')
}

// signatureOf is the signature of the thought that list goes on behind.
func signatureOf(list []chat.Event) ([]byte, chat.Signer) {
	if len(list) > 0 && list[0].Kind == chat.Signature {
		return list[0].Text, list[0].Signer
	}
	return nil, chat.NoSigner
}

func comma(dst []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	return dst
}

func quoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

func member(dst []byte, name string, list []byte, end byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, list...)
	return append(dst, end)
}
