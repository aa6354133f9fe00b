package chat

import (
	"bytes"
	"strconv"
)

// Fate says what becomes of a member of a request that is translated.
type Fate uint8

// The fates.
const (
	Mapped   Fate = iota // the other format says the same
	Emulated             // the relay does what the other format does not
	Dropped              // ignored, and named in x-relay-dropped
	Refused              // 400: to ignore it would mislead
)

// String names the fate.
func (f Fate) String() string {
	switch f {
	case Mapped:
		return "mapped"
	case Emulated:
		return "emulated"
	case Dropped:
		return "dropped"
	}
	return "refused"
}

// Row is the fate of one member. A path without its own row has the fate Dropped.
// A mapped member may have values that are dropped or refused; the note says which.
type Row struct {
	From Protocol
	Path string
	Fate Fate
	Note string
}

// Find is the row of a member, nil for one that the table does not know.
func Find(from Protocol, path string) *Row {
	for i := range Table {
		if Table[i].From == from && Table[i].Path == path {
			return &Table[i]
		}
	}
	return nil
}

//go:generate go run ./translationdoc ../../../docs/translation.md

// Table is what becomes of every member of a request on its way to an upstream of
// the other format: a Chat Completions request to Messages, and the other way. The
// code that translates asks it (Request.Cannot), docs/translation.md is made from
// it, and a test walks it.
var Table = []Row{
	{OpenAI, "model", Mapped, "the upstream's name"},
	{OpenAI, "messages", Mapped, ""},
	{OpenAI, "messages[].role", Mapped, "`system` and `developer` are gathered in `system`; one amid the conversation loses its place and is named"},
	{OpenAI, "messages[].content", Mapped, "empty texts are left out"},
	{OpenAI, "messages[].name", Dropped, ""},
	{OpenAI, "messages[].tool_calls", Mapped, "`tool_use`; arguments stay the same text; ids that Messages does not take are replaced alike in call and result"},
	{OpenAI, "messages[].tool_call_id", Mapped, "`tool_result`, first in the user's turn"},
	{OpenAI, "messages[].function_call", Mapped, "as one of `tool_calls`"},
	{OpenAI, "messages[].refusal", Mapped, "a text"},
	{OpenAI, "messages[].audio", Refused, ""},
	{OpenAI, "messages[].annotations", Dropped, ""},
	{OpenAI, "messages[].reasoning_content", Dropped, "a thought without its provider's signature"},
	{OpenAI, "messages[].reasoning", Dropped, "as `reasoning_content`"},
	{OpenAI, "messages[].reasoning_details", Mapped, "what an Anthropic model signed; all else is dropped"},
	{OpenAI, "messages[].content[].type=text", Mapped, ""},
	{OpenAI, "messages[].content[].type=refusal", Mapped, "a text"},
	{OpenAI, "messages[].content[].type=image_url", Mapped, "data URLs as `base64`, others as `url`"},
	{OpenAI, "messages[].content[].image_url.detail", Dropped, ""},
	{OpenAI, "messages[].content[].type=file", Mapped, "PDF as `document`; other kinds are refused"},
	{OpenAI, "messages[].content[].type=input_audio", Refused, ""},
	{OpenAI, "messages[].content[].type", Refused, "any other type"},
	{OpenAI, "messages[].content[].cache_control", Mapped, ""},
	{OpenAI, "messages[].content[].prompt_cache_breakpoint", Dropped, ""},
	{OpenAI, "audio", Refused, ""},
	{OpenAI, "frequency_penalty", Dropped, ""},
	{OpenAI, "function_call", Mapped, "as `tool_choice`"},
	{OpenAI, "functions", Mapped, "as `tools`; the answer has `function_call`"},
	{OpenAI, "logit_bias", Dropped, ""},
	{OpenAI, "logprobs", Refused, "`false` is accepted"},
	{OpenAI, "max_completion_tokens", Mapped, "`max_tokens`; without one the model's maximum, or what the balance covers"},
	{OpenAI, "max_tokens", Mapped, "as `max_completion_tokens`"},
	{OpenAI, "metadata", Dropped, ""},
	{OpenAI, "modalities", Refused, "`[\"text\"]` is accepted"},
	{OpenAI, "moderation", Dropped, ""},
	{OpenAI, "n", Refused, "1 is accepted"},
	{OpenAI, "parallel_tool_calls", Mapped, "`tool_choice.disable_parallel_tool_use`"},
	{OpenAI, "prediction", Dropped, ""},
	{OpenAI, "presence_penalty", Dropped, ""},
	{OpenAI, "prompt_cache_key", Dropped, ""},
	{OpenAI, "prompt_cache_options", Dropped, ""},
	{OpenAI, "prompt_cache_retention", Dropped, ""},
	{OpenAI, "reasoning_effort", Mapped, "`thinking` with a budget of the scale below, less than the output cap; `output_config.effort` where the model takes it; dropped where it cannot be: a forced tool, a cap below 2,048, a tool loop whose thoughts are not signed"},
	{OpenAI, "response_format", Mapped, "`json_schema` as `output_config.format`; `json_object` as an instruction, and named"},
	{OpenAI, "safety_identifier", Mapped, "`metadata.user_id`"},
	{OpenAI, "seed", Dropped, ""},
	{OpenAI, "service_tier", Dropped, "tiers with another price are refused on every path"},
	{OpenAI, "stop", Mapped, "strings of white space are dropped"},
	{OpenAI, "store", Dropped, ""},
	{OpenAI, "stream", Mapped, ""},
	{OpenAI, "stream_options", Emulated, "`include_usage` is the relay's; the rest is without effect"},
	{OpenAI, "temperature", Mapped, "above 1 becomes 1 and is named; dropped with thinking, and for models that take only 1"},
	{OpenAI, "tool_choice", Mapped, "`allowed_tools` by leaving the others out; `custom` is refused"},
	{OpenAI, "tools", Mapped, "without any, those that the conversation has called are defined, not to be called again"},
	{OpenAI, "tools[].type=custom", Refused, ""},
	{OpenAI, "tools[].function.strict", Mapped, ""},
	{OpenAI, "top_k", Mapped, "dropped with thinking"},
	{OpenAI, "top_logprobs", Refused, "0 is accepted"},
	{OpenAI, "top_p", Mapped, "dropped with thinking, and for models that take only 1"},
	{OpenAI, "user", Mapped, "`metadata.user_id`"},
	{OpenAI, "verbosity", Dropped, ""},
	{OpenAI, "web_search_options", Refused, ""},

	{Messages, "model", Mapped, "the upstream's name"},
	{Messages, "messages", Mapped, ""},
	{Messages, "messages[].role", Mapped, ""},
	{Messages, "messages[].content", Mapped, "an answer begun by the customer (a last message of the assistant) is dropped and named `messages[-1]`"},
	{Messages, "messages[].content[].type=text", Mapped, ""},
	{Messages, "messages[].content[].type=image", Mapped, "base64 as a data URL"},
	{Messages, "messages[].content[].type=document", Mapped, "base64 as `file`, text as text"},
	{Messages, "messages[].content[].type=search_result", Emulated, "as text"},
	{Messages, "messages[].content[].type=tool_use", Mapped, "arguments stay the same text"},
	{Messages, "messages[].content[].type=tool_result", Mapped, "before the rest of the turn; `is_error` as the text `Error: `"},
	{Messages, "messages[].content[].content[].type=image", Emulated, "a message of the user behind the results, and named"},
	{Messages, "messages[].content[].content[].type=document", Emulated, "as an image"},
	{Messages, "messages[].content[].type=thinking", Mapped, "`reasoning_content` within a tool loop for DeepSeek, Kimi and GLM; else dropped"},
	{Messages, "messages[].content[].type=redacted_thinking", Dropped, ""},
	{Messages, "messages[].content[].type=server_tool_use", Dropped, "with all results of tools that the provider ran"},
	{Messages, "messages[].content[].type", Refused, "any other type"},
	{Messages, "messages[].content[].source.type", Refused, "`url` of a document, `file`, any other"},
	{Messages, "messages[].content[].cache_control", Dropped, ""},
	{Messages, "messages[].content[].citations", Dropped, ""},
	{Messages, "messages[].content[].context", Dropped, ""},
	{Messages, "cache_control", Dropped, ""},
	{Messages, "container", Refused, ""},
	{Messages, "context_management", Dropped, ""},
	{Messages, "inference_geo", Refused, ""},
	{Messages, "max_tokens", Mapped, "under the provider's own name"},
	{Messages, "mcp_servers", Refused, ""},
	{Messages, "metadata", Mapped, "`user_id` as `user`"},
	{Messages, "output_config", Mapped, "`format` as `response_format`, `effort` as `reasoning_effort`"},
	{Messages, "service_tier", Dropped, ""},
	{Messages, "speed", Refused, ""},
	{Messages, "stop_sequences", Mapped, "more than four are refused"},
	{Messages, "stream", Mapped, ""},
	{Messages, "system", Mapped, "one message of the role `system`"},
	{Messages, "system[].cache_control", Dropped, ""},
	{Messages, "temperature", Mapped, ""},
	{Messages, "thinking", Mapped, "`reasoning_effort` by the scale below, or the provider's own switch; dropped for models that do not think"},
	{Messages, "thinking.display", Dropped, ""},
	{Messages, "tool_choice", Mapped, ""},
	{Messages, "tools", Mapped, "tools that the provider defines or runs are refused"},
	{Messages, "tools[].type", Refused, "any but `custom`"},
	{Messages, "tools[].cache_control", Dropped, ""},
	{Messages, "tools[].defer_loading", Dropped, ""},
	{Messages, "tools[].eager_input_streaming", Dropped, ""},
	{Messages, "tools[].input_examples", Dropped, ""},
	{Messages, "tools[].strict", Mapped, ""},
	{Messages, "top_k", Dropped, ""},
	{Messages, "top_p", Mapped, ""},
}

// AppendMarkdown appends the table as the page docs/translation.md.
func AppendMarkdown(dst []byte) []byte {
	b := bytes.NewBuffer(dst)
	b.WriteString(`# Translation

Generated from proxy/protocol/chat by ` + "`go generate ./proxy/protocol/chat`" + `; do not edit.

A model is served in the protocol of the request where one of its routes speaks it: the bytes then pass.
Where none can answer, the request is translated for a route of another protocol, and the answer back. Each
member of a translated request is mapped, emulated by the relay, dropped and named in the header
` + "`x-relay-dropped`" + `, or refused with 400 and its name. Members that are not listed are dropped and named.
`)
	for from := OpenAI; from < numProtocols; from++ {
		b.WriteString("\n## " + from.String() + " to " + (1 - from).String() + "\n\n| member | fate | note |\n| --- | --- | --- |\n")
		for i := range Table {
			if r := &Table[i]; r.From == from {
				b.WriteString("| `" + r.Path + "` | " + r.Fate.String() + " | " + r.Note + " |\n")
			}
		}
	}
	b.WriteString("\n## Thinking\n\n| effort | budget of thinking tokens |\n| --- | --- |\n")
	for e := EffortMinimal; e <= EffortMax; e++ {
		b.WriteString("| `" + e.String() + "` | ")
		b.WriteString(strconv.FormatInt(Scale[e], 10))
		b.WriteString(" |\n")
	}
	b.WriteString(`
A budget becomes the largest effort whose budget it reaches, at least ` + "`low`" + ` and at most ` + "`high`" + `.
Claude models from 4.6 on get ` + "`thinking: {type: adaptive}`" + ` and the effort itself (` + "`minimal`" + ` is ` + "`low`" + `; before 4.7 ` + "`xhigh`" + ` is ` + "`high`" + `).

Thoughts of an Anthropic model reach a Chat client as ` + "`reasoning_content`" + ` and, with their signatures, as
` + "`reasoning_details`" + ` of the format ` + "`anthropic-claude-v1`" + `: sent back with the message they are what the model signed.
Thoughts of other models reach a Messages client as ` + "`thinking`" + ` blocks without a signature.

## Answers

| Chat Completions | Messages |
| --- | --- |
| ` + "`stop`" + ` | ` + "`end_turn`, `stop_sequence`, `pause_turn`" + ` |
| ` + "`length`" + ` | ` + "`max_tokens`, `model_context_window_exceeded`" + ` |
| ` + "`tool_calls`, `function_call`" + ` | ` + "`tool_use`" + ` |
| ` + "`content_filter`" + ` | ` + "`refusal`" + ` |
| ` + "`usage.prompt_tokens`" + ` | ` + "`input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens`" + ` |
| ` + "`usage.prompt_tokens_details.cached_tokens`, `.cache_write_tokens`" + ` | ` + "`cache_read_input_tokens`, `cache_creation_input_tokens`" + ` |
| ` + "`usage.completion_tokens`" + ` | ` + "`output_tokens`" + ` |
`)
	return b.Bytes()
}
