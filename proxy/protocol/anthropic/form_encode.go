package anthropic

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// AppendForm appends a request of the common form as a Messages request for the
// upstream's model. What Messages cannot say is dropped or refused as the table of
// fates has it.
func AppendForm(dst []byte, r *chat.Request, model string) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.Messages); err != nil {
		return dst, err
	}
	e := encoder{r: r, late: version(model)}
	start := len(dst)
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, r.MaxTokens, 10)
	dst = e.system(dst)
	dst, err := e.messages(dst)
	if err != nil {
		return dst[:start], err
	}
	for i, v := range [...][]byte{r.Seed, r.Frequency, r.Presence} {
		if v == nil {
			continue
		}
		if err := r.Lack([...]chat.Member{chat.MemberSeed, chat.MemberFrequency, chat.MemberPresence}[i], chat.Messages); err != nil {
			return dst[:start], err
		}
	}
	dst = e.tools(dst)
	dst, thinks := e.thinking(dst, model)
	dst = e.sampling(dst, thinks)
	if len(r.User) > 0 {
		dst = append(dst, `,"metadata":{"user_id":`...)
		dst = chat.AppendText(dst, r.User)
		dst = append(dst, '}')
	}
	if r.Stream {
		dst = append(dst, `,"stream":true`...)
	}
	return append(dst, '}'), nil
}

type encoder struct {
	r    *chat.Request
	late int // version of the Claude model, 406 for 4.6, 0 = unknown
}

// version reads the version in the name of a Claude model: claude-opus-4-6 and
// claude-3.5-sonnet are 406 and 305. A date is no version.
func version(model string) int {
	i := bytes.Index([]byte(model), []byte("claude"))
	if i < 0 {
		return 0
	}
	major, minor, n := 0, 0, 0
	for i += len("claude"); i <= len(model); i++ {
		digits := 0
		v := 0
		for i < len(model) && model[i] >= '0' && model[i] <= '9' && digits < 9 {
			v, digits = v*10+int(model[i]-'0'), digits+1
			i++
		}
		if digits == 0 {
			if n > 0 && i < len(model) && model[i] != '-' && model[i] != '.' {
				break
			}
			continue
		}
		if digits > 2 {
			break
		}
		if n++; n == 1 {
			major = v
		} else {
			minor = v
			break
		}
		i--
	}
	return major*100 + minor
}

const objectOnly = "Answer with one JSON object only, without any text around it."

func (e *encoder) system(dst []byte) []byte {
	first, lead := true, true
	open := func() {
		if first {
			dst = append(dst, `,"system":[`...)
		} else {
			dst = append(dst, ',')
		}
		first = false
	}
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
			if p := &t.Parts[j]; !chat.Blank(p.Text) {
				open()
				dst = e.text(dst, p)
			}
		}
	}
	if e.r.Format.Mode == chat.FormatObject {
		e.r.Drop(e.r.Name(chat.MemberFormat))
		open()
		dst = append(dst, `{"type":"text","text":"`+objectOnly+`"}`...)
	}
	if !first {
		dst = append(dst, ']')
	}
	return dst
}

func (e *encoder) text(dst []byte, p *chat.Part) []byte {
	dst = append(dst, `{"type":"text","text":`...)
	dst = chat.AppendText(dst, p.Text)
	return e.end(dst, p)
}

// end closes a block.
func (e *encoder) end(dst []byte, p *chat.Part) []byte {
	if p.Cache != nil {
		dst = append(dst, `,"cache_control":`...)
		dst = append(dst, p.Cache...)
	}
	return append(dst, '}')
}

// messages writes the turns: neighbours of one role become one message, results of
// tools stand first in theirs.
func (e *encoder) messages(dst []byte) ([]byte, *apierr.Error) {
	dst = append(dst, `,"messages":[`...)
	any := false
	for role, from, to, ok := e.r.Neighbours(0); ok; role, from, to, ok = e.r.Neighbours(to) {
		before := len(dst)
		if any {
			dst = append(dst, ',')
		}
		if role == chat.User {
			dst = append(dst, `{"role":"user","content":[`...)
		} else {
			dst = append(dst, `{"role":"assistant","content":[`...)
		}
		n, err := 0, (*apierr.Error)(nil)
		for j, p := range e.r.Blocks(role, from, to) {
			at := len(dst)
			if n > 0 {
				dst = append(dst, ',')
			}
			body := len(dst)
			if dst, err = e.part(dst, j, p); err != nil {
				return dst, err
			}
			if len(dst) == body {
				dst = dst[:at]
				continue
			}
			n++
		}
		if n == 0 {
			dst = dst[:before]
			continue
		}
		if !any && role == chat.Assistant {
			return dst, chat.Bad("messages", "must begin with a message of the user for this model")
		}
		any = true
		dst = append(dst, "]}"...)
	}
	if !any {
		return dst, chat.Bad("messages", "holds nothing to answer")
	}
	return append(dst, ']'), nil
}

// part appends one block, nothing for one that is left out.
func (e *encoder) part(dst []byte, turn int, p *chat.Part) ([]byte, *apierr.Error) {
	switch p.Kind {
	case chat.PartText, chat.PartRefusal:
		if chat.Blank(p.Text) {
			return dst, nil
		}
		return e.text(dst, p), nil
	case chat.PartImage:
		dst = append(dst, `{"type":"image","source":`...)
		dst = source(dst, p)
		return e.end(dst, p), nil
	case chat.PartFile:
		switch {
		case string(p.Media) == "application/pdf":
			dst = append(dst, `{"type":"document","source":`...)
			dst = source(dst, p)
		case bytes.HasPrefix(p.Media, []byte("text/")):
			plain, err := base64.StdEncoding.DecodeString(string(p.Data))
			if err != nil {
				return dst, chat.BadAt(turn, ".content[].file.file_data", "is no base64")
			}
			dst = append(dst, `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"`...)
			dst = chat.AppendInner(dst, chat.Escape(nil, plain))
			dst = append(dst, `"}`...)
		default:
			return dst, chat.BadAt(turn, ".content[].file", "must be a PDF or a text for this model")
		}
		if len(p.Title) > 0 {
			dst = append(dst, `,"title":`...)
			dst = chat.AppendText(dst, p.Title)
		}
		return e.end(dst, p), nil
	case chat.PartCall:
		dst = append(dst, `{"type":"tool_use","id":`...)
		dst = appendID(dst, p.ID)
		dst = append(dst, `,"name":`...)
		dst = chat.AppendText(dst, p.Name)
		dst = append(dst, `,"input":`...)
		dst = append(dst, p.Args...)
		return e.end(dst, p), nil
	case chat.PartResult:
		dst = append(dst, `{"type":"tool_result","tool_use_id":`...)
		dst = appendID(dst, p.ID)
		if len(p.Parts) > 0 {
			dst = append(dst, `,"content":[`...)
			n := 0
			for i := range p.Parts {
				at := len(dst)
				if n > 0 {
					dst = append(dst, ',')
				}
				body := len(dst)
				var err *apierr.Error
				if dst, err = e.part(dst, turn, &p.Parts[i]); err != nil {
					return dst, err
				}
				if len(dst) == body {
					dst = dst[:at]
					continue
				}
				n++
			}
			dst = append(dst, ']')
		}
		if p.IsError {
			dst = append(dst, `,"is_error":true`...)
		}
		return e.end(dst, p), nil
	case chat.PartThinking:
		if p.Signer != chat.Anthropic {
			e.r.Drop(e.r.Name(chat.MemberThought))
			return dst, nil
		}
		dst = append(dst, `{"type":"thinking","thinking":`...)
		dst = chat.AppendText(dst, p.Text)
		dst = append(dst, `,"signature":`...)
		dst = chat.AppendText(dst, p.Signature)
		return append(dst, '}'), nil
	case chat.PartAudio:
		return dst, e.r.Lack(chat.MemberAudio, chat.Messages)
	case chat.PartRedacted:
		if p.Signer != chat.Anthropic {
			e.r.Drop(e.r.Name(chat.MemberRedacted))
			return dst, nil
		}
		dst = append(dst, `{"type":"redacted_thinking","data":`...)
		dst = chat.AppendText(dst, p.Text)
		return append(dst, '}'), nil
	}
	return dst, nil
}

func source(dst []byte, p *chat.Part) []byte {
	if p.Data == nil {
		dst = append(dst, `{"type":"url","url":"`...)
		dst = append(dst, p.URL...)
		return append(dst, `"}`...)
	}
	dst = append(dst, `{"type":"base64","media_type":"`...)
	dst = append(dst, p.Media...)
	dst = append(dst, `","data":"`...)
	dst = append(dst, p.Data...)
	return append(dst, `"}`...)
}

// appendID appends the id of a tool call. Messages takes letters, digits, dashes
// and underscores; another provider's id is written in them, the same each time.
func appendID(dst, id []byte) []byte {
	for _, c := range id {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-' {
			continue
		}
		dst = append(dst, `"id64_`...)
		dst = base64.RawURLEncoding.AppendEncode(dst, id)
		return append(dst, '"')
	}
	dst = append(dst, '"')
	dst = append(dst, id...)
	return append(dst, '"')
}

func (e *encoder) tools(dst []byte) []byte {
	r := e.r
	if len(r.Tools) == 0 {
		return e.called(dst)
	}
	dst = append(dst, `,"tools":[`...)
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
		dst = append(dst, `,"input_schema":`...)
		dst = AppendSchema(dst, t.Schema)
		if t.Strict != nil {
			dst = append(dst, `,"strict":`...)
			dst = append(dst, t.Strict...)
		}
		if t.Cache != nil {
			dst = append(dst, `,"cache_control":`...)
			dst = append(dst, t.Cache...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	mode := r.Choice
	if mode == chat.ChoiceUnset && r.ParallelOff {
		mode = chat.ChoiceAuto
	}
	switch mode {
	case chat.ChoiceUnset:
		return dst
	case chat.ChoiceAuto:
		dst = append(dst, `,"tool_choice":{"type":"auto"`...)
	case chat.ChoiceNone:
		return append(dst, `,"tool_choice":{"type":"none"}`...)
	case chat.ChoiceRequired:
		dst = append(dst, `,"tool_choice":{"type":"any"`...)
	case chat.ChoiceNamed:
		dst = append(dst, `,"tool_choice":{"type":"tool","name":`...)
		dst = chat.AppendText(dst, r.ChoiceName)
	}
	if r.ParallelOff {
		dst = append(dst, `,"disable_parallel_tool_use":true`...)
	}
	return append(dst, '}')
}

// called defines the tools that the history calls though the request has none any
// more: Messages wants their names. They are not to be called again.
func (e *encoder) called(dst []byte) []byte {
	seen := map[string]bool{}
	for i := range e.r.Turns {
		for j := range e.r.Turns[i].Parts {
			p := &e.r.Turns[i].Parts[j]
			if p.Kind != chat.PartCall || seen[string(p.Name)] {
				continue
			}
			if len(seen) == 0 {
				dst = append(dst, `,"tools":[`...)
			} else {
				dst = append(dst, ',')
			}
			seen[string(p.Name)] = true
			dst = append(dst, `{"name":`...)
			dst = chat.AppendText(dst, p.Name)
			dst = append(dst, `,"input_schema":{"type":"object"}}`...)
		}
	}
	if len(seen) == 0 {
		return dst
	}
	return append(dst, `],"tool_choice":{"type":"none"}`...)
}

// AppendSchema appends a tool's schema: Claude models want an object at its top.
func AppendSchema(dst, s []byte) []byte {
	if len(s) == 0 {
		return append(dst, `{"type":"object","properties":{}}`...)
	}
	if walk.Get(s, "type") != nil {
		return append(dst, s...)
	}
	dst = append(dst, `{"type":"object"`...)
	if it := walk.Object(s, 0); it.Next() {
		dst = append(dst, ',')
	}
	return append(dst, s[1:]...)
}

const (
	leastBudget = 1024 // of thinking tokens
	answerRoom  = 1024 // tokens of the cap that thinking leaves for the answer
	adaptive    = 406  // version from which a model decides itself how much it thinks
	fixed       = 407  // version from which temperature and top_p have one value
)

// A Plan is how a Claude model is told to think, by whichever protocol it is asked.
type Plan struct {
	Off      bool   // it is told not to
	Adaptive bool   // it decides itself how much
	Budget   int64  // of thinking tokens, 0 = none is set
	Effort   string // "" = none is set
}

// Thinks reports whether the model thinks; what shapes the choice of tokens is fixed
// then.
func (p *Plan) Thinks() bool { return p.Adaptive || p.Budget > 0 }

// PlanOf decides how the model thinks for a request, and names what cannot be.
func PlanOf(r *chat.Request, model string) (p Plan) {
	late := version(model)
	switch {
	case r.Effort == chat.EffortUnset:
	case r.Effort == chat.EffortNone:
		p.Off = late >= adaptive
	case r.Choice == chat.ChoiceRequired || r.Choice == chat.ChoiceNamed:
		r.Drop(r.Name(chat.MemberThinking))
	case late >= adaptive:
		p.Adaptive = true
		switch p.Effort = r.Effort.String(); {
		case r.Effort == chat.EffortMinimal:
			p.Effort = "low"
		case r.Effort == chat.EffortXHigh && late < fixed:
			p.Effort = "high"
		}
	default:
		budget := r.Budget
		if budget == 0 {
			budget = chat.Scale[r.Effort]
		}
		budget = min(budget, r.MaxTokens-answerRoom)
		if budget < leastBudget || unsigned(r) {
			r.Drop(r.Name(chat.MemberThinking))
			break
		}
		p.Budget = budget
	}
	return p
}

// Fixed reports whether the model takes one value of temperature and top_p only.
func Fixed(model string) bool { return version(model) >= fixed }

// Append appends the member thinking with a comma before it, nothing if the model is
// not told.
func (p *Plan) Append(dst []byte) []byte {
	switch {
	case p.Off:
		dst = append(dst, `,"thinking":{"type":"disabled"}`...)
	case p.Adaptive:
		dst = append(dst, `,"thinking":{"type":"adaptive"}`...)
	case p.Budget > 0:
		dst = append(dst, `,"thinking":{"type":"enabled","budget_tokens":`...)
		dst = strconv.AppendInt(dst, p.Budget, 10)
		dst = append(dst, '}')
	}
	return dst
}

// thinking writes thinking and output_config, and reports whether the model thinks
// with a budget.
func (e *encoder) thinking(dst []byte, model string) ([]byte, bool) {
	r := e.r
	p := PlanOf(r, model)
	dst = p.Append(dst)
	format := r.Format.Mode == chat.FormatSchema
	if !format && p.Effort == "" {
		return dst, p.Thinks()
	}
	dst = append(dst, `,"output_config":{`...)
	if p.Effort != "" {
		dst = append(dst, `"effort":"`...)
		dst = append(dst, p.Effort...)
		dst = append(dst, '"')
	}
	if format {
		if p.Effort != "" {
			dst = append(dst, ',')
		}
		dst = append(dst, `"format":{"type":"json_schema","schema":`...)
		dst = append(dst, r.Format.Schema...)
		dst = append(dst, '}')
	}
	return append(dst, '}'), p.Thinks()
}

// unsigned reports whether the tool loop that the request goes on with has calls
// without a signed thought before them: Claude models then refuse to think.
func unsigned(r *chat.Request) bool {
	for i := len(r.Turns) - 1; i >= 0; i-- {
		t := &r.Turns[i]
		if t.Role != chat.Assistant {
			continue
		}
		call, signed := false, false
		for j := range t.Parts {
			switch p := &t.Parts[j]; p.Kind {
			case chat.PartCall:
				call = true
			case chat.PartThinking, chat.PartRedacted:
				signed = signed || p.Signer == chat.Anthropic
			}
		}
		return call && !signed && i >= r.Loop()
	}
	return false
}

// sampling writes what shapes the choice of tokens.
func (e *encoder) sampling(dst []byte, thinks bool) []byte {
	r := e.r
	free := !thinks && e.late < fixed
	number := func(name string, m chat.Member, v []byte) {
		if v == nil {
			return
		}
		if !free {
			r.Drop(r.Name(m))
			return
		}
		if f, err := strconv.ParseFloat(string(v), 64); m == chat.MemberTemperature && err == nil && f > 1 {
			r.Drop(r.Name(m))
			v = []byte("1")
		}
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":`...)
		dst = append(dst, v...)
	}
	number("temperature", chat.MemberTemperature, r.Temperature)
	number("top_p", chat.MemberTopP, r.TopP)
	number("top_k", chat.MemberTopK, r.TopK)
	n := 0
	for _, s := range r.Stop {
		if chat.Blank(s) {
			r.Drop(r.Name(chat.MemberStop))
			continue
		}
		if n++; n == 1 {
			dst = append(dst, `,"stop_sequences":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendText(dst, s)
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return dst
}
