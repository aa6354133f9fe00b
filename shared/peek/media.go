package peek

import (
	"bytes"

	"tokenrelay/shared/price"
)

// messages reads the conversation: how many messages, and the parts in them that
// are not text.
func (s *scanner) messages() bool {
	if s.next() != '[' {
		return s.refuse("messages", "The field 'messages' must be an array.")
	}
	s.i++
	for first := true; s.element(first); first = false {
		s.r.Messages++
		if s.next() != '{' {
			if !s.value(2) {
				return false
			}
			continue
		}
		s.i++
		for first := true; ; first = false {
			key, _, more := s.name(first)
			if !more {
				break
			}
			ok := false
			if string(key) == "content" {
				ok = s.contentAt(3)
			} else {
				ok = s.value(3)
			}
			if !ok {
				return false
			}
		}
		if s.err != nil {
			return false
		}
	}
	return s.err == nil
}

// content reads text or an array of parts at the top level.
func (s *scanner) content() bool { return s.contentAt(1) }

// contentAt reads a string, or an array of parts; depth counts what is around it.
func (s *scanner) contentAt(depth int) bool {
	switch s.next() {
	case '[':
		if !s.open(depth) {
			return false
		}
		for first := true; s.element(first); first = false {
			ok := false
			if s.next() == '{' {
				ok = s.part(depth + 1)
			} else {
				ok = s.value(depth + 1)
			}
			if !ok {
				return false
			}
		}
		return s.err == nil
	case '{': // one part without its array, as some upstreams take it
		return s.part(depth)
	}
	return s.value(depth)
}

// media is what one part holds besides text.
type media struct {
	kind    []byte // the part's type
	source  []byte // the source's type (Anthropic)
	data    int    // bytes of base64 found where the part's type puts its data
	where   field  // which member held them
	odd     bool   // the part can be read in another way: nothing is taken off
	outside bool   // points to something that is not in the body
	stored  bool   // refers to a stored file
}

// The members of a part that hold media.
const (
	inImageURL field = iota + 1
	inInputAudio
	inFile
	inSource
)

// part reads one content part and counts what it is. Bytes of base64 are taken
// off the text bound only where the part's own type says that they are media,
// each member that matters occurs once, and none has a look-alike: else a parser
// could read as text what we took for an image.
func (s *scanner) part(depth int) bool {
	if !s.open(depth) {
		return false
	}
	var m media
	var seen uint8
	for first := true; ; first = false {
		key, odd, more := s.name(first)
		if !more {
			break
		}
		m.odd = m.odd || odd
		bit, ok := uint8(0), false
		switch string(key) {
		case "type":
			bit = 1
			m.kind, ok = s.text(depth + 1)
		case "image_url", "video_url", "image", "video":
			bit = 2
			ok = s.mediaValue(depth+1, inImageURL, &m)
		case "input_audio", "audio":
			bit = 4
			ok = s.mediaValue(depth+1, inInputAudio, &m)
		case "file":
			bit = 8
			ok = s.mediaValue(depth+1, inFile, &m)
		case "file_data": // Responses
			bit = 32
			var v []byte
			if v, ok = s.text(depth + 1); v != nil {
				m.found(v, inFile)
			}
		case "source":
			bit = 16
			ok = s.mediaValue(depth+1, inSource, &m)
		case "file_id":
			m.stored = true
			ok = s.value(depth + 1)
		case "content": // tool_result, search_result: parts again
			ok = s.contentAt(depth + 1)
		default:
			ok = s.value(depth + 1)
		}
		if !ok {
			return false
		}
		m.odd = m.odd || seen&bit != 0
		seen |= bit
	}
	if s.err != nil {
		return false
	}
	s.r.count(&m)
	return true
}

// text reads a value and returns it if it is a plain string.
func (s *scanner) text(depth int) (v []byte, ok bool) {
	if s.next() != '"' {
		return nil, s.value(depth)
	}
	start, end, _, ok := s.str()
	if !ok {
		return nil, false
	}
	return s.b[start:end], true
}

// mediaValue reads the value of a member that holds media: a string, or an object
// that has it inside.
func (s *scanner) mediaValue(depth int, where field, m *media) bool {
	switch s.next() {
	case '"':
		v, ok := s.text(depth)
		m.found(v, where)
		return ok
	case '{':
	default:
		return s.value(depth)
	}
	if !s.open(depth) {
		return false
	}
	var seen uint8
	for first := true; ; first = false {
		key, odd, more := s.name(first)
		if !more {
			return s.err == nil
		}
		m.odd = m.odd || odd
		bit, ok := uint8(0), false
		switch string(key) {
		case "type":
			bit = 1
			m.source, ok = s.text(depth + 1)
		case "url", "data", "file_data":
			bit = 2
			var v []byte
			if v, ok = s.text(depth + 1); v != nil {
				m.found(v, where)
			}
		case "file_id", "id":
			m.stored = true
			ok = s.value(depth + 1)
		case "content": // a document made of parts
			ok = s.contentAt(depth + 1)
		default:
			ok = s.value(depth + 1)
		}
		if !ok {
			return false
		}
		m.odd = m.odd || seen&bit != 0
		seen |= bit
	}
}

// found notes a media string: base64 in the body, or the address of something
// outside.
func (m *media) found(v []byte, where field) {
	m.where = where
	switch {
	case bytes.HasPrefix(v, []byte("http:")), bytes.HasPrefix(v, []byte("https:")), bytes.HasPrefix(v, []byte("gs:")):
		m.outside = true
	default:
		if m.data > 0 {
			m.odd = true
		}
		m.data = len(v)
	}
}

// count adds a part to the request.
func (r *Request) count(m *media) {
	if m.stored {
		r.StoredID = "file_id"
	}
	base64 := !m.odd && m.data > 0
	if m.isText() {
		// Text in whatever members it has: nothing is taken off. A media member in
		// it is none of ours to judge; should an upstream read one, its bound is
		// the window.
		if m.where != 0 {
			r.Files++
		}
		return
	}
	switch string(m.kind) {
	case "image_url", "image", "input_image", "computer_screenshot":
		r.Images++
		if m.where == inSource && string(m.source) != "base64" {
			base64 = false
		}
		if base64 && (m.where == inImageURL || m.where == inSource) {
			r.MediaBytes += int64(m.data)
		}
	case "input_audio":
		r.Audios++
		if m.outside || m.stored {
			r.Files++
		}
		if base64 && m.where == inInputAudio {
			r.MediaBytes += int64(m.data)
			r.AudioBytes += int64(m.data)
		}
	case "document":
		if m.where == inSource && (string(m.source) == "text" || string(m.source) == "content") && !m.odd && !m.outside {
			return // its text is in the body
		}
		r.Files++
		if base64 && m.where == inSource && string(m.source) == "base64" {
			r.MediaBytes += int64(m.data)
		}
	case "file", "input_file":
		r.Files++
		if base64 && m.where == inFile {
			r.MediaBytes += int64(m.data)
		}
	default: // video, or a kind that is not known: its size is not known either
		r.Files++
	}
}

// isText reports whether the part is all text, of the caller or of tools.
func (m *media) isText() bool {
	switch string(m.kind) {
	case "", "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking", "tool_use",
		"tool_result", "server_tool_use", "tool_reference", "compaction", "fallback":
		return true
	case "search_result":
		m.where = 0 // its source is a label
		return true
	}
	return bytes.HasSuffix(m.kind, []byte("_tool_result")) || bytes.HasSuffix(m.kind, []byte("_tool_use"))
}

// tools reads the tools: which of them the provider runs by itself.
func (s *scanner) tools() bool {
	if s.next() != '[' {
		return s.value(1)
	}
	s.i++
	for first := true; s.element(first); first = false {
		s.r.Tools++
		if s.next() != '{' {
			if !s.value(2) {
				return false
			}
			continue
		}
		s.i++
		var kind []byte
		var uses, limits int64
		odd := false
		for first := true; ; first = false {
			key, o, more := s.name(first)
			if !more {
				break
			}
			odd = odd || o
			ok := false
			switch string(key) {
			case "type":
				odd = odd || kind != nil
				kind, ok = s.text(3)
			case "max_uses":
				limits++
				s.ws()
				from := s.i
				if ok = s.value(3); ok {
					uses = smallInt(s.b[from:s.i])
				}
			default:
				ok = s.value(3)
			}
			if !ok {
				return false
			}
		}
		if s.err != nil {
			return false
		}
		switch {
		case odd:
		case string(kind) == "" || string(kind) == "function" || string(kind) == "custom":
			continue
		case ownTool(kind):
			s.r.OwnTools++
			continue
		}
		s.r.ServerTools++
		if uses > 0 && limits == 1 && !odd {
			s.r.ServerToolUses += uses
		} else {
			s.r.ServerToolsNoLimit++
		}
	}
	return s.err == nil
}

// ownTool reports whether the tool is one of Anthropic's own that the caller runs,
// so that it costs tokens only; their names end with a date. Any other kind is
// taken as run by the provider.
func ownTool(kind []byte) bool {
	for _, p := range [...]string{"bash_", "text_editor_", "computer_", "memory_"} {
		if bytes.HasPrefix(kind, []byte(p)) {
			return true
		}
	}
	return false
}

// smallInt reads a plain whole number up to six digits, else 0.
func smallInt(v []byte) (n int64) {
	if len(v) == 0 || len(v) > 6 {
		return 0
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// What text does not bound. Tightened per model with the money issue; all of it
// is in this one function.
const (
	// imageOpenAI covers the dearest measured way of counting an image in the
	// OpenAI shape: gpt-4o-mini bills 2,833 + 5,667 tokens a tile, at most 8 tiles.
	imageOpenAI = 2_833 + 8*5_667
	// imageAnthropic covers the largest image that is not scaled down.
	imageAnthropic = 8_192
	// imageGemini covers a picture cut into 63 tiles of 258 tokens; the widest that is
	// taken has fewer.
	imageGemini = 16_384
	// audioBytesPerToken: no codec spends fewer base64 bytes on what becomes one
	// token (8 kbit/s at 32 tokens a second is 41).
	audioBytesPerToken = 16
	// perRequest covers what a provider writes around the messages itself.
	perRequest = 512
	// perTools covers the instructions a provider adds once tools are given, and
	// perOwnTool those of each tool that the provider defines.
	perTools   = 1_024
	perOwnTool = 4_096
)

// Bound fills in the most input this request can be billed for, by kind, and its
// number of choices; the caller sets OutputTokens. context is the model's window
// in tokens, 0 = unknown. It returns false if no bound is known: the request
// holds parts whose size the body does not tell (documents, videos, tools that
// the provider runs), and the window is not known either.
//
// Text: a token has at least one byte, so bytes are the bound, JSON and escapes
// included, which pays for the few tokens a provider adds per message. The window
// limits it, unless a provider-run tool lets the model read the window several
// times: then it counts once more per use.
func (r *Request) Bound(context int64, b *price.Bound) bool {
	b.Choices = r.Choices()
	b.TextOutput = !r.AudioOutput
	text := r.TextBytes + perRequest
	if r.Tools > 0 {
		text += perTools
	}
	text += int64(r.OwnTools+r.ServerTools) * perOwnTool
	if r.Shape == OpenAIEmbeddings || r.Prompts > 1 {
		// The window limits each input of many, not their sum.
		b.InputTokens, b.ImageTokens, b.AudioTokens, b.Searches = text, 0, 0, 0
		return true
	}
	perImage := int64(imageOpenAI)
	switch r.Shape {
	case AnthropicMessages:
		perImage = imageAnthropic
	case GeminiGenerate:
		perImage = imageGemini
	}
	b.ImageTokens = int64(r.Images) * perImage
	b.AudioTokens = 0
	if r.Audios > 0 {
		b.AudioTokens = r.AudioBytes/audioBytesPerToken + int64(r.Audios)*256
	}
	b.Searches = r.ServerToolUses
	known := context > 0
	switch {
	case r.ServerTools > 0 || r.Rereads > 0:
		if !known {
			return false
		}
		b.InputTokens = context * (1 + min(r.ServerToolUses, 64) + int64(r.Rereads))
	case r.Files > 0:
		if !known {
			return false
		}
		b.InputTokens = context
	case known:
		b.InputTokens = min(text, context)
	default:
		b.InputTokens = text
	}
	if known && r.ServerTools == 0 && r.Rereads == 0 {
		b.ImageTokens = min(b.ImageTokens, context)
		b.AudioTokens = min(b.AudioTokens, context)
	}
	return true
}
