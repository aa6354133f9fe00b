package catalog

// Wires is a set of operations in the wire format that an upstream speaks. A
// request is served without translation by a provider that has its wire.
type Wires uint32

// The wires. Those of conversations come first: between them requests are
// translated.
const (
	WireChat      Wires = 1 << iota // OpenAI Chat Completions
	WireMessages                    // Anthropic Messages
	WireResponses                   // OpenAI Responses
	WireGemini                      // Gemini generateContent and streamGenerateContent
	WireDashScope                   // DashScope text generation
	WireConverse                    // Bedrock Converse and ConverseStream
	WireCohere                      // Cohere Chat, version 2

	WireEmbeddings  // OpenAI Embeddings
	WireCompletions // OpenAI Completions, the older form with a prompt
	WireAudio       // OpenAI speech, transcriptions, translations
	WireImages      // OpenAI images
	WireModerations // OpenAI moderations
	WireRanks       // rerank of Cohere, Jina and Voyage, or DashScope's own
	WireGeminiEmbed // Gemini embedContent and batchEmbedContents
)

// WiresOf is what a provider of a protocol and dialect serves.
func WiresOf(p Protocol, dialect string) Wires {
	switch p {
	case ProtocolOpenAI:
		w := WireChat | WireEmbeddings | WireCompletions | WireAudio | WireImages | WireModerations | WireRanks
		switch dialect {
		case "openai", "azure", "xai", "deepseek", "openrouter":
			w |= WireResponses
		}
		return w
	case ProtocolAnthropic:
		return WireMessages
	case ProtocolGemini:
		if dialect == "vertex" {
			return WireGemini
		}
		return WireGemini | WireGeminiEmbed | WireEmbeddings // in OpenAI's form, below /openai
	case ProtocolDashScope:
		return WireDashScope | WireRanks
	case ProtocolBedrock:
		return WireConverse
	case ProtocolCohere:
		return WireCohere | WireRanks
	}
	return 0
}
