package dashscope

import (
	"bytes"
	"strconv"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// DecodeRequest reads a request body into the common form. The body has passed peek: it
// is one object of valid JSON. The form points into it. Whether the answer is streamed
// stands in the head.
func DecodeRequest(body []byte, r *chat.Request) *apierr.Error {
	r.Reset(chat.DashScope)
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
		var err *apierr.Error
		switch string(it.Key) {
		case "model":
		case "input":
			err = d.input(v)
		case "parameters":
			err = members(v, "parameters", d.parameter)
		default:
			r.Unmapped("", it.Key)
		}
		if err != nil {
			return err
		}
	}
	if it.Bad {
		return chat.Bad("body", "is not readable JSON")
	}
	switch {
	case d.off:
		r.Effort, r.Budget = chat.EffortNone, 0
	case r.Budget > 0:
		r.Effort = chat.EffortOf(r.Budget)
	case d.thinks && r.Effort == chat.EffortUnset:
		r.Effort = chat.EffortMedium
	}
	// The documented defaults: a text, of which each event repeats all so far; messages
	// and increments where there are calls or thoughts to tell.
	special := len(r.Tools) > 0 || d.thinks
	r.Plain = !special && (d.plain || !d.message) && r.Answers < 2 && !r.Logprobs
	r.Cumulative = d.repeats || !d.grows && !d.thinks
	return nil
}

type decoder struct {
	r              *chat.Request
	plain, message bool // result_format, as given
	grows, repeats bool // incremental_output, as given
	thinks, off    bool // enable_thinking, as given
}

// members calls f for every member of the object v that is not null.
func members(v []byte, path string, f func(key, v []byte) *apierr.Error) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return chat.Bad(path, "must be an object")
	}
	it := walk.Object(v, 0)
	for it.Next() {
		if v := it.Value(); !walk.Null(v) {
			if err := f(it.Key, v); err != nil {
				return err
			}
		}
	}
	if it.Bad {
		return chat.Bad(path, "is not readable JSON")
	}
	return nil
}

func (d *decoder) input(v []byte) *apierr.Error {
	var prompt []byte
	n := 0
	err := members(v, "input", func(key, v []byte) *apierr.Error {
		switch string(key) {
		case "messages":
			return chat.Each(v, "input.messages", func(v []byte) *apierr.Error {
				n++
				return d.turn(n-1, v)
			})
		case "prompt":
			s, ok := walk.Text(v)
			if !ok {
				return chat.Bad("input.prompt", "must be a string")
			}
			prompt = s
		case "history":
			return d.r.Refuse("input.history")
		default:
			d.r.Unmapped("input.", key)
		}
		return nil
	})
	switch {
	case err != nil || len(prompt) == 0:
		return err
	case n > 0:
		return chat.Bad("input.prompt", "and input.messages exclude each other")
	}
	d.r.Turns = append(d.r.Turns, chat.Turn{Role: chat.User, Parts: []chat.Part{{Kind: chat.PartText, Text: prompt}}})
	return nil
}

// badAt is the 400 for the n-th message.
func badAt(n int, member, why string) *apierr.Error {
	return chat.Bad("input.messages["+strconv.Itoa(n)+"]"+member, why)
}

func (d *decoder) turn(n int, v []byte) *apierr.Error {
	if len(v) == 0 || v[0] != '{' {
		return badAt(n, "", "must be an object")
	}
	r := d.r
	var t chat.Turn
	role := walk.TextOf(v, "role")
	switch string(role) {
	case "system":
		t.Role = chat.System
	case "user", "tool":
		t.Role = chat.User
	case "assistant":
		t.Role = chat.Assistant
	default:
		return badAt(n, ".role", "must be system, user, assistant or tool")
	}
	if s := walk.TextOf(v, "reasoning_content"); len(s) > 0 && t.Role == chat.Assistant {
		t.Parts = append(t.Parts, chat.Part{Kind: chat.PartThinking, Text: s})
	}
	var err *apierr.Error
	if c := walk.Get(v, "content"); c != nil {
		if t.Parts, err = d.content(n, t.Parts, c); err != nil {
			return err
		}
	}
	if calls := walk.Get(v, "tool_calls"); calls != nil {
		err = chat.Each(calls, "input.messages[].tool_calls", func(v []byte) *apierr.Error { return d.call(n, &t, v) })
		if err != nil {
			return err
		}
	}
	it := walk.Object(v, 0)
	for it.Next() {
		switch string(it.Key) {
		case "role", "content", "tool_calls", "tool_call_id", "reasoning_content":
			continue
		case "name":
			if string(role) == "tool" {
				continue
			}
		}
		if walk.Truthy(it.Value()) {
			r.Unmapped("input.messages[].", it.Key)
		}
	}
	if string(role) == "tool" {
		id := walk.TextOf(v, "tool_call_id")
		if len(id) == 0 {
			return badAt(n, ".tool_call_id", "is missing")
		}
		t.Parts = []chat.Part{{Kind: chat.PartResult, ID: id, Name: walk.TextOf(v, "name"), Parts: t.Parts}}
	}
	r.Turns = append(r.Turns, t)
	return nil
}

// call adds a tool call of the history.
func (d *decoder) call(n int, t *chat.Turn, v []byte) *apierr.Error {
	f := walk.Get(v, "function")
	p := chat.Part{Kind: chat.PartCall, ID: walk.TextOf(v, "id"), Name: walk.TextOf(f, "name")}
	if len(p.ID) == 0 || len(p.Name) == 0 {
		return badAt(n, ".tool_calls", "need an id and a function name each")
	}
	args := walk.TextOf(f, "arguments")
	if p.Args = d.r.Keep(args); chat.Blank(args) {
		p.Args = emptyArgs
	}
	if i := walk.Space(p.Args, 0); i >= len(p.Args) || p.Args[i] != '{' || !chat.Valid(p.Args) {
		return badAt(n, ".tool_calls[].function.arguments", "is no JSON object, and this model's provider takes no other arguments")
	}
	t.Parts = append(t.Parts, p)
	return nil
}

var emptyArgs = []byte("{}")

// content adds the parts of a message's content: each has one member that says what it
// is, or a type as Chat's have.
func (d *decoder) content(n int, parts []chat.Part, v []byte) ([]chat.Part, *apierr.Error) {
	if s, ok := walk.Text(v); ok {
		if len(s) > 0 {
			parts = append(parts, chat.Part{Kind: chat.PartText, Text: s})
		}
		return parts, nil
	}
	if len(v) == 0 || v[0] != '[' {
		return parts, badAt(n, ".content", "must be a string or a list of parts")
	}
	err := chat.Each(v, "input.messages[].content", func(v []byte) *apierr.Error {
		p := chat.Part{Kind: chat.PartText}
		found := false
		err := members(v, "input.messages[].content[]", func(key, v []byte) *apierr.Error {
			switch string(key) {
			case "type":
			case "text":
				s, ok := walk.Text(v)
				if !ok {
					return badAt(n, ".content[].text", "must be a string")
				}
				p.Text, found = s, true
			case "image", "image_url":
				url, ok := walk.Text(v)
				if !ok {
					url = walk.TextOf(v, "url")
				}
				p.Kind, found = chat.PartImage, true
				why := d.r.Link(&p, url)
				if why == "" && p.URL == nil && !bytes.HasPrefix(p.Media, []byte("image/")) {
					why = "is no image"
				}
				if why != "" {
					return badAt(n, ".content[].image", why)
				}
			case "audio", "video", "file", "input_audio", "video_url":
				return d.r.Refuse("input.messages[].content[]." + string(key))
			default:
				d.r.Unmapped("input.messages[].content[].", key)
			}
			return nil
		})
		if err == nil && !found {
			err = badAt(n, ".content[]", "is of a kind that this model's provider has no equivalent for")
		}
		parts = append(parts, p)
		return err
	})
	return parts, err
}

func (d *decoder) parameter(key, v []byte) *apierr.Error {
	r := d.r
	switch string(key) {
	case "result_format":
		s, _ := walk.Text(v)
		d.plain, d.message = string(s) == "text", string(s) == "message"
		if !d.plain && !d.message {
			return chat.Bad("parameters.result_format", "must be text or message")
		}
	case "incremental_output":
		d.grows, d.repeats = string(v) == "true", string(v) == "false"
	case "max_tokens", "max_completion_tokens": // the relay's own affair: the hold knows it
	case "temperature":
		r.Temperature = v
	case "top_p":
		r.TopP = v
	case "top_k":
		r.TopK = v
	case "seed":
		r.Seed = v
	case "presence_penalty":
		r.Presence = v
	case "frequency_penalty":
		r.Frequency = v
	case "stop":
		r.Stop = r.Stop[:0]
		if s, ok := walk.Text(v); ok {
			r.Stop = append(r.Stop, s)
			return nil
		}
		return chat.Each(v, "parameters.stop", func(v []byte) *apierr.Error {
			s, ok := walk.Text(v)
			if !ok {
				return chat.Bad("parameters.stop", "must hold strings for this model: tokens are another model's")
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
			return chat.Bad("parameters.top_logprobs", "must be a count")
		} else if n > 0 {
			r.TopLogprobs = v
		}
	case "tools":
		r.Tools = r.Tools[:0]
		return chat.Each(v, "parameters.tools", d.tool)
	case "tool_choice":
		return d.toolChoice(v)
	case "parallel_tool_calls":
		r.ParallelOff = string(v) == "false"
	case "response_format":
		return d.format(v)
	case "enable_thinking":
		d.thinks, d.off = string(v) == "true", string(v) == "false"
	case "thinking_budget":
		r.Budget, _, _ = walk.Count(v)
	case "reasoning_effort":
		s, _ := walk.Text(v)
		e, ok := chat.ParseEffort(s)
		if !ok {
			return chat.Bad("parameters.reasoning_effort", "must be one of none, minimal, low, medium, high, xhigh, max")
		}
		r.Effort = e
	case "enable_search", "enable_code_interpreter":
		if string(v) == "true" {
			return r.Refuse("parameters." + string(key))
		}
	case "tool_stream": // calls are always streamed
	default:
		if walk.Truthy(v) {
			r.Unmapped("parameters.", key)
		}
	}
	return nil
}

func (d *decoder) tool(v []byte) *apierr.Error {
	if kind := walk.TextOf(v, "type"); len(kind) > 0 && string(kind) != "function" {
		return d.r.Refuse("parameters.tools[].type")
	}
	f := walk.Get(v, "function")
	t := chat.Tool{Name: walk.TextOf(f, "name"), Description: walk.TextOf(f, "description"), Schema: walk.Get(f, "parameters")}
	if len(t.Name) == 0 {
		return chat.Bad("parameters.tools[].function.name", "is missing")
	}
	if t.Schema != nil && t.Schema[0] != '{' {
		return chat.Bad("parameters.tools[].function.parameters", "must be an object")
	}
	if s := walk.Get(f, "strict"); string(s) == "true" || string(s) == "false" {
		t.Strict = s
	}
	d.r.Tools = append(d.r.Tools, t)
	return nil
}

func (d *decoder) toolChoice(v []byte) *apierr.Error {
	r := d.r
	s, ok := walk.Text(v)
	switch string(s) {
	case "auto":
		r.Choice = chat.ChoiceAuto
	case "none":
		r.Choice = chat.ChoiceNone
	case "required":
		r.Choice = chat.ChoiceRequired
	default:
		name := walk.TextOf(walk.Get(v, "function"), "name")
		if ok || len(name) == 0 {
			return chat.Bad("parameters.tool_choice", "must be auto, none or required, or name a function")
		}
		r.Choice, r.ChoiceName = chat.ChoiceNamed, name
	}
	return nil
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
			return chat.Bad("parameters.response_format.json_schema.schema", "must be an object")
		}
	default:
		return chat.Bad("parameters.response_format.type", "must be text, json_object or json_schema")
	}
	return nil
}
