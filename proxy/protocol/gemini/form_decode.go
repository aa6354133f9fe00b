package gemini

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// DecodeRequest reads a request body into the common form. The body has passed peek:
// it is one object of valid JSON. The form points into it. Whether the answer is a
// stream stands in the path: the caller sets it.
func DecodeRequest(body []byte, r *chat.Request) *apierr.Error {
	r.Reset(chat.Gemini)
	d := decoder{r: r}
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return chat.Bad("body", "must be a JSON object")
	}
	// The system prompt comes first wherever it stands.
	if s := field(body[at:], "systemInstruction"); s != nil {
		if err := d.system(s); err != nil {
			return err
		}
	}
	it := walk.Object(body, at)
	for it.Next() {
		v := it.Value()
		if none(v) {
			continue
		}
		if err := d.member(it.Key, v); err != nil {
			return err
		}
	}
	if it.Bad {
		return chat.Bad("body", "is not readable JSON")
	}
	if d.allowed != nil {
		r.Tools = slices.DeleteFunc(r.Tools, func(t chat.Tool) bool {
			return !slices.ContainsFunc(d.allowed, func(name []byte) bool { return bytes.Equal(name, t.Name) })
		})
	}
	return nil
}

type decoder struct {
	r     *chat.Request
	calls int    // calls without an id so far
	open  []call // calls of the last turn of the model that have no result yet

	allowed [][]byte // names of the tools that may be called, nil = all
}

type call struct{ id, name []byte }

// is reports whether a member's name is the one of camel case, or its form with
// underscores: Google takes both.
func is(key []byte, camel string) bool {
	i := 0
	for j := 0; j < len(camel); j++ {
		c := camel[j]
		if i < len(key) && key[i] == '_' && c >= 'A' && c <= 'Z' {
			i++
			c |= 0x20
		}
		if i >= len(key) || key[i] != c {
			return false
		}
		i++
	}
	return i == len(key)
}

// field is get under either form of the name.
func field(v []byte, camel string) (found []byte) {
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	it := walk.Object(v, 0)
	for it.Next() {
		if is(it.Key, camel) {
			if found = it.Value(); walk.Null(found) {
				found = nil
			}
		}
	}
	return found
}

// none reports whether a value is null, or none that can be read.
func none(v []byte) bool { return len(v) == 0 || walk.Null(v) }

func fieldText(v []byte, camel string) []byte {
	s, _ := walk.Text(field(v, camel))
	return s
}

// each calls f for every element of the array v; one object stands for an array of it.
func each(v []byte, path string, f func(v []byte) *apierr.Error) *apierr.Error {
	if len(v) > 0 && v[0] == '{' {
		return f(v)
	}
	return chat.Each(v, path, f)
}

// unmapped notes a member, by its name of camel case if the table knows that.
func (d *decoder) unmapped(path string, key []byte) {
	camel := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		if key[i] == '_' && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' && i > 0 {
			i++
			camel = append(camel, key[i]&^0x20)
			continue
		}
		camel = append(camel, key[i])
	}
	if chat.Find(chat.Gemini, chat.Gemini, path+string(camel)) == nil {
		camel = key
	}
	d.r.Unmapped(path, camel)
}

func (d *decoder) system(v []byte) *apierr.Error {
	t := chat.Turn{Role: chat.System}
	add := func(v []byte) *apierr.Error {
		s, ok := walk.Text(field(v, "text"))
		if !ok {
			return chat.Bad("systemInstruction", "must hold texts")
		}
		t.Parts = append(t.Parts, chat.Part{Kind: chat.PartText, Text: s})
		return nil
	}
	if s, ok := walk.Text(v); ok { // as its SDKs take it
		t.Parts = append(t.Parts, chat.Part{Kind: chat.PartText, Text: s})
	} else if err := each(field(v, "parts"), "systemInstruction.parts", add); err != nil {
		return err
	}
	d.r.Turns = append(d.r.Turns, t)
	return nil
}

func (d *decoder) member(key, v []byte) *apierr.Error {
	switch {
	case is(key, "systemInstruction"):
	case is(key, "contents"):
		n := 0
		return each(v, "contents", func(v []byte) *apierr.Error {
			err := d.content(n, v)
			n++
			return err
		})
	case is(key, "generationConfig"):
		if v[0] != '{' {
			return chat.Bad("generationConfig", "must be an object")
		}
		it := walk.Object(v, 0)
		for it.Next() {
			v := it.Value()
			if none(v) {
				continue
			}
			if err := d.config(it.Key, v); err != nil {
				return err
			}
		}
	case is(key, "tools"):
		return each(v, "tools", d.tool)
	case is(key, "toolConfig"):
		return d.toolConfig(v)
	default:
		if walk.Truthy(v) {
			d.unmapped("", key)
		}
	}
	return nil
}

func (d *decoder) config(key, v []byte) *apierr.Error {
	r := d.r
	const path = "generationConfig."
	switch {
	case is(key, "maxOutputTokens"): // the relay's own affair: the hold knows it
	case is(key, "temperature"):
		r.Temperature = v
	case is(key, "topP"):
		r.TopP = v
	case is(key, "topK"):
		r.TopK = v
	case is(key, "seed"):
		r.Seed = v
	case is(key, "frequencyPenalty"):
		r.Frequency = v
	case is(key, "presencePenalty"):
		r.Presence = v
	case is(key, "stopSequences"):
		r.Stop = r.Stop[:0]
		return each(v, path+"stopSequences", func(v []byte) *apierr.Error {
			s, ok := walk.Text(v)
			if !ok {
				return chat.Bad(path+"stopSequences", "must hold strings")
			}
			r.Stop = append(r.Stop, s)
			return nil
		})
	case is(key, "candidateCount"):
		r.Answers, _, _ = walk.Count(v)
	case is(key, "responseLogprobs"):
		r.Logprobs = string(v) == "true"
	case is(key, "logprobs"):
		if n, ok, _ := walk.Count(v); !ok {
			return chat.Bad(path+"logprobs", "must be a count")
		} else if n > 0 {
			r.TopLogprobs = v
		}
	case is(key, "responseModalities"):
		return each(v, path+"responseModalities", func(v []byte) *apierr.Error {
			if s, _ := walk.Text(v); !bytes.EqualFold(s, []byte("TEXT")) {
				d.unmapped(path, key)
			}
			return nil
		})
	case is(key, "responseMimeType"):
		switch s, _ := walk.Text(v); string(s) {
		case "text/plain", "":
		case "application/json":
			if r.Format.Mode == chat.FormatUnset {
				r.Format.Mode = chat.FormatObject
			}
		default:
			d.unmapped(path, key)
		}
	case is(key, "responseSchema"), is(key, "responseJsonSchema"):
		if v[0] != '{' {
			return chat.Bad(path+"responseSchema", "must be an object")
		}
		r.Format = chat.Format{Mode: chat.FormatSchema, Schema: appendSchema(nil, v)}
	case is(key, "thinkingConfig"):
		return d.thinking(v)
	default:
		if walk.Truthy(v) {
			d.unmapped(path, key)
		}
	}
	return nil
}

func (d *decoder) thinking(v []byte) *apierr.Error {
	r := d.r
	const path = "generationConfig.thinkingConfig."
	if v[0] != '{' {
		return chat.Bad("generationConfig.thinkingConfig", "must be an object")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		switch {
		case none(v):
		case is(it.Key, "includeThoughts"):
			if string(v) == "true" && r.Effort == chat.EffortUnset {
				r.Adaptive = true
			}
		case is(it.Key, "thinkingBudget"):
			n, err := strconv.ParseInt(string(v), 10, 64)
			switch {
			case err != nil || n < -1:
				return chat.Bad(path+"thinkingBudget", "must be a whole number")
			case n < 0:
				r.Adaptive = true
			case n == 0:
				r.Effort, r.Adaptive = chat.EffortNone, false
			default:
				r.Effort, r.Budget = chat.EffortOf(n), n
			}
		case is(it.Key, "thinkingLevel"):
			s, _ := walk.Text(v)
			e, ok := chat.ParseEffort(bytes.ToLower(s))
			if !ok || e == chat.EffortNone {
				return chat.Bad(path+"thinkingLevel", "must be one of MINIMAL, LOW, MEDIUM, HIGH")
			}
			r.Effort = e
		default:
			d.unmapped(path, it.Key)
		}
	}
	return nil
}

func (d *decoder) tool(v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return chat.Bad("tools[]", "must be an object")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		switch {
		case none(v):
		case is(it.Key, "functionDeclarations"):
			if err := each(v, "tools[].functionDeclarations", d.function); err != nil {
				return err
			}
		default:
			// A tool that the provider runs.
			before := len(d.r.Rest)
			d.unmapped("tools[].", it.Key)
			path := "tools[]"
			if len(d.r.Rest) > before {
				path = d.r.Rest[before]
			}
			return d.r.Refuse(path)
		}
	}
	return nil
}

func (d *decoder) function(v []byte) *apierr.Error {
	t := chat.Tool{}
	const path = "tools[].functionDeclarations[]."
	if len(v) == 0 || v[0] != '{' {
		return chat.Bad("tools[].functionDeclarations[]", "must be an object")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		switch {
		case none(v):
		case is(it.Key, "name"):
			t.Name, _ = walk.Text(v)
		case is(it.Key, "description"):
			t.Description, _ = walk.Text(v)
		case is(it.Key, "parameters"), is(it.Key, "parametersJsonSchema"):
			if v[0] != '{' {
				return chat.Bad(path+"parameters", "must be an object")
			}
			t.Schema = appendSchema(nil, v)
		default:
			d.unmapped(path, it.Key)
		}
	}
	if len(t.Name) == 0 {
		return chat.Bad(path+"name", "is missing")
	}
	d.r.Tools = append(d.r.Tools, t)
	return nil
}

func (d *decoder) toolConfig(v []byte) *apierr.Error {
	if v[0] != '{' {
		return chat.Bad("toolConfig", "must be an object")
	}
	r := d.r
	const path = "toolConfig.functionCallingConfig."
	it := walk.Object(v, 0)
	for it.Next() {
		c := it.Value()
		if !is(it.Key, "functionCallingConfig") {
			if walk.Truthy(c) {
				d.unmapped("toolConfig.", it.Key)
			}
			continue
		}
		if len(c) == 0 || c[0] != '{' {
			continue
		}
		in := walk.Object(c, 0)
		var allowed []byte
		for in.Next() {
			v := in.Value()
			switch {
			case none(v):
			case is(in.Key, "mode"):
				switch s, _ := walk.Text(v); string(bytes.ToUpper(s)) {
				case "AUTO", "VALIDATED", "MODE_UNSPECIFIED":
					r.Choice = chat.ChoiceAuto
				case "NONE":
					r.Choice = chat.ChoiceNone
				case "ANY":
					r.Choice = chat.ChoiceRequired
				default:
					return chat.Bad(path+"mode", "must be AUTO, ANY, NONE or VALIDATED")
				}
			case is(in.Key, "allowedFunctionNames"):
				allowed = v
			default:
				if walk.Truthy(v) {
					d.unmapped(path, in.Key)
				}
			}
		}
		if err := d.allow(allowed); err != nil {
			return err
		}
	}
	return nil
}

// allow leaves out the tools that may not be called; one alone that must be is named.
func (d *decoder) allow(list []byte) *apierr.Error {
	if !walk.Truthy(list) {
		return nil
	}
	const path = "toolConfig.functionCallingConfig.allowedFunctionNames"
	var names [][]byte
	if err := each(list, path, func(v []byte) *apierr.Error {
		s, ok := walk.Text(v)
		if !ok {
			return chat.Bad(path, "must hold strings")
		}
		names = append(names, s)
		return nil
	}); err != nil {
		return err
	}
	if len(names) == 1 && d.r.Choice == chat.ChoiceRequired {
		d.r.Choice, d.r.ChoiceName = chat.ChoiceNamed, names[0]
		return nil
	}
	d.allowed = names
	return nil
}

func (d *decoder) content(n int, v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return bad(n, "", "must be an object")
	}
	t := chat.Turn{Role: chat.User}
	switch role := fieldText(v, "role"); string(role) {
	case "user", "function", "":
	case "model":
		t.Role = chat.Assistant
		d.open = d.open[:0]
	default:
		return bad(n, ".role", "must be user or model")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		switch {
		case is(it.Key, "role"), none(v):
		case is(it.Key, "parts"):
			if err := each(v, "contents[].parts", func(v []byte) *apierr.Error { return d.part(n, &t, v) }); err != nil {
				return err
			}
		default:
			d.unmapped("contents[].", it.Key)
		}
	}
	d.r.Turns = append(d.r.Turns, t)
	return nil
}

// bad is the 400 for the n-th entry of contents.
func bad(n int, member, why string) *apierr.Error {
	return chat.Bad("contents["+strconv.Itoa(n)+"]"+member, why)
}

// part adds one part of a turn.
func (d *decoder) part(n int, t *chat.Turn, v []byte) *apierr.Error {
	const path = "contents[].parts[]."
	if len(v) == 0 || v[0] != '{' {
		return bad(n, ".parts[]", "must be an object")
	}
	var p chat.Part
	var signature []byte
	thought, found := false, false
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		if none(v) {
			continue
		}
		var err *apierr.Error
		kept := true
		switch {
		case is(it.Key, "text"):
			p.Kind = chat.PartText
			p.Text, _ = walk.Text(v)
		case is(it.Key, "thought"):
			thought, kept = string(v) == "true", false
		case is(it.Key, "thoughtSignature"):
			signature, _ = walk.Text(v)
			kept = false
		case is(it.Key, "inlineData"):
			err = d.inline(n, &p, v)
		case is(it.Key, "fileData"):
			p.Kind, p.URL = chat.PartImage, d.plain(fieldText(v, "fileUri"))
			if !bytes.HasPrefix(fieldText(v, "mimeType"), []byte("image")) || !link(p.URL) {
				err = d.r.Refuse(path + "fileData")
			}
		case is(it.Key, "functionCall"):
			p = chat.Part{Kind: chat.PartCall, ID: fieldText(v, "id"), Name: fieldText(v, "name"), Args: field(v, "args")}
			if len(p.Name) == 0 || p.Args != nil && p.Args[0] != '{' {
				err = bad(n, ".parts[].functionCall", "needs a name, and args that are an object")
			}
			if p.Args == nil {
				p.Args = []byte("{}")
			}
			if len(p.ID) == 0 {
				p.ID = append([]byte("call_"), strconv.Itoa(d.calls)...)
				d.calls++
			}
			d.open = append(d.open, call{p.ID, p.Name})
		case is(it.Key, "functionResponse"):
			p, err = d.response(n, v)
		case is(it.Key, "executableCode"), is(it.Key, "codeExecutionResult"), is(it.Key, "toolCall"), is(it.Key, "toolResponse"):
			d.unmapped(path, it.Key)
			kept = false
		default:
			d.unmapped(path, it.Key)
			kept = false
		}
		if err != nil {
			return err
		}
		if kept && found {
			return bad(n, ".parts[]", "must hold one of text, inlineData, functionCall and the like")
		}
		found = found || kept
	}
	if t.Role == chat.User { // thoughts and calls are the model's
		if p.Kind == chat.PartCall {
			return bad(n, ".parts[].functionCall", "belongs to a turn of the model")
		}
		if thought {
			d.r.Unmapped(path+"thought", nil)
			return nil
		}
		if len(signature) > 0 {
			d.r.Unmapped(path+"thoughtSignature", nil)
			signature = nil
		}
	}
	return d.add(t, &p, signature, thought, found)
}

// add adds a part that was read, and the proof that stands with it.
func (d *decoder) add(t *chat.Turn, p *chat.Part, signature []byte, thought, found bool) *apierr.Error {
	proof := chat.Part{Kind: chat.PartThinking}
	if len(signature) > 0 {
		switch signer, redacted, own := readProof(signature); {
		case redacted:
			t.Parts = append(t.Parts, chat.Part{Kind: chat.PartRedacted, Text: own, Signer: signer})
			return nil
		case signer != chat.Google:
			proof.Signature, proof.Signer = own, signer
		default:
			// It is of use for a Gemini model alone, and such a request is not decoded.
			d.r.Unmapped("contents[].parts[].thoughtSignature", nil)
		}
	}
	if thought {
		proof.Text = p.Text
		if proof.Signer != chat.NoSigner {
			proof.Text = joinThoughts(t, p.Text)
		}
		t.Parts = append(t.Parts, proof)
		return nil
	}
	if proof.Signer != chat.NoSigner {
		t.Parts = append(t.Parts, proof)
	}
	if found {
		t.Parts = append(t.Parts, *p)
	}
	return nil
}

// joinThoughts takes the pieces of a thought off the turn that stand before its proof:
// its maker wants it as it was.
func joinThoughts(t *chat.Turn, last []byte) []byte {
	from := len(t.Parts)
	for from > 0 && t.Parts[from-1].Kind == chat.PartThinking && t.Parts[from-1].Signer == chat.NoSigner {
		from--
	}
	if from == len(t.Parts) {
		return last
	}
	var whole []byte
	for i := range t.Parts[from:] {
		whole = append(whole, t.Parts[from+i].Text...)
	}
	t.Parts = t.Parts[:from]
	return append(whole, last...)
}

// The words before a proof of another provider, inside the base64 that Gemini's SDKs
// take a signature for.
var (
	anthropicProof    = []byte("anthropic-claude-v1:")
	anthropicRedacted = []byte("anthropic-redacted-v1:")
)

// readProof tells whose a signature is; own is what its maker knows it as.
func readProof(s []byte) (signer chat.Signer, redacted bool, own []byte) {
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(plain, bytes.ReplaceAll(s, []byte(`\/`), []byte("/")))
	if err != nil {
		// Python's SDK sends the alphabet of URLs.
		if n, err = base64.URLEncoding.Decode(plain, s); err != nil {
			return chat.Google, false, s
		}
	}
	plain = plain[:n]
	if own, ok := bytes.CutPrefix(plain, anthropicProof); ok {
		return chat.Anthropic, false, own
	}
	if own, ok := bytes.CutPrefix(plain, anthropicRedacted); ok {
		return chat.Anthropic, true, own
	}
	return chat.Google, false, s
}

// inline reads media that stand in the body.
func (d *decoder) inline(n int, p *chat.Part, v []byte) *apierr.Error {
	p.Media, p.Data = d.plain(fieldText(v, "mimeType")), d.plain(fieldText(v, "data"))
	if !safe(p.Media) || !safe(p.Data) || len(p.Media) == 0 || len(p.Data) == 0 {
		return bad(n, ".parts[].inlineData", "needs a mimeType and data in base64")
	}
	for i, c := range p.Data { // the alphabet of URLs
		if c == '-' || c == '_' {
			p.Data = bytes.ReplaceAll(bytes.ReplaceAll(p.Data, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
			_ = i
			break
		}
	}
	switch kind, _, _ := bytes.Cut(p.Media, []byte("/")); string(kind) {
	case "image":
		p.Kind = chat.PartImage
	case "audio":
		p.Kind = chat.PartAudio
	case "video":
		return d.r.Refuse("contents[].parts[].inlineData")
	default:
		p.Kind = chat.PartFile
	}
	return nil
}

// response reads a function's result. Gemini may leave its id out: it is then the
// first call of that name that has none.
func (d *decoder) response(n int, v []byte) (p chat.Part, err *apierr.Error) {
	p = chat.Part{Kind: chat.PartResult, ID: fieldText(v, "id"), Name: fieldText(v, "name")}
	for i := range d.open {
		if c := &d.open[i]; len(p.ID) == 0 && bytes.Equal(c.name, p.Name) || len(p.ID) > 0 && bytes.Equal(c.id, p.ID) {
			p.ID = c.id
			d.open = append(d.open[:i], d.open[i+1:]...)
			break
		}
	}
	if len(p.ID) == 0 {
		return p, bad(n, ".parts[].functionResponse", "answers no call of the turn before")
	}
	said := chat.Part{Kind: chat.PartText}
	response := field(v, "response")
	if response != nil && response[0] != '{' {
		return p, bad(n, ".parts[].functionResponse.response", "must be an object")
	}
	name, only, members := []byte(nil), []byte(nil), 0
	if response != nil {
		it := walk.Object(response, 0)
		for it.Next() {
			members++
			name, only = it.Key, it.Value()
		}
	}
	s, isText := walk.Text(only)
	switch {
	case members == 1 && isText && (string(name) == "result" || string(name) == "output"):
		said.Text = s
	case members == 1 && string(name) == "error":
		p.IsError = true
		if said.Text = s; !isText {
			said.Text = chat.Escape(nil, only)
		}
	case response != nil:
		said.Text = chat.Escape(nil, response)
	}
	if len(said.Text) > 0 {
		p.Parts = append(p.Parts, said)
	}
	if more := field(v, "parts"); more != nil {
		err = each(more, "contents[].parts[].functionResponse.parts", func(v []byte) *apierr.Error {
			var in chat.Part
			data := field(v, "inlineData")
			if data == nil {
				return d.r.Refuse("contents[].parts[].functionResponse.parts")
			}
			if err := d.inline(n, &in, data); err != nil {
				return err
			}
			p.Parts = append(p.Parts, in)
			return nil
		})
	}
	return p, err
}

// plain undoes the escapes that some writers put before slashes.
func (d *decoder) plain(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return d.r.Keep(raw)
}

// link reports whether b is an address that anybody may fetch from.
func link(b []byte) bool {
	if !bytes.HasPrefix(b, []byte("https://")) && !bytes.HasPrefix(b, []byte("http://")) {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c == '"' || c == '\\' || c == 0x7f {
			return false
		}
	}
	return true
}

// safe reports whether b holds only what base64 and media types are made of.
func safe(b []byte) bool {
	for _, c := range b {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '/' || c == '=' || c == '-' || c == '_' || c == '.' {
			continue
		}
		return false
	}
	return true
}

// appendSchema appends a schema of Google's as JSON Schema: the names of types are in
// lower case there.
func appendSchema(dst, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	switch v[0] {
	case '{':
		dst = append(dst, '{')
		it := walk.Object(v, 0)
		for n := 0; it.Next(); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '"')
			dst = append(dst, it.Key...)
			dst = append(dst, `":`...)
			x := it.Value()
			if s, ok := walk.Text(x); ok && string(it.Key) == "type" {
				dst = append(dst, '"')
				dst = append(dst, typeName(s)...)
				dst = append(dst, '"')
				continue
			}
			switch string(it.Key) {
			case "enum", "const", "default", "example", "examples", "required":
				dst = append(dst, x...) // values, not schemas
			default:
				dst = appendSchema(dst, x)
			}
		}
		return append(dst, '}')
	case '[':
		dst = append(dst, '[')
		it := walk.Array(v, 0)
		for n := 0; it.Next(); n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendSchema(dst, it.Value())
		}
		return append(dst, ']')
	}
	return append(dst, v...)
}

func typeName(s []byte) []byte {
	switch string(s) {
	case "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL":
		return bytes.ToLower(s)
	}
	return s
}
