// Package protocol lists what the proxy's public paths are: the wire formats, the
// endpoints of each, which of them are served, and the words that the formats'
// packages (openai, anthropic) share with the relay.
package protocol

// Kind says what one event, or one whole answer, of an upstream is.
type Kind uint8

// The kinds.
const (
	Other      Kind = iota // passes, says nothing: an unreadable or unknown event
	Preamble               // opens the answer, no output yet (role chunk, message_start, ping): failover is still possible
	Output                 // text, reasoning, a tool call, audio: the answer has begun
	Final                  // ends the output but not the stream: finish reason, usage
	Terminator             // the protocol's own last event: [DONE], message_stop
	ErrorEvent             // the upstream's in-stream error, or a 200 whose body is an error
	Comment                // comment lines only
	Withheld               // observed, and nothing was appended for the client
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Preamble:
		return "preamble"
	case Output:
		return "output"
	case Final:
		return "final"
	case Terminator:
		return "terminator"
	case ErrorEvent:
		return "error"
	case Comment:
		return "comment"
	case Withheld:
		return "withheld"
	}
	return "other"
}

// Fault says what an upstream's error really is. Classify by body, not by
// status: a 400 can be an empty account.
type Fault uint8

// The faults.
const (
	FaultServer       Fault = iota // 5xx, 408, 529, unreadable: the upstream's own trouble
	FaultRateLimited               // capacity of our account at this upstream
	FaultKey                       // the provider key is wrong, revoked or not entitled
	FaultAccount                   // our account is empty or locked
	FaultModelMissing              // this upstream does not have the model
	FaultClient                    // the request is wrong: every upstream would refuse it
	FaultPolicy                    // the provider's content policy refused the request
	FaultModel                     // the model made an unusable answer (groq tool_use_failed)
)

// String names the fault.
func (f Fault) String() string {
	switch f {
	case FaultRateLimited:
		return "rate_limited"
	case FaultKey:
		return "key"
	case FaultAccount:
		return "account"
	case FaultModelMissing:
		return "model_missing"
	case FaultClient:
		return "client"
	case FaultPolicy:
		return "policy"
	case FaultModel:
		return "model"
	}
	return "server"
}

// KeyFault says what an error means for the provider key that was used.
type KeyFault uint8

// The key faults.
const (
	KeyFine      KeyFault = iota
	KeyTransient          // cool it for Class.CoolSeconds
	KeyPermanent          // park it until an operator acts
)

// Class is what the relay does about an upstream's error.
type Class struct {
	Fault       Fault
	Failover    bool     // try the next candidate, as long as nothing was sent to the client
	Key         KeyFault // what to do with the provider key
	CoolSeconds int      // leave the key (or, with KeyFine, the route) alone for so long; 0 = no hint
	PassOn      bool     // the client gets this error, rendered by AppendPassedError; else the relay's own
	Status      int      // HTTP status to answer with when PassOn
}

// Family is a group of paths that speak one protocol.
type Family uint8

// The families.
const (
	FamilyNone Family = iota // not an inference path
	FamilyOpenAI
	FamilyAnthropic
	FamilyDashScope
	FamilyGemini
)

// Endpoint is one operation of one family. The numbers are stored in usage
// records: append, never insert.
type Endpoint uint8

// The endpoints.
const (
	Unknown Endpoint = iota
	OpenAIChat
	AnthropicMessages
	OpenAIModels
	OpenAIModel
	AnthropicModels
	AnthropicModel
	OpenAICompletions
	OpenAIResponses
	OpenAIResponse // one stored response: get, delete, cancel, input items
	OpenAIResponsesTokens
	OpenAIResponsesCompact
	OpenAIEmbeddings
	OpenAISpeech
	OpenAITranscriptions
	OpenAITranslations
	OpenAIImageGenerations
	OpenAIImageEdits
	OpenAIImageVariations
	OpenAIModerations
	Rerank
	AnthropicCountTokens
	DashScopeText
	DashScopeMultimodal
	DashScopeEmbeddings
	DashScopeRerank
	GeminiGenerate
	GeminiStream
	GeminiCountTokens
	GeminiEmbed
	GeminiModels
	GeminiModel
	Account // reads or writes the provider account (files, batches, fine-tuning …): never served
	GeminiBatchEmbed
	numEndpoints
)

var endpointNames = [numEndpoints]string{
	"unknown", "openai.chat", "anthropic.messages", "openai.models", "openai.model",
	"anthropic.models", "anthropic.model", "openai.completions", "openai.responses",
	"openai.response", "openai.responses_tokens", "openai.responses_compact",
	"openai.embeddings", "openai.speech", "openai.transcriptions", "openai.translations",
	"openai.image_generations", "openai.image_edits", "openai.image_variations",
	"openai.moderations", "rerank", "anthropic.count_tokens", "dashscope.text",
	"dashscope.multimodal", "dashscope.embeddings", "dashscope.rerank", "gemini.generate",
	"gemini.stream", "gemini.count_tokens", "gemini.embed", "gemini.models", "gemini.model",
	"account", "gemini.batch_embed",
}

// String is the endpoint's name in metrics and logs.
func (e Endpoint) String() string {
	if e < numEndpoints {
		return endpointNames[e]
	}
	return endpointNames[Unknown]
}

// Served reports whether this build answers the endpoint.
func (e Endpoint) Served() bool {
	switch e {
	case OpenAIChat, OpenAICompletions, OpenAIResponses, OpenAIEmbeddings, AnthropicMessages, OpenAIModels, OpenAIModel, AnthropicModels, AnthropicModel,
		DashScopeText, GeminiGenerate, GeminiStream, GeminiCountTokens, GeminiModels, GeminiModel,
		OpenAISpeech, OpenAITranscriptions, OpenAITranslations, OpenAIImageGenerations, OpenAIImageEdits, OpenAIImageVariations,
		OpenAIModerations, Rerank, OpenAIResponsesTokens, AnthropicCountTokens, GeminiEmbed, GeminiBatchEmbed:
		return true
	}
	return false
}

// ModelInfo is one row of a models list. Nothing in it names an upstream.
type ModelInfo struct {
	ID          string
	CreatedUnix int64
	MaxInput    int64 // tokens, 0 = not said
	MaxOutput   int64
}
