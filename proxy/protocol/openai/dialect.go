package openai

import "tokenrelay/proxy/protocol"

// Dialect is one provider's variant of the OpenAI shape.
type Dialect uint8

// The dialects.
const (
	Custom Dialect = iota // unknown: everything tolerated, usage asked for
	OpenAI
	Azure
	DeepSeek
	Mistral
	Qwen
	Moonshot
	Zai
	XAI
	Groq
	OpenRouter
	GeminiCompat
	Perplexity
	Ollama
	HuggingFace
	Cerebras
	GPUStack
	VLLM
	numDialects
)

type dialectFacts struct {
	names []string
	// inject: the stream carries usage only when asked for it, and asking is
	// understood.
	inject bool
	// noDone: streams end without [DONE] (measured).
	noDone bool
	// hidden: reasoning tokens may be billed that the answer does not show.
	hidden bool
	// cap names the member for the output cap.
	cap string
}

var facts = [numDialects]dialectFacts{
	Custom:       {names: []string{"", "custom"}, inject: true, noDone: true, hidden: true, cap: "max_tokens"},
	OpenAI:       {names: []string{"openai"}, inject: true, cap: "max_completion_tokens"},
	Azure:        {names: []string{"azure"}, inject: true, cap: "max_completion_tokens"},
	DeepSeek:     {names: []string{"deepseek"}, cap: "max_tokens"},
	Mistral:      {names: []string{"mistral"}, cap: "max_tokens"},
	Qwen:         {names: []string{"qwen", "qwen-compat", "dashscope"}, inject: true, cap: "max_tokens"},
	Moonshot:     {names: []string{"moonshot", "kimi"}, inject: true, cap: "max_tokens"},
	Zai:          {names: []string{"zai", "zai-glm", "glm", "zhipu"}, inject: true, cap: "max_tokens"},
	XAI:          {names: []string{"xai"}, inject: true, hidden: true, cap: "max_completion_tokens"},
	Groq:         {names: []string{"groq"}, inject: true, cap: "max_completion_tokens"},
	OpenRouter:   {names: []string{"openrouter"}, inject: true, hidden: true, cap: "max_tokens"},
	GeminiCompat: {names: []string{"gemini", "gemini-compat"}, inject: true, hidden: true, cap: "max_tokens"},
	Perplexity:   {names: []string{"perplexity"}, noDone: true, hidden: true, cap: "max_tokens"},
	Ollama:       {names: []string{"ollama"}, inject: true, cap: "max_tokens"},
	HuggingFace:  {names: []string{"huggingface", "hf"}, inject: true, cap: "max_tokens"},
	Cerebras:     {names: []string{"cerebras"}, inject: true, cap: "max_completion_tokens"},
	VLLM:         {names: []string{"vllm"}, inject: true, cap: "max_tokens"},
	GPUStack:     {names: []string{"gpustack"}, inject: true, noDone: true, cap: "max_tokens"},
}

// ParseDialect finds a dialect by its name in the catalogue; unknown names are
// Custom.
func ParseDialect(name string) Dialect {
	for d := range facts {
		for _, n := range facts[d].names {
			if n == name {
				return Dialect(d)
			}
		}
	}
	return Custom
}

func (d Dialect) facts() *dialectFacts {
	if d >= numDialects {
		d = Custom
	}
	return &facts[d]
}

// String is the dialect's first name.
func (d Dialect) String() string {
	if d == Custom || d >= numDialects {
		return "custom"
	}
	return facts[d].names[0]
}

// NeedsIncludeUsage reports whether a stream of this dialect carries usage only
// when stream_options.include_usage asks for it (protocols 1, measured).
func (d Dialect) NeedsIncludeUsage() bool { return d.facts().inject }

// CapField is the member that limits the output.
func (d Dialect) CapField() string { return d.facts().cap }

// EndsWithoutDone reports whether streams of this dialect end at EOF after the
// finish reason, without [DONE].
func (d Dialect) EndsWithoutDone() bool { return d.facts().noDone }

func dialectOf(cfg *protocol.StreamConfig) Dialect { return Dialect(cfg.Dialect) }
