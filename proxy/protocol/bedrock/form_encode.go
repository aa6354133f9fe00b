package bedrock

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// maker is who made a model. Converse is one form for all, but what a model takes beside
// it, and which members of it, is its maker's affair.
type maker uint8

const (
	other maker = iota
	claude
	nova
	gptOSS
)

// makerOf reads the maker in the name of a model or in an ARN.
func makerOf(model string) maker {
	switch {
	case strings.Contains(model, "claude"):
		return claude
	case strings.Contains(model, "nova"):
		return nova
	case strings.Contains(model, "gpt-oss"):
		return gptOSS
	}
	return other
}

// AppendForm appends a request of the common form as a Converse request for the
// upstream's model, which stands in the path. What Converse cannot say is dropped or
// refused as the table of fates has it.
func AppendForm(dst []byte, r *chat.Request, model string) ([]byte, *apierr.Error) {
	r.Begin()
	if err := r.Settle(chat.Converse); err != nil {
		return dst, err
	}
	e := encoder{r: r, model: model, maker: makerOf(model)}
	start := len(dst)
	dst, err := e.messages(append(dst, '{'))
	if err != nil {
		return dst[:start], err
	}
	dst = e.system(dst)
	dst = e.tools(dst)
	dst, thinks := e.additional(dst)
	dst = e.inference(dst, thinks)
	dst = e.format(dst)
	for i, v := range [...][]byte{r.Seed, r.Frequency, r.Presence} {
		if v == nil {
			continue
		}
		if err := r.Lack([...]chat.Member{chat.MemberSeed, chat.MemberFrequency, chat.MemberPresence}[i], chat.Converse); err != nil {
			return dst[:start], err
		}
	}
	for _, name := range r.UserNames {
		r.Drop(name)
	}
	return append(dst, '}'), nil
}

type encoder struct {
	r     *chat.Request
	model string
	maker maker
	docs  int // documents so far
	n     int // elements of the list under way
}

// element begins an element of a list.
func (e *encoder) element(dst []byte) []byte {
	if e.n++; e.n > 1 {
		return append(dst, ',')
	}
	return dst
}

// point appends a mark of the cache behind what it closes.
func (e *encoder) point(dst, mark []byte, tool bool) []byte {
	switch {
	case mark == nil:
		return dst
	case e.maker == other || e.maker == gptOSS || tool && e.maker == nova:
		e.r.Drop(e.r.Name(chat.MemberCache))
		return dst
	}
	for it := walk.Object(mark, 0); it.Next(); {
		if k := string(it.Key); k != "type" && k != "ttl" {
			e.r.DropIn(chat.MemberCache, it.Key)
		}
	}
	dst = e.element(dst)
	dst = append(dst, `{"cachePoint":{"type":"default"`...)
	if string(walk.TextOf(mark, "ttl")) == "1h" && e.maker == claude {
		dst = append(dst, `,"ttl":"1h"`...)
	}
	return append(dst, "}}"...)
}

const objectOnly = "Answer with one JSON object only, without any text around it."

func (e *encoder) system(dst []byte) []byte {
	before := len(dst)
	dst = append(dst, `,"system":[`...)
	e.n = 0
	lead := true
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
				dst = e.text(dst, p.Text)
				dst = e.point(dst, p.Cache, false)
			}
		}
	}
	if e.r.Format.Mode == chat.FormatObject {
		e.r.Drop(e.r.Name(chat.MemberFormat))
		dst = e.text(dst, []byte(objectOnly))
	}
	if e.n == 0 {
		return dst[:before]
	}
	return append(dst, ']')
}

// text appends a block of text.
func (e *encoder) text(dst, raw []byte) []byte {
	dst = e.element(dst)
	dst = append(dst, `{"text":`...)
	dst = chat.AppendText(dst, raw)
	return append(dst, '}')
}

// messages writes the turns: neighbours of one role become one message, results of
// tools stand first in theirs, thoughts in theirs.
func (e *encoder) messages(dst []byte) ([]byte, *apierr.Error) {
	dst = append(dst, `"messages":[`...)
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
		e.n = 0
		said, files := false, false
		for j, p := range e.r.Blocks(role, from, to) {
			said = said || p.Kind == chat.PartText && !chat.Blank(p.Text)
			files = files || p.Kind == chat.PartFile
			var err *apierr.Error
			if dst, err = e.part(dst, j, p); err != nil {
				return dst, err
			}
		}
		if files && !said { // Converse wants a text beside a document
			dst = e.text(dst, []byte("The document is attached."))
		}
		if e.n == 0 {
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

// part appends one block and its mark of the cache, nothing for one that is left out.
func (e *encoder) part(dst []byte, turn int, p *chat.Part) ([]byte, *apierr.Error) {
	before := len(dst)
	var err *apierr.Error
	switch p.Kind {
	case chat.PartText, chat.PartRefusal:
		if !chat.Blank(p.Text) {
			dst = e.text(dst, p.Text)
		}
	case chat.PartImage:
		dst, err = e.image(dst, turn, p)
	case chat.PartFile:
		dst, err = e.document(dst, p)
	case chat.PartCall:
		dst = e.element(dst)
		dst = append(dst, `{"toolUse":{"toolUseId":`...)
		dst = appendID(dst, p.ID)
		dst = append(dst, `,"name":`...)
		dst = chat.AppendText(dst, p.Name)
		dst = append(dst, `,"input":`...)
		dst = append(dst, p.Args...)
		dst = append(dst, "}}"...)
	case chat.PartResult:
		dst, err = e.result(dst, turn, p)
	case chat.PartThinking:
		if p.Signer != chat.Anthropic || e.maker != claude {
			e.r.Drop(e.r.Name(chat.MemberThought))
			return dst, nil
		}
		dst = e.element(dst)
		dst = append(dst, `{"reasoningContent":{"reasoningText":{"text":`...)
		dst = chat.AppendText(dst, p.Text)
		dst = append(dst, `,"signature":`...)
		dst = chat.AppendText(dst, p.Signature)
		dst = append(dst, "}}}"...)
	case chat.PartRedacted:
		if p.Signer != chat.Anthropic || e.maker != claude || !chat.Base64(p.Text) {
			e.r.Drop(e.r.Name(chat.MemberRedacted))
			return dst, nil
		}
		dst = e.element(dst)
		dst = append(dst, `{"reasoningContent":{"redactedContent":"`...)
		dst = append(dst, p.Text...)
		dst = append(dst, `"}}`...)
	case chat.PartAudio:
		return dst, e.r.Lack(chat.MemberAudio, chat.Converse)
	}
	if err == nil && len(dst) > before {
		dst = e.point(dst, p.Cache, false)
	}
	return dst, err
}

// image appends a picture: Converse takes its bytes, no address.
func (e *encoder) image(dst []byte, turn int, p *chat.Part) ([]byte, *apierr.Error) {
	if p.Data == nil {
		return dst, chat.Bad(e.r.Name(chat.MemberLink), "must hold its data for this model: addresses are not fetched")
	}
	format, ok := bytes.CutPrefix(p.Media, []byte("image/"))
	switch string(format) {
	case "png", "jpeg", "gif", "webp":
	case "jpg":
		format = []byte("jpeg")
	default:
		ok = false
	}
	if !ok {
		return dst, chat.BadAt(turn, ".content[].image", "must be a PNG, JPEG, GIF or WebP for this model")
	}
	dst = e.element(dst)
	dst = append(dst, `{"image":{"format":"`...)
	dst = append(dst, format...)
	dst = append(dst, `","source":{"bytes":"`...)
	dst = append(dst, p.Data...)
	return append(dst, `"}}}`...), nil
}

// documents are the formats that Converse takes, by media type.
var documents = map[string]string{
	"application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/markdown": "md", "text/plain": "txt",
	"application/msword": "doc", "application/vnd.ms-excel": "xls",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":       "xlsx",
}

// document appends a file. Its name is for the model: of the title what Converse takes,
// and a number, because no two may have the same.
func (e *encoder) document(dst []byte, p *chat.Part) ([]byte, *apierr.Error) {
	format := documents[string(p.Media)]
	if format == "" && bytes.HasPrefix(p.Media, []byte("text/")) {
		format = "txt"
	}
	if format == "" || p.Data == nil {
		return dst, chat.Bad(e.r.Name(chat.MemberFile), "must be a PDF, a text, or a document of Word or Excel for this model")
	}
	dst = e.element(dst)
	dst = append(dst, `{"document":{"format":"`...)
	dst = append(dst, format...)
	dst = append(dst, `","name":"`...)
	at := len(dst)
	for _, c := range p.Title {
		switch {
		case len(dst)-at >= 150:
		case c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '(' || c == ')' || c == '[' || c == ']':
			dst = append(dst, c)
		case len(dst) > at && dst[len(dst)-1] != '-':
			dst = append(dst, '-')
		}
	}
	if len(dst) == at {
		dst = append(dst, "document"...)
	} else if dst[len(dst)-1] == '-' {
		dst = dst[:len(dst)-1]
	}
	e.docs++
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(e.docs), 10)
	dst = append(dst, `","source":{"bytes":"`...)
	dst = append(dst, p.Data...)
	return append(dst, `"}}}`...), nil
}

// result appends what a tool gave back. Whether it failed is told in a member where the
// model's maker has it, else in words.
func (e *encoder) result(dst []byte, turn int, p *chat.Part) ([]byte, *apierr.Error) {
	dst = e.element(dst)
	outer := e.n
	e.n = 0
	dst = append(dst, `{"toolResult":{"toolUseId":`...)
	dst = appendID(dst, p.ID)
	dst = append(dst, `,"content":[`...)
	told := e.maker == claude || e.maker == nova
	if p.IsError && !told {
		dst = e.text(dst, []byte("Error:"))
	}
	var err *apierr.Error
	for i := range p.Parts {
		if dst, err = e.part(dst, turn, &p.Parts[i]); err != nil {
			return dst, err
		}
	}
	dst = append(dst, ']')
	if p.IsError && told {
		dst = append(dst, `,"status":"error"`...)
	}
	e.n = outer
	return append(dst, "}}"...), nil
}

// maxID is how long the id of a call may be.
const maxID = 64

// appendID appends the id of a tool call. Converse takes letters, digits, dashes and
// underscores; another provider's id becomes such a one, the same each time.
func appendID(dst, id []byte) []byte {
	fits := len(id) > 0 && len(id) <= maxID
	for _, c := range id {
		fits = fits && (c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-')
	}
	dst = append(dst, '"')
	if fits {
		dst = append(dst, id...)
	} else {
		dst = append(dst, "id_"...)
		dst = strconv.AppendUint(dst, xxhash.Sum64(id), 36)
	}
	return append(dst, '"')
}

// tools writes the tools that the model may call. Converse has no way to forbid calls:
// without a history of them the tools are left out, else that is named. A history of
// calls needs the tools that were called.
func (e *encoder) tools(dst []byte) []byte {
	r := e.r
	called := e.called()
	switch {
	case len(r.Tools) == 0 && len(called) == 0:
		return dst
	case r.Choice == chat.ChoiceNone && len(called) == 0:
		return dst
	case r.Choice == chat.ChoiceNone:
		r.Drop(r.Name(chat.MemberChoice))
	}
	dst = append(dst, `,"toolConfig":{"tools":[`...)
	e.n = 0
	for i := range r.Tools {
		t := &r.Tools[i]
		dst = e.element(dst)
		dst = append(dst, `{"toolSpec":{"name":`...)
		dst = chat.AppendText(dst, t.Name)
		if len(t.Description) > 0 {
			dst = append(dst, `,"description":`...)
			dst = chat.AppendText(dst, t.Description)
		}
		dst = append(dst, `,"inputSchema":{"json":`...)
		dst = anthropic.AppendSchema(dst, t.Schema)
		dst = append(dst, '}')
		if string(t.Strict) == "true" {
			dst = append(dst, `,"strict":true`...)
		}
		dst = append(dst, "}}"...)
		dst = e.point(dst, t.Cache, true)
	}
	if len(r.Tools) == 0 {
		for _, name := range called {
			dst = e.element(dst)
			dst = append(dst, `{"toolSpec":{"name":`...)
			dst = chat.AppendText(dst, name)
			dst = append(dst, `,"inputSchema":{"json":{"type":"object"}}}}`...)
		}
		return append(dst, "]}"...)
	}
	dst = append(dst, ']')
	switch r.Choice {
	case chat.ChoiceAuto:
		dst = append(dst, `,"toolChoice":{"auto":{}}`...)
	case chat.ChoiceRequired:
		dst = append(dst, `,"toolChoice":{"any":{}}`...)
	case chat.ChoiceNamed:
		dst = append(dst, `,"toolChoice":{"tool":{"name":`...)
		dst = chat.AppendText(dst, r.ChoiceName)
		dst = append(dst, "}}"...)
	}
	if r.ParallelOff {
		r.Drop(r.Name(chat.MemberParallel))
	}
	return append(dst, '}')
}

// called are the names of the tools that the history calls.
func (e *encoder) called() (names [][]byte) {
	for i := range e.r.Turns {
		for j := range e.r.Turns[i].Parts {
			p := &e.r.Turns[i].Parts[j]
			known := p.Kind != chat.PartCall
			for _, n := range names {
				known = known || bytes.Equal(n, p.Name)
			}
			if !known {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// additional writes the members of the model's own, and reports whether it thinks with
// what shapes the choice of tokens fixed.
func (e *encoder) additional(dst []byte) (out []byte, thinks bool) {
	r := e.r
	before := len(dst)
	const open = `,"additionalModelRequestFields":{`
	dst = append(dst, open...)
	member := func() {
		if len(dst) > before+len(open) {
			dst = append(dst, ',')
		}
	}
	on := r.Effort > chat.EffortNone
	switch {
	case e.maker == claude:
		p := anthropic.PlanOf(r, e.model)
		if at := len(dst); p.Off || p.Thinks() {
			dst = p.Append(dst)
			dst = append(dst[:at], dst[at+1:]...) // its comma
		}
		if p.Effort != "" {
			member()
			dst = append(append(append(dst, `"output_config":{"effort":"`...), p.Effort...), `"}`...)
		}
		thinks = p.Thinks()
	case e.maker == nova && strings.Contains(e.model, "nova-2") && on:
		dst = append(append(append(dst, `"reasoningConfig":{"type":"enabled","maxReasoningEffort":"`...), three(min(r.Effort, chat.EffortMedium))...), `"}`...) // high takes no output cap
	case e.maker == nova && r.Effort == chat.EffortNone:
	case e.maker == gptOSS && on:
		dst = append(append(append(dst, `"reasoning_effort":"`...), three(r.Effort)...), '"')
	case on || r.Adaptive:
		r.Drop(r.Name(chat.MemberThinking))
	}
	if r.TopK != nil {
		switch {
		case e.maker == claude && !thinks && !anthropic.Fixed(e.model):
			member()
			dst = append(append(dst, `"top_k":`...), r.TopK...)
		case e.maker == nova && !thinks:
			member()
			dst = append(append(append(dst, `"inferenceConfig":{"topK":`...), r.TopK...), '}')
		default:
			r.Drop(r.Name(chat.MemberTopK))
		}
	}
	if len(dst) == before+len(open) {
		dst = dst[:before]
	} else {
		dst = append(dst, '}')
	}
	if e.maker == claude && len(r.Stop) > 0 {
		dst = append(dst, `,"additionalModelResponseFieldPaths":["/stop_sequence"]`...)
	}
	return dst, thinks
}

// three is an effort on a scale of three.
func three(f chat.Effort) string {
	switch {
	case f <= chat.EffortLow:
		return "low"
	case f == chat.EffortMedium:
		return "medium"
	}
	return "high"
}

// inference writes the cap and what shapes the choice of tokens.
func (e *encoder) inference(dst []byte, thinks bool) []byte {
	r := e.r
	dst = append(dst, `,"inferenceConfig":{"maxTokens":`...)
	dst = strconv.AppendInt(dst, r.MaxTokens, 10)
	free := !thinks && (e.maker != claude || !anthropic.Fixed(e.model))
	number := func(name string, m chat.Member, v []byte) {
		switch {
		case v == nil:
			return
		case !free:
			r.Drop(r.Name(m))
			return
		}
		if f, err := strconv.ParseFloat(string(v), 64); m == chat.MemberTemperature && err == nil && f > 1 {
			r.Drop(r.Name(m))
			v = []byte("1")
		}
		dst = append(append(dst, name...), v...)
	}
	number(`,"temperature":`, chat.MemberTemperature, r.Temperature)
	number(`,"topP":`, chat.MemberTopP, r.TopP)
	n := 0
	for _, s := range r.Stop {
		if chat.Blank(s) {
			r.Drop(r.Name(chat.MemberStop))
			continue
		}
		if n++; n == 1 {
			dst = append(dst, `,"stopSequences":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = chat.AppendText(dst, s)
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// format writes the schema that the answer must have: a JSON text in a string there.
func (e *encoder) format(dst []byte) []byte {
	f := &e.r.Format
	if f.Mode != chat.FormatSchema {
		return dst
	}
	dst = append(dst, `,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":`...)
	dst = chat.AppendPlain(dst, f.Schema)
	dst = append(dst, `,"name":`...)
	if len(f.Name) > 0 {
		dst = chat.AppendText(dst, f.Name)
	} else {
		dst = append(dst, `"answer"`...)
	}
	if len(f.Description) > 0 {
		dst = append(dst, `,"description":`...)
		dst = chat.AppendText(dst, f.Description)
	}
	return append(dst, "}}}}"...)
}
