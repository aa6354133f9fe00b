package meter

import (
	"encoding/binary"
	"unicode/utf8"

	"tokenrelay/shared/textrun"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Count counts text by class of character. The classes are those whose bytes per
// token differ much: the length of a character in UTF-8 tells them apart well
// enough without any table.
type Count struct {
	ASCII int64 // characters of 1 byte: English, code, JSON
	Two   int64 // of 2 bytes: accents, Greek, Cyrillic, Hebrew, Arabic
	Three int64 // of 3 bytes: Chinese, Japanese, Korean, Indic, most symbols
	Four  int64 // of 4 bytes: emoji, rare ideographs
	Calls int64 // tool calls: each has a frame of tokens that are no text
}

// Bytes is the length of the counted text in UTF-8.
func (c *Count) Bytes() int64 { return c.ASCII + 2*c.Two + 3*c.Three + 4*c.Four }

// Add adds another count.
func (c *Count) Add(o *Count) {
	c.ASCII += o.ASCII
	c.Two += o.Two
	c.Three += o.Three
	c.Four += o.Four
	c.Calls += o.Calls
}

// AddJSON counts the text of a JSON string, given without its quotes and still
// escaped. It never fails: what is no valid escape counts as the bytes it has.
func (c *Count) AddJSON(raw []byte) {
	known := 0 // up to where raw is known not to be ASCII alone
	for i := 0; i < len(raw); {
		for n := 0; i+8 <= len(raw); n++ { // eight of ASCII, none of them an escape's beginning
			if n == 2 && i >= known && i+32 <= len(raw) { // a longer text
				m, wide := textrun.Plain(raw[i:])
				if wide {
					known = i + m
				} else {
					c.ASCII += int64(m)
					i += m
				}
				continue
			}
			x := binary.LittleEndian.Uint64(raw[i:])
			escape := x ^ ones*'\\'
			if (x|(escape-ones))&highs != 0 {
				break
			}
			c.ASCII += 8
			i += 8
		}
		if i == len(raw) {
			return
		}
		b := raw[i]
		switch {
		case b == '\\':
			if i+6 <= len(raw) && raw[i+1] == 'u' {
				r, n := unescape(raw[i:])
				c.addRune(r)
				i += n
				continue
			}
			c.ASCII++
			i += 2
		case b < utf8.RuneSelf:
			c.ASCII++
			i++
		case b >= 0xf0:
			c.Four++
			i += 4
		case b >= 0xe0:
			c.Three++
			i += 3
		case b >= 0xc0:
			c.Two++
			i += 2
		default: // a stray continuation byte: the rest of a character cut in two
			i++
		}
	}
}

// AddBytes counts raw bytes of which nothing is known but that they are UTF-8,
// possibly cut inside a character.
func (c *Count) AddBytes(raw []byte) {
	for _, b := range raw {
		switch {
		case b < utf8.RuneSelf:
			c.ASCII++
		case b >= 0xf0:
			c.Four++
		case b >= 0xe0:
			c.Three++
		case b >= 0xc0:
			c.Two++
		}
	}
}

func (c *Count) addRune(r rune) {
	switch {
	case r < 0x80:
		c.ASCII++
	case r < 0x800:
		c.Two++
	case r < 0x10000:
		c.Three++
	default:
		c.Four++
	}
}

// unescape reads \uXXXX, or a pair of them, at the start of raw.
func unescape(raw []byte) (r rune, n int) {
	r = hex4(raw[2:6])
	if r >= 0xd800 && r < 0xdc00 && len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
		if low := hex4(raw[8:12]); low >= 0xdc00 && low < 0xe000 {
			return (r-0xd800)<<10 | (low - 0xdc00) + 0x10000, 12
		}
	}
	return r, 6
}

func hex4(b []byte) (r rune) {
	for _, c := range b {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}

// Family is a group of models whose tokenizers cut text into pieces of about the
// same size.
type Family uint8

// The families.
const (
	FamilyDefault Family = iota
	FamilyOpenAI
	FamilyAnthropic
	FamilyGemini
	FamilyDeepSeek
	FamilyQwen
	FamilyMistral
	FamilyGLM
	FamilyKimi
	FamilyGrok
	FamilyLlama
	numFamilies
)

// ratio is tokens per 1,000 characters of each class, and tokens per tool call.
type ratio struct{ ascii, two, three, four, call int64 }

// ratios state the estimate. They are rounded means over English prose, code and
// JSON (ascii), European and Semitic languages (two), Chinese, Japanese and Korean
// (three), and emoji (four). An estimate is what a customer pays when a provider
// reports nothing, so it leans to the low side of each mean.
var ratios = [numFamilies]ratio{
	FamilyDefault:   {ascii: 250, two: 450, three: 700, four: 1600, call: 10},
	FamilyOpenAI:    {ascii: 235, two: 360, three: 680, four: 1500, call: 10}, // o200k
	FamilyAnthropic: {ascii: 275, two: 520, three: 900, four: 1900, call: 30},
	FamilyGemini:    {ascii: 245, two: 360, three: 620, four: 1200, call: 10},
	FamilyDeepSeek:  {ascii: 250, two: 480, three: 560, four: 1600, call: 10},
	FamilyQwen:      {ascii: 250, two: 480, three: 600, four: 1600, call: 10},
	FamilyMistral:   {ascii: 255, two: 430, three: 800, four: 1700, call: 10}, // tekken
	FamilyGLM:       {ascii: 250, two: 480, three: 600, four: 1600, call: 10},
	FamilyKimi:      {ascii: 245, two: 450, three: 560, four: 1500, call: 10},
	FamilyGrok:      {ascii: 245, two: 420, three: 720, four: 1600, call: 10},
	FamilyLlama:     {ascii: 250, two: 430, three: 800, four: 1700, call: 10},
}

// FamilyOf guesses the family from a model's name, public or upstream.
func FamilyOf(model string) Family {
	// The first name that occurs decides; names of hosts (openrouter/…) may precede.
	for i := 0; i < len(model); i++ {
		for _, f := range &familyNames {
			if len(model)-i >= len(f.name) && model[i:i+len(f.name)] == f.name {
				return f.family
			}
		}
	}
	return FamilyDefault
}

var familyNames = [...]struct {
	name   string
	family Family
}{
	{"gpt-oss", FamilyOpenAI},
	{"gpt", FamilyOpenAI},
	{"chatgpt", FamilyOpenAI},
	{"o1", FamilyOpenAI},
	{"o3", FamilyOpenAI},
	{"o4", FamilyOpenAI},
	{"claude", FamilyAnthropic},
	{"gemini", FamilyGemini},
	{"gemma", FamilyGemini},
	{"deepseek", FamilyDeepSeek},
	{"qwen", FamilyQwen},
	{"qwq", FamilyQwen},
	{"mistral", FamilyMistral},
	{"ministral", FamilyMistral},
	{"codestral", FamilyMistral},
	{"magistral", FamilyMistral},
	{"devstral", FamilyMistral},
	{"pixtral", FamilyMistral},
	{"voxtral", FamilyMistral},
	{"glm", FamilyGLM},
	{"kimi", FamilyKimi},
	{"moonshot", FamilyKimi},
	{"grok", FamilyGrok},
	{"llama", FamilyLlama},
	{"sonar", FamilyLlama},
}

// Tokens estimates how many tokens the counted text is, rounded up.
func (f Family) Tokens(c *Count) int64 {
	if f >= numFamilies {
		f = FamilyDefault
	}
	r := &ratios[f]
	return (c.ASCII*r.ascii+c.Two*r.two+c.Three*r.three+c.Four*r.four+999)/1000 + c.Calls*r.call
}

// TokensOfBytes estimates the tokens of n bytes of which only the number is known:
// as ASCII, the class with the fewest tokens per byte but one.
func (f Family) TokensOfBytes(n int64) int64 {
	return f.Tokens(&Count{ASCII: n})
}
