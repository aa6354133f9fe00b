package peek

import (
	"bytes"
	"strings"

	"tokenrelay/shared/apierr"
)

// maxToolCalls is the most that max_tool_calls may say.
const maxToolCalls = 1_000

// responsesValue reads the members that mean something else, or anything at all, in
// a request for responses. ours is false for one that all shapes share.
func (s *scanner) responsesValue(f field, from int) (ours, ok bool) {
	r := s.r
	switch f {
	case fInput:
		ok = s.conversation()
		r.InputSpan = Span{from, s.i}
		return true, ok
	case fTools:
		return true, s.hosted(1)
	case fMaxOutputTokens:
		ok = s.integer("max_output_tokens", MaxCap, &r.MaxOutput)
		r.MaxOutputSpan = Span{from, s.i}
		return true, ok
	case fMaxToolCalls:
		return true, s.integer("max_tool_calls", maxToolCalls, &r.MaxToolCalls)
	case fMaxTokens, fMaxCompletionTokens, fMessages, fSystem: // nobody's
		return true, s.value(1)
	case fReasoning:
		return true, s.reasoning()
	case fStore:
		stored := true
		ok = s.boolean("store", &stored)
		r.NotStored = string(s.b[from:s.i]) == "false"
		return true, ok
	case fPrompt, fBackground, fPreviousResponse:
	default:
		return false, false
	}
	if !s.value(1) {
		return true, false
	}
	v := s.b[from:s.i]
	if string(v) == "null" {
		return true, true
	}
	switch f {
	case fPrompt:
		r.StoredID = "prompt"
	case fBackground:
		if string(v) != "false" {
			return true, s.refuse("background", "Answers are not made in the background here: leave 'background' out.")
		}
	case fPreviousResponse:
		if v[0] != '"' || len(v) == 2 {
			return true, s.refuse("previous_response_id", "The field 'previous_response_id' must be the id of a response.")
		}
		r.Previous, r.PreviousSpan = v[1:len(v)-1], Span{from, s.i}
	}
	return true, true
}

// responses judges what only the whole request tells: what is missing, and what
// limits the provider's own tools.
func (r *Request) responses(seen uint64) *apierr.Error {
	if seen&(1<<fInput) == 0 {
		return apierr.Invalid("input", "The field 'input' is missing.")
	}
	if r.ServerTools > 0 && r.MaxToolCalls > 0 {
		r.ServerToolUses = r.MaxToolCalls
	} else {
		r.ServerToolsNoLimit = r.ServerTools
	}
	return nil
}

// reasoning reads how the model is to think: a mode other than the standard one
// answers several times over at a price of its own.
func (s *scanner) reasoning() bool {
	if s.next() != '{' {
		return s.value(1)
	}
	s.i++
	for first := true; ; first = false {
		key, odd, more := s.name(first)
		if !more {
			return s.err == nil
		}
		s.ws()
		from := s.i
		if !s.value(2) {
			return false
		}
		v := string(s.b[from:s.i])
		if (string(key) == "mode" || odd) && v != "null" && v != `"standard"` {
			s.r.PriceMember = "reasoning.mode"
		}
	}
}

// conversation reads the input of a request for responses: a text, or a list of items.
func (s *scanner) conversation() bool {
	switch s.next() {
	case '"':
		_, _, _, ok := s.str()
		return ok
	case '[':
	default:
		return s.refuse("input", "The field 'input' must be a string or a list of items.")
	}
	s.i++
	for first := true; s.element(first); first = false {
		s.r.Messages++
		ok := false
		if s.next() == '{' {
			ok = s.item()
		} else {
			ok = s.value(2)
		}
		if !ok {
			return false
		}
	}
	return s.err == nil
}

// item reads one item. What an item holds in the body is bounded by its bytes; what
// it only refers to, or what is of an unknown kind, is not.
func (s *scanner) item() bool {
	s.i++
	var kind []byte
	var types int
	odd, role, id, sealed := false, false, false, false
	for first := true; ; first = false {
		key, o, more := s.name(first)
		if !more {
			break
		}
		odd = odd || o
		ok := false
		switch string(key) {
		case "type":
			types++
			kind, ok = s.text(3)
		case "content", "output":
			ok = s.contentAt(3)
		case "tools":
			ok = s.hosted(3)
		default:
			s.ws()
			from := s.i
			ok = s.value(3)
			given := ok && string(s.b[from:s.i]) != "null"
			switch string(key) {
			case "role":
				role = role || given
			case "id":
				id = id || given
			case "encrypted_content":
				sealed = sealed || given
			case "file_id":
				if given {
					s.r.StoredID = "file_id"
				}
			}
		}
		if !ok {
			return false
		}
	}
	if s.err != nil {
		return false
	}
	switch k := string(kind); {
	case odd || types > 1:
		s.r.Files++
	case k == "item_reference", k == "" && !role:
		s.r.StoredID = "item_reference"
	case k == "reasoning" && id && !sealed, k == "compaction", k == "compaction_summary", k == "image_generation_call":
		s.r.Files++ // the provider has more of it than stands here
	case k == "", k == "message", k == "reasoning", k == "mcp_list_tools", k == "additional_tools",
		bytes.HasSuffix(kind, []byte("_call")), bytes.HasSuffix(kind, []byte("_call_output")), bytes.HasSuffix(kind, []byte("_output")),
		strings.HasPrefix(k, "mcp_approval_"):
	default:
		s.r.Files++
	}
	return true
}

// hosted reads a list of tools in the form of requests for responses, those of a
// namespace included: which of them the provider runs by itself.
func (s *scanner) hosted(depth int) bool {
	if s.next() != '[' {
		return s.value(depth)
	}
	if !s.open(depth) {
		return false
	}
	for first := true; s.element(first); first = false {
		s.r.Tools++
		if s.next() != '{' {
			if !s.value(depth + 1) {
				return false
			}
			continue
		}
		if !s.open(depth + 1) {
			return false
		}
		var kind []byte
		types := 0
		odd, local := false, false
		for first := true; ; first = false {
			key, o, more := s.name(first)
			if !more {
				break
			}
			odd = odd || o
			ok := false
			switch string(key) {
			case "type":
				types++
				kind, ok = s.text(depth + 2)
			case "tools":
				ok = s.hosted(depth + 2)
			case "environment":
				s.ws()
				from := s.i
				ok = s.value(depth + 2)
				odd = odd || local
				local = localShell(s.b[from:s.i])
			default:
				ok = s.value(depth + 2)
			}
			if !ok {
				return false
			}
		}
		if s.err != nil {
			return false
		}
		s.r.tool(kind, odd || types > 1, local)
	}
	return s.err == nil
}

// localShell reports whether a shell runs where the caller is.
func localShell(v []byte) bool {
	v = bytes.TrimSpace(v)
	for _, c := range [...]byte{' ', '\n', '\r', '\t'} {
		if bytes.IndexByte(v, c) >= 0 {
			return false // written in another way: taken as the provider's
		}
	}
	return string(v) == `{"type":"local"}`
}

// tool counts one tool by its kind. Searches of the web have a price and the limit of
// max_tool_calls; the provider's other tools have no price, or reach into its account.
func (r *Request) tool(kind []byte, odd, local bool) {
	k := string(kind)
	switch {
	case odd:
		r.unpriced("tools")
	case k == "", k == "function", k == "custom", k == "namespace":
	case k == "tool_search", k == "computer", k == "local_shell", k == "apply_patch", k == "shell" && local,
		bytes.HasPrefix(kind, []byte("computer_use")), bytes.HasPrefix(kind, []byte("computer-use")):
		r.OwnTools++
	case bytes.HasPrefix(kind, []byte("web_search")):
		r.ServerTools++
	default:
		r.unpriced(knownTool(kind))
	}
}

func (r *Request) unpriced(name string) {
	r.ServerTools++
	r.ServerTool = name
}

// knownTool is the name of a tool that a provider runs, without keeping the body.
func knownTool(kind []byte) string {
	for _, name := range [...]string{"file_search", "code_interpreter", "mcp", "image_generation", "shell", "x_search", "collections_search"} {
		if string(kind) == name {
			return name
		}
	}
	return "tools"
}
