package chat

import "tokenrelay/proxy/protocol/walk"

// inner is an object inside a request, or what a list holds, and the members that its
// format has there.
type inner struct {
	open    bool // the decoder tells of members that it does not know
	members map[string]*inner
}

// inners are the objects inside of requests: name{…} is one whose members are all listed
// here, name(…) one of which only those are that hold further ones. What is free by its
// nature (schemas, arguments, metadata) is not looked into.
var inners = [NumProtocols]*inner{
	OpenAI: objects(`
		messages(
			content(file{file_data filename file_id} image_url{url detail} input_audio{data format})
			function_call{name arguments}
			tool_calls{id type index function{name arguments} custom extra_content{google{thought_signature}}}
			reasoning_details{type text data summary signature format id index})
		functions{name description parameters} function_call{name}
		tools{type function{name description parameters strict} custom}
		tool_choice{type function{name} allowed_tools{mode tools{type name function{name}}} custom}
		response_format{type json_schema{name description schema strict}}
		stream_options{include_usage include_obfuscation}`),
	Messages: objects(`
		messages(content{type text id name input tool_use_id is_error thinking signature data cache_control citations title context
			source{type media_type data url file_id content}
			content{type text title context cache_control citations source{type media_type data url file_id content} content}})
		system{type text cache_control citations}
		tool_choice{type name disable_parallel_tool_use}
		output_config(format{type schema})`),
	Responses: objects(`
		input{type role id status phase call_id name arguments encrypted_content input action queries results code outputs container_id
			server_label error tools summary{type text}
			content{type text image_url file_id file_data filename file_url detail annotations logprobs refusal prompt_cache_breakpoint input_audio}
			output{type text image_url file_id file_data filename file_url detail annotations logprobs prompt_cache_breakpoint}}
		reasoning{effort summary generate_summary}
		text{format{type name description schema strict} verbosity}
		tools{type name description parameters strict defer_loading}
		tool_choice{type name mode tools{type name}}
		stream_options{include_obfuscation}`),
	Gemini: objects(`
		contents(parts(
			fileData{mimeType fileUri} inlineData{mimeType data} functionCall{id name args}
			functionResponse{id name response parts{inlineData{mimeType data} fileData}}))
		systemInstruction{role parts{text}}`),
	DashScope: objects(`
		input(messages(tool_calls{id type index function{name arguments}}))
		parameters(
			response_format{type json_schema{name description schema strict}}
			tool_choice{type function{name}}
			tools{type function{name description parameters strict}})`),
}

// objects reads what inners hold. A name with members becomes a node.
func objects(text string) *inner {
	root := &inner{open: true, members: map[string]*inner{}}
	stack := []*inner{root}
	name := ""
	add := func(n *inner) {
		if name != "" {
			stack[len(stack)-1].members[name] = n
		}
		name = ""
	}
	for _, c := range text {
		switch c {
		case '{', '(':
			n := &inner{open: c == '(', members: map[string]*inner{}}
			add(n)
			stack = append(stack, n)
		case '}', ')':
			add(nil)
			stack = stack[:len(stack)-1]
		case ' ', '\t', '\n':
			add(nil)
		default:
			name += string(c)
		}
	}
	add(nil)
	return root
}

// Strangers notes the members inside of a request's objects that its format does not
// have, or that nobody reads: none is lost without a word.
func (r *Request) Strangers(body []byte) {
	if n := inners[r.From]; n != nil {
		if at := walk.Space(body, 0); at < len(body) {
			n.strangers(r, body[at:], "")
		}
	}
}

// strangers looks into a value, which prefix names.
func (n *inner) strangers(r *Request, v []byte, prefix string) {
	if len(v) == 0 {
		return
	}
	switch v[0] {
	case '[':
		it := walk.Array(v, 0)
		for it.Next() {
			n.strangers(r, it.Value(), prefix+"[]")
		}
	case '{':
		it := walk.Object(v, 0)
		for it.Next() {
			var buf [64]byte
			key := it.Key
			if r.From == Gemini {
				key = camel(buf[:0], key)
			}
			child, known := n.members[string(key)]
			switch {
			case child != nil:
				name := string(key)
				if prefix != "" {
					name = prefix + "." + name
				}
				child.strangers(r, it.Value(), name)
			case !known && !n.open && walk.Truthy(it.Value()):
				r.Unmapped(prefix+".", it.Key)
			}
		}
	}
}

// camel is a name that Gemini also takes with underscores.
func camel(dst, key []byte) []byte {
	for i := 0; i < len(key); i++ {
		if key[i] == '_' && i > 0 && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' {
			i++
			dst = append(dst, key[i]&^0x20)
			continue
		}
		dst = append(dst, key[i])
	}
	return dst
}
