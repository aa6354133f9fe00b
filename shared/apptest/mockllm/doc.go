// Package mockllm is the mock provider: an HTTP/1.1 server that answers like the
// model providers do, misbehaves on request, and keeps a meter of what it served
// that owes nothing to the relay's own counting.
//
// It speaks HTTP on raw sockets because half of what it must do (a reset after
// the ninth event, headers at one byte a second, a body before the request has
// been read) cannot be asked of a well-behaved server.
//
// # Where it answers
//
// OpenAI Chat on …/chat/completions, Responses on …/responses, Anthropic Messages on …/messages and
// …/messages/count_tokens, Gemini on …/models/M:generateContent, :streamGenerateContent
// and :countTokens, DashScope on …/services/aigc/text-generation/generation and
// …/multimodal-generation/generation, Cohere on …/v2/chat, Bedrock on
// …/model/M/converse and …/converse-stream (signed with AccessKeyID, or with a bearer
// token), model lists on …/models, all under any base path. The
// first path segment is the lane (the name a test gives to one upstream); a path
// segment that names a dialect (openai azure deepseek mistral qwen kimi glm xai
// groq openrouter perplexity ollama gpustack gemini, and the catalogue's slugs
// dashscope moonshot zai) selects that provider's framing and usage form.
//
// # Scripts
//
// A script is `key=value;key=value`. It is read, later ones overriding earlier
// ones, from: Options.Default; the standing script of the lane (PUT
// /script/LANE); a path segment `mock:SCRIPT`; the provider key after `mock:`;
// the model name after `+` (`gpt-x+delay=20ms+chunks=64`) or `case:ID`; the first
// user message and the `user`, `safety_identifier` or `metadata.user_id` member
// after `mock:` (up to the next blank or quote); the header x-mock; the header
// x-mock-case. A key may be prefixed with a lane, `primary.status=429`: it then
// holds on that lane only. An unknown key or value is answered with 400 and
// counted, so that a misspelt script cannot pass a test. The keys are listed at
// type Script.
//
// # Tokens
//
// The prompt is counted by one rule: for each message (the system prompt is one)
// 3 + ceil(bytes of its text / 4), plus 85 per image part, plus ceil(bytes of the
// tools member / 4). The answer is counted in the pieces that it is made of; a
// stream carries whole pieces.
package mockllm
