package responses

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// DecodeRequest reads a request body into the common form. The body has passed
// peek: it is one object of valid JSON. The form points into it.
func DecodeRequest(body []byte, r *chat.Request) *apierr.Error {
	r.Reset(chat.Responses)
	d := decoder{r: r}
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return chat.Bad("body", "must be a JSON object")
	}
	if s := walk.TextOf(body[at:], "instructions"); len(s) > 0 { // it stands first, wherever it stands
		r.Turns = append(r.Turns, chat.Turn{Role: chat.System, Parts: []chat.Part{{Kind: chat.PartText, Text: s}}})
	}
	it := walk.Object(body, at)
	for it.Next() {
		v := it.Value()
		if walk.Null(v) {
			continue
		}
		if err := d.member(it.Key, v); err != nil {
			return err
		}
	}
	if it.Bad {
		return chat.Bad("body", "is not readable JSON")
	}
	d.choose()
	r.Echo = appendEcho(nil, body[at:])
	return nil
}

type decoder struct {
	r       *chat.Request
	allowed []byte // tools of tool_choice's allowed_tools
}

func (d *decoder) member(key, v []byte) *apierr.Error {
	r := d.r
	switch string(key) {
	case "model", "instructions":
	case "input":
		return d.input(v)
	case "max_output_tokens": // the relay's own affair: the hold knows it
	case "stream":
		r.Stream = string(v) == "true"
	case "stream_options", "store", "previous_response_id", "metadata", "max_tool_calls": // the relay's own affair
	case "background":
		if string(v) != "false" {
			return r.Refuse("background")
		}
	case "conversation", "prompt":
		return r.Refuse(string(key))
	case "temperature":
		r.Temperature = v
	case "top_p":
		r.TopP = v
	case "top_logprobs":
		if n, ok, _ := walk.Count(v); !ok {
			return chat.Bad("top_logprobs", "must be a count")
		} else if n > 0 {
			r.Logprobs, r.TopLogprobs = true, v
		}
	case "truncation":
		if string(v) != `"disabled"` {
			r.Unmapped("", key)
		}
	case "include":
		return chat.Each(v, "include", func(v []byte) *apierr.Error {
			if string(v) == `"message.output_text.logprobs"` {
				r.Logprobs = true
			}
			return nil
		})
	case "tools":
		r.Tools = r.Tools[:0]
		return chat.Each(v, "tools", d.tool)
	case "tool_choice":
		return d.toolChoice(v)
	case "parallel_tool_calls":
		r.ParallelOff = string(v) == "false"
	case "text":
		return d.format(v)
	case "reasoning":
		if s := walk.TextOf(v, "effort"); len(s) > 0 {
			e, ok := chat.ParseEffort(s)
			if !ok {
				return chat.Bad("reasoning.effort", "must be one of none, minimal, low, medium, high, xhigh, max")
			}
			r.Effort = e
		}
	case "user", "safety_identifier":
		r.UserNames = append(r.UserNames, string(key))
		if s, ok := walk.Text(v); ok && (r.User == nil || key[0] == 's') {
			r.User = s
		}
	default:
		r.Unmapped("", key)
	}
	return nil
}

func (d *decoder) tool(v []byte) *apierr.Error {
	if kind := walk.TextOf(v, "type"); string(kind) != "function" && len(kind) > 0 || len(v) == 0 || v[0] != '{' {
		return d.r.Refuse("tools[].type")
	}
	t := chat.Tool{Name: walk.TextOf(v, "name"), Description: walk.TextOf(v, "description"), Schema: walk.Get(v, "parameters")}
	if len(t.Name) == 0 {
		return chat.Bad("tools[].name", "is missing")
	}
	if t.Schema != nil && t.Schema[0] != '{' {
		return chat.Bad("tools[].parameters", "must be an object")
	}
	if s := walk.Get(v, "strict"); string(s) == "true" || string(s) == "false" {
		t.Strict = s
	}
	if walk.Truthy(walk.Get(v, "defer_loading")) {
		d.r.Unmapped("tools[].defer_loading", nil)
	}
	d.r.Tools = append(d.r.Tools, t)
	return nil
}

func (d *decoder) toolChoice(v []byte) *apierr.Error {
	if s, ok := walk.Text(v); ok {
		return d.mode("tool_choice", s)
	}
	switch string(walk.TextOf(v, "type")) {
	case "function":
		name := walk.TextOf(v, "name")
		if len(name) == 0 {
			return chat.Bad("tool_choice", "names no function")
		}
		d.r.Choice, d.r.ChoiceName = chat.ChoiceNamed, name
		return nil
	case "allowed_tools":
		if d.allowed = walk.Get(v, "tools"); len(d.allowed) == 0 || d.allowed[0] != '[' {
			return chat.Bad("tool_choice.tools", "must be a list")
		}
		return d.mode("tool_choice.mode", walk.TextOf(v, "mode"))
	}
	return d.r.Refuse("tool_choice")
}

func (d *decoder) mode(path string, s []byte) *apierr.Error {
	switch string(s) {
	case "auto":
		d.r.Choice = chat.ChoiceAuto
	case "none":
		d.r.Choice = chat.ChoiceNone
	case "required":
		d.r.Choice = chat.ChoiceRequired
	default:
		return chat.Bad(path, "must be auto, none or required, or name a function")
	}
	return nil
}

// choose leaves the tools out that tool_choice does not allow.
func (d *decoder) choose() {
	if d.allowed == nil {
		return
	}
	allowed := map[string]bool{}
	it := walk.Array(d.allowed, 0)
	for it.Next() {
		allowed[string(walk.TextOf(it.Value(), "name"))] = true
	}
	kept := d.r.Tools[:0]
	for _, t := range d.r.Tools {
		if allowed[string(t.Name)] {
			kept = append(kept, t)
		}
	}
	d.r.Tools = kept
}

// format reads the member text.
func (d *decoder) format(v []byte) *apierr.Error {
	if s := walk.TextOf(v, "verbosity"); len(s) > 0 && string(s) != "medium" {
		d.r.Unmapped("text.verbosity", nil)
	}
	f, s := &d.r.Format, walk.Get(v, "format")
	switch string(walk.TextOf(s, "type")) {
	case "text", "":
		*f = chat.Format{}
	case "json_object":
		*f = chat.Format{Mode: chat.FormatObject}
	case "json_schema":
		*f = chat.Format{Mode: chat.FormatSchema, Name: walk.TextOf(s, "name"), Description: walk.TextOf(s, "description"), Schema: walk.Get(s, "schema")}
		if strict := walk.Get(s, "strict"); string(strict) == "true" || string(strict) == "false" {
			f.Strict = strict
		}
		if len(f.Schema) == 0 || f.Schema[0] != '{' {
			return chat.Bad("text.format.schema", "must be an object")
		}
	default:
		return chat.Bad("text.format.type", "must be text, json_object or json_schema")
	}
	return nil
}

// badAt is the 400 for the n-th item.
func badAt(n int, member, why string) *apierr.Error {
	return chat.Bad("input["+strconv.Itoa(n)+"]"+member, why)
}

func (d *decoder) input(v []byte) *apierr.Error {
	if s, ok := walk.Text(v); ok {
		d.r.Turns = append(d.r.Turns, chat.Turn{Role: chat.User, Parts: []chat.Part{{Kind: chat.PartText, Text: s}}})
		return nil
	}
	n, open := 0, false
	return chat.Each(v, "input", func(v []byte) *apierr.Error {
		err := d.item(n, v, &open)
		n++
		return err
	})
}

// own is the assistant's turn that the items since the last of another's make.
func (d *decoder) own(open *bool) *chat.Turn {
	if !*open {
		d.r.Turns = append(d.r.Turns, chat.Turn{Role: chat.Assistant})
		*open = true
	}
	return &d.r.Turns[len(d.r.Turns)-1]
}

// item reads one item. open says that the last turn is the assistant's and goes on.
func (d *decoder) item(n int, v []byte, open *bool) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return badAt(n, "", "must be an object")
	}
	r := d.r
	switch kind := walk.TextOf(v, "type"); string(kind) {
	case "message", "":
		return d.message(n, v, open)
	case "reasoning":
		d.reasoning(v, open)
		return nil
	case "function_call":
		return d.call(n, v, d.own(open))
	case "function_call_output":
		p := chat.Part{Kind: chat.PartResult, ID: walk.TextOf(v, "call_id")}
		if len(p.ID) == 0 {
			return badAt(n, ".call_id", "is missing")
		}
		var err *apierr.Error
		if p.Parts, err = d.content(n, nil, walk.Get(v, "output"), ".output"); err != nil {
			return err
		}
		*open = false
		r.Turns = append(r.Turns, chat.Turn{Role: chat.User, Parts: []chat.Part{p}})
		return nil
	case "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call", "mcp_list_tools", "tool_search_call":
		r.Unmapped("input[].type=web_search_call", nil)
		return nil
	case "custom_tool_call", "custom_tool_call_output":
		return r.Refuse("input[].type=custom_tool_call")
	}
	return badAt(n, ".type", "is of a kind that this model's provider has no equivalent for")
}

func (d *decoder) message(n int, v []byte, open *bool) *apierr.Error {
	r := d.r
	var t *chat.Turn
	role := chat.User
	switch string(walk.TextOf(v, "role")) {
	case "system", "developer":
		role = chat.System
	case "user":
	case "assistant":
		t = d.own(open)
	default:
		return badAt(n, ".role", "must be system, developer, user or assistant")
	}
	if t == nil {
		*open = false
		r.Turns = append(r.Turns, chat.Turn{Role: role})
		t = &r.Turns[len(r.Turns)-1]
	}
	if walk.Truthy(walk.Get(v, "phase")) {
		r.Unmapped("input[].phase", nil)
	}
	var err *apierr.Error
	t.Parts, err = d.content(n, t.Parts, walk.Get(v, "content"), ".content")
	return err
}

// content adds the parts of a message's or a result's content.
func (d *decoder) content(n int, parts []chat.Part, v []byte, path string) ([]chat.Part, *apierr.Error) {
	if v == nil {
		return parts, nil
	}
	if s, ok := walk.Text(v); ok {
		return append(parts, chat.Part{Kind: chat.PartText, Text: s}), nil
	}
	if v[0] != '[' {
		return parts, badAt(n, path, "must be a text or a list of parts")
	}
	it := walk.Array(v, 0)
	for it.Next() {
		p, err := d.part(n, it.Value(), path)
		if err != nil {
			return parts, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (d *decoder) part(n int, v []byte, path string) (p chat.Part, err *apierr.Error) {
	switch kind := walk.TextOf(v, "type"); string(kind) {
	case "input_text", "output_text", "text":
		p = chat.Part{Kind: chat.PartText, Text: walk.TextOf(v, "text")}
	case "refusal":
		p = chat.Part{Kind: chat.PartRefusal, Text: walk.TextOf(v, "refusal")}
	case "input_image":
		p.Kind = chat.PartImage
		if walk.Get(v, "file_id") != nil {
			return p, d.r.Refuse("input[].content[].file_id")
		}
		if s := walk.TextOf(v, "detail"); len(s) > 0 && string(s) != "auto" {
			d.r.Unmapped("input[].content[].detail", nil)
		}
		if why := d.r.Link(&p, walk.TextOf(v, "image_url")); why != "" {
			return p, badAt(n, path+"[].image_url", why)
		}
		if p.URL == nil && !bytes.HasPrefix(p.Media, []byte("image/")) {
			return p, badAt(n, path+"[].image_url", "is no image")
		}
	case "input_file":
		p.Kind, p.Title = chat.PartFile, walk.TextOf(v, "filename")
		switch {
		case walk.Get(v, "file_id") != nil:
			return p, d.r.Refuse("input[].content[].file_id")
		case walk.Get(v, "file_url") != nil:
			return p, d.r.Refuse("input[].content[].file_url")
		}
		if why := d.r.Link(&p, walk.TextOf(v, "file_data")); why != "" || p.Data == nil {
			return p, badAt(n, path+"[].file_data", "must be a data URL in base64")
		}
	default:
		return p, badAt(n, path+"[].type", "is of a kind that this model's provider has no equivalent for")
	}
	if walk.Get(v, "prompt_cache_breakpoint") != nil {
		d.r.Unmapped("input[].content[].prompt_cache_breakpoint", nil)
	}
	return p, nil
}

// call adds a tool call of the history.
func (d *decoder) call(n int, v []byte, t *chat.Turn) *apierr.Error {
	p := chat.Part{Kind: chat.PartCall, ID: walk.TextOf(v, "call_id"), Name: walk.TextOf(v, "name")}
	if len(p.ID) == 0 || len(p.Name) == 0 {
		return badAt(n, "", "needs a call_id and a name")
	}
	args, _ := walk.Text(walk.Get(v, "arguments"))
	if p.Args = d.r.Keep(args); chat.Blank(args) {
		p.Args = emptyArgs
	}
	if i := walk.Space(p.Args, 0); i >= len(p.Args) || p.Args[i] != '{' || !chat.Valid(p.Args) {
		return badAt(n, ".arguments", "is no JSON object, and this model's provider takes no other arguments")
	}
	if n := len(t.Parts) - 1; n >= 0 && t.Parts[n].Signer == chat.Google && t.Parts[n].Kind == chat.PartThinking && len(t.Parts[n].Text) == 0 {
		p.Signature, p.Signer = t.Parts[n].Signature, chat.Google // the proof of the thought that led to it
		t.Parts = t.Parts[:n]
	}
	t.Parts = append(t.Parts, p)
	return nil
}

var emptyArgs = []byte("{}")

// What encrypted_content begins with in the items that the relay made, behind the
// signer of the thought and a colon: whether the signature follows or the thought
// itself.
const (
	signed   = "signature:"
	redacted = "redacted:"
)

// reasoning adds a thought of the history.
func (d *decoder) reasoning(v []byte, open *bool) {
	p := chat.Part{Kind: chat.PartThinking, Text: d.summary(v)}
	sealed := walk.TextOf(v, "encrypted_content")
	name, rest, _ := bytes.Cut(sealed, []byte(":"))
	if signer := chat.ParseSigner(name); signer != chat.NoSigner {
		if s, ok := bytes.CutPrefix(rest, []byte(signed)); ok {
			p.Signature, p.Signer = s, signer
		} else if s, ok := bytes.CutPrefix(rest, []byte(redacted)); ok {
			p = chat.Part{Kind: chat.PartRedacted, Text: s, Signer: signer}
		}
	}
	if p.Signer == chat.NoSigner && sealed != nil {
		d.r.Unmapped("input[].type=reasoning", nil) // another provider's proof
	}
	if p.Signer != chat.NoSigner || len(p.Text) > 0 {
		t := d.own(open)
		t.Parts = append(t.Parts, p)
	}
}

// summary is the text of a reasoning item: its summary, or what it shows besides.
func (d *decoder) summary(v []byte) (s []byte) {
	for _, name := range [...]string{"summary", "content"} {
		list := walk.Get(v, name)
		if len(list) == 0 || list[0] != '[' {
			continue
		}
		it, n := walk.Array(list, 0), 0
		for it.Next() {
			piece := walk.TextOf(it.Value(), "text")
			if n++; n == 1 {
				s = piece
			} else {
				s = append(append(s[:len(s):len(s)], `\n\n`...), piece...)
			}
		}
		if len(s) > 0 {
			return s
		}
	}
	return nil
}
