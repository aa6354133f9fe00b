package anthropic

import (
	"bytes"
	"slices"
	"strconv"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// DecodeRequest reads a request body into the common form. The body has passed
// peek: it is one object of valid JSON. The form points into it.
func DecodeRequest(body []byte, r *chat.Request) *apierr.Error {
	r.Reset(chat.Messages)
	d := decoder{r: r}
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return chat.Bad("body", "must be a JSON object")
	}
	// The system prompt comes first wherever it stands.
	if s := walk.Get(body[at:], "system"); s != nil {
		parts, err := d.texts(nil, s)
		if err != nil {
			return err
		}
		r.Turns = append(r.Turns, chat.Turn{Role: chat.System, Parts: parts})
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
	return nil
}

type decoder struct{ r *chat.Request }

func (d *decoder) member(key, v []byte) *apierr.Error {
	r := d.r
	switch string(key) {
	case "model", "system":
	case "messages":
		if n := len(r.Turns); n > 0 && r.Turns[0].Role == chat.System {
			r.Turns = r.Turns[:1]
		} else {
			r.Turns = r.Turns[:0]
		}
		n := 0
		return chat.Each(v, "messages", func(v []byte) *apierr.Error {
			err := d.message(n, v)
			n++
			return err
		})
	case "max_tokens": // the relay's own affair: the hold knows it
	case "stream":
		r.Stream = string(v) == "true"
	case "temperature":
		r.Temperature = v
	case "top_p":
		r.TopP = v
	case "top_k":
		r.TopK = v
	case "stop_sequences":
		r.Stop = r.Stop[:0]
		return chat.Each(v, "stop_sequences", func(v []byte) *apierr.Error {
			s, ok := walk.Text(v)
			if !ok {
				return chat.Bad("stop_sequences", "must hold strings")
			}
			r.Stop = append(r.Stop, s)
			return nil
		})
	case "metadata":
		if r.User = walk.TextOf(v, "user_id"); len(r.User) > 0 {
			r.UserNames = append(r.UserNames, "metadata")
		}
		d.others("metadata.", v, "user_id")
	case "thinking":
		return d.thinking(v)
	case "output_config":
		return d.output(v)
	case "tool_choice":
		return d.toolChoice(v)
	case "tools":
		r.Tools = r.Tools[:0]
		return chat.Each(v, "tools", d.tool)
	case "mcp_servers":
		if walk.Truthy(v) {
			r.Unmapped("", key)
		}
	default:
		r.Unmapped("", key)
	}
	return nil
}

func (d *decoder) thinking(v []byte) *apierr.Error {
	switch string(walk.TextOf(v, "type")) {
	case "disabled":
		d.r.Effort = chat.EffortNone
	case "adaptive":
		d.r.Adaptive = true
	case "enabled":
		n, err := strconv.ParseInt(string(walk.Get(v, "budget_tokens")), 10, 64)
		if err != nil || n < 1 {
			return chat.Bad("thinking.budget_tokens", "must be a whole number")
		}
		if d.r.Budget = n; d.r.Effort == chat.EffortUnset {
			d.r.Effort = chat.EffortOf(n)
		}
	default:
		return chat.Bad("thinking.type", "must be enabled, adaptive or disabled")
	}
	d.others("thinking.", v, "type", "budget_tokens")
	return nil
}

// others notes the members of the object v that are not among the known ones.
func (d *decoder) others(path string, v []byte, known ...string) {
	if len(v) == 0 || v[0] != '{' {
		return
	}
	it := walk.Object(v, 0)
	for it.Next() {
		if !slices.Contains(known, string(it.Key)) && walk.Truthy(it.Value()) {
			d.r.Unmapped(path, it.Key)
		}
	}
}

func (d *decoder) output(v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return chat.Bad("output_config", "must be an object")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		switch {
		case walk.Null(v):
		case string(it.Key) == "effort":
			s, _ := walk.Text(v)
			e, ok := chat.ParseEffort(s)
			if !ok {
				return chat.Bad("output_config.effort", "must be one of low, medium, high, xhigh, max")
			}
			if d.r.Effort != chat.EffortNone {
				d.r.Effort = e
			}
		case string(it.Key) == "format":
			if string(walk.TextOf(v, "type")) != "json_schema" {
				return chat.Bad("output_config.format.type", "must be json_schema")
			}
			s := walk.Get(v, "schema")
			if len(s) == 0 || s[0] != '{' {
				return chat.Bad("output_config.format.schema", "must be an object")
			}
			d.r.Format = chat.Format{Mode: chat.FormatSchema, Schema: s}
		default:
			d.r.Unmapped("output_config.", it.Key)
		}
	}
	return nil
}

func (d *decoder) toolChoice(v []byte) *apierr.Error {
	r := d.r
	switch string(walk.TextOf(v, "type")) {
	case "auto":
		r.Choice = chat.ChoiceAuto
	case "any":
		r.Choice = chat.ChoiceRequired
	case "none":
		r.Choice = chat.ChoiceNone
	case "tool":
		r.Choice, r.ChoiceName = chat.ChoiceNamed, walk.TextOf(v, "name")
		if len(r.ChoiceName) == 0 {
			return chat.Bad("tool_choice.name", "is missing")
		}
	default:
		return chat.Bad("tool_choice.type", "must be auto, any, tool or none")
	}
	r.ParallelOff = string(walk.Get(v, "disable_parallel_tool_use")) == "true"
	return nil
}

func (d *decoder) tool(v []byte) *apierr.Error {
	r := d.r
	if kind := walk.TextOf(v, "type"); len(kind) > 0 && string(kind) != "custom" {
		return r.Refuse("tools[].type")
	}
	t := chat.Tool{Name: walk.TextOf(v, "name"), Description: walk.TextOf(v, "description"), Schema: walk.Get(v, "input_schema"), Cache: mark(v)}
	if len(t.Name) == 0 {
		return chat.Bad("tools[].name", "is missing")
	}
	if t.Schema != nil && t.Schema[0] != '{' {
		return chat.Bad("tools[].input_schema", "must be an object")
	}
	if s := walk.Get(v, "strict"); string(s) == "true" || string(s) == "false" {
		t.Strict = s
	}
	d.others("tools[].", v, "type", "name", "description", "input_schema", "strict")
	r.Tools = append(r.Tools, t)
	return nil
}

// mark is the mark of the cache on a block or tool, nil if there is none. It is noted
// as unmapped besides, for the formats that have no place for it.
func mark(v []byte) []byte {
	if c := walk.Get(v, "cache_control"); len(c) > 0 && c[0] == '{' {
		return c
	}
	return nil
}

// texts reads a system prompt.
func (d *decoder) texts(parts []chat.Part, v []byte) ([]chat.Part, *apierr.Error) {
	if s, ok := walk.Text(v); ok {
		return append(parts, chat.Part{Kind: chat.PartText, Text: s}), nil
	}
	err := chat.Each(v, "system", func(v []byte) *apierr.Error {
		if kind := walk.TextOf(v, "type"); string(kind) != "text" {
			return chat.Bad("system[].type", "must be text")
		}
		parts = append(parts, chat.Part{Kind: chat.PartText, Text: walk.TextOf(v, "text"), Cache: mark(v)})
		d.others("system[].", v, "type", "text")
		return nil
	})
	return parts, err
}

func (d *decoder) message(n int, v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return chat.BadAt(n, "", "must be an object")
	}
	var t chat.Turn
	switch string(walk.TextOf(v, "role")) {
	case "user":
		t.Role = chat.User
	case "assistant":
		t.Role = chat.Assistant
	case "system":
		t.Role = chat.System
	default:
		return chat.BadAt(n, ".role", "must be user or assistant")
	}
	var err *apierr.Error
	if t.Parts, err = d.content(n, nil, walk.Get(v, "content"), false); err != nil {
		return err
	}
	d.others("messages[].", v, "role", "content")
	d.r.Turns = append(d.r.Turns, t)
	return nil
}

// content adds the parts of a message's or a result's content.
func (d *decoder) content(n int, parts []chat.Part, v []byte, result bool) ([]chat.Part, *apierr.Error) {
	if s, ok := walk.Text(v); ok {
		if len(s) > 0 {
			parts = append(parts, chat.Part{Kind: chat.PartText, Text: s})
		}
		return parts, nil
	}
	if v == nil && result {
		return parts, nil
	}
	if len(v) == 0 || v[0] != '[' {
		return parts, chat.BadAt(n, ".content", "must be a string or a list of blocks")
	}
	it := walk.Array(v, 0)
	for it.Next() {
		p, ok, err := d.block(n, it.Value(), result)
		if err != nil {
			return parts, err
		}
		if ok {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// block reads one block; ok is false for one that is left out.
func (d *decoder) block(n int, v []byte, result bool) (p chat.Part, ok bool, err *apierr.Error) {
	r := d.r
	const path = "messages[].content[]."
	kind := walk.TextOf(v, "type")
	switch string(kind) {
	case "text":
		p = chat.Part{Kind: chat.PartText, Text: walk.TextOf(v, "text")}
	case "image":
		p.Kind = chat.PartImage
		s := walk.Get(v, "source")
		switch string(walk.TextOf(s, "type")) {
		case "base64":
			p.Media, p.Data = d.plain(walk.TextOf(s, "media_type")), d.plain(walk.TextOf(s, "data"))
			if !safe(p.Media) || !safe(p.Data) || len(p.Data) == 0 {
				return p, false, chat.BadAt(n, ".content[].source", "is no base64 image")
			}
		case "url":
			if p.URL = walk.TextOf(s, "url"); len(p.URL) == 0 {
				return p, false, chat.BadAt(n, ".content[].source.url", "is missing")
			}
		default:
			return p, false, r.Refuse(path + "source.type")
		}
	case "document":
		if p, err = d.document(n, v); err != nil {
			return p, false, err
		}
	case "search_result":
		p.Kind = chat.PartText
		p.Text = append(append(append(p.Text, walk.TextOf(v, "title")...), '\\', 'n'), walk.TextOf(v, "source")...)
		c := walk.Get(v, "content")
		if len(c) > 0 && c[0] == '[' {
			it := walk.Array(c, 0)
			for it.Next() {
				p.Text = append(append(p.Text, '\\', 'n'), walk.TextOf(it.Value(), "text")...)
			}
		}
		return p, true, nil
	case "tool_use":
		p = chat.Part{Kind: chat.PartCall, ID: walk.TextOf(v, "id"), Name: walk.TextOf(v, "name"), Args: walk.Get(v, "input")}
		if len(p.ID) == 0 || len(p.Name) == 0 || len(p.Args) == 0 || p.Args[0] != '{' {
			return p, false, chat.BadAt(n, ".content[]", "of type tool_use needs id, name and input")
		}
	case "tool_result":
		p = chat.Part{Kind: chat.PartResult, ID: walk.TextOf(v, "tool_use_id"), IsError: string(walk.Get(v, "is_error")) == "true"}
		if len(p.ID) == 0 {
			return p, false, chat.BadAt(n, ".content[].tool_use_id", "is missing")
		}
		if p.Parts, err = d.content(n, nil, walk.Get(v, "content"), true); err != nil {
			return p, false, err
		}
	case "thinking":
		p = chat.Part{Kind: chat.PartThinking, Text: walk.TextOf(v, "thinking"), Signature: walk.TextOf(v, "signature")}
		if p.Signature, ok = bytes.CutPrefix(p.Signature, []byte(googleProof)); ok {
			p.Signer = chat.Google
		} else if len(p.Signature) > 0 {
			p.Signer = chat.Anthropic
		}
		return p, true, nil
	case "redacted_thinking":
		return chat.Part{Kind: chat.PartRedacted, Text: walk.TextOf(v, "data"), Signer: chat.Anthropic}, true, nil
	case "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
		"bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
		"mcp_tool_use", "mcp_tool_result", "advisor_tool_result", "compaction":
		r.Unmapped(path+"type=server_tool_use", nil)
		return p, false, nil
	default:
		return p, false, chat.BadAt(n, ".content[].type", "is of a kind that this model's provider has no equivalent for")
	}
	p.Cache = mark(v)
	d.others(path, v, "type", "text", "source", "id", "name", "input", "tool_use_id", "content", "is_error", "title")
	return p, true, nil
}

// googleProof stands before a signature that is not Anthropic's: it tells it apart
// when a conversation comes back, whoever is asked then.
const googleProof = "google-gemini-v1:"

// document reads a document: a PDF is a file, a text is text.
func (d *decoder) document(n int, v []byte) (p chat.Part, err *apierr.Error) {
	s := walk.Get(v, "source")
	switch string(walk.TextOf(s, "type")) {
	case "base64":
		p = chat.Part{Kind: chat.PartFile, Media: d.plain(walk.TextOf(s, "media_type")), Data: d.plain(walk.TextOf(s, "data")), Title: walk.TextOf(v, "title")}
		if !safe(p.Media) || !safe(p.Data) || len(p.Data) == 0 {
			return p, chat.BadAt(n, ".content[].source", "is no base64 document")
		}
		return p, nil
	case "text":
		p = chat.Part{Kind: chat.PartText, Text: walk.TextOf(s, "data")}
	case "content":
		p.Kind = chat.PartText
		c := walk.Get(s, "content")
		if t, ok := walk.Text(c); ok {
			p.Text = t
		} else if len(c) > 0 && c[0] == '[' {
			it := walk.Array(c, 0)
			for it.Next() {
				b := it.Value()
				if string(walk.TextOf(b, "type")) != "text" {
					return p, d.r.Refuse("messages[].content[].source.type")
				}
				p.Text = append(p.Text, walk.TextOf(b, "text")...)
			}
		}
	default:
		return p, d.r.Refuse("messages[].content[].source.type")
	}
	if title := walk.TextOf(v, "title"); len(title) > 0 {
		p.Text = append(append(append([]byte(nil), title...), `\n`...), p.Text...)
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
