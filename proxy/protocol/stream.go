package protocol

import (
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol/template"
	"tokenrelay/proxy/protocol/walk"
)

// MaxEvent is the size up to which an event is read as a whole; a larger one
// passes in pieces (Stream.Partial of the formats) and is counted by its bytes.
const MaxEvent = 256 << 10

// StreamConfig says how answers of one upstream attempt are observed and changed.
// The strings must outlive the attempt.
type StreamConfig struct {
	ClientModel   string  // name shown in place of the upstream's, "" = leave as it is
	UpstreamModel string  // name sent upstream; it is not shown in passed-on errors
	Hidden        *Hidden // what else is not, nil = nothing
	Dialect       uint8   // openai.Dialect; unused for Anthropic
	AskedUsage    bool    // the client itself asked for include_usage
	HiddenOutput  bool    // more may be billed than is sent (best_of)
	Array         bool    // the client of a Gemini stream wants one JSON array in place of events
	Repeats       bool    // events of a DashScope stream repeat all that was said before
	InputOnly     bool    // nothing is generated: a usage that is a total only is the input
	Pinned        bool    // provider-pinned lane: model and comments stay, only prices are cut

	Answers *template.Kept // of the route, for whole answers; nil = none

	Family        meter.Family // for estimates
	InputEstimate int64        // tokens of input, for progress until the provider reports
}

// PatchModel puts the client's name of the model in the place of the upstream's, which
// it stands at, and reports whether it did.
func (c *StreamConfig) PatchModel(p *walk.Patch, it *walk.Iter) bool {
	if c.Pinned || c.ClientModel == "" {
		return false
	}
	v := it.Value()
	name, ok := walk.Text(v)
	if !ok || string(name) == c.ClientModel {
		return false
	}
	p.Keep(it.Val)
	p.Dst = AppendString(p.Dst, c.ClientModel)
	p.Cut(it.Val, it.Val+len(v))
	return true
}

// Edit is what a request is changed in on its way to an upstream. Zero values
// change nothing but Model, which is always written.
type Edit struct {
	Model          string // upstream's id
	IncludeUsage   bool   // see that a stream carries usage
	MaxTokens      int64  // output cap set by the relay, 0 = leave
	MaxTokensField string // the dialect's member for it
}

// AppendString appends s as a JSON string.
//
//go:noinline
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	plain := 0
	for plain < len(s) && s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\' {
		plain++
	}
	dst = append(dst, s[:plain]...)
	for i := plain; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
