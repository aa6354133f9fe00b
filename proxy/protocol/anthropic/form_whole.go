package anthropic

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// Whole appends a whole answer.
func (e *AnswerEncoder) Whole(dst []byte, list []chat.Event, t *chat.Total) []byte {
	kind := chat.Block
	at, taken := 0, 0 // the event under way, and up to which one the citations have their text
	shut := func() {
		if kind == chat.Text {
			for end := late(list[at:]) + at; taken < end; taken++ {
				if taken >= at && list[taken].Kind == chat.Citation {
					e.note(&list[taken])
				}
			}
		}
		switch {
		case kind == chat.Block:
			return
		case kind == chat.Text && len(e.notes) > 0:
			e.blocks = append(e.blocks, `","citations":[`...)
			e.blocks = append(e.blocks, e.notes...)
			e.blocks = append(e.blocks, "]}"...)
			e.notes = e.notes[:0]
		default:
			e.blocks = append(e.blocks, `"}`...)
		}
		kind = chat.Block
	}
	enter := func(want chat.EventKind, opening string) {
		if kind == want {
			return
		}
		shut()
		kind = want
		if len(e.blocks) > 0 {
			e.blocks = append(e.blocks, ',')
		}
		e.blocks = append(e.blocks, opening...)
	}
	for i := range list {
		at = i
		switch v := &list[i]; v.Kind {
		case chat.Thinking:
			if kind != chat.Thinking {
				enter(chat.Thinking, `{"type":"thinking","signature":`)
				e.blocks = appendProof(e.blocks, proofOf(list[i+1:]))
				e.blocks = append(e.blocks, `,"thinking":"`...)
			}
			e.blocks = chat.AppendInner(e.blocks, v.Text)
		case chat.Text, chat.Refusal:
			e.refused = e.refused || v.Kind == chat.Refusal
			enter(chat.Text, `{"type":"text","text":"`)
			e.blocks = chat.AppendInner(e.blocks, v.Text)
		case chat.Citation:
			if i >= taken {
				e.note(v)
			}
		case chat.Signature:
			if kind != chat.Thinking { // else it stands with its thought
				enter(chat.Thinking, `{"type":"thinking","signature":`)
				e.blocks = appendProof(e.blocks, v)
				e.blocks = append(e.blocks, `,"thinking":"`...)
			}
		case chat.Redacted:
			if v.Signer != chat.Anthropic {
				continue
			}
			shut()
			if len(e.blocks) > 0 {
				e.blocks = append(e.blocks, ',')
			}
			e.blocks = appendRedacted(e.blocks, v.Text)
		case chat.Block:
			shut()
		case chat.CallStart:
			if len(v.Name) == 0 {
				continue
			}
			shut()
			if v.Signer != chat.NoSigner {
				enter(chat.Thinking, `{"type":"thinking","signature":`)
				e.blocks = appendProof(e.blocks, &chat.Event{Text: v.Proof, Signer: v.Signer})
				e.blocks = append(e.blocks, `,"thinking":"`...)
				shut()
			}
			if len(e.blocks) > 0 {
				e.blocks = append(e.blocks, ',')
			}
			e.next = len(e.calls)
			e.calls = append(e.calls, pending{id: v.ID})
			e.blocks = append(e.blocks, `{"type":"tool_use","id":`...)
			e.blocks = e.callID(e.blocks, &e.calls[e.next])
			e.blocks = append(e.blocks, `,"name":`...)
			e.blocks = chat.AppendText(e.blocks, v.Name)
			e.blocks = append(e.blocks, `,"input":`...)
			e.blocks = e.input(e.blocks, list[i+1:])
			e.blocks = append(e.blocks, '}')
		case chat.Finish:
			e.reason = v.Reason
			e.stop = append(e.stop[:0], v.Text...)
		}
	}
	at = len(list)
	shut()
	dst = e.opening(dst)
	dst = append(dst, e.blocks...)
	dst = append(dst, `],`...)
	dst = e.ending(dst)
	dst = append(dst, `,"usage":`...)
	dst = AppendUsage(dst, t)
	e.calls = e.calls[:0:0] // they point into the answer
	return append(dst, '}')
}

// note adds to what the text of a whole answer cites.
func (e *AnswerEncoder) note(v *chat.Event) {
	if len(e.notes) > 0 {
		e.notes = append(e.notes, ',')
	}
	e.notes = citationObject(e.notes, v)
}

// late is how many events behind a text may cite it: all up to the next text, none if
// nothing else stands between the two.
func late(list []chat.Event) int {
	other := false
	for i := range list {
		switch list[i].Kind {
		case chat.Text, chat.Refusal:
			if other {
				return i
			}
			return 0
		case chat.Block, chat.Citation, chat.Logprobs:
		default:
			other = true
		}
	}
	return len(list)
}

// proofOf is the signature of the thought that list goes on with, an empty event if
// it has none.
func proofOf(list []chat.Event) *chat.Event {
	for i := range list {
		switch list[i].Kind {
		case chat.Thinking:
		case chat.Signature:
			return &list[i]
		default:
			return &chat.Event{}
		}
	}
	return &chat.Event{}
}

func appendProof(dst []byte, v *chat.Event) []byte {
	dst = append(dst, '"')
	if v.Signer == chat.Google {
		dst = append(dst, googleProof...)
	}
	dst = chat.AppendInner(dst, v.Text)
	return append(dst, '"')
}

// input appends the arguments that list begins with as an object. Arguments that are
// none, cut short by the output cap for instance, stand in one member as they came.
func (e *AnswerEncoder) input(dst []byte, list []chat.Event) []byte {
	raw := e.plain[:0]
	for i := range list {
		if list[i].Kind != chat.CallArgs {
			break
		}
		raw = append(raw, list[i].Text...)
	}
	if chat.Blank(raw) {
		return append(dst, "{}"...)
	}
	at := len(raw)
	raw = chat.Unescape(raw, raw)
	e.plain = raw
	text := raw[at:]
	if i := walk.Space(text, 0); i < len(text) && text[i] == '{' && chat.Valid(text) {
		return append(dst, text...)
	}
	dst = append(dst, `{"INVALID_JSON":`...)
	dst = chat.AppendText(dst, raw[:at])
	return append(dst, '}')
}
