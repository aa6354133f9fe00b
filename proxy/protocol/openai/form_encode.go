package openai

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/apierr"
)

// maxStops is how many stop strings Chat Completions takes.
const maxStops = 4

// AppendForm appends a request of the common form as a Chat Completions request
// for the upstream's model, in its dialect. What it cannot say is dropped or
// refused as the table of fates has it.
func AppendForm(dst []byte, r *chat.Request, model string, d Dialect) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.OpenAI); err != nil {
		return dst, err
	}
	e := encoder{r: r, d: d, loop: r.Loop()}
	start := len(dst)
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, ',')
	dst = protocol.AppendString(dst, d.CapField())
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, r.MaxTokens, 10)
	dst = append(dst, `,"messages":[`...)
	n := len(dst)
	dst, err := e.messages(dst)
	if err == nil && len(dst) == n {
		err = chat.Bad("messages", "holds nothing to answer")
	}
	if err == nil && len(r.Stop) > maxStops {
		err = chat.Bad(r.Name(chat.MemberStop), "may hold four strings at most for this model")
	}
	if err != nil {
		return dst[:start], err
	}
	dst = append(dst, ']')
	dst = e.tools(dst)
	dst = e.format(dst)
	dst = e.thinking(dst, model)
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
	if r.Temperature != nil {
		dst = append(dst, `,"temperature":`...)
		dst = append(dst, r.Temperature...)
	}
	if r.TopP != nil {
		dst = append(dst, `,"top_p":`...)
		dst = append(dst, r.TopP...)
	}
	if r.Seed != nil {
		if d == Mistral {
			dst = append(dst, `,"random_seed":`...)
		} else {
			dst = append(dst, `,"seed":`...)
		}
		dst = append(dst, r.Seed...)
	}
	if r.Frequency != nil {
		dst = append(dst, `,"frequency_penalty":`...)
		dst = append(dst, r.Frequency...)
	}
	if r.Presence != nil {
		dst = append(dst, `,"presence_penalty":`...)
		dst = append(dst, r.Presence...)
	}
	if r.Answers > 1 {
		dst = strconv.AppendInt(append(dst, `,"n":`...), r.Answers, 10)
	}
	if r.Logprobs {
		dst = append(dst, `,"logprobs":true`...)
	}
	if r.TopLogprobs != nil {
		dst = append(append(dst, `,"top_logprobs":`...), r.TopLogprobs...)
	}
	if r.TopK != nil {
		if err := r.Lack(chat.MemberTopK, chat.OpenAI); err != nil {
			return dst[:start], err
		}
	}
	if len(r.User) > 0 {
		dst = append(dst, `,"user":`...)
		dst = chat.AppendText(dst, r.User)
	}
	if r.Stream {
		dst = append(dst, `,"stream":true`...)
		if d.NeedsIncludeUsage() {
			dst = append(dst, `,"stream_options":{"include_usage":true}`...)
		}
	}
	return append(dst, '}'), nil
}

type encoder struct {
	r *chat.Request
	d Dialect
	n int // messages so far

	loop int // first turn of the tool loop under way
}

// open begins a message.
func (e *encoder) open(dst []byte, role string) []byte {
	if e.n++; e.n > 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"role":"`...)
	dst = append(dst, role...)
	return append(dst, '"')
}

func (e *encoder) messages(dst []byte) ([]byte, *apierr.Error) {
	turns := e.r.Turns
	if n := len(turns); n > 0 && turns[n-1].Role == chat.Assistant {
		// The provider would not go on with it but answer it.
		e.r.Drop("messages[-1]")
		turns = turns[:n-1]
	}
	for i := range turns {
		t := &turns[i]
		switch t.Role {
		case chat.System:
			if len(t.Parts) > 0 {
				dst = e.open(dst, "system")
				dst = e.content(dst, t.Parts)
				dst = append(dst, '}')
			}
		case chat.User:
			dst = e.user(dst, t)
		case chat.Assistant:
			dst = e.assistant(dst, i, t)
		}
	}
	return dst, nil
}

// user writes a user's turn: the results of tools first, each a message of its own.
// Pictures in results follow in a message of the user.
func (e *encoder) user(dst []byte, t *chat.Turn) []byte {
	rest := make([]chat.Part, 0, len(t.Parts))
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Kind != chat.PartResult {
			continue
		}
		dst = e.open(dst, "tool")
		dst = append(dst, `,"tool_call_id":`...)
		dst = e.appendID(dst, p.ID)
		dst = append(dst, `,"content":"`...)
		dst, rest = e.r.AppendResult(dst, p, rest, nil)
		dst = append(dst, `"}`...)
	}
	for i := range t.Parts {
		switch p := &t.Parts[i]; p.Kind {
		case chat.PartText, chat.PartImage, chat.PartFile, chat.PartAudio:
			rest = append(rest, *p)
		}
	}
	if len(rest) == 0 {
		return dst
	}
	dst = e.open(dst, "user")
	dst = e.content(dst, rest)
	return append(dst, '}')
}

// content writes the member content: one text as a string, else a list of parts.
func (e *encoder) content(dst []byte, parts []chat.Part) []byte {
	dst = append(dst, `,"content":`...)
	if len(parts) == 1 && parts[0].Kind == chat.PartText {
		return chat.AppendText(dst, parts[0].Text)
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
				dst = data(dst, p)
			}
			dst = append(dst, `"}}`...)
		case chat.PartAudio:
			dst = append(dst, `{"type":"input_audio","input_audio":{"data":"`...)
			dst = append(dst, p.Data...)
			dst = append(dst, `","format":"`...)
			dst = append(dst, audioFormat(p.Media)...)
			dst = append(dst, `"}}`...)
		case chat.PartFile:
			dst = append(dst, `{"type":"file","file":{"filename":`...)
			if len(p.Title) > 0 {
				dst = chat.AppendText(dst, p.Title)
			} else {
				dst = append(dst, `"document.pdf"`...)
			}
			dst = append(dst, `,"file_data":"`...)
			dst = data(dst, p)
			dst = append(dst, `"}}`...)
		default:
			dst = append(dst, `{"type":"text","text":`...)
			dst = chat.AppendText(dst, p.Text)
			dst = append(dst, '}')
		}
	}
	return append(dst, ']')
}

// audioFormat is Chat's name for a media type of audio.
func audioFormat(media []byte) []byte {
	switch name := bytes.TrimPrefix(media, []byte("audio/")); string(name) {
	case "mpeg":
		return []byte("mp3")
	case "x-wav", "wave":
		return []byte("wav")
	default:
		return name
	}
}

func data(dst []byte, p *chat.Part) []byte {
	dst = append(dst, "data:"...)
	dst = append(dst, p.Media...)
	dst = append(dst, ";base64,"...)
	return append(dst, p.Data...)
}

func (e *encoder) assistant(dst []byte, turn int, t *chat.Turn) []byte {
	dst = e.open(dst, "assistant")
	texts, calls, thoughts := 0, 0, 0
	for i := range t.Parts {
		switch t.Parts[i].Kind {
		case chat.PartText, chat.PartRefusal:
			texts++
		case chat.PartCall:
			calls++
		case chat.PartThinking:
			thoughts++
		case chat.PartRedacted:
			e.r.Drop(e.r.Name(chat.MemberRedacted))
		}
	}
	switch {
	case texts > 0:
		dst = append(dst, `,"content":"`...)
		for i := range t.Parts {
			if p := &t.Parts[i]; p.Kind == chat.PartText || p.Kind == chat.PartRefusal {
				dst = chat.AppendInner(dst, p.Text)
			}
		}
		dst = append(dst, '"')
	case calls > 0:
		dst = append(dst, `,"content":null`...)
	default:
		dst = append(dst, `,"content":""`...)
	}
	if thoughts > 0 {
		if calls > 0 && e.replays() && turn >= e.loop {
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
	if calls > 0 {
		dst = append(dst, `,"tool_calls":[`...)
		n := 0
		for i := range t.Parts {
			p := &t.Parts[i]
			if p.Kind != chat.PartCall {
				continue
			}
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"id":`...)
			dst = e.appendID(dst, p.ID)
			dst = append(dst, `,"type":"function","function":{"name":`...)
			dst = chat.AppendText(dst, p.Name)
			dst = append(dst, `,"arguments":`...)
			dst = chat.AppendPlain(dst, p.Args)
			dst = append(dst, '}')
			if p.Signer == chat.Google && e.d == GeminiCompat {
				dst = appendProof(dst, p.Signature)
			}
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// replays reports whether the dialect wants the thoughts of a tool loop back.
func (e *encoder) replays() bool {
	return e.d == DeepSeek || e.d == Moonshot || e.d == Zai
}

// appendID appends the id of a tool call. Mistral takes nine letters and digits:
// another provider's id becomes such, the same each time.
func (e *encoder) appendID(dst, id []byte) []byte {
	const size = 9
	if e.d != Mistral {
		return chat.AppendText(dst, id)
	}
	fits := len(id) == size
	for _, c := range id {
		fits = fits && (c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z')
	}
	if fits {
		return chat.AppendText(dst, id)
	}
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	h := xxhash.Sum64(id)
	dst = append(dst, '"')
	for range size {
		dst = append(dst, digits[h%uint64(len(digits))])
		h /= uint64(len(digits))
	}
	return append(dst, '"')
}

func (e *encoder) tools(dst []byte) []byte {
	r := e.r
	if len(r.Tools) == 0 {
		return dst
	}
	dst = append(dst, `,"tools":[`...)
	for i := range r.Tools {
		t := &r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = chat.AppendFunction(dst, t)
		if t.Strict != nil {
			dst = append(dst, `,"strict":`...)
			dst = append(dst, t.Strict...)
		}
		dst = append(dst, "}}"...)
	}
	dst = append(dst, ']')
	switch r.Choice {
	case chat.ChoiceAuto:
		dst = append(dst, `,"tool_choice":"auto"`...)
	case chat.ChoiceNone:
		dst = append(dst, `,"tool_choice":"none"`...)
	case chat.ChoiceRequired:
		dst = append(dst, `,"tool_choice":"required"`...)
	case chat.ChoiceNamed:
		dst = append(dst, `,"tool_choice":{"type":"function","function":{"name":`...)
		dst = chat.AppendText(dst, r.ChoiceName)
		dst = append(dst, "}}"...)
	}
	if r.ParallelOff {
		dst = append(dst, `,"parallel_tool_calls":false`...)
	}
	return dst
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
			dst = append(dst, `"answer"`...) // Messages has no name for it, Chat wants one
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
		} else if e.r.From == chat.Messages {
			dst = append(dst, `,"strict":true`...) // what Messages always is
		}
		dst = append(dst, "}}"...)
	}
	return dst
}

// thinking writes how much the model is to think, in the dialect's way.
func (e *encoder) thinking(dst []byte, model string) []byte {
	r := e.r
	on := r.Effort > chat.EffortNone || r.Adaptive
	if r.Effort == chat.EffortUnset && !on {
		return dst
	}
	switch e.d {
	case Zai, DeepSeek:
		if on {
			return append(dst, `,"thinking":{"type":"enabled"}`...)
		}
		return append(dst, `,"thinking":{"type":"disabled"}`...)
	case Qwen:
		dst = append(dst, `,"enable_thinking":`...)
		dst = strconv.AppendBool(dst, on)
		if on && r.Budget > 0 {
			dst = append(dst, `,"thinking_budget":`...)
			dst = strconv.AppendInt(dst, r.Budget, 10)
		}
		return dst
	}
	if !on || r.Effort == chat.EffortUnset {
		return dst // the model's own default
	}
	if !e.d.reasons(model) {
		r.Drop(r.Name(chat.MemberThinking))
		return dst
	}
	effort := r.Effort
	if effort > chat.EffortHigh {
		effort = chat.EffortHigh // few take more
	}
	dst = append(dst, `,"reasoning_effort":"`...)
	dst = append(dst, effort.String()...)
	return append(dst, '"')
}

// reasons reports whether an upstream's model takes reasoning_effort; one that does
// not refuses the request.
func (d Dialect) reasons(model string) bool {
	switch d {
	case Moonshot, Perplexity:
		return false
	case OpenRouter, GeminiCompat, Ollama, HuggingFace, Cerebras:
		return true
	}
	for _, name := range [...]string{"gpt-5", "gpt-oss", "o1", "o3", "o4", "grok-3-mini", "grok-4", "qwen3", "magistral", "reason", "think"} {
		if strings.Contains(model, name) {
			return true
		}
	}
	return false
}
