package dashscope

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/apierr"
)

// AppendForm appends a request of the common form as a DashScope request for the
// upstream's model. What it cannot say is dropped or refused as the table of fates has
// it. Answers are asked for as messages, streams in increments unless r.Repeats.
func AppendForm(dst []byte, r *chat.Request, model string) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.DashScope); err != nil {
		return dst, err
	}
	e := encoder{r: r, loop: r.Loop(), listed: PathOf(r, model) == MultimodalPath}
	start := len(dst)
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, `,"input":{"messages":[`...)
	dst, err := e.messages(dst)
	if err == nil && e.own == 0 {
		err = chat.Bad("messages", "holds nothing to answer")
	}
	if err != nil {
		return dst[:start], err
	}
	dst = append(dst, `]},"parameters":{"result_format":"message"`...)
	if r.Stream {
		dst = append(dst, `,"incremental_output":`...)
		dst = strconv.AppendBool(dst, !r.Repeats)
	}
	dst = e.caps(dst)
	if dst, err = e.tools(dst); err == nil {
		dst = e.format(dst)
		dst, err = e.sampling(dst)
	}
	if err != nil {
		return dst[:start], err
	}
	return append(dst, "}}"...), nil
}

type encoder struct {
	r    *chat.Request
	n    int // messages so far
	own  int // of them not the system's
	loop int // first turn of the tool loop under way

	listed bool // contents are lists of parts, as the multimodal models have them

	plain []byte // a system text without escapes
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

// begin and end stand around the text that is a message's content.
func (e *encoder) begin(dst []byte) []byte {
	if e.listed {
		return append(dst, `,"content":[{"text":"`...)
	}
	return append(dst, `,"content":"`...)
}

func (e *encoder) end(dst []byte) []byte {
	if e.listed {
		return append(dst, `"}]`...)
	}
	return append(dst, '"')
}

func (e *encoder) messages(dst []byte) ([]byte, *apierr.Error) {
	dst, err := e.system(dst)
	turns := e.r.Turns
	for i := range turns {
		if err != nil {
			return dst, err
		}
		switch t := &turns[i]; t.Role {
		case chat.User:
			dst, err = e.user(dst, t)
		case chat.Assistant:
			dst, err = e.assistant(dst, i, t, i == len(turns)-1)
		}
	}
	return dst, err
}

// system gathers the system's texts in one message, the first: DashScope takes one and
// no other place.
func (e *encoder) system(dst []byte) ([]byte, *apierr.Error) {
	said, begun := false, false
	for i := range e.r.Turns {
		t := &e.r.Turns[i]
		if t.Role != chat.System {
			begun = true
			continue
		}
		for j := range t.Parts {
			p := &t.Parts[j]
			if p.Kind != chat.PartText {
				return dst, e.refuse(p)
			}
			if len(p.Text) == 0 {
				continue
			}
			e.r.Uncached(p)
			if e.plain = chat.Unescape(e.plain[:0], p.Text); bytes.Contains(e.plain, fileScheme) {
				// A file of the account, which all customers share.
				return dst, chat.Bad(systemPaths[e.r.From], "names a file that is stored at the provider, which is not supported here")
			}
			if begun {
				if err := e.r.Lack(chat.MemberLate, chat.DashScope); err != nil {
					return dst, err
				}
			}
			if said {
				dst = append(dst, `\n\n`...)
			} else {
				said = true
				dst = e.open(dst, "system")
				dst = e.begin(dst)
			}
			dst = chat.AppendInner(dst, p.Text)
		}
	}
	if said {
		dst = append(e.end(dst), '}')
	}
	return dst, nil
}

var fileScheme = []byte("fileid:")

// systemPaths are the names of system texts in the formats of customers.
var systemPaths = [chat.NumProtocols]string{
	chat.OpenAI: "messages", chat.Messages: "system", chat.Responses: "instructions", chat.Gemini: "systemInstruction",
}

// refuse is the 400 for a part that DashScope's models do not take, or not in this turn.
func (e *encoder) refuse(p *chat.Part) *apierr.Error {
	if e.r.From == chat.Gemini && p.URL != nil {
		return e.r.Refuse("contents[].parts[].fileData")
	}
	path := partPaths[e.r.From][p.Kind]
	if path == "" { // a part that has no place in this turn
		path = turnPaths[e.r.From]
	}
	return e.r.Refuse(path)
}

// turnPaths are the names of what is said in the formats of customers.
var turnPaths = [chat.NumProtocols]string{
	chat.OpenAI: "messages[].content", chat.Messages: "messages[].content", chat.Responses: "input[].content", chat.Gemini: "contents[].parts", chat.DashScope: "input.messages[].content",
}

// partPaths are the names of media in the formats of customers.
var partPaths = [chat.NumProtocols]map[chat.PartKind]string{
	chat.OpenAI: {
		chat.PartImage: "messages[].content[].type=image_url", chat.PartFile: "messages[].content[].type=file",
		chat.PartAudio: "messages[].content[].type=input_audio",
	},
	chat.Messages: {
		chat.PartImage: "messages[].content[].type=image", chat.PartFile: "messages[].content[].type=document",
		chat.PartAudio: "messages[].content[].type",
	},
	chat.Responses: {
		chat.PartImage: "input[].content[].type=input_image", chat.PartFile: "input[].content[].type=input_file",
		chat.PartAudio: "input[].content[].type",
	},
	chat.Gemini: {
		chat.PartImage: "contents[].parts[].inlineData", chat.PartFile: "contents[].parts[].inlineData",
		chat.PartAudio: "contents[].parts[].inlineData",
	},
}

// user writes a user's turn: the results of tools first, each a message of its own.
func (e *encoder) user(dst []byte, t *chat.Turn) ([]byte, *apierr.Error) {
	texts, pictures := 0, 0
	for i := range t.Parts {
		p := &t.Parts[i]
		switch p.Kind {
		case chat.PartText, chat.PartRefusal:
			texts++
			e.r.Uncached(p)
		case chat.PartImage:
			pictures++
			e.r.Uncached(p)
		case chat.PartResult:
			var err *apierr.Error
			if dst, err = e.result(dst, p); err != nil {
				return dst, err
			}
		default:
			return dst, e.refuse(p)
		}
	}
	if texts+pictures == 0 {
		return dst, nil
	}
	dst = e.open(dst, "user")
	if pictures > 0 {
		dst = list(dst, t)
	} else {
		dst = e.texts(dst, t)
	}
	return append(dst, '}'), nil
}

// list writes the member content as a list: texts and pictures in their order.
func list(dst []byte, t *chat.Turn) []byte {
	dst = append(dst, `,"content":[`...)
	first := true
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind == chat.PartResult {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		switch {
		case p.Kind != chat.PartImage:
			dst = append(dst, `{"text":`...)
			dst = chat.AppendText(dst, p.Text)
		case p.Data != nil:
			dst = append(dst, `{"image":"data:`...)
			dst = append(dst, p.Media...)
			dst = append(dst, ";base64,"...)
			dst = append(dst, p.Data...)
			dst = append(dst, '"')
		default:
			dst = append(dst, `{"image":`...)
			dst = chat.AppendText(dst, p.URL)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// texts writes the member content: all texts as one, a line apart.
func (e *encoder) texts(dst []byte, t *chat.Turn) []byte {
	dst = e.begin(dst)
	said := false
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind != chat.PartText && p.Kind != chat.PartRefusal {
			continue
		}
		if said && t.Role == chat.User {
			dst = append(dst, `\n`...)
		}
		said = true
		dst = chat.AppendInner(dst, p.Text)
	}
	return e.end(dst)
}

func (e *encoder) result(dst []byte, p *chat.Part) ([]byte, *apierr.Error) {
	e.r.Uncached(p)
	dst = e.open(dst, "tool")
	dst = append(dst, `,"tool_call_id":`...)
	dst = chat.AppendText(dst, p.ID)
	dst = e.begin(dst)
	if p.IsError {
		dst = append(dst, "Error: "...)
	}
	said := false
	for j := range p.Parts {
		m := chat.MemberResultImage
		switch in := &p.Parts[j]; in.Kind {
		case chat.PartText:
			if said {
				dst = append(dst, `\n`...)
			}
			said = true
			dst = chat.AppendInner(dst, in.Text)
			continue
		case chat.PartFile:
			m = chat.MemberResultFile
		}
		if err := e.r.Lack(m, chat.DashScope); err != nil {
			return dst, err
		}
	}
	return append(e.end(dst), '}'), nil
}

// assistant writes an answer of the history. One that the customer has begun, the last
// turn, is gone on with.
func (e *encoder) assistant(dst []byte, turn int, t *chat.Turn, last bool) ([]byte, *apierr.Error) {
	calls, texts := 0, 0
	thoughts := false
	for i := range t.Parts {
		p := &t.Parts[i]
		switch p.Kind {
		case chat.PartText, chat.PartRefusal:
			texts++
		case chat.PartCall:
			calls++
		case chat.PartThinking:
			thoughts = true
		case chat.PartRedacted:
			e.r.Drop(e.r.Name(chat.MemberRedacted))
		default:
			return dst, e.refuse(p)
		}
		e.r.Uncached(p)
	}
	if last && calls == 0 && texts == 0 {
		e.r.Drop("messages[-1]") // there is nothing to go on with
		return dst, nil
	}
	dst = e.open(dst, "assistant")
	dst = e.texts(dst, t)
	if thoughts {
		if calls > 0 && turn >= e.loop {
			dst = append(dst, `,"reasoning_content":"`...)
			for i := range t.Parts {
				if p := &t.Parts[i]; p.Kind == chat.PartThinking {
					dst = chat.AppendInner(dst, p.Text)
				}
			}
			dst = append(dst, '"')
		} else {
			e.r.Drop(e.r.Name(chat.MemberThought))
		}
	}
	if last && calls == 0 {
		dst = append(dst, `,"partial":true`...)
	}
	n := 0
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind != chat.PartCall {
			continue
		}
		if n == 0 {
			dst = append(dst, `,"tool_calls":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(n), 10)
		dst = append(dst, `,"id":`...)
		dst = chat.AppendText(dst, p.ID)
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, p.Name)
		dst = append(dst, `,"arguments":`...)
		dst = chat.AppendPlain(dst, p.Args)
		dst = append(dst, "}}"...)
		n++
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// caps writes how much the model may say, and how much of that it may think: max_tokens
// leaves thoughts out there, so the two share the customer's cap, which is held.
func (e *encoder) caps(dst []byte) []byte {
	r := e.r
	most := r.MaxTokens
	on := r.Effort > chat.EffortNone || r.Adaptive
	if on && most < 2 {
		e.r.Drop(r.Name(chat.MemberThinking))
		on = false
	}
	switch {
	case on:
		budget := r.Budget
		if budget == 0 && r.Effort > chat.EffortNone {
			budget = chat.Scale[r.Effort]
		}
		if budget == 0 || budget > most/2 {
			budget = most / 2
		}
		dst = append(dst, `,"enable_thinking":true,"thinking_budget":`...)
		dst = strconv.AppendInt(dst, budget, 10)
		most -= budget
	case r.Effort == chat.EffortNone:
		dst = append(dst, `,"enable_thinking":false`...)
	}
	dst = append(dst, `,"max_tokens":`...)
	return strconv.AppendInt(dst, most, 10)
}

func (e *encoder) tools(dst []byte) ([]byte, *apierr.Error) {
	r := e.r
	if len(r.Tools) == 0 {
		return dst, nil
	}
	dst = append(dst, `,"tools":[`...)
	for i := range r.Tools {
		t := &r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = chat.AppendFunction(dst, t)
		dst = append(dst, "}}"...)
		if string(t.Strict) == "true" {
			if err := r.Lack(chat.MemberStrict, chat.DashScope); err != nil {
				return dst, err
			}
		}
	}
	dst = append(dst, ']')
	name := r.ChoiceName
	switch r.Choice {
	case chat.ChoiceAuto:
		dst = append(dst, `,"tool_choice":"auto"`...)
	case chat.ChoiceNone:
		dst = append(dst, `,"tool_choice":"none"`...)
	case chat.ChoiceRequired: // DashScope can demand one tool only
		if len(r.Tools) != 1 {
			return dst, chat.Bad(choicePaths[r.From], "cannot demand any of several tools of this model: name one")
		}
		name = r.Tools[0].Name
		fallthrough
	case chat.ChoiceNamed:
		dst = append(dst, `,"tool_choice":{"type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, name)
		dst = append(dst, "}}"...)
	}
	dst = append(dst, `,"parallel_tool_calls":`...)
	return strconv.AppendBool(dst, !r.ParallelOff), nil
}

var choicePaths = [chat.NumProtocols]string{
	chat.OpenAI: "tool_choice", chat.Messages: "tool_choice", chat.Responses: "tool_choice", chat.Gemini: "toolConfig",
}

func (e *encoder) format(dst []byte) []byte {
	f := &e.r.Format
	switch f.Mode {
	case chat.FormatObject:
		dst = append(dst, `,"response_format":{"type":"json_object"}`...)
	case chat.FormatSchema:
		dst = append(dst, `,"response_format":{"type":"json_schema","json_schema":{"name":`...)
		if len(f.Name) > 0 {
			dst = chat.AppendText(dst, f.Name)
		} else {
			dst = append(dst, `"answer"`...)
		}
		if len(f.Description) > 0 {
			dst = append(dst, `,"description":`...)
			dst = chat.AppendText(dst, f.Description)
		}
		dst = append(dst, `,"schema":`...)
		dst = append(dst, f.Schema...)
		if f.Strict != nil {
			dst = append(dst, `,"strict":`...)
			dst = append(dst, f.Strict...)
		}
		dst = append(dst, "}}"...)
	}
	return dst
}

// mostAnswers is how many answers DashScope gives at once.
const mostAnswers = 4

// sampling writes what shapes the choice of tokens. The ends of two ranges are not in
// them at DashScope: the nearest number in them is sent.
func (e *encoder) sampling(dst []byte) ([]byte, *apierr.Error) {
	r := e.r
	number := func(name string, v []byte) {
		if v != nil {
			dst = append(dst, name...)
			dst = append(dst, v...)
		}
	}
	number(`,"temperature":`, inside(r.Temperature, -1, 2, "", "1.99"))
	number(`,"top_p":`, inside(r.TopP, 0, 1, "0.001", "0.999"))
	number(`,"top_k":`, r.TopK)
	number(`,"seed":`, r.Seed)
	number(`,"presence_penalty":`, r.Presence)
	if r.Answers > mostAnswers {
		return dst, chat.Bad(r.Name(chat.MemberAnswers), "may be 4 at most for this model")
	}
	if r.Answers > 1 {
		dst = strconv.AppendInt(append(dst, `,"n":`...), r.Answers, 10)
	}
	if r.Logprobs {
		dst = append(dst, `,"logprobs":true`...)
	}
	number(`,"top_logprobs":`, r.TopLogprobs)
	for i, s := range r.Stop {
		if i == 0 {
			dst = append(dst, `,"stop":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendText(dst, s)
	}
	if len(r.Stop) > 0 {
		dst = append(dst, ']')
	}
	for _, name := range r.UserNames {
		if err := r.Cannot(name, chat.DashScope); err != nil {
			return dst, err
		}
	}
	if len(r.UserNames) == 0 && len(r.User) > 0 {
		r.Drop("metadata")
	}
	if r.Frequency != nil {
		return dst, r.Lack(chat.MemberFrequency, chat.DashScope)
	}
	return dst, nil
}

// inside is the number v, or the nearest one that lies between low and high and is
// neither.
func inside(v []byte, low, high float64, least, most string) []byte {
	f, err := strconv.ParseFloat(string(v), 64)
	switch {
	case v == nil || err != nil:
	case f <= low:
		return []byte(least)
	case f >= high:
		return []byte(most)
	}
	return v
}
