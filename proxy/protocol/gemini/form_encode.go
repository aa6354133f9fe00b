package gemini

import (
	"bytes"
	"strconv"
	"strings"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// maxStops is how many stop strings Gemini takes.
const maxStops = 5

// unsigned is what Google takes for the signature of a call that no model of its own
// made: without one Gemini 3 refuses a history with calls.
const unsigned = "skip_thought_signature_validator"

// AppendForm appends a request of the common form as a generateContent request for the
// upstream's model, which stands in the path. What Gemini cannot say is dropped or
// refused as the table of fates has it.
func AppendForm(dst []byte, r *chat.Request, model string) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.Gemini); err != nil {
		return dst, err
	}
	e := encoder{r: r, model: parseModel(model)}
	start := len(dst)
	dst = append(dst, `{"contents":[`...)
	n := len(dst)
	dst, err := e.contents(dst)
	switch {
	case err != nil:
	case len(dst) == n:
		err = chat.Bad("messages", "holds nothing to answer")
	case len(r.Stop) > maxStops:
		err = chat.Bad(r.Name(chat.MemberStop), "may hold five strings at most for this model")
	}
	if err != nil {
		return dst[:start], err
	}
	dst = append(dst, ']')
	dst = e.system(dst)
	dst = e.tools(dst)
	dst = e.config(dst)
	for _, name := range r.UserNames {
		r.Drop(name)
	}
	return append(dst, '}'), nil
}

type encoder struct {
	r     *chat.Request
	model model
	n     int // entries of contents so far
}

// model is what the name of a Gemini model tells.
type model struct {
	version     int // 205 for 2.5, 0 = unknown
	flash, lite bool
}

func parseModel(name string) (m model) {
	m.flash, m.lite = strings.Contains(name, "flash"), strings.Contains(name, "lite")
	_, rest, ok := strings.Cut(name, "gemini-")
	if !ok {
		return m
	}
	number, _, _ := strings.Cut(rest, "-")
	major, minor, _ := strings.Cut(number, ".")
	if v, err := strconv.ParseUint(major, 10, 8); err == nil && v < 100 {
		m.version = int(v) * 100
		if v, err := strconv.ParseUint(minor, 10, 8); err == nil && v < 100 {
			m.version += int(v)
		}
	}
	return m
}

// signs reports whether the model wants a signature with every call of the history.
func (m *model) signs() bool { return m.version >= 300 }

func (e *encoder) system(dst []byte) []byte {
	lead, n := true, 0
	for i := range e.r.Turns {
		t := &e.r.Turns[i]
		if t.Role != chat.System {
			lead = false
			continue
		}
		if !lead {
			e.r.Drop(e.r.Name(chat.MemberLate))
		}
		for j := range t.Parts {
			p := &t.Parts[j]
			if len(p.Text) == 0 {
				continue
			}
			if n++; n == 1 {
				dst = append(dst, `,"systemInstruction":{"parts":[`...)
			} else {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"text":`...)
			dst = chat.AppendText(dst, p.Text)
			dst = append(dst, '}')
			e.r.Uncached(p)
		}
	}
	if n > 0 {
		dst = append(dst, "]}"...)
	}
	return dst
}

// contents writes the turns: neighbours of one role become one entry, results of tools
// have one of their own before the rest.
func (e *encoder) contents(dst []byte) ([]byte, *apierr.Error) {
	turns := e.r.Turns
	for role, from, to, ok := e.r.Neighbours(0); ok; role, from, to, ok = e.r.Neighbours(to) {
		var err *apierr.Error
		if role == chat.Assistant {
			dst = e.said(dst, turns[from:to])
			continue
		}
		for _, results := range [...]bool{true, false} {
			if dst, err = e.asked(dst, turns[from:to], from, results); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

// entry begins an entry of contents; shut ends it, or takes it back if it holds nothing.
func (e *encoder) entry(dst []byte, role string) (out []byte, before int) {
	before = len(dst)
	if e.n > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"role":"`...)
	dst = append(dst, role...)
	return append(dst, `","parts":[`...), before
}

func (e *encoder) shut(dst []byte, before, parts int) []byte {
	if parts == 0 {
		return dst[:before]
	}
	e.n++
	return append(dst, "]}"...)
}

// said writes turns of the model.
func (e *encoder) said(dst []byte, turns []chat.Turn) []byte {
	dst, before := e.entry(dst, "model")
	n, calls := 0, 0
	var proof []byte // of a thought, for the part that follows
	part := func() {
		if n++; n > 1 {
			dst = append(dst, ',')
		}
	}
	alone := func() {
		if len(proof) > 0 {
			part()
			dst = append(dst, `{"text":"","thoughtSignature":`...)
			dst = chat.AppendText(dst, proof)
			dst = append(dst, '}')
			proof = nil
		}
	}
	for i := range turns {
		if turns[i].Role != chat.Assistant {
			continue
		}
		calls = 0
		for j := range turns[i].Parts {
			p := &turns[i].Parts[j]
			e.r.Uncached(p)
			switch p.Kind {
			case chat.PartThinking:
				if p.Signer != chat.Google {
					e.r.Drop(e.r.Name(chat.MemberThought))
					continue
				}
				alone()
				proof = p.Signature
			case chat.PartRedacted:
				e.r.Drop(e.r.Name(chat.MemberRedacted))
			case chat.PartText, chat.PartRefusal:
				if len(p.Text) == 0 {
					continue
				}
				part()
				dst = append(dst, `{"text":`...)
				dst = chat.AppendText(dst, p.Text)
				dst = e.proof(dst, proof)
				proof = nil
				dst = append(dst, '}')
			case chat.PartCall:
				part()
				dst = append(dst, `{"functionCall":{"id":`...)
				dst = chat.AppendText(dst, p.ID)
				dst = append(dst, `,"name":`...)
				dst = chat.AppendText(dst, p.Name)
				dst = append(dst, `,"args":`...)
				dst = append(dst, p.Args...)
				dst = append(dst, '}')
				switch {
				case p.Signer == chat.Google:
					proof = p.Signature
				case len(proof) == 0 && calls == 0 && e.model.signs():
					proof = []byte(unsigned) // of calls at once only the first has one
				}
				dst = e.proof(dst, proof)
				proof = nil
				calls++
				dst = append(dst, '}')
			}
		}
	}
	alone()
	return e.shut(dst, before, n)
}

func (e *encoder) proof(dst, s []byte) []byte {
	if len(s) == 0 {
		return dst
	}
	dst = append(dst, `,"thoughtSignature":`...)
	return chat.AppendText(dst, s)
}

// asked writes turns of the user: the results of tools, or the rest. Pictures in
// results stand with the rest.
func (e *encoder) asked(dst []byte, turns []chat.Turn, first int, results bool) ([]byte, *apierr.Error) {
	dst, before := e.entry(dst, "user")
	n := 0
	var err *apierr.Error
	one := func(turn int, p *chat.Part) {
		if err != nil {
			return
		}
		e.r.Uncached(p)
		at := len(dst)
		if n > 0 {
			dst = append(dst, ',')
		}
		body := len(dst)
		if results {
			dst, err = e.result(dst, turn, p)
		} else {
			dst, err = e.part(dst, p)
		}
		if len(dst) == body {
			dst = dst[:at]
		} else {
			n++
		}
	}
	for i := range turns {
		if turns[i].Role != chat.User {
			continue
		}
		for j := range turns[i].Parts {
			p := &turns[i].Parts[j]
			switch {
			case (p.Kind == chat.PartResult) == results:
				one(first+i, p)
			case p.Kind == chat.PartResult:
				for k := range p.Parts {
					in := &p.Parts[k]
					switch in.Kind {
					case chat.PartImage:
						e.r.Drop(e.r.Name(chat.MemberResultImage))
						one(first+i, in)
					case chat.PartFile, chat.PartAudio:
						e.r.Drop(e.r.Name(chat.MemberResultFile))
						one(first+i, in)
					}
				}
			}
		}
	}
	if err != nil {
		return dst, err
	}
	return e.shut(dst, before, n), nil
}

// part appends one part of the user's own, nothing for one that is left out.
func (e *encoder) part(dst []byte, p *chat.Part) ([]byte, *apierr.Error) {
	switch p.Kind {
	case chat.PartText, chat.PartRefusal:
		if len(p.Text) > 0 {
			dst = append(dst, `{"text":`...)
			dst = chat.AppendText(dst, p.Text)
			dst = append(dst, '}')
		}
	case chat.PartImage, chat.PartFile, chat.PartAudio:
		if p.Data == nil {
			dst = append(dst, `{"fileData":{"mimeType":"`...)
			dst = append(dst, mediaOf(p.URL)...)
			dst = append(dst, `","fileUri":"`...)
			dst = chat.AppendInner(dst, p.URL)
			return append(dst, `"}}`...), nil
		}
		dst = append(dst, `{"inlineData":{"mimeType":"`...)
		dst = append(dst, mediaType(p.Media)...)
		dst = append(dst, `","data":"`...)
		dst = append(dst, p.Data...)
		dst = append(dst, `"}}`...)
	}
	return dst, nil
}

// mediaType is Gemini's name of a media type.
func mediaType(m []byte) []byte {
	if string(m) == "audio/mp3" {
		return []byte("audio/mpeg")
	}
	return m
}

// mediaOf guesses the media type of a picture from its address; Google wants one.
func mediaOf(url []byte) string {
	path, _, _ := bytes.Cut(url, []byte("?"))
	path = bytes.ToLower(path[max(0, len(path)-5):])
	for _, kind := range [...]struct{ end, media string }{
		{".png", "image/png"}, {".webp", "image/webp"}, {".gif", "image/gif"}, {".heic", "image/heic"}, {".heif", "image/heif"}, {".pdf", "application/pdf"},
	} {
		if bytes.HasSuffix(path, []byte(kind.end)) {
			return kind.media
		}
	}
	return "image/jpeg"
}

// result writes a tool's result. Gemini wants the function's name, which stands with
// the call, and an object: any other text becomes a member of one.
func (e *encoder) result(dst []byte, turn int, p *chat.Part) ([]byte, *apierr.Error) {
	name := p.Name
	if call := e.callOf(p.ID); call != nil {
		name = call.Name
	}
	if len(name) == 0 {
		return dst, chat.BadAt(turn, "", "gives the result of a tool call that the conversation does not hold")
	}
	dst = append(dst, `{"functionResponse":{"id":`...)
	dst = chat.AppendText(dst, p.ID)
	dst = append(dst, `,"name":`...)
	dst = chat.AppendText(dst, name)
	dst = append(dst, `,"response":`...)
	said, only := 0, []byte(nil)
	for i := range p.Parts {
		if p.Parts[i].Kind == chat.PartText {
			said++
			only = p.Parts[i].Text
		}
	}
	if said == 1 && !p.IsError {
		if plain := e.r.Keep(only); object(plain) {
			dst = append(dst, plain...)
			return append(dst, "}}"...), nil
		}
	}
	if p.IsError {
		dst = append(dst, `{"error":"`...)
	} else {
		dst = append(dst, `{"result":"`...)
	}
	said = 0
	for i := range p.Parts {
		if in := &p.Parts[i]; in.Kind == chat.PartText {
			if said++; said > 1 {
				dst = append(dst, `\n`...)
			}
			dst = chat.AppendInner(dst, in.Text)
		}
	}
	return append(dst, `"}}}`...), nil
}

// object reports whether b is one JSON object.
func object(b []byte) bool {
	i := walk.Space(b, 0)
	return i < len(b) && b[i] == '{' && chat.Valid(b)
}

// callOf finds the call with an id.
func (e *encoder) callOf(id []byte) *chat.Part {
	for i := len(e.r.Turns) - 1; i >= 0; i-- {
		t := &e.r.Turns[i]
		for j := range t.Parts {
			if p := &t.Parts[j]; p.Kind == chat.PartCall && bytes.Equal(p.ID, id) {
				return p
			}
		}
	}
	return nil
}

func (e *encoder) tools(dst []byte) []byte {
	r := e.r
	if r.ParallelOff {
		r.Drop(r.Name(chat.MemberParallel))
	}
	if len(r.Tools) == 0 {
		return dst
	}
	dst = append(dst, `,"tools":[{"functionDeclarations":[`...)
	for i := range r.Tools {
		t := &r.Tools[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = chat.AppendText(dst, t.Name)
		if len(t.Description) > 0 {
			dst = append(dst, `,"description":`...)
			dst = chat.AppendText(dst, t.Description)
		}
		if t.Schema != nil {
			dst = append(dst, `,"parametersJsonSchema":`...)
			dst = append(dst, t.Schema...)
		}
		if string(t.Strict) == "true" {
			r.Drop(r.Name(chat.MemberStrict))
		}
		dst = append(dst, '}')
	}
	dst = append(dst, "]}]"...)
	mode := ""
	switch r.Choice {
	case chat.ChoiceAuto:
		mode = "AUTO"
	case chat.ChoiceNone:
		mode = "NONE"
	case chat.ChoiceRequired, chat.ChoiceNamed:
		mode = "ANY"
	default:
		return dst
	}
	dst = append(dst, `,"toolConfig":{"functionCallingConfig":{"mode":"`...)
	dst = append(dst, mode...)
	dst = append(dst, '"')
	if r.Choice == chat.ChoiceNamed {
		dst = append(dst, `,"allowedFunctionNames":[`...)
		dst = chat.AppendText(dst, r.ChoiceName)
		dst = append(dst, ']')
	}
	return append(dst, "}}"...)
}

func (e *encoder) config(dst []byte) []byte {
	r := e.r
	dst = append(dst, `,"generationConfig":{"maxOutputTokens":`...)
	dst = strconv.AppendInt(dst, r.MaxTokens, 10)
	for _, m := range [...]struct {
		name string
		v    []byte
	}{
		{"temperature", r.Temperature},
		{"topP", r.TopP},
		{"topK", r.TopK},
		{"seed", r.Seed},
		{"frequencyPenalty", r.Frequency},
		{"presencePenalty", r.Presence},
	} {
		if m.v != nil {
			dst = append(append(append(dst, `,"`...), m.name...), `":`...)
			dst = append(dst, m.v...)
		}
	}
	if r.Answers > 1 {
		dst = strconv.AppendInt(append(dst, `,"candidateCount":`...), r.Answers, 10)
	}
	if r.Logprobs {
		dst = append(dst, `,"responseLogprobs":true`...)
	}
	if r.TopLogprobs != nil {
		dst = append(append(dst, `,"logprobs":`...), r.TopLogprobs...)
	}
	for i, s := range r.Stop {
		if i == 0 {
			dst = append(dst, `,"stopSequences":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendText(dst, s)
	}
	if len(r.Stop) > 0 {
		dst = append(dst, ']')
	}
	if r.Format.Mode != chat.FormatUnset {
		dst = append(dst, `,"responseMimeType":"application/json"`...)
	}
	if r.Format.Mode == chat.FormatSchema {
		dst = append(dst, `,"responseJsonSchema":`...)
		dst = append(dst, r.Format.Schema...)
	}
	dst = e.thinking(dst)
	return append(dst, '}')
}

// Budgets of thought, in tokens: what models of 2.5 take, and what is left of the
// output cap for the answer.
const (
	leastPro, mostPro     = 128, 32768
	leastFlash, mostFlash = 512, 24576
	answerRoom            = 1024
)

// thinking writes how much the model is to think: a budget for 2.5, a level from 3 on,
// nothing for older models. Thoughts are shown where the customer asked for them.
func (e *encoder) thinking(dst []byte) []byte {
	r, m := e.r, &e.model
	on := r.Effort > chat.EffortNone || r.Adaptive
	if r.Effort == chat.EffortUnset && !on {
		return dst
	}
	if m.version != 0 && m.version < 205 {
		r.Drop(r.Name(chat.MemberThinking))
		return dst
	}
	dst = append(dst, `,"thinkingConfig":{"includeThoughts":`...)
	dst = strconv.AppendBool(dst, on)
	switch {
	case r.Effort == chat.EffortUnset: // the model decides
	case m.version >= 300:
		level := "high"
		switch {
		case r.Effort == chat.EffortMedium && (m.flash || m.version > 300):
			level = "medium"
		case r.Effort <= chat.EffortMinimal && m.flash:
			level = "minimal"
		case r.Effort <= chat.EffortLow:
			level = "low"
		}
		if !on { // it cannot be told not to think
			r.Drop(r.Name(chat.MemberThinking))
		}
		dst = append(append(append(dst, `,"thinkingLevel":"`...), level...), '"')
	default:
		least, most := int64(leastPro), int64(mostPro)
		if m.flash {
			least, most = 0, mostFlash
			if m.lite && on {
				least = leastFlash
			}
		}
		budget := int64(0)
		if on {
			if budget = r.Budget; budget == 0 {
				budget = chat.Scale[r.Effort]
			}
			budget = min(budget, r.MaxTokens-answerRoom)
		} else if least > 0 {
			r.Drop(r.Name(chat.MemberThinking))
		}
		dst = append(dst, `,"thinkingBudget":`...)
		dst = strconv.AppendInt(dst, min(max(budget, least, 0), most), 10)
	}
	return append(dst, '}')
}
