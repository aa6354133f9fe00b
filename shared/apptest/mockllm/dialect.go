package mockllm

// dialect is how one provider speaks the OpenAI Chat shape (protocols 1 and 8).
// Everything that differs between them is data here; chat.go has no names.
type dialect struct {
	name        string
	contentType string
	nl          string // line end
	done        bool   // ends with data: [DONE]
	comment     string // comment event before the first chunk
	roleAlways  bool   // every delta says role
	reasoning   string // member of the delta that carries reasoning; "" = reasoning is hidden
	usageAt     usagePlace
	usageNull   bool   // usage:null in the other chunks when usage was asked for
	nullAlways  bool   // usage:null in the other chunks always
	finishNull  bool   // finish_reason:null until the last chunk
	logprobs    bool   // logprobs:null in choices
	pad         string // member with random padding
	head        string // members after model in every chunk
	wholeTool   bool   // a tool call comes in one delta
	emptyToolID bool   // later fragments of a tool call repeat id:""
	namedError  bool   // in-stream errors are "event: error" and no [DONE] follows
}

type usagePlace uint8

const (
	usageExtraChunk  usagePlace = iota // own chunk with empty choices, only if asked for
	usageFinishChunk                   // in the chunk with the finish reason, always
	usageInChoice                      // inside choices[0] of the last chunk, always
	usageEmptyDelta                    // own chunk with an empty delta, always
	usageEveryChunk                    // cumulative in every chunk
	usageGroq                          // x_groq.usage of the last chunk, top level too if asked for
)

const eventStream = "text/event-stream"

var dialects = []dialect{
	{name: "openai", contentType: eventStream + "; charset=utf-8", done: true, usageNull: true, finishNull: true, logprobs: true, pad: "obfuscation", head: `"service_tier":"default","system_fingerprint":"fp_mock",`},
	{name: "azure", contentType: eventStream + "; charset=utf-8", done: true, usageNull: true, finishNull: true, logprobs: true, pad: "obfuscation", head: `"system_fingerprint":"fp_mock",`},
	{name: "deepseek", contentType: eventStream + "; charset=utf-8", done: true, reasoning: "reasoning_content", usageAt: usageFinishChunk, usageNull: true, finishNull: true, logprobs: true, head: `"system_fingerprint":"fp_mock",`},
	{name: "mistral", contentType: eventStream + "; charset=utf-8", done: true, usageAt: usageFinishChunk, finishNull: true, pad: "p", wholeTool: true},
	{name: "qwen", contentType: eventStream + ";charset=UTF-8", done: true, reasoning: "reasoning_content", nullAlways: true, finishNull: true, logprobs: true, head: `"system_fingerprint":null,`, emptyToolID: true},
	{name: "kimi", contentType: eventStream + "; charset=utf-8", done: true, reasoning: "reasoning_content", usageAt: usageInChoice, finishNull: true},
	{name: "glm", contentType: eventStream + ";charset=UTF-8", done: true, reasoning: "reasoning_content", usageAt: usageFinishChunk, roleAlways: true},
	{name: "xai", contentType: eventStream, done: true, reasoning: "reasoning_content", head: `"system_fingerprint":"fp_mock",`},
	{name: "groq", contentType: eventStream, done: true, reasoning: "reasoning", usageAt: usageGroq, finishNull: true, logprobs: true, head: `"system_fingerprint":"fp_mock",`, wholeTool: true, namedError: true},
	{name: "openrouter", contentType: eventStream, done: true, comment: ": OPENROUTER PROCESSING", roleAlways: true, reasoning: "reasoning", usageAt: usageEmptyDelta, finishNull: true, head: `"provider":"mockllm-canary",`},
	{name: "perplexity", contentType: eventStream + "; charset=utf-8", nl: "\r\n", comment: ": ping - 2026-01-01 00:00:00", usageAt: usageEveryChunk, finishNull: true, roleAlways: true},
	{name: "ollama", contentType: eventStream, done: true, roleAlways: true, reasoning: "reasoning", finishNull: true, head: `"system_fingerprint":"fp_ollama",`, wholeTool: true},
	{name: "gpustack", contentType: eventStream, finishNull: true},
	{name: "gemini", contentType: eventStream, done: true, usageAt: usageFinishChunk},
}

// dialectNames also holds the catalogue's slugs for the same providers.
var dialectNames = map[string]*dialect{}

func init() {
	for i := range dialects {
		if dialects[i].nl == "" {
			dialects[i].nl = "\n"
		}
		dialectNames[dialects[i].name] = &dialects[i]
	}
	for slug, name := range map[string]string{"dashscope": "qwen", "moonshot": "kimi", "zai": "glm", "gemini-compat": "gemini", "zai-glm": "glm", "qwen-compat": "qwen"} {
		dialectNames[slug] = dialectNames[name]
	}
}

func dialectByName(name string) *dialect { return dialectNames[name] }

// Dialects lists the OpenAI Chat dialects that the mock speaks.
func Dialects() []string {
	var names []string
	for i := range dialects {
		names = append(names, dialects[i].name)
	}
	return names
}
