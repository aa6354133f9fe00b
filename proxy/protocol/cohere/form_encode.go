package cohere

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/apierr"
)

// maxStops is how many stop strings Cohere takes.
const maxStops = 5

// AppendForm appends a request of the common form as a Cohere request for the
// upstream's model. What it cannot say is dropped or refused as the table of fates has
// it.
func AppendForm(dst []byte, r *chat.Request, model string) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.Cohere); err != nil {
		return dst, err
	}
	e := encoder{r: r}
	start := len(dst)
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, `,"messages":[`...)
	dst, err := e.messages(dst)
	switch {
	case err != nil:
	case e.own == 0:
		err = chat.Bad("messages", "holds nothing to answer")
	case len(r.Stop) > maxStops:
		err = chat.Bad(r.Name(chat.MemberStop), "may hold five strings at most for this model")
	}
	if err != nil {
		return dst[:start], err
	}
	dst = append(dst, ']')
	if dst, err = e.tools(dst); err != nil {
		return dst[:start], err
	}
	dst = e.format(dst)
	dst = e.thinking(dst)
	dst = e.sampling(dst)
	for _, name := range r.UserNames {
		r.Drop(name)
	}
	if r.Stream {
		dst = append(dst, `,"stream":true`...)
	}
	return append(dst, '}'), nil
}

type encoder struct {
	r   *chat.Request
	n   int // messages so far
	own int // of them not the system's
}

// open begins a message.
func (e *encoder) open(dst []byte, role string) []byte {
	if e.n++; e.n > 1 {
		dst = append(dst, ',')
	}
	if role != "system" {
		e.own++
	}
	dst = append(dst, `{"role":"`...)
	dst = append(dst, role...)
	return append(dst, '"')
}

func (e *encoder) messages(dst []byte) ([]byte, *apierr.Error) {
	turns := e.r.Turns
	if n := len(turns); n > 0 && turns[n-1].Role == chat.Assistant {
		e.r.Drop("messages[-1]") // Cohere would not go on with it
		turns = turns[:n-1]
	}
	for i := range turns {
		t := &turns[i]
		var err *apierr.Error
		switch t.Role {
		case chat.System:
			if len(t.Parts) > 0 {
				dst, err = e.content(e.open(dst, "system"), t.Parts)
				dst = append(dst, '}')
			}
		case chat.User:
			dst, err = e.user(dst, t)
		case chat.Assistant:
			dst = e.assistant(dst, t)
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// user writes a user's turn: the results of tools first, each a message of its own.
// Pictures in results follow in a message of the user.
func (e *encoder) user(dst []byte, t *chat.Turn) ([]byte, *apierr.Error) {
	rest := make([]chat.Part, 0, len(t.Parts))
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind != chat.PartResult {
			continue
		}
		e.r.Uncached(p)
		dst = e.open(dst, "tool")
		dst = append(dst, `,"tool_call_id":`...)
		dst = chat.AppendText(dst, p.ID)
		dst = append(dst, `,"content":"`...)
		dst, rest = e.r.AppendResult(dst, p, rest, func(file *chat.Part) bool { return text(file.Media) })
		dst = append(dst, `"}`...)
	}
	for i := range t.Parts {
		switch p := &t.Parts[i]; p.Kind {
		case chat.PartText, chat.PartRefusal, chat.PartImage, chat.PartFile:
			rest = append(rest, *p)
		case chat.PartAudio:
			if err := e.r.Lack(chat.MemberAudio, chat.Cohere); err != nil {
				return dst, err
			}
		}
	}
	if len(rest) == 0 {
		return dst, nil
	}
	dst, err := e.content(e.open(dst, "user"), rest)
	return append(dst, '}'), err
}

// content writes the member content: one text as a string, else a list of parts.
func (e *encoder) content(dst []byte, parts []chat.Part) ([]byte, *apierr.Error) {
	dst = append(dst, `,"content":`...)
	for i := range parts {
		e.r.Uncached(&parts[i])
	}
	if len(parts) == 1 && parts[0].Kind == chat.PartText {
		return chat.AppendText(dst, parts[0].Text), nil
	}
	dst = append(dst, '[')
	for i := range parts {
		p := &parts[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		switch p.Kind {
		case chat.PartImage:
			dst = append(dst, `{"type":"image_url","image_url":{"url":"`...)
			if p.Data == nil {
				dst = chat.AppendInner(dst, p.URL)
			} else {
				dst = append(dst, "data:"...)
				dst = append(dst, p.Media...)
				dst = append(dst, ";base64,"...)
				dst = append(dst, p.Data...)
			}
			dst = append(dst, `"}}`...)
		case chat.PartFile:
			plain, err := base64.StdEncoding.DecodeString(string(p.Data))
			if err != nil || !text(p.Media) {
				return dst, chat.Bad(e.r.Name(chat.MemberFile), "must be a text for this model")
			}
			dst = append(dst, `{"type":"text","text":"`...)
			if len(p.Title) > 0 {
				dst = chat.AppendInner(dst, p.Title)
				dst = append(dst, `\n`...)
			}
			dst = chat.AppendInner(dst, chat.Escape(nil, plain))
			dst = append(dst, `"}`...)
		default:
			dst = append(dst, `{"type":"text","text":`...)
			dst = chat.AppendText(dst, p.Text)
			dst = append(dst, '}')
		}
	}
	return append(dst, ']'), nil
}

// text reports whether a file of the media type is a text.
func text(media []byte) bool { return bytes.HasPrefix(media, []byte("text/")) }

// assistant writes an answer of the history. What was said before a call is the plan
// for it there.
func (e *encoder) assistant(dst []byte, t *chat.Turn) []byte {
	said, calls := 0, 0
	for i := range t.Parts {
		p := &t.Parts[i]
		e.r.Uncached(p)
		switch p.Kind {
		case chat.PartText, chat.PartRefusal:
			if len(p.Text) > 0 {
				said++
			}
		case chat.PartCall:
			calls++
		case chat.PartThinking:
			e.r.Drop(e.r.Name(chat.MemberThought))
		case chat.PartRedacted:
			e.r.Drop(e.r.Name(chat.MemberRedacted))
		}
	}
	if said+calls == 0 {
		return dst
	}
	dst = e.open(dst, "assistant")
	if said > 0 {
		member := `,"content":"`
		if calls > 0 {
			member = `,"tool_plan":"`
		}
		dst = append(dst, member...)
		for i := range t.Parts {
			if p := &t.Parts[i]; p.Kind == chat.PartText || p.Kind == chat.PartRefusal {
				dst = chat.AppendInner(dst, p.Text)
			}
		}
		dst = append(dst, '"')
	}
	n := 0
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind != chat.PartCall {
			continue
		}
		if n++; n == 1 {
			dst = append(dst, `,"tool_calls":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = chat.AppendText(dst, p.ID)
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, p.Name)
		dst = append(dst, `,"arguments":`...)
		dst = chat.AppendPlain(dst, p.Args)
		dst = append(dst, "}}"...)
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// tools writes the tools that the model may call. Cohere can demand any tool, not one
// by its name: the others are left out then. It is strict with all or with none.
func (e *encoder) tools(dst []byte) ([]byte, *apierr.Error) {
	r := e.r
	n, strict := 0, 0
	for i := range r.Tools {
		t := &r.Tools[i]
		if r.Choice == chat.ChoiceNamed && !bytes.Equal(t.Name, r.ChoiceName) {
			continue
		}
		if n++; n == 1 {
			dst = append(dst, `,"tools":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendFunction(dst, t)
		dst = append(dst, "}}"...)
		if string(t.Strict) == "true" {
			strict++
		}
	}
	switch {
	case n > 0:
	case r.Choice == chat.ChoiceNamed:
		return dst, chat.Bad(r.Name(chat.MemberChoice), "names a tool that the request does not have")
	default:
		return dst, nil
	}
	dst = append(dst, ']')
	switch {
	case strict == n:
		dst = append(dst, `,"strict_tools":true`...)
	case strict > 0:
		r.Drop(r.Name(chat.MemberStrict))
	}
	switch r.Choice {
	case chat.ChoiceNone:
		dst = append(dst, `,"tool_choice":"NONE"`...)
	case chat.ChoiceRequired, chat.ChoiceNamed:
		dst = append(dst, `,"tool_choice":"REQUIRED"`...)
	}
	if r.ParallelOff {
		r.Drop(r.Name(chat.MemberParallel))
	}
	return dst, nil
}

func (e *encoder) format(dst []byte) []byte {
	f := &e.r.Format
	if f.Mode == chat.FormatUnset {
		return dst
	}
	dst = append(dst, `,"response_format":{"type":"json_object"`...)
	if f.Mode == chat.FormatSchema {
		dst = append(dst, `,"json_schema":`...)
		dst = append(dst, f.Schema...)
	}
	return append(dst, '}')
}

// answerRoom is what thinking leaves of the output cap for the answer, in tokens.
const answerRoom = 1024

// thinking writes whether the model is to think, and how much: Cohere's cap counts
// thoughts.
func (e *encoder) thinking(dst []byte) []byte {
	r := e.r
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, r.MaxTokens, 10)
	switch {
	case r.Effort == chat.EffortNone:
		return append(dst, `,"thinking":{"type":"disabled"}`...)
	case r.Effort == chat.EffortUnset && !r.Adaptive:
		return dst
	}
	budget := r.Budget
	if budget == 0 && r.Effort > chat.EffortNone {
		budget = chat.Scale[r.Effort]
	}
	dst = append(dst, `,"thinking":{"type":"enabled"`...)
	if most := r.MaxTokens - answerRoom; budget > 0 && most > 0 {
		dst = append(dst, `,"token_budget":`...)
		dst = strconv.AppendInt(dst, min(budget, most), 10)
	}
	return append(dst, '}')
}

// sampling writes what shapes the choice of tokens. A number beyond what Cohere takes
// becomes the nearest that it does, and is named where it says something else.
func (e *encoder) sampling(dst []byte) []byte {
	r := e.r
	number := func(name string, v []byte, m chat.Member, low, high string) {
		if v == nil {
			return
		}
		if f, err := strconv.ParseFloat(string(v), 64); err == nil {
			if least, _ := strconv.ParseFloat(low, 64); f < least {
				v = []byte(low)
				r.Drop(r.Name(m))
			} else if most, _ := strconv.ParseFloat(high, 64); f > most {
				if v = []byte(high); f != 1 || m != chat.MemberTopP { // 1 is all, 0.99 as good as all
					r.Drop(r.Name(m))
				}
			}
		}
		dst = append(dst, name...)
		dst = append(dst, v...)
	}
	number(`,"temperature":`, r.Temperature, chat.MemberTemperature, "0", "2")
	number(`,"p":`, r.TopP, chat.MemberTopP, "0.01", "0.99")
	number(`,"k":`, r.TopK, chat.MemberTopK, "0", "500")
	number(`,"seed":`, r.Seed, chat.MemberSeed, "0", "18446744073709551615")
	number(`,"frequency_penalty":`, r.Frequency, chat.MemberFrequency, "0", "1")
	number(`,"presence_penalty":`, r.Presence, chat.MemberPresence, "0", "1")
	for i, s := range r.Stop {
		if i == 0 {
			dst = append(dst, `,"stop_sequences":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendText(dst, s)
	}
	if len(r.Stop) > 0 {
		dst = append(dst, ']')
	}
	return dst
}
