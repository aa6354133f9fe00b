package openai

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
	r.Reset(chat.OpenAI)
	d := decoder{r: r}
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return chat.Bad("body", "must be a JSON object")
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
	return nil
}

type decoder struct {
	r       *chat.Request
	allowed []byte // names of tool_choice's allowed_tools
	legacy  int    // calls of functions so far: they have no ids
}

func (d *decoder) member(key, v []byte) *apierr.Error {
	r := d.r
	switch string(key) {
	case "model":
	case "messages":
		return d.messages(v)
	case "max_tokens", "max_completion_tokens": // the relay's own affair: the hold knows it
	case "stream":
		r.Stream = string(v) == "true"
	case "stream_options":
		// include_usage is the relay's own affair: peek has found it.
	case "temperature":
		r.Temperature = v
	case "top_p":
		r.TopP = v
	case "top_k":
		r.TopK = v
	case "seed":
		r.Seed = v
	case "frequency_penalty":
		r.Frequency = v
	case "presence_penalty":
		r.Presence = v
	case "stop":
		r.Stop = r.Stop[:0]
		if s, ok := walk.Text(v); ok {
			r.Stop = append(r.Stop, s)
			return nil
		}
		return chat.Each(v, "stop", func(v []byte) *apierr.Error {
			s, ok := walk.Text(v)
			if !ok {
				return chat.Bad("stop", "must hold strings")
			}
			r.Stop = append(r.Stop, s)
			return nil
		})
	case "n":
		r.Answers, _, _ = walk.Count(v)
	case "logprobs":
		r.Logprobs = string(v) == "true"
	case "top_logprobs":
		if n, ok, _ := walk.Count(v); !ok {
			return chat.Bad("top_logprobs", "must be a count")
		} else if n > 0 {
			r.TopLogprobs = v
		}
	case "modalities":
		return chat.Each(v, "modalities", func(v []byte) *apierr.Error {
			if string(v) != `"text"` {
				r.Unmapped("", key)
			}
			return nil
		})
	case "tools":
		r.Tools = r.Tools[:0]
		return chat.Each(v, "tools", d.tool)
	case "functions":
		r.Tools, r.Legacy = r.Tools[:0], true
		return chat.Each(v, "functions", func(v []byte) *apierr.Error { return d.function(v, "functions[]") })
	case "tool_choice":
		return d.toolChoice(v)
	case "function_call":
		if s, ok := walk.Text(v); ok {
			return d.mode("function_call", s)
		}
		return d.named("function_call", walk.TextOf(v, "name"))
	case "parallel_tool_calls":
		r.ParallelOff = string(v) == "false"
	case "response_format":
		return d.format(v)
	case "reasoning_effort":
		s, _ := walk.Text(v)
		e, ok := chat.ParseEffort(s)
		if !ok {
			return chat.Bad("reasoning_effort", "must be one of none, minimal, low, medium, high, xhigh, max")
		}
		r.Effort = e
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
	switch kind := walk.TextOf(v, "type"); string(kind) {
	case "function", "":
		return d.function(walk.Get(v, "function"), "tools[].function")
	case "custom":
		return d.r.Refuse("tools[].type=custom")
	}
	return chat.Bad("tools[].type", "must be function")
}

func (d *decoder) function(v []byte, path string) *apierr.Error {
	t := chat.Tool{Name: walk.TextOf(v, "name"), Description: walk.TextOf(v, "description"), Schema: walk.Get(v, "parameters")}
	if len(t.Name) == 0 {
		return chat.Bad(path+".name", "is missing")
	}
	if t.Schema != nil && t.Schema[0] != '{' {
		return chat.Bad(path+".parameters", "must be an object")
	}
	if s := walk.Get(v, "strict"); string(s) == "true" || string(s) == "false" {
		t.Strict = s
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
		return d.named("tool_choice", walk.TextOf(walk.Get(v, "function"), "name"))
	case "allowed_tools":
		a := walk.Get(v, "allowed_tools")
		d.allowed = walk.Get(a, "tools")
		if len(d.allowed) == 0 || d.allowed[0] != '[' {
			return chat.Bad("tool_choice.allowed_tools.tools", "must be a list")
		}
		return d.mode("tool_choice.allowed_tools.mode", walk.TextOf(a, "mode"))
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

func (d *decoder) named(path string, name []byte) *apierr.Error {
	if len(name) == 0 {
		return chat.Bad(path, "names no function")
	}
	d.r.Choice, d.r.ChoiceName = chat.ChoiceNamed, name
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
		v := it.Value()
		allowed[string(walk.TextOf(walk.Get(v, "function"), "name"))] = true
		allowed[string(walk.TextOf(v, "name"))] = true
	}
	kept := d.r.Tools[:0]
	for _, t := range d.r.Tools {
		if allowed[string(t.Name)] {
			kept = append(kept, t)
		}
	}
	d.r.Tools = kept
}

func (d *decoder) format(v []byte) *apierr.Error {
	f := &d.r.Format
	switch string(walk.TextOf(v, "type")) {
	case "text":
		*f = chat.Format{}
	case "json_object":
		*f = chat.Format{Mode: chat.FormatObject}
	case "json_schema":
		s := walk.Get(v, "json_schema")
		*f = chat.Format{Mode: chat.FormatSchema, Name: walk.TextOf(s, "name"), Description: walk.TextOf(s, "description"), Schema: walk.Get(s, "schema"), Strict: walk.Get(s, "strict")}
		if len(f.Schema) == 0 || f.Schema[0] != '{' {
			return chat.Bad("response_format.json_schema.schema", "must be an object")
		}
	default:
		return chat.Bad("response_format.type", "must be text, json_object or json_schema")
	}
	return nil
}

func (d *decoder) messages(v []byte) *apierr.Error {
	d.r.Turns = d.r.Turns[:0]
	n := 0
	return chat.Each(v, "messages", func(v []byte) *apierr.Error {
		err := d.message(n, v)
		n++
		return err
	})
}

func (d *decoder) message(n int, v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return chat.BadAt(n, "", "must be an object")
	}
	r := d.r
	var t chat.Turn
	role := walk.TextOf(v, "role")
	switch string(role) {
	case "system", "developer":
		t.Role = chat.System
	case "user", "tool", "function":
		t.Role = chat.User
	case "assistant":
		t.Role = chat.Assistant
	default:
		return chat.BadAt(n, ".role", "must be system, developer, user, assistant or tool")
	}
	var err *apierr.Error
	if details := walk.Get(v, "reasoning_details"); len(details) > 0 && details[0] == '[' && t.Role == chat.Assistant {
		t.Parts = thoughts(t.Parts, details)
	}
	signed := len(t.Parts) > 0
	if c := walk.Get(v, "content"); c != nil {
		if t.Parts, err = d.content(n, t.Parts, c); err != nil {
			return err
		}
	}
	if s := walk.TextOf(v, "refusal"); len(s) > 0 {
		t.Parts = append(t.Parts, chat.Part{Kind: chat.PartRefusal, Text: s})
	}
	if calls := walk.Get(v, "tool_calls"); calls != nil {
		err = chat.Each(calls, "messages[].tool_calls", func(v []byte) *apierr.Error {
			if kind := walk.TextOf(v, "type"); len(kind) > 0 && string(kind) != "function" {
				return r.Refuse("messages[].tool_calls[].type")
			}
			if err := d.call(n, &t, walk.TextOf(v, "id"), walk.Get(v, "function")); err != nil {
				return err
			}
			if s := walk.TextOf(walk.Get(walk.Get(v, "extra_content"), "google"), "thought_signature"); len(s) > 0 {
				p := &t.Parts[len(t.Parts)-1]
				p.Signature, p.Signer = s, chat.Google
			}
			return nil
		})
	} else if f := walk.Get(v, "function_call"); f != nil {
		err = d.call(n, &t, []byte("call_function_"+strconv.Itoa(d.legacy)), f)
	}
	if err != nil {
		return err
	}
	id, name := walk.TextOf(v, "tool_call_id"), walk.TextOf(v, "name")
	it := walk.Object(v, 0)
	for it.Next() {
		switch string(it.Key) {
		case "role", "reasoning_details", "content", "refusal", "tool_calls", "function_call", "tool_call_id":
			continue
		case "reasoning_content", "reasoning":
			if signed {
				continue // the same text stands in the details, with its signature
			}
		case "name":
			if string(role) == "function" {
				continue
			}
		}
		if walk.Truthy(it.Value()) {
			r.Unmapped("messages[].", it.Key)
		}
	}
	switch string(role) {
	case "function":
		id = []byte("call_function_" + strconv.Itoa(d.legacy))
		d.legacy++
		fallthrough
	case "tool":
		if len(id) == 0 {
			return chat.BadAt(n, ".tool_call_id", "is missing")
		}
		t.Parts = []chat.Part{{Kind: chat.PartResult, ID: id, Name: name, Parts: t.Parts}}
	}
	r.Turns = append(r.Turns, t)
	return nil
}

// call adds a tool call of the history.
func (d *decoder) call(n int, t *chat.Turn, id, f []byte) *apierr.Error {
	p := chat.Part{Kind: chat.PartCall, ID: id, Name: walk.TextOf(f, "name")}
	if len(p.ID) == 0 || len(p.Name) == 0 {
		return chat.BadAt(n, ".tool_calls", "need an id and a function name each")
	}
	args, _ := walk.Text(walk.Get(f, "arguments"))
	if p.Args = d.r.Keep(args); chat.Blank(args) {
		p.Args = emptyArgs
	}
	if !object(p.Args) {
		return chat.BadAt(n, ".tool_calls[].function.arguments", "is no JSON object, and this model's provider takes no other arguments")
	}
	t.Parts = append(t.Parts, p)
	return nil
}

var emptyArgs = []byte("{}")

// thoughts reads signed thoughts back. Clients put the pieces of a stream together
// by index, or keep them apart. Only a piece of one of our formats can be signed.
func thoughts(parts []chat.Part, v []byte) []chat.Part {
	at := -1
	var index, joined []byte
	it := walk.Array(v, 0)
	for it.Next() {
		x := it.Value()
		format := walk.TextOf(x, "format")
		signer := chat.ParseSigner(format)
		if len(format) > 0 && signer == chat.NoSigner {
			continue
		}
		switch string(walk.TextOf(x, "type")) {
		case "reasoning.text":
			s, sig, i := walk.TextOf(x, "text"), walk.TextOf(x, "signature"), walk.Get(x, "index")
			if at < 0 || !bytes.Equal(i, index) || len(parts[at].Signature) > 0 {
				parts = append(parts, chat.Part{Kind: chat.PartThinking})
				at, index, joined = len(parts)-1, i, nil
			}
			p := &parts[at]
			switch {
			case len(p.Text) == 0:
				p.Text = s
			case len(s) > 0:
				if joined == nil {
					joined = append(joined, p.Text...)
				}
				joined = append(joined, s...)
				p.Text = joined
			}
			if len(sig) > 0 && signer != chat.NoSigner {
				p.Signature, p.Signer = sig, signer
			}
		case "reasoning.encrypted":
			if signer == chat.NoSigner {
				continue
			}
			parts = append(parts, chat.Part{Kind: chat.PartRedacted, Text: walk.TextOf(x, "data"), Signer: signer})
			at = -1
		}
	}
	signed := parts[:0]
	for _, p := range parts {
		if p.Kind == chat.PartRedacted && len(p.Text) > 0 || len(p.Signature) > 0 {
			signed = append(signed, p)
		}
	}
	return signed
}

// content adds the parts of a message's or a result's content.
func (d *decoder) content(n int, parts []chat.Part, v []byte) ([]chat.Part, *apierr.Error) {
	if s, ok := walk.Text(v); ok {
		if len(s) > 0 {
			parts = append(parts, chat.Part{Kind: chat.PartText, Text: s})
		}
		return parts, nil
	}
	if len(v) == 0 || v[0] != '[' {
		return parts, chat.BadAt(n, ".content", "must be a string or a list of parts")
	}
	it := walk.Array(v, 0)
	for it.Next() {
		p, err := d.part(n, it.Value())
		if err != nil {
			return parts, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (d *decoder) part(n int, v []byte) (p chat.Part, err *apierr.Error) {
	r := d.r
	const path = "messages[].content[]."
	switch kind := walk.TextOf(v, "type"); string(kind) {
	case "text":
		p = chat.Part{Kind: chat.PartText, Text: walk.TextOf(v, "text")}
	case "refusal":
		p = chat.Part{Kind: chat.PartRefusal, Text: walk.TextOf(v, "refusal")}
	case "image_url":
		p.Kind = chat.PartImage
		image := walk.Get(v, "image_url")
		url, ok := walk.Text(image)
		if !ok {
			url = walk.TextOf(image, "url")
			if s := walk.TextOf(image, "detail"); len(s) > 0 && string(s) != "auto" {
				r.Unmapped(path+"image_url.detail", nil)
			}
		}
		if err = d.link(n, &p, url, ".content[].image_url.url"); err == nil && p.URL == nil && !bytes.HasPrefix(p.Media, []byte("image/")) {
			err = chat.BadAt(n, ".content[].image_url.url", "is no image")
		}
	case "file":
		p.Kind = chat.PartFile
		f := walk.Get(v, "file")
		p.Title = walk.TextOf(f, "filename")
		if walk.Get(f, "file_id") != nil {
			return p, r.Refuse(path + "file.file_id")
		}
		if err = d.link(n, &p, walk.TextOf(f, "file_data"), ".content[].file.file_data"); err == nil && p.Data == nil {
			err = chat.BadAt(n, ".content[].file.file_data", "must be a data URL")
		}
	case "input_audio":
		a := walk.Get(v, "input_audio")
		format := walk.TextOf(a, "format")
		p = chat.Part{Kind: chat.PartAudio, Data: d.plain(walk.TextOf(a, "data"))}
		if len(format) == 0 || !chat.Base64(format) || len(p.Data) == 0 || !chat.Base64(p.Data) {
			return p, chat.BadAt(n, ".content[].input_audio", "needs data in base64 and a format")
		}
		p.Media = append([]byte("audio/"), format...)
	default:
		return p, chat.BadAt(n, ".content[].type", "is of a kind that this model's provider has no equivalent for")
	}
	if err != nil {
		return p, err
	}
	if c := walk.Get(v, "cache_control"); len(c) > 0 && c[0] == '{' {
		p.Cache = c
	}
	it := walk.Object(v, 0)
	for it.Next() {
		switch string(it.Key) {
		case "type", "text", "refusal", "image_url", "file", "input_audio", "cache_control":
		default:
			r.Unmapped(path, it.Key)
		}
	}
	return p, nil
}

// plain undoes the escapes that some writers put before slashes.
func (d *decoder) plain(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return d.r.Keep(raw)
}

// link reads a URL: a data URL becomes media type and data.
func (d *decoder) link(n int, p *chat.Part, url []byte, path string) *apierr.Error {
	if why := d.r.Link(p, url); why != "" {
		return chat.BadAt(n, path, why)
	}
	return nil
}

// object reports whether b is one JSON object.
func object(b []byte) bool {
	i := walk.Space(b, 0)
	return i < len(b) && b[i] == '{' && chat.Valid(b)
}
