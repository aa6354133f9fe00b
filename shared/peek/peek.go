// Package peek reads what must be known of a request body before it is admitted:
// the model, the caps, whether it streams, and an upper bound of what it can
// consume. It is one strict pass over the bytes that builds nothing; the proxy's
// admission and the quote of the customer API share it.
//
// Strict means: what Scan accepts, every JSON parser an upstream may use reads in
// the same way as far as the guarded members go. Duplicates and look-alikes of
// them (escaped, or equal but for case) are refused, as are invalid UTF-8, raw
// control characters, a byte order mark, anything after the object, nesting above
// 64 and more than 100,000 members.
package peek

import (
	"tokenrelay/shared/apierr"
)

// Shape is the wire format of a request body.
type Shape uint8

// The shapes.
const (
	OpenAIChat Shape = iota
	AnthropicMessages
	OpenAIEmbeddings
	OpenAICompletions
	OpenAIResponses
	GeminiGenerate
	GeminiCount    // countTokens
	DashScopeText  // text generation
	AnthropicCount // Messages that are only counted
	OpenAISpeech
	OpenAITranscription // a form: transcriptions and translations
	OpenAIPictures      // generations, and edits as JSON
	OpenAIPicturesForm  // edits and variations
	OpenAIModeration
	Ranks
	GeminiEmbed
	GeminiEmbedBatch
	ResponsesCount // input tokens of a request for responses
)

// Limits of what Scan accepts.
const (
	MaxDepth    = 64
	MaxMembers  = 100_000   // member names
	MaxElements = 1_000_000 // array elements
	MaxModel    = 256       // bytes of a model name
	MaxChoices  = 128       // n and best_of
	MaxPrompts  = 1_024     // of one request for completions
	MaxCap      = 1 << 30   // tokens of an output cap
)

// Span is a range of bytes of the body; the zero Span means absent.
type Span struct{ Start, End int }

// Present reports whether the member is there.
func (s Span) Present() bool { return s.End > 0 }

// Request is what Scan found. It is reused by scanning into it again. Model points
// into the scanned body or into the Request itself: it lives as long as both do
// and the Request is neither copied nor scanned into.
type Request struct {
	Shape Shape
	Size  int // bytes of the body

	Model     []byte // unescaped
	ModelSpan Span   // the value with its quotes

	Stream     bool
	StreamSpan Span

	StreamOptions    Span // the value: an object or null
	IncludeUsage     bool // the client itself asked for the usage chunk
	IncludeUsageSpan Span // the value inside stream_options

	MaxTokens          int64 // 0 = not given; the member max_tokens
	MaxTokensSpan      Span
	MaxCompletion      int64 // 0 = not given; the member max_completion_tokens
	MaxCompletionSpan  Span
	MaxOutput          int64 // 0 = not given; the member max_output_tokens of a request for responses
	MaxOutputSpan      Span
	MaxToolCalls       int64  // 0 = not given: calls of the provider's own tools, all together
	Contents, Config   Span   // of Gemini: the values of contents and generationConfig; of DashScope: of input and parameters
	N, BestOf          int64  // 0 = not given
	Prompts            int64  // of a request for completions: each is answered N times
	Messages           int    // messages of the conversation
	Tools              int    // entries of tools
	OwnTools           int    // of them run by the caller but defined by the provider (bash, text editor)
	Rereads            int    // ways in which the provider reads the input again (context_management)
	ServerTools        int    // of them run by the provider, web_search_options and the like included
	ServerToolsNoLimit int    // of those, without max_uses
	ServerTool         string // kind of one that can have no limit here, "" = none; of requests for responses
	ServerToolUses     int64  // sum of the max_uses given
	Images, Audios     int    // parts
	Files              int    // documents, videos, and other parts whose size in tokens the body does not tell
	MediaBytes         int64  // bytes of base64 media, not part of TextBytes
	AudioBytes         int64  // of those, audio
	TextBytes          int64  // all other bytes of the body: no text has more tokens than bytes
	AudioOutput        bool   // modalities or audio ask for audio output
	InputSpan          Span   // the member input of a request for responses
	Previous           []byte // previous_response_id of a request for responses, still escaped; nil = not given
	PreviousSpan       Span   // its value
	NotStored          bool   // store is false
	StoredID           string // name of a member that refers to an object stored at the provider, "" = none
	PriceMember        string // name of a member that asks for a dearer service (service_tier, speed, inference_geo), "" = none
	Thinks             bool   // of DashScope: enable_thinking is true
	Media              Media  // of requests beside the conversations

	thoughts     int64 // of DashScope: thinking_budget, 0 = not given
	noThoughts   bool  // enable_thinking is false
	search       bool  // enable_search is true
	searchesOnce bool  // by its strategy

	scratch [MaxModel]byte
}

// OutputCap is the client's own cap per choice, 0 if it gave none. Where both
// members are given the larger counts: which of them an upstream obeys is its own
// affair. Responses know max_output_tokens only, and ignore the others.
func (r *Request) OutputCap() int64 {
	if r.Shape == OpenAIResponses {
		return r.MaxOutput
	}
	return max(r.MaxTokens, r.MaxCompletion)
}

// Choices is the number of answers that are billed, at least 1.
func (r *Request) Choices() int64 { return max(1, r.N, r.BestOf) * max(1, r.Prompts) }

// Scan reads body into r. It allocates only when it refuses. The error is a 400
// invalid_request that names the field.
func Scan(body []byte, shape Shape, r *Request) *apierr.Error {
	*r = Request{Shape: shape, Size: len(body)}
	s := scanner{b: body, r: r}
	if shape == GeminiGenerate || shape == GeminiCount {
		if err := s.gemini(); err != nil {
			return err
		}
		r.TextBytes = int64(len(body)) - r.MediaBytes
		return nil
	}
	if shape == DashScopeText {
		if err := s.dashScope(); err != nil {
			return err
		}
		r.TextBytes = int64(len(body)) - r.MediaBytes
		return nil
	}
	if beside, err := s.beside(); beside {
		if err != nil {
			return err
		}
		r.TextBytes = int64(len(body)) - r.MediaBytes
		return nil
	}
	if !s.top() {
		return s.err
	}
	switch {
	case !r.ModelSpan.Present():
		return apierr.Invalid("model", "The field 'model' is missing.")
	case shape == OpenAIEmbeddings:
		if err := r.embeddings(s.seen); err != nil {
			return err
		}
	case shape == OpenAICompletions:
		if s.seen&(1<<fPrompt) == 0 {
			return apierr.Invalid("prompt", "The field 'prompt' is missing.")
		}
	case shape == OpenAIResponses || shape == ResponsesCount:
		if err := r.responses(s.seen); err != nil {
			return err
		}
		if shape == ResponsesCount && r.Previous != nil {
			r.StoredID = "previous_response_id"
		}
	case s.seen&(1<<fMessages) == 0:
		return apierr.Invalid("messages", "The field 'messages' is missing.")
	case shape == AnthropicMessages && !r.MaxTokensSpan.Present():
		return apierr.Invalid("max_tokens", "The field 'max_tokens' is missing.")
	}
	r.TextBytes = int64(len(body)) - r.MediaBytes
	return nil
}

// beside reads the shapes that are no conversations. ours is false for others.
func (s *scanner) beside() (ours bool, err *apierr.Error) {
	switch s.r.Shape {
	case OpenAISpeech:
		err = s.speech()
	case OpenAIPictures:
		err = s.pictures()
	case OpenAIModeration:
		err = s.moderation()
	case Ranks:
		err = s.ranks()
	case GeminiEmbed, GeminiEmbedBatch:
		err = s.geminiEmbed(s.r.Shape == GeminiEmbedBatch)
	default:
		return false, nil
	}
	return true, err
}
