// Package chat is the one form in which a conversation stands between two wire
// formats: the request, and the answer as a run of events. The formats' packages
// decode into it and encode from it; it knows none of them.
//
// Texts are kept as they stand in JSON, still escaped and without their quotes, so
// that they pass from one format to the other untouched; the arguments of tools and
// their schemas are JSON texts that nobody decodes. All slices point into the bytes
// that were decoded, or into memory of the form itself, and live as long as both.
package chat

import (
	"strconv"
	"strings"

	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/apierr"
)

// Protocol is a wire format of chat.
type Protocol uint8

// The formats.
const (
	OpenAI    Protocol = iota // Chat Completions
	Messages                  // Anthropic Messages
	Responses                 // OpenAI Responses
	Gemini                    // Gemini generateContent
	DashScope                 // DashScope text generation
	Converse                  // Bedrock Converse
	Cohere                    // Cohere Chat, version 2
	NumProtocols
)

// String names the format as documents do.
func (p Protocol) String() string {
	switch p {
	case OpenAI:
		return "Chat Completions"
	case Messages:
		return "Messages"
	case Responses:
		return "Responses"
	case Gemini:
		return "Gemini"
	case DashScope:
		return "DashScope"
	case Converse:
		return "Converse"
	case Cohere:
		return "Cohere Chat"
	}
	return "?"
}

// Role says who speaks in a turn.
type Role uint8

// The roles. Results of tools are parts of a user's turn.
const (
	System Role = iota
	User
	Assistant
)

// PartKind says what a part of a turn is.
type PartKind uint8

// The kinds of parts.
const (
	PartText     PartKind = iota
	PartImage             // Media and Data, or URL
	PartAudio             // Media and Data
	PartFile              // Media and Data (base64), Title
	PartCall              // ID, Name, Args, Signature of the thought that led to it
	PartResult            // ID, Parts, IsError
	PartThinking          // Text, Signature
	PartRedacted          // Text is the provider's opaque data
	PartRefusal           // Text
)

// Part is a piece of a turn.
type Part struct {
	Kind      PartKind
	Text      []byte
	ID, Name  []byte
	Args      []byte // JSON object
	Media     []byte // media type
	Data      []byte // base64
	URL       []byte
	Title     []byte
	Signature []byte // proof of a thought
	Signer    Signer // who made Signature, or the data of a redacted thought
	Cache     []byte // JSON object: cache_control
	IsError   bool
	Parts     []Part // of a tool's result
}

// Signer is whose models a proof of a thought is for: nobody else takes it.
type Signer uint8

// The signers.
const (
	NoSigner Signer = iota
	Anthropic
	Google
)

var signerNames = [...]string{"", "anthropic-claude-v1", "google-gemini-v1"}

// String is the signer's format in reasoning_details.
func (s Signer) String() string { return signerNames[s] }

// ParseSigner finds a signer by the name of its format, NoSigner if there is none.
func ParseSigner(name []byte) Signer {
	for s := Anthropic; int(s) < len(signerNames); s++ {
		if string(name) == signerNames[s] {
			return s
		}
	}
	return NoSigner
}

// Turn is one message.
type Turn struct {
	Role  Role
	Parts []Part
}

// Tool is a function that the model may call.
type Tool struct {
	Name, Description []byte
	Schema            []byte // JSON object, nil = none given
	Strict            []byte // true, false, nil
	Cache             []byte
}

// ChoiceMode says how free the model is to call tools.
type ChoiceMode uint8

// The modes.
const (
	ChoiceUnset ChoiceMode = iota
	ChoiceAuto
	ChoiceNone
	ChoiceRequired
	ChoiceNamed
)

// FormatMode says what form the text of the answer must have.
type FormatMode uint8

// The modes of a response format.
const (
	FormatUnset FormatMode = iota
	FormatObject
	FormatSchema
)

// Format is the demanded form of the answer's text.
type Format struct {
	Mode              FormatMode
	Name, Description []byte
	Schema            []byte // JSON
	Strict            []byte // true, false, nil
}

// Effort is how much a model is to think. The scale is the union of what the
// formats name, and Scale gives each a budget of tokens.
type Effort uint8

// The efforts.
const (
	EffortUnset Effort = iota
	EffortNone
	EffortMinimal
	EffortLow
	EffortMedium
	EffortHigh
	EffortXHigh
	EffortMax
)

var effortNames = [...]string{"", "none", "minimal", "low", "medium", "high", "xhigh", "max"}

// Scale is the budget of thinking tokens that each effort stands for. In the other
// direction a budget is the largest effort whose budget it reaches, at least low.
var Scale = [...]int64{EffortMinimal: 1024, EffortLow: 2048, EffortMedium: 8192, EffortHigh: 16384, EffortXHigh: 24576, EffortMax: 32768}

// String is the effort's name on the wire.
func (e Effort) String() string { return effortNames[e] }

// ParseEffort finds an effort by its name.
func ParseEffort(name []byte) (Effort, bool) {
	for e := EffortNone; e <= EffortMax; e++ {
		if string(name) == effortNames[e] {
			return e, true
		}
	}
	return EffortUnset, false
}

// EffortOf is the effort that a budget stands for.
func EffortOf(budget int64) Effort {
	e := EffortLow
	for ; e < EffortMax && budget >= Scale[e+1]; e++ {
	}
	return e
}

// Request is a request in the common form.
type Request struct {
	From Protocol

	Turns       []Turn
	Tools       []Tool
	Choice      ChoiceMode
	ChoiceName  []byte
	ParallelOff bool
	Legacy      bool // Chat's functions in place of tools

	MaxTokens   int64  // output cap, set by the relay
	Temperature []byte // numbers stay texts
	TopP        []byte
	TopK        []byte
	Seed        []byte
	Frequency   []byte // frequency penalty
	Presence    []byte // presence penalty
	Stop        [][]byte
	Answers     int64  // how many are asked for, 0 = one
	Logprobs    bool   // the probabilities of tokens are asked for
	TopLogprobs []byte // of how many others with each, nil = not said
	User        []byte
	UserNames   []string // the customer's members for it
	Format      Format
	Effort      Effort
	Budget      int64 // of thinking tokens, 0 = none given
	Adaptive    bool  // the model decides how much it thinks
	Stream      bool
	Repeats     bool   // events of the upstream's stream are to repeat all text so far, DashScope only
	Plain       bool   // the answer is to be a text instead of a message, DashScope only
	Cumulative  bool   // each event of the stream is to repeat all text so far, DashScope only
	Echo        []byte // JSON members of the request that its answer repeats, Responses only

	Rest []string // paths of members that the form has no place for

	dropped []string
	arena   []byte
}

// Reset makes r ready for another request; memory is kept.
func (r *Request) Reset(from Protocol) {
	*r = Request{
		From: from, Turns: r.Turns[:0], Tools: r.Tools[:0], Stop: r.Stop[:0],
		Rest: r.Rest[:0], dropped: r.dropped[:0], arena: r.arena[:0],
	}
}

// Release lets go of the request's bytes; memory of moderate size is kept.
func (r *Request) Release() {
	clear(r.Turns[:cap(r.Turns)])
	clear(r.Tools[:cap(r.Tools)])
	clear(r.Stop[:cap(r.Stop)])
	arena := r.arena[:0]
	if cap(arena) > maxArena {
		arena = nil
	}
	*r = Request{Turns: r.Turns[:0], Tools: r.Tools[:0], Stop: r.Stop[:0], Rest: r.Rest[:0], dropped: r.dropped[:0], arena: arena}
}

// maxArena is how much memory of its own a form keeps, in bytes.
const maxArena = 64 << 10

// Begin starts an encoding for an upstream: what earlier encodings had to drop is
// forgotten.
func (r *Request) Begin() { r.dropped = r.dropped[:0] }

// maxDropped bounds how many names are told.
const maxDropped = 32

// Drop notes that a member of the request is ignored.
func (r *Request) Drop(path string) {
	for _, p := range r.dropped {
		if p == path {
			return
		}
	}
	if len(r.dropped) < maxDropped {
		r.dropped = append(r.dropped, path)
	}
}

// DropIn is Drop for a member of a member that the form has a place for.
func (r *Request) DropIn(m Member, key []byte) { r.Drop(r.Name(m) + "." + plain(key)) }

// Dropped are the members that the last encoding ignored.
func (r *Request) Dropped() []string { return r.dropped }

// AppendDropped appends the value of the header x-relay-dropped.
func (r *Request) AppendDropped(dst []byte) []byte {
	for i, p := range r.dropped {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p...)
	}
	return dst
}

// Unmapped notes a member that the form has no place for: path, and behind it
// the name that the customer gave. Its fate is decided when the upstream's format is
// known.
func (r *Request) Unmapped(path string, key []byte) {
	if key != nil {
		path += plain(key)
	}
	for _, p := range r.Rest {
		if p == path {
			return
		}
	}
	// A member that the table knows may have to be refused: it is never left out.
	if len(r.Rest) < maxDropped || Find(r.From, r.From, path) != nil {
		r.Rest = append(r.Rest, path)
	}
}

// plain is a name of the customer's in a form that a header may carry.
func plain(key []byte) string {
	if len(key) == 0 || len(key) > 64 {
		return "?"
	}
	for _, c := range key {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-' || c == '.' {
			continue
		}
		return "?"
	}
	return string(key)
}

// Settle decides the fate of what the form has no place for: it is dropped and
// named, or the request is refused. Marks of the cache stand there too, because few
// formats have them, and are passed over where the table says that they are mapped.
func (r *Request) Settle(to Protocol) *apierr.Error {
	for _, m := range [...]struct {
		asked bool
		m     Member
	}{
		{r.Answers > 1, MemberAnswers},
		{r.Logprobs && (r.From != Responses || r.TopLogprobs == nil), MemberLogprobs}, // either asks for them there
		{r.TopLogprobs != nil, MemberTopLogprobs},
	} {
		if row := Find(r.From, to, r.Name(m.m)); m.asked && (row == nil || row.Fate != Mapped) {
			return r.Refuse(r.Name(m.m))
		}
	}
	for _, path := range r.Rest {
		if row := Find(r.From, to, path); row != nil && row.Fate == Mapped && strings.HasSuffix(path, ".cache_control") {
			continue
		}
		if err := r.Cannot(path, to); err != nil {
			return err
		}
	}
	return nil
}

// Cannot is called for a member that the upstream's format cannot express: the
// table of fates decides whether it is dropped or refused.
func (r *Request) Cannot(path string, to Protocol) *apierr.Error {
	if row := Find(r.From, to, path); row != nil && row.Fate == Refused {
		return r.Refuse(path)
	}
	r.Drop(path)
	return nil
}

// Lack is Cannot for a member that the form has a place for.
func (r *Request) Lack(m Member, to Protocol) *apierr.Error { return r.Cannot(r.Name(m), to) }

// Refuse is the 400 for a member that cannot be served and must not be ignored.
func (r *Request) Refuse(path string) *apierr.Error {
	return apierr.Invalid(path, "The member '"+path+"' is not supported for this model: it is served by a provider of another protocol, which has no equivalent. Leave it out, or choose another model.")
}

// Bad is the 400 for a member with an impossible value.
func Bad(path, why string) *apierr.Error {
	return apierr.Invalid(path, "The member '"+path+"' "+why+".")
}

// Each calls f for every element of the array v, which path names.
func Each(v []byte, path string, f func(v []byte) *apierr.Error) *apierr.Error {
	if len(v) == 0 || v[0] != '[' {
		return Bad(path, "must be a list")
	}
	it := walk.Array(v, 0)
	for it.Next() {
		if err := f(it.Value()); err != nil {
			return err
		}
	}
	if it.Bad {
		return Bad(path, "is not readable JSON")
	}
	return nil
}

// BadAt is Bad for the n-th message.
func BadAt(n int, member, why string) *apierr.Error {
	return Bad("messages["+strconv.Itoa(n)+"]"+member, why)
}

// Keep copies the unescaped form of a JSON text into the form's own memory.
func (r *Request) Keep(raw []byte) []byte {
	at := len(r.arena)
	r.arena = Unescape(r.arena, raw)
	return r.arena[at:len(r.arena):len(r.arena)]
}

// Loop is the first turn of the tool loop that the request goes on with: no turn of
// the user's own stands behind it.
func (r *Request) Loop() int {
	for n := len(r.Turns) - 1; n >= 0; n-- {
		t := &r.Turns[n]
		own := t.Role == User
		for i := range t.Parts {
			own = own && t.Parts[i].Kind != PartResult
		}
		if own {
			return n + 1
		}
	}
	return 0
}

// Uncached names a part's mark of the cache as dropped, for a format that has none.
// Those of Messages are named when they are read.
func (r *Request) Uncached(p *Part) {
	if p.Cache != nil && r.From != Messages {
		r.Drop(r.Name(MemberCache))
	}
}
