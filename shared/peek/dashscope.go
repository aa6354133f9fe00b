package peek

import (
	"bytes"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
)

// dashName is a member of DashScope's bodies that decides what a request may do or cost.
type dashName uint8

const (
	dNone dashName = iota
	dModel
	dInput
	dParameters
	dMessages
	dPrompt
	dRole
	dContent
	dMaxTokens
	dMaxCompletion
	dN
	dTools
	dEnableSearch
	dSearchOptions
	dSearchStrategy
	dCodeInterpreter
	dEnableThinking
	dThinkingBudget
	dModalities
	dAudio
	dSkill
	numDash
)

var dashNames = [numDash]string{
	"", "model", "input", "parameters", "messages", "prompt", "role", "content", "max_tokens", "max_completion_tokens", "n", "tools",
	"enable_search", "search_options", "search_strategy", "enable_code_interpreter", "enable_thinking", "thinking_budget",
	"modalities", "audio", "skill",
}

// dashObject is one of the objects of a body: where it stands, and the names that mean
// something in it.
type dashObject struct {
	at  string
	set uint32
}

// The objects.
var (
	dashTop        = &dashObject{"", 1<<dModel | 1<<dInput | 1<<dParameters}
	dashInput      = &dashObject{"input.", 1<<dMessages | 1<<dPrompt}
	dashMessage    = &dashObject{"input.messages[].", 1<<dRole | 1<<dContent}
	dashSearch     = &dashObject{"parameters.search_options.", 1 << dSearchStrategy}
	dashParameters = &dashObject{"parameters.", 1<<dMaxTokens | 1<<dMaxCompletion | 1<<dN | 1<<dTools | 1<<dEnableSearch |
		1<<dSearchOptions | 1<<dCodeInterpreter | 1<<dEnableThinking | 1<<dThinkingBudget | 1<<dModalities | 1<<dAudio | 1<<dSkill}
)

// dashKey finds the name among those of the set that some parser may read the key raw
// as: DashScope's own are said to match names but for case and underscores.
func dashKey(raw []byte, escaped bool, set uint32) (n dashName, exact bool) {
	var folded [maxKey]byte
	nf := 0
	for i := 0; i < len(raw); {
		r, size := rune(raw[i]), 1
		switch {
		case r == '\\':
			r, size = unescape(raw[i:])
		case r >= utf8.RuneSelf:
			r, size = utf8.DecodeRune(raw[i:])
		}
		i += size
		switch {
		case r == '_' || r == '-':
			continue
		case r == '\u017f': // long s
			r = 's'
		case r == '\u212a': // kelvin sign
			r = 'k'
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		}
		if nf+utf8.UTFMax > maxKey {
			return dNone, false
		}
		nf += utf8.EncodeRune(folded[nf:], r)
	}
	for n = dModel; n < numDash; n++ {
		if set&(1<<n) != 0 && withoutUnderscores(folded[:nf], dashNames[n]) {
			return n, !escaped && string(raw) == dashNames[n]
		}
	}
	return dNone, false
}

// withoutUnderscores reports whether folded is name without its underscores.
func withoutUnderscores(folded []byte, name string) bool {
	j := 0
	for i := range len(name) {
		if name[i] == '_' {
			continue
		}
		if j >= len(folded) || folded[j] != name[i] {
			return false
		}
		j++
	}
	return j == len(folded)
}

// dashScope reads a whole body of DashScope's text generation.
func (s *scanner) dashScope() *apierr.Error {
	if len(s.b) >= 3 && string(s.b[:3]) == "\xef\xbb\xbf" {
		s.fail("byte order mark")
		return s.err
	}
	if s.next() != '{' {
		s.fail("expected an object")
		return s.err
	}
	_, ok := s.dashMembers(0, dashTop)
	if ok {
		if s.next(); s.i != len(s.b) {
			ok = s.fail("data after the object")
		}
	}
	r := s.r
	switch {
	case !ok:
		return s.err
	case !r.ModelSpan.Present():
		return apierr.Invalid("model", "The field 'model' is missing.")
	case !r.Contents.Present():
		return apierr.Invalid("input", "The field 'input' is missing.")
	}
	if r.search {
		// A search for each request, unless the strategy lets the model search as it likes.
		r.ServerTools++
		if r.searchesOnce {
			r.ServerToolUses++
		} else {
			r.ServerToolsNoLimit++
		}
	}
	return nil
}

// dashMembers reads the object at s.i, at a depth of so many objects and arrays around
// it. Each member with a name that means something occurs once, spelled as DashScope has
// it.
func (s *scanner) dashMembers(depth int, o *dashObject) (seen uint32, ok bool) {
	if !s.open(depth) {
		return 0, false
	}
	for first := true; ; first = false {
		start, end, escaped, more := s.member(first)
		if !more {
			return seen, s.err == nil
		}
		n, exact := dashKey(s.b[start:end], escaped, o.set)
		if n != dNone {
			if seen&(1<<n) != 0 {
				name := o.at + dashNames[n]
				return seen, s.refuse(name, "The field '"+name+"' occurs more than once.")
			}
			if !exact {
				name := o.at + dashNames[n]
				return seen, s.refuse(name, "A field is spelled like '"+name+"' but not as DashScope has it; use the exact name.")
			}
			seen |= 1 << n
		}
		s.ws()
		if !s.dashValue(o, n, depth+1) {
			return seen, false
		}
	}
}

// dashValue reads the value of a member.
func (s *scanner) dashValue(o *dashObject, n dashName, depth int) bool {
	if n == dNone {
		return s.value(depth)
	}
	switch o {
	case dashTop:
		return s.dashTopValue(n, depth)
	case dashInput:
		return s.dashInputValue(n, depth)
	case dashMessage:
		if n == dRole {
			var ok bool
			s.role, ok = s.text(depth)
			return ok
		}
		return s.contentAt(depth)
	case dashSearch:
		return s.dashStrategy(depth)
	}
	return s.dashParameter(n, depth)
}

func (s *scanner) dashTopValue(n dashName, depth int) bool {
	r, from := s.r, s.i
	switch n {
	case dModel:
		return s.model()
	case dInput:
		if s.next() != '{' {
			return s.refuse("input", "The field 'input' must be an object.")
		}
		seen, ok := s.dashMembers(depth, dashInput)
		if ok && seen&(1<<dMessages|1<<dPrompt) == 0 {
			return s.refuse("input.messages", "The field 'input.messages' is missing.")
		}
		r.Contents = Span{from, s.i}
		return ok
	case dParameters:
		ok := false
		switch s.next() {
		case '{':
			r.searchesOnce = true
			_, ok = s.dashMembers(depth, dashParameters)
		case 'n':
			ok = s.literal("null")
		default:
			ok = s.refuse("parameters", "The field 'parameters' must be an object.")
		}
		r.Config = Span{from, s.i}
		return ok
	}
	return s.value(depth)
}

func (s *scanner) dashInputValue(n dashName, depth int) bool {
	switch {
	case n == dMessages && s.next() != '[':
		return s.refuse("input.messages", "The field 'input.messages' must be an array.")
	case n == dMessages:
		if !s.open(depth) {
			return false
		}
		for first := true; s.element(first); first = false {
			s.r.Messages++
			ok := false
			if s.next() == '{' {
				ok = s.dashTurn(depth + 1)
			} else {
				ok = s.value(depth + 1)
			}
			if !ok {
				return false
			}
		}
		return s.err == nil
	case n == dPrompt && s.r.Messages == 0:
		s.r.Messages = 1
	}
	return s.value(depth)
}

// dashTurn reads one message. A system message may name files of the account that all
// customers share.
func (s *scanner) dashTurn(depth int) bool {
	s.role = nil
	from := s.i
	_, ok := s.dashMembers(depth, dashMessage)
	if ok && !plainRole(s.role) && NamesFile(s.b[from:s.i]) {
		s.r.StoredID = "fileid"
	}
	return ok
}

// plainRole reports whether the role is one that names no files.
func plainRole(role []byte) bool {
	switch string(role) {
	case "user", "assistant", "tool":
		return true
	}
	return false
}

var fileScheme = []byte("fileid:")

// NamesFile reports whether a text of the JSON v, once unescaped, names a file that is
// stored at DashScope, in the account that all customers share.
func NamesFile(v []byte) bool {
	if bytes.IndexByte(v, '\\') < 0 {
		return bytes.Contains(v, fileScheme)
	}
	at := 0
	for i := 0; i < len(v); {
		r, n := rune(v[i]), 1
		if r == '\\' {
			r, n = unescape(v[i:])
		}
		i += n
		switch {
		case r == rune(fileScheme[at]):
			at++
		case r == rune(fileScheme[0]):
			at = 1
		default:
			at = 0
		}
		if at == len(fileScheme) {
			return true
		}
	}
	return false
}

func (s *scanner) dashParameter(n dashName, depth int) bool {
	r, from := s.r, s.i
	switch n {
	case dMaxTokens:
		ok := s.integer("parameters.max_tokens", MaxCap, &r.MaxTokens)
		r.MaxTokensSpan = Span{from, s.i}
		return ok
	case dMaxCompletion:
		ok := s.integer("parameters.max_completion_tokens", MaxCap, &r.MaxCompletion)
		r.MaxCompletionSpan = Span{from, s.i}
		return ok
	case dN:
		return s.integer("parameters.n", MaxChoices, &r.N)
	case dThinkingBudget:
		if s.next() == 'n' {
			return s.literal("null")
		}
		return s.integer("parameters.thinking_budget", MaxCap, &r.thoughts)
	case dEnableThinking:
		if s.next() == 'f' {
			r.noThoughts = true
		}
		return s.boolean("parameters.enable_thinking", &r.Thinks)
	case dEnableSearch:
		return s.boolean("parameters.enable_search", &r.search)
	case dTools:
		return s.tools()
	case dSearchOptions:
		if s.next() != '{' {
			return s.value(depth)
		}
		_, ok := s.dashMembers(depth, dashSearch)
		return ok
	}
	if !s.value(depth) {
		return false
	}
	v := s.b[from:s.i]
	switch n {
	case dCodeInterpreter:
		if string(v) != "null" && string(v) != "false" {
			r.ServerTool = "enable_code_interpreter"
		}
	case dSkill:
		if string(v) != "null" && string(v) != "[]" {
			r.ServerTool = "skill"
		}
	case dModalities, dAudio:
		if string(v) != "null" && string(v) != `["text"]` {
			r.AudioOutput = true
		}
	}
	return true
}

// dashStrategy reads how the provider searches: an agent's searches have no limit.
func (s *scanner) dashStrategy(depth int) bool {
	from := s.i
	if !s.value(depth) {
		return false
	}
	switch string(s.b[from:s.i]) {
	case "null", `"standard"`, `"pro"`, `"turbo"`, `"max"`:
	default:
		s.r.searchesOnce = false
	}
	return true
}

// OutputBound is the most output that one choice can be billed for under the client's
// own cap, which there is. most is the model's own maximum. DashScope's max_tokens
// leaves thoughts out: their budget, or what the model may think, comes on top.
func (r *Request) OutputBound(most int64) int64 {
	limit := r.OutputCap()
	if r.Shape != DashScopeText || r.MaxCompletion > 0 || r.noThoughts {
		return limit
	}
	switch {
	case r.thoughts > 0:
		limit += r.thoughts
	case r.Thinks:
		limit += most
	}
	return limit
}
