package peek

import (
	"bytes"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
)

// name of a member in the bodies of Gemini. Google's parsers take two forms of each,
// camel case and lower case with underscores, and nothing else.
type geminiName uint8

const (
	gNone geminiName = iota
	gModel
	gContents
	gSystem
	gConfig
	gTools
	gCachedContent
	gServiceTier
	gGenerate
	gMaxOutput
	gCandidates
	gModalities
	gSpeech
	gRole
	gParts
	gInlineData
	gFileData
	gResponse
	gMimeType
	gData
	gFileURI
	gFunctions
	gComputer
	numGemini
)

var geminiNames = [numGemini]string{
	"", "model", "contents", "systemInstruction", "generationConfig", "tools", "cachedContent", "serviceTier",
	"generateContentRequest", "maxOutputTokens", "candidateCount", "responseModalities", "speechConfig", "role", "parts",
	"inlineData", "fileData", "functionResponse", "mimeType", "data", "fileUri", "functionDeclarations", "computerUse",
}

// geminiKey finds the name that some parser may read the key raw as. exact says that it
// is one of the two forms, byte for byte.
func geminiKey(raw []byte, escaped bool) (n geminiName, exact bool) {
	if !escaped {
		for n = gModel; n < numGemini; n++ {
			if camelOrSnake(raw, geminiNames[n]) {
				return n, true
			}
		}
	}
	var plain, folded [maxKey]byte
	np, nf := 0, 0
	for i := 0; i < len(raw); {
		r, size := rune(raw[i]), 1
		switch {
		case r == '\\':
			r, size = unescape(raw[i:])
		case r >= utf8.RuneSelf:
			r, size = utf8.DecodeRune(raw[i:])
		}
		i += size
		if np+utf8.UTFMax > maxKey {
			return gNone, false
		}
		np += utf8.EncodeRune(plain[np:], r)
		switch {
		case r == '_':
			continue
		case r == '\u017f': // long s
			r = 's'
		case r == '\u212a': // kelvin sign
			r = 'k'
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		}
		nf += utf8.EncodeRune(folded[nf:], r)
	}
	for n = gModel; n < numGemini; n++ {
		if camelOrSnake(plain[:np], geminiNames[n]) {
			return n, true
		}
		if foldsTo(folded[:nf], geminiNames[n]) {
			return n, false
		}
	}
	return gNone, false
}

// camelOrSnake reports whether key is the name of camel case or its form with
// underscores.
func camelOrSnake(key []byte, camel string) bool {
	if string(key) == camel {
		return true
	}
	i := 0
	for j := 0; j < len(camel); j++ {
		c := camel[j]
		if c >= 'A' && c <= 'Z' {
			if i >= len(key) || key[i] != '_' {
				return false
			}
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

func foldsTo(folded []byte, camel string) bool {
	if len(folded) != len(camel) {
		return false
	}
	for i, c := range folded {
		d := camel[i]
		if d >= 'A' && d <= 'Z' {
			d |= 0x20
		}
		if c != d {
			return false
		}
	}
	return true
}

// gemini reads a whole body of Gemini. Where the model stands in the path, the body may
// not name one.
func (s *scanner) gemini() *apierr.Error {
	if len(s.b) >= 3 && string(s.b[:3]) == "\xef\xbb\xbf" {
		s.fail("byte order mark")
		return s.err
	}
	if s.next() != '{' {
		s.fail("expected an object")
		return s.err
	}
	seen, ok := s.geminiObject(0, s.geminiTop)
	if ok {
		if s.next(); s.i != len(s.b) {
			ok = s.fail("data after the object")
		}
	}
	if !ok {
		return s.err
	}
	if !s.r.Contents.Present() {
		if s.r.Shape == GeminiCount && seen&(1<<gGenerate) != 0 {
			return apierr.Invalid("generateContentRequest.contents", "The field 'contents' is missing.")
		}
		return apierr.Invalid("contents", "The field 'contents' is missing.")
	}
	return nil
}

// geminiObject reads the object at s.i, at a depth of so many objects and arrays around
// it. Each member with a name of ours occurs once, in a form that Google takes.
func (s *scanner) geminiObject(depth int, member func(n geminiName, depth int) bool) (seen uint32, ok bool) {
	if !s.open(depth) {
		return 0, false
	}
	for first := true; ; first = false {
		start, end, escaped, more := s.member(first)
		if !more {
			return seen, s.err == nil
		}
		n, exact := geminiKey(s.b[start:end], escaped)
		if n != gNone {
			name := geminiNames[n]
			if seen&(1<<n) != 0 {
				return seen, s.refuse(name, "The field '"+name+"' occurs more than once.")
			}
			if !exact {
				return seen, s.refuse(name, "A field is spelled like '"+name+"' but not as Google's API has it; use the exact name.")
			}
			seen |= 1 << n
		}
		s.ws()
		if !member(n, depth+1) {
			return seen, false
		}
	}
}

// geminiList reads an array of objects, or one object that stands for an array of it;
// any other value is skipped.
func (s *scanner) geminiList(depth int, one func(depth int) bool) bool {
	switch s.next() {
	case '{':
		return one(depth)
	case '[':
	default:
		return s.value(depth)
	}
	if !s.open(depth) {
		return false
	}
	for first := true; s.element(first); first = false {
		ok := false
		if s.next() == '{' {
			ok = one(depth + 1)
		} else {
			ok = s.value(depth + 1)
		}
		if !ok {
			return false
		}
	}
	return s.err == nil
}

func (s *scanner) geminiTop(n geminiName, depth int) bool {
	r, from := s.r, s.i
	switch n {
	case gModel:
		if r.Shape != GeminiCount || depth < 2 {
			return s.refuse("model", "The model stands in the path: leave the field 'model' out.")
		}
		if s.next() != '"' {
			return s.refuse("model", "The field 'model' must be a string.")
		}
		_, _, _, ok := s.str()
		r.ModelSpan = Span{from, s.i}
		return ok
	case gGenerate:
		if r.Shape != GeminiCount || depth != 1 || s.next() != '{' {
			return s.value(depth)
		}
		if r.Contents.Present() {
			return s.refuse("generateContentRequest", "The fields 'contents' and 'generateContentRequest' exclude each other.")
		}
		_, ok := s.geminiObject(depth, s.geminiTop)
		return ok
	case gContents:
		if r.Contents.Present() {
			return s.refuse("generateContentRequest", "The fields 'contents' and 'generateContentRequest' exclude each other.")
		}
		if c := s.next(); c != '[' && c != '{' {
			return s.refuse("contents", "The field 'contents' must be an array.")
		}
		ok := s.geminiList(depth, s.geminiContent)
		r.Contents = Span{from, s.i}
		return ok
	case gSystem:
		if s.next() == '{' {
			return s.geminiContent(depth)
		}
		return s.value(depth)
	case gConfig:
		ok := false
		switch s.next() {
		case '{':
			_, ok = s.geminiObject(depth, s.geminiConfig)
		case 'n':
			ok = s.literal("null")
		default:
			ok = s.refuse("generationConfig", "The field 'generationConfig' must be an object.")
		}
		if depth == 1 {
			r.Config = Span{from, s.i}
		}
		return ok
	case gTools:
		return s.geminiList(depth, s.geminiTool)
	}
	if !s.value(depth) {
		return false
	}
	v := s.b[from:s.i]
	switch n {
	case gCachedContent:
		if string(v) != "null" && string(v) != `""` {
			r.StoredID = "cachedContent"
		}
	case gServiceTier:
		switch string(v) {
		case "null", `""`, `"standard"`, `"STANDARD"`, `"flex"`, `"FLEX"`, `"unspecified"`, `"SERVICE_TIER_UNSPECIFIED"`, `"SERVICE_TIER_STANDARD"`, `"SERVICE_TIER_FLEX"`:
		default:
			r.PriceMember = "serviceTier"
		}
	}
	return true
}

func (s *scanner) geminiConfig(n geminiName, depth int) bool {
	r, from := s.r, s.i
	switch n {
	case gMaxOutput:
		ok := s.integer("generationConfig.maxOutputTokens", MaxCap, &r.MaxTokens)
		r.MaxTokensSpan = Span{from, s.i}
		return ok
	case gCandidates:
		return s.integer("generationConfig.candidateCount", MaxChoices, &r.N)
	}
	if !s.value(depth) {
		return false
	}
	v := s.b[from:s.i]
	switch n {
	case gModalities:
		if string(v) != "null" && string(v) != "[]" && string(v) != `["TEXT"]` && string(v) != `["text"]` {
			r.AudioOutput = true
		}
	case gSpeech:
		if string(v) != "null" {
			r.AudioOutput = true
		}
	}
	return true
}

// geminiContent reads one entry of contents, or the system's.
func (s *scanner) geminiContent(depth int) bool {
	s.r.Messages++
	_, ok := s.geminiObject(depth, func(n geminiName, depth int) bool {
		if n == gParts {
			return s.geminiList(depth, s.geminiPart)
		}
		return s.value(depth)
	})
	return ok
}

// geminiPart reads one part and counts the media in it.
func (s *scanner) geminiPart(depth int) bool {
	_, ok := s.geminiObject(depth, func(n geminiName, depth int) bool {
		switch {
		case n == gInlineData && s.next() == '{':
			return s.geminiMedia(depth, false)
		case n == gFileData && s.next() == '{':
			return s.geminiMedia(depth, true)
		case n == gResponse && s.next() == '{':
			// Its parts hold media as well.
			_, ok := s.geminiObject(depth, func(n geminiName, depth int) bool {
				if n == gParts {
					return s.geminiList(depth, s.geminiPart)
				}
				return s.value(depth)
			})
			return ok
		}
		return s.value(depth)
	})
	return ok
}

// geminiMedia reads inlineData or fileData. Bytes of base64 are taken off the text
// bound where they are a picture or sound of a known kind.
func (s *scanner) geminiMedia(depth int, file bool) bool {
	var media, data []byte
	_, ok := s.geminiObject(depth, func(n geminiName, depth int) (ok bool) {
		switch n {
		case gMimeType:
			media, ok = s.text(depth)
		case gData, gFileURI:
			data, ok = s.text(depth)
		default:
			ok = s.value(depth)
		}
		return ok
	})
	if !ok {
		return false
	}
	r := s.r
	switch {
	case file:
		r.Files++
		if !bytes.HasPrefix(data, []byte("https://")) && !bytes.HasPrefix(data, []byte("http://")) || bytes.Contains(data, []byte("generativelanguage")) || bytes.IndexByte(data, '\\') >= 0 {
			r.StoredID = "fileData" // a file of the account that all customers share
		}
	case bytes.HasPrefix(media, []byte("image/")):
		r.Images++
		r.MediaBytes += int64(len(data))
	case bytes.HasPrefix(media, []byte("audio/")):
		r.Audios++
		r.MediaBytes += int64(len(data))
		r.AudioBytes += int64(len(data))
	case bytes.HasPrefix(media, []byte("text/")):
		// The text is shorter than its base64, which bounds it.
	default: // documents and videos: their size is not known
		r.Files++
		r.MediaBytes += int64(len(data))
	}
	return true
}

// geminiTool reads one entry of tools: functions of the caller's own, or tools that the
// provider runs, for which there is no limit to set.
func (s *scanner) geminiTool(depth int) bool {
	_, ok := s.geminiObject(depth, func(n geminiName, depth int) bool {
		from := s.i
		if n == gFunctions {
			return s.geminiList(depth, func(depth int) bool {
				s.r.Tools++
				return s.value(depth)
			})
		}
		if !s.value(depth) {
			return false
		}
		switch {
		case string(s.b[from:s.i]) == "null":
		case n == gComputer:
			s.r.Tools++
			s.r.OwnTools++
		default:
			s.r.Tools++
			s.r.ServerTools++
			s.r.ServerToolsNoLimit++
		}
		return true
	})
	return ok
}
