package peek

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/textrun"
)

// field is a guarded member: one whose value, or whose number of occurrences,
// decides what a request may do or cost.
type field uint8

const (
	none field = iota
	fModel
	fStream
	fStreamOptions
	fIncludeUsage
	fMaxTokens
	fMaxCompletionTokens
	fMaxOutputTokens
	fN
	fBestOf
	fMessages
	fInput
	fPrompt
	fSystem
	fInstructions
	fTools
	fFunctions
	fThinking
	fServiceTier
	fSpeed
	fInferenceGeo
	fWebSearchOptions
	fEnableSearch
	fMCPServers
	fModalities
	fAudio
	fContainer
	fPreviousResponse
	fConversation
	fBackground
	fContextManagement
	fMaxToolCalls
	fReasoning
	fStore
	numFields
)

var fieldNames = [numFields]string{
	"", "model", "stream", "stream_options", "include_usage", "max_tokens", "max_completion_tokens",
	"max_output_tokens", "n", "best_of", "messages", "input", "prompt", "system", "instructions",
	"tools", "functions", "thinking", "service_tier", "speed", "inference_geo", "web_search_options",
	"enable_search", "mcp_servers", "modalities", "audio", "container", "previous_response_id",
	"conversation", "background", "context_management", "max_tool_calls", "reasoning", "store",
}

// fieldOf finds the guarded member of that exact name.
func fieldOf(name []byte) field {
	switch string(name) {
	case "model":
		return fModel
	case "stream":
		return fStream
	case "stream_options":
		return fStreamOptions
	case "include_usage":
		return fIncludeUsage
	case "max_tokens":
		return fMaxTokens
	case "max_completion_tokens":
		return fMaxCompletionTokens
	case "max_output_tokens":
		return fMaxOutputTokens
	case "n":
		return fN
	case "best_of":
		return fBestOf
	case "messages":
		return fMessages
	case "input":
		return fInput
	case "prompt":
		return fPrompt
	case "system":
		return fSystem
	case "instructions":
		return fInstructions
	case "tools":
		return fTools
	case "functions":
		return fFunctions
	case "thinking":
		return fThinking
	case "service_tier":
		return fServiceTier
	case "speed":
		return fSpeed
	case "inference_geo":
		return fInferenceGeo
	case "web_search_options":
		return fWebSearchOptions
	case "enable_search":
		return fEnableSearch
	case "mcp_servers":
		return fMCPServers
	case "modalities":
		return fModalities
	case "audio":
		return fAudio
	case "container":
		return fContainer
	case "previous_response_id":
		return fPreviousResponse
	case "conversation":
		return fConversation
	case "background":
		return fBackground
	case "context_management":
		return fContextManagement
	case "max_tool_calls":
		return fMaxToolCalls
	case "reasoning":
		return fReasoning
	case "store":
		return fStore
	}
	return none
}

// maxKey is longer than every guarded name.
const maxKey = 40

// guarded finds the guarded member that some parser may read the key raw as:
// after unescaping, and with letters that fold to each other taken as equal, which
// includes the long s (U+017F) and the kelvin sign (U+212A). exact says that the unescaped key is
// the name byte for byte.
func guarded(raw []byte, escaped bool) (f field, exact bool) {
	if !escaped {
		if f = fieldOf(raw); f != none {
			return f, true
		}
	}
	var plain, folded [maxKey]byte
	np, nf := 0, 0
	for i := 0; i < len(raw); {
		r, n := rune(raw[i]), 1
		switch {
		case r == '\\':
			r, n = unescape(raw[i:])
		case r >= utf8.RuneSelf:
			r, n = utf8.DecodeRune(raw[i:])
		}
		i += n
		if np+utf8.UTFMax > maxKey {
			return none, false
		}
		np += utf8.EncodeRune(plain[np:], r)
		switch {
		case r == '\u017f': // long s
			r = 's'
		case r == '\u212a': // kelvin sign
			r = 'k'
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		}
		nf += utf8.EncodeRune(folded[nf:], r)
	}
	if f = fieldOf(plain[:np]); f != none {
		return f, true
	}
	return fieldOf(folded[:nf]), false
}

// scanner is one pass over a body.
type scanner struct {
	b       []byte
	i       int
	members int    // member names so far
	items   int    // array elements so far
	seen    uint64 // fields seen at the top level
	role    []byte // of DashScope's message at hand
	r       *Request
	err     *apierr.Error
}

// fail notes a syntax error at the current place; the first one counts.
func (s *scanner) fail(reason string) bool {
	if s.err == nil {
		s.err = apierr.New(apierr.InvalidRequest,
			"The request body is not valid JSON: "+reason+" at byte "+strconv.Itoa(s.i)+".")
	}
	return false
}

// refuse notes what is wrong with a field.
func (s *scanner) refuse(param, message string) bool {
	if s.err == nil {
		s.err = apierr.Invalid(param, message)
	}
	return false
}

func (s *scanner) ws() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// next skips space and returns the byte that follows, 0 at the end.
func (s *scanner) next() byte {
	s.ws()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

const highs = 0x8080808080808080

// str reads the string at s.i. The content is b[start:end], still escaped.
func (s *scanner) str() (start, end int, escaped, ok bool) {
	b, i := s.b, s.i+1
	start = i
	wide := false
	for {
		for n := 0; i+8 <= len(b); n++ {
			if n == 2 && i+32 <= len(b) { // no name: most bytes of a request are in long texts
				m, beyond := textrun.Plain(b[i:])
				i += m
				wide = wide || beyond
				continue
			}
			x := binary.LittleEndian.Uint64(b[i:])
			if stop := textrun.Stop(x); stop != 0 {
				m := bits.TrailingZeros64(stop)
				wide = wide || x&highs&(1<<m-1) != 0
				i += m / 8
				break
			}
			wide = wide || x&highs != 0
			i += 8
		}
		if i >= len(b) {
			s.i = i
			return 0, 0, false, s.fail("unterminated string")
		}
		switch c := b[i]; {
		case c == '"':
			if wide && !utf8.Valid(b[start:i]) {
				s.i = start
				return 0, 0, false, s.fail("invalid UTF-8 in the string")
			}
			s.i = i + 1
			return start, i, escaped, true
		case c == '\\':
			escaped = true
			n := escapeLen(b[i:])
			if n == 0 {
				s.i = i
				return 0, 0, false, s.fail("invalid escape")
			}
			i += n
		case c < 0x20:
			s.i = i
			return 0, 0, false, s.fail("control character in a string")
		default:
			wide = wide || c >= utf8.RuneSelf
			i++
		}
	}
}

// escapeLen is the length of the escape at the start of b, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && isHex(b[2]) && isHex(b[3]) && isHex(b[4]) && isHex(b[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// unescape reads the valid escape at the start of b. A surrogate without its pair
// is given as it is.
func unescape(b []byte) (r rune, n int) {
	switch b[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r = hex4(b[2:6])
		if r >= 0xd800 && r < 0xdc00 && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
			if low := hex4(b[8:12]); low >= 0xdc00 && low < 0xe000 {
				return (r-0xd800)<<10 | (low - 0xdc00) + 0x10000, 12
			}
		}
		return r, 6
	}
	return rune(b[1]), 2
}

func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		r <<= 4
		if c <= '9' {
			r |= rune(c - '0')
		} else {
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}

// whole reports whether every \u escape of raw is a character: a surrogate alone
// is read differently by every parser.
func whole(raw []byte) bool {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			i++
			continue
		}
		r, n := unescape(raw[i:])
		if r >= 0xd800 && r < 0xe000 {
			return false
		}
		i += n
	}
	return true
}

// number reads the number at s.i.
func (s *scanner) number() bool {
	b, i := s.b, s.i
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		i = digits(b, i)
	default:
		return s.fail("invalid value")
	}
	if i < len(b) && b[i] == '.' {
		if j := digits(b, i+1); j > i+1 {
			i = j
		} else {
			return s.fail("invalid number")
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := digits(b, i)
		if j == i {
			return s.fail("invalid number")
		}
		i = j
	}
	s.i = i
	return true
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fail("invalid value")
	}
	s.i += len(word)
	return true
}

// value skips one value. depth is the number of objects and arrays around it.
func (s *scanner) value(depth int) bool {
	switch c := s.next(); c {
	case '"':
		_, _, _, ok := s.str()
		return ok
	case '{':
		if !s.open(depth) {
			return false
		}
		for first := true; ; first = false {
			_, _, _, more := s.member(first)
			if !more {
				return s.err == nil
			}
			if !s.value(depth + 1) {
				return false
			}
		}
	case '[':
		if !s.open(depth) {
			return false
		}
		for first := true; s.element(first); first = false {
			if !s.value(depth + 1) {
				return false
			}
		}
		return s.err == nil
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

// open enters the object or array at s.i.
func (s *scanner) open(depth int) bool {
	if depth >= MaxDepth {
		return s.fail("nesting deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
	s.i++
	return true
}

// member reads up to the value of the object's next member: its key is
// b[start:end], still escaped. more is false at the object's end and on an error.
func (s *scanner) member(first bool) (start, end int, escaped, more bool) {
	c := s.next()
	if c == '}' {
		s.i++
		return 0, 0, false, false
	}
	if !first {
		if c != ',' {
			return 0, 0, false, s.fail("expected ',' or '}'")
		}
		s.i++
		c = s.next()
	}
	if c != '"' {
		return 0, 0, false, s.fail("expected a member name")
	}
	if s.members++; s.members > MaxMembers {
		return 0, 0, false, s.fail("more than " + strconv.Itoa(MaxMembers) + " members")
	}
	start, end, escaped, ok := s.str()
	if !ok {
		return 0, 0, false, false
	}
	if escaped && !whole(s.b[start:end]) {
		return 0, 0, false, s.fail("half of a surrogate pair in a member name")
	}
	if s.next() != ':' {
		return 0, 0, false, s.fail("expected ':'")
	}
	s.i++
	return start, end, escaped, true
}

// element goes to the array's next element. It is false at the array's end and on
// an error.
func (s *scanner) element(first bool) bool {
	c := s.next()
	if c == ']' {
		s.i++
		return false
	}
	if !first {
		if c != ',' {
			return s.fail("expected ',' or ']'")
		}
		s.i++
		if s.next() == ']' {
			return s.fail("expected a value")
		}
	}
	if s.items++; s.items > MaxElements {
		return s.fail("more than " + strconv.Itoa(MaxElements) + " array elements")
	}
	return true
}

// name reads the next member of an object of which some members matter. odd says
// that the key is not written plainly, or folds to a name that matters without
// being it: a parser may read the object otherwise than we do.
func (s *scanner) name(first bool) (key []byte, odd, more bool) {
	start, end, escaped, more := s.member(first)
	if !more {
		return nil, false, false
	}
	key = s.b[start:end]
	if escaped {
		return key, true, true
	}
	for _, c := range key {
		if c < 'a' || c > 'z' {
			if c != '_' && (c < '0' || c > '9') {
				return key, true, true
			}
		}
	}
	return key, false, true
}

// top reads the request's own object.
func (s *scanner) top() bool {
	if len(s.b) >= 3 && string(s.b[:3]) == "\xef\xbb\xbf" {
		return s.fail("byte order mark")
	}
	if s.next() != '{' {
		return s.fail("expected an object")
	}
	s.i++
	for first := true; ; first = false {
		start, end, escaped, more := s.member(first)
		if !more {
			if s.err != nil {
				return false
			}
			break
		}
		f, exact := guarded(s.b[start:end], escaped)
		if f == fIncludeUsage {
			f = none // means something inside stream_options only
		}
		if f != none && !s.once(f, exact, &s.seen) {
			return false
		}
		s.ws()
		from := s.i
		if !s.topValue(f, from) {
			return false
		}
	}
	if s.next(); s.i != len(s.b) {
		return s.fail("data after the object")
	}
	return true
}

// once refuses the second occurrence of a guarded member, and one that is only
// read as guarded by parsers that fold case.
func (s *scanner) once(f field, exact bool, seen *uint64) bool {
	name := fieldNames[f]
	if *seen&(1<<f) != 0 {
		return s.refuse(name, "The field '"+name+"' occurs more than once.")
	}
	*seen |= 1 << f
	if !exact {
		return s.refuse(name, "A field is spelled like '"+name+"' but for upper and lower case; use the exact name.")
	}
	return true
}

// topValue reads the value of a member of the request's own object.
func (s *scanner) topValue(f field, from int) bool {
	r := s.r
	if r.Shape == OpenAIResponses || r.Shape == ResponsesCount {
		if ours, ok := s.responsesValue(f, from); ours {
			return ok
		}
	}
	switch f {
	case fModel:
		return s.model()
	case fStream:
		ok := s.boolean("stream", &r.Stream)
		r.StreamSpan = Span{from, s.i}
		return ok
	case fStreamOptions:
		return s.streamOptions(from)
	case fMaxTokens:
		ok := s.integer("max_tokens", MaxCap, &r.MaxTokens)
		r.MaxTokensSpan = Span{from, s.i}
		return ok
	case fMaxCompletionTokens:
		ok := s.integer("max_completion_tokens", MaxCap, &r.MaxCompletion)
		r.MaxCompletionSpan = Span{from, s.i}
		return ok
	case fN:
		return s.integer("n", MaxChoices, &r.N)
	case fBestOf:
		return s.integer("best_of", MaxChoices, &r.BestOf)
	case fMessages:
		return s.messages()
	case fSystem:
		return s.content()
	case fInput:
		if s.r.Shape == OpenAIEmbeddings {
			_, ok := s.texts("input")
			return ok
		}
	case fPrompt:
		if s.r.Shape == OpenAICompletions {
			return s.prompts()
		}
	case fTools:
		return s.tools()
	}
	if !s.value(1) {
		return false
	}
	v := s.b[from:s.i]
	switch f {
	case fServiceTier:
		switch string(v) {
		case "null", `"auto"`, `"default"`, `"standard"`, `"standard_only"`, `"flex"`, `"on_demand"`:
		default:
			r.PriceMember = "service_tier"
		}
	case fSpeed:
		if string(v) != "null" && string(v) != `"standard"` {
			r.PriceMember = "speed"
		}
	case fInferenceGeo:
		if string(v) != "null" && string(v) != `"global"` {
			r.PriceMember = "inference_geo"
		}
	case fWebSearchOptions, fMCPServers:
		if string(v) != "null" && string(v) != "[]" {
			r.ServerTools++
			r.ServerToolsNoLimit++
		}
	case fEnableSearch:
		if string(v) != "null" && string(v) != "false" {
			r.ServerTools++
			r.ServerToolsNoLimit++
		}
	case fModalities, fAudio:
		if string(v) != "null" && string(v) != `["text"]` {
			r.AudioOutput = true
		}
	case fContextManagement:
		if string(v) != "null" {
			r.Rereads++
		}
	case fContainer, fPreviousResponse, fConversation:
		if string(v) != "null" {
			r.StoredID = fieldNames[f]
		}
	}
	return true
}

// model reads the model's name.
func (s *scanner) model() bool {
	if s.next() != '"' {
		return s.refuse("model", "The field 'model' must be a string.")
	}
	from := s.i
	start, end, escaped, ok := s.str()
	if !ok {
		return false
	}
	s.r.ModelSpan = Span{from, s.i}
	s.r.Model = s.b[start:end]
	if len(s.r.Model) == 0 {
		return s.refuse("model", "The field 'model' must not be empty.")
	}
	if escaped {
		if !whole(s.r.Model) {
			return s.refuse("model", "The field 'model' holds half of a surrogate pair.")
		}
		dst := s.r.scratch[:0]
		for raw := s.r.Model; len(raw) > 0; {
			r, n := rune(raw[0]), 1
			if r == '\\' {
				r, n = unescape(raw)
			} else if r >= utf8.RuneSelf {
				r, n = utf8.DecodeRune(raw)
			}
			raw = raw[n:]
			if len(dst)+utf8.RuneLen(r) > MaxModel {
				return s.refuse("model", "The field 'model' is too long.")
			}
			dst = utf8.AppendRune(dst, r)
		}
		s.r.Model = dst
	}
	if len(s.r.Model) > MaxModel {
		return s.refuse("model", "The field 'model' is too long.")
	}
	return true
}

func (s *scanner) boolean(name string, v *bool) bool {
	switch s.next() {
	case 't':
		*v = true
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.refuse(name, "The field '"+name+"' must be true or false.")
}

// integer reads a count: digits only, from 1 to most (E5). Neither null nor a
// fraction that happens to be whole is one: parsers differ on them.
func (s *scanner) integer(name string, most int64, v *int64) bool {
	s.ws()
	i, n := s.i, int64(0)
	for ; i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9' && n <= most; i++ {
		n = n*10 + int64(s.b[i]-'0')
	}
	end := byte(',')
	if i < len(s.b) {
		end = s.b[i]
	}
	plain := i > s.i && s.b[s.i] != '0' && (end == ',' || end == '}' || end <= ' ')
	if !plain || n > most {
		return s.refuse(name, "The field '"+name+"' must be a whole number from 1 to "+strconv.FormatInt(most, 10)+".")
	}
	s.i = i
	*v = n
	return true
}

func (s *scanner) streamOptions(from int) bool {
	switch s.next() {
	case 'n':
		ok := s.literal("null")
		s.r.StreamOptions = Span{from, s.i}
		return ok
	case '{':
	default:
		return s.refuse("stream_options", "The field 'stream_options' must be an object.")
	}
	s.i++
	seen := uint64(0)
	for first := true; ; first = false {
		start, end, escaped, more := s.member(first)
		if !more {
			s.r.StreamOptions = Span{from, s.i}
			return s.err == nil
		}
		f, exact := guarded(s.b[start:end], escaped)
		if f != fIncludeUsage {
			if !s.value(2) {
				return false
			}
			continue
		}
		if !s.once(f, exact, &seen) {
			s.err = s.err.WithParam("stream_options.include_usage")
			return false
		}
		s.ws()
		at := s.i
		if !s.boolean("stream_options.include_usage", &s.r.IncludeUsage) {
			return false
		}
		s.r.IncludeUsageSpan = Span{at, s.i}
	}
}
